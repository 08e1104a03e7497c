//! At a terminal the fingerprint is asked for, and only an answer to that question counts.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{fingerprint, rotated};
use crate::publisher::Key;
use crate::world::{GUN, World};

/// A terminal: its own end, and that of the program in it.
pub(crate) fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    (
        File::from(ours),
        File::options().read(true).write(true).open(name).unwrap(),
    )
}

/// Runs `pin add`, types `early` before anything is asked, and the answer once it is. Exit code,
/// and all that was said.
fn answer(world: &World, early: &str, answer: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["pin", "add", "acme", "--scan", GUN, "--policy"])
        .arg(world.path("policy"));
    answered(command, early, "by another way: ", answer)
}

/// Runs a command at a terminal, types `early` before anything is asked, and the answer to the
/// question that ends so. Exit code, and all that was said.
pub(crate) fn answered(
    command: Command,
    early: &str,
    question: &str,
    answer: &str,
) -> (i32, String) {
    all_answered(command, early, question, &[answer])
}

/// The same for several questions that end so, one after the other.
pub(crate) fn all_answered(
    mut command: Command,
    early: &str,
    question: &str,
    answers: &[&str],
) -> (i32, String) {
    let (mut keyboard, theirs) = terminal();
    keyboard.write_all(early.as_bytes()).unwrap();
    let mut child: Child = command
        .stdin(theirs)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut error) = (Vec::new(), child.stderr.take().unwrap());
    let mut byte = [0];
    for answer in answers {
        let before = said.len();
        while !String::from_utf8_lossy(&said[before..]).ends_with(question)
            && error.read(&mut byte).unwrap() == 1
        {
            said.push(byte[0]);
        }
        keyboard.write_all(answer.as_bytes()).unwrap();
    }
    error.read_to_end(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    (
        child.wait().unwrap().code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn a_wrong_answer_no_answer_and_one_given_before_the_question_pin_nothing() {
    let Some((world, image)) = rotated("p-tty") else {
        return;
    };
    let new = Key::named("new root");
    let before = world.policy_files();
    let right = format!("{}\n", fingerprint(&new));
    for (early, late) in [
        ("", format!("{}\n", Key::named("somebody else").id())),
        ("", "\n".to_owned()),
        ("", "yes\n".to_owned()),
        ("", "\u{4}".to_owned()),
        ("", format!("{0} {0}\n", Key::named("somebody else").id())),
        (right.as_str(), "\n".to_owned()),
    ] {
        let (code, said) = answer(&world, early, &late);
        assert_eq!(code, 1, "{late:?}: {said}");
        assert!(
            said.contains("nothing is pinned")
                && !said.contains(&new.id())
                && !said.contains(&fingerprint(&new)),
            "{said}"
        );
        assert_eq!(world.policy_files(), before);
    }
    assert_eq!(world.judge(&image).0.as_deref(), Some("root-not-pinned"));
    let (code, said) = answer(&world, "", &right);
    assert!(code == 0 && said.contains("pinned for acme"), "{said}");
    assert_eq!(world.judge(&image).0, None);
}

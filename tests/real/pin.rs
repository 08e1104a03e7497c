//! From a refused pull to an allowed one: the command that the refusal tells, with a fingerprint
//! from the publisher's own key file.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::daemon::{Daemon, Policy};
use crate::door::Door;
use crate::image::Image;
use crate::lab::{Lab, run};
use crate::notary::Collection;
use crate::publisher::Key;

#[test]
#[ignore = "needs real engines: use tests/run"]
fn an_unknown_key_is_pinned_by_the_command_that_was_told_and_only_with_the_publisher_s_fingerprint()
{
    let lab = Lab::start();
    for (door, repository) in [(Door::Ctr2, "real/pin2"), (Door::Local17, "real/pin17")] {
        let (name, image) = (lab.name(repository, "v1"), Image::manifest(repository));
        let gun = name.trim_end_matches(":v1");
        let collection = Collection::new(&lab, gun);
        collection.sign("v1", &image);
        lab.push(&image, &name);
        let _daemon = Daemon::start(&lab, &policy(&lab, gun, &Key::named("somebody else")));
        let pull = || {
            door.cool(&lab);
            door.bring_when_connected(&lab, &name, &image)
        };
        let words = pull().expect_err("a root that is not pinned");
        assert!(words.contains("root-not-pinned"), "{words}");
        let command = command(&words);
        let publisher = collection.root_key_id();
        assert!(!command.contains(&publisher), "{command}");

        let file = lab.root.join("rootpin/policy/policy.toml");
        let before = fs::read_to_string(&file).unwrap();
        for (more, code) in [
            (vec![], 64),
            (vec!["--fingerprint", &*Key::named("another").id()], 1),
            (vec!["--fingerprint", "y"], 64),
        ] {
            let ended = typed(&command, &more);
            assert_eq!(
                ended.status.code(),
                Some(code),
                "{command} {more:?}: {ended:?}"
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), before);
        }
        reload(&lab);
        assert!(
            pull()
                .expect_err("nothing is pinned")
                .contains("root-not-pinned")
        );

        let ended = typed(&command, &["--fingerprint", &publisher]);
        assert!(ended.status.success(), "{command}: {ended:?}");
        reload(&lab);
        pull().unwrap_or_else(|words| panic!("{door}: it should come in now: {words}"));
    }
}

fn policy(lab: &Lab, gun: &str, pinned: &Key) -> Policy {
    let text = format!(
        "version = 1\ndefault = \"deny\"\n\n# the publisher's\n[[root]]\nid = \"publisher\"\ntype = \"notary\"\nserver = \"{}\"\n\
         tls-ca = \"roots/ca.pem\"\nkeys = [\n  \"roots/publisher.pem\", # by phone\n]\nrole = \"targets\"\nrecheck = \"0s\"\n\n\
         [[rule]]\nmatch = \"{gun}\"\nroots = [\"publisher\"]\n",
        lab.var("LAB_NOTARY_URL")
    );
    let ca = fs::read_to_string(lab.var("LAB_NOTARY_CA")).unwrap();
    vec![
        ("policy.toml", text),
        ("roots/ca.pem", ca),
        ("roots/publisher.pem", pinned.public_pem()),
    ]
}

/// The command among an engine's words, and all that the engine says behind it: it ends in a
/// comment.
fn command(words: &str) -> String {
    let (_, command) = words
        .rsplit_once(": rootpin pin add ")
        .unwrap_or_else(|| panic!("no command in {words}"));
    let line = command.lines().next().unwrap();
    assert!(line.contains("   # asks for the fingerprint"), "{words}");
    format!("rootpin pin add {line}")
}

/// What a shell makes of it, with more in front of the comment, where there is no terminal.
fn typed(command: &str, more: &[&str]) -> Output {
    let line = command.replacen(
        "rootpin ",
        &format!("{} ", env!("CARGO_BIN_EXE_rootpin")),
        1,
    );
    let line = if more.is_empty() {
        line
    } else {
        line.replacen("   #", &format!(" {} #", more.join(" ")), 1)
    };
    Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Has the daemon look at its policy now.
fn reload(lab: &Lab) {
    let control = lab.sockets().join("control.sock");
    run(Command::new(env!("CARGO_BIN_EXE_rootpin"))
        .args(["policy", "reload", "--control"])
        .arg(control));
}

//! Which units of a host start an engine, whatever their names are.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::engine_unit::EngineUnit;
use super::executable::{self, Executable};
use super::files::{UnitFiles, UnitFolders};
use super::service::Service;
use super::words::{MARKS, PREFIXES, is_name, split};
use crate::plain_file;

/// Programs that start another one, which their command line has.
const WRAPPERS: [&str; 28] = [
    "ash",
    "bash",
    "busybox",
    "catatonit",
    "chroot",
    "chrt",
    "dash",
    "dumb-init",
    "env",
    "exec",
    "flock",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "runuser",
    "setpriv",
    "setsid",
    "sh",
    "stdbuf",
    "sudo",
    "systemd-run",
    "taskset",
    "timeout",
    "tini",
    "unshare",
    "zsh",
];
/// Words of a shell after which a command stands.
const BEFORE_COMMANDS: [&str; 12] = [
    "!", "command", "do", "else", "eval", "exec", "if", "nohup", "then", "time", "while", "{",
];
/// What an engine is given to do something else than to serve.
const OTHER_USES: [&str; 10] = [
    "--help",
    "--validate",
    "--version",
    "-h",
    "-v",
    "config",
    "help",
    "oci-hook",
    "publish",
    "version",
];
/// The most of a script that is read.
const MAX_SCRIPT: u64 = 256 << 10;
const SCRIPT: &[u8] = b"#!";
/// Where systemd looks for a program without a folder, in this order.
const PROGRAMS: [&str; 4] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"];

/// One name of each unit that starts the engine, or may; the usual unit first.
pub(super) fn units(folders: &UnitFolders, engine: &EngineUnit) -> Vec<String> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    let services = folders.services();
    let usual = services.get(engine.unit).copied();
    for unit in usual.into_iter().chain(services.iter().copied()) {
        let is_one = match folders.find(unit) {
            Ok(None) => false,
            Ok(Some(files)) => {
                // Its other names are the same unit.
                let is_new = seen.insert(files.names.clone());
                is_new && (unit == engine.unit || may_start(folders.root(), &files, engine))
            }
            Err(_) => unit.contains(engine.program),
        };
        if is_one && !found.iter().any(|known| known == unit) {
            found.push(unit.to_owned());
        }
    }
    found
}

/// Whether one of a unit's commands starts that program, as far as words tell.
fn may_start(root: &Path, files: &UnitFiles, engine: &EngineUnit) -> bool {
    let program = engine.program;
    // What is wrong with its files is told of a unit that is named like the engine.
    let Ok(service) = Service::of(files) else {
        return files.names.iter().any(|name| name.contains(program));
    };
    // An engine of this host is root's.
    if service.other_user().is_some() {
        return false;
    }
    // A drop-in of all services says nothing of one.
    let of_all = |file: &Path| {
        file.parent()
            .is_some_and(|folder| folder.ends_with("service.d"))
    };
    let own = service.commands.iter().filter(|(file, _)| !of_all(file));
    let environment = environment(root, &service);
    own.map(|(_, line)| line).any(|line| {
        let line = line.trim_start_matches(PREFIXES);
        let words: Vec<String> = split(line, true)
            .into_iter()
            .map(|(word, _)| word)
            .collect();
        let Some((first, rest)) = words.split_first() else {
            return false;
        };
        let by_path = |word: &String| word.starts_with('/') && is_program(word, program);
        starts(&words, program)
            || may_be(first, program)
            || rest.iter().any(by_path)
            || is_wrapper(first) && rest.iter().any(|word| calls(word, &environment, program))
            || snap(&words, program).is_some()
            || script(root, first).is_some_and(|text| calls(&text, &environment, program))
            || starts_under_another_name(root, &words, engine)
    })
}

/// The assignments of a service, a line each.
fn environment(root: &Path, service: &Service) -> String {
    let set = service.environment.iter();
    let set = set.map(|(name, value)| format!("{name}={value}"));
    let files = service.files.iter().filter_map(|(name, _)| {
        let (file, _) = plain_file::open(&root.join(name.trim_start_matches('/'))).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_SCRIPT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    set.chain(files).collect::<Vec<_>>().join("\n")
}

/// Whether words start the program by a link or a copy, as far as its file tells.
fn starts_under_another_name(root: &Path, words: &[String], engine: &EngineUnit) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    if rest
        .first()
        .is_some_and(|next| OTHER_USES.contains(&next.as_str()))
    {
        return false;
    }
    let in_text = |text: &String| executable::is_in_text(root, text, engine.program);
    executable::is_engine(root, words, engine)
        || is_wrapper(first) && rest.iter().any(in_text)
        || script(root, first).as_ref().is_some_and(in_text)
}

/// Whether a word is that program, or a release of it: `/opt/containerd-2.1`.
pub(super) fn is_program(word: &str, program: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    let Some(rest) = name.strip_prefix(program) else {
        return false;
    };
    let release = rest.trim_start_matches(['-', '_', 'v']);
    (rest.is_empty() || release.starts_with(|sign: char| sign.is_ascii_digit()))
        && !word.contains(':')
}

/// Whether a word with a specifier or an escape in its last part may be that program:
/// `/usr/bin/%p`.
fn may_be(word: &str, program: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.split_once(MARKS)
        .is_some_and(|(begin, _)| program.starts_with(begin))
}

fn is_wrapper(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    WRAPPERS.contains(&name)
}

/// Whether these words are a command that has the program serve, by a wrapper or not.
fn starts<T: AsRef<str>>(words: &[T], program: &str) -> bool {
    let mut words = words.iter().map(AsRef::as_ref);
    let is_there = match words.next() {
        Some(first) if is_wrapper(first) => is_wrapped(&mut words, program),
        Some(first) => is_program(first, program),
        None => false,
    };
    is_there && words.next().is_none_or(|next| !OTHER_USES.contains(&next))
}

/// Whether a wrapper's words have the program, before any other command. Stops behind it.
fn is_wrapped<'a>(words: &mut impl Iterator<Item = &'a str>, program: &str) -> bool {
    let mut is_value = false;
    for word in words {
        if is_program(word, program) {
            return true;
        }
        let is_option = word.starts_with('-');
        let is_command =
            word.starts_with(|sign: char| sign.is_ascii_alphabetic()) && !word.contains('=');
        if is_command && !is_value && !is_wrapper(word) {
            return false;
        }
        is_value = is_option && !word.contains('=');
    }
    false
}

/// Whether a text of a shell names the program by its whole path, as for a variable, and not only to
/// look whether it is there or for another use.
fn names_path(text: &str, program: &str) -> bool {
    let ends = |sign: char| sign.is_ascii_whitespace() || "\"';&|()`{}$=<>".contains(sign);
    let is_path = |word: &str| {
        let (before, path) = word.split_at(word.find('/').unwrap_or(word.len()));
        // `${CD:-/usr/bin/containerd}`
        (before.is_empty() || before.ends_with(['-', '+', '?'])) && is_program(path, program)
    };
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.into_iter().any(|line| {
        let words: Vec<&str> = line.split(ends).filter(|word| !word.is_empty()).collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        (0..words.len()).any(|at| {
            let before = at.checked_sub(1).map_or("", word);
            is_path(word(at))
                && !["-e", "-f", "-x"].contains(&before)
                && !OTHER_USES.contains(&word(at + 1))
        })
    })
}

/// Whether a text of a shell has that program serve, or may. Its own words, as for a
/// `systemctl restart`, do not count. `environment`: assignments that hold before it.
fn calls(text: &str, environment: &str, program: &str) -> bool {
    let is_assignment = |word: &str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(is_name)
    };
    let mut text = text.replace("\\\n", " ");
    for search in ["which", "command -v", "type -P"] {
        text = text.replace(&format!("$({search} {program})"), program);
        text = text.replace(&format!("`{search} {program}`"), program);
    }
    let is_comment = |line: &&str| !line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().filter(is_comment).collect();
    let known: Vec<&str> = environment.lines().chain(lines.iter().copied()).collect();
    let commands = lines
        .iter()
        .flat_map(|line| line.split([';', '&', '|', '(', ')', '`']));
    let mut commands = commands.map(|command| {
        let words = command
            .split_ascii_whitespace()
            .map(|word| word.trim_matches(['"', '\'']))
            .skip_while(|word| BEFORE_COMMANDS.contains(word) || is_assignment(word));
        words.collect::<Vec<_>>()
    });
    names_path(&text, program)
        || commands.any(|words| starts(&words, program) || starts_value(&words, &known, program))
}

/// Whether the program of these words is a variable's value, and one of those lines gives it this
/// program: `BIN=containerd`, `${BIN:-containerd}`, `CMD=(containerd -c /x)`, `set -- containerd`,
/// `for bin in containerd`.
fn starts_value(words: &[&str], lines: &[&str], program: &str) -> bool {
    let of_wrapper = words.first().is_some_and(|first| is_wrapper(first));
    let has_variable = |word: &&str| word.contains('$');
    let at = match words.first() {
        Some(first) if has_variable(first) => Some(0),
        _ if of_wrapper => words.iter().position(has_variable),
        _ => None,
    };
    let Some(word) = at.and_then(|at| words.get(at)) else {
        return false;
    };
    let next = at.and_then(|at| words.get(at + 1));
    if next.is_some_and(|next| OTHER_USES.contains(next)) {
        return false;
    }
    let mut names = word.split('$').skip(1).map(|name| {
        let name = name.trim_start_matches('{');
        let ends = |sign: char| sign != '_' && !sign.is_ascii_alphanumeric();
        name.split(ends).next().unwrap_or_default()
    });
    names.any(|name| lines.iter().any(|line| gives(line, name, program)))
}

/// Whether a line gives a variable a value that has the program; `name` is empty for `$@`.
fn gives(line: &str, name: &str, program: &str) -> bool {
    let ends = |sign: char| sign.is_ascii_whitespace() || "\"'&|()`{}".contains(sign);
    let has_program = |value: &str| {
        let value = value.split_once(';').map_or(value, |(value, _)| value);
        value.split(ends).any(|word| is_program(word, program))
    };
    let is_apart =
        |before: &str| !before.ends_with(|sign: char| sign == '_' || sign.is_ascii_alphanumeric());
    let name = if name.is_empty() { "set" } else { name };
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + name.len()..).unwrap_or_default();
        let value = ["=", "+=", ":=", ":-", "-", ":+", "+", " in ", " -- "]
            .iter()
            .find_map(|sign| after.strip_prefix(sign));
        is_apart(before) && value.is_some_and(has_program)
    })
}

/// The snap whose service these words start, if the service is that engine: `snap run docker.dockerd`.
pub(super) fn snap<'a>(words: &'a [String], program: &str) -> Option<&'a str> {
    let [first, run, .., name] = words else {
        return None;
    };
    let is_snap = first.rsplit('/').next() == Some("snap") && run == "run";
    let (snap, service) = name.split_once('.').filter(|_| is_snap)?;
    (service.strip_prefix("daemon-").unwrap_or(service) == program).then_some(snap)
}

/// The path of a program as systemd finds it, seen from the root directory.
pub(super) fn program_path(root: &Path, word: &str) -> PathBuf {
    let path = Path::new(word);
    let is_there = |folder: &&&str| root.join(folder).join(path).symlink_metadata().is_ok();
    let found = PROGRAMS.iter().find(is_there);
    let folder = found.copied().unwrap_or("usr/bin");
    // An absolute path replaces the folder.
    Path::new("/").join(folder).join(path)
}

/// The text of a program that is a script.
pub(super) fn script(root: &Path, word: &str) -> Option<String> {
    let end = Executable::find(root, word).end;
    let (file, _) = plain_file::open(&root.join(end.strip_prefix("/").ok()?)).ok()?;
    let mut file = io::BufReader::new(file.take(MAX_SCRIPT));
    if !io::BufRead::fill_buf(&mut file).ok()?.starts_with(SCRIPT) {
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_the_engine_is_told_from_other_uses_of_its_name() {
        for (text, wanted) in [
            ("exec /usr/bin/containerd --config /x", true),
            ("set -e\nA=b exec containerd", true),
            ("if true; then containerd -c /x & fi", true),
            ("/opt/cd/containerd \\\n --config /x", true),
            ("nice -n 5 /usr/bin/containerd", true),
            ("runuser -u root -- containerd -c /x", true),
            ("env A=b taskset -c 0,1 containerd", true),
            ("sudo systemctl restart containerd", false),
            ("timeout 5 systemctl restart containerd", false),
            ("env -i systemctl restart containerd", false),
            ("exec \"/opt/bin/containerd-2.1\" -c /x", true),
            ("# exec containerd", false),
            ("systemctl restart containerd", false),
            ("containerd --version", false),
            ("BIN=/usr/bin/containerd\nexec \"$BIN\" --config /x", true),
            ("BIN='/opt/cd/containerd-2.1'; $BIN", true),
            ("exec ${CD:-/usr/bin/containerd} --config /x", true),
            ("exec ${CD-/usr/bin/containerd}", true),
            ("exec ${CD:=/usr/bin/containerd}", true),
            ("start-stop-daemon --exec=/usr/bin/containerd", true),
            ("BIN=containerd; exec \"$BIN\"", true),
            ("BIN='containerd'\nexec ${BIN} --config /x", true),
            ("readonly BIN=containerd-2.1\nnice -n 5 $BIN", true),
            ("exec ${CD:-containerd} -c /x", true),
            (": \"${CD:=containerd}\"\n\"$CD\" &", true),
            ("BIN=$(command -v containerd)\nexec \"$BIN\"", true),
            ("exec \"$(which containerd)\" -c /x", true),
            ("exec `which containerd`", true),
            ("CMD=\"containerd --config /x\"\neval $CMD", true),
            ("cmd=(containerd -c /x)\nexec \"${cmd[@]}\"", true),
            ("set -- containerd -c /x\nexec \"$@\"", true),
            ("for bin in buildkitd containerd; do $bin & done", true),
            ("NAME=containerd\nexec /usr/local/bin/$NAME", true),
            ("{ BIN=containerd; exec $BIN; }", true),
            ("UNIT=containerd\nsystemctl restart \"$UNIT\"", false),
            ("UNIT=containerd\n\"$KUBECTL\" get nodes", false),
            ("BIN=containerd\n\"$BIN\" --version", false),
            ("BIN=containerd-shim-runc-v2\nexec $BIN", false),
            ("X=kubelet; UNIT=containerd\nexec $X", false),
            ("# BIN=containerd\nexec $BIN", false),
            ("MYBIN=containerd\nexec $BIN", false),
            ("[ -x /usr/bin/containerd ] || exit 0", false),
            ("X=/usr/bin/containerd-shim-runc-v2", false),
            ("docker run -v /usr/bin/containerd:/x y", false),
            ("# BIN=/usr/bin/containerd", false),
            (
                "/usr/bin/containerd config default >/etc/containerd/config.toml",
                false,
            ),
            ("pkill containerd; journalctl -u containerd", false),
            ("exec containerd-shim-runc-v2", false),
            ("exec containerd-stargz-grpc", false),
            ("ctr -a /run/containerd/containerd.sock images ls", false),
        ] {
            assert_eq!(calls(text, "", "containerd"), wanted, "{text}");
        }
    }
}

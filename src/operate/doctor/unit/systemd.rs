//! Asks the systemd that runs what it makes of a unit. What it says is compared with what the
//! unit's files say: it shows a command line without its quotes, so only both together tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use super::super::program::Program;
use super::command_line::CommandLine;
use super::service::{ELSEWHERE, Service};
use super::words::{MARKS, VARIABLE, is_name, split};

/// Where systemd is what the system was booted with (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";
const PROPERTIES: &str = "LoadState,NeedDaemonReload,ExecStart,Environment,EnvironmentFiles,PassEnvironment,UnsetEnvironment,WorkingDirectory,\
    BindPaths,BindReadOnlyPaths,ExtensionDirectories,ExtensionImages,InaccessiblePaths,MountImages,RootDirectory,RootImage,TemporaryFileSystem";

/// What older releases show in place of a variable.
const UNPRINTABLE: &str = "[unprintable]";

/// What systemd says of units.
#[derive(Debug, Clone, Default)]
pub(super) struct SystemdAnswers {
    units: BTreeMap<String, Result<UnitProperties, String>>,
    /// What it gives to every service.
    environment: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct UnitProperties(BTreeMap<String, Vec<String>>);

impl SystemdAnswers {
    /// Asks it of these units. Where systemd doesn't run, or nothing can be asked from here, as in
    /// another root directory, the answers are empty.
    pub(super) async fn ask(units: &[String]) -> Self {
        let mut this = Self::default();
        if !Path::new(BOOTED).is_dir() {
            return this;
        }
        let systemctl = Program::file(Path::new("systemctl"));
        // A template is no unit.
        for unit in units.iter().filter(|unit| !unit.contains("@.")) {
            let words =
                ["show", "--no-pager", "-p", PROPERTIES, "--", unit.as_str()].map(OsString::from);
            let answer = match systemctl.run(&words).await {
                Ok(Ok(text)) if text.trim().is_empty() => continue,
                Ok(Ok(text)) => Ok(UnitProperties::read(&text)),
                Ok(Err(why)) => Err(format!("systemctl show {unit}: {why}")),
                // There is no such program.
                Err(_) if !systemctl_is_there() => continue,
                Err(why) => Err(why),
            };
            this.units.insert(unit.clone(), answer);
        }
        let words = ["show-environment".into()];
        if let Ok(Ok(text)) = systemctl.run(&words).await {
            this.environment = Some(shown_environment(&text));
        }
        this
    }

    pub(super) fn environment(&self) -> Option<&BTreeMap<String, String>> {
        self.environment.as_ref()
    }

    /// In what systemd and the unit's files differ. `service`: none where the files have no such
    /// unit, or a masked one.
    pub(super) fn difference(
        &self,
        unit: &str,
        service: Option<(&Service, &CommandLine)>,
    ) -> Option<String> {
        let asked = match self.units.get(unit)? {
            Ok(asked) => asked,
            Err(why) => return Some(format!("systemd does not say how it starts it: {why}")),
        };
        let state = asked.first("LoadState");
        let (service, command) = match service {
            Some(_) if state != "loaded" => {
                return Some(format!(
                    "systemd says {state:?} of it, and has not loaded it"
                ));
            }
            None if state == "loaded" => {
                return Some("systemd has loaded it, but its file was not found".to_owned());
            }
            Some(service) => service,
            None => return None,
        };
        let setting = asked.differs(service, command)?;
        Some(if asked.first("NeedDaemonReload") == "yes" {
            format!(
                "it changed since systemd read it ({setting}; `systemctl daemon-reload` has it read anew)"
            )
        } else {
            format!("systemd has another {setting} than its files say")
        })
    }
}

fn systemctl_is_there() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("systemctl").exists())
}

impl UnitProperties {
    /// `KEY=VALUE`, line by line. A line without a key goes on with the value before it.
    fn read(text: &str) -> Self {
        let mut this = Self::default();
        let mut last = String::new();
        for line in text.lines() {
            let known = line
                .split_once('=')
                .filter(|(key, _)| PROPERTIES.split(',').any(|known| known == *key));
            if let Some((key, value)) = known {
                key.clone_into(&mut last);
                let values = this.0.entry(last.clone()).or_default();
                values.push(value.to_owned());
            } else if let Some(value) = this.0.get_mut(&last).and_then(|all| all.last_mut()) {
                value.push('\n');
                value.push_str(line);
            }
        }
        this
    }

    fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn first(&self, key: &str) -> &str {
        self.all(key)
            .first()
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// Whether it shows these variables. Older releases (239 of RHEL 8) show one that has a blank as
    /// `[unprintable]` (`bus_print_property` in src/shared/bus-unit-util.c).
    fn has_environment(&self, own: &BTreeMap<String, String>) -> bool {
        let lines = self.all("Environment").iter();
        let words = lines.flat_map(|line| split(line, false));
        let words: Vec<String> = words.map(|(word, _)| word).collect();
        let hidden = words.iter().filter(|word| *word == UNPRINTABLE).count();
        let shown: BTreeMap<&str, &str> = words
            .iter()
            .filter_map(|word| word.split_once('='))
            .collect();
        let is_own =
            |(name, value): (&&str, &&str)| own.get(*name).is_some_and(|own| matches(own, value));
        let mut rest = own
            .iter()
            .filter(|(name, _)| !shown.contains_key(name.as_str()));
        own.len() == shown.len() + hidden
            && shown.iter().all(is_own)
            && rest.all(|(_, value)| value.contains([' ', '\n']) || value.contains(MARKS))
    }

    /// The setting of which it says something else.
    fn differs(&self, service: &Service, command: &CommandLine) -> Option<&'static str> {
        let [shown] = self.all("ExecStart") else {
            return Some("ExecStart=");
        };
        let path = between(shown, "path=", " ; argv[]=");
        let argv = between(shown, " ; argv[]=", " ; ignore_errors=");
        let program = command.words.first().map(String::as_str);
        let same_program = match (path, program) {
            // One without a slash is looked up on systemd's own search path.
            (Some(path), Some(program)) if !program.contains('/') => {
                Path::new(path).file_name() == Path::new(program).file_name()
            }
            (Some(path), Some(program)) => matches(program, path),
            _ => false,
        };
        if !same_program || !argv.is_some_and(|argv| matches(&command.shown(), argv)) {
            return Some("ExecStart=");
        }
        if !self.has_environment(&service.environment) {
            return Some("Environment=");
        }
        let files: Vec<String> = service
            .files
            .iter()
            .map(|(path, optional)| {
                let optional = if *optional { "yes" } else { "no" };
                format!("{path} (ignore_errors={optional})")
            })
            .collect();
        let shown: Vec<&String> = self
            .all("EnvironmentFiles")
            .iter()
            .filter(|line| !line.is_empty())
            .collect();
        let is_same = shown.len() == files.len()
            && shown
                .iter()
                .zip(&files)
                .all(|(shown, own)| own.contains('%') || is_same_path(shown, own));
        if !is_same {
            return Some("EnvironmentFile=");
        }
        let words = |key: &str| -> BTreeSet<String> {
            let words = self.all(key).iter().flat_map(|line| split(line, false));
            words.map(|(word, _)| word).collect()
        };
        if words("PassEnvironment") != service.passed
            || words("UnsetEnvironment") != service.unset.iter().cloned().collect()
        {
            return Some("PassEnvironment= or UnsetEnvironment=");
        }
        ELSEWHERE.into_iter().find(|key| {
            let shown = self.first(key);
            let own = service.elsewhere.get(*key).map_or("", String::as_str);
            match *key {
                "WorkingDirectory" => {
                    !is_same_path(shown.trim_start_matches('!'), own.trim_start_matches('-'))
                }
                _ => shown.is_empty() != own.is_empty(),
            }
        })
    }
}

/// Whether two texts are one path: systemd shows it without doubled slashes and one at its end.
fn is_same_path(one: &str, other: &str) -> bool {
    one == other
        || Path::new(one)
            .components()
            .eq(Path::new(other).components())
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    rest.split_once(to).map(|(found, _)| found)
}

/// Whether systemd's text is that of a unit's file, in which marks stand for what only systemd
/// knows. Some releases show a word with quotes or escapes: they count on neither side.
fn matches(own: &str, shown: &str) -> bool {
    let plain = |text: &str| -> String {
        let signs = text.chars().filter(|sign| !"\"'\\".contains(*sign));
        let text: String = signs.collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (own, shown) = (plain(own), plain(shown));
    let mut parts = own.split(MARKS);
    let Some(mut rest) = parts.next().and_then(|first| shown.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// `NAME=VALUE`, line by line; one that is shown with escapes has a value that is not known.
fn shown_environment(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .filter(|(name, _)| is_name(name))
        .map(|(name, value)| {
            let is_plain = !value.contains(['\'', '"', '\\', '$']);
            let value = if is_plain {
                value.to_owned()
            } else {
                VARIABLE.to_string()
            };
            (name.to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "ExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// $O ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n\
        EnvironmentFiles=/etc/a (ignore_errors=yes)\nEnvironment=O=-D \"P=a b\"\nLoadState=loaded\nNeedDaemonReload=no\n";

    fn service(command: &str) -> (Service, CommandLine) {
        let service = Service {
            environment: [("O", "-D"), ("P", "a b")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            files: vec![("/etc/a".to_owned(), true)],
            ..Service::default()
        };
        (service, CommandLine::read(command).unwrap())
    }

    fn answers(text: &str) -> SystemdAnswers {
        SystemdAnswers {
            units: [("u".to_owned(), Ok(UnitProperties::read(text)))].into(),
            environment: None,
        }
    }

    fn difference(text: &str, command: &str) -> Option<String> {
        let (service, command) = service(command);
        answers(text).difference("u", Some((&service, &command)))
    }

    const OWN: &str = "/usr/bin/dockerd -H fd:// $O";

    #[test]
    fn what_systemd_shows_is_the_same_or_the_setting_is_named() {
        for own in [
            OWN,
            "-/usr/bin/dockerd \"-H\" fd://  $O",
            "/usr/bin/dockerd -H %x $O",
            "@/usr/bin/dockerd /usr/bin/dockerd -H fd:// $O",
        ] {
            assert_eq!(difference(SHOWN, own), None, "{own}");
        }
        let without_path = SHOWN.replace("/usr/bin/dockerd", "dockerd");
        assert_eq!(difference(&without_path, "dockerd -H fd:// $O"), None);
        for (from, to, wanted) in [
            ("fd:// $O", "fd:// --x $O", "another ExecStart="),
            ("path=/usr", "path=/opt", "another ExecStart="),
            ("O=-D", "O=-l", "another Environment="),
            ("O=-D", "O=-D Q=x", "another Environment="),
            ("/etc/a", "/etc/b", "another EnvironmentFile="),
            ("=yes)", "=no)", "another EnvironmentFile="),
            ("=loaded", "=bad-setting", "says \"bad-setting\" of it"),
            ("=loaded", "=not-found", "has not loaded it"),
        ] {
            let found = difference(&SHOWN.replace(from, to), OWN).unwrap();
            assert!(found.contains(wanted), "{from} {to}: {found}");
        }
        let stale = SHOWN.replace("Reload=no", "Reload=yes");
        assert_eq!(difference(&stale, OWN), None);
        let found = difference(&stale.replace("$O", ""), OWN).unwrap();
        assert!(found.contains("systemctl daemon-reload"), "{found}");
    }

    #[test]
    fn a_variable_that_an_older_systemd_does_not_show_is_one_that_has_a_blank() {
        let hidden = SHOWN.replace("\"P=a b\"", UNPRINTABLE);
        assert_eq!(difference(&hidden, OWN), None);
        for text in [
            // One too many, one too few, and a plain one that is not shown.
            hidden.replace(UNPRINTABLE, "[unprintable] [unprintable]"),
            hidden.replace(UNPRINTABLE, ""),
            hidden.replace("O=-D", UNPRINTABLE),
            hidden.replace("O=-D [unprintable]", "\"P=a b\" [unprintable]"),
        ] {
            let found = difference(&text, OWN).unwrap();
            assert!(found.contains("another Environment="), "{text}: {found}");
        }
    }

    #[test]
    fn a_unit_that_only_one_of_the_two_has_is_a_difference() {
        assert!(answers(SHOWN).difference("u", None).is_some());
        for state in ["masked", "not-found"] {
            let text = SHOWN.replace("=loaded", &format!("={state}"));
            assert_eq!(answers(&text).difference("u", None), None);
        }
        assert_eq!(SystemdAnswers::default().difference("u", None), None);
        let silent = SystemdAnswers {
            units: [("u".to_owned(), Err("no answer".to_owned()))].into(),
            environment: None,
        };
        assert!(silent.difference("u", None).unwrap().contains("no answer"));
    }

    #[test]
    fn a_variable_that_systemd_shows_with_escapes_is_not_known() {
        let found = shown_environment("A=b c\nB=$'x\\ny'\nno\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found["A"].as_str(), found["B"].as_str()), ("b c", "\u{3}"));
    }
}

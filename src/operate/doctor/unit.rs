//! The command line by which systemd starts an engine, read from its unit: one that doesn't run is
//! started with it, and may be given another configuration than the usual one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::config_files::read;

/// Where units are, the first one counts (systemd.unit(5), "Unit File Load Path").
const FOLDERS: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Signs before the program's path (systemd.service(5), "Command Lines").
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// The command line of a unit's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitCommand {
    /// The program first.
    pub(crate) words: Vec<String>,
    /// The file that says so.
    pub(crate) file: PathBuf,
}

impl UnitCommand {
    /// The last value of an option, which is the one that counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<String> {
        super::probe::options(&self.words, names).pop()
    }
}

/// What starts this service; none where there is no such unit, or it is masked.
pub(crate) fn command(unit: &str) -> Option<UnitCommand> {
    command_in(Path::new("/"), unit)
}

fn command_in(root: &Path, unit: &str) -> Option<UnitCommand> {
    let folders: Vec<PathBuf> = FOLDERS
        .iter()
        .map(|folder| root.join(folder.trim_start_matches('/')))
        .collect();
    let main = folders
        .iter()
        .map(|folder| folder.join(unit))
        .find(|path| path.symlink_metadata().is_ok())?;
    let mut service = Service::default();
    service.read(&main);
    for drop_in in drop_ins(&folders, unit) {
        service.read(&drop_in);
    }
    let (file, line) = service.command?;
    let mut variables = service.variables;
    for (path, optional) in &service.files {
        let path = root.join(path.trim_start_matches('/'));
        match read(&path) {
            Ok(text) => variables.extend(text.lines().filter_map(assignment)),
            Err(_) if *optional => {}
            // systemd would not start it.
            Err(_) => return None,
        }
    }
    let words = words(&line, &variables);
    (!words.is_empty()).then_some(UnitCommand { words, file })
}

/// The drop-ins of a unit in the order of their names; of one name the first folder's.
fn drop_ins(folders: &[PathBuf], unit: &str) -> Vec<PathBuf> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        for kind in [unit, "service"] {
            let entries = fs::read_dir(folder.join(format!("{kind}.d")));
            let names: BTreeSet<_> = entries
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|end| end == "conf"))
                .collect();
            for path in names {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                found.entry(name.into_owned()).or_insert(path);
            }
        }
    }
    found.into_values().collect()
}

/// What unit files say of the command.
#[derive(Default)]
struct Service {
    command: Option<(PathBuf, String)>,
    variables: BTreeMap<String, String>,
    files: Vec<(String, bool)>,
}

impl Service {
    fn read(&mut self, path: &Path) {
        let text = read(path).unwrap_or_default();
        let mut section = String::new();
        for line in logical_lines(&text) {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                name.trim_end_matches(']').clone_into(&mut section);
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "Service") else {
                continue;
            };
            let value = value.trim();
            match (key.trim(), value) {
                ("ExecStart", "") => self.command = None,
                ("ExecStart", _) => self.command = Some((path.to_owned(), value.to_owned())),
                ("Environment", "") => self.variables.clear(),
                ("Environment", _) => {
                    let all = split(value).into_iter();
                    self.variables
                        .extend(all.filter_map(|(word, _)| assignment(&word)));
                }
                ("EnvironmentFile", "") => self.files.clear(),
                ("EnvironmentFile", _) => {
                    let path = value.strip_prefix('-');
                    self.files
                        .push((path.unwrap_or(value).to_owned(), path.is_some()));
                }
                _ => {}
            }
        }
    }
}

/// Lines without comments; one that ends with a backslash goes on in the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        goes_on = more;
    }
    lines
}

/// `KEY=VALUE`, as a file of an environment has it.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let value = value.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((key.trim().to_owned(), inner.unwrap_or(value).to_owned()))
}

/// Words, and whether each was in quotes.
fn split(line: &str) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut quote = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (sign, quote) {
            ('\\', _) => {
                let entry = word.get_or_insert_default();
                entry.0.extend(signs.next());
            }
            (sign, Some(open)) if sign == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(sign);
                word.get_or_insert_default().1 = true;
            }
            (sign, None) if sign.is_whitespace() => words.extend(word.take()),
            (sign, _) => word.get_or_insert_default().0.push(sign),
        }
    }
    words.extend(word);
    words
}

/// The words that the program gets, with the values of variables.
fn words(line: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let program = line.trim_start_matches(PREFIXES);
    let prefix = line.get(..line.len() - program.len()).unwrap_or_default();
    let mut found = Vec::new();
    for (at, (word, quoted)) in split(program).into_iter().enumerate() {
        if at == 1 && prefix.contains('@') {
            // The name that it is called by.
            continue;
        }
        if prefix.contains(':') {
            found.push(word);
            continue;
        }
        let whole = word.strip_prefix('$').filter(|name| {
            !quoted
                && !name.is_empty()
                && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        });
        match whole {
            // Such a word is as many as its value has.
            Some(name) => {
                let value = variables.get(name).map(String::as_str).unwrap_or_default();
                found.extend(split(value).into_iter().map(|(word, _)| word));
            }
            None => found.push(substituted(&word, variables)),
        }
    }
    found
}

fn substituted(word: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            out.push_str(variables.get(name).map(String::as_str).unwrap_or_default());
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn started(files: &[(&str, &str)]) -> Option<Vec<String>> {
        command_in(root(files).path(), "docker.service").map(|command| command.words)
    }

    const USUAL: (&str, &str) = (
        "usr/lib/systemd/system/docker.service",
        "[Unit]\nExecStart=/no\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $OPTIONS\n",
    );

    #[test]
    fn a_command_line_is_read_with_its_drop_ins_and_variables_as_systemd_reads_it() {
        let of = |more: &[(&str, &str)]| {
            started(&[&[USUAL], more].concat()).map(|words| words.join(" "))
        };
        assert_eq!(of(&[]).as_deref(), Some("/usr/bin/dockerd -H fd://"));
        for (path, text, wanted) in [
            (
                "etc/systemd/system/docker.service.d/o.conf",
                "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --authorization-plugin=opa\n",
                "/usr/bin/dockerd --authorization-plugin=opa",
            ),
            (
                "etc/systemd/system/docker.service",
                "[Service]\nExecStart=-@/usr/bin/dockerd docker \"--config-file=/a b\"\n",
                "/usr/bin/dockerd --config-file=/a b",
            ),
            (
                "usr/lib/systemd/system/docker.service.d/e.conf",
                "[Service]\nEnvironment='OPTIONS=-l debug --config-file /x' A=b\n",
                "/usr/bin/dockerd -H fd:// -l debug --config-file /x",
            ),
            (
                "etc/systemd/system/service.d/e.conf",
                "[Service]\nEnvironment=D=/y\nExecStart=\nExecStart=/usr/bin/dockerd --config-file=${D}/z $$\n",
                "/usr/bin/dockerd --config-file=/y/z $",
            ),
            (
                "etc/systemd/system/docker.service.d/e.conf",
                "[Service]\nEnvironmentFile=-/none\n# no\n;ExecStart=/no\nExecStart=\nExecStart=:/d $OPTIONS\n",
                "/d $OPTIONS",
            ),
        ] {
            assert_eq!(of(&[(path, text)]).as_deref(), Some(wanted), "{text}");
        }
        let by_file = of(&[
            (
                "etc/systemd/system/docker.service.d/e.conf",
                "[Service]\nEnvironmentFile=/etc/default/docker\n",
            ),
            ("etc/default/docker", "# x\nOPTIONS=\"--config-file /x\"\n"),
        ]);
        assert_eq!(
            by_file.as_deref(),
            Some("/usr/bin/dockerd -H fd:// --config-file /x")
        );
    }

    #[test]
    fn a_later_drop_in_counts_and_of_one_name_the_administrators() {
        let drop_in = |text: &str| format!("[Service]\nExecStart=\nExecStart=/{text}\n");
        let all = [
            (
                "usr/lib/systemd/system/docker.service.d/20.conf",
                drop_in("b"),
            ),
            (
                "usr/lib/systemd/system/docker.service.d/10.conf",
                drop_in("a"),
            ),
            ("etc/systemd/system/docker.service.d/10.conf", drop_in("c")),
        ];
        let files: Vec<_> = all
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        assert_eq!(started(&[&[USUAL], &files[..2]].concat()).unwrap(), ["/b"]);
        let two: Vec<_> = [USUAL, files[1], files[2]].to_vec();
        assert_eq!(started(&two).unwrap(), ["/c"]);
    }

    #[test]
    fn a_unit_that_is_masked_or_lacks_its_environment_starts_nothing() {
        assert_eq!(started(&[]), None);
        let masked = root(&[USUAL]);
        fs::create_dir_all(masked.path().join("etc/systemd/system")).unwrap();
        std::os::unix::fs::symlink(
            "/dev/null",
            masked.path().join("etc/systemd/system/docker.service"),
        )
        .unwrap();
        assert_eq!(command_in(masked.path(), "docker.service"), None);
        let lacking = [
            USUAL,
            (
                "etc/systemd/system/docker.service.d/e.conf",
                "[Service]\nEnvironmentFile=/none\n",
            ),
        ];
        assert_eq!(started(&lacking), None);
    }
}

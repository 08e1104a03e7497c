//! What rootpin changed on this host, so that it can be taken back: a file beside rootpin.toml,
//! written before anything else is.

mod lock;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use tempfile::NamedTempFile;

use rootpin_trust::image::Digest;

use crate::operate::leftover::PREFIX;
use crate::problem::Problem;
use crate::trusted_path::{self, FileOwner, Owner, check_way};

pub(crate) use lock::InstallLock;

const FOLDER_HINT: &str = "what rootpin writes is recorded there first";
/// Its name.
const FILE: &str = "installed.json";
/// The version of its format.
const VERSION: u8 = 1;
/// Some hundred configurations of the greatest length.
const MAX_BYTES: u64 = 64 << 20;

/// What was changed, the first change first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallRecord {
    version: u8,
    pub(crate) texts: Vec<TextRecord>,
    pub(crate) programs: Vec<ProgramRecord>,
    pub(crate) modes: Vec<ModeRecord>,
    /// Whether its own folder was missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) made_folder: bool,
}

/// A text that was changed or is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextRecord {
    pub(crate) path: PathBuf,
    /// None: there was no such file.
    pub(crate) before: Option<String>,
    pub(crate) after: String,
    /// Folders that were made for it, the outermost first.
    pub(crate) folders: Vec<PathBuf>,
    /// Copies of earlier texts beside it.
    pub(crate) backups: Vec<PathBuf>,
    /// `sha256:…` of texts that rootpin wrote, or was about to write, before this one: where the host
    /// went down meanwhile, one of them is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<String>,
}

/// A program that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramRecord {
    pub(crate) path: PathBuf,
    /// `sha256:…` of its bytes.
    pub(crate) digest: String,
    pub(crate) folders: Vec<PathBuf>,
    /// Copies of what was there; the first is the oldest.
    pub(crate) backups: Vec<PathBuf>,
    /// Copies of rootpin's own programs of earlier releases: nobody wants them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) own_backups: Vec<PathBuf>,
    /// As of a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<String>,
    /// `sha256:…` of what is about to be replaced.
    #[serde(skip)]
    pub(crate) replaces: Option<String>,
}

/// A file or folder that was given to root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeRecord {
    pub(crate) path: PathBuf,
    pub(crate) before: FileOwner,
    pub(crate) mode: u32,
}

impl Default for InstallRecord {
    fn default() -> Self {
        Self {
            version: VERSION,
            texts: Vec::new(),
            programs: Vec::new(),
            modes: Vec::new(),
            made_folder: false,
        }
    }
}

impl InstallRecord {
    /// One of texts alone.
    pub(crate) fn of_texts(texts: Vec<TextRecord>) -> Self {
        Self {
            texts,
            ..Self::default()
        }
    }

    /// Where it is, by the place of rootpin.toml.
    pub(crate) fn beside(config: &Path) -> PathBuf {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        config.with_file_name(FILE)
    }

    /// Reads it; an empty one, where there is none.
    ///
    /// # Errors
    /// Another user can change it, it is not understood, or it can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(path, &error)),
            Ok(_) => {}
        }
        check_way(path, Owner::RootOrCaller).map_err(|fault| {
            Problem::hinted(
                fault.message,
                format!("see that nobody changed it, then {}", fault.hint),
            )
        })?;
        let text = read(path).map_err(|error| unreadable(path, &error))?;
        parse(path, &text).map_err(|why| why.about(path.display()))
    }

    /// Writes it; removes it, if it is empty.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Problem> {
        let is_empty = self.texts.is_empty() && self.programs.is_empty() && self.modes.is_empty();
        if let Some(path) = self.paths().find(|path| path.is_relative()) {
            let what = format!("{} does not begin at the root directory", path.display());
            return Err(Problem::hinted(what, "name it by its whole path"));
        }
        let done = if is_empty {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
            replace(path, &text)
        };
        done.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => format!("run as root; {FOLDER_HINT}"),
                ErrorKind::ReadOnlyFilesystem => {
                    format!("make {} writable; {FOLDER_HINT}", shown(path))
                }
                _ => FOLDER_HINT.to_owned(),
            };
            Problem::hinted(format!("{}: {error}", path.display()), hint)
        })
    }

    /// What it would take back.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let texts = self.texts.iter().map(|text| &text.path);
        let programs = self.programs.iter().map(|program| &program.path);
        let modes = self.modes.iter().map(|mode| &mode.path);
        texts.chain(programs).chain(modes).map(PathBuf::as_path)
    }

    /// Takes up what is about to be done, on top of what is recorded.
    pub(crate) fn add(&mut self, more: Self) {
        for new in more.texts {
            match self.texts.iter_mut().find(|known| known.path == new.path) {
                Some(known) => known.follow(new),
                None => self.texts.push(new),
            }
        }
        for new in more.programs {
            match self
                .programs
                .iter_mut()
                .find(|known| known.path == new.path)
            {
                Some(known) => {
                    let is_ours = new.replaces.is_some_and(|there| known.is_own(&there));
                    let copies = if is_ours {
                        &mut known.own_backups
                    } else {
                        &mut known.backups
                    };
                    copies.extend(new.backups);
                    remember(&mut known.earlier, &known.digest, &new.digest);
                    known.digest = new.digest;
                }
                None => self.programs.push(new),
            }
        }
        for new in more.modes {
            match self.modes.iter_mut().find(|known| known.path == new.path) {
                Some(known) => known.mode = new.mode,
                None => self.modes.push(new),
            }
        }
    }
}

/// A record by its text.
fn parse(path: &Path, text: &str) -> Result<InstallRecord, Problem> {
    let broken = |error: serde_json::Error| {
        Problem::hinted(
            error.to_string(),
            format!(
                "mv {0} {0}.broken; then rootpin install --uninstall names each line by which an engine asks rootpin",
                path.display()
            ),
        )
    };
    // Another version may have other members.
    let value: serde_json::Value = serde_json::from_str(text).map_err(broken)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    match version.filter(|version| *version != u64::from(VERSION)) {
        None => serde_json::from_value(value).map_err(broken),
        Some(version) => Err(Problem::hinted(
            format!("version {version} of its format is not known to this release"),
            "use the release of rootpin that wrote it, or a later one",
        )),
    }
}

/// Nothing is wrong with what is in it.
fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "run as root".to_owned(),
        _ => format!(
            "see that {} can be read, and run this again",
            path.display()
        ),
    };
    Problem::hinted(format!("{}: {error}", path.display()), hint)
}

/// Tries to write that are told apart.
const MOST_EARLIER: usize = 16;

/// Takes up what `new` is to take the place of.
fn remember(earlier: &mut Vec<String>, now: &str, new: &str) {
    if now != new {
        earlier.retain(|known| known != now);
        earlier.push(now.to_owned());
        let spare = earlier.len().saturating_sub(MOST_EARLIER);
        earlier.drain(..spare);
    }
}

fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

impl ProgramRecord {
    /// Whether a program of that digest was put there by rootpin.
    pub(crate) fn is_own(&self, digest: &str) -> bool {
        self.digest == digest || self.earlier.iter().any(|known| known == digest)
    }
}

impl TextRecord {
    /// The same file is written once more. What others changed between is theirs, and stays.
    fn follow(&mut self, new: Self) {
        let is_own = new
            .before
            .as_deref()
            .is_some_and(|present| self.is_own(present));
        if !is_own {
            self.before = new
                .before
                .map(|present| self.without(&present).unwrap_or(present));
        }
        remember(
            &mut self.earlier,
            &digest(self.after.as_bytes()),
            &digest(new.after.as_bytes()),
        );
        self.after = new.after;
        self.folders.extend(new.folders);
        self.backups.extend(new.backups);
    }

    /// The present text without rootpin's change: the one before, if nobody else changed it since.
    /// None: both changed the same lines.
    pub(crate) fn without(&self, present: &str) -> Option<String> {
        let before = self.before.as_deref().unwrap_or_default();
        if self.is_own(present) {
            return Some(before.to_owned());
        }
        if present == before {
            return Some(present.to_owned());
        }
        diffy::merge(&self.after, before, present).ok()
    }

    fn is_own(&self, present: &str) -> bool {
        present == self.after || self.earlier.contains(&digest(present.as_bytes()))
    }
}

fn shown(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Whole or not at all; for root alone, as texts of engines may have secrets.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = trusted_path::place(path)?;
    let folder = place.parent().unwrap_or(Path::new("/"));
    let mut fresh = NamedTempFile::with_prefix_in(PREFIX, folder)?;
    fresh.write_all(bytes)?;
    fresh.as_file().sync_all()?;
    fresh.persist(&place).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(before: Option<&str>, after: &str) -> TextRecord {
        TextRecord {
            path: "/etc/x".into(),
            before: before.map(str::to_owned),
            after: after.to_owned(),
            folders: Vec::new(),
            backups: Vec::new(),
            earlier: Vec::new(),
        }
    }

    #[test]
    fn a_text_whose_writing_was_cut_off_is_still_known_as_rootpin_s() {
        for before in [None, Some("a\n")] {
            let mut record = InstallRecord::default();
            let add = |record: &mut InstallRecord, new| {
                record.add(InstallRecord {
                    texts: vec![new],
                    ..InstallRecord::default()
                });
            };
            add(&mut record, text(before, "first\na\n"));
            // Twice the host goes down before the file has its new text.
            add(&mut record, text(Some("first\na\n"), "second\na\n"));
            add(&mut record, text(Some("first\na\n"), "third\na\n"));
            let [known] = record.texts.as_slice() else {
                panic!("{record:?}");
            };
            assert_eq!(known.before.as_deref(), before);
            for present in ["first\na\n", "second\na\n", "third\na\n"] {
                let without = known.without(present);
                assert_eq!(without.as_deref(), Some(before.unwrap_or_default()));
            }
        }
    }

    #[test]
    fn a_program_whose_copy_was_cut_off_is_still_known_as_rootpin_s() {
        let program = |digest: &str, replaces: Option<&str>, backup: &str| InstallRecord {
            programs: vec![ProgramRecord {
                path: "/v/p".into(),
                digest: digest.to_owned(),
                folders: Vec::new(),
                backups: vec![backup.into()],
                own_backups: Vec::new(),
                earlier: Vec::new(),
                replaces: replaces.map(str::to_owned),
            }],
            ..InstallRecord::default()
        };
        let mut record = InstallRecord::default();
        record.add(program("one", Some("theirs"), "/theirs"));
        record.add(program("two", Some("one"), "/cut-off"));
        record.add(program("three", Some("one"), "/own"));
        let known = &record.programs[0];
        assert_eq!(known.backups, ["/theirs"].map(PathBuf::from));
        assert_eq!(known.own_backups, ["/cut-off", "/own"].map(PathBuf::from));
        assert!(known.is_own("one") && known.is_own("three") && !known.is_own("theirs"));
    }

    #[test]
    fn what_others_changed_since_stays_and_rootpin_s_lines_go() {
        let before = "version = 2\nroot = \"/r\"\n\n[grpc]\n  address = \"/a\"\n";
        let after = format!("imports = [\"/etc/conf.d/*.toml\"]\n{before}");
        let record = text(Some(before), &after);
        assert_eq!(record.without(&after).as_deref(), Some(before));
        assert_eq!(record.without(before).as_deref(), Some(before));
        let theirs = after.replace("\"/a\"", "\"/b\"") + "[debug]\n";
        assert_eq!(
            record.without(&theirs),
            Some(before.replace("\"/a\"", "\"/b\"") + "[debug]\n")
        );
        let same_line = after.replace("conf.d/*.toml\"", "conf.d/*.toml\", \"/theirs\"");
        assert_eq!(record.without(&same_line), None);
    }

    #[test]
    fn a_file_that_is_written_twice_goes_back_to_its_first_text() {
        let mut record = InstallRecord::default();
        let add = |record: &mut InstallRecord, new| {
            record.add(InstallRecord {
                texts: vec![new],
                ..InstallRecord::default()
            });
        };
        add(
            &mut record,
            text(Some("a\nb\nc\nd\ne\n"), "1\na\nb\nc\nd\ne\n"),
        );
        add(
            &mut record,
            text(Some("1\na\nb\nc\nd\ne\n"), "2\na\nb\nc\nd\ne\n"),
        );
        assert_eq!(record.texts[0].before.as_deref(), Some("a\nb\nc\nd\ne\n"));
        // Between the two somebody else added a line.
        add(
            &mut record,
            text(Some("2\na\nb\nc\nd\ne\nf\n"), "3\na\nb\nc\nd\ne\nf\n"),
        );
        assert_eq!(record.texts.len(), 1);
        assert_eq!(
            record.texts[0].without("3\na\nb\nc\nd\ne\nf\n").as_deref(),
            Some("a\nb\nc\nd\ne\nf\n")
        );
    }

    #[test]
    fn no_hint_has_a_record_moved_away_that_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut record = InstallRecord::of_texts(vec![text(None, "x")]);
        record.write(&path).unwrap();
        let hint = || InstallRecord::read(&path).unwrap_err().hint.unwrap();
        let mode =
            |mode| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode));
        mode(0o666).unwrap();
        assert_eq!(
            hint(),
            format!(
                "see that nobody changed it, then chmod go-w {}",
                path.display()
            )
        );
        mode(0o600).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let newer = whole.replace("\"version\": 1,", "\"version\": 2, \"else\": 1,");
        fs::write(&path, newer).unwrap();
        assert!(
            hint().starts_with("use the release of rootpin that wrote it"),
            "{}",
            hint()
        );
        // One that is cut is no record any more.
        fs::write(&path, whole.get(..20).unwrap()).unwrap();
        assert!(hint().starts_with("mv "), "{}", hint());
        let denied = unreadable(&path, &ErrorKind::PermissionDenied.into());
        assert_eq!(denied.hint.as_deref(), Some("run as root"));
        record.texts[0].path = "etc/x".into();
        assert!(
            record.write(&path).is_err(),
            "a path that depends on the working folder"
        );
    }

    #[test]
    fn a_record_that_others_could_have_written_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut record = InstallRecord::default();
        assert_eq!(InstallRecord::read(&path).unwrap(), record);
        record.texts.push(text(None, "x"));
        record.write(&path).unwrap();
        assert_eq!(InstallRecord::read(&path).unwrap(), record);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&path, open).unwrap();
        assert!(InstallRecord::read(&path).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(InstallRecord::read(&path).is_err());
        fs::remove_file(&path).unwrap();
        record.texts.clear();
        record.write(&path).unwrap();
        assert!(!path.exists());
    }
}

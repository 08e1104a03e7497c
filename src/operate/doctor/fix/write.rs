//! Writes what was planned: each file whole or not at all, the one before kept.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rootpin_trust::image::Digest;
use tempfile::NamedTempFile;

use super::RepairPlan;
use crate::operate::leftover::{self, PREFIX};
use crate::operate::record::{InstallRecord, ModeRecord, ProgramRecord, TextRecord};
use crate::problem::Problem;
use crate::sockets::is_dead;
use crate::trusted_path::{self, FileOwner, Owner, Untrusted, check_directory};

const READ_ONLY: &str = "copy it to where it can be written, have the engine's unit name that copy by its option (systemctl edit), and run this again";

/// A file that was written or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// The file.
    pub path: PathBuf,
    /// Where the one before is; none: there was none, or its mode alone changed.
    pub backup: Option<PathBuf>,
    change: FileChange,
}

/// What was done, to take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileChange {
    /// A file was written, at this place, in these new folders.
    File(PathBuf, Vec<PathBuf>),
    /// It was given to root.
    Mode(FileOwner),
    /// It was a socket where nobody listened, and is gone.
    Removed,
}

impl WrittenFile {
    /// Whether it was removed, and not written.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.change == FileChange::Removed
    }
}

/// Removes a socket where nobody listens.
pub(super) async fn remove_dead(path: &Path) -> Result<WrittenFile, Problem> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    check_directory(folder, Owner::RootOrCaller).map_err(|fault| fault.message)?;
    if !is_dead(path).await {
        return Err("somebody listens there".to_owned().into());
    }
    fs::remove_file(path).map_err(|error| error.to_string())?;
    Ok(WrittenFile {
        path: path.to_owned(),
        backup: None,
        change: FileChange::Removed,
    })
}

/// Puts bytes in the place of a file that is there: its mode, owner and extended attributes stay.
pub(in super::super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = trusted_path::place(path)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mode = fs::metadata(&file).map_or(0o644, |about| about.mode() & 0o7777);
    fresh(&file, bytes, mode)?
        .persist(&file)
        .map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Removes what tries to write that file of that mode have left, now that nobody else writes it.
pub(in super::super) fn remove_leftovers(path: &Path, mode: u32) -> io::Result<()> {
    let file = trusted_path::place(path)?;
    let folders = BTreeSet::from([workshop(&file, 0), workshop(&file, mode)]);
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        leftover::remove_all(folder)?;
    }
    Ok(())
}

/// Where the file is made whole: beside it; a program's beside its folder, as containerd runs
/// whatever is in the verifier's.
fn workshop(file: &Path, mode: u32) -> &Path {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let above = folder.parent().filter(|_| mode & 0o111 != 0);
    above.unwrap_or(folder)
}

/// A whole file for the place of another one, with that one's mode, owner and extended attributes.
fn fresh(file: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut fresh = NamedTempFile::with_prefix_in(PREFIX, workshop(file, mode))?;
    fresh.write_all(bytes)?;
    let old = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        old => Some(old?),
    };
    let mut mode = mode;
    if let Some(old) = &old {
        let about = old.metadata()?;
        // The other name would keep the earlier text, and be it a configuration that is read by it.
        if about.nlink() > 1 && mode & 0o111 == 0 {
            return Err(io::Error::other(
                "it has a second name, a hard link, which would keep the text of now: make it a file of its own",
            ));
        }
        fchown(fresh.as_file(), Some(about.uid()), Some(about.gid()))?;
        trusted_path::copy_attributes(old, fresh.as_file())?;
        let is_to_run = mode & 0o111 != 0 && about.mode() & 0o111 == 0;
        if !is_to_run {
            mode = about.mode() & 0o7777;
        }
    }
    fresh
        .as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    Ok(fresh)
}

/// Writes all of it, or leaves all as it was.
pub(super) fn write(plan: &RepairPlan, time: &str) -> Result<Vec<WrittenFile>, Problem> {
    let mut done = Vec::new();
    let Err(why) = write_all(plan, time, &mut done) else {
        return Ok(done);
    };
    let back = undo(&done).map_or_else(
        |error| format!("what was written before could not be taken back: {error}"),
        |()| "nothing is written".to_owned(),
    );
    Err(why.so(&back))
}

/// The same, before any of it is done: where copies of what is there will be, and which folders
/// will be new.
pub(super) fn record(plan: &RepairPlan, time: &str) -> Result<InstallRecord, Problem> {
    let mut record = InstallRecord::default();
    let mut made = BTreeSet::new();
    let mut place = |path: &Path, mode: u32| -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let file = trusted_path::place(path)?;
        let missing = file
            .ancestors()
            .skip(1)
            .take_while(|folder| !folder.exists());
        let mut folders: Vec<PathBuf> = missing
            .filter(|folder| made.insert(folder.to_path_buf()))
            .map(Path::to_owned)
            .collect();
        folders.reverse();
        Ok((folders, backup(&file, mode, time).into_iter().collect()))
    };
    for (from, to) in &plan.programs {
        let (folders, backups) = place(to, 0o755).map_err(|error| failed(to, &error))?;
        let bytes = fs::read(from).map_err(|error| failed(from, &error))?;
        record.programs.push(ProgramRecord {
            path: to.clone(),
            digest: Digest::of(&bytes).to_string(),
            folders,
            backups,
            own_backups: Vec::new(),
            earlier: Vec::new(),
            replaces: fs::read(to)
                .ok()
                .map(|bytes| Digest::of(&bytes).to_string()),
        });
    }
    for edit in &plan.texts {
        let (folders, backups) =
            place(&edit.path, edit.mode).map_err(|error| failed(&edit.path, &error))?;
        record.texts.push(TextRecord {
            path: edit.path.clone(),
            before: edit.before.clone(),
            after: edit.after.clone(),
            folders,
            backups,
            earlier: Vec::new(),
        });
    }
    for (path, mode) in &plan.modes {
        record.modes.push(ModeRecord {
            path: path.clone(),
            before: FileOwner::at(path).map_err(|error| failed(path, &error))?,
            mode: *mode,
        });
    }
    Ok(record)
}

/// Where the copy of a file that is there will be.
fn backup(file: &Path, mode: u32, time: &str) -> Option<PathBuf> {
    if !file.exists() {
        return None;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".bak-{time}"));
    Some(workshop(file, mode).join(name))
}

/// What keeps a file from being written, with the hint that helps.
fn failed(path: &Path, error: &io::Error) -> Problem {
    let untrusted = || error.get_ref()?.downcast_ref::<Untrusted>();
    let problem = match untrusted() {
        Some(fault) => Problem::hinted(&fault.message, &fault.hint),
        None => Problem::new(error.to_string()),
    };
    let problem = match error.kind() {
        // As /usr of an image-based system, or what a package manager's store has.
        ErrorKind::ReadOnlyFilesystem => problem.or_hint(READ_ONLY),
        _ => problem,
    };
    problem.about(path.display())
}

fn write_all(plan: &RepairPlan, time: &str, done: &mut Vec<WrittenFile>) -> Result<(), Problem> {
    for edit in &plan.texts {
        if super::text(&edit.path)? != edit.before {
            return Err(Problem::hinted(
                format!("{} changed meanwhile", edit.path.display()),
                "run it again",
            ));
        }
    }
    for path in &plan.leftovers {
        leftover::remove(path).map_err(|error| failed(path, &error))?;
    }
    let mut files = Vec::new();
    for (from, to) in &plan.programs {
        files.push((
            to,
            fs::read(from).map_err(|error| failed(from, &error))?,
            0o755,
        ));
    }
    files.extend(
        plan.texts
            .iter()
            .map(|edit| (&edit.path, edit.after.clone().into_bytes(), edit.mode)),
    );
    for (path, bytes, mode) in files {
        remove_leftovers(path, mode).map_err(|error| failed(path, &error))?;
        put(path, &bytes, mode, time, done).map_err(|error| failed(path, &error))?;
    }
    for (path, mode) in &plan.modes {
        let before =
            trusted_path::give_to_root(path, *mode).map_err(|error| failed(path, &error))?;
        done.push(WrittenFile {
            path: path.clone(),
            backup: None,
            change: FileChange::Mode(before),
        });
    }
    Ok(())
}

/// Puts back what was there before, modes and owners too, as far as that can be.
pub(super) fn undo(done: &[WrittenFile]) -> io::Result<()> {
    let mut outcome = Ok(());
    for WrittenFile {
        path,
        backup,
        change,
    } in done.iter().rev()
    {
        let undone = match (change, backup) {
            (FileChange::Mode(before), _) => before.restore(path),
            // Nobody could do anything with it.
            (FileChange::Removed, _) => Ok(()),
            (FileChange::File(file, _), Some(backup)) => fs::rename(backup, file),
            (FileChange::File(file, folders), None) => fs::remove_file(file)
                .and_then(|()| folders.iter().rev().try_for_each(fs::remove_dir)),
        };
        let named = undone
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())));
        outcome = outcome.and(named);
    }
    outcome
}

/// Puts bytes in a file's place by a rename. A file that is there keeps its mode, unless it is to be run and nobody may, owner and extended
/// attributes, a link its target's place. A folder where another user may write is refused: what they put there, an
/// engine would run or read as root's, whatever is written now.
fn put(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    time: &str,
    done: &mut Vec<WrittenFile>,
) -> io::Result<()> {
    let file = trusted_path::place(path)?;
    let folder = file
        .parent()
        .ok_or_else(|| io::Error::other("no file's path"))?;
    let mut folders = Vec::new();
    let whole = make_folder(folder, &mut folders).and_then(|()| {
        // Of a folder that was missing, too.
        trusted_path::place(path)?;
        fresh(&file, bytes, mode)
    });
    let renamed = whole.and_then(|fresh| {
        let backup = backup(&file, mode, time);
        if let Some(backup) = &backup {
            trusted_path::create_copy(&file, backup)?;
        }
        if let Err(failed) = fresh.persist(&file) {
            if let Some(backup) = backup {
                fs::remove_file(backup)?;
            }
            return Err(failed.error);
        }
        Ok(backup)
    });
    let backup = renamed.inspect_err(|_| {
        for folder in folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    })?;
    done.push(WrittenFile {
        path: path.to_owned(),
        backup,
        change: FileChange::File(file.clone(), folders),
    });
    File::open(folder)?.sync_all()
}

/// The folder, and those that lead to it; new ones are mode 0755 whatever the umask is.
fn make_folder(folder: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above, made)?;
    }
    fs::create_dir(folder)?;
    made.push(folder.to_owned());
    File::open(folder)?.set_permissions(Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::FileEdit;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn edit(path: &Path) -> FileEdit {
        FileEdit {
            path: path.to_owned(),
            before: fs::read_to_string(path).ok(),
            after: "new".to_owned(),
            mode: 0o644,
        }
    }

    #[test]
    fn nothing_is_written_where_another_user_could_have_put_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, secret) = (dir.path().join("open"), dir.path().join("secret"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, folder.join("link")).unwrap();
        fs::write(folder.join("config.toml"), "old").unwrap();
        symlink(&secret, folder.join("config.toml.bak-T")).unwrap();
        for plan in [
            RepairPlan {
                texts: vec![edit(&folder.join("config.toml"))],
                ..RepairPlan::default()
            },
            RepairPlan {
                texts: vec![edit(&folder.join("new.toml"))],
                ..RepairPlan::default()
            },
            RepairPlan {
                programs: vec![(secret.clone(), folder.join("program"))],
                ..RepairPlan::default()
            },
            RepairPlan {
                modes: vec![(folder.join("link"), 0o755)],
                ..RepairPlan::default()
            },
        ] {
            let why = write(&plan, "T").unwrap_err().to_string();
            assert!(
                why.contains("can be written by")
                    && why.contains("; nothing is written; hint: chmod go-w "),
                "{why}"
            );
        }
        assert_eq!(
            (fs::read_to_string(&secret).unwrap(), mode(&secret)),
            ("secret".to_owned(), 0o600)
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    }

    #[test]
    fn attributes_stay_with_what_is_written_with_its_copy_and_with_what_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, "old").unwrap();
        let set = |path: &Path, name: &str, value: &[u8]| {
            rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        };
        let managed = |path: &Path| {
            let mut value = [0_u8; 9];
            rustix::fs::getxattr(path, "user.managed", &mut value).map(|_| value)
        };
        set(&file, "user.managed", b"by puppet");
        let plan = RepairPlan {
            texts: vec![edit(&file)],
            ..RepairPlan::default()
        };
        let done = write(&plan, "T").unwrap();
        let copy = done[0].backup.clone().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!([managed(&file), managed(&copy)], [Ok(*b"by puppet"); 2]);
        replace(&file, b"old").unwrap();
        assert_eq!(managed(&file), Ok(*b"by puppet"));
        undo(&done).unwrap();
        assert_eq!(managed(&file), Ok(*b"by puppet"));
    }

    #[test]
    fn a_file_with_a_second_name_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("config.toml"), dir.path().join("other"));
        fs::write(&file, "old").unwrap();
        fs::hard_link(&file, &other).unwrap();
        let plan = RepairPlan {
            texts: vec![edit(&file)],
            ..RepairPlan::default()
        };
        let why = write(&plan, "T").unwrap_err().to_string();
        assert!(
            why.contains("a hard link") && why.ends_with("nothing is written"),
            "{why}"
        );
        assert!(replace(&file, b"new").is_err());
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_copy_is_never_made_onto_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("config.toml"), dir.path().join("secret"));
        fs::write(&file, "old").unwrap();
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, dir.path().join("config.toml.bak-T")).unwrap();
        let plan = RepairPlan {
            texts: vec![edit(&file)],
            ..RepairPlan::default()
        };
        assert!(write(&plan, "T").unwrap_err().what.contains("File exists"));
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }

    #[test]
    fn what_is_taken_back_has_its_modes_and_owners_again_and_leaves_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("verifier"), dir.path().join("config.toml"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o775)).unwrap();
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let theirs = std::os::unix::fs::chown(&folder, Some(12345), Some(12346)).is_ok();
        let _ = std::os::unix::fs::chown(&file, None, Some(12346));
        let plan = RepairPlan {
            texts: vec![edit(&file), edit(&dir.path().join("conf.d/deep/new.toml"))],
            modes: vec![(folder.clone(), 0o755), (dir.path().join("missing"), 0o755)],
            ..RepairPlan::default()
        };
        let why = write(&plan, "T").unwrap_err().to_string();
        assert!(why.ends_with("nothing is written"), "{why}");
        assert_eq!((mode(&folder), mode(&file)), (0o775, 0o640));
        if theirs {
            let of = |path| fs::metadata(path).map(|about| (about.uid(), about.gid()));
            assert_eq!(of(&folder).unwrap(), (12345, 12346));
            assert_eq!(of(&file).unwrap().1, 12346);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_program_is_made_whole_beside_its_folder_and_what_an_earlier_try_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, from) = (dir.path().join("verifier"), dir.path().join("from"));
        fs::create_dir(&folder).unwrap();
        fs::write(&from, "program").unwrap();
        for left in [".rootpin-Ab3dE9", "verifier/.rootpin-Ab3dE9"] {
            fs::write(dir.path().join(left), "half").unwrap();
        }
        for kept in [
            "verifier/.rootpin-x",
            "verifier/10-other",
            ".rootpin-notmine",
        ] {
            fs::write(dir.path().join(kept), "theirs").unwrap();
        }
        let to = folder.join("rootpin-verifier");
        assert_eq!(workshop(&to, 0o755), dir.path());
        assert_eq!(workshop(&to, 0o644), folder);
        let plan = RepairPlan {
            programs: vec![(from, to.clone())],
            ..RepairPlan::default()
        };
        write(&plan, "T").unwrap();
        assert_eq!(
            (fs::read_to_string(&to).unwrap(), mode(&to)),
            ("program".to_owned(), 0o755)
        );
        let names = |folder: &Path| {
            let names = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&folder),
            [".rootpin-x", "10-other", "rootpin-verifier"]
        );
        assert_eq!(names(dir.path()), [".rootpin-notmine", "from", "verifier"]);
    }

    #[tokio::test]
    async fn a_socket_is_removed_only_where_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("config.toml"), dir.path().join("socket"));
        fs::write(&file, "old").unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let plan = RepairPlan {
            texts: vec![edit(&file)],
            sockets: vec![socket.clone()],
            ..RepairPlan::default()
        };
        let why = plan.write("T").await.unwrap_err().to_string();
        assert!(
            why.contains("somebody listens there") && why.contains("so it was taken back"),
            "{why}"
        );
        assert!(socket.exists() && fs::read_to_string(&file).unwrap() == "old");
        drop(listener);
        let written = plan.write("T").await.unwrap();
        assert!(written.last().unwrap().is_removed() && !socket.exists());
    }
}

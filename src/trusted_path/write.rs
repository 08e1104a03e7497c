//! Writes as root where another user may have put a link: what is written, given away or opened is
//! what the path names, and nothing that a link of somebody else's leads to.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};

use super::{MAX_LINKS, Owner, WRITABLE, check_directory, copy_attributes, inspect};

/// Whose something was, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOwner {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Where a file is to be written, without links. The file may be missing, and so may folders above
/// it. Nobody but root and the caller can change the way there, so that the path keeps its meaning.
///
/// # Errors
/// Another user may write on the way there, or something that is no plain file is in its place.
pub fn place(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..=MAX_LINKS {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::other("not the path of a file"));
        };
        let folder = folder_place(above)?;
        let found = folder.join(name);
        let about = match fs::symlink_metadata(&found) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            about => about?,
        };
        // In a sticky folder others have files of their own.
        let shared = fs::metadata(&folder)?.mode() & WRITABLE != 0;
        if shared || about.is_symlink() {
            inspect(&found, &Owner::RootOrCaller.uids()).map_err(io::Error::other)?;
        }
        if about.is_file() {
            return Ok(found);
        }
        if !about.is_symlink() {
            return Err(io::Error::other("not a plain file"));
        }
        path = folder.join(fs::read_link(&found)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The same for a folder.
fn folder_place(path: &Path) -> io::Result<PathBuf> {
    match (fs::symlink_metadata(path), path.parent(), path.file_name()) {
        (Err(error), Some(above), Some(name)) if error.kind() == ErrorKind::NotFound => {
            Ok(folder_place(above)?.join(name))
        }
        _ => check_directory(path, Owner::RootOrCaller).map_err(io::Error::other),
    }
}

/// Copies a file to a name that nothing has yet, with its owner, mode and extended attributes. Both are [`place`]s.
///
/// # Errors
/// The name is taken, or one of them can't be read or written.
pub fn create_copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let about = from.metadata()?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let filled = io::copy(&mut from, &mut copy)
        .and_then(|_| fchown(&copy, Some(about.uid()), Some(about.gid())))
        .and_then(|()| copy_attributes(&from, &copy))
        .and_then(|()| copy.set_permissions(about.permissions()))
        .and_then(|()| copy.sync_all());
    filled.inspect_err(|_| _ = fs::remove_file(to))
}

/// Gives a file, folder or socket to root, with that mode; returns what it was.
///
/// # Errors
/// Another user may write on the way there, it is a link, or it has a second name, which may be
/// that of a file of the system.
pub fn give_to_root(path: &Path, mode: u32) -> io::Result<FileOwner> {
    let (itself, place) = Itself::open(path)?;
    let about = itself.metadata()?;
    let kind = about.file_type();
    if !(kind.is_dir() || about.nlink() == 1 && (kind.is_file() || kind.is_socket())) {
        return Err(io::Error::other(
            "it has a second name elsewhere, or is neither file, folder nor socket",
        ));
    }
    let before = FileOwner::of(&about);
    let root = before.given_to_root(mode);
    let path = itself.path_or(&place);
    root.set(&path).inspect_err(|_| _ = before.set(&path))?;
    Ok(before)
}

impl FileOwner {
    /// Whose that is, if it is no link.
    ///
    /// # Errors
    /// It can't be reached, or another user may write on the way there.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&Itself::open(path)?.0.metadata()?))
    }

    /// The same once it was given to root with that mode.
    #[must_use]
    pub fn given_to_root(self, mode: u32) -> Self {
        Self {
            uid: 0,
            mode,
            ..self
        }
    }

    fn of(about: &Metadata) -> Self {
        Self {
            uid: about.uid(),
            gid: about.gid(),
            mode: about.mode() & 0o7777,
        }
    }

    /// The owner first: that takes set-user-ID away.
    fn set(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))?;
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }

    /// Gives it its owner and mode back.
    ///
    /// # Errors
    /// It can't be reached any more, or not without another user's doing.
    pub fn restore(self, path: &Path) -> io::Result<()> {
        let (itself, place) = Itself::open(path)?;
        self.set(&itself.path_or(&place))
    }
}

/// What a path names, whatever becomes of the path. A descriptor of this kind opens nothing, so
/// that it can be had of a socket too; in place of fchmod(2) and fchown(2) it has a name in /proc
/// that leads to itself.
struct Itself(OwnedFd);

impl Itself {
    /// Only where no other user may write on the way there; with the place, without links.
    fn open(path: &Path) -> io::Result<(Self, PathBuf)> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::other("not the path of a file"));
        };
        let folder = check_directory(above, Owner::RootOrCaller).map_err(io::Error::other)?;
        let place = folder.join(name);
        Ok((Self::of(&place)?, place))
    }

    /// Of no link.
    fn of(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let itself = Self(open(path, flags, Mode::empty())?);
        if itself.metadata()?.is_symlink() {
            return Err(io::Error::other("a symbolic link"));
        }
        Ok(itself)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// An image has no /proc: then the place that only root and the caller can change.
    fn path_or(&self, place: &Path) -> PathBuf {
        let path = self.path();
        if path.exists() {
            path
        } else {
            place.to_owned()
        }
    }

    fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.0.try_clone()?).metadata()
    }
}

const PIPE: &str = "a pipe or socket, which may keep its writer waiting: it must be a file";

/// Opens a file to append to it, and makes it if there is none. Where another user may write on the
/// way, as in `/var/log` of some distributions, no link is followed, and a file with a second name
/// is refused.
///
/// # Errors
/// It can't be opened, or only by following a link that another user may have made.
pub fn append(path: &Path) -> io::Result<File> {
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let whole_way = check_directory(folder, Owner::RootOrCaller);
    if whole_way.is_ok() {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0))
            .open(path);
        return match opened {
            Ok(file) if !file.metadata()?.file_type().is_fifo() => Ok(file),
            // A pipe that is full, or that nobody reads, would keep every decision waiting.
            Ok(_) => Err(io::Error::other(PIPE)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                Err(io::Error::other(PIPE))
            }
            Err(error) => Err(error),
        };
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::from_raw_mode(0o600);
    let file = match openat2(CWD, &path, flags, mode, ResolveFlags::NO_SYMLINKS) {
        // Before Linux 5.6.
        Err(rustix::io::Errno::NOSYS) => open(&path, flags, mode),
        opened => opened,
    };
    let opened = file.map(File::from).map_err(io::Error::from);
    let about = opened.and_then(|file| Ok((file.metadata()?, file)));
    let refused = |what: &str| {
        let why = whole_way.as_ref().err().map_or("", |fault| &fault.message);
        Err(io::Error::other(format!("{what}, and {why}")))
    };
    match about {
        Ok((about, file)) if about.is_file() && about.nlink() == 1 => Ok(file),
        Ok(_) => refused("it is no plain file with one name"),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            refused("it is, or is reached by, a symbolic link")
        }
        Err(error) => Err(error),
    }
}

/// Has only root, or the caller, connect to a socket.
///
/// # Errors
/// It is no socket, or its mode can't be set.
pub fn restrict_socket(path: &Path) -> io::Result<()> {
    let itself = Itself::of(path)?;
    if !itself.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("something else was put in its place"));
    }
    fs::set_permissions(itself.path(), Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A folder that everybody may write, and a file elsewhere that is nobody's business.
    fn shared() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (folder, secret) = (dir.path().join("shared"), dir.path().join("secret"));
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o777);
        fs::write(&secret, "secret").unwrap();
        set_mode(&secret, 0o600);
        (dir, folder, secret)
    }

    #[test]
    fn owner_and_mode_are_never_given_through_a_link_nor_to_a_file_with_a_second_name() {
        let (dir, folder, secret) = shared();
        symlink(&secret, folder.join("program")).unwrap();
        symlink(&secret, dir.path().join("link")).unwrap();
        assert!(give_to_root(&folder.join("program"), 0o755).is_err());
        assert!(give_to_root(&dir.path().join("link"), 0o755).is_err());
        fs::hard_link(&secret, dir.path().join("second")).unwrap();
        let why = give_to_root(&dir.path().join("second"), 0o755).unwrap_err();
        assert!(why.to_string().contains("second name"), "{why}");
        assert_eq!(mode(&secret), 0o600);
        let socket = dir.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        give_to_root(&socket, 0o660).unwrap();
        assert_eq!(mode(&socket), 0o660);
        // The folder itself is what the doctor finds.
        let before = give_to_root(&folder, 0o755).unwrap();
        assert_eq!(mode(&folder), 0o755);
        before.restore(&folder).unwrap();
        assert_eq!(mode(&folder), 0o777);
    }

    #[test]
    fn a_file_is_placed_only_where_no_other_user_may_write_on_the_way() {
        let (dir, folder, secret) = shared();
        for path in ["config.toml", "new/folder/config.toml"] {
            let why = place(&folder.join(path)).unwrap_err().to_string();
            assert!(why.contains("can be written by"), "{why}");
        }
        symlink(&folder, dir.path().join("way")).unwrap();
        assert!(place(&dir.path().join("way/config.toml")).is_err());
        symlink(&secret, dir.path().join("link")).unwrap();
        assert_eq!(place(&dir.path().join("link")).unwrap(), secret);
        let new = dir.path().join("new/folder/config.toml");
        assert_eq!(place(&new).unwrap(), new);
        assert!(place(&folder).is_err(), "a folder");
        symlink("round", dir.path().join("round")).unwrap();
        assert!(place(&dir.path().join("round")).is_err());
        set_mode(&folder, 0o1777);
        let theirs = folder.join("theirs");
        fs::write(&theirs, "").unwrap();
        assert!(place(&theirs).is_ok());
        if std::os::unix::fs::chown(&theirs, Some(12345), None).is_ok() {
            assert!(place(&theirs).is_err());
        }
    }

    #[test]
    fn a_copy_keeps_owner_and_mode_and_is_never_made_onto_something() {
        let (dir, _, secret) = shared();
        let copy = dir.path().join("copy");
        create_copy(&secret, &copy).unwrap();
        assert_eq!(
            (fs::read(&copy).unwrap(), mode(&copy)),
            (b"secret".to_vec(), 0o600)
        );
        symlink(dir.path().join("elsewhere"), dir.path().join("planted")).unwrap();
        for taken in ["copy", "planted"] {
            let why = create_copy(&secret, &dir.path().join(taken)).unwrap_err();
            assert_eq!(why.kind(), ErrorKind::AlreadyExists);
        }
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_line_is_appended_through_no_link_of_another_user() {
        let (dir, folder, secret) = shared();
        let mut file = append(&folder.join("audit.jsonl")).unwrap();
        file.write_all(b"1\n").unwrap();
        assert_eq!(mode(&folder.join("audit.jsonl")), 0o600);
        symlink(&secret, folder.join("link")).unwrap();
        fs::hard_link(&secret, folder.join("second")).unwrap();
        symlink(dir.path(), folder.join("way")).unwrap();
        for planted in ["link", "second", "way/secret", "way/new"] {
            let why = append(&folder.join(planted)).unwrap_err().to_string();
            assert!(why.contains("can be written by"), "{planted}: {why}");
        }
        let mut text = String::new();
        File::open(&secret)
            .and_then(|mut file| file.read_to_string(&mut text))
            .unwrap();
        assert_eq!(text, "secret");
        // One that root made, where nobody else writes, is root's own.
        symlink(&secret, dir.path().join("link")).unwrap();
        assert!(append(&dir.path().join("link")).is_ok());
    }

    #[test]
    fn a_pipe_is_refused_at_once_whether_anybody_reads_it_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, &pipe, kind, 0o600.into(), 0).unwrap();
        assert_eq!(append(&pipe).unwrap_err().to_string(), PIPE);
        let both = OpenOptions::new().read(true).write(true).open(&pipe);
        assert_eq!(append(&pipe).unwrap_err().to_string(), PIPE);
        drop(both.unwrap());
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(append(&socket).unwrap_err().to_string(), PIPE);
        assert!(append(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn only_a_socket_gets_the_mode_of_a_socket() {
        let (_dir, folder, secret) = shared();
        let path = folder.join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        set_mode(&path, 0o666);
        restrict_socket(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        set_mode(&secret, 0o644);
        symlink(&secret, folder.join("link")).unwrap();
        for other in [folder.join("link"), secret.clone()] {
            assert!(restrict_socket(&other).is_err());
        }
        assert_eq!(mode(&secret), 0o644);
    }
}

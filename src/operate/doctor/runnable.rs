//! Whether this machine can run a program, as far as its file tells: the kernel's rules for
//! execve(2).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

const ELF: &[u8] = b"\x7fELF\x02\x01";
const SCRIPT: &[u8] = b"#!";
/// Of an ELF file of 64 bits: its header, and an entry of its program headers (elf(5)).
const HEADER: usize = 64;
const ENTRY: usize = 56;
/// `PT_INTERP`.
const INTERPRETER: u64 = 3;
/// The kernel reads no more of a script's first line (`BINPRM_BUF_SIZE`).
const LINE: usize = 256;

/// Why a program can't be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// The file, and what is wrong.
    pub why: String,
    /// The command that mends it; none: another copy of the program does.
    pub hint: Option<String>,
}

/// What keeps a program from being run. None: nothing that its file tells.
pub(super) fn hindrance(path: &Path) -> Option<Hindrance> {
    let shown = path.display();
    let of_file = |why: String| {
        let why = format!("{shown} {why}");
        Some(Hindrance { why, hint: None })
    };
    let about = match fs::metadata(path) {
        // Who runs it is told that it is not there, and takes that for a no.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let target = fs::read_link(path).ok()?;
            return of_file(format!(
                "is a link to {}, which is not there",
                target.display()
            ));
        }
        about => about.ok()?,
    };
    if !about.is_file() {
        return of_file("is no plain file".to_owned());
    }
    if about.mode() & 0o111 == 0 {
        let mode = about.mode() & 0o7777;
        return of_file(format!("has mode {mode:04o}, by which nobody may run it"));
    }
    if is_noexec(path) {
        let hint = format!(
            "mount -o remount,exec '{}'",
            mount_of(path, &about).display()
        );
        return Some(Hindrance {
            why: format!("{shown} is on a file system that is mounted noexec"),
            hint: Some(hint),
        });
    }
    of_file(fault(&File::open(path).ok()?)?)
}

/// Whether nothing can be run from there, or from where it will be made: by its file system's mount.
pub(super) fn is_noexec(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    let system = there.and_then(|path| statvfs(path).ok());
    system.is_some_and(|system| system.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The folder that the file system of a path is mounted on.
fn mount_of(path: &Path, about: &fs::Metadata) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let same = |path: &&Path| fs::metadata(path).is_ok_and(|above| above.dev() == about.dev());
    let last = path.ancestors().take_while(same).last();
    last.unwrap_or(&path).to_owned()
}

/// What is wrong with its bytes.
fn fault(file: &File) -> Option<String> {
    let mut head = [0; LINE];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = head.get(..length)?;
    let interpreter = if head.starts_with(SCRIPT) {
        let line = head
            .get(SCRIPT.len()..)?
            .split(|byte| *byte == b'\n')
            .next()?;
        let line = String::from_utf8_lossy(line).into_owned();
        line.split_ascii_whitespace().next().map(str::to_owned)
    } else if !head.starts_with(ELF) || length < HEADER {
        return Some("is no program".to_owned());
    } else if machine().is_some_and(|machine| number(head, 18, 2) != machine) {
        return Some("is a program for another architecture".to_owned());
    } else {
        loader(file, head)
    };
    let missing = interpreter.filter(|path| !Path::new(path).exists())?;
    Some(format!("wants {missing}, which is not there"))
}

/// This machine's, as ELF has it (`e_machine`).
fn machine() -> Option<u64> {
    match std::env::consts::ARCH {
        "x86_64" => Some(62),
        "aarch64" => Some(183),
        _ => None,
    }
}

/// The program that loads this one, where it is not static.
fn loader(file: &File, header: &[u8]) -> Option<String> {
    let (table, count) = (number(header, 32, 8), number(header, 56, 2));
    for at in 0..count {
        let mut entry = [0; ENTRY];
        let place = table + at * u64::try_from(ENTRY).ok()?;
        file.read_exact_at(&mut entry, place).ok()?;
        if number(&entry, 0, 4) == INTERPRETER {
            let mut path = vec![0; usize::try_from(number(&entry, 32, 8)).ok()?.min(LINE)];
            file.read_exact_at(&mut path, number(&entry, 8, 8)).ok()?;
            let path = String::from_utf8_lossy(&path);
            return Some(path.trim_end_matches('\0').to_owned());
        }
    }
    None
}

/// A number of that many bytes, the least one first.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    let add = |all: u64, byte: &u8| (all << 8) | u64::from(*byte);
    bytes.iter().rev().fold(0, add)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_the_kernel_would_not_run_is_told_from_one_that_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        let of = |bytes: &[u8], mode: u32| {
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            hindrance(&file).map(|found| found.why.replace(&file.display().to_string(), "it"))
        };
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut other = own.clone();
        other[18] ^= 1;
        assert_eq!(of(&own, 0o755), None);
        assert_eq!(of(&own, 0o700), None, "root runs it");
        for (bytes, mode, wanted) in [
            (
                &own[..],
                0o644,
                "it has mode 0644, by which nobody may run it",
            ),
            (&other, 0o755, "it is a program for another architecture"),
            (b"", 0o755, "it is no program"),
            (&own[..32], 0o755, "it is no program"),
            (b"echo", 0o755, "it is no program"),
            (
                b"#!/none/sh -e\necho",
                0o755,
                "it wants /none/sh, which is not there",
            ),
        ] {
            assert_eq!(of(bytes, mode).as_deref(), Some(wanted));
        }
        assert_eq!(of(b"#! /bin/sh\necho", 0o755), None);
        // The same program with a loader that is not there.
        let at = own
            .windows(7)
            .position(|part| part == b"/lib64/" || part == b"/lib/ld");
        if let Some(at) = at.filter(|at| *at < 4096) {
            let mut other = own;
            other[at + 1] = b'_';
            assert!(of(&other, 0o755).unwrap().starts_with("it wants /_ib"));
        }
        assert_eq!(hindrance(Path::new("/none")), None);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("../none", &link).unwrap();
        let gone = hindrance(&link).unwrap();
        assert!(
            gone.why
                .ends_with("link is a link to ../none, which is not there")
        );
        let folder = hindrance(folder.path()).unwrap();
        assert!(folder.why.ends_with("is no plain file"));
    }

    #[test]
    fn the_folder_is_found_that_a_file_system_is_mounted_on() {
        let proc = Path::new("/proc/self/environ");
        let about = fs::metadata(proc).unwrap();
        assert_eq!(mount_of(proc, &about), Path::new("/proc"));
    }
}

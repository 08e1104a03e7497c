//! Which program a word of a command line is, whatever its file is called: by the links that lead to
//! it, and by what Go writes into each program that it builds.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use super::engine_unit::EngineUnit;
use super::search;
use super::words::MARKS;
use crate::operate::doctor::process::options;
use crate::plain_file;

/// The kernel follows no more links in one path (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// What Go's linker puts before the description of a program, at a multiple of 16 bytes
/// (`buildInfoMagic` in debug/buildinfo).
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: usize = 16;
/// The description begins with Go's version and the path of the main package.
const HEAD: usize = 512;
const CHUNK: usize = 1 << 20;
/// The most of a program that is read: engines are a quarter of it.
const MOST: u64 = 512 << 20;
const ELF: &[u8] = b"\x7fELF";
/// In a program that is compressed, of which nothing can be read.
const COMPRESSED: &[u8] = b"UPX!";

/// A program's file.
#[derive(Debug)]
pub(super) struct Executable {
    /// The last part of each path that leads to it, by links, and of its own.
    names: Vec<String>,
    /// Its own path, seen from the root directory.
    pub(super) end: PathBuf,
    /// Where that is for this program.
    pub(super) file: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum ExecutableKind {
    /// Go built it of a main package with that last part: `dockerd`.
    OfGo(String),
    /// A script, or no program of Go.
    Other,
    /// It doesn't say.
    Unknown,
}

impl Executable {
    /// The one that a word stands for, as systemd finds it.
    pub(super) fn find(root: &Path, word: &str) -> Self {
        let path = search::program_path(root, word);
        let (mut names, end) = follow(root, &path).unwrap_or_default();
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        names.push(name(&end));
        let file = below(root, &end);
        Self { names, end, file }
    }

    /// Whether nothing in its path is left to systemd.
    fn is_known(&self) -> bool {
        !self.end.to_string_lossy().contains(MARKS)
    }

    /// Whether it is that program, or a release of it. None: that can't be told.
    fn is(&self, program: &str) -> Option<bool> {
        if self
            .names
            .iter()
            .any(|name| search::is_program(name, program))
        {
            return Some(true);
        }
        match plain_file::open(&self.file).and_then(|(file, _)| kind(file, MOST)) {
            Ok(ExecutableKind::OfGo(name)) => Some(name == program),
            Ok(ExecutableKind::Other) => Some(false),
            // What was left of a service whose program is gone.
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_known() => Some(false),
            Err(_) if fs::metadata(&self.file).is_ok_and(|about| !about.is_file()) => Some(false),
            Ok(ExecutableKind::Unknown) | Err(_) => None,
        }
    }
}

/// Whether the first of these words is the engine under another name. One that can't be looked at
/// is, where it is given an engine's configuration.
pub(super) fn is_engine(root: &Path, words: &[String], engine: &EngineUnit) -> bool {
    let Some(first) = words.first().filter(|first| !first.is_empty()) else {
        return false;
    };
    let has_config = || {
        let given = options(words, engine.options);
        given.iter().any(|value| value.ends_with(engine.extension))
    };
    Executable::find(root, first)
        .is(engine.program)
        .unwrap_or_else(has_config)
}

/// Whether a text names the program by the path of a link or a copy with another name.
pub(super) fn is_in_text(root: &Path, text: &str, program: &str) -> bool {
    let ends = |sign: char| sign.is_ascii_whitespace() || "\"';&|()`{}$=<>".contains(sign);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut paths = lines
        .flat_map(|line| line.split(ends))
        .filter(|word| word.starts_with('/') && !search::is_program(word, program));
    paths.any(|path| {
        let about = fs::symlink_metadata(below(root, Path::new(path)));
        let is_one = about.is_ok_and(|about| about.is_file() || about.is_symlink());
        is_one && Executable::find(root, path).is(program) == Some(true)
    })
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The names of the links that lead to a path's end, and the end, without links, seen from the root
/// directory. None: they lead in a circle.
fn follow(root: &Path, path: &Path) -> Option<(Vec<String>, PathBuf)> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        });
        parts.rev().collect()
    };
    let (mut left, mut at, mut links) = (parts(path), PathBuf::from("/"), 0);
    let mut names = Vec::new();
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let Ok(target) = fs::read_link(below(root, &next)) else {
            at = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        if left.is_empty() {
            names.push(part.to_string_lossy().into_owned());
        }
        if target.is_absolute() {
            at = "/".into();
        }
        left.extend(parts(&target));
    }
    Some((names, at))
}

/// By the first `most` bytes, or a little more.
fn kind(mut file: File, most: u64) -> io::Result<ExecutableKind> {
    let mut chunk = Vec::new();
    let (mut is_first, mut is_compressed) = (true, false);
    let limit = u64::try_from(CHUNK).unwrap_or(u64::MAX);
    for _ in 0..most.div_ceil(limit) {
        chunk.clear();
        file.by_ref().take(limit).read_to_end(&mut chunk)?;
        if is_first && !chunk.starts_with(ELF) {
            return Ok(ExecutableKind::Other);
        }
        if is_first {
            let head = chunk.get(..chunk.len().min(4 << 10)).unwrap_or_default();
            is_compressed = head
                .windows(COMPRESSED.len())
                .any(|part| part == COMPRESSED);
        }
        is_first = false;
        if let Some(at) = chunk.chunks(ALIGN).position(|part| part.starts_with(MAGIC)) {
            let mut head = chunk.split_off(at * ALIGN);
            let more = HEAD.saturating_sub(head.len());
            file.take(u64::try_from(more).unwrap_or_default())
                .read_to_end(&mut head)?;
            head.truncate(HEAD);
            return Ok(of_description(&head));
        }
        if chunk.len() < CHUNK {
            return Ok(if is_compressed {
                ExecutableKind::Unknown
            } else {
                ExecutableKind::Other
            });
        }
    }
    Ok(ExecutableKind::Unknown)
}

/// The main package: of `path<TAB>github.com/containerd/containerd/v2/cmd/containerd` it is
/// `containerd`.
fn of_description(bytes: &[u8]) -> ExecutableKind {
    let text = String::from_utf8_lossy(bytes);
    let path = text
        .split_once("path\t")
        .and_then(|(_, rest)| rest.split_once('\n'));
    match path.map(|(path, _)| path.rsplit('/').next().unwrap_or(path)) {
        // It was built of single files.
        None | Some("" | "command-line-arguments") => ExecutableKind::Unknown,
        Some(name) => ExecutableKind::OfGo(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_that_go_writes_names_the_main_package_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let of = |at: usize, description: &[u8]| {
            let mut bytes = ELF.to_vec();
            bytes.resize(at, 0);
            bytes.extend(description);
            fs::write(&path, bytes).unwrap();
            kind(File::open(&path).unwrap(), MOST).unwrap()
        };
        let description = |path: &str| {
            let head = [MAGIC, b"\x08\x02", &[0; 16], b"\x08go1.24.4\xcf\x04"].concat();
            [
                &head[..],
                format!("path\t{path}\nbuild\t-trimpath=true\n").as_bytes(),
            ]
            .concat()
        };
        let engine = description("github.com/containerd/containerd/v2/cmd/containerd");
        for at in [16, 4096, CHUNK - ALIGN, CHUNK, 3 * CHUNK + 32] {
            assert_eq!(
                of(at, &engine),
                ExecutableKind::OfGo("containerd".to_owned()),
                "{at}"
            );
        }
        assert_eq!(
            of(64, &description("github.com/k3s-io/k3s/cmd/server")),
            ExecutableKind::OfGo("server".to_owned())
        );
        for unknown in [&description("command-line-arguments")[..], MAGIC, b"\0UPX!"] {
            assert_eq!(of(64, unknown), ExecutableKind::Unknown, "{unknown:?}");
        }
        assert_eq!(of(40, &engine), ExecutableKind::Other, "no multiple of 16");
        assert_eq!(of(64, b"no description"), ExecutableKind::Other);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let of_file = |most: u64| kind(File::open(&path).unwrap(), most).unwrap();
        assert_eq!(of_file(MOST), ExecutableKind::Other);
        // It would take days to read.
        fs::write(&path, ELF).unwrap();
        let long = File::options().write(true).open(&path).unwrap();
        long.set_len(1 << 40).unwrap();
        assert_eq!(of_file(3 << 20), ExecutableKind::Unknown);
    }

    #[test]
    fn links_are_followed_in_the_image_and_a_circle_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("opt/cd/bin")).unwrap();
        for (link, target) in [
            ("opt/cd/current", "containerd-2.1.9"),
            ("opt/cd/link", "/usr/bin/containerd"),
            ("opt/cd/up", "../../../../opt/cd/current"),
            ("opt/folder", "cd"),
            ("opt/cd/circle", "circle"),
        ] {
            std::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
        }
        for (path, wanted) in [
            ("/opt/cd/current", Some("current /opt/cd/containerd-2.1.9")),
            ("/opt/cd/link", Some("link /usr/bin/containerd")),
            ("/opt/cd/up", Some("up current /opt/cd/containerd-2.1.9")),
            ("/opt/folder/link", Some("link /usr/bin/containerd")),
            ("/opt/cd/circle", None),
            ("/none/x", Some(" /none/x")),
        ] {
            let found = follow(root.path(), Path::new(path));
            let found = found.map(|(names, end)| format!("{} {}", names.join(" "), end.display()));
            assert_eq!(found.as_deref(), wanted, "{path}");
        }
    }
}

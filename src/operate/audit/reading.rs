//! Reads reports of many hosts one after the other: files of one report or of one a line, and
//! folders of such. Each is capped.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::observe::plain;
use crate::problem::Problem;

/// Endings of compressed files, as log rotation leaves them.
const COMPRESSED: [&str; 5] = [".gz", ".xz", ".bz2", ".zst", ".lz4"];
/// The first bytes of such files. No report begins so.
const MAGIC: [&[u8]; 5] = [
    &[0x1f, 0x8b],
    &[0xfd, b'7', b'z', b'X', b'Z'],
    b"BZh",
    &[0x28, 0xb5, 0x2f, 0xfd],
    &[0x04, 0x22, 0x4d, 0x18],
];

/// The report of a host with 50,000 images.
const MAX_REPORT: usize = 64 << 20;

/// Takes in reports.
pub trait Reports {
    /// One report.
    fn report(&mut self, origin: &str, bytes: &[u8]);

    /// A report that could not be read, and why.
    fn unreadable(&mut self, origin: &str, why: &str);

    /// A file of one report, or of one a line; of a folder all its `*.json` and `*.jsonl`, rotated
    /// ones too.
    fn path(&mut self, path: &Path) {
        if path.is_dir() {
            return self.folder(path);
        }
        let origin = plain(&path.to_string_lossy());
        // Opening a pipe would wait for whoever writes.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()).map(File::from) {
            Ok(file) if file.metadata().is_ok_and(|found| found.is_file()) => {
                self.lines(&origin, io::BufReader::with_capacity(1 << 20, file));
            }
            Ok(_) => {
                let why = Problem::hinted("not a plain file", "write it to one");
                self.unreadable(&origin, &why.to_string());
            }
            Err(error) => self.unreadable(&origin, &error.to_string()),
        }
    }

    /// Every `*.json` and `*.jsonl` of a folder, and what log rotation made of such.
    fn folder(&mut self, folder: &Path) {
        let reports = std::fs::read_dir(folder).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<PathBuf>>>()
        });
        match reports {
            Ok(mut paths) => {
                paths.retain(|path| {
                    let name = path.file_name().and_then(|name| name.to_str());
                    name.is_some_and(has_reports) && !path.is_dir()
                });
                paths.sort();
                if paths.is_empty() {
                    self.unreadable(
                        &plain(&folder.to_string_lossy()),
                        "no *.json or *.jsonl in it",
                    );
                }
                for path in paths {
                    self.path(&path);
                }
            }
            Err(error) => self.unreadable(&plain(&folder.to_string_lossy()), &error.to_string()),
        }
    }

    /// Reports, one a line; or one that is written over many lines.
    fn lines(&mut self, origin: &str, mut from: impl BufRead) {
        let mut line = Vec::new();
        let (mut number, mut is_empty) = (0, true);
        loop {
            line.clear();
            number += 1;
            match (&mut from)
                .take(u64::try_from(MAX_REPORT).unwrap_or(u64::MAX))
                .read_until(b'\n', &mut line)
            {
                // A host's report that was never finished; an audit file may have nothing yet.
                Ok(0) if is_empty && !origin.contains(".jsonl") => {
                    return self.unreadable(origin, "it is empty");
                }
                Ok(0) => return,
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => {}
                Err(error) => return self.unreadable(origin, &error.to_string()),
            }
            is_empty = false;
            if number == 1 && MAGIC.iter().any(|magic| line.starts_with(magic)) {
                let hint = "unpack it beside itself, as gunzip -k does, and read that";
                let why = Problem::hinted("it is compressed", hint);
                return self.unreadable(origin, &why.to_string());
            }
            // The first line of a document that goes on: nothing but a report ends where a line
            // does.
            if number == 1 && !line.trim_ascii_end().ends_with(b"}") {
                let left = MAX_REPORT.saturating_sub(line.len());
                if let Err(error) = (&mut from)
                    .take(u64::try_from(left).unwrap_or(0))
                    .read_to_end(&mut line)
                {
                    return self.unreadable(origin, &error.to_string());
                }
            }
            let place = if number == 1 {
                origin.to_owned()
            } else {
                format!("{origin}:{number}")
            };
            if line.len() >= MAX_REPORT {
                return self.unreadable(&place, &format!("longer than {MAX_REPORT} bytes"));
            }
            self.report(&place, &line);
        }
    }
}

/// Whether a file of that name has reports, or lines of an audit file: `audit.jsonl` and what
/// logrotate makes of it, `audit.jsonl.1`, `audit.jsonl-20261130`, `audit.jsonl.2.gz`.
fn has_reports(name: &str) -> bool {
    let mut endings = COMPRESSED.iter();
    let mut name = endings
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    loop {
        let rest = name.trim_end_matches(|sign: char| sign.is_ascii_digit());
        match rest.strip_suffix(['.', '-']) {
            Some(rest) if name.len() > rest.len() + 1 => name = rest,
            _ => break,
        }
    }
    let ending = Path::new(name).extension();
    ending.is_some_and(|ending| ending == "json" || ending == "jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, and what was not.
    #[derive(Default)]
    struct Seen(Vec<String>, Vec<String>);

    impl Reports for Seen {
        fn report(&mut self, _: &str, bytes: &[u8]) {
            self.0
                .push(String::from_utf8_lossy(bytes).trim().to_owned());
        }

        fn unreadable(&mut self, origin: &str, why: &str) {
            self.1.push(format!("{origin}: {why}"));
        }
    }

    #[test]
    fn a_report_that_was_never_finished_is_named_and_an_audit_file_may_be_empty() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "cut.json",
            "blank.json",
            "report",
            "audit.jsonl",
            "audit.jsonl.1",
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, if name == "blank.json" { "\n \n" } else { "" }).unwrap();
            let mut seen = Seen::default();
            seen.path(&path);
            let wanted = !name.contains("jsonl");
            assert_eq!(
                (seen.0.len(), seen.1.len()),
                (0, usize::from(wanted)),
                "{name}"
            );
        }
    }

    #[test]
    fn of_a_folder_rotated_files_are_read_too_and_compressed_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        let read = [
            "a.json",
            "audit.jsonl",
            "audit.jsonl.1",
            "audit.jsonl-20261130",
            "audit.jsonl-20261130-1700000000",
            "node-1.json",
            "plain.jsonl.gz",
        ];
        for name in read {
            write(name, format!("{{\"{name}\":1}}\n").as_bytes());
        }
        for name in [
            "README",
            "a.json.tmp",
            "a.json~",
            "json",
            "x.jsonl.old",
            "notes.1",
        ] {
            write(name, b"{\"no\":1}\n");
        }
        let packed: [(&str, &[u8]); 3] = [
            ("audit.jsonl.2.gz", b"\x1f\x8b\x08\0\0\n"),
            ("audit.jsonl.3.xz", b"\xfd7zXZ\0"),
            ("b.json.zst", b"\x28\xb5\x2f\xfd\x04"),
        ];
        for (name, bytes) in packed {
            write(name, bytes);
        }
        let mut seen = Seen::default();
        seen.path(folder.path());
        let mut wanted = read.map(|name| format!("{{\"{name}\":1}}"));
        wanted.sort();
        seen.0.sort();
        assert_eq!(seen.0, wanted);
        assert_eq!(seen.1.len(), packed.len(), "{:?}", seen.1);
        for (name, _) in packed {
            let of = |line: &&String| line.contains(name) && line.contains("it is compressed");
            assert_eq!(seen.1.iter().filter(of).count(), 1, "{:?}", seen.1);
        }
    }
}

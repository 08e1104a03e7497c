//! Reads reports of many hosts one after the other: files of one report or of one a line, and
//! folders of such. Each is capped.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::observe::plain;

/// The report of a host with 50,000 images.
const MAX_REPORT: usize = 64 << 20;

/// Takes in reports.
pub trait Reports {
    /// One report.
    fn report(&mut self, origin: &str, bytes: &[u8]);

    /// A report that could not be read, and why.
    fn unreadable(&mut self, origin: &str, why: &str);

    /// A file of one report, or of one a line; of a folder all its `*.json` and `*.jsonl`.
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
            Ok(_) => self.unreadable(&origin, "not a plain file"),
            Err(error) => self.unreadable(&origin, &error.to_string()),
        }
    }

    /// Every `*.json` and `*.jsonl` of a folder.
    fn folder(&mut self, folder: &Path) {
        let reports = std::fs::read_dir(folder).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<PathBuf>>>()
        });
        match reports {
            Ok(mut paths) => {
                paths.retain(|path| {
                    path.extension()
                        .is_some_and(|ending| ending == "json" || ending == "jsonl")
                        && !path.is_dir()
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
        let mut number = 0;
        loop {
            line.clear();
            number += 1;
            match (&mut from)
                .take(u64::try_from(MAX_REPORT).unwrap_or(u64::MAX))
                .read_until(b'\n', &mut line)
            {
                Ok(0) => return,
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => {}
                Err(error) => return self.unreadable(origin, &error.to_string()),
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

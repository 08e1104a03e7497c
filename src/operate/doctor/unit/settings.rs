//! Reads one file of systemd's: sections with lines `KEY=VALUE` (systemd.syntax(7)).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::words::{ESCAPE, is_name, split};
use crate::plain_file::read;

/// Nobody writes a longer one by hand.
const MAX_FILE: u64 = 1 << 20;

/// `NAME=VALUE` of each word.
pub(super) fn pairs(value: &str) -> Vec<(String, String)> {
    let words = split(value, true).into_iter();
    let pairs = words.filter_map(|(word, _)| {
        let (name, value) = word.split_once('=')?;
        is_name(name).then(|| (name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// Bytes that are no UTF-8 mostly stand in a comment; in a word they are as little known as an
/// escape.
fn lossy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.replace(char::REPLACEMENT_CHARACTER, &ESCAPE.to_string())
}

/// Each line of a file of systemd's: section, key, value. A file that is masked or gone has none.
pub(super) fn settings(path: &Path) -> io::Result<Vec<(String, String, String)>> {
    let text = match read(path, MAX_FILE) {
        Ok((bytes, _)) => lossy(&bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(_) if is_null(path) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found = Vec::new();
    let mut section = String::new();
    for line in logical_lines(text) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim());
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

/// Whether a file leads to /dev/null, by which a unit or a drop-in is masked.
pub(super) fn is_null(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|at| at == Path::new("/dev/null"))
}

/// Lines without comments; one that ends with a backslash that is not escaped goes on in the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let bare = line.trim_end_matches('\\');
        let more = (line.len() - bare.len()) % 2 == 1;
        let part = line.get(..line.len() - usize::from(more)).unwrap_or(line);
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

//! Sections and dotted keys of TOML below which all values are secret.

use super::{NAMES, is_secret};

/// Whether a line is a section of TOML, and all values of that one are secret. None: it is none. One
/// in a comment ends no other one.
pub(super) fn section(line: &str) -> Option<bool> {
    let bare = line.trim_start_matches([' ', '\t', '#']);
    let is_comment = line.trim_start().starts_with('#');
    let (inner, after) = bare.strip_prefix('[')?.rsplit_once(']')?;
    let inner = inner.trim_start_matches('[').trim_end_matches(']');
    let ends = after.trim_start();
    let path = toml_edit::Key::parse(inner.trim()).ok()?;
    // rootpin's own section has files and folders.
    let is_own = inner.trim() == "credentials";
    let last = path.last().is_some_and(|key| is_secret(key.get()));
    let is_secret = !is_own && (last || path.iter().any(|key| is_name(key.get())));
    let is_one = ends.is_empty() || ends.starts_with('#');
    (is_one && (is_secret || !is_comment)).then_some(is_secret)
}

/// Whether a key of TOML is below one that has a secret: `registry.headers."Api"`.
pub(super) fn is_below_secret(key: &str) -> bool {
    let key = key.trim_start_matches([' ', '\t', '#']).trim_end();
    toml_edit::Key::parse(key).is_ok_and(|path| path.iter().any(|key| is_name(key.get())))
}

fn is_name(key: &str) -> bool {
    NAMES.contains(&key.to_ascii_lowercase().as_str())
}

//! Sections and dotted keys of TOML below which all values are secret.

use super::{NAMES, is_secret};

/// Whether a line is a section of TOML, and all values of that one are secret. None: it is none. One
/// in a comment ends no other one.
pub(super) fn section(line: &str) -> Option<bool> {
    let bare = line.trim_start_matches([' ', '\t', '#']);
    let is_comment = line.trim_start().starts_with('#');
    let inside = bare.trim_start_matches('[');
    // A comment behind it, or a key in quotes, may have brackets, too.
    let mut ends = inside.match_indices(']').filter_map(|(at, _)| {
        let (inner, after) = inside.split_at(at);
        let after = after.trim_start_matches(']').trim_start();
        let is_one = after.is_empty() || after.starts_with('#');
        is_one.then(|| toml_edit::Key::parse(inner.trim()).ok())?
    });
    let path = ends.next().filter(|_| bare.starts_with('['))?;
    // rootpin's own section has files and folders.
    let is_own = matches!(&path[..], [key] if key.get() == "credentials");
    let last = path.last().is_some_and(|key| is_secret(key.get()));
    let is_secret = !is_own && (last || path.iter().any(|key| is_name(key.get())));
    (is_secret || !is_comment).then_some(is_secret)
}

/// Whether a key of TOML is below one that has a secret: `registry.headers."Api"`.
pub(super) fn is_below_secret(key: &str) -> bool {
    let key = key.trim_start_matches([' ', '\t', '#']).trim_end();
    toml_edit::Key::parse(key).is_ok_and(|path| path.iter().any(|key| is_name(key.get())))
}

fn is_name(key: &str) -> bool {
    NAMES.contains(&key.to_ascii_lowercase().as_str())
}

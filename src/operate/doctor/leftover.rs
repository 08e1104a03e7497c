//! Files that a try to write has left, as where the host went down.

/// The names of files that are being written.
pub(super) const PREFIX: &str = ".rootpin-";

/// Whether that is the name of one that was left.
pub(super) fn is_leftover(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| {
        random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

//! The reason that an exemption or a revocation must give.

use super::diagnostic::Fault;

/// What to write.
pub(super) const HINT: &str = "say in a few words why, for whoever reads the record later";

/// Reads a reason: one line that is not empty.
pub(super) fn parse(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::new(
            "bad-value",
            "the reason is empty, or more than a line of text",
            HINT,
        ));
    }
    Ok(text.to_owned())
}

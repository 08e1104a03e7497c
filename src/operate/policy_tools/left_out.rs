//! What could not be read of the reports of a fleet: all of it counted, the first of it named.

use std::fmt::{self, Display, Formatter};

use crate::observe::plain;

/// So much is named.
const MAX_NAMED: usize = 100;

/// Reports, hosts, images and lines that an answer leaves out.
#[derive(Debug, Default)]
pub struct LeftOut {
    count: usize,
    named: Vec<String>,
}

impl LeftOut {
    /// One more, with its place and why it can't be read.
    pub(super) fn add(&mut self, origin: &str, why: &str) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(format!("{origin}: {}", plain(why)));
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them, each with its place and why.
    #[must_use]
    pub fn named(&self) -> &[String] {
        &self.named
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A line for each that is named, and one for the rest.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let named = self.named.iter().map(|line| format!("not read: {line}"));
        let more = self.count.saturating_sub(self.named.len());
        named
            .chain((more > 0).then(|| format!("not read: {more} more")))
            .collect()
    }
}

/// How many there are, and the first.
impl Display for LeftOut {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let first = self.named.first().map_or("", String::as_str);
        write!(formatter, "{} not read, the first: {first}", self.count)
    }
}

/// The exit code of an answer: 1 if it found something, and 2 if it found nothing and did not read
/// everything.
#[must_use]
pub fn exit_code(found: bool, left_out: &LeftOut) -> u8 {
    match (found, left_out.is_empty()) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_to_the_last_and_named_up_to_a_bound() {
        let mut left_out = LeftOut::default();
        assert!(left_out.lines().is_empty() && exit_code(false, &left_out) == 0);
        for number in 0..250 {
            left_out.add(&format!("a:{number}"), "no\u{1b} report");
        }
        let lines = left_out.lines();
        assert_eq!((left_out.count(), left_out.named().len()), (250, 100));
        assert_eq!(lines[0], r"not read: a:0: no\u{1b} report");
        assert_eq!(lines.last().unwrap(), "not read: 150 more");
        assert!(
            left_out
                .to_string()
                .starts_with("250 not read, the first: a:0: no")
        );
        assert_eq!(
            (exit_code(false, &left_out), exit_code(true, &left_out)),
            (2, 1)
        );
    }
}

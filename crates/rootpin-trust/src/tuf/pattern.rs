//! Patterns of target paths (section 4.5): shell globs, segment by segment, so that none reaches
//! over a `/`. Case counts, everywhere.

/// Whether the path is one that the pattern names.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let segments = || pattern.split('/').zip(path.split('/'));
    pattern.split('/').count() == path.split('/').count()
        && segments().all(|(glob, segment)| names(glob, segment))
}

/// Whether some path that begins so may be one that the pattern names; `prefix` ends within the
/// last segment.
pub(super) fn may_match(pattern: &str, prefix: &str) -> bool {
    pattern.split('/').count() == prefix.split('/').count() && may_reach(pattern, prefix)
}

/// Whether some path that begins so, and goes on as it likes, may be one that the pattern names.
pub(super) fn may_reach(pattern: &str, prefix: &str) -> bool {
    let (before, begin) = prefix.rsplit_once('/').unzip();
    let mut pattern = pattern.split('/');
    let before = before.into_iter().flat_map(|before| before.split('/'));
    let mut before = before.map(|segment| pattern.next().is_some_and(|glob| names(glob, segment)));
    before.all(|is_named| is_named)
        && pattern
            .next()
            .is_some_and(|glob| may_begin(glob, begin.unwrap_or(prefix)))
}

/// Whether the glob names the whole segment.
fn names(glob: &str, segment: &str) -> bool {
    // Where there is no set each character but `*` takes one: a path that is too long fails at once.
    if !glob.contains('[')
        && glob.chars().filter(|character| *character != '*').count() > segment.chars().count()
    {
        return false;
    }
    let glob: Vec<Part> = parts(glob);
    let text: Vec<char> = segment.chars().collect();
    // One step back to the last `*` is enough: an earlier one could only have taken what the later
    // one can take as well.
    let (mut at, mut in_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match (glob.get(at), text.get(in_text)) {
            (Some(Part::Many), _) => {
                star = Some((at, in_text));
                at += 1;
            }
            (Some(part), Some(character)) if part.takes(*character) => {
                (at, in_text) = (at + 1, in_text + 1);
            }
            _ => match star {
                Some((back, taken)) => {
                    star = Some((back, taken + 1));
                    (at, in_text) = (back + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob.get(at..)
        .unwrap_or_default()
        .iter()
        .all(|part| matches!(part, Part::Many))
}

/// Whether some segment that begins with the text is one that the glob names.
fn may_begin(glob: &str, text: &str) -> bool {
    let mut text = text.chars();
    for part in parts(glob) {
        match (part, text.next()) {
            (Part::Many, _) | (_, None) => return true,
            (part, Some(character)) if part.takes(character) => {}
            _ => return false,
        }
    }
    text.next().is_none()
}

#[derive(Debug)]
enum Part {
    /// `*`
    Many,
    /// `?`
    Any,
    /// `[a-z]`, or `[!a-z]`
    Set {
        not: bool,
        ranges: Vec<(char, char)>,
    },
    One(char),
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Many | Self::Any => true,
            Self::Set { not, ranges } => {
                ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&character))
                    != *not
            }
            Self::One(one) => *one == character,
        }
    }
}

/// As Python's fnmatch reads it: a `[` without its `]` is itself.
fn parts(glob: &str) -> Vec<Part> {
    let mut rest = glob;
    let mut parts = Vec::new();
    // Where one `[` has no end none after it has: not looked for again, or a long pattern of them
    // would take for ever.
    let mut ends = true;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        parts.push(match character {
            '*' => Part::Many,
            '?' => Part::Any,
            '[' if ends => {
                if let Some((part, after)) = set(rest) {
                    rest = after;
                    part
                } else {
                    ends = false;
                    Part::One('[')
                }
            }
            other => Part::One(other),
        });
    }
    parts
}

/// The set after a `[`, and the rest after its `]`.
fn set(rest: &str) -> Option<(Part, &str)> {
    let (not, inner) = rest
        .strip_prefix('!')
        .map_or((false, rest), |inner| (true, inner));
    // A `]` in the first place is a member.
    let end = inner
        .char_indices()
        .skip(1)
        .find(|(_, character)| *character == ']')?
        .0;
    let (members, after) = inner.split_at_checked(end)?;
    let members: Vec<char> = members.chars().collect();
    let mut ranges = Vec::new();
    let mut left = members.as_slice();
    while let Some((first, rest)) = left.split_first() {
        if let ['-', last, after @ ..] = rest {
            ranges.push((*first, *last));
            left = after;
        } else {
            ranges.push((*first, *first));
            left = rest;
        }
    }
    Some((Part::Set { not, ranges }, after.strip_prefix(']')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_reaches_below_a_prefix_if_some_longer_path_would_match() {
        for (pattern, prefix) in [
            ("r.example/team/*", ""),
            ("r.example/team/*", "r.example/"),
            ("r.example/*/app:*", "r.example/te"),
            ("*/*", "r."),
        ] {
            assert!(may_reach(pattern, prefix), "{pattern} {prefix}");
        }
        for (pattern, prefix) in [
            ("r.example/team/*", "s.example/"),
            ("r.example/team", "r.example/team/"),
            ("r.example/a*", "r.example/b"),
        ] {
            assert!(!may_reach(pattern, prefix), "{pattern} {prefix}");
        }
    }

    #[test]
    fn a_glob_matches_within_a_segment_and_case_counts() {
        for (pattern, path) in [
            ("r.example/team/*", "r.example/team/app:1.2"),
            ("r.example/*/app:*", "r.example/team/app:1"),
            ("r.example/app:?.?", "r.example/app:1.2"),
            ("a/[a-c]x", "a/bx"),
            ("a/[!a-c]x", "a/dx"),
            ("a/[]]", "a/]"),
            ("a/[", "a/["),
            ("*a*b*c", "xxaxxbxbxc"),
            ("", ""),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("r.example/*", "r.example/team/app:1"),
            ("r.example/**", "r.example/team/app:1"),
            ("*", "a/b"),
            ("a?b", "a/b"),
            ("a[/]b", "a/b"),
            ("A", "a"),
            ("a/[a-c]x", "a/dx"),
            ("a*b", "ac"),
            ("a", "ab"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_long_pattern_of_open_brackets_is_read_in_one_pass() {
        let open = "[".repeat(1 << 20);
        assert!(matches(&open, &open));
        assert!(!matches(&open, "["));
        assert!(matches("[a][", "a["));
    }

    #[test]
    fn a_pattern_may_match_what_begins_as_it_does() {
        for pattern in [
            "r.example/team/*",
            "r.example/team/app:*",
            "r.example/*/app:1",
            "r.example/team/a*",
            "r.example/team/app:1.2",
        ] {
            assert!(may_match(pattern, "r.example/team/app:"), "{pattern}");
        }
        for pattern in [
            "r.example/*",
            "r.example/team/app",
            "r.example/team/web:*",
            "r.example/team/*/*",
            "other/team/app:*",
        ] {
            assert!(!may_match(pattern, "r.example/team/app:"), "{pattern}");
        }
    }
}

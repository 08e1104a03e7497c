//! Divides a proposed policy that is larger than one of its files may be: into `policy.toml`, and
//! fragments that own the names of their rules.

use std::collections::{BTreeMap, BTreeSet};

use super::render::quoted;
use crate::policy_dir::MAX_BYTES;
use rootpin_policy::Pattern;

/// More fragments than that help nobody.
const MAX_FRAGMENTS: usize = 500;
/// Above the rules of a fragment, with the longest pattern.
const MAX_HEAD: usize = 1 << 10;
const WHY: &str =
    "# Proposed by rootpin import: policy.toml would be larger than a file of a policy may be.\n";

/// A rule, with the roots that are defined before it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pattern: Option<Pattern>,
    text: String,
    /// A comment above it, unless the entry before has the same.
    note: Option<String>,
}

impl Entry {
    pub(super) fn new(pattern: &str, text: String) -> Self {
        Self {
            pattern: pattern.parse().ok(),
            text,
            note: None,
        }
    }

    pub(super) fn with_note(self, note: String) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

/// Some of the entries, by their places among all, which a fragment with that pattern may have.
#[derive(Debug, Default)]
struct Part {
    owns: String,
    entries: Vec<usize>,
    /// What they take, without and with their notes.
    text: usize,
    size: usize,
}

/// The files by their names: `policy.toml`, which begins and ends with these texts, and as many
/// fragments as it takes to have none of them too large. Where no division does that, `policy.toml`
/// stays too large, and does not load.
pub(super) fn divided(head: String, entries: &[Entry], end: &str) -> BTreeMap<String, String> {
    let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    divided_by(most, head, entries, end)
}

/// The same with so many bytes in each file at most.
fn divided_by(most: usize, head: String, entries: &[Entry], end: &str) -> BTreeMap<String, String> {
    let room = most.saturating_sub(head.len() + end.len());
    let whole = part(String::new(), &members(entries), usize::MAX);
    let notes = whole.size - whole.text;
    let mut left = whole.text;
    let mut parts = Vec::new();
    if left + notes > room {
        let most = most.saturating_sub(MAX_HEAD);
        parts = fragments(entries, most, Spread::Few);
        let moved: usize = parts.iter().map(|part| part.text).sum();
        if left + notes > room + moved {
            parts = fragments(entries, most, Spread::Many);
        }
    }
    let mut files = BTreeMap::new();
    let mut in_fragments = BTreeSet::<usize>::new();
    for (part, number) in parts.iter().zip(1..) {
        if left + notes <= room {
            break;
        }
        left = left.saturating_sub(part.text);
        let mut text = format!("{WHY}[fragment]\nowns = {}\n", quoted(&part.owns));
        write_entries(
            &mut text,
            part.entries.iter().filter_map(|at| entries.get(*at)),
        );
        in_fragments.extend(&part.entries);
        files.insert(format!("policy.d/import-{number:03}.toml"), text);
    }
    let mut text = head;
    let rest = entries.iter().enumerate();
    let rest = rest.filter(|(index, _)| !in_fragments.contains(index));
    write_entries(&mut text, rest.map(|(_, entry)| entry));
    text.push_str(end);
    files.insert("policy.toml".to_owned(), text);
    files
}

fn write_entries<'e>(text: &mut String, entries: impl Iterator<Item = &'e Entry>) {
    let mut noted = None;
    for entry in entries {
        let note = entry.note.as_deref();
        if note != noted {
            text.push_str(note.unwrap_or_default());
        }
        noted = note;
        text.push_str(&entry.text);
    }
}

/// A rule, with what of its pattern follows the names that are divided already.
#[derive(Debug, Clone, Copy)]
struct Member<'e> {
    index: usize,
    entry: &'e Entry,
    rest: &'e str,
}

fn members(entries: &[Entry]) -> Vec<Member<'_>> {
    let member = |(index, entry)| Member {
        index,
        entry,
        rest: "",
    };
    entries.iter().enumerate().map(member).collect()
}

/// Of names that are too many for one fragment: one that owns them by a wildcard and has as many of
/// their rules as fit, or a fragment for each of the next longer names, where these have more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Few,
    Many,
}

/// Fragments that own no name together, of at most so many bytes each; the largest first.
fn fragments(entries: &[Entry], most: usize, spread: Spread) -> Vec<Part> {
    let mut hosts: BTreeMap<&str, Vec<Member<'_>>> = BTreeMap::new();
    for member in members(entries) {
        let pattern = member.entry.pattern.as_ref().map(Pattern::as_str);
        if let Some((host, rest)) = pattern.and_then(|pattern| pattern.split_once('/')) {
            hosts
                .entry(host)
                .or_default()
                .push(Member { rest, ..member });
        }
    }
    let mut found = Vec::new();
    for (host, members) in hosts {
        below(host, &members, (most, spread), &mut found);
    }
    found.retain(|part| !part.entries.is_empty());
    found.sort_by_key(|part| std::cmp::Reverse(part.text));
    found.truncate(MAX_FRAGMENTS);
    found
}

/// The fragments of the rules below a name.
fn below(
    name: &str,
    members: &[Member<'_>],
    (most, spread): (usize, Spread),
    found: &mut Vec<Part>,
) {
    let whole = part(format!("{name}/**"), members, usize::MAX);
    if whole.size <= most {
        found.push(whole);
        return;
    }
    let (mut direct, mut deep) = (Vec::new(), BTreeMap::<&str, Vec<Member<'_>>>::new());
    for member in members {
        // A fragment for what begins with a wildcard would own what those below own.
        if member.rest.starts_with('*') {
            continue;
        }
        match member.rest.split_once('/') {
            Some((next, rest)) => deep
                .entry(next)
                .or_default()
                .push(Member { rest, ..*member }),
            None => direct.push(*member),
        }
    }
    found.push(part(format!("{name}/*"), &direct, most));
    let mut each = Vec::new();
    for (next, members) in deep.iter().filter(|_| spread == Spread::Many) {
        let next = format!("{name}/{next}");
        below(&next, members, (most, spread), &mut each);
    }
    each.sort_by_key(|part| std::cmp::Reverse(part.text));
    let mut all: Vec<Member<'_>> = deep.into_values().flatten().collect();
    all.sort_by_key(|member| member.index);
    let one = part(format!("{name}/*/**"), &all, most);
    let of_each: usize = each.iter().take(MAX_FRAGMENTS).map(|part| part.text).sum();
    if of_each > one.text {
        found.extend(each);
    } else {
        found.push(one);
    }
}

/// As many of the members as fit, in a fragment that owns that pattern.
fn part(owns: String, members: &[Member<'_>], most: usize) -> Part {
    let mut part = Part {
        owns,
        ..Part::default()
    };
    let mut noted = None;
    for Member { index, entry, .. } in members {
        let note = entry.note.as_deref().filter(|note| noted != Some(*note));
        let size = entry.text.len() + note.map_or(0, str::len);
        if part.size + size <= most {
            part.text += entry.text.len();
            part.size += size;
            part.entries.push(*index);
            noted = entry.note.as_deref();
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rootpin_policy::Policy;
    use rootpin_trust::image::Repository;

    use super::*;

    const HEAD: &str = "version = 1\ndefault = \"deny\"\n";

    fn entry(pattern: &str) -> Entry {
        let text = format!("\n[[rule]]\nmatch = \"{pattern}\"\nroots = []\n");
        let note = format!("\n# {}\n", pattern.len() % 3);
        Entry::new(pattern, text).with_note(note)
    }

    fn loaded(files: &BTreeMap<String, String>) -> Policy {
        let bytes = |(name, text): (&String, &String)| (name.clone(), text.clone().into_bytes());
        let files: BTreeMap<_, _> = files.iter().map(bytes).collect();
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        rootpin_policy::load(&files, now).unwrap()
    }

    #[test]
    fn what_fits_one_file_stays_one() {
        let entries = [entry("r.example/a"), entry("r.example/b")];
        let files = divided(HEAD.to_owned(), &entries, "# end\n");
        assert_eq!(files.len(), 1);
        let text = &files["policy.toml"];
        assert!(
            text.starts_with(HEAD) && text.ends_with("# end\n"),
            "{text}"
        );
        assert_eq!(text.matches("[[rule]]").count(), 2);
        assert_eq!(text.matches("# 2").count(), 1, "the note of both: {text}");
    }

    #[test]
    fn names_that_no_literal_divides_fill_three_files() {
        let names = (0..90).map(|number| format!("r.example/a{number:02}"));
        let patterns = names.flat_map(|name| [name.clone(), name + "/**"]);
        let entries: Vec<_> = patterns.map(|pattern| entry(&pattern)).collect();
        let files = divided_by(4096, HEAD.to_owned(), &entries, "");
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            [
                "policy.d/import-001.toml",
                "policy.d/import-002.toml",
                "policy.toml"
            ]
        );
        assert!(files.values().all(|text| text.len() <= 4096));
        assert_eq!(loaded(&files).rules.len(), 180);
    }

    proptest! {
        #[test]
        fn a_policy_that_is_divided_has_each_rule_once_and_decides_as_before(
            names in proptest::collection::btree_set("(r|docker)[.]io(/[a-c]{1,2}){1,3}(|/[*]{2})", 1..60),
            most in 1500_usize..3000,
        ) {
            let names = names.into_iter().filter(|name| name.parse::<Pattern>().is_ok());
            let entries: Vec<_> = names.map(|name| entry(&name)).collect();
            let whole = loaded(&divided(HEAD.to_owned(), &entries, ""));
            let files = divided_by(most, HEAD.to_owned(), &entries, "");
            let policy = loaded(&files);
            prop_assert_eq!(policy.rules.len(), entries.len());
            for (name, text) in &files {
                prop_assert!(name == "policy.toml" || text.len() <= most, "{} {}", name, text);
            }
            for name in ["r.io/a", "r.io/a/b", "r.io/ab/c/a", "docker.io/a/b", "docker.io/a/b/c/d"] {
                let name = Repository::from_full(name).unwrap();
                let rule = |policy: &Policy| policy.rule_for(&name).map(|rule| rule.pattern.clone());
                prop_assert_eq!(rule(&policy), rule(&whole));
            }
        }
    }
}

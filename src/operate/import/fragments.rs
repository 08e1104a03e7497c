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
/// What policy.toml says of its fragments.
const MAX_NOTICE: usize = 256;
const WHY: &str =
    "# Proposed by rootpin import: policy.toml would be larger than a file of a policy may be.\n";

/// A rule, with the roots that are defined before it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pattern: Option<Pattern>,
    text: String,
    /// Whether the rule has roots, which may admit its names.
    admits: bool,
    /// A comment above it, unless the entry before has the same.
    note: Option<String>,
}

impl Entry {
    pub(super) fn new(pattern: &str, text: String) -> Self {
        Self {
            pattern: pattern.parse().ok(),
            text,
            admits: true,
            note: None,
        }
    }

    /// A rule without roots, below the comment that says why.
    pub(super) fn refusing(pattern: &str, text: String, why: String) -> Self {
        Self {
            admits: false,
            note: Some(why),
            ..Self::new(pattern, text)
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
/// stays too large, and does not load. If a file is missing, no rule admits a name that another rule
/// of the whole decides.
pub(super) fn divided(head: &str, entries: &[Entry], end: &str) -> BTreeMap<String, String> {
    let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    divided_by(most, head, entries, end)
}

/// The same with so many bytes in each file at most.
fn divided_by(most: usize, head: &str, entries: &[Entry], end: &str) -> BTreeMap<String, String> {
    let mut room = most.saturating_sub(head.len() + end.len());
    let whole = part(String::new(), &members(entries), usize::MAX);
    let notes = whole.size - whole.text;
    let mut left = whole.text;
    let mut parts = Vec::new();
    if left + notes > room {
        room = room.saturating_sub(MAX_NOTICE);
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
    let mut text = notice(files.len());
    text.push_str(head);
    let rest = entries.iter().enumerate();
    let rest = rest.filter(|(index, _)| !in_fragments.contains(index));
    write_entries(&mut text, rest.map(|(_, entry)| entry));
    text.push_str(end);
    files.insert("policy.toml".to_owned(), text);
    files
}

/// Names so many fragments at the head of policy.toml.
fn notice(fragments: usize) -> String {
    let names = match fragments {
        0 => return String::new(),
        1 => "1 fragment, policy.d/import-001.toml".to_owned(),
        more => {
            format!("{more} fragments, policy.d/import-001.toml to policy.d/import-{more:03}.toml")
        }
    };
    format!(
        "# This policy has {names}.\n# Put all in force together: without its fragment a name is refused.\n"
    )
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
    let wider = WiderRules::new(entries);
    for part in &mut found {
        wider.keep_together(part, entries);
    }
    found.retain(|part| !part.entries.is_empty());
    found.sort_by_key(|part| std::cmp::Reverse(part.text));
    found.truncate(MAX_FRAGMENTS);
    found
}

/// The rules with roots and a wildcard, with their places among all, by the text before the
/// wildcard.
struct WiderRules<'e>(BTreeMap<&'e str, Vec<(usize, &'e Pattern)>>);

impl<'e> WiderRules<'e> {
    fn new(entries: &'e [Entry]) -> Self {
        let mut rules = BTreeMap::<_, Vec<_>>::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(pattern) = &entry.pattern
                && entry.admits
                && !pattern.is_exact()
            {
                let of_prefix = rules.entry(pattern.literal_prefix()).or_default();
                of_prefix.push((index, pattern));
            }
        }
        Self(rules)
    }

    /// Takes out of a fragment each rule with a wider one elsewhere that has roots: without the
    /// fragment, that one would decide its names.
    fn keep_together(&self, part: &mut Part, entries: &[Entry]) {
        let mut kept: BTreeSet<usize> = part.entries.iter().copied().collect();
        loop {
            let is_kept = |at: &usize| {
                let pattern = entries.get(*at).and_then(|entry| entry.pattern.as_ref());
                pattern.is_some_and(|pattern| self.over(pattern).all(|wider| kept.contains(&wider)))
            };
            let next: BTreeSet<usize> = kept.iter().copied().filter(is_kept).collect();
            if next.len() == kept.len() {
                break;
            }
            // A rule that goes may be the wider one of others.
            kept = next;
        }
        if kept.len() < part.entries.len() {
            let members: Vec<Member<'_>> = members(entries)
                .into_iter()
                .filter(|member| kept.contains(&member.index))
                .collect();
            *part = self::part(std::mem::take(&mut part.owns), &members, usize::MAX);
        }
    }

    /// The places of the rules that decide names of the pattern where its own rule is missing, and
    /// its own place if it is one.
    fn over<'s>(&'s self, pattern: &'s Pattern) -> impl Iterator<Item = usize> + 's {
        let prefix = pattern.literal_prefix();
        let ends = prefix.match_indices('/').map(|(at, _)| at + 1);
        let prefixes = ends.filter_map(move |end| prefix.get(..end));
        let rules = prefixes
            .filter_map(move |prefix| self.0.get(prefix))
            .flatten();
        rules
            .filter(move |(_, wider)| wider.overlaps(pattern))
            .map(|(index, _)| *index)
    }
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
        Entry::refusing(pattern, text, note)
    }

    /// The head of a policy with a root, and with a rule that names it.
    fn head_with_root() -> String {
        let key = "1".repeat(64);
        format!(
            "{HEAD}\n[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{key}\"]\nrole = \"targets\"\n\n[[rule]]\nmatch = \"z.example/a\"\nroots = [\"a\"]\n"
        )
    }

    fn admitting(pattern: &str) -> Entry {
        let text = format!("\n[[rule]]\nmatch = \"{pattern}\"\nroots = [\"a\"]\n");
        Entry::new(pattern, text)
    }

    /// `policy.toml` alone, and the whole without each one of its fragments.
    fn incomplete(files: &BTreeMap<String, String>) -> Vec<BTreeMap<String, String>> {
        let mut alone = files.clone();
        alone.retain(|name, _| name == "policy.toml");
        let mut all = vec![alone];
        for missing in files.keys().filter(|name| *name != "policy.toml") {
            let mut rest = files.clone();
            rest.remove(missing);
            all.push(rest);
        }
        all
    }

    #[test]
    fn names_that_are_refused_under_a_wider_rule_are_divided_only_together_with_it() {
        let refused = (0..60).map(|number| entry(&format!("r.example/team/a{number:02}")));
        let other = (0..60).map(|number| entry(&format!("s.example/a{number:02}")));
        let entries: Vec<_> = std::iter::once(admitting("r.example/team/**"))
            .chain(refused)
            .chain(other)
            .collect();
        let files = divided_by(5000, &head_with_root(), &entries, "");
        let text = &files["policy.toml"];
        let names = "# This policy has 1 fragment, policy.d/import-001.toml.\n";
        assert!(files.len() == 2 && text.starts_with(names), "{files:?}");
        let wider = files.values().filter(|text| text.contains("team/**"));
        assert!(wider.eq(files.values().filter(|text| text.contains("team/a59"))));
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
        let files = divided(HEAD, &entries, "# end\n");
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
        let files = divided_by(4096, HEAD, &entries, "");
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
            let whole = loaded(&divided(HEAD, &entries, ""));
            let files = divided_by(most, HEAD, &entries, "");
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

        #[test]
        fn a_policy_without_one_or_all_of_its_fragments_admits_no_name_that_the_whole_refuses(
            rules in proptest::collection::btree_map("(r|s)[.]io(/[a-c]{1,2}){0,3}(|/[*]{2})", any::<bool>(), 1..50),
            most in 1300_usize..2400,
        ) {
            let rules = rules.into_iter().filter(|(name, _)| name.parse::<Pattern>().is_ok());
            let rules: Vec<_> = rules.collect();
            let of_rule = |(name, admits): &(String, bool)| if *admits { admitting(name) } else { entry(name) };
            let entries: Vec<_> = rules.iter().map(of_rule).collect();
            let whole = loaded(&divided(&head_with_root(), &entries, ""));
            let files = divided_by(most, &head_with_root(), &entries, "");
            prop_assert_eq!(loaded(&files).rules.len(), entries.len() + 1);
            for files in incomplete(&files) {
                let policy = loaded(&files);
                for (name, _) in &rules {
                    for below in ["a", "b/a"] {
                        let name = name.replace("**", below);
                        let name = Repository::from_full(&name).unwrap();
                        if let Some(rule) = policy.rule_for(&name).filter(|rule| !rule.roots.is_empty()) {
                            let of_whole = whole.rule_for(&name).map(|rule| &rule.pattern);
                            prop_assert_eq!(Some(&rule.pattern), of_whole, "{}", name.as_str());
                        }
                    }
                }
            }
        }
    }
}

//! How large the source tree is: its files, its names, and the part to audit, which
//! docs/code-structure.md shows as a table. `ROOTPIN_WRITE=1` writes that table anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{PURE, Source, below, sources};

/// The most type definitions of a crate, in percent, whose name another definition has too.
const SHARED_NAMES: [(&str, usize); 3] = [
    ("crates/rootpin-trust/src", 15),
    ("crates/rootpin-policy/src", 15),
    ("src", 15),
];

/// The names of the types, traits and type aliases that a file defines. Every command has its
/// `Arguments` and `Verb`.
fn types(source: &Source) -> impl Iterator<Item = &str> {
    let defined = |line: &'_ str| -> Option<usize> {
        let at = line.find(|letter: char| !letter.is_whitespace())?;
        let rest = line.get(at..)?;
        let public = match rest.strip_prefix("pub") {
            Some(after) if after.starts_with('(') => rest.find(") ")? + 2,
            Some(_) => "pub ".len(),
            None => 0,
        };
        let (kind, _) = rest.get(public..)?.split_once(' ')?;
        let kinds = ["struct", "enum", "trait", "type", "union"];
        kinds
            .contains(&kind)
            .then_some(at + public + kind.len() + 1)
    };
    source
        .code
        .lines()
        .filter_map(move |line| line.get(defined(line)?..))
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap()
        })
        .filter(|name| !["Arguments", "Verb"].contains(name))
}

#[test]
fn a_type_s_name_means_one_thing_in_its_crate() {
    for (folder, most) in SHARED_NAMES {
        let sources = below(folder);
        let mut count = BTreeMap::new();
        for name in sources.iter().flat_map(types) {
            *count.entry(name).or_insert(0) += 1;
        }
        let all: usize = count.values().sum();
        let shared: BTreeMap<_, _> = count.iter().filter(|(_, times)| **times > 1).collect();
        let percent = 100 * shared.values().copied().sum::<usize>() / all;
        assert!(
            percent <= most,
            "{folder}: {percent} % of {all} definitions share a name: {shared:?}"
        );
    }
}

#[test]
fn no_file_is_long_and_most_are_short() {
    let pure = PURE
        .iter()
        .flat_map(|(folder, _)| below(&format!("{folder}/src")));
    let mut lines: Vec<(usize, String)> = sources()
        .into_iter()
        .chain(pure)
        .map(|source| (source.lines, source.path))
        .collect();
    lines.sort();
    let (longest, path) = lines.last().unwrap();
    assert!(*longest <= 500, "{path} has {longest} lines");
    let (median, _) = lines[lines.len() / 2];
    assert!(median <= 170, "the median file has {median} lines");
}

/// A part of the two crates, where it stands below `crates`, and the most lines of code that it may
/// have. A file belongs to the first part that names it.
const PARTS: [(&str, &[&str], usize); 6] = [
    (
        "cosign and Notation",
        &[
            "rootpin-trust/src/cosign/",
            "rootpin-trust/src/notation/",
            "rootpin-trust/src/image_signature.rs",
            "rootpin-trust/src/signed_index.rs",
            "rootpin-trust/src/key/image.rs",
            "rootpin-policy/src/load/root/signed.rs",
        ],
        2_100,
    ),
    ("The Update Framework", &["rootpin-trust/src/tuf/"], 2_000),
    ("Notary v1", &["rootpin-trust/src/notary/"], 900),
    (
        "what the formats share: keys, JSON, floors, manifests",
        &["rootpin-trust/src/"],
        3_900,
    ),
    ("the judge", &["rootpin-policy/src/judge/"], 1_400),
    (
        "the policy and its loading",
        &["rootpin-policy/src/"],
        2_700,
    ),
];

/// The part that a file belongs to, and its lines of code: neither empty nor comments nor tests.
fn measured() -> impl Iterator<Item = (usize, usize)> {
    let folders = PURE.iter().flat_map(|(folder, _)| {
        let folder = format!("{folder}/src");
        let files = below(&folder).into_iter();
        files.map(move |source| (format!("{folder}/{}", source.path), source))
    });
    folders.map(|(path, source)| {
        let path = path.trim_start_matches("crates/").to_owned();
        let holds = |names: &[&str]| names.iter().any(|name| path.starts_with(name));
        let part = PARTS.iter().position(|(_, names, _)| holds(names));
        let lines = source.code.lines().filter(|line| !line.trim().is_empty());
        (
            part.unwrap_or_else(|| panic!("{path}: of no part")),
            lines.count(),
        )
    })
}

/// Rounded up to hundreds, so that a small change leaves the document as it is.
fn rounded(lines: usize) -> usize {
    lines.div_ceil(100) * 100
}

#[test]
fn the_part_to_audit_is_no_larger_than_its_document_says_and_stays_within_its_limits() {
    let mut sizes = [(0, 0); PARTS.len()];
    for (part, lines) in measured() {
        sizes[part].0 += 1;
        sizes[part].1 += lines;
    }
    let mut table =
        "| part of the two crates | files | lines of code, at most |\n|---|---|---|\n".to_owned();
    for ((name, _, most), (files, lines)) in PARTS.iter().zip(sizes) {
        assert!(
            lines <= *most,
            "{name}: {lines} lines of code, more than {most}"
        );
        writeln!(table, "| {name} | {files} | {} |", rounded(lines)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/code-structure.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = text.find("| part of the two crates |").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap() + 1;
    if std::env::var("ROOTPIN_WRITE").is_ok_and(|wish| wish == "1") {
        fs::write(&path, [&text[..begin], &table, &text[end..]].concat()).unwrap();
        return;
    }
    assert_eq!(
        &text[begin..end],
        table,
        "ROOTPIN_WRITE=1 writes the table anew"
    );
}

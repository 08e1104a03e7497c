//! The source tree keeps its layers, its pure parts pure, and its files short.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each other one may name: what went wrong and its hint, text and files of others.
const EVERYWHERE: [&str; 3] = ["problem", "plain_text", "plain_file"];

/// What each top-level module may name. A module stands below all that it names, so there is no way
/// round in a circle.
const LAYERS: [(&str, &[&str]); 24] = [
    ("plain_file", &[]),
    ("plain_text", &[]),
    ("problem", &[]),
    ("trusted_path", &[]),
    ("nonce", &[]),
    ("canary", &[]),
    ("spelling", &[]),
    ("credentials", &[]),
    ("config", &["spelling", "credentials"]),
    ("hosts_toml", &["trusted_path"]),
    ("sockets", &["trusted_path"]),
    ("policy_dir", &["trusted_path"]),
    ("sources", &["trusted_path", "hosts_toml", "credentials"]),
    ("publish", &["spelling", "sources"]),
    ("state", &["nonce"]),
    ("evidence", &["sources", "state"]),
    (
        "decide",
        &["canary", "nonce", "sources", "state", "evidence"],
    ),
    ("observe", &["trusted_path", "state", "decide"]),
    (
        "control",
        &[
            "credentials",
            "sources",
            "state",
            "evidence",
            "decide",
            "observe",
        ],
    ),
    ("engines", &["decide"]),
    // The verifier's binary is a client of the control socket; the resolver hands on a registry's
    // bytes.
    (
        "doors",
        &[
            "canary",
            "nonce",
            "config",
            "hosts_toml",
            "sockets",
            "policy_dir",
            "credentials",
            "sources",
            "decide",
            "observe",
            "control",
            "engines",
        ],
    ),
    // The proof brings images in as the engines' clients do, and signs for them.
    (
        "operate",
        &[
            "trusted_path",
            "canary",
            "config",
            "hosts_toml",
            "sockets",
            "policy_dir",
            "credentials",
            "sources",
            "publish",
            "state",
            "decide",
            "observe",
            "control",
            "engines",
        ],
    ),
    (
        "daemon",
        &[
            "credentials",
            "config",
            "sockets",
            "policy_dir",
            "sources",
            "state",
            "decide",
            "observe",
            "control",
            "engines",
            "doors",
        ],
    ),
    (
        "cli",
        &[
            "trusted_path",
            "config",
            "hosts_toml",
            "sockets",
            "policy_dir",
            "sources",
            "publish",
            "state",
            "evidence",
            "decide",
            "observe",
            "control",
            "operate",
            "daemon",
        ],
    ),
];

/// The crates that neither read nor write anything, nor look at the clock, and what each may be
/// built on.
const PURE: [(&str, &[&str]); 2] = [
    (
        "crates/rootpin-trust",
        &[
            "aws-lc-rs",
            "base64",
            "jiff",
            "rustls-pki-types",
            "rustls-webpki",
            "sha2",
            "thiserror",
            "x509-cert",
            "zeroize",
        ],
    ),
    (
        "crates/rootpin-policy",
        &["rootpin-trust", "jiff", "strsim", "thiserror", "toml"],
    ),
];

/// What a pure module has no business with.
const IMPURE: [&str; 18] = [
    "async ",
    ".await",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "axum::",
    "env!(",
    "redb::",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "tokio",
    // Would hide any of these.
    "std::{",
];

/// One file without its comments and its test module.
struct Source {
    /// Below `src`, as `trust/notary/root.rs`.
    path: String,
    /// The top-level module.
    module: String,
    code: String,
    /// Lines without the test module, comments counted.
    lines: usize,
}

/// Every file of the application but the tests'.
fn sources() -> Vec<Source> {
    below("src")
}

/// Every file below a folder but the tests'.
fn below(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|file| read(&root, file))
        .filter(|source| !source.path.contains("/tests"))
        .collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let path = file
        .strip_prefix(root)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let text = fs::read_to_string(file).unwrap();
    let kept = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let code: Vec<_> = kept
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let module = path
        .split('/')
        .next()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned();
    Source {
        path,
        module,
        code: code.join("\n"),
        lines: kept.lines().count(),
    }
}

/// The names that follow `prefix` in some code.
fn named<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        // `$crate::` and `my_crate::` end in the prefix too.
        let whole = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = &code[at + prefix.len()..];
        whole.then(|| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap()
        })
    })
}

#[test]
fn no_module_names_one_that_stands_above_it() {
    for source in sources() {
        if source.path == "lib.rs" {
            continue;
        }
        if source.module == "bin" {
            assert!(
                named(&source.code, "rootpin::").all(|name| ["cli", "doors"].contains(&name)),
                "{}",
                source.path
            );
            continue;
        }
        let (_, allowed) = LAYERS
            .iter()
            .find(|(name, _)| *name == source.module)
            .unwrap_or_else(|| panic!("{}: no layer", source.path));
        for name in named(&source.code, "crate::").filter(|name| *name != source.module) {
            assert!(
                EVERYWHERE.contains(&name) || allowed.contains(&name),
                "{} names crate::{name}; {} may name {allowed:?}",
                source.path,
                source.module
            );
        }
        // Another way to the crate's top.
        let depth =
            source.path.matches('/').count() + 1 - usize::from(source.path.ends_with("/mod.rs"));
        assert!(
            !source.code.contains(&"super::".repeat(depth)),
            "{} reaches the crate's top by super::",
            source.path
        );
    }
}

#[test]
fn the_layers_stand_on_each_other_without_a_circle() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for name in *allowed {
            assert!(
                LAYERS[..at].iter().any(|(below, _)| below == name),
                "{module} names {name}, which does not stand below it"
            );
        }
    }
}

#[test]
fn the_pure_crates_name_no_input_output_or_clock() {
    for (folder, _) in PURE {
        for source in below(&format!("{folder}/src")) {
            for name in IMPURE {
                assert!(!source.code.contains(name), "{} names {name}", source.path);
            }
        }
    }
}

#[test]
fn the_pure_crates_are_built_on_nothing_that_reads_writes_or_waits() {
    for (folder, allowed) in PURE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let text = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for name in manifest["dependencies"].as_table().unwrap().keys() {
            assert!(
                allowed.contains(&name.as_str()),
                "{folder} is built on {name}"
            );
        }
    }
}

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

/// The files that each file names by `crate::` or `super::`, all by their module paths.
fn names() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let sources = sources();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(module_path).collect();
    let named = |source: &Source| {
        let own = module_path(source);
        let file = |mut path: Vec<String>| {
            while !path.is_empty() && !modules.contains(&path) {
                path.pop();
            }
            path
        };
        let paths = paths_in(&source.code).map(|path| {
            let up = path
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            let base = if up == 0 {
                0
            } else {
                own.len().saturating_sub(up)
            };
            let from = path.iter().skip(up.max(1)).cloned();
            own.iter().take(base).cloned().chain(from).collect()
        });
        let files: BTreeSet<_> = paths.map(file).filter(|path| !path.is_empty()).collect();
        (
            own.clone(),
            files.into_iter().filter(|path| *path != own).collect(),
        )
    };
    sources.iter().map(named).collect()
}

/// `doors/nri/images.rs` is `doors::nri::images`.
fn module_path(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod").trim_end_matches("lib");
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Every path in some code that begins with `crate::` or `super::`, also in braces; but for those
/// of `pub use`, which are a module's face.
fn paths_in(code: &str) -> impl Iterator<Item = Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code
        .match_indices("crate::")
        .chain(code.match_indices("super::"))
    {
        let before = &code[..at];
        let line = before.rsplit('\n').next().unwrap();
        let whole = !before.ends_with(|last: char| last.is_alphanumeric() || "_:".contains(last));
        if whole && !line.contains("pub use") && !(line.contains("pub(") && line.contains("use ")) {
            expand(Vec::new(), &code[at..], &mut paths);
        }
    }
    paths.into_iter()
}

/// Reads one path, or the tree that it opens in braces. Returns what follows.
fn expand<'a>(mut path: Vec<String>, code: &'a str, paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = code.trim_start();
    loop {
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                rest = expand(path.clone(), rest, paths).trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    return after;
                }
                if rest.is_empty()
                    || !rest
                        .starts_with(|first: char| first.is_alphanumeric() || "_{*".contains(first))
                {
                    return rest;
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        path.push(name.to_owned());
        let Some(more) = after.strip_prefix("::") else {
            paths.push(path);
            return after.strip_prefix(" as ").map_or(after, |alias| {
                alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            });
        };
        rest = more;
    }
}

/// Whatever can be reached from a node.
fn reached<'a, T: Ord>(edges: &'a BTreeMap<T, BTreeSet<T>>, from: &'a T) -> BTreeSet<&'a T> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        for to in edges.get(at).into_iter().flatten() {
            if seen.insert(to) {
                next.push(to);
            }
        }
    }
    seen
}

/// The circles: groups of nodes each of which leads to all others.
fn circles<T: Ord + Clone>(edges: &BTreeMap<T, BTreeSet<T>>) -> BTreeSet<BTreeSet<T>> {
    let reaches: BTreeMap<_, _> = edges
        .keys()
        .map(|from| (from, reached(edges, from)))
        .collect();
    let circle = |from: &&T| {
        let members = reaches[from]
            .iter()
            .filter(|to| reaches.get(**to).is_some_and(|back| back.contains(*from)));
        members.map(|to| (*to).clone()).collect::<BTreeSet<T>>()
    };
    edges
        .keys()
        .map(|from| circle(&from))
        .filter(|circle| circle.len() > 1)
        .collect()
}

#[test]
fn folders_make_no_circle_and_files_make_few() {
    let files = names();
    let found = circles(&files);
    assert!(
        found.len() <= 4,
        "{} circles of files: {found:#?}",
        found.len()
    );
    // Of two files the folders in which their ways part.
    let mut folders: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    let is_folder = |path: &[String]| {
        files
            .keys()
            .any(|file| file.len() > path.len() && file.starts_with(path))
    };
    for (from, names) in &files {
        for to in names {
            let common = from
                .iter()
                .zip(to)
                .take_while(|(one, other)| one == other)
                .count();
            let (Some(one), Some(other)) = (from.get(..=common), to.get(..=common)) else {
                continue;
            };
            if is_folder(one) && is_folder(other) {
                folders
                    .entry(one.to_vec())
                    .or_default()
                    .insert(other.to_vec());
            }
        }
    }
    let found = circles(&folders);
    assert!(found.is_empty(), "circles of folders: {found:#?}");
}

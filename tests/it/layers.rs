//! The source tree keeps its layers, its pure parts pure, and its files short.

mod circles;
mod size;

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
    ("config", &["trusted_path", "spelling", "credentials"]),
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
        .filter(|source| !source.path.split('/').any(is_of_tests))
        .collect()
}

fn is_of_tests(part: &str) -> bool {
    part.starts_with("tests") || ["fuzz.rs", "fuzzing.rs"].contains(&part)
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

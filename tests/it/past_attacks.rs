//! docs/past-attacks.md, docs/threat-model.md and docs/faults.md name tests that exist, each of their
//! rows that promises one names one, and every test of the files of attacks has its row.

use std::collections::BTreeMap;
use std::path::Path;

use crate::documents::{files, is_of_kind, quoted, text};

/// Every function of these files is an attack.
const ATTACKS: [&str; 11] = [
    "crates/rootpin-trust/src/cosign/tests/strangers.rs",
    "crates/rootpin-trust/src/tuf/tests/advisories.rs",
    "crates/rootpin-trust/src/tuf/tests/attacks.rs",
    "crates/rootpin-trust/src/tuf/tests/weaknesses.rs",
    "tests/it/attacks.rs",
    "tests/it/decide/broken_answers.rs",
    "tests/it/decide/imported_signatures.rs",
    "tests/it/decide/many_tags.rs",
    "tests/it/floods.rs",
    "tests/it/hostile_http.rs",
    "tests/it/place_attacks.rs",
];

/// What names tests.
const DOCUMENTS: [&str; 3] = [
    "docs/past-attacks.md",
    "docs/threat-model.md",
    "docs/faults.md",
];

/// Names of the functions of a source that are tests.
fn tests_of(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(rest) = line
            .strip_prefix("async fn ")
            .or_else(|| line.strip_prefix("fn "))
        {
            if marked {
                found.push(rest.split(['(', '<']).next().unwrap());
            }
            marked = false;
        }
    }
    found
}

/// The files of each test by its name.
fn all_tests() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["src", "crates", "tests"] {
        for path in files(folder)
            .into_iter()
            .filter(|path| is_of_kind(path, "rs"))
        {
            for test in tests_of(&text(&path)) {
                all.entry(test.to_owned()).or_default().push(path.clone());
            }
        }
    }
    all
}

/// Full names of tests, as cargo prints them, that a document names.
fn named(document: &str) -> Vec<String> {
    let text = text(document);
    let words = text.lines().flat_map(quoted);
    words.filter(is_full_name).map(ToOwned::to_owned).collect()
}

/// A prefix that several tests have ends in the sign.
fn is_full_name(word: &&str) -> bool {
    word.contains("::") && !word.ends_with("::")
}

/// Whether a file can be that of a module path: each part but `tests` is one of the file's.
fn is_of(path: &str, modules: &[&str]) -> bool {
    let without_end = Path::new(path).with_extension("");
    let parts: Vec<_> = without_end
        .iter()
        .map(|part| part.to_str().unwrap())
        .collect();
    modules
        .iter()
        .all(|module| *module == "tests" || parts.contains(module))
}

#[test]
fn each_test_that_the_attacks_and_the_threat_model_name_exists() {
    let all = all_tests();
    let exists = |name: &String| {
        let mut modules: Vec<_> = name.split("::").collect();
        let function = modules.pop().unwrap();
        all.get(function)
            .is_some_and(|paths| paths.iter().any(|path| is_of(path, &modules)))
    };
    for document in DOCUMENTS {
        let named = named(document);
        assert!(named.len() > 10, "{document}: {}", named.len());
        let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{document}: no test {missing:#?}");
    }
}

#[test]
fn each_row_of_a_table_with_a_column_of_tests_names_one() {
    for document in DOCUMENTS {
        let text = text(document);
        let (mut rows, mut is_with_tests) = (0, false);
        for line in text.lines() {
            let last = line.trim_end_matches('|').rsplit(" | ").next();
            let last = last.unwrap_or_default().trim();
            if !line.starts_with('|') {
                is_with_tests = false;
            } else if ["test", "tests"].contains(&last) {
                is_with_tests = true;
            } else if is_with_tests && !line.starts_with("|-") {
                rows += 1;
                let is_named = quoted(last).any(|word| is_full_name(&word));
                assert!(is_named, "{document}: no test in {line}");
            }
        }
        assert!(rows > 5, "{document}: {rows}");
    }
}

#[test]
fn each_test_of_the_files_of_attacks_has_a_row() {
    let named = named("docs/past-attacks.md");
    for path in ATTACKS {
        let source = text(path);
        let tests = tests_of(&source);
        assert!(!tests.is_empty(), "{path}");
        let file = Path::new(path).file_stem().unwrap().to_str().unwrap();
        for test in tests {
            let end = format!("{file}::{test}");
            assert!(
                named.iter().any(|name| name.ends_with(&end)),
                "docs/past-attacks.md has no row of {path}: {test}"
            );
        }
    }
}

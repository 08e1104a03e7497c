//! The documents agree with the tree: links and anchors lead somewhere, walks of the code name
//! functions that exist, the table of codes is whole, and no source cites what nobody can read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rootpin_trust::Code;

pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, by its path from the top; `target` and data of tests are left out.
pub(crate) fn files(below: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![top().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let short = path.strip_prefix(top()).unwrap().display().to_string();
            if path.is_dir() && short != "tests/data" {
                folders.push(path);
            } else if path.is_file() {
                found.push(short);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn is_of_kind(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|end| end == extension)
}

pub(crate) fn documents() -> Vec<String> {
    let mut all: Vec<_> = files("docs")
        .into_iter()
        .filter(|path| is_of_kind(path, "md"))
        .collect();
    all.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(ToOwned::to_owned));
    all
}

/// A heading's anchor as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

/// Lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect()
}

/// What stands between backticks in a line.
pub(crate) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn each_link_and_anchor_of_the_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let text_here = text(&document);
        let folder = Path::new(&document).parent().unwrap();
        let prose: String = prose(&text_here).collect::<Vec<_>>().join("\n");
        for rest in prose.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target: PathBuf = if path.is_empty() {
                document.clone().into()
            } else {
                folder.join(path)
            };
            let leads = top().join(&target).exists()
                && (fragment.is_empty()
                    || anchors(&text(target.to_str().unwrap())).contains(fragment));
            if !leads {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn an_anchor_is_made_as_github_makes_it() {
    assert_eq!(
        anchor("### `[[root]]`: whom to trust"),
        "root-whom-to-trust"
    );
    assert_eq!(
        anchor("## --fix, and rootpin install"),
        "--fix-and-rootpin-install"
    );
}

#[test]
fn each_stop_of_a_walk_is_a_function_of_the_file_it_names() {
    let document = text("docs/code-structure.md");
    let mut wrong = Vec::new();
    let (mut walk, mut stops) = (String::new(), 0);
    let mut longest = (0, String::new());
    let mut checked = 0;
    for line in prose(&document) {
        if line.starts_with('#') {
            (walk, stops) = (line.to_owned(), 0);
        }
        if line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u8>().is_ok())
        {
            stops += 1;
            longest = longest.max((stops, walk.clone()));
        }
        let mut source = String::new();
        for word in quoted(line) {
            if word.contains('/') {
                let path = top().join(word);
                if path.is_file() {
                    source = fs::read_to_string(path).unwrap();
                } else if !path.exists() {
                    wrong.push(format!("{walk}: no {word}"));
                }
            } else if let Some(function) = word.strip_suffix("()") {
                checked += 1;
                let is_there = |end| source.contains(&format!("fn {function}{end}"));
                if !is_there('(') && !is_there('<') {
                    wrong.push(format!("{walk}: {line}: no fn {function}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 30, "only {checked} functions are named");
    assert!(longest.0 <= 12, "more than 12 stops: {}", longest.1);
}

#[test]
fn the_readme_explains_every_code_and_says_which_are_judgements() {
    let readme = text("README.md");
    let rows = readme
        .lines()
        .skip_while(|line| *line != "| code | meaning |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut told = BTreeSet::new();
    for row in rows {
        let judged = !row.contains("could not judge");
        for code in quoted(row) {
            assert!(told.insert((code.to_owned(), judged)), "{code} twice");
        }
    }
    let codes = Code::ALL
        .iter()
        .map(|code| (code.as_str().to_owned(), code.judged()));
    assert_same(&told, &codes.collect());
}

#[test]
fn the_documents_agree_on_what_to_audit() {
    let part = "`crates/rootpin-trust`, `crates/rootpin-policy`, `src/evidence` and `src/decide`";
    for path in ["README.md", "src/lib.rs", "docs/code-structure.md"] {
        assert!(text(path).contains(part), "{path}");
    }
    for path in [
        "crates/rootpin-trust",
        "crates/rootpin-policy",
        "src/evidence",
        "src/decide",
    ] {
        assert!(top().join(path).is_dir(), "{path}");
    }
}

#[test]
fn no_source_cites_a_document_that_nobody_can_read() {
    let mut cited = Vec::new();
    // Written in two parts, so that this file names none of them.
    let unreadable = [
        "notary-v1",
        "hooks",
        "tuf",
        "architecture",
        "landscape",
        "peers",
        "prose",
    ]
    .map(|name| format!("{name}{}", ".md"));
    let folders = [
        "src",
        "crates",
        "tests",
        "packaging",
        "benches",
        "examples",
        "docs",
    ];
    let read = folders.iter().flat_map(|folder| files(folder));
    for path in read.chain(["README.md", "CONTRIBUTING.md"].map(ToOwned::to_owned)) {
        let Ok(source) = fs::read_to_string(top().join(&path)) else {
            continue;
        };
        for (at, line) in source.lines().enumerate() {
            let whole = |name: &String| {
                line.match_indices(name.as_str()).any(|(start, _)| {
                    !line[..start].ends_with(|letter: char| {
                        letter.is_ascii_alphanumeric() || "-_/".contains(letter)
                    })
                })
            };
            // A rule of the policy is cited by the document in which it is numbered.
            let rule = line
                .match_indices("policy.md rule")
                .any(|(start, _)| !line[..start].ends_with("docs/"));
            if rule || unreadable.iter().any(whole) {
                cited.push(format!("{path}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    cited.retain(|line| !line.starts_with("tests/it/documents.rs:"));
    assert!(cited.is_empty(), "{}", cited.join("\n"));
}

#[test]
fn each_code_of_a_refusal_or_of_the_doctor_has_a_section_with_cause_look_and_command() {
    let document = text("docs/troubleshooting.md");
    let refusals = Code::ALL.iter().map(|code| code.as_str());
    let holes = rootpin::operate::doctor::Code::ALL
        .iter()
        .map(|code| code.as_str());
    let codes: BTreeSet<_> = refusals.chain(holes).collect();
    let mut sections = BTreeSet::new();
    for section in document.split("\n### `").skip(1) {
        let (code, rest) = section.split_once('`').unwrap();
        assert!(sections.insert(code), "{code} twice");
        let rest = rest.split("\n#").next().unwrap();
        for part in ["**Cause.** ", "**Look at.** ", "**Type.** "] {
            let line = rest.lines().find_map(|line| line.strip_prefix(part));
            assert!(
                line.is_some_and(|line| line.len() > 10),
                "{code} has no {part}"
            );
        }
    }
    assert_same(&sections, &codes);
}

/// Shows the codes that the document or the program alone has: all of them are too many to compare.
fn assert_same<T: Ord + std::fmt::Debug>(document: &BTreeSet<T>, program: &BTreeSet<T>) {
    let document_alone: Vec<_> = document.difference(program).collect();
    let program_alone: Vec<_> = program.difference(document).collect();
    assert!(
        document_alone.is_empty() && program_alone.is_empty(),
        "in the document alone: {document_alone:?}; in the program alone: {program_alone:?}"
    );
}

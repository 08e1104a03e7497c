//! Which file names which, and the circles that this makes.

use std::collections::{BTreeMap, BTreeSet};

use super::{PURE, Source, below, sources};

/// The files that each file names by `crate::` or `super::`, all by their module paths.
fn names(sources: &[Source]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let faces = faces(sources);
    let modules: BTreeSet<Vec<String>> = sources.iter().map(module_path).collect();
    let named = |source: &Source| {
        let own = module_path(source);
        let file = |path: Vec<String>| defined_in(path, &modules, &faces);
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

/// The names that a module hands on by `pub use`, each with the path that it is handed on from.
type Faces = BTreeMap<(Vec<String>, String), Vec<String>>;

fn faces(sources: &[Source]) -> Faces {
    let mut faces = Faces::new();
    for source in sources {
        let own = module_path(source);
        for (at, lead) in source.code.match_indices("pub use ") {
            let mut paths = Vec::new();
            expand(Vec::new(), &source.code[at + lead.len()..], &mut paths);
            for path in paths {
                let (from, rest) = match path.first().map(String::as_str) {
                    Some("crate") => (Vec::new(), &path[1..]),
                    Some("self") => (own.clone(), &path[1..]),
                    _ => (own.clone(), &path[..]),
                };
                let name = path.last().unwrap().clone();
                faces.insert((own.clone(), name), [from, rest.to_vec()].concat());
            }
        }
    }
    faces
}

/// The file of a path: where its name is defined, also if another module hands it on.
fn defined_in(
    mut path: Vec<String>,
    modules: &BTreeSet<Vec<String>>,
    faces: &Faces,
) -> Vec<String> {
    loop {
        let known = (0..=path.len()).rev();
        let length = known
            .clone()
            .find(|length| modules.contains(&path[..*length]));
        let length = length.unwrap_or(0);
        let handed_on = path
            .get(length)
            .and_then(|name| faces.get(&(path[..length].to_vec(), name.clone())));
        match handed_on {
            Some(from) if from[..] != path[..] => path = from.clone(),
            _ => {
                path.truncate(length);
                return path;
            }
        }
    }
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
    let files = names(&sources());
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

#[test]
fn the_files_of_the_pure_crates_make_no_circle() {
    for (folder, _) in PURE {
        let found = circles(&names(&below(&format!("{folder}/src"))));
        assert!(found.is_empty(), "{folder}: circles of files: {found:#?}");
    }
}

#[test]
fn a_name_that_a_module_hands_on_leads_to_the_file_that_defines_it() {
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        module: String::new(),
        code: code.to_owned(),
        lines: 1,
    };
    let sources = [
        source("lib.rs", "pub use one::{First, inner};\n"),
        source("one.rs", "use crate::Second;\n"),
        source("two.rs", "use crate::First;\n"),
    ];
    assert!(circles(&names(&sources)).is_empty());
    let hidden = source(
        "lib.rs",
        "pub use one::{First, inner};\npub use two::Second;\n",
    );
    let [_, one, two] = sources;
    let found = circles(&names(&[hidden, one, two]));
    let circle = ["one", "two"].map(|name| vec![name.to_owned()]);
    assert_eq!(found, BTreeSet::from([BTreeSet::from(circle)]));
}

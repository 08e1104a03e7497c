//! Each policy of the documents loads, and lint finds nothing in them but what is allowed here.

use std::collections::{BTreeMap, BTreeSet};

use rootpin::operate::policy_tools::lint;
use rootpin_trust::image::Digest;
use toml::{Table, Value};

use super::lint::{NOW, top_data};
use crate::documents::{documents, text};

/// What lint may find in the policies of a document, and how often.
const ALLOWED: [(&str, &str, usize); 7] = [
    // The guide begins in audit mode, and its last step ends that.
    ("docs/first-policy.md", "audit-mode", 1),
    // Their exemption shows how an end is written; the reference's fragment is linted with it.
    ("docs/first-policy.md", "ends-late", 1),
    ("docs/policy.md", "ends-late", 2),
    // Their examples have no more keys than what they are about needs.
    ("README.md", "no-max-age", 1),
    ("docs/policy.md", "no-max-age", 2),
    ("docs/signatures.md", "no-max-age", 1),
    // The page explains it at these examples.
    ("docs/signatures.md", "moved-tags", 3),
];

/// The tables that only a policy has.
const TABLES: [&str; 5] = ["root", "rule", "image", "exempt", "fragment"];

fn tables<'a>(of: &'a Table, name: &str) -> impl Iterator<Item = &'a Table> {
    let all = of.get(name).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_table)
}

fn ids(of: &Table) -> BTreeSet<String> {
    let ids = tables(of, "root").filter_map(|root| root["id"].as_str());
    ids.map(ToOwned::to_owned).collect()
}

fn named(of: &Table) -> BTreeSet<String> {
    let roots = tables(of, "rule").filter_map(|rule| rule.get("roots")?.as_array());
    let ids = roots.flatten().filter_map(Value::as_str);
    ids.map(ToOwned::to_owned).collect()
}

fn push(to: &mut Table, name: &str, table: Table) {
    let all = to.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    all.as_array_mut().unwrap().push(Value::Table(table));
}

/// A root that a document names and does not show.
fn stand_in(id: &str) -> Table {
    let text = "type = \"tuf\"\nfile = \"roots/stand-in.json\"\nsha256 = \"\"\n\
                metadata = [\"https://tuf.example\"]\nmax-age = \"72h\"\n";
    let mut root: Table = text.parse().unwrap();
    root.insert("id".to_owned(), id.into());
    root
}

/// A part of a policy made whole: the keys that each has, the roots that its rules name, and a rule
/// for each root that none of them names.
fn whole(mut part: Table, shown: &BTreeMap<String, Table>) -> Table {
    if part.contains_key("fragment") {
        return part;
    }
    part.entry("version").or_insert(Value::Integer(1));
    part.entry("default").or_insert("deny".into());
    let (ids, named) = (ids(&part), named(&part));
    for id in named.difference(&ids) {
        let root = shown.get(id).cloned().unwrap_or_else(|| stand_in(id));
        push(&mut part, "root", root);
    }
    for id in ids.difference(&named) {
        let is_signed = |root: &Table| {
            root["id"].as_str() == Some(id)
                && ["cosign", "notation"].contains(&root["type"].as_str().unwrap())
        };
        let tags = if tables(&part, "root").any(is_signed) {
            "tags = \"unbound\"\n"
        } else {
            ""
        };
        let rule = format!("match = \"stand-in.example/**\"\nroots = [\"{id}\"]\n{tags}");
        push(&mut part, "rule", rule.parse().unwrap());
    }
    part
}

/// Files of the tests' data in place of those that a policy names.
fn add_files(policy: &mut Table, files: &mut BTreeMap<String, Vec<u8>>) {
    let pinned = top_data("tuf/1.root.json");
    let roots = policy.get_mut("root").and_then(Value::as_array_mut);
    for root in roots.into_iter().flatten() {
        let root = root.as_table_mut().unwrap();
        if let Some(sha256) = root.get_mut("sha256") {
            *sha256 = Digest::of(&pinned).hex().into();
        }
        if let Some(file) = root.get("file").and_then(Value::as_str) {
            files.insert(file.to_owned(), pinned.clone());
        }
        for (key, data) in [
            ("keys", "signatures/keys/p256.pub"),
            ("certificates", "signatures/certificates/p521-ca.crt"),
        ] {
            let paths = root.get(key).and_then(Value::as_array);
            for path in paths.into_iter().flatten().filter_map(Value::as_str) {
                files.insert(path.to_owned(), top_data(data));
            }
        }
    }
}

#[test]
fn each_policy_of_the_documents_loads_and_lint_finds_only_what_is_allowed() {
    let now = NOW.parse().unwrap();
    let (mut found, mut looked_at) = (BTreeMap::new(), BTreeMap::new());
    for document in documents() {
        let mut shown = BTreeMap::new();
        // The last whole policy, which a fragment belongs to.
        let mut main = None;
        for block in text(&document).split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // A template is no TOML.
            let Ok(part) = block.parse::<Table>() else {
                continue;
            };
            let has_default = part.contains_key("default");
            if !has_default && !TABLES.iter().any(|name| part.contains_key(*name)) {
                continue;
            }
            for root in tables(&part, "root") {
                shown.insert(root["id"].as_str().unwrap().to_owned(), root.clone());
            }
            let mut policy = whole(part, &shown);
            let mut files = BTreeMap::new();
            add_files(&mut policy, &mut files);
            let text = toml::to_string(&policy).unwrap();
            if policy.contains_key("fragment") {
                files = main.clone().unwrap();
                files.insert("policy.d/10.toml".to_owned(), text.into_bytes());
            } else {
                files.insert("policy.toml".to_owned(), text.into_bytes());
            }
            let loaded = rootpin::policy_dir::load(&files, now)
                .unwrap_or_else(|errors| panic!("{document}: {errors:?}\n{block}"));
            assert!(
                loaded.warnings.is_empty(),
                "{document}: {:?}\n{block}",
                loaded.warnings
            );
            for finding in lint(&loaded, &files, None, now).findings {
                let kind = (document.clone(), finding.code.as_str());
                *found.entry(kind).or_insert(0) += 1;
            }
            *looked_at.entry(document.clone()).or_insert(0) += 1;
            if has_default {
                main = Some(files);
            }
        }
    }
    let allowed = ALLOWED.map(|(document, code, times)| ((document.to_owned(), code), times));
    assert_eq!(found, BTreeMap::from(allowed));
    assert_eq!(
        looked_at.get("docs/first-policy.md"),
        Some(&3),
        "{looked_at:?}"
    );
    assert!(looked_at.len() >= 6, "{looked_at:?}");
}

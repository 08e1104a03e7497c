//! What registries.conf means for a name, by a model of its own, and that no import admits more.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::loaded;
use super::registries::{by, scopes, text, with};

const PREFIXES: [&str; 12] = [
    "r.example",
    "r.example:5000",
    "r.example/team",
    "r.example/team/app",
    "r.example/team/",
    "r.example/tea",
    "*.example",
    "*.r.example",
    "s.example",
    "s.example/team",
    "r.example/team:v1",
    "example",
];

const NAMES: [&str; 9] = [
    "r.example/team",
    "r.example/team/app",
    "r.example/team/app/web",
    "r.example/teams",
    "r.example:5000/team",
    "a.r.example/team",
    "s.example/team/app",
    "s.example/x",
    "s.example.evil/x",
];

/// A second reading of what podman pulls: letter by letter.
fn means(prefix: &str, name: &str) -> Option<usize> {
    let ends = |at: usize| at == name.len() || ":/@".contains(&name[at..=at]);
    if let Some(domain) = prefix.strip_prefix('*') {
        let at = name.find(domain)?;
        let end = at + domain.len();
        return (!name[..at].contains('/') && ends(end)).then_some(end);
    }
    (name.starts_with(prefix) && ends(prefix.len())).then_some(prefix.len())
}

fn is_pulled(registries: &[(&str, &str, bool)], name: &str) -> bool {
    let mut sorted = registries.to_vec();
    sorted.sort_by_key(|one| one.0);
    let find = |name: &str| {
        let mut found: Option<(&str, &str, bool)> = None;
        for one in &sorted {
            let longer = found.is_none_or(|known| one.0.len() > known.0.len());
            if longer && means(one.0, name).is_some() {
                found = Some(*one);
            }
        }
        found
    };
    let Some((prefix, location, _)) = find(name) else {
        return true;
    };
    let rest = &name[means(prefix, name).unwrap()..];
    let place = if location.is_empty() {
        name.to_owned()
    } else {
        format!("{location}{rest}")
    };
    find(&place).is_none_or(|(.., blocked)| !blocked)
}

proptest! {
    #[test]
    fn no_name_is_admitted_that_registries_conf_blocks(
        registries in prop::collection::btree_map(0..PREFIXES.len(), (0..PREFIXES.len(), any::<bool>(), any::<bool>()), 0..5),
    ) {
        let mut conf = String::new();
        let mut known: Vec<(&str, &str, bool)> = Vec::new();
        for (at, (location, elsewhere, blocked)) in registries {
            let prefix = PREFIXES[at].trim_end_matches('/');
            let elsewhere = elsewhere.then_some(PREFIXES[location].trim_end_matches('/'));
            let location = match elsewhere.filter(|location| !location.starts_with('*')) {
                Some(location) => location,
                None if prefix.starts_with('*') => "",
                None => prefix,
            };
            let _ = write!(conf, "[[registry]]\nprefix = {:?}\nlocation = {location:?}\nblocked = {blocked}\n", PREFIXES[at]);
            if known.iter().all(|one| one.0 != prefix) {
                known.push((prefix, location, blocked));
            }
        }
        let source = scopes(&["r.example", "r.example:5000", "r.example/team", "a.r.example", "s.example", "s.example.evil"]);
        // Conflicts of one location are an error.
        if let Ok(proposal) = with(&source, &[text("registries.conf", &conf)]) {
            let policy = loaded(&proposal);
            for name in NAMES {
                prop_assert!(!by(&policy, name) || is_pulled(&known, name), "{name} under {conf}");
            }
        }
    }
}

//! Writes a root that the policy does not have yet, with its rules.

mod signed;

use std::collections::BTreeSet;

use toml::Value as Toml;

use super::super::Failure;
use super::super::change::{MAIN, PolicyChange};
use super::super::fingerprint_source::FingerprintSource;
use super::super::material::Material;
use super::{
    Arguments, Fields, edit_of_keys, finish_keys, finish_root, key_files, not_revoked, root_file,
    tls_ca,
};
use crate::cli::output::Output;
use crate::policy_dir::pins::{self, NewTable};
use crate::problem::Problem;
use rootpin_policy::{FindingCode, Pattern, Policy, Rule};
use rootpin_trust::PublicKey;

/// A root that the policy doesn't have yet, and its rules.
pub(super) fn add_new(
    change: PolicyChange,
    arguments: &Arguments,
    policy: Option<&Policy>,
    material: Material,
    teller: &FingerprintSource,
    output: Output,
) -> Result<u8, Failure> {
    let (id, fields) = (arguments.id.as_str(), &arguments.fields);
    if fields.matches.is_empty() {
        let text = format!("the policy has no root {id:?}, and no rule would name it");
        return Err(Failure::Usage(Problem::hinted(
            text.clone(),
            "say for which images it is, by --match 'registry.example/team/**'",
        )));
    }
    let standing: Vec<&Rule> = policy
        .into_iter()
        .flat_map(|policy| &policy.rules)
        .filter(|rule| is_named(fields, rule))
        .collect();
    let file = file_of(&change, &standing)?;
    let before = change.text(&file)?;
    let fresh = if file == MAIN {
        "version = 1\ndefault = \"deny\"\n".to_owned()
    } else {
        fragment_head(&fields.matches)
    };
    let matches: Vec<String> = fields
        .matches
        .iter()
        .filter(|text| !standing.iter().any(|rule| is_pattern(text, rule)))
        .cloned()
        .collect();
    if let Some(wanted) = fields.quorum {
        check_quorum(wanted, &standing, &matches)?;
    }
    let text = before.clone().unwrap_or(fresh);
    let (text, more) = add_to_rules(text, &standing, id, fields.quorum)?;
    let (tls_ca, mut pinned) = tls_ca(arguments)?;
    let common = [("max-age", &fields.max_age), ("recheck", &fields.recheck)];
    let common = common
        .into_iter()
        .filter_map(|(key, value)| Some((key, Toml::from(value.clone()?))));
    match material {
        Material::Keys(keys) if matches!(fields.kind.as_deref(), Some("cosign" | "notation")) => {
            let keys: Vec<&PublicKey> = keys.iter().collect();
            let of_signatures = signed::values(arguments, id, &keys)?;
            not_revoked(policy, &keys)?;
            teller.confirm_keys(&keys)?;
            let signed::SignedRoot { values, files } = of_signatures;
            let after = pins::append(&text, &tables(values, id, fields, &matches))?;
            let mut edit = edit_of_keys(id, &keys, file, before, after, files);
            edit.words = [vec![edit.words], more].concat().join("\n");
            let may_say_so = !matches.is_empty() && !fields.tags_unbound;
            let change = if may_say_so {
                change.offering(FindingCode::UnboundTags, "--tags-unbound")
            } else {
                change
            };
            finish_keys(change, edit, id, &keys, output)
        }
        Material::Keys(keys) => {
            let kind = type_of(fields, "notary")?;
            let (server, role) = notary_source(fields)?;
            let keys: Vec<&PublicKey> = keys.iter().collect();
            not_revoked(policy, &keys)?;
            teller.confirm_keys(&keys)?;
            let files = key_files(id, &keys)?;
            let entries = files.keys().cloned().map(Toml::from).collect::<Vec<_>>();
            pinned.extend(files);
            let mut values = vec![("id", Toml::from(id)), kind, ("server", server)];
            values.extend(tls_ca.map(|name| ("tls-ca", Toml::from(name))));
            values.extend([("keys", Toml::from(entries)), ("role", role)]);
            values.extend(common);
            let after = pins::append(&text, &tables(values, id, fields, &matches))?;
            let mut edit = edit_of_keys(id, &keys, file, before, after, pinned);
            edit.words = [vec![edit.words], more].concat().join("\n");
            finish_keys(change, edit, id, &keys, output)
        }
        Material::Roots(files) => {
            let kind = type_of(fields, "tuf")?;
            if fields.server.is_some() || fields.role.is_some() {
                return Err(Failure::Usage(Problem::hinted(
                    "--server and --role are Notary's, and this is a root file of TUF",
                    "--metadata URL",
                )));
            }
            let (chosen, bytes) = teller.confirm_root(&files)?;
            not_revoked(policy, &chosen.keys.iter().collect::<Vec<_>>())?;
            let root = root_file(id, chosen, bytes);
            let name = root.keys().next().cloned().unwrap_or_default();
            pinned.extend(root);
            let mut metadata = fields.metadata.clone();
            metadata.extend(
                arguments
                    .scan
                    .clone()
                    .filter(|_| fields.metadata.is_empty()),
            );
            let mut values = vec![
                ("id", Toml::from(id)),
                kind,
                ("file", name.into()),
                ("sha256", chosen.sha256.hex().into()),
            ];
            values.extend((!metadata.is_empty()).then(|| ("metadata", Toml::from(metadata))));
            values.extend(tls_ca.map(|name| ("tls-ca", Toml::from(name))));
            values.extend(common);
            let after = pins::append(&text, &tables(values, id, fields, &matches))?;
            finish_root(
                change, id, chosen, before, after, file, pinned, &more, output,
            )
        }
    }
}

/// A quorum that the rules can give once they have the new root, and that is no lower than theirs.
fn check_quorum(wanted: u16, standing: &[&Rule], fresh: &[String]) -> Result<(), Failure> {
    let wanted = usize::from(wanted);
    let refused = |what: String, hint: String| Err(Failure::Usage(Problem::hinted(what, hint)));
    let rules = standing
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.roots.len()))
        .chain(fresh.iter().map(|pattern| (pattern.as_str(), 0)));
    for (pattern, roots) in rules {
        let roots = roots.saturating_add(1);
        if wanted > roots {
            return refused(
                format!(
                    "with this root, {pattern} has {roots} of the {wanted} roots that --quorum asks for"
                ),
                format!("pin the other roots first, by --match '{pattern}' without --quorum"),
            );
        }
    }
    match standing.iter().find(|rule| rule.quorum > wanted) {
        Some(rule) => {
            let (pattern, quorum) = (rule.pattern.as_str(), rule.quorum);
            refused(
                format!(
                    "the rule {pattern} asks for {quorum} roots already, and --quorum does not lower that"
                ),
                format!("--quorum {quorum}, or write quorum = {wanted} into the rule by hand"),
            )
        }
        None => Ok(()),
    }
}

/// The policy's text with the root in these rules, and what changes for them.
fn add_to_rules(
    mut text: String,
    standing: &[&Rule],
    id: &str,
    wanted: Option<u16>,
) -> Result<(String, Vec<String>), Failure> {
    let mut more = Vec::new();
    for rule in standing {
        text = pins::add_root_to_rule(&text, rule.pattern.as_str(), id)?;
        let mut roots: Vec<&str> = rule.roots.iter().map(|root| root.id.as_str()).collect();
        roots.push(id);
        let quorum = if let Some(wanted) = wanted {
            text = pins::set_quorum(&text, rule.pattern.as_str(), wanted)?;
            wanted.to_string()
        } else {
            rule.quorum.to_string()
        };
        let more_of_them = if wanted.is_none() && rule.quorum < roots.len() {
            format!(
                "; to ask for all, write quorum = {} into the rule",
                roots.len()
            )
        } else {
            String::new()
        };
        more.push(format!(
            "the rule {} has the roots {}, of which {quorum} must say yes{more_of_them}",
            rule.pattern.as_str(),
            roots.join(", "),
        ));
    }
    Ok((text, more))
}

/// The root's type; it may not be another than the one that was given.
fn type_of(fields: &Fields, wanted: &str) -> Result<(&'static str, Toml), Failure> {
    match fields.kind.as_deref() {
        Some(kind) if kind != wanted => Err(Failure::Usage(Problem::hinted(
            format!("--type {kind}, but what is to be pinned is of type {wanted}"),
            format!("--type {wanted}"),
        ))),
        _ => Ok(("type", Toml::from(wanted))),
    }
}

/// The server and the role of a new root of Notary.
fn notary_source(fields: &Fields) -> Result<(Toml, Toml), Failure> {
    let need = |value: &Option<String>, flag: &str, hint: &str| {
        value.clone().map(Toml::from).ok_or_else(|| {
            let text = format!("a new root of Notary needs {flag}");
            Failure::Usage(Problem::hinted(text, hint.to_owned()))
        })
    };
    let address = "the address of its server, as https://notary.example";
    let hint = if fields.kind.is_some() {
        address.to_owned()
    } else {
        format!(
            "{address}; for a key of cosign: --type cosign, for a certificate of notation: --type notation"
        )
    };
    let server = need(&fields.server, "--server", &hint)?;
    let role = need(
        &fields.role,
        "--role",
        "targets/releases where Docker signs, targets where the notary command does",
    )?;
    Ok((server, role))
}

fn is_named(fields: &Fields, rule: &Rule) -> bool {
    fields.matches.iter().any(|text| is_pattern(text, rule))
}

fn is_pattern(text: &str, rule: &Rule) -> bool {
    text.parse()
        .is_ok_and(|pattern: Pattern| pattern == rule.pattern)
}

/// The file that is edited: that of the rules which stand and get another root, or the one that was
/// named.
fn file_of(change: &PolicyChange, standing: &[&Rule]) -> Result<String, Failure> {
    let files: BTreeSet<String> = standing
        .iter()
        .map(|rule| rule.location.file.to_string())
        .collect();
    let mut files = files.into_iter();
    match (files.next(), files.next()) {
        (None, _) => change.file(),
        (Some(file), None) if !change.is_fragment_named() || change.file()? == file => Ok(file),
        (Some(file), _) => Err(Failure::Usage(Problem::hinted(
            format!("the rules for these patterns stand in {file} and elsewhere"),
            "one command for each file, without --fragment",
        ))),
    }
}

fn tables(
    values: Vec<(&'static str, Toml)>,
    id: &str,
    fields: &Fields,
    matches: &[String],
) -> Vec<NewTable> {
    let rule = |pattern: &String| {
        let mut values = vec![
            ("match", Toml::from(pattern.as_str())),
            ("roots", Toml::from(vec![id.to_owned()])),
        ];
        values.extend(fields.tags_unbound.then(|| ("tags", Toml::from("unbound"))));
        NewTable {
            header: "rule",
            values,
        }
    };
    [NewTable {
        header: "root",
        values,
    }]
    .into_iter()
    .chain(matches.iter().map(rule))
    .collect()
}

/// A new fragment owns what its first rule is for; a second rule outside of that is an error that
/// the check shows.
fn fragment_head(matches: &[String]) -> String {
    matches.first().map_or(String::new(), |owns| {
        format!("[fragment]\nowns = {}\n", Toml::from(owns.as_str()))
    })
}

//! The files of a proposed policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::fragments::{Entry, divided};
use super::{ImportedRoot, ImportedRule, Proposal, SignedRoot, Signers};
use crate::observe::plain_lines;
use crate::publish::to_pem;

/// A longer list of what is left behind gets a file of its own.
const MAX_LEFT_BEHIND: usize = 64 << 10;

/// `policy.toml`, fragments where it would be too large, and the files that they name. A root with a
/// key that nobody confirmed is not in it, only a comment that says so.
pub(crate) fn files(proposal: &Proposal) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut head = String::from(
        "# Proposed by rootpin import. It is in force nowhere until it lies in /etc/rootpin.\n\
         version = 1\ndefault = \"deny\"\n",
    );
    if proposal.audit {
        head.push_str("# The source lets pass what fails, and reports it.\nmode = \"audit\"\n");
    }
    let mut patterns_of: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (pattern, rule) in &proposal.rules {
        if let ImportedRule::Root(index) = rule {
            patterns_of.entry(*index).or_default().push(pattern);
        }
    }
    let (mut entries, mut unconfirmed) = (Vec::new(), Vec::new());
    for (index, patterns) in patterns_of {
        let Some(root) = proposal.roots.get(index) else {
            continue;
        };
        if root.is_confirmed() {
            let mut definition = root_text(&mut files, root);
            for pattern in patterns {
                let rule = rule_text(pattern, &[&root.id]);
                let text = std::mem::take(&mut definition) + &rule;
                entries.push(Entry::new(pattern, text));
            }
        } else {
            let _ = write!(
                head,
                "\n# {} at {} is left out: nobody confirmed its keys. These names stay refused:\n",
                root.id,
                line(&root.server)
            );
            for pattern in patterns {
                let _ = writeln!(head, "#   {}", line(pattern));
                unconfirmed.push((pattern, "nobody confirmed its keys"));
            }
        }
    }
    entries.extend(signed(&mut files, proposal));
    let refused = proposal
        .rules
        .iter()
        .filter_map(|(pattern, rule)| match rule {
            ImportedRule::Refused(why) => Some((pattern.as_str(), why.as_str())),
            ImportedRule::Root(_) | ImportedRule::Signed(_) => None,
        });
    let mut refused: Vec<_> = refused.collect();
    // The rule of another root may cover what nobody confirmed.
    if !entries.is_empty() || !refused.is_empty() {
        refused.extend(unconfirmed);
    }
    // The reason stands once above all that it is the reason of.
    refused.sort_by_key(|(_, why)| *why);
    for (pattern, why) in refused {
        let why = format!("\n# {}\n", line(why));
        entries.push(Entry::refusing(pattern, rule_text(pattern, &[]), why));
    }
    let left = left_behind(&mut files, proposal);
    for (registry, hosts) in &proposal.hosts {
        let name = format!("certs.d/{registry}/hosts.toml");
        files.insert(name, hosts.clone().into_bytes());
    }
    for (name, text) in divided(&head, &entries, &left) {
        files.insert(name, text.into_bytes());
    }
    files
}

/// What is left behind, as the comment at the end of the policy; a long one is in a file of its own.
fn left_behind(files: &mut BTreeMap<String, Vec<u8>>, proposal: &Proposal) -> String {
    let mut list = String::new();
    for left in &proposal.left_behind {
        let said = format!("{}: {}: {}", left.file, left.what, left.why);
        let _ = writeln!(list, "#   {}", line(&said));
    }
    if list.is_empty() {
        return list;
    }
    if list.len() > MAX_LEFT_BEHIND {
        files.insert("left-behind.txt".to_owned(), list.into_bytes());
        return "\n# What is left behind is listed in left-behind.txt.\n".to_owned();
    }
    format!("\n# Left behind:\n{list}")
}

/// The rules that those who sign images decide, each root before the first rule that names it.
fn signed(files: &mut BTreeMap<String, Vec<u8>>, proposal: &Proposal) -> Vec<Entry> {
    let (mut entries, mut defined) = (Vec::new(), BTreeSet::new());
    for (pattern, rule) in proposal.signed_rules() {
        let mut text = String::new();
        let mut ids = Vec::new();
        for index in &rule.roots {
            let Some(root) = proposal.signed_roots.get(*index) else {
                continue;
            };
            ids.push(root.id.as_str());
            if defined.insert(*index) {
                add_signed_root(&mut text, files, root);
            }
        }
        let _ = write!(text, "\n[[rule]]\nmatch = {}\n", quoted(pattern));
        if let Some(name) = &rule.signed_as {
            let _ = writeln!(text, "signed-as = {}", quoted(name));
        }
        if ids.len() > 1 {
            let _ = writeln!(text, "quorum = {}", ids.len());
        }
        let _ = writeln!(text, "roots = {}", toml::Value::from(ids));
        if !proposal.binds_tag(rule) {
            text.push_str(
                "# The source binds no tag either: whoever can push may move it to other bytes that these keys signed.\n\
                 tags = \"unbound\"\n",
            );
        }
        entries.push(Entry::new(pattern, text));
    }
    entries
}

fn add_signed_root(text: &mut String, files: &mut BTreeMap<String, Vec<u8>>, root: &SignedRoot) {
    let mut add_files = |ending: &str, contents: Vec<String>| -> Vec<String> {
        let mut names = Vec::new();
        for (number, content) in contents.into_iter().enumerate() {
            let name = format!("roots/{}-{}.{ending}", root.id, number + 1);
            files.insert(name.clone(), content.into_bytes());
            names.push(name);
        }
        names
    };
    let kind = root.signers.kind();
    let _ = write!(
        text,
        "\n[[root]]\nid   = {}\ntype = \"{kind}\"\n",
        quoted(&root.id)
    );
    match &root.signers {
        Signers::Cosign { keys, reference } => {
            let names = add_files("pub", keys.iter().filter_map(to_pem).collect());
            let _ = write!(
                text,
                "keys = {}\nformat = \"simple-signing\"\n",
                toml::Value::from(names)
            );
            if *reference {
                text.push_str("binds-tag = \"reference\"\n");
            }
        }
        Signers::Notation {
            certificates,
            subjects,
        } => {
            let names = add_files("crt", certificates.clone());
            let _ = writeln!(text, "certificates = {}", toml::Value::from(names));
            if !subjects.is_empty() {
                let _ = writeln!(text, "subjects = {}", toml::Value::from(subjects.clone()));
            }
        }
    }
}

fn root_text(files: &mut BTreeMap<String, Vec<u8>>, root: &ImportedRoot) -> String {
    let mut keys = Vec::new();
    for key in &root.keys {
        match key.key.as_ref().and_then(to_pem) {
            Some(pem) => {
                let name = format!("roots/{}-{:.12}.pub", root.id, key.id.to_string());
                files.insert(name.clone(), pem.into_bytes());
                keys.push(name);
            }
            None => keys.push(key.id.to_string()),
        }
    }
    let mut text = format!(
        "\n[[root]]\nid     = {}\ntype   = \"notary\"\nserver = {}\n",
        quoted(&root.id),
        quoted(&root.server)
    );
    if let Some(pem) = &root.tls_ca {
        let name = format!("roots/{}-tls-ca.pem", root.id);
        let _ = writeln!(text, "tls-ca = {}", quoted(&name));
        files.insert(name, pem.clone());
    }
    let _ = write!(
        text,
        "keys   = {}\nrole   = {}\n# The source refuses a root key whose certificate is over.\ncertificate-dates = \"check\"\n",
        toml::Value::from(keys),
        quoted(&root.role)
    );
    text
}

/// A rule without roots refuses its names.
fn rule_text(pattern: &str, roots: &[&str]) -> String {
    let roots: Vec<String> = roots.iter().map(|root| quoted(root)).collect();
    format!(
        "\n[[rule]]\nmatch = {}\nroots = [{}]\n",
        quoted(pattern),
        roots.join(", ")
    )
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What others wrote, within its line.
fn line(text: &str) -> String {
    plain_lines(text).replace('\n', "\\u{a}")
}

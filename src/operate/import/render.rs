//! The files of a proposed policy.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{ImportedRoot, ImportedRule, Proposal, SignedRoot, Signers};
use crate::observe::plain_lines;
use crate::publish::to_pem;

/// `policy.toml` and the files that it names. A root with a key that nobody confirmed is not in it,
/// only a comment that says so.
pub(crate) fn files(proposal: &Proposal) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut text = String::from(
        "# Proposed by rootpin import. It is in force nowhere until it lies in /etc/rootpin.\n\
         version = 1\ndefault = \"deny\"\n",
    );
    if proposal.audit {
        text.push_str("# The source lets pass what fails, and reports it.\nmode = \"audit\"\n");
    }
    let mut unconfirmed = Vec::new();
    for (index, root) in proposal.roots.iter().enumerate() {
        let patterns: Vec<&str> = proposal.patterns_of(index).collect();
        if patterns.is_empty() {
            continue;
        }
        if root.is_confirmed() {
            add_root(&mut text, &mut files, root);
            for pattern in patterns {
                add_rule(&mut text, pattern, &[&root.id]);
            }
        } else {
            let _ = write!(
                text,
                "\n# {} at {} is left out: nobody confirmed its keys. These names stay refused:\n",
                root.id,
                line(&root.server)
            );
            for pattern in patterns {
                let _ = writeln!(text, "#   {}", line(pattern));
                unconfirmed.push((pattern, "nobody confirmed its keys"));
            }
        }
    }
    add_signed(&mut text, &mut files, proposal);
    let refused = proposal
        .rules
        .iter()
        .filter_map(|(pattern, rule)| match rule {
            ImportedRule::Refused(why) => Some((pattern.as_str(), why.as_str())),
            ImportedRule::Root(_) | ImportedRule::Signed(_) => None,
        });
    // The rule of another root may cover what nobody confirmed.
    let covered = unconfirmed
        .into_iter()
        .filter(|_| text.contains("[[rule]]"));
    for (pattern, why) in refused.chain(covered.collect::<Vec<_>>()) {
        let _ = write!(text, "\n# {}", line(why));
        add_rule(&mut text, pattern, &[]);
    }
    if !proposal.left_behind.is_empty() {
        text.push_str("\n# Left behind:\n");
        for left in &proposal.left_behind {
            let said = format!("{}: {}: {}", left.file, left.what, left.why);
            let _ = writeln!(text, "#   {}", line(&said));
        }
    }
    for (registry, hosts) in &proposal.hosts {
        let name = format!("certs.d/{registry}/hosts.toml");
        files.insert(name, hosts.clone().into_bytes());
    }
    files.insert("policy.toml".to_owned(), text.into_bytes());
    files
}

/// The roots whose signatures stand beside images, as far as a rule names them, and these rules.
fn add_signed(text: &mut String, files: &mut BTreeMap<String, Vec<u8>>, proposal: &Proposal) {
    for (index, root) in proposal.signed_roots.iter().enumerate() {
        let mut rules = proposal.signed_rules();
        if rules.any(|(_, rule)| rule.roots.contains(&index)) {
            add_signed_root(text, files, root);
        }
    }
    for (pattern, rule) in proposal.signed_rules() {
        let roots = rule
            .roots
            .iter()
            .filter_map(|at| proposal.signed_roots.get(*at));
        let ids: Vec<&str> = roots.map(|root| root.id.as_str()).collect();
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
    }
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

fn add_root(text: &mut String, files: &mut BTreeMap<String, Vec<u8>>, root: &ImportedRoot) {
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
    let _ = write!(
        text,
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
}

/// A rule without roots refuses its names.
fn add_rule(text: &mut String, pattern: &str, roots: &[&str]) {
    let roots: Vec<String> = roots.iter().map(|root| quoted(root)).collect();
    let _ = write!(
        text,
        "\n[[rule]]\nmatch = {}\nroots = [{}]\n",
        quoted(pattern),
        roots.join(", ")
    );
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What others wrote, within its line.
fn line(text: &str) -> String {
    plain_lines(text).replace('\n', "\\u{a}")
}

//! `rootpin policy check` and `policy explain`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::output::{Output, counted, list, mistake, text};
use crate::cli::policy_fails;
use crate::control;
use crate::decide::survey::{ReportedBinding, shown_root};
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;
use rootpin_policy::{self, Diagnostic, FindingCode, Policy, Root, Severity};
use rootpin_trust::image::ImageRef;

/// `policy check [DIR]`: loads the policy exactly as the daemon does. 0, 1 with every finding, or 2
/// where a file can't be read.
pub(super) fn check(dir: &Path, output: Output) -> u8 {
    let loaded = load(dir);
    let Err(findings) = &loaded else {
        output.value(&check_json(&loaded), |_| check_text(&loaded));
        return 0;
    };
    let is_unread = findings
        .iter()
        .any(|finding| finding.code == FindingCode::Unreadable);
    let (outcome, exit) = if is_unread {
        ("unjudged", 2)
    } else {
        ("refused", 1)
    };
    let document = unloaded_json(&failure(findings, dir), outcome, &loaded);
    output.value(&document, |_| check_text(&loaded));
    exit
}

/// Says of a verb that needs a policy that this one does not load: what `policy check` says of it.
/// 2, as it can't be told what was asked.
pub(super) fn unloaded(dir: &Path, findings: Vec<Diagnostic>, output: Output) -> u8 {
    let error = failure(&findings, dir);
    let loaded = Err(findings);
    if output.json {
        let document = unloaded_json(&error, "unjudged", &loaded);
        output.value(&document, |_| String::new());
    } else {
        output.value(&Value::Null, |_| check_text(&loaded));
    }
    Output::aside(Problem::new(error));
    2
}

/// The error beside the findings. It advises no command: that would print the findings once more.
fn failure(findings: &[Diagnostic], dir: &Path) -> String {
    policy_fails(findings, dir).what
}

fn unloaded_json(error: &str, outcome: &str, loaded: &Result<Policy, Vec<Diagnostic>>) -> Value {
    let mut document = check_json(loaded);
    if let (Some(members), Value::Object(more)) =
        (document.as_object_mut(), mistake(outcome, error))
    {
        members.extend(more);
    }
    document
}

/// `policy explain NAME --policy DIR`: 0, or 2 if the policy doesn't load.
pub(super) fn explain(dir: &Path, image: &ImageRef, output: Output) -> u8 {
    match load(dir) {
        Ok(policy) => {
            let explained = control::explain(&policy, image, Timestamp::now());
            output.value(&explained, explain_text);
            0
        }
        Err(findings) => unloaded(dir, findings, output),
    }
}

/// The text of an explanation in JSON.
pub(super) fn explain_text(explained: &Value) -> String {
    let mut out = format!(
        "name   {}\nmode   {}\n",
        text(explained, "name"),
        text(explained, "mode")
    );
    for step in list(explained, "steps") {
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "{}  {}\n         {}",
            text(step, "outcome"),
            text(step, "entry"),
            text(step, "why")
        );
    }
    if explained["break_glass"].is_object() {
        let told = text(&explained["break_glass"], "told");
        let _ = writeln!(out, "break-glass  {told}");
    }
    for need in list(explained, "needs") {
        let _ = writeln!(out, "needs  {}", need.as_str().unwrap_or("-"));
    }
    for root in list(explained, "roots") {
        for revoked in list(root, "revoked_keys") {
            let (id, key, reason) = (
                text(root, "id"),
                text(revoked, "key"),
                text(revoked, "reason"),
            );
            let _ = writeln!(
                out,
                "revoked  key {key} of root {id}, whose signatures count nowhere: {reason}"
            );
        }
    }
    if let Some(why) = explained["without_credentials"].as_str() {
        let _ = writeln!(out, "credentials  none: {why}");
    } else {
        let _ = writeln!(out, "credentials  may be used");
    }
    out
}

pub(super) fn load(dir: &Path) -> Result<Policy, Vec<Diagnostic>> {
    policy_dir::load(&PolicyDir::open(dir, Owner::RootOrCaller), Timestamp::now())
}

fn check_text(loaded: &Result<Policy, Vec<Diagnostic>>) -> String {
    let findings = loaded
        .as_ref()
        .map_or_else(Vec::as_slice, |policy| &policy.warnings);
    let mut out = String::new();
    for finding in findings {
        let _ = writeln!(out, "{finding}\n");
    }
    let of = |severity: Severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    for root in loaded.iter().flat_map(|policy| policy.roots.values()) {
        let _ = writeln!(out, "root {}", shown_root(root));
    }
    let _ = match loaded {
        Ok(policy) => writeln!(
            out,
            "ok: policy {}, mode {}, {}, {}",
            policy.hash,
            policy.mode_at(Some(Timestamp::now())),
            counted(policy.rules.len(), "rule"),
            counted(findings.len(), "warning")
        ),
        Err(_) => writeln!(
            out,
            "{}, {}: the policy does not load",
            counted(of(Severity::Error), "error"),
            counted(of(Severity::Warning), "warning")
        ),
    };
    out
}

fn check_json(loaded: &Result<Policy, Vec<Diagnostic>>) -> Value {
    let findings = loaded
        .as_ref()
        .map_or_else(Vec::as_slice, |policy| &policy.warnings);
    let of = |severity: Severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .map(finding_json)
            .collect::<Vec<_>>()
    };
    json!({
        "version": 1,
        "ok": loaded.is_ok(),
        "roots": loaded.iter().flat_map(|policy| policy.roots.values()).map(root_json).collect::<Vec<_>>(),
        "hash": loaded.as_ref().ok().map(|policy| policy.hash.to_string()),
        "errors": of(Severity::Error),
        "warnings": of(Severity::Warning),
    })
}

/// A root, and what its signatures bind beside the digest.
fn root_json(root: &Arc<Root>) -> Value {
    json!({ "id": root.id, "binds": ReportedBinding::of(root) })
}

fn finding_json(finding: &Diagnostic) -> Value {
    let at = &finding.location;
    json!({
        "file": &*at.file,
        "line": at.line,
        "column": at.column,
        "code": finding.code.as_str(),
        "message": finding.message,
        "hint": finding.hint,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn loaded(text: &str) -> Result<Policy, Vec<Diagnostic>> {
        let files = BTreeMap::from([("policy.toml".to_owned(), text.as_bytes().to_vec())]);
        policy_dir::load(&files, "2026-11-20T00:00:00Z".parse().unwrap())
    }

    const GOOD: &str = "version = 1\ndefault = \"deny\"\n[local]\nnamespaces = [\"moby\"]\n";

    #[test]
    fn a_good_policy_is_shown_with_its_hash_and_warnings() {
        let good = loaded(GOOD);
        let hash = good.as_ref().unwrap().hash;
        let text = check_text(&good);
        assert!(
            text.starts_with("policy.toml:4:1: no-effect: warning: namespaces means nothing"),
            "{text}"
        );
        assert!(
            text.ends_with(&format!(
                "ok: policy {hash}, mode enforce, 0 rules, 1 warning\n"
            )),
            "{text}"
        );
        let object = check_json(&good);
        assert_eq!(
            (&object["ok"], &object["hash"]),
            (&json!(true), &json!(hash.to_string()))
        );
        assert_eq!(
            (
                list(&object, "errors").len(),
                list(&object, "warnings").len()
            ),
            (0, 1)
        );
    }

    #[test]
    fn a_bad_policy_is_not_sent_to_the_command_that_was_typed() {
        let bad = loaded("version = 2\n");
        let findings = bad.as_ref().unwrap_err();
        let own = unloaded_json(&failure(findings, Path::new("p")), "refused", &bad);
        assert_eq!(own["error"], "the policy in p has 2 errors");
    }

    #[test]
    fn a_bad_policy_is_shown_with_every_finding() {
        let bad = loaded("version = 2\n");
        let text = check_text(&bad);
        assert!(
            text.ends_with("2 errors, 0 warnings: the policy does not load\n"),
            "{text}"
        );
        let object = check_json(&bad);
        assert_eq!(
            (&object["ok"], &object["hash"]),
            (&json!(false), &Value::Null)
        );
        let first = &list(&object, "errors")[1];
        assert_eq!(
            (
                &first["file"],
                &first["line"],
                &first["column"],
                &first["code"]
            ),
            (
                &json!("policy.toml"),
                &json!(1),
                &json!(11),
                &json!("bad-value")
            )
        );
    }

    #[test]
    fn an_explanation_reads_the_same_through_json() {
        let policy = loaded(GOOD).unwrap();
        let explained = control::explain(
            &policy,
            &"h.example/a:1".parse().unwrap(),
            "2026-11-20T00:00:00Z".parse().unwrap(),
        );
        let text = explain_text(&explained);
        assert!(text.starts_with("name   h.example/a:1\nmode   enforce\nneeds  a [[rule]] whose match covers h.example/a"), "{text}");
    }
}

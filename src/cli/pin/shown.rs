//! Keys as they are shown, to people and to programs: by every name under which somebody may know
//! them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::output::{counted, said_time};
use rootpin_trust::{Fingerprint, PublicKey, RootFile};

/// An object with the members of another one too.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// A root file with its keys.
pub(super) fn root_json(file: &RootFile) -> Value {
    json!({
        "root_version": file.version,
        "expires": file.expires.to_string(),
        "sha256": file.sha256.hex(),
        "threshold": file.threshold,
        "signed_by": file.own_signers(),
        "keys": file.keys.iter().map(key_json).collect::<Vec<_>>(),
    })
}

pub(super) fn key_json(key: &PublicKey) -> Value {
    let fingerprint = Fingerprint::of(key);
    let certificate = key.certificates().first().map(|leaf| {
        json!({
            "id": key.scoped_id(),
            "subject": leaf.common_name,
            "not_before": leaf.not_before.to_string(),
            "not_after": leaf.not_after.to_string(),
        })
    });
    json!({
        "id": key.id().to_string(),
        "listed_as": key.scoped_id(),
        "type": key.kind(),
        "fingerprint": fingerprint.map(|fingerprint| fingerprint.to_string()),
        "fingerprint_hex": fingerprint.map(|fingerprint| fingerprint.hex()),
        "certificate": certificate,
    })
}

pub(super) fn root_text(file: &RootFile) -> String {
    let mut out = format!(
        "  root version {}, expires {}\n  file sha256    {}\n  signed by {} of its {}, threshold {}\n",
        file.version,
        said_time(file.expires),
        file.sha256.hex(),
        file.own_signers(),
        counted(file.keys.len(), "key"),
        file.threshold
    );
    for (at, key) in file.keys.iter().enumerate() {
        let kind = if key.kind().is_empty() {
            "of a kind that is not known here"
        } else {
            key.kind()
        };
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "  root key {} of {}: {kind}\n    canonical ID   {}",
            at + 1,
            file.keys.len(),
            key.id()
        );
        if let Some(fingerprint) = Fingerprint::of(key) {
            let _ = writeln!(
                out,
                "    fingerprint    {fingerprint}\n    … in hex       {}",
                fingerprint.hex()
            );
        }
        if let Some(leaf) = key.certificates().first() {
            let name = leaf
                .common_name
                .as_deref()
                .map_or("no plain name".to_owned(), quoted);
            let _ = writeln!(
                out,
                "    certificate    for {name}, {} to {}",
                leaf.not_before, leaf.not_after
            );
            let _ = writeln!(
                out,
                "    … its own ID   {}, another for every repository",
                key.scoped_id()
            );
        } else if key.scoped_id() != key.id().to_string() {
            let _ = writeln!(out, "    listed as      {}", quoted(key.scoped_id()));
        }
    }
    out
}

/// Hostile text on a terminal: escaped and cut.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(120).collect::<String>())
}

//! `rootpin repo status`: what expires, who signs, what waits.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Here;
use super::report::{key_name, missing_json, of_others};
use super::signing::read_draft;
use super::term::RootTerm;
use crate::cli::output::{Output, list, table, text};
use crate::publish::keyring::Keyring;
use crate::publish::{Document, Metadata, Missing, PublishError, RoleKey, Settings, Working};
use rootpin_trust::image::Digest;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read the working folder, not the place
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(here: &Here, verb: &Arguments, output: Output) -> Result<u8, PublishError> {
    let working = here.open()?;
    working.root()?;
    let mut transaction = here.transaction(&working, verb.local)?;
    let (now, mut unknown) = (transaction.now, None);
    let draft = match read_draft(&mut transaction, output).await {
        Ok(draft) => draft,
        Err(PublishError::Place(error)) => {
            unknown = Some(error.to_string());
            read_draft(&mut here.transaction(&working, true)?, output).await?
        }
        Err(error) => return Err(error),
    };
    let known = Some(&draft.before);
    let (published, ours) = (working.published(known)?, working.ours(known)?);
    let unpublished = match (&published, &ours) {
        (Some(published), Some(ours)) => !published.same(ours),
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let report = report(&draft.next, &working, now);
    let mut report = report?;
    if let Some(object) = report.as_object_mut() {
        object.insert("unpublished".to_owned(), json!(unpublished));
        object.insert("place_error".to_owned(), json!(unknown));
        object.insert("notes".to_owned(), json!(transaction.notes));
    }
    let term = RootTerm::of(&draft.next, now);
    if let Some(object) = report.as_object_mut() {
        object.insert("root".to_owned(), term.json());
    }
    here.say(output, &report, status_text);
    let roles = list(&report, "roles");
    let bad = roles
        .iter()
        .any(|role| matches!(text(role, "state"), "expired" | "broken"))
        || !list(&report, "waiting").is_empty();
    let exit = if unknown.is_some() { 2 } else { u8::from(bad) };
    Ok(term.said(exit, &here.repo))
}

fn report(metadata: &Metadata, working: &Working, now: Timestamp) -> Result<Value, PublishError> {
    let (settings, keyring) = (&working.settings, &working.keyring);
    let root = metadata.root()?;
    let top = [
        ("root", root),
        ("timestamp", &metadata.timestamp.document),
        ("snapshot", &metadata.snapshot.document),
    ];
    let targets = metadata
        .roles
        .iter()
        .map(|(role, file)| (role.as_str(), &file.document));
    let mut roles: Vec<Value> = top
        .into_iter()
        .chain(targets)
        .filter_map(|(role, file)| role_json(role, Some(file), metadata, settings, keyring, now))
        .collect();
    let unpublished = metadata
        .delegations()
        .filter_map(|(_, listed)| listed.get("name")?.as_str());
    let unpublished = unpublished.filter(|role| !metadata.roles.contains_key(*role));
    roles.extend(
        unpublished.filter_map(|role| role_json(role, None, metadata, settings, keyring, now)),
    );
    let waiting: Vec<_> = metadata
        .waiting
        .iter()
        .map(|(role, file)| waiting_json(role, &file.document, metadata, keyring))
        .collect();
    let newest = metadata.roots.iter().next_back();
    let newest = newest.map(
        |(version, file)| json!({ "version": version, "sha256": Digest::of(&file.bytes).hex() }),
    );
    let places: Vec<_> = settings.publish.iter().map(ToString::to_string).collect();
    Ok(json!({
        "version": 1, "roles": roles, "waiting": waiting, "newest_root": newest, "places": places,
        "pinned_root": working.pinned_file().display().to_string(), "pinned_sha256": Digest::of(working.root()?.bytes()).hex(),
    }))
}

fn role_json(
    role: &str,
    file: Option<&Document>,
    metadata: &Metadata,
    settings: &Settings,
    keyring: &Keyring,
    now: Timestamp,
) -> Option<Value> {
    // Nothing delegates to it any more: it stays listed, and means nothing.
    let authority = metadata.authority(role)?;
    let key = |key: &RoleKey| {
        let here = key.id.is_some_and(|id| keyring.signs_with(id));
        json!({ "name": key_name(&key.keyid, metadata, keyring), "keyid": key.keyid, "here": here })
    };
    let listed = metadata
        .delegations()
        .find(|(_, listed)| listed.get("name").and_then(Value::as_str) == Some(role));
    Some(json!({
        "role": role,
        "version": file.map(Document::version),
        "expires": file.and_then(Document::expires).map(|expires| expires.to_string()),
        "state": match (file, metadata.broken.get(role)) {
            (None, _) => "never published",
            (_, Some(_)) => "broken",
            (Some(file), None) => state(file, settings.term(role), now),
        },
        "broken": metadata.broken.get(role),
        "threshold": authority.threshold,
        "keys": authority.keys.iter().map(key).collect::<Vec<_>>(),
        "delegated_by": if authority.by == "root" { None } else { Some(authority.by) },
        "paths": listed.and_then(|(_, listed)| listed.get("paths")),
    }))
}

/// Within a third of its term it is time to sign anew.
fn state(file: &Document, term: SignedDuration, now: Timestamp) -> &'static str {
    match file.expires() {
        Some(expires) if expires <= now => "expired",
        Some(expires) if expires.duration_since(now) < term / 3 => "expires soon",
        Some(_) => "ok",
        None => "expired",
    }
}

fn waiting_json(role: &str, document: &Document, metadata: &Metadata, keyring: &Keyring) -> Value {
    let authority = metadata.authority(role);
    let signed = authority
        .as_ref()
        .map(|authority| Metadata::signers(authority, document))
        .unwrap_or_default();
    let names: Vec<_> = signed
        .iter()
        .map(|key| key_name(&key.keyid, metadata, keyring))
        .collect();
    let open = authority.as_ref().map(|authority| {
        let keys = authority
            .keys
            .iter()
            .filter(|key| !signed.contains(key))
            .map(|key| key.keyid.clone())
            .collect();
        Missing {
            role: role.to_owned(),
            count: authority.threshold.saturating_sub(signed.len()),
            keys,
        }
    });
    let for_online = || {
        let keys = metadata
            .authority("snapshot")
            .map(|authority| authority.keyids())
            .unwrap_or_default();
        Missing {
            role: "snapshot".to_owned(),
            count: 1,
            keys,
        }
    };
    let missing = open
        .filter(|missing| missing.count > 0)
        .unwrap_or_else(for_online);
    json!({ "role": role, "version": document.version(), "signed_by": names, "missing": missing_json(&missing, metadata, keyring) })
}

/// A role: name, version, expiry, state, and who must sign.
fn role_row(role: &Value) -> Vec<String> {
    let keys = list(role, "keys").iter().map(|key| {
        let here = key.get("here").and_then(Value::as_bool) == Some(true);
        format!("{}{}", text(key, "name"), if here { " here" } else { "" })
    });
    let keys: Vec<_> = keys.collect();
    let threshold = role
        .get("threshold")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let by = if keys.len() > 1 {
        format!("{threshold} of {}", keys.join(", "))
    } else {
        keys.join(", ")
    };
    let version = role
        .get("version")
        .filter(|version| version.is_number())
        .map_or("-".to_owned(), ToString::to_string);
    vec![
        text(role, "role").to_owned(),
        version,
        format!("until {}", text(role, "expires")),
        text(role, "state").to_owned(),
        by,
    ]
}

fn status_text(report: &Value) -> String {
    let report = &of_others(report);
    let mut lines = vec![table(
        &list(report, "roles")
            .iter()
            .map(role_row)
            .collect::<Vec<_>>(),
    )];
    for role in list(report, "roles")
        .iter()
        .filter(|role| text(role, "state") == "broken")
    {
        lines.push(format!(
            "{} does not hold: {}",
            text(role, "role"),
            text(role, "broken")
        ));
    }
    for waiting in list(report, "waiting") {
        let missing = waiting.get("missing").cloned().unwrap_or_default();
        let holders: Vec<_> = list(&missing, "holders")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let signed: Vec<_> = list(waiting, "signed_by")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let version = waiting
            .get("version")
            .map(ToString::to_string)
            .unwrap_or_default();
        lines.push(format!(
            "{} {version} waits for {} of {} (signed by {})",
            text(waiting, "role"),
            text(&missing, "role"),
            holders.join(", "),
            signed.join(", ")
        ));
    }
    if let Some(newest) = report.get("newest_root") {
        let version = newest
            .get("version")
            .map(ToString::to_string)
            .unwrap_or_default();
        lines.push(format!(
            "newest root {version}, sha256 {}",
            text(newest, "sha256")
        ));
    }
    lines.push(format!(
        "pinned root {}, sha256 {}",
        text(report, "pinned_root"),
        text(report, "pinned_sha256")
    ));
    let places: Vec<_> = list(report, "places")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if !places.is_empty() {
        lines.push(format!("places {}", places.join(", ")));
    }
    if report.get("unpublished").and_then(Value::as_bool) == Some(true) && !places.is_empty() {
        lines.push(
            "not all of it is published; rootpin repo publish brings it to the places".to_owned(),
        );
    }
    if let Some(why) = report.get("place_error").and_then(Value::as_str) {
        lines.push(format!(
            "the place could not be read; this is what the folder has: {why}"
        ));
    }
    lines.extend(
        list(report, "notes")
            .iter()
            .filter_map(Value::as_str)
            .map(|note| format!("note: {note}")),
    );
    lines.join("\n")
}

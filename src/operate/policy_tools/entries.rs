//! All that a policy says, one text an entry, to compare policies by. Each type of an entry is taken
//! apart without `..`, so that a key that is new to it does not build before it stands here; a test
//! changes each key that the policy's schema has.

use std::collections::BTreeSet;
use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use rootpin_policy::{
    AllowedLint, BoundImage, BreakGlassUse, CredentialsTo, Docker, Exempt, Limits, Local, Mode,
    NotaryRoot, Policy, Root, RootKind, Rule, TufRoot,
};
use rootpin_trust::KeyId;
use rootpin_trust::cosign::{CosignFormat, CosignPins, TagBinding};
use rootpin_trust::image::Digest;
use rootpin_trust::notation::NotationPins;

/// The entries by all that they decide, without their places: two policies with the same ones
/// answer alike.
pub(super) fn entries(policy: &Policy) -> BTreeSet<String> {
    let mode = written_mode(policy);
    let mut all = BTreeSet::from([
        format!(
            "mode = \"{mode}\", audit-until = {}",
            or_none(policy.audit_until.as_ref())
        ),
        of_local(&policy.local),
        of_limits(&policy.limits),
        of_docker(policy.docker),
        format!("[sweep] action = \"{}\"", policy.sweep),
        format!("prove = {}", policy.prove),
        of_break_glass(policy.break_glass),
        of_credentials(policy.credentials_to),
    ]);
    all.extend(policy.roots.values().map(|root| of_root(root)));
    all.extend(policy.rules.iter().map(of_rule));
    all.extend(policy.allowed_lints.iter().map(of_allowed_lint));
    let owned = policy.owned.iter();
    all.extend(owned.map(|(file, owns)| format!("[fragment] owns = \"{owns}\" ({file})")));
    all.extend(policy.images().flat_map(of_image));
    all.extend(policy.exempts().iter().map(of_exempt));
    let digests = policy.revoked_digests();
    all.extend(
        digests.map(|(digest, reason)| format!("[[revoked]] digest = \"{digest}\": {reason}")),
    );
    let reason = |key| policy.revoked_key(key).unwrap_or("-");
    all.extend(
        policy
            .revoked_keys()
            .iter()
            .map(|key| format!("[[revoked]] key = \"{key}\": {}", reason(key))),
    );
    all
}

/// The mode as it is written, whenever it ends.
pub(super) fn written_mode(policy: &Policy) -> Mode {
    policy.mode_at(Some(Timestamp::MIN))
}

fn or_none<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn quoted<T: Display>(value: Option<T>) -> String {
    or_none(value.map(|value| format!("\"{value}\"")))
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", all.join(", "))
}

fn age(value: Option<SignedDuration>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:#}"))
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

fn of_local(local: &Local) -> String {
    let Local { allow, namespaces } = local;
    let namespaces = namespaces.as_ref().map(list);
    format!(
        "[local] content = \"{}\", namespaces = {}",
        word(*allow),
        namespaces.unwrap_or_else(|| "all".to_owned())
    )
}

fn of_limits(limits: &Limits) -> String {
    let Limits {
        max_exempt,
        offline,
        max_break_glass,
    } = limits;
    format!(
        "[limits] max-exempt = {max_exempt:#}, offline = {offline:#}, max-break-glass = {max_break_glass:#}"
    )
}

fn of_docker(docker: Docker) -> String {
    let Docker {
        require_digest,
        swarm,
        plugins,
    } = docker;
    format!(
        "[docker] require-digest = {require_digest}, swarm = \"{}\", plugins = \"{}\"",
        word(swarm),
        word(plugins)
    )
}

fn of_break_glass(allowed: BreakGlassUse) -> String {
    let word = match allowed {
        BreakGlassUse::Allowed => "allowed",
        BreakGlassUse::Forbidden => "forbidden",
    };
    format!("break-glass = \"{word}\"")
}

fn of_credentials(to: CredentialsTo) -> String {
    let word = match to {
        CredentialsTo::Any => "any",
        CredentialsTo::Rooted => "rooted",
    };
    format!("[credentials] only-to = \"{word}\"")
}

fn of_root(root: &Root) -> String {
    let Root {
        id,
        kind,
        keys,
        // The same keys, as they are written.
        entries: _,
        max_age,
        recheck,
        location: _,
    } = root;
    let kind = match kind {
        RootKind::Notary(notary) => of_notary(notary, keys),
        RootKind::Tuf(tuf) => of_tuf(tuf),
        RootKind::Cosign(cosign) => of_cosign(cosign, keys),
        RootKind::Notation(notation) => of_notation(notation),
    };
    format!(
        "[[root]] id = \"{id}\", {kind}, max-age = {}, recheck = {recheck:#}",
        age(*max_age)
    )
}

fn tls_ca(pem: Option<&Vec<u8>>) -> String {
    or_none(pem.map(|pem| Digest::of(pem)))
}

fn of_notary(root: &NotaryRoot, keys: &BTreeSet<KeyId>) -> String {
    let NotaryRoot {
        server,
        tls_ca: ca,
        role,
        certificate_dates,
        allow_rsa_pkcs1v15,
    } = root;
    let dates = if *certificate_dates {
        "check"
    } else {
        "ignore"
    };
    format!(
        "type = \"notary\", server = \"{server}\", tls-ca = {}, keys = {}, role = \"{role}\", certificate-dates = \"{dates}\", allow-rsa-pkcs1v15 = {allow_rsa_pkcs1v15}",
        tls_ca(ca.as_ref()),
        list(keys)
    )
}

fn of_tuf(root: &TufRoot) -> String {
    let TufRoot {
        pinned,
        sha256,
        metadata,
        tls_ca: ca,
        floor,
    } = root;
    let floor = floor
        .iter()
        .map(|(role, version)| format!("{role} = {version}"));
    format!(
        "type = \"tuf\", sha256 = {sha256}, metadata = {}, tls-ca = {}, allow-rsa-pkcs1v15 = {}, floor = {}",
        list(metadata),
        tls_ca(ca.as_ref()),
        pinned.allows_rsa_pkcs1v15(),
        list(floor)
    )
}

fn of_cosign(pins: &CosignPins, keys: &BTreeSet<KeyId>) -> String {
    let CosignPins {
        // Those of the root.
        keys: _,
        threshold,
        format,
        binds_tag,
    } = pins;
    let format = format.map_or("any", CosignFormat::as_str);
    let binds_tag = binds_tag.as_ref().map(|binding| match binding {
        TagBinding::Annotation(name) => format!("annotation:{name}"),
        TagBinding::Reference => "reference".to_owned(),
    });
    format!(
        "type = \"cosign\", keys = {}, threshold = {threshold}, format = \"{format}\", binds-tag = {}",
        list(keys),
        quoted(binds_tag)
    )
}

fn of_notation(pins: &NotationPins) -> String {
    let NotationPins {
        certificates,
        subjects,
        ignore_validity,
        binds_tag,
    } = pins;
    let validity = if *ignore_validity { "ignore" } else { "check" };
    let certificates = certificates.iter().map(|pin| pin.certificate.sha256);
    let subject = |attributes: &Vec<_>| list(attributes.iter().map(|one| format!("{one:?}")));
    format!(
        "type = \"notation\", certificates = {}, subjects = {}, validity = \"{validity}\", binds-tag = {}",
        list(certificates),
        list(subjects.iter().map(subject)),
        quoted(binds_tag.as_ref())
    )
}

fn of_rule(rule: &Rule) -> String {
    let Rule {
        pattern,
        roots,
        quorum,
        mode,
        audit_until,
        signed_as,
        tags_unbound,
        index,
        is_final,
        credentials,
        location: _,
    } = rule;
    format!(
        "[[rule]] match = \"{pattern}\", roots = {}, quorum = {quorum}, mode = {}, audit-until = {}, signed-as = {}, tags = {}, index = \"{index}\", credentials = {credentials}, final = {is_final}",
        list(roots.iter().map(|root| &root.id)),
        quoted(mode.as_ref()),
        or_none(audit_until.as_ref()),
        quoted(signed_as.as_ref()),
        quoted(tags_unbound.then_some("unbound"))
    )
}

/// Each digest by itself, so that one that is added shows alone.
fn of_image(image: &BoundImage) -> Vec<String> {
    let BoundImage {
        repository,
        tag,
        digests,
        location: _,
    } = image;
    let entry =
        |digest: &Digest| format!("[[image]] name = \"{repository}:{tag}\", digest = {digest}");
    digests.iter().map(entry).collect()
}

fn of_exempt(exempt: &Exempt) -> String {
    let Exempt {
        pattern,
        until,
        reason,
        digests,
        location: _,
    } = exempt;
    let digests = digests.as_ref().map(list);
    format!(
        "[[exempt]] match = \"{pattern}\", until = {until}, digests = {}: {reason}",
        digests.unwrap_or_else(|| "any".to_owned())
    )
}

fn of_allowed_lint(allowed: &AllowedLint) -> String {
    let AllowedLint {
        code,
        reason,
        pattern,
        root,
        location: _,
    } = allowed;
    format!(
        "[[allow-lint]] code = \"{code}\", match = {}, root = {}: {reason}",
        quoted(pattern.as_ref()),
        quoted(root.as_ref())
    )
}

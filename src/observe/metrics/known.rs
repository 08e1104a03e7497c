//! Every metric: names are stable. docs/metrics.md has the same table, and a test holds it to this one.

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct KnownMetric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels, as documents have them.
    pub labels: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
) -> KnownMetric {
    KnownMetric {
        name,
        kind,
        labels,
        help,
    }
}

/// Every metric of rootpind.
pub const METRICS: &[KnownMetric] = &[
    metric(
        "rootpin_questions_total",
        "counter",
        "door, engine, outcome, code",
        "Questions asked.",
    ),
    metric(
        "rootpin_question_seconds",
        "histogram",
        "door, engine",
        "How long answers took, with the time spent waiting for trust servers, registries and engines.",
    ),
    metric(
        "rootpin_root_answers_total",
        "counter",
        "root, door, outcome, code",
        "Answers that rest on a root: it signed, or was asked and did not.",
    ),
    metric(
        "rootpin_floors_refused_total",
        "counter",
        "door",
        "Noes because a source showed older metadata than this host has seen.",
    ),
    metric(
        "rootpin_let_through_total",
        "counter",
        "door, engine, by",
        "Noes that stopped nothing: audit mode or break-glass let them through.",
    ),
    metric(
        "rootpin_shared_signer_total",
        "counter",
        "",
        "Times one signer's key was first seen under a further repository.",
    ),
    metric(
        "rootpin_credentials_total",
        "counter",
        "asker, outcome",
        "Questions of kubelets and of root's Docker clients for this host's credentials.",
    ),
    metric(
        "rootpin_policy_ok",
        "gauge",
        "",
        "1 while the policy on disk is the one in force.",
    ),
    metric(
        "rootpin_policy_loads_total",
        "counter",
        "result",
        "Policies taken, and policies that did not load.",
    ),
    metric(
        "rootpin_policy_info",
        "gauge",
        "hash, mode",
        "1 for the policy in force.",
    ),
    metric(
        "rootpin_exemptions",
        "gauge",
        "",
        "Exemptions of the policy that have not ended.",
    ),
    metric(
        "rootpin_exemption_ends_seconds",
        "gauge",
        "match",
        "When an exemption ends, in seconds since 1970; of the 100 that end first.",
    ),
    metric(
        "rootpin_audit_ends_seconds",
        "gauge",
        "match",
        "When a rule's audit ends, or audit mode (match=\"*\"), in seconds since 1970; of the 100 that end first.",
    ),
    metric(
        "rootpin_canary_ok",
        "gauge",
        "engine",
        "1 while a door proves that its engine asks it.",
    ),
    metric(
        "rootpin_authz_bypassed",
        "gauge",
        "engine",
        "1 while dockerd answers gRPC past its authorization plugin, whoever judges what comes in so.",
    ),
    metric(
        "rootpin_listening",
        "gauge",
        "door, engine",
        "1 while a door has its socket.",
    ),
    metric(
        "rootpin_prove_ok",
        "gauge",
        "path",
        "1 where the last proof found a path shut, 0 where it did not.",
    ),
    metric(
        "rootpin_prove_seconds",
        "gauge",
        "",
        "When the last proof ended, in seconds since 1970.",
    ),
    metric(
        "rootpin_resolver_requests_total",
        "counter",
        "status",
        "Requests that engines made to the resolver, by the status of the answer.",
    ),
    metric(
        "rootpin_resolver_seconds_sum",
        "counter",
        "",
        "Time spent at the resolver until the body of each answer could begin.",
    ),
    metric(
        "rootpin_nri_connected",
        "gauge",
        "engine",
        "1 while containerd's NRI asks before it makes a container.",
    ),
    metric(
        "rootpin_running_refused",
        "gauge",
        "engine",
        "Containers that ran when NRI was last connected and may not run.",
    ),
    metric(
        "rootpin_resident_images",
        "gauge",
        "engine",
        "Image names on this host.",
    ),
    metric(
        "rootpin_resident_refused",
        "gauge",
        "engine",
        "Image names on this host that the policy refuses.",
    ),
    metric(
        "rootpin_resident_unjudged",
        "gauge",
        "engine",
        "Image names on this host that could not be judged.",
    ),
    metric(
        "rootpin_removed_total",
        "counter",
        "engine",
        "Image names that were removed because the policy refuses them.",
    ),
    metric(
        "rootpin_clock_ok",
        "gauge",
        "",
        "1 while the clock can be right: not before rootpin was built, nor before the policy was written.",
    ),
    metric(
        "rootpin_state_ok",
        "gauge",
        "",
        "1 while the state can be used.",
    ),
    metric(
        "rootpin_state_acknowledged",
        "gauge",
        "",
        "1 where the state is the one that was acknowledged on this host.",
    ),
    metric(
        "rootpin_state_lost",
        "gauge",
        "",
        "1 where another state was acknowledged on this host: its floors are lost or elsewhere.",
    ),
    metric(
        "rootpin_state_begun_seconds",
        "gauge",
        "",
        "When the state was made, in seconds since 1970.",
    ),
    metric(
        "rootpin_root_expires_seconds",
        "gauge",
        "root",
        "When a root's own metadata expires, in seconds since 1970, as far as it is known here.",
    ),
    metric(
        "rootpin_metadata_expires_seconds",
        "gauge",
        "root",
        "When the metadata of a root that was verified last expires, in seconds since 1970; of a Notary server the first repository that does.",
    ),
    metric(
        "rootpin_metadata_age_seconds",
        "gauge",
        "root",
        "How long ago the last good contact with a source of the root was.",
    ),
    metric(
        "rootpin_signature_seen_seconds",
        "gauge",
        "root",
        "When a registry last had signatures of a cosign or Notation root that were enough for an image, in seconds since 1970.",
    ),
    metric(
        "rootpin_sources_behind",
        "gauge",
        "",
        "Sources that show older metadata than was verified, or half of it, while what was verified answers.",
    ),
    metric(
        "rootpin_sources_silent",
        "gauge",
        "",
        "Sources that do not answer while what was verified does.",
    ),
    metric(
        "rootpin_audit_ok",
        "gauge",
        "",
        "1 while the audit file can be written.",
    ),
    metric(
        "rootpin_audit_lost_total",
        "counter",
        "",
        "Decisions that are not in the audit file, because it could not be written.",
    ),
    metric(
        "rootpin_series_dropped_total",
        "counter",
        "",
        "Samples that were not counted, because there are too many series already.",
    ),
    metric(
        "rootpin_break_glass",
        "gauge",
        "",
        "1 while root lets pass what the policy refuses.",
    ),
    metric(
        "rootpin_break_glass_until_seconds",
        "gauge",
        "",
        "When break-glass ends, in seconds since 1970, while it is in force.",
    ),
    metric(
        "rootpin_start_seconds",
        "gauge",
        "",
        "When the daemon started, in seconds since 1970.",
    ),
    metric(
        "rootpin_build_info",
        "gauge",
        "version",
        "1 for the version of rootpind that runs.",
    ),
    metric(
        "rootpin_up",
        "gauge",
        "",
        "1 where rootpind answered; 0 in the file of rootpin metrics --textfile where it did not.",
    ),
];

//! What `policy diff` compares: each key that a policy may have.

use std::collections::{BTreeMap, BTreeSet};

use rootpin::operate::policy_tools::differing_entries;
use rootpin_policy::Policy;
use rootpin_trust::image::Digest;

use super::lint::top_data;
use super::schema::{parts, schema};

const POLICY: &str = r#"version = 1
default = "deny"
mode = "audit"
audit-until = 2026-12-10T00:00:00Z
prove = false
break-glass = "forbidden"
[local]
content = "allow"
namespaces = ["moby"]
[limits]
max-exempt = "60d"
max-break-glass = "8h"
offline = "10d"
[docker]
require-digest = true
swarm = "allow"
plugins = "allow"
[sweep]
action = "remove"
[credentials]
only-to = "rooted"
[[allow-lint]]
code = "no-max-age"
root = "n"
reason = "known"
[[allow-lint]]
code = "ends-soon"
match = "r.example/old/*"
reason = "known"
[[root]]
id = "n"
type = "notary"
server = "https://n.example"
tls-ca = "ca.crt"
keys = ["THIRD"]
role = "targets"
certificate-dates = "check"
allow-rsa-pkcs1v15 = true
max-age = "72h"
recheck = "5m"
[[root]]
id = "t"
type = "tuf"
file = "1.root.json"
sha256 = "FIRST"
metadata = ["https://t.example"]
tls-ca = "tuf-ca.crt"
allow-rsa-pkcs1v15 = true
max-age = "71h"
recheck = "6m"
[root.floor]
root = 1
timestamp = 1
snapshot = 1
targets = 1
[[root]]
id = "c"
type = "cosign"
keys = ["p384.pub", "rsa2048.pub"]
threshold = 1
format = "any"
binds-tag = "annotation:tag"
max-age = "70h"
recheck = "7m"
[[root]]
id = "o"
type = "notation"
certificates = ["p256.crt"]
subjects = ["CN=one"]
validity = "check"
binds-tag = "annotation:tag"
max-age = "69h"
recheck = "8m"
[[rule]]
match = "r.example/team/*"
roots = ["n", "t", "c", "o"]
quorum = 1
tags = "unbound"
index = "signed"
signed-as = "r.example/signed/*"
mode = "enforce"
audit-until = 2026-12-11T00:00:00Z
credentials = true
final = true
[[image]]
name = "r.example/bound:1"
digest = "sha256:aa"
[[exempt]]
match = "r.example/old/app"
until = 2026-12-12T00:00:00Z
reason = "bridge"
digests = ["sha256:bb"]
[[revoked]]
digest = "sha256:cc"
reason = "bad bytes"
[[revoked]]
key = "KEY"
reason = "lost key"
"#;

/// Each key by its part of the schema: what stands in [`POLICY`], and what instead of it.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("policy", "mode", "mode = \"audit\"", "mode = \"enforce\""),
    ("policy", "audit-until", "2026-12-10", "2026-12-09"),
    ("policy", "prove", "prove = false", "prove = true"),
    ("policy", "break-glass", "break-glass = \"forbidden\"\n", ""),
    (
        "local",
        "content",
        "content = \"allow\"",
        "content = \"deny\"",
    ),
    (
        "local",
        "namespaces",
        "[\"moby\"]",
        "[\"moby\", \"k8s.io\"]",
    ),
    ("limits", "max-exempt", "60d", "59d"),
    ("limits", "max-break-glass", "\"8h\"", "\"9h\""),
    ("limits", "offline", "10d", "11d"),
    ("docker", "require-digest", "require-digest = true\n", ""),
    ("docker", "swarm", "swarm = \"allow\"\n", ""),
    ("docker", "plugins", "plugins = \"allow\"\n", ""),
    (
        "sweep",
        "action",
        "action = \"remove\"",
        "action = \"report\"",
    ),
    ("credentials", "only-to", "\"rooted\"", "\"any\""),
    ("allow-lint", "code", "\"no-max-age\"", "\"weak-key\""),
    ("allow-lint", "root", "root = \"n\"\n", ""),
    ("allow-lint", "match", "match = \"r.example/old/*\"\n", ""),
    (
        "allow-lint",
        "reason",
        "reason = \"known\"",
        "reason = \"new\"",
    ),
    ("notary", "id", "\"n\"", "\"m\""),
    ("notary", "server", "//n.example", "//m.example"),
    (
        "notary",
        "tls-ca",
        "tls-ca = \"ca.crt\"\n",
        "tls-ca = \"other-ca.crt\"\n",
    ),
    ("notary", "keys", "THIRD", "FOURTH"),
    (
        "notary",
        "role",
        "role = \"targets\"",
        "role = \"targets/a\"",
    ),
    (
        "notary",
        "certificate-dates",
        "dates = \"check\"",
        "dates = \"ignore\"",
    ),
    (
        "notary",
        "allow-rsa-pkcs1v15",
        "allow-rsa-pkcs1v15 = true\nmax-age = \"72h\"",
        "max-age = \"72h\"",
    ),
    ("notary", "max-age", "max-age = \"72h\"\n", ""),
    ("notary", "recheck", "recheck = \"5m\"\n", ""),
    ("tuf", "id", "\"t\"", "\"s\""),
    (
        "tuf",
        "file",
        "file = \"1.root.json\"\nsha256 = \"FIRST\"",
        "file = \"2.root.json\"\nsha256 = \"SECOND\"",
    ),
    (
        "tuf",
        "sha256",
        "file = \"1.root.json\"\nsha256 = \"FIRST\"",
        "file = \"2.root.json\"\nsha256 = \"SECOND\"",
    ),
    ("tuf", "metadata", "//t.example", "//s.example"),
    ("tuf", "tls-ca", "tls-ca = \"tuf-ca.crt\"\n", ""),
    (
        "tuf",
        "allow-rsa-pkcs1v15",
        "allow-rsa-pkcs1v15 = true\nmax-age = \"71h\"",
        "max-age = \"71h\"",
    ),
    ("tuf", "max-age", "71h", "73h"),
    ("tuf", "recheck", "\"6m\"", "\"9m\""),
    ("tuf", "floor", "[root.floor]\nroot = 1\n", "[root.floor]\n"),
    ("floor", "root", "\nroot = 1", "\nroot = 2"),
    ("floor", "timestamp", "timestamp = 1", "timestamp = 2"),
    ("floor", "snapshot", "snapshot = 1", "snapshot = 2"),
    ("floor", "targets", "targets = 1", "targets = 2"),
    ("cosign", "id", "\"c\"", "\"d\""),
    (
        "cosign",
        "keys",
        "[\"p384.pub\", \"rsa2048.pub\"]",
        "[\"p384.pub\"]",
    ),
    ("cosign", "threshold", "threshold = 1", "threshold = 2"),
    (
        "cosign",
        "format",
        "\"any\"\nbinds",
        "\"sigstore-bundle\"\nbinds",
    ),
    (
        "cosign",
        "binds-tag",
        "\"any\"\nbinds-tag = \"annotation:tag\"",
        "\"any\"\nbinds-tag = \"reference\"",
    ),
    ("cosign", "max-age", "70h", "73h"),
    ("cosign", "recheck", "\"7m\"", "\"9m\""),
    ("notation", "id", "\"o\"", "\"p\""),
    ("notation", "certificates", "p256.crt", "rsa3072.crt"),
    ("notation", "subjects", "CN=one", "CN=two"),
    (
        "notation",
        "validity",
        "validity = \"check\"",
        "validity = \"ignore\"",
    ),
    (
        "notation",
        "binds-tag",
        "\"check\"\nbinds-tag = \"annotation:tag\"",
        "\"check\"\nbinds-tag = \"annotation:version\"",
    ),
    ("notation", "max-age", "69h", "73h"),
    ("notation", "recheck", "\"8m\"", "\"9m\""),
    (
        "rule",
        "match",
        "match = \"r.example/team/*\"",
        "match = \"r.example/teams/*\"",
    ),
    (
        "rule",
        "roots",
        "[\"n\", \"t\", \"c\", \"o\"]",
        "[\"t\", \"n\", \"c\", \"o\"]",
    ),
    ("rule", "quorum", "quorum = 1", "quorum = 2"),
    ("rule", "tags", "tags = \"unbound\"\n", ""),
    (
        "rule",
        "index",
        "index = \"signed\"",
        "index = \"by-manifests\"",
    ),
    (
        "rule",
        "signed-as",
        "signed-as = \"r.example/signed/*\"\n",
        "",
    ),
    ("rule", "mode", "mode = \"enforce\"\n", ""),
    ("rule", "audit-until", "2026-12-11", "2026-12-09"),
    (
        "rule",
        "credentials",
        "credentials = true",
        "credentials = false",
    ),
    ("rule", "final", "final = true", "final = false"),
    ("image", "name", "r.example/bound:1", "r.example/bound:2"),
    ("image", "digest", "sha256:aa", "sha256:ab"),
    (
        "exempt",
        "match",
        "match = \"r.example/old/app\"",
        "match = \"r.example/old/web\"",
    ),
    ("exempt", "until", "2026-12-12", "2026-12-13"),
    ("exempt", "reason", "bridge", "bridges"),
    ("exempt", "digests", "digests = [\"sha256:bb\"]\n", ""),
    ("revoked", "digest", "sha256:cc", "sha256:cd"),
    ("revoked", "key", "\"KEY\"", "\"LATER\""),
    ("revoked", "reason", "lost key", "lost keys"),
];

/// Keys of one value, and lists of entries, which are compared one by one.
const CONSTANT: &[&str] = &["version", "default", "type"];
const LISTS: &[&str] = &[
    "root",
    "rule",
    "image",
    "exempt",
    "revoked",
    "allow-lint",
    "local",
    "limits",
    "docker",
    "sweep",
    "credentials",
];

/// Loads such a text, in which `sha256:xx` is short for a digest.
fn loaded(text: &str) -> Policy {
    let mut files: BTreeMap<String, Vec<u8>> = [
        ("p384.pub", "keys/p384.pub"),
        ("rsa2048.pub", "keys/rsa2048.pub"),
        ("ca.crt", "keys/root-app.crt"),
        ("tuf-ca.crt", "keys/root-app.crt"),
        ("other-ca.crt", "keys/root-web.crt"),
        ("p256.crt", "signatures/certificates/p256.crt"),
        ("rsa3072.crt", "signatures/certificates/rsa3072.crt"),
        ("1.root.json", "tuf/1.root.json"),
        ("2.root.json", "tuf/repository/1.root.json"),
    ]
    .map(|(name, path)| (name.to_owned(), top_data(path)))
    .into();
    let sha256 = |name: &str| Digest::of(&files[name]).hex();
    let mut text = text
        .replace("FIRST", &sha256("1.root.json"))
        .replace("SECOND", &sha256("2.root.json"))
        .replace("KEY", &"1".repeat(64))
        .replace("LATER", &"2".repeat(64))
        .replace("THIRD", &"3".repeat(64))
        .replace("FOURTH", &"4".repeat(64));
    for short in ["aa", "ab", "bb", "cc", "cd"] {
        let whole = format!("sha256:{}", short.repeat(32));
        text = text.replace(&format!("sha256:{short}\""), &format!("{whole}\""));
    }
    files.insert("policy.toml".to_owned(), text.clone().into_bytes());
    let loaded = rootpin_policy::load(&files, "2026-11-30T00:00:00Z".parse().unwrap());
    loaded.unwrap_or_else(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", errors.join("\n"))
    })
}

/// A short name of a part: the last table, or the type of the root.
fn name_of(header: &str) -> &str {
    let last = header.lines().last().unwrap_or("policy");
    let kind = last.strip_prefix("type = ").unwrap_or(last);
    kind.trim_matches(['[', ']', '"'])
        .trim_start_matches("root.")
}

#[test]
fn each_key_of_the_schema_that_changes_is_a_difference() {
    let of_schema: BTreeSet<(String, String)> = parts(&schema())
        .iter()
        .flat_map(|(part, header)| {
            let name = name_of(header).to_owned();
            let keys = part["properties"].as_object().unwrap().keys().cloned();
            keys.map(move |key| (name.clone(), key)).collect::<Vec<_>>()
        })
        .filter(|(part, key)| {
            let is_list = part == "policy" && LISTS.contains(&key.as_str());
            !is_list && !CONSTANT.contains(&key.as_str())
        })
        .collect();
    let tried: BTreeSet<(String, String)> = CHANGES
        .iter()
        .map(|(part, key, ..)| ((*part).to_owned(), (*key).to_owned()))
        .collect();
    assert_eq!(tried, of_schema);

    let old = loaded(POLICY);
    assert_eq!(
        differing_entries(&old, &loaded(&format!("# moved\n\n{POLICY}"))),
        (vec![], vec![])
    );
    for (part, key, from, to) in CHANGES {
        assert!(POLICY.contains(from), "{part} {key}");
        let (gone, come) = differing_entries(&old, &loaded(&POLICY.replace(from, to)));
        assert!(
            !gone.is_empty() && !come.is_empty(),
            "{part} {key}: {gone:?} {come:?}"
        );
    }
}

#[test]
fn a_fragment_that_owns_other_names_is_a_difference() {
    let policy = |owns: &str| {
        let key = "1".repeat(64);
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://a.example\"\nkeys = [\"{key}\"]\nrole = \"targets\"\n"
        );
        let fragment = format!(
            "[fragment]\nowns = \"{owns}\"\n[[rule]]\nmatch = \"q.example/web/app\"\nroots = [\"a\"]\n"
        );
        let files: BTreeMap<String, Vec<u8>> = [
            ("policy.toml".to_owned(), text.into_bytes()),
            ("policy.d/w.toml".to_owned(), fragment.into_bytes()),
        ]
        .into();
        rootpin_policy::load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap()
    };
    let (narrow, broad) = (policy("q.example/web/**"), policy("q.example/**"));
    let (gone, come) = differing_entries(&narrow, &broad);
    assert_eq!(
        gone,
        ["[fragment] owns = \"q.example/web/**\" (policy.d/w.toml)"]
    );
    assert_eq!(
        come,
        ["[fragment] owns = \"q.example/**\" (policy.d/w.toml)"]
    );
    assert_eq!(differing_entries(&narrow, &narrow), (vec![], vec![]));
}

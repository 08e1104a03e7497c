//! The keys that a section of a policy must have, and the hints that say what to write there.

pub(super) const OWNS: &str = "write [fragment] and owns = \"registry.example/team/**\"";
pub(super) const TYPES: &str = "the known types are: cosign, notary, notation, tuf";
pub(super) const ROLES: &str =
    "Docker signs in \"targets/releases\", the notary command line in \"targets\"";
pub(super) const NAME: &str =
    "write HOST[:PORT]/PATH:TAG in full form, as registry.k8s.io/pause:3.10";
pub(super) const DIGEST: &str = "write sha256: and 64 lower-case hex digits";
pub(super) const REASON: &str = "say in a few words why, for those who read the record later";

/// The mandatory keys of a section, and what to write.
pub(super) fn mandatory(title: &str, key: &str) -> Option<&'static str> {
    Some(match (title, key) {
        ("the policy", "version") => "write version = 1",
        ("the policy", "default") => "write default = \"deny\", the only one that exists",
        ("[fragment]", "owns") => OWNS,
        ("[[root]]", "id") => "give the root a name for rules to use",
        ("[[root]]", "type") => TYPES,
        ("[[root]]", "server") => "the address of the notary server, as https://notary.example",
        ("[[root]]", "keys") => {
            "list the PEM files of the pinned keys; a notary root takes canonical key IDs too"
        }
        ("[[root]]", "certificates") => {
            "list the PEM files of the pinned certificates, of an authority or of signers"
        }
        ("[[root]]", "role") => ROLES,
        ("[[root]]", "file") => "the root file to begin with, as roots/acme.root.json",
        ("[[root]]", "sha256") => "the digest of that file, as sha256sum prints it",
        ("[[rule]]", "match") => "the names that it is for, as registry.example/team/**",
        ("[[rule]]", "roots") => "the ids of the roots to ask; [] refuses the names",
        ("[[image]]", "name") => NAME,
        ("[[image]]", "digest") => DIGEST,
        ("[[exempt]]", "match") => "the names that it is for, as registry.example/legacy/app",
        ("[[exempt]]", "until") => "when it ends, as 2027-01-31T00:00:00Z",
        ("[[allow-lint]]", "code") => "a code that `rootpin policy lint` shows",
        ("[[exempt]]" | "[[revoked]]" | "[[allow-lint]]", "reason") => REASON,
        _ => return None,
    })
}

//! What `rootpin policy lint` may find, and `[[allow-lint]]` may allow.

rootpin_trust::codes! {
    /// The kind of a finding of `rootpin policy lint`. docs/policy-tools.md explains them.
    pub enum LintCode;
    AuditMode = "audit-mode", "audit mode has no end";
    EndsLate = "ends-late", "an exemption or an audit lasts long";
    EndsSoon = "ends-soon", "an exemption or an audit ends within two weeks, or has ended";
    KeyExpiring = "key-expiring", "a certificate whose dates count ends within 30 days";
    MovedTags = "moved-tags", "a tag may be moved to other bytes that the same keys signed";
    NoCodeSigning = "no-code-signing", "a pinned authority whose purposes leave out code signing";
    NoMaxAge = "no-max-age", "only the publisher says how old a tag's metadata may be";
    NoSource = "no-source", "a root has no place to read metadata from";
    OpensUntil = "opens-until", "until its audit-until, a rule lets in what another entry refuses";
    Redundant = "redundant", "a rule says what the rule below it says";
    RootExpiring = "root-expiring", "a root file has expired, or does within 30 days";
    Shadowed = "shadowed", "another entry decides about all names of this one";
    SharedSigner = "shared-signer", "a Notary signer's key serves several repositories";
    Unmet = "unmet", "no image of the inventory meets an entry";
    Unreachable = "unreachable", "a rule that nothing can satisfy";
    UnusedAllow = "unused-allow", "an [[allow-lint]] that allows nothing";
    WeakKey = "weak-key", "a pinned RSA key of less than 3072 bits";
    WeakScheme = "weak-scheme", "signatures by RSA PKCS#1 v1.5 count";
}

impl LintCode {
    /// The code of that name.
    #[must_use]
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|code| code.as_str() == name)
    }
}

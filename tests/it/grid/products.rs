//! Which combinations of facts are asked about: products around one that is usual, so that each cell
//! says something that its neighbours don't.

use std::collections::BTreeSet;

use super::model::{Bytes, Clock, Entry, Facts, Keys, Modes, Names, Origin, Revoked, Root, Source};

/// A signed image, pulled by its tag, under one rule.
const USUAL: Facts = Facts {
    entry: Entry::Rule,
    modes: Modes::Enforce,
    keys: Keys::None,
    revoked: Revoked::Nothing,
    names: Names::Tag,
    bytes: Bytes::Signed,
    source: Source::Asked,
    origin: Origin::Registry,
    root: Root::Good,
    clock: Clock::Right,
};

/// A product of some facts around [`USUAL`].
struct Product(Vec<Facts>);

impl Product {
    fn usual() -> Self {
        Self(vec![USUAL])
    }

    fn over<T: Copy>(self, values: &[T], set: impl Fn(&mut Facts, T)) -> Self {
        let mut product = Vec::with_capacity(self.0.len() * values.len());
        for facts in self.0 {
            for value in values {
                let mut facts = facts;
                set(&mut facts, *value);
                product.push(facts);
            }
        }
        Self(product)
    }

    fn entries(self, values: &[Entry]) -> Self {
        self.over(values, |facts, value| facts.entry = value)
    }

    fn modes(self, values: &[Modes]) -> Self {
        self.over(values, |facts, value| facts.modes = value)
    }

    fn keys(self, values: &[Keys]) -> Self {
        self.over(values, |facts, value| facts.keys = value)
    }

    fn revoked(self, values: &[Revoked]) -> Self {
        self.over(values, |facts, value| facts.revoked = value)
    }

    fn names(self, values: &[Names]) -> Self {
        self.over(values, |facts, value| facts.names = value)
    }

    fn bytes(self, values: &[Bytes]) -> Self {
        self.over(values, |facts, value| facts.bytes = value)
    }

    fn told(self, values: &[(Source, Origin)]) -> Self {
        self.over(values, |facts, value| {
            (facts.source, facts.origin) = value;
        })
    }

    fn roots(self, values: &[Root]) -> Self {
        self.over(values, |facts, value| facts.root = value)
    }

    fn clock(self, values: &[Clock]) -> Self {
        self.over(values, |facts, value| facts.clock = value)
    }
}

/// Every combination that is asked about, each once.
pub(super) fn all() -> BTreeSet<Facts> {
    let mut all = BTreeSet::new();
    for product in [
        names_and_bytes(),
        modes(),
        origins(),
        nameless(),
        sources_of_names(),
        several_names(),
        roots(),
        revocations(),
        clocks(),
        docker(),
        trials(),
        break_glass(),
        signatures(),
    ] {
        all.extend(product.into_iter().filter(is_meaningful));
    }
    all
}

/// Whether each fact makes a difference to the rest.
fn is_meaningful(facts: &Facts) -> bool {
    let by_rule = matches!(
        facts.modes,
        Modes::Stricter | Modes::Trial | Modes::TrialOver
    ) || facts.root != Root::Good
        || facts.revoked == Revoked::Key;
    (!by_rule || facts.entry.word().contains("rule"))
        // An uncovered name is uncovered whatever the bytes.
        && (facts.names != Names::Free || facts.bytes == Bytes::Signed || facts.origin == Origin::Local)
        && (facts.names != Names::Unsigned || facts.bytes != Bytes::Older)
}

fn names_and_bytes() -> Vec<Facts> {
    use Names::{Both, Digest, Free, Unsigned, Wrong};
    let (signed, unsigned) = (Bytes::Signed, Bytes::Other);
    let few = [
        Entry::None,
        Entry::Rule,
        Entry::Image,
        Entry::ExemptDigest,
        Entry::RuleExempt,
    ];
    let manifests = [
        Entry::Rule,
        Entry::QuorumNone,
        Entry::ImageManifest,
        Entry::ExemptManifest,
        Entry::RuleExemptManifest,
    ];
    [
        Product::usual()
            .entries(Entry::ALL)
            .bytes(&[signed, unsigned, Bytes::Platform]),
        Product::usual()
            .entries(&manifests)
            .bytes(&[Bytes::Older, Bytes::Second, Bytes::Unlisted]),
        Product::usual()
            .entries(Entry::ALL)
            .names(&[Digest])
            .bytes(&[signed, unsigned]),
        Product::usual()
            .entries(&[Entry::Rule, Entry::Image, Entry::ImageManifest])
            .names(&[Digest])
            .bytes(&[Bytes::Older, Bytes::Platform, Bytes::Unlisted]),
        Product::usual()
            .entries(&few)
            .names(&[Both])
            .bytes(&[signed, unsigned]),
        Product::usual()
            .entries(&few)
            .names(&[Wrong, Unsigned, Free]),
    ]
    .map(|product| product.0)
    .concat()
}

fn modes() -> Vec<Facts> {
    use Entry::{ExemptOver, Image, None, Rule, RuleExemptDigest};
    let entries = [None, Rule, Image, ExemptOver, RuleExemptDigest];
    let modes = [Modes::Audit, Modes::Stricter];
    let one = Product::usual()
        .entries(&entries)
        .modes(&modes)
        .bytes(&[Bytes::Signed, Bytes::Other]);
    let two = Product::usual()
        .entries(&entries)
        .modes(&modes)
        .names(&[Names::TagFree, Names::OpsTag])
        .bytes(&[Bytes::Other]);
    // Which of several modes holds: that of a name, of the strictest of them, or of any rule.
    let which = Product::usual()
        .modes(&modes)
        .names(&[Names::FreeTag, Names::Free])
        .bytes(&[Bytes::Signed, Bytes::Other]);
    let nameless = Product::usual()
        .modes(&modes)
        .names(&[Names::Nothing])
        .bytes(&[Bytes::Other])
        .told(NAMELESS);
    [one.0, two.0, which.0, nameless.0].concat()
}

const NAMELESS: &[(Source, Origin)] = &[
    (Source::Label, Origin::Registry),
    (Source::Nothing, Origin::Elsewhere),
    (Source::Nothing, Origin::Local),
    (Source::Nothing, Origin::Unknown),
];

const ORIGINS: &[(Source, Origin)] = &[
    (Source::Asked, Origin::Elsewhere),
    (Source::Record, Origin::Registry),
    (Source::Record, Origin::Elsewhere),
    (Source::Record, Origin::Local),
    (Source::Record, Origin::Unknown),
];

fn origins() -> Vec<Facts> {
    use Entry::{Exempt, Image, None, Rule};
    let entries = [None, Rule, Image, Exempt];
    let unsigned = Product::usual()
        .entries(&entries)
        .keys(&[Keys::None, Keys::Local])
        .bytes(&[Bytes::Other])
        .told(ORIGINS);
    let signed = Product::usual().entries(&entries).told(ORIGINS);
    let uncovered = Product::usual()
        .keys(&[Keys::None, Keys::Local, Keys::Elsewhere])
        .names(&[Names::Free])
        .told(ORIGINS);
    [unsigned.0, signed.0, uncovered.0].concat()
}

fn nameless() -> Vec<Facts> {
    use Entry::{Exempt, Image, None, Rule, RuleExempt};
    let labels = Product::usual()
        .entries(&[None, Rule, RuleExempt])
        .modes(&[Modes::Enforce, Modes::Audit, Modes::Stricter])
        .names(&[Names::TwoLabels])
        .bytes(&[Bytes::Signed, Bytes::Other])
        .told(&[(Source::Label, Origin::Registry)]);
    let one = Product::usual()
        .entries(&[None, Rule, Image, Exempt, RuleExempt])
        .keys(&[Keys::None, Keys::Local])
        .names(&[Names::Nothing])
        .told(NAMELESS);
    [labels.0, one.0].concat()
}

fn sources_of_names() -> Vec<Facts> {
    use Entry::{Exempt, ExemptDigest, ImageExempt, RuleExempt};
    Product::usual()
        .entries(&[Exempt, ExemptDigest, ImageExempt, RuleExempt])
        .bytes(&[Bytes::Signed, Bytes::Other])
        .told(&[
            (Source::Asked, Origin::Elsewhere),
            (Source::Record, Origin::Registry),
            (Source::Import, Origin::Local),
            (Source::Ledger, Origin::Elsewhere),
        ])
        .0
}

fn several_names() -> Vec<Facts> {
    use Entry::{None, Rule, RuleExempt};
    let two = [Names::TagFree, Names::FreeTag, Names::TagOps, Names::OpsTag];
    let pulled = Product::usual()
        .entries(&[None, Rule, RuleExempt])
        .names(&two)
        .bytes(&[Bytes::Signed, Bytes::Other]);
    let loaded = Product::usual()
        .entries(&[None, Rule])
        .keys(&[Keys::Local])
        .names(&two)
        .bytes(&[Bytes::Other])
        .told(&[(Source::Record, Origin::Local)]);
    let many = Product::usual().names(&[Names::Sixteen, Names::Seventeen]);
    [pulled.0, loaded.0, many.0].concat()
}

fn roots() -> Vec<Facts> {
    use Entry::{Quorum, Rule, RuleExempt, RuleExemptManifest};
    let roots = [Root::Silent, Root::Cached, Root::Expired, Root::Bad];
    let entries = Product::usual()
        .entries(&[Rule, Quorum, RuleExempt, RuleExemptManifest])
        .bytes(&[Bytes::Signed, Bytes::Other])
        .roots(&roots);
    let names = Product::usual()
        .names(&[Names::Digest, Names::Unsigned])
        .roots(&roots);
    [entries.0, names.0].concat()
}

fn revocations() -> Vec<Facts> {
    use Entry::{Exempt, Image, None, Rule, RuleExempt};
    let all = &Revoked::ALL[1..];
    let local = (Source::Record, Origin::Local);
    [
        Product::usual().entries(&[None, Rule, Image, Exempt, RuleExempt]),
        Product::usual().names(&[Names::Digest, Names::Free, Names::TagFree]),
        Product::usual()
            .keys(&[Keys::Local])
            .names(&[Names::Tag, Names::Free])
            .told(&[local]),
        Product::usual().told(&[(Source::Ledger, Origin::Elsewhere)]),
        Product::usual()
            .keys(&[Keys::Local])
            .names(&[Names::Nothing])
            .told(&[
                (Source::Label, Origin::Registry),
                (Source::Nothing, Origin::Local),
            ]),
        Product::usual()
            .entries(&[Rule, Exempt])
            .modes(&[Modes::Audit, Modes::Stricter]),
    ]
    .map(|product| product.revoked(all).0)
    .concat()
}

fn clocks() -> Vec<Facts> {
    use Entry::{Exempt, ExemptOver, Image, None, Rule, RuleExempt, RuleExemptDigest};
    Product::usual()
        .entries(&[
            None,
            Rule,
            Image,
            Exempt,
            ExemptOver,
            RuleExempt,
            RuleExemptDigest,
        ])
        .told(&[
            (Source::Asked, Origin::Registry),
            (Source::Record, Origin::Local),
        ])
        .clock(&[Clock::Early])
        .0
}

/// `audit-until`, of a rule and of the policy: what it lets through, what it doesn't, and after.
fn trials() -> Vec<Facts> {
    use Entry::{ImageRule, Quorum, Rule, RuleExemptDigest};
    let local = (Source::Record, Origin::Local);
    [
        Product::usual()
            .entries(&[Rule, Quorum, ImageRule, RuleExemptDigest])
            .modes(&[Modes::Trial, Modes::TrialOver, Modes::AuditOver])
            .bytes(&[Bytes::Signed, Bytes::Other]),
        Product::usual()
            .modes(&[Modes::Trial])
            .names(&[Names::Wrong, Names::Unsigned, Names::TagFree, Names::OpsTag])
            .bytes(&[Bytes::Other]),
        Product::usual()
            .entries(&[Rule, RuleExemptDigest])
            .modes(&[Modes::Trial])
            .revoked(Revoked::ALL),
        Product::usual()
            .modes(&[Modes::Trial])
            .roots(&[Root::Silent, Root::Expired, Root::Bad]),
        Product::usual()
            .modes(&[Modes::Trial])
            .bytes(&[Bytes::Other])
            .clock(&[Clock::Right, Clock::Early])
            .told(&[(Source::Asked, Origin::Registry), local]),
        Product::usual()
            .modes(&[Modes::Trial])
            .names(&[Names::Nothing])
            .bytes(&[Bytes::Other])
            .told(NAMELESS),
    ]
    .map(|product| product.0)
    .concat()
}

/// Roots that read signatures beside an image: alone, with a root of metadata, and instead of one.
fn signatures() -> Vec<Facts> {
    use Entry::{Cosign, CosignAndTuf, CosignOrTuf, CosignTag, Notation, NotationAndTuf};
    let all = [
        Cosign,
        CosignTag,
        Notation,
        CosignAndTuf,
        NotationAndTuf,
        CosignOrTuf,
    ];
    let mixed = [CosignAndTuf, NotationAndTuf, CosignOrTuf];
    let bytes = [Bytes::Signed, Bytes::Older, Bytes::Other];
    [
        // A tag that was moved to other bytes of the same keys.
        Product::usual().entries(&all).bytes(&bytes),
        Product::usual().entries(&all).names(&[
            Names::Unsigned,
            Names::Both,
            Names::Wrong,
            Names::TagFree,
        ]),
        Product::usual()
            .entries(&all)
            .bytes(&[Bytes::Second, Bytes::Unlisted, Bytes::Platform]),
        Product::usual()
            .entries(&all)
            .modes(&[Modes::Audit, Modes::Stricter, Modes::Trial])
            .bytes(&[Bytes::Other]),
        Product::usual().entries(&all).revoked(&Revoked::ALL[1..]),
        Product::usual()
            .entries(&mixed)
            .bytes(&[Bytes::Signed, Bytes::Other])
            .roots(&[Root::Silent, Root::Cached, Root::Expired, Root::Bad]),
        Product::usual().entries(&all).told(&[
            (Source::Record, Origin::Registry),
            (Source::Record, Origin::Local),
            (Source::Ledger, Origin::Elsewhere),
        ]),
    ]
    .map(|product| product.0)
    .concat()
}

fn docker() -> Vec<Facts> {
    use Entry::{Exempt, None, Rule};
    let modes = [Modes::Enforce, Modes::Stricter];
    let pulls = Product::usual()
        .entries(&[Rule, Exempt])
        .keys(&[Keys::Docker])
        .modes(&modes)
        .names(&[Names::Tag, Names::Digest]);
    let others = Product::usual()
        .entries(&[None, Rule, Exempt])
        .keys(&[Keys::None, Keys::Docker, Keys::DockerLocal])
        .modes(&modes)
        .names(&[Names::Tag, Names::Free])
        .bytes(&[Bytes::Other])
        .told(&[(Source::Record, Origin::Local)]);
    [pulls.0, others.0].concat()
}

fn break_glass() -> Vec<Facts> {
    use Entry::{ExemptOver, Image, ImageRule, None, Rule, RuleExemptDigest};
    let glasses = [Modes::Glass, Modes::GlassApp, Modes::GlassOps];
    let bytes = [Bytes::Signed, Bytes::Other];
    let all = &Revoked::ALL[1..];
    [
        Product::usual()
            .entries(&[None, Rule, Image, ImageRule, ExemptOver, RuleExemptDigest])
            .bytes(&bytes),
        Product::usual()
            .names(&[Names::Wrong, Names::Unsigned, Names::Free])
            .bytes(&bytes),
        Product::usual()
            .names(&[Names::TagFree, Names::FreeTag, Names::TagOps, Names::OpsTag])
            .bytes(&[Bytes::Other]),
        Product::usual()
            .names(&[Names::Nothing])
            .bytes(&[Bytes::Other])
            .told(NAMELESS),
        Product::usual()
            .entries(&[None, Rule])
            .bytes(&[Bytes::Other])
            .told(ORIGINS),
        Product::usual().entries(&[None, Rule, Image]).revoked(all),
        Product::usual()
            .keys(&[Keys::None, Keys::Local])
            .names(&[Names::Free, Names::Nothing])
            .told(&[(Source::Nothing, Origin::Local)])
            .revoked(all),
        Product::usual().roots(&[Root::Silent, Root::Expired, Root::Bad]),
        Product::usual()
            .bytes(&[Bytes::Other])
            .clock(&[Clock::Early]),
        Product::usual()
            .keys(&[Keys::None, Keys::Docker])
            .names(&[Names::Tag, Names::Free])
            .bytes(&[Bytes::Other])
            .told(&[(Source::Record, Origin::Local)]),
    ]
    .map(|product| product.modes(&glasses).0)
    .concat()
}

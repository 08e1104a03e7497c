//! The questions of doors: full names, proved chains, and who says that they belong together.

use std::fmt;
use std::time::Instant;

use rootpin_policy::judge::{Action, NameSource, NamedBytes, Origin, Question};
use rootpin_trust::image::{Chain, Descriptor, Digest, ImageRef};

/// Where a question came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// The diff proxy that unpacks for `unpack_config`.
    Apply,
    /// Docker's authorization plugin.
    Authz,
    /// The kubelet's credential provider.
    Credentials,
    /// The diff proxy that stands first in the diff-service.
    Gate,
    /// The registry endpoint that engines find by `hosts.toml`.
    Resolver,
    /// The run time: containerd's NRI.
    Run,
    /// Names that are there already: image events and sweeps.
    Sweep,
    /// A person or a job: `rootpin verify`.
    Verify,
    /// containerd's image verifier.
    Verifier,
}

/// May this name be pulled as this digest?
#[derive(Debug, Clone)]
pub struct Pull {
    /// The verifier or the command line.
    pub door: Door,
    /// The name as asked.
    pub name: ImageRef,
    /// What the registry says it is.
    pub digest: Digest,
}

/// A name for an image that holds the layer.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who says so.
    pub told_by: NameSource,
    /// The name; without tag and digest where only the repository is known.
    pub name: ImageRef,
    /// The proof that the layer is part of it.
    pub chain: Chain,
}

/// What one namespace knows of a layer.
#[derive(Debug, Clone)]
pub struct NamespaceView {
    /// containerd's namespace.
    pub namespace: String,
    /// Every image in the namespace that the layer is proved to be part of.
    pub chains: Vec<Chain>,
    /// Names for them, the more trusted tellers first.
    pub claims: Vec<Claim>,
    /// Whether any sign says that the layer, or a document above it, was fetched from a registry.
    pub from_registry: bool,
    /// Whether more may lie above the layer than was looked at, and so a name that a rule covers.
    pub is_cut_short: bool,
    /// Blobs of the same files in another compression, of which this layer may have been made here,
    /// and what is known of each.
    pub variants: Vec<(Digest, NamespaceView)>,
}

/// May this layer be unpacked?
#[derive(Debug, Clone)]
pub struct Unpack {
    /// The gate or the applying gate.
    pub door: Door,
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// The layer, as the engine describes it.
    pub layer: Descriptor,
    /// Every namespace that is meant, each of which must allow it.
    pub places: Vec<NamespaceView>,
    /// When the question came in: its deadline and the time it took count from there.
    pub begun: Instant,
}

impl Door {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Authz => "authz",
            Self::Credentials => "credentials",
            Self::Gate => "gate",
            Self::Resolver => "resolver",
            Self::Run => "run",
            Self::Sweep => "sweep",
            Self::Verify => "verify",
            Self::Verifier => "verifier",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl NamespaceView {
    /// The judge's question about these bytes, `shown`, in this namespace.
    pub(super) fn question(&self, action: &Action, bytes: Digest, shown: String) -> Question {
        let variant = |(digest, variant): &(Digest, NamespaceView)| {
            let shown =
                format!("layer {digest}, which the layer was made of by compressing it anew,");
            variant.question(action, *digest, shown)
        };
        Question {
            bytes: vec![bytes],
            names: self.claims.iter().map(Claim::named_bytes).collect(),
            origin: match (self.from_registry, self.is_cut_short) {
                (true, _) => Origin::Registry,
                (false, true) => Origin::Unknown,
                (false, false) => Origin::Local,
            },
            images: self.chains.iter().map(revocable).collect(),
            variants: self.variants.iter().map(variant).collect(),
            ..Question::of(action.clone(), shown, self.namespace.clone())
        }
    }
}

impl Claim {
    fn named_bytes(&self) -> NamedBytes {
        NamedBytes {
            name: self.name.clone(),
            source: self.told_by,
            top: self.chain.top(),
            manifests: vec![self.chain.manifest()],
            contents: revocable(&self.chain),
        }
    }
}

/// What `[[revoked]]` looks at: every index on the way, manifest, configuration and every layer.
pub(super) fn revocable(chain: &Chain) -> Vec<Digest> {
    chain.digests()
}

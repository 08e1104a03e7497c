//! What a door asks: full names, proved chains, and who says that they belong together.

use std::fmt;
use std::time::Instant;

use rootpin_trust::image::{Chain, Descriptor, Digest, ImageRef};

/// Where a question came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// The diff proxy that unpacks for `unpack_config`.
    Apply,
    /// Docker's authorization plugin.
    Authz,
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

/// Who told a name, in the order in which they are believed. All but the client's own word are
/// hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToldBy {
    /// The one who asks to pull it.
    Client,
    /// An annotation on the layer: docker and CRI write it, and so can whoever made the manifest.
    Annotation,
    /// An image record of the namespace, written by the client.
    Record,
    /// An annotation in an imported archive's index.
    Import,
    /// A question that the image verifier asked before.
    Ledger,
    /// The registry and repository that the blob was fetched from: a name without a tag.
    Source,
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
    pub told_by: ToldBy,
    /// The name; without tag and digest where only the repository is known.
    pub name: ImageRef,
    /// The proof that the layer is part of it.
    pub chain: Chain,
}

/// What one namespace knows of a layer.
#[derive(Debug, Clone)]
pub struct Place {
    /// containerd's namespace.
    pub namespace: String,
    /// Every image in the namespace that the layer is proved to be part of.
    pub chains: Vec<Chain>,
    /// Names for them, the more trusted tellers first.
    pub claims: Vec<Claim>,
    /// Whether any sign says that the layer, or a document above it, was fetched from a registry.
    pub from_registry: bool,
    /// Blobs of the same files in another compression, of which this layer may have been made here,
    /// and what is known of each.
    pub variants: Vec<(Digest, Place)>,
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
    pub places: Vec<Place>,
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

impl fmt::Display for ToldBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "asked",
            Self::Annotation => "layer annotation",
            Self::Record => "image record",
            Self::Import => "import index",
            Self::Ledger => "earlier pull",
            Self::Source => "source label",
        })
    }
}

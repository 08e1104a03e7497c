//! What a door asks: bytes, the names that stand for them, and who says so.

use std::fmt;

use rootpin_trust::image::{Digest, ImageRef};

/// What an engine is about to do. It decides nothing of who may sign; rules of docs/policy.md that
/// hold for some actions only name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pull a name as a digest.
    Pull,
    /// Unpack a layer.
    Unpack,
    /// Run a container.
    Run,
    /// Use an image that dockerd has: make or start a container, push it.
    Create,
    /// Give an image that dockerd has one more name.
    Tag,
    /// Make an image, or a container, of bytes of no registry, under these names.
    Make(Vec<ImageRef>),
    /// Keep a name that an engine has.
    Resident,
    /// Use Swarm.
    Swarm,
    /// Bring in or run a plugin of dockerd.
    Plugin,
}

/// Where a name comes from, the most believed first. The first source that gives any name decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The client asks to pull it.
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

/// Where bytes come from, as far as the engine shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a registry, by any sign.
    Registry,
    /// From no registry.
    Local,
    /// Not looked up.
    Unknown,
}

/// A name that is to stand for some bytes.
#[derive(Debug, Clone)]
pub struct NamedBytes {
    /// The name; without tag and digest where only the repository is known.
    pub name: ImageRef,
    /// Who says so.
    pub source: NameSource,
    /// The digest of the index or manifest that the name must stand for.
    pub top: Digest,
    /// The platforms' manifests that are meant, where they are known: all of those that are here.
    pub manifests: Vec<Digest>,
    /// All that the image is known to be made of, for `[[revoked]]`.
    pub contents: Vec<Digest>,
}

/// What a door asks. What differs between doors is data here, and never another procedure.
#[derive(Debug, Clone)]
pub struct Question {
    /// What the engine is about to do.
    pub action: Action,
    /// What is asked about, for people: `layer sha256:…`.
    pub shown: String,
    /// The digests of what is asked about, whatever its names are.
    pub bytes: Vec<Digest>,
    /// The names that stand for it.
    pub names: Vec<NamedBytes>,
    /// Where it comes from.
    pub origin: Origin,
    /// containerd's namespace, for `[local]`.
    pub namespace: String,
    /// What each image that the bytes are proved to be part of is made of.
    pub images: Vec<Vec<Digest>>,
    /// The same question of each blob that these bytes may have been made of here, by compressing
    /// it anew.
    pub variants: Vec<Question>,
}

impl Action {
    /// Whether dockerd is to use an image that it has, under a name.
    pub(super) fn is_of_dockerd(&self) -> bool {
        matches!(self, Self::Create | Self::Tag)
    }
}

impl Question {
    /// A question about bytes that no engine has yet.
    #[must_use]
    pub fn pull(name: ImageRef, digest: Digest) -> Self {
        Self {
            bytes: vec![digest],
            names: vec![NamedBytes {
                name,
                source: NameSource::Client,
                top: digest,
                manifests: Vec::new(),
                contents: Vec::new(),
            }],
            origin: Origin::Registry,
            ..Self::of(Action::Pull, digest.to_string(), String::new())
        }
    }

    /// A question about nothing that has a name.
    #[must_use]
    pub fn of(action: Action, shown: String, namespace: String) -> Self {
        Self {
            action,
            shown,
            bytes: Vec::new(),
            names: Vec::new(),
            origin: Origin::Local,
            namespace,
            images: Vec::new(),
            variants: Vec::new(),
        }
    }
}

impl NamedBytes {
    /// Whether a list of digests speaks for the bytes: it has the index, or each platform's
    /// manifest that is meant.
    pub(super) fn is_listed(&self, listed: impl Fn(&Digest) -> bool) -> bool {
        listed(&self.top) || (!self.manifests.is_empty() && self.manifests.iter().all(listed))
    }
}

impl fmt::Display for NameSource {
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

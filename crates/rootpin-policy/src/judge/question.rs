//! A door's question: bytes, the names that they go by, and who gives those names.

use rootpin_trust::image::{Digest, ImageRef, Tag};

/// What an engine is about to do. It says nothing about who may sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Action {
    /// Pull a name as a digest.
    #[default]
    Pull,
    /// Find the digest to use for a tag.
    Resolve(ImageRef),
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

/// Who gives a name, the most believed first. The first source that gives any name decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The client asks to pull it.
    Client,
    /// An annotation on the layer: docker and CRI write it, and so can the manifest's author.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// From a registry, by any sign.
    Registry,
    /// From no registry.
    #[default]
    Local,
    /// Not looked up, or not all that lies above them was.
    Unknown,
}

/// A name, and the bytes that it would be used for.
#[derive(Debug, Clone)]
pub struct NamedBytes {
    /// The name; without tag and digest where only the repository is known.
    pub name: ImageRef,
    /// Who gives the name.
    pub source: NameSource,
    /// The digest of the index or manifest.
    pub top: Digest,
    /// The manifests of the platforms that are meant, as far as they are known.
    pub manifests: Vec<Digest>,
    /// All that the image is known to be made of, for `[[revoked]]`.
    pub contents: Vec<Digest>,
}

/// What a door asks.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// What the engine is about to do.
    pub action: Action,
    /// The bytes in words, for messages: `layer sha256:…`.
    pub shown: String,
    /// The digests of the bytes, whatever their names are.
    pub bytes: Vec<Digest>,
    /// The names of the bytes.
    pub names: Vec<NamedBytes>,
    /// Where the bytes come from.
    pub origin: Origin,
    /// containerd's namespace, for `[local]`.
    pub namespace: String,
    /// The digests of each image that the bytes are proved to be part of.
    pub images: Vec<Vec<Digest>>,
    /// The same question about each blob that these bytes may have been made of on this host, by
    /// compressing it anew.
    pub variants: Vec<Question>,
}

/// What a root's signed metadata is looked through for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sought<'a> {
    /// Whatever digest is signed for the tag.
    Tagged(&'a Tag),
    /// This digest, under the tag; under any, if there is none.
    Bytes(Option<&'a Tag>, Digest),
}

impl Action {
    /// Whether dockerd uses an image that it has, under a name.
    pub(super) fn is_of_dockerd(&self) -> bool {
        matches!(self, Self::Create | Self::Tag)
    }
}

impl NameSource {
    /// Whether the source shows that a registry was asked for the name.
    pub(super) fn is_registry(self) -> bool {
        matches!(self, Self::Client | Self::Source)
    }
}

impl Question {
    /// A question about bytes that no engine has yet.
    #[must_use]
    pub fn pull(name: ImageRef, digest: Digest) -> Self {
        let mut question = Self::of(Action::Pull, digest.to_string(), String::new());
        question.origin = Origin::Registry;
        question.bytes.push(digest);
        question.names.push(NamedBytes {
            name,
            source: NameSource::Client,
            top: digest,
            manifests: Vec::new(),
            contents: Vec::new(),
        });
        question
    }

    /// A question about local bytes without names.
    #[must_use]
    pub fn of(action: Action, shown: String, namespace: String) -> Self {
        Self {
            action,
            shown,
            namespace,
            ..Self::default()
        }
    }
}

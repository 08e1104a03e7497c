//! The question that a host answered, as far as a report, or a line of an audit file, tells it.

use std::borrow::Cow;

use rootpin_policy::judge::{Action, NameSource, NamedBytes, Origin, Question};
use rootpin_trust::image::{Digest, ImageRef};

/// The question that a host answered, as far as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// Whether the name may be pulled as the digest.
    Pull,
    /// Whether bytes of no registry may be used in each of these namespaces of containerd.
    Local(Vec<String>),
    /// A question of a door that knows other names of the image, what it is made of and where it
    /// comes from. `of_docker`: it may have been dockerd's pull of a tag.
    OfDoor { of_docker: bool },
}

impl Asked {
    /// By a line's door, ground and namespaces.
    pub(super) fn at(door: &str, ground: Option<&str>, namespaces: Vec<Cow<'_, str>>) -> Self {
        match (door, ground) {
            (_, Some("local")) => {
                Self::Local(namespaces.into_iter().map(Cow::into_owned).collect())
            }
            ("resolver" | "verifier" | "verify", _) => Self::Pull,
            _ => Self::OfDoor {
                of_docker: door == "authz",
            },
        }
    }

    /// The judge's questions, each of which must be answered by yes.
    pub(super) fn questions(&self, name: &ImageRef, digest: Digest) -> Vec<Question> {
        match self {
            Self::Pull | Self::OfDoor { .. } => vec![Question::pull(name.clone(), digest)],
            Self::Local(namespaces) => namespaces
                .iter()
                .map(|namespace| local(name, digest, namespace))
                .collect(),
        }
    }
}

fn local(name: &ImageRef, digest: Digest, namespace: &str) -> Question {
    let named = NamedBytes {
        name: name.clone(),
        source: NameSource::Record,
        top: digest,
        manifests: Vec::new(),
        contents: Vec::new(),
    };
    Question {
        bytes: vec![digest],
        names: vec![named],
        origin: Origin::Local,
        ..Question::of(Action::Resident, digest.to_string(), namespace.to_owned())
    }
}

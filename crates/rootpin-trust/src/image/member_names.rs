//! Engines read manifests by Go's `encoding/json`, which takes a member by its name without regard to
//! case, and the last of several. A document with such a name would be another one to them.

use crate::canonical::Text;

/// The members that containerd and dockerd read of a manifest, an index and their descriptors (OCI
/// image-spec; `images.validateMediaType` of containerd; distribution's schema 1).
const KNOWN: [&str; 19] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "config",
    "layers",
    "subject",
    "annotations",
    "fsLayers",
    "history",
    "signatures",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "variant",
];

/// Whether a member has the name of a known one in other letters, anywhere but in annotations, whose
/// names are free.
pub(super) fn are_ambiguous(value: Text<'_>) -> bool {
    if let Some(elements) = value.elements() {
        return elements.into_iter().any(are_ambiguous);
    }
    let members = value.members().into_iter().flatten();
    members.into_iter().any(|(name, value)| {
        let known = KNOWN.iter().find(|known| is_same_to_go(&name, known));
        known.is_some_and(|known| *known != name) || (name != "annotations" && are_ambiguous(value))
    })
}

/// Whether Go's `encoding/json` takes a member of one name for a field of the other: letters of ASCII
/// are the same in both cases, and two others fold to one of them (`unicode.SimpleFold`).
#[must_use]
pub fn is_same_to_go(name: &str, field: &str) -> bool {
    let fold = |sign| match sign {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        sign => char::to_ascii_lowercase(&sign),
    };
    name.chars().map(fold).eq(field.chars().map(fold))
}

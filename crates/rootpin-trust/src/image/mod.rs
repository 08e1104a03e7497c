//! Images: names, digests, and the documents that list digests.

mod digest;
mod manifest;
mod member_names;
mod membership;
mod reference;

pub use digest::{Digest, DigestError};
pub use manifest::{Descriptor, Document, IndexEntry, ManifestError};
pub use member_names::is_same_to_go;
pub use membership::{Blob, Chain, MAX_INDEXES};
pub use reference::{ImageRef, ReferenceError, Repository, Tag};

//! What is asked about: names, digests, and the documents that list digests. Pure.

mod digest;
mod files;
mod manifest;
mod membership;
mod reference;
mod rootfs;

pub use digest::{Digest, DigestError};
pub use files::files_of;
pub use manifest::{Descriptor, Document, IndexEntry, ManifestError};
pub use membership::{Blob, Chain, MAX_INDEXES};
pub use reference::{ImageRef, ReferenceError, Repository, Tag, host_name, is_of_host};
pub use rootfs::chain_id;

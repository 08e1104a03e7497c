//! The subjects of a sweep: images, their names, and containers that run.

use std::sync::Arc;

use crate::decide::{ImageName, ResidentImage};
use rootpin_trust::image::Digest;

/// One image, and what its record says of its size.
#[derive(Debug, Clone)]
pub(super) struct SweptImage {
    pub(super) resident: ResidentImage,
    pub(super) size: i64,
    /// Whether a record shows that a registry was asked, though the blobs may not.
    pub(super) is_of_registry: bool,
}

/// A name of an image, as it is found or to go.
#[derive(Debug, Clone)]
pub(super) struct SweptName {
    /// Shared: nothing keeps an image from having a hundred thousand names.
    pub(super) image: Arc<SweptImage>,
    pub(super) named: ImageName,
    /// Whether the same bytes have a name here that is admitted.
    pub(super) admitted_elsewhere: bool,
}

/// What an engine has.
#[derive(Debug, Default)]
pub(super) struct EngineImages {
    pub(super) images: Vec<SweptImage>,
    /// What could not be judged, and why.
    pub(super) odd: Vec<String>,
}

/// Why not all of an image could be looked at.
#[derive(Debug)]
pub(super) enum LookUpError {
    /// The engine failed, and would of the next image, too.
    Engine(String),
    /// It is this image's own fault.
    Image(String),
}

impl From<String> for LookUpError {
    fn from(why: String) -> Self {
        Self::Engine(why)
    }
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunningContainer {
    pub(super) namespace: String,
    pub(super) id: String,
    /// The image's name, as the engine has it; empty where it says none.
    pub(super) image: String,
    /// What that stands for, where it can be told.
    pub(super) digest: Option<Digest>,
}

/// What became of a name that was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removal {
    Removed,
    /// It is gone already, or stands for other bytes by now.
    Changed,
    Refused(String),
}

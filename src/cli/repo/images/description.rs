//! Describes an image from its registry, as the target that is signed.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::super::Here;
use super::super::progress::with_progress;
use super::DEADLINE;
use crate::cli::output::{Output, counted};
use crate::publish::{Activity, PublishError};
use crate::sources::{Description, Sources};
use rootpin_trust::Code;
use rootpin_trust::image::ImageRef;

/// The registry's manifest under that name now.
pub(super) async fn describe(
    here: &Here,
    image: &ImageRef,
    output: Output,
) -> Result<Description, PublishError> {
    let sources = Sources::new(Arc::clone(&here.credentials));
    let activity = Activity::default();
    activity.set(format!("asking the registry for {image}"));
    let described = with_progress(
        output,
        &activity,
        sources.describe(image, Instant::now() + DEADLINE),
    )
    .await;
    described.map_err(|refusal| {
        // The hint of a refusal is for hosts; here no name is taken with a digest in it.
        let hint = match refusal.code {
            Code::NoStatement => {
                "push the image first, or check the name; what is not there yet is signed by: rootpin repo sign NAME:TAG --digest sha256:… --length BYTES"
            }
            Code::SourceDenied => "log in as somebody who may pull there (docker login REGISTRY), or give --docker-config DIR",
            _ => &refusal.hint,
        };
        PublishError::wrong(refusal.found.clone(), hint.to_string())
    })
}

pub(super) fn describing(what: &str, described: &Description) -> Vec<String> {
    let Description {
        digest,
        length,
        media_type,
        manifests,
        ..
    } = described;
    let kind = if media_type.is_empty() {
        String::new()
    } else {
        format!(", {media_type}")
    };
    let platforms = if manifests.is_empty() {
        String::new()
    } else {
        format!(", {}", counted(manifests.len(), "manifest"))
    };
    vec![
        what.to_owned(),
        format!("  {digest}, {length} bytes{kind}{platforms}"),
    ]
}

/// An image as a target.
pub(super) fn target(described: &Description, source: Option<Value>) -> Value {
    let mut about = Map::new();
    if !described.media_type.is_empty() {
        about.insert("mediaType".to_owned(), json!(described.media_type));
    }
    if !described.manifests.is_empty() {
        let manifests: Vec<_> = described
            .manifests
            .iter()
            .map(ToString::to_string)
            .collect();
        about.insert("manifests".to_owned(), json!(manifests));
    }
    about.extend(source.map(|source| ("source".to_owned(), source)));
    let mut target =
        json!({ "length": described.length, "hashes": { "sha256": described.digest.hex() } });
    if let Some(target) = target.as_object_mut().filter(|_| !about.is_empty()) {
        target.insert("custom".to_owned(), json!({ "rootpin": about }));
    }
    target
}

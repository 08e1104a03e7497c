//! The images that an engine has: in every namespace of a containerd, and of a dockerd.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::findings::Untold;
use crate::decide::survey::ImageParts;
use crate::engines::{ContainerdClient, DockerdClient, docker_images, is_id, name_of_record};
use crate::observe::plain;
use rootpin_trust::image::{Digest, ImageRef};

/// An engine whose images are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSocket {
    /// Its name in the report.
    pub name: String,
    /// Which kind.
    pub kind: EngineKind,
    /// Its socket.
    pub socket: PathBuf,
}

/// The kinds of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Asked over gRPC.
    Containerd,
    /// Asked over HTTP.
    Docker,
}

/// One image of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResidentRecord {
    pub(super) engine: String,
    pub(super) namespace: Option<String>,
    /// As the engine has it.
    pub(super) record: String,
    /// The name, where it is one.
    pub(super) name: Option<ImageRef>,
    /// What it stands for at a registry.
    pub(super) digest: Option<Digest>,
}

/// What the engines have.
#[derive(Debug, Default)]
pub(super) struct Residents {
    pub(super) images: Vec<ResidentRecord>,
    /// What each is made of, as far as its engine tells. An image that is not in here may have any
    /// part.
    pub(super) parts: ImageParts,
    pub(super) untold: Vec<Untold>,
}

/// An engine that does not answer must not keep the rest waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of fewer images each document is asked for, and of more all are listed before.
const FEW: usize = 8;

/// All images of these engines. A name that several records of one engine and namespace give to the
/// same bytes stands once.
pub(super) async fn resident(engines: &[EngineSocket]) -> Residents {
    let mut found = Residents::default();
    for engine in engines {
        let subject = format!(
            "{} at {}",
            plain(&engine.name),
            plain(&engine.socket.to_string_lossy())
        );
        let first = found.images.len();
        let late = || format!("no answer within {PATIENCE:?}");
        let listed = tokio::time::timeout(PATIENCE, add(&mut found, engine)).await;
        if let Err(why) = listed.unwrap_or_else(|_| Err(late())) {
            found.images.truncate(first);
            found.untold.push(Untold::new(subject, plain(&why)));
            continue;
        }
        if engine.kind == EngineKind::Containerd {
            let taken = tokio::time::timeout(PATIENCE, take_apart(&mut found, engine, first));
            if let Err(why) = taken.await.unwrap_or_else(|_| Err(late())) {
                let subject = format!("what the images of {subject} are made of");
                found.untold.push(Untold::new(subject, plain(&why)));
            }
        }
    }
    found
}

async fn add(found: &mut Residents, engine: &EngineSocket) -> Result<(), String> {
    match engine.kind {
        EngineKind::Containerd => found.images.extend(of_containerd(engine).await?),
        // dockerd sums up what each image weighs before it answers.
        EngineKind::Docker => {
            for image in docker_images(&DockerdClient::at(&engine.socket, PATIENCE)).await? {
                let id = image.id.parse::<Digest>().ok();
                for (record, name, digest) in image.names {
                    // In the classic store the ID is the config's, and nothing tells its layers.
                    if let (Some(top), Some(config)) = (digest, id.filter(|id| Some(*id) != digest))
                    {
                        found.parts.entry(top).or_default().insert(config);
                    }
                    found.images.push(ResidentRecord {
                        engine: engine.name.clone(),
                        namespace: None,
                        record,
                        name,
                        digest,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Reads what the images of a containerd are made of, as far as it is there. What was read when it
/// takes too long is kept.
async fn take_apart(
    found: &mut Residents,
    engine: &EngineSocket,
    first: usize,
) -> Result<(), String> {
    let containerd = ContainerdClient::at(&engine.socket).map_err(|error| error.to_string())?;
    let mut tops: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for image in found.images.iter().skip(first) {
        let namespace = image.namespace.clone().unwrap_or_default();
        tops.entry(namespace).or_default().extend(image.digest);
    }
    for (namespace, tops) in tops {
        let mut present = if tops.len() > FEW {
            containerd.present(&namespace).await.ok()
        } else {
            None
        };
        for top in tops {
            // The store knows the size better than a record, which anybody may have written.
            let read = containerd.bytes_among(&namespace, top, 0, &mut present);
            let (bytes, whole) = read.await.map_err(said)?;
            let mut parts: BTreeSet<Digest> = bytes.contents.into_iter().collect();
            // One whose own document is gone may be made of anything.
            if parts.remove(&top) {
                match whole {
                    Ok(()) => found.parts.entry(top).or_default().extend(parts),
                    Err(why) => {
                        let subject = format!("what {top} is made of");
                        found.untold.push(Untold::new(subject, why.to_string()));
                    }
                }
            }
        }
    }
    Ok(())
}

async fn of_containerd(engine: &EngineSocket) -> Result<Vec<ResidentRecord>, String> {
    let containerd = ContainerdClient::at(&engine.socket).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for namespace in containerd.namespaces().await.map_err(said)? {
        let records = containerd.resident_images(&namespace).await.map_err(said)?;
        found.extend(
            named(&records)
                .into_iter()
                .map(|(record, name, digest)| ResidentRecord {
                    engine: engine.name.clone(),
                    namespace: Some(namespace.clone()),
                    record,
                    name,
                    digest,
                }),
        );
    }
    Ok(found)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn said(status: tonic::Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

type NamedRecord = (String, Option<ImageRef>, Option<Digest>);

/// Records with their names read. CRI writes one more for each image, whose name is the ID of its
/// config: nobody pulls by that, and the same bytes stand under their real name beside it.
fn named(records: &[(String, String)]) -> Vec<NamedRecord> {
    let read = |(record, digest): &(String, String)| {
        (
            record.clone(),
            name_of_record(record),
            digest.parse::<Digest>().ok(),
        )
    };
    let all: Vec<NamedRecord> = records.iter().map(read).collect();
    let has_name = |digest: &Option<Digest>| {
        all.iter()
            .any(|(_, name, known)| name.is_some() && known == digest)
    };
    all.iter()
        .filter(|(record, name, digest)| name.is_some() || !is_id(record) || !has_name(digest))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_by_id_beside_a_name_for_the_same_bytes_is_left_out_and_one_alone_is_kept() {
        let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
        let record = |name: &str, of: &str| (name.to_owned(), digest(of));
        let records = [
            record("r.example/app:1", "app"),
            record(&digest("config of app"), "app"),
            record(&digest("config of other"), "other"),
            ("r.example/odd:1".to_owned(), "sha512:00".to_owned()),
            // Nobody can have meant it as an ID: it is shown, whatever else stands for the same
            // bytes.
            record("HOST:x/A:1", "app"),
        ];
        let read: Vec<_> = named(&records)
            .into_iter()
            .map(|(record, name, digest)| (record, name.is_some(), digest.is_some()))
            .collect();
        let wanted = [
            ("r.example/app:1".to_owned(), true, true),
            (digest("config of other"), false, true),
            ("r.example/odd:1".to_owned(), true, false),
            ("HOST:x/A:1".to_owned(), false, true),
        ];
        assert_eq!(read, wanted);
    }
}

//! The images that an engine has: in every namespace of a containerd, and of a dockerd.

use std::path::PathBuf;
use std::time::Duration;

use super::findings::Untold;
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

/// An engine that does not answer must not keep the rest waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// All images of these engines. A name that several records of one engine and namespace give to the
/// same bytes stands once.
pub(super) async fn resident(engines: &[EngineSocket]) -> (Vec<ResidentRecord>, Vec<Untold>) {
    let (mut found, mut untold) = (Vec::new(), Vec::new());
    for engine in engines {
        let subject = format!(
            "{} at {}",
            plain(&engine.name),
            plain(&engine.socket.to_string_lossy())
        );
        match tokio::time::timeout(PATIENCE, of(engine)).await {
            Ok(Ok(images)) => found.extend(images),
            Ok(Err(why)) => untold.push(Untold::new(subject, plain(&why))),
            Err(_) => untold.push(Untold::new(
                subject,
                format!("no answer within {PATIENCE:?}"),
            )),
        }
    }
    (found, untold)
}

async fn of(engine: &EngineSocket) -> Result<Vec<ResidentRecord>, String> {
    match engine.kind {
        EngineKind::Containerd => of_containerd(engine).await,
        // dockerd sums up what each image weighs before it answers.
        EngineKind::Docker => Ok(docker_images(&DockerdClient::at(&engine.socket, PATIENCE))
            .await?
            .into_iter()
            .flat_map(|image| image.names)
            .map(|(record, name, digest)| ResidentRecord {
                engine: engine.name.clone(),
                namespace: None,
                record,
                name,
                digest,
            })
            .collect()),
    }
}

async fn of_containerd(engine: &EngineSocket) -> Result<Vec<ResidentRecord>, String> {
    let containerd = ContainerdClient::at(&engine.socket).map_err(|error| error.to_string())?;
    let said = |status: tonic::Status| format!("{}: {}", status.code(), status.message());
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

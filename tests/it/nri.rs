//! The run-time door of the real daemon, asked as containerd's NRI asks, and as nobody should.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use containerd_client::services::v1::Container as Record;
use prost::Message;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::containerd::{Blob, Differ, Held};
use crate::world::{Daemon, Image, PATIENCE, World, blob, indexes_over};

const V1: &str = "r.test/team/app:v1";
const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";
const PAUSE: &str = "pause";

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes, tag = "3")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes, tag = "2")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Configure {
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(int64, tag = "5")]
    request_timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Synchronize {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<Pod>,
    #[prost(message, repeated, tag = "2")]
    containers: Vec<Container>,
    #[prost(bool, tag = "3")]
    more: bool,
}

/// `CreateContainer` has pod and container as its first fields, a change of state as its second and
/// third.
#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(message, optional, tag = "1")]
    pod: Option<Pod>,
    #[prost(message, optional, tag = "2")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct StateChange {
    #[prost(int32, tag = "1")]
    event: i32,
    #[prost(message, optional, tag = "2")]
    pod: Option<Pod>,
    #[prost(message, optional, tag = "3")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Pod {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "6")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(map = "string, string", tag = "6")]
    annotations: HashMap<String, String>,
    #[prost(string, repeated, tag = "7")]
    args: Vec<String>,
    #[prost(message, repeated, tag = "9")]
    mounts: Vec<Mount>,
    #[prost(message, optional, tag = "22")]
    image: Option<StatedImage>,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    destination: String,
    #[prost(string, tag = "3")]
    source: String,
}

/// What containerd from 2.4 on says of a container's image.
#[derive(Clone, PartialEq, Message)]
struct StatedImage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    digest: String,
    #[prost(string, tag = "3")]
    config_digest: String,
}

/// containerd's side of NRI.
struct Nri {
    listener: UnixListener,
}

/// One plugin's connection.
struct Connection {
    stream: UnixStream,
    next: u32,
}

impl Nri {
    fn listen(world: &World) -> Self {
        let _ = std::fs::remove_file(world.path("nri"));
        Self {
            listener: UnixListener::bind(world.path("nri")).unwrap(),
        }
    }

    /// Waits for the plugin, and reads its registration.
    fn accept(&self) -> Connection {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection { stream, next: 1 };
        let (line, kind, stream, body) = connection.read();
        let request = Request::decode(body.as_slice()).unwrap();
        assert_eq!(
            (line, kind, request.method.as_str()),
            (2, 1, "RegisterPlugin")
        );
        assert_eq!(request.payload, b"\x0a\x07rootpin\x12\x0200");
        connection.write(2, 2, stream, &Response::default().encode_to_vec());
        connection
    }

    /// Takes the plugin up, with nothing running.
    fn take_up(&self, request_timeout: i64) -> Connection {
        let mut connection = self.accept();
        let answer = connection.call(
            "Configure",
            &Configure {
                runtime_name: "containerd".to_owned(),
                request_timeout,
            },
        );
        assert_eq!(
            answer.unwrap(),
            b"\x10\x28",
            "CreateContainer and StartContainer"
        );
        assert!(
            connection
                .call("Synchronize", &Synchronize::default())
                .unwrap()
                .is_empty()
        );
        connection
    }
}

impl Connection {
    fn read(&mut self) -> (u32, u8, u32, Vec<u8>) {
        let mut header = [0; 18];
        self.stream.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(number(8)).unwrap()];
        assert_eq!(number(4), number(8) + 10, "one frame a message");
        self.stream.read_exact(&mut body).unwrap();
        (number(0), header[16], number(12), body)
    }

    fn write(&mut self, line: u32, kind: u8, stream: u32, body: &[u8]) {
        let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
        let header = [
            line.to_be_bytes(),
            length(10 + body.len()),
            length(body.len()),
            stream.to_be_bytes(),
        ]
        .concat();
        self.stream
            .write_all(&[&header, &[kind, 0][..], body].concat())
            .unwrap();
    }

    fn ask(&mut self, service: &str, method: &str, payload: Vec<u8>) -> u32 {
        let stream = self.next;
        self.next += 2;
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
        };
        self.write(1, 1, stream, &request.encode_to_vec());
        stream
    }

    fn answer(&mut self, stream: u32) -> Result<Vec<u8>, (i32, String)> {
        let (line, kind, answered, body) = self.read();
        assert_eq!((line, kind, answered), (1, 2, stream));
        let response = Response::decode(body.as_slice()).unwrap();
        response.status.map_or(Ok(response.payload), |status| {
            Err((status.code, status.message))
        })
    }

    fn call(&mut self, method: &str, payload: &impl Message) -> Result<Vec<u8>, (i32, String)> {
        let stream = self.ask(PLUGIN, method, payload.encode_to_vec());
        self.answer(stream)
    }

    fn create(&mut self, id: &str) -> Result<Vec<u8>, (i32, String)> {
        self.call("CreateContainer", &create(id))
    }

    /// Makes a container with an image volume.
    fn mount(&mut self, id: &str, source: &str) -> Result<Vec<u8>, (i32, String)> {
        let mut question = create(id);
        let (destination, source) = ("/models".to_owned(), source.to_owned());
        let mount = Mount {
            destination,
            source,
        };
        question.container.as_mut().unwrap().mounts.push(mount);
        self.call("CreateContainer", &question)
    }

    fn start(&mut self, id: &str) -> Result<Vec<u8>, (i32, String)> {
        let Create { pod, container } = create(id);
        self.call(
            "StateChange",
            &StateChange {
                event: 6,
                pod,
                container,
            },
        )
    }

    /// Whether the plugin ends the connection.
    fn closed(mut self) -> bool {
        matches!(self.stream.read(&mut [0; 100]), Ok(0) | Err(_))
    }
}

/// What a pod says of itself is of no account.
fn create(id: &str) -> Create {
    let annotations = HashMap::from([("io.kubernetes.cri.image-name".to_owned(), V1.to_owned())]);
    let pod = Pod {
        id: PAUSE.to_owned(),
        annotations: annotations.clone(),
    };
    Create {
        pod: Some(pod),
        container: Some(Container {
            id: id.to_owned(),
            pod_sandbox_id: PAUSE.to_owned(),
            annotations,
            args: vec!["/app".to_owned()],
            mounts: Vec::new(),
            image: None,
        }),
    }
}

/// An image of one layer, unpacked, and the snapshot that it has then.
fn unpacked(layer: &str, config: &str) -> (Image, String) {
    let diff = Digest::of(layer.as_bytes()).to_string();
    let config = json!({"os": "linux", "config": {"Cmd": [config]}, "rootfs": {"type": "layers", "diff_ids": [diff]}});
    let mut config = blob(config.to_string().into_bytes());
    config.labels.insert(
        "containerd.io/gc.ref.snapshot.overlayfs".to_owned(),
        diff.clone(),
    );
    (
        Image::of(blob(layer.as_bytes().to_vec()), config, &json!({})),
        diff,
    )
}

/// A container's snapshot, and its record as CRI writes it.
fn hold_container(
    held: &mut Held,
    id: &str,
    parent: &str,
    record: &str,
    image: &Value,
    config: &Blob,
) {
    held.snapshots.push((id.to_owned(), parent.to_owned()));
    let metadata = json!({"Version": "v1", "Metadata": {"ID": id, "Config": {"image": image}, "ImageRef": config.digest}});
    let metadata = prost_types::Any {
        type_url: "x".to_owned(),
        value: metadata.to_string().into_bytes(),
    };
    held.containers.push(Record {
        id: id.to_owned(),
        image: record.to_owned(),
        snapshotter: "overlayfs".to_owned(),
        snapshot_key: id.to_owned(),
        extensions: HashMap::from([("io.cri-containerd.container.metadata".to_owned(), metadata)]),
        ..Record::default()
    });
}

/// A host with a signed image, a container of it, and the sandbox of its pod: of the same image,
/// for brevity.
fn host(name: &str) -> Option<(World, Image, String)> {
    let world = World::new(name)?;
    let (image, chain) = unpacked("layer", "good");
    world.sign(&image.index.digest);
    world.containerd.hold("k8s.io", |held| {
        image.hold_as(held, V1);
        held.images
            .push((image.config.digest.clone(), image.index.digest.clone()));
        hold_container(
            held,
            "good",
            &chain,
            V1,
            &json!({"image": image.config.digest}),
            &image.config,
        );
        held.snapshots.push((PAUSE.to_owned(), chain.clone()));
        let (snapshotter, snapshot_key) = ("overlayfs".to_owned(), PAUSE.to_owned());
        held.containers.push(Record {
            id: PAUSE.to_owned(),
            image: V1.to_owned(),
            snapshotter,
            snapshot_key,
            ..Record::default()
        });
    });
    Some((world, image, chain))
}

fn start(world: &World) -> (Daemon, Nri) {
    let nri = Nri::listen(world);
    let daemon = world.start_ready(&format!(
        "{}nri = {:?}\n",
        world.config(),
        world.path("nri").display().to_string()
    ));
    (daemon, nri)
}

fn assert_refused(answer: Result<Vec<u8>, (i32, String)>, why: &str) {
    let (code, text) = answer.unwrap_err();
    assert!(
        code == 9 && text.starts_with("rootpin: ") && text.contains(why),
        "{code} {text}"
    );
}

#[test]
fn a_container_is_made_of_a_signed_image_and_of_no_other_one() {
    let Some((world, image, chain)) = host("n-signed") else {
        return;
    };
    let (other, other_chain) = unpacked("another layer", "other");
    world.containerd.hold("k8s.io", |held| {
        other.hold_as(held, "r.test/team/app:v2");
        hold_container(
            held,
            "other",
            &other_chain,
            "r.test/team/app:v2",
            &json!({}),
            &other.config,
        );
        hold_container(
            held,
            "gone",
            &Digest::of(b"gone").to_string(),
            V1,
            &json!({}),
            &image.config,
        );
        hold_container(
            held,
            "asked-other",
            &chain,
            V1,
            &json!({"image": "r.test/team/app:v2"}),
            &image.config,
        );
        hold_container(
            held,
            "asked-good",
            &chain,
            "r.test/team/app:v2",
            &json!({"user_specified_image": V1}),
            &image.config,
        );
        hold_container(
            held,
            "asked-odd",
            &chain,
            V1,
            &json!({"image": "r.test/team/app@sha512:00"}),
            &image.config,
        );
        hold_container(
            held,
            "remapped",
            &format!("{chain}-1000-1000"),
            V1,
            &json!({}),
            &image.config,
        );
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_eq!(
        (containerd.create("good"), containerd.start("good")),
        (Ok(Vec::new()), Ok(Vec::new()))
    );
    assert_refused(containerd.create("other"), ": no-statement: found ");
    assert_refused(containerd.start("other"), ": no-statement: found ");
    assert_refused(
        containerd.create("gone"),
        ": not-local: found no image in namespace k8s.io",
    );
    assert_refused(
        containerd.start("gone"),
        ": not-local: found no image in namespace k8s.io",
    );
    assert_refused(
        containerd.create("no such"),
        ": malformed: found 0 snapshots of container no such",
    );
    assert_refused(
        containerd.start("no such"),
        ": malformed: found no record of container no such",
    );
    assert_refused(containerd.create("remapped"), ": malformed: ");
    // The same bytes, and the name that was asked for.
    assert_refused(containerd.start("asked-other"), "r.test/team/app:v2@");
    assert_eq!(containerd.start("asked-good"), Ok(Vec::new()));
    assert_refused(containerd.start("asked-odd"), ": malformed: ");
    let asked: Vec<_> = world
        .audit()
        .into_iter()
        .filter(|line| line["door"] == "run")
        .collect();
    assert!(
        asked.len() == 12 && asked.iter().all(|line| line["engine"] == "main"),
        "{asked:?}"
    );
}

#[test]
fn an_image_volume_is_judged_as_the_image_that_a_container_is_made_of() {
    let Some((world, image, chain)) = host("n-volume") else {
        return;
    };
    let (twin, twin_chain) = unpacked("layer", "twin");
    assert_eq!(chain, twin_chain);
    let (model, model_chain) = unpacked("model", "model");
    let at = |image: &Image| {
        let hex = image.index.digest.trim_start_matches("sha256:").to_owned();
        format!("/run/containerd/io.containerd.grpc.v1.cri/image-volumes/{PAUSE}/{hex}")
    };
    world.containerd.hold("k8s.io", |held| {
        twin.hold_as(held, "elsewhere.test/twin:v1");
        model.hold_as(held, "elsewhere.test/model:v1");
        for (image, chain) in [(&image, &chain), (&twin, &chain), (&model, &model_chain)] {
            held.snapshots.push((at(image), chain.clone()));
        }
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    for good in [at(&image), format!("{}/a/folder", at(&image))] {
        assert_eq!(containerd.mount("good", &good), Ok(Vec::new()), "{good}");
    }
    assert_refused(
        containerd.mount("good", &at(&model)),
        "elsewhere.test/model:v1@",
    );
    // The same layers, and another image.
    assert_refused(
        containerd.mount("good", &at(&twin)),
        "elsewhere.test/twin:v1@",
    );
    let of_another = at(&model).replace(&format!("/{PAUSE}/"), "/other/");
    assert_eq!(
        containerd.mount("good", &of_another),
        Ok(Vec::new()),
        "another pod's folder is the host's"
    );
    // CRI makes the snapshot before it asks.
    let (gone, _) = unpacked("gone", "gone");
    assert_refused(
        containerd.mount("good", &at(&gone)),
        ": malformed: found 0 snapshots of ",
    );
}

#[test]
fn an_unsigned_configuration_over_signed_layers_is_refused_when_it_is_known() {
    let Some((world, _, chain)) = host("n-config") else {
        return;
    };
    let (evil, evil_chain) = unpacked("layer", "evil");
    assert_eq!(chain, evil_chain);
    world.containerd.hold("k8s.io", |held| {
        evil.hold_as(held, "elsewhere.test/evil:v1");
        hold_container(
            held,
            "evil",
            &chain,
            "elsewhere.test/evil:v1",
            &json!({}),
            &evil.config,
        );
        hold_container(
            held,
            "lies",
            &chain,
            V1,
            &json!({"image": V1}),
            &evil.config,
        );
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_eq!(
        containerd.create("evil"),
        Ok(Vec::new()),
        "it can be the signed one, and is not started yet"
    );
    assert_refused(containerd.start("evil"), ": no-rule: ");
    assert_refused(containerd.start("lies"), ": digest-mismatch: ");
    assert_eq!(containerd.start("good"), Ok(Vec::new()));
    world.containerd.hold("k8s.io", |held| {
        held.images
            .retain(|(name, _)| name.starts_with("elsewhere"));
        held.containers.retain(|container| container.id != PAUSE);
    });
    assert_refused(containerd.create("evil"), ": no-rule: ");
}

#[test]
fn the_image_that_nri_names_is_judged_at_once_and_must_be_what_the_store_has() {
    let Some((world, image, chain)) = host("n-stated") else {
        return;
    };
    let (evil, _) = unpacked("layer", "evil");
    world.containerd.hold("k8s.io", |held| {
        evil.hold_as(held, "elsewhere.test/evil:v1");
        hold_container(held, "evil", &chain, V1, &json!({}), &evil.config);
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    let mut asked = |id: &str, target: &str, config: &str| {
        let mut create = create(id);
        let stated = StatedImage {
            name: V1.to_owned(),
            digest: target.to_owned(),
            config_digest: config.to_owned(),
        };
        create.container.as_mut().unwrap().image = Some(stated);
        containerd.call("CreateContainer", &create)
    };
    let (good, bad) = (&image.index.digest, &evil.index.digest);
    let (good_config, bad_config) = (&image.config.digest, &evil.config.digest);
    assert_eq!(asked("good", good, good_config), Ok(Vec::new()));
    assert_eq!(asked("good", "", ""), Ok(Vec::new()), "it says nothing");
    // Without the image this one is made, and refused at its start only.
    assert_refused(asked("evil", bad, bad_config), ": no-rule: ");
    // The signed image's configuration is not the one of this target.
    assert_refused(asked("good", bad, good_config), ": not-local: ");
    let other = Digest::of(b"another").to_string();
    assert_refused(asked("good", good, &other), ": not-local: ");
    assert_refused(asked("good", "sha256:nonsense", ""), ": malformed: ");
}

#[test]
fn what_labels_and_records_claim_is_proved_from_the_bytes() {
    let Some((world, image, chain)) = host("n-forged") else {
        return;
    };
    let (evil, evil_chain) = unpacked("evil layer", "evil");
    let forged = |label: &str| HashMap::from([(label.to_owned(), evil_chain.clone())]);
    world.containerd.hold("k8s.io", |held| {
        // The signed configuration is said to be unpacked to the evil snapshot, and the evil one to
        // be the signed one's.
        held.blobs
            .iter_mut()
            .find(|blob| blob.digest == image.config.digest)
            .unwrap()
            .labels = forged("containerd.io/gc.ref.snapshot.overlayfs");
        let mut config = evil.config.clone();
        config.digest.clone_from(&image.config.digest);
        held.blobs.push(config);
        hold_container(
            held,
            "evil",
            &evil_chain,
            V1,
            &json!({"image": V1}),
            &image.config,
        );
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_refused(containerd.create("evil"), ": not-local: ");
    assert_refused(containerd.start("evil"), ": not-local: ");
    assert_ne!(chain, evil_chain);
}

#[test]
fn a_record_whose_host_is_in_upper_case_is_the_same_name() {
    let Some((world, _, chain)) = host("n-upper") else {
        return;
    };
    world.containerd.hold("k8s.io", |held| {
        for (name, _) in &mut held.images {
            *name = name.replace("r.test/", "R.TEST/");
        }
    });
    assert!(!chain.is_empty());
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_eq!(containerd.start("good"), Ok(Vec::new()));
}

/// What is under a name that a rule covers is not local because that name is out of reach.
#[test]
fn what_lies_deeper_or_behind_more_indexes_than_are_read_is_not_local() {
    for (above, beside) in [(6, 0), (1, 300)] {
        let Some((world, ..)) = host(&format!("n-deep-{above}")) else {
            return;
        };
        world.write_policy(&(world.policy() + "[local]\ncontent = \"allow\"\n"));
        let (evil, chain) = unpacked("evil layer", "evil");
        let mut above = indexes_over(&evil.index, above);
        let kind = "application/vnd.oci.image.index.v1+json";
        let mut entries: Vec<_> = (0..beside)
            .map(|number| {
                let bytes = format!("absent {number}").into_bytes();
                json!({"mediaType": kind, "digest": blob(bytes).digest, "size": 2})
            })
            .collect();
        let below = above.last().unwrap();
        entries.push(json!({"mediaType": kind, "digest": below.digest, "size": below.bytes.len()}));
        let top = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        above.push(blob(top.to_string().into_bytes()));
        world.containerd.hold("k8s.io", |held| {
            evil.hold_as(held, "a.test/uncovered:1");
            held.blobs.extend(above.iter().cloned());
            held.images.push((
                "r.test/team/evil:1".to_owned(),
                above.last().unwrap().digest.clone(),
            ));
            hold_container(
                held,
                "evil",
                &chain,
                "r.test/team/evil:1",
                &json!({"image": evil.config.digest}),
                &evil.config,
            );
        });
        let (_daemon, nri) = start(&world);
        let mut containerd = nri.take_up(20_000);
        assert_refused(containerd.start("evil"), ": no-rule: ");
    }
}

#[test]
fn a_signed_index_is_found_beside_and_below_others_over_the_same_manifest() {
    let Some((world, image, chain)) = host("n-indexes") else {
        return;
    };
    let beside = image.claimed("mirror.test/app:v1");
    // The deepest one that is followed, in which OCI's and Docker's indexes take turns.
    let above = indexes_over(&image.index, 3);
    let nested = above.last().unwrap().clone();
    world.containerd.hold("k8s.io", |held| {
        beside.hold_as(held, "mirror.test/app:v1");
        held.images
            .iter_mut()
            .find(|(name, _)| *name == image.config.digest)
            .unwrap()
            .1
            .clone_from(&beside.index.digest);
        hold_container(
            held,
            "asked",
            &chain,
            V1,
            &json!({"image": V1}),
            &image.config,
        );
        hold_container(
            held,
            "mirror",
            &chain,
            V1,
            &json!({"image": "mirror.test/app:v1"}),
            &image.config,
        );
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_eq!(containerd.start("asked"), Ok(Vec::new()));
    assert_refused(containerd.start("mirror"), ": no-rule: ");

    world.write_policy(&format!(
        "{}[[image]]\nname = \"r.test/nested:v1\"\ndigest = \"{}\"\n",
        world.policy(),
        nested.digest
    ));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    world.containerd.hold("k8s.io", |held| {
        held.images
            .push(("r.test/nested:v1".to_owned(), nested.digest.clone()));
        held.blobs.extend(above);
        hold_container(
            held,
            "nested",
            &chain,
            V1,
            &json!({"image": "r.test/nested:v1"}),
            &image.config,
        );
    });
    assert_eq!(containerd.start("nested"), Ok(Vec::new()));
}

#[test]
fn a_pod_whose_sandbox_is_of_no_admitted_image_gets_no_containers() {
    let Some((world, _, _)) = host("n-pause") else {
        return;
    };
    let (pause, pause_chain) = unpacked("pause layer", "pause");
    world.containerd.hold("k8s.io", |held| {
        pause.hold_as(held, "elsewhere.test/pause:v1");
        held.containers
            .iter_mut()
            .find(|container| container.id == PAUSE)
            .unwrap()
            .image = "elsewhere.test/pause:v1".to_owned();
        held.snapshots
            .iter_mut()
            .find(|(key, _)| key == PAUSE)
            .unwrap()
            .1 = pause_chain;
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_refused(containerd.create("good"), "elsewhere.test/pause:v1");
    world.containerd.hold("k8s.io", |held| {
        held.containers.retain(|container| container.id != PAUSE);
    });
    assert_eq!(
        containerd.create("good"),
        Ok(Vec::new()),
        "a runtime that makes the sandbox by itself has no record of one"
    );
}

#[test]
fn audit_mode_lets_a_container_be_made_and_records_it() {
    let Some((world, _, _)) = host("n-audit") else {
        return;
    };
    world.write_policy(
        &world
            .policy()
            .replace("[[root]]", "mode = \"audit\"\n[[root]]"),
    );
    let (other, chain) = unpacked("another layer", "other");
    world.containerd.hold("k8s.io", |held| {
        other.hold_as(held, "elsewhere.test/app:v1");
        hold_container(
            held,
            "other",
            &chain,
            "elsewhere.test/app:v1",
            &json!({}),
            &other.config,
        );
    });
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    assert_eq!(
        (containerd.create("other"), containerd.start("other")),
        (Ok(Vec::new()), Ok(Vec::new()))
    );
    let lines = world.audit();
    assert!(
        lines.len() == 2
            && lines
                .iter()
                .all(|line| line["let_through"] == true && line["code"] == "no-rule"),
        "{lines:?}"
    );
}

#[test]
fn there_is_an_answer_before_containerd_goes_on_unasked() {
    let Some((world, _, _)) = host("n-slow") else {
        return;
    };
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(4000);
    world.containerd.hang(true);
    let begun = Instant::now();
    assert_refused(
        containerd.create("good"),
        ": over-limit: found no decision within ",
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    world.containerd.hang(false);
    assert_eq!(containerd.create("good"), Ok(Vec::new()));
    // Nor do trust servers take all of it: what was verified lately is enough.
    world.notary.hang(true);
    let begun = Instant::now();
    let answer = containerd.start("good");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer, Ok(Vec::new()));
}

#[test]
fn a_question_that_was_asked_is_answered_before_the_daemon_ends() {
    let Some((world, _, _)) = host("n-drain") else {
        return;
    };
    let (daemon, nri) = start(&world);
    let mut containerd = nri.take_up(2000);
    world.containerd.hang(true);
    let stream = containerd.ask(PLUGIN, "CreateContainer", create("good").encode_to_vec());
    daemon.signal("-TERM");
    assert_refused(containerd.answer(stream), ": over-limit: ");
    assert!(containerd.closed());
    assert_eq!(daemon.end().0, 0);
}

#[test]
fn what_can_t_be_read_makes_no_container_and_what_is_not_nri_ends_the_connection() {
    let Some((world, _, _)) = host("n-odd") else {
        return;
    };
    let (_daemon, nri) = start(&world);
    let mut containerd = nri.take_up(0);
    for method in [
        "CreateContainer",
        "StartContainer",
        "StateChange",
        "Configure",
        "Synchronize",
    ] {
        let stream = containerd.ask(PLUGIN, method, b"\xff\xff\xff".to_vec());
        assert_refused(containerd.answer(stream), "a question that can't be read");
    }
    for (service, method) in [
        (PLUGIN, "UpdateContainer"),
        (PLUGIN, "RunPodSandbox"),
        ("other", "CreateContainer"),
        ("", ""),
    ] {
        let stream = containerd.ask(service, method, Vec::new());
        assert_eq!(
            containerd.answer(stream).unwrap_err().0,
            12,
            "{service} {method}"
        );
    }
    containerd.write(1, 1, 99, b"\xff\xff");
    assert_refused(containerd.answer(99), "a question that can't be read");
    assert_refused(
        containerd.call("CreateContainer", &Create::default()),
        ": malformed: ",
    );
    assert_eq!(containerd.start("good"), Ok(Vec::new()), "it is asked on");

    for bytes in [
        &b"\0\0\0\x07\0\0\0\x01x"[..],
        b"\0\0\0\x01\0\0\0\0",
        b"\0\0\0\x01\xff\xff\xff\xff",
        b"\0\0\0\x01\0\0\0\x0a\0\xff\xff\xff\0\0\0\x01\x01\0",
        b"\0\0\0\x01\0\0\0\x0a\0\0\0\0\0\0\0\x01\x03\0",
        b"\0\0\0\x01\0\0\0\x0a\0\0\0\0\0\0\0\x01\x02\0",
        b"\0\0\0\x02\0\0\0\x0a\0\0\0\0\0\0\0\x01\x01\0",
    ] {
        containerd.stream.write_all(bytes).unwrap();
        assert!(containerd.closed(), "{bytes:?}");
        containerd = nri.take_up(0);
        assert_eq!(containerd.start("good"), Ok(Vec::new()));
    }
}

#[test]
fn a_connection_that_is_lost_is_told_once_and_sought_until_it_is_back() {
    let Some((world, _, _)) = host("n-lost") else {
        return;
    };
    world
        .containerd
        .differ(Differ::AsksGate(world.path("gate")));
    let config = format!(
        "{}nri = {:?}\n",
        world.config(),
        world.path("nri").display().to_string()
    );
    let mut daemon = world.start_ready(&config);
    daemon.line("containers are made unasked there, until it is back");
    let open = world.door_when("run", |row| row["state"] == "not checked");
    assert!(
        open["detail"]
            .as_str()
            .unwrap()
            .starts_with("NOT ASKED, containers are made all the same: "),
        "{open}"
    );
    assert_eq!(world.rootpin(&["status"]).code, 1);

    let nri = Nri::listen(&world);
    let mut containerd = nri.take_up(0);
    world.door_when("run", |row| row["state"] == "configured");
    world.door_when("gate", |row| row["state"] == "proven");
    assert_eq!(world.rootpin(&["status"]).code, 0);
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("rootpin_nri_connected{engine=\"main\"} 1\n")
    );
    assert_eq!(containerd.start("good"), Ok(Vec::new()));
    world.door_when("run", |row| row["state"] == "proven");

    drop(containerd);
    daemon.line("containers are made unasked there, until it is back");
    // A containerd that does not take the plugin.
    let mut refusing = Connection {
        stream: nri.listener.accept().unwrap().0,
        next: 1,
    };
    let (_, _, stream, _) = refusing.read();
    let status = Some(Status {
        code: 2,
        message: "invalid plugin index".to_owned(),
    });
    refusing.write(
        2,
        2,
        stream,
        &Response {
            status,
            payload: Vec::new(),
        }
        .encode_to_vec(),
    );
    assert!(refusing.closed());
    let row = world.door_when("run", |row| {
        row["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("invalid plugin index"))
    });
    assert_eq!(row["state"], "not checked");
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("rootpin_nri_connected{engine=\"main\"} 0\n")
    );
    let _containerd = nri.take_up(0);
    world.door_when("run", |row| row["state"] == "proven");
}

#[test]
fn what_runs_already_is_judged_and_told_and_nothing_waits_for_it() {
    let Some((world, _, _)) = host("n-running") else {
        return;
    };
    let (other, chain) = unpacked("another layer", "other");
    world.containerd.hold("k8s.io", |held| {
        other.hold_as(held, "elsewhere.test/app:v1");
        hold_container(
            held,
            "other",
            &chain,
            "elsewhere.test/app:v1",
            &json!({}),
            &other.config,
        );
    });
    let (mut daemon, nri) = start(&world);
    let mut containerd = nri.accept();
    containerd.call("Configure", &Configure::default()).unwrap();
    let part = |id: &str, more| Synchronize {
        pods: Vec::new(),
        containers: vec![create(id).container.unwrap()],
        more,
    };
    assert_eq!(
        containerd.call("Synchronize", &part("good", true)).unwrap(),
        b"\x10\x01",
        "more is taken"
    );
    assert!(
        containerd
            .call("Synchronize", &part("other", false))
            .unwrap()
            .is_empty()
    );
    assert!(
        daemon
            .line("\"other\" is there already and may not run: refused elsewhere.test/app:v1@")
            .contains("no-rule")
    );
    let row = world.door_when("run", |row| {
        !row["detail"].is_null() && row["state"] == "configured"
    });
    assert_eq!(
        row["detail"],
        "containers that ran already and may not run: 1, see the log"
    );
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("rootpin_running_refused{engine=\"main\"} 1\n")
    );
    assert!(
        !world.path("audit.jsonl").exists() || world.audit().is_empty(),
        "nobody asked"
    );
    assert_eq!(containerd.create("good"), Ok(Vec::new()));
}

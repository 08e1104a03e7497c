//! The gates of the real daemon, asked as containerd asks them, and as nobody should.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use http::{HeaderValue, Request};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Code;

use crate::containerd::{Differ, channel};
use crate::publisher::Publisher;
use crate::world::{Daemon, GUN, Image, PATIENCE, World, blob};

const APPLY: &str = "/containerd.services.diff.v1.Diff/Apply";
const V1: &str = "r.test/team/app:v1";
const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
const IN_DEFAULT: (&str, &str) = ("containerd-namespace", "default");

/// A host that holds a signed image in namespace `default`, with its record; and its daemon.
fn host(name: &str) -> Option<(World, Daemon, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    let daemon = world.start();
    Some((world, daemon, image))
}

/// What the gate says: `Ok` is never said by it.
fn code(world: &World, message: ApplyRequest, headers: &[(&'static str, &str)]) -> (Code, String) {
    let status = world.unpack("gate", message, headers).unwrap_err();
    (status.code(), status.message().to_owned())
}

fn assert_allowed(world: &World, message: ApplyRequest, headers: &[(&'static str, &str)]) {
    let (code, text) = code(world, message, headers);
    assert_eq!(code, Code::Unimplemented, "{text}");
    assert!(text.starts_with("rootpin: allowed"), "{text}");
}

/// Refused with that code of the policy; with found, wanted and a hint.
fn assert_refused(
    world: &World,
    message: ApplyRequest,
    headers: &[(&'static str, &str)],
    why: &str,
) {
    let (code, text) = code(world, message, headers);
    assert_eq!(code, Code::FailedPrecondition, "{text}");
    for part in [
        format!(": {why}: found "),
        "; wanted ".to_owned(),
        "; rule: ".to_owned(),
        "; hint: ".to_owned(),
    ] {
        assert!(text.contains(&part), "no {part:?} in {text}");
    }
}

// What nobody should ask.

/// One request on a connection of its own, and its gRPC status as containerd's gRPC library reads
/// it; `None` for a broken connection.
async fn asked(socket: &Path, request: Request<()>, body: Vec<u8>) -> Option<i32> {
    tokio::time::timeout(PATIENCE, answered(socket, request, body))
        .await
        .expect("no answer and no end")
}

async fn answered(socket: &Path, request: Request<()>, body: Vec<u8>) -> Option<i32> {
    let (client, connection) = h2::client::handshake(UnixStream::connect(socket).await.ok()?)
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let (answer, mut sender) = client
        .ready()
        .await
        .ok()?
        .send_request(request, false)
        .ok()?;
    // The server may end the stream before all of it is sent.
    let _ = sender.send_data(Bytes::from(body), true);
    let response = answer.await.ok()?;
    let status = |headers: &http::HeaderMap| {
        headers
            .get("grpc-status")
            .map(|code| code.to_str().unwrap().parse().unwrap())
    };
    let grpc = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let found = match status(response.headers()) {
        // grpc-go, http_util.go: HTTPStatusConvTab.
        _ if !grpc || response.status() != 200 => {
            Some(if response.status() == 404 { 12 } else { 2 })
        }
        Some(code) => Some(code),
        None => {
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                let _ = body.flow_control().release_capacity(data.ok()?.len());
            }
            body.trailers().await.ok()?.as_ref().and_then(status)
        }
    };
    connection.abort();
    found
}

fn to(path: &str) -> http::request::Builder {
    Request::post(format!("http://gate{path}"))
}

fn grpc() -> http::request::Builder {
    to(APPLY)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(IN_DEFAULT.0, IN_DEFAULT.1)
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [
        &[flag][..],
        &u32::try_from(message.len()).unwrap().to_be_bytes(),
        message,
    ]
    .concat()
}

fn ask_both(world: &World, what: &str, request: impl Fn() -> Request<()>, body: &[u8]) {
    for door in ["gate", "apply"] {
        let found = world
            .runtime
            .block_on(asked(&world.path(door), request(), body.to_vec()));
        assert!(
            !matches!(found, Some(0 | 6 | 12)),
            "{door}, {what}: {found:?}"
        );
    }
}

#[test]
fn what_is_no_whole_question_is_never_answered_unimplemented_or_already_exists() {
    let Some((world, _daemon, image)) = host("g-odd") else {
        return;
    };
    let good = frame(0, &image.unpack().encode_to_vec());
    let ask = |what: &str, request: &dyn Fn() -> http::request::Builder, body: &[u8]| {
        ask_both(&world, what, || request().body(()).unwrap(), body);
    };
    let first = world.runtime.block_on(asked(
        &world.path("gate"),
        grpc().body(()).unwrap(),
        good.clone(),
    ));
    assert_eq!(first, Some(12), "the whole question is allowed");

    for path in [
        "/",
        "/x",
        "/no.such.Service/Apply",
        "/containerd.services.diff.v1.Diff/Stat",
        "/containerd.services.diff.v1.Diff/apply",
    ] {
        ask(
            path,
            &|| to(path).header("content-type", "application/grpc"),
            &good,
        );
    }
    ask(
        "the root of gRPC reflection",
        &|| to("/grpc.health.v1.Health/Check").header("content-type", "application/grpc"),
        &good,
    );
    // tonic looks neither at the method nor at the content type: what arrives is judged.
    let unsigned = frame(0, &Image::named("unsigned").unpack().encode_to_vec());
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = || {
            Request::builder()
                .method(method)
                .uri(format!("http://gate{APPLY}"))
                .header("content-type", "application/json")
        };
        ask(method, &request, &unsigned);
    }
    for kind in [
        "text/plain",
        "application/json",
        "application/grpc-web",
        "application/x-protobuf",
        "",
    ] {
        ask(kind, &|| to(APPLY).header("content-type", kind), &unsigned);
        ask(kind, &|| to(APPLY).header("content-type", kind), b"{}");
    }
    ask("no content type", &|| to(APPLY), &unsigned);
    for encoding in ["gzip", "zstd", "deflate", "unknown", "", "identity,gzip"] {
        ask(
            encoding,
            &|| grpc().header("grpc-encoding", encoding),
            &frame(1, b"\x1f\x8b"),
        );
    }
    ask("compressed without an encoding", &grpc, &frame(1, &good));
    for timeout in ["0n", "1n", "-1S", "soon", "99999999999H"] {
        ask(
            timeout,
            &|| grpc().header("grpc-timeout", timeout),
            &frame(0, b"\xff"),
        );
    }
    ask("no frame", &grpc, &[]);
    ask("half a frame header", &grpc, &good[..3]);
    ask("a frame header only", &grpc, &good[..5]);
    ask("a message cut short", &grpc, &good[..good.len() - 1]);
    ask(
        "a length of 4 GiB",
        &grpc,
        &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
    );
    ask(
        "an unknown frame flag",
        &grpc,
        &frame(7, &image.unpack().encode_to_vec()),
    );
    ask("an empty message", &grpc, &frame(0, &[]));
    ask("no protobuf", &grpc, &frame(0, b"\xff\xff\xff\xff"));
    ask(
        "noise",
        &grpc,
        &(0..=255).cycle().take(3000).collect::<Vec<u8>>(),
    );
    let large = image.unpack_with(&[("a", &"x".repeat(5 << 20))]);
    ask("more than 4 MiB", &grpc, &frame(0, &large.encode_to_vec()));
}

#[test]
fn a_question_with_odd_members_is_refused() {
    let Some((world, _daemon, image)) = host("g-members") else {
        return;
    };
    let edited = |edit: &dyn Fn(&mut containerd_client::types::Descriptor)| {
        let mut message = image.unpack();
        edit(message.diff.as_mut().unwrap());
        message
    };
    let mut bad = vec![ApplyRequest::default()];
    for digest in [
        "",
        "sha256:",
        "x",
        "sha512:00",
        &image.layer.digest.to_uppercase(),
        &format!("{}0", image.layer.digest),
    ] {
        bad.push(edited(&|diff| digest.clone_into(&mut diff.digest)));
    }
    bad.extend([-1, 0, 1, i64::MIN, i64::MAX].map(|size| edited(&|diff| diff.size = size)));
    bad.push(edited(&|diff| {
        diff.media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    }));
    bad.push(edited(&|diff| diff.media_type.clear()));
    for message in bad {
        ask_both(
            &world,
            &format!("{message:?}"),
            || grpc().body(()).unwrap(),
            &frame(0, &message.encode_to_vec()),
        );
    }
    let many: Vec<_> = (0..900)
        .map(|number| (format!("org.example.{number}"), "x".repeat(500)))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_allowed(&world, image.unpack_with(&many), &[IN_DEFAULT]);
}

#[test]
fn a_namespace_that_is_no_text_is_not_taken_for_one_that_allows() {
    let Some((world, _daemon, image)) = host("g-header") else {
        return;
    };
    world
        .containerd
        .hold("other", |held| held.blobs.push(image.layer.clone()));
    let request = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        to(APPLY)
            .header("content-type", "application/grpc")
            .header("containerd-namespace", value)
            .body(())
            .unwrap()
    };
    let body = frame(0, &image.unpack().encode_to_vec());
    for value in [
        &b"\xff\xfe"[..],
        b"default\xff",
        b"no-such",
        b"",
        b"default,other",
        b"../default",
        &[b'a'; 9000],
    ] {
        ask_both(&world, &format!("{value:?}"), || request(value), &body);
    }
}

#[test]
fn http_1_and_noise_break_the_connection() {
    let Some((world, _daemon, image)) = host("g-http1") else {
        return;
    };
    let host = format!("POST {APPLY} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/grpc\r\n");
    let upgrade = format!(
        "{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    );
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let noise: Vec<&[u8]> = vec![
        host.as_bytes(),
        upgrade.as_bytes(),
        b"\r\n\r\n",
        &[0; 64],
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02",
    ];
    let after = [
        &preface[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
    .concat();
    for bytes in noise.into_iter().chain([&after[..], &preface[..7]]) {
        for door in ["gate", "apply"] {
            let answer = world.runtime.block_on(async {
                let mut stream = UnixStream::connect(world.path(door)).await.unwrap();
                stream.write_all(bytes).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut answer = Vec::new();
                // An end or a reset, but not silence.
                let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
                    .await
                    .expect("the connection stays open");
                answer
            });
            let text = String::from_utf8_lossy(&answer);
            assert!(
                !text.contains("grpc-status") && !text.contains("404"),
                "{bytes:?}: {text}"
            );
        }
    }
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn a_flood_of_connections_leaves_the_daemon_answering() {
    let Some((world, _daemon, image)) = host("g-flood") else {
        return;
    };
    let flood: Vec<_> = (0..400)
        .map(|_| std::os::unix::net::UnixStream::connect(world.path("gate")).unwrap())
        .collect();
    assert_eq!(
        world.verifier(V1, &image.index.digest).code,
        0,
        "the other sockets have connections of their own"
    );
    drop(flood);
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn a_client_that_sends_nothing_more_holds_up_nobody() {
    let Some((world, _daemon, image)) = host("g-slow") else {
        return;
    };
    let _silent = std::os::unix::net::UnixStream::connect(world.path("gate")).unwrap();
    let body = frame(0, &image.unpack().encode_to_vec());
    let _halves: Vec<_> = (0..20)
        .map(|_| {
            world.runtime.block_on(async {
                let (client, connection) =
                    h2::client::handshake(UnixStream::connect(world.path("gate")).await.unwrap())
                        .await
                        .unwrap();
                tokio::spawn(connection);
                let mut client = client.ready().await.unwrap();
                let (answer, mut sender) = client
                    .send_request(grpc().body(()).unwrap(), false)
                    .unwrap();
                sender
                    .send_data(Bytes::copy_from_slice(&body[..9]), false)
                    .unwrap();
                (client, answer, sender)
            })
        })
        .collect();
    let begun = Instant::now();
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn making_a_layer_is_left_to_the_next_differ() {
    let Some((world, _daemon, _)) = host("g-diff") else {
        return;
    };
    for door in ["gate", "apply"] {
        let request = containerd_client::services::v1::DiffRequest::default();
        let answer = world.runtime.block_on(async {
            DiffClient::new(channel(&world.path(door)))
                .diff(request)
                .await
        });
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    }
}

// What containerd asks.

#[test]
fn a_signed_layer_is_left_to_the_next_differ_and_every_other_one_is_refused() {
    let Some((world, _daemon, image)) = host("g-signed") else {
        return;
    };
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
    let forged = Image::named("forged");
    world
        .containerd
        .hold("default", |held| forged.hold_as(held, "r.test/team/app:v2"));
    assert_refused(&world, forged.unpack(), &[IN_DEFAULT], "no-statement");
    let other = Image::named("other");
    world.containerd.hold("default", |held| {
        other.hold_as(held, "elsewhere.test/app:v1");
    });
    assert_refused(&world, other.unpack(), &[IN_DEFAULT], "no-rule");
    let absent = Image::named("absent");
    assert_refused(&world, absent.unpack(), &[IN_DEFAULT], "not-local");
    assert_refused(&world, absent.unpack(), &[], "not-local");
    assert_refused(
        &world,
        image.unpack(),
        &[("containerd-namespace", "empty")],
        "not-local",
    );
}

#[test]
fn other_bytes_under_a_signed_name_are_a_digest_mismatch() {
    let Some((world, _daemon, _)) = host("g-swap") else {
        return;
    };
    let swapped = Image::named("swapped");
    world
        .containerd
        .hold("swap", |held| swapped.hold_as(held, V1));
    assert_refused(
        &world,
        swapped.unpack(),
        &[("containerd-namespace", "swap")],
        "digest-mismatch",
    );
}

#[test]
fn a_layer_that_claims_a_signed_name_by_annotation_is_refused() {
    let Some((world, _daemon, image)) = host("g-claim") else {
        return;
    };
    let evil = Image::named("evil");
    world.containerd.hold("default", |held| evil.hold(held));
    let claims = [
        (IMAGE_REF, V1),
        (MANIFEST_DIGEST, image.manifest.digest.as_str()),
    ];
    for claim in [&claims[..1], &claims] {
        let (code, text) = code(&world, evil.unpack_with(claim), &[IN_DEFAULT]);
        assert_eq!(code, Code::FailedPrecondition, "{text}");
    }
    assert_allowed(&world, image.unpack_with(&claims), &[IN_DEFAULT]);
}

#[test]
fn without_a_namespace_every_one_that_holds_the_layer_must_allow_it() {
    let Some((world, _daemon, image)) = host("g-spaces") else {
        return;
    };
    assert_allowed(&world, image.unpack(), &[]);
    world
        .containerd
        .hold("k8s.io", |held| image.hold_as(held, V1));
    assert_allowed(&world, image.unpack(), &[]);
    let other = Image::of(
        image.layer.clone(),
        blob(b"another config".to_vec()),
        &serde_json::json!({}),
    );
    world
        .containerd
        .hold("evil", |held| other.hold_as(held, "r.test/team/app:evil"));
    assert_refused(&world, image.unpack(), &[], "no-statement");
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn a_lease_alone_tells_the_namespace() {
    let Some((world, _daemon, image)) = host("g-lease") else {
        return;
    };
    world
        .containerd
        .hold("default", |held| held.leases.push("lease-1".to_owned()));
    let other = Image::of(
        image.layer.clone(),
        blob(b"another config".to_vec()),
        &serde_json::json!({}),
    );
    world.containerd.hold("evil", |held| {
        other.hold_as(held, "r.test/team/app:evil");
        held.leases.push("lease-2".to_owned());
    });
    assert_allowed(&world, image.unpack(), &[("containerd-lease", "lease-1")]);
    assert_refused(
        &world,
        image.unpack(),
        &[("containerd-lease", "lease-2")],
        "no-statement",
    );
    assert_refused(
        &world,
        image.unpack(),
        &[("containerd-lease", "unknown")],
        "no-statement",
    );
    // Where it was found last it is looked for first, and not believed to be.
    assert_allowed(&world, image.unpack(), &[("containerd-lease", "lease-1")]);
    let containerd = &world.containerd;
    containerd.hold("default", |held| held.leases.clear());
    containerd.hold("evil", |held| held.leases.push("lease-1".to_owned()));
    assert_refused(
        &world,
        image.unpack(),
        &[("containerd-lease", "lease-1")],
        "no-statement",
    );
}

#[test]
fn bytes_that_do_not_hash_to_their_digest_are_not_believed() {
    let Some((world, _daemon, image)) = host("g-lies") else {
        return;
    };
    let evil = Image::named("evil");
    world.containerd.hold("lies", |held| {
        // The store says of an evil manifest and index that they are the signed ones.
        let mut manifest = evil.manifest.clone();
        manifest.digest.clone_from(&image.manifest.digest);
        let mut index = evil.index.clone();
        index.digest.clone_from(&image.index.digest);
        held.blobs.extend([evil.layer.clone(), manifest, index]);
        held.images
            .push((V1.to_owned(), image.index.digest.clone()));
    });
    let (code, text) = code(&world, evil.unpack(), &[("containerd-namespace", "lies")]);
    assert_eq!(code, Code::FailedPrecondition, "{text}");
}

#[test]
fn a_forged_label_makes_no_layer_part_of_a_signed_image() {
    let Some((world, _daemon, image)) = host("g-labels") else {
        return;
    };
    let evil = Image::named("evil");
    world.containerd.hold("forged", |held| {
        image.hold_as(held, V1);
        held.blobs.push(evil.layer.clone());
        for blob in &mut held.blobs {
            blob.labels.insert(
                "containerd.io/gc.ref.content.l.9".to_owned(),
                evil.layer.digest.clone(),
            );
            blob.labels.insert(
                "containerd.io/distribution.source.r.test".to_owned(),
                "team/app".to_owned(),
            );
        }
    });
    let (code, text) = code(&world, evil.unpack(), &[("containerd-namespace", "forged")]);
    assert_eq!(code, Code::FailedPrecondition, "{text}");
    assert_allowed(
        &world,
        image.unpack(),
        &[("containerd-namespace", "forged")],
    );
}

#[test]
fn content_without_labels_is_searched() {
    let Some((world, _daemon, image)) = host("g-bare") else {
        return;
    };
    world.containerd.clear();
    world.containerd.hold("buildkit", |held| {
        image.clone().without_labels().hold_as(held, V1);
    });
    assert_allowed(
        &world,
        image.unpack(),
        &[("containerd-namespace", "buildkit")],
    );
}

#[test]
fn a_manifest_whose_labels_leave_its_layers_out_is_searched() {
    let Some((world, _daemon, image)) = host("g-discard") else {
        return;
    };
    world.containerd.clear();
    world.containerd.hold("k8s.io", |held| {
        image.hold_as(held, V1);
        // What CRI's discard_unpacked_layers leaves.
        held.blobs
            .iter_mut()
            .for_each(|blob| blob.labels.retain(|name, _| !name.contains(".l.")));
    });
    assert_allowed(
        &world,
        image.unpack(),
        &[("containerd-namespace", "k8s.io")],
    );
}

#[test]
fn a_layer_that_many_images_share_is_found_in_each_of_them() {
    let Some((world, _daemon, image)) = host("g-shared") else {
        return;
    };
    world.containerd.clear();
    world.containerd.hold("default", |held| {
        for number in 0..150 {
            Image::of(
                image.layer.clone(),
                blob(format!("config {number}").into_bytes()),
                &serde_json::json!({}),
            )
            .hold(held);
        }
        image.hold_as(held, V1);
    });
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
    assert_allowed(
        &world,
        image.unpack_with(&[(IMAGE_REF, V1), (MANIFEST_DIGEST, &image.manifest.digest)]),
        &[IN_DEFAULT],
    );
}

#[test]
fn what_was_collected_as_garbage_between_two_looks_stops_nothing() {
    let Some((world, _daemon, image)) = host("g-garbage") else {
        return;
    };
    world.containerd.hold("default", |held| {
        Image::named("collected").without_labels().hold(held);
        held.blobs
            .iter_mut()
            .skip(4)
            .for_each(|blob| blob.gone = true);
    });
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn an_index_with_very_many_labels_does_not_make_the_store_unreadable() {
    let Some((world, _daemon, image)) = host("g-huge") else {
        return;
    };
    world.containerd.hold("default", |held| {
        let mut huge = Image::named("huge").index;
        let label = |number| {
            (
                format!("containerd.io/gc.ref.content.m.{number}"),
                image.config.digest.clone(),
            )
        };
        huge.labels = (0..60_000).map(label).collect();
        held.blobs.push(huge);
    });
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn an_annotated_manifest_that_only_the_engine_can_read_passes_for_no_other_image() {
    let Some((world, _daemon, image)) = host("g-lax") else {
        return;
    };
    // Another config over the signed layer, in a manifest with a member twice: engines take the
    // last, rootpin takes none.
    let mut evil = Image::of(
        image.layer.clone(),
        blob(b"evil config".to_vec()),
        &serde_json::json!({}),
    )
    .manifest;
    let text = String::from_utf8(evil.bytes).unwrap();
    evil = blob(text.replacen('{', "{\"schemaVersion\":2,", 1).into_bytes());
    world
        .containerd
        .hold("default", |held| held.blobs.push(evil.clone()));
    let claims = [
        (IMAGE_REF, "r.test/team/app:v2"),
        (MANIFEST_DIGEST, evil.digest.as_str()),
    ];
    assert_refused(
        &world,
        image.unpack_with(&claims),
        &[IN_DEFAULT],
        "malformed",
    );
}

#[test]
fn an_index_from_a_registry_gives_no_names_to_other_images() {
    let Some((world, _daemon, image)) = host("g-stranger") else {
        return;
    };
    world.containerd.clear();
    let from = |held: &mut crate::containerd::Held, image: &Image, host: &str, repository: &str| {
        for blob in [&image.manifest, &image.index] {
            let mut blob = blob.clone();
            blob.labels.insert(
                format!("containerd.io/distribution.source.{host}"),
                repository.to_owned(),
            );
            held.blobs.push(blob);
        }
    };
    world.containerd.hold("k8s.io", |held| {
        from(held, &image, "r.test", "team/app");
        let stranger = image.claimed("evil.test/x:1");
        from(held, &stranger, "evil.test", "x");
    });
    assert_allowed(
        &world,
        image.unpack(),
        &[("containerd-namespace", "k8s.io")],
    );
}

#[test]
fn an_image_record_without_a_repository_is_nobodys_word_for_an_exemption() {
    let Some((world, mut daemon, _)) = host("g-id") else {
        return;
    };
    let old = Image::named("old");
    let exempt = "[[exempt]]\nmatch = \"docker.io/library/*\"\nuntil = 2126-01-01T00:00:00Z\nreason = \"x\"\n[limits]\nmax-exempt = \"40000d\"\n";
    world.write_policy(&(world.policy() + exempt));
    daemon.line("is in force");
    let hex = Image::named("old").config.digest;
    world
        .containerd
        .hold("k8s.io", |held| old.hold_as(held, &hex));
    assert_refused(
        &world,
        old.unpack(),
        &[("containerd-namespace", "k8s.io")],
        "not-local",
    );
    // Nor is a full name, which an archive can give itself: a registry that was asked for it has
    // left its mark.
    world.containerd.hold("k8s.io", |held| {
        held.images.push((
            "docker.io/library/old:1".to_owned(),
            old.index.digest.clone(),
        ));
    });
    assert_refused(
        &world,
        old.unpack(),
        &[("containerd-namespace", "k8s.io")],
        "no-rule",
    );
    let mark = |repository: &'static str| {
        move |held: &mut crate::containerd::Held| {
            let labels = held.blobs.iter_mut().map(|blob| &mut blob.labels);
            labels.for_each(|labels| {
                _ = labels.insert(
                    "containerd.io/distribution.source.docker.io".to_owned(),
                    repository.to_owned(),
                );
            });
        }
    };
    world.containerd.hold("k8s.io", mark("elsewhere/old"));
    assert_refused(
        &world,
        old.unpack(),
        &[("containerd-namespace", "k8s.io")],
        "no-rule",
    );
    world
        .containerd
        .hold("k8s.io", mark("elsewhere/old,library/old"));
    assert_allowed(&world, old.unpack(), &[("containerd-namespace", "k8s.io")]);
}

#[test]
fn an_imported_index_tells_its_own_name_and_must_be_signed_for_it() {
    let Some(world) = World::new("g-import") else {
        return;
    };
    let image = Image::named("imported").claimed(V1);
    // What is signed is the manifest, and the archive's index is only where the name stands.
    world.sign(&image.manifest.digest);
    world
        .containerd
        .hold("default", |held| image.clone().without_labels().hold(held));
    let _daemon = world.start();
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
    let evil = Image::named("evil").claimed(V1);
    world
        .containerd
        .hold("default", |held| evil.clone().without_labels().hold(held));
    assert_refused(&world, evil.unpack(), &[IN_DEFAULT], "digest-mismatch");
}

#[test]
fn a_name_whose_host_the_client_typed_in_upper_case_is_the_same_name() {
    let Some((world, _daemon, image)) = host("g-upper") else {
        return;
    };
    let evil = Image::named("evil");
    world.containerd.hold("default", |held| {
        held.images.clear();
        image.hold_as(held, "R.Test/team/app:v1");
        evil.hold_as(held, "R.TEST/team/app:v2");
    });
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
    assert_refused(&world, evil.unpack(), &[IN_DEFAULT], "no-statement");
    let annotated = image.unpack_with(&[(IMAGE_REF, "R.TEST/team/app:v1")]);
    assert_allowed(&world, annotated, &[IN_DEFAULT]);
    world.containerd.hold("source", |held| {
        image.hold(held);
        for blob in &mut held.blobs {
            blob.labels.insert(
                "containerd.io/distribution.source.R.TEST".to_owned(),
                "team/app".to_owned(),
            );
        }
    });
    assert_allowed(
        &world,
        image.unpack(),
        &[("containerd-namespace", "source")],
    );
    let asked = world.verifier("R.TEST/team/app:v1", &image.index.digest);
    assert_eq!(asked.code, 0, "{asked:?}");
    let asked = world.verifier("R.TEST/team/app:v1", &evil.index.digest);
    assert_eq!(asked.code, 1, "{asked:?}");
}

#[test]
fn a_source_label_is_a_name_without_a_tag() {
    let Some((world, _daemon, image)) = host("g-source") else {
        return;
    };
    let labelled = |image: &Image, held: &mut crate::containerd::Held| {
        image.hold(held);
        for blob in &mut held.blobs {
            blob.labels.insert(
                "containerd.io/distribution.source.r.test".to_owned(),
                "team/app,team/other".to_owned(),
            );
        }
    };
    world
        .containerd
        .hold("source", |held| labelled(&image, held));
    // The second question finds the ledger's row of the first, as the next layer of the image
    // would.
    for _ in 0..2 {
        assert_allowed(
            &world,
            image.unpack(),
            &[("containerd-namespace", "source")],
        );
    }
    let unsigned = Image::named("unsigned");
    world
        .containerd
        .hold("source-2", |held| labelled(&unsigned, held));
    assert_refused(
        &world,
        unsigned.unpack(),
        &[("containerd-namespace", "source-2")],
        "no-statement",
    );
}

#[test]
fn a_layer_that_is_to_be_decrypted_or_carries_a_forged_pass_is_refused() {
    let Some((world, _daemon, image)) = host("g-payload") else {
        return;
    };
    let with = |name: &str, value: &[u8]| {
        let mut message = image.unpack();
        message.payloads.insert(
            name.to_owned(),
            prost_types::Any {
                type_url: name.to_owned(),
                value: value.to_vec(),
            },
        );
        message
    };
    assert_refused(
        &world,
        with("io.containerd.ocicrypt.v1.Payload", b"key"),
        &[IN_DEFAULT],
        "malformed",
    );
    for value in [&b""[..], b"0", &[b'0'; 32], b"\xff"] {
        for door in ["gate", "apply"] {
            let status = world
                .unpack(door, with("io.rootpin.pass", value), &[IN_DEFAULT])
                .unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (
                    Code::FailedPrecondition,
                    "rootpin: refused: a pass that this gate did not give"
                )
            );
        }
    }
}

#[test]
fn a_containerd_that_is_gone_or_silent_is_a_refusal_within_the_deadline() {
    let Some(mut world) = World::new("g-silent") else {
        return;
    };
    world.deadline = "2s";
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    let _daemon = world.start();
    world.containerd.hang(true);
    // An applying gate that is told neither has nothing to ask containerd.
    for (headers, doors) in [
        (&[IN_DEFAULT][..], &["gate", "apply"][..]),
        (&[("containerd-lease", "one")], &["gate", "apply"]),
        (&[], &["gate"]),
    ] {
        for door in doors {
            let begun = Instant::now();
            let status = world.unpack(door, image.unpack(), headers).unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            assert!(status.message().contains("over-limit"), "{status:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(4),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    let other = World::new("g-gone").unwrap();
    std::fs::remove_file(other.path("containerd")).unwrap();
    let _daemon = other.start();
    assert_refused(&other, image.unpack(), &[IN_DEFAULT], "source-unreachable");
}

// The gate that has the layer applied.

#[test]
fn a_judged_layer_is_applied_by_containerd_in_the_callers_namespace_and_lease_and_passes_the_gate_once()
 {
    let Some((world, _daemon, image)) = host("a-passes") else {
        return;
    };
    world
        .containerd
        .differ(Differ::AsksGate(world.path("gate")));
    let applied = world
        .unpack(
            "apply",
            image.unpack(),
            &[IN_DEFAULT, ("containerd-lease", "lease-1")],
        )
        .unwrap();
    assert_eq!(applied.applied.unwrap().digest, image.layer.digest);
    let asked = world.containerd.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].namespace.as_deref(), asked[0].lease.as_deref()),
        (Some("default"), Some("lease-1"))
    );
    let again = world
        .unpack("gate", asked[0].message.clone(), &[IN_DEFAULT])
        .unwrap_err();
    assert_eq!(
        again.message(),
        "rootpin: refused: a pass that this gate did not give"
    );
    assert_eq!(
        world.audit().len(),
        1,
        "the nested question is the same one"
    );
}

#[test]
fn a_layer_that_is_refused_is_never_handed_on() {
    let Some((world, _daemon, _)) = host("a-refuses") else {
        return;
    };
    let evil = Image::named("evil");
    world
        .containerd
        .hold("default", |held| evil.hold_as(held, "r.test/team/app:v2"));
    let status = world
        .unpack("apply", evil.unpack(), &[IN_DEFAULT])
        .unwrap_err();
    assert!(
        status.code() == Code::FailedPrecondition && status.message().contains("no-statement"),
        "{status:?}"
    );
    assert!(world.containerd.asked().is_empty());
}

#[test]
fn an_applying_gate_that_is_asked_by_itself_refuses() {
    let Some((world, _daemon, image)) = host("a-itself") else {
        return;
    };
    world
        .containerd
        .differ(Differ::AsksGate(world.path("apply")));
    let status = world
        .unpack("apply", image.unpack(), &[IN_DEFAULT])
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("was asked by itself"),
        "{status:?}"
    );
}

#[test]
fn whatever_containerd_answers_to_the_nested_call_it_is_not_taken_for_allowed() {
    let Some((world, _daemon, image)) = host("a-answers") else {
        return;
    };
    for code in [Code::Unimplemented, Code::AlreadyExists] {
        world.containerd.differ(Differ::Says(code));
        let status = world
            .unpack("apply", image.unpack(), &[IN_DEFAULT])
            .unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }
    world
        .containerd
        .differ(Differ::Says(Code::ResourceExhausted));
    let status = world
        .unpack("apply", image.unpack(), &[IN_DEFAULT])
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "containerd's own words")
    );
}

#[test]
fn a_caller_whose_namespace_cannot_be_told_gets_nothing_applied() {
    let Some((world, _daemon, image)) = host("a-lease") else {
        return;
    };
    world
        .containerd
        .hold("default", |held| held.leases.push("one".to_owned()));
    for namespace in ["default", "k8s.io"] {
        world
            .containerd
            .hold(namespace, |held| held.leases.push("both".to_owned()));
    }
    world
        .containerd
        .hold("k8s.io", |held| image.hold_as(held, V1));
    world
        .unpack("apply", image.unpack(), &[("containerd-lease", "one")])
        .unwrap();
    assert_eq!(
        world.containerd.asked()[0].namespace.as_deref(),
        Some("default")
    );
    for headers in [
        &[("containerd-lease", "both")][..],
        &[("containerd-lease", "unknown")],
        &[],
    ] {
        let status = world.unpack("apply", image.unpack(), headers).unwrap_err();
        assert!(
            status.code() == Code::FailedPrecondition
                && status.message().contains("namespace is not known"),
            "{status:?}"
        );
    }
    // One namespace alone holds this layer, and is not guessed.
    let alone = Image::named("alone").claimed(V1);
    world
        .containerd
        .hold("k8s.io", |held| alone.hold_as(held, V1));
    let status = world
        .unpack("apply", alone.unpack(), &[("containerd-lease", "unknown")])
        .unwrap_err();
    assert!(
        status.message().contains("namespace is not known"),
        "{status:?}"
    );
    assert_eq!(world.containerd.asked().len(), 1);
}

// The self-check.

#[test]
fn the_gate_is_proven_only_by_our_own_refusal_coming_back() {
    let Some(mut world) = World::new("g-canary") else {
        return;
    };
    world.deadline = "1s";
    let state = |differ: Option<Differ>| {
        world.containerd.hang(differ.is_none());
        if let Some(differ) = differ {
            world.containerd.differ(differ);
        }
        let daemon = world.start();
        let door = world.door("gate");
        let red = world.rootpin(&["status"]).code;
        let metric = world.rootpin(&["metrics"]).out;
        assert_eq!(daemon.stop().0, 0);
        let proven = door["state"] == "proven";
        assert_eq!(red, i32::from(!proven));
        assert!(
            metric.contains(&format!(
                "\nrootpin_canary_ok{{engine=\"main\"}} {}\n",
                i32::from(proven)
            )),
            "{metric}"
        );
        (
            door["state"].as_str().unwrap().to_owned(),
            door["detail"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        state(Some(Differ::AsksGate(world.path("gate")))).0,
        "proven"
    );
    for (differ, detail) in [
        (Some(Differ::Applies), "applied a layer that does not exist"),
        (Some(Differ::Says(Code::Unimplemented)), "Unimplemented"),
        (
            Some(Differ::Says(Code::FailedPrecondition)),
            "containerd's own words",
        ),
        (
            Some(Differ::AsksGate(world.path("apply"))),
            "was asked by itself",
        ),
        (None, "no answer"),
    ] {
        let (state, found) = state(differ);
        assert!(
            state == "not checked" && found.contains(detail),
            "{state}: {found}"
        );
        assert_eq!(
            found.starts_with("NOT ASKED"),
            detail != "no answer",
            "{found}"
        );
    }
}

#[test]
fn a_door_without_a_self_check_is_proven_by_a_question_and_by_nothing_else() {
    let Some((world, daemon, image)) = host("g-doors") else {
        return;
    };
    let none = "containerd has no differ at this socket";
    assert_eq!(
        world.door_when("apply", |door| door["detail"] == none)["state"],
        "not checked"
    );
    assert_eq!(
        world.door_when("verifier", |_| true)["state"],
        "not checked"
    );
    world.containerd.proxy(&world.path("apply"));
    world.door_when("apply", |door| door["state"] == "configured");
    assert_eq!(world.verifier(V1, &image.index.digest).code, 0);
    world
        .unpack("apply", image.unpack(), &[IN_DEFAULT])
        .unwrap();
    assert_eq!(
        (
            &world.door("verifier")["state"],
            &world.door("apply")["state"]
        ),
        (&"proven".into(), &"proven".into())
    );
    assert_eq!(daemon.stop().0, 0);
    let _daemon = world.start();
    assert_eq!(
        world.door_when("verifier", |_| true)["state"],
        "not checked",
        "another daemon's questions prove nothing"
    );
}

#[test]
fn a_policy_that_names_a_registry_with_a_port_matches_labels_without_one() {
    let Some(world) = World::new("g-port") else {
        return;
    };
    let image = Image::named("ported");
    let mut publisher = Publisher::new("r.test:5000/team/app");
    publisher.tag("v1", &image.index.digest, 7);
    world.notary.publish(&publisher);
    let policy = world
        .policy()
        .replace("\"r.test/team/*\"", "\"r.test:5000/team/*\"");
    world.write_policy(&policy.replace(
        &Publisher::new(GUN).root_key().id(),
        &publisher.root_key().id(),
    ));
    world.containerd.hold("default", |held| {
        image.hold(held);
        for blob in &mut held.blobs {
            blob.labels.insert(
                "containerd.io/distribution.source.r.test".to_owned(),
                "team/app".to_owned(),
            );
        }
    });
    let _daemon = world.start();
    assert_allowed(&world, image.unpack(), &[IN_DEFAULT]);
}

#[test]
fn a_layer_that_is_being_unpacked_at_a_stop_is_unpacked_to_its_end_and_every_door_answers_meanwhile()
 {
    let Some(mut world) = World::new("g-stop") else {
        return;
    };
    world.deadline = "1s";
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    let daemon = world.start();
    let go_on = std::sync::Arc::new(tokio::sync::Notify::new());
    world
        .containerd
        .differ(Differ::Waits(std::sync::Arc::clone(&go_on)));
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| world.unpack("apply", image.unpack(), &[IN_DEFAULT]));
        while world.containerd.asked().is_empty() {
            std::thread::yield_now();
        }
        daemon.signal("-TERM");
        // Longer than a question may take, by far.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            let (code, text) = code(&world, image.unpack(), &[IN_DEFAULT]);
            assert_eq!(code, Code::Unimplemented, "{text}");
            let name = format!("{V1}@{}", image.index.digest);
            assert_eq!(world.rootpin(&["verify", &name]).code, 0);
        }
        go_on.notify_one();
        assert!(unpacking.join().unwrap().is_ok());
    });
    assert_eq!(daemon.end().0, 0);
}

//! Where containerd publishes what comes into its store, no question of the gate lists it, and the
//! answer is that of a listing.

use std::time::{Duration, Instant};

use containerd_client::events::ContentCreate;
use containerd_client::services::v1::{ApplyRequest, ImageCreate};
use prost::Message as _;
use serde_json::json;
use tonic::Code;

use crate::containerd::{Blob, Held};
use crate::world::{Daemon, GUN, Image, PATIENCE, World, blob, indexes_over};

const V1: &str = "r.test/team/app:v1";
const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
const SOURCE: &str = "containerd.io/distribution.source.r.test";

fn answer_in(world: &World, namespace: &str, message: ApplyRequest) -> (Code, String) {
    let namespace = [("containerd-namespace", namespace)];
    let status = world.unpack("gate", message, &namespace).unwrap_err();
    (status.code(), status.message().to_owned())
}

/// The answer in the first namespace, and how often blobs were listed for it.
fn answer(world: &World, message: ApplyRequest) -> (String, usize) {
    counted(world, "default", message)
}

fn counted(world: &World, namespace: &str, message: ApplyRequest) -> (String, usize) {
    let before = world.containerd.blobs_listed();
    let (code, text) = answer_in(world, namespace, message);
    let shown = match code {
        Code::Unimplemented => "allowed".to_owned(),
        // The layer, then the code of the refusal.
        _ => text.split(": found ").next().unwrap().to_owned(),
    };
    (shown, world.containerd.blobs_listed() - before)
}

/// A daemon that follows the namespace.
fn following(world: &World) -> Daemon {
    let daemon = world.start();
    until_followed(world, "default");
    daemon
}

/// Asks until nothing is listed for a layer that is nowhere.
fn until_followed(world: &World, namespace: &str) {
    let nowhere = Image::named("nowhere");
    let begun = Instant::now();
    while counted(world, namespace, nowhere.unpack()).1 > 0 {
        assert!(begun.elapsed() < PATIENCE, "the namespace is not followed");
    }
}

/// One with a store that has another image, so that there is a namespace.
fn world(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world.containerd.publishes();
    let other = Image::named("other");
    world.containerd.hold("default", |held| other.hold(held));
    Some((world, image))
}

/// An index and a manifest that nothing is unpacked of.
fn pulled_before(held: &mut Held, number: usize) {
    let manifest = blob(json!({"number": number}).to_string().into_bytes());
    let name = format!("r.test/team/other{number}:v1");
    held.images.push((name, manifest.digest.clone()));
    held.blobs.push(manifest);
}

#[test]
fn the_first_layer_of_a_new_image_costs_the_same_among_five_hundred_documents_as_alone() {
    let cost = |others: usize| {
        let (world, image) = world(&format!("gi-cost-{others}"))?;
        world.containerd.hold("default", |held| {
            (0..others).for_each(|number| pulled_before(held, number));
            // The sweep asks about each record.
            held.images.clear();
        });
        let daemon = following(&world);
        // Pulled as containerd 1.7's and 2.1's clients do, without annotation and record.
        world.containerd.hold("default", |held| {
            let before = held.blobs.len();
            image.hold(held);
            for blob in &mut held.blobs[before..] {
                blob.labels.insert(SOURCE.to_owned(), "team/app".to_owned());
            }
        });
        let costs = (0..20).map(|_| {
            let (requests, _) = world.containerd.load();
            assert_eq!(answer(&world, image.unpack()), ("allowed".to_owned(), 0));
            world.containerd.load().0 - requests
        });
        let least = costs.min();
        assert_eq!(daemon.stop().0, 0);
        least
    };
    let Some(alone) = cost(0) else {
        return;
    };
    assert_eq!(Some(alone), cost(500), "requests");
    // The layer, its manifest, index and configuration, and one mark.
    assert!(alone <= 5, "{alone}");
}

/// Makes the question.
type Asked = fn(&Image) -> ApplyRequest;
/// A change of the host.
type Change = fn(&mut Held, &Image);

fn with_source(held: &mut Held, of: &[&Blob], repository: &str) {
    for blob in &mut held.blobs {
        if of.iter().any(|one| one.digest == blob.digest) {
            blob.labels.insert(SOURCE.to_owned(), repository.to_owned());
        }
    }
}

fn unlabelled(held: &mut Held) {
    for blob in &mut held.blobs {
        blob.labels.clear();
    }
}

/// Each change is made after the namespace was followed; the answer is compared with that of a daemon
/// that starts afterwards, at a containerd that publishes nothing.
#[test]
fn whatever_comes_into_the_store_the_answer_without_a_listing_is_that_of_a_listing() {
    let plain: Asked = Image::unpack;
    let cases: [(&str, &str, Change, Asked); 15] = [
        ("nothing", "refused", |_, _| {}, plain),
        (
            "the image with its record",
            "allowed",
            |held, image| image.hold_as(held, V1),
            plain,
        ),
        (
            "the image without labels, and its record",
            "allowed",
            |held, image| {
                image.hold_as(held, V1);
                unlabelled(held);
            },
            plain,
        ),
        (
            "a record that is not signed",
            "no-statement",
            |held, image| {
                image.hold_as(held, &format!("{GUN}:v2"));
            },
            plain,
        ),
        (
            "a record that is not signed, and bytes of the signed repository",
            "no-statement",
            |held, image| {
                image.hold_as(held, &format!("{GUN}:v2"));
                with_source(
                    held,
                    &[&image.layer, &image.manifest, &image.index],
                    "team/app",
                );
            },
            plain,
        ),
        (
            "a record that no rule covers, of a second index above",
            "no-rule",
            |held, image| {
                image.hold(held);
                with_source(
                    held,
                    &[&image.layer, &image.manifest, &image.index],
                    "team/app",
                );
                let above = indexes_over(&image.index, 1).remove(0);
                held.images
                    .push(("r.other/app:v1".to_owned(), above.digest.clone()));
                held.blobs.push(above);
            },
            plain,
        ),
        (
            "no record, the label of the signed repository",
            "allowed",
            |held, image| {
                image.hold(held);
                with_source(held, &[&image.layer], "team/app");
            },
            plain,
        ),
        (
            "no record, the label on the configuration alone",
            "allowed",
            |held, image| {
                image.hold(held);
                with_source(held, &[&image.config], "team/app");
            },
            plain,
        ),
        (
            "no record, the label of a repository without a rule",
            "refused",
            |held, image| {
                image.hold(held);
                with_source(held, &[&image.manifest], "elsewhere/app");
            },
            plain,
        ),
        (
            "indexes that are nested deeper than any image has",
            "refused",
            |held, image| {
                image.hold(held);
                held.blobs.extend(indexes_over(&image.index, 6));
            },
            plain,
        ),
        (
            "the image, and then no longer its index",
            "refused",
            |held, image| {
                image.hold_as(held, V1);
                held.blobs.retain(|blob| blob.digest != image.index.digest);
            },
            plain,
        ),
        (
            "an imported index that claims the signed name for other bytes",
            "digest-mismatch",
            |held, image| {
                image.claimed(V1).hold(held);
            },
            |image| image.claimed(V1).unpack(),
        ),
        (
            "an annotation with the signed name",
            "allowed",
            |held, image| image.hold(held),
            |image| {
                image.unpack_with(&[(IMAGE_REF, V1), (MANIFEST_DIGEST, &image.manifest.digest)])
            },
        ),
        (
            "an annotation with a name that is not signed",
            "no-statement",
            |held, image| image.hold_as(held, V1),
            |image| {
                let name = format!("{GUN}:v2");
                image.unpack_with(&[
                    (IMAGE_REF, &name),
                    (MANIFEST_DIGEST, &image.manifest.digest),
                ])
            },
        ),
        (
            "an annotation with a manifest of other layers",
            "malformed",
            |held, image| image.hold_as(held, V1),
            |image| {
                let other = Image::named("other").manifest.digest;
                image.unpack_with(&[(IMAGE_REF, V1), (MANIFEST_DIGEST, &other)])
            },
        ),
    ];
    for (number, (what, wanted, change, message)) in cases.into_iter().enumerate() {
        let Some((followed, image)) = world(&format!("gi-case-{number}")) else {
            return;
        };
        let daemon = following(&followed);
        followed
            .containerd
            .hold("default", |held| change(held, &image));
        let (by_index, listings) = answer(&followed, message(&image));
        assert_eq!(listings, 0, "{what}");
        assert_eq!(daemon.stop().0, 0);
        let listed = World::new(&format!("gi-listed-{number}")).unwrap();
        listed.sign(&image.index.digest);
        listed.containerd.hold("default", |held| {
            Image::named("other").hold(held);
            change(held, &image);
        });
        let daemon = listed.start();
        let (by_listing, listings) = answer(&listed, message(&image));
        assert!(listings > 0, "{what}");
        assert_eq!(daemon.stop().0, 0);
        assert_eq!(by_index, by_listing, "{what}");
        assert!(by_index.contains(wanted), "{what}: {by_index}");
    }
}

#[test]
fn labels_that_change_without_an_event_are_seen() {
    let Some((world, image)) = world("gi-labels") else {
        return;
    };
    let _daemon = following(&world);
    world.containerd.hold("default", |held| image.hold(held));
    let (before, _) = answer(&world, image.unpack());
    assert!(before.contains("refused"), "{before}");
    world.containerd.hold("default", |held| {
        with_source(held, &[&image.layer], "team/app");
    });
    assert_eq!(answer(&world, image.unpack()), ("allowed".to_owned(), 0));
    // As a pull of one platform leaves an index: its labels name another manifest alone. A listing
    // would not look at it, so it leads to no name here either.
    world.containerd.hold("default", |held| {
        let index = held
            .blobs
            .iter_mut()
            .find(|blob| blob.digest == image.index.digest);
        let other = Image::named("other").manifest.digest;
        index.unwrap().labels = [("containerd.io/gc.ref.content.m.0".to_owned(), other)].into();
    });
    let (after, listings) = answer(&world, image.unpack());
    assert!(after.contains("refused") && listings == 0, "{after}");
}

#[test]
fn what_came_while_the_events_were_cut_off_is_found_by_a_listing() {
    let Some((world, image)) = world("gi-cut") else {
        return;
    };
    let _daemon = following(&world);
    world.containerd.cut();
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    assert_eq!(answer(&world, image.unpack()).0, "allowed");
    // It follows again, and knows what it missed.
    until_followed(&world, "default");
    let manifest = image.manifest.digest.clone();
    world.containerd.hold("default", |held| {
        held.images = vec![(format!("{GUN}:v2"), manifest)];
    });
    let (shown, listings) = answer(&world, image.unpack());
    assert!(shown.contains("no-statement") && listings == 0, "{shown}");
}

#[test]
fn a_namespace_in_which_very_much_happens_changes_no_answer_in_another() {
    let Some((world, image)) = world("gi-flood") else {
        return;
    };
    world
        .containerd
        .hold("tenant", |held| Image::named("tenant").hold(held));
    let _daemon = following(&world);
    // Also documents that list the layer, in a namespace that is not asked about.
    world.containerd.hold("tenant", |held| {
        for number in 0..500 {
            pulled_before(held, number);
        }
        image.hold_as(held, "r.other/app:v1");
        held.blobs.extend(indexes_over(&image.index, 4));
    });
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    let begun = Instant::now();
    let (shown, _) = answer(&world, image.unpack());
    assert_eq!(shown, "allowed");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let (code, text) = answer_in(&world, "tenant", image.unpack());
    assert_eq!(code, Code::FailedPrecondition, "{text}");
}

#[test]
fn an_event_that_is_not_true_admits_nothing_and_costs_no_answer() {
    let Some((world, image)) = world("gi-stranger") else {
        return;
    };
    let unsigned = Image::named("unsigned");
    let _daemon = following(&world);
    world.containerd.hold("default", |held| {
        image.hold_as(held, V1);
        unsigned.hold_as(held, &format!("{GUN}:v2"));
    });
    let blob = |digest: &str, size| {
        let digest = digest.to_owned();
        ContentCreate { digest, size }.encode_to_vec()
    };
    let record = |name: &str| {
        let name = name.to_owned();
        ImageCreate {
            name,
            ..ImageCreate::default()
        }
        .encode_to_vec()
    };
    let nowhere = format!("sha256:{}", "0".repeat(64));
    for (topic, value) in [
        ("/content/create", blob(&nowhere, 7)),
        ("/content/create", blob(&unsigned.manifest.digest, -1)),
        ("/content/create", blob(&unsigned.manifest.digest, i64::MAX)),
        ("/content/create", blob("sha512:x", 7)),
        ("/images/create", record(&format!("{GUN}:v9"))),
        ("/images/create", record("")),
        ("/rootpin/mark/00", Vec::new()),
        ("/images/update", b"\xff".to_vec()),
        ("/content/create", b"\xff".to_vec()),
    ] {
        world.containerd.publish("default", topic, value);
        assert_eq!(answer(&world, image.unpack()).0, "allowed", "{topic}");
        let (shown, _) = answer(&world, unsigned.unpack());
        assert!(shown.contains("no-statement"), "{topic}: {shown}");
    }
}

#[test]
fn a_layer_of_more_images_than_are_asked_for_one_by_one_is_found_by_a_listing() {
    let Some((world, image)) = world("gi-many") else {
        return;
    };
    let _daemon = following(&world);
    world.containerd.hold("default", |held| {
        image.hold_as(held, V1);
        for number in 0..300 {
            let name = format!("r.other/app:v{number}");
            held.images.push((name, image.index.digest.clone()));
        }
    });
    // A hint leads to four of the names.
    let (shown, listings) = answer(&world, image.unpack());
    assert_eq!(shown, "allowed");
    assert!(listings > 0);
}

#[test]
fn a_record_that_is_renamed_while_the_index_leads_to_it_is_found_under_its_new_name() {
    let Some((world, image)) = world("gi-renamed") else {
        return;
    };
    let _daemon = following(&world);
    let before = "r.other/app:v1";
    world
        .containerd
        .hold("default", |held| image.hold_as(held, before));
    // Hints lead to the record first.
    let new = format!("{GUN}:v2");
    world.containerd.renames(before, &new, 1);
    let (shown, listings) = answer(&world, image.unpack());
    assert!(shown.contains("no-statement") && listings == 0, "{shown}");
    assert_eq!(world.containerd.names("default"), [new]);
}

#[test]
fn what_lies_above_a_layer_is_asked_for_at_once() {
    let plain: Asked = Image::unpack;
    let hinted: Asked =
        |image| image.unpack_with(&[(IMAGE_REF, V1), (MANIFEST_DIGEST, &image.manifest.digest)]);
    // By hints its manifest and index; else the layer and its configuration too.
    for (name, count, message) in [("hints", 2, hinted), ("index", 4, plain)] {
        let Some((world, image)) = world(&format!("gi-at-once-{name}")) else {
            return;
        };
        let _daemon = following(&world);
        world.containerd.hold("default", |held| {
            image.hold(held);
            with_source(held, &[&image.layer], "team/app");
        });
        // The first question reads the documents.
        assert_eq!(answer(&world, message(&image)), ("allowed".to_owned(), 0));
        world
            .containerd
            .answers_together("content.v1.Content/Info", count);
        assert_eq!(answer(&world, message(&image)), ("allowed".to_owned(), 0));
    }
}

#[test]
fn a_containerd_that_does_not_say_what_it_has_of_one_blob_is_asked_for_a_listing_in_time() {
    let Some((world, image)) = world("gi-slow") else {
        return;
    };
    let _daemon = following(&world);
    world.containerd.hold("default", |held| {
        image.hold_as(held, &format!("{GUN}:v2"));
    });
    world
        .containerd
        .hang_on("default", "content.v1.Content/Info");
    let (shown, listings) = answer(&world, image.unpack());
    assert!(shown.contains("no-statement") && listings > 0, "{shown}");
}

#[test]
fn a_read_that_hangs_in_one_namespace_ends_the_following_of_no_other() {
    let Some((world, image)) = world("gi-hangs") else {
        return;
    };
    world
        .containerd
        .hold("tenant", |held| Image::named("tenant").hold(held));
    let _daemon = following(&world);
    until_followed(&world, "tenant");
    world
        .containerd
        .hang_on("tenant", "content.v1.Content/Read");
    world
        .containerd
        .hold("tenant", |held| pulled_before(held, 1));
    world
        .containerd
        .hold("default", |held| image.hold_as(held, &format!("{GUN}:v2")));
    let (shown, listings) = answer(&world, image.unpack());
    assert!(shown.contains("no-statement") && listings > 0, "{shown}");
    until_followed(&world, "default");
    let (shown, listings) = answer(&world, image.unpack());
    assert!(shown.contains("no-statement") && listings == 0, "{shown}");
}

#[test]
fn while_a_question_lists_the_follower_reads_little() {
    const DOCUMENTS: usize = 1000;
    let Some(world) = World::new("gi-stands-back") else {
        return;
    };
    world.containerd.hold("default", |held| {
        (0..DOCUMENTS).for_each(|number| pulled_before(held, number));
        held.images.clear();
    });
    world
        .containerd
        .hold("tenant", |held| pulled_before(held, 0));
    world
        .containerd
        .hang_on("tenant", "content.v1.Content/Read");
    let _daemon = world.start();
    let meanwhile = std::thread::scope(|scope| {
        let asked = || answer_in(&world, "tenant", Image::named("tenant").unpack());
        let (listed, begun) = (world.containerd.blobs_listed(), Instant::now());
        let question = scope.spawn(asked);
        while world.containerd.blobs_listed() == listed {
            assert!(begun.elapsed() < PATIENCE, "nothing is listed");
            std::thread::yield_now();
        }
        // The follower begins only now.
        let (before, _) = world.containerd.load();
        world.containerd.publishes();
        let (code, text) = question.join().unwrap();
        assert_eq!(code, Code::FailedPrecondition, "{text}");
        world.containerd.load().0 - before
    });
    assert!(meanwhile < DOCUMENTS / 2, "{meanwhile} requests");
    until_followed(&world, "default");
}

/// The image, with so much white space before its manifest, and an index that says of the manifest
/// that it has this size.
fn padded(image: &Image, padding: usize, size: Option<usize>) -> (Image, Blob) {
    let mut bytes = b" ".repeat(padding);
    bytes.extend(&image.manifest.bytes);
    let manifest = blob(bytes);
    let index = |size: usize| {
        let mut index: serde_json::Value = serde_json::from_slice(&image.index.bytes).unwrap();
        index["manifests"][0]["digest"] = json!(manifest.digest);
        index["manifests"][0]["size"] = json!(size);
        blob(index.to_string().into_bytes())
    };
    let whole = manifest.bytes.len();
    let (own, other) = (index(whole), index(size.unwrap_or(whole)));
    let image = Image {
        layer: image.layer.clone(),
        config: image.config.clone(),
        manifest,
        index: own,
    };
    (image, other)
}

#[test]
fn an_index_that_gives_a_manifest_another_size_hides_it_from_no_question() {
    let cases = [(1, Some(1)), (20_000, Some(17_000)), (20_000, None)];
    for (number, (padding, size)) in cases.into_iter().enumerate() {
        let Some((world, image)) = world(&format!("gi-size-{number}")) else {
            return;
        };
        let (image, other) = padded(&image, padding, size);
        world.sign(&image.index.digest);
        let daemon = world.start();
        world.containerd.hold("default", |held| {
            held.images
                .push(("r.other/app:v1".to_owned(), other.digest.clone()));
            held.blobs.extend([image.manifest.clone(), other.clone()]);
        });
        // It looks at each record's documents.
        world.rootpin_json(&["sweep"]);
        world.containerd.hold("default", |held| {
            held.blobs.clear();
            image.hold_as(held, V1);
            unlabelled(held);
        });
        let (shown, _) = answer(&world, image.unpack());
        assert_eq!(shown, "allowed", "{padding} {size:?}");
        assert_eq!(daemon.stop().0, 0);
    }
}

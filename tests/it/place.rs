//! Publishing to places: a registry that keeps what it is given, and what happens between two
//! publishers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use rootpin::publish::place::{
    MetadataFiles, PlaceContent, PlaceError, PublishPlace, Unmerged, WriteOutcome,
};
use rootpin::sources::Credentials;
use rootpin_policy::MetadataUrl;
use rootpin_trust::image::Digest;

use crate::registry::{Registry, response};

fn state(text: &str) -> MetadataFiles {
    [
        "1.root.json",
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
        "1.team.json",
        "waiting/team.json",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), format!("{text} in {name}").into_bytes()))
    .collect()
}

fn write_of(found: &str, files: &str) -> Unmerged {
    Unmerged {
        found: Some(state(found)),
        files: state(files),
    }
}

async fn read(place: &PublishPlace) -> PlaceContent {
    place.read(&MetadataFiles::new()).await.unwrap()
}

async fn done(place: &PublishPlace, files: &MetadataFiles, publisher: &str) {
    let at = read(place).await.at;
    assert!(matches!(
        place.write(&at, files, publisher).await.unwrap(),
        WriteOutcome::Done(_)
    ));
}

#[tokio::test]
async fn what_was_published_is_read_and_nothing_that_is_there_is_sent_or_fetched_again() {
    let registry = Registry::start().await;
    let place = registry.place();
    assert!(read(&place).await.files.is_empty());
    let mut files = state("one");
    done(&place, &files, "aa").await;
    let found = read(&place).await;
    assert_eq!(found.files, files);
    assert!(found.unmerged.is_empty());
    assert_eq!(
        registry.tags(),
        ["latest", "rootpin-aa", "team"],
        "a delegated role has a tag of its own for Docker's readers"
    );
    files.insert("timestamp.json".to_owned(), b"two".to_vec());
    registry.held.lock().unwrap().asked.clear();
    let WriteOutcome::Done(at) = place.write(&found.at, &files, "aa").await.unwrap() else {
        panic!()
    };
    let asked = registry.held.lock().unwrap().asked.clone();
    assert_eq!(
        asked.iter().filter(|line| line.starts_with("POST")).count(),
        1,
        "{asked:?}"
    );
    assert!(!asked.contains(&"PUT /v2/trust/acme/manifests/team".to_owned()));
    registry.held.lock().unwrap().asked.clear();
    assert_eq!(place.read(&files).await.unwrap().files, files);
    assert!(
        registry
            .held
            .lock()
            .unwrap()
            .asked
            .iter()
            .all(|line| !line.contains("/blobs/"))
    );
    files.insert("timestamp.json".to_owned(), b"three".to_vec());
    assert!(matches!(
        place.write(&at, &files, "aa").await.unwrap(),
        WriteOutcome::Done(_)
    ));
}

#[tokio::test]
async fn who_read_before_another_published_is_told_and_its_files_are_not_seen() {
    let registry = Registry::start().await;
    let place = registry.place();
    let early = read(&place).await.at;
    done(&place, &state("one"), "aa").await;
    assert!(matches!(
        place.write(&early, &state("two"), "bb").await.unwrap(),
        WriteOutcome::Lost
    ));
    assert_eq!(read(&place).await.files, state("one"));
}

#[tokio::test]
async fn of_two_that_publish_at_the_same_moment_the_later_one_finds_the_other_s() {
    // The other one writes, all of it, between this one's look at the readers' tag and its own
    // write of it. It has a tag of its own, or the same one.
    let moments = [
        "PUT /v2/trust/acme/manifests/rootpin-bb",
        "PUT /v2/trust/acme/manifests/latest",
    ];
    for (moment, other) in moments
        .into_iter()
        .flat_map(|moment| [(moment, "aa"), (moment, "bb")])
    {
        let registry = Registry::start().await;
        let place = registry.place();
        done(&place, &state("base"), "cc").await;
        let (first, second) = (read(&place).await.at, read(&place).await.at);
        // What it puts is kept back, and comes in at that moment.
        let late: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let before = registry.held.lock().unwrap().tags.clone();
        assert!(matches!(
            place.write(&first, &state("of aa"), other).await.unwrap(),
            WriteOutcome::Done(_)
        ));
        late.lock()
            .unwrap()
            .extend(registry.held.lock().unwrap().tags.clone());
        registry.held.lock().unwrap().tags = before;
        registry.before(move |line, held| {
            if line == moment {
                held.tags.extend(std::mem::take(&mut *late.lock().unwrap()));
            }
            None
        });
        assert!(
            matches!(
                place.write(&second, &state("of bb"), "bb").await.unwrap(),
                WriteOutcome::Lost
            ),
            "{moment} {other}"
        );
        registry.calm();
        let found = read(&place).await;
        let (shown, beside) = if moment.ends_with("latest") {
            ("of bb", "of aa")
        } else {
            ("of aa", "of bb")
        };
        assert_eq!(found.files, state(shown));
        assert_eq!(found.unmerged, [write_of("base", beside)]);
        let merged = state("of both");
        assert!(matches!(
            place.write(&found.at, &merged, "bb").await.unwrap(),
            WriteOutcome::Done(_)
        ));
        let found = read(&place).await;
        assert!(found.files == merged && found.unmerged.is_empty());
    }
}

#[tokio::test]
async fn a_registry_that_fails_now_and_then_is_asked_again() {
    let registry = Registry::start().await;
    let place = registry.place();
    for (status, text) in [(500, "one"), (503, "two"), (429, "three"), (400, "four")] {
        registry.before(move |asked, held| {
            // A registry answers 400 to what it is given, and not to who reads.
            let fails = held.asked.len() % 4 == 0 && (status != 400 || asked.starts_with("PUT"));
            fails.then(|| StatusCode::from_u16(status).unwrap())
        });
        done(&place, &state(text), "aa").await;
        assert_eq!(read(&place).await.files, state(text), "{status}");
    }
    registry.before(|_, _| Some(StatusCode::FORBIDDEN));
    let asked = registry.held.lock().unwrap().asked.len();
    assert!(place.read(&MetadataFiles::new()).await.is_err());
    assert!(
        registry.held.lock().unwrap().asked.len() < asked + 3,
        "what is forbidden is not asked for again"
    );
}

/// Where an upload goes on is told in every form that an address has; a question for what is there
/// may be refused, or be sent elsewhere; and an answer may have a body that nobody asked for.
#[tokio::test]
async fn a_registry_with_manners_of_its_own_is_published_to() {
    let elsewhere = Registry::start().await;
    let moved = format!("http://127.0.0.1:{}/cdn", elsewhere.port);
    for protocols in [None, Some(["h2", "http/1.1"])] {
        for location in [
            "HOST/v2/trust/acme/blobs/uploads/1?state=x",
            "1?state=x",
            "../uploads/1?state=x",
            "//ADDRESS/v2/trust/acme/blobs/uploads/1?state=x",
            "/v2/trust/acme/blobs/uploads/1?state=x#part",
        ] {
            let (registry, scheme) = match protocols {
                None => (Registry::start().await, "http"),
                Some(protocols) => (Registry::start_tls(&protocols).await, "https"),
            };
            let address = format!("127.0.0.1:{}", registry.port);
            let location = location
                .replace("HOST", &format!("{scheme}://{address}"))
                .replace("ADDRESS", &address);
            let moved = moved.clone();
            registry.quirk(move |asked, held| match asked.line {
                line if line.starts_with("POST") => Some(response(
                    202,
                    &[("location", &location), ("content-length", "7")],
                    "go on\r\n",
                )),
                line if line.starts_with("HEAD /v2/trust/acme/blobs/") => {
                    Some(if held.asked.len() % 2 == 0 {
                        response(405, &[("allow", "GET"), ("content-length", "1234")], "")
                    } else {
                        response(307, &[("location", &moved), ("content-length", "99")], "")
                    })
                }
                _ => None,
            });
            elsewhere.quirk(|_, _| Some(response(403, &[], "signed for GET")));
            let hosts = tempfile::tempdir().unwrap();
            registry.stands_for("127.0.0.1:1", hosts.path());
            let url: MetadataUrl = "oci://127.0.0.1:1/trust/acme".parse().unwrap();
            let credentials = Credentials::none().with_hosts(Some(hosts.path().to_owned()));
            let place = PublishPlace::of(&url, &Arc::new(credentials)).unwrap();
            for text in ["one", "two"] {
                done(&place, &state(text), "aa").await;
                assert_eq!(read(&place).await.files, state(text));
            }
        }
    }
}

#[tokio::test]
async fn what_breaks_off_at_any_request_leaves_the_old_state_or_the_new_one_and_is_found_again() {
    for number in 0.. {
        let registry = Registry::start().await;
        let place = registry.place();
        done(&place, &state("old"), "aa").await;
        let at = read(&place).await.at;
        let begin = registry.held.lock().unwrap().asked.len();
        registry.before(move |_, held| {
            (held.asked.len() > begin + number).then_some(StatusCode::INTERNAL_SERVER_ERROR)
        });
        let result = place.write(&at, &state("new"), "bb").await;
        registry.calm();
        let found = read(&place).await;
        let visible = found.files == state("new");
        assert!(visible || found.files == state("old"), "request {number}");
        match result {
            Ok(written) => {
                assert!(
                    matches!(written, WriteOutcome::Done(_)) && visible && number > 20,
                    "request {number}"
                );
                break;
            }
            Err(error) => {
                assert!(error.to_string().contains("answered 500"), "{error}");
                // Nobody is told that nothing came of what others will take up.
                assert_eq!(
                    matches!(error, PlaceError::Unfinished(_)),
                    visible || !found.unmerged.is_empty(),
                    "request {number}: {error}"
                );
            }
        }
        if !visible && !found.unmerged.is_empty() {
            assert_eq!(found.unmerged, [write_of("old", "new")]);
        }
        done(&place, &state("next"), "cc").await;
        assert!(read(&place).await.unmerged.is_empty());
    }
}

#[tokio::test]
async fn writes_that_a_reader_has_not_seen_are_told_in_the_order_in_which_they_were_made() {
    let registry = Registry::start().await;
    let place = registry.place();
    done(&place, &state("base"), "cc").await;
    let before = registry.held.lock().unwrap().tags["latest"].clone();
    // The first of the two by name is the second in time.
    done(&place, &state("one"), "bb").await;
    done(&place, &state("two"), "aa").await;
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("latest".to_owned(), before);
    let found = read(&place).await;
    assert_eq!(
        found.unmerged,
        [write_of("base", "one"), write_of("one", "two")]
    );
    assert!(matches!(
        place.write(&found.at, &state("all"), "cc").await.unwrap(),
        WriteOutcome::Done(_)
    ));
    // One whose beginning is known to nobody any more is shown as such.
    let mut tags = registry.held.lock().unwrap().tags.clone();
    tags.insert("latest".to_owned(), tags["rootpin-bb"].clone());
    tags.remove("rootpin-aa");
    registry.held.lock().unwrap().tags = tags;
    assert_eq!(
        read(&place).await.unmerged,
        [Unmerged {
            found: None,
            files: state("all")
        }]
    );
}

#[tokio::test]
async fn a_role_that_is_called_as_the_readers_tag_takes_nothing_s_place() {
    let registry = Registry::start().await;
    let place = registry.place();
    let mut files = state("one");
    files.insert("1.latest.json".to_owned(), b"a role".to_vec());
    done(&place, &files, "aa").await;
    let asked = registry.held.lock().unwrap().asked.clone();
    assert_eq!(
        asked
            .iter()
            .filter(|line| *line == "PUT /v2/trust/acme/manifests/latest")
            .count(),
        1,
        "{asked:?}"
    );
    assert_eq!(read(&place).await.files, files);
}

#[tokio::test]
async fn a_role_that_is_called_as_an_image_s_tag_does_not_write_over_it() {
    let registry = Registry::start().await;
    let place = registry.place();
    let at = read(&place).await.at;
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{}","size":1}},"layers":[]}}"#,
        Digest::of(b"x")
    );
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("team".to_owned(), image.clone().into_bytes());
    let error = place.write(&at, &state("one"), "aa").await.unwrap_err();
    assert!(
        matches!(error, PlaceError::Taken(_)) && error.to_string().contains("tag team"),
        "{error}"
    );
    let held = registry.held.lock().unwrap();
    assert!(held.tags["team"] == image.into_bytes() && !held.tags.contains_key("latest"));
}

#[tokio::test]
async fn under_a_role_s_own_tag_the_file_before_stays_for_those_who_have_the_old_snapshot() {
    let registry = Registry::start().await;
    let place = registry.place();
    done(&place, &state("one"), "aa").await;
    let mut next = state("two");
    next.insert("2.team.json".to_owned(), next["1.team.json"].clone());
    next.remove("1.team.json");
    done(&place, &next, "aa").await;
    let manifest = String::from_utf8(registry.held.lock().unwrap().tags["team"].clone()).unwrap();
    assert!(
        manifest.contains("\"1.team.json\"") && manifest.contains("\"2.team.json\""),
        "{manifest}"
    );
}

#[tokio::test]
async fn who_was_overtaken_while_its_files_were_sent_shows_readers_nothing() {
    let registry = Registry::start().await;
    let place = registry.place();
    done(&place, &state("base"), "cc").await;
    let at = read(&place).await.at;
    let other: Vec<u8> = String::from_utf8(registry.held.lock().unwrap().tags["latest"].clone())
        .unwrap()
        .replace(r#"\"cc\""#, r#"\"dd\""#)
        .into();
    registry.before(move |line, held| {
        if line == "PUT /v2/trust/acme/manifests/rootpin-aa" {
            held.tags.insert("latest".to_owned(), other.clone());
        }
        None
    });
    assert!(matches!(
        place.write(&at, &state("late"), "aa").await.unwrap(),
        WriteOutcome::Lost
    ));
    registry.calm();
    let found = read(&place).await;
    assert_eq!(found.files, state("base"));
}

#[tokio::test]
async fn a_registry_that_shows_nonsense_is_not_published_to() {
    let wrong = |manifest: &'static str| async move {
        let registry = Registry::start().await;
        registry
            .held
            .lock()
            .unwrap()
            .tags
            .insert("latest".to_owned(), manifest.as_bytes().to_vec());
        let error = registry
            .place()
            .read(&MetadataFiles::new())
            .await
            .unwrap_err();
        assert!(
            matches!(error, PlaceError::Strange(..) | PlaceError::Taken(_)),
            "{error}"
        );
    };
    let digest = Digest::of(b"x");
    let config = format!(r#""config":{{"mediaType":"c","digest":"{digest}","size":1}}"#);
    let manifest = |layers: &str, annotations: &str| -> &'static str {
        format!(r#"{{"schemaVersion":2,{config},"layers":[{layers}],"annotations":{annotations}}}"#)
            .leak()
    };
    wrong("[]").await;
    // An image: it would be written over.
    let layer = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":1}}"#
    );
    wrong(manifest(&layer, "{}")).await;
    wrong(manifest("", r#"{"dev.rootpin.publishers":"[]"}"#)).await;
    wrong(manifest(
        "",
        r#"{"dev.rootpin.publishers":"{\"a\":[-1,1]}"}"#,
    ))
    .await;
    let huge = format!(
        r#"{{"mediaType":"application/vnd.tuf.metadata+json","digest":"{digest}","size":9007199254740991,"annotations":{{"tuf.io/filename":"timestamp.json"}}}}"#
    );
    wrong(manifest(&huge, "{}")).await;
}

#[tokio::test]
async fn a_web_server_is_no_place_to_publish_to() {
    let url: MetadataUrl = "https://trust.example/".parse().unwrap();
    assert!(matches!(
        PublishPlace::of(&url, &Arc::new(Credentials::none())),
        Err(PlaceError::ReadOnly(_))
    ));
}

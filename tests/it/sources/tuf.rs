//! Metadata of TUF from a web server, a registry and a folder.

use rootpin::sources::{TufLocation, TufReader};
use rootpin_policy::MetadataUrl;

use super::*;

fn location(url: &MetadataUrl) -> Arc<TufLocation> {
    Arc::new(
        TufLocation::all(url, &client(Credentials::none()))
            .unwrap()
            .pop()
            .unwrap(),
    )
}

fn web(fake: &Fake) -> Arc<TufLocation> {
    location(&MetadataUrl::Http(format!("{}/meta", fake.url())))
}

fn registry(fake: &Fake) -> Arc<TufLocation> {
    let repository = Repository::from_full(&format!("127.0.0.1:{}/tuf/meta", fake.port)).unwrap();
    location(&MetadataUrl::Oci {
        repository,
        tag: "latest".parse().unwrap(),
    })
}

async fn read(
    reader: &TufReader,
    name: &str,
    role: Option<&str>,
) -> Result<Option<Vec<u8>>, SourceError> {
    reader.get(name, role, 100, soon()).await
}

async fn get(location: &Arc<TufLocation>, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
    read(&location.open(soon()).await?, name, None).await
}

fn manifest(files: &[(&str, &str)]) -> String {
    let layer = |(name, bytes): &(&str, &str)| {
        format!(
            r#"{{"mediaType":"application/vnd.tuf.metadata+json","digest":"{}","size":{},"annotations":{{"tuf.io/filename":"{name}"}}}}"#,
            Digest::of(bytes.as_bytes()),
            bytes.len()
        )
    };
    let layers: Vec<_> = files.iter().map(layer).collect();
    let config = format!(
        r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":0}}"#,
        Digest::of(b"")
    );
    format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        layers.join(",")
    )
}

fn blob(bytes: &str) -> String {
    format!("GET /v2/tuf/meta/blobs/{}", Digest::of(bytes.as_bytes()))
}

#[tokio::test]
async fn a_file_of_a_web_server_is_its_bytes_and_404_is_no_file() {
    let fake = Fake::start(|asked| {
        if asked.line.ends_with("timestamp.json") {
            text("file")
        } else {
            status(404)
        }
    })
    .await;
    assert_eq!(
        get(&web(&fake), "timestamp.json").await,
        Ok(Some(b"file".to_vec()))
    );
    assert_eq!(get(&web(&fake), "1.a%2Fb.json").await, Ok(None));
    let lines: Vec<_> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(
        lines,
        ["GET /meta/timestamp.json", "GET /meta/1.a%2Fb.json"]
    );
}

#[tokio::test]
async fn a_403_is_no_file_where_the_next_root_is_asked_for_and_a_denial_elsewhere() {
    let fake = Fake::start(|_| status(403)).await;
    assert_eq!(get(&web(&fake), "2.root.json").await, Ok(None));
    for name in ["timestamp.json", "1.snapshot.json", "root.json"] {
        assert!(
            matches!(
                get(&web(&fake), name).await,
                Err(SourceError::Denied { status: 403, .. })
            ),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_web_server_s_redirects_are_followed_three_times_without_credentials_and_within_the_cap()
{
    let storage = Fake::start(|asked| {
        if asked.line.contains("long") {
            text("x".repeat(101))
        } else {
            text("file")
        }
    })
    .await;
    let to = format!("http://localhost:{}", storage.port);
    let fake = Fake::start(move |asked| match &asked.authorization {
        Some(given) if *given == alice_header() => with(
            302,
            "location",
            &format!("{to}{}", asked.line.trim_start_matches("GET ")),
        ),
        _ => with(401, "www-authenticate", "Basic realm=x"),
    })
    .await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    let url = MetadataUrl::Http(format!("{}/meta", fake.url()));
    let location = Arc::new(
        TufLocation::all(&url, &client(credentials))
            .unwrap()
            .pop()
            .unwrap(),
    );
    assert_eq!(
        get(&location, "timestamp.json").await,
        Ok(Some(b"file".to_vec()))
    );
    assert_eq!(
        (
            storage.asked()[0].line.as_str(),
            storage.asked()[0].authorization.as_deref()
        ),
        ("GET /meta/timestamp.json", None)
    );
    assert!(matches!(
        get(&location, "1.long.json").await,
        Err(SourceError::TooLarge { limit: 100, .. })
    ));
    let circle = Fake::start(|_| with(302, "location", "/again")).await;
    assert!(matches!(
        get(&web(&circle), "timestamp.json").await,
        Err(SourceError::Answered { status: 302, .. })
    ));
    assert_eq!(circle.asked().len(), 4);
    let away = Fake::start(|_| with(302, "location", "http://192.0.2.1/")).await;
    assert!(
        get(&web(&away), "timestamp.json").await.is_err(),
        "plain http leads nowhere but to this machine"
    );
}

#[tokio::test]
async fn a_login_page_in_place_of_a_file_is_named() {
    let fake = Fake::start(|_| {
        Response::builder()
            .header("content-type", "text/html")
            .body("<title>Sign in</title>".into())
            .unwrap()
    })
    .await;
    let error = get(&web(&fake), "timestamp.json").await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Other { cause, .. } if cause.contains("an HTML page, \"Sign in\"")),
        "{error}"
    );
}

#[tokio::test]
async fn a_place_that_did_not_answer_is_left_alone_for_a_while() {
    let fake = Fake::start(|_| status(503)).await;
    for location in [web(&fake), registry(&fake)] {
        let before = fake.asked().len();
        for _ in 0..5 {
            assert!(
                get(&location, "timestamp.json")
                    .await
                    .unwrap_err()
                    .is_silent()
            );
        }
        assert_eq!(fake.asked().len(), before + 1);
    }
}

#[tokio::test]
async fn a_registry_s_files_are_the_layers_of_one_manifest() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "GET /v2/tuf/meta/manifests/latest" => {
            text(manifest(&[("timestamp.json", "t"), ("1.root.json", "r")]))
        }
        line if line == blob("t") => text("t"),
        line if line == blob("r") => text("r"),
        _ => status(404),
    })
    .await;
    let reader = registry(&fake).open(soon()).await.unwrap();
    assert_eq!(
        read(&reader, "timestamp.json", None).await,
        Ok(Some(b"t".to_vec()))
    );
    assert_eq!(
        read(&reader, "1.root.json", None).await,
        Ok(Some(b"r".to_vec()))
    );
    assert_eq!(read(&reader, "2.root.json", None).await, Ok(None));
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_delegated_role_s_file_is_under_a_tag_of_its_name() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "GET /v2/tuf/meta/manifests/latest" => text(manifest(&[("1.near.json", "n")])),
        "GET /v2/tuf/meta/manifests/team" => text(manifest(&[("1.team.json", "d")])),
        line if line == blob("d") => text("d"),
        line if line == blob("n") => text("n"),
        _ => status(404),
    })
    .await;
    let reader = registry(&fake).open(soon()).await.unwrap();
    assert_eq!(
        read(&reader, "1.team.json", Some("team")).await,
        Ok(Some(b"d".to_vec()))
    );
    assert_eq!(
        read(&reader, "1.near.json", Some("near")).await,
        Ok(Some(b"n".to_vec()))
    );
    assert_eq!(read(&reader, "1.none.json", Some("none")).await, Ok(None));
    let before = fake.asked().len();
    assert_eq!(read(&reader, "1..json", Some("../../x")).await, Ok(None));
    assert_eq!(fake.asked().len(), before);
}

#[tokio::test]
async fn a_tag_that_is_not_there_has_no_files() {
    let fake = Fake::start(|_| status(404)).await;
    assert_eq!(get(&registry(&fake), "timestamp.json").await, Ok(None));
}

#[tokio::test]
async fn a_layer_of_other_bytes_or_of_too_many_is_not_taken() {
    let long = "x".repeat(101);
    let listed = long.clone();
    let fake = Fake::start(move |asked| {
        if asked.line.contains("manifests") {
            text(manifest(&[("a.json", "a"), ("b.json", &listed)]))
        } else {
            text("b")
        }
    })
    .await;
    let error = get(&registry(&fake), "a.json").await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Other { cause, .. } if cause.contains("digest")),
        "{error}"
    );
    assert!(matches!(
        get(&registry(&fake), "b.json").await,
        Err(SourceError::TooLarge { limit: 100, .. })
    ));
    assert!(fake.asked().iter().all(|asked| asked.line != blob(&long)));
}

#[tokio::test]
async fn a_manifest_that_is_none_is_an_error() {
    for body in [
        "no",
        r#"{"manifests":[]}"#,
        &manifest(&[("a.json", "a"), ("a.json", "b")]),
    ] {
        let body = body.to_owned();
        let fake = Fake::start(move |_| text(body.clone())).await;
        assert!(matches!(
            get(&registry(&fake), "a.json").await,
            Err(SourceError::Other { .. })
        ));
    }
}

#[tokio::test]
async fn a_blob_may_be_three_redirects_away_and_no_more() {
    let mirror = Fake::start(|_| text("a")).await;
    let to = mirror.url();
    let fake = Fake::start(move |asked| {
        if asked.line.contains("manifests") {
            text(manifest(&[("a.json", "a")]))
        } else {
            with(307, "location", &to)
        }
    })
    .await;
    assert_eq!(
        get(&registry(&fake), "a.json").await,
        Ok(Some(b"a".to_vec()))
    );
    let circle = Fake::start(|asked| {
        if asked.line.contains("manifests") {
            text(manifest(&[("a.json", "a")]))
        } else {
            with(302, "location", "/again")
        }
    })
    .await;
    assert!(get(&registry(&circle), "a.json").await.is_err());
    assert_eq!(circle.asked().len(), 5);
}

#[tokio::test]
async fn a_folder_s_files_are_plain_ones_within_it_and_within_their_cap() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("timestamp.json"), "t").unwrap();
    fs::write(folder.path().join("1.long.json"), "x".repeat(101)).unwrap();
    fs::create_dir(folder.path().join("meta")).unwrap();
    fs::write(folder.path().join("meta/1.root.json"), "r").unwrap();
    let outer = location(&MetadataUrl::File(folder.path().to_owned()));
    assert_eq!(get(&outer, "timestamp.json").await, Ok(Some(b"t".to_vec())));
    assert_eq!(get(&outer, "1.root.json").await, Ok(None));
    assert!(matches!(
        get(&outer, "1.long.json").await,
        Err(SourceError::TooLarge { limit: 100, .. })
    ));
    let inner = location(&MetadataUrl::File(folder.path().join("meta")));
    for name in ["../timestamp.json", "", ".", "..", "/etc/passwd"] {
        assert!(
            matches!(get(&inner, name).await, Err(SourceError::Other { .. })),
            "{name}"
        );
    }
    assert!(matches!(
        get(&outer, "meta").await,
        Err(SourceError::Other { .. })
    ));
    // What can't be read is no answer, as from a server that is away.
    std::os::unix::fs::symlink("2.root.json", folder.path().join("2.root.json")).unwrap();
    let error = get(&outer, "2.root.json").await.unwrap_err();
    assert!(error.is_silent(), "{error:?}");
    assert!(error.refusal().hint.contains("mounted"));
    let denied = SourceError::Unreadable {
        url: "file:///f".to_owned(),
        cause: "Permission denied".to_owned(),
    };
    assert!(!denied.is_silent() && denied.refusal().hint.contains("chmod o+r"));
}

/// A registry whose files say which one they are of.
async fn named(text: &'static str) -> Fake {
    Fake::start(move |asked| match asked.line.as_str() {
        line if line.contains("/tuf/meta/manifests/latest") => {
            super::text(manifest(&[("timestamp.json", text)]))
        }
        line if line.contains("/blobs/") => super::text(text),
        _ => status(404),
    })
    .await
}

#[tokio::test]
async fn a_registry_s_mirrors_are_places_of_their_own_and_the_registry_is_the_last() {
    let (mirror, own) = (named("of the mirror").await, named("of the registry").await);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join(format!("127.0.0.1:{}", own.port));
    fs::create_dir(&dir).unwrap();
    let hosts = format!(
        "server = \"{}\"\n[host.\"http://127.0.0.1:1\"]\n[host.\"{}/mirror/v2\"]\noverride_path = true\n[host.\"https://push.example\"]\ncapabilities = [\"push\"]\n",
        own.url(),
        mirror.url()
    );
    fs::write(dir.join("hosts.toml"), hosts).unwrap();
    fs::set_permissions(dir.join("hosts.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let client = client(Credentials::none().with_hosts(Some(folder.path().to_owned())));
    let repository = Repository::from_full(&format!("127.0.0.1:{}/tuf/meta", own.port)).unwrap();
    let url = MetadataUrl::Oci {
        repository,
        tag: "latest".parse().unwrap(),
    };
    let places: Vec<_> = TufLocation::all(&url, &client)
        .unwrap()
        .into_iter()
        .map(Arc::new)
        .collect();
    assert_eq!(places.len(), 3);
    assert!(
        get(&places[0], "timestamp.json")
            .await
            .unwrap_err()
            .is_silent()
    );
    assert_eq!(
        get(&places[1], "timestamp.json").await.unwrap().unwrap(),
        b"of the mirror"
    );
    assert_eq!(
        get(&places[2], "timestamp.json").await.unwrap().unwrap(),
        b"of the registry"
    );
    assert!(
        mirror
            .asked()
            .iter()
            .all(|asked| asked.line.starts_with("GET /mirror/v2/tuf/meta/")),
        "{:?}",
        mirror.asked()
    );
    assert!(
        places[1].url().contains("/mirror/v2"),
        "{}",
        places[1].url()
    );

    let empty = Fake::start(|_| status(404)).await;
    fs::write(
        dir.join("hosts.toml"),
        format!("[host.\"{}\"]", empty.url()),
    )
    .unwrap();
    let places: Vec<_> = TufLocation::all(&url, &client)
        .unwrap()
        .into_iter()
        .map(Arc::new)
        .collect();
    assert!(
        places[0].open(soon()).await.unwrap_err().is_silent(),
        "what a mirror lacks is no answer about the repository"
    );

    fs::write(dir.join("hosts.toml"), "skip_verify = true").unwrap();
    let error = TufLocation::all(&url, &client).unwrap_err().to_string();
    assert!(
        error.contains("hosts.toml") && error.contains("skip_verify"),
        "{error}"
    );
}

//! Which names a request gives, and to what.

mod routes;

use super::super::request::of;
use super::*;
use rootpin_trust::image::Digest;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const EMPTY: (&str, &str) = ("Content-Length", "0");

fn post(uri: &str) -> Result<ApiAction, Refusal> {
    read(&of("POST", uri, &[EMPTY], ""))
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn pull(query: &str) -> Result<String, String> {
    match post(&format!("/v1.45/images/create?{query}")) {
        Ok(ApiAction::Pull(name)) => Ok(name.to_string()),
        Ok(other) => Err(format!("{other:?}")),
        Err(refusal) => Err(refusal.found),
    }
}

#[test]
fn a_pull_is_of_one_tag_or_one_digest_however_the_client_writes_it() {
    let digest = Digest::of(b"x");
    for (query, wanted) in [
        (
            "fromImage=alpine&tag=3.20".to_owned(),
            "docker.io/library/alpine:3.20".to_owned(),
        ),
        (
            "fromImage=r.example%2Fapp:1".to_owned(),
            "r.example/app:1".to_owned(),
        ),
        (
            "fromImage=r.example:5000/app&tag=1&platform=linux%2Farm64".to_owned(),
            "r.example:5000/app:1".to_owned(),
        ),
        (
            format!("fromImage=r.example/app&tag={digest}"),
            format!("r.example/app@{digest}"),
        ),
        (
            format!("fromImage=r.example/app%40{digest}"),
            format!("r.example/app@{digest}"),
        ),
        (
            format!("fromImage=r.example/app:1@{digest}&tag="),
            format!("r.example/app:1@{digest}"),
        ),
    ] {
        assert_eq!(pull(&query).unwrap(), wanted, "{query}");
    }
}

#[test]
fn a_pull_without_tag_and_digest_is_one_of_every_tag_and_refused() {
    for query in [
        "fromImage=r.example/app",
        "fromImage=r.example/app&tag=",
        "fromImage=alpine&Tag=1",
    ] {
        assert!(pull(query).unwrap_err().contains("every tag"), "{query}");
    }
    // To dockerd a colon at the end is none.
    assert!(pull("fromImage=r.example/app:").is_err());
}

#[test]
fn a_pull_that_names_two_tags_or_says_a_thing_twice_is_refused() {
    let digest = Digest::of(b"x");
    for query in [
        "fromImage=app:1&tag=2".to_owned(),
        format!("fromImage=app@{digest}&tag=2"),
        format!("fromImage=app:1&tag={digest}"),
        format!("fromImage=app:&tag={digest}"),
        "fromImage=app&fromImage=evil&tag=1".to_owned(),
        "fromImage=app&tag=1&tag=2".to_owned(),
        "fromImage=app&tag=1&fromSrc=-".to_owned(),
        "fromImage=app&tag=sha512:00".to_owned(),
        "fromImage=APP&tag=1".to_owned(),
        "fromImage=%20&tag=1".to_owned(),
        "fromImage=app&tag=1@x".to_owned(),
    ] {
        assert!(pull(&query).is_err(), "{query}: {:?}", pull(&query));
    }
}

#[test]
fn without_from_image_in_that_very_case_it_is_an_import() {
    assert_eq!(
        post("/images/create?fromSrc=-&repo=app&tag=1").unwrap(),
        ApiAction::Local("docker import", vec![name("app:1")])
    );
    assert_eq!(
        post("/images/create?fromimage=app&tag=1").unwrap(),
        ApiAction::Local("docker import", vec![])
    );
    assert_eq!(
        post("/images/create").unwrap(),
        ApiAction::Local("docker import", vec![])
    );
}

#[test]
fn a_pull_whose_parameters_a_hidden_form_could_override_is_refused() {
    let uri = "/v1.43/images/create?fromImage=signed&tag=1";
    for headers in [
        vec![("Content-Type", "application/x-www-form-urlencoded")],
        vec![("Content-Type", "multipart/form-data; boundary=x"), EMPTY],
        vec![JSON],
        vec![("Content-Type", "text/plain"), ("Content-Length", "21")],
    ] {
        assert!(read(&of("POST", uri, &headers, "")).is_err(), "{headers:?}");
    }
    assert!(read(&of("POST", uri, &[], "")).is_ok());
    assert!(
        read(&of(
            "POST",
            uri,
            &[("Content-Type", "text/plain"), EMPTY],
            ""
        ))
        .is_ok()
    );
}

#[test]
fn a_container_is_judged_by_a_body_that_was_seen_or_not_made() {
    let create = |headers: &[(&str, &str)], body: &str| {
        read(&of("POST", "/containers/create?name=x", headers, body))
    };
    let images = create::CreateImages {
        image: Some("app:1".to_owned()),
        mounted: vec![],
    };
    assert_eq!(
        create(&[JSON], r#"{"image":"app:1"}"#).unwrap(),
        ApiAction::Create(images)
    );
    // Content-Length 0 (CVE-2024-41110), more than dockerd shows (CVE-2026-34040), chunks.
    for headers in [
        vec![JSON, EMPTY],
        vec![JSON, ("Content-Length", "1048577")],
        vec![JSON],
        vec![],
    ] {
        assert!(create(&headers, "").is_err(), "{headers:?}");
    }
    assert!(
        create(
            &[("Content-Type", "application/x-www-form-urlencoded")],
            r#"{"Image":"app:1"}"#
        )
        .is_err()
    );
    assert!(matches!(
        create(&[JSON], "{}"),
        Ok(ApiAction::Local("a container of no image", _))
    ));
}

#[test]
fn what_is_asked_for_does_not_hang_on_the_version_in_the_path() {
    for prefix in ["", "/v1.24", "/v1.43", "/v1.52", "/v9.9"] {
        let action = |rest: &str| post(&format!("{prefix}{rest}"));
        assert_eq!(
            action("/containers/abc/start").unwrap(),
            ApiAction::Start("abc".to_owned())
        );
        assert_eq!(
            action("/containers/abc/restart?t=1").unwrap(),
            ApiAction::Start("abc".to_owned())
        );
        assert_eq!(
            action("/images/load?quiet=1").unwrap(),
            ApiAction::Local("docker load", vec![])
        );
        assert_eq!(
            action("/images/r.example/app:1/tag?repo=b&tag=2").unwrap(),
            ApiAction::Tag("r.example/app:1".to_owned(), name("b:2"))
        );
        assert_eq!(
            action("/commit?container=x&repo=b").unwrap(),
            ApiAction::Local("docker commit", vec![name("b")])
        );
        assert_eq!(
            action("/build?t=a:1&t=b:2&t=&remote=x").unwrap(),
            ApiAction::Local("docker build", vec![name("a:1"), name("b:2")])
        );
        assert!(
            matches!(action("/session").unwrap(), ApiAction::Local(..))
                && matches!(action("/grpc").unwrap(), ApiAction::Local(..))
        );
        for swarm in [
            "/swarm/init",
            "/swarm/join",
            "/swarm/update",
            "/services/create",
            "/services/x/update",
            "/nodes/x/update",
        ] {
            assert_eq!(action(swarm).unwrap(), ApiAction::Swarm, "{swarm}");
        }
        for plugin in [
            "/plugins/pull?remote=x",
            "/plugins/create?name=x",
            "/plugins/a/b/upgrade",
            "/plugins/x/enable",
        ] {
            assert_eq!(action(plugin).unwrap(), ApiAction::Plugin, "{plugin}");
        }
        for harmless in [
            "/containers/abc/stop",
            "/containers/prune",
            "/exec/x/start",
            "/auth",
            "/swarm/leave",
            "/images/a/b/push",
            "/build/prune",
        ] {
            assert_eq!(action(harmless).unwrap(), ApiAction::Pass, "{harmless}");
        }
        for unknown in [
            "/images/pull",
            "/images/a/import",
            "/containers/start",
            "/containers/x/clone",
            "/",
            "/build/x",
            "/session/x",
        ] {
            assert!(action(unknown).is_err(), "{unknown}");
        }
    }
    assert!(read(&of("PATCH", "/images/create", &[EMPTY], "")).is_err());
    assert!(
        read(&of(
            "post",
            "/images/create?fromImage=a&tag=1",
            &[EMPTY],
            ""
        ))
        .is_err()
    );
}

#[test]
fn a_container_started_from_a_checkpoint_gets_bytes_of_no_registry() {
    assert!(matches!(
        post("/containers/x/start?checkpoint=c&checkpoint-dir=/tmp/x").unwrap(),
        ApiAction::Local(..)
    ));
}

#[test]
fn an_import_from_an_address_hides_no_form_that_would_make_it_a_pull() {
    let read = |source: &str, headers: &[(&str, &str)]| {
        read(&of(
            "POST",
            &format!("/images/create?fromSrc={source}&repo=app"),
            headers,
            "",
        ))
    };
    let hidden = [("Content-Type", "text/plain"), ("Content-Length", "44")];
    for source in ["http://f.example/fs.tar", ""] {
        assert!(read(source, &hidden).is_err(), "{source}");
        for shown in [&[EMPTY][..], &[]] {
            assert!(
                matches!(read(source, shown), Ok(ApiAction::Local(..))),
                "{source}"
            );
        }
    }
    assert!(matches!(read("-", &hidden), Ok(ApiAction::Local(..))));
}

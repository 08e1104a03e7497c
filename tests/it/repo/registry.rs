//! A repository that is kept in a registry.

use std::fs;

use axum::response::Response;
use serde_json::Value;

use super::{Org, digest};
use crate::registry::{Held, Registry, error, response};

async fn org() -> (Registry, Org) {
    let registry = Registry::start().await;
    let place = format!("oci://127.0.0.1:{}/trust/acme", registry.port);
    let org = tokio::task::spawn_blocking(move || Org::founded_at(place))
        .await
        .unwrap();
    (registry, org)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_under_another_publishers_tag_brings_nothing_back_that_was_revoked() {
    let (registry, org) = org().await;
    for tag in ["1", "2"] {
        assert_eq!(
            org.sign("main", &format!("r.test/tool:{tag}"), "one").code,
            0
        );
    }
    let old = registry.held.lock().unwrap().tags["latest"].clone();
    org.ok("main", &["revoke", "r.test/tool:1"]);
    let mut evil: Value = serde_json::from_slice(&old).unwrap();
    evil["annotations"]["dev.rootpin.publishers"] = Value::String("{\"ff\":[1,1]}".to_owned());
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("rootpin-ff".to_owned(), evil.to_string().into_bytes());
    let ended = org.sign("main", "r.test/tool:3", "three");
    assert!(
        ended.code == 0 && ended.out.contains("note: what another publisher left"),
        "{ended:?}"
    );
    // Another machine, which saw the state before the revocation last, is not deceived either.
    org.clone("late", "r.test/**");
    let names: Vec<_> = org.json("late", &["list"])["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].clone())
        .collect();
    assert_eq!(names, ["r.test/tool:2", "r.test/tool:3"]);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "no-statement");
    assert_eq!(org.verify("host", "r.test/tool:3", "three"), "allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_that_publish_to_a_registry_at_the_same_moment_all_succeed_and_nothing_is_lost() {
    let (_registry, org) = org().await;
    let machines = ["one", "two", "three"];
    for machine in machines {
        org.clone(machine, "r.test/**");
        for file in ["targets.pem", "targets.pub", "online.pem", "online.pub"] {
            fs::copy(
                org.path("main/keys").join(file),
                org.path(machine).join("keys").join(file),
            )
            .unwrap();
        }
        // There are sixteen of a publisher's tags, whatever number of clones there were; here two
        // share one.
        let publisher = org.path(machine).join("publisher");
        assert_eq!(fs::read_to_string(&publisher).unwrap().trim().len(), 1);
        fs::write(publisher, if machine == "one" { "1\n" } else { "2\n" }).unwrap();
    }
    std::thread::scope(|scope| {
        for machine in machines {
            let org = &org;
            scope.spawn(move || {
                for tag in ["1", "2"] {
                    let ended = org.sign(machine, &format!("r.test/team/{machine}:{tag}"), machine);
                    assert_eq!(ended.code, 0, "{machine}: {ended:?}");
                }
            });
        }
    });
    let listed = org.json("main", &["list"]);
    assert_eq!(listed["images"].as_array().unwrap().len(), 6, "{listed}");
    for machine in machines {
        assert_eq!(
            org.verify("host", &format!("r.test/team/{machine}:2"), machine),
            "allowed"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_delegated_key_signs_waits_in_the_registry_for_the_online_key() {
    let (_registry, org) = org().await;
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    assert_eq!(
        org.verify("host", "r.test/team/a/app:1", "one"),
        "role-missing"
    );
    org.ok("main", &["refresh"]);
    assert_eq!(
        org.verify("host", "r.test/team/a/app:1", "one"),
        "allowed",
        "{}",
        digest("one")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_somebody_spoiled_is_emptied_and_filled_again() {
    let (registry, org) = org().await;
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    let whole = registry.held.lock().unwrap().tags["latest"].clone();
    let many: Value = (0..300)
        .map(|number| (number.to_string(), serde_json::json!([1, 1])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for publishers in [
        many.to_string(),
        format!(r#"{{"{}":[9007199254740991,1]}}"#, publisher(&org)),
    ] {
        let mut spoiled: Value = serde_json::from_slice(&whole).unwrap();
        spoiled["annotations"]["dev.rootpin.publishers"] = Value::String(publishers);
        registry
            .held
            .lock()
            .unwrap()
            .tags
            .insert("latest".to_owned(), spoiled.to_string().into_bytes());
        let ended = org.sign("main", "r.test/tool:2", "two");
        assert!(
            ended.code == 2 && ended.err.contains("emptied, the tags rootpin-… too"),
            "{ended:?}"
        );
        registry.held.lock().unwrap().tags.clear();
        org.ok("main", &["publish"]);
        assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
    }
    assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0);
}

fn publisher(org: &Org) -> String {
    fs::read_to_string(org.path("main/publisher"))
        .unwrap()
        .trim()
        .to_owned()
}

/// How a registry refuses: whether it does so for a request, with what, and what is then to be
/// read.
type Refusal = (fn(&str, &Held) -> bool, fn() -> Response, [&'static str; 2]);

fn writes(line: &str, _: &Held) -> bool {
    line.starts_with("POST") || line.starts_with("PUT")
}

fn manifests(line: &str, _: &Held) -> bool {
    line.starts_with("PUT") && line.contains("/manifests/")
}

/// A tag that is there is not written over.
fn again(line: &str, held: &Held) -> bool {
    line.strip_prefix("PUT ")
        .and_then(|path| path.rsplit_once("/manifests/"))
        .is_some_and(|(_, tag)| held.tags.contains_key(tag))
}

fn latest_again(line: &str, held: &Held) -> bool {
    again(line, held) && line.ends_with("/latest")
}

const REFUSALS: [Refusal; 10] = [
    (
        latest_again,
        || error(400, "TAG_INVALID", "tag 'latest' cannot be overwritten"),
        ["TAG_INVALID: tag 'latest' cannot", "tags are immutable"],
    ),
    (
        again,
        || error(400, "TAG_INVALID", "the repository is immutable"),
        ["answered 400: TAG_INVALID", "rootpin-*"],
    ),
    (
        manifests,
        || error(412, "PRECONDITION", "configured as immutable."),
        ["answered 412: PRECONDITION", "tags are immutable"],
    ),
    (
        writes,
        || {
            error(
                403,
                "DENIED",
                "will exceed the configured upper limit of storage",
            )
        },
        ["DENIED: will exceed", "quota of the registry"],
    ),
    (
        writes,
        || error(403, "DENIED", "requested access to the resource is denied"),
        ["DENIED: requested access", "docker login"],
    ),
    (
        writes,
        || error(404, "NAME_UNKNOWN", "the repository does not exist"),
        ["NAME_UNKNOWN: the repository", "create the repository"],
    ),
    (
        writes,
        || error(405, "UNSUPPORTED", "the registry is in read-only mode"),
        ["UNSUPPORTED: the registry", "takes no writes now"],
    ),
    (
        manifests,
        || error(415, "MANIFEST_INVALID", "manifest invalid"),
        ["answered 415", "takes images only"],
    ),
    (
        writes,
        || {
            response(
                413,
                &[("content-type", "text/html")],
                "<html><head><title>413 Request Entity Too Large</title></head></html>",
            )
        },
        ["\"413 Request Entity Too Large\"", "client_max_body_size"],
    ),
    (
        writes,
        || error(503, "UNAVAILABLE", "garbage collection"),
        ["UNAVAILABLE: garbage collection", " publish, later"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_registry_is_told_in_its_words_with_what_to_do_and_leaves_a_repository_that_can_be_published()
 {
    let (registry, org) = org().await;
    for (number, (refuses, refusal, told)) in REFUSALS.into_iter().enumerate() {
        registry.quirk(move |asked, held| refuses(asked.line, held).then(refusal));
        let name = format!("r.test/tool:{number}");
        let ended = org.sign("main", &name, "content");
        assert_eq!(ended.code, 2, "{told:?}: {ended:?}");
        for words in told {
            assert!(ended.err.contains(words), "{words}: {ended:?}");
        }
        registry.calm();
        org.ok("main", &["publish"]);
        assert_eq!(org.sign("main", &name, "content").code, 0, "{told:?}");
        assert_eq!(org.verify("host", &name, "content"), "allowed", "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_a_registry_refused_at_its_beginning_is_published_later() {
    for (refuses, refusal, told) in REFUSALS {
        let registry = Registry::start().await;
        registry.quirk(move |asked, held| refuses(asked.line, held).then(refusal));
        let (org, place) = (
            Org::new(),
            format!("oci://127.0.0.1:{}/trust/acme", registry.port),
        );
        let ended = org.repo(
            "main",
            &["init", "--names", "r.test/tool", "--publish", &place],
        );
        if ended.code != 0 {
            assert!(
                told.iter()
                    .all(|words| ended.err.contains(words) || ended.out.contains(words)),
                "{told:?}: {ended:?}"
            );
        }
        registry.calm();
        org.ok("main", &["publish"]);
        assert_eq!(
            org.sign("main", "r.test/tool:1", "content").code,
            0,
            "{told:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_answers_otherwise_than_the_specification_says_is_published_to_all_the_same()
 {
    let (registry, org) = org().await;
    for (number, quirk) in ["no list", "list denied", "post 201", "busy"]
        .into_iter()
        .enumerate()
    {
        registry.quirk(move |asked, held| match quirk {
            "no list" => asked
                .line
                .contains("/tags/list")
                .then(|| error(405, "UNSUPPORTED", "the operation is unsupported")),
            "list denied" => asked
                .line
                .contains("/tags/list")
                .then(|| error(403, "DENIED", "not authorized to list")),
            "post 201" => asked.line.starts_with("POST").then(|| {
                response(
                    201,
                    &[("location", "/v2/trust/acme/blobs/uploads/1?state=x")],
                    "a body that nobody asked for",
                )
            }),
            _ => (held.asked.len() % 4 == 0).then(|| response(429, &[("retry-after", "0")], "")),
        });
        let name = format!("r.test/tool:{number}");
        let ended = org.sign("main", &name, "content");
        assert_eq!(ended.code, 0, "{quirk}: {ended:?}");
        registry.calm();
        assert_eq!(org.verify("host", &name, "content"), "allowed", "{quirk}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_machine_wrote_is_found_though_the_registry_lists_no_tags() {
    let (registry, org) = org().await;
    let before = registry.held.lock().unwrap().tags["latest"].clone();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    // As if it had been written over at the same moment.
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("latest".to_owned(), before);
    registry.quirk(|asked, _| {
        asked
            .line
            .contains("/tags/list")
            .then(|| error(405, "UNSUPPORTED", "no"))
    });
    org.clone("two", "r.test/**");
    for file in ["targets.pem", "targets.pub", "online.pem", "online.pub"] {
        fs::copy(
            org.path("main/keys").join(file),
            org.path("two/keys").join(file),
        )
        .unwrap();
    }
    assert_eq!(org.sign("two", "r.test/tool:2", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
}

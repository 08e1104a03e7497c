//! A repository that is kept in a registry.

use std::fs;

use serde_json::Value;

use super::{Org, digest};
use crate::registry::Registry;

async fn org() -> (Registry, Org) {
    let registry = Registry::start().await;
    let place = format!("oci://127.0.0.1:{}/trust/acme", registry.port);
    let org = tokio::task::spawn_blocking(move || Org::founded_at(place)).await.unwrap();
    (registry, org)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_under_another_publishers_tag_brings_nothing_back_that_was_revoked() {
    let (registry, org) = org().await;
    for tag in ["1", "2"] {
        assert_eq!(org.sign("main", &format!("r.test/tool:{tag}"), "one").code, 0);
    }
    let old = registry.held.lock().unwrap().tags["latest"].clone();
    org.ok("main", &["revoke", "r.test/tool:1"]);
    let mut evil: Value = serde_json::from_slice(&old).unwrap();
    evil["annotations"]["dev.rootpin.publishers"] = Value::String("{\"ff\":[1,1]}".to_owned());
    registry.held.lock().unwrap().tags.insert("rootpin-ff".to_owned(), evil.to_string().into_bytes());
    let ended = org.sign("main", "r.test/tool:3", "three");
    assert!(ended.code == 0 && ended.out.contains("note: what another publisher left"), "{ended:?}");
    // Another machine, which saw the state before the revocation last, is not deceived either.
    org.clone("late", "r.test/**");
    let names: Vec<_> = org.json("late", &["list"])["images"].as_array().unwrap().iter().map(|image| image["name"].clone()).collect();
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
            fs::copy(org.path("main/keys").join(file), org.path(machine).join("keys").join(file)).unwrap();
        }
        // There are sixteen of a publisher's tags, whatever number of clones there were; here two share one.
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
        assert_eq!(org.verify("host", &format!("r.test/team/{machine}:2"), machine), "allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_delegated_key_signs_waits_in_the_registry_for_the_online_key() {
    let (_registry, org) = org().await;
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    assert_eq!(org.verify("host", "r.test/team/a/app:1", "one"), "role-missing");
    org.ok("main", &["refresh"]);
    assert_eq!(org.verify("host", "r.test/team/a/app:1", "one"), "allowed", "{}", digest("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_somebody_spoiled_is_emptied_and_filled_again() {
    let (registry, org) = org().await;
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    let whole = registry.held.lock().unwrap().tags["latest"].clone();
    let many: Value = (0..300).map(|number| (number.to_string(), serde_json::json!([1, 1]))).collect::<serde_json::Map<_, _>>().into();
    for publishers in [many.to_string(), format!(r#"{{"{}":[9007199254740991,1]}}"#, publisher(&org))] {
        let mut spoiled: Value = serde_json::from_slice(&whole).unwrap();
        spoiled["annotations"]["dev.rootpin.publishers"] = Value::String(publishers);
        registry.held.lock().unwrap().tags.insert("latest".to_owned(), spoiled.to_string().into_bytes());
        let ended = org.sign("main", "r.test/tool:2", "two");
        assert!(ended.code == 2 && ended.err.contains("emptied, the tags rootpin-… too"), "{ended:?}");
        registry.held.lock().unwrap().tags.clear();
        org.ok("main", &["publish"]);
        assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
    }
    assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0);
}

fn publisher(org: &Org) -> String {
    fs::read_to_string(org.path("main/publisher")).unwrap().trim().to_owned()
}

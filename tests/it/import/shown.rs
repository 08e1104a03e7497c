//! What a server shows chooses for no name which key counts.

use std::fs;

use super::{GUN, Host, TRUST, all_typed};
use crate::publisher::{Key, Publisher};

const SECOND: &str = "r.test/team/second";

/// A second repository, which this host saw with a key of its own, and whose server now shows the
/// first one's key. Returns both keys' IDs.
async fn with_a_second_that_shows_the_firsts_key() -> (Host, String, String) {
    let host = Host::new().await;
    let (first, own) = (host.publisher.root_key(), Key::named("the second's own"));
    let mut second = Publisher::new(SECOND);
    second.role("root").keys = vec![own.certificate(SECOND)];
    let metadata = host.dir.path().join(format!("trust/tuf/{SECOND}/metadata"));
    fs::create_dir_all(&metadata).unwrap();
    for file in ["root.json", "targets.json"] {
        fs::write(metadata.join(file), &second.tree().files[file]).unwrap();
    }
    second.role("root").keys = vec![first.certificate(SECOND)];
    host.server.publish(&second);
    (host, first.id(), own.id())
}

fn policy(host: &Host) -> String {
    fs::read_to_string(host.proposal().join("policy.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_other_names_is_pinned_for_no_name_whose_server_shows_it() {
    let (host, first, own) = with_a_second_that_shows_the_firsts_key().await;
    let given = ["--fingerprint", &first];
    let ended = host.import(&[&TRUST[..], &given].concat());
    assert!(
        ended.code == 1
            && ended
                .out
                .contains(&format!("{SECOND}: ANOTHER KEY ({first})"))
            && ended.out.contains("left out: notary-2: ")
            && !ended.out.contains("notary-3"),
        "{ended:?}"
    );
    let (text, refused) = (policy(&host), format!("match = \"{SECOND}\"\nroots = []"));
    assert!(text.contains(GUN) && text.contains(&refused), "{text}");
    assert_eq!(host.verify("one"), "allowed");
    // With both, each has its own.
    fs::remove_dir_all(host.proposal()).unwrap();
    let both = ["--fingerprint", &first, "--fingerprint", &own];
    let ended = host.import(&[&TRUST[..], &both].concat());
    assert!(
        ended.code == 0 && !ended.out.contains("notary-3"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_for_one_name_pins_no_other_and_only_what_is_shown_for_that_one_is_taken() {
    let (host, first, own) = with_a_second_that_shows_the_firsts_key().await;
    let line = format!("{first}\n");
    let right = if first < own {
        [line.as_str(), "\n"]
    } else {
        ["\n", line.as_str()]
    };
    let (code, said) = all_typed(&host, &right);
    assert!(
        code == 1 && said.contains("confirmed: notary-1") && said.contains("left out: notary-2"),
        "{said}"
    );
    let refused = format!("match = \"{SECOND}\"\nroots = []");
    assert!(policy(&host).contains(&refused), "{}", policy(&host));
    fs::remove_dir_all(host.proposal()).unwrap();
    let wrong = if first < own {
        vec!["\n", line.as_str()]
    } else {
        vec![line.as_str()]
    };
    let (code, said) = all_typed(&host, &wrong);
    assert!(
        code == 1 && said.contains("is not the fingerprint of what was found"),
        "{said}"
    );
    assert!(!host.proposal().exists());
}

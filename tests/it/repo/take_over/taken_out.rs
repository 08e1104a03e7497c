//! What was taken over, and taken out here by hand.

use super::super::digest;
use super::{GUN, Leaving};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_here_by_hand_stays_out_whatever_notary_goes_on_to_say() {
    let mut leaving = Leaving::new().await;
    leaving.take_over();
    assert_eq!(leaving.verify("v1", "one"), "allowed");
    let name = format!("{GUN}:v1");
    let revoked = leaving.org.repo("main", &["revoke", &name, "--yes"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    for (tag, content) in [("v3", "three"), ("v4", "four")] {
        leaving.notary.tag(tag, &digest(content), 7);
        leaving.notary.tick();
        leaving.server.publish(&leaving.notary);
        let said = leaving.take_over();
        assert!(
            said.contains(&format!("stays out: {name} is at Notary"))
                && said.contains(&format!("--again {name} takes it over again")),
            "{said}"
        );
        assert_ne!(leaving.verify("v1", "one"), "allowed");
        // The others are taken over as before.
        assert_eq!(leaving.verify(tag, content), "allowed");
    }
    assert_eq!(leaving.verify("v3", "three"), "allowed");
    let (report, code) = leaving.compare();
    assert!(code == 1 && report.to_string().contains(":v1"), "{report}");
    // Moved at Notary, it is the same tag, and stays out; signed here, it counts.
    leaving.notary.tag("v1", &digest("one again"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    assert_ne!(leaving.verify("v1", "one again"), "allowed");
    let one = digest("one");
    let signed = ["sign", &name, "--digest", &one, "--length", "7", "--yes"];
    let signed = leaving.org.repo("main", &signed);
    assert_eq!(signed.code, 0, "{signed:?}");
    leaving.take_over();
    assert_eq!(leaving.verify("v1", "one"), "allowed");
    // A signer whose role was taken back is none again.
    let listed = leaving.org.repo("main", &["delegate", "list"]);
    let role = listed
        .out
        .split_whitespace()
        .find(|word| word.starts_with("notary-"))
        .unwrap_or_else(|| panic!("{listed:?}"))
        .to_owned();
    let removed = leaving
        .org
        .repo("main", &["delegate", "remove", &role, "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_ne!(leaving.verify("v3", "three"), "allowed");
    leaving
        .notary
        .tag_in("targets", "newest", &digest("newest"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let said = leaving.take_over();
    assert!(said.contains(&format!("stays out: {GUN}:v3")), "{said}");
    let listed = leaving.org.repo("main", &["delegate", "list"]);
    assert!(!listed.out.contains(&role), "{listed:?}");
    assert_ne!(leaving.verify("v3", "three"), "allowed");
    assert_eq!(leaving.verify("old", "old"), "allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_here_by_hand_is_taken_over_again_once_that_is_asked_for_by_its_name() {
    let mut leaving = Leaving::new().await;
    leaving.take_over();
    // A tag that was taken over, one that was signed here by hand, and the signers' role.
    let (tag, by_hand) = (format!("{GUN}:v1"), format!("{GUN}:v9"));
    let signed = leaving.org.sign("main", &by_hand, "nine");
    assert_eq!(signed.code, 0, "{signed:?}");
    leaving.org.ok("main", &["revoke", &tag, &by_hand]);
    leaving.notary.tag("v9", &digest("nine"), 7);
    leaving.notary.tag("v1", &digest("one, moved"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    assert_ne!(leaving.verify("v9", "nine"), "allowed");
    let again = leaving.run("take-over", &[GUN, "--again", &tag, "--again", &by_hand]);
    assert_eq!(again.code, 0, "{again:?}");
    let line = format!(": kept out of lists and take-overs: {by_hand}\n");
    let is_said = again.out.contains(&line) && again.out.contains("\n- notary-");
    assert!(is_said, "{again:?}");
    assert_eq!(leaving.verify("v1", "one, moved"), "allowed");
    assert_eq!(leaving.verify("v9", "nine"), "allowed");
    // It follows Notary as before.
    leaving.notary.tag("v1", &digest("one, moved twice"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    assert_eq!(leaving.verify("v1", "one, moved twice"), "allowed");
    assert_eq!(leaving.compare().1, 0);
    let never = leaving.run("take-over", &[GUN, "--again", &tag]);
    let said = format!("{tag} was not taken out here by hand");
    assert!(never.code == 2 && never.err.contains(&said), "{never:?}");

    let listed = leaving.org.json("main", &["delegate", "list"]);
    let role = listed["delegations"][0]["role"]
        .as_str()
        .unwrap()
        .to_owned();
    leaving.org.ok("main", &["delegate", "remove", &role]);
    let said = leaving.take_over();
    assert!(said.contains(&format!("--again {role} takes")), "{said}");
    let again = leaving.run("take-over", &[GUN, "--again", &role]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(leaving.verify("v2", "two"), "allowed");
    assert_eq!(leaving.compare().1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_new_each_run_says_what_stays_out_and_what_is_left_behind() {
    let mut leaving = Leaving::new().await;
    leaving.notary.edit("targets", |signed| {
        signed["targets"]["long"] =
            serde_json::json!({ "length": 7, "hashes": { "sha512": "AAAA" } });
    });
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    leaving.take_over();
    let name = format!("{GUN}:v1");
    leaving.org.ok("main", &["revoke", &name]);
    for _ in 0..2 {
        let said = leaving.take_over();
        assert!(
            said.contains("take over 3 tags of 1 repository")
                && said.contains(&format!("--again {name} takes it over again"))
                && said.contains("left behind: ")
                && said.ends_with("nothing to do\n"),
            "{said}"
        );
    }
}

//! The resolver: asked as engines ask it, in front of a registry that may do anything.

#[path = "resolver/tls.rs"]
mod tls;
#[path = "resolver/upstream.rs"]
mod upstream;

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use rootpin_trust::image::Digest;

use crate::world::{Image, PATIENCE, blob, indexes_over};
use upstream::{Manner, Setting, ask};

/// The daemon's deadline for one question, and for the manifest that goes with the answer; and a
/// machine that has other work.
const IN_TIME: Duration = Duration::from_secs(15);

#[test]
fn a_tag_is_the_digest_that_is_signed_whatever_the_registry_says() {
    let Some(mut setting) = Setting::new("r-swapped") else {
        return;
    };
    let (signed, other) = (Image::named("signed"), Image::named("other"));
    setting.sign("v1", &signed);
    setting.upstream.push("v1", &other);
    let _daemon = setting.start();
    let head = setting.tag("HEAD", "v1");
    assert_eq!(
        (head.status, head.digest()),
        (200, signed.index.digest.as_str()),
        "{head:?}"
    );
    assert_eq!(
        head.header("content-length"),
        signed.index.bytes.len().to_string()
    );
    assert_eq!(
        head.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    let get = setting.ask("GET", "/resolve/v2/team/app/manifests/v1");
    assert_eq!(
        (get.status, get.body.as_ref().unwrap()),
        (200, &signed.index.bytes),
        "{get:?}"
    );
    assert!(
        setting
            .upstream
            .asked()
            .iter()
            .all(|asked| !asked.ends_with("/manifests/v1")),
        "nobody needs to know what it says"
    );
    let told = setting.world.audit();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|record| record["door"] == "resolver"
        && record["outcome"] == "allowed"
        && record["name"] == setting.name("v1")));
    let door = setting.world.door("resolver");
    assert_eq!(
        (&door["state"], door["last_question"].is_string()),
        (&"proven".into(), true),
        "{door}"
    );
}

#[test]
fn what_is_not_signed_is_refused_with_the_reason_where_engines_show_it() {
    let Some(mut setting) = Setting::new("r-unsigned") else {
        return;
    };
    setting.sign("v1", &Image::named("signed"));
    setting.upstream.push("v2", &Image::named("unsigned"));
    let _daemon = setting.start();
    let get = setting.tag("GET", "v2");
    let (code, message) = get.error();
    assert_eq!((get.status, code.as_str()), (404, "MANIFEST_UNKNOWN"));
    for part in [
        "rootpin: refused ",
        &setting.name("v2"),
        "no-statement",
        "hint: ",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let head = setting.tag("HEAD", "v2");
    assert_eq!((head.status, head.reason), (403, message));
    assert!(setting.upstream.asked().is_empty());
    // No rule covers it, so its registry is not asked either.
    let elsewhere = setting.ask("GET", "/v2/other/app/manifests/v1");
    assert!(elsewhere.error().1.contains("no-rule"), "{elsewhere:?}");
}

#[test]
fn a_registry_that_is_not_meant_or_not_named_by_the_policy_is_never_asked() {
    let Some(mut setting) = Setting::new("r-hosts") else {
        return;
    };
    let image = Image::named("signed");
    setting.sign("v1", &image);
    setting.world.write_policy(&setting.policy("").replace(
        &format!("127.0.0.1:{}/team", setting.upstream.port),
        "r.test/team",
    ));
    let _daemon = setting.start();
    for path in [
        "/v2/team/app/manifests/v1".to_owned(),
        format!("/v2/team/app/blobs/{}", image.layer.digest),
    ] {
        let answer = setting.ask("GET", &path);
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(answer.error().1.starts_with("rootpin: "), "{answer:?}");
        let url = format!("http://{}{path}", setting.address);
        let unnamed =
            setting
                .world
                .runtime
                .block_on(ask(&reqwest::Client::new(), "GET", &url, &[]));
        assert_eq!(
            (unnamed.status, unnamed.error().0.as_str()),
            (404, "NAME_UNKNOWN")
        );
    }
    assert!(setting.upstream.asked().is_empty());
}

#[test]
fn a_registry_that_the_policy_does_not_name_is_asked_while_break_glass_is_for_the_name_and_only_then()
 {
    let Some(mut setting) = Setting::new("r-glass") else {
        return;
    };
    let image = Image::named("signed");
    setting.upstream.push("v1", &image);
    let registry = format!("127.0.0.1:{}", setting.upstream.port);
    setting.sign("v1", &image);
    let other = setting.policy("").replace(&registry, "r.test");
    setting.world.write_policy(&other);
    let _daemon = setting.start();
    let asked = |setting: &Setting| {
        let blob = format!("/v2/team/app/blobs/{}", image.layer.digest);
        let (tag, bytes) = (setting.tag("GET", "v1"), setting.ask("GET", &blob));
        (tag.status, bytes.status)
    };
    let begin = ["break-glass", "--reason", "INC-7", "--for", "1h"];
    assert_ne!(asked(&setting), (200, 200));
    assert!(setting.upstream.asked().is_empty());
    let narrow = [&begin[..], &["--match", "r.test/team/app"]].concat();
    assert_eq!(setting.world.rootpin(&narrow).code, 1);
    assert_ne!(asked(&setting), (200, 200));
    assert!(setting.upstream.asked().is_empty());
    assert_eq!(setting.world.rootpin(&begin).code, 1);
    assert_eq!(asked(&setting), (200, 200));
    assert_eq!(setting.world.rootpin(&["break-glass", "--end"]).code, 0);
    assert_ne!(asked(&setting), (200, 200));
}

#[test]
fn two_hundred_at_once_are_answered_while_the_registry_is_dead() {
    let Some(mut setting) = Setting::new("r-dead") else {
        return;
    };
    let (seen, resident, unseen) = (
        Image::named("seen"),
        Image::named("resident"),
        Image::named("unseen"),
    );
    for (tag, image) in [
        ("seen", &seen),
        ("resident", &resident),
        ("unseen", &unseen),
    ] {
        setting.sign(tag, image);
    }
    setting
        .world
        .containerd
        .hold("k8s.io", |held| resident.hold(held));
    let exempt = format!(
        "[[exempt]]\nmatch = \"127.0.0.1:{}/team/legacy\"\nuntil = 2036-01-01T00:00:00Z\nreason = \"x\"\n",
        setting.upstream.port
    );
    setting
        .world
        .write_policy(&setting.policy(&format!("{exempt}[limits]\nmax-exempt = \"9999d\"\n")));
    let _daemon = setting.start();
    assert_eq!(setting.tag("HEAD", "seen").status, 200);
    for manner in [Manner::Hangs, Manner::Status(500)] {
        setting.upstream.behave(manner.clone());
        setting.upstream.asked();
        let tags: Vec<_> = (0..200)
            .map(|at| ["seen", "resident", "seen", "unseen", "nosuch"][at % 5].to_owned())
            .collect();
        let (answers, took) = setting.at_once(&tags);
        for (tag, answer) in tags.iter().zip(&answers) {
            let wanted = match tag.as_str() {
                "seen" | "resident" => 200,
                "unseen" => 502,
                _ => 403,
            };
            assert_eq!(
                answer.status, wanted,
                "{tag} while it {manner:?}: {answer:?}"
            );
        }
        assert!(took < IN_TIME, "{took:?} while it {manner:?}");
        // One at a time looks for a manifest, for all that wait, and a registry that gave no answer
        // is left alone.
        let asked = setting.upstream.asked();
        assert!(
            asked.len() <= 8,
            "asked too often while it {manner:?}: {asked:?}"
        );
        let legacy = setting.ask("GET", "/v2/team/legacy/manifests/v1");
        assert_eq!(legacy.status, 502, "{legacy:?}");
        assert!(
            legacy.error().1.contains("could not judge")
                && legacy.error().1.contains("source-unreachable"),
            "{legacy:?}"
        );
    }
}

#[test]
fn a_registry_that_lies_about_a_signed_digest_is_told_and_never_believed() {
    let Some(mut setting) = Setting::new("r-lies") else {
        return;
    };
    let (signed, other) = (Image::named("signed"), Image::named("other"));
    setting.sign("v1", &signed);
    let _daemon = setting.start();
    for (manner, word) in [
        (Manner::Lies(other.index.bytes.clone()), "sent bytes of"),
        (Manner::Lies(b"{}".to_vec()), "no image"),
        (Manner::Endless, "more than 4194304 bytes"),
        (
            Manner::Redirects("http://192.0.2.1/x".to_owned()),
            "a redirect to http://192.0.2.1/x",
        ),
        (
            Manner::Redirects("file:///etc/passwd".to_owned()),
            "a redirect to",
        ),
        (Manner::Status(403), "answered 403"),
    ] {
        setting.upstream.behave(manner.clone());
        let answer = setting.tag("GET", "v1");
        assert_eq!(answer.status, 502, "{manner:?}: {answer:?}");
        assert!(answer.error().1.contains(word), "{manner:?}: {answer:?}");
    }
    // No answers at all, and so the registry is left alone for a moment after each.
    for manner in [Manner::Short, Manner::HugeHeader] {
        setting.upstream.behave(manner);
        let answer = setting.tag("GET", "v1");
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (502, "UNAVAILABLE"),
            "{answer:?}"
        );
    }
    setting.upstream.behave(Manner::Honest);
    let until = std::time::Instant::now() + IN_TIME;
    while setting.tag("GET", "v1").status != 200 {
        assert!(
            std::time::Instant::now() < until,
            "it should be asked again"
        );
    }
}

#[test]
fn bytes_flow_through_by_their_digest_and_in_ranges() {
    let Some(mut setting) = Setting::new("r-bytes") else {
        return;
    };
    let image = Image::named("signed");
    setting.sign("v1", &image);
    let large = blob(
        (0..40_u32 << 20)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect(),
    );
    setting.upstream.blob(&large);
    let _daemon = setting.start();
    let whole = setting.ask("GET", &format!("/v2/team/app/blobs/{}", large.digest));
    assert_eq!(
        (whole.status, whole.header("content-length")),
        (200, large.bytes.len().to_string().as_str())
    );
    assert!(
        Digest::of(whole.body.as_ref().unwrap()).to_string() == large.digest,
        "other bytes"
    );
    let head = setting.ask("HEAD", &format!("/v2/team/app/blobs/{}", large.digest));
    assert_eq!(
        (
            head.status,
            head.header("content-length"),
            head.body.as_ref().unwrap().len()
        ),
        (200, large.bytes.len().to_string().as_str(), 0)
    );
    let path = format!("/v2/team/app/blobs/{}", image.layer.digest);
    let url = format!(
        "http://{}{path}?ns=127.0.0.1%3A{}",
        setting.address, setting.upstream.port
    );
    let client = reqwest::Client::new();
    let part = setting
        .world
        .runtime
        .block_on(ask(&client, "GET", &url, &[("range", "bytes=6-")]));
    assert_eq!(
        (part.status, part.body.as_ref().unwrap().as_slice()),
        (206, &image.layer.bytes[6..])
    );
    assert!(
        part.header("content-range").starts_with("bytes 6-"),
        "{part:?}"
    );
    assert_eq!(setting.tag("HEAD", "v1").status, 200);
    let manifest = setting.ask(
        "GET",
        &format!("/v2/team/app/manifests/{}", image.manifest.digest),
    );
    assert_eq!(
        (manifest.status, manifest.body.as_ref().unwrap()),
        (200, &image.manifest.bytes)
    );
    let missing = setting.ask(
        "GET",
        &format!("/v2/team/app/blobs/{}", Digest::of(b"nowhere")),
    );
    assert_eq!(
        (missing.status, missing.error().0.as_str()),
        (404, "BLOB_UNKNOWN")
    );
    // Where only tags are answered, the engine goes to the registry itself.
    setting.upstream.asked();
    assert_eq!(setting.ask("GET", &format!("/resolve{path}")).status, 404);
    assert!(setting.upstream.asked().is_empty());
    // What breaks off is seen to break off; what leads away is not followed.
    setting.upstream.behave(Manner::Short);
    let url = format!(
        "http://{}{path}?ns=127.0.0.1%3A{}",
        setting.address, setting.upstream.port
    );
    // It may break off before the head of the answer is sent, or after.
    let broken = setting.world.runtime.block_on(async {
        match client.get(&url).timeout(PATIENCE).send().await {
            Ok(answer) => answer.bytes().await.map(|_| ()),
            Err(error) => Err(error),
        }
    });
    assert!(broken.is_err_and(|error| !error.is_timeout()));
    setting
        .upstream
        .behave(Manner::Redirects("http://192.0.2.1/x".to_owned()));
    assert_eq!(setting.ask("GET", &path).status, 404);
}

#[test]
fn a_redirect_within_this_machine_is_followed_and_takes_nothing_along() {
    let Some(mut setting) = Setting::new("r-redirect") else {
        return;
    };
    let Some(storage) = Setting::new("r-redirect-to") else {
        return;
    };
    let image = Image::named("signed");
    setting.sign("v1", &image);
    storage.upstream.push("v1", &image);
    let path = format!("/v2/team/app/blobs/{}", image.layer.digest);
    setting.upstream.behave(Manner::Redirects(format!(
        "http://127.0.0.1:{}{path}",
        storage.upstream.port
    )));
    let _daemon = setting.start();
    let answer = setting.ask("GET", &path);
    assert_eq!(
        (answer.status, answer.body.as_ref().unwrap()),
        (200, &image.layer.bytes)
    );
}

#[test]
fn audit_mode_and_an_exemption_by_name_let_the_registrys_own_answer_pass_and_record_it() {
    let Some(mut setting) = Setting::new("r-audit") else {
        return;
    };
    let (signed, other) = (Image::named("signed"), Image::named("other"));
    setting.sign("v1", &signed);
    setting.upstream.push("v1", &other);
    let name = setting.name("v1");
    setting
        .world
        .write_policy(&setting.policy("mode = \"audit\""));
    let daemon = setting.start();
    let head = setting.tag("HEAD", "v1");
    assert_eq!(
        (head.status, head.digest()),
        (200, other.index.digest.as_str()),
        "{head:?}"
    );
    let told = setting.world.audit().pop().unwrap();
    assert_eq!(
        (&told["outcome"], &told["code"], &told["let_through"]),
        (&"refused".into(), &"digest-mismatch".into(), &true.into())
    );
    assert_eq!(
        (&told["name"], &told["digest"]),
        (&name.into(), &other.index.digest.clone().into())
    );
    // Nobody has this one, so there is nothing to let through.
    assert_eq!(setting.tag("HEAD", "nosuch").status, 403);
    // Of a registry that is silent, what is signed is all that is known.
    setting.upstream.behave(Manner::Status(503));
    setting
        .world
        .containerd
        .hold("k8s.io", |held| signed.hold(held));
    let head = setting.tag("HEAD", "v1");
    assert_eq!(
        (head.status, head.digest()),
        (200, signed.index.digest.as_str()),
        "{head:?}"
    );
    assert_eq!(daemon.stop().0, 0);
    setting.upstream.behave(Manner::Honest);
    let exempt = format!(
        "[[exempt]]\nmatch = \"127.0.0.1:{}/team/app\"\nuntil = 2036-01-01T00:00:00Z\nreason = \"x\"\n",
        setting.upstream.port
    );
    setting
        .world
        .write_policy(&setting.policy(&format!("{exempt}[limits]\nmax-exempt = \"9999d\"\n")));
    let _daemon = setting.start();
    let head = setting.tag("HEAD", "v1");
    assert_eq!(
        (head.status, head.digest()),
        (200, other.index.digest.as_str()),
        "{head:?}"
    );
    assert_eq!(setting.world.audit().pop().unwrap()["ground"], "exempt");
    assert_eq!(setting.tag("HEAD", "nosuch").status, 403);
}

#[test]
fn what_the_policy_binds_or_revokes_needs_no_registrys_word() {
    let Some(mut setting) = Setting::new("r-bound") else {
        return;
    };
    let (first, second, signed) = (
        Image::named("first"),
        Image::named("second"),
        Image::named("signed"),
    );
    setting.sign("v1", &signed);
    setting.upstream.push("bound", &second);
    setting.upstream.push("other", &first);
    let entry = |image: &Image| {
        format!(
            "[[image]]\nname = \"{}\"\ndigest = \"{}\"\n",
            setting.name("bound"),
            image.index.digest
        )
    };
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"CVE-2026-0001\"\n",
        signed.index.digest
    );
    setting
        .world
        .write_policy(&setting.policy(&[entry(&first), entry(&second), revoked].concat()));
    let _daemon = setting.start();
    // Among several that are all bound, the registry may choose.
    assert_eq!(setting.tag("HEAD", "bound").digest(), second.index.digest);
    setting.upstream.push("bound", &first);
    assert_eq!(setting.tag("HEAD", "bound").digest(), first.index.digest);
    setting.upstream.push("bound", &signed);
    let bound = setting.tag("HEAD", "bound");
    assert!(
        [&first, &second]
            .iter()
            .any(|image| image.index.digest == bound.digest()),
        "{bound:?}"
    );
    setting.upstream.behave(Manner::Hangs);
    assert_eq!(setting.tag("HEAD", "bound").status, 200);
    let refused = setting.tag("HEAD", "v1");
    assert!(
        refused.status == 403
            && refused.reason.contains("revoked")
            && refused.reason.contains("CVE-2026-0001"),
        "{refused:?}"
    );
}

#[test]
fn without_a_policy_or_a_trust_server_nothing_is_resolved_and_that_is_no_judgement() {
    let Some(mut setting) = Setting::new("r-nothing") else {
        return;
    };
    setting.sign("v1", &Image::named("signed"));
    setting.world.notary.hang(true);
    let daemon = setting.start();
    let answer = setting.tag("HEAD", "v1");
    assert_eq!(answer.status, 502);
    assert!(
        answer.reason.contains("rootpin: could not judge")
            && answer.reason.contains("source-unreachable"),
        "{answer:?}"
    );
    assert_eq!(daemon.stop().0, 0);
    setting.world.write_policy("version = 2\n");
    std::fs::remove_file(setting.world.path("state/policy.last")).unwrap();
    let _daemon = setting.start();
    let answer = setting.tag("GET", "v1");
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (502, "UNAVAILABLE")
    );
    assert!(answer.error().1.contains("policy-unusable"), "{answer:?}");
    assert!(setting.upstream.asked().is_empty());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let Some(setting) = Setting::new("r-head") else {
        return;
    };
    let _daemon = setting.start();
    let url = format!("http://{}/v2/", setting.address);
    let client = reqwest::Client::new();
    let with = |headers: &[(&str, &str)]| {
        setting
            .world
            .runtime
            .block_on(ask(&client, "GET", &url, headers))
            .status
    };
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[("x", &"y".repeat(20_000))]), 431);
    let many: Vec<_> = (0..100).map(|at| format!("x{at}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "y")).collect();
    assert_eq!(with(&many), 431);
}

#[test]
fn only_roots_processes_are_answered() {
    let Some(mut setting) = Setting::new("r-peer") else {
        return;
    };
    let image = Image::named("signed");
    setting.sign("v1", &image);
    let _daemon = setting.start();
    let port = setting.address.rsplit(':').next().unwrap();
    let question = format!(
        "GET /v2/team/app/blobs/{}?ns=127.0.0.1%3A{} HTTP/1.0\\r\\n\\r\\n",
        image.layer.digest, setting.upstream.port
    );
    let script =
        format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf '%b' '{question}' >&3; cat <&3");
    let by = |user: u32| {
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .uid(user)
            .current_dir("/")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(by(0).contains("layer of signed"));
    let nobody = by(65534);
    assert!(
        nobody.contains(" 403 ") && nobody.contains("only root's processes"),
        "{nobody}"
    );
}

#[test]
fn bytes_pass_only_where_the_registrys_hosts_toml_fetches_them_here() {
    let Some(mut setting) = Setting::new("r-forms") else {
        return;
    };
    let image = Image::named("signed");
    setting.sign("v1", &image);
    let _daemon = setting.start();
    let blob = || setting.ask("GET", &format!("/v2/team/app/blobs/{}", image.layer.digest));
    let manifest = || {
        setting.ask(
            "GET",
            &format!("/v2/team/app/manifests/{}", image.index.digest),
        )
    };
    assert_eq!((blob().status, manifest().status), (200, 200));
    // The form for a registry that is known: its bytes come from itself, with the engine's own
    // credentials.
    setting.fetch_here(false);
    setting.upstream.asked();
    for answer in [blob(), manifest()] {
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(
            answer.error().1.contains("rootpin hosts write 127.0.0.1:"),
            "{answer:?}"
        );
    }
    assert_eq!(
        setting.tag("HEAD", "v1").status,
        200,
        "tags are answered all the same"
    );
    assert!(
        setting.upstream.asked().is_empty(),
        "nothing was asked for with rootpin's credentials"
    );
    // A file that anybody can write is no administrator's word.
    setting.fetch_here(true);
    let file = setting
        .world
        .path("certs.d")
        .join(format!("127.0.0.1:{}", setting.upstream.port))
        .join("hosts.toml");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(blob().status, 404);
}

#[test]
fn a_manifest_by_digest_passes_only_if_it_is_signed_or_in_an_index_that_is() {
    let Some(mut setting) = Setting::new("r-digests") else {
        return;
    };
    let (signed, evil) = (Image::named("signed"), Image::named("evil"));
    setting.sign("v1", &signed);
    setting.upstream.push("other", &evil);
    let daemon = setting.start();
    let by_digest = |method: &str, digest: &str| {
        setting.ask(method, &format!("/v2/team/app/manifests/{digest}"))
    };
    for unsigned in [&evil.index.digest, &evil.manifest.digest] {
        let answer = by_digest("GET", unsigned);
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "MANIFEST_UNKNOWN"),
            "{answer:?}"
        );
        assert!(
            answer.error().1.contains("rootpin: refused ")
                && answer.error().1.contains("no-statement"),
            "{answer:?}"
        );
        assert_eq!(
            by_digest("HEAD", unsigned).status,
            403,
            "as a tag that is refused"
        );
    }
    // What an engine asks for after the tag: the index, and the platform's manifest that it lists.
    assert_eq!(by_digest("HEAD", &signed.index.digest).status, 200);
    let platform = by_digest("GET", &signed.manifest.digest);
    assert_eq!(
        (platform.status, platform.body.as_ref().unwrap()),
        (200, &signed.manifest.bytes),
        "{platform:?}"
    );
    // A pull goes on over a restart: the index lies in the engine by then.
    assert_eq!(daemon.stop().0, 0);
    setting
        .world
        .containerd
        .hold("k8s.io", |held| signed.hold(held));
    let _daemon = setting.start();
    assert_eq!(by_digest("GET", &signed.manifest.digest).status, 200);
    assert_eq!(by_digest("GET", &evil.manifest.digest).status, 404);
}

#[test]
fn a_platform_s_manifest_passes_that_lies_several_indexes_below_a_signed_one() {
    let Some(mut setting) = Setting::new("r-nested") else {
        return;
    };
    let image = Image::named("nested");
    let above = indexes_over(&image.index, 3);
    let top = above.last().unwrap().clone();
    let middle = |index: usize| Image {
        index: above[index].clone(),
        ..image.clone()
    };
    setting.sign("v1", &middle(2));
    for (index, tag) in ["lowest", "middle"].into_iter().enumerate() {
        setting.upstream.push(tag, &middle(index));
    }
    setting.upstream.push("own", &image);
    let daemon = setting.start();
    let by_digest = |digest: &str| setting.ask("GET", &format!("/v2/team/app/manifests/{digest}"));
    let down = [&top, &above[1], &above[0], &image.index, &image.manifest];
    for blob in down {
        let answer = by_digest(&blob.digest);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // A pull goes on over a restart: the indexes lie in the engine by then.
    assert_eq!(daemon.stop().0, 0);
    setting.world.containerd.hold("k8s.io", |held| {
        image.hold(held);
        held.blobs.extend(above.iter().cloned());
    });
    let _daemon = setting.start();
    assert_eq!(by_digest(&image.manifest.digest).status, 200);
}

#[test]
fn a_look_up_of_what_refers_to_an_image_is_no_question_about_one() {
    let Some(mut setting) = Setting::new("r-referrers") else {
        return;
    };
    setting.sign("v1", &Image::named("signed"));
    let _daemon = setting.start();
    let hex = "a".repeat(64);
    for (method, kind) in [
        ("HEAD", ""),
        ("GET", ""),
        ("HEAD", ".sig"),
        ("GET", ".att"),
        ("HEAD", ".sbom"),
    ] {
        let answer = setting.tag(method, &format!("sha256-{hex}{kind}"));
        assert_eq!(answer.status, 404, "{method} {kind}: {answer:?}");
    }
    assert_eq!(
        setting.world.audit(),
        Vec::<serde_json::Value>::new(),
        "nothing was judged"
    );
    assert!(
        !setting
            .world
            .rootpin(&["metrics"])
            .out
            .contains("outcome=\"refused\"")
    );
    assert!(setting.upstream.asked().is_empty());
}

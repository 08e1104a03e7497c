//! Five fixed jobs, of which `benches/instructions/run` counts the instructions. Without an argument
//! each is done once, as a test that they are still what they were.
//!
//! What a job prepares is not counted: only what runs within [`counted_region`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a broken job should stop at once"
)]

#[path = "../../../../tests/support/publisher.rs"]
mod notary_publisher;
#[path = "../../../rootpin-trust/src/tuf/tests/publisher.rs"]
#[allow(dead_code, reason = "a job uses its part")]
mod tuf_publisher;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::judge::{Heard, Judge, Question, Statement, Step};
use rootpin_policy::{Policy, RootKind, load};
use rootpin_trust::image::{Blob, Digest, ImageRef};
use rootpin_trust::notary::GunUpdate;
use rootpin_trust::tuf::{self, Found, Search, Trusted, Update};
use rootpin_trust::{Answer, FetchFrom, Refusal, Verification as _, Want};
use serde_json::json;

const JOBS: [(&str, fn()); 5] = [
    ("verify-tuf", verify_tuf),
    ("verify-notary", verify_notary),
    ("judge", judge),
    ("load-policy", load_policy),
    ("parse-images", parse_images),
];

/// What callgrind counts begins and ends here. One function, and not one for each job, so that it has
/// one name.
#[inline(never)]
fn counted_region(job: &mut dyn FnMut()) {
    job();
}

fn counted<T>(job: impl FnOnce() -> T) -> T {
    let (mut job, mut result) = (Some(job), None);
    counted_region(&mut || result = job.take().map(|job| job()));
    black_box(result).unwrap()
}

fn main() {
    // cargo test passes options of its own.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut done = 0;
    for (name, job) in JOBS {
        if wanted.as_ref().is_none_or(|wanted| wanted == name) {
            job();
            done += 1;
        }
    }
    // A filter of cargo test may be meant for other tests.
    assert!(done > 0 || wanted.is_some());
}

fn now() -> Timestamp {
    tuf_publisher::NOW.parse().unwrap()
}

fn policy(text: &str, files: &[(&str, &[u8])]) -> Policy {
    let files = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
        .chain([("policy.toml".to_owned(), text.as_bytes().to_vec())]);
    match load(&files.collect::<BTreeMap<_, _>>(), now()) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors:?}"),
    }
}

fn from(files: &BTreeMap<String, Vec<u8>>) -> impl FnMut(&Want) -> Result<Answer, Refusal> + '_ {
    |want| {
        let file = files.get(&want.request.file_name());
        let file = file.filter(|_| want.from == FetchFrom::Source);
        Ok(file.cloned().into())
    }
}

/// A repository of that many targets, and a policy with one rule that it is the root of.
fn tuf_repository(targets: usize) -> (Policy, BTreeMap<String, Vec<u8>>) {
    let mut publisher = tuf_publisher::Publisher::new();
    let name = |at: usize| format!("r.example/app{}:v{}", at / 10, at % 10);
    publisher.names = (0..targets)
        .map(|at| (name(at), tuf_publisher::target(&at.to_string())))
        .collect();
    publisher.publish();
    let root = &publisher.files["1.root.json"];
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\ntype = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\n\
         metadata = [\"https://t.example\"]\n[[rule]]\nmatch = \"r.example/*\"\nroots = [\"a\"]\n",
        Digest::of(root).hex()
    );
    (policy(&text, &[("root.json", root)]), publisher.files)
}

fn update(policy: &Policy, files: &BTreeMap<String, Vec<u8>>) -> Trusted {
    let root = &policy.rules[0].roots[0];
    let RootKind::Tuf(tuf) = &root.kind else {
        panic!("no TUF root");
    };
    let pins = tuf.pins(root, policy.revoked_keys());
    Update::start(&pins, Vec::new(), None, now())
        .run(from(files))
        .unwrap()
}

fn search(trusted: &Trusted, name: &ImageRef, files: &BTreeMap<String, Vec<u8>>) -> Found {
    let question = tuf::Question::Tag(name.tag.clone().unwrap());
    let search = Search::start(trusted, &name.repository, &question, now());
    { search }.run(from(files)).unwrap()
}

/// A whole first look at 1,000 targets, and one tag's digest.
fn verify_tuf() {
    let (policy, files) = tuf_repository(1000);
    let name: ImageRef = "r.example/app77:v7".parse().unwrap();
    let found = counted(|| search(&update(&policy, &files), &name, &files));
    let digest = found.collection.get().targets["v7"].digest;
    assert_eq!(digest, Digest::of(b"777"));
}

/// A whole first look at a Notary repository of 100 tags, half of them delegated.
fn verify_notary() {
    const GUN: &str = "r.example/team/app";
    let mut publisher = notary_publisher::Publisher::new(GUN);
    for at in 0..100 {
        let digest = Digest::of(at.to_string().as_bytes());
        publisher.tag(&format!("v{at}"), &digest.to_string(), 7);
    }
    let files = publisher.tree().files;
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\n\
         keys = [\"{}\"]\nrole = \"targets/releases\"\n[[rule]]\nmatch = \"{GUN}\"\nroots = [\"a\"]\n",
        publisher.root_key().id()
    );
    let policy = policy(&text, &[]);
    let root = &policy.rules[0].roots[0];
    let RootKind::Notary(notary) = &root.kind else {
        panic!("no Notary root");
    };
    let pins = notary.pins(root, policy.revoked_keys());
    let gun = format!("{GUN}:v1").parse::<ImageRef>().unwrap().repository;
    let verified = counted(|| {
        GunUpdate::start(&gun, &pins, Vec::new(), now())
            .run(from(&files))
            .unwrap()
    });
    assert_eq!(verified.get().targets.len(), 100);
}

/// 1,000 questions, half of them about other bytes than the signed ones, whose statements are at
/// hand.
fn judge() {
    let (policy, files) = tuf_repository(20);
    let trusted = update(&policy, &files);
    let cases: Vec<_> = (0..20)
        .map(|at: usize| {
            let name = format!("r.example/app{}:v{}", at / 10, at % 10);
            let name: ImageRef = name.parse().unwrap();
            let found = search(&trusted, &name, &files);
            let digest = if at.is_multiple_of(2) { at } else { 1000 + at };
            let statement = Statement {
                valid_until: found.collection.get().expires,
                verified: Arc::new(found.collection),
                contact: now(),
                at_hand: false,
                unseen: None,
                cut: String::new(),
                age: String::new(),
            };
            (name, Digest::of(digest.to_string().as_bytes()), statement)
        })
        .collect();
    let allowed = counted(|| {
        let questions = (0..1000).map(|at| {
            let (name, digest, statement) = &cases[at % cases.len()];
            let question = Question::pull(name.clone(), *digest);
            let mut judge = Judge::start(&policy, question, now(), None);
            let mut heard = None;
            loop {
                match judge.next(heard.take()) {
                    Step::Done(judgement) => return judgement.result.is_ok(),
                    Step::Ask(_) => heard = Some(Heard::Root(Ok(statement.clone()))),
                }
            }
        });
        questions.filter(|allowed| *allowed).count()
    });
    assert_eq!(allowed, 500);
}

/// A policy of 500 rules, 50 images and 50 revoked digests.
fn load_policy() {
    let (_, files) = tuf_repository(1);
    let root = &files["1.root.json"];
    let mut text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\ntype = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\n\
         metadata = [\"https://t.example\"]\n",
        Digest::of(root).hex()
    );
    for at in 0..500 {
        writeln!(
            text,
            "[[rule]]\nmatch = \"r{}.example/team{at}/**\"\nroots = [\"a\"]",
            at % 7
        )
        .unwrap();
    }
    for at in 0..50 {
        let digest = Digest::of(format!("image {at}").as_bytes());
        writeln!(
            text,
            "[[image]]\nname = \"p.example/pause{at}:3\"\ndigest = \"{digest}\"\n[[revoked]]\nreason = \"test\"\ndigest = \"{}\"",
            Digest::of(format!("revoked {at}").as_bytes())
        )
        .unwrap();
    }
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), text.into_bytes()),
        ("root.json".to_owned(), root.clone()),
    ]);
    let policy = counted(|| load(&files, now()));
    assert_eq!(policy.unwrap().rules.len(), 500);
}

/// A manifest of 30 layers and an index of 30 platforms, 20 times each.
fn parse_images() {
    let entry = |kind: &str, at: usize| json!({"mediaType": kind, "size": 1000 + at, "digest": Digest::of(at.to_string().as_bytes()).to_string()});
    let layers = (0..30).map(|at| entry("application/vnd.oci.image.layer.v1.tar+gzip", at));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": entry("application/vnd.oci.image.config.v1+json", 99), "layers": layers.collect::<Vec<_>>(),
    });
    let platforms = (0..30).map(|at| {
        let mut entry = entry("application/vnd.oci.image.manifest.v1+json", at);
        entry["platform"] =
            json!({"architecture": "amd64", "os": "linux", "variant": at.to_string()});
        entry
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": platforms.collect::<Vec<_>>(),
    });
    let documents = [manifest.to_string(), index.to_string()];
    let listed = counted(|| {
        let read = |text: &String| {
            let blob = Blob::read(text.as_bytes()).unwrap();
            blob.content().len() + blob.entries().len()
        };
        (0..20)
            .map(|_| documents.iter().map(read).sum::<usize>())
            .sum::<usize>()
    });
    assert_eq!(listed, 20 * 61);
}

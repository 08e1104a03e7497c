//! Bundles of signatures that anybody may have made: what they bring into the cache, and what they
//! leave in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;
use rootpin_trust::key_file::signature_keys;
use serde_json::{Value, json};

use super::signatures::{IMAGE, digest};
use super::signed_by_command::{policy, rootpin};
use crate::cosign::{self, BUNDLE, SIGN};

/// No registry is there.
const REPOSITORY: &str = "127.0.0.1:1/team/app";
const ROOT: &str = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\"]\n";

/// A host without a network, under a policy.
struct Offline {
    folder: tempfile::TempDir,
    policy: String,
}

impl Offline {
    fn new(root: &str, rule: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let text =
            format!("{ROOT}{root}[[rule]]\nmatch = \"{REPOSITORY}\"\nroots = [\"own\"]\n{rule}");
        let policy = policy(&folder.path().join("policy"), &text, "p256");
        Self { folder, policy }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Imports a bundle of files of the cache.
    async fn import(&self, files: &[(String, Vec<u8>)]) -> (i32, Value) {
        let bundle = self.path("bundle");
        let mut archive = tar::Builder::new(std::fs::File::create(&bundle).unwrap());
        for (at, (name, content)) in files.iter().enumerate() {
            let member = json!({ "repository": REPOSITORY, "name": name, "content": STANDARD.encode(content) });
            let bytes = member.to_string().into_bytes();
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(bytes.len()).unwrap());
            header.set_mode(0o644);
            let name = format!("signatures-{at:03}.json");
            archive
                .append_data(&mut header, name, bytes.as_slice())
                .unwrap();
        }
        archive.finish().unwrap();
        let state = self.path("state");
        let import = ["bundle", "import", "--policy", &self.policy, "--state"];
        rootpin(&[&import[..], &[&state, &bundle]].concat()).await
    }

    /// Trusts a second key too, and revokes the first one.
    fn revoke_first_key(&self) {
        let (policy, second) = (self.path("policy/policy.toml"), cosign::public_pem(2));
        std::fs::write(self.path("policy/roots/own2.pub"), second).unwrap();
        let pem = cosign::public_pem(1);
        let first = signature_keys(pem.as_bytes()).unwrap()[0].id().to_string();
        let text = std::fs::read_to_string(&policy).unwrap();
        let both = text.replace(
            "\"roots/own1.pub\"",
            "\"roots/own1.pub\", \"roots/own2.pub\"",
        );
        let revoked = format!("{both}[[revoked]]\nkey = \"{first}\"\nreason = \"stolen\"\n");
        std::fs::write(policy, revoked).unwrap();
    }

    async fn verify(&self, name: &str) -> String {
        let name = format!("{REPOSITORY}{name}");
        let (policy, state) = (&self.policy, self.path("state"));
        let verify = ["verify", &name, "--policy", policy, "--state", &state];
        let (_, verdict) = rootpin(&verify).await;
        verdict["outcome"].as_str().unwrap().to_owned()
    }
}

/// A file of the cache with bundles for an image.
fn cached(image: Digest, bundles: &[Vec<u8>]) -> (String, Vec<u8>) {
    let one = |bytes: &Vec<u8>| json!({ "media-type": BUNDLE, "bytes": STANDARD.encode(bytes), "signature": null });
    let all: Vec<Value> = bundles.iter().map(one).collect();
    let file = json!({ "signatures": all }).to_string().into_bytes();
    (format!("sha256-{}.json", image.hex()), file)
}

fn tagged(tag: &str) -> Vec<u8> {
    cosign::bundle_of(SIGN, IMAGE, &json!({ "tag": tag }), 1)
}

/// The same signature in as many bytes.
fn padded(bundle: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bundle.to_vec();
    bytes.resize(length, b' ');
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_puts_nothing_that_counts_out_of_the_cache_and_one_without_room_is_refused() {
    let host = Offline::new("binds-tag = \"annotation:tag\"\n", "");
    let image = digest();
    let (code, said) = host.import(&[cached(image, &[tagged("v1")])]).await;
    assert_eq!(code, 0, "{said}");
    let many: Vec<_> = (0..64).map(|at| tagged(&format!("t{at}"))).collect();
    let (code, refused) = host.import(&[cached(image, &many)]).await;
    assert_eq!((code, &refused["code"]), (2, &"over-limit".into()));
    let v1 = format!(":v1@{IMAGE}");
    assert_eq!(host.verify(&v1).await, "allowed");
    // As many as there is room for are added.
    let (code, said) = host.import(&[cached(image, &many[1..])]).await;
    assert_eq!(code, 0, "{said}");
    for name in [v1, format!(":t1@{IMAGE}"), format!(":t63@{IMAGE}")] {
        assert_eq!(host.verify(&name).await, "allowed", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_puts_no_signature_by_a_revoked_key_out_of_the_cache() {
    let host = Offline::new("binds-tag = \"annotation:tag\"\n", "");
    let image = digest();
    let (code, said) = host.import(&[cached(image, &[tagged("v1")])]).await;
    assert_eq!(code, 0, "{said}");
    host.revoke_first_key();
    let v1 = format!(":v1@{IMAGE}");
    assert_eq!(host.verify(&v1).await, "refused");
    let by_second = |at: u8| cosign::bundle_of(SIGN, IMAGE, &json!({ "tag": format!("t{at}") }), 2);
    let many: Vec<_> = (0..64).map(by_second).collect();
    let (code, refused) = host.import(&[cached(image, &many)]).await;
    assert_eq!((code, &refused["code"]), (2, &"over-limit".into()));
    let (code, said) = host.import(&[cached(image, &many[1..])]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(host.verify(&v1).await, "refused");
    assert_eq!(host.verify(&format!(":t63@{IMAGE}")).await, "allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_one_signature_fill_no_cache() {
    let host = Offline::new("", "tags = \"unbound\"\n");
    let good = cosign::bundle(IMAGE, 1);
    let copies: Vec<_> = (0..64).map(|at| padded(&good, 200_000 + at)).collect();
    let (code, said) = host.import(&[cached(digest(), &copies)]).await;
    assert_eq!((code, &said["roots"][0]["new_files"]), (0, &1.into()));
    // What is cached stays as it is, whatever says the same.
    for file in [cached(digest(), &copies), cached(digest(), &[good])] {
        let (code, said) = host.import(&[file]).await;
        assert_eq!((code, &said["roots"][0]["new_files"]), (0, &0.into()));
    }
    assert_eq!(host.verify(&format!(":v1@{IMAGE}")).await, "allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_of_a_bundle_that_has_something_else_in_it() {
    let host = Offline::new("", "tags = \"unbound\"\n");
    let good = cached(digest(), &[cosign::bundle(IMAGE, 1)]);
    let other = ("sha256-0.json".to_owned(), b"{}".to_vec());
    let (code, refused) = host.import(&[good.clone(), other]).await;
    assert_eq!((code, &refused["code"]), (2, &"malformed".into()));
    let name = format!(":v1@{IMAGE}");
    assert_eq!(host.verify(&name).await, "unjudged");
    assert_eq!(host.import(&[good]).await.0, 0);
    assert_eq!(host.verify(&name).await, "allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_taken_with_signatures_of_all_its_manifests_and_no_other_bytes_are() {
    let host = Offline::new("", "tags = \"unbound\"\nindex = \"by-manifests\"\n");
    let parts = ["one", "two"].map(|part| Digest::of(part.as_bytes()));
    let entry = |part: &Digest| json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": part.to_string(), "size": 3 });
    let index = json!({ "schemaVersion": 2, "manifests": parts.each_ref().map(entry) });
    let index = index.to_string().into_bytes();
    let image = Digest::of(&index);
    let of = |part: Digest| cached(part, &[cosign::bundle(&part.to_string(), 1)]);
    let file = (format!("index-{}.json", image.hex()), index.clone());
    let junk = vec![b' '; 1 << 20];
    let of_junk = (format!("index-{}.json", Digest::of(&junk).hex()), junk);
    let (code, said) = host.import(&[file.clone(), of_junk, of(parts[0])]).await;
    assert_eq!(code, 1, "{said}");
    let failed = said["roots"][0]["failed"].as_array().unwrap();
    let codes: Vec<_> = failed.iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["no-statement", "malformed"], "{said}");
    let name = format!(":v1@{image}");
    assert_eq!(host.verify(&name).await, "unjudged");
    let (code, said) = host.import(&[file, of(parts[1])]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(host.verify(&name).await, "allowed");
}

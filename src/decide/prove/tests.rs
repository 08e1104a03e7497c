//! A proof on a host: what is judged in it.

mod begin;

use std::path::Path;

use jiff::SignedDuration;

use super::super::{ImageName, ResidentImage};
use super::*;
use crate::decide::{NameSource, Unpack};
use crate::publish::OneOff;
use crate::state::Store;
use rootpin_trust::image::{Blob, Chain};

/// A host, and somebody who proves on it.
struct Host {
    decider: Decider,
    prover: OneOff,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    port: u16,
}

fn policy(more: &str) -> Arc<Policy> {
    let text = format!("version = 1\ndefault = \"deny\"\n{more}");
    let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    Arc::new(rootpin_policy::load(&files, Timestamp::now()).unwrap())
}

impl Host {
    /// Metadata is served by the last part of its path, whatever stands before.
    async fn new(state: &Path, more: &str) -> Self {
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        let store = Arc::new(Store::open(state).unwrap());
        let decider = Decider::new(
            Ok(policy(more)),
            sources,
            store,
            Duration::from_secs(20),
            true,
        );
        let files: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let known = Arc::clone(&files);
        let serve = move |uri: http::Uri| {
            let found = known
                .lock()
                .unwrap()
                .get(uri.path().rsplit('/').next().unwrap())
                .cloned();
            std::future::ready(found.ok_or(http::StatusCode::NOT_FOUND))
        };
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(serve)).await },
        );
        Self {
            decider,
            prover: OneOff::new(Timestamp::now(), SignedDuration::from_mins(10)).unwrap(),
            files,
            port,
        }
    }

    fn begin(&self) -> Proof {
        self.decider
            .prove(self.port, self.prover.root().to_vec())
            .unwrap()
    }

    /// Signs that these names stand for these bytes.
    fn sign(&self, names: &[(&ImageRef, &[u8])]) {
        let names = names
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
            .collect();
        *self.files.lock().unwrap() = self.prover.publish(&names).unwrap();
    }

    async fn pull(&self, name: &ImageRef, digest: Digest) -> String {
        let pull = Pull {
            door: Door::Verifier,
            name: name.clone(),
            digest,
        };
        told(&self.decider.pull(&pull, Timestamp::now()).await.decision)
    }

    /// The answer on the layer of a manifest that this teller calls so.
    async fn unpack(
        &self,
        claims: &[(NameSource, &ImageRef)],
        manifest: &[u8],
        layer: &Descriptor,
    ) -> String {
        let chain = Chain::of_manifest(layer, &Arc::new(Blob::read(manifest).unwrap())).unwrap();
        let claim = |(told_by, name): &(NameSource, &ImageRef)| Claim {
            told_by: *told_by,
            name: (*name).clone(),
            chain: chain.clone(),
        };
        let claims = claims.iter().map(claim).collect();
        let place = NamespaceView {
            namespace: "k8s.io".to_owned(),
            chains: vec![chain.clone()],
            claims,
            from_registry: false,
            is_cut_short: false,
            variants: Vec::new(),
        };
        let (engine, layer) = ("containerd".to_owned(), layer.clone());
        let unpack = Unpack {
            door: Door::Gate,
            engine,
            layer,
            places: vec![place],
            begun: Instant::now(),
        };
        told(
            &self
                .decider
                .unpack(&unpack, Timestamp::now())
                .await
                .decision,
        )
    }
}

fn told(decision: &Decision) -> String {
    match decision {
        Decision::Allow(_) => "allowed".to_owned(),
        Decision::Deny(denial) => denial.refusal.code.to_string(),
        Decision::LetThrough(denial, _) => format!("let through: {}", denial.refusal.code),
    }
}

fn name(proof: &Proof, canary: Canary) -> ImageRef {
    proof
        .names()
        .as_str()
        .replace("/**", &format!("/path:{}", canary.tag()))
        .parse()
        .unwrap()
}

fn image(proof: &Proof, canary: Canary) -> crate::canary::CanaryImage {
    canary.image(&name(proof, canary).repository)
}

async fn proving(state: &Path, more: &str) -> (Host, Proof) {
    let host = Host::new(state, more).await;
    let proof = host.begin();
    host.sign(&[(
        &name(&proof, Canary::Signed),
        &image(&proof, Canary::Signed).manifest.bytes,
    )]);
    (host, proof)
}

#[tokio::test]
async fn the_control_comes_in_and_what_nobody_signed_does_not() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    for (canary, wanted) in [
        (Canary::Signed, "allowed"),
        (Canary::Unsigned, "no-statement"),
        (Canary::Known, "no-statement"),
    ] {
        let (name, image) = (name(&proof, canary), image(&proof, canary));
        assert_eq!(host.pull(&name, image.digest()).await, wanted);
        let resolved = host
            .decider
            .resolve(Door::Resolver, &name, Timestamp::now())
            .await;
        assert_eq!(
            (told(&resolved.decision).as_str(), resolved.digest),
            (wanted, (wanted == "allowed").then(|| image.digest()))
        );
        let claims = [(NameSource::Record, &name)];
        assert_eq!(
            host.unpack(&claims, &image.manifest.bytes, &image.layer.descriptor)
                .await,
            wanted
        );
    }
    let asked = proof.asked();
    let outcomes: Vec<_> = asked
        .iter()
        .map(|asked| (asked.door, asked.outcome, asked.let_through))
        .collect();
    let allowed = [Door::Verifier, Door::Resolver, Door::Gate].map(|door| (door, "allowed", true));
    assert_eq!(
        (&outcomes[..3], outcomes[4]),
        (&allowed[..], (Door::Resolver, "refused", false))
    );
    assert_eq!((asked.len(), asked[4].code), (9, Some("no-statement")));
}

#[tokio::test]
async fn a_root_that_signs_other_bytes_brings_in_none_of_them() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    let (wanted, unsigned) = (
        name(&proof, Canary::Signed),
        image(&proof, Canary::Unsigned),
    );
    host.sign(&[(&wanted, &unsigned.manifest.bytes)]);
    assert_eq!(
        host.pull(&wanted, unsigned.digest()).await,
        "digest-mismatch"
    );
    assert_eq!(
        told(
            &host
                .decider
                .resolve(Door::Resolver, &wanted, Timestamp::now())
                .await
                .decision
        ),
        "digest-mismatch"
    );
    assert_eq!(
        host.unpack(
            &[(NameSource::Client, &wanted)],
            &unsigned.manifest.bytes,
            &unsigned.layer.descriptor
        )
        .await,
        "digest-mismatch"
    );
    // Nor the control of another name, which is as harmless.
    let other: ImageRef = proof
        .names()
        .as_str()
        .replace("/**", "/other:signed")
        .parse()
        .unwrap();
    assert_eq!(
        host.pull(&other, image(&proof, Canary::Signed).digest())
            .await,
        "no-statement"
    );
}

#[tokio::test]
async fn a_sweep_says_nothing_of_a_proofs_images_while_it_runs_and_of_no_other() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
    let resident = |names: &[Option<&ImageRef>]| {
        let record = |name: Option<&ImageRef>| ImageName {
            record: "x".to_owned(),
            name: name.cloned(),
            digest: signed.digest(),
        };
        let names = names.iter().copied().map(record).collect();
        ResidentImage {
            engine: "containerd".to_owned(),
            namespace: "k8s.io".to_owned(),
            names,
            bytes: None,
        }
    };
    let other: ImageRef = "registry.example/app:1".parse().unwrap();
    let told = async |names: &[Option<&ImageRef>]| {
        let (image, now) = (resident(names), Timestamp::now());
        let by_cache = host
            .decider
            .by_cache()
            .resident(&image, now)
            .await
            .into_iter()
            .flatten()
            .count();
        assert_eq!(
            host.decider
                .resident(&image, now)
                .await
                .into_iter()
                .flatten()
                .count(),
            by_cache
        );
        by_cache
    };
    assert_eq!(told(&[Some(&own), None]).await, 0);
    assert_eq!(told(&[Some(&own), Some(&other)]).await, 2);
    assert_eq!(told(&[None]).await, 1);
    drop(proof);
    assert_eq!(told(&[Some(&own), None]).await, 2);
}

#[tokio::test]
async fn every_other_name_is_judged_as_if_there_were_no_proof() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    let (signed, nonce) = (image(&proof, Canary::Signed), proof.nonce());
    let port = host.port;
    for other in [
        format!("127.0.0.1:{port}/rootpin-prove-{nonce}:signed"),
        format!("127.0.0.1:{port}/rootpin-prove-{nonce}0/path:signed"),
        format!(
            "127.0.0.1:{port}/rootpin-prove-{}/path:signed",
            "0".repeat(32)
        ),
        format!("127.0.0.1:{port}/a/rootpin-prove-{nonce}/path:signed"),
        format!("127.0.0.1:{}/rootpin-prove-{nonce}/path:signed", port ^ 1),
        format!("127.0.0.1/rootpin-prove-{nonce}/path:signed"),
        format!("localhost:{port}/rootpin-prove-{nonce}/path:signed"),
        format!("127.1.0.1:{port}/rootpin-prove-{nonce}/path:signed"),
        format!("rootpin-prove-{nonce}/path:signed"),
        "registry.example/app:1".to_owned(),
    ] {
        let name: ImageRef = other.parse().unwrap();
        host.sign(&[(&name, &signed.manifest.bytes)]);
        assert_eq!(
            host.pull(&name, signed.digest()).await,
            "no-rule",
            "{other}"
        );
        assert_eq!(
            told(
                &host
                    .decider
                    .resolve(Door::Resolver, &name, Timestamp::now())
                    .await
                    .decision
            ),
            "no-rule",
            "{other}"
        );
        assert_eq!(
            host.unpack(
                &[(NameSource::Record, &name)],
                &signed.manifest.bytes,
                &signed.layer.descriptor
            )
            .await,
            "no-rule",
            "{other}"
        );
    }
    assert!(proof.asked().is_empty());
}

#[tokio::test]
async fn a_policy_that_names_the_same_registry_keeps_all_its_other_names() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    let signed = image(&proof, Canary::Signed);
    let theirs: ImageRef = format!("127.0.0.1:{}/team/app:1", host.port)
        .parse()
        .unwrap();
    let bound = policy(&format!(
        "[[image]]\nname = \"{theirs}\"\ndigest = \"{}\"\n",
        Digest::of(b"theirs")
    ));
    drop(proof);
    host.decider.set_policy(bound);
    let proof = host.begin();
    host.sign(&[(&theirs, &signed.manifest.bytes)]);
    assert_eq!(host.pull(&theirs, signed.digest()).await, "digest-mismatch");
    assert_eq!(host.pull(&theirs, Digest::of(b"theirs")).await, "allowed");
    assert!(proof.asked().is_empty());
}

#[tokio::test]
async fn a_name_of_a_proof_speaks_for_no_layer_that_somebody_better_believed_names() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "[local]\ncontent = \"allow\"\n").await;
    let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
    let theirs: ImageRef = "registry.example/app:1".parse().unwrap();
    let (bytes, layer) = (&signed.manifest.bytes, &signed.layer.descriptor);
    // The policy's answer: no rule covers the name, and so its bytes are local.
    assert_eq!(
        host.unpack(
            &[(NameSource::Record, &theirs), (NameSource::Source, &own)],
            bytes,
            layer
        )
        .await,
        "allowed"
    );
    assert!(proof.asked().is_empty());
    // And what the proof refuses is not local either, though no rule of the policy covers it.
    let unsigned = image(&proof, Canary::Unsigned);
    let claims = [(NameSource::Record, &own), (NameSource::Record, &theirs)];
    assert_eq!(
        host.unpack(
            &claims,
            &unsigned.manifest.bytes,
            &unsigned.layer.descriptor
        )
        .await,
        "digest-mismatch"
    );
}

#[tokio::test]
async fn a_name_of_a_proof_lets_nothing_through_that_another_names_rule_stops() {
    let state = tempfile::tempdir().unwrap();
    let more = format!(
        "mode = \"audit\"\n[[root]]\nid = \"team\"\ntype = \"notary\"\nserver = \"https://127.0.0.1:1\"\nkeys = [\"{}\"]\nrole = \"targets\"\n\
         [[rule]]\nmatch = \"registry.example/**\"\nroots = [\"team\"]\nmode = \"enforce\"\n",
        "a".repeat(64)
    );
    let (host, proof) = proving(state.path(), &more).await;
    let (own, unsigned) = (
        name(&proof, Canary::Unsigned),
        image(&proof, Canary::Unsigned),
    );
    let theirs: ImageRef = "registry.example/app:1".parse().unwrap();
    for (claims, wanted) in [
        (
            &[
                (NameSource::Annotation, &own),
                (NameSource::Source, &theirs),
            ][..],
            "no-rule",
        ),
        (
            &[(NameSource::Annotation, &own)],
            "let through: no-statement",
        ),
    ] {
        let (bytes, layer) = (&unsigned.manifest.bytes, &unsigned.layer.descriptor);
        assert_eq!(host.unpack(claims, bytes, layer).await, wanted);
    }
}

#[tokio::test]
async fn what_the_policy_revokes_stays_revoked() {
    let state = tempfile::tempdir().unwrap();
    let host = Host::new(state.path(), "").await;
    // Bytes that are known beforehand only to a test.
    let (layer, manifest) = {
        let image = Canary::Signed.image(&Repository::from_full("127.0.0.1:1/a").unwrap());
        (image.layer.descriptor, image.manifest)
    };
    for revoked in [layer.digest, manifest.descriptor.digest] {
        host.decider.set_policy(policy(&format!(
            "[[revoked]]\ndigest = \"{revoked}\"\nreason = \"a test\"\n"
        )));
        let proof = host.begin();
        let own = name(&proof, Canary::Signed);
        host.sign(&[(&own, &manifest.bytes)]);
        assert_eq!(
            host.unpack(&[(NameSource::Client, &own)], &manifest.bytes, &layer)
                .await,
            "revoked"
        );
        let wanted = if revoked == layer.digest {
            "digest-mismatch"
        } else {
            "revoked"
        };
        assert_eq!(host.pull(&own, manifest.descriptor.digest).await, wanted);
    }
}

#[tokio::test]
async fn under_audit_mode_a_proof_shows_what_audit_mode_does() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "mode = \"audit\"\n").await;
    let (own, unsigned) = (
        name(&proof, Canary::Unsigned),
        image(&proof, Canary::Unsigned),
    );
    assert_eq!(
        host.pull(&own, unsigned.digest()).await,
        "let through: no-statement"
    );
    assert!(
        proof
            .asked()
            .iter()
            .all(|asked| asked.let_through && asked.outcome == "refused")
    );
    // But a root that lies is none that audit mode would have let through: it is stopped.
    drop(proof);
    let proof = host.begin();
    let (own, unsigned) = (
        name(&proof, Canary::Signed),
        image(&proof, Canary::Unsigned),
    );
    host.sign(&[(&own, &unsigned.manifest.bytes)]);
    assert_eq!(host.pull(&own, unsigned.digest()).await, "digest-mismatch");
}

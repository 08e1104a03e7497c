//! A proof's own root: for its own names, for a minute, and for two kinds of bytes.
//!
//! `rootpin prove` shows that every door stops what nobody signed, and takes what somebody did. For
//! the latter there has to be somebody, whom the host's policy must not have to know: a root that
//! root itself sets over the control socket, and that speaks for the names
//! `127.0.0.1:PORT/rootpin-prove-NONCE/**` only. This is what keeps it from ever being more:
//!
//! - the nonce is made here, so that no name that anybody uses is among them; every other name is
//!   judged as if there were no proof;
//! - whatever the root signs, nothing is admitted but [`Canary::Signed`], whose bytes are made here
//!   from the name to compare;
//! - what the policy revokes stays revoked; `prove = false` forbids all of it, and any change of
//!   policy ends it;
//! - nothing of it is kept: no floor, no contact, no row of the ledger, no cached file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::question::revocable;
use super::{Claim, Decider, Decision, Denial, Door, Place, Pull, Verdict};
use crate::canary::Canary;
use crate::nonce;
use crate::sources::{Credentials, Sources};
use rootpin_policy::{self, Pattern, Policy};
use rootpin_trust::image::{Descriptor, Digest, ImageRef, Repository};
use rootpin_trust::{Code, Refusal};

/// How long a proof may take.
const TERM: Duration = Duration::from_secs(60);
/// Many times what a root of one key has.
const MAX_ROOT: usize = 16 << 10;
/// A proof asks some questions for each of its paths; more of them are decided all the same, but
/// not listed.
const MAX_ASKED: usize = 4096;

/// The place for one proof at a time.
#[derive(Debug, Default)]
pub(super) struct Proving(RwLock<Option<Arc<Session>>>);

/// One proof while it runs.
#[derive(Debug)]
pub(super) struct Session {
    nonce: String,
    names: Pattern,
    /// One root, one rule for the names.
    policy: Arc<Policy>,
    /// Judges by it, and keeps nothing.
    decider: Decider,
    ends: Instant,
    asked: Mutex<Vec<Asked>>,
}

/// A question about one of a proof's names.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where it was asked.
    pub door: Door,
    /// The name that decided; without its tag where only the repository is known.
    pub name: ImageRef,
    /// What it would stand for, where that was asked.
    pub digest: Option<Digest>,
    /// `allowed`, `refused` or `unjudged`.
    pub outcome: &'static str,
    /// Of a no.
    pub code: Option<&'static str>,
    /// Whether the engine may go on, as it may under audit mode.
    pub let_through: bool,
    /// How long the decision took.
    pub took: Duration,
}

/// Whoever has this proves. The root is gone as soon as it is dropped.
#[derive(Debug)]
pub struct Proof {
    session: Arc<Session>,
    proving: Arc<Proving>,
}

impl Decider {
    /// Begins a proof whose images are served on that port of 127.0.0.1, signed under this root.
    ///
    /// # Errors
    /// The policy forbids it, another proof runs, or the port or the root is none. One line.
    pub fn prove(&self, port: u16, root: Vec<u8>) -> Result<Proof, String> {
        let in_force = self.policy().map_err(|refusal| refusal.to_string())?;
        if !in_force.prove {
            return Err("the policy has prove = false: no root but its own may be set, not even for a proof; hint: rootpin status and \
                        rootpin doctor look without one"
                .to_owned());
        }
        if port == 0 || root.len() > MAX_ROOT {
            return Err(
                "a proof needs the port that it serves its images on, and a root of one key"
                    .to_owned(),
            );
        }
        let nonce = nonce::random_hex().map_err(|error| error.to_string())?;
        let session = Arc::new(Session::new(self, &in_force, nonce, port, root)?);
        let mut slot = self
            .proving
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|running| running.is_live()) {
            return Err(
                "another proof runs; hint: try again after it, at the latest in a minute"
                    .to_owned(),
            );
        }
        *slot = Some(Arc::clone(&session));
        drop(slot);
        // A policy that was put in force meanwhile has ended a proof that it did not see.
        let proof = Proof {
            session,
            proving: Arc::clone(&self.proving),
        };
        let same = self.policy().is_ok_and(|now| Arc::ptr_eq(&now, &in_force));
        if same {
            Ok(proof)
        } else {
            Err("the policy has just changed; hint: try again".to_owned())
        }
    }

    /// The registry of the proof that runs, which no policy names.
    #[must_use]
    pub fn proving_at(&self) -> Option<String> {
        self.proving
            .live()
            .map(|session| session.names.host().to_owned())
    }
}

impl Proving {
    fn live(&self) -> Option<Arc<Session>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|session| session.is_live())
    }

    /// The proof that this name is of. A revoked digest is the policy's to refuse.
    pub(super) fn of_name(&self, pull: &Pull, policy: &Policy) -> Option<Arc<Session>> {
        let revoked = policy.revoked_digest(&pull.digest).is_some();
        self.live()
            .filter(|session| !revoked && session.names.matches(&pull.name.repository))
    }

    /// The proof that a repository is of.
    pub(super) fn of_repository(&self, repository: &Repository) -> Option<Arc<Session>> {
        self.live()
            .filter(|session| session.names.matches(repository))
    }

    /// The proof that a layer is of, with what its own names claim: where those who are believed
    /// first tell one of them. Then the policy isn't asked, which may let in what has no name that
    /// it covers.
    pub(super) fn of_place(
        &self,
        place: &Place,
        layer: &Descriptor,
        policy: &Policy,
    ) -> Option<(Arc<Session>, Place)> {
        let session = self.live()?;
        let teller = place.claims.iter().map(|claim| claim.told_by).min();
        let own = |claim: &&Claim| {
            Some(claim.told_by) == teller && session.names.matches(&claim.name.repository)
        };
        let claims: Vec<Claim> = place.claims.iter().filter(own).cloned().collect();
        let digests = claims
            .iter()
            .flat_map(|claim| revocable(&claim.chain))
            .chain([layer.digest]);
        let revoked = digests
            .into_iter()
            .any(|digest| policy.revoked_digest(&digest).is_some());
        // Under audit mode a name of the proof would let through what the rule of another name that
        // the layer has stops.
        let stricter = place.claims.iter().any(|claim| {
            !session.names.matches(&claim.name.repository)
                && policy.mode_for(&claim.name.repository) > policy.mode
        });
        (!claims.is_empty() && !revoked && !stricter).then(|| {
            (
                session,
                Place {
                    claims,
                    ..place.clone()
                },
            )
        })
    }

    /// Whether these are names, all of them of the proof that runs.
    pub(super) fn is_of_names<'a>(&self, names: impl Iterator<Item = &'a ImageRef>) -> bool {
        let Some(session) = self.live() else {
            return false;
        };
        let mut names = names.peekable();
        names.peek().is_some() && names.all(|name| session.names.matches(&name.repository))
    }

    /// Ends whatever runs.
    pub(super) fn end(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Session {
    fn new(
        parent: &Decider,
        in_force: &Policy,
        nonce: String,
        port: u16,
        root: Vec<u8>,
    ) -> Result<Self, String> {
        // The root's ID as well is one that no policy has, because what is cached of a root is
        // found by its ID.
        let id = format!("rootpin-prove-{nonce}");
        let place = format!("127.0.0.1:{port}/{id}");
        let names: Pattern = format!("{place}/**")
            .parse()
            .map_err(|fault: rootpin_policy::Fault| fault.message)?;
        let text = format!(
            "version = 1\ndefault = \"deny\"\nmode = \"{}\"\n[[root]]\nid = \"{id}\"\ntype = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\n\
             metadata = [\"http://{place}/metadata\"]\n[[rule]]\nmatch = \"{names}\"\nroots = [\"{id}\"]\n",
            in_force.mode.as_str(),
            Digest::of(&root).hex()
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), text.into_bytes()),
            ("root.json".to_owned(), root),
        ]);
        let loaded = rootpin_policy::load(&files, Timestamp::now());
        let mut policy = loaded.map_err(|errors| {
            errors
                .first()
                .map(|error| error.message.clone())
                .unwrap_or_default()
        })?;
        for rule in &mut policy.rules {
            // Nobody is to look for it in a file.
            rule.location.file = "rootpin prove".into();
        }
        let policy = Arc::new(policy);
        // No credential of this host is shown to whoever listens there.
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        let decider = parent.keeping_nothing(Ok(Arc::clone(&policy)), sources);
        Ok(Self {
            nonce,
            names,
            policy,
            decider,
            ends: Instant::now() + TERM,
            asked: Mutex::default(),
        })
    }

    fn is_live(&self) -> bool {
        Instant::now() < self.ends
    }

    pub(super) async fn pull(&self, pull: &Pull, now: Timestamp, begun: Instant) -> Decision {
        let decision = self.decider.pull_by(&self.policy, pull, now, begun).await;
        let decision = only_the_control(decision, Some((&pull.name, pull.digest)));
        self.note(
            pull.door,
            (&pull.name, Some(pull.digest)),
            &decision,
            begun.elapsed(),
        );
        decision
    }

    /// Which digest a tag is: asked of a decider under which no proof runs.
    pub(super) async fn resolve(&self, door: Door, name: &ImageRef, now: Timestamp) -> Verdict {
        let mut verdict = Box::pin(self.decider.resolve(door, name, now)).await;
        verdict.decision = only_the_control(
            verdict.decision,
            verdict.digest.map(|digest| (name, digest)),
        );
        self.note(
            door,
            (name, verdict.digest),
            &verdict.decision,
            verdict.took,
        );
        verdict
    }

    pub(super) async fn place(
        &self,
        door: Door,
        place: &Place,
        layer: &Descriptor,
        now: Timestamp,
        begun: Instant,
    ) -> (Decision, Option<Claim>) {
        let (decision, claim) = self
            .decider
            .place_by(&self.policy, place, layer, now, begun)
            .await;
        let decision = only_the_control(
            decision,
            claim.as_ref().map(|claim| (&claim.name, claim.chain.top())),
        );
        if let Some(claim) = &claim {
            self.note(
                door,
                (&claim.name, Some(claim.chain.top())),
                &decision,
                begun.elapsed(),
            );
        }
        (decision, claim)
    }

    fn note(
        &self,
        door: Door,
        (name, digest): (&ImageRef, Option<Digest>),
        decision: &Decision,
        took: Duration,
    ) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < MAX_ASKED {
            asked.push(Asked {
                door,
                name: name.clone(),
                digest,
                outcome: decision.outcome(),
                code: decision.denial().map(|denial| denial.refusal.code.as_str()),
                let_through: decision.lets_through(),
                took,
            });
        }
    }
}

/// What the proof's root has signed is admitted only as the bytes that a control has.
fn only_the_control(decision: Decision, subject: Option<(&ImageRef, Digest)>) -> Decision {
    let Decision::Allow(admission) = decision else {
        return decision;
    };
    let control = subject.map(|(name, _)| Canary::Signed.image(&name.repository).digest());
    let found = subject.map(|(_, top)| top);
    if control.is_some() && control == found {
        return Decision::Allow(admission);
    }
    let said = |digest: Option<Digest>| {
        digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
    };
    let refusal = Refusal::new(
        Code::DigestMismatch,
        said(found),
        format!("{}, the control image of that name", said(control)),
        "a proof brings in its own control images and nothing else",
    );
    Decision::Deny(Denial {
        refusal,
        rule: Some(admission.rule.clone()),
        roots: Vec::new(),
    })
}

impl Proof {
    /// What its names are told by.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.session.nonce
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Pattern {
        &self.session.names
    }

    /// When it ends at the latest.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.session.ends
    }

    /// Whether it has not come to its end: its time is not over, and the policy is the one that it
    /// began under.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.proving
            .live()
            .is_some_and(|session| Arc::ptr_eq(&session, &self.session))
    }

    /// Every question about its names so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.session
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut slot = self
            .proving
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if slot
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, &self.session))
        {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::SignedDuration;

    use super::super::{Named, Resident};
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
            tokio::spawn(async move {
                axum::serve(listener, axum::Router::new().fallback(serve)).await
            });
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
            let chain =
                Chain::of_manifest(layer, &Arc::new(Blob::read(manifest).unwrap())).unwrap();
            let claim = |(told_by, name): &(NameSource, &ImageRef)| Claim {
                told_by: *told_by,
                name: (*name).clone(),
                chain: chain.clone(),
            };
            let claims = claims.iter().map(claim).collect();
            let place = Place {
                namespace: "k8s.io".to_owned(),
                chains: vec![chain.clone()],
                claims,
                from_registry: false,
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
            Decision::LetThrough(denial) => format!("let through: {}", denial.refusal.code),
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
        let allowed =
            [Door::Verifier, Door::Resolver, Door::Gate].map(|door| (door, "allowed", true));
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
            let record = |name: Option<&ImageRef>| Named {
                record: "x".to_owned(),
                name: name.cloned(),
                digest: signed.digest(),
            };
            let names = names.iter().copied().map(record).collect();
            Resident {
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
    async fn nothing_of_a_proof_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let (host, proof) = proving(state.path(), "").await;
        let files = || {
            let mut found: Vec<_> = std::fs::read_dir(state.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            found.sort();
            found
        };
        let (before, files_before) = (host.decider.store().show().unwrap(), files());
        let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
        assert_eq!(host.pull(&own, signed.digest()).await, "allowed");
        assert_eq!(
            host.unpack(
                &[(NameSource::Source, &own)],
                &signed.manifest.bytes,
                &signed.layer.descriptor
            )
            .await,
            "allowed"
        );
        assert_eq!(
            host.pull(&name(&proof, Canary::Unsigned), signed.digest())
                .await,
            "no-statement"
        );
        assert_eq!(
            format!("{:?}", host.decider.store().show().unwrap()),
            format!("{before:?}")
        );
        for digest in [
            signed.digest(),
            signed.layer.descriptor.digest,
            signed.config.descriptor.digest,
        ] {
            assert!(host.decider.store().admitted(&digest).unwrap().is_empty());
        }
        assert_eq!(files(), files_before);
    }

    #[tokio::test]
    async fn a_proof_ends_when_it_is_dropped_when_the_policy_changes_and_when_its_time_is_over() {
        let state = tempfile::tempdir().unwrap();
        let (host, proof) = proving(state.path(), "").await;
        let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
        assert!(
            proof.is_live()
                && host.decider.proving_at() == Some(format!("127.0.0.1:{}", host.port))
        );
        assert!(proof.ends() <= Instant::now() + Duration::from_secs(60));
        host.decider.set_policy(policy(""));
        assert!(!proof.is_live());
        assert_eq!(host.pull(&own, signed.digest()).await, "no-rule");
        // One that is over is no hindrance for the next, which it doesn't end when it is dropped.
        let next = host.begin();
        drop(proof);
        assert!(next.is_live());
        let own = name(&next, Canary::Signed);
        let signed = image(&next, Canary::Signed);
        host.sign(&[(&own, &signed.manifest.bytes)]);
        assert_eq!(host.pull(&own, signed.digest()).await, "allowed");
        drop(next);
        assert_eq!(host.pull(&own, signed.digest()).await, "no-rule");
        assert_eq!(host.decider.proving_at(), None);
    }

    #[tokio::test]
    async fn a_session_whose_time_is_over_answers_nothing() {
        let state = tempfile::tempdir().unwrap();
        let (host, proof) = proving(state.path(), "").await;
        let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
        let policy = host.decider.policy().unwrap();
        let over = Session::new(
            &host.decider,
            &policy,
            proof.nonce().to_owned(),
            host.port,
            host.prover.root().to_vec(),
        )
        .unwrap();
        let over = Session {
            ends: Instant::now(),
            ..over
        };
        *host.decider.proving.0.write().unwrap() = Some(Arc::new(over));
        assert_eq!(host.pull(&own, signed.digest()).await, "no-rule");
        assert!(!proof.is_live() && host.decider.proving_at().is_none());
        assert!(
            host.decider
                .prove(host.port, host.prover.root().to_vec())
                .is_ok(),
            "its place is free"
        );
    }

    #[tokio::test]
    async fn a_proof_is_refused_where_the_policy_forbids_it_where_another_runs_and_without_a_root()
    {
        let state = tempfile::tempdir().unwrap();
        let host = Host::new(state.path(), "").await;
        let begin = |port, root: &[u8]| {
            host.decider
                .prove(port, root.to_vec())
                .map(|proof| proof.nonce().to_owned())
        };
        assert!(begin(0, host.prover.root()).is_err());
        assert!(
            begin(host.port, b"{}").is_err()
                && begin(host.port, &vec![b' '; MAX_ROOT + 1]).is_err()
        );
        let running = host.begin();
        assert!(
            begin(host.port, host.prover.root())
                .unwrap_err()
                .contains("another proof runs")
        );
        drop(running);
        let (one, two) = (
            begin(host.port, host.prover.root()).unwrap(),
            begin(host.port, host.prover.root()).unwrap(),
        );
        assert_ne!(one, two);
        host.decider.set_policy(policy("prove = false\n"));
        assert!(
            begin(host.port, host.prover.root())
                .unwrap_err()
                .contains("prove = false")
        );
        let broken = Decider::new(
            Err(super::super::policy_unusable("a test")),
            Arc::new(Sources::silent()),
            Arc::clone(host.decider.store()),
            Duration::from_secs(1),
            true,
        );
        assert!(
            broken
                .prove(host.port, host.prover.root().to_vec())
                .unwrap_err()
                .contains("a test")
        );
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
}

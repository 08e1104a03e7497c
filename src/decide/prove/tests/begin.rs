//! Who may begin a proof, when it ends, and what is left of it.

use super::*;

#[tokio::test]
async fn a_proof_ends_when_it_is_dropped_when_the_policy_changes_and_when_its_time_is_over() {
    let state = tempfile::tempdir().unwrap();
    let (host, proof) = proving(state.path(), "").await;
    let (own, signed) = (name(&proof, Canary::Signed), image(&proof, Canary::Signed));
    assert!(
        proof.is_live() && host.decider.proving_at() == Some(format!("127.0.0.1:{}", host.port))
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
    let over = ProofSession::new(
        &host.decider,
        &policy,
        proof.nonce().to_owned(),
        host.port,
        host.prover.root().to_vec(),
    )
    .unwrap();
    let over = ProofSession {
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
async fn a_proof_is_refused_where_the_policy_forbids_it_where_another_runs_and_without_a_root() {
    let state = tempfile::tempdir().unwrap();
    let host = Host::new(state.path(), "").await;
    let begin = |port, root: &[u8]| {
        host.decider
            .prove(port, root.to_vec())
            .map(|proof| proof.nonce().to_owned())
    };
    assert!(begin(0, host.prover.root()).is_err());
    assert!(
        begin(host.port, b"{}").is_err() && begin(host.port, &vec![b' '; MAX_ROOT + 1]).is_err()
    );
    let running = host.begin();
    assert!(
        begin(host.port, host.prover.root())
            .unwrap_err()
            .what
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
            .what
            .contains("prove = false")
    );
    let broken = Decider::new(
        Err(crate::decide::policy_unusable("a test")),
        Arc::new(Sources::silent()),
        Arc::clone(host.decider.store()),
        Duration::from_secs(1),
        true,
    );
    assert!(
        broken
            .prove(host.port, host.prover.root().to_vec())
            .unwrap_err()
            .what
            .contains("a test")
    );
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

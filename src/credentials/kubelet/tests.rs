use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Providers whose programs are shell scripts; each writes a line to `runs` when it starts.
struct Node {
    folder: tempfile::TempDir,
    kubelet: Arc<Kubelet>,
}

fn node(providers: &[(&str, &str, &str)]) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
            .to_owned();
    for (name, matches, script) in providers {
        let file = folder.path().join(name);
        let text = format!(
            "#!/bin/sh\ncd {}\nread -r request\necho \"{name} $request\" >> runs\n{script}\n",
            folder.path().display()
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let provider = format!(
            "- name: {name}\n  matchImages: [\"{matches}\"]\n  defaultCacheDuration: 1h\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
        );
        config.push_str(&provider);
    }
    fs::write(folder.path().join("config"), config).unwrap();
    let kubelet = Kubelet::new(
        folder.path().join("config"),
        folder.path().to_owned(),
        Duration::from_secs(5),
    );
    Node {
        folder,
        kubelet: Arc::new(kubelet),
    }
}

fn says(key_type: &str, life: &str, auth: &str) -> String {
    format!(
        "echo '{{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":\"CredentialProviderResponse\",\"cacheKeyType\":\"{key_type}\"{life},\"auth\":{auth}}}'"
    )
}

const AUTH: &str = r#"{"*.one.example":{"username":"u","password":"p"},"two.example":{"username":"v","password":"q"}}"#;

fn runs(folder: &Path) -> usize {
    fs::read_to_string(folder.join("runs")).map_or(0, |text| text.lines().count())
}

impl Node {
    async fn ask(&self, host: &str, repository: &str) -> Result<Option<Credential>, String> {
        let deadline = Instant::now() + LONG;
        loop {
            let answer = self.kubelet.credential(host, repository, deadline).await;
            // Another test's fork may still hold the fresh program open.
            if !matches!(&answer, Err(why) if why.contains("busy")) {
                return answer;
            }
        }
    }

    fn runs(&self) -> usize {
        runs(self.folder.path())
    }
}

#[tokio::test]
async fn a_provider_is_asked_as_the_kubelet_asks_and_only_for_what_it_matches() {
    let node = node(&[("cloud", "*.one.example", &says("Registry", "", AUTH))]);
    let found = node.ask("a.one.example", "team/app").await;
    assert_eq!(found, Ok(Some(Credential::password("u", "p"))));
    let request = fs::read_to_string(node.folder.path().join("runs")).unwrap();
    assert!(
        request.contains(r#""image":"a.one.example/team/app""#)
            && request.contains(r#""kind":"CredentialProviderRequest""#),
        "{request}"
    );
    assert_eq!(
        node.ask("two.example", "x").await,
        Ok(None),
        "not matched: not asked"
    );
    assert_eq!(
        node.ask("a.one.example.evil.example", "team/app").await,
        Ok(None)
    );
    assert_eq!(node.runs(), 1);
}

#[tokio::test]
async fn an_answer_serves_what_its_key_type_says() {
    for (key_type, runs) in [("Image", 3), ("Registry", 2), ("Global", 1)] {
        let node = node(&[("cloud", "*.one.example", &says(key_type, "", AUTH))]);
        for (host, repository) in [
            ("a.one.example", "x"),
            ("a.one.example", "y"),
            ("b.one.example", "x"),
            ("a.one.example", "x"),
        ] {
            assert!(node.ask(host, repository).await.unwrap().is_some());
        }
        assert_eq!(node.runs(), runs, "{key_type}");
    }
}

#[test]
fn a_key_with_a_path_is_for_what_is_below_it_alone_at_docker_hub_too() {
    for (key, image, wanted) in [
        ("https://index.docker.io/v1/", "docker.io/team/app", true),
        ("docker.io", "docker.io/team/app", true),
        ("docker.io/team", "docker.io/team/app", true),
        ("index.docker.io/team", "docker.io/team/app", true),
        ("docker.io/team", "docker.io/other/app", false),
        ("index.docker.io/team", "docker.io/other/app", false),
        ("r.example/team", "r.example/other/app", false),
        ("docker.io", "docker.io.evil.example/team/app", false),
    ] {
        assert_eq!(is_for(key, image), wanted, "{key} {image}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_to_be_kept_is_not() {
    let script = says("Global", ",\"cacheDuration\":\"0s\"", AUTH);
    let node = node(&[("cloud", "*.one.example", &script)]);
    for runs in 1..=2 {
        assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
        assert_eq!(node.runs(), runs);
    }
}

#[tokio::test]
async fn an_answer_is_asked_for_again_before_it_ends_and_serves_meanwhile() {
    let script = says("Global", ",\"cacheDuration\":\"1h\"", AUTH);
    let node = node(&[("cloud", "*.one.example", &script)]);
    assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
    for kept in node.kubelet.state().kept.values_mut() {
        assert_eq!(kept.until - kept.refresh, REFRESH);
        kept.refresh = Instant::now();
    }
    assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
    let end = Instant::now() + LONG;
    while node.runs() < 2 {
        assert!(Instant::now() < end, "it is never refreshed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_thousand_at_once_cost_one_run_a_registry() {
    let script = format!("sleep 0.2\n{}", says("Registry", "", AUTH));
    let node = node(&[("cloud", "*.one.example", &script)]);
    // So that a busy program file doesn't count.
    assert!(node.ask("z.one.example", "x").await.unwrap().is_some());
    let mut asked = tokio::task::JoinSet::new();
    for at in 0..1000 {
        let kubelet = Arc::clone(&node.kubelet);
        let host = if at % 2 == 0 {
            "a.one.example"
        } else {
            "b.one.example"
        };
        asked.spawn(async move {
            let deadline = Instant::now() + LONG;
            kubelet
                .credential(host, &format!("app{}", at % 50), deadline)
                .await
        });
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap(), Ok(Some(Credential::password("u", "p"))));
    }
    assert_eq!(node.runs(), 3);
}

#[tokio::test]
async fn a_provider_that_hangs_costs_its_own_registry_only() {
    let script = format!(
        "case \"$request\" in *hang.one.example*) sleep 600;; esac\n{}",
        says("Registry", "", AUTH)
    );
    let node = node(&[("cloud", "*.one.example", &script)]);
    assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
    let soon = || Instant::now() + Duration::from_millis(200);
    let why = node
        .kubelet
        .credential("hang.one.example", "x", soon())
        .await;
    assert!(why.unwrap_err().contains("serves the next question"));
    assert!(node.ask("b.one.example", "x").await.unwrap().is_some());
    assert_eq!(node.runs(), 3);
    let why = node
        .kubelet
        .credential("hang.one.example", "y", soon())
        .await;
    assert!(why.is_err());
    assert_eq!(node.runs(), 3, "it is not run beside itself");
}

#[tokio::test]
async fn one_that_fails_is_named_and_not_quoted_and_hides_no_other() {
    for script in [
        "echo hunter2; exit 3",
        "echo hunter2",
        "echo '{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1beta1\",\"kind\":\"CredentialProviderResponse\",\"cacheKeyType\":\"Image\",\"auth\":{\"x\":{\"password\":\"hunter2\"}}}'",
        "yes hunter2",
    ] {
        let good = says("Image", "", AUTH);
        let node = node(&[
            ("bad", "*.one.example", script),
            ("good", "a.one.example", &good),
        ]);
        let why = node.ask("b.one.example", "x").await.unwrap_err();
        assert!(why.starts_with("bad ") && !why.contains("hunter2"), "{why}");
        assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_answer_that_a_registry_refuses_is_dropped_once_in_a_while_and_no_other_is() {
    let script = says("Registry", "", AUTH);
    let node = node(&[("cloud", "*.one.example", &script)]);
    for host in ["a.one.example", "b.one.example"] {
        assert!(node.ask(host, "x").await.unwrap().is_some());
    }
    let refused = |host: &str, password: &str| {
        let credential = Credential::password("u", password);
        node.kubelet.refused(host, "y", &credential)
    };
    assert!(!refused("a.one.example", "another"), "it is not kept");
    assert!(!refused("c.one.example", "p"), "nothing is kept of it");
    assert!(refused("a.one.example", "p"));
    for (host, runs) in [("b.one.example", 2), ("a.one.example", 3)] {
        assert!(node.ask(host, "x").await.unwrap().is_some());
        assert_eq!(node.runs(), runs, "{host}");
    }
    assert!(!refused("a.one.example", "p"), "a moment ago it was");
    for at in node.kubelet.state().dropped.values_mut() {
        *at -= DROP_AGAIN;
    }
    assert!(refused("a.one.example", "p"));
}

#[tokio::test]
async fn a_null_answer_is_none_and_is_kept_too() {
    let node = node(&[("cloud", "*.one.example", &says("Registry", "", "null"))]);
    for _ in 0..2 {
        assert_eq!(node.ask("a.one.example", "x").await, Ok(None));
    }
    assert_eq!(node.runs(), 1);
}

#[tokio::test]
async fn our_own_provider_is_never_asked_by_ourselves() {
    let node = node(&[(OWN_PROVIDER, "*.one.example", "exit 1")]);
    assert_eq!(node.ask("a.one.example", "x").await, Ok(None));
    assert_eq!(node.runs(), 0);
}

#[test]
fn keys_of_an_answer_are_read_as_the_kubelet_s_keyring_reads_them() {
    for (key, image, wanted) in [
        ("https://index.docker.io/v1/", "docker.io/library/x", true),
        ("docker.io", "docker.io/library/x", true),
        ("https://r.example/v2/", "r.example/team/x", true),
        ("r.example/team", "r.example/team/x", true),
        ("r.example/other", "r.example/team/x", false),
        ("https://r.example/v2/team", "r.example/team/x", true),
        ("https://r.example/v2/other", "r.example/team/x", false),
        ("r.example:5000", "r.example/team/x", false),
        ("r.example", "r.example:5000/team/x", false),
        ("*", "r.example/team/x", false),
        ("*.*", "r.example/team/x", true),
        ("*.example.evil", "r.example/team/x", false),
        ("R.example", "r.example/team/x", false),
        ("r\u{2024}example", "r.example/team/x", false),
        ("xn--r-xyz.example", "r.example/team/x", false),
        ("*.example", "r.example/team/x", true),
        ("docker.io", "docker.io.evil.example/x", false),
    ] {
        assert_eq!(is_for(key, image), wanted, "{key}");
    }
}

//! Where credentials come from and go.

use std::collections::BTreeMap;

use rootpin::credentials::Settings;

use super::*;

/// A kubelet's configuration with one provider for 127.0.0.1, which answers with the password that
/// stands in the file `password`, for so long.
fn kubelet(port: u16, life: &str) -> (tempfile::TempDir, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let at = folder.path().display();
    file(
        "cloud",
        &format!(
            "#!/bin/sh\ncd {at}\ncat >> asked\necho >> runs\necho '{{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"cacheKeyType\":\"Registry\",\"cacheDuration\":\"{life}\",\"auth\":{{\"127.0.0.1:{port}\":{{\"username\":\"AWS\",\"password\":\"'$(cat password)'\"}}}}}}'\n"
        ),
    );
    fs::set_permissions(
        folder.path().join("cloud"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    file(
        "config.yaml",
        &format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: cloud\n  matchImages: [\"127.0.0.1:{port}\"]\n  defaultCacheDuration: 1m\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
        ),
    );
    file("password", "first");
    let settings = Settings {
        kubelet_config: Some(folder.path().join("config.yaml")),
        kubelet_bin_dir: Some(folder.path().to_owned()),
        ..Settings::default()
    };
    let credentials = Credentials::configured(&settings, None, Duration::from_secs(5));
    (folder, credentials)
}

/// How often the provider ran.
fn runs(folder: &tempfile::TempDir) -> usize {
    let runs = fs::read_to_string(folder.path().join("runs"));
    runs.unwrap_or_default().lines().count()
}

/// A registry that lets in whoever has this password, by Basic.
async fn plain_private(password: &Arc<Mutex<String>>) -> Fake {
    let password = Arc::clone(password);
    Fake::start(move |asked| {
        let basic = STANDARD.encode(format!("AWS:{}", password.lock().unwrap()));
        if asked.authorization == Some(format!("Basic {basic}")) {
            return with(200, "docker-content-digest", &Digest::of(b"x").to_string());
        }
        with(401, "www-authenticate", "Basic realm=x")
    })
    .await
}

/// A registry behind a token service of its own, which lets in whoever has this password.
async fn private(password: &Arc<Mutex<String>>) -> Fake {
    let password = Arc::clone(password);
    let port = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&port);
    let fake = Fake::start(move |asked| {
        let password = password.lock().unwrap().clone();
        if asked.line.starts_with("GET /token") {
            let basic = format!("Basic {}", STANDARD.encode(format!("AWS:{password}")));
            return if asked.authorization.as_deref() == Some(&*basic) {
                text(format!(r#"{{"token":"token-{password}"}}"#))
            } else {
                status(401)
            };
        }
        if asked.authorization == Some(format!("Bearer token-{password}")) {
            return with(200, "docker-content-digest", &Digest::of(b"x").to_string());
        }
        let realm = format!(
            "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"r\"",
            own.load(Ordering::Relaxed)
        );
        with(401, "www-authenticate", &realm)
    })
    .await;
    port.store(fake.port.into(), Ordering::Relaxed);
    fake
}

#[tokio::test]
async fn a_kubelet_s_provider_opens_a_private_registry_again_after_its_token_s_end() {
    let password = Arc::new(Mutex::new("first".to_owned()));
    let fake = private(&password).await;
    let (folder, credentials) = kubelet(fake.port, "1s");
    let client = client(credentials);
    let ask = async || registry::resolve(&client, &fake.image(":v1"), soon()).await;
    assert_eq!(ask().await, Ok(Some(Digest::of(b"x"))));
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert!(
        asked.contains(&format!("127.0.0.1:{}/team/app\"", fake.port)),
        "{asked}"
    );
    // The cloud's password is another one from now on, and what was granted counts no more.
    "second".clone_into(&mut password.lock().unwrap());
    fs::write(folder.path().join("password"), "second").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask().await, Ok(Some(Digest::of(b"x"))));
    assert_eq!(runs(&folder), 2);
}

#[tokio::test]
async fn a_password_that_is_refused_before_its_end_is_asked_for_anew_and_not_at_each_question() {
    for by_token in [true, false] {
        let password = Arc::new(Mutex::new("first".to_owned()));
        let fake = if by_token {
            private(&password).await
        } else {
            plain_private(&password).await
        };
        let (folder, credentials) = kubelet(fake.port, "12h");
        let client = client(credentials);
        let ask = async |tag: &str| registry::resolve(&client, &fake.image(tag), soon()).await;
        assert_eq!(ask(":v1").await, Ok(Some(Digest::of(b"x"))));
        "second".clone_into(&mut password.lock().unwrap());
        fs::write(folder.path().join("password"), "second").unwrap();
        assert_eq!(ask(":v2").await, Ok(Some(Digest::of(b"x"))), "{by_token}");
        assert_eq!(runs(&folder), 2, "{by_token}");
        // A registry that refuses everything has no provider run for it.
        "never".clone_into(&mut password.lock().unwrap());
        let before = fake.asked().len();
        for _ in 0..20 {
            let error = ask(":v3").await.unwrap_err().to_string();
            assert!(!error.contains("second"), "{error}");
        }
        assert_eq!(runs(&folder), 2, "{by_token}");
        let asked = fake.asked().len() - before;
        // By HEAD and by GET, each once anonymously and once with the credential.
        assert!(asked <= 81, "{asked} requests for 20 questions");
    }
}

#[tokio::test]
async fn a_hundred_questions_that_are_refused_at_once_cost_one_more_run() {
    let password = Arc::new(Mutex::new("first".to_owned()));
    let fake = plain_private(&password).await;
    let (folder, credentials) = kubelet(fake.port, "12h");
    let client = Arc::new(client(credentials));
    let image = fake.image(":v1");
    let all = async || {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (client, image) = (Arc::clone(&client), image.clone());
            all.spawn(async move { registry::resolve(&client, &image, soon()).await });
        }
        all.join_all().await
    };
    assert!(all().await.into_iter().all(|found| found.is_ok()));
    "second".clone_into(&mut password.lock().unwrap());
    fs::write(folder.path().join("password"), "second").unwrap();
    assert!(all().await.into_iter().all(|found| found.is_ok()));
    assert_eq!(runs(&folder), 2);
}

fn policy(text: &str) -> Arc<rootpin_policy::Policy> {
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"rooted\"\n\
         [[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n{text}",
        "1".repeat(64)
    );
    let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    Arc::new(rootpin_policy::load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap())
}

#[tokio::test]
async fn a_registry_that_the_policy_does_not_name_gets_no_credentials_and_no_token_of_them() {
    let password = Arc::new(Mutex::new("first".to_owned()));
    let fake = private(&password).await;
    let (folder, credentials) = kubelet(fake.port, "1s");
    let credentials = Arc::new(credentials);
    let client = HttpClient::new(None, Arc::clone(&credentials)).unwrap();
    let ask = async || registry::resolve(&client, &fake.image(":v1"), soon()).await;
    let rule = |host: &str, more: &str| {
        policy(&format!(
            "[[rule]]\nmatch = \"{host}/team/*\"\nroots = [\"a\"]\n{more}"
        ))
    };
    let own = format!("127.0.0.1:{}", fake.port);
    for (policy, why) in [
        (rule("127.0.0.1:1", ""), "no rule of the policy names"),
        (rule(&own, "credentials = false\n"), "credentials = false"),
    ] {
        credentials.obey(rule(&own, ""));
        assert_eq!(ask().await, Ok(Some(Digest::of(b"x"))), "a rule names it");
        let before = fake.asked().len();
        credentials.obey(policy);
        let error = ask().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let sent = fake.asked().split_off(before);
        assert!(
            sent.iter().all(|asked| asked.authorization.is_none()),
            "not even the token that was granted before: {sent:?}"
        );
    }
    assert_eq!(runs(&folder), 1);
}

#[tokio::test]
async fn a_rooted_registry_can_not_send_credentials_to_a_stranger_s_token_service() {
    let stranger = Fake::start(|_| text(r#"{"token":"t"}"#)).await;
    let realm = format!("Bearer realm=\"http://localhost:{}/token\"", stranger.port);
    let fake = Fake::start(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t") => with(200, "docker-content-digest", &Digest::of(b"x").to_string()),
        _ => with(401, "www-authenticate", &realm),
    })
    .await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    credentials.obey(policy(&format!(
        "[[rule]]\nmatch = \"127.0.0.1:{}/team/*\"\nroots = [\"a\"]\n",
        fake.port
    )));
    let client = client(credentials);
    let found = registry::resolve(&client, &fake.image(":v1"), soon()).await;
    assert_eq!(found, Ok(Some(Digest::of(b"x"))), "by an anonymous token");
    let asked = stranger.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.authorization.is_none() && asked.body.is_empty()),
        "{asked:?}"
    );
    assert!(!format!("{:?}", stranger.asked()).contains("alice"));
}

#[tokio::test]
async fn an_entry_for_one_team_s_path_opens_nothing_of_another_team() {
    let fake = Fake::start(|_| with(401, "www-authenticate", "Basic realm=x")).await;
    let (_folder, credentials) = configured(&format!(
        r#"{{"auths":{{"127.0.0.1:{}/other":{{"username":"u","password":"p"}}}}}}"#,
        fake.port
    ));
    let error = registry::resolve(&client(credentials), &fake.image(":v1"), soon()).await;
    assert!(error.is_err());
    assert!(
        fake.asked()
            .iter()
            .all(|asked| asked.authorization.is_none())
    );
}

#[tokio::test]
async fn a_mirror_gets_nothing_that_is_for_the_registry_it_stands_before() {
    let wants = |_: &Asked| with(401, "www-authenticate", "Basic realm=x");
    let (mirror, own) = (Fake::start(wants).await, Fake::start(wants).await);
    let hosts = tempfile::tempdir().unwrap();
    let folder = hosts.path().join("registry.test");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("hosts.toml");
    fs::write(
        &file,
        format!(
            "server = \"{}\"\n[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            own.url(),
            mirror.url()
        ),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let entry = r#"{"username":"alice","password":"p"}"#;
    let (_folder, credentials) = configured(&format!(
        r#"{{"auths":{{"registry.test":{entry},"127.0.0.1:{}":{entry}}}}}"#,
        own.port
    ));
    let credentials = credentials.with_hosts(Some(hosts.path().to_owned()));
    let sources = Sources::new(Arc::new(credentials));
    let image: ImageRef = "registry.test/team/app:v1".parse().unwrap();
    let found = sources.resolve(&image, soon().into_std()).await;
    assert!(found.is_err());
    assert!(!mirror.asked().is_empty(), "the mirror is asked");
    assert!(
        mirror
            .asked()
            .iter()
            .all(|asked| asked.authorization.is_none()),
        "{:?}",
        mirror.asked()
    );
    assert!(
        own.asked()
            .iter()
            .any(|asked| asked.authorization.is_some()),
        "{:?}",
        own.asked()
    );
}

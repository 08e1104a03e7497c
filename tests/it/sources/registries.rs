//! What registries do that the specification does not say: those of clouds, of companies, and those
//! that stand before others.

use super::*;

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

#[tokio::test]
async fn a_password_that_is_over_by_a_403_without_a_challenge_is_looked_up_anew() {
    let password = Arc::new(Mutex::new(String::new()));
    let wanted = Arc::clone(&password);
    let fake = Fake::start(move |asked| {
        let good = STANDARD.encode(format!("AWS:{}", wanted.lock().unwrap()));
        match asked.authorization.as_deref() {
            None => with(401, "www-authenticate", "Basic realm=\"x\",service=\"ecr\""),
            Some(given) if given == format!("Basic {good}") => text(MANIFEST),
            Some(_) => status(403),
        }
    })
    .await;
    let port = fake.port;
    let file = |password: &str| {
        format!(
            r#"{{"auths":{{"127.0.0.1:{port}":{{"username":"AWS","password":"{password}"}}}}}}"#
        )
    };
    let (folder, credentials) = configured(&file("none"));
    let client = client(credentials);
    for now in ["first", "second"] {
        now.clone_into(&mut password.lock().unwrap());
        fs::write(folder.path().join("config.json"), file(now)).unwrap();
        let found = registry::describe(&client, &fake.image(":v1"), soon()).await;
        assert!(found.is_ok_and(|found| found.is_some()), "{now}");
    }
    // Twice without and with the password, and once with the one that is over.
    assert_eq!(fake.asked().len(), 5);
}

#[tokio::test]
async fn a_password_that_a_registry_refuses_and_does_not_want_any_more_is_sent_once() {
    let is_open = Arc::new(Mutex::new(false));
    let opened = Arc::clone(&is_open);
    let fake = Fake::start(move |asked| {
        let is_open = *opened.lock().unwrap();
        match asked.authorization.as_deref() {
            None if !is_open => with(401, "www-authenticate", "Basic realm=x"),
            Some(_) if is_open => status(403),
            _ => text(MANIFEST),
        }
    })
    .await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    let client = client(credentials);
    let mut asked = Vec::new();
    for opens in [false, true, true] {
        *is_open.lock().unwrap() = opens;
        let found = registry::describe(&client, &fake.image(":v1"), soon()).await;
        assert!(found.is_ok_and(|found| found.is_some()));
        asked.push(fake.asked().len());
    }
    assert_eq!(asked, [2, 4, 5]);
}

#[tokio::test]
async fn a_registry_to_which_a_redirect_leads_is_read_with_an_anonymous_token_of_its_own() {
    let service = Fake::start(|_| text(r#"{"token":"","access_token":"t"}"#)).await;
    let realm = format!(
        "Bearer realm=\"http://localhost:{}/token\",service=\"there\"",
        service.port
    );
    let there = Fake::start(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t") => text(MANIFEST),
        _ => with(401, "www-authenticate", &realm),
    })
    .await;
    let to = format!(
        "http://localhost:{}/v2/owner/image/manifests/v1",
        there.port
    );
    let fake = Fake::start(move |_| with(307, "location", &to)).await;
    let more = format!(
        r#","localhost:{}":{{"auth":"eDp5"}},"localhost:{}":{{"auth":"eDp5"}}"#,
        there.port, service.port
    );
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), &more);
    let client = client(credentials);
    for _ in 0..2 {
        let found = registry::describe(&client, &fake.image(":v1"), soon()).await;
        assert!(found.is_ok_and(|found| found.is_some()));
    }
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].line.as_str(), asked[0].authorization.as_deref()),
        (
            "GET /token?service=there&scope=repository%3Aowner%2Fimage%3Apull",
            None
        )
    );
    let sent = |fake: &Fake| -> Vec<Option<String>> {
        let asked = fake.asked().into_iter();
        asked.map(|asked| asked.authorization).collect()
    };
    let token = Some("Bearer t".to_owned());
    assert_eq!(sent(&there), [None, token.clone(), token]);
    assert_eq!(sent(&fake), [None, None, None]);
}

#[tokio::test]
async fn a_token_service_s_redirect_is_followed_and_the_password_goes_to_no_other_host() {
    let moved = Fake::start(|_| text(r#"{"token":"good"}"#)).await;
    let to = format!("http://localhost:{}/new", moved.port);
    let service = Fake::start(move |_| with(302, "location", &to)).await;
    let fake = wants_token(service.url(), "good").await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    assert!(get(&fake.notary(credentials)).await.is_ok());
    assert_eq!(service.asked()[0].authorization, Some(alice_header()));
    let asked = moved.asked();
    assert_eq!(
        (asked[0].line.as_str(), asked[0].authorization.as_deref()),
        ("GET /new", None)
    );
}

#[tokio::test]
async fn an_empty_digest_in_an_answer_s_head_is_none() {
    let fake = Fake::start(|asked| {
        if asked.line.starts_with("HEAD ") {
            with(200, "docker-content-digest", "")
        } else {
            text(MANIFEST)
        }
    })
    .await;
    let client = client(Credentials::none());
    assert_eq!(
        registry::resolve(&client, &fake.image(":v1"), soon()).await,
        Ok(Some(Digest::of(MANIFEST.as_bytes())))
    );
}

#[tokio::test]
async fn a_mirror_of_many_registries_is_told_which_one_is_meant_and_the_registry_itself_is_not() {
    let own = Fake::start(|_| status(404)).await;
    let wanted = format!("?ns=127.0.0.1%3A{}", own.port);
    let mirror = Fake::start(move |asked| {
        // Of the registry that is its first one, it has another image of that name.
        let manifest = if asked.line.ends_with(&wanted) {
            MANIFEST.to_owned()
        } else {
            MANIFEST.replacen('{', "{ ", 1)
        };
        with(
            200,
            "docker-content-digest",
            &Digest::of(manifest.as_bytes()).to_string(),
        )
    })
    .await;
    let hosts = tempfile::tempdir().unwrap();
    fs::create_dir(hosts.path().join("_default")).unwrap();
    let file = hosts.path().join("_default/hosts.toml");
    let resolve = async |text: String| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let client = client(Credentials::none().with_hosts(Some(hosts.path().to_owned())));
        registry::resolve(&client, &own.image(":v1"), soon()).await
    };
    let server = format!("server = \"{}\"\n", own.url());
    let found = resolve(format!("{server}[host.\"{}\"]\n", mirror.url())).await;
    assert_eq!(found, Ok(Some(Digest::of(MANIFEST.as_bytes()))));
    assert_eq!(resolve(server).await, Ok(None));
    assert_eq!(own.asked()[0].line, "HEAD /v2/team/app/manifests/v1");
}

#[tokio::test]
async fn a_mirror_below_a_path_wants_a_token_for_what_is_below_it() {
    let service = Fake::start(|asked| {
        let wanted = "scope=repository%3Ahub-cache%2Fteam%2Fapp%3Apull";
        let token = if asked.line.ends_with(wanted) {
            "t"
        } else {
            "empty"
        };
        text(format!(r#"{{"token":"{token}"}}"#))
    })
    .await;
    let realm = format!("Bearer realm=\"{}/service/token\"", service.url());
    let mirror = Fake::start(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t") => text(MANIFEST),
        _ => with(401, "www-authenticate", &realm),
    })
    .await;
    let hosts = tempfile::tempdir().unwrap();
    fs::create_dir(hosts.path().join("r.example")).unwrap();
    let file = hosts.path().join("r.example/hosts.toml");
    let host = format!(
        "[host.\"{}/v2/hub-cache\"]\noverride_path = true\n",
        mirror.url()
    );
    fs::write(&file, format!("server = \"http://127.0.0.1:1\"\n{host}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let client = client(Credentials::none().with_hosts(Some(hosts.path().to_owned())));
    let image: ImageRef = "r.example/team/app:v1".parse().unwrap();
    let found = registry::describe(&client, &image, soon()).await;
    assert!(found.is_ok_and(|found| found.is_some()));
    assert_eq!(
        mirror.asked()[1].line,
        "GET /v2/hub-cache/team/app/manifests/v1?ns=r.example"
    );
}

#[tokio::test]
async fn why_a_mirror_gave_nothing_is_said_whatever_the_registry_answers_after_it() {
    for code in [401, 503] {
        let mirror = Fake::start(|_| with(401, "www-authenticate", "Basic realm=x")).await;
        let own = Fake::start(move |_| status(code)).await;
        let hosts = tempfile::tempdir().unwrap();
        fs::create_dir(hosts.path().join("_default")).unwrap();
        let file = hosts.path().join("_default/hosts.toml");
        let text = format!("server = \"{}\"\n[host.\"{}\"]\n", own.url(), mirror.url());
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let client = client(Credentials::none().with_hosts(Some(hosts.path().to_owned())));
        let found = registry::describe(&client, &own.image(":v1"), soon()).await;
        let said = found.unwrap_err().to_string();
        assert!(
            said.starts_with(&own.url()) && said.contains(&format!("before that {}", mirror.url())),
            "{said}"
        );
    }
}

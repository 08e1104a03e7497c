use super::*;

async fn find(json: &str, host: &str) -> Result<Option<Credential>, String> {
    find_for(json, host, "team/app").await
}

async fn find_for(json: &str, host: &str, repository: &str) -> Result<Option<Credential>, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), json).unwrap();
    let credentials = Credentials::in_folder(folder.path());
    credentials
        .find(host, repository, Instant::now() + Duration::from_secs(5))
        .await
}

fn pair() -> Credential {
    Credential::password("u", "p:w")
}

#[tokio::test]
async fn an_entry_is_found_under_every_spelling_of_its_host() {
    // u:p:w
    for key in [
        "r.example",
        "https://r.example",
        "https://r.example/",
        "http://r.example/v1/",
        "R.example:443",
        "https://r.example/v2/x",
    ] {
        let json = format!(
            r#"{{"auths":{{"other.example":{{"auth":"eDp5"}},"{key}":{{"auth":"dTpwOnc="}}}}}}"#
        );
        assert_eq!(find(&json, "r.example").await, Ok(Some(pair())), "{key}");
        assert_eq!(find(&json, "r.example:5000").await, Ok(None), "{key}");
    }
    for key in [
        HUB_KEY,
        "docker.io",
        "index.docker.io",
        "https://registry-1.docker.io",
    ] {
        let json = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc"}}}}}}"#);
        for host in ["docker.io", "registry-1.docker.io", "notary.docker.io"] {
            assert_eq!(find(&json, host).await, Ok(Some(pair())), "{key} {host}");
        }
    }
}

#[tokio::test]
async fn a_key_with_a_path_is_for_what_is_below_it_and_the_longest_one_counts() {
    let user = |name: &str| Ok(Some(Credential::password(name, "p")));
    let entry = |user: &str| format!(r#"{{"username":"{user}","password":"p"}}"#);
    let (host, team, app) = (entry("host"), entry("team"), entry("app"));
    let json = format!(
        r#"{{"auths":{{"r.example/team/app":{app},"r.example/team":{team},"https://r.example/v1/":{host}}}}}"#
    );
    for (repository, name) in [
        ("team/app", "app"),
        ("team/app/web", "app"),
        ("team/apps", "team"),
        ("team", "team"),
        ("teams/app", "host"),
        ("", "host"),
    ] {
        assert_eq!(
            find_for(&json, "r.example", repository).await,
            user(name),
            "{repository}"
        );
    }
    let json = format!(r#"{{"auths":{{"r.example/team":{team},"docker.io/library":{app}}}}}"#);
    assert_eq!(find_for(&json, "r.example", "other/app").await, Ok(None));
    assert_eq!(
        find_for(&json, "registry-1.docker.io", "library/alpine").await,
        user("app")
    );
}

#[tokio::test]
async fn null_is_nothing_wherever_it_stands() {
    let json = r#"{"auths":{"other.example":null,"r.example":{"auth":"dTpwOnc=","identitytoken":null}},"credHelpers":null,"credsStore":null}"#;
    assert_eq!(find(json, "r.example").await, Ok(Some(pair())));
    assert_eq!(find(json, "other.example").await, Ok(None));
    for json in [
        r#"{"auths":null}"#,
        r#"{"auths":{"r.example":null},"credHelpers":{"r.example":null},"credsStore":""}"#,
    ] {
        assert_eq!(find(json, "r.example").await, Ok(None), "{json}");
    }
}

#[tokio::test]
async fn user_with_password_and_identity_token_are_taken_and_empty_entries_are_none() {
    assert_eq!(
        find(
            r#"{"auths":{"r.example":{"username":"u","password":"p:w"}}}"#,
            "r.example"
        )
        .await,
        Ok(Some(pair()))
    );
    let token = find(
        r#"{"auths":{"r.example":{"auth":"dTpw","identitytoken":"t"}}}"#,
        "r.example",
    )
    .await;
    assert_eq!(
        token,
        Ok(Some(Credential::IdentityToken(Secret("t".into()))))
    );
    for json in [
        "{}",
        r#"{"auths":{"r.example":{}}}"#,
        r#"{"auths":{"r.example":{"auth":"","username":"u"}},"experimental":1.5}"#,
    ] {
        assert_eq!(find(json, "r.example").await, Ok(None), "{json}");
    }
}

#[tokio::test]
async fn a_broken_file_is_told_by_its_place_and_without_what_it_holds() {
    for json in [
        r#"{"auths":{"r.example":{"auth":["hunter2"]}}}"#,
        r#"{"auths":"hunter2"}"#,
        "hunter2",
        r#"{"auths":{"r.example":{"auth":"hunter2"}}}"#,
    ] {
        let error = find(json, "r.example").await.unwrap_err();
        assert!(
            error.contains("config.json") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let long = format!(r#"{{"auths":{{}}}}{}"#, " ".repeat(1 << 20));
    assert!(
        find(&long, "r.example")
            .await
            .unwrap_err()
            .contains("longer than")
    );
}

#[tokio::test]
async fn no_folder_and_no_file_are_no_credentials() {
    let absent = Credentials::in_folder("/nonexistent/rootpin");
    for credentials in [Credentials::none(), absent] {
        assert_eq!(credentials.names("docker.io").await, Ok(false));
        let found = credentials.find("docker.io", "", Instant::now()).await;
        assert_eq!(found, Ok(None));
    }
}

#[tokio::test]
async fn the_first_place_that_has_a_credential_gives_it_and_one_that_fails_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, json: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, json).unwrap();
        file
    };
    let entry = |host: &str, user: &str| {
        format!(r#"{{"auths":{{"{host}":{{"username":"{user}","password":"p"}}}}}}"#)
    };
    file("config.json", &entry("r.example", "docker"));
    let auth_file = file("auth.json", &entry("r.example", "podman"));
    let ask = async |order: Option<Vec<Kind>>, host: &str| {
        let settings = Settings {
            order,
            auth_file: Some(auth_file.clone()),
            ..Settings::default()
        };
        let credentials = Credentials::configured(&settings, Some(folder.path()), HELPER_TIMEOUT);
        credentials.find(host, "x", Instant::now()).await
    };
    let user = |name: &str| Ok(Some(Credential::password(name, "p")));
    let reversed = || Some(vec![Kind::AuthFile, Kind::DockerConfig]);
    assert_eq!(ask(None, "r.example").await, user("docker"));
    assert_eq!(ask(reversed(), "r.example").await, user("podman"));
    assert_eq!(
        ask(Some(vec![Kind::AuthFile]), "r.example").await,
        user("podman")
    );
    file("config.json", "{");
    assert_eq!(ask(None, "r.example").await, user("podman"));
    assert!(
        ask(None, "other.example")
            .await
            .unwrap_err()
            .contains("config.json")
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = format!(
        "{:?} {:?}",
        pair(),
        Credential::IdentityToken(Secret("hunter2".into()))
    );
    assert!(
        !shown.contains("p:w") && !shown.contains("hunter2"),
        "{shown}"
    );
}

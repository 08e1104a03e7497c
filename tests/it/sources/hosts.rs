//! Registries that are reached as an engine's own files say.

use std::path::Path;

use rootpin_trust::Code;

use super::*;
use crate::registry::{Registry, response};
use crate::tls::Authority;

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
}

async fn resolve(hosts: &Path, name: &str) -> Result<Option<Digest>, SourceError> {
    let client = client(Credentials::none().with_hosts(Some(hosts.to_owned())));
    registry::resolve(&client, &name.parse().unwrap(), soon()).await
}

#[tokio::test]
async fn a_ca_beside_and_a_client_s_certificate_open_a_registry_in_every_form_that_engines_read() {
    let (authority, digest) = (Authority::new(), Digest::of(b"manifest"));
    let registry = Registry::listen(
        Some(authority.server_for_clients(&["h2", "http/1.1"])),
        authority.pem(),
    )
    .await;
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("v1".to_owned(), b"manifest".to_vec());
    let (host, client) = (format!("127.0.0.1:{}", registry.port), authority.client());
    let name = format!("{host}/team/app:v1");
    let folder = tempfile::tempdir().unwrap();
    let (plain, underscored) = (
        folder.path().join(&host),
        folder.path().join(format!("127.0.0.1_{}_", registry.port)),
    );
    write(&plain.join("ca.crt"), &authority.pem());
    let error = resolve(folder.path(), &name).await.unwrap_err();
    assert!(
        error.is_silent() && error.to_string().to_lowercase().contains("certificate"),
        "it wants to see a certificate: {error}"
    );
    write(&plain.join("client.cert"), &client.certificate);
    write(&plain.join("client.key"), &client.key);
    assert_eq!(resolve(folder.path(), &name).await, Ok(Some(digest)));
    let both = client.certificate.clone() + &client.key;
    for (number, wanted) in ["[[\"c.pem\", \"k.pem\"]]", "\"both.pem\"", "[\"both.pem\"]"]
        .into_iter()
        .enumerate()
    {
        for (file, text) in [
            ("c.pem", &client.certificate),
            ("k.pem", &client.key),
            ("both.pem", &both),
        ] {
            write(&underscored.join(file), text);
        }
        write(&underscored.join("lab.pem"), &authority.pem());
        let text = format!(
            "server = \"https://{host}\"\n[host.\"https://{host}\"]\nca = \"lab.pem\"\nclient = {wanted}\n"
        );
        write(&underscored.join("hosts.toml"), &text);
        assert_eq!(
            resolve(folder.path(), &name).await,
            Ok(Some(digest)),
            "{number}"
        );
    }
    assert!(registry.held.lock().unwrap().asked.len() >= 4);
}

#[tokio::test]
async fn an_address_of_ipv6_is_a_registry_like_any_other() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let digest = Digest::of(b"x").to_string();
    let app = axum::Router::new()
        .fallback(move || async move { with(200, "docker-content-digest", &digest) });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let name = format!("[::1]:{port}/team/app:v1").parse().unwrap();
    assert_eq!(
        registry::resolve(&client(Credentials::none()), &name, soon()).await,
        Ok(Some(Digest::of(b"x")))
    );
}

#[tokio::test]
async fn two_teams_of_one_registry_have_credentials_of_their_own_by_path() {
    let registry = Registry::start().await;
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("v1".to_owned(), b"manifest".to_vec());
    registry.quirk(|asked, _| {
        let team = if asked.line.contains("/teama/") {
            "teama"
        } else {
            "teamb"
        };
        let wanted = format!("Basic {}", STANDARD.encode(format!("user-{team}:pw")));
        (asked.authorization != Some(&wanted))
            .then(|| response(401, &[("www-authenticate", "Basic realm=x")], ""))
    });
    let host = format!("127.0.0.1:{}", registry.port);
    let entry = |team: &str| {
        format!(
            r#""{host}/{team}":{{"auth":"{}"}}"#,
            STANDARD.encode(format!("user-{team}:pw"))
        )
    };
    let json = format!(
        r#"{{"auths":{{{},{},"x.example":null}},"credHelpers":null}}"#,
        entry("teama"),
        entry("teamb")
    );
    let (_folder, credentials) = configured(&json);
    let client = client(credentials);
    for team in ["teama", "teamb", "teama"] {
        let name = format!("{host}/{team}/app:v1").parse().unwrap();
        assert_eq!(
            registry::resolve(&client, &name, soon()).await,
            Ok(Some(Digest::of(b"manifest"))),
            "{team}"
        );
    }
}

#[tokio::test]
async fn a_mirror_that_accepts_and_never_answers_leaves_the_registry_its_time_and_is_named() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", silent.local_addr().unwrap());
    let registry = Registry::listen(None, String::new()).await;
    let digest = Digest::of(b"manifest");
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("v1".to_owned(), b"manifest".to_vec());
    let folder = tempfile::tempdir().unwrap();
    let host = format!("127.0.0.1:{}", registry.port);
    let text = |server: &str| format!("server = \"{server}\"\n[host.\"{mirror}\"]\n");
    let file = folder.path().join(&host).join("hosts.toml");
    let name: ImageRef = format!("{host}/team/app:v1").parse().unwrap();
    let client = client(Credentials::none().with_hosts(Some(folder.path().to_owned())));
    let soon = || Instant::now() + Duration::from_secs(4);
    write(&file, &text(&format!("http://{host}")));
    let found = registry::resolve(&client, &name, soon()).await;
    assert_eq!(found, Ok(Some(digest)));
    // Where neither answers, both are named.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", other.local_addr().unwrap());
    write(&file, &text(&other));
    let error = registry::resolve(&client, &name, soon()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&mirror) && said.contains(&other), "{said}");
}

#[tokio::test]
async fn a_host_s_404_is_said_beside_the_certificate_of_the_same_server_that_has_no_ca() {
    let registry = Registry::start_tls(&["http/1.1"]).await;
    let host = format!("127.0.0.1:{}", registry.port);
    let hosts = tempfile::tempdir().unwrap();
    let folder = hosts.path().join(&host);
    write(&folder.join("ca.crt"), &registry.ca);
    let text = format!("server = \"https://{host}\"\n[host.\"https://{host}\"]\nca = \"ca.crt\"\n");
    write(&folder.join("hosts.toml"), &text);
    let error = resolve(hosts.path(), &format!("{host}/team/app:none")).await;
    let refusal = error.unwrap_err().refusal();
    assert_eq!(refusal.code, Code::SourceUnreachable, "{refusal:?}");
    let found = &refusal.found;
    let missing = format!("before that https://{host}/v2: answered 404");
    assert!(
        found.starts_with("no trusted connection to ") && found.contains(&missing),
        "{found}"
    );
    // One server after the other: each says what it had.
    let away = format!(
        "server = \"https://{host}\"\n[host.\"http://127.0.0.1:1\"]\n[host.\"https://{host}\"]\nca = \"ca.crt\"\n"
    );
    write(&folder.join("hosts.toml"), &away);
    let error = resolve(hosts.path(), &format!("{host}/team/app:none")).await;
    let said = error.unwrap_err().to_string();
    assert!(
        said.contains(&missing) && said.contains("before that http://127.0.0.1:1/"),
        "{said}"
    );
}

//! Clients besides docker that ask `docker-credential-rootpin`, against a registry behind token auth.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::credentials::{Private, SECRET, USER, config};
use crate::daemon::{Daemon, Policy};
use crate::image::Image;
use crate::lab::{Lab, write};
use crate::say;

/// A client, and its words: to log in, to get a manifest, to log out.
struct Client<'a> {
    name: &'static str,
    lab: &'a Lab,
    folder: PathBuf,
    login: &'static [&'static str],
    get: &'static [&'static str],
    logout: &'static [&'static str],
}

impl Client<'_> {
    fn run(&self, words: &[&str], last: &str, input: &str) -> (bool, String) {
        let helpers = Path::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"))
            .parent()
            .unwrap();
        let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
        let file = self.folder.join("registries.conf").display().to_string();
        let registries = match self.name {
            "skopeo" => vec!["--registries-conf", &file],
            _ => Vec::new(),
        };
        let output = Command::new("sh")
            .args(["-c", "printf %s \"$INPUT\" | \"$0\" \"$@\" 2>&1"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/lab.sh"))
            .arg(self.name)
            .args(registries)
            .args(words)
            .arg(last)
            .env("INPUT", input)
            .env("PATH", path)
            .env("LAB_ROOT", &self.lab.root)
            .env("DOCKER_CONFIG", &self.folder)
            .env("XDG_RUNTIME_DIR", &self.folder)
            .env_remove("REGISTRY_AUTH_FILE")
            .env("ROOTPIN_CONFIG", config(self.lab))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    }

    fn log_in(&self, private: &Private) {
        let (done, words) = self.run(self.login, &private.host(), SECRET);
        assert!(done, "{}: {words}", self.name);
    }

    fn get(&self, private: &Private) -> (bool, String) {
        let name = private.name("v1");
        let name = match self.name {
            "skopeo" => format!("docker://{name}"),
            _ => name,
        };
        self.run(self.get, &name, "")
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn skopeo_and_oras_send_credentials_to_a_rooted_registry_and_none_to_a_look_alike() {
    let lab = Lab::start();
    let (rooted, alike) = (Private::start(&lab), Private::start(&lab));
    let image = Image::manifest("private app of other clients");
    lab.push(&image, &lab.name("private/app", "v1"));
    let policy = format!(
        "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"rooted\"\n[[image]]\nname = \"{}\"\ndigest = \"{}\"\n",
        rooted.name("v1"),
        image.digest()
    );
    let files: Policy = vec![("policy.toml", policy)];
    let daemon = Daemon::start(&lab, &files);
    let client = |name, login, get, logout| {
        let folder = lab.root.join(format!("rootpin/{name}"));
        let _ = fs::remove_dir_all(&folder);
        write(&folder.join("config.json"), "{\"credsStore\": \"rootpin\"}");
        write(
            &folder.join("registries.conf"),
            "credential-helpers = [\"rootpin\"]\n",
        );
        Client {
            name,
            lab: &lab,
            folder,
            login,
            get,
            logout,
        }
    };
    for client in [
        client(
            "skopeo",
            &[
                "login",
                "--tls-verify=false",
                "-u",
                USER,
                "--password-stdin",
            ],
            &["inspect", "--raw", "--tls-verify=false"],
            &["logout"],
        ),
        client(
            "oras",
            &["login", "--plain-http", "-u", USER, "--password-stdin"],
            &["manifest", "fetch", "--plain-http"],
            &["logout"],
        ),
    ] {
        let name = client.name;
        for private in [&rooted, &alike] {
            client.log_in(private);
        }
        let _ = (rooted.got_secrets(), alike.got_secrets());
        let (done, words) = client.get(&rooted);
        assert!(done, "{name}: {words}");
        assert_eq!(rooted.got_secrets(), (true, true), "{name}");
        let (done, words) = client.get(&alike);
        assert!(!done, "{name}: {words}");
        assert_eq!(
            alike.got_secrets(),
            (false, true),
            "{name}: no Authorization"
        );
        for private in [&rooted, &alike] {
            let (done, words) = client.run(client.logout, &private.host(), "");
            assert!(done, "{name}: {words}");
        }
        let (done, words) = client.get(&rooted);
        assert!(!done, "{name}: logged out, {words}");
        say(&format!("ok   {name}"));
    }
    let withheld = daemon.records();
    let servers: Vec<_> = withheld
        .iter()
        .filter(|record| record["event"] == "credentials-withheld")
        .map(|record| record["server"].as_str().unwrap())
        .collect();
    assert!(servers.len() > 1, "{servers:?}");
    assert!(
        servers.iter().all(|server| *server == alike.host()),
        "{servers:?}"
    );
}

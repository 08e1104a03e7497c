//! Credentials that this host hands out past rootpin, and files that show them to others.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::code::Code;
use super::hole::{Fix, Hole};
use super::{config_files, probe::process};
use crate::config::Config;
use crate::credentials::{OWN_PROVIDER, read_kubelet_config};

/// What rootpin's own helper is called in a config.json.
const OWN_HELPER: &str = "rootpin";
/// Where clients have a user's credentials: Docker's, and Podman's and Skopeo's.
const FILES: [&str; 2] = [".docker/config.json", ".config/containers/auth.json"];
/// Where Podman and Skopeo have root's.
const ROOTS_AUTH: &str = "/run/containers/0/auth.json";
/// Where engines look for hosts.toml, besides `hosts-dir`.
const HOSTS: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/// Where credentials are looked for.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Files as Docker's config.json.
    docker: Vec<PathBuf>,
    /// The configurations of running kubelets' credential providers.
    kubelets: Vec<PathBuf>,
    /// Folders of hosts.toml files.
    hosts: Vec<PathBuf>,
}

impl Places {
    /// Those of this host.
    pub(super) fn of_host(config: &Config) -> Self {
        let homes = fs::read_dir("/home").into_iter().flatten().flatten();
        let homes = homes.map(|home| home.path()).chain(["/root".into()]);
        let users = homes.flat_map(|home| FILES.map(|file| home.join(file)));
        let own = config
            .docker_config
            .iter()
            .map(|folder| folder.join("config.json"));
        let mut hosts: Vec<PathBuf> = HOSTS.iter().map(PathBuf::from).collect();
        hosts.extend(config.hosts_dir.clone());
        hosts.sort();
        hosts.dedup();
        Self {
            docker: users
                .chain(own)
                .chain(config.credentials.auth_file.clone())
                .chain([PathBuf::from(ROOTS_AUTH)])
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            kubelets: kubelets(),
            hosts,
        }
    }

    /// What is wrong there. `rooted`: whether the policy lets only rooted registries have
    /// credentials, so that who hands them out without asking passes it by.
    pub(super) fn holes(&self, rooted: bool) -> Vec<Hole> {
        let mut holes = Vec::new();
        for file in &self.docker {
            holes.extend(readable(file));
            if rooted {
                holes.extend(without_helper(file));
            }
        }
        if rooted {
            holes.extend(
                self.kubelets
                    .iter()
                    .filter_map(|file| without_provider(file)),
            );
        }
        holes.extend(self.hosts.iter().flat_map(|folder| with_headers(folder)));
        holes
    }
}

/// The `--image-credential-provider-config` of each kubelet that root runs on this host.
fn kubelets() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let kubelets = numbers
        .filter_map(process)
        .filter(|process| process.name == "kubelet" && process.is_ours() && !process.contained);
    let named = kubelets.filter_map(|kubelet| {
        let file = kubelet.option(&["image-credential-provider-config"])?;
        Some(kubelet.path(&file))
    });
    let mut all: Vec<PathBuf> = named.collect();
    all.sort();
    all.dedup();
    all
}

/// The configuration and the folder of programs of the one kubelet that root runs on this host.
pub(super) fn kubelet_flags() -> Option<(PathBuf, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut kubelets = numbers
        .filter_map(process)
        .filter(|process| process.name == "kubelet" && process.is_ours() && !process.contained);
    let kubelet = kubelets.next().filter(|_| kubelets.next().is_none())?;
    let path = |option| Some(kubelet.path(&kubelet.option(&[option])?));
    path("image-credential-provider-config").zip(path("image-credential-provider-bin-dir"))
}

fn readable(file: &Path) -> Option<Hole> {
    let mode = fs::metadata(file).ok()?.permissions().mode() & 0o777;
    let is_private = mode.trailing_zeros() >= 6;
    if is_private || !read(file)?.has_secrets() {
        return None;
    }
    let hole = Hole::new(
        Code::CredentialsReadable,
        "",
        format!("{} has mode {mode:03o}", file.display()),
    )
    .change(format!("chmod 600 {}", file.display()));
    // Another user's file stays that user's.
    Some(if file.starts_with("/home") {
        hole
    } else {
        hole.fix(Fix::Mode(file.to_owned(), 0o600))
    })
}

fn without_helper(file: &Path) -> Option<Hole> {
    let config = read(file)?;
    let other = config.other()?;
    let hole = Hole::new(
        Code::CredentialsPastHelper,
        "",
        format!("{} has {other}", file.display()),
    );
    // Those who read such a file know no credsStore.
    if file.file_name().is_some_and(|name| name == "auth.json") {
        return Some(hole.change(format!(
            "set credential-helpers = [\"{OWN_HELPER}\"] in /etc/containers/registries.conf, take auths and credHelpers out of {}, and log in again: docker-credential-rootpin keeps credentials in .docker/rootpin-credentials.json, which auth-file of rootpin.toml may name",
            file.display()
        )));
    }
    let folder = file.parent()?.display();
    let helper = config.store().filter(|store| *store != OWN_HELPER);
    let behind = helper.map_or_else(
        || format!("log in again, as docker-credential-rootpin keeps credentials in {folder}/rootpin-credentials.json"),
        |helper| format!("write {helper} to {folder}/rootpin-backend"),
    );
    Some(
        hole.change(format!(
            "set \"credsStore\": \"{OWN_HELPER}\" in {}, with no credHelpers and no auths beside it; {behind}",
            file.display()
        )),
    )
}

fn without_provider(file: &Path) -> Option<Hole> {
    let providers = read_kubelet_config(file).ok()?;
    let others: Vec<_> = providers
        .iter()
        .map(|provider| provider.name.as_str())
        .filter(|name| *name != OWN_PROVIDER)
        .collect();
    (!others.is_empty()).then(|| {
        Hole::new(
            Code::CredentialsPastProvider,
            "",
            format!(
                "the kubelet asks {} by {}",
                others.join(", "),
                file.display()
            ),
        )
        .change("rootpin install --platform auto --credentials")
    })
}

/// Each hosts.toml of a folder that sends a fixed `Authorization` to a host.
fn with_headers(folder: &Path) -> Vec<Hole> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path().join("hosts.toml"));
    let has_header = |file: &PathBuf| {
        let text = config_files::read(file).ok()?;
        let table: toml::Table = text.parse().ok()?;
        let hosts = table.get("host").and_then(toml::Value::as_table);
        let tables = hosts
            .into_iter()
            .flatten()
            .filter_map(|(_, host)| host.as_table());
        let mut headers = tables
            .chain([&table])
            .filter_map(|table| table.get("header").and_then(toml::Value::as_table));
        headers
            .any(|header| {
                header
                    .keys()
                    .any(|key| key.eq_ignore_ascii_case("authorization"))
            })
            .then_some(())
    };
    let found = files.filter(|file| has_header(file).is_some());
    found
        .map(|file| {
            Hole::new(
                Code::CredentialsInHosts,
                "",
                format!("{} sends an Authorization header", file.display()),
            )
            .change(format!(
                "take the header out of {}, and give the credential by the kubelet's provider or by docker login",
                file.display()
            ))
        })
        .collect()
}

/// A config.json.
struct DockerConfig(Value);

fn read(file: &Path) -> Option<DockerConfig> {
    serde_json::from_str(&config_files::read(file).ok()?)
        .ok()
        .map(DockerConfig)
}

impl DockerConfig {
    fn members(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0
            .get(key)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    }

    fn store(&self) -> Option<&str> {
        self.0
            .get("credsStore")
            .and_then(Value::as_str)
            .filter(|store| !store.is_empty())
    }

    fn has_secrets(&self) -> bool {
        let given = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        self.members("auths").any(|(_, entry)| {
            ["auth", "password", "identitytoken"]
                .iter()
                .any(|key| given(&entry[*key]))
        })
    }

    /// What hands credentials out without asking rootpin.
    fn other(&self) -> Option<String> {
        if let Some(store) = self.store().filter(|store| *store != OWN_HELPER) {
            return Some(format!("the credsStore {store}"));
        }
        let mut helpers = self.members("credHelpers");
        if let Some((server, _)) = helpers.find(|(_, helper)| helper.as_str() != Some(OWN_HELPER)) {
            return Some(format!("a credential helper for {server}"));
        }
        self.has_secrets()
            .then(|| "credentials of its own".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(places: &Places, rooted: bool) -> Vec<(Code, bool)> {
        let holes = places.holes(rooted);
        holes
            .iter()
            .map(|hole| (hole.code, hole.fix.is_some()))
            .collect()
    }

    #[test]
    fn a_config_that_asks_another_helper_or_shows_its_secrets_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let places = Places {
            docker: vec![file.clone(), folder.path().join("none")],
            ..Places::default()
        };
        let secret = r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#;
        for (text, mode, open, rooted) in [
            (
                secret,
                0o644,
                &[(Code::CredentialsReadable, true)][..],
                &[
                    (Code::CredentialsReadable, true),
                    (Code::CredentialsPastHelper, false),
                ][..],
            ),
            (secret, 0o600, &[], &[(Code::CredentialsPastHelper, false)]),
            (
                r#"{"credsStore":"pass"}"#,
                0o644,
                &[],
                &[(Code::CredentialsPastHelper, false)],
            ),
            (
                r#"{"credHelpers":{"gcr.io":"gcloud"},"credsStore":"rootpin"}"#,
                0o600,
                &[],
                &[(Code::CredentialsPastHelper, false)],
            ),
            (
                r#"{"credsStore":"rootpin","auths":{"r.example":{}}}"#,
                0o644,
                &[],
                &[],
            ),
            ("{", 0o644, &[], &[]),
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(found(&places, false), open, "{text}");
            assert_eq!(found(&places, true), rooted, "{text}");
            let shown = format!("{:?}", places.holes(true));
            assert!(!shown.contains("dTpw"), "{shown}");
        }
    }

    #[test]
    fn a_kubelet_that_asks_others_is_found_where_only_rooted_registries_may_have_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let config = |names: &[&str]| {
            let providers: Vec<_> = names.iter().map(|name| serde_json::json!({"name": name, "matchImages": ["*.io"], "defaultCacheDuration": "1h", "apiVersion": "credentialprovider.kubelet.k8s.io/v1"})).collect();
            let text = serde_json::json!({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": providers});
            fs::write(&file, text.to_string()).unwrap();
        };
        let places = Places {
            kubelets: vec![file.clone()],
            ..Places::default()
        };
        config(&[OWN_PROVIDER, "ecr-credential-provider"]);
        assert_eq!(found(&places, false), []);
        assert_eq!(
            found(&places, true),
            [(Code::CredentialsPastProvider, false)]
        );
        config(&[OWN_PROVIDER]);
        assert_eq!(found(&places, true), []);
    }

    #[test]
    fn an_auth_file_is_for_clients_that_ask_by_registries_conf() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.json");
        fs::write(&file, r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let places = Places {
            docker: vec![file.clone()],
            ..Places::default()
        };
        let change = places.holes(true).remove(0).change;
        assert!(
            change.contains("registries.conf") && !change.contains("credsStore"),
            "{change}"
        );
        fs::write(&file, r#"{"auths":{}}"#).unwrap();
        assert_eq!(found(&places, true), []);
    }

    #[test]
    fn each_change_as_it_is_typed_closes_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let (file, hosts) = (
            folder.path().join("config.json"),
            folder.path().join("r.example"),
        );
        fs::write(
            &file,
            r#"{"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"pass"}"#,
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        fs::create_dir(&hosts).unwrap();
        let hosts_toml = hosts.join("hosts.toml");
        let rest = "server = \"https://r.example\"\n";
        fs::write(
            &hosts_toml,
            format!("{rest}[header]\nauthorization = \"x\"\n"),
        )
        .unwrap();
        let places = Places {
            docker: vec![file.clone()],
            hosts: vec![folder.path().to_owned()],
            ..Places::default()
        };
        for hole in places.holes(true) {
            let change = &hole.change;
            match hole.code {
                Code::CredentialsReadable => {
                    let mut shell = std::process::Command::new("sh");
                    assert!(shell.args(["-c", change]).status().unwrap().success());
                }
                Code::CredentialsPastHelper => {
                    let (set, write) = change.split_once("; ").unwrap();
                    let set = set
                        .strip_prefix("set \"credsStore\": \"rootpin\" in ")
                        .unwrap();
                    let (path, _) = set
                        .split_once(", with no credHelpers and no auths")
                        .unwrap();
                    fs::write(path, r#"{"credsStore":"rootpin"}"#).unwrap();
                    let backend = folder.path().join("rootpin-backend");
                    assert_eq!(write, format!("write pass to {}", backend.display()));
                }
                Code::CredentialsInHosts => {
                    let path = format!("take the header out of {},", hosts_toml.display());
                    assert!(change.starts_with(&path), "{change}");
                    fs::write(&hosts_toml, rest).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found(&places, true), []);
    }

    #[test]
    fn a_pipe_that_a_user_has_put_in_place_of_a_configuration_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &file, pipe, 0o644.into(), 0).unwrap();
        let places = Places {
            docker: vec![file],
            ..Places::default()
        };
        assert_eq!(found(&places, true), []);
    }

    #[test]
    fn a_token_in_a_hosts_toml_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        for (host, text, open) in [
            (
                "a",
                "server = \"https://a\"\n[host.\"https://m\".header]\nAuthorization = \"Basic dTpw\"\n",
                true,
            ),
            ("b", "[header]\nauthorization = [\"Bearer x\"]\n", true),
            ("c", "[host.\"https://m\".header]\nx-other = \"y\"\n", false),
            ("d", "[[", false),
        ] {
            let at = folder.path().join(host);
            fs::create_dir(&at).unwrap();
            fs::write(at.join("hosts.toml"), text).unwrap();
            let places = Places {
                hosts: vec![folder.path().to_owned()],
                ..Places::default()
            };
            let holes = places.holes(false);
            let of_it = holes
                .iter()
                .any(|hole| hole.found.contains(&format!("/{host}/hosts.toml")));
            assert_eq!(of_it, open, "{host}");
            assert!(!format!("{holes:?}").contains("dTpw"));
        }
    }
}

//! The kubelet's `CredentialProviderConfig`: which program knows credentials for which images.
//! Read at each need, so that whoever rotates it need not reload anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

use super::glob;
use crate::plain_file;

/// Our own provider, which stands before the others and asks rootpind: rootpind must not ask it.
pub const OWN_PROVIDER: &str = "rootpin-credential-provider";
/// The versions of requests and answers that kubelets speak: their members are the same.
pub const API_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
/// No such file is longer.
const MOST: u64 = 1 << 20;

/// One program that knows credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Its file's name in the folder of programs.
    pub name: String,
    /// The images that it is asked about.
    pub match_images: Vec<String>,
    /// How long its answer holds where the answer doesn't say, as Go writes durations.
    #[serde(default)]
    default_cache_duration: String,
    /// The version of the API that it speaks.
    pub api_version: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// What is added to its environment.
    #[serde(default)]
    pub env: Option<Vec<Variable>>,
    #[serde(default)]
    token_attributes: Option<TokenAttributes>,
}

/// A variable of a provider's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAttributes {
    #[serde(default)]
    require_service_account: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    providers: Vec<Provider>,
}

impl Provider {
    /// Whether it is asked about an image.
    #[must_use]
    pub fn is_for(&self, image: &str) -> bool {
        self.match_images
            .iter()
            .any(|pattern| glob::matches(pattern, image))
    }

    /// How long its answer holds where the answer doesn't say.
    pub(super) fn default_life(&self) -> Duration {
        go_duration(&self.default_cache_duration).unwrap_or_default()
    }

    /// Whether the kubelet gives it the token of a pod's service account, where there is one.
    #[must_use]
    pub fn takes_service_account(&self) -> bool {
        self.token_attributes.is_some()
    }

    /// Whether it works only for a pod's service account, which nobody but the kubelet can name.
    #[must_use]
    pub fn wants_service_account(&self) -> bool {
        let attributes = self.token_attributes.as_ref();
        attributes.is_some_and(|attributes| attributes.require_service_account == Some(true))
    }
}

/// The providers of a file, or of a folder's files in the order of their names, as the kubelet
/// reads it.
///
/// # Errors
/// One line that names the file; no value of it, for its `env` may have secrets.
pub fn read(path: &Path) -> Result<Vec<Provider>, String> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    if fs::metadata(path)
        .map_err(|error| failed(path, &error))?
        .is_dir()
    {
        let entries = fs::read_dir(path).map_err(|error| failed(path, &error))?;
        files = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| {
                let ending = file.extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("json" | "yaml" | "yml")) && !file.is_dir()
            })
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(failed(path, &"no *.json, *.yaml or *.yml is in it"));
        }
    }
    let mut all: Vec<Provider> = Vec::new();
    for file in files {
        let found = read_file(&file).map_err(|why| failed(&file, &why))?;
        for provider in found {
            if all.iter().any(|known| known.name == provider.name) {
                let why = format!("the provider {:?} stands twice", provider.name);
                return Err(failed(&file, &why));
            }
            all.push(provider);
        }
    }
    Ok(all)
}

fn read_file(file: &Path) -> Result<Vec<Provider>, String> {
    let text = plain_file::read_text(file, MOST).map_err(|error| error.to_string())?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Provider>, String> {
    // JSON is YAML. The parser's own words may quote a value.
    let documents = YamlLoader::load_from_str(text).map_err(|error| {
        let at = error.marker();
        format!("no YAML at line {} column {}", at.line(), at.col())
    })?;
    let document = documents.first().ok_or("nothing is in it")?;
    let file: File = serde_json::from_value(json(document)?).map_err(
        |_| "no CredentialProviderConfig with name, matchImages and apiVersion for each provider",
    )?;
    if file.kind != "CredentialProviderConfig"
        || !file.api_version.starts_with("kubelet.config.k8s.io/")
    {
        return Err("no CredentialProviderConfig of kubelet.config.k8s.io".to_owned());
    }
    if file.providers.is_empty() {
        return Err("no provider is in it".to_owned());
    }
    for provider in &file.providers {
        if !is_plain(&provider.name) {
            return Err(format!("{:?} is no name of a program", provider.name));
        }
        if !API_VERSIONS.contains(&provider.api_version.as_str()) {
            return Err(format!(
                "{}: apiVersion {:?}, wanted {}",
                provider.name,
                provider.api_version,
                API_VERSIONS.join(" or ")
            ));
        }
        if provider.match_images.is_empty() {
            return Err(format!("{}: no matchImages", provider.name));
        }
        let life = &provider.default_cache_duration;
        if !life.is_empty() && go_duration(life).is_none() {
            return Err(format!(
                "{}: defaultCacheDuration is no duration",
                provider.name
            ));
        }
    }
    Ok(file.providers)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', ' '])
}

fn json(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::String(text) | Yaml::Real(text) => Value::String(text.clone()),
        Yaml::Integer(number) => Value::Number(Number::from(*number)),
        Yaml::Boolean(flag) => Value::Bool(*flag),
        Yaml::Array(list) => Value::Array(list.iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Hash(members) => {
            let mut object = Map::new();
            for (key, value) in members {
                let key = key.as_str().ok_or("a key that is no text")?;
                object.insert(key.to_owned(), json(value)?);
            }
            Value::Object(object)
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => return Err("a value that is not understood".to_owned()),
    })
}

/// A duration as Go writes it: `12h0m0s`, `1.5h`, `300ms`. `None`: it is none, or below zero.
#[must_use]
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let units: BTreeMap<&str, f64> = BTreeMap::from([
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
    ]);
    let (mut rest, mut seconds) = (text.strip_prefix('+').unwrap_or(text), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        seconds += number.parse::<f64>().ok()? * units.get(unit)?;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As AKS has it, with a comment and a second provider.
    const YAML: &str = "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n  # the cloud's\n  - name: acr-credential-provider\n    matchImages:\n      - \"*.azurecr.io\"\n      - '*.azurecr.cn'\n    defaultCacheDuration: \"10m\"\n    apiVersion: credentialprovider.kubelet.k8s.io/v1\n    args:\n      - /etc/kubernetes/azure.json\n    env:\n    - name: HTTPS_PROXY\n      value: http://proxy.example\n  - name: other\n    matchImages: [registry.io:8080/path]\n    defaultCacheDuration: 0s\n    apiVersion: credentialprovider.kubelet.k8s.io/v1beta1\n";
    /// As EKS has it.
    const JSON: &str = r#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"ecr-credential-provider","matchImages":["*.dkr.ecr.*.amazonaws.com","public.ecr.aws"],"defaultCacheDuration":"12h0m0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]}"#;

    #[test]
    fn the_files_of_managed_kubernetes_are_read_as_they_are() {
        let found = parse(YAML).unwrap();
        let [acr, other] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(acr.is_for("team.azurecr.io/app") && !acr.is_for("azurecr.io/app"));
        assert_eq!(acr.default_life(), Duration::from_secs(600));
        assert_eq!(
            acr.args.as_deref(),
            Some(&["/etc/kubernetes/azure.json".to_owned()][..])
        );
        assert_eq!(acr.env.as_ref().unwrap()[0].name, "HTTPS_PROXY");
        assert!(other.is_for("registry.io:8080/path/x") && !other.is_for("registry.io/path/x"));
        assert_eq!(other.default_life(), Duration::ZERO);
        let ecr = &parse(JSON).unwrap()[0];
        assert_eq!(ecr.default_life(), Duration::from_secs(12 * 3600));
    }

    #[test]
    fn what_the_kubelet_would_not_take_is_refused_and_no_value_is_repeated() {
        for text in [
            "",
            "providers: [",
            "kind: Other\napiVersion: kubelet.config.k8s.io/v1\nproviders: []",
            &JSON.replace("ecr-credential-provider", "../sh"),
            &JSON.replace("k8s.io/v1\"}]", "k8s.io/v2\"}]"),
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders: []",
            &JSON.replace("\"*.dkr.ecr.*.amazonaws.com\",\"public.ecr.aws\"", ""),
            &JSON.replace("12h0m0s", "hunter2"),
            &JSON.replace("\"name\":\"ecr-credential-provider\",", ""),
        ] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_folder_s_files_are_read_in_order_and_a_name_may_stand_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("20.json"), JSON).unwrap();
        fs::write(folder.path().join("10.yaml"), YAML).unwrap();
        fs::write(folder.path().join("README"), "x").unwrap();
        let names: Vec<_> = read(folder.path())
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(
            names,
            [
                "acr-credential-provider",
                "other",
                "ecr-credential-provider"
            ]
        );
        fs::write(folder.path().join("30.yml"), JSON).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("twice"));
        assert!(read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn go_s_durations_are_understood() {
        for (text, wanted) in [
            ("12h0m0s", Some(43_200_000)),
            ("1.5h", Some(5_400_000)),
            ("300ms", Some(300)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("-5s", None),
            ("5", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(
                go_duration(text).map(|life| life.as_millis()),
                wanted,
                "{text}"
            );
        }
    }
}

//! The kubelet's configuration of credential providers, changed.

use super::kubelet_config::{go_duration, read};
use crate::fuzzing::try_reader;

const JSON: &[u8] = br#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"a","matchImages":["*.r.example/team","r.example:5000"],"defaultCacheDuration":"12h30m","apiVersion":"credentialprovider.kubelet.k8s.io/v1","args":["x"],"env":[{"name":"A","value":"b"}]}]}"#;
const YAML: &[u8] = b"apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: a\n  matchImages: [\"*.r.example\"]\n  defaultCacheDuration: \"1h\"\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n  args: &a\n  - \"x\"\n";

#[test]
fn no_configuration_of_the_kubelet_makes_its_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.yaml");
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let all = read(&file).ok()?;
        let is_for = |name: &str| all.iter().filter(|one| one.is_for(name)).count();
        Some(is_for("a.r.example/team/app:v1") + is_for(&String::from_utf8_lossy(bytes)))
    };
    assert_eq!(read(JSON), Some(1));
    try_reader("kubelet-config", &[JSON, YAML], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_duration_of_the_kubelet_makes_its_reader_panic() {
    try_reader("go-duration", &[b"1h2m3.5s", b"-100ms", b"9us"], |bytes| {
        let _ = go_duration(&String::from_utf8_lossy(bytes));
    });
}

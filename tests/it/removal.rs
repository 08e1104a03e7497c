//! The package's removal, which must not leave an engine that asks for what is gone.

use std::fs;
use std::path::Path;
use std::process::Command;

const STEPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/maintainer.sh");

/// The files of that root by which engines ask rootpin, as the package's scripts find them.
fn asking(root: &Path) -> Vec<String> {
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", ". \"$1\"; asking \"$2\"", "sh", STEPS]);
    let output = shell.arg(root).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_package_is_not_removed_while_a_file_has_an_engine_ask_wherever_that_file_is() {
    const SOCKET: &str = "address = \"/run/rootpin/containerd.gate.sock\"";
    let resolver = |address: &str| format!("[host.\"http://{address}/resolve\"]\n");
    let cases = [
        ("/etc/containerd/conf.d/rootpin.toml", SOCKET.to_owned()),
        // By the units of these hosts.
        ("/srv/cd/conf.d/rootpin.toml", SOCKET.to_owned()),
        (
            "/srv/docker/a b.json",
            "{\"authorization-plugins\": [\"rootpin\"]}".to_owned(),
        ),
        (
            "/etc/containerd/certs.d/r.test/hosts.toml",
            resolver("127.0.0.1:505"),
        ),
        (
            "/etc/containerd/certs.d/r.test/hosts.toml",
            resolver("127.0.0.2:505"),
        ),
        (
            "/etc/containerd/certs.d/r.test/hosts.toml",
            resolver("[::1]:505"),
        ),
        (
            "/var/lib/kubelet/config.yaml",
            "- name: rootpin-credential-provider".to_owned(),
        ),
    ];
    for (path, text) in cases {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(asking(root.path()), [""; 0], "an empty host");
        write(root.path(), "/etc/rootpin/rootpin.toml", SOCKET);
        let record = serde_json::json!({ "version": 1, "texts": [{ "path": path }, { "path": "/etc/rootpin/rootpin.toml" }] });
        let record = serde_json::to_string_pretty(&record).unwrap();
        write(root.path(), "/etc/rootpin/installed.json", &record);
        assert_eq!(asking(root.path()), [""; 0], "{path} is not there");
        write(root.path(), path, &text);
        assert_eq!(asking(root.path()), [path]);
        write(root.path(), path, "version = 3\n");
        assert_eq!(asking(root.path()), [""; 0], "{path} asks no more");
    }
}

/// What logrotate runs after it renamed the audit file, with a systemd that says so of rootpind.
fn rotated(is_active: &str) -> (bool, String) {
    let text = include_str!("../../packaging/logrotate/rootpin");
    let (_, steps) = text.split_once("postrotate\n").unwrap();
    let (steps, _) = steps.split_once("endscript").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let systemctl = "systemctl() { echo \"$*\"; case $* in *is-active*) $IS_ACTIVE ;; esac; }\n";
    let file = folder.path().join("steps");
    fs::write(&file, format!("{systemctl}{steps}")).unwrap();
    let mut shell = Command::new("sh");
    let output = shell
        .arg("-e")
        .arg(file)
        .env("IS_ACTIVE", is_active)
        .output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), said)
}

#[test]
fn logrotate_has_rootpind_open_its_file_anew_and_does_not_fail_where_it_does_not_run() {
    let asked = "-q is-active rootpind.service\n";
    let reloaded = format!("{asked}reload rootpind.service\n");
    assert_eq!(rotated("true"), (true, reloaded));
    assert_eq!(rotated("false"), (true, asked.to_owned()));
}

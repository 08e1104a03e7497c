//! The recipes of packaging/cloud-init and packaging/platforms/kind.yaml, carried out on a booted
//! Debian as cloud-init and a person would.

use std::fs;

use toml_edit::DocumentMut;
use yaml_rust2::{Yaml, YamlLoader};

use crate::image::Image;
use crate::packages;
use crate::systemd::Host;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const UNSIGNED: &str = "registry.example/team/app:v1";

fn text(file: &str) -> String {
    fs::read_to_string(format!("{HERE}/packaging/{file}")).unwrap()
}

fn yaml(file: &str) -> Yaml {
    YamlLoader::load_from_str(&text(file)).unwrap().remove(0)
}

/// What says whether the engine asks now: before its restart an image of no registry's comes in, after
/// it the doctor is clean and every way is shut.
const ASKED: &str = r"
ctr images import /unsigned.tar >/run/import 2>&1; echo imported=$?
rootpin doctor >/run/doctor 2>&1; echo doctor=$?; cat /run/doctor
rootpin prove >/run/prove 2>&1; echo prove=$?; cat /run/prove
";

/// A Debian with a containerd and an image that nobody signed.
fn host(name: &str) -> Host {
    let host = Host::debian(name);
    host.containerd("LAB_BIN2");
    host.file("unsigned.tar", &Image::manifest(name).archive(UNSIGNED));
    host
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn cloud_init_s_user_data_guards_a_host_once_its_operator_restarts_the_engine_and_not_before() {
    let host = host("cloud-init");
    let data = yaml("cloud-init/user-data.yaml");
    for file in data["write_files"].as_vec().unwrap() {
        let path = file["path"].as_str().unwrap().trim_start_matches('/');
        let text = file["content"].as_str().unwrap();
        // What its operator changes: the policy enforces, and the sum is that of the deb below.
        let text = text.replace("mode    = \"audit\"", "mode    = \"enforce\"");
        host.file(path, text.as_bytes());
    }
    let deb = fs::read(packages::deb("0.1.0")).unwrap();
    host.file("rootpin.deb", &deb);
    let sum = rootpin_trust::image::Digest::of(&deb).hex();
    host.file(
        "var/lib/cloud/rootpin.sha256",
        format!("{sum}  /var/lib/cloud/rootpin.deb\n").as_bytes(),
    );
    // In place of the one that fetches: this host has no network.
    host.program(
        "usr/local/bin/curl",
        b"#!/bin/sh\nwhile [ \"$1\" != --output ]; do shift; done\ncp /rootpin.deb \"$2\"\n",
    );
    let command = data["runcmd"][0]
        .as_vec()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap());
    let command: Vec<_> = command.collect();
    host.program("usr/local/bin/first-boot", command[2].as_bytes());
    let told = host.boot(
        &format!(
            "until_active containerd; engine=$(systemctl show -p MainPID --value containerd)\n\
             sh -eu /usr/local/bin/first-boot >/run/first 2>&1; echo first=$?; cat /run/first\n\
             [[ $(systemctl show -p MainPID --value containerd) == \"$engine\" ]]; echo same=$?\n\
             sh -eu /usr/local/bin/first-boot >/run/second 2>&1; echo second=$?\n\
             ctr images import /unsigned.tar >/run/early 2>&1; echo early=$?; ctr images rm --sync {UNSIGNED} >/dev/null\n\
             grep -o 'systemctl restart containerd' /run/first | head -n 1 >/run/restart; bash /run/restart; echo restarted=$?\n{ASKED}"
        ),
        120,
    );
    for (name, wanted) in [
        ("first", "0"),
        ("same", "0"),
        ("second", "0"),
        ("early", "0"),
        ("restarted", "0"),
        ("imported", "1"),
        ("doctor", "0"),
        ("prove", "0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
    assert!(
        told.log.contains("systemctl restart containerd"),
        "{}",
        told.log
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn kind_s_recipe_guards_a_node_with_one_drop_in_in_the_folder_that_its_patch_imports() {
    let host = host("kind");
    host.file("kind/version", b"");
    host.file(
        "opt/rootpin-files/rootpin.deb",
        &fs::read(packages::deb("0.1.0")).unwrap(),
    );
    let policy = "version = 1\ndefault = \"deny\"\n[[image]]\nname = \"registry.example/pause:3.10\"\ndigest = \"sha256:";
    host.file(
        "opt/rootpin-files/policy/policy.toml",
        format!("{policy}{}\"\n", "ab".repeat(32)).as_bytes(),
    );
    // As kind merges the patch: key by key, whichever version the node's image has.
    let shape = fs::read_to_string(format!("{HERE}/tests/data/platforms/kind.toml")).unwrap();
    let mut main: DocumentMut = shape.parse().unwrap();
    let cluster = yaml("platforms/kind.yaml");
    for patch in cluster["containerdConfigPatches"].as_vec().unwrap() {
        let patch: DocumentMut = patch.as_str().unwrap().parse().unwrap();
        for (key, value) in patch.iter() {
            main[key] = value.clone();
        }
    }
    host.file("etc/containerd/config.toml", main.to_string().as_bytes());
    host.file("node.sh", text("platforms/kind-node.sh").as_bytes());
    let told = host.boot(
        &format!(
            "until_active containerd; sha256sum /etc/containerd/config.toml >/run/main\n\
             sh -s </node.sh >/run/node 2>&1; echo node=$?; cat /run/node\n\
             sha256sum --quiet --check /run/main; echo main=$?; ls /etc/containerd/conf.d; echo again=$(sh -s </node.sh >/dev/null 2>&1; echo $?)\n{ASKED}\n\
             rootpin install --uninstall --yes >/dev/null; echo uninstalled=$?; sha256sum --quiet --check /run/main; echo restored=$?\n"
        ),
        120,
    );
    for (name, wanted) in [
        ("node", "0"),
        ("main", "0"),
        ("again", "0"),
        ("imported", "1"),
        ("doctor", "0"),
        ("prove", "0"),
        ("uninstalled", "0"),
        ("restored", "0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
}

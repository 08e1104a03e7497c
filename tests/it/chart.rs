//! The Helm chart as it lies in the tree: its values, their schema, and what its templates name.
//! tests/real/kubernetes.rs renders it.

use std::collections::BTreeSet;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::documents::{files, text};

const CHART: &str = "packaging/helm/rootpin";

fn values() -> Yaml {
    let text = text(&format!("{CHART}/values.yaml"));
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

fn at<'a>(yaml: &'a Yaml, path: &str) -> &'a Yaml {
    path.split('.').fold(yaml, |yaml, key| &yaml[key])
}

/// Every value that a template names, without what begins a loop of its own.
fn named() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for template in files(&format!("{CHART}/templates")) {
        for rest in text(&template).split(".Values.").skip(1) {
            let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '.');
            found.insert(
                rest[..end.unwrap_or(rest.len())]
                    .trim_end_matches('.')
                    .to_owned(),
            );
        }
    }
    found
}

#[test]
fn each_value_that_a_template_names_is_in_the_values_and_each_value_is_named() {
    let (values, named) = (values(), named());
    assert!(named.len() > 25, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|path| at(&values, path).is_badvalue())
        .collect();
    assert!(missing.is_empty(), "not in values.yaml: {missing:?}");
    for (section, inner) in values.as_hash().unwrap() {
        let section = section.as_str().unwrap();
        let below = inner.as_hash().filter(|_| !named.contains(section));
        let keys: Vec<_> = below.map_or_else(
            || vec![section.to_owned()],
            |hash| {
                hash.keys()
                    .map(|key| format!("{section}.{}", key.as_str().unwrap()))
                    .collect()
            },
        );
        for key in keys {
            let used = named
                .iter()
                .any(|name| *name == key || name.starts_with(&format!("{key}.")));
            assert!(used, "no template names {key}");
        }
    }
}

#[test]
fn the_schema_knows_each_value_and_nothing_else() {
    let schema: Value =
        serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let keys = |hash: &Yaml| -> BTreeSet<String> {
        let hash = hash.as_hash().unwrap();
        hash.keys()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect()
    };
    let known = |schema: &Value| -> BTreeSet<String> {
        let properties = schema["properties"].as_object().unwrap();
        properties
            .keys()
            .filter(|key| *key != "global")
            .cloned()
            .collect()
    };
    let values = values();
    assert_eq!(keys(&values), known(&schema));
    for section in ["image", "host", "policy", "checks", "taint", "cleanup"] {
        let of_it = &schema["properties"][section];
        assert_eq!(of_it["additionalProperties"], false, "{section}");
        assert_eq!(keys(&values[section]), known(of_it), "{section}");
    }
}

#[test]
fn the_chart_knows_the_platforms_that_install_knows() {
    let schema: Value =
        serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    let platforms = schema
        .pointer("/properties/host/properties/platform/enum")
        .unwrap();
    let of_chart: BTreeSet<_> = platforms
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let command = rootpin::cli::command();
    let install = command.find_subcommand("install").unwrap();
    let platform = install
        .get_arguments()
        .find(|argument| argument.get_id() == "platform");
    let of_install = platform.unwrap().get_possible_values();
    let of_install: BTreeSet<_> = of_install
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    assert_eq!(of_chart, of_install);
}

#[test]
fn the_versions_of_chart_and_program_are_one() {
    let chart = text(&format!("{CHART}/Chart.yaml"));
    let chart = YamlLoader::load_from_str(&chart).unwrap().remove(0);
    assert_eq!(chart["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        chart["appVersion"].as_str(),
        Some(env!("CARGO_PKG_VERSION"))
    );
}

/// A function of the script that sets a node up.
fn of_node(name: &str) -> String {
    let script = text("packaging/kubernetes/node.sh");
    let begin = script.find(&format!("\n{name}() {{")).unwrap();
    let end = begin + script[begin..].find("\n}\n").unwrap();
    script[begin..end + 3].to_owned()
}

#[test]
fn an_engine_that_asks_by_what_others_brought_keeps_no_node_from_being_taken_back() {
    let written = r#"{"install":{"failed":null,"written":[{"removed":false,"file":"/d"}]}}"#;
    let nothing = r#"{"install":{"failed":null,"written":null}}"#;
    let none = r#"{"install":{"failed":null,"written":[]}}"#;
    let failed = r#"{"install":{"failed":"x","written":null}}"#;
    let pending = r#"{"install":{"failed":null,"written":null,"restart":["containerd"]}}"#;
    for (answer, code, recorded, asked) in [
        (nothing, 0, true, false),
        (pending, 0, true, false),
        (none, 0, true, false),
        (nothing, 0, false, false),
        (written, 0, true, true),
        (failed, 1, true, true),
        (failed, 1, false, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let functions = [of_node("take_back"), of_node("set_up")].concat();
        let functions = functions.replace("/run/", &format!("{at}/"));
        let script = format!(
            "cd {at}; PREFIX={at}/p undo={at}/p/.undo bin={at}/p/bin record={at}/installed.json PLATFORM=auto\n\
             mkdir -p $undo $bin\n\
             say() {{ echo \"$*\"; }}; die() {{ exit 1; }}; engine() {{ echo e; }}; systemctl() {{ :; }}\n\
             {functions}\n\
             [ {recorded} = false ] || echo x >$record\n\
             printf '#!/bin/sh\\ncase $* in *--uninstall*) touch {at}/asked; exit 1 ;; esac; echo \"$ANSWER\"; exit {code}\\n' >$bin/rootpin\n\
             chmod 0755 $bin/rootpin\n\
             touch $undo/enabled\n\
             (set_up) || true\n\
             [ ! -e {at}/p/restart-owed ] || touch {at}/owed\n\
             take_back\n"
        );
        let done = std::process::Command::new("sh")
            .args(["-euc", &script])
            .env("ANSWER", answer)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        let case = format!("{answer} {code} {recorded}: {done:?}");
        assert_eq!(folder.path().join("asked").exists(), asked, "{case}");
        let owed = [written, pending].contains(&answer);
        assert_eq!(folder.path().join("owed").exists(), owed, "{case}");
        assert_eq!(done.status.success(), !asked, "{case}");
        assert_eq!(
            told.contains("NOT TAKEN BACK: the engine's"),
            asked,
            "{case}"
        );
        assert_eq!(folder.path().join("p/.undo").exists(), asked, "{case}");
    }
}

/// The clean-up removes folders below it, and `/usr` or `/opt/..` has others' there.
#[test]
fn the_node_s_script_takes_no_prefix_but_a_folder_below_a_folder() {
    let host = tempfile::tempdir().unwrap();
    let refused = |prefix: &str| {
        let output = std::process::Command::new("sh")
            .args(["packaging/kubernetes/node.sh", "install"])
            .env("PREFIX", prefix)
            .env("HOST", host.path())
            .env("PAYLOAD", "/none")
            .env("PROVEN", host.path().join("proven"))
            .output()
            .unwrap();
        assert!(!output.status.success(), "there is nothing to install");
        String::from_utf8_lossy(&output.stderr).contains("hint: name a folder of rootpin's own")
    };
    // What is there is rootpin's own, or nobody's.
    for file in [
        "rootpin/installed",
        "opt/killed/.new/x",
        "opt/disk/lost+found/x",
        "usr/lib/libc.so",
        "opt/others/.x",
    ] {
        let file = host.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    for prefix in [
        "/opt/rootpin",
        "/var/lib/k8s/root.pin",
        "/opt/..rootpin",
        "/rootpin",
        "/opt/killed",
        "/opt/disk",
    ] {
        assert!(!refused(prefix), "{prefix}");
    }
    for prefix in ["/usr/lib", "/opt/others", "/new"] {
        assert!(refused(prefix), "{prefix}");
    }
    for prefix in [
        "/usr",
        "/",
        "/opt/",
        "opt/rootpin",
        "/opt/..",
        "/opt/../usr",
        "/opt/.",
        "/./usr",
        "//usr",
        "/opt/rootpin/..",
        "",
    ] {
        assert_eq!(
            refused(prefix),
            !prefix.is_empty(),
            "{prefix}: empty is the default"
        );
    }
}

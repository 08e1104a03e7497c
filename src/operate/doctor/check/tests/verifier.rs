//! The verifier's folder and its limits.

use super::super::super::runnable::Hindrance;
use super::*;

#[test]
fn each_way_to_pass_the_verifier_by_is_a_hole() {
    let folder = |entries: Option<&[&str]>| ProgramFolder {
        path: "/v".into(),
        entries: entries.map(|entries| entries.iter().map(|entry| (*entry).to_owned()).collect()),
        writable: None,
        hindrance: None,
    };
    let with = |folder: ProgramFolder| {
        hole("2.1.9", |facts| {
            facts.verifier = Some(folder);
            set(facts, &["plugins", VERIFIERS, "max_verifiers"], 10);
        })
    };
    assert_eq!(
        with(folder(None)),
        "open verifier-missing: /v does not exist"
    );
    assert_eq!(with(folder(Some(&[]))), "open verifier-empty: /v is empty");
    assert_eq!(
        with(folder(Some(&["other"]))),
        "open verifier-foreign: /v holds [\"other\"]"
    );
    assert_eq!(
        with(folder(Some(&["other", "rootpin-verifier"]))),
        "weak verifier-crowded: /v holds [\"other\", \"rootpin-verifier\"]"
    );
    let writable = Some(Writable {
        why: "/v can be written".to_owned(),
        hint: "chmod go-w /v".to_owned(),
        own: Some(PathBuf::from("/v")),
    });
    assert_eq!(
        with(ProgramFolder {
            writable,
            ..folder(Some(&["rootpin-verifier"]))
        }),
        "open verifier-writable: /v can be written"
    );
    let above = ProgramFolder {
        writable: Some(Writable {
            why: "/ can be written".to_owned(),
            hint: "chmod go-w /".to_owned(),
            own: None,
        }),
        ..folder(Some(&["rootpin-verifier"]))
    };
    let holes = holes("2.1.9", |facts| facts.verifier = Some(above));
    assert_eq!(holes[0].change, "chmod go-w /", "what is typed, not told");
    let off = hole("2.1.9", |facts| {
        facts.plugins.retain(|plugin| plugin.full() != VERIFIERS);
        set(facts, &["disabled_plugins"], list(&[VERIFIERS]));
    });
    assert!(
        off.starts_with("open verifier-off: ") && !off.contains('\n'),
        "{off}"
    );
    let off = super::holes("2.1.9", |facts| {
        facts.plugins.retain(|plugin| plugin.full() != VERIFIERS);
        set(facts, &["disabled_plugins"], list(&["a", VERIFIERS]));
    });
    assert_eq!(
        off[0].change,
        "in /etc/containerd/conf.d/site.toml:\ndisabled_plugins = [\"a\"]"
    );
}

#[test]
fn a_verifier_that_is_in_its_place_is_not_to_be_copied_onto_itself() {
    let change = |program: &'static str| {
        let mut facts = in_order("2.1.9");
        facts.verifier = Some(ProgramFolder {
            path: "/opt/containerd/image-verifier/bin".into(),
            entries: None,
            writable: None,
            hindrance: None,
        });
        let holes = super::super::containerd(
            &facts,
            WantedSettings {
                program: Path::new(program),
                ..wanted()
            },
        );
        holes
            .iter()
            .map(|hole| hole.change.clone())
            .collect::<Vec<_>>()
            .join("\n\n")
    };
    let lines = format!("[plugins.'{VERIFIERS}']\n  bin_dir = \"/usr/libexec/rootpin/verifier\"");
    assert_eq!(
        change("/usr/libexec/rootpin/verifier/rootpin-verifier"),
        lines
    );
    let copied = "install -D -m 0755 /usr/bin/rootpin-verifier /usr/libexec/rootpin/verifier/rootpin-verifier";
    assert_eq!(
        change("/usr/bin/rootpin-verifier"),
        format!("{copied}\n{lines}")
    );
}

#[test]
fn a_limit_that_leaves_the_verifier_out_is_a_hole_and_one_that_does_not_is_none() {
    let limited = |most: i64, entries: &[&str]| {
        hole("2.1.9", |facts| {
            set(facts, &["plugins", VERIFIERS, "max_verifiers"], most);
            facts.verifier.as_mut().unwrap().entries =
                Some(entries.iter().map(|entry| (*entry).to_owned()).collect());
        })
    };
    assert!(
        limited(0, &["rootpin-verifier"]).starts_with(
            "open verifier-limit: max_verifiers is 0 and rootpin-verifier is number 1"
        )
    );
    assert!(
        limited(1, &["a", "rootpin-verifier"])
            .contains("open verifier-limit: max_verifiers is 1 and rootpin-verifier is number 2")
    );
    assert_eq!(limited(10, &["rootpin-verifier"]), "");
    assert!(!limited(2, &["a", "rootpin-verifier"]).contains("limit"));
    let unlimited = hole("2.1.9", |facts| {
        set(facts, &["plugins", VERIFIERS, "max_verifiers"], -1);
        facts.verifier.as_mut().unwrap().entries =
            Some(["a", "rootpin-verifier"].map(str::to_owned).to_vec());
    });
    assert_eq!(unlimited, "", "what the finding says to write is in force");
    let short = hole("2.1.9", |facts| {
        set(facts, &["plugins", VERIFIERS, "per_verifier_timeout"], "5s");
    });
    assert!(
        short.starts_with(
            "weak verifier-timeout: per_verifier_timeout is 5s and rootpin's deadline 8s"
        ),
        "{short}"
    );
}

#[test]
fn a_verifier_that_can_not_be_run_is_found_with_what_mends_it() {
    let of = |hint: Option<&str>| {
        let mut found = holes("2.1.9", |facts| {
            facts.verifier.as_mut().unwrap().hindrance = Some(Hindrance {
                why: "/v/rootpin-verifier has mode 0644".to_owned(),
                hint: hint.map(str::to_owned),
            });
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    let mode = of(None);
    assert_eq!(
        (mode.code, mode.found.as_str()),
        (Code::VerifierUnusable, "/v/rootpin-verifier has mode 0644")
    );
    assert!(mode.change.starts_with("install -D -m 0755 ") && mode.fix.is_some());
    let mount = of(Some("mount -o remount,exec '/v'"));
    assert_eq!(
        (mount.change.as_str(), mount.fix),
        ("mount -o remount,exec '/v'", None)
    );
}

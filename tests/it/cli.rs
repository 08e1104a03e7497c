//! The command line: its examples work, its JSON is one object of version 1, and its exit codes are
//! the documented ones.

use std::fs;

use serde_json::Value;

use crate::containerd::Differ;
use crate::decide::mode::MEMBERS;
use crate::publisher::{Key, Publisher};
use crate::world::{Daemon, Ended, GUN, Image, World, run};

const V1: &str = "r.test/team/app:v1";

/// A host in order: a signed image, a containerd that asks the gate, and a daemon.
fn host(name: &str) -> Option<(World, Daemon, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .differ(Differ::AsksGate(world.path("gate")));
    let daemon = world.start();
    world.door("gate");
    Some((world, daemon, image))
}

fn rootpin(words: &[&str]) -> Ended {
    run(
        std::process::Command::new(env!("CARGO_BIN_EXE_rootpin")).args(words),
        b"",
    )
}

/// Every verb, as its words: those that have no verbs below them.
fn verbs(above: &[String]) -> Vec<Vec<String>> {
    let words: Vec<&str> = above.iter().map(String::as_str).chain(["--help"]).collect();
    let help = rootpin(&words).out;
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        return vec![above.to_vec()];
    };
    let below = below
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below = below.filter(|verb| !verb.is_empty() && *verb != "help");
    // One that has verbs below it may be one by itself.
    let usage = help
        .lines()
        .find(|line| line.starts_with("Usage: "))
        .unwrap();
    let itself = (!usage.ends_with("<COMMAND>")).then(|| above.to_vec());
    itself
        .into_iter()
        .chain(below.flat_map(|verb| verbs(&[above, &[verb.to_owned()]].concat())))
        .collect()
}

/// The commands in a verb's help, with what a reader puts in for the names in them.
fn examples(world: &World, image: &Image, verb: &[String]) -> Vec<Vec<String>> {
    let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
    let help = rootpin(&words);
    assert_eq!(help.code, 0, "{help:?}");
    let (_, after) = help
        .out
        .split_once("\nexample")
        .unwrap_or_else(|| panic!("{verb:?} has no example: {}", help.out));
    let at = |name: &str| world.path(name).display().to_string();
    let name = format!("{V1}@{}", image.index.digest);
    let hex = |bytes: &[u8]| rootpin_trust::image::Digest::of(bytes).hex();
    let put_in = |word: &str| match word.trim_matches('\'') {
        "docker.io/library/alpine" | "registry.example/team/app" => "r.test/team/app".to_owned(),
        "docker.io/library/alpine:3.20" if verb[0] == "pin" => V1.to_owned(),
        "https://notary.example" => format!("http://127.0.0.1:{}", world.notary.port),
        "https://tuf.example/metadata" => format!("file://{}", at("tuf")),
        "team" if verb[0] == "pin" => "acme".to_owned(),
        "web.pub" => at("web.pub"),
        "SHA256:…" => Publisher::new(GUN).root_key().id(),
        "1.root.json" => at("tuf/1.root.json"),
        "9f86…" => hex(&fs::read(at("tuf/1.root.json")).unwrap()),
        "d0c623c8…" => Key::named("second").id(),
        "sha256:e3b0…" => format!("sha256:{}", hex(b"")),
        "docker.io/library/alpine:3.20" if verb[0] == "policy" => V1.to_owned(),
        "docker.io/library/alpine:3.20" | "registry.example/app:1@sha256:…" => name.clone(),
        // A copy: these examples change it.
        "./policy" if verb[0] == "pin" => at("pinned"),
        "/etc/rootpin" | "./policy" => at("policy"),
        "./state" | "/var/lib/rootpin" => at("state"),
        "/var/lib/prometheus/node-exporter/rootpin.prom" => at("rootpin.prom"),
        "/etc/containerd/certs.d" | "/etc/docker/certs.d" => at("certs.d"),
        "./trust" | "reports/" | "one.json" | "two.json" | "audit.html" | "fleet.html" => {
            at(word.trim_matches(['.', '/']))
        }
        other => other.to_owned(),
    };
    // A long one goes on in the next line, as in a shell.
    let after = after.replace(" \\\n    ", " ");
    let commands = after
        .lines()
        .filter_map(|line| line.split_once("rootpin ").map(|(_, command)| command));
    // What stands in brackets after three spaces is for the reader.
    let commands = commands.map(|command| command.split("   ").next().unwrap_or_default());
    let commands =
        commands.map(|command| command.split_whitespace().map(put_in).collect::<Vec<_>>());
    let of_host = |mut command: Vec<String>| {
        if verb[0] == "pin" && !command.iter().any(|word| word == "--policy") {
            command.extend(["--policy".to_owned(), at("pinned")]);
        }
        if verb[0] == "hosts" {
            command.extend([
                "--resolver".to_owned(),
                "127.0.0.1:5055".to_owned(),
                "--dir".to_owned(),
                at("certs.d"),
            ]);
        }
        // An audit looks at the machine; this one shall look at the test's host.
        if *verb == ["audit"] {
            command.extend([
                "--config".to_owned(),
                at("rootpin.toml"),
                "--docker".to_owned(),
                at("docker-empty"),
            ]);
        }
        // So does a doctor, which finds the engines of others too.
        if *verb == ["doctor"] {
            command.extend(["--config".to_owned(), at("rootpin.toml")]);
        }
        // At a terminal it asks.
        if *verb == ["state", "reset"] && !command.iter().any(|word| word == "--dry-run") {
            command.push("--yes".to_owned());
        }
        command
    };
    commands.map(of_host).collect()
}

/// A report, and what else the examples of `audit` name.
fn audited(world: &World) {
    fs::create_dir_all(world.path("trust/tuf")).unwrap();
    fs::create_dir_all(world.path("reports")).unwrap();
    let docker = crate::audit::dockerd::empty(world).display().to_string();
    let config = world.path("rootpin.toml").display().to_string();
    let report = world.rootpin(&["audit", "--json", "--config", &config, "--docker", &docker]);
    for name in ["reports/host.json", "one.json", "two.json"] {
        fs::write(world.path(name), &report.out).unwrap();
    }
}

#[test]
fn every_verbs_help_has_examples_and_they_work() {
    let Some((world, daemon, image)) = host("c-examples") else {
        return;
    };
    fs::create_dir(world.path("pinned")).unwrap();
    let two_keys = world.policy().replace(
        "\"]\nrole",
        &format!("\", \"{}\"]\nrole", Key::named("second").id()),
    );
    fs::write(world.path("pinned/policy.toml"), two_keys).unwrap();
    fs::write(
        world.path("web.pub"),
        Publisher::new(GUN).root_key().public_pem(),
    )
    .unwrap();
    fs::create_dir(world.path("tuf")).unwrap();
    fs::write(
        world.path("tuf/1.root.json"),
        include_bytes!("../data/tuf/1.root.json"),
    )
    .unwrap();
    // The tests of a repository run what `repo`, `bundle` and `verify-file` do, those with engines
    // run `prove` and `install`, and `break_glass`, `evidence`, `hosts`, `import`, `kubernetes`, `policy_tools` and
    // `support` what is named so.
    let verbs: Vec<_> = verbs(&[])
        .into_iter()
        .filter(|verb| {
            let elsewhere = [
                "break-glass",
                "bundle",
                "evidence",
                "hosts remove",
                "import",
                "install",
                "kubernetes",
                "policy diff",
                "policy lint",
                "policy schema",
                "policy simulate",
                "policy test",
                "prove",
                "repo",
                "support",
                "verify-file",
            ];
            !elsewhere.contains(&verb[0].as_str()) && !elsewhere.contains(&verb.join(" ").as_str())
        })
        .collect();
    let named: Vec<_> = verbs.iter().map(|verb| verb.join(" ")).collect();
    let wanted = [
        "status",
        "verify",
        "audit",
        "audit merge",
        "doctor",
        "sweep",
        "policy check",
        "policy explain",
        "policy reload",
        "pin scan",
        "pin add",
        "pin list",
        "pin diff",
        "pin remove",
        "pin revoke",
        "hosts write",
        "hosts check",
        "state show",
        "state reset",
        "state acknowledge",
        "metrics",
    ];
    assert_eq!(named, wanted);
    audited(&world);
    let all: Vec<_> = verbs
        .iter()
        .flat_map(|verb| examples(&world, &image, verb))
        .collect();
    assert!(all.len() >= verbs.len(), "{all:?}");
    let (alone, asking): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|words| words.contains(&"--state".to_owned()));
    let works = |words: &Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = world.rootpin(&words);
        // An audit also looks into the home directories of whoever runs the tests, and a doctor
        // can't know a containerd that is a fake.
        let most = match words[0] {
            "doctor" => 2,
            "audit" => i32::from(words[1] != "merge"),
            _ => 0,
        };
        assert!(
            (0..=most).contains(&ended.code) && !ended.out.trim().is_empty(),
            "{words:?}: {ended:?}"
        );
    };
    asking.iter().for_each(works);
    assert_eq!(daemon.stop().0, 0);
    let (unreadable, readable): (Vec<_>, Vec<_>) = alone
        .into_iter()
        .partition(|words| words.contains(&"--unreadable".to_owned()));
    readable.iter().for_each(works);
    for words in unreadable {
        let file = world.path("state/state.redb");
        fs::write(&file, "broken").unwrap();
        works(&words);
        assert_eq!(
            fs::read(world.path("state/state.redb.unusable")).unwrap(),
            b"broken"
        );
    }
}

#[test]
fn every_verbs_json_is_one_object_of_version_1_whatever_comes_of_it() {
    let Some((world, daemon, image)) = host("c-json") else {
        return;
    };
    let name = format!("{V1}@{}", image.index.digest);
    let policy = world.path("policy").display().to_string();
    let state = world.path("state").display().to_string();
    let root = Publisher::new(GUN).root_key().id();
    let asking: &[&[&str]] = &[
        &["status"],
        &["verify", &name],
        &["sweep"],
        &["policy", "explain", V1],
        &["policy", "reload"],
        &["state", "show"],
        &["state", "reset", "--root", "acme", "--yes"],
        &["metrics"],
    ];
    for words in asking {
        let (value, code) = world.rootpin_json(words);
        assert!(code == 0 && value.is_object(), "{words:?}: {value}");
    }
    for words in [
        &["policy", "explain", "no name"][..],
        &["verify", "no name"],
        &["state", "reset", "--root", "other", "--yes"],
        &["verify", "x.test/a@sha256:0"],
    ] {
        let (value, code) = world.rootpin_json(words);
        assert!(code != 0 && value.is_object(), "{words:?}: {value}");
    }
    let alone: &[&[&str]] = &[
        &["policy", "check", &policy],
        &["policy", "explain", V1, "--policy", &policy],
        &["pin", "list", "--policy", &policy],
        &["pin", "scan", "r.test/team/app", "--policy", &policy],
        &["pin", "diff", "r.test/team/app", "--policy", &policy],
        &[
            "pin",
            "add",
            "acme",
            "--scan",
            "r.test/team/app",
            "--policy",
            &policy,
            "--fingerprint",
            &root,
        ],
        &[
            "pin",
            "revoke",
            &image.index.digest,
            "--reason",
            "x",
            "--dry-run",
            "--policy",
            &policy,
        ],
        &[
            "pin",
            "remove",
            "acme",
            "--with-rules",
            "--dry-run",
            "--policy",
            &policy,
        ],
        &["verify", &name, "--policy", &policy, "--state", &state],
        &["state", "show", "--state", &state],
        &[
            "state", "reset", "--root", "acme", "--yes", "--state", &state, "--policy", &policy,
        ],
    ];
    assert_eq!(daemon.stop().0, 0);
    for words in alone {
        assert_eq!(world.rootpin_json(words).1, 0, "{words:?}");
    }
    world.write_policy("");
    for words in alone
        .iter()
        .filter(|words| words.contains(&policy.as_str()))
    {
        assert_ne!(world.rootpin_json(words).1, 0, "{words:?}");
    }
    for words in asking {
        let (value, code) = world.rootpin_json(words);
        assert_eq!(
            (code, &value["outcome"]),
            (2, &Value::from("unjudged")),
            "{words:?}"
        );
        assert!(
            value["error"]
                .as_str()
                .unwrap()
                .contains("the daemon does not answer"),
            "{value}"
        );
    }
}

#[test]
fn the_judgement_has_the_documented_members_and_ends_by_its_exit_code() {
    let Some((world, _daemon, image)) = host("c-judge") else {
        return;
    };
    let digest = &image.index.digest;
    let (allowed, code) = world.rootpin_json(&["verify", &format!("{V1}@{digest}")]);
    assert_eq!(
        allowed
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        MEMBERS
    );
    assert_eq!(
        (
            code,
            &allowed["outcome"],
            &allowed["code"],
            &allowed["roots"]
        ),
        (
            0,
            &"allowed".into(),
            &Value::Null,
            &serde_json::json!(["acme"])
        )
    );
    let (refused, code) = world.rootpin_json(&["verify", &format!("r.test/team/app:v2@{digest}")]);
    assert_eq!(
        (code, &refused["outcome"], &refused["code"]),
        (1, &"refused".into(), &"no-statement".into())
    );
    assert!(
        ["found", "wanted", "hint", "rule"]
            .iter()
            .all(|member| refused[member].is_string()),
        "{refused}"
    );
    assert_eq!(refused.as_object().unwrap().len(), MEMBERS.len());
    // Nothing answers for this registry, which is asked what the tag is.
    let rule = "[[rule]]\nmatch = \"127.0.0.1:1/*\"\nroots = [\"acme\"]\n";
    world.write_policy(&(world.policy() + rule));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    let (unjudged, code) = world.rootpin_json(&["verify", "127.0.0.1:1/app:v1"]);
    assert_eq!(
        (code, &unjudged["outcome"], &unjudged["code"]),
        (2, &"unjudged".into(), &"source-unreachable".into())
    );
    let text = world
        .rootpin(&["verify", &format!("r.test/team/app:v2@{digest}")])
        .out;
    for part in [
        "refused: ",
        "\n  code: no-statement\n",
        "\n  found: ",
        "\n  wanted: ",
        "\nhint: ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn wrong_usage_is_exit_64_everywhere() {
    let Some((world, _daemon, image)) = host("c-usage") else {
        return;
    };
    let name = format!("{V1}@{}", image.index.digest);
    for words in [
        &[][..],
        &["nonsense"],
        &["verify"],
        &["verify", "no name"],
        &["verify", &name, "more"],
        &["verify", &name, "--policy", "x"],
        &["verify", &name, "--at", "2030-01-01T00:00:00Z"],
        &[
            "verify",
            &name,
            "--policy",
            "x",
            "--state",
            "y",
            "--at",
            "yesterday",
        ],
        &["policy"],
        &["policy", "explain"],
        &["policy", "explain", "no name"],
        &["policy", "check", "--nonsense"],
        &["state"],
        &["state", "reset"],
        &["state", "reset", "--unreadable"],
        &[
            "state",
            "reset",
            "--unreadable",
            "--root",
            "acme",
            "--state",
            "x",
        ],
    ] {
        let ended = world.rootpin(words);
        assert_eq!(ended.code, 64, "{words:?}: {ended:?}");
    }
    assert_eq!(
        (rootpin(&["--help"]).code, rootpin(&["--version"]).code),
        (0, 0)
    );
}

#[test]
fn what_goes_wrong_is_said_in_one_line_with_a_hint() {
    let Some(world) = World::new("c-words") else {
        return;
    };
    for words in [
        &["status"][..],
        &["metrics"],
        &["verify", "r.test/team/app:v1"],
        &["policy", "reload"],
        &["state", "show"],
    ] {
        let ended = world.rootpin(words);
        assert!(ended.code == 2 && ended.out.is_empty(), "{ended:?}");
        let lines: Vec<_> = ended.err.lines().collect();
        assert!(
            lines.len() == 2
                && lines[0].starts_with("rootpin: the daemon")
                && lines[1].starts_with("hint: "),
            "{ended:?}"
        );
        assert!(!lines[0].ends_with('.'), "{ended:?}");
    }
    for (words, option) in [
        (&["verify", V1][..], "--policy DIR --state DIR"),
        (&["policy", "explain", V1], "--policy DIR"),
    ] {
        let ended = world.rootpin(words);
        let way = format!("; without a daemon: {option}");
        let lines: Vec<_> = ended.err.lines().collect();
        assert!(
            ended.code == 2
                && lines.len() == 2
                && lines[0].ends_with(&way)
                && lines[1].starts_with("hint: is rootpind running?"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_host_without_a_policy_is_told_how_it_gets_one() {
    let Some(world) = World::new("c-none") else {
        return;
    };
    let dir = world.path("nothing").display().to_string();
    for made in [false, true] {
        let begin = if made {
            String::new()
        } else {
            format!("mkdir -p {dir}; then ")
        };
        let ended = rootpin(&["policy", "check", &dir]);
        assert!(
            ended.code == 2
                && ended.out.contains(&format!(
                    "hint: {begin}write {dir}/policy.toml, or have `rootpin pin add ID --policy {dir} --from FILE --match PATTERN` write it"
                )),
            "{made}: {ended:?}"
        );
        fs::create_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_policy_is_checked_with_every_error_at_its_place() {
    let Some(world) = World::new("c-check") else {
        return;
    };
    let policy = world.path("policy").display().to_string();
    let checked = rootpin(&["policy", "check", &policy]);
    assert!(
        checked.code == 0 && checked.out.contains("\nok: policy sha256:"),
        "{checked:?}"
    );
    world.write_policy("version = 1\ndefault = \"allow\"\nnonsense = 1\n");
    let checked = rootpin(&["policy", "check", &policy]);
    assert_eq!(checked.code, 1);
    for place in ["policy.toml:2:", "policy.toml:3:"] {
        assert!(checked.out.contains(place), "{checked:?}");
    }
    assert_eq!(rootpin(&["policy", "check", "/no/such/folder"]).code, 2);
    assert_eq!(
        rootpin(&["policy", "explain", V1, "--policy", &policy]).code,
        2
    );
}

#[test]
fn verify_decides_by_itself_for_a_job_and_as_of_another_time_keeps_nothing() {
    let Some(world) = World::new("c-alone") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let at = |name: &str| world.path(name).display().to_string();
    let (name, policy, state) = (
        format!("{V1}@{}", image.index.digest),
        at("policy"),
        at("ci-state"),
    );
    let words = ["verify", &name, "--policy", &policy, "--state", &state];
    let (judgement, code) = world.rootpin_json(&words);
    assert_eq!(code, 0, "{judgement}");
    let seen = || world.rootpin_json(&["state", "show", "--state", &state]).0;
    let before = seen();
    assert_eq!(before["repositories"][0]["name"], "r.test/team/app");
    let mut publisher = world.sign(&image.index.digest);
    publisher.tick();
    world.notary.publish(&publisher);
    // Metadata that was made up to 2036, judged before and after.
    assert_eq!(
        world
            .rootpin_json(&[&words[..], &["--at", "2035-12-31T23:59:59Z"]].concat())
            .1,
        0
    );
    let (late, code) =
        world.rootpin_json(&[&words[..], &["--at", "2036-01-01T00:00:01Z"]].concat());
    assert_eq!((code, &late["code"]), (1, &"expired".into()));
    assert_eq!(seen(), before);
    assert_eq!(world.rootpin(&words).code, 0);
    assert_ne!(seen(), before);
    world.sign(&image.index.digest);
    let (back, code) =
        world.rootpin_json(&[&words[..], &["--at", "2035-12-31T23:59:59Z"]].concat());
    assert_eq!(
        (code, &back["code"]),
        (1, &"rollback".into()),
        "floors are read: {back}"
    );
}

#[test]
fn state_reset_says_what_it_forgets_and_the_next_answer_is_believed_as_the_first() {
    let Some((world, _daemon, image)) = host("c-reset") else {
        return;
    };
    world.write_policy(&world.policy().replace("role =", "recheck = \"0s\"\nrole ="));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    let name = format!("{V1}@{}", image.index.digest);
    let mut publisher = world.sign(&image.index.digest);
    publisher.tick();
    world.notary.publish(&publisher);
    assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    world.sign(&image.index.digest);
    // What was verified answers while the server is behind; status tells it.
    assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    let (status, _) = world.rootpin_json(&["status"]);
    assert_eq!(status["behind"][0]["code"], "rollback", "{status}");
    assert!(world.rootpin(&["status"]).out.contains("metadata: "));
    let unasked = world.rootpin(&["state", "reset", "--root", "acme"]);
    assert!(
        unasked.code == 64 && unasked.err.contains("nobody is at a terminal"),
        "{unasked:?}"
    );
    let said = world.rootpin(&["state", "reset", "--root", "acme", "--yes"]);
    assert!(
        said.code == 0
            && said.out.contains("forgotten: r.test/team/app: ")
            && said.out.contains("timestamp 2"),
        "{said:?}"
    );
    assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    let said = world.rootpin(&["state", "reset", "--root", "other", "--yes"]);
    assert!(
        said.code == 2 && said.err.contains("the policy has no root"),
        "{said:?}"
    );
}

#[test]
fn what_is_no_image_name_is_told_with_the_reason() {
    let long = "a".repeat(128);
    for (name, reason) in [
        (
            format!("r.example/app@sha512:{long}"),
            "only sha256 is signed for and taken",
        ),
        (
            format!("r.example/app:v1@sha512:{long}"),
            "only sha256 is signed for and taken",
        ),
        (
            "r.example/app@sha256:abc".to_owned(),
            "64 lower-case hex digits",
        ),
        ("r.example/app:-".to_owned(), "not a tag"),
    ] {
        for words in [&["verify"][..], &["policy", "explain"]] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
            let ended = crate::world::run(command.args(words).arg(&name), b"");
            assert_eq!(ended.code, 64, "{ended:?}");
            assert!(
                ended.err.contains(reason),
                "{words:?} {name}: {}",
                ended.err
            );
        }
    }
}

#[test]
fn a_policy_that_does_not_load_is_told_with_its_first_error_and_the_command_for_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, state) = (dir.path().join("policy"), dir.path().join("state"));
    std::fs::create_dir_all(&policy).unwrap();
    for (text, found) in [
        (
            "version = 1\ndefault = \"deny\"\nmod = 1\n",
            "one error: policy.toml:3:1: ",
        ),
        (
            "version = 1\ndefault = \"deny\"\nmod = 1\nmodf = 2\n",
            "2 errors, of which the first is: policy.toml:3:1: ",
        ),
    ] {
        std::fs::write(policy.join("policy.toml"), text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.arg("verify").arg("--policy").arg(&policy);
        command.arg("--state").arg(&state);
        let digest = rootpin_trust::image::Digest::of(b"x");
        let ended = crate::world::run(command.arg(format!("r.example/app@{digest}")), b"");
        let said = format!("{}{}", ended.out, ended.err);
        let check = format!("`rootpin policy check {}`", policy.display());
        assert_eq!(ended.code, 2, "{said}");
        assert!(said.contains(found) && said.contains(&check), "{said}");
    }
}

#[test]
fn an_install_for_a_list_without_engines_is_a_mistake_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rootpin.toml");
    let shown = config.display().to_string();
    for text in ["", "# [[engine]]\n"] {
        fs::write(&config, text).unwrap();
        let ended = rootpin(&["install", "--dry-run", "--config", &shown]);
        assert!(
            ended.code == 64 && ended.err.contains("no [[engine]] and no [[docker]]"),
            "{ended:?}"
        );
    }
}

#[test]
fn no_engine_is_had_to_ask_by_a_rootpin_toml_that_others_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rootpin.toml");
    let shown = config.display().to_string();
    let theirs = "[[engine]]\nname = \"containerd\"\ncontainerd = \"/run/containerd/containerd.sock\"\n\
        gate = \"/tmp/theirs\"\napply = \"/tmp/theirs-too\"\n";
    fs::write(&config, theirs).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&config, open).unwrap();
    for platform in [&[][..], &["--platform", "containerd"]] {
        let words = ["install", "--dry-run", "--config", &shown];
        let ended = rootpin(&[&words, platform].concat());
        assert!(
            ended.code == 2 && ended.err.contains("can be written by"),
            "{ended:?}"
        );
    }
}

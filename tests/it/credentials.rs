//! The doors of credentials: the kubelet's provider and Docker's helper, run as their callers run
//! them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::registry::{Registry, response};
use crate::world::{Daemon, Ended, World, run};

const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
const V1BETA1: &str = "credentialprovider.kubelet.k8s.io/v1beta1";
const V1ALPHA1: &str = "credentialprovider.kubelet.k8s.io/v1alpha1";
/// What no file and no output of rootpin's may have.
const SECRETS: [&str; 3] = ["hunter2-ecr", "hunter2-acr", "hunter2-docker"];

/// By the key that a provider gave it under: user and password.
type DockerConfig = BTreeMap<String, (String, String)>;
/// What was answered, and until when it is kept.
type Kept = (DockerConfig, Option<Instant>);

/// A kubelet as far as it asks credential providers (kubernetes,
/// pkg/credentialprovider/plugin/plugin.go): one run at a time for one image, and answers kept by
/// their cacheKeyType for their cacheDuration.
struct Kubelet {
    control: std::path::PathBuf,
    version: &'static str,
    kept: Mutex<HashMap<String, Kept>>,
    flights: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    errors: Mutex<Vec<String>>,
    runs: Mutex<usize>,
}

impl Kubelet {
    fn new(world: &World, version: &'static str) -> Self {
        Self {
            control: world.path("control"),
            version,
            kept: Mutex::default(),
            flights: Mutex::default(),
            errors: Mutex::default(),
            runs: Mutex::default(),
        }
    }

    fn provide(&self, image: &str) -> DockerConfig {
        let flight = Arc::clone(
            self.flights
                .lock()
                .unwrap()
                .entry(image.to_owned())
                .or_default(),
        );
        let _flight = flight.lock().unwrap();
        let registry = image.split('/').next().unwrap();
        for key in [image, registry, "global"] {
            let kept = self.kept.lock().unwrap();
            if let Some((config, Some(until))) = kept.get(key)
                && *until > Instant::now()
            {
                return config.clone();
            }
        }
        match self.exec(image) {
            Ok((config, key, life)) => {
                let key = match key.as_str() {
                    "Image" => image,
                    "Registry" => registry,
                    _ => "global",
                };
                let until = (!life.is_zero()).then(|| Instant::now() + life);
                let kept = (config.clone(), until);
                self.kept.lock().unwrap().insert(key.to_owned(), kept);
                config
            }
            Err(error) => {
                self.errors.lock().unwrap().push(error);
                DockerConfig::new()
            }
        }
    }

    fn exec(&self, image: &str) -> Result<(DockerConfig, String, Duration), String> {
        *self.runs.lock().unwrap() += 1;
        let request = json!({"kind": "CredentialProviderRequest", "apiVersion": self.version, "image": image});
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin-credential-provider"));
        let ended = run(
            command.arg("--control").arg(&self.control),
            format!("{request}\n").as_bytes(),
        );
        if ended.code != 0 {
            return Err(format!("exit status {}: {}", ended.code, ended.err));
        }
        let answer: Value = serde_json::from_str(&ended.out).map_err(|error| error.to_string())?;
        if answer["apiVersion"] != self.version || answer["kind"] != "CredentialProviderResponse" {
            return Err(format!("another version: {answer}"));
        }
        let seconds = answer["cacheDuration"].as_str().unwrap();
        let seconds: u64 = seconds.strip_suffix('s').unwrap().parse().unwrap();
        let pair = |value: &Value| value.as_str().unwrap().to_owned();
        let auth = answer["auth"].as_object().unwrap();
        let config = auth.iter().map(|(key, value)| {
            let found = (pair(&value["username"]), pair(&value["password"]));
            (key.clone(), found)
        });
        Ok((
            config.collect(),
            pair(&answer["cacheKeyType"]),
            Duration::from_secs(seconds),
        ))
    }
}

/// Two providers as clouds have them, one for each version of the API; each writes a line when it
/// runs. `slow`: how long they take.
fn providers(world: &World, slow: &str) -> String {
    let folder = world.path("providers");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, version: &str, key: &str, secret: &str| {
        let file = folder.join(name);
        let runs = folder.join("runs");
        let auth = format!(
            r#"{{"kind":"CredentialProviderResponse","apiVersion":"{version}","cacheKeyType":"Registry","cacheDuration":"5m0s","auth":{{"{key}":{{"username":"AWS","password":"{secret}"}}}}}}"#
        );
        fs::write(
            &file,
            format!(
                "#!/bin/sh\nread -r request\necho {name} >> {}\nsleep {slow}\necho '{auth}'\n",
                runs.display()
            ),
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("ecr-credential-provider", V1, "*.test", SECRETS[0]);
    write("acr-credential-provider", V1BETA1, "r2.example", SECRETS[1]);
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": [
            {"name": "ecr-credential-provider", "matchImages": ["*.test"], "defaultCacheDuration": "12h", "apiVersion": V1},
            {"name": "acr-credential-provider", "matchImages": ["*.example"], "defaultCacheDuration": "10m", "apiVersion": V1BETA1},
        ],
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    format!(
        "{}[credentials]\nkubelet-config = \"{folder}/config.json\"\nkubelet-bin-dir = \"{folder}\"\n",
        world.config(),
        folder = folder.display(),
    )
}

fn runs(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("providers/runs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Beside the rule of the world: names that are exempt, bound, or may have no credentials.
fn policy(world: &World) -> String {
    fs::create_dir_all(world.path("policy/roots")).unwrap();
    let builder = include_str!("../data/keys/ed25519.pub");
    fs::write(world.path("policy/roots/builder.pub"), builder).unwrap();
    format!(
        "{}[[rule]]\nmatch = \"r.test/public/*\"\nroots = [\"acme\"]\ncredentials = false\n\
         [[root]]\nid = \"builder\"\ntype = \"cosign\"\nkeys = [\"roots/builder.pub\"]\n\
         [[rule]]\nmatch = \"r.test/signed/*\"\nroots = [\"builder\"]\ntags = \"unbound\"\n\
         [[exempt]]\nmatch = \"r.test/many/*\"\nuntil = 2026-12-31T00:00:00Z\nreason = \"x\"\n\
         [[exempt]]\nmatch = \"r.test/public/exempt\"\nuntil = 2026-12-31T00:00:00Z\nreason = \"x\"\n\
         [[exempt]]\nmatch = \"r2.example/many/*\"\nuntil = 2026-12-31T00:00:00Z\nreason = \"x\"\n\
         [[image]]\nname = \"r2.example/bound/app:1\"\ndigest = \"sha256:{}\"\n[limits]\nmax-exempt = \"3650d\"\n",
        world.policy(),
        "1".repeat(64)
    )
}

/// A world that signs `v1` of r.test/team/app, with providers.
fn world(name: &str, slow: &str, more: &str) -> Option<(World, Daemon)> {
    let world = World::new(name)?;
    world.write_policy(&format!("{}{more}", policy(&world)));
    world.sign(&format!("sha256:{}", "2".repeat(64)));
    let daemon = world.start_ready(&providers(&world, slow));
    Some((world, daemon))
}

#[test]
fn the_kubelet_gets_credentials_for_what_is_admitted_and_an_empty_answer_for_all_else() {
    let Some((world, _daemon)) = world("c-provider", "0", "") else {
        return;
    };
    for version in [V1, V1BETA1, V1ALPHA1] {
        let kubelet = Kubelet::new(&world, version);
        let pair = |secret: &str| ("AWS".to_owned(), secret.to_owned());
        // The kubelet names the repository alone; a tag and a digest are judged where one stands.
        for image in [
            "r.test/team/app",
            "r.test/team/app:v1",
            &format!("r.test/team/app@sha256:{}", "2".repeat(64)),
            "r.test/many/x",
        ] {
            let found = kubelet.provide(image);
            assert_eq!(found.get("*.test"), Some(&pair(SECRETS[0])), "{image}");
        }
        let found = kubelet.provide("r2.example/bound/app");
        assert_eq!(found.get("r2.example"), Some(&pair(SECRETS[1])));
        for image in [
            "r.test/team/unsigned",
            "r.test/team/app:v2",
            &format!("r.test/team/app@sha256:{}", "3".repeat(64)),
            "r.test/other/app",
            "evil.test/team/app",
            "r2.example.evil.test/bound/app",
            "r.test/public/exempt",
            "r.test/signed/app",
        ] {
            let begun = Instant::now();
            assert_eq!(kubelet.provide(image), DockerConfig::new(), "{image}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{image}");
        }
        assert_eq!(*kubelet.errors.lock().unwrap(), [""; 0]);
    }
    let asked = world.audit();
    let of = |name: &str| {
        let of = |record: &&Value| record["name"] == name && record["door"] == "credentials";
        asked
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{name} is not recorded"))
    };
    assert_eq!(of("r.test/team/app")["outcome"], "allowed");
    assert_eq!(of("r.test/team/unsigned")["let_through"], false);
    assert_eq!(of("r.test/other/app")["code"], "no-rule");
    let of_signatures = of("r.test/signed/app");
    let hint = of_signatures["hint"].as_str().unwrap();
    assert!(hint.contains("a root of type tuf"), "{of_signatures}");
    let withheld = asked
        .iter()
        .find(|record| record["event"] == "credentials-withheld");
    let withheld = withheld.expect("what the policy keeps back is not recorded");
    assert!(
        withheld["why"]
            .as_str()
            .unwrap()
            .contains("credentials = false")
    );
}

#[test]
fn a_thousand_pods_at_once_cost_one_run_of_each_provider_a_registry() {
    let Some((world, _daemon)) = world("c-thousand", "0.5", "") else {
        return;
    };
    let kubelet = Arc::new(Kubelet::new(&world, V1));
    let pods: Vec<_> = (0..1000)
        .map(|at| {
            let kubelet = Arc::clone(&kubelet);
            let registry = if at % 2 == 0 { "r.test" } else { "r2.example" };
            let image = format!("{registry}/many/app{}", at % 40);
            std::thread::spawn(move || kubelet.provide(&image).len())
        })
        .collect();
    for pod in pods {
        assert_eq!(pod.join().unwrap(), 1);
    }
    assert_eq!(*kubelet.runs.lock().unwrap(), 40, "one run for each image");
    let mut runs = runs(&world);
    runs.sort();
    assert_eq!(runs, ["acr-credential-provider", "ecr-credential-provider"]);
}

/// The row of `rootpin status` for those who ask for credentials.
fn row(world: &World, asker: &str) -> Option<Value> {
    let (status, _) = world.rootpin_json(&["status"]);
    let rows = status["doors"].as_array().unwrap().clone();
    rows.into_iter()
        .find(|row| row["door"] == "credentials" && row["engine"] == asker)
}

#[test]
fn status_and_metrics_tell_who_asked_for_credentials_and_what_came_of_it() {
    let Some((world, _daemon)) = world("c-status", "0", ROOTED) else {
        return;
    };
    let before = row(&world, "kubelet").expect("a row where kubelet-config is set");
    assert_eq!(
        (&before["state"], &before["last_question"]),
        (&json!("not checked"), &Value::Null)
    );
    assert_eq!(row(&world, "docker"), None, "no client has asked");
    let kubelet = Kubelet::new(&world, V1);
    for image in ["r.test/team/app", "r.test/many/x", "r.test/other/app"] {
        kubelet.provide(image);
    }
    // It may have credentials, and its provider is gone.
    fs::remove_file(world.path("providers/acr-credential-provider")).unwrap();
    kubelet.provide("r2.example/many/x");
    let docker = world.path("docker");
    for server in ["r.test", "evil.test", "evil2.test"] {
        helper(&world, &docker, "get", server, 0);
    }
    for (asker, given, withheld, failed) in [("kubelet", 2, 1, 1), ("docker", 1, 2, 0)] {
        let row = row(&world, asker).unwrap();
        let counted = (&row["given"], &row["withheld"], &row["failed"]);
        assert_eq!(
            counted,
            (&json!(given), &json!(withheld), &json!(failed)),
            "{asker}"
        );
        assert_eq!(row["state"], "proven");
        assert!(row["last_question"].as_str().unwrap().ends_with('Z'));
        let text = world.rootpin(&["status"]).out;
        let line = text.lines().find(|line| {
            line.starts_with("credentials") && line.split_whitespace().nth(1) == Some(asker)
        });
        let counts = format!("{given} given, {withheld} withheld, {failed} failed");
        assert!(line.unwrap().ends_with(&counts), "{text}");
        let metrics = world.rootpin(&["metrics"]).out;
        let sample = format!(
            "rootpin_credentials_total{{asker=\"{asker}\",outcome=\"withheld\"}} {withheld}\n"
        );
        assert!(metrics.contains(&sample), "{metrics}");
    }
}

#[test]
fn a_dead_rootpind_is_an_error_that_the_kubelet_understands_and_never_credentials() {
    let Some((world, daemon)) = world("c-dead", "0", "") else {
        return;
    };
    let kubelet = Kubelet::new(&world, V1);
    assert_eq!(kubelet.provide("r.test/team/app").len(), 1);
    assert_eq!(daemon.stop().0, 0);
    let fresh = Kubelet::new(&world, V1);
    assert_eq!(fresh.provide("r.test/team/app"), DockerConfig::new());
    let error = fresh.errors.lock().unwrap().concat();
    assert!(
        error.starts_with("exit status 1: rootpin-credential-provider: the daemon does not answer"),
        "{error}"
    );
}

#[test]
fn audit_mode_gives_credentials_and_records_what_it_would_have_kept_back() {
    let Some((world, _daemon)) = world("c-audit", "0", "") else {
        return;
    };
    let text = policy(&world).replace(
        "default = \"deny\"\n",
        "default = \"deny\"\nmode = \"audit\"\n",
    );
    world.write_policy(&text);
    world.rootpin_json(&["policy", "reload"]);
    let kubelet = Kubelet::new(&world, V1);
    assert_eq!(kubelet.provide("r.test/team/unsigned").len(), 1);
    let record = world.audit().pop().unwrap();
    assert_eq!(
        (&record["let_through"], &record["outcome"]),
        (&json!(true), &json!("refused"))
    );
}

/// Runs the helper as Docker's clients do.
fn helper(world: &World, docker: &Path, verb: &str, input: &str, user: u32) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"));
    command
        .arg(verb)
        .env("DOCKER_CONFIG", docker)
        .env("ROOTPIN_CONFIG", world.path("rootpin.toml"));
    if user != 0 {
        command.uid(user).gid(user);
    }
    run(&mut command, input.as_bytes())
}

const ROOTED: &str = "[credentials]\nonly-to = \"rooted\"\n";
const NOT_FOUND: &str = "credentials not found in native keychain\n";

fn helper_gives_only_what_the_policy_names(world: &World, docker: &Path, user: u32) {
    let ask = |verb: &str, input: &str| helper(world, docker, verb, input, user);
    let given = [
        "r.test",
        "https://r2.example",
        "r.test/team/app",
        "r.test/team",
    ];
    let withheld = [
        "r.test.evil.example",
        "https://r.test@evil.example",
        "r.test:444",
        "r.test/other",
        "r.test/public",
        "https://index.docker.io/v1/",
    ];
    for server in given.iter().chain(&withheld) {
        let input = json!({"ServerURL": server, "Username": "u", "Secret": SECRETS[2]});
        let stored = ask("store", &input.to_string());
        assert_eq!((stored.code, stored.out.as_str()), (0, ""), "{stored:?}");
    }
    for server in given {
        let found = ask("get", &format!("{server}\n"));
        let wanted = json!({"ServerURL": server, "Username": "u", "Secret": SECRETS[2]});
        assert_eq!(
            serde_json::from_str::<Value>(&found.out).unwrap(),
            wanted,
            "{found:?}"
        );
        assert_eq!((found.code, found.err.as_str()), (0, ""));
    }
    for server in withheld {
        let found = ask("get", server);
        assert_eq!(
            (found.code, found.out.as_str()),
            (1, NOT_FOUND),
            "{server}: {found:?}"
        );
        let said = format!("rootpin: credentials for {server} withheld: ");
        assert!(found.err.starts_with(&said), "{found:?}");
    }
    let listed: BTreeMap<String, String> = serde_json::from_str(&ask("list", "").out).unwrap();
    assert_eq!(listed.len(), given.len(), "{listed:?}");
    assert_eq!(ask("erase", "r.test").code, 0);
    assert_eq!(ask("get", "r.test").out, NOT_FOUND);
    assert_eq!(ask("get", "").out, "no credentials server URL\n");
    assert!(
        ask("version", "")
            .out
            .starts_with("docker-credential-rootpin (rootpin) ")
    );
    assert_eq!(ask("steal", "").code, 1);
}

#[test]
fn root_s_helper_asks_the_daemon_and_gives_nothing_while_it_is_away() {
    let Some((world, daemon)) = world("c-helper-root", "0", ROOTED) else {
        return;
    };
    let docker = world.path("docker");
    helper_gives_only_what_the_policy_names(&world, &docker, 0);
    let asked = world.audit();
    let events = asked
        .iter()
        .filter(|record| record["event"] == "credentials-withheld");
    let servers: Vec<_> = events
        .map(|record| record["server"].as_str().unwrap())
        .collect();
    assert!(servers.contains(&"r.test.evil.example"), "{servers:?}");
    // What is stored goes through whoever is away; what is asked for is an error.
    assert_eq!(daemon.stop().0, 0);
    let found = helper(&world, &docker, "get", "r2.example", 0);
    assert_eq!(found.code, 1);
    assert!(
        found.out.starts_with("rootpin: the daemon does not answer"),
        "{found:?}"
    );
}

#[test]
fn an_ordinary_user_s_helper_reads_the_host_s_policy_and_needs_no_daemon() {
    let Some((world, daemon)) = world("c-helper-user", "0", ROOTED) else {
        return;
    };
    assert_eq!(daemon.stop().0, 0);
    let docker = world.path("docker");
    fs::create_dir_all(&docker).unwrap();
    chown(&docker, Some(65534), Some(65534)).unwrap();
    let mut reach = Command::new("cat");
    let reach = run(reach.arg(world.path("policy/policy.toml")).uid(65534), b"");
    let mut program = Command::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"));
    if reach.code != 0 || program.arg("version").uid(65534).output().is_err() {
        // The build's folder is closed to others.
        return;
    }
    helper_gives_only_what_the_policy_names(&world, &docker, 65534);
    world.write_policy("version = 2\n");
    let found = helper(&world, &docker, "get", "r2.example", 65534);
    assert_eq!(found.code, 1);
    assert!(
        found.out.starts_with("rootpin: the policy in "),
        "{found:?}"
    );
}

#[test]
fn the_helper_behind_this_one_is_asked_and_its_errors_are_handed_on() {
    let Some((world, _daemon)) = world("c-helper-behind", "0", ROOTED) else {
        return;
    };
    let docker = world.path("docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(docker.join("rootpin-backend"), "behind\n").unwrap();
    let program = docker.join("docker-credential-behind");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\ninput=$(cat)\necho \"$1 $input\" >> {}\ncase $1 in get) echo '{{\"Username\":\"u\",\"Secret\":\"s\"}}';; list) echo '{{\"r.test\":\"u\",\"evil.test\":\"u\"}}';; erase) echo locked; exit 1;; esac\n",
            docker.join("log").display()
        ),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", docker.display(), std::env::var("PATH").unwrap());
    let ask = |verb: &str, input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"));
        command
            .arg(verb)
            .env("PATH", &path)
            .env("DOCKER_CONFIG", &docker)
            .env("ROOTPIN_CONFIG", world.path("rootpin.toml"));
        run(&mut command, input.as_bytes())
    };
    assert_eq!(
        ask("get", "r.test").out,
        "{\"Username\":\"u\",\"Secret\":\"s\"}\n"
    );
    assert_eq!(ask("get", "evil.test").out, NOT_FOUND);
    assert_eq!(ask("list", "").out, "{\"r.test\":\"u\"}\n");
    let erased = ask("erase", "r.test");
    assert_eq!((erased.code, erased.out.as_str()), (1, "locked\n"));
    assert_eq!(ask("store", "{}").code, 0);
    let log = fs::read_to_string(docker.join("log")).unwrap();
    assert_eq!(
        log, "get r.test\nlist \nerase r.test\nstore {}\n",
        "the other one is not asked for evil.test"
    );
    // A helper that would ask itself for ever.
    fs::write(docker.join("rootpin-backend"), "rootpin").unwrap();
    assert!(ask("get", "r.test").out.contains("names no other helper"));
}

#[test]
fn the_policy_s_explanation_says_who_gets_credentials() {
    let Some((world, _daemon)) = world("c-explain", "0", ROOTED) else {
        return;
    };
    let (given, _) = world.rootpin_json(&["policy", "explain", "r.test/team/app:v1"]);
    assert_eq!(
        (&given["credentials"], &given["without_credentials"]),
        (&json!(true), &Value::Null)
    );
    let (none, _) = world.rootpin_json(&["policy", "explain", "r.test/public/x:1"]);
    assert_eq!(none["credentials"], false);
    let text = world.rootpin(&["policy", "explain", "evil.test/x:1"]).out;
    assert!(
        text.contains("credentials  none: no rule of the policy names evil.test/x"),
        "{text}"
    );
}

#[test]
fn no_secret_is_in_anything_that_a_full_run_writes() {
    let Some(world) = World::new("c-secrets") else {
        return;
    };
    world.write_policy(&format!("{}{ROOTED}", policy(&world)));
    world.sign(&format!("sha256:{}", "2".repeat(64)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
    command
        .args(["--config", world.path("rootpin.toml").to_str().unwrap()])
        .env("ROOTPIN_LOG", "trace");
    let daemon = world.start_by(&providers(&world, "0"), &mut command);
    assert_eq!(daemon.notice(), "READY=1");
    let kubelet = Kubelet::new(&world, V1);
    assert!(!kubelet.provide("r.test/team/app").is_empty());
    assert!(!kubelet.provide("r2.example/many/x").is_empty());
    kubelet.provide("r.test/team/unsigned");
    let docker = world.path("docker");
    helper_gives_only_what_the_policy_names(&world, &docker, 0);
    let mut said = String::new();
    for words in [
        &["status"][..],
        &["metrics"],
        &["state", "show"],
        &["policy", "explain", "r.test/team/app"],
        &["verify", "r.test/team/app:v1"],
    ] {
        let ended = world.rootpin(words);
        said.push_str(&ended.out);
        said.push_str(&ended.err);
    }
    // Nobody but the kubelet's own program gets them of the control socket: not the archive that is
    // sent to strangers.
    let archive = world.path("support.tar");
    let toml = world.path("rootpin.toml");
    let ended = world.rootpin(&[
        "support",
        "--config",
        toml.to_str().unwrap(),
        "--out",
        archive.to_str().unwrap(),
    ]);
    assert!(archive.exists(), "{ended:?}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert!(
        cores.split_whitespace().filter(|word| *word == "0").count() == 2,
        "{cores}"
    );
    said += &daemon.stop().1.join("\n");
    assert!(said.contains("r.test/team/app"), "nothing was said");
    let mut files = 0;
    let mut folders = vec![world.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The cloud's programs, and the user's own keychain.
                if path != world.path("providers") && path != docker {
                    folders.push(path);
                }
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                said += &String::from_utf8_lossy(&bytes);
                files += 1;
            }
        }
    }
    assert!(files > 4, "{files} files");
    let encoded = [
        STANDARD.encode(format!("u:{}", SECRETS[2])),
        STANDARD.encode(format!("AWS:{}", SECRETS[0])),
    ];
    let encoded = encoded.iter().map(String::as_str);
    for secret in SECRETS.into_iter().chain(encoded) {
        assert!(!said.contains(secret), "{secret}");
    }
}

/// A registry that has `v1` of team/app, and answers only who knows the password; and whether each
/// request brought it.
fn private(world: &World) -> (Registry, Arc<Mutex<Vec<bool>>>, String) {
    let registry = world.runtime.block_on(Registry::start());
    let manifest = br#"{"schemaVersion":2}"#.to_vec();
    let digest = Digest::of(&manifest).to_string();
    let tag = ("v1".to_owned(), manifest);
    registry.held.lock().unwrap().tags.extend([tag]);
    let basic = format!("Basic {}", STANDARD.encode(format!("u:{}", SECRETS[2])));
    let sent: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = Arc::clone(&sent);
    registry.quirk(move |asked, _| {
        seen.lock().unwrap().push(asked.authorization.is_some());
        (asked.authorization != Some(&basic))
            .then(|| response(401, &[("www-authenticate", "Basic realm=x")], ""))
    });
    (registry, sent, digest)
}

#[test]
fn verify_and_repo_take_credentials_as_rootpin_toml_names_them_and_as_systemd_passes_them() {
    let Some(world) = World::new("c-commands") else {
        return;
    };
    let (registry, sent, digest) = private(&world);
    let host = format!("127.0.0.1:{}", registry.port);
    let name = format!("{host}/team/app:v1");
    world.write_policy(&format!(
        "version = 1\ndefault = \"deny\"\n{ROOTED}[[image]]\nname = \"{name}\"\ndigest = \"{digest}\"\n"
    ));
    let auth = STANDARD.encode(format!("u:{}", SECRETS[2]));
    let folder = world.path("passed");
    fs::create_dir_all(&folder).unwrap();
    for file in ["registries", "auth.json", "config.json"] {
        let text = json!({"auths": {&host: {"auth": auth}}}).to_string();
        fs::write(folder.join(file), text).unwrap();
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let shown = folder.display().to_string();
    let at = |name: &str| world.path(name).display().to_string();
    let command = |words: &[&str], passed: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(words)
            .current_dir(&world.dir)
            .env("ROOTPIN_PASSPHRASE", "a passphrase")
            .env_remove("CREDENTIALS_DIRECTORY");
        if let Some(passed) = passed {
            command.env("CREDENTIALS_DIRECTORY", passed);
        }
        run(&mut command, b"")
    };
    for (number, (config, passed, code)) in [
        ("[credentials]\nsystemd = \"registries\"\n".to_owned(), true, 0),
        ("[credentials]\nsystemd = \"registries\"\n".to_owned(), false, 2),
        ("[credentials]\nsystemd = \"others\"\n".to_owned(), true, 2),
        (format!("[credentials]\nauth-file = \"{shown}/auth.json\"\n"), false, 0),
        (format!("docker-config = \"{shown}\"\n"), false, 0),
        (
            format!("docker-config = \"{shown}\"\n[credentials]\nsystemd = \"others\"\norder = [\"systemd\"]\n"),
            true,
            2,
        ),
        (String::new(), true, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let file = at(&format!("config-{number}.toml"));
        fs::write(&file, &config).unwrap();
        let (policy, state) = (at("policy"), at(&format!("own-state-{number}")));
        let passed = passed.then_some(&*folder);
        let words = ["verify", &name, "--policy", &policy, "--state", &state, "--config", &file];
        let ended = command(&words, passed);
        assert_eq!(ended.code, code, "{config}: {ended:?}");
        assert!(!format!("{ended:?}").contains(SECRETS[2]), "{ended:?}");
        // The publisher's side.
        sent.lock().unwrap().clear();
        let (repo, place) = (format!("repo-{number}"), format!("oci://{host}/trust/t{number}"));
        let names = format!("{host}/team/**");
        let words = [
            "repo", "--config", &file, "init", &repo, "--names", &names, "--publish", &place,
        ];
        let ended = command(&words, passed);
        let was_sent = sent.lock().unwrap().contains(&true);
        assert_eq!(was_sent, code == 0, "{config}: {ended:?}");
        assert!(!format!("{ended:?}").contains(SECRETS[2]), "{ended:?}");
    }
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_rootpind"));
    daemon
        .args(["--config", &at("rootpin.toml")])
        .env("CREDENTIALS_DIRECTORY", &folder);
    let config = format!(
        "{}[credentials]\nsystemd = \"registries\"\n",
        world.config()
    );
    let daemon = world.start_by(&config, &mut daemon);
    assert_eq!(daemon.notice(), "READY=1");
    let ended = world.rootpin(&["verify", &name]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!daemon.stop().1.join("\n").contains(SECRETS[2]));
}

#[test]
fn verify_by_a_policy_of_its_own_keeps_back_what_that_policy_keeps_back() {
    let Some(world) = World::new("c-verify") else {
        return;
    };
    let (registry, sent, _) = private(&world);
    let host = format!("127.0.0.1:{}", registry.port);
    let auth = STANDARD.encode(format!("u:{}", SECRETS[2]));
    let docker = world.path("docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(
        docker.join("config.json"),
        json!({"auths": {&host: {"auth": auth}}}).to_string(),
    )
    .unwrap();
    let rule = |more: &str| {
        world.write_policy(&format!(
            "{}[[rule]]\nmatch = \"{host}/team/*\"\nroots = [\"acme\"]\n{more}",
            world.policy()
        ));
    };
    for (more, wanted) in [("", true), ("credentials = false\n", false)] {
        rule(more);
        sent.lock().unwrap().clear();
        let at = |name: &str| world.path(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(["verify", &format!("{host}/team/app:v1")])
            .args([
                "--policy",
                &at("policy"),
                "--state",
                &at("own-state"),
                "--docker-config",
                &at("docker"),
            ]);
        let ended = run(&mut command, b"");
        assert_ne!(ended.code, 0, "nobody signed it: {ended:?}");
        let sent = sent.lock().unwrap().clone();
        assert!(!sent.is_empty(), "the registry is asked: {ended:?}");
        assert_eq!(sent.contains(&true), wanted, "{more}: {ended:?}");
    }
}

#[test]
fn a_helper_in_a_hostile_folder_runs_no_other_program_and_waits_for_nobody() {
    let Some((world, _daemon)) = world("c-hostile", "0", ROOTED) else {
        return;
    };
    let docker = world.path("docker");
    fs::create_dir_all(&docker).unwrap();
    let evil = docker.join("evil");
    fs::write(
        &evil,
        format!("#!/bin/sh\ntouch {}\n", docker.join("ran").display()),
    )
    .unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(&evil, docker.join("docker-credential-evil")).unwrap();
    let ask = |verb: &str| {
        let input = match verb {
            "store" => json!({"ServerURL": "r.test", "Username": "u", "Secret": "s"}).to_string(),
            _ => "r.test".to_owned(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"));
        // A relative folder in PATH is the place from where somebody runs docker.
        command
            .arg(verb)
            .current_dir(&docker)
            .env("PATH", ".:/usr/bin:/bin")
            .env("DOCKER_CONFIG", &docker)
            .env("ROOTPIN_CONFIG", world.path("rootpin.toml"));
        let ended = run(&mut command, input.as_bytes());
        assert!(!docker.join("ran").exists(), "{verb}: {ended:?}");
        ended
    };
    let backend = docker.join("rootpin-backend");
    let fifo = |path: &Path| {
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o644.into(), 0).unwrap();
    };
    for name in [
        "../evil",
        "/bin/../evil",
        "x; ./evil",
        "$(./evil)",
        "",
        "rootpin",
        "docker-credential-rootpin",
        "evil",
        &"x".repeat(1000),
    ] {
        fs::write(&backend, name).unwrap();
        for verb in ["get", "list", "store", "erase"] {
            let ended = ask(verb);
            assert_eq!(ended.code, 1, "{name} {verb}: {ended:?}");
        }
    }
    fs::remove_file(&backend).unwrap();
    fifo(&backend);
    assert!(ask("get").out.contains("not a plain file"));
    fs::remove_file(&backend).unwrap();
    let chain = docker.join("rootpin-credentials.json");
    fifo(&chain);
    assert!(ask("get").out.contains("not a plain file"));
    fs::remove_file(&chain).unwrap();
    fs::write(&chain, " ".repeat(2 << 20)).unwrap();
    assert!(ask("get").out.contains("longer than"));
    fs::write(&chain, r#"{"auths":{"r.test":{"auth":"aHVudGVyMg=="}}}"#).unwrap();
    let ended = ask("get");
    assert!(ended.code == 1 && !ended.out.contains("aHVu"), "{ended:?}");
}

#[test]
fn a_user_without_rights_gets_nothing_of_the_control_socket() {
    let Some((world, _daemon)) = world("c-user", "0", "") else {
        return;
    };
    let request =
        json!({"kind": "CredentialProviderRequest", "apiVersion": V1, "image": "r.test/team/app"});
    let ask = |user: u32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin-credential-provider"));
        command.arg("--control").arg(world.path("control"));
        if user != 0 {
            command.uid(user).gid(user);
        }
        let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&mut command, request.to_string().as_bytes())
        }));
        spawned.ok()
    };
    assert!(ask(0).unwrap().out.contains(SECRETS[0]));
    // The build's folder may be closed to others.
    if let Some(ended) = ask(65534) {
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    }
}

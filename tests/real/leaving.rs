//! The walk of docs/from-docker-content-trust.md, as it is typed: the document's own commands, on a
//! repository that the real `docker trust` signed and a trust directory that the real client wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use rootpin_trust::image::Digest;

use crate::daemon::{Daemon, Policy};
use crate::dockerd::Dockerd;
use crate::image::Image;
use crate::lab::{Lab, run, write};
use crate::say;

const GUIDE: &str = "docs/from-docker-content-trust.md";

/// The root key's ID that the guide has.
const ROOT_KEY: &str = "30ff07203524acdab8e653ac2fdc39817dd51afb50adaf0d6f923643f1ad8db0";

/// The commands of the blocks that are marked with this word, in their order.
fn commands(who: &str) -> Vec<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let text = fs::read_to_string(guide).unwrap();
    let mut found = Vec::new();
    for block in text.split(&format!("```console {who}\n")).skip(1) {
        let lines = block.split("```").next().unwrap().lines();
        found.extend(lines.filter_map(|line| Some(line.strip_prefix("$ ")?.to_owned())));
    }
    found
}

/// One machine of the walk: the folder in which commands are typed, and what stands for what the
/// guide names.
struct Machine<'lab> {
    lab: &'lab Lab,
    folder: PathBuf,
    stands_for: Vec<(String, String)>,
}

impl<'lab> Machine<'lab> {
    fn new(lab: &'lab Lab, name: &str) -> Self {
        let folder = lab.root.join("leaving").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        let rootpin = folder.join("bin/rootpin");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rootpin"), rootpin).unwrap();
        let control = lab.sockets().join("control.sock");
        let control = format!("rootpin --control {} ", control.display());
        let stands_for = [
            (
                "https://notary.example",
                lab.var("LAB_NOTARY_URL").to_owned(),
            ),
            ("registry.example", lab.var("LAB_REGISTRY").to_owned()),
            ("rootpin policy explain", format!("{control}policy explain")),
            ("rootpin verify", format!("{control}verify")),
        ];
        Self {
            lab,
            folder,
            stands_for: stands_for
                .map(|(word, place)| (word.to_owned(), place))
                .into(),
        }
    }

    fn stands_for(&mut self, word: &str, place: &str) {
        self.stands_for.push((word.to_owned(), place.to_owned()));
    }

    fn typed(&self, command: &str) -> String {
        let replaced = self.stands_for.iter();
        replaced.fold(command.to_owned(), |text, (word, place)| {
            text.replace(word, place)
        })
    }

    /// Types a command; its words, as success or failure.
    fn run(&self, command: &str) -> Result<String, String> {
        let path = format!(
            "{}:{}:{}",
            self.folder.join("bin").display(),
            self.lab.path("LAB_BIN2").display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &self.typed(command)])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("HOME", &self.folder)
            .env("DOCKER_HOST", self.lab.var("LAB_DOCKERD28"))
            .env("SSL_CERT_FILE", self.lab.var("LAB_NOTARY_CA"))
            .env("ROOTPIN_PASSPHRASE", "a passphrase");
        let Output {
            status,
            stdout,
            stderr,
        } = shell.output().unwrap();
        let words = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let words = words.concat();
        if status.success() {
            Ok(words)
        } else {
            Err(format!("{command}: {words}"))
        }
    }

    /// The policy in a folder here.
    fn policy(&self, folder: &str) -> Policy {
        let folder = self.folder.join(folder);
        let mut files: Vec<PathBuf> = vec![folder.join("policy.toml")];
        let roots = fs::read_dir(folder.join("roots")).unwrap();
        files.extend(roots.map(|entry| entry.unwrap().path()));
        let named = |file: PathBuf| {
            let name = file.strip_prefix(&folder).unwrap().to_str().unwrap();
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            (name, fs::read_to_string(&file).unwrap())
        };
        files.into_iter().map(named).collect()
    }
}

/// Docker's own client of the last version that signs, with a folder of its own.
fn docker26(lab: &Lab, config: &Path, words: &[&str], checks: bool) -> Output {
    let mut command = Command::new(lab.path("LAB_BIN17").join("docker"));
    command
        .args(words)
        .env("DOCKER_HOST", lab.var("LAB_DOCKERD26_OVERLAY2"))
        .env("DOCKER_CONFIG", config)
        .env("DOCKER_CONTENT_TRUST_SERVER", lab.var("LAB_NOTARY_URL"))
        .env("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "root words")
        .env(
            "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
            "repository words",
        );
    if checks {
        command.env("DOCKER_CONTENT_TRUST", "1");
    }
    command.output().unwrap()
}

fn done(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A repository that alice signs by `docker trust`, and one tag that nobody signed. Returns its
/// root key's ID, as the publisher has it.
fn signed_by_docker(lab: &Lab, gun: &str, config: &Path) -> String {
    let ca = fs::read(lab.path("LAB_CA")).unwrap();
    let server = lab.var("LAB_NOTARY_URL").trim_start_matches("https://");
    write(&config.join("tls").join(server).join("ca.crt"), &ca);
    let folder = config.to_str().unwrap();
    done(&docker26(
        lab,
        config,
        &["trust", "key", "generate", "alice", "--dir", folder],
        false,
    ));
    let public = config.join("alice.pub").display().to_string();
    let words = ["trust", "signer", "add", "--key", &public, "alice", gun];
    done(&docker26(lab, config, &words, false));
    for tag in ["v1", "v2"] {
        let name = format!("{gun}:{tag}");
        lab.push(&Image::manifest(&format!("leaving {tag}")), &name);
        done(&docker26(lab, config, &["pull", "-q", &name], false));
        done(&docker26(lab, config, &["trust", "sign", &name], false));
    }
    lab.push(
        &Image::manifest("leaving unsigned"),
        &format!("{gun}:unsigned"),
    );
    let keys = fs::read_dir(config.join("trust/private")).unwrap();
    let mut roots = keys.map(|entry| entry.unwrap().path()).filter(|file| {
        let text = fs::read_to_string(file).unwrap();
        text.contains("role: root")
    });
    let root = roots.next().unwrap();
    root.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_guide_leads_off_docker_content_trust_as_it_is_typed() {
    let lab = Lab::start();
    lab.script(&["start", "dockerd26-overlay2"]);
    let gun = format!("{}/team/app", lab.var("LAB_REGISTRY"));
    let (unsigned, signed) = (format!("{gun}:unsigned"), format!("{gun}:v1"));
    let publisher_config = lab.root.join("leaving-publisher");
    let _ = fs::remove_dir_all(&publisher_config);
    let root_key = signed_by_docker(&lab, &gun, &publisher_config);

    let mut consumer = Machine::new(&lab, "consumer");
    // The client's first pull of a signed tag is what fills a trust directory.
    let home = consumer.folder.join(".docker");
    let tls = home.join("tls");
    run(Command::new("mkdir").arg("-p").arg(&tls));
    run(Command::new("cp")
        .arg("-r")
        .arg(publisher_config.join("tls/."))
        .arg(&tls));
    done(&docker26(&lab, &home, &["pull", "-q", &signed], true));
    assert!(
        !docker26(&lab, &home, &["pull", "-q", &unsigned], true)
            .status
            .success()
    );
    consumer.stands_for(ROOT_KEY, &root_key);

    let begun = Instant::now();
    let dockerd = Dockerd::new(&lab, "dockerd28");
    let (mut daemon, typed) = (None, commands("consumer"));
    assert!((1..=10).contains(&typed.len()), "{typed:?}");
    for command in &typed {
        match command.as_str() {
            // The lab's daemon and dockerd have their files elsewhere: what is copied is taken from
            // the proposal, and dockerd is configured as `install` does it.
            "cp -r proposal/. /etc/rootpin"
            | "rootpin install --platform docker"
            | "rootpin state acknowledge" => continue,
            "systemctl enable --now rootpind" => {
                let policy = consumer.policy("proposal");
                daemon = Some(Daemon::with(&lab, &policy, &dockerd.config()));
                continue;
            }
            "systemctl restart containerd docker" => {
                dockerd.start(&lab);
                dockerd.cool();
                continue;
            }
            _ => {}
        }
        let result = consumer.run(command);
        if command.ends_with("# refused") {
            let words = result.expect_err(command);
            assert!(
                words.contains("authorization denied by plugin") && words.contains("no-statement"),
                "{words}"
            );
        } else {
            let words = result.unwrap_or_else(|words| panic!("{words}"));
            if command.starts_with("rootpin import") {
                assert!(words.contains("the server shows now"), "{words}");
                assert!(words.contains("the same key"), "{words}");
            }
        }
    }
    assert!(dockerd.has(&signed) && !dockerd.has(&unsigned));
    say(&format!(
        "{:5.1} s  the consumer's {} commands",
        begun.elapsed().as_secs_f32(),
        typed.len()
    ));
    drop(daemon.take());
    publish(&lab, &gun, &root_key);
}

/// The publisher's part: the same tags are allowed by the new root once the server is stopped.
fn publish(lab: &Lab, gun: &str, root_key: &str) {
    let mut daemon = None;
    let mut publisher = Machine::new(lab, "publisher");
    publisher.stands_for(ROOT_KEY, root_key);
    let place = publisher.folder.join("srv");
    publisher.stands_for("file:///srv/trust", &format!("file://{}", place.display()));
    publisher.stands_for(
        "rootpin pin add trust ",
        "rootpin pin add trust --policy policy ",
    );
    fs::create_dir_all(publisher.folder.join("policy")).unwrap();
    let typed = commands("publisher");
    assert!((1..=6).contains(&typed.len()), "{typed:?}");
    let begun = Instant::now();
    for command in &typed {
        if command.starts_with("rootpin pin add") {
            let root = fs::read(publisher.folder.join("trust/root.json")).unwrap();
            let sample = command.rsplit(' ').next().unwrap();
            publisher.stands_for(sample, &Digest::of(&root).hex());
        }
        if command.starts_with("rootpin verify") {
            lab.script(&["stop", "notary"]);
            let policy = publisher.policy("policy");
            daemon = Some(Daemon::start(lab, &policy));
        }
        let words = publisher.run(command);
        words.unwrap_or_else(|words| panic!("{words}"));
    }
    say(&format!(
        "{:5.1} s  the publisher's {} commands",
        begun.elapsed().as_secs_f32(),
        typed.len()
    ));
    for tag in ["v1", "v2"] {
        let command = format!("rootpin verify registry.example/team/app:{tag}");
        publisher
            .run(&command)
            .unwrap_or_else(|words| panic!("{words}"));
    }
    let refused = publisher.run("rootpin verify registry.example/team/app:unsigned");
    assert!(refused.unwrap_err().contains("no-statement"));
    let listed = publisher
        .run("rootpin repo --repo trust delegate list")
        .unwrap();
    assert!(
        listed.contains("alice (") && listed.contains(&format!("{gun}:*")),
        "{listed}"
    );
    drop(daemon.take());
}

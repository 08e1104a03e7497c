//! The resolver, asked by real engines: what a tag is when the registry says something else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use containerd_client::services::v1::GetImageRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use tonic::Request;

use crate::cold;
use crate::cri;
use crate::daemon::Daemon;
use crate::doctor::{examined_by, the_daemon_s};
use crate::image::Image;
use crate::lab::{Lab, run};
use crate::own::{Own, push_signed};
use crate::rows::gun;
use crate::say;

/// Who reads `hosts.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Ctr17,
    Ctr2,
    Local2,
    Cri17,
    Cri2,
    Docker28,
}

const ENGINES: [Engine; 6] = [
    Engine::Ctr17,
    Engine::Ctr2,
    Engine::Local2,
    Engine::Cri17,
    Engine::Cri2,
    Engine::Docker28,
];

impl Engine {
    fn version(self) -> (&'static str, &'static str) {
        match self {
            Self::Ctr17 | Self::Cri17 => ("LAB_CONTAINERD17", "LAB_BIN17"),
            Self::Ctr2 | Self::Local2 | Self::Cri2 | Self::Docker28 => {
                ("LAB_CONTAINERD2", "LAB_BIN2")
            }
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Ctr17 | Self::Ctr2 | Self::Local2 => "default",
            Self::Cri17 | Self::Cri2 => "k8s.io",
            Self::Docker28 => "moby",
        }
    }

    fn channel(self, lab: &Lab) -> tonic::transport::Channel {
        lab.runtime
            .block_on(containerd_client::connect(lab.path(self.version().0)))
            .unwrap()
    }

    fn cool(self, lab: &Lab) {
        let channel = self.channel(lab);
        lab.runtime.block_on(cold::forget(&channel));
    }

    /// An engine that missed the gate a moment ago may wait up to three seconds before it looks
    /// again.
    fn pull_when_connected(self, lab: &Lab, name: &str) -> Result<String, String> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.pull(lab, name) {
                Err(words) if words.contains("gate.sock: ") && Instant::now() < end => {}
                result => return result,
            }
        }
    }

    fn pull(self, lab: &Lab, name: &str) -> Result<String, String> {
        let mut ctr = Command::new(lab.path(self.version().1).join("ctr"));
        ctr.arg("-a")
            .arg(lab.path(self.version().0))
            .args(["images", "pull"]);
        match self {
            Self::Ctr17 | Self::Ctr2 => words(ctr.arg("--hosts-dir").arg(certs(lab)).arg(name)),
            Self::Local2 => words(
                ctr.arg("--local")
                    .arg("--hosts-dir")
                    .arg(certs(lab))
                    .arg(name),
            ),
            Self::Cri17 | Self::Cri2 => {
                let channel = self.channel(lab);
                lab.runtime.block_on(cri::pull_image(channel, name))
            }
            Self::Docker28 => words(docker(lab).args(["pull", name])),
        }
    }

    /// The digest under which it has the name.
    fn digest(self, lab: &Lab, name: &str) -> Option<String> {
        let mut images = ImagesClient::new(self.channel(lab));
        let mut request = Request::new(GetImageRequest {
            name: name.to_owned(),
        });
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace().parse().unwrap());
        let found = lab.runtime.block_on(images.get(request)).ok()?.into_inner();
        Some(found.image?.target?.digest)
    }
}

fn certs(lab: &Lab) -> PathBuf {
    lab.root.join("etc/certs.d")
}

fn docker(lab: &Lab) -> Command {
    let mut docker = Command::new(lab.path("LAB_BIN2").join("docker"));
    docker.env("DOCKER_HOST", lab.var("LAB_DOCKERD28"));
    docker
}

fn words(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    if output.status.success() {
        Ok(words)
    } else {
        Err(words)
    }
}

/// The lab with the registry's file as `rootpin hosts write` makes it. Taken away again when
/// dropped, as other tests know no resolver.
struct Closed {
    lab: Lab,
}

impl Closed {
    fn start() -> Self {
        let lab = Lab::start();
        let _ = fs::remove_dir_all(certs(&lab));
        let mut write = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        run(write
            .args([
                "hosts",
                "write",
                lab.var("LAB_REGISTRY"),
                "--resolver",
                lab.var("LAB_RESOLVER"),
                "--dir",
            ])
            .arg(certs(&lab)));
        lab.docker_with_certs();
        Self { lab }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(certs(&self.lab));
    }
}

/// That the doctor tells where the registry's file is missing, and nothing where it is as `rootpin
/// hosts write` made it.
fn assert_hosts_are_looked_at(lab: &Lab) {
    let told = |engine| examined_by(lab, &the_daemon_s(lab), engine, &[]);
    let away = certs(lab).with_extension("away");
    for open in [false, true] {
        for engine in ["containerd17", "containerd2"] {
            let (codes, value) = told(engine);
            assert_eq!(
                codes.iter().any(|code| code == "hosts-open"),
                open,
                "{engine}: {value:#}"
            );
        }
        if !open {
            fs::rename(certs(lab), &away).unwrap();
        }
    }
    fs::rename(&away, certs(lab)).unwrap();
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_tag_is_what_is_signed_in_every_engine_that_reads_hosts_toml() {
    let closed = Closed::start();
    let lab = &closed.lab;
    for (number, engine) in ENGINES.into_iter().enumerate() {
        let repository = format!("real/resolver{number}");
        let (own, name) = (
            Own::new(lab, &gun(lab, &repository)),
            lab.name(&repository, "v1"),
        );
        let image = |salt: &str| Image::index(&format!("{repository} {salt}"));
        let (first, second, evil) = (image("first"), image("second"), image("evil"));
        push_signed(&own, "v1", &first);
        let mut daemon = Daemon::start(lab, &own.policy(&[]));
        if number == 0 {
            assert_hosts_are_looked_at(lab);
        }
        engine.cool(lab);
        let pull = |name: &str| engine.pull_when_connected(lab, name);
        let has = || engine.digest(lab, &name);

        // The registry shows bytes that nobody signed.
        lab.push(&evil, &name);
        pull(&name).unwrap_or_else(|words| panic!("{engine:?}: {words}"));
        assert_eq!(has(), Some(first.digest()), "{engine:?}");
        let asked = daemon.asked("resolver");
        assert!(
            !asked.is_empty() && asked.iter().all(|question| question.outcome() == "allowed"),
            "{engine:?}: {asked:?}"
        );

        // A tag that nobody signed is refused, in our words, and not by the registry's answer.
        let unsigned = lab.name(&repository, "v2");
        lab.push(&evil, &unsigned);
        let said = pull(&unsigned).unwrap_err();
        assert!(
            said.contains("rootpin: refused") && said.contains("no-statement"),
            "{engine:?}: {said}"
        );
        assert_eq!(engine.digest(lab, &unsigned), None);

        // Back at an older signed image, all layers of which are there: no gate would be asked.
        push_signed(&own, "v1", &second);
        pull(&name).unwrap_or_else(|words| panic!("{engine:?}: {words}"));
        assert_eq!(has(), Some(second.digest()), "{engine:?}");
        lab.push(&first, &name);
        let before = daemon.asked("gate").len() + daemon.asked("apply").len();
        pull(&name).unwrap_or_else(|words| panic!("{engine:?}: {words}"));
        assert_eq!(has(), Some(second.digest()), "{engine:?} went back");
        assert_eq!(
            daemon.asked("gate").len() + daemon.asked("apply").len(),
            before,
            "{engine:?}: no layer is new"
        );

        // Registry and trust metadata are gone: policy, cache and what is resident are enough.
        daemon.stop();
        lab.script(&["stop", "registry"]);
        daemon = Daemon::restart(lab, &own.policy(&[]));
        let offline = pull(&name);
        lab.script(&["start", "registry"]);
        offline.unwrap_or_else(|words| panic!("{engine:?}, offline: {words}"));
        assert_eq!(has(), Some(second.digest()), "{engine:?}, offline");

        // Without a resolver there is no other word.
        daemon.stop();
        assert!(
            engine.pull(lab, &name).is_err(),
            "{engine:?} falls through to the registry"
        );
        say(&format!("ok    {engine:?}"));
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_build_begins_with_what_is_signed() {
    let closed = Closed::start();
    let lab = &closed.lab;
    let buildx = lab
        .path("LAB_BIN2")
        .join("../libexec/docker/cli-plugins/docker-buildx");
    if !buildx.exists() {
        say("not run: there is no docker-buildx beside docker");
        return;
    }
    let config = lab.root.join("docker-config");
    fs::create_dir_all(config.join("cli-plugins")).unwrap();
    let _ = fs::remove_file(config.join("cli-plugins/docker-buildx"));
    std::os::unix::fs::symlink(
        buildx.canonicalize().unwrap(),
        config.join("cli-plugins/docker-buildx"),
    )
    .unwrap();

    let repository = "real/resolver-build";
    let (own, name) = (
        Own::new(lab, &gun(lab, repository)),
        lab.name(repository, "v1"),
    );
    let (signed, evil) = (
        Image::index(repository),
        Image::index(&format!("{repository} evil")),
    );
    push_signed(&own, "v1", &signed);
    let daemon = Daemon::start(lab, &own.policy(&[]));
    Engine::Docker28.cool(lab);
    lab.push(&evil, &name);
    lab.push(&evil, &lab.name(repository, "v2"));
    let (context, made) = (lab.root.join("context"), lab.root.join("made.tar"));
    fs::create_dir_all(&context).unwrap();
    let build = |tag: &str| {
        fs::write(
            context.join("Dockerfile"),
            format!("FROM {}\nLABEL made=here\n", lab.name(repository, tag)),
        )
        .unwrap();
        let output = format!("type=tar,dest={}", made.display());
        let mut command = docker(lab);
        command.env("DOCKER_CONFIG", &config).args([
            "build",
            "--progress",
            "plain",
            "--no-cache",
            "--output",
            &output,
        ]);
        let end = Instant::now() + Duration::from_secs(5);
        command.arg(&context);
        loop {
            match words(&mut command) {
                Err(words) if words.contains("gate.sock: ") && Instant::now() < end => {}
                result => return result,
            }
        }
    };
    let said = build("v1").unwrap_or_else(|words| panic!("{words}"));
    assert!(said.contains(&signed.digest()), "{said}");
    let asked = daemon.asked("resolver");
    assert!(
        !asked.is_empty() && asked.iter().all(|question| question.outcome() == "allowed"),
        "{asked:?}"
    );
    let bytes = fs::read(&made).unwrap();
    let holds = |text: String| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        holds(format!("first layer of {repository}"))
            && !holds(format!("first layer of {repository} evil"))
    );
    let refused = build("v2").unwrap_err();
    assert!(
        refused.contains("rootpin: refused") && refused.contains("no-statement"),
        "{refused}"
    );
}

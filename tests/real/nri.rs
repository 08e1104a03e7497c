//! The run time: containers of real pods, asked about by real NRIs.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::transport::Channel;

use crate::cri;
use crate::daemon::{Daemon, Policy, engine};
use crate::doctor::{examined_by, the_daemon_s};
use crate::image::Image;
use crate::lab::{Lab, run, write};

/// A node: one engine, and the pause image that its pods have.
struct Node<'lab> {
    lab: &'lab Lab,
    engine: &'static str,
    channel: Channel,
    ctr: Command,
    pods: Vec<String>,
}

impl<'lab> Node<'lab> {
    fn new(lab: &'lab Lab, engine: &'static str) -> Self {
        let (socket, bin) = match engine {
            "containerd17" => ("LAB_CONTAINERD17", "LAB_BIN17"),
            "containerd23" => ("LAB_CONTAINERD23", "LAB_BIN23"),
            _ => ("LAB_CONTAINERD2", "LAB_BIN2"),
        };
        let channel = lab
            .runtime
            .block_on(containerd_client::connect(lab.path(socket)))
            .unwrap();
        let mut ctr = Command::new(lab.path(bin).join("ctr"));
        ctr.arg("-a")
            .arg(lab.path(socket))
            .args(["-n", "k8s.io", "images"]);
        Self {
            lab,
            engine,
            channel,
            ctr,
            pods: Vec::new(),
        }
    }

    fn ctr(&self, words: &[&str]) {
        let mut ctr = Command::new(self.ctr.get_program());
        run(ctr.args(self.ctr.get_args()).args(words));
    }

    /// Past every door: all its layers are there.
    fn import(&self, name: &str, image: &Image) {
        let archive = self.lab.root.join("nri.tar");
        write(&archive, image.archive(name));
        self.ctr(&["import", archive.to_str().unwrap()]);
        // CRI learns of it by an event.
        let end = Instant::now() + Duration::from_secs(10);
        while !self
            .lab
            .runtime
            .block_on(cri::knows_image(self.channel.clone(), name))
        {
            assert!(
                Instant::now() < end,
                "CRI of {} does not learn of {name}",
                self.engine
            );
        }
    }

    fn pod(&mut self, name: &str) -> Result<String, String> {
        let id = when_connected(|| {
            self.lab
                .runtime
                .block_on(cri::run_pod(self.channel.clone(), name))
        })?;
        self.pods.push(id.clone());
        Ok(id)
    }

    fn pull(&self, name: &str) {
        when_connected(|| {
            self.lab
                .runtime
                .block_on(cri::pull_image(self.channel.clone(), name))
        })
        .unwrap();
    }

    fn create(&self, pod: &str, image: &str, asked: &str) -> Result<String, String> {
        self.lab.runtime.block_on(cri::create_container(
            self.channel.clone(),
            "pod",
            pod,
            image,
            asked,
        ))
    }

    fn start(&self, container: &str) -> Result<(), String> {
        self.lab
            .runtime
            .block_on(cri::start_container(self.channel.clone(), container))
    }

    /// The status' row of this engine, once it is so.
    fn row(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut status = Command::new(env!("CARGO_BIN_EXE_rootpin"));
            let output = status
                .args(["status", "--json", "--control"])
                .arg(control(self.lab))
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            let rows = status["doors"].as_array().unwrap();
            let row = rows
                .iter()
                .find(|row| row["door"] == "run" && row["engine"] == self.engine)
                .unwrap();
            if wanted(row) {
                return row.clone();
            }
            assert!(Instant::now() < end, "{row}");
        }
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        for pod in &self.pods {
            let _ = self
                .lab
                .runtime
                .block_on(cri::remove_pod(self.channel.clone(), pod));
        }
    }
}

/// An engine that missed the gate a moment ago may wait up to three seconds before it looks again.
fn when_connected(call: impl Fn() -> Result<String, String>) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match call() {
            Err(words) if words.contains("connection error: desc") && Instant::now() < end => {}
            result => return result,
        }
    }
}

fn control(lab: &Lab) -> std::path::PathBuf {
    lab.sockets().join("control.sock")
}

/// Vouches for these names by itself, and revokes those digests.
fn policy(images: &[(&str, &Image)], revoked: &[&Image]) -> Policy {
    let mut text = "version = 1\ndefault = \"deny\"\n".to_owned();
    for (name, image) in images {
        let _ = write!(
            text,
            "[[image]]\nname = \"{name}\"\ndigest = \"{}\"\n",
            image.digest()
        );
    }
    for image in revoked {
        let _ = write!(
            text,
            "[[revoked]]\ndigest = \"{}\"\nreason = \"CVE-2026-0001\"\n",
            image.digest()
        );
    }
    vec![("policy.toml", text)]
}

fn change_policy(lab: &Lab, policy: &Policy) {
    write(&lab.root.join("rootpin/policy/policy.toml"), &policy[0].1);
    run(Command::new(env!("CARGO_BIN_EXE_rootpin"))
        .args(["policy", "reload", "--control"])
        .arg(control(lab)));
}

fn told(words: &str, code: &str) {
    assert!(
        words.contains("rootpin: refused ") && words.contains(&format!(": {code}: found ")),
        "{words}"
    );
    assert!(words.contains("; hint: "), "{words}");
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn nri_refuses_a_container_whose_image_is_no_longer_admitted() {
    let lab = Lab::start();
    for engine in ["containerd17", "containerd2"] {
        crate::say(engine);
        admitted_then_not(&lab, engine);
    }
}

fn admitted_then_not(lab: &Lab, engine: &'static str) {
    let (pause_name, pause) = (
        lab.name("lab/pause", "v1"),
        Image::that_waits("pause", "PART=pause"),
    );
    let (name, image) = (
        lab.name("real/run", "v1"),
        Image::that_waits(&format!("run on {engine}"), "FLAVOUR=good"),
    );
    let (evil_name, evil) = (
        lab.name("real/evil", "v1"),
        Image::that_waits(&format!("run on {engine}"), "FLAVOUR=evil"),
    );
    lab.push(&pause, &pause_name);
    lab.push(&image, &name);
    let mut node = Node::new(lab, engine);
    lab.runtime.block_on(crate::cold::forget(&node.channel));
    let newer = Image::that_waits(&format!("newer on {engine}"), "FLAVOUR=good");
    let good = policy(
        &[
            (&pause_name, &pause),
            (&name, &image),
            (&lab.name("real/run", "v2"), &newer),
        ],
        &[],
    );
    let daemon = Daemon::start(lab, &good);
    node.row(|row| row["state"] != "not checked");

    let pod = node.pod("pod").unwrap();
    node.pull(&name);
    // As a kubelet asks: by the image's ID, with the pod's own word beside it.
    let running = node.create(&pod, &image.id(), &name).unwrap();
    node.start(&running).unwrap();
    let created = node.create(&pod, &name, "").unwrap();
    node.row(|row| row["state"] == "proven");

    // An older image under a newer one's name, both of them vouched for: CRI keeps what the pod
    // asked for.
    let newer_name = lab.name("real/run", "v2");
    node.ctr(&["tag", &name, &newer_name]);
    let older = node.create(&pod, &image.id(), &newer_name).unwrap();
    told(&node.start(&older).unwrap_err(), "digest-mismatch");
    node.ctr(&["rm", "--sync", &newer_name]);

    // The same layers, and a configuration that nobody vouches for.
    node.import(&evil_name, &evil);
    for (image, asked) in [
        (evil.id(), ""),
        (evil.id(), evil_name.as_str()),
        (evil_name.clone(), ""),
    ] {
        let container = node
            .create(&pod, &image, asked)
            .expect("which of two images it is, is not known yet");
        told(&node.start(&container).unwrap_err(), "no-rule");
    }
    // Under the good one's name.
    node.ctr(&["tag", "--force", &evil_name, &name]);
    let container = node
        .create(&pod, &evil.id(), &name)
        .expect("the good one has a record by its digest still");
    told(&node.start(&container).unwrap_err(), "digest-mismatch");
    // The only one of its layers.
    let repository = name.trim_end_matches(":v1");
    node.ctr(&[
        "rm",
        "--sync",
        &name,
        &format!("{repository}@{}", image.digest()),
        &image.id(),
        &evil_name,
        &evil.id(),
    ]);
    node.import(&evil_name, &evil);
    told(&node.create(&pod, &evil.id(), "").unwrap_err(), "no-rule");

    node.pull(&name);
    change_policy(
        lab,
        &policy(&[(&pause_name, &pause), (&name, &image)], &[&image]),
    );
    told(
        &node.create(&pod, &image.id(), &name).unwrap_err(),
        "revoked",
    );
    told(&node.start(&created).unwrap_err(), "revoked");
    change_policy(lab, &policy(&[(&name, &image)], &[]));
    let words = node.create(&pod, &image.id(), &name).unwrap_err();
    told(&words, "no-rule");
    assert!(
        words.contains(&pause_name),
        "the pod's sandbox is of no image that is admitted: {words}"
    );

    // What runs on is told, when a plugin connects.
    drop(daemon);
    let revoked = policy(&[(&pause_name, &pause), (&name, &image)], &[&image]);
    let mut daemon = Daemon::start(lab, &revoked);
    let row = node.row(|row| !row["detail"].is_null() && row["state"] != "not checked");
    assert!(
        row["detail"].as_str().unwrap().contains("may not run: 1,"),
        "{row}"
    );

    // Below 2.2, containerd goes on without its plugin.
    daemon.kill();
    node.create(&pod, &image.id(), &name)
        .expect("NRI of this containerd fails open");
}

/// The first container after the plugin died is made in any case: containerd learns of it by asking
/// for that one.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_validator_that_is_not_enabled_lets_containers_be_made_without_rootpin_and_is_named_until_it_is()
 {
    const ENGINE: &str = "containerd23";
    let lab = Lab::start();
    if !lab.has_engines() {
        return crate::say(
            "ROOTPIN_ENGINES is not set: no containerd that can require an NRI plugin is tried",
        );
    }
    let (pause_name, pause) = (
        lab.name("lab/pause", "v1"),
        Image::that_waits("pause", "PART=pause"),
    );
    let (name, image) = (
        lab.name("real/validated", "v1"),
        Image::that_waits("validated", "FLAVOUR=good"),
    );
    lab.push(&pause, &pause_name);
    lab.push(&image, &name);
    let drop_in = lab.root.join(format!("etc/{ENGINE}.d/zz-nri.toml"));
    for enabled in [false, true] {
        let lines = format!("enable = {enabled}\nrequired_plugins = [\"rootpin\"]\n");
        write(
            &drop_in,
            format!("version = 3\n[plugins.'io.containerd.nri.v1.nri'.default_validator]\n{lines}"),
        );
        lab.script(&["stop", ENGINE]);
        lab.script(&["start", ENGINE]);
        let mut node = Node::new(&lab, ENGINE);
        let mut daemon = Daemon::with(
            &lab,
            &policy(&[(&pause_name, &pause), (&name, &image)], &[]),
            &engine(&lab, "23"),
        );
        node.row(|row| row["state"] != "not checked");
        let (codes, examined) = examined_by(&lab, &the_daemon_s(&lab), ENGINE, &[]);
        assert_eq!(
            codes.contains(&"nri-fails-open".to_owned()),
            !enabled,
            "{examined:#}"
        );
        let pod = node.pod("validated").unwrap();
        node.pull(&name);
        daemon.kill();
        let made: Vec<_> = (0..3)
            .map(|_| node.create(&pod, &image.id(), &name))
            .collect();
        let after_the_first = &made[1..];
        assert!(
            after_the_first.iter().all(|made| made.is_err() == enabled),
            "{made:?}"
        );
        assert!(
            !enabled
                || after_the_first.iter().all(|made| made
                    .as_ref()
                    .unwrap_err()
                    .contains("required plugin \"rootpin\"")),
            "{made:?}"
        );
    }
    std::fs::remove_file(drop_in).unwrap();
}

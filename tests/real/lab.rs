//! The lab that `lab.sh` runs: its paths, and what is pushed to its registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::runtime::Runtime;

pub(crate) use crate::command::run;
use crate::image::{Blob, Image};

pub(crate) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/lab.sh");

/// Stops its services when dropped.
pub(crate) struct Lab {
    pub(crate) root: PathBuf,
    pub(crate) runtime: Runtime,
    env: BTreeMap<String, String>,
    http: reqwest::Client,
}

impl Lab {
    /// Starts registry, notary and the engines, with the packaged drop-ins.
    pub(crate) fn start() -> Self {
        let lab = Self::here();
        if lab.has_engines() {
            lab.script(&["link-engines"]);
        }
        lab.install_doors();
        lab.script(&[
            "start",
            "registry",
            "notary",
            "containerd17",
            "containerd2",
            "dockerd28",
        ]);
        lab
    }

    /// Starts the registry alone.
    pub(crate) fn with_registry() -> Self {
        let lab = Self::here();
        lab.script(&["start", "registry"]);
        lab
    }

    /// Starts nothing.
    fn here() -> Self {
        let root = std::env::var("ROOTPIN_LAB").expect(
            "ROOTPIN_LAB is not set: run these tests by `tests/run`, or see `tests/real/lab.sh`",
        );
        let env = environment();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            root: root.into(),
            runtime,
            env,
            // A registry that hangs ends the test, by the name of what was pushed.
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(120))
                .build()
                .unwrap(),
        }
    }

    /// What `rootpin install` writes for this lab's engines, which need not run. The verifier is
    /// then a script, because rootpin-verifier takes another control socket only by argument.
    pub(crate) fn install_doors(&self) {
        let mut text = format!("control = {:?}\n", self.sockets().join("control.sock"));
        let newest =
            self.has_engines()
                .then_some(("containerd23", "LAB_CONTAINERD23", "LAB_BIN23"));
        let engines = [
            ("containerd17", "LAB_CONTAINERD17", "LAB_BIN17"),
            ("containerd2", "LAB_CONTAINERD2", "LAB_BIN2"),
        ]
        .into_iter()
        .chain(newest);
        for (engine, socket, _) in engines.clone() {
            let door = |door: &str| self.sockets().join(format!("{engine}.{door}.sock"));
            let (gate, apply) = (door("gate"), door("apply"));
            let _ = write!(
                text,
                "[[engine]]\nname = {engine:?}\ncontainerd = {:?}\ngate = {gate:?}\napply = {apply:?}\n",
                self.path(socket)
            );
        }
        let config = self.root.join("rootpin/install.toml");
        write(&config, text);
        let _ = std::fs::remove_dir_all(self.verifier());
        for (engine, _, bin) in engines {
            // What another test has left there.
            let _ = std::fs::remove_dir_all(self.root.join(format!("etc/{engine}.d")));
            self.script(&["configure", engine]);
            let mut install = Command::new(env!("CARGO_BIN_EXE_rootpin"));
            install
                .args(["install", "--yes", "--engine", engine, "--config"])
                .arg(&config);
            install
                .arg("--containerd")
                .arg(self.path(bin).join("containerd"))
                .arg("--verifier")
                .arg(self.verifier());
            run(install
                .arg("--containerd-config")
                .arg(self.root.join(format!("etc/{engine}.toml"))));
        }
    }

    /// Whether there are engines that Debian does not package: `ROOTPIN_ENGINES` is their folder.
    pub(crate) fn has_engines(&self) -> bool {
        !self.var("LAB_ENGINES").is_empty()
    }

    /// Where rootpind's sockets are.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.root.join("rootpin/run")
    }

    pub(crate) fn verifier(&self) -> PathBuf {
        self.root.join("rootpin/verifier")
    }

    pub(crate) fn var(&self, name: &str) -> &str {
        self.env
            .get(name)
            .unwrap_or_else(|| panic!("lab.sh env prints no {name}"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.var(name).into()
    }

    pub(crate) fn script(&self, arguments: &[&str]) -> String {
        self.script_with(arguments, &[])
    }

    /// The same, with settings in its environment.
    pub(crate) fn script_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        run(Command::new(SCRIPT)
            .args(arguments)
            .env("LAB_ROOT", &self.root)
            .envs(settings.iter().copied()))
    }

    /// Starts dockerd anew, with the same hosts.toml files as the others.
    pub(crate) fn docker_with_certs(&self) {
        self.script(&["stop", "dockerd28"]);
        run(Command::new(SCRIPT)
            .args(["start", "dockerd28"])
            .env("LAB_ROOT", &self.root)
            .env("LAB_CERTS", "1"));
    }

    /// Starts with the main configuration that is there.
    pub(crate) fn start_as_it_is(&self, service: &str) {
        run(Command::new(SCRIPT)
            .args(["start", service])
            .env("LAB_ROOT", &self.root)
            .env("LAB_KEEP", "1"));
    }

    /// The full name of an image in the lab's registry.
    pub(crate) fn name(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.var("LAB_REGISTRY"))
    }

    /// Uploads `image` and lets `name` point at it.
    pub(crate) fn push(&self, image: &Image, name: &str) {
        let (repository, tag) = name.split_once('/').unwrap().1.rsplit_once(':').unwrap();
        let base = format!("http://{}/v2/{repository}", self.var("LAB_REGISTRY"));
        self.runtime.block_on(async {
            for blob in &image.blobs {
                let started = self
                    .http
                    .post(format!("{base}/blobs/uploads/"))
                    .send()
                    .await
                    .unwrap();
                let location = started.headers()["location"].to_str().unwrap().to_owned();
                let upload = self
                    .http
                    .put(format!("{location}&digest={}", blob.digest()));
                assert_eq!(
                    upload
                        .body(blob.bytes.clone())
                        .send()
                        .await
                        .unwrap()
                        .status(),
                    201,
                    "a blob of {name} was not taken"
                );
            }
            for manifest in &image.manifests {
                self.put_manifest(&base, &manifest.digest(), manifest).await;
            }
            self.put_manifest(&base, tag, &image.top).await;
        });
    }

    async fn put_manifest(&self, base: &str, reference: &str, manifest: &Blob) {
        let put = self
            .http
            .put(format!("{base}/manifests/{reference}"))
            .header("content-type", manifest.media_type);
        assert_eq!(
            put.body(manifest.bytes.clone())
                .send()
                .await
                .unwrap()
                .status(),
            201,
            "the registry did not take {base} {reference}"
        );
    }
}

/// What the lab says of itself: paths, sockets, ports.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let root = std::env::var("ROOTPIN_LAB").expect(
        "ROOTPIN_LAB is not set: run these tests by `tests/run`, or see `tests/real/lab.sh`",
    );
    let printed = run(Command::new(SCRIPT).arg("env").env("LAB_ROOT", root));
    printed
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT)
            .arg("stop")
            .env("LAB_ROOT", &self.root)
            .status();
    }
}

/// One of the lab's paths, of which no service need run.
pub(crate) fn variable(name: &str) -> String {
    environment().remove(name).unwrap()
}

/// A file and the folders that lead to it.
pub(crate) fn write(file: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
}

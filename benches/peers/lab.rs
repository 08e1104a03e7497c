//! The lab that `tests/real/lab.sh` runs, and what is pushed, signed and pulled there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::cold;
use crate::command::run;
use crate::image::{Image, MANIFEST, sha256};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/lab.sh");

/// Stops its services when dropped.
pub(crate) struct Lab {
    /// Everything that the benchmark itself keeps.
    pub(crate) folder: PathBuf,
    /// The binaries under measurement.
    programs: PathBuf,
    pub(crate) runtime: Runtime,
    env: BTreeMap<String, String>,
    http: reqwest::Client,
}

/// A containerd of the lab.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Containerd17,
    Containerd2,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Containerd17 => "containerd17",
            Self::Containerd2 => "containerd2",
        }
    }

    fn number(self) -> &'static str {
        match self {
            Self::Containerd17 => "17",
            Self::Containerd2 => "2",
        }
    }
}

impl Lab {
    pub(crate) fn start(programs: PathBuf) -> Self {
        let printed = run(Command::new(SCRIPT).arg("env"));
        let env: BTreeMap<_, _> = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let folder = PathBuf::from(&env["LAB_ROOT"]).join("state/bench");
        fs::create_dir_all(folder.join("run")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let lab = Self {
            folder,
            programs,
            runtime,
            env,
            http: reqwest::Client::new(),
        };
        lab.script(&["start", "registry", "notary"]);
        for engine in [Engine::Containerd17, Engine::Containerd2] {
            lab.restart(engine, true);
        }
        lab
    }

    pub(crate) fn var(&self, name: &str) -> &str {
        &self.env[name]
    }

    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// Where rootpind's sockets are.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The hosts.toml files that have an engine fetch all bytes from the resolver.
    pub(crate) fn certs_through(&self) -> PathBuf {
        self.folder.join("certs-through")
    }

    fn script(&self, arguments: &[&str]) {
        // To a file, not a pipe: the daemons that it starts would hold the pipe open.
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("lab.log"))
            .unwrap();
        let status = Command::new(SCRIPT)
            .args(arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "lab.sh {arguments:?} failed: see {}",
            self.folder.join("lab.log").display()
        );
    }

    /// Starts a containerd anew, with or without the packaged drop-in.
    pub(crate) fn restart(&self, engine: Engine, guarded: bool) {
        self.script(&["stop", engine.name()]);
        let drop_ins = PathBuf::from(self.var("LAB_ROOT")).join(format!("etc/{}.d", engine.name()));
        let _ = fs::remove_file(drop_ins.join("rootpin.toml"));
        if guarded {
            self.script(&["configure", engine.name()]);
            let door = |door: &str| {
                self.sockets()
                    .join(format!("{}.{door}.sock", engine.name()))
            };
            let text = format!(
                "control = \"{}\"\n[[engine]]\nname = \"{}\"\ncontainerd = \"{}\"\ngate = \"{}\"\napply = \"{}\"\n",
                self.sockets().join("control.sock").display(),
                engine.name(),
                self.socket(engine).display(),
                door("gate").display(),
                door("apply").display()
            );
            let config = self.folder.join("install.toml");
            write(&config, text);
            let mut install = self.program("rootpin");
            install
                .args(["install", "--yes", "--config"])
                .arg(config)
                .arg("--containerd")
                .arg(self.client(engine, "containerd"));
            let main =
                PathBuf::from(self.var("LAB_ROOT")).join(format!("etc/{}.toml", engine.name()));
            run(install
                .arg("--containerd-config")
                .arg(main)
                .arg("--verifier")
                .arg(self.folder.join("verifier")));
        }
        self.script(&["start", engine.name()]);
    }

    fn client(&self, engine: Engine, program: &str) -> PathBuf {
        PathBuf::from(self.var(&format!("LAB_BIN{}", engine.number()))).join(program)
    }

    pub(crate) fn socket(&self, engine: Engine) -> PathBuf {
        self.var(&format!("LAB_CONTAINERD{}", engine.number()))
            .into()
    }

    /// Empties a containerd's stores in every namespace: known layers ask nobody and cost nothing.
    pub(crate) fn forget(&self, engine: Engine) {
        self.runtime.block_on(async {
            let channel = containerd_client::connect(self.socket(engine))
                .await
                .unwrap();
            cold::forget(&channel).await;
        });
        run(&mut Command::new("sync"));
    }

    /// `ctr images pull`, and how long that took.
    pub(crate) fn pull(
        &self,
        engine: Engine,
        options: &[&str],
        name: &str,
    ) -> Result<Duration, String> {
        let mut ctr = Command::new(self.client(engine, "ctr"));
        ctr.arg("-a")
            .arg(self.socket(engine))
            .args(["images", "pull", "--plain-http"])
            .args(options)
            .arg(name);
        let begun = Instant::now();
        let output = ctr.stdin(Stdio::null()).output().unwrap();
        let took = begun.elapsed();
        if output.status.success() {
            Ok(took)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Imports an archive, and unpacks nothing of it.
    pub(crate) fn import(&self, engine: Engine, archive: &Path) {
        let mut ctr = Command::new(self.client(engine, "ctr"));
        ctr.arg("-a").arg(self.socket(engine));
        ctr.args(["images", "import", "--local", "--no-unpack"]);
        run(ctr.arg(archive));
    }

    /// The full name of a repository in the lab's registry.
    pub(crate) fn repository(&self, path: &str) -> String {
        format!("{}/bench/{path}", self.var("LAB_REGISTRY"))
    }

    /// Uploads an image and lets a tag point at it.
    pub(crate) fn push(&self, image: &Image, repository: &str, tag: &str) {
        let base = format!("http://{}", repository.replacen('/', "/v2/", 1));
        self.runtime.block_on(async {
            for blob in image.layers.iter().chain([&image.config]) {
                let started = self
                    .http
                    .post(format!("{base}/blobs/uploads/"))
                    .send()
                    .await
                    .unwrap();
                let location = started.headers()["location"].to_str().unwrap().to_owned();
                let upload = self
                    .http
                    .put(format!("{location}&digest={}", sha256(blob)))
                    .body(blob.clone());
                assert_eq!(
                    upload.send().await.unwrap().status(),
                    201,
                    "a blob of {repository} was not taken"
                );
            }
            let put = self
                .http
                .put(format!("{base}/manifests/{tag}"))
                .header("content-type", MANIFEST);
            assert_eq!(
                put.body(image.manifest.clone())
                    .send()
                    .await
                    .unwrap()
                    .status(),
                201,
                "the manifest of {repository} was not taken"
            );
        });
    }

    /// Signs on the Notary server that a tag is this image. All repositories have the same root key
    /// and targets keys of their own.
    pub(crate) fn sign(&self, image: &Image, repository: &str, tag: &str) {
        let folder = self.folder.join("publisher");
        run(self.notary(&folder).args(["init", repository]));
        let (length, digest) = (image.manifest.len().to_string(), image.digest());
        run(self.notary(&folder).args([
            "addhash",
            "--publish",
            repository,
            tag,
            &length,
            "--sha256",
            digest.trim_start_matches("sha256:"),
        ]));
    }

    /// The canonical ID of the publisher's root key: the name of its file.
    pub(crate) fn root_key(&self) -> String {
        let files = fs::read_dir(self.folder.join("publisher/private"))
            .unwrap()
            .map(|file| file.unwrap().path());
        let is_root = |file: &PathBuf| fs::read_to_string(file).unwrap().contains("role: root");
        files
            .filter(is_root)
            .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
            .next()
            .unwrap()
    }

    /// Notary's own client, with that trust directory.
    pub(crate) fn notary(&self, folder: &Path) -> Command {
        let mut notary = Command::new(self.var("LAB_NOTARY"));
        notary
            .args([
                "-s",
                self.var("LAB_NOTARY_URL"),
                "--tlscacert",
                self.var("LAB_NOTARY_CA"),
                "-d",
            ])
            .arg(folder);
        for role in ["ROOT", "TARGETS", "SNAPSHOT"] {
            notary.env(format!("NOTARY_{role}_PASSPHRASE"), "a passphrase");
        }
        notary
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("stop").status();
    }
}

/// A file and the folders that lead to it.
pub(crate) fn write(file: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

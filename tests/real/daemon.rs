//! The daemon itself: the binary, with a configuration, policy and state of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::door::Door;
use crate::image::{Blob, Image};
use crate::lab::{Lab, run, write};

/// The files of a policy by their names; `policy.toml` is one of them.
pub(crate) type Policy = Vec<(&'static str, String)>;

/// A containerd of the lab, by the number that ends its names, in rootpin.toml.
pub(crate) fn engine(lab: &Lab, number: &str) -> String {
    let (containerd, nri) = (
        lab.var(&format!("LAB_CONTAINERD{number}")),
        lab.var(&format!("LAB_NRI{number}")),
    );
    let sockets = lab.sockets().join(format!("containerd{number}"));
    format!(
        "[[engine]]\nname = \"containerd{number}\"\ncontainerd = \"{containerd}\"\nnri = \"{nri}\"\n\
         gate = \"{0}.gate.sock\"\napply = \"{0}.apply.sock\"\n",
        sockets.display()
    )
}

/// rootpind for all engines of the lab. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    audit: PathBuf,
}

/// Waits until the engines that run have asked the new daemon's gates. An engine that found the one
/// before gone dials again only after a pause of up to three seconds, and fails what is asked
/// meanwhile. Where a gate is unhooked on purpose nobody waits for it without end.
fn await_gates(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        let control = lab.sockets().join("control.sock");
        let output = Command::new(env!("CARGO_BIN_EXE_rootpin"))
            .args(["status", "--json", "--control"])
            .arg(control)
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let gates = status["doors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|row| row["door"] == "gate");
        if gates.clone().count() > 0 && gates.into_iter().all(|row| row["state"] == "proven") {
            return;
        }
    }
}

/// One question that the daemon recorded.
#[derive(Debug)]
pub(crate) struct Question(Value);

impl Daemon {
    /// Starts with an empty state.
    pub(crate) fn start(lab: &Lab, policy: &Policy) -> Self {
        let _ = fs::remove_dir_all(folder(lab).join("state"));
        Self::restart(lab, policy)
    }

    /// Starts with the state that the one before has left. Returns when it says that it is ready.
    pub(crate) fn restart(lab: &Lab, policy: &Policy) -> Self {
        Self::with(lab, policy, "")
    }

    /// The same, with more in its configuration: keys, or tables.
    pub(crate) fn with(lab: &Lab, policy: &Policy, more: &str) -> Self {
        let (folder, sockets) = (folder(lab), lab.sockets());
        let (keys, tables) = if more.starts_with('[') {
            ("", more)
        } else {
            (more, "")
        };
        let _ = fs::remove_dir_all(folder.join("policy"));
        for (name, text) in policy {
            write(&folder.join("policy").join(name), text);
        }
        let mut config = format!(
            "state = \"{0}/state\"\ncontrol = \"{1}/control.sock\"\npolicy = \"{0}/policy\"\naudit-log = \"{0}/audit.jsonl\"\n\
             resolver = \"{2}\"\n{keys}",
            folder.display(),
            sockets.display(),
            lab.var("LAB_RESOLVER")
        );
        for number in ["17", "2"] {
            config.push_str(&engine(lab, number));
        }
        if !more.contains("name = \"dockerd28\"") {
            let socket = lab.var("LAB_DOCKERD28").trim_start_matches("unix://");
            let _ = write!(
                config,
                "[[docker]]\nname = \"dockerd28\"\nsocket = \"{socket}\"\n"
            );
        }
        config.push_str(tables);
        write(&folder.join("rootpin.toml"), config);
        fs::create_dir_all(&sockets).unwrap();
        let audit = folder.join("audit.jsonl");
        write(&audit, "");

        let notify = folder.join("notify.sock");
        let _ = fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).unwrap();
        ready
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("rootpind.log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
        command
            .arg("--config")
            .arg(folder.join("rootpin.toml"))
            .env("NOTIFY_SOCKET", &notify);
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self { child, audit };
        let mut message = [0_u8; 4096];
        loop {
            let length = ready
                .recv(&mut message)
                .expect("rootpind does not get ready: see rootpind.log");
            if String::from_utf8_lossy(&message[..length])
                .lines()
                .any(|line| line == "READY=1")
            {
                break;
            }
        }
        await_gates(lab);
        daemon
    }

    /// As the machine's power going off would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as systemd does.
    pub(crate) fn stop(mut self) {
        run(Command::new("sh")
            .args(["-c", "kill \"$0\""])
            .arg(self.child.id().to_string()));
        assert!(
            self.child.wait().unwrap().success(),
            "rootpind did not end well"
        );
    }

    /// What the door of that name was asked of anything, all in all.
    pub(crate) fn asked(&self, door: &str) -> Vec<Question> {
        self.records()
            .into_iter()
            .filter(|record| record["door"] == door)
            .map(Question)
            .collect()
    }

    /// Every record, in the order of the questions.
    pub(crate) fn records(&self) -> Vec<Value> {
        let lines = BufReader::new(File::open(&self.audit).unwrap()).lines();
        lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    }

    /// The records of the sweep's findings about that name.
    pub(crate) fn swept(&self, engine: &str, name: &str) -> Vec<Question> {
        let lines = BufReader::new(File::open(&self.audit).unwrap()).lines();
        let records = lines.filter_map(|line| serde_json::from_str::<Value>(&line.unwrap()).ok());
        records
            .filter(|record| {
                record["door"] == "sweep" && record["engine"] == engine && record["name"] == name
            })
            .map(Question)
            .collect()
    }

    /// What that door was asked of the image, all in all.
    pub(crate) fn questions(&self, door: Door, name: &str, image: &Image) -> Vec<Question> {
        let digests: Vec<_> = image.blobs.iter().map(Blob::digest).collect();
        self.records()
            .into_iter()
            .filter(|record| {
                let layer = record["layer"].as_str().unwrap_or_default();
                record["door"] == door.asks()
                    && if door.asks() == "verifier" {
                        record["name"] == name
                    } else {
                        record["engine"] == door.engine()
                            && digests.iter().any(|digest| digest == layer)
                    }
            })
            .map(Question)
            .collect()
    }
}

impl Question {
    /// `allowed`, `refused` or `unjudged`.
    pub(crate) fn outcome(&self) -> &str {
        self.0["outcome"].as_str().unwrap()
    }

    /// Of a no.
    pub(crate) fn code(&self) -> &str {
        self.0["code"].as_str().unwrap_or_default()
    }

    /// Of audit mode.
    pub(crate) fn let_through(&self) -> bool {
        self.0["let_through"] == true
    }

    /// Whether a no says what was known, and what would change it.
    pub(crate) fn is_told_in_full(&self) -> bool {
        ["found", "wanted", "hint"]
            .iter()
            .all(|member| self.0[member].as_str().is_some_and(|text| !text.is_empty()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn folder(lab: &Lab) -> PathBuf {
    lab.root.join("rootpin")
}

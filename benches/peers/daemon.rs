//! rootpind under measurement, with its own clock's record of every decision.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Engine, Lab, write};

/// One rootpind. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    audit: PathBuf,
    /// How many milliseconds passed until it was ready.
    pub(crate) start: f64,
}

/// What the daemon's clock says of one door since some moment.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Microseconds of each decision.
    pub(crate) each: Vec<f64>,
}

impl Spent {
    pub(crate) fn sum_milliseconds(&self) -> f64 {
        self.each.iter().sum::<f64>() / 1e3
    }
}

impl Daemon {
    /// Starts with an empty state. The one that keeps the engines' doors listens where their
    /// drop-ins say; another one beside it doesn't.
    pub(crate) fn start(lab: &Lab, name: &str, policy: &Path, doors: bool) -> Self {
        let folder = lab.folder.join(name);
        let _ = fs::remove_dir_all(&folder);
        let control = Self::control(lab, name);
        let mut config = format!(
            "state = \"{0}/state\"\ncontrol = \"{1}\"\npolicy = \"{2}\"\naudit-log = \"{0}/audit.jsonl\"\n",
            folder.display(),
            control.display(),
            policy.display()
        );
        if doors {
            let _ = writeln!(config, "resolver = \"{}\"", lab.var("LAB_RESOLVER"));
            // Bytes pass only where a hosts.toml has the engine fetch them from the resolver.
            let _ = writeln!(config, "hosts-dir = \"{}\"", lab.certs_through().display());
        }
        for engine in [Engine::Containerd17, Engine::Containerd2]
            .into_iter()
            .filter(|_| doors)
        {
            let (containerd, sockets, engine) = (lab.socket(engine), lab.sockets(), engine.name());
            let _ = write!(
                config,
                "[[engine]]\nname = \"{engine}\"\ncontainerd = \"{}\"\ngate = \"{1}/{engine}.gate.sock\"\n\
                 apply = \"{1}/{engine}.apply.sock\"\n",
                containerd.display(),
                sockets.display()
            );
        }
        write(&folder.join("rootpin.toml"), config);
        let audit = folder.join("audit.jsonl");
        write(&audit, "");

        let notify = folder.join("notify.sock");
        let ready = UnixDatagram::bind(&notify).unwrap();
        ready
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let log = File::create(folder.join("rootpind.log")).unwrap();
        let mut command = lab.program("rootpind");
        command
            .arg("--config")
            .arg(folder.join("rootpin.toml"))
            .env("NOTIFY_SOCKET", &notify);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        let mut daemon = Self {
            child,
            audit,
            start: 0.0,
        };
        let mut message = [0_u8; 4096];
        loop {
            let length = ready
                .recv(&mut message)
                .expect("rootpind does not get ready: see rootpind.log");
            if String::from_utf8_lossy(&message[..length])
                .lines()
                .any(|line| line == "READY=1")
            {
                daemon.start = begun.elapsed().as_secs_f64() * 1e3;
                return daemon;
            }
        }
    }

    /// Its control socket.
    pub(crate) fn control(lab: &Lab, name: &str) -> PathBuf {
        lab.sockets().join(if name == "rootpin" {
            "control.sock".to_owned()
        } else {
            format!("{name}.sock")
        })
    }

    /// Where the record of decisions ends now.
    pub(crate) fn mark(&self) -> usize {
        fs::read_to_string(&self.audit).unwrap().lines().count()
    }

    /// What it spent on allowed questions at a door since a mark. A refusal would make every number
    /// meaningless.
    pub(crate) fn spent(&self, door: &str, since: usize) -> Spent {
        let mut spent = Spent::default();
        for line in fs::read_to_string(&self.audit).unwrap().lines().skip(since) {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["door"] == door {
                assert_eq!(record["outcome"], "allowed", "{line}");
                spent.each.push(record["microseconds"].as_f64().unwrap());
            }
        }
        spent
    }

    /// A size of /proc/PID/status, in MiB.
    pub(crate) fn memory(&self, what: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{what}:")))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

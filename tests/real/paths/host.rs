//! The host: rootpind with all its doors, engines that are told of them, a publisher whose key is
//! pinned, and policies that differ in what else they allow.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::case::Try;
use super::column::Docker;
use crate::daemon::{Daemon, engine};
use crate::dockerd::Dockerd;
use crate::image::Image;
use crate::lab::{Lab, run, write};
use crate::publisher::Publisher;
use crate::trust_server::TrustServer;

/// Serves until it is dropped.
pub(crate) struct Host<'lab> {
    pub(crate) lab: &'lab Lab,
    /// Of all images: another one each time, so that no engine knows any of it.
    pub(crate) repository: String,
    server: TrustServer,
    plugins: Vec<Dockerd>,
    daemon: Option<Daemon>,
}

/// The settings beside the one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// None: local content is refused, and names written past the doors are reported.
    Strict,
    /// … are removed.
    Remove,
    /// What was built here may be used.
    Local,
}

/// One decision that the daemon recorded.
pub(crate) struct Record(Value);

impl<'lab> Host<'lab> {
    /// Without anything signed, and so without anything allowed.
    pub(crate) fn start(lab: &'lab Lab) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let repository = format!("paths{now}");
        let plugins = Docker::at_hand(lab)
            .filter(|docker| docker.has_plugin())
            .map(|docker| Dockerd::new(lab, docker.service()));
        let mut host = Self {
            lab,
            repository,
            server: TrustServer::start(),
            plugins: plugins.collect(),
            daemon: None,
        };
        let mut hosts = host.rootpin();
        hosts.args([
            "hosts",
            "write",
            lab.var("LAB_REGISTRY"),
            "--resolver",
            lab.var("LAB_RESOLVER"),
            "--dir",
        ]);
        run(hosts.arg(host.certs()));
        write(
            &lab.root.join("paths/docker/config.json"),
            format!(
                "{{\"cliPluginsExtraDirs\": [\"{}\"]}}",
                lab.var("LAB_BUILDX")
            ),
        );
        let mut sections: String = host.plugins.iter().map(Dockerd::config).collect();
        if lab.has_engines() {
            let socket = lab.var("LAB_DOCKERD29").trim_start_matches("unix://");
            let _ = write!(
                sections,
                "{}[[docker]]\nname = \"dockerd29\"\nsocket = \"{socket}\"\n",
                engine(lab, "23")
            );
            lab.script(&["start", "containerd23"]);
        }
        let _ = fs::remove_dir_all(host.folder().join("state"));
        host.daemon = Some(Daemon::with(
            lab,
            &vec![("policy.toml", host.text(Policy::Strict))],
            &sections,
        ));
        // dockerd looks for its files of hosts and for its plugin when it starts.
        let settings = [("LAB_CERTS", "1")];
        for docker in Docker::at_hand(lab).filter(|docker| !docker.has_plugin()) {
            lab.script(&["stop", docker.service()]);
            lab.script_with(&["start", docker.service()], &settings);
        }
        host.plugins
            .iter()
            .for_each(|docker| docker.start_with(lab, &settings));
        lab.push(&pause(), &host.pause_name());
        host.wait_until_asked();
        host
    }

    /// The engines' files of hosts.
    fn certs(&self) -> PathBuf {
        self.lab.root.join("etc/certs.d")
    }

    /// Signs what is to be signed for every cell.
    pub(crate) fn sign<'host>(&'host self, cells: impl Iterator<Item = Try<'host>>) {
        let mut publisher = Publisher::new(&self.gun());
        for cell in cells {
            let names = [
                (&cell.name, &cell.signed),
                (&cell.second_name(), &cell.signed),
                (&cell.old_name(), &cell.older),
            ];
            for (name, image) in names {
                publisher.tag(
                    name.rsplit(':').next().unwrap(),
                    &image.digest(),
                    u64::try_from(image.top.bytes.len()).unwrap(),
                );
            }
        }
        self.server.serve(&publisher.gun, publisher.tree());
    }

    /// Puts the policy in force.
    pub(crate) fn take(&self, policy: Policy) {
        write(&self.folder().join("policy/policy.toml"), self.text(policy));
        run(self.rootpin().args(["policy", "reload"]));
    }

    /// Each engine's way to the gate is open: one that missed the daemon for a while looks again
    /// after seconds only.
    fn wait_until_asked(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            // It ends with 1 where a former test has left images that are now refused.
            let told = self.rootpin().args(["status", "--json"]).output().unwrap();
            let status: Value = serde_json::from_slice(&told.stdout).unwrap();
            let doors = status["doors"].as_array().unwrap();
            let asked = |door: &Value| match door["door"].as_str() {
                Some("gate") => door["state"] == "proven",
                Some("run") => door["state"] != "not checked",
                _ => true,
            };
            if doors.iter().all(asked) {
                return;
            }
            assert!(Instant::now() < end, "a door is not asked: {status}");
        }
    }

    /// All that the daemon recorded.
    pub(crate) fn records(&self) -> Vec<Record> {
        let lines = fs::read_to_string(self.folder().join("audit.jsonl")).unwrap();
        lines
            .lines()
            .map(|line| Record(serde_json::from_str(line).unwrap()))
            .collect()
    }

    /// Of every pod's sandbox.
    fn pause_name(&self) -> String {
        self.lab.name("lab/pause", "v1")
    }

    fn gun(&self) -> String {
        self.lab
            .name(&self.repository, "")
            .trim_end_matches(':')
            .to_owned()
    }

    fn text(&self, policy: Policy) -> String {
        let gun = self.gun();
        let key = Publisher::new(&gun).root_key().id();
        let more = match policy {
            Policy::Strict => "",
            Policy::Remove => "[sweep]\naction = \"remove\"\n",
            Policy::Local => {
                "[local]\ncontent = \"allow\"\nnamespaces = [\"moby\", \"moby-plugin\"]\n"
            }
        };
        format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"publisher\"\ntype = \"notary\"\nserver = \"{}\"\nkeys = [\"{key}\"]\n\
             role = \"targets/releases\"\n[[rule]]\nmatch = \"{gun}\"\nroots = [\"publisher\"]\n\
             [[image]]\nname = \"{}\"\ndigest = \"{}\"\n{more}",
            self.server.url,
            self.pause_name(),
            pause().digest()
        )
    }

    fn rootpin(&self) -> Command {
        let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        rootpin
            .arg("--control")
            .arg(self.lab.sockets().join("control.sock"));
        rootpin
    }

    fn folder(&self) -> PathBuf {
        self.lab.root.join("rootpin")
    }
}

fn pause() -> Image {
    Image::that_waits("pause", "PART=pause")
}

impl Drop for Host<'_> {
    /// Other tests know no resolver.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.certs());
    }
}

impl Record {
    pub(crate) fn door(&self) -> &str {
        self.0["door"].as_str().unwrap()
    }

    pub(crate) fn allowed(&self) -> bool {
        self.0["outcome"] == "allowed"
    }

    pub(crate) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }
}

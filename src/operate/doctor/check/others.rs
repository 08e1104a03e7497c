//! Holes that are no setting of one engine: engines that nobody named, sockets, and what rootpin
//! itself reports.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::code::{Code, HoleSeverity};
use super::super::config_files;
use super::super::facts::address_of;
use super::super::hole::{Fix, Hole};
use super::super::process::Process;
use crate::config::Config;
use crate::observe::plain;
use crate::sockets::nobody_comes;
use crate::trusted_path::{Owner, check_way};
use rootpin_policy::Policy;

/// What to do about a containerd that dockerd keeps for itself.
const DOCKERS_OWN: &str = "it is dockerd's own, and dockerd writes its configuration anew at each start, so no gate can stand in it: start the \
    system's containerd, and dockerd with --containerd=/run/containerd/containerd.sock";

/// Engines that run and are not in rootpin.toml. `known` are the process numbers of those that are,
/// `engines` the sockets of its containerds, `names` the names of all its engines.
pub(in super::super) fn processes(
    running: &[Process],
    known: &[u32],
    engines: &[PathBuf],
    names: &[&str],
) -> Vec<Hole> {
    let mut taken: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let unknown = running
        .iter()
        .filter(|process| !known.contains(&process.pid) && !builds_by(process, engines));
    let hole = |process: &Process| {
        let Process {
            pid,
            name,
            uid,
            words,
            contained,
        } = process;
        let (place, weight) = match (contained, uid) {
            (true, _) => (" in a container", HoleSeverity::Weak),
            (false, 0) => ("", HoleSeverity::Open),
            (false, _) => (" for a user", HoleSeverity::Weak),
        };
        let found = format!(
            "{name} runs{place} as process {pid} of user {uid}: {}",
            plain(&words.join(" "))
        );
        let change = match name.as_str() {
            "containerd"
                if process
                    .option(&["config", "c"])
                    .is_some_and(|config| is_of_dockerd(&config)) =>
            {
                DOCKERS_OWN.to_owned()
            }
            // A path within the container leads to another socket here, or to none.
            "containerd" | "dockerd" if *contained => {
                "stop it, or install rootpin in that container too".to_owned()
            }
            "containerd" => {
                let socket = process
                    .option(&["address", "a"])
                    .or_else(|| listens_at(process));
                let socket = socket.map_or("/run/containerd/containerd.sock".to_owned(), |path| {
                    plain(&path)
                });
                format!(
                    "stop it, or name it in rootpin.toml and run this again:\n{}",
                    engine_lines(&free_name(&mut taken, "second"), &socket)
                )
            }
            "dockerd" => {
                let hosts = process.options(&["host", "H"]);
                let host = hosts
                    .iter()
                    .find_map(|host| host.strip_prefix("unix://").map(plain));
                let socket = host.unwrap_or("/run/docker.sock".to_owned());
                let name = free_name(&mut taken, "docker");
                format!(
                    "stop it, or name it in rootpin.toml and run this again:\n[[docker]]\nname = \"{name}\"\nsocket = \"{socket}\"\nauthz = \"/run/rootpin/{name}.authz.sock\""
                )
            }
            "buildkitd" => "stop it, or have it build by a containerd of rootpin.toml alone: \
                --oci-worker=false --containerd-worker=true --containerd-worker-addr=SOCKET"
                .to_owned(),
            _ => "stop it: rootpin has no door in it".to_owned(),
        };
        Hole::new(Code::UnlistedEngine, "", found)
            .change(change)
            .weighing(weight)
    };
    unknown.map(hole).collect()
}

/// A name that no engine has, which is taken from now on.
fn free_name(taken: &mut Vec<String>, base: &str) -> String {
    let numbered = (2..).map(|number: u32| format!("{base}{number}"));
    let name = std::iter::once(base.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default();
    taken.push(name.clone());
    name
}

/// dockerd writes its own containerd's configuration anew at each start (moby,
/// daemon/internal/containerd/server).
fn is_of_dockerd(config: &str) -> bool {
    config.ends_with("/containerd/containerd.toml") && !config.starts_with("/etc/")
}

/// Whether a buildkitd has no other worker than a containerd of rootpin.toml, whose gate then
/// judges what it unpacks (moby/buildkit, docs/buildkitd.toml.md). Command line counts before file.
fn builds_by(process: &Process, engines: &[PathBuf]) -> bool {
    if process.name != "buildkitd" || process.contained {
        return false;
    }
    let file = process
        .option(&["config"])
        .unwrap_or("/etc/buildkit/buildkitd.toml".to_owned());
    let file = table_of(&process.path(&file)).unwrap_or_default();
    let setting = |worker: &str, flag: &str, key: &str| {
        let of_file = || file.get("worker")?.get(worker)?.get(key).cloned();
        let text = |value: toml::Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        process.option(&[flag]).or_else(|| of_file().map(text))
    };
    let own = setting("oci", "oci-worker", "enabled");
    let by = setting("containerd", "containerd-worker-addr", "address")
        .unwrap_or("/run/containerd/containerd.sock".to_owned());
    let resolved = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    own.as_deref() == Some("false")
        && engines
            .iter()
            .any(|engine| resolved(engine) == resolved(Path::new(by.trim_start_matches("unix://"))))
}

/// Where a containerd listens by its configuration.
fn listens_at(process: &Process) -> Option<String> {
    let file = process
        .option(&["config", "c"])
        .unwrap_or("/etc/containerd/config.toml".to_owned());
    address_of(&table_of(&process.path(&file))?).map(str::to_owned)
}

fn table_of(file: &Path) -> Option<toml::Table> {
    config_files::read(file).ok()?.parse().ok()
}

/// What rootpin.toml says of a containerd. No two engines have one name, dockerds counted.
pub(super) fn engine_lines(name: &str, socket: &str) -> String {
    let own = |door: &str| format!("{door} = \"/run/rootpin/{name}.{door}.sock\"");
    format!(
        "[[engine]]\nname = \"{name}\"\ncontainerd = \"{socket}\"\n{}\n{}",
        own("gate"),
        own("apply")
    )
}

/// Who can connect to the engines, and who can take the place of rootpin.
pub(in super::super) fn sockets(config: &Config) -> Vec<Hole> {
    let mut holes = Vec::new();
    let engines = config
        .engines
        .iter()
        .map(|engine| (&engine.name, &engine.containerd));
    for (name, socket) in engines.chain(
        config
            .dockers
            .iter()
            .map(|docker| (&docker.name, &docker.socket)),
    ) {
        let Ok(metadata) = fs::metadata(socket) else {
            continue;
        };
        let (mode, shown) = (metadata.mode() & 0o7777, socket.display());
        if mode & 0o002 != 0 {
            let found = format!("{shown} has mode {mode:04o}: every user can connect");
            let hole =
                Hole::new(Code::SocketOpen, name, found).change(format!("chmod 0660 {shown}"));
            holes.push(hole.fix(Fix::Mode(socket.clone(), 0o660)));
        } else if mode & 0o020 != 0
            && metadata.gid() != 0
            && let Some((group, members)) = group(metadata.gid())
        {
            let found = format!(
                "{shown} has mode {mode:04o} and group {group}: whose members are root in all but name{members}"
            );
            let change = format!("gpasswd -M '' {group}   # or leave those in it who may be root");
            holes.push(
                Hole::new(Code::SocketOpen, name, found)
                    .change(change)
                    .weighing(HoleSeverity::Weak),
            );
        }
    }
    let mut folders: Vec<&Path> = Vec::new();
    for (name, socket) in config.doors().chain([("", config.control.as_path())]) {
        let Some(folder) = socket
            .parent()
            .filter(|folder| folder.exists() && !folders.contains(folder))
        else {
            continue;
        };
        folders.push(folder);
        if let Err(fault) = check_way(folder, Owner::Root) {
            holes.push(Hole::new(Code::SocketReplaceable, name, fault.message).change(fault.hint));
        }
    }
    holes
}

/// The doors of rootpin.toml at which nobody listens, though rootpind runs.
pub(in super::super) fn silent(config: &Config) -> Vec<Hole> {
    let silent = config.doors().filter(|(_, socket)| nobody_comes(socket));
    silent
        .map(|(name, socket)| {
            let found = format!("nobody listens at {}", socket.display());
            Hole::new(Code::SocketSilent, name, found).change(
                "have rootpind read rootpin.toml, which it does at its start: systemctl restart rootpind",
            )
        })
        .collect()
}

/// A group's name, and who is in it, for people; `None`: nobody is. One that another directory
/// keeps may have anybody.
fn group(gid: u32) -> Option<(String, String)> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    members(&read("/etc/group"), &read("/etc/passwd"), gid)
}

pub(super) fn members(groups: &str, users: &str, gid: u32) -> Option<(String, String)> {
    let gid = gid.to_string();
    let fields = |line: &str| line.split(':').map(plain).collect::<Vec<_>>();
    let known = groups.lines().map(fields);
    let Some(known) = known.into_iter().find(|group| group.get(2) == Some(&gid)) else {
        return Some((gid, String::new()));
    };
    let listed = known.get(3).map(String::as_str).unwrap_or_default();
    let mut members: Vec<String> = listed.split(',').map(str::to_owned).collect();
    let users = users.lines().map(fields);
    members.extend(users.filter_map(|user| {
        (user.get(3) == Some(&gid)).then(|| user.first().cloned().unwrap_or_default())
    }));
    members.retain(|member| !member.is_empty() && member != "root");
    let name = known.first().cloned().unwrap_or_default();
    (!members.is_empty()).then(|| (name, format!(" ({})", members.join(", "))))
}

/// What the daemon says of itself, and its policy where it could be read.
pub(in super::super) fn daemon(status: Option<&Value>, policy: Option<&Policy>) -> Vec<Hole> {
    let mut holes = Vec::new();
    let doors = status
        .and_then(|status| status["doors"].as_array())
        .map(Vec::as_slice)
        .unwrap_or_default();
    for door in doors {
        let detail = door["detail"].as_str().unwrap_or_default();
        if door["state"] == "not listening" {
            let found = format!("{}: {detail}", door["door"].as_str().unwrap_or_default());
            let change = "end the process, remove the file or make the folder that is named here: rootpind takes its place within seconds; or name another place in rootpin.toml, restart rootpind and run rootpin install";
            holes.push(
                Hole::new(
                    Code::SocketTaken,
                    door["engine"].as_str().unwrap_or_default(),
                    found,
                )
                .change(change),
            );
        }
        if door["asked"] == false {
            let found = format!("{}: {detail}", door["door"].as_str().unwrap_or_default());
            let change = "close the other holes of this engine and restart it; if none is left, see rootpin status and the engine's log";
            holes.push(
                Hole::new(
                    Code::DoorNotAsked,
                    door["engine"].as_str().unwrap_or_default(),
                    found,
                )
                .change(change),
            );
        }
    }
    if let Some(known) = status.map(|status| &status["state"]) {
        let found = known["what"].as_str().unwrap_or_default();
        let change = known["hint"].as_str().unwrap_or("rootpin status");
        match known["standing"].as_str() {
            Some("lost") => holes.push(Hole::new(Code::StateLost, "", found).change(change)),
            Some("new") => holes.push(Hole::new(Code::StateNew, "", found).change(change)),
            _ => {}
        }
    }
    if let Some(glass) = status.map(|status| &status["break_glass"])
        && glass["in_force"] == true
    {
        let found = glass["told"].as_str().unwrap_or_default();
        holes.push(Hole::new(Code::BreakGlass, "", found).change("rootpin break-glass --end"));
    }
    if let Some(known) = status.map(|status| &status["policy"]) {
        if known["in_force"] == false {
            let found = known["trouble"].as_str().unwrap_or("no policy is in force");
            holes.push(Hole::new(Code::PolicyMissing, "", found).change("rootpin policy check"));
        } else if known["mode"] == "audit" {
            let change = "mode = \"enforce\" in policy.toml, once the audit log has no refusal that is wrong";
            holes.push(Hole::new(Code::PolicyAudit, "", "mode = \"audit\"").change(change));
        }
    }
    if let Some(namespaces) = policy
        .filter(|policy| policy.local.allow)
        .map(|policy| &policy.local.namespaces)
    {
        let namespaces = match namespaces {
            Some(some) => some
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            None => "every namespace".to_owned(),
        };
        let found = format!("[local] content = \"allow\" in {namespaces}");
        holes.push(
            Hole::new(Code::PolicyLocal, "", found)
                .change("content = \"deny\", where nothing is built on this host"),
        );
    }
    holes
}

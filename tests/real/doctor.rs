//! Every hole that `rootpin doctor` knows, on a real engine: opened, named, used; closed by `--fix` or as the doctor says; and then it
//! names it no more, and what came in by it is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, Policy};
use crate::door::Door;
use crate::image::Image;
use crate::lab::{Lab, write};
use crate::own::{Own, push_signed};

/// What an open hole lets in.
#[derive(Clone, Copy, Debug)]
enum Lets {
    /// Bytes that nobody signed.
    Bytes(Door),
    /// A name that nobody signed, for bytes that are here already.
    Names(Door),
    /// Nothing that an engine's client could show.
    Nothing,
}

/// One hole.
struct Case {
    code: &'static str,
    engine: &'static str,
    open: fn(&Lab),
    /// By hand, as the doctor says; without, by `--fix`.
    close: Option<fn(&Lab)>,
    lets: Lets,
}

use Lets::{Bytes, Names, Nothing};

fn cases() -> Vec<Case> {
    let case = |code, engine, open, lets| Case { code, engine, open, close: None, lets };
    let by_hand = |code, engine, open, close| Case { code, engine, open, close: Some(close), lets: Nothing };
    let cri = |open| case("cri-local-pull", TWO, open, Names(Door::Cri2));
    vec![
        case("verifier-missing", TWO, |lab| fs::remove_dir_all(lab.verifier()).unwrap(), Names(Door::Ctr2)),
        case("verifier-empty", TWO, |lab| fs::remove_file(program(lab)).unwrap(), Names(Door::Ctr2)),
        case("verifier-foreign", TWO, foreign_verifier, Names(Door::Ctr2)),
        case("verifier-limit", TWO, |lab| drop_in(lab, TWO, &bindir("max_verifiers = 0")), Names(Door::Ctr2)),
        case("verifier-timeout", TWO, |lab| drop_in(lab, TWO, &bindir("per_verifier_timeout = \"1s\"")), Nothing),
        case("verifier-writable", TWO, |lab| mode(&lab.verifier(), 0o777), Nothing),
        by_hand("verifier-crowded", TWO, another_verifier, |lab| fs::remove_file(lab.verifier().join("10-other")).unwrap()),
        by_hand("verifier-off", TWO, verifier_off, as_packaged),
        case("gate-missing", TWO, |lab| fs::remove_file(folder(lab, TWO).join("rootpin.toml")).unwrap(), Bytes(Door::Local2)),
        case("gate-missing", ONE, |lab| fs::remove_file(folder(lab, ONE).join("rootpin.toml")).unwrap(), Bytes(Door::Local17)),
        case("gate-order", TWO, |lab| drop_in(lab, TWO, ORDER), Bytes(Door::Local2)),
        case("gate-order", ONE, |lab| drop_in(lab, ONE, ORDER), Bytes(Door::Cri17)),
        case("door-not-asked", TWO, |lab| drop_in(lab, TWO, ORDER), Bytes(Door::Local2)),
        case("unpack-config", TWO, |lab| drop_in(lab, TWO, &unpack("overlayfs", "walking")), Bytes(Door::Import2)),
        case("unpack-config", ONE, |lab| drop_in(lab, ONE, &unpack("overlayfs", "walking")), Nothing),
        case("snapshotter-unlisted", TWO, |lab| drop_in(lab, TWO, &unpack("native", "rootpin-apply")), Nothing),
        case("required-plugins", TWO, |lab| edit(lab, "containerd2.d/rootpin.toml", "required_plugins", "disabled_plugins_not"), Nothing),
        by_hand("remote-snapshotter", TWO, remote_snapshotter, without_site),
        by_hand("plugin-error", TWO, transfer_broken, as_packaged),
        by_hand("config-ignored", TWO, |lab| drop_in(lab, TWO, OLD_NAMES), without_site),
        by_hand(
            "config-ignored",
            ONE,
            |lab| drop_in(lab, ONE, "version = 2\n[plugins.\"io.containerd.cri.v1.images\"]\n  x = 1\n"),
            without_site,
        ),
        by_hand("section-replaced", ONE, |lab| drop_in(lab, ONE, REGISTRY), without_site),
        case("drop-in-ignored", TWO, not_imported, Bytes(Door::Local2)),
        cri(|lab| drop_in(lab, TWO, &images("use_local_image_pull = true"))),
        cri(|lab| drop_in(lab, TWO, &images("disable_snapshot_annotations = false"))),
        cri(|lab| drop_in(lab, TWO, &images("discard_unpacked_layers = true"))),
        cri(|lab| drop_in(lab, TWO, &images("max_concurrent_downloads = 5"))),
        cri(|lab| drop_in(lab, TWO, &images("image_pull_with_sync_fs = true"))),
        Case {
            close: Some(without_site),
            ..cri(|lab| drop_in(lab, TWO, &images("registry.mirrors.\"r.test\".endpoint = [\"http://127.0.0.1:1\"]")))
        },
        case("cri-config-path-list", TWO, |lab| drop_in(lab, TWO, &images("registry.config_path = \"/etc/a:/etc/b\"")), Nothing),
        case(
            "cri-annotations",
            ONE,
            |lab| edit(lab, "containerd17.toml", "disable_snapshot_annotations = false", "discard_unpacked_layers = true"),
            Nothing,
        ),
        case("nri-off", ONE, |_| {}, Nothing),
        by_hand("nri-fails-open", TWO, |_| {}, |_| {}),
        case("socket-open", TWO, |_| {}, Nothing),
        by_hand("restart-pending", TWO, |_| {}, |_| {}),
    ]
}

const ONE: &str = "containerd17";
const TWO: &str = "containerd2";
const ORDER: &str = "version = 2\n[plugins.\"io.containerd.service.v1.diff-service\"]\n  default = [\"walking\", \"rootpin\"]\n";
const REGISTRY: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/c\"\n";
const OLD_NAMES: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = false\n";

fn unpack(snapshotter: &str, differ: &str) -> String {
    let platform = format!("linux/{}", crate::image::architecture());
    format!(
        "version = 2\n[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n  platform = \"{platform}\"\n  \
         snapshotter = \"{snapshotter}\"\n  differ = \"{differ}\"\n"
    )
}

fn bindir(line: &str) -> String {
    format!("version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\n  {line}\n")
}

fn images(line: &str) -> String {
    format!("version = 3\n[plugins.'io.containerd.cri.v1.images']\n  {line}\n")
}

fn folder(lab: &Lab, engine: &str) -> PathBuf {
    lab.root.join(format!("etc/{engine}.d"))
}

/// A drop-in that is read after rootpin's.
fn drop_in(lab: &Lab, engine: &str, text: &str) {
    write(&folder(lab, engine).join("zz-site.toml"), text);
}

fn without_site(lab: &Lab) {
    for engine in [ONE, TWO] {
        let _ = fs::remove_file(folder(lab, engine).join("zz-site.toml"));
    }
}

fn as_packaged(lab: &Lab) {
    without_site(lab);
    lab.install_doors();
}

fn edit(lab: &Lab, name: &str, from: &str, to: &str) {
    let path = lab.root.join("etc").join(name);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    write(&path, text.replacen(from, to, 1));
}

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn program(lab: &Lab) -> PathBuf {
    lab.verifier().join("rootpin-verifier")
}

fn another_verifier(lab: &Lab) {
    let path = lab.verifier().join("10-other");
    write(&path, "#!/bin/sh\nexit 0\n");
    mode(&path, 0o755);
}

fn foreign_verifier(lab: &Lab) {
    another_verifier(lab);
    fs::remove_file(program(lab)).unwrap();
}

fn verifier_off(lab: &Lab) {
    drop_in(lab, TWO, "version = 3\ndisabled_plugins = [\"io.containerd.image-verifier.v1.bindir\"]\n");
    // In 2.1 the transfer service does not load without it.
    for needed in ["image-verifier.v1.bindir", "transfer.v1.local"] {
        edit(lab, "containerd2.d/rootpin.toml", &format!("  \"io.containerd.{needed}\",\n"), "");
    }
}

/// A differ that is not there, and nobody who insists on the transfer service.
fn transfer_broken(lab: &Lab) {
    drop_in(lab, TWO, &unpack("overlayfs", "missing"));
    edit(lab, "containerd2.d/rootpin.toml", "  \"io.containerd.transfer.v1.local\",\n", "");
}

fn remote_snapshotter(lab: &Lab) {
    drop_in(lab, TWO, "version = 3\n[proxy_plugins.stargz]\n  type = \"snapshot\"\n  address = \"/run/none.sock\"\n");
}

/// rootpin's drop-in in the folder beside the main file, and a main file that imports nothing.
fn not_imported(lab: &Lab) {
    let etc = lab.root.join("etc");
    fs::create_dir_all(etc.join("conf.d")).unwrap();
    fs::rename(folder(lab, TWO).join("rootpin.toml"), etc.join("conf.d/rootpin.toml")).unwrap();
    let imports = format!("imports = [\"{}/*.toml\"]\n", folder(lab, TWO).display());
    edit(lab, "containerd2.toml", &imports, "");
}

/// Everything as the package leaves it, and the engine running so.
fn reset(lab: &Lab, engine: &str) {
    lab.script(&["stop", engine]);
    for path in [folder(lab, engine), lab.root.join("etc/conf.d"), lab.verifier()] {
        let _ = fs::remove_dir_all(path);
    }
    lab.install_doors();
    lab.script(&["start", engine]);
}

fn restart(lab: &Lab, engine: &str) {
    lab.script(&["stop", engine]);
    lab.start_as_it_is(engine);
}

/// A signed image under `v1`, and the same bytes under a tag that nobody signed.
struct Images {
    signed: String,
    unsigned: String,
    image: Image,
    policy: Policy,
}

/// What the doctor says of one engine: its codes, and everything.
fn examined(lab: &Lab, engine: &str, words: &[&str]) -> (Vec<String>, Value) {
    let config = lab.root.join("rootpin/doctor.toml");
    let text = fs::read_to_string(lab.root.join("rootpin/rootpin.toml")).unwrap();
    // Where the run-time door is wanted, for both engines alike.
    let text = text.replace("[[engine]]\n", "[[engine]]\nnri = \"/run/nri/nri.sock\"\n");
    write(&config, text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command.args(["doctor", "--json", "--config"]).arg(config).arg("--verifier").arg(lab.verifier()).args(words);
    let output = command.output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let holes = value["holes"].as_array().unwrap().iter().filter(|hole| hole["engine"] == engine);
    let codes = holes.map(|hole| hole["code"].as_str().unwrap().to_owned()).collect();
    (codes, value)
}

/// Whether the hole lets in what it should not.
fn let_in(lab: &Lab, lets: Lets, images: &Images) -> Option<Result<String, String>> {
    match lets {
        Nothing => None,
        Bytes(door) => {
            door.cool(lab);
            let strange = Image::manifest(&format!("strange {:?}", Instant::now()));
            let name = lab.name("doctor/strange", "v1");
            lab.push(&strange, &name);
            Some(door.bring_when_connected(lab, &name, &strange))
        }
        Names(door) => Some(door.bring_when_connected(lab, &images.unsigned, &images.image)),
    }
}

fn check(lab: &Lab, case: &Case, images: &Images, daemon: &mut Option<Daemon>) -> Result<(), String> {
    let Case { code, engine, open, close, lets } = case;
    reset(lab, engine);
    // What is there on a host in order: this containerd can't require NRI plugins, or has NRI off.
    let usual = if *engine == ONE { "nri-off" } else { "nri-fails-open" };
    // The daemon's canary may have met the containerd that went away.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let (before, value) = examined(lab, engine, &[]);
        match before == [usual] {
            true => break,
            false if Instant::now() < end => {}
            false => return Err(format!("a host in order has {before:?}: {value:#}")),
        }
    }
    if let Names(door) = lets {
        door.cool(lab);
        door.bring_when_connected(lab, &images.signed, &images.image).map_err(|words| format!("what is signed should come in: {words}"))?;
    }
    open(lab);
    match *code {
        "socket-open" => mode(&lab.path("LAB_CONTAINERD2"), 0o666),
        "restart-pending" => drop_in(lab, engine, "version = 3\n"),
        _ => restart(lab, engine),
    }
    // The daemon's own canary runs once a minute, and at its start.
    if *code == "door-not-asked" {
        daemon.take();
        *daemon = Some(Daemon::restart(lab, &images.policy));
    }
    let end = Instant::now() + Duration::from_secs(10);
    while !examined(lab, engine, &[]).0.contains(&(*code).to_owned()) {
        let (found, value) = examined(lab, engine, &[]);
        if *code != "door-not-asked" || Instant::now() > end {
            return Err(format!("open, and the doctor says {found:?}: {value:#}"));
        }
    }
    if let Some(Err(words)) = let_in(lab, *lets, images) {
        return Err(format!("the hole is named and nothing comes in by it: {words}"));
    }
    if let Some(close) = close {
        close(lab);
    } else {
        let (_, value) = examined(lab, engine, &["--fix", "--yes"]);
        if value["fix"]["written"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("--fix wrote nothing: {value:#}"));
        }
    }
    if *code != "socket-open" {
        restart(lab, engine);
    }
    if *code == "door-not-asked" {
        daemon.take();
        *daemon = Some(Daemon::restart(lab, &images.policy));
    }
    let (after, value) = examined(lab, engine, &[]);
    // No drop-in makes an old containerd insist on a plugin, and another program in the folder is somebody's.
    let stays = |left: &str| {
        left.starts_with("nri-") && left != "nri-off" || left == usual || *code == "verifier-foreign" && left == "verifier-crowded"
    };
    if after.iter().any(|left| left == code && *code != "nri-fails-open" || !stays(left)) {
        return Err(format!("closed, and the doctor says {after:?}: {value:#}"));
    }
    match let_in(lab, *lets, images) {
        Some(Ok(words)) => Err(format!("the doctor is content, and it still comes in: {words}")),
        _ => Ok(()),
    }
}

/// `ROOTPIN_ROWS`, a part of a code, picks cases while one works on them.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn each_hole_that_the_doctor_names_is_one_and_what_it_says_closes_it() {
    let lab = Lab::start();
    // It would lose its containerd again and again.
    lab.script(&["stop", "dockerd28"]);
    let gun = lab.name("doctor/signed", "v1").trim_end_matches(":v1").to_owned();
    let (own, image) = (Own::in_folder(&lab, &gun), Image::manifest("doctor"));
    push_signed(&own, "v1", &image);
    let unsigned = format!("{gun}:v2");
    lab.push(&image, &unsigned);
    let images = Images { signed: format!("{gun}:v1"), unsigned, image, policy: own.policy(&[]) };
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases().iter().filter(|case| case.code.contains(&picked)) {
        let began = Instant::now();
        let mut daemon = Some(Daemon::start(&lab, &images.policy));
        let result = check(&lab, case, &images, &mut daemon);
        drop(daemon);
        crate::say(&format!(
            "{:5.1} s  {}  {} {}",
            began.elapsed().as_secs_f32(),
            if result.is_ok() { "ok  " } else { "FAIL" },
            case.engine,
            case.code
        ));
        if let Err(why) = result {
            crate::say(&why);
            failures.push(format!("{} {}: {why}", case.engine, case.code));
        }
    }
    reset(&lab, ONE);
    reset(&lab, TWO);
    assert!(failures.is_empty(), "{} holes are wrong:\n{}", failures.len(), failures.join("\n\n"));
}

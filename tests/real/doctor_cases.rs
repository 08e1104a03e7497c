//! The holes that can be opened on a containerd of the lab, and how.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::door::Door;
use crate::lab::{Lab, write};

/// What an open hole lets in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lets {
    /// Bytes that nobody signed.
    Bytes(Door),
    /// A name that nobody signed, for bytes that are here already.
    Names(Door),
    /// Nothing that an engine's client could show.
    Nothing,
}

/// One hole.
pub(crate) struct Case {
    pub(crate) code: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) open: fn(&Lab),
    /// By hand; without, by `--fix` and as the doctor says.
    pub(crate) close: Option<fn(&Lab)>,
    /// Whether `--fix` closes it.
    pub(crate) by_fix: bool,
    pub(crate) lets: Lets,
}

use Lets::{Bytes, Names, Nothing};

pub(crate) fn cases() -> Vec<Case> {
    [of_verifier(), of_gate(), of_configuration(), of_cri()]
        .into_iter()
        .flatten()
        .collect()
}

fn case(code: &'static str, engine: &'static str, open: fn(&Lab), lets: Lets) -> Case {
    Case {
        code,
        engine,
        open,
        close: None,
        by_fix: true,
        lets,
    }
}

fn by_hand(code: &'static str, engine: &'static str, open: fn(&Lab), close: fn(&Lab)) -> Case {
    Case {
        close: Some(close),
        ..case(code, engine, open, Nothing)
    }
}

fn cri(open: fn(&Lab)) -> Case {
    case("cri-local-pull", TWO, open, Names(Door::Cri2))
}

fn of_verifier() -> Vec<Case> {
    vec![
        case(
            "verifier-missing",
            TWO,
            |lab| fs::remove_dir_all(lab.verifier()).unwrap(),
            Names(Door::Ctr2),
        ),
        case(
            "verifier-empty",
            TWO,
            |lab| fs::remove_file(program(lab)).unwrap(),
            Names(Door::Ctr2),
        ),
        case("verifier-foreign", TWO, foreign_verifier, Names(Door::Ctr2)),
        case(
            "verifier-limit",
            TWO,
            |lab| drop_in(lab, TWO, &bindir("max_verifiers = 0")),
            Names(Door::Ctr2),
        ),
        case(
            "verifier-timeout",
            TWO,
            |lab| drop_in(lab, TWO, &bindir("per_verifier_timeout = \"1s\"")),
            Nothing,
        ),
        case(
            "verifier-writable",
            TWO,
            |lab| mode(&lab.verifier(), 0o777),
            Nothing,
        ),
        case(
            "verifier-unusable",
            TWO,
            |lab| mode(&program(lab), 0o644),
            Nothing,
        ),
        by_hand("verifier-crowded", TWO, crowded, |lab| {
            fs::remove_file(lab.verifier().join("10-other")).unwrap();
        }),
        Case {
            by_fix: false,
            ..case("verifier-off", TWO, verifier_off, Nothing)
        },
    ]
}

fn of_gate() -> Vec<Case> {
    vec![
        case(
            "gate-missing",
            TWO,
            |lab| fs::remove_file(folder(lab, TWO).join("rootpin.toml")).unwrap(),
            Bytes(Door::Local2),
        ),
        case(
            "gate-missing",
            ONE,
            |lab| fs::remove_file(folder(lab, ONE).join("rootpin.toml")).unwrap(),
            Bytes(Door::Local17),
        ),
        case(
            "gate-order",
            TWO,
            |lab| drop_in(lab, TWO, ORDER),
            Bytes(Door::Local2),
        ),
        case(
            "gate-order",
            ONE,
            |lab| drop_in(lab, ONE, ORDER),
            Bytes(Door::Cri17),
        ),
        case(
            "door-not-asked",
            TWO,
            |lab| drop_in(lab, TWO, ORDER),
            Bytes(Door::Local2),
        ),
        case(
            "unpack-config",
            TWO,
            |lab| drop_in(lab, TWO, &unpack("overlayfs", "walking")),
            Bytes(Door::Import2),
        ),
        case(
            "unpack-config",
            ONE,
            |lab| drop_in(lab, ONE, &unpack("overlayfs", "walking")),
            Nothing,
        ),
        case(
            "snapshotter-unlisted",
            TWO,
            |lab| drop_in(lab, TWO, &unpack("native", "rootpin-apply")),
            Nothing,
        ),
        case("required-plugins", TWO, not_required, Nothing),
    ]
}

fn of_configuration() -> Vec<Case> {
    vec![
        by_hand(
            "stream-processor",
            TWO,
            |lab| drop_in(lab, TWO, PROCESSOR),
            without_site,
        ),
        by_hand("remote-snapshotter", TWO, remote_snapshotter, without_site),
        by_hand("plugin-error", TWO, transfer_broken, as_packaged),
        by_hand(
            "config-ignored",
            TWO,
            |lab| drop_in(lab, TWO, OLD_NAMES),
            without_site,
        ),
        by_hand(
            "config-ignored",
            ONE,
            |lab| {
                drop_in(
                    lab,
                    ONE,
                    "version = 2\n[plugins.\"io.containerd.cri.v1.images\"]\n  x = 1\n",
                );
            },
            without_site,
        ),
        by_hand(
            "section-replaced",
            ONE,
            |lab| drop_in(lab, ONE, REGISTRY),
            without_site,
        ),
        case("drop-in-ignored", TWO, not_imported, Bytes(Door::Local2)),
    ]
}

fn of_cri() -> Vec<Case> {
    vec![
        cri(|lab| drop_in(lab, TWO, &images("use_local_image_pull = true"))),
        cri(|lab| drop_in(lab, TWO, &images("disable_snapshot_annotations = false"))),
        cri(|lab| drop_in(lab, TWO, &images("discard_unpacked_layers = true"))),
        cri(|lab| drop_in(lab, TWO, &images("max_concurrent_downloads = 5"))),
        cri(|lab| drop_in(lab, TWO, &images("image_pull_with_sync_fs = true"))),
        Case {
            close: Some(without_site),
            ..cri(|lab| {
                drop_in(
                    lab,
                    TWO,
                    &images(
                        "registry.config_path = \"\"\n  registry.mirrors.\"r.test\".endpoint = [\"http://127.0.0.1:1\"]",
                    ),
                );
            })
        },
        case(
            "cri-config-path-list",
            TWO,
            |lab| {
                drop_in(
                    lab,
                    TWO,
                    &images("registry.config_path = \"/etc/a:/etc/b\""),
                );
            },
            Nothing,
        ),
        case(
            "cri-annotations",
            ONE,
            |lab| {
                edit(
                    lab,
                    "containerd17.toml",
                    "disable_snapshot_annotations = false",
                    "discard_unpacked_layers = true",
                );
            },
            Nothing,
        ),
        case(
            "nri-off",
            ONE,
            |lab| {
                edit(
                    lab,
                    "containerd17.toml",
                    "  disable = false",
                    "  disable = true",
                );
            },
            Nothing,
        ),
        by_hand("nri-fails-open", TWO, |_| {}, |_| {}),
        case("socket-open", TWO, |_| {}, Nothing),
        by_hand("restart-pending", TWO, |_| {}, |_| {}),
    ]
}

pub(crate) const ONE: &str = "containerd17";
pub(crate) const TWO: &str = "containerd2";
const ORDER: &str = "version = 2\n[plugins.\"io.containerd.service.v1.diff-service\"]\n  default = [\"walking\", \"rootpin\"]\n";
const PROCESSOR: &str = "version = 3\n[stream_processors.own]\n  accepts = [\"application/vnd.oci.image.layer.v1.tar+gzip\"]\n  \
     returns = \"application/vnd.oci.image.layer.v1.tar\"\n  path = \"/none\"\n";
const REGISTRY: &str =
    "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/c\"\n";
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

pub(crate) fn folder(lab: &Lab, engine: &str) -> PathBuf {
    lab.root.join(format!("etc/{engine}.d"))
}

/// A drop-in that is read after rootpin's.
pub(crate) fn drop_in(lab: &Lab, engine: &str, text: &str) {
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

pub(crate) fn mode(path: &std::path::Path, mode: u32) {
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

/// Beside a limit, past which containerd leaves programs out.
fn crowded(lab: &Lab) {
    another_verifier(lab);
    drop_in(lab, TWO, &bindir("max_verifiers = 10"));
}

fn foreign_verifier(lab: &Lab) {
    another_verifier(lab);
    fs::remove_file(program(lab)).unwrap();
}

fn verifier_off(lab: &Lab) {
    drop_in(
        lab,
        TWO,
        "version = 3\ndisabled_plugins = [\"io.containerd.image-verifier.v1.bindir\"]\n",
    );
    // In 2.1 the transfer service does not load without it.
    for needed in ["image-verifier.v1.bindir", "transfer.v1.local"] {
        edit(
            lab,
            "containerd2.d/rootpin.toml",
            &format!("  \"io.containerd.{needed}\",\n"),
            "",
        );
    }
}

/// One plugin that containerd may start without.
fn not_required(lab: &Lab) {
    edit(
        lab,
        "containerd2.d/rootpin.toml",
        "  \"io.containerd.transfer.v1.local\",\n",
        "",
    );
}

/// A differ that is not there, and nobody who insists on the transfer service.
fn transfer_broken(lab: &Lab) {
    drop_in(lab, TWO, &unpack("overlayfs", "missing"));
    edit(
        lab,
        "containerd2.d/rootpin.toml",
        "  \"io.containerd.transfer.v1.local\",\n",
        "",
    );
}

fn remote_snapshotter(lab: &Lab) {
    drop_in(
        lab,
        TWO,
        "version = 3\n[proxy_plugins.stargz]\n  type = \"snapshot\"\n  address = \"/run/none.sock\"\n",
    );
}

/// rootpin's drop-in in the folder beside the main file, and a main file that imports nothing.
fn not_imported(lab: &Lab) {
    let etc = lab.root.join("etc");
    fs::create_dir_all(etc.join("conf.d")).unwrap();
    fs::rename(
        folder(lab, TWO).join("rootpin.toml"),
        etc.join("conf.d/rootpin.toml"),
    )
    .unwrap();
    let imports = format!("imports = [\"{}/*.toml\"]\n", folder(lab, TWO).display());
    edit(lab, "containerd2.toml", &imports, "");
}

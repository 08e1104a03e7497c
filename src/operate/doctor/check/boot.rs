//! Whether rootpind is there after the next boot: engines ask it then, and are refused while it is
//! away.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::code::Code;
use super::super::config_files;
use super::super::hole::Hole;
use crate::config::Config;

/// What systemd must start with the host, one of them.
const UNITS: [&str; 2] = ["rootpind.service", "rootpind.socket"];
/// Where it finds units (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Whether systemd starts rootpind with the host, where it has its unit. `root`: the host's root
/// directory.
pub(in super::super) fn at_boot(root: &Path, config: &Config) -> Option<Hole> {
    let folders = UNIT_FOLDERS.map(|folder| root.join(folder));
    let has_unit = folders.iter().any(|folder| folder.join(UNITS[0]).exists());
    let is_booted = root.join("run/systemd/system").is_dir();
    let others = folders.iter().flat_map(|folder| entries(folder));
    let mut others = others.filter(|path| !file_name(path).starts_with("rootpin"));
    if config.engines.is_empty() || !has_unit || !is_booted || others.any(|path| starts(&path)) {
        return None;
    }
    let found = format!("nothing starts {} at boot", UNITS.join(" or "));
    let change = "systemctl enable rootpind.socket rootpind.service";
    Some(Hole::new(Code::NotAtBoot, "", found).change(change))
}

/// Whether a unit, or a folder of one, has systemd start rootpind.
fn starts(path: &Path) -> bool {
    let name = file_name(path);
    match name.rsplit_once('.').map(|(_, kind)| kind) {
        Some("wants" | "requires" | "upholds") => {
            let mut units = UNITS.iter().map(|unit| path.join(unit));
            units.any(|unit| unit.symlink_metadata().is_ok())
        }
        Some("d") => entries(path).iter().any(|file| names_rootpind(file)),
        Some("service" | "target") => names_rootpind(path),
        _ => false,
    }
}

/// Whether a line of a unit's file names rootpind as what must be started.
fn names_rootpind(file: &Path) -> bool {
    let text = config_files::read(file).unwrap_or_default();
    text.lines().any(|line| {
        let (key, value) = line.split_once('=').unwrap_or_default();
        ["Wants", "Requires", "BindsTo", "Upholds"].contains(&key.trim())
            && UNITS.iter().any(|unit| value.contains(unit))
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_rootpind_that_systemd_does_not_start_with_the_host_is_told_before_the_next_boot() {
        let host = tempfile::tempdir().unwrap();
        let at = |name: &str| host.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        let engine =
            "[[engine]]\nname = \"a\"\ncontainerd = \"/c\"\ngate = \"/g\"\napply = \"/a\"\n";
        let found = |config: &str| {
            let config = config::parse(config).unwrap();
            let hole = at_boot(host.path(), &config)?;
            Some(hole.change)
        };
        let enable = Some("systemctl enable rootpind.socket rootpind.service".to_owned());
        write("run/systemd/system/x.service", "[Unit]\n");
        assert_eq!(found(engine), None, "it has no unit here");
        let unit = "[Unit]\nWants=rootpind.socket\n";
        write("usr/lib/systemd/system/rootpind.service", unit);
        assert_eq!(found(engine), enable);
        assert_eq!(found(""), None, "no engine asks");
        for (name, text) in [
            ("multi-user.target.wants/rootpind.service", ""),
            ("sockets.target.wants/rootpind.socket", ""),
            (
                "docker.service.d/rootpin.conf",
                "[Unit]\nWants=rootpind.service\n",
            ),
            (
                "site.target",
                "[Unit]\nRequires = a.service rootpind.socket\n",
            ),
        ] {
            let name = format!("etc/systemd/system/{name}");
            write(&name, text);
            assert_eq!(found(engine), None, "{name}");
            fs::remove_file(at(&name)).unwrap();
            assert_eq!(found(engine), enable, "{name}");
        }
        write("etc/systemd/system/a.service", "After=rootpind.service\n");
        assert_eq!(found(engine), enable, "an order starts nothing");
    }
}

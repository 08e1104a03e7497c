//! rootpin's own settings in files of others: `containerd config migrate` prints what a drop-in says
//! into the main file, where no record knows of it.

use std::path::{Path, PathBuf};

use toml::Value;

use super::super::config_files::{ConfigFile, ConfigFiles, is_ours};
use super::settings::{APPLY, GATE, PROXIES, REQUIRED};
use super::{generated, trial};
use crate::config::Engine;
use crate::operate::platform::{Inclusion, Platform};
use crate::problem::Problem;

/// The settings of rootpin in one file.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct OwnLines {
    pub(in super::super) file: PathBuf,
    /// Each with its line: `12 proxy_plugins.rootpin.address`.
    pub(in super::super) settings: Vec<String>,
}

/// Files with settings that have an engine ask rootpin. `verifiers`: folders of rootpin-verifier.
pub(in super::super) fn own_lines(
    files: &ConfigFiles,
    engine: &Engine,
    verifiers: &[&Path],
) -> Vec<OwnLines> {
    let of_file = |file: &ConfigFile| {
        let found = trial::leaves(&file.table);
        let found = found
            .iter()
            .filter(|(path, value)| is_own(path, value, engine, verifiers));
        let settings: Vec<String> = found
            .map(|(path, _)| {
                let keys: Vec<&str> = path.iter().map(String::as_str).collect();
                format!("line {} {}", file.line(&keys), path.join("."))
            })
            .collect();
        (!settings.is_empty()).then(|| OwnLines {
            file: file.path.clone(),
            settings,
        })
    };
    files.files.iter().filter_map(of_file).collect()
}

fn is_own(path: &[String], value: &Value, engine: &Engine, verifiers: &[&Path]) -> bool {
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    let text = value.as_str().unwrap_or_default();
    let lists = |wanted: &[&str]| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|name| wanted.contains(&name.rsplit('.').next().unwrap_or(name)))
    };
    match keys[..] {
        [PROXIES, _, "address"] => {
            let address = Path::new(text.strip_prefix("unix://").unwrap_or(text));
            address == engine.gate || address == engine.apply
        }
        [REQUIRED] => lists(&[GATE, APPLY]),
        [.., "default" | REQUIRED] => lists(&[GATE]),
        [.., "bin_dir"] => verifiers.contains(&Path::new(text)),
        [.., "unpack_config"] => value
            .as_array()
            .into_iter()
            .flatten()
            .any(|entry| entry.get("differ").and_then(Value::as_str) == Some(APPLY)),
        _ => false,
    }
}

impl OwnLines {
    /// The file and each of the lines.
    pub(in super::super) fn shown(&self) -> String {
        format!("{}: {}", self.file.display(), self.settings.join(", "))
    }
}

/// Refuses to write where another file says the same as rootpin's drop-in: only a person can take
/// those lines out, and an uninstall would leave them. A file that a platform writes anew has them
/// by that platform's own doing.
pub(super) fn none_beside_a_drop_in(
    files: &ConfigFiles,
    engine: &Engine,
    platform: Option<&Platform>,
) -> Result<(), Problem> {
    let has_drop_in = files.files.iter().skip(1).any(|file| is_ours(&file.path));
    let is_remade = matches!(
        platform.map(|platform| platform.inclusion),
        Some(Inclusion::NodeConfig(_))
    );
    let is_made =
        |file: &ConfigFile| generated::generated(&file.path, &file.text, Path::exists).is_some();
    if !has_drop_in || is_remade || files.files.first().is_some_and(is_made) {
        return Ok(());
    }
    // A drop-in of others is theirs: migrate prints into the main file alone.
    let main = files.files.first().map(|file| &file.path);
    let others: Vec<String> = own_lines(files, engine, &[])
        .iter()
        .filter(|lines| !is_ours(&lines.file) && Some(&lines.file) == main)
        .map(OwnLines::shown)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Problem::hinted(
        format!(
            "nothing is written: the main file has rootpin's settings beside rootpin's drop-in, as after containerd config migrate: {}",
            others.join("; ")
        ),
        "take these lines out, of a list rootpin's entries only, and run this again: the drop-in has them",
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    #[test]
    fn what_config_migrate_copied_from_the_drop_in_is_found_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let drop_in = "version = 3\nrequired_plugins = ['io.containerd.differ.v1.rootpin']\n[proxy_plugins.rootpin]\n  type = 'diff'\n  address = '/g'\n";
        let theirs = "version = 3\nimports = ['rootpin.toml']\nrequired_plugins = ['io.containerd.grpc.v1.cri']\n[plugins.'io.containerd.service.v1.diff-service']\n  default = ['walking']\n[proxy_plugins.nydus]\n  address = '/n'\n";
        let main = folder.path().join("config.toml");
        let engine = Engine {
            name: "main".to_owned(),
            containerd: "/c".into(),
            gate: "/g".into(),
            apply: "/a".into(),
            nri: None,
        };
        fs::write(folder.path().join("rootpin.toml"), drop_in).unwrap();
        let read = |text: &str| {
            fs::write(&main, text).unwrap();
            ConfigFiles::read(&main, &BTreeMap::new()).unwrap()
        };
        assert_eq!(none_beside_a_drop_in(&read(theirs), &engine, None), Ok(()));
        for (text, line) in [
            (
                "[proxy_plugins.rootpin]\naddress = 'unix:///g'\n",
                "line 9 proxy_plugins.rootpin.address",
            ),
            (
                "[proxy_plugins.x]\naddress = '/a'\n",
                "line 9 proxy_plugins.x.address",
            ),
            (
                "[plugins.'io.containerd.nri.v1.nri'.default_validator]\nrequired_plugins = ['rootpin']\n",
                "line 9 plugins.io.containerd.nri.v1.nri.default_validator.required_plugins",
            ),
            (
                "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\ndiffer = 'rootpin-apply'\n",
                "plugins.io.containerd.transfer.v1.local.unpack_config",
            ),
        ] {
            let why = none_beside_a_drop_in(&read(&format!("{theirs}{text}")), &engine, None)
                .unwrap_err();
            assert!(why.what.contains(line), "{why}");
        }
        let listed = theirs.replace("['walking']", "['rootpin', 'walking']");
        assert!(none_beside_a_drop_in(&read(&listed), &engine, None).is_err());
        let folders = own_lines(
            &read(&format!("{theirs}[plugins.v]\nbin_dir = '/v'\n")),
            &engine,
            &[Path::new("/v")],
        );
        assert_eq!(folders[0].settings, ["line 9 plugins.v.bin_dir"]);
        // A drop-in of an administrator, as one with the order of differs.
        let site = "version = 3\n[plugins.'io.containerd.service.v1.diff-service']\n  default = ['walking', 'rootpin']\n";
        fs::write(folder.path().join("site.toml"), site).unwrap();
        let both = theirs.replace("['rootpin.toml']", "['rootpin.toml', 'site.toml']");
        assert_eq!(none_beside_a_drop_in(&read(&both), &engine, None), Ok(()));
        // Alone they are somebody's own way to have the engine ask.
        let by_hand = read("version = 3\n[proxy_plugins.rootpin]\naddress = '/g'\n");
        assert_eq!(none_beside_a_drop_in(&by_hand, &engine, None), Ok(()));
    }
}

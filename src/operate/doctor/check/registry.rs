//! CRI's `config_path` where it is a list: the one folder of it that says the same.

use std::io;
use std::path::{Path, PathBuf};

use crate::hosts_toml::{DEFAULT, RegistryFolder, registries};
use crate::problem::Problem;

/// The folder that CRI would take every registry's file from, by itself.
///
/// # Errors
/// There is none; then with what to copy, so that there is.
pub(crate) fn one_folder(list: &str) -> Result<String, Problem> {
    let folders: Vec<&Path> = list
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(Path::new)
        .collect();
    let mut found: Vec<(String, &Path)> = Vec::new();
    for folder in &folders {
        let names = match registries(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| format!("{}: {error}", folder.display()))?,
        };
        let default = names.iter().any(|name| name == DEFAULT);
        for name in names {
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, folder));
            }
        }
        if default {
            // It answers for every registry, so that no later folder is looked into.
            break;
        }
    }
    let first = found
        .first()
        .map_or(folders.first().copied(), |(_, folder)| Some(*folder))
        .unwrap_or(Path::new("/etc/containerd/certs.d"));
    let elsewhere: Vec<(PathBuf, &str)> = found
        .iter()
        .filter(|(_, folder)| *folder != first)
        .map(|(name, folder)| {
            let file = RegistryFolder::own(folder, name)
                .map(|place| place.file())
                .unwrap_or_default();
            (file.parent().unwrap_or(folder).to_owned(), name.as_str())
        })
        .collect();
    if elsewhere.is_empty() {
        return Ok(first.display().to_string());
    }
    let names: Vec<&str> = elsewhere.iter().map(|(_, name)| *name).collect();
    let copied: Vec<String> = elsewhere
        .iter()
        .map(|(folder, _)| format!("'{}'", folder.display()))
        .collect();
    Err(Problem::hinted(
        format!(
            "CRI's config_path names several folders, {list:?}, of which it reads none while it pulls by the transfer service; {} is not in \
         {}",
            names.join(", "),
            first.display()
        ),
        format!(
            "cp -an {} '{}/' and run this again",
            copied.join(" "),
            first.display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_is_cut_to_one_folder_only_where_that_loses_no_registry() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        let list = format!("{}:{}", path("a"), path("b"));
        assert_eq!(
            one_folder(&list).unwrap(),
            path("a"),
            "none of them is there"
        );
        fs::create_dir_all(root.path().join("b/r.example_5000_")).unwrap();
        assert_eq!(
            one_folder(&list).unwrap(),
            path("b"),
            "the first is not there"
        );
        fs::create_dir_all(root.path().join("a/docker.io")).unwrap();
        let why = one_folder(&list).unwrap_err().to_string();
        assert!(
            why.ends_with(&format!(
                "hint: cp -an '{0}/b/r.example_5000_' '{0}/a/' and run this again",
                root.path().display()
            )),
            "{why}"
        );
        fs::create_dir_all(root.path().join("a/r.example_5000_")).unwrap();
        assert_eq!(one_folder(&list).unwrap(), path("a"));
        fs::create_dir_all(root.path().join("b/other")).unwrap();
        assert!(one_folder(&list).is_err());
        fs::create_dir_all(root.path().join("a/_default")).unwrap();
        assert_eq!(
            one_folder(&list).unwrap(),
            path("a"),
            "nothing after _default is looked into"
        );
    }
}

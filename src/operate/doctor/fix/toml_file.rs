//! One key in a file that an administrator wrote: everything else stays as it is, to the byte.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::super::config_files::{at, is_ours, with_mark};
use super::super::facts::EngineConfig;
use super::settings::Setting;
use super::{FileEdit, generated};
use crate::problem::Problem;

const CRI: &str = "io.containerd.grpc.v1.cri";
const ANNOTATIONS: &str = "disable_snapshot_annotations";

/// Without it a gate knows the layer and not the name. 1.7 would lose all else of CRI's section by
/// a drop-in, so that this goes into the file whose section is in force, and that is the last one
/// which has it. rootpin's own drop-in is written anew: one for a later containerd has a section.
pub(super) fn cri_annotations(
    config: &EngineConfig,
    planned: &[FileEdit],
) -> Result<FileEdit, Problem> {
    // Version 1 has the last part of a plugin's name.
    let short =
        config.files.version().is_none_or(|version| version < 2) && !config.files.files.is_empty();
    let section = if short { "cri" } else { CRI };
    let files = &config.files.files;
    let with_section = files
        .iter()
        .rev()
        .filter(|file| !is_ours(&file.path))
        .find(|file| at(&file.table, &["plugins", section]).is_some());
    let file = with_section.or(files.first());
    let path = file.map_or(&config.main, |file| &file.path);
    let before = file.map(|file| file.text.clone());
    if let (Some(made), Some(file)) = (
        before
            .as_deref()
            .and_then(|text| generated::generated(path, text, Path::exists)),
        file,
    ) {
        let lines = format!("[plugins.\"{section}\".containerd]\n  {ANNOTATIONS} = false");
        return Err(made.advice(&file.path, true, path, &lines));
    }
    let edit = planned.iter().find(|edit| edit.path == *path);
    let text = edit.map_or(before.as_deref().unwrap_or_default(), |edit| &edit.after);
    let after = set(
        text,
        &["plugins", section, "containerd", ANNOTATIONS],
        value(false),
    )?;
    Ok(FileEdit {
        path: path.clone(),
        before,
        after,
        mode: 0o644,
    })
}

/// The same as what must then be in force.
pub(super) fn annotations() -> Setting {
    Setting {
        path: ["plugins", CRI, "containerd", ANNOTATIONS]
            .map(str::to_owned)
            .to_vec(),
        value: false.into(),
    }
}

/// The main file with one more pattern in its `imports`.
pub(super) fn imports(config: &EngineConfig, pattern: &Path) -> Result<FileEdit, Problem> {
    let main = config
        .files
        .files
        .first()
        .ok_or_else(|| format!("there is no {}", config.main.display()))?;
    let pattern = pattern.display().to_string();
    let after = if main.table.contains_key("imports") {
        let mut document: DocumentMut = main
            .text
            .parse()
            .map_err(|error| format!("{}: {error}", main.path.display()))?;
        let list = document.get_mut("imports").and_then(Item::as_array_mut);
        list.ok_or_else(|| format!("{}: imports is no list", main.path.display()))?
            .push(pattern);
        with_mark(&main.text, document.to_string())
    } else {
        set(
            &main.text,
            &["imports"],
            value([pattern].into_iter().collect::<Array>()),
        )?
    };
    Ok(FileEdit {
        path: main.path.clone(),
        before: Some(main.text.clone()),
        after,
        mode: 0o644,
    })
}

/// The text with that key set. Tables that lead to it are made where they are missing, as sections
/// of their own.
pub(in super::super) fn set(text: &str, path: &[&str], to: Item) -> Result<String, Problem> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    put(document.as_table_mut(), path, to).ok_or_else(|| {
        format!(
            "{} can't be set: something else than a table is on the way",
            path.join(".")
        )
    })?;
    Ok(with_mark(text, document.to_string()))
}

/// The same in a table.
pub(super) fn put(table: &mut Table, path: &[&str], to: Item) -> Option<()> {
    let (last, tables) = path.split_last()?;
    let mut inner: &mut dyn toml_edit::TableLike = table;
    for key in tables {
        let made = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        inner = inner.entry(key).or_insert_with(made).as_table_like_mut()?;
    }
    match inner.get_mut(last) {
        // Its comments and its blanks stay.
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = to.into_value().ok()?;
            *old.decor_mut() = decor;
        }
        _ => {
            inner.insert(last, to);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::super::check::tests::{files, in_order};
    use super::*;

    #[test]
    fn the_name_s_line_of_1_7_never_makes_a_section_of_a_drop_in_that_is_written_anew() {
        let main = "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n\
            [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"r.example/pause:1\"\n";
        let section = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  max_concurrent_downloads = 3\n";
        let mut config = in_order("1.7.24").config.unwrap();
        let edited = |config: &EngineConfig| {
            let edit = cri_annotations(config, &[]).unwrap();
            (edit.path.display().to_string(), edit.after)
        };
        // The drop-in that rootpin wrote for the 2.1 that was here between.
        config.files = files(&[
            ("/etc/containerd/config.toml", main),
            ("/etc/containerd/conf.d/rootpin.toml", section),
        ]);
        let (path, text) = edited(&config);
        assert_eq!(path, "/etc/containerd/config.toml");
        assert!(
            text.starts_with(main) && text.contains("disable_snapshot_annotations = false"),
            "{text}"
        );
        // Somebody else's is the one whose section is in force.
        config.files = files(&[
            ("/etc/containerd/config.toml", main),
            ("/etc/containerd/conf.d/site.toml", section),
        ]);
        assert_eq!(edited(&config).0, "/etc/containerd/conf.d/site.toml");
    }
}

//! One key in a file that an administrator wrote: everything else stays as it is, to the byte.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::super::config_files::at;
use super::super::facts::{Config, Containerd};
use super::Edit;

/// Without it a gate knows the layer and not the name. 1.7 would lose all else of CRI's section by a drop-in, so that this goes into the
/// file whose section is in force, and that is the last one which has it.
pub(super) fn cri_annotations(facts: &Containerd, planned: &[Edit]) -> Result<Edit, String> {
    const CRI: &str = "io.containerd.grpc.v1.cri";
    let config = facts.config.as_ref().map_err(Clone::clone)?;
    let files = &config.files.files;
    let with_section = files.iter().rev().find(|file| at(&file.table, &["plugins", CRI]).is_some());
    let Some(file) = with_section.or(files.first()).filter(|file| file.path.exists()) else { return Err(no_main(config)) };
    let text = planned.iter().find(|edit| edit.path == file.path).map_or(&file.text, |edit| &edit.after);
    let after = set(text, &["plugins", CRI, "containerd", "disable_snapshot_annotations"], value(false))?;
    Ok(Edit { path: file.path.clone(), before: Some(file.text.clone()), after, mode: 0o644 })
}

/// The main file with one more pattern in its `imports`.
pub(super) fn imports(config: &Config, pattern: &Path) -> Result<Edit, String> {
    let Some(main) = config.files.files.first().filter(|main| main.path.exists()) else { return Err(no_main(config)) };
    let pattern = pattern.display().to_string();
    let after = if main.table.contains_key("imports") {
        let mut document: DocumentMut = main.text.parse().map_err(|error| format!("{}: {error}", main.path.display()))?;
        let list = document.get_mut("imports").and_then(Item::as_array_mut);
        list.ok_or_else(|| format!("{}: imports is no list", main.path.display()))?.push(pattern);
        document.to_string()
    } else {
        set(&main.text, &["imports"], value([pattern].into_iter().collect::<Array>()))?
    };
    Ok(Edit { path: main.path.clone(), before: Some(main.text.clone()), after, mode: 0o644 })
}

fn no_main(config: &Config) -> String {
    format!("there is no {}; make one with: containerd config default, and run this again", config.main.display())
}

/// The text with that key set. Tables that lead to it are made where they are missing, as sections of their own.
pub(super) fn set(text: &str, path: &[&str], to: Item) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    put(document.as_table_mut(), path, to)
        .ok_or_else(|| format!("{} can't be set: something else than a table is on the way", path.join(".")))?;
    Ok(document.to_string())
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

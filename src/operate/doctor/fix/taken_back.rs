//! rootpin's part of a file that others have changed at the same lines, or written anew with it: what
//! it added is taken out by its meaning.

use toml_edit::{Array, DocumentMut, Item, value};

use super::super::config_files::with_mark;
use super::{daemon_json, toml_file};
use crate::operate::record::TextRecord;
use crate::problem::Problem;

/// The present text without what rootpin added; none, where that is not known.
pub(in super::super) fn without_ours(text: &TextRecord, now: &str) -> Option<String> {
    let extension = text.path.extension()?.to_str()?;
    match extension {
        "json" => {
            let before = text.before.as_deref().unwrap_or("{}");
            let earlier = daemon_json::plugins(before);
            let all = daemon_json::plugins(&text.after);
            let ours = all.iter().filter(|name| !earlier.contains(name));
            let ours: Vec<&str> = ours.map(String::as_str).collect();
            (!ours.is_empty())
                .then(|| daemon_json::without_plugins(now, &ours))
                .flatten()
        }
        "toml" => {
            let earlier = imports(text.before.as_deref().unwrap_or_default())?;
            let ours: Vec<String> = imports(&text.after)?
                .into_iter()
                .filter(|import| !earlier.contains(import))
                .collect();
            let mut document: DocumentMut = now.parse().ok()?;
            let list = document.get_mut("imports").and_then(Item::as_array_mut)?;
            list.retain(|import| {
                !import
                    .as_str()
                    .is_some_and(|import| ours.iter().any(|known| known == import))
            });
            if list.is_empty() && earlier.is_empty() {
                document.remove("imports");
            }
            (!ours.is_empty()).then(|| with_mark(now, document.to_string()))
        }
        _ => None,
    }
}

/// A text with those imports of another, too, that it lacks. The other one, where that is all in
/// which they differ.
pub(in super::super) fn with_imports_of(text: &str, other: &str) -> Result<String, Problem> {
    let (known, wanted) = (
        imports(text).unwrap_or_default(),
        imports(other).unwrap_or_default(),
    );
    let mut list: Array = known.iter().map(String::as_str).collect();
    for import in wanted.iter().filter(|import| !known.contains(import)) {
        list.push(import.as_str());
    }
    let whole = toml_file::set(text, &["imports"], value(list))?;
    let table = |text: &str| text.parse::<toml::Table>().ok();
    Ok(if table(&whole) == table(other) {
        other.to_owned()
    } else {
        whole
    })
}

fn imports(text: &str) -> Option<Vec<String>> {
    let table: toml::Table = text.parse().ok()?;
    let list = table.get("imports").and_then(toml::Value::as_array);
    let names = list.into_iter().flatten().filter_map(toml::Value::as_str);
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, before: &str, after: &str) -> TextRecord {
        TextRecord {
            path: path.into(),
            before: Some(before.to_owned()),
            after: after.to_owned(),
            folders: Vec::new(),
            backups: Vec::new(),
            earlier: Vec::new(),
        }
    }

    #[test]
    fn an_import_is_taken_out_of_a_file_that_was_written_anew() {
        let of = |before: &str, after: &str, now: &str| {
            without_ours(&record("/etc/c.toml", before, after), now)
        };
        let after = "imports = [\"/d/*.toml\"]\nversion = 3\n";
        assert_eq!(
            of(
                "version = 3\n",
                after,
                "root = '/r'\nimports = ['/d/*.toml']\n\n[grpc]\n"
            )
            .as_deref(),
            Some("root = '/r'\n\n[grpc]\n")
        );
        assert_eq!(
            of(
                "version = 3\n",
                after,
                "imports = [\"/e.toml\", \"/d/*.toml\"]\n"
            )
            .as_deref(),
            Some("imports = [\"/e.toml\"]\n")
        );
        assert_eq!(of("version = 3\n", after, "no toml ["), None);
        // Lines that end as on Windows stay so.
        let now = "root = '/r'\r\nimports = ['/d/*.toml']\r\n[grpc]\r\n";
        assert_eq!(
            of("version = 3\n", after, now).as_deref(),
            Some("root = '/r'\r\n[grpc]\r\n")
        );
        // A file that rootpin made, and somebody added to.
        let made = TextRecord {
            before: None,
            ..record("/etc/c.toml", "", "version = 3\nimports = ['/d/*.toml']\n")
        };
        assert_eq!(
            without_ours(&made, "version = 3\nimports = ['/d/*.toml']\n[debug]\n").as_deref(),
            Some("version = 3\n[debug]\n")
        );
        let made = TextRecord {
            before: None,
            ..record(
                "/etc/daemon.json",
                "",
                "{\"authorization-plugins\": [\"rootpin\"]}",
            )
        };
        assert!(
            without_ours(&made, "{\"authorization-plugins\": [\"rootpin\"],\"a\":2}")
                .unwrap()
                .contains("\"a\":2")
        );
        assert_eq!(of("version = 3\n", "version = 4\n", "version = 5\n"), None);
    }

    #[test]
    fn an_import_that_others_rely_on_is_put_back_into_what_is_left() {
        let now = "version = 3\nimports = [ \"/d/*.toml\" ] # all\n";
        assert_eq!(with_imports_of("version = 3\n", now).as_deref(), Ok(now));
        let other = with_imports_of("imports = ['/e']\nversion = 3\n", &format!("{now}x = 1\n"));
        let table: toml::Table = other.unwrap().parse().unwrap();
        assert_eq!(table["imports"].to_string(), "[\"/e\", \"/d/*.toml\"]");
    }

    #[test]
    fn a_plugin_is_taken_out_of_a_daemon_json_of_one_line() {
        let text = record(
            "/etc/docker/daemon.json",
            "{\"a\":1}",
            "{\n  \"authorization-plugins\": [\"rootpin\"],\"a\":1}",
        );
        assert_eq!(
            without_ours(
                &text,
                "{\"authorization-plugins\":[\"opa\",\"rootpin\"],\"a\":2}"
            )
            .as_deref(),
            Some("{\"authorization-plugins\":[\"opa\"],\"a\":2}")
        );
        assert_eq!(without_ours(&text, "{"), None);
    }
}

//! rootpin's part of a file that others have changed at the same lines, or written anew with it: what
//! it added is taken out by its meaning.

use toml_edit::{DocumentMut, Item};

use super::daemon_json;
use crate::operate::record::TextRecord;

/// The present text without what rootpin added; none, where that is not known.
pub(in super::super) fn without_ours(text: &TextRecord, now: &str) -> Option<String> {
    let before = text.before.as_deref()?;
    let extension = text.path.extension()?.to_str()?;
    match extension {
        "json" => {
            let earlier = daemon_json::plugins(before);
            let all = daemon_json::plugins(&text.after);
            let ours = all.iter().filter(|name| !earlier.contains(name));
            let ours: Vec<&str> = ours.map(String::as_str).collect();
            (!ours.is_empty())
                .then(|| daemon_json::without_plugins(now, &ours))
                .flatten()
        }
        "toml" => {
            let earlier = imports(before)?;
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
            (!ours.is_empty()).then(|| document.to_string())
        }
        _ => None,
    }
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
        assert_eq!(of("version = 3\n", "version = 4\n", "version = 5\n"), None);
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

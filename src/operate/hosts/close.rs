//! Closes a `hosts.toml`. Only capabilities that let another host resolve tags go; everything else
//! that an administrator wrote stays, byte for byte.

use std::net::SocketAddr;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::finding::{HostsFinding, check_file, default_server};
use crate::hosts_toml::{
    Capabilities, Certificates, HostsFile, capabilities, is_resolver, resolver_url,
};

const NEW: &str = "# What a tag is, rootpin's resolver says: the digest that is signed for it. Check it by: rootpin hosts check\n";

/// The text of a closed file for a registry, made from its present text. A closed text comes back
/// as it is.
///
/// # Errors
/// The text is not understood, can't be closed without losing what it says, or another program
/// writes the file anew.
pub(crate) fn close(
    text: Option<&str>,
    registry: &str,
    resolver: SocketAddr,
    beside: &Certificates,
) -> Result<String, HostsFinding> {
    let before = text.unwrap_or_default();
    let mut file: HostsFile = before
        .parse()
        .map_err(|error: String| HostsFinding::malformed(&error))?;
    if text.is_some() && file.has_host_table() && check_file(&file, registry, resolver).is_empty() {
        return Ok(before.to_owned());
    }
    if let Some(line) = before
        .lines()
        .take(5)
        .find(|line| line.starts_with('#') && line.to_ascii_lowercase().contains("do not edit"))
    {
        return Err(HostsFinding::generated(line));
    }
    let document = file.document_mut();
    if document
        .get("server")
        .and_then(Item::as_str)
        .is_none_or(str::is_empty)
    {
        set(
            document.as_table_mut(),
            "server",
            value(default_server(registry, resolver)),
        );
    }
    let ours = document
        .get("server")
        .and_then(Item::as_str)
        .is_some_and(|server| is_resolver(server, resolver));
    if ours {
        set(
            document.as_table_mut(),
            "capabilities",
            list(&["pull", "resolve"]),
        );
    } else {
        withdraw(document.as_table_mut());
    }
    if text.is_none() {
        take_over(document, beside);
    }
    let hosts = document
        .entry("host")
        .or_insert_with(|| Item::Table(implicit()))
        .as_table_mut();
    let hosts = hosts.ok_or_else(|| HostsFinding::malformed("host is no table"))?;
    let mut asked = ours;
    for (host, item) in hosts.iter_mut() {
        let Some(table) = item.as_table_mut() else {
            continue;
        };
        if !is_resolver(&host, resolver) {
            withdraw(table);
        } else if !asked || resolves(table) {
            set(table, "capabilities", list(&["pull", "resolve"]));
            asked = true;
        }
    }
    if !asked {
        let mut table = Table::new();
        set(&mut table, "capabilities", list(&["pull", "resolve"]));
        hosts.insert(&resolver_url(resolver, registry), Item::Table(table));
    }
    // containerd 1.7 passes over a file without one.
    if hosts.is_empty() {
        hosts.set_implicit(false);
    }
    let after = file.to_string();
    let after = if text.is_none() {
        format!("{NEW}{after}")
    } else {
        after
    };
    // As an engine will read it.
    let closed: HostsFile = after
        .parse()
        .map_err(|error: String| HostsFinding::malformed(&error))?;
    check_file(&closed, registry, resolver)
        .into_iter()
        .next()
        .map_or(Ok(after), Err)
}

/// Takes from a host that it says what a tag is.
fn withdraw(table: &mut Table) {
    let Ok(Capabilities {
        pull,
        resolve,
        push,
    }) = capabilities(table)
    else {
        return;
    };
    if pull && resolve {
        let left = [("pull", pull), ("push", push)]
            .into_iter()
            .filter_map(|(name, has)| has.then_some(name));
        set(table, "capabilities", list(&left.collect::<Vec<_>>()));
    }
}

/// Sets a key. What stands around a value that is there, as a comment behind it, stays.
fn set(table: &mut Table, key: &str, mut item: Item) {
    if let (Some(old), Some(new)) = (table.get(key).and_then(Item::as_value), item.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    match table.get_mut(key) {
        Some(old) => *old = item,
        None => _ = table.insert(key, item),
    }
}

fn resolves(table: &Table) -> bool {
    capabilities(table).is_ok_and(Capabilities::resolves)
}

fn take_over(document: &mut DocumentMut, beside: &Certificates) {
    if !beside.ca.is_empty() {
        set(
            document.as_table_mut(),
            "ca",
            list(&beside.ca.iter().map(String::as_str).collect::<Vec<_>>()),
        );
    }
    if !beside.client.is_empty() {
        let pair = |(certificate, key): &(String, Option<String>)| match key {
            Some(key) => toml_edit::Value::Array(
                [certificate, key].into_iter().map(String::as_str).collect(),
            ),
            None => certificate.as_str().into(),
        };
        set(
            document.as_table_mut(),
            "client",
            value(beside.client.iter().map(pair).collect::<Array>()),
        );
    }
}

fn list(names: &[&str]) -> Item {
    value(names.iter().copied().collect::<Array>())
}

fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts_toml::DEFAULT;

    fn at() -> SocketAddr {
        "127.0.0.1:5055".parse().unwrap()
    }

    fn closed(text: Option<&str>, registry: &str) -> Result<String, HostsFinding> {
        close(text, registry, at(), &Certificates::default())
    }

    fn codes(text: &str, registry: &str) -> Vec<&'static str> {
        match text.parse::<HostsFile>() {
            Ok(file) => check_file(&file, registry, at())
                .into_iter()
                .map(|hole| hole.code.as_str())
                .collect(),
            Err(_) => vec!["malformed"],
        }
    }

    #[test]
    fn a_new_file_is_closed_and_says_what_it_is() {
        let text = closed(None, "docker.io").unwrap();
        assert_eq!(
            text.split_once('\n').unwrap().1,
            "server = \"https://registry-1.docker.io\"\ncapabilities = [\"pull\", \"push\"]\n\n\
             [host.\"http://127.0.0.1:5055/resolve\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        );
        assert!(codes(&text, "docker.io").is_empty());
        assert!(
            closed(None, "127.0.0.1:5000")
                .unwrap()
                .contains("server = \"http://127.0.0.1:5000\"")
        );
        assert!(
            closed(None, "r.example:5000")
                .unwrap()
                .contains("server = \"https://r.example:5000\"")
        );
        let default = closed(None, DEFAULT).unwrap();
        assert!(
            default.ends_with(
                "server = \"http://127.0.0.1:5055\"\ncapabilities = [\"pull\", \"resolve\"]\n\n[host]\n"
            ),
            "{default}"
        );
        let without = default.trim_end().trim_end_matches("[host]");
        let again = closed(Some(without), DEFAULT).unwrap();
        assert!(again.contains("\n[host]\n"), "{again}");
    }

    #[test]
    fn what_an_administrator_wrote_stays_but_for_who_may_resolve() {
        let before = "# ours\nserver = \"https://r.example\"  # the registry\nca = \"/etc/ca.pem\"\n\n# near\n[host.\"https://m.example\"]\n  \
                      client = [[\"a.cert\", \"a.key\"]]\n  [host.\"https://m.example\".header]\n    x-custom = [\"1\"]\n\n\
                      [host.\"https://cache.example/v2/proxy\"]\ncapabilities = [ \"pull\" ] # bytes only\noverride_path = true\n\
                      [host.\"https://old.example\"]\n  capabilities = [\"pull\", \"resolve\"]  # both\n";
        let after = closed(Some(before), "r.example").unwrap();
        assert!(codes(&after, "r.example").is_empty());
        for line in before
            .lines()
            .filter(|line| !line.is_empty() && !line.ends_with("# both"))
        {
            assert!(after.contains(line), "{line} is lost in {after}");
        }
        let diff: Vec<_> = after
            .lines()
            .filter(|line| !before.lines().any(|old| old == *line))
            .collect();
        assert_eq!(
            diff,
            [
                "capabilities = [\"pull\", \"push\"]",
                "capabilities = [\"pull\", \"push\"]",
                "  capabilities = [\"pull\"]  # both",
                "[host.\"http://127.0.0.1:5055/resolve\"]",
                "capabilities = [\"pull\", \"resolve\"]",
            ],
            "{after}"
        );
        assert_eq!(closed(Some(&after), "r.example").unwrap(), after);
    }

    #[test]
    fn certificates_that_were_taken_from_the_folder_are_named_in_a_new_file() {
        let beside = Certificates {
            ca: vec!["ca.crt".to_owned()],
            client: vec![
                ("a.cert".to_owned(), Some("a.key".to_owned())),
                ("b.cert".to_owned(), None),
            ],
        };
        let text = close(None, "r.example", at(), &beside).unwrap();
        assert!(
            text.contains("ca = [\"ca.crt\"]\nclient = [[\"a.cert\", \"a.key\"], \"b.cert\"]\n"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_another_program_writes_anew_is_left_as_it_is() {
        let text = "# File generated by k3s. DO NOT EDIT.\n\nserver = \"https://quay.io/v2\"\ncapabilities = [\"pull\", \"resolve\", \"push\"]\n";
        let hole = closed(Some(text), "quay.io").unwrap_err();
        assert_eq!(hole.code.as_str(), "generated");
        assert!(
            hole.found.contains("File generated by k3s") && hole.hint.contains("--dir"),
            "{hole:?}"
        );
    }

    #[test]
    fn each_way_to_be_open_has_its_code() {
        let ours =
            "[host.\"http://127.0.0.1:5055/resolve\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
        let server = "server = \"https://r.example\"\ncapabilities = [\"pull\"]\n";
        assert!(codes(&format!("{server}{ours}"), "r.example").is_empty());
        for (text, wanted) in [
            (String::new(), &["no-server", "no-resolver"][..]),
            (ours.to_owned(), &["no-server"]),
            (format!("capabilities = [\"pull\"]\n{ours}"), &["no-server"]),
            (
                format!("server = \"https://r.example\"\n{ours}"),
                &["server-resolves"],
            ),
            (
                format!("server = \"https://r.example\"\ncapabilities = []\n{ours}"),
                &["server-resolves"],
            ),
            (
                format!("{server}{ours}[host.\"https://m.example\"]\n"),
                &["host-resolves"],
            ),
            (
                format!("{server}{ours}[host.\"https://m.example\".header]\nx = \"y\"\n"),
                &["host-resolves"],
            ),
            (server.to_owned(), &["no-resolver"]),
            (
                format!("{server}{}", ours.replace("5055", "5056")),
                &["host-resolves", "no-resolver"],
            ),
            (
                format!(
                    "{server}{}",
                    ours.replace("127.0.0.1:5055", "127.0.0.1.example:5055")
                ),
                &["host-resolves", "no-resolver"],
            ),
            (
                format!("{server}{}", ours.replace(", \"resolve\"", "")),
                &["no-resolver"],
            ),
            (format!("{server}{ours}x = "), &["malformed"]),
            (
                format!("{server}{}", ours.replace("\"resolve\"", "\"referrers\"")),
                &["malformed"],
            ),
            (
                format!("{server}CAPABILITIES = [\"pull\", \"resolve\"]\n{ours}"),
                &["malformed"],
            ),
            (
                format!(
                    "{server}host = {{ \"http://127.0.0.1:5055/resolve\" = {{ capabilities = [\"pull\", \"resolve\"] }} }}"
                ),
                &["malformed"],
            ),
            (
                format!(
                    "{server}host.\"http://127.0.0.1:5055/resolve\".capabilities = [\"pull\", \"resolve\"]"
                ),
                &["malformed"],
            ),
            (format!("{server}capabilities = 1\n{ours}"), &["malformed"]),
        ] {
            assert_eq!(codes(&text, "r.example"), wanted, "{text}");
        }
        assert!(codes("server = \"http://127.0.0.1:5055\"", DEFAULT).is_empty());
        assert_eq!(
            codes("server = \"https://m.example\"", DEFAULT),
            ["server-resolves", "no-resolver"]
        );
    }

    #[test]
    fn every_open_file_that_is_understood_can_be_closed() {
        for text in [
            "",
            "# only a comment\n",
            "server = \"\"\n",
            "capabilities = [\"resolve\", \"pull\"]",
            "[host.\"https://m.example\"]",
            "[host.\"https://m.example\".header]\nx = \"y\"\n",
            "[host]\n[host.\"http://127.0.0.1:5055\"]\ncapabilities = [\"push\"]\n",
            "[header]\nx = \"y\"\n[host.\"https://m.example\"]\ncapabilities = [\"resolve\"]\n",
        ] {
            for registry in ["r.example", DEFAULT] {
                let after =
                    closed(Some(text), registry).unwrap_or_else(|hole| panic!("{text}: {hole:?}"));
                assert!(codes(&after, registry).is_empty(), "{text} became {after}");
            }
        }
        assert_eq!(
            closed(Some("[host"), "r.example")
                .unwrap_err()
                .code
                .as_str(),
            "malformed"
        );
    }
}

//! Checks that every engine reads a file alike: the TOML that their parsers have in common (go-toml
//! 1.9 in containerd 1.7, go-toml 2 in 2.x and dockerd), and the values that the format takes
//! (`parseHostConfig` in containerd's core/remotes/docker/config/hosts.go). One other value, and an
//! engine passes over the whole file.

use std::net::Ipv6Addr;

use toml_edit::{Array, Item, Key, Table, TableLike, Value};

/// Names that the format gives a meaning, and engines take in any case.
const KEYS: [&str; 9] = [
    "server",
    "host",
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "header",
    "override_path",
    "dial_timeout",
];
/// `time.ParseDuration` in Go.
const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
/// Longer numbers overflow there, in hours.
const MAX_DIGITS: usize = 6;

/// The text as such.
pub(super) fn text(text: &str) -> Result<(), String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark".to_owned());
    }
    let odd = |sign: &char| sign.is_control() && !matches!(sign, '\t' | '\n' | '\r');
    if text.replace("\r\n", "\n").contains('\r') || text.chars().any(|sign| odd(&sign)) {
        return Err("a control character stands in it".to_owned());
    }
    Ok(())
}

/// What the file says of one host, or, at its top, of the registry itself.
pub(super) fn host(table: &Table) -> Result<(), String> {
    for (name, item) in table {
        let told = |why: &str| format!("{name:?}: {why}");
        if !KEYS.contains(&name) && KEYS.contains(&name.to_lowercase().as_str()) {
            return Err(format!("key {name:?} is not in lower case"));
        }
        if !takes(name, item) {
            return Err(told("a value that engines do not take there"));
        }
        // Hosts are looked at one by one.
        if name != "host" {
            spelled(item).map_err(told)?;
        }
    }
    keys(table).map_err(str::to_owned)
}

/// Whether engines take such a value for a key. What they don't know they pass over.
fn takes(key: &str, item: &Item) -> bool {
    match key {
        "server" => item.is_str(),
        "skip_verify" | "override_path" => item.is_bool(),
        "dial_timeout" => item.as_str().is_some_and(is_duration),
        "ca" => item.is_str() || item.as_array().is_some_and(of_strings),
        "client" => {
            let pair = |value: &Value| {
                value
                    .as_array()
                    .is_some_and(|pair| pair.len() == 2 && of_strings(pair))
            };
            let files = |list: &Array| list.iter().all(|one| one.is_str() || pair(one));
            item.is_str() || item.as_array().is_some_and(files)
        }
        "header" => item.as_table_like().is_some_and(|table| {
            table
                .iter()
                .all(|(_, item)| item.is_str() || item.as_array().is_some_and(of_strings))
        }),
        _ => true,
    }
}

fn of_strings(list: &Array) -> bool {
    list.iter().all(Value::is_str)
}

fn is_duration(text: &str) -> bool {
    let of_number = |sign: char| sign.is_ascii_digit() || sign == '.';
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" || text.is_empty() {
        return true;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(of_number);
        let number = rest.strip_suffix(unit).unwrap_or_default();
        let after = unit.trim_start_matches(|sign| !of_number(sign));
        let unit = unit.strip_suffix(after).unwrap_or_default();
        let digits = number.len() - number.matches('.').count();
        let is_number = number.len() - digits <= 1 && (1..=MAX_DIGITS).contains(&digits);
        if !is_number || !UNITS.contains(&unit) {
            return false;
        }
        rest = after;
    }
    !text.ends_with(['-', '+'])
}

/// The name of a host, or the server: scheme, host, port and path, and nothing that Go's net/url
/// refuses or finds no host in. containerd puts https before what does not begin with http.
pub(super) fn url(url: &str) -> Result<(), String> {
    let why = || format!("{url:?} is no URL of a host that every engine reads");
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let rest = rest.or_else(|| (!url.starts_with("http")).then_some(url));
    let (authority, path) = rest
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or_else(why)?;
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|v6| v6.split_once(']'))
    {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("v6", port),
        Some(_) => return Err(why()),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-._".contains(sign);
    let of_path = |sign: char| plain(sign) || "/~:@+".contains(sign);
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    if host.is_empty() || !host.chars().all(plain) || !is_port || !path.chars().all(of_path) {
        return Err(why());
    }
    Ok(())
}

/// Whether all parsers read the value, in whatever key: strings, truth values, lists and tables, as
/// TOML 1.0 spells them.
fn spelled(item: &Item) -> Result<(), &'static str> {
    match item {
        Item::None => Ok(()),
        Item::Value(value) => spelled_value(value),
        Item::Table(table) => {
            keys(table)?;
            table.iter().try_for_each(|(_, item)| spelled(item))
        }
        Item::ArrayOfTables(tables) => tables.iter().try_for_each(|table| {
            keys(table)?;
            table.iter().try_for_each(|(_, item)| spelled(item))
        }),
    }
}

fn spelled_value(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::String(text) => match text.as_repr().and_then(|repr| repr.as_raw().as_str()) {
            Some(raw) => spelled_text(raw),
            None => Ok(()),
        },
        Value::Boolean(_) => Ok(()),
        Value::Array(list) => list.iter().try_for_each(spelled_value),
        Value::InlineTable(table) => {
            let raw = table.to_string();
            let inner = raw.trim().trim_end_matches('}').trim_end();
            if raw.contains('\n') || inner.ends_with(',') {
                return Err("a table in braces that goes over lines or ends with a comma");
            }
            keys(table)?;
            table.iter().try_for_each(|(_, value)| spelled_value(value))
        }
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => {
            Err("a number or a date, which no key of the format takes")
        }
    }
}

fn keys(table: &dyn TableLike) -> Result<(), &'static str> {
    let all = table.iter().filter_map(|(name, _)| table.key(name));
    all.filter_map(|key: &Key| key.as_repr().and_then(|repr| repr.as_raw().as_str()))
        .try_for_each(spelled_text)
}

/// A bare key, or text in quotes on one line, with the escapes that TOML always had.
fn spelled_text(raw: &str) -> Result<(), &'static str> {
    if raw.starts_with("\"\"\"") || raw.starts_with("'''") {
        return Err("text over several lines");
    }
    let mut signs = raw.chars();
    while let Some(sign) = signs.next() {
        if sign == '\\' && !raw.starts_with('\'') {
            match signs.next() {
                Some('b' | 't' | 'n' | 'f' | 'r' | '"' | '\\' | 'u' | 'U') => {}
                _ => return Err("an escape that not every engine knows"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::HostsFile;

    const SERVER: &str = "server = \"https://r.example\"\ncapabilities = [\"pull\"]\n";
    const OURS: &str =
        "[host.\"http://127.0.0.1:5055/resolve\"]\ncapabilities = [\"pull\", \"resolve\"]\n";

    fn understood(text: &str) -> bool {
        text.parse::<HostsFile>().is_ok()
    }

    /// Each was given to go-toml 1.9.5 and 2.2.4, of which one at least refuses it, or to
    /// containerd's `parseHostConfig`.
    #[test]
    fn a_file_that_one_engine_passes_over_is_not_understood() {
        for line in [
            "skip_verify = \"true\"",
            "override_path = 1",
            "dial_timeout = 5",
            "dial_timeout = \"soon\"",
            "dial_timeout = \"5\"",
            "dial_timeout = \"1.5.s\"",
            "dial_timeout = \".s\"",
            "dial_timeout = \"+\"",
            "dial_timeout = \"5 s\"",
            "dial_timeout = \"9999999h\"",
            "header = \"x\"",
            "header = { x = 1 }",
            "header = { x = [\"1\", 2] }",
            "ca = 1",
            "ca = [1]",
            "ca = { file = \"x\" }",
            "client = [[\"a\", \"b\", \"c\"]]",
            "client = [[\"a\"]]",
            "client = [1]",
            "x = { a = true, }",
            "x = {\n a = true\n}",
            "x = \"\\e\"",
            "x = \"\\x41\"",
            "\"\\x41\" = true",
            "x = 07:32",
            "x = 1987-07-05T17:45Z",
            "x = 99999999999999999999999",
            "x = \"\"\"a\"\"\"\"\"",
            "x = '''a''''",
            "# \u{1}",
            "# \u{7f}",
            "# a\rb",
            "\"s\u{212a}ip_verify\" = true",
        ] {
            for text in [
                format!("{SERVER}{line}\n{OURS}"),
                format!("{SERVER}{OURS}{line}\n"),
                format!(
                    "{SERVER}{OURS}[host.\"https://m.example\"]\ncapabilities = [\"pull\"]\n{line}\n"
                ),
            ] {
                assert!(!understood(&text), "{text}");
            }
        }
        assert!(!understood(&format!("\u{feff}{SERVER}{OURS}")));
    }

    #[test]
    fn a_server_in_which_engines_find_no_host_is_not_understood() {
        for url in [
            "httpd.example",
            "http",
            "http:r.example",
            "https://",
            "https:///v2",
            "https://:5000",
            "/v2",
            "https://bad host",
            "https://r.example:port",
            "https://r.example:",
            "https://[::1",
            "https://[x]:5000",
            "HTTP://r.example",
            "ftp://r.example",
            "https://u@r.example",
            "https://r.example/%zz",
            "https://r.example?x",
        ] {
            let server = format!("server = \"{url}\"\ncapabilities = [\"pull\"]\n{OURS}");
            assert!(!understood(&server), "{url}");
            let host = format!("{SERVER}{OURS}[host.\"{url}\"]\ncapabilities = [\"pull\"]\n");
            assert!(!understood(&host), "{url}");
        }
        assert!(!understood(&format!("{SERVER}{OURS}[host.\"\"]\n")));
    }

    #[test]
    fn what_people_and_programs_write_is_understood() {
        for text in [
            "server = \"\"\n",
            "# a comment of ours, é\nserver = 'https://r.example:5000/v2/proxy_cache' # so\r\n",
            "server = \"r.example\"\nca = \"/etc/ca.pem\"\nclient = \"/etc/both.pem\"\n",
            "server = \"http://[::1]:5000\"\nskip_verify = true\nca = [\"a.pem\", \"b.pem\"]\n",
            "[host.\"https://m.example\"]\n  client = [[\"a.cert\", \"a.key\"], \"both.pem\", [\"a\", \"\"]]\n  override_path = false\n",
            "[host.'http://127.0.0.1:30020']\ndial_timeout = '200ms'\n[host.'https://b']\ndial_timeout = '-1.5h.5s0us'\n[host.'https://c']\ndial_timeout = ''\n[host.'https://d']\ndial_timeout = '0'\n",
            "[host.\"https://m.example\"]\ndial_timeout = \"1m30s\"\n[host.\"https://m.example\".header]\n  x-custom = [\"1\",\n \"2\",\n]\n \"Y\\u0041\" = \"z\"\n",
            "[host.\"https://m.example\"]\nheader = { x = \"y\" }\n[host.\"https://m.example\".rewrite]\n\"^library/(.*)\" = \"mirror/$1\"\n",
        ] {
            assert!(understood(text), "{text}: {:?}", text.parse::<HostsFile>());
        }
    }
}

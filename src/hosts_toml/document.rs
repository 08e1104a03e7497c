//! Reads one `hosts.toml` as engines read it. Whatever any engine reads differently is an error:
//! an engine passes over a file that it does not understand, and asks the registry.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use toml_edit::{DocumentMut, Item, Table};

use super::dialect;

/// No such file is longer.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// A file that every engine understands.
#[derive(Debug, Clone)]
pub(crate) struct HostsFile {
    document: DocumentMut,
}

/// What a host may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) push: bool,
}

impl Capabilities {
    /// Whether it is asked what a tag is: hosts that have both are.
    pub(crate) fn resolves(self) -> bool {
        self.pull && self.resolve
    }
}

impl FromStr for HostsFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("longer than {MAX_BYTES} bytes"));
        }
        dialect::text(text)?;
        let document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| error.to_string().trim_end().to_owned())?;
        let file = Self { document };
        dialect::host(file.root())?;
        if let Some(server) = file.server().filter(|server| !server.is_empty()) {
            dialect::url(server)?;
        }
        capabilities(file.root())?;
        for (name, table) in file.hosts()? {
            let told = |error: String| format!("host {name:?}: {error}");
            dialect::url(name)?;
            dialect::host(table).map_err(told)?;
            capabilities(table).map_err(told)?;
        }
        Ok(file)
    }
}

impl Display for HostsFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

impl HostsFile {
    /// The document, to be changed; parse its text again to know that it is still understood.
    pub(crate) fn document_mut(&mut self) -> &mut DocumentMut {
        &mut self.document
    }

    pub(crate) fn root(&self) -> &Table {
        self.document.as_table()
    }

    /// Whether there is a `[host]` table, be it empty.
    pub(crate) fn has_host_table(&self) -> bool {
        self.root().contains_key("host")
    }

    /// The registry itself, as the file names it.
    pub(crate) fn server(&self) -> Option<&str> {
        self.root().get("server").and_then(Item::as_str)
    }

    /// The hosts before it. Engines look for `[host."…"]` and pass over hosts that are written in
    /// any other way.
    pub(crate) fn hosts(&self) -> Result<Vec<(&str, &Table)>, String> {
        let Some(hosts) = self.root().get("host") else {
            return Ok(Vec::new());
        };
        let passed_over =
            || "containerd passes over hosts that are not written as [host.\"…\"]".to_owned();
        let hosts = hosts
            .as_table()
            .filter(|hosts| !hosts.is_dotted())
            .ok_or_else(passed_over)?;
        let standing = |table: &&Table| !table.is_dotted();
        let found: Vec<_> = hosts
            .iter()
            .filter_map(|(name, item)| Some((name, item.as_table().filter(standing)?)))
            .collect();
        if found.len() == hosts.len() {
            Ok(found)
        } else {
            Err(passed_over())
        }
    }
}

/// What a table says of capabilities: all, where it says nothing.
pub(crate) fn capabilities(table: &Table) -> Result<Capabilities, String> {
    let all = Capabilities {
        pull: true,
        resolve: true,
        push: true,
    };
    let Some(item) = table.get("capabilities") else {
        return Ok(all);
    };
    let list = item.as_array().ok_or("capabilities is not a list")?;
    if list.is_empty() {
        return Ok(all);
    }
    let mut found = Capabilities {
        pull: false,
        resolve: false,
        push: false,
    };
    for value in list {
        match value.as_str() {
            Some("pull") => found.pull = true,
            Some("resolve") => found.resolve = true,
            Some("push") => found.push = true,
            // `referrers` came with containerd 2.2; the ones before it pass over the whole file.
            other => {
                return Err(format!(
                    "capability {:?} is not known to every engine",
                    other.unwrap_or_default()
                ));
            }
        }
    }
    Ok(found)
}

//! The certificates beside a `hosts.toml`.

use std::fs;
use std::io;
use std::path::Path;

/// Certificates that an engine takes from a registry's folder only while it has no `hosts.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// `*.crt`: CAs.
    pub(crate) ca: Vec<String>,
    /// `*.cert`, each with its `*.key` if that exists.
    pub(crate) client: Vec<(String, Option<String>)>,
}

impl Certificates {
    /// Those in a folder, which may not exist.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub(crate) fn beside(folder: &Path) -> io::Result<Self> {
        let mut names = Vec::new();
        match fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries {
                    names.extend(entry?.file_name().into_string());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        names.sort();
        let kind = |name: &String| {
            Path::new(name)
                .extension()
                .and_then(|kind| kind.to_str().map(str::to_owned))
        };
        let key = |certificate: &str| format!("{}.key", certificate.trim_end_matches(".cert"));
        let pair = |name: &String| {
            (
                name.clone(),
                Some(key(name)).filter(|key| names.contains(key)),
            )
        };
        Ok(Self {
            ca: names
                .iter()
                .filter(|name| kind(name).as_deref() == Some("crt"))
                .cloned()
                .collect(),
            client: names
                .iter()
                .filter(|name| kind(name).as_deref() == Some("cert"))
                .map(pair)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_goes_with_its_key() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("r.example");
        assert_eq!(
            Certificates::beside(&folder).unwrap(),
            Certificates::default()
        );
        fs::create_dir(&folder).unwrap();
        for name in ["ca.crt", "a.cert", "a.key", "b.cert", "notes"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let found = Certificates::beside(&folder).unwrap();
        assert_eq!(found.ca, ["ca.crt"]);
        assert_eq!(
            found.client,
            [
                ("a.cert".to_owned(), Some("a.key".to_owned())),
                ("b.cert".to_owned(), None)
            ]
        );
    }
}

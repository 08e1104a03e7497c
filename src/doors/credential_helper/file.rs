//! A file with credentials, in the form of Docker's config.json, that its owner alone may read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};

use crate::credentials::Secret;
use crate::plain_file;
use crate::problem::Problem;

/// No such file is longer.
const MOST: u64 = 1 << 20;

pub(super) struct Keychain {
    folder: PathBuf,
    file: PathBuf,
}

impl Keychain {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            file: folder.join(name),
        }
    }

    /// The user's name and the secret for that server.
    pub(super) fn get(&self, server: &str) -> Result<Option<(String, Secret)>, Problem> {
        let auths = self.read()?;
        let Some(entry) = auths.get(server) else {
            return Ok(None);
        };
        pair(entry)
            .map(Some)
            .ok_or_else(|| self.failed(&"an entry is not understood"))
    }

    pub(super) fn list(&self) -> Result<BTreeMap<String, String>, Problem> {
        let auths = self.read()?;
        let users = auths
            .iter()
            .filter_map(|(server, entry)| Some((server.clone(), pair(entry)?.0)));
        Ok(users.collect())
    }

    pub(super) fn store(&self, server: &str, user: &str, secret: &str) -> Result<(), Problem> {
        let auth = STANDARD.encode(format!("{user}:{secret}"));
        self.change(|auths| {
            auths.insert(server.to_owned(), json!({ "auth": auth }));
        })
    }

    pub(super) fn erase(&self, server: &str) -> Result<(), Problem> {
        self.change(|auths| {
            auths.remove(server);
        })
    }

    /// Writes it anew, one program at a time, so that a crash leaves the old or the new one.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Problem> {
        let lock = || {
            fs::create_dir_all(&self.folder)?;
            let folder = fs::File::open(&self.folder)?;
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok::<_, std::io::Error>(folder)
        };
        let _locked = lock().map_err(|error| self.failed(&error))?;
        let mut auths = self.read()?;
        change(&mut auths);
        let write = || {
            let mut fresh = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(&self.folder)?;
            writeln!(fresh, "{:#}", json!({ "auths": auths }))?;
            fresh.as_file().sync_all()?;
            fresh.persist(&self.file).map_err(|error| error.error)?;
            Ok::<_, std::io::Error>(())
        };
        write().map_err(|error| self.failed(&error))
    }

    fn read(&self) -> Result<Map<String, Value>, Problem> {
        let bytes = match plain_file::read(&self.file, MOST) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.failed(&error)),
        };
        // The parser's words may quote a secret.
        let mut read: Value =
            serde_json::from_slice(&bytes).map_err(|_| self.failed(&"it is no JSON"))?;
        match read.get_mut("auths").map(Value::take) {
            Some(Value::Object(auths)) => Ok(auths),
            _ => Err(self.failed(&"it has no auths")),
        }
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> Problem {
        Problem::new(format!("rootpin: {}: {why}", self.file.display()))
    }
}

fn pair(entry: &Value) -> Option<(String, Secret)> {
    let bytes = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some((user.to_owned(), Secret(secret.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_found_until_it_is_erased_and_is_the_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let chain = Keychain::new(&folder.path().join("docker"), "c.json");
        assert_eq!(chain.get("r.example"), Ok(None));
        chain.store("r.example", "u", "p:w").unwrap();
        chain.store("s.example", "v", "q").unwrap();
        let found = chain.get("r.example").unwrap();
        assert_eq!(found, Some(("u".to_owned(), Secret("p:w".to_owned()))));
        let mode = fs::metadata(&chain.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        chain.erase("r.example").unwrap();
        assert_eq!(chain.get("r.example"), Ok(None));
        let left = BTreeMap::from([("s.example".to_owned(), "v".to_owned())]);
        assert_eq!(chain.list(), Ok(left));
        fs::write(&chain.file, "hunter2").unwrap();
        assert!(!chain.get("s.example").unwrap_err().what.contains("hunter2"));
        let refused = chain.store("s.example", "v", "q").unwrap_err().what;
        let wanted = format!("rootpin: {}: it is no JSON", chain.file.display());
        assert_eq!(refused, wanted, "it names the file once");
        assert_eq!(fs::read_to_string(&chain.file).unwrap(), "hunter2");
    }
}

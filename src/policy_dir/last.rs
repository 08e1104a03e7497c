//! The last policy that loaded, kept beside the state: a mistake in a policy must not keep a host
//! from coming up after a reboot, any more than it stops one that runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use rootpin_policy::{self, Policy};
use rootpin_trust::hex;
use rootpin_trust::image::Digest;

/// Some hundred fragments of the largest size.
const MAX_BYTES: u64 = 64 << 20;

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct LastGood {
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPolicy {
    version: u8,
    /// The folder that it was loaded from: another folder's policy is another policy.
    dir: PathBuf,
    hash: String,
    /// Texts by name: keys and certificates in DER have none, and are written as hex.
    files: BTreeMap<String, String>,
}

impl LastGood {
    /// In a state's folder.
    #[must_use]
    pub fn beside(state: &Path) -> Self {
        Self {
            file: state.join("policy.last"),
        }
    }

    /// Keeps the files of a policy that is in force, if it is not the one that is kept. Where it
    /// can't be kept, or its files have changed since it was loaded, an older one goes: what was
    /// revoked since must not come back with it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep(
        &self,
        dir: &Path,
        hash: Digest,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> io::Result<()> {
        if self
            .read()
            .is_ok_and(|form| form.hash == hash.to_string() && form.dir == dir)
        {
            return Ok(());
        }
        let kept = if rootpin_policy::hash(files) == hash {
            self.write(dir, hash, files)
        } else {
            self.forget()
        };
        kept.or_else(|error| self.forget().and(Err(error)))
    }

    fn write(&self, dir: &Path, hash: Digest, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        let files = files
            .iter()
            .map(|(name, bytes)| (name.clone(), hex::encode(bytes)))
            .collect();
        let text = serde_json::to_vec(&StoredPolicy {
            version: 1,
            dir: dir.to_owned(),
            hash: hash.to_string(),
            files,
        })?;
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let mut fresh = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(folder)?;
        fresh.write_all(&text)?;
        fresh
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))?;
        fresh.as_file().sync_all()?;
        fresh.persist(&self.file)?;
        File::open(folder)?.sync_all()
    }

    fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The policy that is kept, whole and with its own hash; none where there is none, or where
    /// anybody else could have written it.
    #[must_use]
    pub fn load(&self, dir: &Path, now: Timestamp) -> Option<Policy> {
        let form = self.read().ok().filter(|form| form.dir == dir)?;
        let files: Option<BTreeMap<_, _>> = form
            .files
            .into_iter()
            .map(|(name, text)| Some((name, hex::decode(&text)?)))
            .collect();
        let mut policy = super::load(&files?, now)
            .ok()
            .filter(|policy| policy.hash.to_string() == form.hash)?;
        policy.dir = dir.to_str().map(str::to_owned);
        Some(policy)
    }

    fn read(&self) -> io::Result<StoredPolicy> {
        let odd = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let metadata = fs::symlink_metadata(&self.file)?;
        let owner = fs::metadata("/proc/self")?.uid();
        if !metadata.is_file() || metadata.uid() != owner || metadata.mode() & 0o022 != 0 {
            return Err(odd("not a plain file of our own"));
        }
        let mut text = Vec::new();
        File::open(&self.file)?
            .take(MAX_BYTES)
            .read_to_end(&mut text)?;
        let form: StoredPolicy = serde_json::from_slice(&text)?;
        if form.version == 1 {
            Ok(form)
        } else {
            Err(odd("of another version"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(
            "policy.toml".to_owned(),
            format!("version = 1\ndefault = \"deny\"\n{text}").into_bytes(),
        )])
    }

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_policy_that_was_kept_comes_back_with_its_hash_and_no_other_does() {
        let dir = tempfile::tempdir().unwrap();
        let last = LastGood::beside(dir.path());
        assert!(last.load(dir.path(), now()).is_none());
        let first = rootpin_policy::load(&files("mode = \"audit\"\n"), now()).unwrap();
        last.keep(dir.path(), first.hash, &files("mode = \"audit\"\n"))
            .unwrap();
        assert_eq!(last.load(dir.path(), now()).unwrap().hash, first.hash);
        assert!(
            last.load(Path::new("/another/folder"), now()).is_none(),
            "the policy of another folder"
        );
        // The files have changed since the policy was read: what is there by now was not judged,
        // and what was in force before is over.
        let second = rootpin_policy::load(&files(""), now()).unwrap();
        last.keep(dir.path(), second.hash, &files("mode = \"audit\"\n"))
            .unwrap();
        assert!(
            last.load(dir.path(), now()).is_none(),
            "an older policy than the one in force"
        );
        last.keep(dir.path(), second.hash, &files("")).unwrap();
        assert_eq!(last.load(dir.path(), now()).unwrap().hash, second.hash);
    }

    #[test]
    fn a_policy_that_can_not_be_kept_takes_an_older_one_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let last = LastGood::beside(&state);
        let first = rootpin_policy::load(&files("mode = \"audit\"\n"), now()).unwrap();
        last.keep(dir.path(), first.hash, &files("mode = \"audit\"\n"))
            .unwrap();
        let second = rootpin_policy::load(&files(""), now()).unwrap();
        // A folder in the place of the file can't be written over, whoever asks.
        fs::remove_file(&last.file).unwrap();
        fs::create_dir(&last.file).unwrap();
        assert!(last.keep(dir.path(), second.hash, &files("")).is_err());
        assert!(last.load(dir.path(), now()).is_none());
    }

    #[test]
    fn what_others_can_write_or_what_was_changed_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let last = LastGood::beside(dir.path());
        let policy = rootpin_policy::load(&files(""), now()).unwrap();
        last.keep(dir.path(), policy.hash, &files("")).unwrap();
        fs::set_permissions(&last.file, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(last.load(dir.path(), now()).is_none());
        fs::set_permissions(&last.file, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&last.file).unwrap();
        let other = hex::encode(&files("mode = \"audit\"\n")["policy.toml"]);
        fs::write(
            &last.file,
            text.replace(&hex::encode(&files("")["policy.toml"]), &other),
        )
        .unwrap();
        assert!(last.load(dir.path(), now()).is_none());
    }
}

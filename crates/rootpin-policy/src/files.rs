//! The files of a policy, and their common hash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use rootpin_trust::image::Digest;

/// The directory of a policy, as far as it is asked for.
pub trait Files {
    /// The bytes of the file of that name, relative to the policy's directory.
    ///
    /// # Errors
    /// The file is missing, too large or not to be trusted.
    fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable>;

    /// The names of the fragments, as `policy.d/10.toml`, in any order.
    ///
    /// # Errors
    /// The directory of the fragments is there and can't be listed or trusted.
    fn fragments(&self) -> Result<Vec<String>, Unreadable>;

    /// Where the directory is, to be told to people; none where it is nowhere.
    fn dir(&self) -> Option<String> {
        None
    }
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// What a person can do.
    pub hint: String,
}

/// Files held in memory, by name.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable> {
        let missing = || Unreadable {
            message: "there is no such file".to_owned(),
            hint: format!("write {relative}"),
        };
        self.get(relative).cloned().ok_or_else(missing)
    }

    fn fragments(&self) -> Result<Vec<String>, Unreadable> {
        let names = self.keys().filter(|name| name.starts_with("policy.d/"));
        Ok(names.cloned().collect())
    }
}

/// Reads each file once, and remembers all of them for the hash.
pub(super) struct Reading<'a> {
    files: &'a dyn Files,
    read: RefCell<BTreeMap<String, Result<Vec<u8>, Unreadable>>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Self {
        let read = RefCell::default();
        Self { files, read }
    }

    pub(super) fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable> {
        let mut read = self.read.borrow_mut();
        let bytes = read.entry(relative.to_owned());
        bytes.or_insert_with(|| self.files.read(relative)).clone()
    }

    /// What `sha256sum FILE… | sha256sum` prints for the files in the order of their names' bytes
    /// (`LC_ALL=C`).
    pub(super) fn hash(&self) -> Digest {
        let read = self.read.borrow();
        let files = read.iter();
        of_all(files.filter_map(|(name, bytes)| Some((name, bytes.as_ref().ok()?))))
    }
}

/// The hash of a policy that is read from exactly these files.
#[must_use]
pub fn hash(files: &BTreeMap<String, Vec<u8>>) -> Digest {
    of_all(files.iter())
}

fn of_all<'a>(files: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> Digest {
    let mut sums = String::new();
    for (name, bytes) in files {
        // Writing to a String can't fail.
        let _ = writeln!(sums, "{}  {name}", Digest::of(bytes).hex());
    }
    Digest::of(sums.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_sha256sum_gives_whatever_the_order_of_reading() {
        let files = BTreeMap::from([
            ("a".to_owned(), b"1\n".to_vec()),
            ("b".to_owned(), b"2\n".to_vec()),
        ]);
        let hash = |order: [&str; 2]| {
            let reading = Reading::new(&files);
            for name in order {
                reading.read(name).unwrap();
            }
            reading.hash().hex()
        };
        let sums = format!(
            "{}  a\n{}  b\n",
            Digest::of(b"1\n").hex(),
            Digest::of(b"2\n").hex()
        );
        assert_eq!(hash(["a", "b"]), Digest::of(sums.as_bytes()).hex());
        assert_eq!(hash(["a", "b"]), hash(["b", "a"]));
    }
}

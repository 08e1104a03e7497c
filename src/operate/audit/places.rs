//! Finds trust directories: the ones that were named, and those in home directories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::findings::Untold;
use super::folder::{Allowance, OpenFolder};
use super::report::TrustDirectory;
use super::trust_directory;
use crate::observe::plain;

/// Where to look for trust directories.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrustPlace {
    /// A trust directory that a person named: it must be there.
    Named(PathBuf),
    /// A home directory: Docker's is `.docker/trust` in it, Notary's `.notary`.
    Home(PathBuf),
}

/// Below a home directory.
const IN_HOMES: [&[&str]; 2] = [&[".docker", "trust"], &[".notary"]];

/// The home directories of a passwd file (passwd(5)), and what else is in `/home`.
#[must_use]
pub fn homes(passwd: &str, in_home: &Path) -> Vec<TrustPlace> {
    let listed = passwd
        .lines()
        .filter_map(|line| line.split(':').nth(5))
        .filter(|home| home.starts_with('/') && *home != "/");
    let mut homes: BTreeSet<PathBuf> = listed
        .map(|home| PathBuf::from(home.trim_end_matches('/')))
        .collect();
    // Users of a directory service are in no such file.
    homes.extend(
        std::fs::read_dir(in_home)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path())),
    );
    homes
        .into_iter()
        .filter(|home| home.is_dir())
        .map(TrustPlace::Home)
        .collect()
}

/// Reads all trust directories that are there.
pub(super) fn read(places: &[TrustPlace]) -> (Vec<TrustDirectory>, Vec<Untold>) {
    let mut allowance = Allowance::default();
    let (mut directories, mut untold) = (Vec::new(), Vec::new());
    for place in places.iter().collect::<BTreeSet<_>>() {
        for opened in open(place) {
            let found = match opened {
                Ok(folder) => {
                    let found = trust_directory::read(&folder, &mut allowance);
                    if found.is_none() && matches!(place, TrustPlace::Named(_)) {
                        let why = "no trust directory: neither tuf/ nor private/ is in it";
                        untold.push(Untold::new(plain(&folder.path.to_string_lossy()), why));
                    }
                    found
                }
                Err((path, error)) => {
                    untold.push(Untold::new(plain(&path.to_string_lossy()), error));
                    None
                }
            };
            if let Some(found) = found {
                directories.push(found.directory);
                untold.extend(found.untold);
            }
        }
    }
    (directories, untold)
}

type Opened = Result<OpenFolder, (PathBuf, std::io::Error)>;

fn open(place: &TrustPlace) -> Vec<Opened> {
    match place {
        TrustPlace::Named(path) => {
            vec![OpenFolder::open(path).map_err(|error| (path.clone(), error))]
        }
        TrustPlace::Home(home) => IN_HOMES
            .iter()
            .filter_map(|names| below(home, names).transpose())
            .collect(),
    }
}

/// No link of a user's leads elsewhere: whoever audits may read more than the user.
fn below(home: &Path, names: &[&str]) -> Result<Option<OpenFolder>, (PathBuf, std::io::Error)> {
    let mut folder = OpenFolder::open(home).map_err(|error| (home.to_owned(), error))?;
    for name in names {
        match folder
            .child(name)
            .map_err(|error| (folder.path.join(name), error))?
        {
            Some(child) => folder = child,
            None => return Ok(None),
        }
    }
    Ok(Some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_directories_are_those_of_the_users_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, home) = (dir.path().join("alice"), dir.path().join("home"));
        std::fs::create_dir_all(&alice).unwrap();
        std::fs::create_dir_all(home.join("bob")).unwrap();
        let at = alice.display();
        let passwd = format!(
            "root:x:0:0:root:/:/bin/sh\na:x:1:1::{at}:/bin/sh\nb:x:2:2::{at}/:/bin/sh\nn:x:3:3::/nonexistent:\nbroken\n"
        );
        assert_eq!(
            homes(&passwd, &home),
            [TrustPlace::Home(alice), TrustPlace::Home(home.join("bob"))]
        );
    }

    #[test]
    fn a_home_without_trust_data_says_nothing_and_a_named_directory_that_is_none_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let places = [
            TrustPlace::Home(dir.path().to_owned()),
            TrustPlace::Named(dir.path().join("none")),
            TrustPlace::Named(dir.path().to_owned()),
        ];
        let (directories, untold) = read(&places);
        assert!(directories.is_empty());
        assert_eq!(untold.len(), 2, "{untold:?}");
        std::os::unix::fs::symlink("/etc", dir.path().join(".docker")).unwrap();
        let (_, untold) = read(&places[..1]);
        assert!(
            untold[0].subject.ends_with("/.docker") && untold[0].why.contains("not followed"),
            "{untold:?}"
        );
    }
}

//! Whether this state is the one that a person knows of.
//!
//! Floors that are lost look like floors that were never there: a volume that isn't mounted is an
//! empty folder. So the state has an ID, and `rootpin state acknowledge` writes it down beside the
//! configuration, where no volume of the state's takes it away. A new state without such a mark is
//! a first start, and is told as new until somebody acknowledges it; one beside the mark of another
//! state is a loss.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{StateOrigin, Store};
use crate::plain_text::shell_word;
use crate::problem::Problem;

/// The file of the mark.
#[derive(Debug, Clone)]
pub(crate) struct StateMark {
    path: PathBuf,
}

/// How a state stands to its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MarkStanding {
    /// The mark names this state; or there is neither mark nor ID, as an earlier rootpin left it.
    Acknowledged,
    /// Nobody has acknowledged this state, nor one before it.
    New(StateOrigin),
    /// The mark names another state, whose floors are lost or elsewhere.
    Lost {
        /// The ID in the mark.
        known: String,
        /// This state; none where an earlier rootpin made it.
        origin: Option<StateOrigin>,
    },
    /// The mark can't be read, or the state can't.
    Unknown(Problem),
}

impl MarkStanding {
    /// `acknowledged`, `new`, `lost` or `unknown`.
    #[must_use]
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::New(_) => "new",
            Self::Lost { .. } => "lost",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl StateMark {
    /// Beside a configuration.
    #[must_use]
    pub(crate) fn beside(config: &Path) -> Self {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        Self {
            path: config.with_file_name("state-id"),
        }
    }

    /// The file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How the state stands to it.
    #[must_use]
    pub(crate) fn standing(&self, store: &Store) -> MarkStanding {
        match (store.origin(), self.read()) {
            (Err(error), _) => MarkStanding::Unknown(error.to_string().into()),
            (_, Err(problem)) => MarkStanding::Unknown(problem.about(self.path.display())),
            (Ok(Some(origin)), Ok(None)) => MarkStanding::New(origin),
            (Ok(Some(origin)), Ok(Some(known))) if origin.id == known => MarkStanding::Acknowledged,
            (Ok(None), Ok(None)) => MarkStanding::Acknowledged,
            (Ok(origin), Ok(Some(known))) => MarkStanding::Lost { known, origin },
        }
    }

    /// The ID in it; none where there is no such file.
    fn read(&self) -> Result<Option<String>, Problem> {
        let failed = |error: io::Error| Problem::new(error.to_string());
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed)?,
        };
        let own = fs::metadata("/proc/self").map_err(failed)?.uid();
        if !metadata.is_file() || metadata.len() > 4096 {
            return Err(Problem::new("not the file that rootpin writes"));
        }
        if ![0, own].contains(&metadata.uid()) || metadata.mode() & 0o022 != 0 {
            let file = shell_word(&self.path.to_string_lossy());
            let hint = format!("chown root {file}; chmod 644 {file}");
            return Err(Problem::hinted("others can write it", hint));
        }
        let text = fs::read_to_string(&self.path).map_err(failed)?;
        let id = text
            .lines()
            .find(|line| !line.starts_with('#'))
            .unwrap_or_default();
        let hex = id.len() == 32
            && id
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hex {
            Ok(Some(id.to_owned()))
        } else {
            Err(Problem::hinted(
                "no ID of a state in it",
                "rootpin state acknowledge --lost",
            ))
        }
    }

    /// The text to write there.
    #[must_use]
    pub(crate) fn text(id: &str) -> String {
        format!(
            "# the state that this host's rollback floors are in; written by: rootpin state acknowledge\n{id}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_state_is_new_until_it_is_acknowledged_and_another_one_in_its_place_is_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let mark = StateMark::beside(&dir.path().join("rootpin.toml"));
        let open = |name: &str| Store::open(&dir.path().join(name)).unwrap();
        let first = open("state");
        let MarkStanding::New(origin) = mark.standing(&first) else {
            panic!("{:?}", mark.standing(&first))
        };
        assert_eq!(first.identify().unwrap(), origin);
        fs::write(mark.path(), StateMark::text(&origin.id)).unwrap();
        assert_eq!(mark.standing(&first), MarkStanding::Acknowledged);
        drop(first);
        assert_eq!(
            mark.standing(&open("state")),
            MarkStanding::Acknowledged,
            "though nothing was seen yet"
        );
        let second = open("unmounted");
        let MarkStanding::Lost { known, .. } = mark.standing(&second) else {
            panic!("{:?}", mark.standing(&second))
        };
        assert_eq!(known, origin.id);
        fs::write(mark.path(), "x").unwrap();
        let MarkStanding::Unknown(why) = mark.standing(&second) else {
            panic!("{:?}", mark.standing(&second))
        };
        let hint = why.hint.as_deref();
        assert_eq!(hint, Some("rootpin state acknowledge --lost"), "{why}");
    }

    #[test]
    fn a_state_that_was_written_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let id = {
            let store = Store::open(dir.path()).unwrap();
            let subject = rootpin_trust::Subject::Tuf;
            let contacts = vec![("root a", &subject, jiff::Timestamp::now())];
            let additions = crate::state::Additions {
                now: jiff::Timestamp::now(),
                verified: Vec::new(),
                contacts,
                rows: Vec::new(),
            };
            store.commit(&additions).unwrap();
            store.identify().unwrap()
        };
        assert_eq!(Store::open(dir.path()).unwrap().identify().unwrap(), id);
    }
}

//! The private keys that one command signs with.

use std::collections::BTreeMap;
use std::fmt;

use super::key::{Signer, SigningError};
use super::keyring::{KeyEntry, Keyring};
use rootpin_trust::KeyId;

type AskPassphrase<'a> = Box<dyn FnMut(&KeyEntry) -> Result<String, SigningError> + 'a>;

/// Keys by their canonical IDs. One that was unlocked stays so for the whole command.
pub struct OpenKeys<'a> {
    locked: Option<(&'a Keyring, AskPassphrase<'a>)>,
    open: BTreeMap<KeyId, Box<dyn Signer>>,
}

impl<'a> OpenKeys<'a> {
    /// Those of a keyring, each unlocked when it first signs, by the passphrase that `ask` gives.
    pub fn of(
        keyring: &'a Keyring,
        ask: impl FnMut(&KeyEntry) -> Result<String, SigningError> + 'a,
    ) -> Self {
        Self {
            locked: Some((keyring, Box::new(ask))),
            open: BTreeMap::new(),
        }
    }

    /// One key alone.
    pub fn only(key: impl Signer + 'static) -> Self {
        let id = key.public().id();
        let key: Box<dyn Signer> = Box::new(key);
        Self {
            locked: None,
            open: [(id, key)].into(),
        }
    }

    /// No key.
    #[must_use]
    pub fn none() -> Self {
        Self {
            locked: None,
            open: BTreeMap::new(),
        }
    }

    /// The key of that ID.
    ///
    /// # Errors
    /// It is not among these, or it stays locked.
    pub fn get(&mut self, id: KeyId) -> Result<&dyn Signer, SigningError> {
        if !self.open.contains_key(&id)
            && let Some((keyring, ask)) = &mut self.locked
        {
            self.open.insert(id, keyring.unlock(id, ask)?);
        }
        let missing =
            || SigningError::Unusable("a new repository that needs another signature".to_owned());
        self.open.get(&id).map(AsRef::as_ref).ok_or_else(missing)
    }
}

impl fmt::Debug for OpenKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.open.keys()).finish()
    }
}

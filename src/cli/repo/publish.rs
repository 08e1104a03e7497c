//! `rootpin repo publish`: brings what is in the working folder to its places.

use crate::publish::key::{Signer, SigningError};
use crate::publish::{Change, Draft, Metadata, Plan, PublishError, Unlock};

/// Nothing is changed, and no key is wanted.
pub(super) struct Bring;

impl Change for Bring {
    fn make(&mut self, _draft: &mut Draft) -> Result<(), PublishError> {
        Ok(())
    }

    fn restores(&self) -> bool {
        true
    }

    fn confirm(&mut self, _before: &Metadata, _plan: &Plan) -> Result<bool, PublishError> {
        Ok(true)
    }
}

impl Unlock for Bring {
    fn unlock(&mut self, _keyid: &str) -> Result<&dyn Signer, SigningError> {
        Err(SigningError::Unusable("a new repository that needs another signature"))
    }
}

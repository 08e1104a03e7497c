//! The file that names a key in a token: `keys/NAME.token`.

use std::path::{Path, PathBuf};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::key::{Signer, SigningError};
use super::super::private_file::{owned, read_public, unchangeable_by_others};
use super::super::public_key::{only_key, to_pem};
use super::objects::public_of;
use super::signing::TokenKey;
use super::{Open, TokenAddress, id_from_hex, open, refused};
use crate::problem::Problem;
use rootpin_trust::{PublicKey, hex};

/// A file that says where a key is.
#[derive(Debug)]
pub(in super::super) struct TokenFile {
    pub(super) module: PathBuf,
    pub(super) token: String,
    pub(super) label: String,
    pub(super) id: Vec<u8>,
    pub(in super::super) key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFileText {
    module: PathBuf,
    token: String,
    label: String,
    id: String,
    public: String,
}

impl TokenFile {
    /// Reads a file that only its owner can change: it names a library, and loading one is running
    /// code.
    pub(in super::super) fn read(path: &Path) -> Result<Self, SigningError> {
        let wrong = |why: String| SigningError::Token(path.display().to_string(), why.into());
        let resolved = unchangeable_by_others(path)?;
        let metadata = std::fs::metadata(&resolved)
            .map_err(|error| SigningError::File(path.display().to_string(), error))?;
        owned(path, &metadata)?;
        let bytes = read_public(&resolved)?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
        let form: TokenFileText =
            toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let TokenFileText {
            module,
            token,
            label,
            id,
            public,
        } = form;
        if !module.is_absolute() {
            return Err(wrong(format!(
                "the module {} is no absolute path",
                module.display()
            )));
        }
        let id = id_from_hex(&id).ok_or_else(|| wrong("the id is not hex digits".to_owned()))?;
        let key = only_key(public.as_bytes()).map_err(wrong)?;
        Ok(Self {
            module,
            token,
            label,
            id,
            key,
        })
    }

    pub(in super::super) fn text(&self) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned());
        let mut table = toml::Table::new();
        for (name, value) in [
            ("module", text(&self.module.display().to_string())),
            ("token", text(&self.token)),
            ("label", text(&self.label)),
            ("id", text(&hex::encode(&self.id))),
            ("public", text(&to_pem(&self.key).unwrap_or_default())),
        ] {
            table.insert(name.to_owned(), value);
        }
        table.to_string()
    }

    /// The token, for people.
    pub(in super::super) fn place(&self) -> String {
        format!("{} ({})", self.token, self.module.display())
    }

    /// Opens the token and finds the key in it.
    pub(in super::super) fn unlock(
        &self,
        pin: Zeroizing<String>,
    ) -> Result<impl Signer + use<>, SigningError> {
        let place = self.place();
        let wrong = |why: Problem| SigningError::Token(format!("the token {place}"), why);
        let failed = |error: &Error| refused(&place, error);
        let Open {
            session,
            mechanisms,
        } = open(&TokenAddress {
            module: &self.module,
            token: &self.token,
            pin: &pin,
        })?;
        let named = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(self.label.clone().into_bytes()),
            Attribute::Id(self.id.clone()),
        ];
        let [handle] = session
            .find_objects(&named)
            .map_err(|error| failed(&error))?[..]
        else {
            return Err(wrong(Problem::hinted(
                format!(
                    "not one key has the label {:?} and the id {} of the file",
                    self.label,
                    hex::encode(&self.id)
                ),
                "see what it has with pkcs11-tool -O",
            )));
        };
        if public_of(&session, &self.id)
            .map_err(|error| failed(&error))?
            .is_some_and(|found| found.id() != self.key.id())
        {
            return Err(wrong(
                "the key in it is not the one whose public part the file has".into(),
            ));
        }
        let asks = session
            .get_attributes(handle, &[AttributeType::AlwaysAuthenticate])
            .unwrap_or_default();
        let each = asks
            .contains(&Attribute::AlwaysAuthenticate(true))
            .then_some(pin);
        Ok(TokenKey {
            session,
            handle,
            public: self.key.clone(),
            place,
            each,
            mechanisms,
        })
    }
}

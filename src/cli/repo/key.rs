//! `rootpin repo key`: the keys in a working folder's keys/.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::passphrase::Passphrases;
use crate::cli::output::{Output, list, table, text};
use crate::publish::key::{Kind, SigningError};
use crate::publish::keyring::{self, KeyEntry, Keyring};
use crate::publish::token::NewKey;

/// The folder of keys in a working folder.
const KEYS: &str = "keys";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a key: keys/NAME.pem, encrypted, or a key inside a PKCS#11 token; and keys/NAME.pub to hand to others
    #[command(after_help = "examples:\n  rootpin repo key generate alice\n  \
        rootpin repo key generate root-1 --token /usr/lib/softhsm/libsofthsm2.so --token-label acme\n\n\
        The folder needs to be no working folder yet. Passphrases and PINs are asked for; scripts give --passphrase-file FILE.")]
    Generate(Generate),
    /// Show the keys that are here, and where their private parts are
    #[command(after_help = "example: rootpin repo key list --repo ./trust --json")]
    List,
}

#[derive(Debug, clap::Args)]
pub(super) struct Generate {
    /// What to call it
    name: String,
    /// ed25519, or ecdsa (P-256), which every token can make; default: ed25519 in a file, ecdsa in a token
    #[arg(long = "type", value_enum)]
    kind: Option<KeyType>,
    /// Make it inside the token that this PKCS#11 library drives
    #[arg(long, value_name = "MODULE", requires = "token_label")]
    token: Option<PathBuf>,
    /// The token's label
    #[arg(long, value_name = "LABEL", requires = "token")]
    token_label: Option<String>,
    #[command(flatten)]
    passphrases: Passphrases,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyType {
    Ed25519,
    Ecdsa,
}

pub(super) fn run(repo: &Path, verb: Verb, output: Output) -> Result<u8, SigningError> {
    let folder = repo.join(KEYS);
    match verb {
        Verb::Generate(verb) => {
            let entry = generate(&folder, &verb)?;
            let public = folder.join(format!("{}.pub", entry.name)).display().to_string();
            let mut value = entry_json(&entry);
            if let Some(object) = value.as_object_mut() {
                object.extend([("version".to_owned(), json!(1)), ("public".to_owned(), json!(public))]);
            }
            output.value(&value, |value| {
                let at = value.get("token").and_then(Value::as_str).map(|token| format!(" in the token {token}")).unwrap_or_default();
                format!(
                    "made {} ({}){at}\nkey ID {}\nhand out {}",
                    text(value, "name"),
                    text(value, "type"),
                    text(value, "keyid"),
                    text(value, "public")
                )
            });
        }
        Verb::List => {
            let keyring = Keyring::open(&folder)?;
            let keys: Vec<_> = keyring.keys().iter().map(entry_json).collect();
            output.value(&json!({ "version": 1, "keys": keys }), list_text);
        }
    }
    Ok(0)
}

fn generate(folder: &Path, verb: &Generate) -> Result<KeyEntry, SigningError> {
    let kind = |default| match verb.kind {
        Some(KeyType::Ed25519) => Kind::Ed25519,
        Some(KeyType::Ecdsa) => Kind::P256,
        None => default,
    };
    let (Some(module), Some(token)) = (&verb.token, &verb.token_label) else {
        keyring::check_new(folder, &verb.name)?;
        let passphrase = Zeroizing::new(verb.passphrases.of_new(&verb.name)?);
        return keyring::generate(folder, &verb.name, kind(Kind::Ed25519), &passphrase);
    };
    keyring::check_new(folder, &verb.name)?;
    let pin = Zeroizing::new(verb.passphrases.of(&format!("the token {token} (its PIN)"))?);
    keyring::generate_in_token(folder, &verb.name, kind(Kind::P256), &NewKey { module, token, pin: &pin })
}

fn entry_json(entry: &KeyEntry) -> Value {
    json!({ "name": entry.name, "keyid": entry.keyid, "type": entry.keytype(), "private": entry.private, "token": entry.token })
}

fn list_text(value: &Value) -> String {
    let mut rows = vec![["name", "type", "private part", "key ID"].map(str::to_owned).to_vec()];
    for key in list(value, "keys") {
        let private = match (key.get("token").and_then(Value::as_str), key.get("private").and_then(Value::as_bool)) {
            (Some(token), _) => format!("token {token}"),
            (None, Some(true)) => "file".to_owned(),
            _ => "elsewhere".to_owned(),
        };
        rows.push(vec![text(key, "name").to_owned(), text(key, "type").to_owned(), private, text(key, "keyid").to_owned()]);
    }
    table(&rows)
}

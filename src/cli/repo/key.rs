//! `rootpin repo key`: the keys in a working folder's keys/.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Here;
use super::passphrase::Passphrases;
use crate::cli::output::{Output, list, table, text};
use crate::problem::Problem;
use crate::publish::key::{KeyKind, SigningError};
use crate::publish::keyring::{self, KeyEntry, Keyring};
use crate::publish::token::{TokenAddress, Which, id_from_hex};

/// The folder of keys in a working folder.
const KEYS: &str = "keys";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a key: keys/NAME.pem, encrypted, or a key inside a PKCS#11 token; and keys/NAME.pub to
    /// hand to others
    #[command(after_help = "examples:\n  rootpin repo key generate alice\n  \
        rootpin repo key generate root-1 \\\n    \
            --token /usr/lib/softhsm/libsofthsm2.so --token-label acme\n\n\
        The folder needs to be no working folder yet. Passphrases and PINs are asked for; scripts give --passphrase-file FILE.")]
    Generate(Generate),
    /// Take up a key that another tool made: a private key's file, or one that a PKCS#11 token has
    /// already
    #[command(
        after_help = "examples:\n  rootpin repo key add alice --file ~/.docker/trust/private/f612….key\n  \
        rootpin repo key add root-1 --token /usr/lib/x86_64-linux-gnu/libykcs11.so \\\n    \
            --token-label 'YubiKey PIV' --token-key-id 02\n\n\
        A file is copied to keys/NAME.pem as it is; one that lies there already gets its keys/NAME.pub. A token keeps its key."
    )]
    Add(AddKey),
    /// Show the keys that are here, and where their private parts are
    #[command(after_help = "example: rootpin repo key list --repo ./trust --json")]
    List,
}

#[derive(Debug, clap::Args)]
pub(super) struct Generate {
    /// Its name
    name: String,
    /// ed25519, or ecdsa (P-256), which every token can make; default: ed25519 in a file, ecdsa in
    /// a token
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

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whence").required(true).args(["file", "token"]))]
pub(super) struct AddKey {
    /// Its name
    name: String,
    /// An encrypted private key, as OpenSSL, Notary and Docker write it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The PKCS#11 library that drives the token which has the key
    #[arg(long, value_name = "MODULE", requires = "token_label")]
    token: Option<PathBuf>,
    /// The token's label
    #[arg(long, value_name = "LABEL", requires = "token")]
    token_label: Option<String>,
    /// The key's label in the token, where it has more than one
    #[arg(long, value_name = "LABEL", requires = "token")]
    token_key: Option<String>,
    /// The key's ID in the token, where it has more than one
    #[arg(long, value_name = "HEX", requires = "token", value_parser = token_key_id)]
    token_key_id: Option<TokenKeyId>,
    #[command(flatten)]
    passphrases: Passphrases,
}

#[derive(Debug, Clone)]
struct TokenKeyId(Vec<u8>);

fn token_key_id(text: &str) -> Result<TokenKeyId, String> {
    id_from_hex(text)
        .map(TokenKeyId)
        .ok_or_else(|| "wanted hex digits, as 02 or 0a:1b".to_owned())
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyType {
    Ed25519,
    Ecdsa,
}

pub(super) fn run(here: &Here, verb: Verb, output: Output) -> Result<u8, SigningError> {
    let folder = here.repo.join(KEYS);
    match verb {
        Verb::Generate(verb) => show(&folder, &generate(&folder, &verb)?, "made", output),
        Verb::Add(verb) => show(&folder, &add(&folder, &verb)?, "added", output),
        Verb::List => {
            let keyring = Keyring::open(&folder)?;
            let keys: Vec<_> = keyring.keys().iter().map(entry_json).collect();
            if keys.is_empty() && !folder.is_dir() {
                return Err(SigningError::Name(Problem::hinted(
                    format!("{} is not there", folder.display()),
                    "rootpin repo key generate NAME makes a key in it",
                )));
            }
            output.value(&json!({ "version": 1, "keys": keys }), list_text);
        }
    }
    Ok(0)
}

fn show(folder: &Path, entry: &KeyEntry, done: &str, output: Output) {
    let public = folder
        .join(format!("{}.pub", entry.name))
        .display()
        .to_string();
    let mut value = entry_json(entry);
    if let Some(object) = value.as_object_mut() {
        object.extend([
            ("version".to_owned(), json!(1)),
            ("public".to_owned(), json!(public)),
        ]);
    }
    output.value(&value, |value| {
        let at = value
            .get("token")
            .and_then(Value::as_str)
            .map(|token| format!(" in the token {token}"))
            .unwrap_or_default();
        let [name, kind, keyid, public] =
            ["name", "type", "keyid", "public"].map(|member| text(value, member));
        format!("{done} {name} ({kind}){at}\nkey ID {keyid}\nhand out {public}")
    });
}

fn add(folder: &Path, verb: &AddKey) -> Result<KeyEntry, SigningError> {
    if let Some(file) = &verb.file {
        return keyring::add(folder, &verb.name, file, &mut || {
            verb.passphrases.of(&verb.name)
        });
    }
    let (Some(module), Some(token)) = (&verb.token, &verb.token_label) else {
        return Err(SigningError::Unusable(
            "neither --file nor --token".to_owned(),
        ));
    };
    keyring::check_new(folder, &verb.name)?;
    let pin = Zeroizing::new(
        verb.passphrases
            .of(&format!("the token {token} (its PIN)"))?,
    );
    let which = Which {
        label: verb.token_key.clone(),
        id: verb.token_key_id.as_ref().map(|id| id.0.clone()),
    };
    keyring::add_of_token(
        folder,
        &verb.name,
        &TokenAddress {
            module,
            token,
            pin: &pin,
        },
        &which,
    )
}

fn generate(folder: &Path, verb: &Generate) -> Result<KeyEntry, SigningError> {
    let kind = |default| match verb.kind {
        Some(KeyType::Ed25519) => KeyKind::Ed25519,
        Some(KeyType::Ecdsa) => KeyKind::P256,
        None => default,
    };
    let (Some(module), Some(token)) = (&verb.token, &verb.token_label) else {
        keyring::check_new(folder, &verb.name)?;
        let passphrase = Zeroizing::new(verb.passphrases.of_new(&verb.name)?);
        return keyring::generate(folder, &verb.name, kind(KeyKind::Ed25519), &passphrase);
    };
    keyring::check_new(folder, &verb.name)?;
    let pin = Zeroizing::new(
        verb.passphrases
            .of(&format!("the token {token} (its PIN)"))?,
    );
    keyring::generate_in_token(
        folder,
        &verb.name,
        kind(KeyKind::P256),
        &TokenAddress {
            module,
            token,
            pin: &pin,
        },
    )
}

fn entry_json(entry: &KeyEntry) -> Value {
    json!({ "name": entry.name, "keyid": entry.keyid, "type": entry.keytype(), "private": entry.private, "token": entry.token,
        "unusable": entry.unusable })
}

fn list_text(value: &Value) -> String {
    let mut rows = vec![
        ["name", "type", "private part", "key ID"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for key in list(value, "keys") {
        let member = |name: &str| key.get(name).and_then(Value::as_str);
        let private = match (
            member("unusable"),
            member("token"),
            key.get("private").and_then(Value::as_bool),
        ) {
            (Some(_), ..) => "can't be used".to_owned(),
            (None, Some(token), _) => format!("token {token}"),
            (None, None, Some(true)) => "file".to_owned(),
            _ => "elsewhere".to_owned(),
        };
        rows.push(vec![
            text(key, "name").to_owned(),
            text(key, "type").to_owned(),
            private,
            text(key, "keyid").to_owned(),
        ]);
    }
    table(&rows)
}

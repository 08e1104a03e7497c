//! The store of the credentials that this helper hands on: another helper, or a file.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use super::file::Keychain;
use super::{NOT_FOUND, TIMEOUT};
use crate::credentials::program;
use crate::plain_file;
use crate::problem::Problem;

/// In Docker's folder, one word: the helper behind this one, as in `credsStore`.
const NAMED: &str = "rootpin-backend";
/// This helper, which must not ask itself.
const OWN_HELPER: &str = "rootpin";
/// More than a helper's name, with room for a line's end.
const LONGEST_NAME: u64 = 256;
/// In Docker's folder, where no helper is named.
const FILE: &str = "rootpin-credentials.json";

pub(super) enum Backend {
    Helper(String),
    File(Keychain),
}

impl Backend {
    /// As the user's Docker folder says.
    pub(super) fn configured() -> Result<Self, Problem> {
        let folder = match env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => env::home_dir()
                .ok_or_else(|| {
                    Problem::hinted("rootpin: there is no home folder", "set DOCKER_CONFIG")
                })?
                .join(".docker"),
        };
        let named = folder.join(NAMED);
        match plain_file::read_text(&named, LONGEST_NAME) {
            Ok(name) => {
                let name = name
                    .trim()
                    .trim_start_matches("docker-credential-")
                    .to_owned();
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if name.is_empty() || name == OWN_HELPER || !name.bytes().all(plain) {
                    let what = format!("rootpin: {} names no other helper", named.display());
                    return Err(Problem::new(what));
                }
                Ok(Self::Helper(name))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::File(Keychain::new(&folder, FILE)))
            }
            Err(error) => Err(Problem::new(format!(
                "rootpin: {}: {error}",
                named.display()
            ))),
        }
    }

    pub(super) async fn get(&self, server: &str) -> Result<String, Problem> {
        match self {
            Self::Helper(name) => run(name, "get", server.as_bytes()).await,
            Self::File(file) => {
                let (user, secret) = file.get(server)?.ok_or_else(|| Problem::new(NOT_FOUND))?;
                let found = json!({ "ServerURL": server, "Username": user, "Secret": secret.0 });
                Ok(found.to_string())
            }
        }
    }

    pub(super) async fn list(&self) -> Result<BTreeMap<String, String>, Problem> {
        match self {
            Self::Helper(name) => {
                let said = run(name, "list", b"").await?;
                serde_json::from_str(&said)
                    .map_err(|_| Problem::new(format!("docker-credential-{name} gave no list")))
            }
            Self::File(file) => file.list(),
        }
    }

    pub(super) async fn store(&self, input: &[u8]) -> Result<String, Problem> {
        match self {
            Self::Helper(name) => run(name, "store", input).await,
            Self::File(file) => {
                let given: Value = serde_json::from_slice(input)
                    .map_err(|_| Problem::new("standard input is no credential"))?;
                let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
                if text("ServerURL").is_empty() {
                    return Err(Problem::new(super::NO_SERVER));
                }
                if text("Username").is_empty() {
                    return Err(Problem::new("no credentials username"));
                }
                file.store(text("ServerURL"), text("Username"), text("Secret"))?;
                Ok(String::new())
            }
        }
    }

    pub(super) async fn erase(&self, input: &[u8]) -> Result<String, Problem> {
        match self {
            Self::Helper(name) => run(name, "erase", input).await,
            Self::File(file) => {
                let server = String::from_utf8_lossy(input).trim().to_owned();
                if server.is_empty() {
                    return Err(Problem::new(super::NO_SERVER));
                }
                file.erase(&server)?;
                Ok(String::new())
            }
        }
    }
}

/// Asks the helper behind this one, and hands on what it says, its errors too.
async fn run(name: &str, verb: &str, input: &[u8]) -> Result<String, Problem> {
    let shown = format!("docker-credential-{name}");
    let found = program::find_helper(name, None).ok_or_else(|| {
        Problem::hinted(
            format!("rootpin: {shown} is not on PATH"),
            format!("{NAMED} in Docker's folder names it"),
        )
    })?;
    let mut command = Command::new(found);
    command.arg(verb);
    let limit = Instant::now() + TIMEOUT;
    let (status, said) = program::run(command, &shown, input, limit).await?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if status.success() {
        Ok(said)
    } else {
        Err(said.into())
    }
}

//! Where a passphrase comes from: a file, the environment, or a question on the terminal without echo.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::publish::key::SigningError;
use crate::publish::private_file::read_private;

/// Weaker than a file: every process of the user can read another one's environment.
const ENVIRONMENT: &str = "ROOTPIN_PASSPHRASE";
/// Longer than any passphrase that is typed.
const LONGEST: u64 = 4096;
/// How often two answers may differ.
const TRIES: usize = 3;

/// Where passphrases come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Passphrases {
    /// A file of mode 0600 whose first line is the passphrase, or the token's PIN; `-`: the first line of standard input. Without it the
    /// environment's `ROOTPIN_PASSPHRASE` counts, which is weaker, since every process of yours can read it; else the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// What standard input said: it can be read once.
    #[arg(skip)]
    input: Input,
}

/// Shared by all clones; shown by none.
#[derive(Clone, Default)]
struct Input(Arc<OnceLock<Zeroizing<String>>>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl Passphrases {
    /// The passphrase of a key that is there, or a token's PIN.
    pub(super) fn of(&self, name: &str) -> Result<String, SigningError> {
        match self.given(name)? {
            Some(given) => Ok(given),
            None => ask(&format!("passphrase of {name}: "), name),
        }
    }

    /// The passphrase for a new key: asked for twice.
    pub(super) fn of_new(&self, name: &str) -> Result<String, SigningError> {
        if let Some(given) = self.given(name)? {
            return Ok(given);
        }
        for _ in 0..TRIES {
            let first = Zeroizing::new(ask(&format!("passphrase for the new key {name}: "), name)?);
            let second = Zeroizing::new(ask("the same again: ", name)?);
            if first == second {
                return Ok(first.as_str().to_owned());
            }
        }
        Err(SigningError::Passphrase(format!("the passphrase for {name} was typed in two ways each time; hint: try again")))
    }

    fn given(&self, name: &str) -> Result<Option<String>, SigningError> {
        let text = match &self.passphrase_file {
            Some(file) if file == Path::new("-") => self.input()?.clone(),
            Some(file) => read_private(file)?,
            None => match std::env::var(ENVIRONMENT) {
                Ok(text) => Zeroizing::new(text),
                Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SigningError::Passphrase(format!("{ENVIRONMENT} is not UTF-8")));
                }
            },
        };
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(SigningError::Passphrase(format!("the passphrase given for {name} is empty; hint: an empty one protects nothing")));
        }
        Ok(Some(line.to_owned()))
    }

    fn input(&self) -> Result<&Zeroizing<String>, SigningError> {
        if let Some(known) = self.input.0.get() {
            return Ok(known);
        }
        let mut line = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or_default()));
        let failed = |error: io::Error| SigningError::Passphrase(format!("no passphrase on standard input: {error}"));
        // Byte by byte: what follows the line is for somebody else.
        for byte in io::stdin().lock().take(LONGEST).bytes() {
            match byte.map_err(failed)? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        let text = std::str::from_utf8(&line).map_err(|error| failed(io::Error::other(error)))?.to_owned();
        Ok(self.input.0.get_or_init(|| Zeroizing::new(text)))
    }
}

fn ask(question: &str, name: &str) -> Result<String, SigningError> {
    rpassword::prompt_password(question).map_err(|error| {
        SigningError::Passphrase(format!(
            "no passphrase for {name}: there is no terminal to ask ({error}); hint: give --passphrase-file FILE (mode 0600, or - for standard input), or set {ENVIRONMENT}"
        ))
    })
}

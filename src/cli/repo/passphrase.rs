//! The sources of a passphrase: a file, the environment, or a question on the terminal without
//! echo.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::problem::Problem;
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
pub(in crate::cli) struct Passphrases {
    /// File of mode 0600 whose first line is the passphrase or PIN; -: standard input
    ///
    /// Without it `ROOTPIN_PASSPHRASE` of the environment counts, or the terminal is asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The passphrase from standard input, which can be read once.
    #[arg(skip)]
    input: StandardInput,
    /// The passphrases typed for new keys, which sign in the same verb.
    #[arg(skip)]
    made: TypedPassphrases,
}

/// Shared by all clones; shown by none.
#[derive(Clone, Default)]
struct StandardInput(Arc<OnceLock<Zeroizing<String>>>);

impl fmt::Debug for StandardInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

/// By the names of the keys; shared by all clones, and shown by none.
#[derive(Clone, Default)]
struct TypedPassphrases(Arc<Mutex<BTreeMap<String, Zeroizing<String>>>>);

impl fmt::Debug for TypedPassphrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

impl Passphrases {
    /// The passphrase of a key that is there, or a token's PIN.
    pub(in crate::cli) fn of(&self, name: &str) -> Result<String, SigningError> {
        let made = || {
            self.made
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(name)
                .map(|typed| typed.as_str().to_owned())
        };
        match self.given(name)?.or_else(made) {
            Some(known) => Ok(known),
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
                self.made
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.to_owned(), first.clone());
                return Ok(first.as_str().to_owned());
            }
        }
        Err(SigningError::Passphrase(Problem::hinted(
            format!("the passphrase for {name} was typed in two ways each time"),
            "try again",
        )))
    }

    fn given(&self, name: &str) -> Result<Option<String>, SigningError> {
        let text = match &self.passphrase_file {
            Some(file) if file == Path::new("-") => {
                Zeroizing::new(self.input()?.as_bytes().to_vec())
            }
            Some(file) => read_private(file)?,
            None => match std::env::var(ENVIRONMENT) {
                Ok(text) => Zeroizing::new(text.into_bytes()),
                Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SigningError::Passphrase(
                        format!("{ENVIRONMENT} is not UTF-8").into(),
                    ));
                }
            },
        };
        let text = str::from_utf8(&text).map_err(|_| {
            SigningError::Passphrase(format!("the passphrase given for {name} is not UTF-8").into())
        })?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(SigningError::Passphrase(Problem::hinted(
                format!("the passphrase given for {name} is empty"),
                "an empty one protects nothing",
            )));
        }
        Ok(Some(line.to_owned()))
    }

    fn input(&self) -> Result<&Zeroizing<String>, SigningError> {
        if let Some(known) = self.input.0.get() {
            return Ok(known);
        }
        let mut line = Zeroizing::new(Vec::with_capacity(
            usize::try_from(LONGEST).unwrap_or_default(),
        ));
        let failed = |error: io::Error| {
            SigningError::Passphrase(format!("no passphrase on standard input: {error}").into())
        };
        // Byte by byte: what follows the line is for somebody else.
        for byte in io::stdin().lock().take(LONGEST).bytes() {
            match byte.map_err(failed)? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        // Part of it would be a passphrase that no other way gives.
        if u64::try_from(line.len()).map_or(true, |length| length >= LONGEST) {
            return Err(failed(io::Error::other(format!(
                "its first line is longer than {} bytes",
                LONGEST - 1
            ))));
        }
        // As a line of a file ends.
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = std::str::from_utf8(&line)
            .map_err(|error| failed(io::Error::other(error)))?
            .to_owned();
        Ok(self.input.0.get_or_init(|| Zeroizing::new(text)))
    }
}

fn ask(question: &str, name: &str) -> Result<String, SigningError> {
    keep_echo();
    rpassword::prompt_password(question).map_err(|error| {
        match error.kind() {
            io::ErrorKind::Interrupted => return SigningError::Passphrase(format!("no passphrase for {name}: interrupted").into()),
            io::ErrorKind::UnexpectedEof => {
                return SigningError::Passphrase(format!("no passphrase for {name}: the input ended before one was typed").into());
            }
            _ => {}
        }
        SigningError::Passphrase(Problem::hinted(format!("no passphrase for {name}: there is no terminal to ask ({error})"), format!("give --passphrase-file FILE (mode 0600, or - for standard input), or set {ENVIRONMENT}")))
    })
}

/// Has a signal that ends the program give the terminal its echo back first: it is off while a
/// passphrase is typed.
fn keep_echo() {
    static KEPT: OnceLock<()> = OnceLock::new();
    KEPT.get_or_init(|| {
        let Ok(terminal) = File::open("/dev/tty") else {
            return;
        };
        let Ok(before) = tcgetattr(&terminal) else {
            return;
        };
        let (ready, listening) = mpsc::channel();
        std::thread::spawn(move || {
            if let Ok(code) = ended_by(&ready) {
                _ = tcsetattr(&terminal, OptionalActions::Now, &before);
                std::process::exit(code);
            }
        });
        _ = listening.recv();
    });
}

/// Waits for such a signal: the exit code that a shell gives it.
fn ended_by(ready: &mpsc::Sender<()>) -> io::Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut hangup, mut interrupt) = (
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        );
        let (mut quit, mut terminate) = (
            signal(SignalKind::quit())?,
            signal(SignalKind::terminate())?,
        );
        _ = ready.send(());
        Ok(tokio::select! {
            _ = hangup.recv() => 129,
            _ = interrupt.recv() => 130,
            _ = quit.recv() => 131,
            _ = terminate.recv() => 143,
        })
    })
}

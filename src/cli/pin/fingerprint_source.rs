//! Fingerprints as a person gives them, and whether they are those of what is to be pinned. Without
//! one nothing is pinned.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{QueueSelector, tcflush};

use super::Failure;
use crate::cli::given_fingerprint::GivenFingerprint;
use crate::problem::Problem;
use rootpin_trust::{PublicKey, RootFile};

/// Longer than any list of fingerprints that a person gives.
const MOST_BYTES: u64 = 64 << 10;

/// Where fingerprints come from.
#[derive(Debug)]
pub(super) enum FingerprintSource {
    /// From the command line, or from standard input.
    Given(Vec<GivenFingerprint>),
    /// A person at the terminal is asked.
    Asked,
}

impl FingerprintSource {
    /// `-` among the arguments stands for the lines of standard input. Without any, the terminal is
    /// asked; if there is none, nobody.
    pub(super) fn new(arguments: &[String]) -> Result<Self, Failure> {
        if arguments.is_empty() {
            return if io::stdin().is_terminal() {
                Ok(Self::Asked)
            } else {
                Err(no_fingerprint())
            };
        }
        let mut told = Vec::new();
        for argument in arguments {
            let lines = if argument == "-" {
                standard_input()?
            } else {
                argument.clone()
            };
            for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                told.push(line.parse::<GivenFingerprint>().map_err(Failure::Usage)?);
            }
        }
        if told.is_empty() {
            Err(no_fingerprint())
        } else {
            Ok(Self::Given(told))
        }
    }

    /// Whether every one of these keys, and nothing else, was told.
    pub(super) fn confirm_keys(&self, keys: &[&PublicKey]) -> Result<(), Failure> {
        let mut left: Vec<&PublicKey> = keys.to_vec();
        match self {
            Self::Given(told) => {
                if let Some(other) = told
                    .iter()
                    .find(|told| !keys.iter().any(|key| told.is_of(key)))
                {
                    return Err(differs(other, keys));
                }
                left.retain(|key| !told.iter().any(|told| told.is_of(key)));
            }
            Self::Asked => {
                while !left.is_empty() {
                    let told = ask(&format!(
                        "fingerprint of root key {} of {}",
                        keys.len() - left.len() + 1,
                        keys.len()
                    ))?;
                    let before = left.len();
                    left.retain(|key| !told.is_of(key));
                    if left.len() == before {
                        return Err(differs(&told, keys));
                    }
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{} of the {} keys have no fingerprint; nothing is pinned",
            left.len(),
            keys.len()
        );
        Err(Failure::Refused(Problem::hinted(
            text.clone(),
            "every key of a root role can sign: give --fingerprint for each, or leave this root alone",
        )))
    }

    /// The root file that was told: by its own sha256, or the newest by all of its root keys.
    pub(super) fn confirm_root<'a>(
        &self,
        files: &'a [(RootFile, Vec<u8>)],
    ) -> Result<&'a (RootFile, Vec<u8>), Failure> {
        let newest = files
            .last()
            .ok_or_else(|| Failure::Unknown("there is no root file".to_owned().into()))?;
        let by_file =
            |told: &GivenFingerprint| files.iter().find(|(file, _)| told.is_of_file(&file.sha256));
        let keys: Vec<&PublicKey> = newest.0.keys.iter().collect();
        match self {
            Self::Given(told) => match &**told {
                [one] if by_file(one).is_some() => by_file(one).ok_or_else(|| differs(one, &keys)),
                _ => self.confirm_keys(&keys).map(|()| newest),
            },
            Self::Asked => {
                let told = ask("sha256 of the root file, or fingerprint of its only root key")?;
                match by_file(&told) {
                    Some(file) => Ok(file),
                    None => Self::Given(vec![told]).confirm_keys(&keys).map(|()| newest),
                }
            }
        }
    }
}

/// Asks a person for a fingerprint; without one nothing is pinned.
fn ask(what: &str) -> Result<GivenFingerprint, Failure> {
    let Some(line) = line(what)? else {
        return Err(Failure::Refused(Problem::hinted(
            "no fingerprint was given; nothing is pinned",
            WHENCE.to_string(),
        )));
    };
    line.parse()
        .map_err(|problem: Problem| Failure::Refused(problem.so("nothing is pinned")))
}

/// The line that a person types, if it is not empty. What was typed before the question is not an
/// answer to it: it may have been pasted with the command.
pub(in crate::cli) fn line(what: &str) -> Result<Option<String>, Failure> {
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    let mut error = io::stderr();
    let _ = write!(
        error,
        "{what}, as the publisher told it to you by another way: "
    )
    .and_then(|()| error.flush());
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(MOST_BYTES)
        .read_line(&mut line)
        .map_err(|error| Failure::Unknown(error.to_string().into()))?;
    Ok(Some(line).filter(|line| !line.trim().is_empty()))
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Unknown(error.to_string().into()))?;
    Ok(text)
}

/// Why an ID is that of no key.
pub(in crate::cli) fn certificate_id(told: impl Display) -> String {
    format!(
        "{told} is the ID of a certificate, which docker trust inspect calls Root Key, and not that of the key in it"
    )
}

/// Where the key's own ID is.
pub(in crate::cli) const CERTIFICATE_ID: &str = "every repository has a certificate of its own over one root key, and the key is pinned: its ID is the name of the \
    publisher's file in ~/.docker/trust/private that says role: root (grep -l 'role: root' ~/.docker/trust/private/*.key)";

/// What was found is not told: a person who sees it would be led to type it.
pub(in crate::cli) fn differs(told: &GivenFingerprint, keys: &[&PublicKey]) -> Failure {
    if keys.iter().any(|key| told.is_certificate_id_of(key)) {
        return Failure::Refused(Problem::hinted(
            format!("{}; nothing is pinned", certificate_id(told)),
            CERTIFICATE_ID,
        ));
    }
    let hint = "either the fingerprint is of another key or file, or somebody answers in the publisher's place: ask the publisher";
    Failure::Refused(Problem::hinted(
        format!("{told} is not the fingerprint of what was found; nothing is pinned"),
        hint.to_string(),
    ))
}

const WHENCE: &str = "ask the publisher for it by another way than the one the key comes by, and give it by --fingerprint, or at a terminal";
/// Without a fingerprint nothing is pinned.
fn no_fingerprint() -> Failure {
    Failure::Usage(Problem::hinted(
        "no fingerprint, and nobody at a terminal to be asked; nothing is pinned",
        "ask the publisher for it by another way than the one the key comes by, and give it by --fingerprint (- reads standard input)",
    ))
}

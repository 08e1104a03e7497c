//! The program that containerd's image verifier runs for each pull: `-name REF -digest D
//! -stdin-media-type T`, a descriptor on standard input, exit 0 for "go on", anything else for
//! "stop", and a short reason on standard output (containerd, docs/image-verification.md).
//!
//! There is no judgement in it: it asks the daemon, and whatever is odd is exit 1.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::DEFAULT_CONTROL;
use crate::control::DaemonClient;
use crate::problem::Problem;
use rootpin_trust::canonical::{self, Limits, Text};
use rootpin_trust::image::Digest;

/// containerd gives a verifier 10 s, and the daemon has a shorter deadline of its own.
const TIMEOUT: Duration = Duration::from_secs(9);
/// How long a daemon that restarts may be away.
const RESTART: Duration = Duration::from_secs(2);
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// A descriptor with annotations; containerd sends some hundred bytes.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    depth: 8,
    values: 10_000,
};

struct VerifierRequest {
    control: PathBuf,
    name: String,
    digest: Digest,
}

/// Runs the verifier. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    match run() {
        Ok((true, reason)) => {
            say(&reason);
            0
        }
        Ok((false, reason)) => {
            say(&reason);
            1
        }
        Err(why) => {
            say(&format!("rootpin: could not judge: {why}"));
            1
        }
    }
}

fn run() -> Result<(bool, String), Problem> {
    let asked = arguments(std::env::args_os().skip(1).map(|word| {
        word.into_string()
            .map_err(|_| Problem::new("an argument is not UTF-8"))
    }))?;
    check_descriptor(&asked.digest)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let call = async {
            let mut client = connect(&asked.control).await?;
            client
                .decide("verifier", &asked.name, &asked.digest.to_string())
                .await
        };
        tokio::time::timeout(TIMEOUT, call)
            .await
            .unwrap_or_else(|_| Err(Problem::new(format!("no answer within {TIMEOUT:?}"))))
    });
    let answer = answer?;
    Ok((answer.let_through, answer.reason))
}

/// While rootpind restarts its socket is away for a moment, and a pull that fails of it is not
/// tried again by everybody.
async fn connect(control: &Path) -> Result<DaemonClient, Problem> {
    let end = Instant::now() + RESTART;
    loop {
        match DaemonClient::connect(control, TIMEOUT).await {
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(50)).await,
            result => return result,
        }
    }
}

/// Who runs this program by hand wants another one.
const USAGE: &str = "containerd runs this as `rootpin-verifier -name REF -digest DIGEST -stdin-media-type TYPE`; by hand use: rootpin verify NAME";

fn arguments(
    mut words: impl Iterator<Item = Result<String, Problem>>,
) -> Result<VerifierRequest, Problem> {
    let (mut control, mut name, mut digest) = (PathBuf::from(DEFAULT_CONTROL), None, None);
    while let Some(word) = words.next().transpose()? {
        let value = words
            .next()
            .transpose()?
            .ok_or_else(|| Problem::hinted(format!("{word:?} without a value"), USAGE))?;
        match word.as_str() {
            "--control" => control = value.into(),
            "-name" | "--name" => name = Some(value),
            "-digest" | "--digest" => {
                digest = Some(value.parse().map_err(|error| format!("{error}"))?);
            }
            "-stdin-media-type" | "--stdin-media-type" if value == DESCRIPTOR => {}
            "-stdin-media-type" | "--stdin-media-type" => {
                return Err(Problem::new(format!(
                    "standard input of type {value:?}, wanted {DESCRIPTOR}"
                )));
            }
            _ => {
                return Err(Problem::hinted(
                    format!("an argument that image verifiers don't have: {word:?}"),
                    USAGE,
                ));
            }
        }
    }
    let missing = || Problem::new(USAGE);
    Ok(VerifierRequest {
        control,
        name: name.ok_or_else(missing)?,
        digest: digest.ok_or_else(missing)?,
    })
}

/// What containerd is about to store must be what it asks about.
fn check_descriptor(digest: &Digest) -> Result<(), Problem> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(LIMITS.bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    std::io::stdin()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("standard input: {error}"))?;
    let descriptor = canonical::rewrite_doubles(&bytes, LIMITS)
        .map_err(|error| format!("standard input is no descriptor: {error}"))?;
    let stated = Text::of(&descriptor).get("digest").and_then(Text::as_str);
    if stated.as_deref() == Some(digest.to_string().as_str()) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the descriptor on standard input is of {stated:?}, the question of {digest}"
    )))
}

fn say(text: &str) {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // If containerd no longer listens, the exit code is all that is left.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<VerifierRequest, Problem> {
        arguments(words.iter().map(|word| Ok((*word).to_owned())))
    }

    #[test]
    fn containerds_own_command_line_is_understood() {
        let digest = Digest::of(b"x").to_string();
        let asked = parse(&[
            "-name",
            "h.example/a:1",
            "-digest",
            &digest,
            "-stdin-media-type",
            DESCRIPTOR,
        ])
        .unwrap();
        assert_eq!(
            (asked.name.as_str(), asked.digest),
            ("h.example/a:1", Digest::of(b"x"))
        );
        assert_eq!(asked.control, PathBuf::from(DEFAULT_CONTROL));
    }

    #[test]
    fn anything_odd_is_an_error() {
        let digest = Digest::of(b"x").to_string();
        for bad in [
            vec![],
            vec!["-name", "a"],
            vec!["-digest", digest.as_str()],
            vec!["-name", "a", "-digest", "sha512:00"],
            vec![
                "-name",
                "a",
                "-digest",
                digest.as_str(),
                "-stdin-media-type",
                "text/plain",
            ],
            vec!["-name", "a", "-digest", digest.as_str(), "-new", "x"],
            vec!["-name"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}

//! `rootpin pin scan`: what a server presents now, as ssh-keyscan shows host keys. Never the input
//! of a decision.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Asking, Failure, InPolicy, load, scan_signatures, shown, unknown};
use crate::cli::output::Output;
use crate::problem::Problem;
use crate::sources::{Sources, TufLocation};
use rootpin_policy::{Fault, MetadataUrl, Root, RootKind, Rule};
use rootpin_trust::image::{ImageRef, ReferenceError, Repository};

use rootpin_trust::{Answer, Code, FetchFrom, Format, Refusal, Request, RootFile, Want};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin pin scan docker.io/library/alpine   (signatures beside it, and the servers of its rule)\n  \
    rootpin pin scan registry.example/team/app --server https://notary.example\n  \
    rootpin pin scan https://tuf.example/metadata";

/// For one source.
const DEADLINE: Duration = Duration::from_secs(20);
/// Root files that are looked at, as many as a chain may have, and bytes of all of them.
const MOST_ROOTS: u64 = 256;
const MOST_BYTES: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// An image name, or the URL of a TUF repository: https, oci or file
    #[arg(value_name = "NAME|URL")]
    name: String,
    /// A Notary server that has metadata for the image name; without it the policy says whom to ask
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    policy: InPolicy,
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ScanTarget {
    /// The root of the policy, if it is one.
    pub(super) root: Option<String>,
    pub(super) source: Source,
    pub(super) tls_ca: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub(in crate::cli) enum Source {
    Notary { server: String, gun: Repository },
    Tuf(MetadataUrl),
}

/// What was seen there: root files with their bytes, of which the last is the newest.
#[derive(Debug)]
pub(in crate::cli) struct ScannedRoots {
    pub(in crate::cli) files: Vec<(RootFile, Vec<u8>)>,
}

pub(super) async fn run(arguments: Arguments, output: Output) -> Result<u8, Failure> {
    let tls_ca = arguments.asking.tls_ca()?;
    let (mut beside, mut is_covered, mut counts_beside) = (None, true, true);
    let targets = match (arguments.name.contains("://"), arguments.server) {
        (true, Some(_)) => {
            return Err(Failure::Usage(
                "--server goes with an image name, not with a URL"
                    .to_owned()
                    .into(),
            ));
        }
        (true, None) => vec![at_url(&arguments.name, tls_ca)?],
        (false, Some(server)) => vec![at_server(&arguments.name, server, tls_ca)?],
        (false, None) => {
            let name = image(&arguments.name)?;
            let is_there = arguments.policy.policy.join("policy.toml").exists();
            let policy = is_there
                .then(|| load(&arguments.policy.policy))
                .transpose()?;
            let rule = policy
                .as_ref()
                .and_then(|policy| policy.rule_for(&name.repository));
            is_covered = rule.is_some();
            // Signatures beside the image are shown of each: they are what a root could be pinned for.
            counts_beside =
                rule.is_none_or(|rule| rule.roots.iter().any(|root| !root.lists_tags()));
            let repository = name.repository.clone();
            beside = Some(name);
            rule.map_or_else(Vec::new, |rule| by_rule(rule, &repository))
        }
    };
    let sources = Sources::new(Arc::new(arguments.asking.credentials()));
    let (mut scanned, mut texts, mut failed) = (Vec::new(), Vec::new(), None);
    let (mut shows_root, mut shows_signature, mut has_answer) = (false, false, false);
    for target in &targets {
        let (text, value) = match ask(&sources, target, 1).await {
            Ok(seen) => {
                (shows_root, has_answer) = (true, true);
                scan_of(&seen)
            }
            Err(refusal) => {
                let told = (
                    format!("  could not be asked: {}\n", refusal.found),
                    json!({ "error": refusal.found }),
                );
                failed.get_or_insert(refusal);
                told
            }
        };
        texts.push(format!("{}\n{text}", target.title()));
        scanned.push(shown::with(target.json(), value));
    }
    if let Some(name) = &beside {
        match scan_signatures::scan(&sources, name, Instant::now() + DEADLINE).await {
            Ok(found) => {
                has_answer = true;
                let (mut text, value) = found.shown(name);
                shows_signature = found.has_signature();
                if found.found.is_empty() && !is_covered {
                    text.push_str(&by_no_rule(&name.repository));
                }
                texts.push(text);
                scanned.push(value);
            }
            Err(refusal) => {
                let error = json!({ "type": "signatures", "name": name.to_string(), "error": refusal.found });
                texts.push(format!(
                    "signatures beside {name}\n  could not be asked: {}\n",
                    refusal.found
                ));
                scanned.push(error);
                if counts_beside || targets.is_empty() {
                    failed.get_or_insert(refusal);
                }
            }
        }
    }
    if let (false, true, Some(refusal)) = (has_answer, targets.len() < 2, &failed) {
        return Err(unknown(refusal));
    }
    let (notice, hint) = match (shows_root, shows_signature) {
        (true, _) => (NOTICE, HINT),
        (false, true) => (NOTICE, SIGNATURE_HINT),
        (false, false) => (NOTHING_NOTICE, NOTHING_HINT),
    };
    let value = json!({ "version": 1, "verified": false, "scanned": scanned, "hint": hint });
    output.value(&value, |_| {
        format!("{}\n{notice}\nhint: {hint}", texts.join("\n"))
    });
    Ok(if failed.is_some() { 2 } else { 0 })
}

/// A TUF repository.
pub(super) fn at_url(url: &str, tls_ca: Option<Vec<u8>>) -> Result<ScanTarget, Failure> {
    Ok(ScanTarget {
        root: None,
        source: Source::Tuf(
            url.parse()
                .map_err(|fault: Fault| Failure::Usage(fault.into()))?,
        ),
        tls_ca,
    })
}

/// A repository of a Notary server.
pub(in crate::cli) fn at_server(
    name: &str,
    server: String,
    tls_ca: Option<Vec<u8>>,
) -> Result<ScanTarget, Failure> {
    Ok(ScanTarget {
        root: None,
        source: Source::Notary {
            server,
            gun: repository(name)?,
        },
        tls_ca,
    })
}

pub(super) fn repository(name: &str) -> Result<Repository, Failure> {
    image(name).map(|image| image.repository)
}

fn image(name: &str) -> Result<ImageRef, Failure> {
    name.parse().map_err(|error: ReferenceError| {
        Failure::Usage(Problem::hinted(
            error.to_string(),
            "wanted an image name, or a URL",
        ))
    })
}

/// Where else an image of which the policy says nothing may be signed.
fn by_no_rule(repository: &Repository) -> String {
    format!(
        "no rule covers it; hint: if a Notary server signs it: rootpin pin scan {repository} --server https://…\n"
    )
}

/// All that a rule would ask for a name, but for signatures beside the image.
fn by_rule(rule: &Rule, repository: &Repository) -> Vec<ScanTarget> {
    let roots = rule.roots.iter();
    roots
        .flat_map(|root| of_root(root, Some(rule), repository))
        .collect()
}

/// Where a root's metadata for a name is.
pub(super) fn of_root(
    root: &Root,
    rule: Option<&Rule>,
    repository: &Repository,
) -> Vec<ScanTarget> {
    let id = Some(root.id.clone());
    match &root.kind {
        RootKind::Notary(notary) => {
            let gun = rule.map_or(Some(repository.clone()), |rule| {
                rule.signed_name(repository)
            });
            let source = gun.map(|gun| Source::Notary {
                server: notary.server.clone(),
                gun,
            });
            source
                .into_iter()
                .map(|source| ScanTarget {
                    root: id.clone(),
                    source,
                    tls_ca: notary.tls_ca.clone(),
                })
                .collect()
        }
        RootKind::Tuf(tuf) => {
            let target = |url: &MetadataUrl| ScanTarget {
                root: id.clone(),
                source: Source::Tuf(url.clone()),
                tls_ca: tuf.tls_ca.clone(),
            };
            tuf.metadata.iter().map(target).collect()
        }
        // It has no metadata: its signatures are beside each image.
        RootKind::Cosign(_) | RootKind::Notation(_) => Vec::new(),
    }
}

/// Asks one; of a TUF repository for the root files from that version on, or from where it begins.
pub(in crate::cli) async fn ask(
    sources: &Sources,
    target: &ScanTarget,
    from: u64,
) -> Result<ScannedRoots, Refusal> {
    let deadline = Instant::now() + DEADLINE;
    match &target.source {
        Source::Notary { server, gun } => {
            let server = sources
                .notary_at(server, target.tls_ca.as_deref())
                .map_err(|error| error.refusal())?;
            let want = Want {
                request: Request::newest("root"),
                max_bytes: RootFile::MAX_BYTES,
                from: FetchFrom::Source,
            };
            match server
                .get(gun, &want, deadline.into())
                .await
                .map_err(|error| error.refusal())?
            {
                Answer::Bytes(bytes) => match read(&bytes, Format::Notary) {
                    Ok(file) => Ok(ScannedRoots {
                        files: vec![(file, bytes)],
                    }),
                    Err(refusal) => Err(no_notary(&server.url(), gun, &bytes, refusal)),
                },
                Answer::Missing => Err(nothing(&format!(
                    "no root.json of {gun} at {}",
                    server.url()
                ))),
            }
        }
        Source::Tuf(url) => {
            let mut silent = nothing(&format!("nowhere to look for {url}"));
            // A registry may have mirrors: the first that answers is shown.
            for location in sources
                .tuf(url, target.tls_ca.as_deref())
                .map_err(|error| error.refusal())?
            {
                match ask_tuf(&location, url, from, deadline).await {
                    Err(refusal) if refusal.code == Code::SourceUnreachable => silent = refusal,
                    answer => return answer,
                }
            }
            Err(silent)
        }
    }
}

async fn ask_tuf(
    location: &Arc<TufLocation>,
    url: &MetadataUrl,
    from: u64,
    deadline: Instant,
) -> Result<ScannedRoots, Refusal> {
    let reader = location
        .open(deadline.into())
        .await
        .map_err(|error| error.refusal())?;
    let get = async |name: &str| {
        reader
            .get(name, None, RootFile::MAX_BYTES, deadline.into())
            .await
            .map_err(|error| error.refusal())
    };
    let (mut files, mut bytes_left) = (Vec::new(), MOST_BYTES);
    for version in from..from.saturating_add(MOST_ROOTS) {
        let Some(bytes) = get(&format!("{version}.root.json")).await? else {
            break;
        };
        bytes_left = bytes_left
            .checked_sub(bytes.len())
            .ok_or_else(|| too_much(url))?;
        files.push((read(&bytes, Format::Tuf)?, bytes));
    }
    if files.is_empty() && from == 1 {
        let bytes = get("root.json")
            .await?
            .ok_or_else(|| nothing(&format!("no 1.root.json and no root.json at {url}")))?;
        files.push((read(&bytes, Format::Tuf)?, bytes));
    }
    Ok(ScannedRoots { files })
}

/// An answer that no Notary server gives: the address, what was asked there, and what came.
fn no_notary(url: &str, gun: &Repository, bytes: &[u8], refusal: Refusal) -> Refusal {
    let first = bytes.trim_ascii_start();
    let came = if first.starts_with(b"<") {
        "a page of HTML".to_owned()
    } else if first.starts_with(b"{") {
        refusal.found.clone()
    } else {
        format!("{} bytes that are no JSON", bytes.len())
    };
    let url = url.trim_end_matches('/');
    let found = format!("{url}/v2/{gun}/_trust/tuf/root.json answered with {came}");
    let hint = "is this the address of a Notary server? a registry or a web page at the same host is none; a TUF repository is named by its URL alone";
    Refusal {
        found,
        hint: hint.to_owned(),
        ..refusal
    }
}

fn read(bytes: &[u8], format: Format) -> Result<RootFile, Refusal> {
    let file = RootFile::read(bytes)?;
    let wanted = if format == Format::Tuf {
        "TUF 1.0"
    } else {
        "Notary v1"
    };
    let hint =
        "a Notary server is asked with --server and an image name, a TUF repository by its URL";
    if file.format == format {
        Ok(file)
    } else {
        Err(Refusal::new(
            Code::Malformed,
            "a root file of the other format",
            wanted,
            hint,
        ))
    }
}

fn too_much(url: &MetadataUrl) -> Refusal {
    let hint = "metadata of this size is not honest, or not for this tool; ask who runs the source";
    Refusal::new(
        Code::OverLimit,
        format!("root files at {url} of more than {MOST_BYTES} bytes"),
        format!("at most {MOST_BYTES} bytes"),
        hint,
    )
}

fn nothing(found: &str) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        found,
        "a root file",
        "check the name and the address: this server may not have this repository",
    )
}

impl ScanTarget {
    /// In words, for people.
    pub(super) fn title(&self) -> String {
        let source = match &self.source {
            Source::Notary { server, gun } => format!("{gun} at the Notary server {server}"),
            Source::Tuf(url) => format!("TUF repository {url}"),
        };
        self.root
            .as_ref()
            .map_or(source.clone(), |root| format!("root {root}: {source}"))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        match &self.source {
            Source::Notary { server, gun } => {
                json!({ "root": self.root, "type": "notary", "source": server, "name": gun.as_str() })
            }
            Source::Tuf(url) => {
                json!({ "root": self.root, "type": "tuf", "source": url.to_string(), "name": null })
            }
        }
    }
}

fn scan_of(seen: &ScannedRoots) -> (String, Value) {
    let Some(((newest, _), earlier)) = seen.files.split_last() else {
        return (String::new(), Value::Null);
    };
    let mut text = shown::root_text(newest);
    for (file, _) in earlier.iter().rev() {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "  earlier root   version {}, sha256 {}",
            file.version,
            file.sha256.hex()
        );
    }
    let earlier = earlier
        .iter()
        .map(|(file, _)| json!({ "root_version": file.version, "sha256": file.sha256.hex() }));
    let value =
        json!({ "presented": shown::root_json(newest), "earlier": earlier.collect::<Vec<_>>() });
    (text, value)
}

const NOTICE: &str = "UNVERIFIED: this is what was answered just now. Whoever answers in the server's place can show any key, \
    so a fingerprint that you copy from here proves nothing.";
const HINT: &str = "have the publisher tell you the fingerprint by another way (in person, by phone, on paper, from the key file itself), \
    compare it with this, and give theirs to: rootpin pin add ID --scan NAME --fingerprint FINGERPRINT";
/// Of an image that has signatures alone: the key that verifies them is not in them.
const SIGNATURE_HINT: &str = "have the publisher give you the file of the key or certificate, and its fingerprint by another way (in person, by phone, on paper), \
    compare it with this, and give both to: rootpin pin add ID --type cosign --from FILE --match PATTERN --fingerprint FINGERPRINT; of a certificate --type notation";
/// Of an image that nobody signed.
const NOTHING_NOTICE: &str =
    "UNVERIFIED: this is what was answered just now. Nothing was shown that could be pinned.";
const NOTHING_HINT: &str = "ask the publisher whether and where the image is signed; to sign it by a root of your own: rootpin repo init DIR --names PATTERN, then rootpin repo --repo DIR endorse NAME";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_no_notary_server_is_named_with_what_it_answered() {
        let gun = Repository::from_full("registry.example/team/app").unwrap();
        for (bytes, came) in [
            (&b"\n<!doctype html>"[..], "a page of HTML"),
            (b"hello", "5 bytes that are no JSON"),
            (b"{}", "no root.json"),
        ] {
            let refusal = no_notary(
                "https://n.example/",
                &gun,
                bytes,
                read(bytes, Format::Notary).unwrap_err(),
            );
            let asked = "https://n.example/v2/registry.example/team/app/_trust/tuf/root.json answered with ";
            assert!(
                refusal.found.starts_with(asked) && refusal.found.contains(came),
                "{}",
                refusal.found
            );
            assert!(
                refusal.hint.contains("address of a Notary server"),
                "{}",
                refusal.hint
            );
        }
    }
}

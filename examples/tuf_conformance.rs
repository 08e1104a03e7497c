//! A client with the command line of the public conformance suite for The Update Framework (its
//! CLIENT-CLI.md), over this crate's engine and state. See `tests/conformance/README.md`. It ends
//! with 0 or 1.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use rootpin::state::{Additions, Store};
use rootpin_trust::image::Digest;
use rootpin_trust::tuf::{Listing, PathSearch, PinnedRoot, RootPins, Trusted, Update};
use rootpin_trust::{
    Answer, FetchFrom, Progress, Request, Step, Subject, Verification, Verified, Want,
};
use sha2::{Digest as _, Sha256, Sha512};

#[derive(Parser)]
struct Arguments {
    #[arg(long, global = true, default_value = ".")]
    metadata_dir: PathBuf,
    #[arg(long, global = true, default_value = "")]
    metadata_url: String,
    #[arg(long, global = true)]
    target_name: Vec<String>,
    #[arg(long, global = true)]
    target_dir: Option<PathBuf>,
    #[arg(long, global = true, default_value = "")]
    target_base_url: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init { root: PathBuf },
    Refresh,
    Download,
}

type Failure = Box<dyn std::error::Error>;

/// What one call works with. The pinned root and the floors lie beside the metadata, under names
/// that don't end in `.json`.
struct Client {
    arguments: Arguments,
    http: reqwest::Client,
    store: Store,
    now: Timestamp,
}

fn main() -> ExitCode {
    let done = Arguments::try_parse()
        .map_err(Failure::from)
        .and_then(|arguments| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run(arguments))
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let folder = arguments.metadata_dir.clone();
    if let Verb::Init { root } = &arguments.verb {
        let bytes = fs::read(root)?;
        PinnedRoot::read(bytes.clone()).map_err(|refusal| refusal.to_string())?;
        fs::write(folder.join("pinned.root"), &bytes)?;
        return Ok(fs::write(folder.join("root.json"), bytes)?);
    }
    let store = Store::open(&folder.join("seen"))?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let client = Client {
        http,
        store,
        now: Timestamp::now(),
        arguments,
    };
    let mut trusted = client.refresh().await?;
    if let Verb::Download = client.arguments.verb {
        for name in &client.arguments.target_name {
            let (listing, next) = client.search(&trusted, name).await?;
            trusted = next;
            let listing = listing.ok_or_else(|| format!("no target {name:?}"))?;
            client
                .download(name, &listing, trusted.consistent_snapshot())
                .await?;
        }
    }
    Ok(())
}

impl Client {
    async fn refresh(&self) -> Result<Trusted, Failure> {
        let root = Arc::new(
            PinnedRoot::read(fs::read(self.folder().join("pinned.root"))?)
                .map_err(|refusal| refusal.to_string())?,
        );
        let pins = RootPins {
            id: "repository".to_owned(),
            root,
            revoked: [].into(),
            floor: [].into(),
            max_age: None,
        };
        let floors = self.store.history(&Subject::Tuf)?;
        self.run(Update::start(&pins, floors, None, self.now)).await
    }

    async fn search(
        &self,
        trusted: &Trusted,
        path: &str,
    ) -> Result<(Option<Listing>, Trusted), Failure> {
        self.run(PathSearch::start(trusted, path, self.now)).await
    }

    async fn run<V: Verification>(&self, mut verification: V) -> Result<V::Outcome, Failure> {
        let mut answer = None;
        let result = loop {
            match verification.next(answer.take()) {
                Ok(Step::Fetch(want)) => match self.answer(&want).await {
                    Ok(found) => answer = Some(found),
                    Err(failure) => break Err(failure),
                },
                Ok(Step::Done(outcome)) => break Ok(outcome),
                Err(refusal) => break Err(refusal.to_string().into()),
            }
        };
        self.keep(verification.progress().as_ref(), verification.files())?;
        result
    }

    async fn answer(&self, want: &Want) -> Result<Answer, Failure> {
        if want.from == FetchFrom::Cache {
            let cached = fs::read(self.cached(&want.request.cache_name()));
            return Ok(cached.ok().into());
        }
        // The suite's clients stop at a root that is forbidden as at one that is missing.
        let missing =
            |status: u16| status == 404 || status == 403 && want.request.is_root_version();
        let url = format!(
            "{}{}",
            self.arguments.metadata_url,
            want.request.file_name()
        );
        let found = self.get(&url, want.max_bytes, missing).await?;
        Ok(found.into())
    }

    async fn get(
        &self,
        url: &str,
        most: usize,
        missing: impl Fn(u16) -> bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut response = self.http.get(url).send().await?;
        if missing(response.status().as_u16()) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let refused = || format!("{url}: answered {}", response.status());
        if !response.status().is_success() {
            return Err(refused().into());
        }
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Err(format!("{url}: more than {most} bytes").into());
            }
        }
        Ok(Some(bytes))
    }

    fn keep(
        &self,
        progress: Option<&Verified<Progress>>,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Failure> {
        let verified = progress.into_iter().collect();
        self.store.commit(&Additions {
            now: self.now,
            verified,
            contacts: Vec::new(),
            rows: Vec::new(),
        })?;
        for (name, bytes) in files {
            let draft = self.folder().join(".new");
            if is_root(&name) {
                fs::write(&draft, &bytes)?;
                fs::rename(&draft, self.folder().join("root.json"))?;
            }
            fs::write(&draft, bytes)?;
            fs::rename(&draft, self.cached(&name))?;
        }
        Ok(())
    }

    /// Where a file is kept; every root of the chain without `.json`, for the suite takes each such
    /// file for the newest of a role.
    fn cached(&self, name: &str) -> PathBuf {
        self.folder().join(if is_root(name) {
            name.replace(".json", "")
        } else {
            file_name(name)
        })
    }

    async fn download(
        &self,
        name: &str,
        listing: &Listing,
        consistent: bool,
    ) -> Result<(), Failure> {
        let folder = self
            .arguments
            .target_dir
            .as_ref()
            .ok_or("no --target-dir")?;
        let path = folder.join(encoded(name));
        let is_it = |bytes: &[u8]| fits(listing, bytes);
        if fs::read(&path).is_ok_and(|known| is_it(&known)) {
            return Ok(());
        }
        let hash = listing
            .hashes
            .get("sha256")
            .or(listing.hashes.get("sha512"))
            .ok_or("no hash that is known")?;
        let (dir, file) = name
            .rsplit_once('/')
            .map_or((String::new(), name), |(dir, file)| {
                (format!("{dir}/"), file)
            });
        let file = if consistent {
            format!("{dir}{hash}.{file}")
        } else {
            name.to_owned()
        };
        let url = format!("{}{file}", self.arguments.target_base_url);
        let bytes = self
            .get(&url, usize::try_from(listing.length)?, |_| false)
            .await?
            .unwrap_or_default();
        if !is_it(&bytes) {
            return Err(format!("{name:?} has other bytes than are listed").into());
        }
        let draft = folder.join(".new");
        fs::write(&draft, bytes)?;
        Ok(fs::rename(draft, path)?)
    }

    fn folder(&self) -> &Path {
        &self.arguments.metadata_dir
    }
}

/// Whether these are the bytes: of the listed length, with every listed hash that is known, and one
/// at least.
fn fits(listing: &Listing, bytes: &[u8]) -> bool {
    let hex = |hash: &[u8]| {
        hash.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    };
    let checks: Vec<bool> = listing
        .hashes
        .iter()
        .filter_map(|(name, hash)| {
            let found: String = match name.as_str() {
                "sha256" => hex(&Sha256::digest(bytes)),
                "sha512" => hex(&Sha512::digest(bytes)),
                _ => return None,
            };
            Some(found == hash.to_lowercase())
        })
        .collect();
    u64::try_from(bytes.len()).is_ok_and(|length| length == listing.length)
        && !checks.is_empty()
        && checks.into_iter().all(|check| check)
}

/// Whether it is the cached file of a root's version.
fn is_root(name: &str) -> bool {
    name.strip_suffix(".root.json")
        .is_some_and(|version| version.parse::<u64>().is_ok())
}

/// A role's cached file, as one segment of a path.
fn file_name(cached: &str) -> String {
    let role = cached.strip_suffix(".json").unwrap_or(cached);
    Request::newest(role).file_name()
}

/// A target's file: its path's hash, for a path may be anything.
fn encoded(target: &str) -> String {
    Digest::of(target.as_bytes()).hex()
}

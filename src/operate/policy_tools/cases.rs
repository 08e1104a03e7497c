//! `rootpin policy test`: names and the answers that are expected of a policy, in files beside it.
//! Each is judged as a pull is, at its time, by the evidence in its folder, and no server is asked.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::Code;
use rootpin_trust::image::{Digest, ImageRef};
use serde::{Deserialize, Serialize};

use crate::decide::{Decider, Door, Pull};
use crate::observe::{judgement, plain};
use crate::sources::{Bundle, Sources};
use crate::state::Store;

/// Larger files, and more of them, are not read.
const MAX_FILE: u64 = 1 << 20;
const MAX_FILES: usize = 1000;
/// A larger state is not copied.
const MAX_STATE: u64 = 1 << 30;
/// A no that an audit lets through, and one that stops the pull.
const LET_THROUGH: &str = "let-through";
const STOPPED: &str = "stopped";
/// What a case may expect, beside a code.
const EXPECTED: [&str; 5] = ["allowed", "refused", "unjudged", LET_THROUGH, STOPPED];
/// For one case. Nothing is asked, so nothing waits.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a case says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    digest: String,
    at: Option<toml::value::Datetime>,
    evidence: Option<PathBuf>,
    expect: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// A case and its answer.
#[derive(Debug, Serialize)]
pub(crate) struct CaseResult {
    /// The file that has it, and its number there, from 1.
    pub(crate) file: String,
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) digest: String,
    /// The time that it was judged as of.
    pub(crate) at: String,
    pub(crate) expected: String,
    /// `allowed`, `refused` or `unjudged`, and the code of what is not allowed.
    pub(crate) outcome: String,
    pub(crate) code: Option<String>,
    /// Whether the pull goes on: an audit lets through what is not allowed.
    pub(crate) let_through: bool,
    /// The entry that decided.
    pub(crate) rule: Option<String>,
    /// Why it is not allowed.
    pub(crate) found: Option<String>,
    /// Bundles that do not hold at that time, and why.
    pub(crate) without: Vec<String>,
    /// Whether it is as expected.
    pub(crate) passed: bool,
}

/// All that was tested.
#[derive(Debug, Serialize)]
pub(crate) struct Tested {
    /// Of this form: 1.
    pub(crate) version: u64,
    /// The hash of the policy.
    pub(crate) policy: String,
    pub(crate) cases: Vec<CaseResult>,
    /// Files and cases that could not be read.
    pub(crate) unreadable: Vec<String>,
}

impl Tested {
    /// How many are not as expected.
    pub(crate) fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed).count()
    }

    /// 0 if all are as expected, 1 if one is not, 2 if none is that and one could not be read, or
    /// there is none.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.failed() > 0 {
            1
        } else if self.cases.is_empty() || !self.unreadable.is_empty() {
            2
        } else {
            0
        }
    }
}

/// Judges the cases of each `*.toml` file of a folder.
pub(crate) async fn test(policy: Policy, dir: &Path, now: Timestamp) -> Tested {
    let mut tested = Tested {
        version: 1,
        policy: policy.hash.to_string(),
        cases: Vec::new(),
        unreadable: Vec::new(),
    };
    let policy = Arc::new(policy);
    let files = case_files(dir).unwrap_or_else(|error| {
        tested
            .unreadable
            .push(format!("{}: {error}", dir.display()));
        Vec::new()
    });
    for path in files {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let cases = match read(&path) {
            Ok(file) => file.cases,
            Err(why) => {
                tested.unreadable.push(format!("{file}: {}", plain(&why)));
                continue;
            }
        };
        for (index, case) in cases.iter().enumerate() {
            match judge(&policy, dir, case, now).await {
                Ok(result) => tested.cases.push(CaseResult {
                    file: file.clone(),
                    number: index + 1,
                    ..result
                }),
                Err(why) => {
                    let line = format!("{file}: case {}: {}", index + 1, plain(&why));
                    tested.unreadable.push(line);
                }
            }
        }
    }
    tested
}

fn case_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(io::Error::other(format!("more than {MAX_FILES} files")));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<CaseFile, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(format!("no plain file of at most {MAX_FILE} bytes"));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_FILE).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| {
            text.get(..span.start)
                .unwrap_or_default()
                .lines()
                .count()
                .max(1)
        });
        let at = line.map_or(String::new(), |line| format!("line {line}: "));
        format!("{at}{}", error.message())
    })
}

async fn judge(
    policy: &Arc<Policy>,
    dir: &Path,
    case: &Case,
    now: Timestamp,
) -> Result<CaseResult, String> {
    let name: ImageRef = case
        .name
        .parse()
        .map_err(|error| format!("name: {error}"))?;
    let digest: Digest = case
        .digest
        .parse()
        .map_err(|error| format!("digest: {error}"))?;
    let at: Timestamp = match &case.at {
        None => now,
        Some(at) => at
            .to_string()
            .parse()
            .map_err(|error| format!("at: {error}"))?,
    };
    let is_code = Code::ALL.iter().any(|code| code.as_str() == case.expect);
    if !is_code && !EXPECTED.contains(&case.expect.as_str()) {
        return Err(format!(
            "expect: {:?} is none of {} and no code of refusals",
            case.expect,
            EXPECTED.join(", ")
        ));
    }
    let fresh = tempfile::tempdir().map_err(|error| error.to_string())?;
    let state = fresh.path().join("state");
    private_folder(&state).map_err(|error| error.to_string())?;
    let evidence = case.evidence.as_ref().map(|folder| dir.join(folder));
    let bundles = match &evidence {
        None => Vec::new(),
        Some(folder) => lay_out(folder, &state)
            .map_err(|error| format!("evidence: {}: {error}", folder.display()))?,
    };
    let store = open(&state).await.map_err(|why| {
        // A person knows the folder of which this one is a copy.
        let copied = evidence.unwrap_or_default().join("state");
        let (copy, copied) = (state.display().to_string(), copied.display().to_string());
        format!("evidence: {}", why.replace(&copy, &copied))
    })?;
    let (policy, store) = (Ok(Arc::clone(policy)), Arc::new(store));
    let decider = Decider::new(policy, Arc::new(Sources::silent()), store, DEADLINE, true);
    let mut without = Vec::new();
    for bundle in bundles {
        let read = Bundle::open(&bundle).map_err(|error| format!("evidence: {error}"))?;
        // At another time it may be over: the answer shows what that means.
        if let Err(refusal) = decider.import(Arc::new(read), None, at).await {
            without.push(format!("{}: {}", bundle.display(), refusal.found));
        }
    }
    let pull = Pull {
        door: Door::Verify,
        name,
        digest,
    };
    let verdict = decider.pull(&pull, at).await;
    let let_through = verdict.decision.lets_through();
    let verdict = judgement(&verdict);
    let text = |member: &str| {
        verdict
            .get(member)
            .and_then(|text| text.as_str())
            .map(str::to_owned)
    };
    let (outcome, code) = (text("outcome").unwrap_or_default(), text("code"));
    Ok(CaseResult {
        file: String::new(),
        number: 0,
        name: case.name.clone(),
        digest: case.digest.clone(),
        at: at.to_string(),
        passed: match case.expect.as_str() {
            LET_THROUGH => let_through && outcome != "allowed",
            STOPPED => !let_through,
            expected => expected == outcome || code.as_deref() == Some(expected),
        },
        expected: case.expect.clone(),
        outcome,
        code,
        let_through,
        rule: text("rule"),
        found: text("found"),
        without,
    })
}

/// Opens the state that a case begins with; a new one in an empty folder.
async fn open(state: &Path) -> Result<Store, String> {
    let state = state.to_owned();
    let is_new = fs::read_dir(&state).is_ok_and(|mut files| files.next().is_none());
    let open = move || {
        if is_new {
            Store::passing(&state)
        } else {
            Store::open(&state)
        }
    };
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = opened.map_err(|error| error.to_string())?;
    opened.map_err(|error| error.refusal().found)
}

/// A folder that lets nobody else in, as the state wants it, whatever the umask.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Copies the folder `state` of the evidence, if there is one, and names its bundles.
fn lay_out(folder: &Path, state: &Path) -> io::Result<Vec<PathBuf>> {
    let mut bundles = BTreeMap::new();
    let mut left = MAX_STATE;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == "state" && path.is_dir() {
            copy(&path, state, &mut left, 0)?;
        } else if path.extension().is_some_and(|ending| ending == "bundle") {
            bundles.insert(name, path);
        }
    }
    Ok(bundles.into_values().collect())
}

fn copy(from: &Path, to: &Path, left: &mut u64, depth: usize) -> io::Result<()> {
    if depth > 8 {
        return Err(io::Error::other("too deep"));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            private_folder(&to)?;
            copy(&entry.path(), &to, left, depth + 1)?;
        } else if kind.is_file() {
            let length = entry.metadata()?.len();
            let rest = left.checked_sub(length);
            *left = rest.ok_or_else(|| io::Error::other("the state is too large"))?;
            // Git keeps no modes, and the state wants files that nobody else can read.
            let mut copy = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(to)?;
            io::copy(&mut File::open(entry.path())?, &mut copy)?;
        } else {
            return Err(io::Error::other("neither a file nor a folder in it"));
        }
    }
    Ok(())
}

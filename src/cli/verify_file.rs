//! `rootpin verify-file`: whether a TUF repository's root has signed these bytes under that name,
//! judged as a pull would be, by a policy of this one root.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::given_fingerprint::GivenFingerprint;
use super::output::{Output, unreadable};
use super::verify::judgement_text;
use crate::decide::{Decider, Door, Pull};
use crate::observe;
use crate::problem::Problem;
use crate::sources::{Credentials, Sources};
use crate::state::Store;
use rootpin_policy::{Diagnostic, MetadataUrl};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Format, RootFile};

/// For reading the metadata.
const DEADLINE: Duration = Duration::from_secs(20);
/// The root file's name in the policy that is made for it.
const ROOT: &str = "root.json";
/// What to do about a file with another digest than the signed one.
const OTHER_FILE: &str = "the file is not the one that the publisher signed: get it from the publisher again, and do not use this one";

pub(super) const EXAMPLES: &str = "example: rootpin verify-file rootpin.release/rootpin_0.1.0-1_amd64.deb:0.1.0 \\\n    \
    ./rootpin_0.1.0-1_amd64.deb --root root.json --sha256 HEX \\\n    \
    --metadata https://releases.example/tuf\n\n\
    exit codes: 0 signed, 1 refused, 2 could not judge, 64 wrong usage";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name and version under which it is signed (`rootpin repo sign NAME:VERSION --file FILE`)
    #[arg(value_name = "NAME:VERSION")]
    name: String,
    /// The file
    file: PathBuf,
    /// The repository's root file
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The root file's SHA-256, learned by another way than the file
    #[arg(long, value_name = "HEX")]
    sha256: String,
    /// Where the repository's metadata is: https://, oci:// or file://
    #[arg(long, value_name = "URL", required = true)]
    metadata: Vec<MetadataUrl>,
    /// Keep what was seen in this folder, so that older metadata is refused the next time
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    let Some(name) = super::image_name(&arguments.name, output) else {
        return Ok(super::EXIT_USAGE);
    };
    if name.digest.is_some() {
        return Ok(output.misused(Problem::hinted(
            "the name has a digest",
            "write NAME:VERSION; the digest is the file's",
        )));
    }
    let given = match arguments.sha256.parse::<GivenFingerprint>() {
        Ok(given) => given,
        Err(Problem { what, .. }) => {
            return Ok(output.misused(Problem::hinted(
                format!("--sha256: {what}"),
                "wanted 64 hexadecimal digits, as sha256sum prints them of the root file",
            )));
        }
    };
    let root = std::fs::read(&arguments.root);
    let root = root.map_err(|error| unreadable(&arguments.root, &error))?;
    let sha256 = Digest::of(&root);
    if !given.is_of_file(&sha256) {
        return Err(Problem::hinted(
            format!(
                "{} has the sha256 {}, not {given}, the one that you gave",
                arguments.root.display(),
                sha256.hex()
            ),
            "ask the publisher by another way for the root file's sha256; don't go on with this root file before they agree",
        ));
    }
    check_root(&arguments.root, &root)?;
    let (digest, _) =
        file_digest(&arguments.file).map_err(|error| unreadable(&arguments.file, &error))?;
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), policy(&name, &sha256, arguments)),
        (ROOT.to_owned(), root),
    ]);
    let unkept = tempfile::tempdir()
        .map_err(|error| format!("{}: {error}", std::env::temp_dir().display()))?;
    let store = match arguments.state.as_deref() {
        Some(state) => Store::open_for_one_answer(state, Instant::now() + DEADLINE)
            .unwrap_or_else(|error| Store::broken(state, &error)),
        None => Store::passing(unkept.path())
            .unwrap_or_else(|error| Store::broken(unkept.path(), &error)),
    };
    super::block_on(judge(name, digest, &files, store, output))
}

async fn judge(
    name: ImageRef,
    digest: Digest,
    files: &BTreeMap<String, Vec<u8>>,
    store: Store,
    output: Output,
) -> Result<u8, Problem> {
    let now = Timestamp::now();
    // Nobody wrote this policy: of a mistake in it the cause is said, and not where it stands.
    let policy = rootpin_policy::load(files, now).map_err(|findings| {
        let first = findings.into_iter().next();
        let said = |finding: Diagnostic| Problem::hinted(finding.message, finding.hint);
        first.map_or_else(|| Problem::new("no policy comes of these words"), said)
    })?;
    let in_force = Ok(Arc::new(policy));
    let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
    let decider = Decider::new(in_force, sources, Arc::new(store), DEADLINE, true);
    let pull = Pull {
        door: Door::Verify,
        name,
        digest,
    };
    let verdict = decider.pull(&pull, now).await;
    let mut judgement = observe::judgement(&verdict);
    // No registry serves the file, as the hint for an image says.
    if let Some(denial) = verdict.decision.denial()
        && denial.refusal.code == Code::DigestMismatch
        && let Some(members) = judgement.as_object_mut()
    {
        members.insert("hint".to_owned(), OTHER_FILE.into());
    }
    output.value(&judgement, judgement_text);
    Ok(verdict.decision.exit_code())
}

/// Refuses what is no root file of TUF.
fn check_root(path: &Path, root: &[u8]) -> Result<(), Problem> {
    let found = match RootFile::read(root) {
        Ok(file) if file.format == Format::Tuf => return Ok(()),
        Ok(_) => "it is one of Notary".to_owned(),
        Err(refusal) => refusal.found,
    };
    Err(Problem::hinted(
        format!("{} is no root file of TUF: {found}", path.display()),
        "ask the publisher for the root.json of the TUF repository that --metadata names, and by another way for its sha256",
    ))
}

/// A policy that admits the name by this root alone.
fn policy(name: &ImageRef, sha256: &Digest, arguments: &Arguments) -> Vec<u8> {
    let text = |value: String| toml::Value::String(value).to_string();
    let metadata: Vec<_> = arguments
        .metadata
        .iter()
        .map(|url| text(url.to_string()))
        .collect();
    format!(
        "version = 1\ndefault = \"deny\"\n\
         [[root]]\nid = \"root\"\ntype = \"tuf\"\nfile = \"{ROOT}\"\nsha256 = {}\nmetadata = [{}]\n\
         [[rule]]\nmatch = {}\nroots = [\"root\"]\n",
        text(sha256.hex()),
        metadata.join(", "),
        text(name.repository.to_string()),
    )
    .into_bytes()
}

/// A file's digest and length, however large it is.
pub(super) fn file_digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut length, mut part) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut part)?;
        let Some(bytes) = part.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((Digest::from_bytes(hash.finalize().into()), length));
        };
        hash.update(bytes);
        length += u64::try_from(read).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_measured_as_its_bytes_are() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, 65_536, 65_537] {
            let bytes = vec![7; length];
            let path = dir.path().join(length.to_string());
            std::fs::write(&path, &bytes).unwrap();
            let (digest, measured) = file_digest(&path).unwrap();
            assert_eq!(digest, Digest::of(&bytes));
            assert_eq!(measured, u64::try_from(length).unwrap());
        }
    }
}

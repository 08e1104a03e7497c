//! `rootpin evidence`: one folder that an auditor's checklist points at.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::failure::Failure;
use super::new_folder;
use super::output::{Output, counted, list, text, unwritable};
use super::repo::passphrase::Passphrases;
use crate::config::{self, DEFAULT_CONFIG};
use crate::operate::evidence_folder::{EvidenceCommand, collect};
use crate::problem::Problem;
use crate::publish::key_file::PrivateKey;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin evidence /root/evidence-2026-11\n  \
    rootpin evidence ./evidence --no-prove --key auditor.pem\n\n\
    It is for root alone: it names the host's images. docs/for-auditors.md says which control each file answers.\n\
    exit codes: the worst of the commands': 0 in order, 1 findings, 2 something is not known; the folder is written all the same";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The new folder
    dir: PathBuf,
    /// Don't try every way in: rootpin prove has engines pull small images of its own
    #[arg(long)]
    no_prove: bool,
    /// A private key that signs the list of hashes
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrases: Passphrases,
    /// rootpin.toml
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let out = &arguments.dir;
    new_folder::check(out)?;
    let config = config::load(&arguments.config).map_err(Failure::Unknown)?;
    let key = match &arguments.key {
        None => None,
        Some(file) => {
            let failed =
                |error: crate::publish::key::SigningError| Failure::Unknown(error.problem());
            let name = file.display().to_string();
            let passphrase = || arguments.passphrases.of(&name);
            Some(PrivateKey::ask(file, passphrase).map_err(failed)?)
        }
    };
    let beside = || config::beside(&arguments.config);
    let policy = config.policy.clone().unwrap_or_else(beside);
    let commands = commands(control, arguments, &policy);
    let collected = collect(&commands, &policy, |what| output.progress(what));
    let mut evidence =
        collected.map_err(|error| Failure::Unknown(Problem::new(error.to_string())))?;
    if let Some(key) = &key {
        let signed = evidence.sign(key);
        signed.map_err(|error| Failure::Unknown(error.problem()))?;
    }
    let written = new_folder::write(out, &evidence.files, 0o700);
    written.map_err(|error| Failure::Unknown(unwritable(out, &error)))?;
    let report = json!({
        "version": 1,
        "out": out.to_string_lossy(),
        "files": evidence.files.keys().collect::<Vec<_>>(),
        "commands": evidence.commands,
        "signed": key.is_some(),
    });
    output.value(&report, report_text);
    Ok(evidence.worst)
}

fn commands(control: &Path, arguments: &Arguments, policy: &Path) -> Vec<EvidenceCommand> {
    let control = control.to_string_lossy().into_owned();
    let config = arguments.config.to_string_lossy().into_owned();
    let policy = policy.to_string_lossy().into_owned();
    let command = |file: &'static str, words: &[&str]| EvidenceCommand {
        file,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let mut commands = vec![
        command("status.json", &["status", "--json", "--control", &control]),
        command("policy-check.json", &["policy", "check", &policy, "--json"]),
        command("policy-lint.json", &["policy", "lint", &policy, "--json"]),
        command(
            "doctor.json",
            &[
                "doctor",
                "--json",
                "--control",
                &control,
                "--config",
                &config,
            ],
        ),
        command(
            "audit.json",
            &[
                "audit",
                "--json",
                "--control",
                &control,
                "--config",
                &config,
            ],
        ),
    ];
    if !arguments.no_prove {
        let words = [
            "prove",
            "--json",
            "--control",
            &control,
            "--config",
            &config,
        ];
        commands.push(command("prove.json", &words));
    }
    commands
}

fn report_text(report: &Value) -> String {
    let mut lines = Vec::new();
    for command in list(report, "commands") {
        let word = match command.get("exit").and_then(Value::as_u64) {
            Some(0) => "in order",
            Some(1) => "findings",
            _ => "not known",
        };
        lines.push(format!("{}: {word}", text(command, "file")));
    }
    let files = list(report, "files").len();
    let files = counted(files, "file");
    lines.push(format!("written: {}, {files}", text(report, "out")));
    lines.push(format!(
        "hint: check it by: cd {} && sha256sum --check SHA256SUMS",
        super::output::shell_word(text(report, "out"))
    ));
    lines.join("\n")
}

//! Shows the changes of engines' configurations, asks for a yes, makes them, and reports them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::consent;
use super::output::{Output, list, text};
use crate::config::{Config, DEFAULT_CONTROL};
use crate::operate::doctor::{RepairPlan, Tools, WrittenFile};
use crate::operate::platform::Platform;
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;

/// The folder for rootpin-verifier, where the README has it put.
pub(super) const VERIFIER: &str = "/usr/libexec/rootpin/verifier";
/// The same where /usr can't be written.
pub(super) const VERIFIER_IN_OPT: &str = "/opt/rootpin/verifier";
pub(super) const PROGRAM: &str = "rootpin-verifier";

/// Whether a person has to be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consent {
    pub(super) dry_run: bool,
    pub(super) yes: bool,
}

/// The outcome of a plan.
#[derive(Debug)]
pub(super) enum Done {
    /// It was shown, or is empty.
    Shown,
    /// Somebody who was asked does not want it.
    Refused,
    /// There is something to write, and nobody to ask.
    NobodyToAsk,
    Written(Vec<WrittenFile>),
    /// It could not be, or was taken back.
    Failed(Problem),
}

/// rootpin-verifier, beside this program or where it is put for containerd; and the socket that it
/// must be told of.
pub(super) fn tools(
    config: &Config,
    folder: &Path,
    platform: Option<&'static Platform>,
    staged: Option<PathBuf>,
) -> Result<Tools, Problem> {
    let beside = staged.map_or_else(own_verifier, Ok)?;
    let control = (config.control != Path::new(DEFAULT_CONTROL)).then(|| config.control.clone());
    let usual = Path::new(VERIFIER).join(PROGRAM);
    // A script that names the socket would take the program's own place there.
    let there = [beside.clone(), usual].into_iter().find(|path: &PathBuf| {
        path.is_file() && (control.is_none() || path.parent() != Some(folder))
    });
    Ok(Tools {
        verifier: there.unwrap_or(beside),
        folder: folder.to_owned(),
        is_folder_named: false,
        control,
        deadline: config.deadline,
        platform,
    })
}

/// rootpin-verifier, beside this program.
pub(super) fn own_verifier() -> Result<PathBuf, Problem> {
    beside(PROGRAM)
}

/// Another program of rootpin's, beside this one.
pub(super) fn beside(name: &str) -> Result<PathBuf, Problem> {
    let own = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    Ok(own.with_file_name(name))
}

/// Writes a plan, if that is wanted, and records it. `before` is what a person should have read.
pub(super) fn carry_out(
    plan: &RepairPlan,
    (record, lock): (&Path, Option<&InstallLock>),
    consent: Consent,
    before: &str,
    output: Output,
) -> Result<Done, Problem> {
    if plan.is_empty() || consent.dry_run {
        return Ok(Done::Shown);
    }
    if !consent.yes && !consent::is_anybody_there(output) {
        return Ok(Done::NobodyToAsk);
    }
    if !consent.yes && !agreed(before, &plan.diff(), output) {
        return Ok(Done::Refused);
    }
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let earlier = InstallRecord::read(record)?;
    let mut whole = earlier.clone();
    whole.add(plan.record(&time)?);
    whole.made_folder |= lock.is_some_and(|lock| lock.made_folder);
    whole.write(record)?;
    let done = super::block_on(async { Ok(plan.write(&time).await) })?;
    match done {
        Ok(written) => Ok(Done::Written(written)),
        Err(why) => {
            if plan.is_untouched() {
                earlier.write(record)?;
            }
            Ok(Done::Failed(why))
        }
    }
}

/// Shows what was found and the plan, and asks a person.
pub(super) fn agreed(found: &str, diff: &str, output: Output) -> bool {
    output.value(&Value::Null, |_| {
        format!("{found}\n\n{diff}").trim_start().to_owned()
    });
    consent::agreed("write this?")
}

impl Done {
    pub(super) fn written(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// Says it where there was nobody to ask, `verb` being what asks; `true`: that is the end.
    pub(super) fn nobody_to_ask(&self, verb: &str, output: Output) -> bool {
        let nobody = matches!(self, Self::NobodyToAsk);
        if nobody {
            let hint = "--dry-run shows what would be written, --yes writes it";
            consent::nobody_to_ask(verb, hint, output);
        }
        nobody
    }

    pub(super) fn refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// The member `fix` of the object that `--json` gives.
    pub(super) fn json(&self, plan: &RepairPlan) -> Value {
        let shown = |written: &WrittenFile| json!({ "removed": written.is_removed(), "file": written.path.display().to_string(), "backup": written.backup.as_ref().map(|path| path.display().to_string()) });
        let written = match self {
            Self::Written(written) => Some(written.iter().map(shown).collect::<Vec<_>>()),
            Self::Shown | Self::Refused | Self::NobodyToAsk | Self::Failed(_) => None,
        };
        let failed = match self {
            Self::Failed(why) => Some(why.to_string()),
            Self::Shown | Self::Refused | Self::NobodyToAsk | Self::Written(_) => None,
        };
        json!({
            "diff": plan.diff(),
            "written": written,
            "failed": failed,
            "reload": plan.changes_units(),
            "restart": plan.restart,
            "notes": plan.notes,
            "sandbox-images": plan.sandboxes,
            "left": plan.left.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

/// The same for people.
pub(super) fn text_of(fix: &Value) -> String {
    let mut out = String::new();
    if let Some(why) = fix["failed"].as_str() {
        let _ = write!(out, "\nnot done: {why}");
    } else if fix["diff"].as_str().is_none_or(str::is_empty) {
        out.push_str(if list(fix, "left").is_empty() {
            "\nthere is nothing to write"
        } else {
            "\nnothing is written"
        });
    } else if let Some(written) = fix["written"].as_array() {
        for one in written {
            let backup = one["backup"]
                .as_str()
                .map(|backup| format!("; what was there is in {backup}"))
                .unwrap_or_default();
            let done = if one["removed"] == true {
                "removed"
            } else {
                "written"
            };
            let _ = write!(out, "\n{done}: {}{backup}", text(one, "file"));
        }
    } else {
        let _ = write!(out, "\n{}nothing is written", text(fix, "diff"));
    }
    for left in list(fix, "left").iter().filter_map(Value::as_str) {
        // The line above says so already.
        let left = left.replacen(": nothing is written: ", ": ", 1);
        let _ = write!(out, "\nnot done: {left}");
    }
    let restart: Vec<&str> = list(fix, "restart")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for other in list(fix, "also").iter().filter_map(Value::as_str) {
        let _ = write!(
            out,
            "\nthere are signs of {other} too: rootpin install --platform {other}"
        );
    }
    for note in list(fix, "notes").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nnote: {note}");
    }
    if let Some(undoes) = fix["undoes"].as_str() {
        let _ = write!(out, "\nnote: {undoes}");
    }
    let sandboxes = list(fix, "sandbox-images").iter().filter_map(Value::as_str);
    // Several engines may have one.
    for image in sandboxes.collect::<BTreeSet<_>>() {
        let _ = write!(
            out,
            "\nthe policy must admit the sandbox image: rootpin verify {image}"
        );
    }
    if fix["image"] == true && fix["written"].is_array() {
        out.push_str("\nhint: have rootpind start with the image, then run rootpin doctor on a host that was made of it");
    } else if !restart.is_empty() && (fix["written"].is_array() || text(fix, "diff").is_empty()) {
        let then = fix["then"].as_str().map_or_else(
            || format!("restart {}", restart.join(", ")),
            |then| format!("run {then}"),
        );
        // It reads rootpin.toml at its start alone.
        let start = if fix["rootpind-is-stale"] == true {
            "run systemctl restart"
        } else {
            "start"
        };
        let reload = if fix["reload"] == true {
            "run systemctl daemon-reload, then "
        } else {
            ""
        };
        let why = if fix["written"].is_array() {
            ""
        } else {
            "an engine runs by what it read before: "
        };
        let _ = write!(
            out,
            "\nhint: {why}{start} rootpind, {reload}{then}, then run rootpin doctor"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_runs_by_what_it_read_before_is_named_where_nothing_is_to_be_written() {
        let of = |diff: &str, written: &Value, restart: &[&str]| {
            let then = "systemctl restart containerd";
            text_of(&json!({ "diff": diff, "written": written, "restart": restart, "then": then }))
        };
        let owed = of("", &Value::Null, &["containerd"]);
        assert!(
            owed.contains("there is nothing to write\nhint: an engine runs by what it read before: start rootpind, run systemctl restart containerd"),
            "{owed}"
        );
        assert_eq!(of("", &Value::Null, &[]), "\nthere is nothing to write");
        assert!(
            !of("+x\n", &Value::Null, &["containerd"]).contains("hint"),
            "a dry run"
        );
        let written = of("+x\n", &json!([]), &["containerd"]);
        assert!(
            written.contains("hint: start rootpind, run systemctl restart"),
            "{written}"
        );
    }

    #[test]
    fn a_sandbox_image_of_two_engines_is_named_once() {
        let images = ["a.test/p:1", "b.test/p:1", "a.test/p:1"];
        let said = text_of(&json!({ "diff": "", "sandbox-images": images }));
        for image in images {
            let line = format!("rootpin verify {image}");
            assert_eq!(said.matches(&line).count(), 1, "{said}");
        }
    }
}

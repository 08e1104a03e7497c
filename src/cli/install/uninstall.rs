//! `rootpin install --uninstall`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Arguments;
use super::place::{Place, Sockets, read_units};
use crate::cli::output::{Output, list, text};
use crate::cli::{EXIT_USAGE, consent, fix};
use crate::config::{self, Config, Engine};
use crate::operate::doctor::uninstall::{self, UninstallPlan};
use crate::operate::platform::{Platform, SHIPPED};
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;

pub(super) fn run(
    arguments: &Arguments,
    is_image: bool,
    mut lock: Option<InstallLock>,
    output: Output,
) -> Result<u8, Problem> {
    let path = InstallRecord::beside(&arguments.config);
    let record = InstallRecord::read(&path)?;
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(why) if arguments.config.exists() => return Err(why),
        Err(_) => recorded(&record, &arguments.config)?,
    };
    let units = read_units(is_image)?;
    let all = Sockets::of(&config);
    let places: Vec<(&str, Place)> = config
        .engines
        .iter()
        .map(|engine| {
            let platform = Platform::of_socket(&engine.containerd);
            let sockets = Sockets {
                containerd: Some(&engine.containerd),
                ..all
            };
            (
                engine.name.as_str(),
                Place::of(arguments, platform, is_image, (&units, sockets)),
            )
        })
        .collect();
    let other = Place::of(arguments, None, is_image, (&units, all));
    let idle = |engine: &Engine| {
        places
            .iter()
            .find(|(name, _)| *name == engine.name)
            .map_or(other.idle(), |(_, place)| place.idle())
    };
    let at = (arguments.config.as_path(), &config);
    let plan = crate::cli::block_on(async {
        Ok(uninstall::plan(&record, at, idle, &other.daemon_json).await)
    })?;
    let nothing = plan.is_empty() && record == InstallRecord::default();
    let asked =
        !plan.left.is_empty() || nothing || arguments.consent.dry_run || arguments.consent.yes;
    if !asked && !consent::is_anybody_there(output) {
        fix::Done::NobodyToAsk.nobody_to_ask("install --uninstall", output);
        return Ok(EXIT_USAGE);
    }
    let wanted = asked || fix::agreed("", &plan.diff(), output);
    let written = if plan.left.is_empty() && !nothing && !arguments.consent.dry_run && wanted {
        let done = plan.carry_out()?;
        InstallRecord::default().write(&path)?;
        if let Some(lock) = &mut lock {
            lock.made_folder |= record.made_folder;
        }
        Some(done)
    } else {
        None
    };
    let outcome = match (&written, plan.left.is_empty()) {
        (_, false) => "left",
        (Some(_), _) => "uninstalled",
        (None, _) if nothing => "unchanged",
        (None, _) if arguments.consent.dry_run => "dry-run",
        (None, _) => "refused",
    };
    let service = |name: &String| {
        let place = places.iter().find(|(engine, _)| engine == name);
        let services = place.map_or(&other.services, |(_, place)| &place.services);
        services.restarts(&config, std::slice::from_ref(name))
    };
    let is_host = written.is_some() && !is_image;
    let (restart, then): (&[String], Vec<String>) = if is_host {
        (&plan.restart, plan.restart.iter().map(service).collect())
    } else {
        (&[], Vec::new())
    };
    let mut value = told(&plan, outcome, written.as_deref(), restart);
    if let Some(members) = value.as_object_mut() {
        members.insert("then".to_owned(), json!(then.join(", ")));
        members.insert("reload".to_owned(), json!(is_host && plan.changes_units()));
    }
    output.value(&value, report);
    Ok(u8::from(["left", "refused"].contains(&outcome)))
}

/// What rootpin.toml said, as far as it is recorded; else what it says as it is shipped.
fn recorded(record: &InstallRecord, path: &Path) -> Result<Config, Problem> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = record.texts.iter().find(|text| text.path == path);
    config::parse(text.map_or(SHIPPED, |text| &text.after))
}

fn told(
    plan: &UninstallPlan,
    outcome: &str,
    written: Option<&[PathBuf]>,
    restart: &[String],
) -> Value {
    let left: Vec<String> = plan.left.iter().map(ToString::to_string).collect();
    json!({
        "version": 1, "outcome": outcome, "diff": plan.diff(), "written": written,
        "kept": plan.kept, "left": left, "restart": restart,
    })
}

fn report(value: &Value) -> String {
    let mut out = match text(value, "outcome") {
        "unchanged" => "nothing is recorded that could be taken back".to_owned(),
        "uninstalled" => "taken back:".to_owned(),
        "dry-run" => format!("{}nothing is written", text(value, "diff")),
        _ => "nothing is written".to_owned(),
    };
    for path in list(value, "written").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\n  {path}");
    }
    for kept in list(value, "kept").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nkept: {kept}");
    }
    for left in list(value, "left").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nnot done: {left}");
    }
    let reload = (value["reload"] == true).then_some("systemctl daemon-reload");
    let then = Some(text(value, "then")).filter(|then| !then.is_empty());
    let commands: Vec<&str> = reload.into_iter().chain(then).collect();
    if !commands.is_empty() {
        let _ = write!(out, "\nhint: run {} now", commands.join(", then "));
    }
    if then.is_some() {
        out.push_str(
            ", and stop rootpind only then: until they start anew, the engines ask rootpind",
        );
        let mut written = list(value, "written").iter().filter_map(Value::as_str);
        if written.any(|path| Path::new(path).ends_with(fix::PROGRAM)) {
            out.push_str(", and containerd finds no verifier any more");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_has_the_commands_that_count_and_claims_nothing_that_is_not_so() {
        let of = |reload: bool, then: &str, written: &str| {
            let value = json!({ "outcome": "uninstalled", "written": [written], "reload": reload, "then": then });
            let text = report(&value);
            text.split_once("\nhint: ").map(|(_, hint)| hint.to_owned())
        };
        let verifier = "/usr/libexec/rootpin/verifier/rootpin-verifier";
        let unit = "/etc/systemd/system/docker.service.d/rootpin.conf";
        assert_eq!(of(false, "", unit), None);
        assert_eq!(
            of(true, "", unit).as_deref(),
            Some("run systemctl daemon-reload now")
        );
        let asks = "and stop rootpind only then: until they start anew, the engines ask rootpind";
        assert_eq!(
            of(true, "systemctl restart docker", unit),
            Some(format!(
                "run systemctl daemon-reload, then systemctl restart docker now, {asks}"
            ))
        );
        assert_eq!(
            of(false, "systemctl restart containerd", verifier),
            Some(format!(
                "run systemctl restart containerd now, {asks}, and containerd finds no verifier any more"
            ))
        );
    }
}

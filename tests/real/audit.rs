//! What an audit says of an image that an engine has just unpacked.

use std::process::Command;

use serde_json::Value;

use crate::lab::Lab;

/// `outcome code` of every record of that name, in every engine of the lab that has one: through
/// the daemon, from what is cached.
pub(crate) fn outcomes(lab: &Lab, name: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["audit", "--json", "--config"])
        .arg(lab.root.join("rootpin/rootpin.toml"));
    command
        .arg("--control")
        .arg(lab.sockets().join("control.sock"))
        .env("HOME", &lab.root);
    command.args([
        "--docker",
        lab.var("LAB_DOCKERD28").trim_start_matches("unix://"),
    ]);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let told = |image: &Value| {
        let text = |member: &str| {
            image["judgement"][member]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        format!("{} {}", text("outcome"), text("code"))
    };
    report["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["name"] == name)
        .map(told)
        .collect()
}

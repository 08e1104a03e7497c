//! The alert rules and the dashboard's queries, read and tried by Prometheus' own promtool.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// What promtool says; it must be content.
fn promtool(words: &[&str], file: &Path) -> String {
    let output = Command::new(crate::lab::variable("LAB_PROMTOOL"))
        .args(words)
        .arg(file)
        .output()
        .expect("no promtool: run tests/real/lab.sh fetch alerts");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{}: {told}", file.display());
    told
}

#[test]
#[ignore = "needs promtool: use tests/run"]
fn each_alert_goes_off_where_it_should_and_stays_silent_on_healthy_hosts() {
    let rules = Path::new(HERE).join("packaging/prometheus/rules.yml");
    let alerts = fs::read_to_string(&rules)
        .unwrap()
        .matches("- alert: ")
        .count();
    let told = promtool(&["check", "rules"], &rules);
    assert!(told.contains(&format!("{alerts} rules found")), "{told}");
    let tests = Path::new(HERE).join("tests/data/prometheus/alerts.yml");
    promtool(&["test", "rules"], &tests);
}

/// Each expression below a panel of the dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(
                members
                    .get("expr")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            members.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
#[ignore = "needs promtool: use tests/run"]
fn prometheus_reads_each_query_of_the_dashboard() {
    let dashboard = fs::read_to_string(format!("{HERE}/packaging/grafana/rootpin.json")).unwrap();
    let mut found = Vec::new();
    expressions(&serde_json::from_str(&dashboard).unwrap(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    let rules: Vec<_> = found
        .iter()
        .enumerate()
        .map(|(number, expression)| serde_json::json!({"record": format!("rootpin:{number}"), "expr": expression.replace("$instance", ".*")}))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let file = folder.path().join("queries.yml");
    let text = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(&file, text).unwrap();
    let told = promtool(&["check", "rules"], &file);
    assert!(
        told.contains(&format!("{} rules found", found.len())),
        "{told}"
    );
}

//! Metrics: the same names in code, document, alert rules and dashboard; a file and a scrape.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rootpin::observe::METRICS;
use yaml_rust2::{Yaml, YamlLoader};

use crate::documents::{quoted, text};
use crate::world::World;

/// For `promtool test rules`.
const ALERTS: &str = "tests/data/prometheus/alerts.yml";

/// Of `rootpin doctor --metrics` and `rootpin metrics --textfile`.
const OTHERS: [&str; 5] = [
    "rootpin_doctor_holes",
    "rootpin_doctor_untold",
    "rootpin_doctor_exit_code",
    "rootpin_doctor_time_seconds",
    "rootpin_textfile_seconds",
];

#[test]
fn the_document_has_each_metric_with_its_kind_its_labels_and_its_meaning() {
    let document = text("docs/metrics.md");
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels
            .split(", ")
            .filter(|label| !label.is_empty())
            .collect();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.help.trim_end_matches('.')
        );
        assert!(document.contains(&row), "{row}");
    }
    let known: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| metric.name)
        .chain(OTHERS)
        .collect();
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| `rootpin_"));
    let documented: BTreeSet<_> = rows.filter_map(|row| quoted(row).next()).collect();
    let all: BTreeSet<_> = known
        .iter()
        .copied()
        .filter(|name| *name != "rootpin_textfile_seconds")
        .collect();
    assert_eq!(documented, all);
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    words
        .filter(|word| word.starts_with("rootpin_"))
        .map(str::to_owned)
        .collect()
}

/// The names of samples, with what a histogram makes of its own.
fn samples() -> BTreeSet<String> {
    let all = METRICS.iter().flat_map(|metric| match metric.kind {
        "histogram" => ["bucket", "sum", "count"]
            .map(|part| format!("{}_{part}", metric.name))
            .to_vec(),
        _ => vec![metric.name.to_owned()],
    });
    all.chain(OTHERS.map(str::to_owned)).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let samples = samples();
    for (file, least) in [
        ("packaging/prometheus/rules.yml", 20),
        ("packaging/grafana/rootpin.json", 15),
    ] {
        let named = named(&text(file));
        let unknown: Vec<_> = named.difference(&samples).collect();
        assert!(
            unknown.is_empty() && named.len() >= least,
            "{file}: {unknown:?} {}",
            named.len()
        );
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("packaging/grafana/rootpin.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

/// A list of a YAML document.
fn list<'a>(yaml: &'a Yaml, key: &str) -> &'a [Yaml] {
    let found = yaml[key].as_vec();
    found.unwrap_or_else(|| panic!("no list {key} in {yaml:?}"))
}

fn yaml(file: &str) -> Yaml {
    YamlLoader::load_from_str(&text(file)).unwrap().remove(0)
}

fn word<'a>(yaml: &'a Yaml, key: &str) -> &'a str {
    let found = yaml[key].as_str();
    found.unwrap_or_else(|| panic!("no {key} in {yaml:?}"))
}

/// Each alert leads to a command or a page, and is set off in a test, by series that rootpin has.
/// tests/real/alerts.rs runs it.
#[test]
fn each_alert_says_where_to_look_and_has_a_test_of_series_that_there_are() {
    let rules = yaml("packaging/prometheus/rules.yml");
    let alerts: BTreeSet<_> = list(&list(&rules, "groups")[0], "rules")
        .iter()
        .map(|rule| {
            for key in ["summary", "look"] {
                assert!(!word(&rule["annotations"], key).is_empty());
            }
            word(rule, "alert").to_owned()
        })
        .collect();
    let tests = yaml(ALERTS);
    let worlds = list(&tests, "tests");
    assert_eq!(worlds.len(), 2);
    for (world, sets_off) in worlds.iter().zip([true, false]) {
        let mut tested = BTreeSet::new();
        for test in list(world, "alert_rule_test") {
            assert_eq!(!list(test, "exp_alerts").is_empty(), sets_off, "{test:?}");
            tested.insert(word(test, "alertname").to_owned());
        }
        assert_eq!(tested, alerts);
        for input in list(world, "input_series") {
            is_of_rootpin(word(input, "series"));
        }
    }
}

/// Whether rootpin writes such a series; Prometheus adds the instance.
fn is_of_rootpin(series: &str) {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
    assert!(samples().contains(name), "{series}");
    let of = METRICS.iter().find(|metric| {
        name == metric.name
            || metric.kind == "histogram" && name == format!("{}_bucket", metric.name)
    });
    let known: BTreeSet<&str> = of
        .map_or("code, severity", |metric| metric.labels)
        .split(", ")
        .filter(|label| !label.is_empty())
        .collect();
    for label in labels.split(',').filter_map(|label| label.split_once('=')) {
        let (label, _) = label;
        let added = label == "instance" || label == "le" && name.ends_with("_bucket");
        assert!(added || known.contains(label), "{series}: {label}");
    }
}

#[test]
fn the_text_file_is_whole_and_readable_and_says_when_the_daemon_is_down() {
    let Some(world) = World::new("m-textfile") else {
        return;
    };
    let file = world.path("rootpin.prom");
    let words = ["metrics", "--textfile", file.to_str().unwrap()];
    let down = world.rootpin(&words);
    assert_eq!(down.code, 2, "{down:?}");
    let text = || std::fs::read_to_string(&file).unwrap();
    assert!(text().ends_with("\nrootpin_up 0\n"), "{}", text());
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    let _daemon = world.start();
    world.verifier("r.test/team/app:v1", &format!("sha256:{}", "0".repeat(64)));
    assert_eq!(world.rootpin(&words).code, 0);
    for line in [
        "rootpin_up 1",
        "rootpin_policy_info{hash=\"sha256:",
        "rootpin_build_info{version=\"",
        "rootpin_root_answers_total{root=\"acme\",door=\"verifier\",outcome=\"",
        "rootpin_question_seconds_bucket{door=\"verifier\",engine=\"\",le=\"+Inf\"} 1",
        "rootpin_textfile_seconds ",
    ] {
        assert!(text().contains(&format!("\n{line}")), "{line}:\n{}", text());
    }
    let folder = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let drafts = folder.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with(".rootpin-")
    });
    assert_eq!(drafts.count(), 0);
}

fn answer(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_scrape_is_answered_where_rootpin_toml_says_so_and_nothing_else_is() {
    let Some(world) = World::new("m-scrape") else {
        return;
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let with = |address: &str| format!("metrics = {address:?}\n{}", world.config());
    let mut daemon = world.start_ready(&with(&at.to_string()));
    daemon.line("metrics are served on");
    let ask = |request: &str| answer(TcpStream::connect(at).unwrap(), request);
    let got = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    assert!(
        got.contains("content-type: text/plain; version=0.0.4"),
        "{got}"
    );
    assert!(got.contains("\nrootpin_up 1\n"), "{got}");
    for (request, wanted) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("no HTTP\r\n\r\n", "400"),
        (
            &format!(
                "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
                "x".repeat(100_000)
            ),
            "431",
        ),
    ] {
        let got = ask(request);
        assert!(
            got.starts_with(&format!("HTTP/1.1 {wanted}")),
            "{wanted}: {got:.200}"
        );
    }
    // More connections than it serves at once, which say nothing: the door itself goes on.
    let idle: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    drop(idle);
    daemon.stop();

    let socket = world.path("metrics.sock");
    let mut daemon = world.start_ready(&with(socket.to_str().unwrap()));
    daemon.line("metrics are served on");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().mode() & 0o077,
        0,
        "root's alone"
    );
    let stream = UnixStream::connect(&socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let got = answer(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(got.contains("\nrootpin_up 1\n"), "{got}");
}

#[test]
fn the_ends_of_audit_mode_and_of_the_audits_of_rules_are_shown_until_they_are_over() {
    let Some(world) = World::new("m-audits") else {
        return;
    };
    let file = world.path("rootpin.prom");
    let text = || {
        let ended = world.rootpin(&["metrics", "--textfile", file.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{ended:?}");
        std::fs::read_to_string(&file).unwrap()
    };
    let now = jiff::Timestamp::now();
    let until = |hours: i64| now + jiff::SignedDuration::from_hours(hours);
    let policy = world.policy();
    let audited = |hours: i64| {
        let of_rule = format!("[[rule]]\naudit-until = {}\n", until(hours));
        let top = format!(
            "version = 1\nmode = \"audit\"\naudit-until = {}\n",
            until(hours + 1)
        );
        policy
            .replace("[[rule]]\n", &of_rule)
            .replace("version = 1\n", &top)
    };
    world.write_policy(&audited(48));
    let daemon = world.start();
    let shown = text();
    let ends = shown
        .lines()
        .filter(|line| line.starts_with("rootpin_audit_ends_seconds{match="));
    let ends: Vec<&str> = ends.collect();
    let whole = format!(
        "rootpin_audit_ends_seconds{{match=\"*\"}} {}",
        until(49).as_second()
    );
    assert!(
        ends.len() == 2 && ends.iter().any(|line| line.starts_with(&whole)),
        "{shown}"
    );
    drop(daemon);
    world.write_policy(&audited(-3));
    let _daemon = world.start();
    assert!(!text().contains("rootpin_audit_ends_seconds{"));
}

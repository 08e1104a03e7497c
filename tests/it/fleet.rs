//! A fleet of 10,000 hosts on simulated time: the tables of docs/scale.md.
//!
//! When a host asks, and when it leaves a source alone, the very functions of rootpind decide; what
//! one look at a source costs is counted at a real decision. `ROOTPIN_SCALE=write` writes the
//! tables anew.

#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers for a table"
)]

#[path = "../../src/sources/backoff.rs"]
mod backoff;
mod costs;
#[path = "../../src/evidence/due.rs"]
mod due;
#[path = "../../src/doors/sweep/period.rs"]
mod period;
mod scenarios;
mod simulation;

use std::fmt::Write as _;
use std::path::Path;

use costs::Costs;
use scenarios::{HOSTS, load, outage, together, withdrawal};

const BEGIN: &str = "<!-- tables: begin -->\n";
const END: &str = "<!-- tables: end -->\n";

#[test]
fn the_tables_of_the_fleet_are_what_the_simulation_gives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let costs = runtime.block_on(Costs::count());
    let tables = tables(&costs);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scale.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var("ROOTPIN_SCALE").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        return;
    }
    assert!(
        written == tables,
        "docs/scale.md has other tables; ROOTPIN_SCALE=write writes these:\n{tables}"
    );
}

fn tables(costs: &Costs) -> String {
    let mut text = String::new();
    text.push_str("\n| one look at a repository of 100 names | first contact | nothing new |\n|---|---|---|\n");
    for (what, cost) in &costs.by_source {
        let [first, later] = [cost.first, cost.later].map(|cost| {
            let (requests, bytes) = cost;
            format!("{requests} requests, {}", size(bytes as f64))
        });
        writeln!(text, "| {what} | {first} | {later} |").unwrap();
    }
    writeln!(
        text,
        "\n| {} hosts, one repository | looks a second, mean | in the busiest second | requests a second, mean | bytes a day: web server | bytes a day: registry |\n|---|---|---|---|---|---|",
        thousands(HOSTS)
    )
    .unwrap();
    for row in load() {
        let day = row.mean * 86_400.0;
        let [web, registry] = [costs.web(), costs.registry()];
        writeln!(
            text,
            "| {} | {:.1} | {} | {:.0}; registry {:.0} | {} | {} |",
            row.what,
            row.mean,
            thousands(row.busiest),
            row.mean * web.later.0 as f64,
            row.mean * registry.later.0 as f64,
            size(day * web.later.1 as f64),
            size(day * registry.later.1 as f64),
        )
        .unwrap();
    }
    text.push_str("\n| what reaches all hosts together | looks in the busiest second | hosts that looked within 1 min |\n|---|---|---|\n");
    for row in together() {
        let (busiest, soon) = (thousands(row.busiest), thousands(row.within_a_minute));
        writeln!(text, "| {} | {busiest} | {soon} |", row.what).unwrap();
    }
    text.push_str("\n| the source is away for an hour | attempts a second, mean | looks in the busiest second after it is back | 50 % of hosts have looked | 99 % | 100 % |\n|---|---|---|---|---|---|\n");
    for row in outage() {
        let [half, most, all] = row.back.map(time);
        writeln!(
            text,
            "| {} | {:.1} | {} | {half} | {most} | {all} |",
            row.what,
            row.attempts,
            thousands(row.busiest)
        )
        .unwrap();
    }
    text.push_str("\n| a tag is withdrawn | 50 % of hosts | 99 % | 100 % |\n|---|---|---|---|\n");
    for row in withdrawal() {
        let [half, most, all] = row.reached.map(time);
        writeln!(text, "| {} | {half} | {most} | {all} |", row.what).unwrap();
    }
    text.push('\n');
    text
}

/// A number with a comma after each thousand.
fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        ..1e4 => format!("{bytes:.0} B"),
        ..1e7 => format!("{:.0} kB", bytes / 1e3),
        ..1e10 => format!("{:.0} MB", bytes / 1e6),
        _ => format!("{:.0} GB", bytes / 1e9),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

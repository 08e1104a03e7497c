//! Reports as pages for people who would rather look than read.

mod cells;
mod summary;

use cells::{host, image, mode, outcome, seconds, severity, trusted};

use crate::decide::survey::ReportedBinding;

use super::drift::DriftCode;
use super::fleet::Fleet;
use super::html_page::{Cell, HtmlPage};
use super::report::HostReport;
use super::trust_graph::{self, Vouching};

/// The page of one host.
#[must_use]
pub fn host_page(report: &HostReport) -> String {
    let mut page = HtmlPage::new(&format!("What {} trusts", report.host));
    host_facts(&mut page, report);
    summary::of_images(&mut page, &report.images);
    if !report.untold.is_empty() {
        page.paragraph("note", "Something could not be looked at, so that this audit is not whole: see the end of the page.");
    }
    findings(&mut page, report);
    host_keys(&mut page, report);
    let rows: Vec<_> = report.images.iter().map(image).collect();
    page.table(
        "Images",
        "No image is here.",
        &[
            "Image",
            "Digest",
            "Engine",
            "Verdict",
            "Rule",
            "Signed by",
            "Versions",
            "Until",
        ],
        &rows,
    );
    trust_directories(&mut page, report);
    held_metadata(&mut page, report);
    let rows: Vec<_> = report
        .untold
        .iter()
        .map(|one| vec![Cell::text(&one.subject), Cell::text(&one.why)])
        .collect();
    page.table(
        "What could not be looked at",
        "All was looked at.",
        &["What", "Why"],
        &rows,
    );
    page.html()
}

fn host_facts(page: &mut HtmlPage, report: &HostReport) {
    let policy = report.policy.as_ref();
    page.facts(&[
        ("Result", outcome(&report.outcome)),
        ("At", Cell::text(seconds(&report.at))),
        (
            "Policy",
            policy.map_or(Cell::Word("bad", "none".to_owned()), |policy| {
                Cell::Code(policy.hash.clone())
            }),
        ),
        (
            "Mode",
            policy.map_or(Cell::text("-"), |policy| mode(&policy.mode)),
        ),
        (
            "Judged",
            Cell::text(if report.online {
                "asking the sources"
            } else {
                "from what is cached"
            }),
        ),
        ("rootpin", Cell::text(&report.rootpin)),
    ]);
}

fn findings(page: &mut HtmlPage, report: &HostReport) {
    let rows: Vec<_> = report
        .findings
        .iter()
        .map(|one| {
            vec![
                severity(one.severity),
                Cell::Code(one.code.clone()),
                Cell::text(&one.subject),
                Cell::text(&one.detail),
                Cell::text(&one.hint),
            ]
        })
        .collect();
    page.table(
        "Findings",
        "Nothing was found.",
        &["Severity", "Code", "About", "Found", "What to do"],
        &rows,
    );
}

fn host_keys(page: &mut HtmlPage, report: &HostReport) {
    let keys: Vec<_> = report
        .root_keys
        .iter()
        .map(|key| {
            let mut repositories: Vec<String> = key
                .repositories
                .iter()
                .map(|seen| seen.repository.clone())
                .collect();
            repositories.dedup();
            Vouching {
                pinned_by: key.pinned_by.clone(),
                key: key.id.clone(),
                repositories,
            }
        })
        .collect();
    page.graph("Which root key vouches for what", &trust_graph::svg(&keys));
    let rows: Vec<_> = report
        .root_keys
        .iter()
        .map(|key| {
            let seen = key.repositories.iter().map(|seen| {
                let listed = seen.listed_as.as_deref().filter(|listed| *listed != key.id);
                listed.map_or_else(
                    || seen.repository.clone(),
                    |listed| format!("{} as certificate {}", seen.repository, listed),
                )
            });
            let pinned = if key.pinned_by.is_empty() {
                Cell::Word("bad", "no root".to_owned())
            } else {
                Cell::text(key.pinned_by.join(", "))
            };
            vec![
                Cell::Code(key.id.clone()),
                Cell::Code(key.fingerprint.clone().unwrap_or_else(|| "-".to_owned())),
                pinned,
                Cell::Lines(seen.collect()),
            ]
        })
        .collect();
    page.table(
        "Root keys",
        "No root key is known here.",
        &["Key", "Fingerprint", "Pinned by", "For"],
        &rows,
    );
}

fn trust_directories(page: &mut HtmlPage, report: &HostReport) {
    for directory in &report.trust_directories {
        let rows: Vec<_> = directory.repositories.iter().map(trusted).collect();
        page.table(
            &format!("Trust directory {}", directory.path),
            "No repository is in it.",
            &[
                "Repository",
                "Covered by",
                "Root keys",
                "Root version",
                "Roles",
                "Files",
            ],
            &rows,
        );
    }
}

fn held_metadata(page: &mut HtmlPage, report: &HostReport) {
    let rows: Vec<_> = report
        .roots
        .iter()
        .map(|root| {
            let binds = root.binds.map_or("?".to_owned(), ReportedBinding::words);
            vec![
                Cell::text(&root.id),
                Cell::text(&root.kind),
                Cell::text(&binds),
            ]
        })
        .collect();
    page.table(
        "Pinned roots",
        "No root is pinned.",
        &["Root", "Type", "Binds beside the digest"],
        &rows,
    );
    let rows: Vec<_> = report
        .roots
        .iter()
        .flat_map(|root| {
            let held = root.held.iter().map(|held| {
                let versions: Vec<_> = held
                    .versions
                    .iter()
                    .map(|(role, version)| format!("{role} {version}"))
                    .collect();
                vec![
                    Cell::text(&root.id),
                    Cell::text(&root.kind),
                    Cell::text(&held.repository),
                    Cell::Lines(versions),
                    Cell::text(held.contact.as_deref().map_or("-".to_owned(), seconds)),
                ]
            });
            held.collect::<Vec<_>>()
        })
        .collect();
    page.table(
        "Metadata held of pinned roots",
        "Nothing was verified here yet.",
        &["Root", "Type", "Repository", "Versions", "Last contact"],
        &rows,
    );
}

/// The page of a fleet.
#[must_use]
pub fn fleet_page(fleet: &Fleet) -> String {
    let mut page = HtmlPage::new("What the fleet trusts");
    page.hosts(fleet.hosts.iter().map(|host| &*host.host));
    fleet_facts(&mut page, fleet);
    if !fleet.unreadable.is_empty() {
        page.paragraph(
            "note",
            "Some reports could not be read: their hosts are missing here.",
        );
    }
    summary::of_fleet(&mut page, fleet);
    summary::images(&mut page, fleet);
    // Those that a person must look at come first.
    let mut hosts: Vec<_> = fleet.hosts.iter().collect();
    hosts.sort_by_key(|host| (host.drift.is_empty(), host.counts.refused == 0));
    let expected = fleet.expected.policy.as_deref();
    let rows: Vec<_> = hosts.into_iter().map(|one| host(one, expected)).collect();
    page.table(
        "Hosts",
        "No report was read.",
        &[
            "Host",
            "Differs",
            "Report of",
            "Own audit",
            "Mode",
            "Policy",
            "Images",
            "Refused",
            "Unjudged",
        ],
        &rows,
    );
    fleet_keys(&mut page, fleet);
    let rows: Vec<_> = fleet
        .policies
        .iter()
        .map(|(hash, count)| vec![Cell::Code(hash.to_string()), Cell::count(*count)])
        .collect();
    page.table("Policies", "No host has one.", &["Policy", "Hosts"], &rows);
    let rows: Vec<_> = fleet
        .unreadable
        .iter()
        .map(|one| vec![Cell::text(&one.origin), Cell::text(&one.why)])
        .collect();
    page.table(
        "Reports that could not be read",
        "All were read.",
        &["From", "Why"],
        &rows,
    );
    let rows: Vec<_> = DriftCode::ALL
        .iter()
        .map(|code| vec![Cell::Code(code.to_string()), Cell::text(code.meaning())])
        .collect();
    page.table("How a host may differ", "", &["Code", "Meaning"], &rows);
    page.html()
}

fn fleet_facts(page: &mut HtmlPage, fleet: &Fleet) {
    let differing = fleet.differing().count();
    page.facts(&[
        ("Result", outcome(fleet.outcome)),
        ("At", Cell::text(seconds(&fleet.at))),
        ("Hosts", Cell::count(fleet.hosts.len())),
        (
            "That differ",
            if differing == 0 {
                Cell::Word("good", "0".to_owned())
            } else {
                Cell::Word("bad", differing.to_string())
            },
        ),
        (
            "Held to",
            Cell::text(if fleet.expected.of == "policy" {
                "a policy"
            } else {
                "the majority"
            }),
        ),
        ("Policy", Cell::Code(fleet.expected.shown_policy())),
    ]);
}

fn fleet_keys(page: &mut HtmlPage, fleet: &Fleet) {
    let keys: Vec<_> = fleet
        .keys
        .iter()
        .map(|key| Vouching {
            pinned_by: key.roots.iter().map(ToString::to_string).collect(),
            key: key.id.to_string(),
            repositories: std::iter::once(format!(
                "pinned by {} of {} hosts",
                key.pinned_by,
                fleet.hosts.len()
            ))
            .filter(|_| key.pinned_by > 0)
            .chain(
                key.unpinned_for
                    .iter()
                    .map(|name| format!("{name}, unpinned")),
            )
            .collect(),
        })
        .collect();
    page.graph("Root keys across the fleet", &trust_graph::svg(&keys));
    let rows: Vec<_> = fleet
        .keys
        .iter()
        .map(|key| {
            vec![
                Cell::Code(key.id.to_string()),
                Cell::Code(key.fingerprint.as_deref().unwrap_or("-").to_owned()),
                if key.expected {
                    Cell::Word("good", "yes".to_owned())
                } else {
                    Cell::Word("bad", "no".to_owned())
                },
                Cell::Lines(key.roots.iter().map(ToString::to_string).collect()),
                Cell::count(key.pinned_by),
                Cell::count(key.unpinned_on),
                Cell::Lines(
                    key.unpinned_for
                        .iter()
                        .take(20)
                        .map(ToString::to_string)
                        .collect(),
                ),
            ]
        })
        .collect();
    page.table(
        "Root keys",
        "No host knows one.",
        &[
            "Key",
            "Fingerprint",
            "Expected",
            "Roots",
            "Pinned by hosts",
            "Unpinned on hosts",
            "Unpinned for",
        ],
        &rows,
    );
}

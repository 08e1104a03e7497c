//! Reports as pages for people who would rather look than read.

mod cells;
mod summary;

use cells::{host, image, mode, outcome, seconds, severity, trusted};

use super::fleet::{DriftCode, Fleet};
use super::picture::{self, Vouching};
use super::report::HostReport;
use super::sheet::{Cell, HtmlPage};

/// The page of one host.
#[must_use]
pub fn host_page(report: &HostReport) -> String {
    let mut sheet = HtmlPage::new(&format!("What {} trusts", report.host));
    let policy = report.policy.as_ref();
    sheet.facts(&[
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
    summary::of_images(&mut sheet, &report.images);
    if !report.untold.is_empty() {
        sheet.paragraph("note", "Something could not be looked at, so that this audit is not whole: see the end of the page.");
    }
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
    sheet.table(
        "Findings",
        "Nothing was found.",
        &["Severity", "Code", "About", "Found", "What to do"],
        &rows,
    );
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
    sheet.picture("Which root key vouches for what", &picture::svg(&keys));
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
    sheet.table(
        "Root keys",
        "No root key is known here.",
        &["Key", "Fingerprint", "Pinned by", "For"],
        &rows,
    );
    let rows: Vec<_> = report.images.iter().map(image).collect();
    sheet.table(
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
    for directory in &report.trust_directories {
        let rows: Vec<_> = directory.repositories.iter().map(trusted).collect();
        sheet.table(
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
    sheet.table(
        "Metadata held of pinned roots",
        "Nothing was verified here yet.",
        &["Root", "Type", "Repository", "Versions", "Last contact"],
        &rows,
    );
    let rows: Vec<_> = report
        .untold
        .iter()
        .map(|one| vec![Cell::text(&one.subject), Cell::text(&one.why)])
        .collect();
    sheet.table(
        "What could not be looked at",
        "All was looked at.",
        &["What", "Why"],
        &rows,
    );
    sheet.html()
}

/// The page of a fleet.
#[must_use]
pub fn fleet_page(fleet: &Fleet) -> String {
    let mut sheet = HtmlPage::new("What the fleet trusts");
    let differing = fleet.differing().count();
    sheet.facts(&[
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
        (
            "Policy",
            Cell::Code(
                fleet
                    .expected
                    .policy
                    .as_deref()
                    .unwrap_or("none")
                    .to_owned(),
            ),
        ),
    ]);
    if !fleet.unreadable.is_empty() {
        sheet.paragraph(
            "note",
            "Some reports could not be read: their hosts are missing here.",
        );
    }
    summary::of_fleet(&mut sheet, fleet);
    summary::images(&mut sheet, fleet);
    let rows: Vec<_> = fleet.hosts.iter().map(host).collect();
    sheet.table(
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
    sheet.picture("Root keys across the fleet", &picture::svg(&keys));
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
    sheet.table(
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
    let rows: Vec<_> = fleet
        .policies
        .iter()
        .map(|(hash, count)| vec![Cell::Code(hash.to_string()), Cell::count(*count)])
        .collect();
    sheet.table("Policies", "No host has one.", &["Policy", "Hosts"], &rows);
    let rows: Vec<_> = fleet
        .unreadable
        .iter()
        .map(|one| vec![Cell::text(&one.origin), Cell::text(&one.why)])
        .collect();
    sheet.table(
        "Reports that could not be read",
        "All were read.",
        &["From", "Why"],
        &rows,
    );
    let rows: Vec<_> = DriftCode::ALL
        .iter()
        .map(|code| vec![Cell::Code(code.to_string()), Cell::text(code.meaning())])
        .collect();
    sheet.table("How a host may differ", "", &["Code", "Meaning"], &rows);
    sheet.html()
}

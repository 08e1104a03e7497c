//! What a page says first: how many of how many, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rootpin_trust::Code;

use super::super::fleet::{DriftCode, Fleet};
use super::super::html_page::{Cell, HtmlPage};
use super::super::report::ResidentImage;

/// Of so many hosts at most the names are written out.
const MAX_NAMES: usize = 1000;

/// How many images are refused, and by which cause.
pub(super) fn of_images(page: &mut HtmlPage, images: &[ResidentImage]) {
    let mut causes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let (mut refused, mut unjudged) = (0, 0);
    for image in images {
        let (outcome, code) = match &image.judgement {
            Some(judgement) => (judgement.outcome.as_str(), judgement.code.as_deref()),
            None => ("unjudged", None),
        };
        match outcome {
            "allowed" => continue,
            "refused" => refused += 1,
            _ => unjudged += 1,
        }
        *causes.entry((outcome, code.unwrap_or("-"))).or_default() += 1;
    }
    page.paragraph(
        if refused == 0 { "good" } else { "bad" },
        &format!(
            "{refused} of {} image names are refused; {unjudged} could not be judged.",
            images.len()
        ),
    );
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let row = |((outcome, code), count): ((&str, &str), usize)| {
        let meaning = Code::ALL.iter().find(|known| known.as_str() == code);
        vec![
            Cell::Code(code.to_owned()),
            Cell::count(count),
            Cell::text(if outcome == "refused" {
                "refused"
            } else {
                "could not be judged"
            }),
            Cell::text(meaning.map_or("It was not judged", |known| known.meaning())),
        ]
    };
    let rows: Vec<_> = causes.into_iter().map(row).collect();
    page.table(
        "Causes",
        "Every image here is admitted.",
        &["Code", "Images", "Verdict", "Meaning"],
        &rows,
    );
}

/// How many hosts differ, and how.
pub(super) fn of_fleet(page: &mut HtmlPage, fleet: &Fleet) {
    let hosts = fleet.hosts.len();
    let sum = |of: fn(&super::super::fleet::Counts) -> usize| -> usize {
        fleet.hosts.iter().map(|host| of(&host.counts)).sum()
    };
    let (images, refused) = (sum(|counts| counts.images), sum(|counts| counts.refused));
    let differing = fleet.differing().count();
    let class = if differing + refused == 0 {
        "good"
    } else {
        "bad"
    };
    page.paragraph(
        class,
        &format!(
            "{differing} of {hosts} hosts differ; {refused} of {images} image names on them are refused, {} could not be judged.",
            sum(|counts| counts.unjudged)
        ),
    );
    let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in &fleet.hosts {
        for drift in &host.drift {
            let of = causes.entry(drift.code).or_default();
            if of.last() != Some(&&*host.host) {
                of.push(&host.host);
            }
        }
        if host.counts.refused > 0 {
            causes.entry("images refused").or_default().push(&host.host);
        }
        if host.policy.is_none() {
            causes.entry("no policy").or_default().push(&host.host);
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
    let row = |(code, of): (&str, Vec<&str>)| {
        let known = DriftCode::ALL.iter().find(|known| known.as_str() == code);
        vec![
            Cell::Code(code.to_owned()),
            names(&of, hosts),
            Cell::text(known.map_or("", |known| known.meaning())),
        ]
    };
    let rows: Vec<_> = causes.into_iter().map(row).collect();
    page.table(
        "Causes",
        "All hosts are alike.",
        &["Cause", "Hosts", "Meaning"],
        &rows,
    );
}

/// Which hosts have which image.
pub(super) fn images(page: &mut HtmlPage, fleet: &Fleet) {
    let row = |image: &super::super::fleet::FleetImage| {
        let class = match image.outcome {
            "allowed" => "good",
            "refused" => "bad",
            _ => "odd",
        };
        let of: Vec<&str> = image.hosts.iter().map(|host| &**host).collect();
        vec![
            Cell::text(&*image.name),
            Cell::Code(image.digest.as_deref().unwrap_or("-").to_owned()),
            Cell::Word(class, image.outcome.to_owned()),
            names(&of, fleet.hosts.len()),
        ]
    };
    let rows: Vec<_> = fleet.images.iter().map(row).collect();
    page.table(
        "Which hosts have an image",
        "No host has one.",
        &["Image", "Digest", "Verdict", "Hosts"],
        &rows,
    );
    if fleet.images_left_off > 0 {
        page.paragraph(
            "note",
            &format!("{} further images are left off.", fleet.images_left_off),
        );
    }
}

fn names(of: &[&str], all: usize) -> Cell {
    if of.len() == all {
        return Cell::text(format!("all {all}"));
    }
    let mut text = of
        .iter()
        .take(MAX_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if of.len() > MAX_NAMES {
        // Writing to a String can't fail.
        let _ = write!(text, " and {} more", of.len() - MAX_NAMES);
    }
    if of.len() <= 3 {
        return Cell::text(text);
    }
    Cell::Hosts(of.len().to_string(), text)
}

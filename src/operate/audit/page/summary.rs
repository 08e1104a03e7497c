//! What a page says first: how many of how many, and why.

use std::collections::{BTreeMap, HashMap};

use rootpin_trust::Code;

use super::super::drift::DriftCode;
use super::super::fleet::Fleet;
use super::super::html_page::{Cell, HtmlPage, MAX_HOSTS};
use super::super::report::ResidentImage;
use crate::plain_text::counted;

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
            "Refused: {refused} of {}; not judged: {unjudged}.",
            counted(images.len(), "image name")
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
    let sum = |of: fn(&super::super::kept_report::Counts) -> usize| -> usize {
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
            "Differing: {differing} of {}. Refused: {refused} of {} on them; not judged: {}.",
            counted(hosts, "host"),
            counted(images, "image name"),
            sum(|counts| counts.unjudged)
        ),
    );
    let mut causes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, host) in fleet.hosts.iter().enumerate() {
        for drift in &host.drift {
            let of = causes.entry(drift.code).or_default();
            if of.last() != Some(&place) {
                of.push(place);
            }
        }
        if host.policy.is_none() {
            causes.entry("no policy").or_default().push(place);
        }
    }
    let drift = causes.into_iter().map(|(code, of)| {
        let known = DriftCode::ALL.iter().find(|known| known.as_str() == code);
        let meaning = known.map_or("", |known| known.meaning());
        (code, None, of, meaning)
    });
    let refusals = fleet.refusals.iter().map(|(code, cause)| {
        let known = Code::ALL.iter().find(|known| known.as_str() == *code);
        let meaning = known.map_or("a code of another release", |known| known.meaning());
        (*code, Some(cause.images), cause.hosts.clone(), meaning)
    });
    let mut causes: Vec<_> = drift.chain(refusals).collect();
    causes.sort_by_key(|(_, _, of, _)| std::cmp::Reverse(of.len()));
    let row = |(code, images, of, meaning): (&str, Option<usize>, Vec<usize>, &str)| {
        vec![
            Cell::Code(code.to_owned()),
            images.map_or_else(|| Cell::text("-"), Cell::count),
            hosts_of(of, hosts),
            Cell::text(meaning),
        ]
    };
    let rows: Vec<_> = causes.into_iter().map(row).collect();
    page.table(
        "Causes",
        "All hosts are alike.",
        &["Cause", "Images refused", "Hosts", "Meaning"],
        &rows,
    );
}

/// Which hosts have which image; those that are not allowed come first.
pub(super) fn images(page: &mut HtmlPage, fleet: &Fleet) {
    let places: HashMap<&str, usize> = fleet
        .hosts
        .iter()
        .enumerate()
        .map(|(place, host)| (&*host.host, place))
        .collect();
    let row = |image: &super::super::fleet::FleetImage| {
        let class = match image.outcome {
            "allowed" => "good",
            "refused" => "bad",
            _ => "odd",
        };
        let of = image.hosts.iter();
        let of = of.filter_map(|host| places.get(&**host).copied()).collect();
        vec![
            Cell::text(&*image.name),
            Cell::Code(image.digest.as_deref().unwrap_or("-").to_owned()),
            Cell::Word(class, image.outcome.to_owned()),
            hosts_of(of, fleet.hosts.len()),
        ]
    };
    let mut images: Vec<_> = fleet.images.iter().collect();
    images.sort_by_key(|image| match image.outcome {
        "refused" => 0,
        "allowed" => 2,
        _ => 1,
    });
    let rows: Vec<_> = images.into_iter().map(row).collect();
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

/// Hosts by their places; a host beyond those that the page names is counted only.
fn hosts_of(mut of: Vec<usize>, all: usize) -> Cell {
    if of.len() == all {
        return Cell::text(format!("all {all}"));
    }
    let count = of.len();
    of.retain(|place| *place < MAX_HOSTS);
    if of.len() == count {
        Cell::Hosts(of)
    } else {
        Cell::count(count)
    }
}

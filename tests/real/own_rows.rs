//! The table's rows about a root of one's own: what `rootpin repo` published, and what a mirror
//! makes of it.

use crate::daemon::Daemon;
use crate::image::Image;
use crate::lab::Lab;
use crate::own::{Files, Own, push_signed};
use crate::rows::Expect::{Allowed, Refused, Remembered};
use crate::rows::{Row, Stage, gun, pull, see};
use crate::trust_server::TrustServer;

pub(crate) fn rows() -> Vec<Row> {
    let row = |case, stage, expect| Row {
        case,
        stage,
        expect: [expect; 4],
    };
    vec![
        row(
            "a root of one's own, in the registry",
            |lab, repository| stage(lab, repository, |_| ()),
            Allowed,
        ),
        row(
            "… an index, and another machine's key that it was delegated to",
            delegated,
            Allowed,
        ),
        row(
            "… a tag that was revoked",
            |lab, repository| stage(lab, repository, |own| own.revoke("v1")),
            Refused("no-statement"),
        ),
        row(
            "… a delegation that was removed",
            undelegated,
            Refused("no-statement"),
        ),
        row(
            "… a root rotated twice while the host slept",
            rotated_twice,
            Allowed,
        ),
        row(
            "… online and targets keys that were rotated",
            online_rotated,
            Allowed,
        ),
        row(
            "a mirror of arbitrary bytes before the true place",
            behind_a_liar,
            Allowed,
        ),
        row(
            "a mirror of arbitrary bytes",
            |lab, repository| lying(lab, repository, arbitrary),
            Refused("malformed"),
        ),
        // What was verified before answers, as long as it may.
        row(
            "a mirror that rolls back",
            |lab, repository| lying(lab, repository, rolled_back),
            Allowed,
        ),
        row(
            "a mirror that mixes files of two times",
            |lab, repository| lying(lab, repository, mixed),
            Remembered,
        ),
        row(
            "a mirror that sends without end",
            |lab, repository| lying(lab, repository, endless),
            Refused("over-limit"),
        ),
        row(
            "a mirror that sends files of another length",
            |lab, repository| lying(lab, repository, longer),
            Remembered,
        ),
        row(
            "a mirror with keys of its own",
            |lab, repository| lying(lab, repository, substituted),
            Refused("bad-signature"),
        ),
        row("a mirror that stands still", frozen, Refused("expired")),
    ]
}

/// A signed image in a repository to which something happens then.
fn stage(lab: &Lab, repository: &str, then: fn(&Own<'_>)) -> Stage {
    let (own, image) = (
        Own::new(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    push_signed(&own, "v1", &image);
    then(&own);
    pull(lab, repository, image, Daemon::start(lab, &own.policy(&[])))
}

fn delegated(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::new(lab, &gun(lab, repository)),
        Image::index(repository),
    );
    let second = own.second();
    own.delegate_to(&second);
    push_signed(&second, "v1", &image);
    own.refresh();
    pull(lab, repository, image, Daemon::start(lab, &own.policy(&[])))
}

fn undelegated(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::new(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    let second = own.second();
    own.delegate_to(&second);
    push_signed(&second, "v1", &image);
    own.refresh();
    let stage = pull(lab, repository, image, Daemon::start(lab, &own.policy(&[])));
    see(lab, &stage);
    own.remove_delegation();
    stage
}

fn rotated_twice(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::new(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    push_signed(&own, "v1", &image);
    let policy = own.policy(&[]);
    let awake = pull(lab, repository, image, Daemon::start(lab, &policy));
    see(lab, &awake);
    let Stage {
        daemon,
        name,
        image,
        ..
    } = awake;
    daemon.unwrap().stop();
    own.rotate("root");
    own.rotate("root");
    Stage {
        name,
        image,
        first: None,
        daemon: Some(Daemon::restart(lab, &policy)),
        server: None,
        killed: None,
    }
}

fn online_rotated(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::new(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    push_signed(&own, "v1", &image);
    let stage = pull(lab, repository, image, Daemon::start(lab, &own.policy(&[])));
    see(lab, &stage);
    own.rotate("online");
    own.rotate("targets");
    stage
}

// ---------------------------------------------------------------- mirrors

/// The host saw two versions of a repository, in which v1 was signed and then something else; now
/// it has a mirror alone, which shows what `lie` makes of the older and the newer files.
fn lying(lab: &Lab, repository: &str, lie: fn(&Own<'_>, Files, Files) -> Files) -> Stage {
    let (own, image) = (
        Own::in_folder(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    push_signed(&own, "v1", &image);
    let older = own.files();
    push_signed(&own, "v2", &Image::manifest(&format!("{repository}, v2")));
    let newer = own.files();
    let server = TrustServer::start();
    server.serve_files(&newer);
    let stage = pull(
        lab,
        repository,
        image,
        Daemon::start(lab, &own.policy(&[&server.url])),
    );
    see(lab, &stage);
    server.serve_files(&lie(&own, older, newer));
    Stage {
        server: Some(server),
        ..stage
    }
}

fn behind_a_liar(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::in_folder(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    push_signed(&own, "v1", &image);
    let server = TrustServer::start();
    server.serve_files(&arbitrary(&own, Files::new(), own.files()));
    let true_place = own.place().to_owned();
    let daemon = Daemon::start(lab, &own.policy(&[&server.url, &true_place]));
    Stage {
        server: Some(server),
        ..pull(lab, repository, image, daemon)
    }
}

fn arbitrary(_: &Own<'_>, _: Files, newer: Files) -> Files {
    newer
        .into_iter()
        .map(|(name, bytes)| {
            (
                name,
                bytes.iter().map(|byte| byte.wrapping_add(1)).collect(),
            )
        })
        .collect()
}

fn rolled_back(_: &Own<'_>, older: Files, newer: Files) -> Files {
    newer.into_iter().chain(older).collect()
}

/// The newest timestamp, and under the newest names what is older.
fn mixed(own: &Own<'_>, _: Files, newer: Files) -> Files {
    push_signed(own, "v3", &Image::manifest("v3 of what is mixed"));
    let older = |(name, bytes): (String, Vec<u8>)| {
        let before = previous(&name).and_then(|name| newer.get(&name)).cloned();
        (name, before.unwrap_or(bytes))
    };
    let mixed: Vec<_> = own.files().into_iter().map(older).collect();
    newer.into_iter().chain(mixed).collect()
}

/// The name of the file of the version before.
fn previous(name: &str) -> Option<String> {
    let (version, role) = name.split_once('.')?;
    Some(format!("{}.{role}", version.parse::<u64>().ok()? - 1)).filter(|_| role != "root.json")
}

/// More than any timestamp may have; the server would go on for much longer.
fn endless(_: &Own<'_>, _: Files, mut newer: Files) -> Files {
    newer.insert("timestamp.json".to_owned(), vec![b' '; 64 << 20]);
    newer
}

/// What comes next is longer than signed metadata says.
fn longer(own: &Own<'_>, _: Files, _: Files) -> Files {
    push_signed(own, "v3", &Image::manifest("v3 of what is longer"));
    let lengthened =
        |name: &str| name.ends_with(".snapshot.json") || name.ends_with(".targets.json");
    let longer = |(name, mut bytes): (String, Vec<u8>)| {
        if lengthened(&name) {
            bytes.push(b' ');
        }
        (name, bytes)
    };
    own.files().into_iter().map(longer).collect()
}

/// Another repository for the same names, by somebody else's keys.
fn substituted(own: &Own<'_>, _: Files, _: Files) -> Files {
    let other = own.by_somebody_else();
    other.sign("v1");
    other.files()
}

/// The mirror shows what was good until its timestamp was over.
fn frozen(lab: &Lab, repository: &str) -> Stage {
    let (own, image) = (
        Own::in_folder(lab, &gun(lab, repository)),
        Image::manifest(repository),
    );
    lab.push(&image, &lab.name(repository, "v1"));
    own.sign_a_year_ago("v1");
    let server = TrustServer::start();
    server.serve_files(&own.files());
    let daemon = Daemon::start(lab, &own.policy(&[&server.url]));
    Stage {
        server: Some(server),
        ..pull(lab, repository, image, daemon)
    }
}

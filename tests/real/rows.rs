//! The table's rows: what the world is like, and what shall come of it.

use serde_json::json;

use crate::daemon::{Daemon, Policy};
use crate::door::Door;
use crate::image::Image;
use crate::lab::Lab;
use crate::notary::Collection;
use crate::publisher::{Key, Publisher};
use crate::trust_server::TrustServer;

/// What a cell comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    Allowed,
    /// Allowed by what the daemon verified before. Another process, as an audit's, has not got that.
    Remembered,
    /// Allowed, and no door is asked: all layers are there already.
    Unasked,
    /// Refused with this code.
    Refused(&'static str),
    /// Refused within three seconds in the engine's own words, these among them, because rootpin
    /// isn't there.
    ByEngine(&'static str),
    /// Judged "no" with this code, and let through.
    LetThrough(&'static str),
}

use Expect::{Allowed, ByEngine, LetThrough, Refused, Remembered, Unasked};

/// What the row has set up, alive until its last cell.
pub(crate) struct Stage {
    /// What is pulled …
    pub(crate) name: String,
    /// … which the registry shows as this.
    pub(crate) image: Image,
    /// What is pulled before, so that its layers are there.
    pub(crate) first: Option<(String, Image)>,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) server: Option<TrustServer>,
    /// With it, the daemon is killed while it waits for the trust server, and started anew for the
    /// next cell.
    pub(crate) killed: Option<Policy>,
}

/// Outcomes in the order of [`Door::column`].
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) stage: fn(&Lab, &str) -> Stage,
    pub(crate) expect: [Expect; 4],
}

pub(crate) fn rows() -> Vec<Row> {
    [of_metadata(), of_policy(), of_trouble()]
        .into_iter()
        .flatten()
        .collect()
}

fn row(case: &'static str, stage: fn(&Lab, &str) -> Stage, expect: [Expect; 4]) -> Row {
    Row {
        case,
        stage,
        expect,
    }
}

fn all(expect: Expect) -> [Expect; 4] {
    [expect; 4]
}

fn by_engine(verifier: &'static str, gate: &'static str) -> [Expect; 4] {
    [
        ByEngine(verifier),
        ByEngine(gate),
        ByEngine(gate),
        ByEngine(gate),
    ]
}

/// The root, its roles and what they sign.
fn of_metadata() -> Vec<Row> {
    vec![
        row(
            "signed, a single manifest",
            |lab, repository| real(lab, repository, Image::manifest(repository)),
            all(Allowed),
        ),
        row(
            "signed, an index",
            |lab, repository| real(lab, repository, Image::index(repository)),
            all(Allowed),
        ),
        row(
            "a tag that the root does not name",
            unnamed_tag,
            all(Refused("no-statement")),
        ),
        row(
            "unsigned bytes under the signed tag",
            other_bytes,
            all(Refused("digest-mismatch")),
        ),
        row(
            "a root that is not pinned",
            unpinned,
            all(Refused("root-not-pinned")),
        ),
        row(
            "a root rotated to one that is not pinned",
            rotated_away,
            all(Refused("root-not-pinned")),
        ),
        row(
            "a root rotated by chain within the pins, twice, while the host slept",
            rotated_twice,
            all(Allowed),
        ),
        row("an expired timestamp", expired, all(Refused("expired"))),
        // What was verified answers, as long as it may.
        row("targets rolled back", rolled_back, all(Remembered)),
        row(
            "the required role is gone",
            role_gone,
            all(Refused("role-missing")),
        ),
        row("a revoked digest", revoked_digest, all(Refused("revoked"))),
        row("a revoked root key", revoked_root, all(Refused("revoked"))),
        row(
            "a revoked signer's key",
            revoked_signer,
            all(Refused("revoked")),
        ),
    ]
}

/// What the policy says.
fn of_policy() -> Vec<Row> {
    vec![
        row("no rule", no_rule, all(Refused("no-rule"))),
        row(
            "an exemption that is over",
            exemption_over,
            all(Refused("exemption-over")),
        ),
        row(
            "bytes signed for another tag",
            other_tag,
            all(Refused("digest-mismatch")),
        ),
        row(
            "bytes signed for another tag, unpacked already",
            |lab, repository| Stage {
                first: Some(second_tag(lab, repository)),
                ..other_tag(lab, repository)
            },
            [Refused("digest-mismatch"), Unasked, Unasked, Unasked],
        ),
        row("exempt by digest", exempt_digest, all(Allowed)),
        row("[[image]] with its digest", image_entry, all(Allowed)),
        row(
            "[[image]] with another digest",
            other_image_entry,
            all(Refused("digest-mismatch")),
        ),
        row(
            "exempt by name only",
            exempt_name,
            [Allowed, Allowed, Allowed, Refused("no-rule")],
        ),
        row(
            "an annotation that claims a signed name", // docker and CRI write their own over it
            claims_signed,
            [
                Refused("no-rule"),
                Refused("no-rule"),
                Refused("digest-mismatch"),
                Refused("digest-mismatch"),
            ],
        ),
        row(
            "an annotation that claims an exempt name",
            claims_exempt,
            all(Refused("no-rule")),
        ),
    ]
}

/// What is away, broken or let through.
fn of_trouble() -> Vec<Row> {
    vec![
        row(
            "the trust server is dead, metadata is cached",
            |lab, repository| dead_server(lab, repository, "14d"),
            all(Allowed),
        ),
        row(
            "… and for longer than `offline`",
            |lab, repository| dead_server(lab, repository, "0s"),
            all(Refused("source-unreachable")),
        ),
        row(
            "audit mode, unsigned",
            audit_mode,
            all(LetThrough("no-statement")),
        ),
        row(
            "the policy is broken at start",
            broken_policy,
            all(Refused("policy-unusable")),
        ),
        row(
            "the daemon is killed in mid-question",
            killed,
            by_engine(
                "rejected image (exit code 1)",
                "error reading from server: EOF",
            ),
        ),
        row(
            "the daemon is stopped",
            stopped,
            by_engine("rejected image (exit code 1)", "connection error: desc"),
        ),
    ]
}

/// A pull of `repository:v1`, which the registry shows as `image`.
pub(crate) fn pull(lab: &Lab, repository: &str, image: Image, daemon: Daemon) -> Stage {
    let name = lab.name(repository, "v1");
    lab.push(&image, &name);
    Stage {
        name,
        image,
        first: None,
        daemon: Some(daemon),
        server: None,
        killed: None,
    }
}

pub(crate) fn gun(lab: &Lab, repository: &str) -> String {
    lab.name(repository, "v1")
        .trim_end_matches(":v1")
        .to_owned()
}

fn plain(policy: &str) -> Policy {
    vec![(
        "policy.toml",
        format!("version = 1\ndefault = \"deny\"\n{policy}"),
    )]
}

// ---------------------------------------------------------------- Notary's own client and server

/// `certificates` are the pins.
fn real_policy(lab: &Lab, gun: &str, certificates: &[String]) -> Policy {
    let mut policy = plain(&format!(
        "[[root]]\nid = \"publisher\"\ntype = \"notary\"\nserver = \"{}\"\ntls-ca = \"roots/ca.pem\"\nkeys = [\"roots/publisher.pem\"]\n\
         role = \"targets\"\nrecheck = \"0s\"\n[[rule]]\nmatch = \"{gun}\"\nroots = [\"publisher\"]\n",
        lab.var("LAB_NOTARY_URL")
    ));
    policy.push((
        "roots/ca.pem",
        std::fs::read_to_string(lab.var("LAB_NOTARY_CA")).unwrap(),
    ));
    policy.push(("roots/publisher.pem", certificates.concat()));
    policy
}

fn real(lab: &Lab, repository: &str, image: Image) -> Stage {
    let gun = gun(lab, repository);
    let collection = Collection::new(lab, &gun);
    collection.sign("v1", &image);
    pull(
        lab,
        repository,
        image,
        Daemon::start(
            lab,
            &real_policy(lab, &gun, &[collection.root_certificate()]),
        ),
    )
}

fn unnamed_tag(lab: &Lab, repository: &str) -> Stage {
    let stage = real(lab, repository, Image::manifest(repository));
    let (name, image) = (
        lab.name(repository, "v2"),
        Image::manifest(&format!("{repository}, v2")),
    );
    lab.push(&image, &name);
    Stage {
        name,
        image,
        ..stage
    }
}

fn other_bytes(lab: &Lab, repository: &str) -> Stage {
    let stage = real(lab, repository, Image::manifest(repository));
    let image = Image::manifest(&format!("{repository}, other bytes"));
    lab.push(&image, &stage.name);
    Stage { image, ..stage }
}

fn unpinned(lab: &Lab, repository: &str) -> Stage {
    let (gun, image) = (gun(lab, repository), Image::manifest(repository));
    Collection::new(lab, &gun).sign("v1", &image);
    pull(
        lab,
        repository,
        image,
        Daemon::start(
            lab,
            &real_policy(lab, &gun, &[Key::named("somebody else").public_pem()]),
        ),
    )
}

fn rotated_away(lab: &Lab, repository: &str) -> Stage {
    let (gun, image) = (gun(lab, repository), Image::manifest(repository));
    let collection = Collection::new(lab, &gun);
    collection.sign("v1", &image);
    let policy = real_policy(lab, &gun, &[collection.root_certificate()]);
    collection.rotate_root();
    pull(lab, repository, image, Daemon::start(lab, &policy))
}

fn rotated_twice(lab: &Lab, repository: &str) -> Stage {
    let (gun, image) = (gun(lab, repository), Image::manifest(repository));
    let collection = Collection::new(lab, &gun);
    collection.sign("v1", &image);
    let mut pins = vec![collection.root_certificate()];
    let awake = pull(
        lab,
        repository,
        image,
        Daemon::start(lab, &real_policy(lab, &gun, &pins)),
    );
    see(lab, &awake);
    awake.daemon.unwrap().stop();
    for _ in 0..2 {
        collection.rotate_root();
        pins.push(collection.root_certificate());
    }
    Stage {
        daemon: Some(Daemon::restart(lab, &real_policy(lab, &gun, &pins))),
        ..awake_again(lab, repository)
    }
}

fn awake_again(lab: &Lab, repository: &str) -> Stage {
    let image = Image::manifest(repository);
    Stage {
        name: lab.name(repository, "v1"),
        image,
        first: None,
        daemon: None,
        server: None,
        killed: None,
    }
}

/// Lets the host see the repository as it is now: a pull that is allowed.
pub(crate) fn see(lab: &Lab, stage: &Stage) {
    Door::Local2.cool(lab);
    Door::Local2
        .bring_when_connected(lab, &stage.name, &stage.image)
        .expect("a signed image should come in");
}

// ---------------------------------------------------------------- a publisher who does as told

const MARK: &str = "targets/releases";

fn hostile_policy(server: &TrustServer, publisher: &Publisher, more: &str) -> Policy {
    plain(&format!(
        "{more}\n[[root]]\nid = \"publisher\"\ntype = \"notary\"\nserver = \"{}\"\nkeys = [\"{}\"]\nrole = \"{MARK}\"\nrecheck = \"0s\"\n\
         [[rule]]\nmatch = \"{}\"\nroots = [\"publisher\"]\n",
        server.url,
        publisher.root_key().id(),
        publisher.gun
    ))
}

/// A publisher whose v1 is `image`.
fn publisher(lab: &Lab, repository: &str, image: &Image) -> Publisher {
    let mut publisher = Publisher::new(&gun(lab, repository));
    publisher.tag(
        "v1",
        &image.digest(),
        u64::try_from(image.top.bytes.len()).unwrap(),
    );
    publisher
}

/// Serves what `change` makes of good metadata, under a policy with `more` in front.
fn published(lab: &Lab, repository: &str, more: &str, change: fn(&mut Publisher)) -> Stage {
    let image = Image::manifest(repository);
    let mut publisher = publisher(lab, repository, &image);
    change(&mut publisher);
    let server = TrustServer::start();
    server.serve(&publisher.gun, publisher.tree());
    let daemon = Daemon::start(lab, &hostile_policy(&server, &publisher, more));
    Stage {
        server: Some(server),
        ..pull(lab, repository, image, daemon)
    }
}

fn expired(lab: &Lab, repository: &str) -> Stage {
    published(lab, repository, "", |publisher| {
        publisher.role("timestamp").expires = "2020-01-01T00:00:00Z";
    })
}

fn rolled_back(lab: &Lab, repository: &str) -> Stage {
    let stage = published(lab, repository, "", |publisher| {
        publisher.role(MARK).version = 5;
    });
    see(lab, &stage);
    let mut older = publisher(lab, repository, &stage.image);
    for role in ["timestamp", "snapshot"] {
        older.role(role).version = 2;
    }
    older.role(MARK).version = 4;
    stage
        .server
        .as_ref()
        .unwrap()
        .serve(&older.gun, older.tree());
    stage
}

fn role_gone(lab: &Lab, repository: &str) -> Stage {
    published(lab, repository, "", |publisher| publisher.remove(MARK))
}

fn revoked_digest(lab: &Lab, repository: &str) -> Stage {
    let digest = Image::manifest(repository).digest();
    published(
        lab,
        repository,
        &format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"CVE-2026-0001\"\n"),
        |_| (),
    )
}

fn revoked_root(lab: &Lab, repository: &str) -> Stage {
    let gun = gun(lab, repository);
    revoked_key(lab, repository, &Key::named(&format!("{gun} root")))
}

fn revoked_signer(lab: &Lab, repository: &str) -> Stage {
    let gun = gun(lab, repository);
    revoked_key(lab, repository, &Key::named(&format!("{gun} {MARK}")))
}

fn revoked_key(lab: &Lab, repository: &str, key: &Key) -> Stage {
    published(
        lab,
        repository,
        &format!("[[revoked]]\nkey = \"{}\"\nreason = \"stolen\"\n", key.id()),
        |_| (),
    )
}

/// v1 and v2 are signed; the registry shows v2's bytes as v1.
fn other_tag(lab: &Lab, repository: &str) -> Stage {
    let (name, image) = second_tag(lab, repository);
    let mut publisher = publisher(lab, repository, &Image::manifest(repository));
    publisher.tag(
        "v2",
        &image.digest(),
        u64::try_from(image.top.bytes.len()).unwrap(),
    );
    lab.push(&image, &name);
    let server = TrustServer::start();
    server.serve(&publisher.gun, publisher.tree());
    let daemon = Daemon::start(lab, &hostile_policy(&server, &publisher, ""));
    Stage {
        server: Some(server),
        ..pull(lab, repository, image, daemon)
    }
}

fn second_tag(lab: &Lab, repository: &str) -> (String, Image) {
    (
        lab.name(repository, "v2"),
        Image::manifest(&format!("{repository}, v2")),
    )
}

/// The server dies when the host has seen the metadata.
fn dead_server(lab: &Lab, repository: &str, offline: &str) -> Stage {
    let stage = published(
        lab,
        repository,
        &format!("[limits]\noffline = \"{offline}\"\n"),
        |_| (),
    );
    see(lab, &stage);
    Stage {
        server: None,
        ..stage
    }
}

fn audit_mode(lab: &Lab, repository: &str) -> Stage {
    published(lab, repository, "mode = \"audit\"\n", |publisher| {
        publisher.role(MARK).targets.clear();
    })
}

fn killed(lab: &Lab, repository: &str) -> Stage {
    let image = Image::manifest(repository);
    let publisher = publisher(lab, repository, &image);
    let server = TrustServer::start();
    server.hang();
    let policy = hostile_policy(&server, &publisher, "");
    // A sweep at its start would ask for what is there.
    for door in Door::ALL {
        door.cool(lab);
    }
    let stage = pull(lab, repository, image, Daemon::start(lab, &policy));
    Stage {
        server: Some(server),
        killed: Some(policy),
        ..stage
    }
}

fn stopped(lab: &Lab, repository: &str) -> Stage {
    let stage = published(lab, repository, "", |_| ());
    stage.daemon.unwrap().stop();
    Stage {
        daemon: None,
        server: stage.server,
        ..awake_again(lab, repository)
    }
}

// ---------------------------------------------------------------- no trust server at all

/// An unsigned image under a policy of `entries`.
fn unsigned(lab: &Lab, repository: &str, image: Image, entries: &str) -> Stage {
    pull(lab, repository, image, Daemon::start(lab, &plain(entries)))
}

fn exempt(gun: &str, until: &str, more: &str) -> String {
    format!("[[exempt]]\nmatch = \"{gun}\"\nuntil = {until}\nreason = \"a test\"\n{more}")
}

/// In a month, so that it lies within `max-exempt`.
fn soon() -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24))
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn no_rule(lab: &Lab, repository: &str) -> Stage {
    unsigned(lab, repository, Image::manifest(repository), "")
}

fn exemption_over(lab: &Lab, repository: &str) -> Stage {
    let entries = exempt(&gun(lab, repository), "2026-01-31T00:00:00Z", "");
    unsigned(lab, repository, Image::manifest(repository), &entries)
}

fn exempt_digest(lab: &Lab, repository: &str) -> Stage {
    let image = Image::manifest(repository);
    let entries = exempt(
        &gun(lab, repository),
        &soon(),
        &format!("digests = [\"{}\"]\n", image.digest()),
    );
    unsigned(lab, repository, image, &entries)
}

fn exempt_name(lab: &Lab, repository: &str) -> Stage {
    let entries = exempt(&gun(lab, repository), &soon(), "");
    unsigned(lab, repository, Image::manifest(repository), &entries)
}

fn image_entry(lab: &Lab, repository: &str) -> Stage {
    let image = Image::manifest(repository);
    let entries = format!(
        "[[image]]\nname = \"{}\"\ndigest = \"{}\"\n",
        lab.name(repository, "v1"),
        image.digest()
    );
    unsigned(lab, repository, image, &entries)
}

fn other_image_entry(lab: &Lab, repository: &str) -> Stage {
    let other = Image::manifest("another").digest();
    let entries = format!(
        "[[image]]\nname = \"{}\"\ndigest = \"{other}\"\n",
        lab.name(repository, "v1")
    );
    unsigned(lab, repository, Image::manifest(repository), &entries)
}

/// An image of a repository without a rule, whose layers say that they are of `name`.
fn claiming(lab: &Lab, repository: &str, name: &str) -> (String, Image) {
    let image = Image::annotated(
        repository,
        &json!({"containerd.io/snapshot/cri.image-ref": name}),
    );
    let claimant = lab.name(&format!("{repository}/claimant"), "v1");
    lab.push(&image, &claimant);
    (claimant, image)
}

fn claims_signed(lab: &Lab, repository: &str) -> Stage {
    let stage = published(lab, repository, "", |_| ());
    let (name, image) = claiming(lab, repository, &stage.name);
    Stage {
        name,
        image,
        ..stage
    }
}

fn claims_exempt(lab: &Lab, repository: &str) -> Stage {
    let stage = exempt_name(lab, repository);
    let (name, image) = claiming(lab, repository, &stage.name);
    Stage {
        name,
        image,
        ..stage
    }
}

fn broken_policy(lab: &Lab, repository: &str) -> Stage {
    unsigned(
        lab,
        repository,
        Image::manifest(repository),
        "unknown = true\n",
    )
}

//! The table's rows about signatures beside an image: by cosign's formats, alone and together with
//! a root of one's own.

use rootpin_trust::image::Digest;
use serde_json::json;

use crate::cosign::{self, BUNDLE, SIGNATURE, SIMPLE, public_pem};
use crate::daemon::{Daemon, Policy};
use crate::image::{Blob, Image};
use crate::lab::Lab;
use crate::own::{Own, push_signed};
use crate::rows::Expect::{Allowed, Refused};
use crate::rows::{Row, Stage, gun, pull};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

const BUILDER: u8 = 1;
const ANOTHER: u8 = 2;

pub(crate) fn rows() -> Vec<Row> {
    let row = |case, stage, expect| Row {
        case,
        stage,
        expect: [expect; 4],
    };
    vec![
        row(
            "signed by cosign 3",
            |lab, repository| alone(lab, repository, Some((bundle, BUILDER))),
            Allowed,
        ),
        row(
            "signed by cosign 2",
            |lab, repository| alone(lab, repository, Some((simple, BUILDER))),
            Allowed,
        ),
        row(
            "… by another key",
            |lab, repository| alone(lab, repository, Some((bundle, ANOTHER))),
            Refused("no-statement"),
        ),
        row(
            "… by nobody",
            |lab, repository| alone(lab, repository, None),
            Refused("no-statement"),
        ),
        row(
            "a quorum of cosign's key and a root of one's own",
            |lab, repository| both(lab, repository, true, true),
            Allowed,
        ),
        row(
            "… without cosign's signature",
            |lab, repository| both(lab, repository, false, true),
            Refused("no-statement"),
        ),
        row(
            "… without one's own",
            |lab, repository| both(lab, repository, true, false),
            Refused("no-statement"),
        ),
        row(
            "… and the tag was moved to other bytes that cosign signed",
            moved,
            Refused("digest-mismatch"),
        ),
    ]
}

fn blob(media_type: &'static str, bytes: Vec<u8>) -> Blob {
    Blob { media_type, bytes }
}

fn hex(image: &Image) -> String {
    image.digest().trim_start_matches("sha256:").to_owned()
}

/// A manifest with one layer, which may refer to an image.
fn manifest(
    layer: &Blob,
    annotations: &serde_json::Value,
    subject: Option<&Image>,
) -> (Blob, Blob) {
    let config = blob(EMPTY, b"{}".to_vec());
    let described = |blob: &Blob| json!({ "mediaType": blob.media_type, "digest": blob.digest(), "size": blob.bytes.len() });
    let mut entry = described(layer);
    entry["annotations"] = annotations.clone();
    let mut value = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": described(&config), "layers": [entry] });
    if let Some(image) = subject {
        value["subject"] = described(&image.top);
    }
    (blob(MANIFEST, value.to_string().into_bytes()), config)
}

/// What cosign 3 puts beside an image, where the registry has no list of referrers.
fn bundle(lab: &Lab, gun: &str, image: &Image, seed: u8) {
    let layer = blob(BUNDLE, cosign::bundle(&image.digest(), seed));
    let (signature, config) = manifest(&layer, &json!({}), Some(image));
    let listed = json!({ "mediaType": MANIFEST, "digest": signature.digest(), "size": signature.bytes.len(), "artifactType": EMPTY });
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed] });
    let list = Image {
        top: blob(INDEX, list.to_string().into_bytes()),
        manifests: vec![signature],
        blobs: vec![config, layer],
    };
    lab.push(&list, &format!("{gun}:sha256-{}", hex(image)));
}

/// What cosign 2 puts beside an image.
fn simple(lab: &Lab, gun: &str, image: &Image, seed: u8) {
    let (payload, signature) = cosign::simple(gun, &image.digest(), seed);
    let layer = blob(SIMPLE, payload);
    let annotations = json!({ SIGNATURE: signature });
    let (top, config) = manifest(&layer, &annotations, None);
    let signature = Image {
        top,
        manifests: Vec::new(),
        blobs: vec![config, layer],
    };
    lab.push(&signature, &format!("{gun}:sha256-{}.sig", hex(image)));
}

/// The README's table of these rows, whose answers are those of every door.
#[test]
fn the_readme_shows_what_comes_of_each_image_that_cosign_signed() {
    let line = |row: &Row| {
        let [first, others @ ..] = row.expect;
        assert!(
            others
                .iter()
                .all(|other| format!("{other:?}") == format!("{first:?}"))
        );
        match first {
            Allowed => format!("| {} | allowed |", row.case),
            Refused(code) => format!("| {} | refused: `{code}` |", row.case),
            other => panic!("{}: {other:?}", row.case),
        }
    };
    let lines: Vec<String> = rows().iter().map(line).collect();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("<!-- signatures:begin -->\n").unwrap();
    let (table, _) = rest.split_once("\n<!-- signatures:end -->").unwrap();
    let head = "| an image | pull, import |\n|---|---|\n";
    assert_eq!(table, format!("{head}{}", lines.join("\n")));
}

type Sign = fn(&Lab, &str, &Image, u8);

const ROOT: &str =
    "[[root]]\nid = \"builder\"\ntype = \"cosign\"\nkeys = [\"roots/builder.pub\"]\n";

fn alone(lab: &Lab, repository: &str, by: Option<(Sign, u8)>) -> Stage {
    let (gun, image) = (gun(lab, repository), Image::index(repository));
    if let Some((sign, seed)) = by {
        sign(lab, &gun, &image, seed);
    }
    let text = format!(
        "version = 1\ndefault = \"deny\"\n{ROOT}[[rule]]\nmatch = \"{gun}\"\nroots = [\"builder\"]\ntags = \"unbound\"\n"
    );
    let policy = vec![
        ("policy.toml", text),
        ("roots/builder.pub", public_pem(BUILDER)),
    ];
    pull(lab, repository, image, Daemon::start(lab, &policy))
}

/// The policy of a root of one's own, whose rule wants the builder's key too.
fn with_builder(own: &Own<'_>) -> Policy {
    let mut policy = own.policy(&[]);
    for (name, text) in &mut policy {
        if *name == "policy.toml" {
            *text = text.replace(
                "roots = [\"own\"]",
                "roots = [\"builder\", \"own\"]\nquorum = 2",
            );
            text.push_str(ROOT);
        }
    }
    policy.push(("roots/builder.pub", public_pem(BUILDER)));
    policy
}

fn both(lab: &Lab, repository: &str, by_builder: bool, by_own: bool) -> Stage {
    let gun = gun(lab, repository);
    let (own, image) = (Own::new(lab, &gun), Image::index(repository));
    if by_builder {
        bundle(lab, &gun, &image, BUILDER);
    }
    if by_own {
        push_signed(&own, "v1", &image);
    } else {
        push_signed(&own, "v2", &image);
    }
    pull(
        lab,
        repository,
        image,
        Daemon::start(lab, &with_builder(&own)),
    )
}

fn moved(lab: &Lab, repository: &str) -> Stage {
    let gun = gun(lab, repository);
    let (own, image) = (Own::new(lab, &gun), Image::index(repository));
    bundle(lab, &gun, &image, BUILDER);
    push_signed(&own, "v1", &image);
    let old = Image::index(&format!("{repository}, last year"));
    assert_ne!(Digest::of(&old.top.bytes), Digest::of(&image.top.bytes));
    bundle(lab, &gun, &old, BUILDER);
    pull(
        lab,
        repository,
        old,
        Daemon::start(lab, &with_builder(&own)),
    )
}

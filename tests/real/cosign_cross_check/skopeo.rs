//! The same by real skopeo, which signs whole names as podman does: our answer is that of its own
//! policy.json, except where ours is stricter by a named rule.

use std::process::Command;

use serde_json::json;

use super::{Bench, COSIGN_KEYS, Chance, Deed, PATIENCE, Tool, bounded, number_of};
use super::{printed, tampered};
use crate::image::Image;
use crate::lab::{Lab, SCRIPT, write};
use crate::say;

/// As many as a minute allows; `ROOTPIN_SIGNATURES` sets another number.
const CASES: usize = 20;
/// A push by digest alone.
const BY_DIGEST: &str = "@";

#[derive(Debug)]
struct Case {
    signature: super::Case,
    /// What is pushed and signed, one after the other.
    pushed: &'static [&'static str],
    /// Whether the tag v1 is pulled, and not the digest alone.
    pulls_tag: bool,
    is_index: bool,
}

impl Case {
    fn by(chance: &mut Chance) -> Self {
        use Deed::{Both, Honest, OneOfTwo, OtherDigest, OtherKey, Payload, Unsigned};
        let deed = chance.of(&[
            Honest,
            Honest,
            Honest,
            Unsigned,
            OtherKey,
            OtherDigest,
            Payload,
            Both,
            OneOfTwo,
        ]);
        let signature = super::Case {
            tool: Tool::Cosign2,
            key: chance.of(&COSIGN_KEYS),
            deed,
            signs_tag: None,
            wants_tag: true,
            other_form: false,
        };
        let pushed: [&[&str]; 4] = [&[":v1"], &[":v2"], &[":v2", ":v1"], &[BY_DIGEST]];
        Self {
            signature,
            pushed: chance.of(&pushed),
            pulls_tag: chance.below(3) > 0,
            // Of an index skopeo looks at the platform's signature, which nobody changes here.
            is_index: chance.below(3) == 0 && deed != Payload,
        }
    }

    fn image(&self, salt: &str) -> Image {
        if self.is_index {
            Image::index(salt)
        } else {
            Image::manifest(salt)
        }
    }

    /// Whether docs/signatures.md names why a yes is theirs alone: a tag must be signed.
    fn is_stricter(&self, words: &str) -> bool {
        self.pushed == [BY_DIGEST] && words.contains("it signs no docker-reference")
    }
}

fn prepare(bench: &Bench<'_>) {
    write(&bench.folder.join("passphrase"), "\n");
    write(
        &bench.folder.join("registries.d/default.yaml"),
        "default-docker:\n  use-sigstore-attachments: true\n",
    );
    let any = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    write(&bench.folder.join("any.json"), any.to_string());
}

fn skopeo_copy(bench: &Bench<'_>, policy: &str) -> Command {
    let mut command = bounded(SCRIPT, PATIENCE);
    command
        .args(["skopeo-sign", "--policy", policy])
        .args(["--registries.d", "registries.d", "copy", "--quiet"])
        .arg("--src-tls-verify=false")
        .current_dir(&bench.folder)
        .env("HOME", &bench.folder)
        .env("LAB_CACHE", bench.lab.var("LAB_CACHE"))
        .env("LAB_ROOT", &bench.lab.root);
    command
}

/// Pushes an image that is there once more, under each name, and signs that.
fn sign(bench: &Bench<'_>, case: &Case, repository: &str, digest: &str) {
    let source = format!("docker://{repository}@{digest}");
    for name in case.pushed {
        let target = if *name == BY_DIGEST {
            source.clone()
        } else {
            format!("docker://{repository}{name}")
        };
        for signer in case.signature.signers() {
            let mut command = skopeo_copy(bench, "any.json");
            command
                .args(["--dest-tls-verify=false", "--all", "--preserve-digests"])
                .args(["--sign-by-sigstore-private-key", &format!("{signer}.key")])
                .args(["--sign-passphrase-file", "passphrase"])
                .args([&source, &target]);
            bench.run(&mut command);
        }
    }
}

/// Whether skopeo's own policy takes the image, with a signature by each key that must have signed.
fn theirs(bench: &Bench<'_>, case: &Case, number: usize, name: &str) -> bool {
    let wanted = case.signature.wanted().into_iter();
    let wanted: Vec<_> = wanted
        .map(|key| json!({ "type": "sigstoreSigned", "keyPath": format!("{key}.pub") }))
        .collect();
    let policy = json!({ "default": wanted });
    write(&bench.folder.join("theirs.json"), policy.to_string());
    let mut command = skopeo_copy(bench, "theirs.json");
    command.args([
        format!("docker://{name}"),
        format!("dir:pulled-by-skopeo-{number}"),
    ]);
    let output = bench.ended(&mut command);
    let said = printed(&output);
    let is_judged = output.status.success() || said.contains("Source image rejected");
    assert!(is_judged, "{}: {said}", bench.now.borrow());
    output.status.success()
}

/// Whether rootpin takes it where the root binds the whole name, and what it says.
fn ours(
    bench: &Bench<'_>,
    case: &Case,
    number: usize,
    (repository, name): (&str, &str),
) -> (bool, String) {
    let folder = bench.folder.join(format!("skopeo-policy{number}"));
    let wanted = case.signature.wanted();
    let files: Vec<_> = wanted
        .iter()
        .map(|key| format!("roots/{key}.pub"))
        .collect();
    let threshold = wanted.len();
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"signer\"\ntype = \"cosign\"\nkeys = {files:?}\nthreshold = {threshold}\nbinds-tag = \"reference\"\n\
         [[rule]]\nmatch = \"{repository}\"\nroots = [\"signer\"]\n"
    );
    write(&folder.join("policy.toml"), text);
    for (key, file) in wanted.iter().zip(&files) {
        write(&folder.join(file), bench.read(&format!("{key}.pub")));
    }
    let output = bench.verify(&folder, name);
    (output.status.success(), printed(&output))
}

#[test]
#[ignore = "needs real tools and a registry: use tests/run"]
fn images_that_real_skopeo_signed_are_judged_as_its_own_policy_judges_them() {
    let lab = Lab::with_registry();
    let bench = Bench::new(&lab);
    prepare(&bench);
    let seed = number_of("ROOTPIN_SEED", 18);
    let mut chance = Chance(u64::try_from(seed).unwrap());
    let (mut same, mut stricter, mut wrong) = ([0, 0], 0, Vec::new());
    for number in 0..number_of("ROOTPIN_SIGNATURES", CASES) {
        let case = Case::by(&mut chance);
        *bench.now.borrow_mut() = format!("case {number}, {case:?}");
        let tagged = lab.name(&format!("cross/skopeo/{seed}/{number}"), "v1");
        let repository = tagged.trim_end_matches(":v1");
        let image = case.image(&format!("skopeo {seed} {number}"));
        lab.push(&image, &tagged);
        let mut digest = image.digest();
        sign(&bench, &case, repository, &digest);
        if case.signature.deed == Deed::Payload {
            bench.put_beside(repository, &digest, &digest, tampered);
        } else if case.signature.deed == Deed::OtherDigest {
            let other = case.image(&format!("skopeo {seed} {number}, another"));
            lab.push(&other, &tagged);
            bench.put_beside(repository, &digest, &other.digest(), |bytes| bytes);
            digest = other.digest();
        }
        let name = if case.pulls_tag {
            tagged.clone()
        } else {
            format!("{repository}@{digest}")
        };
        let theirs = theirs(&bench, &case, number, &name);
        let (ours, words) = ours(&bench, &case, number, (repository, name.as_str()));
        if ours == theirs {
            same[usize::from(ours)] += 1;
        } else if theirs && case.is_stricter(&words) {
            stricter += 1;
        } else {
            wrong.push(format!(
                "{number}: {case:?}: theirs {theirs}, ours {ours}: {words}"
            ));
        }
    }
    let [refused, allowed] = same;
    say(&format!(
        "skopeo: both allow {allowed}, both refuse {refused}, rootpin alone refuses {stricter} signatures of a digest without a tag"
    ));
    assert!(
        wrong.is_empty(),
        "{} answers differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(allowed > 0 && refused > 0);
    let _ = std::fs::remove_dir_all(&bench.folder);
}

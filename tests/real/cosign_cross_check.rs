//! Images signed by real cosign and notation, with options and keys and tampering by chance: our
//! answer is that of their own verify, except where ours is stricter by a named rule.

mod skopeo;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::image::{Blob, Image};
use crate::lab::{Lab, write};
use crate::say;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// As many as a minute allows; `ROOTPIN_SIGNATURES` sets another number.
const CASES: usize = 30;
const COSIGN_KEYS: [&str; 4] = ["p256", "p384", "rsa", "ed25519"];
const NOTATION_KEYS: [&str; 3] = ["p256", "p384", "rsa3072"];

/// Seconds that a program may take. Signing and verifying take one; a tool that wants something of the
/// network, a registry that hangs or a lock would be waited for without an end.
const PATIENCE: &str = "120";

/// A program that is ended after so many seconds, with all that it started.
fn bounded(program: impl AsRef<OsStr>, seconds: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", seconds]).arg(program);
    command.stdin(Stdio::null());
    command
}

/// What a program said. One that does not end is no answer, and ends the run. `doing`: for what it ran.
fn ended(command: &mut Command, doing: &str) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{doing}: {command:?}: {error}"));
    // Of `timeout`: it was too long, or was killed for it.
    assert!(
        !matches!(output.status.code(), None | Some(124..=127 | 137)),
        "{doing}: {command:?} did not end in time, or could not be run\n{}",
        printed(&output)
    );
    output
}

fn printed(output: &Output) -> String {
    let words = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&words).into_owned()
}

/// Chance that is the same in each run of one `ROOTPIN_SEED` (Knuth's constants of MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tool {
    /// `.sig` tag, or a referrer.
    Cosign2,
    /// Bundles, or the older form.
    Cosign3,
    Notation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Honest,
    Unsigned,
    /// Another key is pinned than the one that signed.
    OtherKey,
    /// The signature of another image is put beside this one.
    OtherDigest,
    /// The signed text is changed.
    Payload,
    /// cosign: a signed report in place of a signature.
    Attestation,
    /// cosign: a statement whose predicate's type is nearly that of a signature.
    Predicate,
    /// cosign: two keys must sign, and both did.
    Both,
    /// cosign: two keys must sign, and one did.
    OneOfTwo,
    /// cosign: two keys must sign, and one did so twice.
    OneTwice,
    /// notation: a signature that is over.
    Expired,
    /// notation: another subject is wanted.
    Subject,
}

#[derive(Debug)]
struct Case {
    tool: Tool,
    key: &'static str,
    deed: Deed,
    /// The tag that is signed, where one is.
    signs_tag: Option<&'static str>,
    /// Whether the tag v1 must be signed.
    wants_tag: bool,
    /// Whether the tool's other way to put a signature is taken.
    other_form: bool,
}

impl Case {
    fn by(chance: &mut Chance) -> Self {
        use Deed::{
            Attestation, Both, Expired, Honest, OneOfTwo, OneTwice, OtherDigest, OtherKey, Payload,
            Predicate, Subject, Unsigned,
        };
        let tool = chance.of(&[Tool::Cosign2, Tool::Cosign3, Tool::Notation]);
        let (keys, deeds) = match tool {
            Tool::Notation => (
                &NOTATION_KEYS[..],
                &[
                    Honest,
                    Honest,
                    Honest,
                    Unsigned,
                    OtherKey,
                    OtherDigest,
                    Payload,
                    Expired,
                    Subject,
                ][..],
            ),
            Tool::Cosign2 => (
                &COSIGN_KEYS[..],
                &[
                    Honest,
                    Honest,
                    Honest,
                    Unsigned,
                    OtherKey,
                    OtherDigest,
                    Payload,
                    Both,
                    OneOfTwo,
                    OneTwice,
                ][..],
            ),
            Tool::Cosign3 => (
                &COSIGN_KEYS[..],
                &[
                    Honest,
                    Honest,
                    Honest,
                    Unsigned,
                    OtherKey,
                    OtherDigest,
                    Payload,
                    Attestation,
                    Predicate,
                    Both,
                    OneOfTwo,
                    OneTwice,
                ][..],
            ),
        };
        Self {
            tool,
            key: chance.of(keys),
            deed: chance.of(deeds),
            signs_tag: chance.of(&[None, Some("v1"), Some("v2")]),
            wants_tag: chance.below(3) == 0,
            other_form: chance.below(3) == 0,
        }
    }
}

impl Case {
    /// The keys that sign, one after the other.
    fn signers(&self) -> Vec<&'static str> {
        match self.deed {
            Deed::Unsigned => Vec::new(),
            Deed::Both => vec![self.key, "other"],
            Deed::OneTwice => vec![self.key; 2],
            _ => vec![self.key],
        }
    }

    /// The keys that must all have signed.
    fn wanted(&self) -> Vec<&'static str> {
        match self.deed {
            Deed::OtherKey => vec!["other"],
            Deed::Both | Deed::OneOfTwo | Deed::OneTwice => vec![self.key, "other"],
            _ => vec![self.key],
        }
    }

    /// The type of the statement in the place of a signature.
    fn predicate(&self) -> Option<&'static str> {
        match self.deed {
            Deed::Attestation => Some("custom"),
            Deed::Predicate => Some("https://sigstore.dev/cosign/sign/v2"),
            _ => None,
        }
    }
}

/// The tools, and the keys that they sign by.
struct Bench<'a> {
    lab: &'a Lab,
    folder: PathBuf,
    http: reqwest::Client,
    /// The case that is tried now.
    now: RefCell<String>,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab) -> Self {
        let folder = lab.root.join("cross-check");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let patience = Duration::from_secs(PATIENCE.parse().unwrap());
        let http = reqwest::Client::builder().timeout(patience);
        let bench = Self {
            lab,
            folder,
            http: http.build().unwrap(),
            now: RefCell::new("the keys".to_owned()),
        };
        let openssl = |line: &str| {
            let mut command = bounded("openssl", PATIENCE);
            bench.run(command.args(line.split(' ')).current_dir(&bench.folder));
        };
        for (key, options) in [
            ("p256", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
            ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
            ("rsa3072", "RSA -pkeyopt rsa_keygen_bits:3072"),
            ("ed25519", "ED25519"),
            ("other", "EC -pkeyopt ec_paramgen_curve:P-256"),
        ] {
            openssl(&format!("genpkey -algorithm {options} -out {key}.pem"));
            if key != "rsa3072" {
                let import = [
                    "import-key-pair",
                    "--key",
                    &format!("{key}.pem"),
                    "--output-key-prefix",
                    key,
                ];
                bench.run(bench.tool(Tool::Cosign3).args(import));
            }
        }
        bench.run(bench.tool(Tool::Cosign3).args([
            "signing-config",
            "create",
            "--out",
            "signing.json",
        ]));
        for ca in ["ca", "other-ca"] {
            openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /C=US/ST=WA/O=Lab/CN={ca} -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout {ca}.key -out {ca}.crt"
            ));
        }
        write(
            &bench.folder.join("leaf.ext"),
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n",
        );
        let mut keys = Vec::new();
        for key in NOTATION_KEYS {
            openssl(&format!(
                "req -new -key {key}.pem -subj /C=US/ST=WA/O=Lab/CN={key} -out {key}.csr"
            ));
            openssl(&format!(
                "x509 -req -days 90 -in {key}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile leaf.ext -out {key}.crt"
            ));
            let chain = [bench.read(&format!("{key}.crt")), bench.read("ca.crt")].concat();
            write(&bench.folder.join(format!("{key}.chain")), chain);
            let path = |end: &str| bench.folder.join(format!("{key}.{end}"));
            keys.push(json!({ "name": key, "keyPath": path("pem"), "certPath": path("chain") }));
        }
        let config = bench.folder.join("notation");
        write(
            &config.join("signingkeys.json"),
            json!({ "default": "p256", "keys": keys }).to_string(),
        );
        for ca in ["ca", "other-ca"] {
            write(
                &config.join(format!("truststore/x509/ca/{ca}/{ca}.crt")),
                bench.read(&format!("{ca}.crt")),
            );
        }
        bench
    }

    /// Begins a case, which failures name.
    fn begin(&self, number: usize, case: &Case) {
        *self.now.borrow_mut() = format!("case {number}, {case:?}");
    }

    fn ended(&self, command: &mut Command) -> Output {
        ended(command, &self.now.borrow())
    }

    fn run(&self, command: &mut Command) {
        let output = self.ended(command);
        let (now, status) = (self.now.borrow(), output.status);
        assert!(
            status.success(),
            "{now}: {command:?} ended with {status}\n{}",
            printed(&output)
        );
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn tool(&self, tool: Tool) -> Command {
        let (bin, name) = match tool {
            Tool::Cosign2 => ("LAB_BIN17", "cosign"),
            Tool::Cosign3 => ("LAB_BIN2", "cosign"),
            Tool::Notation => ("LAB_BIN2", "notation"),
        };
        let mut command = bounded(self.lab.path(bin).join(name), PATIENCE);
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", &self.folder)
            .env("COSIGN_PASSWORD", "")
            .env("NOTATION_CONFIG", self.folder.join("notation"));
        command
    }

    fn sign(&self, case: &Case, signer: &str, image: &str) {
        let mut command = self.tool(case.tool);
        let key = format!("{signer}.key");
        match case.tool {
            Tool::Notation => {
                command.args([
                    "sign",
                    "--insecure-registry",
                    "-k",
                    case.key,
                    "--signature-format",
                ]);
                command.arg(if case.other_form { "cose" } else { "jws" });
                command.args(
                    case.signs_tag
                        .map(|tag| format!("--user-metadata=tag={tag}")),
                );
                let expires = if case.deed == Deed::Expired {
                    "1s"
                } else {
                    "1h"
                };
                command.args(["--expiry", expires, image]);
            }
            Tool::Cosign2 | Tool::Cosign3 => {
                let is_report = case.predicate().is_some();
                command.arg(if is_report { "attest" } else { "sign" });
                command.args(["--key", &key, "--yes", "--allow-insecure-registry"]);
                if let Some(kind) = case.predicate() {
                    write(&self.folder.join("report.json"), "{\"scanned\":true}");
                    command.args(["--predicate", "report.json", "--type", kind]);
                } else {
                    command.args(case.signs_tag.map(|tag| format!("--annotations=tag={tag}")));
                }
                if case.tool == Tool::Cosign2 {
                    command.arg("--tlog-upload=false");
                } else if case.other_form && !is_report {
                    command.args([
                        "--new-bundle-format=false",
                        "--use-signing-config=false",
                        "--tlog-upload=false",
                    ]);
                } else {
                    command.args(["--signing-config", "signing.json"]);
                }
                if case.tool == Tool::Cosign2 && case.other_form {
                    command.arg(format!(
                        "--sign-container-identity={}",
                        image.split('@').next().unwrap()
                    ));
                }
                command.arg(image);
            }
        }
        self.run(&mut command);
    }

    /// Whether the tool itself says that the image is signed, by each key that must have.
    fn theirs(&self, case: &Case, image: &str) -> bool {
        let mut wanted = case.wanted().into_iter();
        wanted.all(|key| self.theirs_by(case, key, image))
    }

    fn theirs_by(&self, case: &Case, key: &str, image: &str) -> bool {
        // cosign 3.1 reads what cosign 2.5 writes.
        let mut command = self.tool(if case.tool == Tool::Notation {
            case.tool
        } else {
            Tool::Cosign3
        });
        if case.tool == Tool::Notation {
            let store = if case.deed == Deed::OtherKey {
                "other-ca"
            } else {
                "ca"
            };
            let name = if case.deed == Deed::Subject {
                "nobody"
            } else {
                case.key
            };
            let policy = json!({ "version": "1.0", "trustPolicies": [{ "name": "lab", "registryScopes": ["*"], "signatureVerification": { "level": "strict" }, "trustStores": [format!("ca:{store}")], "trustedIdentities": [format!("x509.subject: C=US, ST=WA, O=Lab, CN={name}")] }] });
            write(
                &self.folder.join("notation/trustpolicy.json"),
                policy.to_string(),
            );
            command.args(["verify", "--insecure-registry"]);
            command.args(case.wants_tag.then_some("--user-metadata=tag=v1"));
        } else {
            command.args([
                "verify",
                "--insecure-ignore-tlog",
                "--allow-insecure-registry",
            ]);
            command.args(["--key", &format!("{key}.pub")]);
            command.args(case.wants_tag.then_some("--annotations=tag=v1"));
        }
        self.ended(command.arg(image)).status.success()
    }

    /// Whether rootpin says so, and what it says.
    fn ours(&self, case: &Case, number: usize, repository: &str, digest: &str) -> (bool, String) {
        let folder = self.folder.join(format!("policy{number}"));
        let (kind, name, pins, more) = if case.tool == Tool::Notation {
            let pin = if case.deed == Deed::OtherKey {
                "other-ca.crt"
            } else {
                "ca.crt"
            };
            let subject = if case.deed == Deed::Subject {
                "nobody"
            } else {
                case.key
            };
            let subject = format!("\nsubjects = [\"C=US, ST=WA, O=Lab, CN={subject}\"]");
            ("notation", "certificates", vec![pin.to_owned()], subject)
        } else {
            let wanted = case.wanted();
            let pins = wanted.iter().map(|key| format!("{key}.pub"));
            let threshold = format!("\nthreshold = {}", wanted.len());
            ("cosign", "keys", pins.collect(), threshold)
        };
        let files: Vec<String> = pins.iter().map(|pin| format!("roots/{pin}")).collect();
        let (binds, unbound) = if case.wants_tag {
            ("binds-tag = \"annotation:tag\"\n", "")
        } else {
            ("", "tags = \"unbound\"\n")
        };
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"signer\"\ntype = \"{kind}\"\n{name} = {files:?}{more}\n{binds}\
             [[rule]]\nmatch = \"{repository}\"\nroots = [\"signer\"]\n{unbound}"
        );
        write(&folder.join("policy.toml"), text);
        for pin in &pins {
            write(&folder.join("roots").join(pin), self.read(pin));
        }
        let output = self.verify(&folder, &format!("{repository}:v1@{digest}"));
        (output.status.success(), printed(&output))
    }

    fn verify(&self, policy: &Path, name: &str) -> Output {
        let mut command = bounded(env!("CARGO_BIN_EXE_rootpin"), PATIENCE);
        command.arg("verify").arg("--policy").arg(policy);
        command.arg("--state").arg(self.folder.join("state"));
        self.ended(command.arg(name))
    }

    fn fetch(&self, repository: &str, rest: &str) -> Option<Vec<u8>> {
        let (host, path) = repository.split_once('/').unwrap();
        let url = format!("http://{host}/v2/{path}/{rest}");
        self.lab.runtime.block_on(async {
            let accept = format!("{MANIFEST}, {INDEX}");
            let asking = self.http.get(url).header("accept", accept).send();
            let failed = |error: reqwest::Error| format!("{}: {error}", self.now.borrow());
            let reply = asking.await.map_err(failed).unwrap();
            if !reply.status().is_success() {
                return None;
            }
            Some(reply.bytes().await.map_err(failed).unwrap().to_vec())
        })
    }

    /// Puts the signatures of one digest beside another, which may be the same, each changed.
    fn put_beside(&self, repository: &str, from: &str, to: &str, change: fn(Vec<u8>) -> Vec<u8>) {
        let tag = |digest: &str, end: &str| {
            format!("sha256-{}{end}", digest.trim_start_matches("sha256:"))
        };
        let manifest = |bytes: &[u8]| {
            let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
            let mut blobs = Vec::new();
            for layer in manifest["layers"].as_array_mut().unwrap() {
                let digest = layer["digest"].as_str().unwrap().to_owned();
                let bytes = change(self.fetch(repository, &format!("blobs/{digest}")).unwrap());
                layer["digest"] = json!(Digest::of(&bytes).to_string());
                layer["size"] = json!(bytes.len());
                blobs.push(Blob {
                    media_type: "",
                    bytes,
                });
            }
            if manifest.get("subject").is_some() {
                manifest["subject"]["digest"] = json!(to);
            }
            (
                Blob {
                    media_type: MANIFEST,
                    bytes: manifest.to_string().into_bytes(),
                },
                blobs,
            )
        };
        if let Some(bytes) = self.fetch(repository, &format!("manifests/{}", tag(from, ".sig"))) {
            let (top, blobs) = manifest(&bytes);
            let image = Image {
                top,
                manifests: Vec::new(),
                blobs,
            };
            self.lab
                .push(&image, &format!("{repository}:{}", tag(to, ".sig")));
        }
        if let Some(bytes) = self.fetch(repository, &format!("manifests/{}", tag(from, ""))) {
            let mut index: Value = serde_json::from_slice(&bytes).unwrap();
            let (mut manifests, mut all) = (Vec::new(), Vec::new());
            for entry in index["manifests"].as_array_mut().unwrap() {
                let rest = format!("manifests/{}", entry["digest"].as_str().unwrap());
                let (changed, blobs) = manifest(&self.fetch(repository, &rest).unwrap());
                entry["digest"] = json!(changed.digest());
                entry["size"] = json!(changed.bytes.len());
                manifests.push(changed);
                all.extend(blobs);
            }
            let top = Blob {
                media_type: INDEX,
                bytes: index.to_string().into_bytes(),
            };
            let image = Image {
                top,
                manifests,
                blobs: all,
            };
            self.lab
                .push(&image, &format!("{repository}:{}", tag(to, "")));
        }
    }
}

/// The same signature over a text that means the same, and is another one.
fn tampered(bytes: Vec<u8>) -> Vec<u8> {
    if let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) {
        if let Some(payload) = value.pointer_mut("/dsseEnvelope/payload") {
            let mut text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
            text.push(b' ');
            *payload = json!(STANDARD.encode(text));
        } else if let Some(payload) = value.get_mut("payload") {
            let mut text = URL_SAFE_NO_PAD.decode(payload.as_str().unwrap()).unwrap();
            text.push(b' ');
            *payload = json!(URL_SAFE_NO_PAD.encode(text));
        } else {
            return [bytes, b" ".to_vec()].concat();
        }
        return value.to_string().into_bytes();
    }
    let mut bytes = bytes;
    let at = bytes
        .windows(6)
        .position(|part| part == b"\"size\"")
        .unwrap();
    bytes[at + 1] = b'S';
    bytes
}

/// Whether docs/signatures.md names why a yes is theirs alone: an attestation is not a signature.
fn is_stricter(case: &Case, words: &str) -> bool {
    case.predicate().is_some() && words.contains("its predicateType is")
}

/// Whether it names why a yes is ours alone: cosign 3.1 can't verify its own signatures by P-384
/// (sigstore/cosign#5091).
fn is_their_fault(case: &Case) -> bool {
    case.tool == Tool::Cosign3 && case.key == "p384"
}

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
#[ignore = "needs real tools and a registry: use tests/run"]
fn images_that_real_tools_signed_are_judged_as_their_own_verify_judges_them() {
    let lab = Lab::with_registry();
    let bench = Bench::new(&lab);
    let seed = number_of("ROOTPIN_SEED", 18);
    let mut chance = Chance(u64::try_from(seed).unwrap());
    let cases: Vec<Case> = (0..number_of("ROOTPIN_SIGNATURES", CASES))
        .map(|_| Case::by(&mut chance))
        .collect();
    let mut images = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        bench.begin(number, case);
        let (name, image) = (
            lab.name(&format!("cross/{seed}/{number}"), "v1"),
            Image::manifest(&format!("{seed} {number}")),
        );
        lab.push(&image, &name);
        let repository = name.trim_end_matches(":v1").to_owned();
        let mut digest = image.digest();
        for signer in case.signers() {
            bench.sign(case, signer, &format!("{repository}@{digest}"));
        }
        let signed_at = Instant::now();
        if case.deed == Deed::Payload {
            bench.put_beside(&repository, &digest, &digest, tampered);
        } else if case.deed == Deed::OtherDigest {
            let other = Image::manifest(&format!("{seed} {number}, another"));
            lab.push(&other, &name);
            bench.put_beside(&repository, &digest, &other.digest(), |bytes| bytes);
            digest = other.digest();
        }
        images.push((repository, digest, signed_at));
    }
    let (mut same, mut ours_alone, mut faults, mut wrong) = ([0, 0], 0, 0, Vec::new());
    for (number, (case, (repository, digest, signed_at))) in cases.iter().zip(&images).enumerate() {
        bench.begin(number, case);
        if case.deed == Deed::Expired {
            // Its second is over, unless it is among the last.
            std::thread::sleep(Duration::from_secs(2).saturating_sub(signed_at.elapsed()));
        }
        let theirs = bench.theirs(case, &format!("{repository}@{digest}"));
        let (ours, words) = bench.ours(case, number, repository, digest);
        if ours == theirs {
            same[usize::from(ours)] += 1;
        } else if theirs && is_stricter(case, &words) {
            ours_alone += 1;
        } else if ours && is_their_fault(case) {
            faults += 1;
        } else {
            wrong.push(format!(
                "{number}: {case:?}: theirs {theirs}, ours {ours}: {words}"
            ));
        }
    }
    let [refused, allowed] = same;
    say(&format!(
        "both allow {allowed}, both refuse {refused}, rootpin alone refuses {ours_alone} attestations and takes {faults} signatures by P-384"
    ));
    assert!(
        wrong.is_empty(),
        "{} answers differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(allowed > 0 && refused > 0);
    let _ = std::fs::remove_dir_all(Path::new(&bench.folder));
}

/// Asks both tools' verify and ours for two tags that one digest is signed under, and for one that
/// it is not.
fn check_two_tags(bench: &Bench<'_>, number: usize, tool: Tool, other_form: bool) {
    let name = bench.lab.name(&format!("cross/tags/{number}"), "v1");
    let image = Image::manifest(&format!("two tags {number}"));
    bench.lab.push(&image, &name);
    let (repository, digest) = (name.trim_end_matches(":v1"), image.digest());
    let case = |signs_tag| Case {
        tool,
        key: "p256",
        deed: Deed::Honest,
        signs_tag,
        wants_tag: true,
        other_form,
    };
    let by_digest = format!("{repository}@{digest}");
    bench.begin(number, &case(None));
    for tag in ["v2", "v1"] {
        bench.sign(&case(Some(tag)), "p256", &by_digest);
    }
    assert!(bench.theirs(&case(None), &by_digest), "{tool:?}");
    let (_, words) = bench.ours(&case(None), number, repository, &digest);
    for (tag, wanted) in [("v1", true), ("v2", true), ("v3", false)] {
        let policy = bench.folder.join(format!("policy{number}"));
        let output = bench.verify(&policy, &format!("{repository}:{tag}@{digest}"));
        let said = printed(&output);
        assert_eq!(
            output.status.success(),
            wanted,
            "{tool:?} {tag}: {said}\n{words}"
        );
    }
}

#[test]
#[ignore = "needs real tools and a registry: use tests/run"]
fn each_tag_that_real_tools_signed_one_digest_under_is_taken() {
    let lab = Lab::with_registry();
    let bench = Bench::new(&lab);
    for (number, (tool, other_form)) in [
        (Tool::Cosign2, false),
        (Tool::Cosign3, false),
        (Tool::Cosign3, true),
        (Tool::Notation, false),
        (Tool::Notation, true),
    ]
    .into_iter()
    .enumerate()
    {
        check_two_tags(&bench, number, tool, other_form);
    }
}

#[test]
#[ignore = "needs real tools and a registry: use tests/run"]
fn a_signature_after_more_attestations_than_are_looked_at_is_found() {
    let lab = Lab::with_registry();
    let bench = Bench::new(&lab);
    let name = lab.name("cross/attested", "v1");
    let image = Image::manifest("attested often");
    lab.push(&image, &name);
    let (repository, digest) = (name.trim_end_matches(":v1"), image.digest());
    let by_digest = format!("{repository}@{digest}");
    let case = |tool, deed| Case {
        tool,
        key: "p256",
        deed,
        signs_tag: None,
        wants_tag: false,
        other_form: false,
    };
    bench.begin(0, &case(Tool::Cosign3, Deed::Attestation));
    for at in 0..34 {
        let report = format!("{{\"scan\":{at}}}");
        write(&bench.folder.join("report.json"), &report);
        let mut attest = bench.tool(Tool::Cosign3);
        attest.args(["attest", "--key", "p256.key", "--yes"]);
        attest.args(["--allow-insecure-registry", "--signing-config"]);
        attest.args(["signing.json", "--predicate", "report.json"]);
        bench.run(attest.args(["--type", "custom", &by_digest]));
    }
    for (number, tool) in [Tool::Cosign3, Tool::Notation].into_iter().enumerate() {
        let case = case(tool, Deed::Honest);
        bench.begin(number, &case);
        let (before, words) = bench.ours(&case, number, repository, &digest);
        assert!(!before, "{words}");
        bench.sign(&case, "p256", &by_digest);
        assert!(bench.theirs(&case, &by_digest), "{tool:?}");
        let (ours, words) = bench.ours(&case, number, repository, &digest);
        assert!(ours, "{tool:?}: {words}");
    }
}

#[test]
fn a_program_that_waits_for_ever_is_ended_and_the_failure_names_the_case() {
    let waits = || {
        let mut command = bounded("sleep", "0.01");
        ended(command.arg("infinity"), "case 7, Honest")
    };
    let failure = std::panic::catch_unwind(waits).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(message.contains("case 7, Honest"), "{message}");
    assert!(message.contains("did not end in time"), "{message}");
}

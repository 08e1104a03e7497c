//! What the facts of a cell are made of: images, a registry, roots, policies, deciders.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rootpin::decide::{Decider, Door, GlassRequest, Pull};
use rootpin::publish;
use rootpin::sources::{Credentials, Sources};
use rootpin::state::{HostTime, Store};
use rootpin_policy::Policy;
use rootpin_trust::image::{Chain, Digest, ImageRef};

use super::image::{Image, Platform};
use super::model::{Bytes, Clock, Entry, Facts, Keys, Modes, Names, Revoked, Root};
use super::signed::{Beside, COSIGN, NOTATION, beside, serve};
use super::tuf::{self, Flaw, targets_key};

pub(super) const NOW: &str = "2030-01-01T00:00:00Z";
const EARLIEST: &str = "2030-01-02T00:00:00Z";
const CONTACT: &str = "2029-12-31T23:00:00Z";

/// One host and all that it can be asked about.
pub(super) struct Host {
    /// The registry's host and port.
    registry: String,
    /// What the registry has under every tag.
    served: Arc<Mutex<Option<Digest>>>,
    /// The signatures beside the images, and the keys that the policy pins for them.
    beside: Arc<Beside>,
    folder: tempfile::TempDir,
    images: BTreeMap<&'static str, Image>,
    roots: BTreeMap<&'static str, Vec<u8>>,
    /// Nothing was ever verified into this one.
    empty: Arc<Store>,
    /// The good roots' metadata is in the cache of this one.
    primed: Arc<Store>,
    deciders: HashMap<(String, Root, Clock), Arc<Decider>>,
}

/// `[[exempt]]` for a repository, until then, of these bytes.
fn exempt(repository: &str, until: &str, digest: Option<Digest>) -> String {
    let digests = digest.map_or(String::new(), |digest| {
        format!("digests = [\"{digest}\"]\n")
    });
    format!("[[exempt]]\nmatch = \"{repository}\"\nuntil = {until}\nreason = \"old\"\n{digests}")
}

impl Host {
    pub(super) async fn new() -> Self {
        let served = Arc::<Mutex<Option<Digest>>>::default();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let images: BTreeMap<_, _> = ["signed", "older", "unsigned"]
            .map(|name| (name, Image::named(name)))
            .into();
        let beside = Arc::new(beside(&images));
        let registry = serve(Arc::clone(&served), Arc::clone(&beside)).await;
        let target = |tag: &str, name: &str| {
            let image = &images[name];
            let path = format!("{registry}/team/app:{tag}");
            (path, image.index.digest(), vec![image.first()])
        };
        let signed = [target("v1", "signed"), target("v2", "older")];
        let roots = [
            ("good", 1, &signed[..], Flaw::None),
            ("second", 2, &signed[..], Flaw::None),
            ("without", 3, &[][..], Flaw::None),
            ("expired", 4, &signed[..], Flaw::Expired),
            ("bad-signature", 5, &signed[..], Flaw::BadSignature),
        ]
        .map(|(name, number, names, flaw)| {
            (
                name,
                tuf::write(&folder.path().join(name), number, names, flaw),
            )
        });
        let store = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            Arc::new(Store::open(&path).unwrap())
        };
        let (empty, primed) = (store("empty"), store("primed"));
        let mut host = Self {
            registry,
            served,
            beside,
            images,
            roots: roots.into(),
            empty,
            primed,
            folder,
            deciders: HashMap::new(),
        };
        host.prime().await;
        host
    }

    /// Has both good roots' metadata verified and kept, an hour ago.
    async fn prime(&mut self) {
        let usual = super::products::all().into_iter().find(|facts| {
            facts.entry == Entry::Quorum && facts.names == Names::Tag && facts.root == Root::Good
        });
        let facts = usual.unwrap();
        let policy = self.policy(&self.text(&facts, Root::Good));
        let decider = Decider::new(
            Ok(Arc::new(policy)),
            sources(),
            Arc::clone(&self.primed),
            Duration::from_secs(30),
            true,
        );
        let pull = Pull {
            door: Door::Verifier,
            name: self.names(&facts).remove(0),
            digest: self.top(Bytes::Signed),
        };
        let verdict = decider.pull(&pull, CONTACT.parse().unwrap()).await;
        assert_eq!(verdict.decision.outcome(), "allowed", "{verdict}");
    }

    fn image(&self, bytes: Bytes) -> &Image {
        &self.images[match bytes {
            Bytes::Older => "older",
            Bytes::Other => "unsigned",
            Bytes::Signed | Bytes::Second | Bytes::Platform | Bytes::Unlisted => "signed",
        }]
    }

    /// The platform of the image that is unpacked and run.
    pub(super) fn platform(&self, bytes: Bytes) -> &Platform {
        let second = matches!(bytes, Bytes::Second | Bytes::Unlisted);
        &self.image(bytes).platforms[usize::from(second)]
    }

    /// The manifests that are here: both platforms', where the second one was pulled as well.
    pub(super) fn manifests(&self, bytes: Bytes) -> Vec<Digest> {
        let second = self.platform(bytes).manifest.digest();
        match bytes {
            Bytes::Second => vec![self.image(bytes).first(), second],
            _ => vec![second],
        }
    }

    /// What the name would stand for.
    pub(super) fn top(&self, bytes: Bytes) -> Digest {
        self.chain(bytes).top()
    }

    pub(super) fn chain(&self, bytes: Bytes) -> Chain {
        let platform = self.platform(bytes);
        let bare = Chain::of_manifest(&platform.layer, &platform.manifest).unwrap();
        match bytes {
            Bytes::Platform | Bytes::Unlisted => bare,
            _ => bare.under(&self.image(bytes).index).unwrap(),
        }
    }

    /// The repository of the image that the policy's entry is about.
    fn repository(&self, entry: Entry) -> String {
        let folder = if entry == Entry::SignedAs {
            "mirror"
        } else {
            "team"
        };
        format!("{}/{folder}/app", self.registry)
    }

    /// Every name of the image.
    pub(super) fn names(&self, facts: &Facts) -> Vec<ImageRef> {
        let (own, top) = (self.repository(facts.entry), self.top(facts.bytes));
        let (free, ops) = (
            format!("{}/free/app", self.registry),
            format!("{}/ops/app:v1", self.registry),
        );
        let tag = format!("{own}:v1");
        let with_free = |count: usize| {
            let more = (1..=count).map(|number| format!("{free}{number}:v1"));
            [tag.clone()].into_iter().chain(more).collect()
        };
        let texts: Vec<String> = match facts.names {
            Names::Tag => vec![tag],
            Names::Digest => vec![format!("{own}@{top}")],
            Names::Both => vec![format!("{tag}@{top}")],
            Names::Wrong => vec![format!("{tag}@{}", Digest::of(b"wrong"))],
            Names::Unsigned => vec![format!("{own}:v9")],
            Names::Free => vec![format!("{free}:v1")],
            Names::TagFree => vec![tag, format!("{free}:v1")],
            Names::FreeTag => vec![format!("{free}:v1"), tag],
            Names::TagOps => vec![tag, ops],
            Names::OpsTag => vec![ops, tag],
            Names::Sixteen => with_free(15),
            Names::Seventeen => with_free(16),
            Names::Nothing | Names::TwoLabels => Vec::new(),
        };
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// The repositories that source labels name where the image has no name.
    pub(super) fn labelled(&self, facts: &Facts) -> Vec<ImageRef> {
        let free = format!("{}/free/app", self.registry);
        let own = self.repository(facts.entry);
        let texts = match facts.names {
            Names::TwoLabels => vec![free, own],
            _ => vec![own],
        };
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What is there for these facts, with the registry serving the cell's bytes.
    pub(super) fn decider(&mut self, facts: &Facts) -> Arc<Decider> {
        *self.served.lock().unwrap() = Some(self.top(facts.bytes));
        let text = self.text(facts, facts.root);
        let key = (text, facts.root, facts.clock);
        if let Some(known) = self.deciders.get(&key) {
            return Arc::clone(known);
        }
        let store = if facts.root == Root::Cached {
            &self.primed
        } else {
            &self.empty
        };
        let policy = Ok(Arc::new(self.policy(&key.0)));
        let daemon = Decider::new(
            policy,
            sources(),
            Arc::clone(store),
            Duration::from_secs(30),
            true,
        );
        let patterns = match facts.modes {
            Modes::Glass => Some(None),
            Modes::GlassApp => Some(Some("team/app")),
            Modes::GlassOps => Some(Some("ops/**")),
            _ => None,
        };
        if let Some(path) = patterns {
            let time = HostTime::at(NOW.parse().unwrap());
            let request = GlassRequest {
                reason: "an outage".to_owned(),
                lasts: SignedDuration::from_hours(1),
                pattern: path.map(|path| format!("{}/{path}", self.registry).parse().unwrap()),
            };
            daemon.begin_break_glass(request, &time, |_| true).unwrap();
        }
        if facts.clock == Clock::Early {
            daemon.set_earliest(EARLIEST.parse().unwrap(), "a file of that time");
        }
        let decider = Arc::new(daemon.onlooker(sources()));
        self.deciders.insert(key, Arc::clone(&decider));
        decider
    }

    /// The policy of these facts.
    pub(super) fn policy_of(&self, facts: &Facts) -> Policy {
        self.policy(&self.text(facts, facts.root))
    }

    fn policy(&self, text: &str) -> Policy {
        let files: BTreeMap<_, _> = self
            .roots
            .iter()
            .map(|(name, bytes)| (format!("{name}.json"), bytes.clone()))
            .chain(self.beside.pinned.clone())
            .chain([("policy.toml".to_owned(), text.as_bytes().to_vec())])
            .collect();
        let now: Timestamp = NOW.parse().unwrap();
        rootpin_policy::load(&files, now).unwrap_or_else(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", errors.concat())
        })
    }

    fn root(&self, id: &str, key: &str, folder: &Path) -> String {
        let sha256 = Digest::of(&self.roots[key]).hex();
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"tuf\"\nfile = \"{key}.json\"\nsha256 = \"{sha256}\"\nmetadata = [\"file://{}\"]\n",
            folder.display()
        )
    }

    /// The policy of these facts. A rule for another repository is always there.
    fn text(&self, facts: &Facts, root: Root) -> String {
        let path = |name: &str| self.folder.path().join(name);
        let first = match root {
            Root::Good => self.root("one", "good", &path("good")),
            Root::Silent | Root::Cached => self.root("one", "good", &path("gone")),
            Root::Expired => self.root("one", "expired", &path("expired")),
            Root::Bad => self.root("one", "bad-signature", &path("bad-signature")),
        };
        let second = match facts.entry {
            Entry::Quorum => self.root(
                "two",
                "second",
                &path(if root == Root::Cached {
                    "gone"
                } else {
                    "second"
                }),
            ),
            Entry::QuorumSilent => self.root("two", "second", &path("gone")),
            Entry::QuorumNone => self.root("two", "without", &path("without")),
            Entry::Cosign | Entry::CosignAndTuf | Entry::CosignOrTuf => COSIGN.to_owned(),
            Entry::CosignTag => format!("{COSIGN}binds-tag = \"annotation:tag\"\n"),
            Entry::Notation | Entry::NotationAndTuf => NOTATION.to_owned(),
            _ => String::new(),
        };
        let mode = match facts.modes {
            Modes::Enforce | Modes::Trial | Modes::TrialOver => "",
            Modes::Audit | Modes::Stricter => "mode = \"audit\"\n",
            Modes::AuditOver => "mode = \"audit\"\naudit-until = 2029-12-31T00:00:00Z\n",
            Modes::Glass => "# glass\n",
            Modes::GlassApp => "# glass for app\n",
            Modes::GlassOps => "# glass for ops\n",
        };
        let local = match facts.keys {
            Keys::None | Keys::Docker => "",
            Keys::Local | Keys::DockerLocal => "[local]\ncontent = \"allow\"\n",
            Keys::Elsewhere => "[local]\ncontent = \"allow\"\nnamespaces = [\"elsewhere\"]\n",
        };
        let docker = match facts.keys {
            Keys::Docker | Keys::DockerLocal => {
                "[docker]\nrequire-digest = true\nswarm = \"allow\"\nplugins = \"allow\"\n"
            }
            _ => "",
        };
        let ops = format!("{}/ops/**", self.registry);
        [
            "version = 1\ndefault = \"deny\"\n",
            mode,
            &first,
            &second,
            &rule(&ops, &["one"], facts.modes, ""),
            &self.entries(facts),
            &self.revoked(facts, root),
            local,
            docker,
        ]
        .concat()
    }

    fn entries(&self, facts: &Facts) -> String {
        let own = self.repository(facts.entry);
        let signed = &self.images["signed"];
        let (index, manifest) = (signed.index.digest(), signed.first());
        let ruled = || rule(&own, &["one"], facts.modes, "");
        let two = || rule(&own, &["one", "two"], facts.modes, "quorum = 2\n");
        let signed_beside = |roots: &[&str], more: &str| rule(&own, roots, facts.modes, more);
        let unbound = "tags = \"unbound\"\n";
        let bound = |digest| format!("[[image]]\nname = \"{own}:v1\"\ndigest = \"{digest}\"\n");
        let exempted = |digest| exempt(&own, "2030-02-01T00:00:00Z", digest);
        let over = || exempt(&own, "2029-12-31T00:00:00Z", None);
        match facts.entry {
            Entry::None => String::new(),
            Entry::Rule => ruled(),
            Entry::Quorum
            | Entry::QuorumSilent
            | Entry::QuorumNone
            | Entry::CosignAndTuf
            | Entry::NotationAndTuf => two(),
            Entry::SignedAs => {
                let (served, signed_as) = (
                    format!("{}/mirror/*", self.registry),
                    format!("{}/team/*", self.registry),
                );
                rule(
                    &served,
                    &["one"],
                    facts.modes,
                    &format!("signed-as = \"{signed_as}\"\n"),
                )
            }
            Entry::Cosign | Entry::Notation => signed_beside(&["two"], unbound),
            Entry::CosignTag => signed_beside(&["two"], ""),
            Entry::CosignOrTuf => signed_beside(&["one", "two"], unbound),
            Entry::Image => bound(index),
            Entry::ImageManifest => bound(manifest),
            Entry::ImageRule => bound(index) + &ruled(),
            Entry::ImageExempt => bound(index) + &exempted(None),
            Entry::Exempt => exempted(None),
            Entry::ExemptOver => over(),
            Entry::ExemptDigest => exempted(Some(index)),
            Entry::ExemptManifest => exempted(Some(manifest)),
            Entry::RuleExempt => ruled() + &exempted(None),
            Entry::RuleOver => ruled() + &over(),
            Entry::RuleExemptDigest => ruled() + &exempted(Some(index)),
            Entry::RuleExemptManifest => ruled() + &exempted(Some(manifest)),
        }
    }

    fn revoked(&self, facts: &Facts, root: Root) -> String {
        let what = match facts.revoked {
            Revoked::Nothing => return String::new(),
            Revoked::Key if facts.entry.reads_signatures() => {
                let is_notation = matches!(facts.entry, Entry::Notation | Entry::NotationAndTuf);
                let file = if is_notation { "leaf.crt" } else { "own.pub" };
                format!("key = \"{}\"", self.beside.key_of(file))
            }
            Revoked::Key => {
                let number = match root {
                    Root::Good | Root::Silent | Root::Cached => 1,
                    Root::Expired => 4,
                    Root::Bad => 5,
                };
                let (id, key) = tuf::listed(targets_key(number));
                format!("key = \"{}\"", publish::material(&id, &key).unwrap())
            }
            part => format!("digest = \"{}\"", self.part(facts.bytes, part).unwrap()),
        };
        format!("[[revoked]]\n{what}\nreason = \"CVE-2030-0001\"\n")
    }

    /// The digest of a part of the image.
    pub(super) fn part(&self, bytes: Bytes, part: Revoked) -> Option<Digest> {
        let platform = self.platform(bytes);
        match part {
            Revoked::Top => Some(self.top(bytes)),
            Revoked::Manifest => Some(platform.manifest.digest()),
            Revoked::Config => Some(platform.config),
            Revoked::Layer => Some(platform.layer.digest),
            Revoked::Nothing | Revoked::Key => None,
        }
    }

    /// The text with words for this run's digests and port.
    pub(super) fn readable(&self, text: &str) -> String {
        let mut text = text.replace(&self.registry, "registry.test");
        text = text.replace(&Digest::of(b"wrong").to_string(), "(wrong)");
        for (name, image) in &self.images {
            text = text.replace(&image.index.digest().to_string(), &format!("({name})"));
            for (platform, number) in image.platforms.iter().zip(["", " 2nd"]) {
                for (part, digest) in [
                    ("manifest", platform.manifest.digest()),
                    ("config", platform.config),
                    ("layer", platform.layer.digest),
                ] {
                    text = text.replace(&digest.to_string(), &format!("({name}{number} {part})"));
                }
            }
        }
        text
    }

    /// The host of the registry without its port, as source labels have it.
    pub(super) fn host_name(&self) -> &str {
        self.registry.split(':').next().unwrap_or_default()
    }
}

fn rule(pattern: &str, roots: &[&str], modes: Modes, more: &str) -> String {
    let own = match modes {
        Modes::Enforce
        | Modes::Audit
        | Modes::AuditOver
        | Modes::Glass
        | Modes::GlassApp
        | Modes::GlassOps => "",
        Modes::Stricter => "mode = \"enforce\"\n",
        Modes::Trial => "audit-until = 2030-02-01T00:00:00Z\n",
        Modes::TrialOver => "audit-until = 2029-12-31T00:00:00Z\n",
    };
    format!("[[rule]]\nmatch = \"{pattern}\"\nroots = {roots:?}\n{own}{more}")
}

pub(super) fn sources() -> Arc<Sources> {
    Arc::new(Sources::new(Arc::new(Credentials::none())))
}

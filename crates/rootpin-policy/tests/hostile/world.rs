//! One world: a host, honest publishers, and an adversary who has the network and some keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootpin_policy::{Policy, load};
use rootpin_trust::image::{Digest, ImageRef};

use crate::client::Host;
use crate::counts::Counts;
use crate::history::{Files, History, time};
use crate::look::{Network, View};
use crate::notary::{GUN, NotaryHistory, OTHER_GUN, RELEASES, TAG, pinned};
use crate::oracle::{
    Accepted, Violation, check_answer, check_cost, check_floors, check_quorum, check_refusal,
    check_revoked, check_signed,
};
use crate::signatures::{self, COSIGN, ENVELOPED, NOTATION, SIGNED, TAGGED, TAGGED_NAME};
use crate::steps::{Random, Sequence};
use crate::tuf_forgery::{self as forgery, Held, evil, own_root};
use crate::tuf_history::{APP, BOTH, TEAM, TENANT};
use crate::{notary, tuf_history};

/// Where each repository's metadata is, as [`Network`] names it.
pub(crate) const MAIN: &str = "main";
pub(crate) const OWN: &str = "own";
pub(crate) const NOTARY: &str = "docker n.example/team/app";
pub(crate) const OTHER_NOTARY: &str = "tenant n.example/evil/app";
pub(crate) const SOURCES: [&str; 7] = [MAIN, OWN, NOTARY, OTHER_NOTARY, COSIGN, NOTATION, TAGGED];

/// The names that are asked for.
const NAMES: [&str; 11] = [
    SIGNED,
    TAGGED_NAME,
    ENVELOPED,
    APP,
    TEAM,
    BOTH,
    TENANT,
    "evil.example/app:1",
    "n.example/team/app:v1",
    "n.example/evil/app:v1",
    "r.example/stranger:1",
];

/// What was made before: histories take longer to sign than to attack.
pub(crate) struct World {
    pub(crate) policy: Policy,
    /// The same, in which what was signed first is revoked.
    revoking: Policy,
    pub(crate) tuf: History,
    pub(crate) notary: NotaryHistory,
    pub(crate) other: NotaryHistory,
}

/// A sequence while it runs.
pub(crate) struct Run<'a> {
    pub(crate) world: &'a World,
    pub(crate) held: Held,
    pub(crate) host: Host,
    /// Whether the host has the policy that revokes.
    pub(crate) is_revoking: bool,
    pub(crate) network: Network,
    /// The newest publication.
    pub(crate) head: usize,
    pub(crate) now: Timestamp,
    /// The highest version of each role that an answer rested on, by source and by the keys of the
    /// snapshot.
    pub(crate) highest: BTreeMap<(String, String), (usize, u64)>,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn of(seed: u64) -> Self {
        let tuf = tuf_history::history(seed);
        let root = tuf.publications[0].files["1.root.json"].clone();
        Self {
            policy: policy(root.clone(), ""),
            revoking: policy(root, &revocations()),
            notary: notary::history(GUN, seed),
            other: notary::history(OTHER_GUN, seed + 1),
            tuf,
        }
    }
}

/// What the first publications name.
pub(crate) fn first_digests() -> [Digest; 3] {
    [
        Digest::of(b"app-1"),
        Digest::of(GUN.as_bytes()),
        signatures::digest(COSIGN, 0),
    ]
}

fn revocations() -> String {
    let entry =
        |digest: Digest| format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"broken\"\n");
    first_digests().map(entry).concat()
}

fn policy(main: Vec<u8>, more: &str) -> Policy {
    let tuf = |id: &str, bytes: &[u8]| {
        let hex = Digest::of(bytes).hex();
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"tuf\"\nfile = \"{id}.json\"\nsha256 = \"{hex}\"\nmetadata = [\"https://{id}.example\"]\n"
        )
    };
    let notary = |id: &str, gun: &str| {
        let keys = pinned(gun);
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = {keys:?}\nrole = \"{RELEASES}\"\n"
        )
    };
    let rule = |pattern: &str, roots: &[&str], quorum: usize| {
        format!("[[rule]]\nmatch = \"{pattern}\"\nroots = {roots:?}\nquorum = {quorum}\n")
    };
    let text = [
        "version = 1\ndefault = \"deny\"\n".to_owned(),
        tuf(MAIN, &main),
        tuf(OWN, &own_root()),
        notary("docker", GUN),
        notary("tenant", OTHER_GUN),
        rule("r.example/**", &[MAIN], 1),
        rule("both.example/**", &[OWN, MAIN], 2),
        rule("evil.example/**", &[OWN], 1),
        rule("n.example/team/**", &["docker"], 1),
        rule("n.example/evil/**", &["tenant"], 1),
    ];
    let (of_signatures, mut files) = signatures::policy();
    let text = text.concat() + &of_signatures + more;
    files.insert("policy.toml".to_owned(), text.into_bytes());
    files.insert(format!("{MAIN}.json"), main);
    files.insert(format!("{OWN}.json"), own_root());
    load(&files, time(0)).unwrap()
}

impl<'a> Run<'a> {
    /// Runs a whole sequence; at its end the adversary lets the network go.
    pub(crate) fn whole(world: &'a World, sequence: &Sequence) -> Result<Counts, Violation> {
        let mut run = Self {
            world,
            held: Held::of(sequence.held),
            host: Host::default(),
            is_revoking: false,
            network: Network::new(),
            head: 0,
            now: time(0),
            highest: BTreeMap::new(),
            counts: Counts::default(),
        };
        for source in SOURCES {
            run.show_honest(source);
        }
        for (at, step) in sequence.steps.iter().enumerate() {
            let done = run.step(*step);
            done.map_err(|violation| violation.at(at))?;
        }
        run.release()
            .map_err(|violation| violation.at(sequence.steps.len()))?;
        Ok(run.counts)
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> &'a Policy {
        if self.is_revoking {
            &self.world.revoking
        } else {
            &self.world.policy
        }
    }

    pub(crate) fn ask(&mut self, question: u32) -> Result<(), Violation> {
        let (name, digest) = self.question(question);
        self.ask_about(&name, digest).map(|_| ())
    }

    pub(crate) fn ask_about(&mut self, name: &ImageRef, digest: Digest) -> Result<bool, Violation> {
        let floors = self.host.floors.clone();
        let mut asked = self
            .host
            .ask(self.policy(), &self.network, (name, digest), self.now);
        check_cost(&asked)?;
        let accepted = Accepted::of(name, self.head, &asked);
        let kept = self.host.keep(&mut asked);
        let is_yes = kept && asked.judgement.result.is_ok();
        let code = match &asked.judgement.result {
            Ok(_) if kept => None,
            Ok(_) => Some("conflict"),
            Err(denial) => Some(denial.refusal.code.as_str()),
        };
        match code {
            None => *self.counts.accepted.entry(source_of(name)).or_default() += 1,
            Some(code) => *self.counts.refused.entry(code).or_default() += 1,
        }
        check_quorum(name, &asked.judgement)?;
        check_signed(name, digest, self.head, &asked.judgement)?;
        check_revoked(self, digest, &asked.judgement)?;
        if is_yes && name.to_string() == ENVELOPED && !signatures::is_shown(self.view(NOTATION)) {
            return Err(Violation::of("signatures by others count"));
        }
        if kept {
            check_answer(self, &accepted)?;
        }
        if !kept && self.host.floors != floors {
            return Err(Violation::of(
                "a question that was not kept changed the floors",
            ));
        }
        check_floors(self)?;
        Ok(is_yes)
    }

    /// The adversary lets go of the network: whoever had no online key left nothing behind.
    fn release(&mut self) -> Result<(), Violation> {
        self.is_revoking = false;
        if self.held.timestamp || self.held.snapshot {
            return Ok(());
        }
        self.counts.released += 1;
        for source in [MAIN, NOTARY] {
            self.show_honest(source);
        }
        for (name, role, path, source) in [
            (APP, "targets", APP, MAIN),
            (TEAM, "team", TEAM, MAIN),
            ("n.example/team/app:v1", RELEASES, TAG, NOTARY),
        ] {
            let (history, head) = self.history(source);
            let roles = ["root", "timestamp", "snapshot", "targets", role];
            let digest = history.digest(head, role, path);
            if !history.in_force(head, &roles, self.now) {
                continue;
            }
            let name: ImageRef = name.parse().unwrap();
            let policy = &self.world.policy;
            if let Some(digest) = digest
                && !self.ask_about(&name, digest)?
            {
                let asked = self
                    .host
                    .ask(policy, &self.network, (&name, digest), self.now);
                let why = asked
                    .judgement
                    .result
                    .map_err(|denial| denial.refusal.to_string());
                return Err(Violation::of(&format!(
                    "refused though nobody is in the way: {name}: {:?}",
                    why.err()
                )));
            }
            let asked = self
                .host
                .ask(policy, &self.network, (&name, evil()), self.now);
            check_refusal(&name, &asked)?;
        }
        self.release_signatures()
    }

    /// Of signatures nothing is kept: what is published again counts again.
    fn release_signatures(&mut self) -> Result<(), Violation> {
        for (source, name) in [
            (COSIGN, SIGNED),
            (NOTATION, ENVELOPED),
            (TAGGED, TAGGED_NAME),
        ] {
            self.show_honest(source);
            let name: ImageRef = name.parse().unwrap();
            let digest = signatures::newest(source, self.head);
            if !self.ask_about(&name, digest)? {
                let what = format!("refused though nobody is in the way: {name}");
                return Err(Violation::of(&what));
            }
            let (policy, evil) = (&self.world.policy, (&name, evil()));
            let asked = self.host.ask(policy, &self.network, evil, self.now);
            check_refusal(&name, &asked)?;
        }
        Ok(())
    }

    /// A name, and bytes that someone may want to pass off as it.
    pub(crate) fn question(&self, choice: u32) -> (ImageRef, Digest) {
        let random = &mut Random::new(choice.into());
        let text = *random.one_of(&NAMES);
        let name: ImageRef = text.parse().unwrap();
        let (history, head) = self.history(match text {
            "n.example/team/app:v1" => NOTARY,
            "n.example/evil/app:v1" => OTHER_NOTARY,
            _ => MAIN,
        });
        let at = if random.chance(60) {
            head
        } else {
            random.below(head + 1)
        };
        let (role, path) = match text {
            TEAM => ("team", TEAM),
            text if text.starts_with("n.example/") => (RELEASES, TAG),
            _ => ("targets", text),
        };
        let signed = match text {
            SIGNED => Some(signatures::digest(COSIGN, at)),
            ENVELOPED => Some(signatures::digest(NOTATION, at)),
            TAGGED_NAME => Some(signatures::digest(TAGGED, at)),
            _ => history.digest(at, role, path),
        };
        let digest = if random.chance(25) { None } else { signed };
        (name, digest.unwrap_or_else(evil))
    }

    /// The newest publication of a Notary repository, which has fewer.
    pub(crate) fn notary_head(&self) -> usize {
        self.head
            .min(self.world.notary.history.publications.len() - 1)
    }

    pub(crate) fn history(&self, source: &str) -> (&'a History, usize) {
        match source {
            MAIN | OWN => (&self.world.tuf, self.head),
            NOTARY => (&self.world.notary.history, self.notary_head()),
            _ => (&self.world.other.history, self.notary_head()),
        }
    }

    pub(crate) fn published(&self, source: &str, at: usize) -> Files {
        match source {
            OWN => return forgery::own_first(&self.world.tuf, at),
            COSIGN | NOTATION | TAGGED => return signatures::published(source, at),
            _ => {}
        }
        let (history, head) = self.history(source);
        history.publications[at.min(head)].files.clone()
    }

    pub(crate) fn show_honest(&mut self, source: &'static str) {
        let files = self.published(source, self.head);
        let view = View {
            files,
            ..View::default()
        };
        self.network.insert(source.to_owned(), view);
    }

    pub(crate) fn view(&mut self, source: &str) -> &mut View {
        self.network.get_mut(source).unwrap()
    }
}

pub(crate) fn source_of(name: &ImageRef) -> &'static str {
    match name.repository.as_str() {
        "n.example/team/app" => "notary",
        "n.example/evil/app" => "other notary",
        "evil.example/app" => "own",
        "both.example/app" => "quorum",
        "r.example/tenant/app" => "tenant",
        "r.example/team/app" => "team",
        "s.example/app" => "cosign",
        "e.example/app" => "notation",
        "t.example/app" => "tags",
        _ => "main",
    }
}

//! The acts: what each step of a sequence does to the world.

use crate::history::{Files, later, time};
use crate::look::{Network, View};
use crate::notary::RELEASES;
use crate::oracle::{Accepted, Violation, check_answer, check_floors};
use crate::signatures::{self, COSIGN, NOTATION, TAGGED};
use crate::steps::{Act, Random, Step};
use crate::tuf_forgery as forgery;
use crate::world::{MAIN, NOTARY, OTHER_NOTARY, OWN, Run, SOURCES, source_of};

impl Run<'_> {
    pub(crate) fn step(&mut self, step: Step) -> Result<(), Violation> {
        let world = self.world;
        let random = &mut Random::new(step.choice.into());
        let source = *random.one_of(&[
            MAIN,
            MAIN,
            NOTARY,
            NOTARY,
            OWN,
            OTHER_NOTARY,
            COSIGN,
            NOTATION,
            TAGGED,
        ]);
        match step.act {
            Act::Publish => {
                self.head = (self.head + 1).min(self.world.tuf.publications.len() - 1);
                self.now = self.now.max(time(self.head));
                if random.chance(70) {
                    for source in [MAIN, NOTARY, COSIGN, TAGGED] {
                        self.show_honest(source);
                    }
                }
            }
            Act::Wait => self.now = later(self.now, *random.one_of(&[1, 30, 100, 200, 1500])),
            Act::TurnBack => self.now = later(self.now, -*random.one_of(&[1, 30, 100, 1500])),
            Act::ForgeSignatures => {
                let source = *random.one_of(&[COSIGN, NOTATION, TAGGED]);
                let (held, choice) = (self.held, random.choice());
                self.view(source).files = signatures::forged(source, self.head, held, choice);
            }
            Act::Revoke => self.is_revoking = !self.is_revoking,
            Act::Restart => self.host.restart(),
            Act::LoseCache => self.host.lose_cache(),
            Act::Honest => self.show_honest(source),
            Act::Replay => {
                let at = random.below(self.head + 1);
                let files = self.published(source, at);
                self.view(source).files = files;
            }
            Act::OwnRepository => {
                let files = forgery::own(&self.world.tuf, self.head, self.held, random.choice());
                self.view(OWN).files = files;
            }
            Act::ForgeOnline | Act::ForgeTargets | Act::ForgeDelegated | Act::ForgeRoot => {
                self.forge(step.act, random);
            }
            Act::Copy => {
                let at = self.notary_head();
                self.view(OTHER_NOTARY).files = world.other.copy(&world.notary, at);
            }
            Act::Race => return self.race(step.question),
            Act::Unplug => return self.unplug(step.question),
            _ => self.disturb(step.act, source, random),
        }
        self.ask(step.question)
    }

    fn forge(&mut self, act: Act, random: &mut Random) {
        let (world, held, choice) = (self.world, self.held, random.choice());
        if random.chance(40) {
            let at = self.notary_head();
            self.view(NOTARY).files = match act {
                Act::ForgeOnline => world.notary.online(at, held, choice),
                Act::ForgeTargets => world.notary.names("targets", at, held, choice),
                Act::ForgeDelegated => world.notary.names(RELEASES, at, held, choice),
                _ => world.notary.root(at, choice),
            };
            return;
        }
        let at = if random.chance(60) {
            self.head
        } else {
            random.below(self.head + 1)
        };
        let publication = &world.tuf.publications[at];
        self.view(MAIN).files = match act {
            Act::ForgeOnline => forgery::online(&world.tuf, at, held, choice),
            Act::ForgeTargets => forgery::names(publication, "targets", held, choice),
            Act::ForgeDelegated => forgery::names(publication, "team", held, choice),
            _ => forgery::root(publication, held, choice),
        };
    }

    /// What needs the network only.
    fn disturb(&mut self, act: Act, source: &'static str, random: &mut Random) {
        let earlier = self.published(source, random.below(self.head + 1));
        let redirect = match source {
            MAIN => OWN,
            OWN => MAIN,
            NOTARY => OTHER_NOTARY,
            COSIGN => NOTATION,
            NOTATION | TAGGED => COSIGN,
            _ => NOTARY,
        };
        let others = self.network[redirect].files.clone();
        let times: Vec<Files> = match act {
            Act::Mix => (0..=self.head)
                .map(|at| self.published(source, at))
                .collect(),
            _ => Vec::new(),
        };
        let view = self.view(source);
        let names: Vec<String> = view.files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = random.one_of(&names).clone();
        match act {
            Act::Mix => {
                for (name, bytes) in &mut view.files {
                    let time = &times[random.below(times.len())];
                    if let Some(other) = time.get(name) {
                        bytes.clone_from(other);
                    }
                }
                if random.chance(50) {
                    view.files.extend(earlier);
                }
            }
            Act::Hide => {
                let role = name.rsplit('/').next().unwrap().to_owned();
                let whole = random.chance(50);
                view.files
                    .retain(|file, _| *file != name && !(whole && file.ends_with(&role)));
            }
            Act::Swap => {
                let bytes = view.files[random.one_of(&names)].clone();
                view.files.insert(name, bytes);
            }
            Act::Damage => damage(view.files.get_mut(&name).unwrap(), random),
            Act::Silence => {
                view.silent.insert(name);
            }
            Act::Deny => {
                view.denied.insert(name);
            }
            _ => view.files = others,
        }
    }

    /// Two questions from the same floors; the one that saw more is kept first.
    fn race(&mut self, question: u32) -> Result<(), Violation> {
        let (name, digest) = self.question(question);
        let policy = self.policy();
        let mut first = self
            .host
            .ask(policy, &self.network, (&name, digest), self.now);
        let accepted = Accepted::of(&name, self.head, &first);
        let honest: Network = SOURCES
            .into_iter()
            .map(|source| {
                (
                    source.to_owned(),
                    View {
                        files: self.published(source, self.head),
                        ..View::default()
                    },
                )
            })
            .collect();
        let mut second = self.host.ask(policy, &honest, (&name, digest), self.now);
        let later = Accepted::of(&name, self.head, &second);
        let kept = self.host.keep(&mut second);
        // The first began before the second was kept.
        let before = self.highest.clone();
        if kept {
            check_answer(self, &later)?;
        }
        let after = std::mem::replace(&mut self.highest, before);
        if self.host.keep(&mut first) {
            check_answer(self, &accepted)?;
        }
        for (role, version) in after {
            let highest = self.highest.entry(role).or_insert(version);
            *highest = (*highest).max(version);
        }
        check_floors(self)
    }

    /// The same question before the network goes and after it: what was verified answers.
    fn unplug(&mut self, question: u32) -> Result<(), Violation> {
        let (name, digest) = self.question(question);
        let before = self.ask_about(&name, digest)?;
        for view in self.network.values_mut() {
            view.is_cut_off = true;
        }
        let after = self.ask_about(&name, digest)?;
        let is_kept = !matches!(source_of(&name), "cosign" | "notation" | "tags");
        if before && is_kept {
            self.counts.without_network += 1;
            if !after {
                return Err(Violation::of(&format!(
                    "an answer is lost with the network: {name}"
                )));
            }
        }
        Ok(())
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len().max(1));
    match random.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.clear(),
        2 => bytes.extend_from_slice(b" {}"),
        3 => bytes.resize((64 << 10) + 1 + bytes.len(), b' '),
        4 => bytes.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        5 => {
            // A member that stands twice, of which parsers take one or the other.
            let text = String::from_utf8_lossy(bytes).replacen(
                "\"version\"",
                "\"version\":1000,\"version\"",
                1,
            );
            *bytes = text.into_bytes();
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

//! The steps of a sequence: plain data, made from a seed, so that a sequence can be printed, replayed
//! and shortened.

use std::fmt;

/// A small generator of numbers (`SplitMix64`): the same seed gives the same world on every machine.
#[derive(Clone)]
pub(crate) struct Random(u64);

/// What a step does. The number beside it in [`Step`] chooses among the variants of the act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// The publishers publish what comes next; the network shows it or holds it back.
    Publish,
    /// Time passes.
    Wait,
    /// The daemon begins anew, with what is on disk.
    Restart,
    /// The cache is lost, and what was in memory; the floors are not.
    LoseCache,
    /// The network shows what is published.
    Honest,
    /// The network shows an earlier state.
    Replay,
    /// Each file is of another time.
    Mix,
    /// A file is missing (404).
    Hide,
    /// One file's bytes under another's name.
    Swap,
    /// Bytes are cut, changed, added.
    Damage,
    /// A source that keeps the connection open and sends nothing, or answers with 5xx.
    Silence,
    /// A source that wants credentials (401, 403).
    Deny,
    /// The host's network is gone, until a source is shown honestly again.
    Unplug,
    /// A source answers with another repository's files.
    Redirect,
    /// Snapshot and timestamp, signed with the online keys that the adversary has.
    ForgeOnline,
    /// Targets, signed with every key that the adversary has.
    ForgeTargets,
    /// A delegated role's file, signed with every key that the adversary has.
    ForgeDelegated,
    /// The next root, signed with every key that the adversary has.
    ForgeRoot,
    /// The adversary's own repository, which the host pins for the adversary's own names.
    OwnRepository,
    /// Signatures beside an image, by whoever can push there.
    ForgeSignatures,
    /// The clock goes back.
    TurnBack,
    /// The host takes the policy that revokes what was signed first, or the one before it.
    Revoke,
    /// A publisher of Notary signs a copy of what another one signed.
    Copy,
    /// Two questions at one time, of which the second one sees what is published.
    Race,
}

const ACTS: [Act; 27] = [
    Act::Publish,
    Act::Publish,
    Act::Publish,
    Act::Wait,
    Act::Restart,
    Act::LoseCache,
    Act::Honest,
    Act::Honest,
    Act::Replay,
    Act::Mix,
    Act::Hide,
    Act::Swap,
    Act::Damage,
    Act::Silence,
    Act::Deny,
    Act::Unplug,
    Act::Redirect,
    Act::ForgeOnline,
    Act::ForgeTargets,
    Act::ForgeDelegated,
    Act::ForgeRoot,
    Act::OwnRepository,
    Act::ForgeSignatures,
    Act::TurnBack,
    Act::Revoke,
    Act::Copy,
    Act::Race,
];

/// One step, and the question after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) act: Act,
    pub(crate) choice: u32,
    pub(crate) question: u32,
}

/// A whole sequence: in which world, who has which keys, and what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) seed: u64,
    pub(crate) world: usize,
    /// A bit for each key that the adversary may have.
    pub(crate) held: u8,
    pub(crate) steps: Vec<Step>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub(crate) fn choice(&mut self) -> u32 {
        u32::try_from(self.number() >> 32).unwrap()
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub(crate) fn chance(&mut self, in_a_hundred: usize) -> bool {
        self.below(100) < in_a_hundred
    }
}

impl Sequence {
    /// The sequence of a seed.
    pub(crate) fn of(seed: u64, worlds: usize) -> Self {
        let mut random = Random::new(seed);
        let world = random.below(worlds);
        // Half of the sequences are without online keys: then more must hold.
        let held = if random.chance(50) {
            random.below(128)
        } else {
            0
        };
        let length = 4 + random.below(12);
        let step = |random: &mut Random| Step {
            act: *random.one_of(&ACTS),
            choice: random.choice(),
            question: random.choice(),
        };
        let steps = (0..length).map(|_| step(&mut random)).collect();
        let held = u8::try_from(held).unwrap();
        Self {
            seed,
            world,
            held,
            steps,
        }
    }

    /// The shortest sequence with fewer steps that still fails.
    pub(crate) fn shortened(&self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut shortest = self.clone();
        let mut at = 0;
        while at < shortest.steps.len() {
            let mut shorter = shortest.clone();
            shorter.steps.remove(at);
            if fails(&shorter) {
                shortest = shorter;
                at = 0;
            } else {
                at += 1;
            }
        }
        for bit in 0..8 {
            let mut weaker = shortest.clone();
            weaker.held &= !(1 << bit);
            if weaker.held != shortest.held && fails(&weaker) {
                shortest = weaker;
            }
        }
        shortest
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, world, held) = (self.seed, self.world, self.held);
        write!(formatter, "seed {seed}, world {world}, keys {held:#010b}:")?;
        for step in &self.steps {
            let Step {
                act,
                choice,
                question,
            } = step;
            write!(formatter, "\n    {act:?} {choice}, question {question}")?;
        }
        Ok(())
    }
}

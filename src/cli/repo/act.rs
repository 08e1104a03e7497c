//! Carries out what changes a repository: shows it, asks, has keys unlocked, and tells how it
//! ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Here;
use super::passphrase::Passphrases;
use super::report::{self, plan_json};
use super::term::RootTerm;
use crate::cli::output::Output;
use crate::publish::changes::Entry;
use crate::publish::key::{Signer, SigningError};
use crate::publish::keyring::Keyring;
use crate::publish::{
    Change, Doing, Draft, Metadata, Outcome, Plan, PublishError, Transaction, Unlock, Working,
};
use rootpin_trust::KeyId;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// What every verb that signs takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// Show what would be signed, and sign nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep it in the working folder, for `rootpin repo publish`
    #[arg(long)]
    pub(super) local: bool,
    /// Ask nothing before signing
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) passphrases: Passphrases,
}

/// What a verb does to the draft.
pub(super) type Make<'a> = &'a mut dyn FnMut(&mut Draft) -> Result<(), PublishError>;

/// A verb's part in a change.
pub(super) struct Act<'a> {
    pub(super) make: Make<'a>,
    /// The entries that it decides, whatever was there.
    pub(super) decides: BTreeSet<Entry>,
    /// Whether it fills a place that was emptied.
    pub(super) restores: bool,
    /// What the verb says first.
    pub(super) about: Vec<String>,
}

/// Runs it in a working folder.
pub(super) async fn run(
    here: &Here,
    working: &Working,
    act: Act<'_>,
    options: &Options,
    output: Output,
) -> Result<u8, PublishError> {
    let mut transaction = here.transaction(working, options.local)?;
    let doing = transaction.doing.clone();
    let now = transaction.now;
    let mut asking = Asking {
        act,
        options,
        output,
        keyring: &working.keyring,
        plan: Value::Null,
        doing: doing.clone(),
        now,
        term: None,
    };
    let mut keys = Unlocked {
        doing: doing.clone(),
        ..Unlocked::new(&working.keyring, &options.passphrases)
    };
    let outcome = telling(output, &doing, transaction.run(&mut asking, &mut keys)).await?;
    let mut report = ended(&outcome, asking.plan, &transaction.notes);
    let term = match &outcome {
        Outcome::Done { metadata, .. } | Outcome::Nothing(metadata) => {
            Some(RootTerm::of(metadata, now))
        }
        Outcome::Shown => asking.term,
    };
    if let (Some(term), Some(object)) = (&term, report.as_object_mut()) {
        object.insert("root".to_owned(), term.json());
    }
    output.value(&report, report::ended_text);
    let failed = matches!(&outcome, Outcome::Done { failed, .. } if !failed.is_empty());
    let exit = if failed { 2 } else { 0 };
    Ok(term.map_or(exit, |term| term.said(exit)))
}

/// What there is at the first place, merged with what is here.
pub(super) async fn look(
    transaction: &mut Transaction<'_>,
    output: Output,
) -> Result<Draft, PublishError> {
    let doing = transaction.doing.clone();
    telling(output, &doing, transaction.look(&|_| false)).await
}

/// Waits for something, and says from time to time what it is that takes so long.
pub(super) async fn telling<T>(output: Output, doing: &Doing, work: impl Future<Output = T>) -> T {
    Box::pin(telling_every(
        PATIENCE,
        doing,
        move |what| output.progress(what),
        work,
    ))
    .await
}

async fn telling_every<T>(
    every: Duration,
    doing: &Doing,
    say: impl Fn(&str) + Send + 'static,
    work: impl Future<Output = T>,
) -> T {
    let (done, over) = mpsc::channel::<()>();
    let doing = doing.clone();
    // From a thread of its own: what takes long may be computing, which keeps this one busy.
    let teller = thread::spawn(move || {
        while over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            say(&doing.now());
        }
    });
    let result = Box::pin(work).await;
    drop(done);
    let _ = teller.join();
    result
}

struct Asking<'a, 'b> {
    act: Act<'b>,
    options: &'a Options,
    output: Output,
    keyring: &'a Keyring,
    plan: Value,
    doing: Doing,
    now: Timestamp,
    /// That of the root as it would be.
    term: Option<RootTerm>,
}

impl Change for Asking<'_, '_> {
    fn make(&mut self, draft: &mut Draft) -> Result<(), PublishError> {
        (self.act.make)(draft)
    }

    fn overrules(&self, entry: &Entry) -> bool {
        self.act.decides.contains(entry)
    }

    fn restores(&self) -> bool {
        self.act.restores
    }

    fn confirm(&mut self, before: &Metadata, plan: &Plan) -> Result<bool, PublishError> {
        self.plan = plan_json(before, plan, self.keyring, &self.act.about);
        self.term = Some(RootTerm::of(plan.next(), self.now));
        if !self.output.json {
            self.output.value(&self.plan, report::plan_text);
        }
        if self.options.dry_run {
            return Ok(false);
        }
        if plan.steps().any(|step| !step.keys.is_empty()) {
            quietly(&self.doing, || ask(self.options))?;
        }
        Ok(true)
    }
}

/// Does what waits for a person: no word comes in between.
fn quietly<T>(doing: &Doing, work: impl FnOnce() -> T) -> T {
    let was = doing.set("");
    let result = work();
    doing.set(was);
    result
}

/// Asks whether to sign, if there is somebody to ask.
pub(super) fn ask(options: &Options) -> Result<(), PublishError> {
    if options.yes || !io::stdin().is_terminal() || go_on()? {
        return Ok(());
    }
    Err(PublishError::Wrong("nothing was signed".to_owned()))
}

fn go_on() -> Result<bool, PublishError> {
    let failed = |error| PublishError::File("the terminal".to_owned(), error);
    let mut errors = io::stderr();
    write!(errors, "sign this? [y/N] ")
        .and_then(|()| errors.flush())
        .map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Keys that were unlocked once stay so for the whole verb.
pub(super) struct Unlocked<'a> {
    keyring: &'a Keyring,
    passphrases: &'a Passphrases,
    open: BTreeMap<KeyId, Box<dyn Signer>>,
    doing: Doing,
}

impl<'a> Unlocked<'a> {
    pub(super) fn new(keyring: &'a Keyring, passphrases: &'a Passphrases) -> Self {
        Self {
            keyring,
            passphrases,
            open: BTreeMap::new(),
            doing: Doing::default(),
        }
    }
}

impl Unlock for Unlocked<'_> {
    fn unlock(&mut self, id: KeyId) -> Result<&dyn Signer, SigningError> {
        if !self.open.contains_key(&id) {
            let (passphrases, doing) = (self.passphrases, &self.doing);
            let signer = self.keyring.unlock(id, &mut |entry| {
                quietly(doing, || passphrases.of(&entry.name))
            })?;
            self.open.insert(id, signer);
        }
        self.open
            .get(&id)
            .map(AsRef::as_ref)
            .ok_or_else(|| SigningError::Unusable("a key that vanished".to_owned()))
    }
}

fn ended(outcome: &Outcome, mut plan: Value, notes: &[String]) -> Value {
    let word = match outcome {
        Outcome::Shown => "shown",
        Outcome::Nothing(_) => "unchanged",
        Outcome::Done { published, .. } if published.is_empty() => "kept",
        Outcome::Done { .. } => "published",
    };
    let (published, failed) = match outcome {
        Outcome::Done {
            published, failed, ..
        } => (
            published
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            failed
                .iter()
                .map(|(url, why)| json!({ "place": url.to_string(), "error": why }))
                .collect(),
        ),
        Outcome::Shown | Outcome::Nothing(_) => (Vec::new(), Vec::<Value>::new()),
    };
    if !plan.is_object() {
        plan = json!({});
    }
    let members = [
        ("version", json!(1)),
        ("outcome", json!(word)),
        ("published", json!(published)),
        ("failed", json!(failed)),
        ("notes", json!(notes)),
    ];
    if let Some(object) = plan.as_object_mut() {
        object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_told_though_it_never_waits_for_anything_and_not_while_somebody_is_asked()
     {
        let (doing, (told, tells)) = (Doing::default(), mpsc::channel());
        let say = move |what: &str| drop(told.send(what.to_owned()));
        let work = async {
            doing.set("signing");
            // All that was said before.
            let computing = || tells.iter().find(|what| what == "signing");
            assert!(computing().is_some());
            quietly(&doing, || assert!(tells.iter().any(|what| what.is_empty())));
            assert!(computing().is_some());
        };
        telling_every(Duration::from_millis(1), &doing, say, work).await;
    }
}

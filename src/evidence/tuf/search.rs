//! A search in verified TUF metadata for what it says of an image.

use std::time::Instant;

use super::source::{TufSource, open};
use super::update::not_in_cache;
use super::{EarlierUpdate, TufLook};
use crate::evidence::behind::keep_worst;
use crate::evidence::drive::{VerifiedUpdates, drive};
use crate::evidence::look::{CHECK_PLACES, SourceFailure};
use crate::evidence::share;
use rootpin_trust::image::Repository;
use rootpin_trust::tuf::{Found, Question, Search, Trusted};
use rootpin_trust::{Code, Collection, Refusal, Verified};

impl TufLook<'_> {
    /// The answer by what is at hand and cached; else with the roles of the first place whose roles
    /// hold.
    pub(super) async fn search(
        &self,
        trusted: &Trusted,
        about: (&Repository, &Question),
        updates: &mut VerifiedUpdates,
    ) -> Result<Found, Refusal> {
        let (mut refused, mut silent) = (None::<Refusal>, Vec::new());
        match self
            .search_from(&self.in_cache(), trusted, about, updates)
            .await
        {
            Ok(found) => return Ok(found),
            Err(SourceFailure::No { refusal, .. }) => return Err(refusal),
            // A file that only a source can have.
            Err(SourceFailure::Silent(file)) => {
                silent.push(format!("no {file} in the cache that fits"));
            }
        }
        let places = self.places();
        for (at, place) in places.iter().enumerate() {
            let deadline = share(Instant::now(), self.look.deadline, places.len() - at);
            let done = match open(place, deadline).await {
                Ok(reader) => {
                    let found = self
                        .search_from(&self.at(&reader, deadline), trusted, about, updates)
                        .await;
                    found.map_err(|failure| failure.seen_at(&reader.url()))
                }
                Err(failure) => Err(failure),
            };
            match done {
                Ok(found) => return Ok(found),
                Err(SourceFailure::Silent(why)) => silent.push(why),
                Err(SourceFailure::No { refusal, .. }) => keep_worst(&mut refused, refusal),
            }
        }
        Err(refused.unwrap_or_else(|| self.with_import_hint(unreachable_role(&silent.join("; ")))))
    }

    async fn search_from(
        &self,
        source: &TufSource<'_>,
        trusted: &Trusted,
        (gun, question): (&Repository, &Question),
        updates: &mut VerifiedUpdates,
    ) -> Result<Found, SourceFailure> {
        let search = Search::start(trusted, gun, question, self.look.now);
        updates.drive(search, source).await
    }

    /// The answer of what was verified earlier, as far as nothing newer was verified.
    pub(super) async fn search_earlier(
        &self,
        earlier: &EarlierUpdate,
        newest: Option<&Trusted>,
        about: (&Repository, &Question),
        updates: &VerifiedUpdates,
    ) -> Result<Verified<Collection>, Refusal> {
        let mut seen = self
            .repositories
            .store
            .history(&self.origin.subject)
            .map_err(|error| error.refusal())?;
        seen.extend(updates.floors().cloned());
        let mut search = Search::earlier(&earlier.trusted, newest, &seen, about, self.look.now)?;
        match drive(&mut search, &self.in_cache()).await {
            Ok(found) => Ok(found.collection),
            Err(SourceFailure::No { refusal, .. }) => Err(refusal),
            Err(SourceFailure::Silent(file)) => Err(not_in_cache(&file, "behind")),
        }
    }
}

fn unreachable_role(why: &str) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no answer about a delegated role: {why}"),
        "the role's file from one of the root's places, or in the cache",
        CHECK_PLACES,
    )
}

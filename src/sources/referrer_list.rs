//! A registry's list of referrers, page by page (OCI distribution-spec, "Listing Referrers").

use std::time::Instant;

use super::SourceError;
use super::next_page::{NextPage, next_page};
use super::registry::Endpoint;
use super::search_time::turn;
use super::signature_answer::{ListedManifests, listed};
use super::signature_list::SignatureKind;
use super::signature_requests::SignatureRequests;
use super::signature_steps::INDEX;
use super::without_referrers::WithoutReferrers;
use rootpin_trust::image::{Digest, Document};

/// Pages of one list.
const MOST_PAGES: usize = 4;

/// What was read of a list.
pub(super) struct ReferrerList {
    pub(super) listed: ListedManifests,
    /// Whether it has more pages than were read.
    pub(super) goes_on: bool,
}

/// Reads the list of an image's referrers; `None`: the registry has no such lists.
///
/// # Errors
/// The first page was not read. What was read before a later one counts all the same.
pub(super) async fn referrers(
    (endpoint, requests): (&Endpoint, &SignatureRequests<'_>),
    (image, wanted): (Digest, SignatureKind),
    known: &WithoutReferrers,
    deadline: Instant,
) -> Result<Option<ReferrerList>, SourceError> {
    let (api, repository) = (endpoint.api(), requests.repository);
    let mut url = endpoint.url(repository, &format!("referrers/{image}"))?;
    let (mut all, mut goes_on) = (ListedManifests::default(), true);
    for page in 0..MOST_PAGES {
        let reply = requests.ask(
            endpoint,
            url.clone(),
            INDEX,
            Document::LIMITS.bytes,
            // A page leaves time for what the pages before it list.
            turn(Instant::now(), deadline, page > 0),
        );
        let read = match reply.await {
            Ok(reply) if page == 0 && !known.is_list(api, repository, &reply)? => return Ok(None),
            Ok(reply) if reply.status.as_u16() == 200 => {
                let next = next_page(&reply.headers, &reply.url);
                listed(&reply, wanted).map(|listed| (listed, next))
            }
            Ok(reply) => Err(reply.error()),
            Err(error) => Err(error),
        };
        let (listed, next) = match read {
            Ok(read) => read,
            Err(error) if page == 0 => return Err(error),
            Err(error) => {
                all.unread = Some(error);
                break;
            }
        };
        if page == 0 {
            known.gave_list(api, repository);
        }
        all.manifests.extend(listed.manifests);
        all.unread = all.unread.or(listed.unread);
        match next {
            NextPage::At(next) => url = next,
            NextPage::None => {
                goes_on = false;
                break;
            }
            NextPage::Elsewhere => break,
        }
    }
    Ok(Some(ReferrerList {
        listed: all,
        goes_on,
    }))
}

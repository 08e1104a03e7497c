//! A registry's own list of what refers to an image (OCI distribution-spec, "Listing Referrers"), and
//! how a registry says that it has none.

use std::time::Instant;

use super::SignatureSearch;
use crate::sources::SourceError;
use crate::sources::http::Reply;
use crate::sources::next_page::{NextPage, next_page};
use crate::sources::registry::Endpoint;
use crate::sources::search_time::turn;
use crate::sources::signature_list::{is_json, is_of_repository, listed, wrong};
use crate::sources::signature_steps::INDEX;
use rootpin_trust::image::Document;

/// Pages of one list of referrers.
const MOST_PAGES: usize = 4;

impl SignatureSearch<'_> {
    /// Reads the list of referrers, page by page, if the registry has one.
    pub(super) async fn referrers(
        &mut self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<(), SourceError> {
        let mut url = endpoint.url(
            self.requests.repository,
            &format!("referrers/{}", self.digest),
        )?;
        let (mut all, mut goes_on) = (Vec::new(), true);
        for page in 0..MOST_PAGES {
            let reply = self.requests.ask(
                endpoint,
                url.clone(),
                INDEX,
                Document::LIMITS.bytes,
                // A page leaves time for what the pages before it list.
                turn(Instant::now(), deadline, page > 0),
            );
            let reply = match reply.await {
                Ok(reply) => reply,
                Err(error) if page == 0 => return Err(error),
                // What was read of it before counts all the same.
                Err(error) => {
                    self.unread(error);
                    break;
                }
            };
            let status = reply.status.as_u16();
            if page == 0 && !self.is_list(endpoint, &reply)? {
                return Ok(());
            }
            let listed = match status {
                200 => listed(&reply, self.wanted),
                _ => Err(reply.error()),
            };
            match listed {
                Ok(listed) => {
                    self.answered = true;
                    all.extend(listed);
                }
                Err(error) if page == 0 => return Err(error),
                Err(error) => {
                    self.unread(error);
                    break;
                }
            }
            match next_page(&reply.headers, &reply.url) {
                NextPage::At(next) => url = next,
                NextPage::None => {
                    goes_on = false;
                    break;
                }
                NextPage::Elsewhere => break,
            }
        }
        self.queue(all, goes_on);
        Ok(())
    }

    /// Whether an answer is a list of referrers, and not the word that there is none. One that answers
    /// everything with a page of its own has none either, which is not remembered: a proxy may answer
    /// so for a moment.
    ///
    /// # Errors
    /// It is neither: that it is denied, or gone, says nothing of what is there.
    fn is_list(&self, endpoint: &Endpoint, reply: &Reply) -> Result<bool, SourceError> {
        let (api, repository) = (endpoint.api(), self.requests.repository);
        match reply.status.as_u16() {
            200 if is_json(reply) => {
                self.known.has_list(api, repository);
                Ok(true)
            }
            200 => Ok(false),
            // One that gave lists a while ago has none for this image, or an odd moment.
            404 if is_of_repository(reply) || self.known.had_list(api, repository) => Ok(false),
            400 | 404 | 405 | 501 if !self.known.had_list(api, repository) => {
                self.known.add(api, repository);
                Ok(false)
            }
            status @ (400 | 405) => {
                let cause = format!("answered {status}, and gave lists of referrers a while ago");
                Err(wrong(&reply.url, &cause))
            }
            // A list that is too long, or broken, is this image's alone: who may push beside it made
            // it.
            _ => Err(reply.error()),
        }
    }
}

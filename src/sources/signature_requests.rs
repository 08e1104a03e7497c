//! The requests of a search for an image's signatures: at one registry, for one repository.

use std::time::Instant;

use reqwest::{Method, Url};

use super::SourceError;
use super::http::{Ask, Reply};
use super::registry::{self, Endpoint, REDIRECTS};
use super::replies::RegistryReplies;
use super::signature_answer::wrong;
use super::signature_steps::Place;
use rootpin_trust::SIGNATURE_BYTES;
use rootpin_trust::image::{Digest, Repository};

/// Reads what is beside the images of a repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignatureRequests<'a> {
    pub(super) repository: &'a Repository,
    /// What is known already of this question's registries, where all signatures are looked for: then
    /// a registry is asked for all places at once.
    pub(super) replies: Option<&'a RegistryReplies>,
}

impl SignatureRequests<'_> {
    /// The document at a place; `None`: nothing is there.
    pub(super) async fn get(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        deadline: Instant,
    ) -> Result<Option<Reply>, SourceError> {
        let reply = self.ask_place(endpoint, place, deadline).await?;
        Ok((!registry::missing(&reply)?).then_some(reply))
    }

    pub(super) async fn manifest(
        &self,
        endpoint: &Endpoint,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let place = Place::of_manifest(digest);
        let reply = self.ask_place(endpoint, &place, deadline).await?;
        // What a list names is there, or can't be read.
        read_whole(&reply, digest)?;
        Ok(reply)
    }

    pub(super) async fn blob(
        &self,
        endpoint: &Endpoint,
        digest: Digest,
        deadline: Instant,
    ) -> Result<Vec<u8>, SourceError> {
        let url = endpoint.url(self.repository, &format!("blobs/{digest}"))?;
        let asking = self.ask(endpoint, url, "*/*", SIGNATURE_BYTES, deadline);
        let reply = asking.await?;
        read_whole(&reply, digest)?;
        Ok(reply.body)
    }

    async fn ask_place(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        let url = endpoint.url(self.repository, &place.rest)?;
        let asking = self.ask(endpoint, url, place.accept, place.cap, deadline);
        asking.await
    }

    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Reply, SourceError> {
        if let Some(known) = self.replies.and_then(|replies| replies.get(&url)) {
            return known;
        }
        let scope = endpoint.scope(self.repository);
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            accept,
            cap,
            scope: &scope,
            redirects: REDIRECTS,
            send: None,
        };
        let reply = endpoint.ask(&ask, deadline.into()).await;
        if let Some(replies) = self.replies {
            replies.add(url, &reply);
        }
        reply
    }
}

/// Checks that a reply has the bytes of a digest.
fn read_whole(reply: &Reply, digest: Digest) -> Result<(), SourceError> {
    if reply.status.as_u16() != 200 {
        return Err(reply.error());
    }
    if Digest::of(&reply.body) != digest {
        let cause = "sent other bytes than those of the digest";
        return Err(wrong(&reply.url, cause));
    }
    Ok(())
}

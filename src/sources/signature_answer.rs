//! Whether a registry's answer is the document that it was asked for. A web page of a proxy, an error
//! with the status 200, half a document: each is no answer, and never says that there is no signature.

use reqwest::Url;
use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Descriptor, Digest, Document};

use super::http::Reply;
use super::server_words::{MAX_BODY, ServerWords};
use super::signature_list::{SignatureKind, elements};
use super::signature_manifest::{NotRead, SignatureManifest};
use super::{SourceError, shown};

/// What a list of referrers names.
#[derive(Debug, Default)]
pub(super) struct ListedManifests {
    /// Each manifest with its place in the order of looking.
    pub(super) manifests: Vec<(u8, Digest)>,
    /// Why an entry of it can't be looked at.
    pub(super) unread: Option<SourceError>,
}

/// The manifests that a list names.
///
/// # Errors
/// It is no list.
pub(super) fn listed(reply: &Reply, wanted: SignatureKind) -> Result<ListedManifests, SourceError> {
    let no_list = || another(reply, "no list of referrers");
    let text = rewrite_doubles(&reply.body, Document::LIMITS).map_err(|_| no_list())?;
    let entries = elements(Text::of(&text), "manifests").ok_or_else(no_list)?;
    let mut listed = ListedManifests::default();
    for entry in entries {
        match Descriptor::read(entry) {
            Ok(read) => listed.manifests.push((wanted.order(entry), read.digest)),
            Err(error) => {
                let cause = format!("lists an entry that can't be read: {error}");
                listed.unread = Some(wrong(&reply.url, &cause));
            }
        }
    }
    Ok(listed)
}

/// A manifest of signatures, and why a layer of it can't be looked at. `subject`: the image that it must
/// refer to; `None`: it is that of a tag.
///
/// # Errors
/// It is no manifest.
pub(super) fn manifest(
    reply: &Reply,
    wanted: SignatureKind,
    subject: Option<Digest>,
) -> Result<(SignatureManifest, Option<SourceError>), SourceError> {
    let read = SignatureManifest::read(&reply.body, wanted, subject);
    let read = read.map_err(|NotRead| another(reply, "no manifest, or one that is too long"))?;
    let cause = "lists a signature without its size, or without a sha256 digest";
    let unread = read.has_unreadable.then(|| wrong(&reply.url, cause));
    Ok((read, unread))
}

/// Something else than was asked for, with the server's words, if it is an error or a page.
fn another(reply: &Reply, what: &str) -> SourceError {
    let body = reply.body.get(..MAX_BODY).unwrap_or(&reply.body);
    let words = ServerWords::of(&reply.headers, body);
    wrong(&reply.url, &format!("answered with {what}{words}"))
}

pub(super) fn wrong(url: &Url, cause: &str) -> SourceError {
    SourceError::Other {
        url: shown(url),
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::{CONTENT_TYPE, HeaderMap};
    use serde_json::{Value, json};

    use super::*;

    fn reply(kind: &str, body: &[u8]) -> Reply {
        Reply {
            url: Url::parse("https://r.example/v2/app/referrers/x").unwrap(),
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]),
            body: body.to_vec(),
            said: ServerWords::default(),
        }
    }

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn list(manifests: &Value) -> Reply {
        let list = json!({ "schemaVersion": 2, "manifests": manifests });
        reply(INDEX, list.to_string().as_bytes())
    }

    #[test]
    fn what_is_no_list_is_no_answer_and_an_empty_list_is_one_whatever_its_type_says() {
        let of = |reply: &Reply| listed(reply, SignatureKind::Cosign);
        for (kind, body) in [
            ("text/html", "<html><title>Sign in</title></html>"),
            (INDEX, "<!doctype html>"),
            (INDEX, ""),
            (INDEX, "[]"),
            (INDEX, "null"),
            (INDEX, "\"manifests\""),
            (INDEX, "{}"),
            (INDEX, "{\"manifests\":{}}"),
            (INDEX, "{\"Manifests\":[]}"),
            (INDEX, "{\"manifests\":["),
            (INDEX, "{\"schemaVersion\":2,\"layers\":[]}"),
            ("application/json", "{\"errors\":[{\"code\":\"DENIED\"}]}"),
        ] {
            let error = of(&reply(kind, body.as_bytes())).unwrap_err();
            assert!(error.to_string().contains("no list of referrers"), "{body}");
            assert!(!error.is_silent());
        }
        let page = of(&reply("text/html", b"<html><title>Sign in</title>"));
        assert!(page.unwrap_err().to_string().contains("Sign in"));
        let denied = of(&reply(INDEX, b"{\"errors\":[{\"code\":\"DENIED\"}]}"));
        assert!(denied.unwrap_err().to_string().contains("DENIED"));
        for empty in [json!([]), json!(null)] {
            let listed = of(&list(&empty)).unwrap();
            assert!(listed.manifests.is_empty() && listed.unread.is_none());
        }
        let other_type = Reply {
            headers: HeaderMap::new(),
            ..list(&json!([]))
        };
        assert!(of(&other_type).is_ok());
    }

    #[test]
    fn an_entry_that_can_not_be_read_hides_no_other_one_and_is_said() {
        let digest = Digest::of(b"a").to_string();
        let good = json!({ "mediaType": "a", "digest": digest, "size": 1 });
        for odd in [
            json!({}),
            json!(1),
            json!({ "mediaType": "a", "size": 1, "digest": format!("sha512:{}", "0".repeat(128)) }),
            json!({ "mediaType": "a", "digest": digest }),
        ] {
            let listed = listed(&list(&json!([odd, good])), SignatureKind::Cosign).unwrap();
            assert_eq!(listed.manifests.len(), 1, "{odd}");
            assert!(listed.unread.is_some(), "{odd}");
        }
    }

    #[test]
    fn what_is_no_manifest_at_the_tag_of_signatures_is_no_answer() {
        let of = |body: &str| {
            let reply = reply("application/json", body.as_bytes());
            manifest(&reply, SignatureKind::Cosign, None).map(|(read, _)| read.layers.len())
        };
        for body in [
            "<html>",
            "",
            "[]",
            "{}",
            "{\"layers\":{}}",
            "{\"layers\":[",
            "{\"schemaVersion\":2,\"manifests\":[]}",
            "{\"errors\":[]}",
        ] {
            let error = of(body).unwrap_err().to_string();
            assert!(error.contains("no manifest"), "{body}: {error}");
        }
        for empty in ["{\"layers\":[]}", "{\"layers\":null}"] {
            assert_eq!(of(empty).unwrap(), 0);
        }
    }
}

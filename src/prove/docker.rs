//! dockerd's ways in, by its own API.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;
use serde_json::Value;

use super::archive;
use super::{Offer, is_ours};
use crate::hooks::Docker;

/// What dockerd can be asked to do with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `docker pull`
    Pull,
    /// `docker load`
    Load,
    /// `docker import`: an archive of files, which is no image and signed by nobody.
    Import,
    /// `docker build`, of one line `FROM`, by dockerd's own builder.
    Build,
}

/// Brings an image in, and says in dockerd's words why it did not come.
pub(super) async fn bring(docker: &Docker, way: Way, offer: &Offer) -> Result<(), String> {
    let (repository, tag) = (&offer.name.repository, offer.canary.tag());
    let (path, body) = match way {
        Way::Pull => (format!("/images/create?fromImage={repository}&tag={tag}"), Vec::new()),
        Way::Load => ("/images/load?quiet=1".to_owned(), archive::archive(offer)),
        Way::Import => (format!("/images/create?fromSrc=-&repo={repository}&tag={tag}"), offer.image.layer.bytes.clone()),
        Way::Build => {
            let lines = format!("FROM {repository}:{tag}\n");
            let query = format!("/build?version=1&pull=1&rm=1&forcerm=1&networkmode=none&t={repository}:{tag}-built");
            (query, archive::tar(&[("Dockerfile".to_owned(), lines.into_bytes())]))
        }
    };
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    }
    let answer = docker.call(Method::POST, &path, headers, body.into()).await?;
    let text = String::from_utf8_lossy(&answer.body);
    match failure(&text) {
        Some(why) => Err(why),
        None if answer.status == StatusCode::OK => Ok(()),
        None => Err(format!("answered {}: {}", answer.status, text.trim())),
    }
}

/// An error stands in the answer's body, which begins before anything was done (Docker Engine API, `errorDetail`); of a load that was
/// refused while it was unpacked, it stands among the words for people.
fn failure(body: &str) -> Option<String> {
    let messages = serde_json::Deserializer::from_str(body).into_iter::<Value>().map_while(Result::ok);
    let said = messages.filter_map(|message| {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let told = |text: &String| text.contains("rootpin: ");
        text("error").or_else(|| text("message")).or_else(|| text("stream").filter(told)).or_else(|| text("status").filter(told))
    });
    said.last().map(|text| text.trim().to_owned())
}

/// Takes away every image with a proof's name. What is left, one line each.
pub(super) async fn remove(name: &str, docker: &Docker) -> Vec<String> {
    let ours = match images(docker).await {
        Ok(ours) => ours,
        Err(why) => return vec![format!("{name}: whatever is left in it, for it says: {why}")],
    };
    for image in &ours {
        let _ = docker.call(Method::DELETE, &format!("/images/{image}?force=1"), HeaderMap::new(), Bytes::new()).await;
    }
    let left = if ours.is_empty() { Ok(ours) } else { images(docker).await };
    left.unwrap_or_else(|why| vec![why]).into_iter().map(|image| format!("{name}: image {image}")).collect()
}

/// A proof's images, by their tags or, where they have none, by their digests.
async fn images(docker: &Docker) -> Result<Vec<String>, String> {
    let all: Value = serde_json::from_slice(&docker.get("/images/json").await?).map_err(|error| error.to_string())?;
    let names = |image: &Value, member: &str| -> Vec<String> {
        let listed = image.get(member).and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(Value::as_str).filter(|name| is_ours(name)).map(str::to_owned).collect()
    };
    let named =
        |image: &Value| Some(names(image, "RepoTags")).filter(|tags| !tags.is_empty()).unwrap_or_else(|| names(image, "RepoDigests"));
    Ok(all.as_array().into_iter().flatten().flat_map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_wherever_dockerd_puts_it() {
        for (body, wanted) in [
            ("{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n", Some("no")),
            (
                "{\"message\":\"authorization denied by plugin rootpin: rootpin: refused\"}",
                Some("authorization denied by plugin rootpin: rootpin: refused"),
            ),
            (
                "{\"stream\":\"Error unpacking image x: rootpin: refused\\n\"}\n{\"stream\":\"Loaded image: x\\n\"}",
                Some("Error unpacking image x: rootpin: refused"),
            ),
            ("{\"stream\":\"Loaded image: x\\n\"}", None),
            ("", None),
        ] {
            assert_eq!(failure(body).as_deref(), wanted, "{body}");
        }
    }
}

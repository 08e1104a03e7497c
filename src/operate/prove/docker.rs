//! dockerd's ways in, by its own API.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;
use serde_json::Value;

use super::archive;
use super::{Offer, is_ours};
use crate::engines::DockerdClient;

/// What dockerd can be asked to do with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DockerRequest {
    /// `docker pull`
    Pull,
    /// `docker load`
    Load,
    /// `docker import`: an archive of files, which is no image and signed by nobody.
    Import,
    /// `docker build` by dockerd's own builder, of one line: `FROM`.
    Build,
    /// The same by BuildKit, which pulls by itself.
    Buildkit,
}

/// By which label an image that was built is known; it has no name, or its name would have to be
/// signed.
const LABEL: &str = "rootpin-prove";

/// Brings an image in, and says in dockerd's words why it did not come.
pub(super) async fn bring(
    docker: &DockerdClient,
    way: DockerRequest,
    offer: &Offer,
) -> Result<(), String> {
    let (repository, tag) = (&offer.name.repository, offer.canary.tag());
    let (path, body) = match way {
        DockerRequest::Pull => (
            format!("/images/create?fromImage={repository}&tag={tag}"),
            Vec::new(),
        ),
        DockerRequest::Load => ("/images/load?quiet=1".to_owned(), archive::archive(offer)),
        DockerRequest::Import => (
            format!("/images/create?fromSrc=-&repo={repository}&tag={tag}"),
            offer.image.layer.bytes.clone(),
        ),
        // Both read the one line from where the image is served, so that what they keep of it tells
        // that it is a proof's.
        DockerRequest::Build | DockerRequest::Buildkit => {
            let version = if way == DockerRequest::Build { 1 } else { 2 };
            let remote = format!("http://{}/{}/{tag}", repository.host(), repository.path());
            let labels = format!("%7B%22{LABEL}%22:%22{repository}%22%7D");
            (
                format!(
                    "/build?version={version}&pull=1&rm=1&forcerm=1&networkmode=none&labels={labels}&remote={remote}"
                ),
                Vec::new(),
            )
        }
    };
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-tar"),
        );
    }
    let answer = docker
        .call(Method::POST, &path, headers, body.into())
        .await?;
    let text = String::from_utf8_lossy(&answer.body);
    match failure(&text) {
        Some(why) => Err(why),
        None if answer.status == StatusCode::OK => Ok(()),
        None => Err(format!("answered {}: {}", answer.status, text.trim())),
    }
}

/// What no proof shows of a dockerd, by its `GET /info`: its images have names of this host, and it
/// is told to bring them.
pub(super) fn unproven(name: &str, info: &[u8]) -> Vec<String> {
    let info: Value = serde_json::from_slice(info).unwrap_or_default();
    let mirrors = info
        .pointer("/RegistryConfig/Mirrors")
        .and_then(Value::as_array)
        .is_some_and(|mirrors| !mirrors.is_empty());
    let swarm = info
        .pointer("/Swarm/LocalNodeState")
        .and_then(Value::as_str)
        .is_some_and(|state| !["", "inactive"].contains(&state));
    let mirrors = mirrors
        .then(|| format!("{name}: Docker Hub's registry-mirrors, of which rootpin doctor tells"));
    let swarm = swarm.then(|| {
        format!("{name}: what a swarm's managers have it run, of which no plugin is told")
    });
    mirrors.into_iter().chain(swarm).collect()
}

/// An error stands in the answer's body, which begins before anything was done (Docker Engine API,
/// `errorDetail`); of a load that was refused while it was unpacked, it stands among the words for
/// people.
fn failure(body: &str) -> Option<String> {
    let messages = serde_json::Deserializer::from_str(body)
        .into_iter::<Value>()
        .map_while(Result::ok);
    let said = messages.filter_map(|message| {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let told = |text: &String| text.contains("rootpin: ");
        text("error")
            .or_else(|| text("message"))
            .or_else(|| text("stream").filter(told))
            .or_else(|| text("status").filter(told))
    });
    said.last().map(|text| text.trim().to_owned())
}

/// Takes away every image of a proof, and what builders keep of one. What is left, one line each.
pub(super) async fn remove(name: &str, docker: &DockerdClient) -> Vec<String> {
    let tried = async {
        for image in images(docker).await? {
            docker
                .call(
                    Method::DELETE,
                    &format!("/images/{image}?force=1"),
                    HeaderMap::new(),
                    Bytes::new(),
                )
                .await?;
        }
        for cached in build_cache(docker).await? {
            let path =
                format!("/build/prune?all=1&filters=%7B%22id%22:%7B%22{cached}%22:true%7D%7D");
            docker
                .call(Method::POST, &path, HeaderMap::new(), Bytes::new())
                .await?;
        }
        let images = images(docker)
            .await?
            .into_iter()
            .map(|image| format!("image {image}"));
        let cached = build_cache(docker)
            .await?
            .into_iter()
            .map(|cached| format!("build cache {cached}"));
        Ok::<Vec<String>, String>(images.chain(cached).collect())
    };
    let left = tried
        .await
        .unwrap_or_else(|why| vec![format!("whatever is left in it, for it says: {why}")]);
    left.into_iter()
        .map(|what| format!("{name}: {what}"))
        .collect()
}

/// A proof's images: by their tags or, where they have none, their digests; and those that were
/// built, by their IDs.
async fn images(docker: &DockerdClient) -> Result<Vec<String>, String> {
    let all = list(docker, "/images/json?all=1", None).await?;
    let names = |image: &Value, member: &str| -> Vec<String> {
        let listed = image
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        listed
            .filter_map(Value::as_str)
            .filter(|name| is_ours(name))
            .map(str::to_owned)
            .collect()
    };
    let built = |image: &Value| {
        let label = image.get("Labels")?.get(LABEL)?.as_str()?;
        let id = image.get("Id")?.as_str()?.to_owned();
        is_ours(label).then_some(id)
    };
    let known_by = |image: &Value| {
        let tags = Some(names(image, "RepoTags")).filter(|tags| !tags.is_empty());
        let digests = || Some(names(image, "RepoDigests")).filter(|digests| !digests.is_empty());
        tags.or_else(digests)
            .unwrap_or_else(|| built(image).into_iter().collect())
    };
    Ok(all.iter().flat_map(known_by).collect())
}

/// What `BuildKit` keeps of a proof's images, by its IDs.
async fn build_cache(docker: &DockerdClient) -> Result<Vec<String>, String> {
    let all = list(docker, "/system/df?type=build-cache", Some("BuildCache")).await?;
    let ours = |record: &Value| {
        let words = record.get("Description")?.as_str()?;
        let id = record.get("ID")?.as_str()?.to_owned();
        let named = words
            .split(|c: char| c.is_whitespace() || c == '"')
            .any(|word| is_ours(word.trim_start_matches("http://")));
        (named && id.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(id)
    };
    Ok(all.iter().filter_map(ours).collect())
}

async fn list(
    docker: &DockerdClient,
    path: &str,
    member: Option<&str>,
) -> Result<Vec<Value>, String> {
    let answer: Value = serde_json::from_slice(&docker.get(path).await?)
        .map_err(|error| format!("GET {path}: {error}"))?;
    let listed = member.map_or(Some(&answer), |member| answer.get(member));
    Ok(listed
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_wherever_dockerd_puts_it() {
        for (body, wanted) in [
            (
                "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n",
                Some("no"),
            ),
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

    #[test]
    fn what_a_dockerd_does_by_itself_is_told_to_be_unproven() {
        let of = |info: &str| unproven("main", info.as_bytes()).len();
        assert_eq!(
            of(
                r#"{"RegistryConfig": {"Mirrors": ["https://m.example/"]}, "Swarm": {"LocalNodeState": "active"}}"#
            ),
            2
        );
        assert_eq!(
            of(r#"{"RegistryConfig": {"Mirrors": []}, "Swarm": {"LocalNodeState": "inactive"}}"#),
            0
        );
        assert_eq!(of("no JSON"), 0);
    }
}

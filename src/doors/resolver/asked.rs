//! Reads a request strictly (OCI distribution-spec, "Endpoints": the pulling half): a name that two
//! readers could take for two names is none.

use http::{Method, Request, StatusCode};

use super::answer::No;
use crate::problem::Problem;
use rootpin_trust::image::{Digest, ImageRef, Repository, Tag};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RegistryRequest {
    /// Whether this is a registry.
    Version,
    /// Which manifest a tag is.
    Tag(ImageRef),
    /// What refers to an image: signatures and the like, under a tag that is made of the image's
    /// digest.
    Referrers,
    /// Bytes by their digest.
    Bytes {
        repository: Repository,
        manifest: bool,
        digest: Digest,
        /// Whether they are to come from here: below `/resolve` the engine asks its registry
        /// itself.
        passes: bool,
    },
}

/// Below it, only tags are answered.
const RESOLVE_ONLY: &str = "/resolve";
/// A repository's path, a digest, and what is around them.
const MAX_PATH: usize = 512;
/// A host with its port.
const MAX_HOST: usize = 255;

/// Reads a request.
pub(super) fn read<B>(request: &Request<B>) -> Result<RegistryRequest, No> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let what = format!("{} is not answered here", request.method());
        return Err(No::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            Problem::hinted(what, "push to the registry itself"),
        ));
    }
    // A loop of our own making: what asks here for evidence would be asked for it again.
    let agent = request
        .headers()
        .get(http::header::USER_AGENT)
        .map(http::HeaderValue::as_bytes);
    if agent.is_some_and(|agent| agent.starts_with(b"rootpin/")) {
        let hint = "a hosts-dir is to name the registry as server, or rootpin.toml this resolver";
        let problem = Problem::hinted("rootpin asks itself", hint);
        return Err(No::new(StatusCode::LOOP_DETECTED, "UNSUPPORTED", problem));
    }
    let path = request.uri().path();
    let (path, passes) = path
        .strip_prefix(RESOLVE_ONLY)
        .map_or((path, true), |rest| (rest, false));
    if path.len() > MAX_PATH {
        return Err(No::new(
            StatusCode::BAD_REQUEST,
            "NAME_INVALID",
            "the path is longer than any name",
        ));
    }
    let unknown = || {
        No::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "only manifests and blobs are answered here",
        )
    };
    let rest = path.strip_prefix("/v2").ok_or_else(unknown)?;
    if rest.is_empty() || rest == "/" {
        return Ok(RegistryRequest::Version);
    }
    let (rest, reference) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let (name, kind) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let manifest = match kind {
        "manifests" => true,
        "blobs" => false,
        _ => return Err(unknown()),
    };
    let name = name.strip_prefix('/').ok_or_else(unknown)?;
    let repository = repository(&registry(request.uri().query())?, name)?;
    if let Ok(digest) = reference.parse() {
        return Ok(RegistryRequest::Bytes {
            repository,
            manifest,
            digest,
            passes,
        });
    }
    if manifest && is_of_digest(reference) {
        return Ok(RegistryRequest::Referrers);
    }
    let tag: Tag = reference.parse().map_err(|error| {
        No::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            format!("{error}"),
        )
    })?;
    if manifest {
        Ok(RegistryRequest::Tag(ImageRef {
            repository,
            tag: Some(tag),
            digest: None,
        }))
    } else {
        Err(unknown())
    }
}

/// Whether a tag stands for what refers to an image: the image's digest with `-` for the colon
/// (distribution-spec, "Referrers Tag Schema"), and behind it what cosign adds. No image has such a
/// name; engines look it up on their own account after a pull.
fn is_of_digest(tag: &str) -> bool {
    let tag = [".sig", ".att", ".sbom"]
        .iter()
        .find_map(|kind| tag.strip_suffix(kind))
        .unwrap_or(tag);
    let Some((algorithm, hex)) = tag.split_once('-') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `ns`: the registry that is meant. Engines encode the colon before a port.
fn registry(query: Option<&str>) -> Result<String, No> {
    let missing = || {
        let hint = "it comes as ?ns=HOST, which containerd and dockerd from 28 on send to a [host] of hosts.toml";
        let problem = Problem::hinted("which registry is meant is not said", hint);
        No::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", problem)
    };
    let host = query
        .and_then(|query| query.strip_prefix("ns="))
        .filter(|host| !host.is_empty());
    let host = host.ok_or_else(missing)?;
    if host.len() > MAX_HOST {
        return Err(No::new(
            StatusCode::BAD_REQUEST,
            "NAME_INVALID",
            "ns is longer than any registry's name",
        ));
    }
    Ok(host.replacen("%3A", ":", 1).replacen("%3a", ":", 1))
}

/// The repository, of which the text must be the full form already.
fn repository(host: &str, path: &str) -> Result<Repository, No> {
    let invalid = |error: rootpin_trust::image::ReferenceError| {
        No::new(StatusCode::BAD_REQUEST, "NAME_INVALID", error.to_string())
    };
    let repository = Repository::from_full(&format!("{host}/{path}")).map_err(invalid)?;
    // Engines say a host as the client typed it.
    if repository.host().eq_ignore_ascii_case(host) {
        return Ok(repository);
    }
    Err(No::new(
        StatusCode::BAD_REQUEST,
        "NAME_INVALID",
        format!("{host:?} is not a registry's name in full form"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str) -> Result<RegistryRequest, No> {
        read(&Request::get(uri).body(()).unwrap())
    }

    fn tag(name: &str) -> RegistryRequest {
        RegistryRequest::Tag(name.parse().unwrap())
    }

    #[test]
    fn a_tag_is_asked_for_as_engines_ask() {
        for (uri, name) in [
            (
                "/v2/library/alpine/manifests/3.20?ns=docker.io",
                "docker.io/library/alpine:3.20",
            ),
            (
                "/resolve/v2/team/app/manifests/v1?ns=r.example",
                "r.example/team/app:v1",
            ),
            (
                "/v2/team/app/manifests/v1?ns=127.0.0.1%3A5000",
                "127.0.0.1:5000/team/app:v1",
            ),
            (
                "/v2/manifests/blobs/manifests/v1?ns=r.example",
                "r.example/manifests/blobs:v1",
            ),
        ] {
            assert_eq!(asked(uri).unwrap(), tag(name), "{uri}");
        }
        assert_eq!(asked("/v2/").unwrap(), RegistryRequest::Version);
    }

    #[test]
    fn bytes_come_from_here_unless_only_tags_are_wanted() {
        let digest = Digest::of(b"x");
        for (prefix, kind, want_manifest, want_passes) in [
            ("", "blobs", false, true),
            ("", "manifests", true, true),
            ("/resolve", "blobs", false, false),
        ] {
            let found = asked(&format!(
                "{prefix}/v2/team/app/{kind}/{digest}?ns=r.example"
            ))
            .unwrap();
            let RegistryRequest::Bytes {
                repository,
                manifest,
                passes,
                ..
            } = found
            else {
                panic!("{found:?}")
            };
            assert_eq!(
                (repository.as_str(), manifest, passes),
                ("r.example/team/app", want_manifest, want_passes)
            );
        }
    }

    #[test]
    fn a_tag_made_of_a_digest_is_no_question_about_an_image() {
        let (hex, long) = ("a1".repeat(32), "b2".repeat(64));
        for of_digest in ["", ".sig", ".att", ".sbom"]
            .map(|kind| format!("sha256-{hex}{kind}"))
            .into_iter()
            .chain([format!("sha512-{long}")])
        {
            assert_eq!(
                asked(&format!(
                    "/resolve/v2/team/app/manifests/{of_digest}?ns=r.example"
                ))
                .unwrap(),
                RegistryRequest::Referrers,
                "{of_digest}"
            );
        }
        for image in [
            format!("sha256-{hex}.x"),
            format!("sha256-{hex}0"),
            format!("sha1-{hex}"),
            format!("SHA256-{hex}"),
            "sha256-".to_owned(),
        ] {
            assert_eq!(
                asked(&format!("/v2/team/app/manifests/{image}?ns=r.example")).unwrap(),
                tag(&format!("r.example/team/app:{image}"))
            );
        }
    }

    #[test]
    fn a_name_that_is_odd_is_none() {
        let long = "a/".repeat(300);
        for uri in [
            "/v2/team/app/manifests/v1",
            "/v2/team/app/manifests/v1?ns=",
            "/v2/team/app/manifests/v1?x=y&ns=r.example",
            "/v2/team/app/manifests/v1?ns=r.example&ns=s.example",
            "/v2/team/app/manifests/v1?ns=r.example%2F..",
            "/v2/team/app/manifests/v1?ns=r.example/x",
            "/v2/team/app/manifests/v1?ns=localhost",
            "/v2/team/app/manifests/v1?ns=index.docker.io",
            "/v2/alpine/manifests/v1?ns=docker.io",
            "/v2/team%2Fapp/manifests/v1?ns=r.example",
            "/v2/Team/app/manifests/v1?ns=r.example",
            "/v2/team/../app/manifests/v1?ns=r.example",
            "/v2/team//app/manifests/v1?ns=r.example",
            "/v2//manifests/v1?ns=r.example",
            "/v2/team/app/manifests/v%31?ns=r.example",
            "/v2/team/app/manifests/sha512:00?ns=r.example",
            "/v2/team/app/manifests/?ns=r.example",
            "/v2/team/app/blobs/v1?ns=r.example",
            "/v2/team/app/blobs/uploads/?ns=r.example",
            "/v2/team/app/tags/list?ns=r.example",
            "/v2/team/app/referrers/sha256:00?ns=r.example",
            "/v1/team/app/manifests/v1?ns=r.example",
            "/resolve/resolve/v2/team/app/manifests/v1?ns=r.example",
            "/metrics",
            &format!("/v2/{long}app/manifests/v1?ns=r.example"),
            &format!("/v2/team/app/manifests/v1?ns={}.example", "a".repeat(300)),
        ] {
            // `localhost` without a port is a host that a name can have.
            let found = asked(uri);
            assert!(
                found.is_err() || uri.ends_with("ns=localhost"),
                "{uri}: {found:?}"
            );
        }
        let push = Request::put("/v2/team/app/manifests/v1?ns=r.example")
            .body(())
            .unwrap();
        assert!(read(&push).is_err());
    }

    #[test]
    fn a_registry_s_host_is_the_same_in_either_case() {
        let of = |host: &str| {
            let read = asked(&format!("/v2/team/app/manifests/v1?ns={host}"));
            format!("{:?}", read.unwrap())
        };
        assert_eq!(of("R.Example%3A5000"), of("r.example%3A5000"));
    }

    #[test]
    fn rootpin_itself_is_sent_away() {
        let request = Request::get("/v2/team/app/manifests/v1?ns=r.example")
            .header("user-agent", "rootpin/0.1.0")
            .body(())
            .unwrap();
        assert!(read(&request).is_err());
    }
}

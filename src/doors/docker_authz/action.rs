//! Reads a call as one typed action. It refuses a call that is written oddly or not known.
//!
//! The routes are those of moby's api/server/router from API 1.24 to 1.55. GET, HEAD, OPTIONS and
//! DELETE bring nothing in, however they are written; of the others each is listed, so that one
//! that a later dockerd adds is refused until somebody has looked at it.

use super::request::Request;
use super::target::{self, CallTarget};
use super::{create, odd};
use rootpin_trust::image::ImageRef;
use rootpin_trust::{Code, Refusal};

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApiAction {
    /// Something that brings in no bytes and runs none that were not judged.
    Pass,
    /// An image from its registry, by tag or digest.
    Pull(ImageRef),
    /// A container of an image, with others mounted in it.
    Create(create::CreateImages),
    /// A container that is there, by ID or name, is to run.
    Start(String),
    /// An image, as written, is to have one more name.
    Tag(String, ImageRef),
    /// Bytes of no registry, under these names as far as they are told: what brings them.
    Local(&'static str, Vec<ImageRef>),
    /// Something of Swarm's.
    Swarm,
    /// A plugin, which is an image that runs as root.
    Plugin,
}

/// Reads a call.
///
/// # Errors
/// It is written as no client writes it, or not known.
pub(super) fn read(request: &Request) -> Result<ApiAction, Refusal> {
    if matches!(
        request.method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "DELETE"
    ) {
        return Ok(ApiAction::Pass);
    }
    let target = target::read(&request.uri)?;
    request.is_no_form()?;
    let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
    match (request.method.as_str(), segments.as_slice()) {
        ("POST", ["images", "create"]) => created(request, &target),
        ("POST", ["containers", "create"]) => Ok(created_container(create::read(request.json()?)?)),
        ("POST", ["containers", name @ .., "start" | "restart"]) if !name.is_empty() => {
            started(request, &target, name)
        }
        ("POST", ["images", name @ .., "tag"]) if !name.is_empty() => {
            request.has_no_hidden_form()?;
            let new = named(target.one("repo")?, target.one("tag")?)?;
            Ok(ApiAction::Tag(
                name.join("/"),
                new.ok_or_else(|| unnamed("docker tag without a new name"))?,
            ))
        }
        ("POST", ["images", "load"]) => Ok(ApiAction::Local("docker load", Vec::new())),
        ("POST", ["commit"]) => {
            request.has_no_hidden_form()?;
            Ok(ApiAction::Local(
                "docker commit",
                named(target.one("repo")?, target.one("tag")?)?
                    .into_iter()
                    .collect(),
            ))
        }
        ("POST", ["build"]) => Ok(ApiAction::Local(
            "docker build",
            target
                .all("t")
                .filter_map(|name| name.parse().ok())
                .collect(),
        )),
        // What is built through these is BuildKit's own protocol, which no plugin sees.
        ("POST", ["session" | "grpc"]) => Ok(ApiAction::Local(
            "a session of BuildKit, as docker build opens it",
            Vec::new(),
        )),
        ("POST", ["swarm", "leave"]) => Ok(ApiAction::Pass),
        (
            "POST",
            [
                "swarm" | "services" | "nodes" | "secrets" | "configs",
                _,
                ..,
            ],
        ) => Ok(ApiAction::Swarm),
        ("POST", ["plugins", "pull" | "create"] | ["plugins", _, .., "upgrade" | "enable"]) => {
            Ok(ApiAction::Plugin)
        }
        _ if passes(&request.method, &segments) => Ok(ApiAction::Pass),
        _ => Err(unknown(request)),
    }
}

/// The calls that change something and yet bring in no bytes of an image. What they write into a
/// container (`archive`, `exec`) is its user's own, as a bind mount is.
fn passes(method: &str, segments: &[&str]) -> bool {
    let of_container = [
        "kill",
        "pause",
        "unpause",
        "stop",
        "wait",
        "resize",
        "attach",
        "exec",
        "rename",
        "update",
        "checkpoints",
    ];
    match (method, segments) {
        ("POST", ["containers", _, .., verb]) => of_container.contains(verb),
        (
            "POST",
            ["auth"]
            | ["moby.buildkit.v1.Control", "ListWorkers"]
            | ["build", "prune" | "cancel"]
            | ["exec", _, .., "start" | "resize"]
            | ["containers" | "images" | "networks" | "volumes", "prune"]
            | ["images", _, .., "push"]
            | ["networks" | "volumes", "create"]
            | ["networks", _, .., "connect" | "disconnect"]
            | ["plugins", _, .., "disable" | "push" | "set"],
        )
        | ("PUT", ["containers", _, .., "archive"] | ["volumes", _, ..]) => true,
        _ => false,
    }
}

/// `/images/create` pulls where `fromImage` is not empty, and imports where it is.
fn created(request: &Request, target: &CallTarget) -> Result<ApiAction, Refusal> {
    let (image, source) = (target.one("fromImage")?, target.one("fromSrc")?);
    let (tag, repo) = (target.one("tag")?, target.one("repo")?);
    if image.is_empty() {
        // Only `-` has a body: the file system itself, which dockerd never shows.
        if source != "-" {
            request.has_no_hidden_form()?;
        }
        return Ok(ApiAction::Local(
            "docker import",
            named(repo, tag)?.into_iter().collect(),
        ));
    }
    request.has_no_hidden_form()?;
    if !source.is_empty() {
        return Err(odd(
            "a pull and an import in one call".to_owned(),
            "fromImage or fromSrc",
            "use a Docker client; no known one sends both",
        ));
    }
    pulled(image, tag).map(ApiAction::Pull)
}

/// Clients write the tag, or in its place the digest, in `tag`, or all in `fromImage`. In both, the
/// one in `tag` counts to dockerd, and neither of them is pulled: every tag.
fn pulled(image: &str, tag: &str) -> Result<ImageRef, Refusal> {
    let plain = format!("{image}:latest").parse::<ImageRef>();
    let text = match (tag, plain) {
        ("", Ok(named)) => {
            let repository = named.repository;
            return Err(Refusal::new(
                Code::NoRule,
                format!("a pull of every tag of {repository}"),
                "a pull of one tag or one digest",
                format!("name it: docker pull {repository}:TAG"),
            ));
        }
        ("", Err(_)) => image.to_owned(),
        (digest, Ok(_)) if digest.contains(':') => format!("{image}@{digest}"),
        (tag, Ok(_)) => format!("{image}:{tag}"),
        (_, Err(_)) => {
            return Err(unnamed(&format!(
                "a pull of {image:.200?} with the tag {tag:.200?}"
            )));
        }
    };
    text.parse()
        .map_err(|error| unnamed(&format!("a pull: {error}")))
}

fn created_container(images: create::CreateImages) -> ApiAction {
    if images.image.is_none() && images.mounted.is_empty() {
        return ApiAction::Local("a container of no image", Vec::new());
    }
    ApiAction::Create(images)
}

fn started(request: &Request, target: &CallTarget, name: &[&str]) -> Result<ApiAction, Refusal> {
    request.has_no_hidden_form()?;
    if target.one("checkpoint")?.is_empty() {
        return Ok(ApiAction::Start(name.join("/")));
    }
    // A checkpoint is the memory of processes, from a directory that the caller may name.
    Ok(ApiAction::Local(
        "docker start from a checkpoint",
        Vec::new(),
    ))
}

/// The name of an image to be made, where the call gives one.
fn named(repo: &str, tag: &str) -> Result<Option<ImageRef>, Refusal> {
    if repo.is_empty() {
        return Ok(None);
    }
    let text = if tag.is_empty() {
        repo.to_owned()
    } else {
        format!("{repo}:{tag}")
    };
    text.parse()
        .map(Some)
        .map_err(|error| unnamed(&format!("a new name: {error}")))
}

fn unnamed(found: &str) -> Refusal {
    odd(
        found.to_owned(),
        "an image name with one tag or one sha256 digest",
        "write the name as NAME:TAG or NAME@sha256:DIGEST",
    )
}

fn unknown(request: &Request) -> Refusal {
    Refusal::new(
        Code::NoRule,
        format!("{}, which this rootpin does not know", request.shown()),
        "a call of the Docker Engine API up to 1.55",
        "if a newer Docker client sends it, a newer rootpin may know it; what is not known could bring in images",
    )
}

#[cfg(test)]
mod tests;

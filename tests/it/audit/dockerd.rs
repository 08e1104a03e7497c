//! A dockerd for tests: its list of images on a unix socket.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{findings, report};
use crate::world::{Image, World};

/// One that has no image.
pub(crate) fn empty(world: &World) -> PathBuf {
    listen(world, "docker-empty", 200, "[]".to_owned())
}

fn listen(world: &World, name: &str, status: u16, body: String) -> PathBuf {
    let socket = world.path(name);
    let _ = std::fs::remove_file(&socket);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let answer = if asked == "GET /images/json" {
            (status, body.clone())
        } else {
            (404, asked)
        };
        async move {
            http::Response::builder()
                .status(answer.0)
                .body(axum::body::Body::from(answer.1))
                .unwrap()
        }
    });
    let _inside = world.runtime.enter();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    socket
}

fn audited(world: &World, socket: &std::path::Path) -> (Value, i32) {
    let policy = (
        world.path("policy").display().to_string(),
        world.path("state").display().to_string(),
    );
    report(
        world,
        &[
            "--docker",
            &socket.display().to_string(),
            "--policy",
            &policy.0,
            "--state",
            &policy.1,
        ],
    )
}

#[test]
fn what_dockerd_has_is_judged_by_the_digest_that_it_was_pulled_as_and_what_was_built_there_by_none()
{
    let Some(world) = World::new("a-docker") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let daemon = world.start();
    assert_eq!(
        world
            .rootpin(&[
                "verify",
                &format!("r.test/team/app:v1@{}", image.index.digest)
            ])
            .code,
        0
    );
    assert_eq!(daemon.stop().0, 0);
    let Image { index, config, .. } = Image::named("other");
    let other = index.digest;
    let list = json!([
        {"Id": image.config.digest, "RepoTags": ["r.test/team/app:v1"], "RepoDigests": [format!("r.test/team/app@{}", image.index.digest)]},
        {"Id": config.digest, "RepoTags": ["r.test/team/app:v1-patched", "alpine:3"], "RepoDigests": [format!("r.test/team/app@{other}")]},
        {"Id": other, "RepoTags": null, "RepoDigests": null},
    ]);
    let (report, code) = audited(&world, &listen(&world, "docker", 200, list.to_string()));
    let told: Vec<_> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["engine"].as_str().unwrap(),
                one["name"].as_str().unwrap(),
                one["judgement"]["outcome"].as_str().unwrap_or("-")
            )
        })
        .collect();
    let wanted = [
        "docker docker.io/library/alpine:3 -".to_owned(),
        "docker r.test/team/app:v1 allowed".to_owned(),
        "docker r.test/team/app:v1-patched refused".to_owned(),
        format!("docker {other} -"),
    ];
    assert_eq!(told, wanted);
    let found = findings(&report);
    assert!(
        found.contains(&"image-refused r.test/team/app:v1-patched (docker)".to_owned()),
        "{found:#?}"
    );
    assert_eq!(
        (
            found
                .iter()
                .filter(|one| one.starts_with("image-unnamed"))
                .count(),
            code
        ),
        (2, 1)
    );
}

#[test]
fn a_dockerd_that_answers_something_else_or_nothing_could_not_be_told() {
    let Some(world) = World::new("a-docker-odd") else {
        return;
    };
    world.start().stop();
    for (name, status, body) in [
        ("broken", 500, ""),
        ("odd", 200, "{\"message\":\"hello\"}"),
        ("endless", 200, "["),
    ] {
        let (report, code) = audited(&world, &listen(&world, name, status, body.to_owned()));
        assert_eq!(
            (code, report["untold"].as_array().unwrap().len()),
            (2, 1),
            "{name}: {report}"
        );
        assert!(
            report["untold"][0]["subject"]
                .as_str()
                .unwrap()
                .starts_with("docker at ")
        );
    }
    assert_eq!(audited(&world, &world.path("nobody")).1, 2);
}

#[test]
fn each_docker_of_the_configuration_is_looked_at_and_one_that_is_not_there_could_not_be_told() {
    let Some(world) = World::new("a-docker-configured") else {
        return;
    };
    world.start().stop();
    let built = |name: &str| {
        let id = Image::named(name).config.digest;
        json!([{ "Id": id, "RepoTags": [format!("{name}:1")], "RepoDigests": null }]).to_string()
    };
    let first = listen(&world, "docker-1", 200, built("first"));
    let second = listen(&world, "docker-2", 200, built("second"));
    let absent = world.path("docker-3");
    let docker = |(name, socket): (&str, &std::path::Path)| {
        format!("[[docker]]\nname = \"{name}\"\nsocket = {socket:?}\n")
    };
    let dockers = [("one", &*first), ("two", &*second), ("three", &*absent)].map(docker);
    let config = world.path("dockers.toml");
    std::fs::write(
        &config,
        format!(
            "state = {:?}\n{}",
            world.path("state").display().to_string(),
            dockers.concat()
        ),
    )
    .unwrap();
    let at = |name: &str| world.path(name).display().to_string();
    let (config, containerd) = (config.display().to_string(), at("containerd"));
    let (report, code) = report(
        &world,
        &[
            "--config",
            &config,
            "--containerd",
            &containerd,
            "--policy",
            &at("policy"),
            "--state",
            &at("state"),
        ],
    );
    let images = report["images"].as_array().unwrap();
    let of = |engine: &str, name: &str| {
        let is = |one: &&Value| one["engine"] == engine && one["name"] == name;
        images.iter().filter(is).count()
    };
    let (first, second) = ("docker.io/library/first:1", "docker.io/library/second:1");
    assert_eq!(
        (of("one", first), of("two", second), of("docker", first)),
        (1, 1, 0),
        "{report:#}"
    );
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains(" could not be looked at, the first: "),
        "{error}"
    );
    let mut untold = report["untold"].as_array().unwrap().iter();
    let wanted = format!("three at {}", absent.display());
    assert!(untold.any(|one| one["subject"] == wanted), "{report:#}");
    assert_eq!(code, 2);
}

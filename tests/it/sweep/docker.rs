//! A dockerd's classic store: by its list of images and its events.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{findings, host, sweep, until_counted, watched_with};
use crate::world::{Image, World};

/// As much of dockerd as a sweep asks.
#[derive(Clone, Default)]
struct Docker {
    images: Arc<Mutex<Vec<Value>>>,
    running: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    listeners: Arc<Mutex<Vec<mpsc::UnboundedSender<String>>>>,
    snapshotter: bool,
}

impl Docker {
    fn listen(&self, world: &World) -> PathBuf {
        let socket = world.path("docker");
        let this = self.clone();
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let answer = this.answer(&request);
            async move { answer }
        });
        let _inside = world.runtime.enter();
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        socket
    }

    fn answer(&self, request: &axum::extract::Request) -> http::Response<axum::body::Body> {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let has = |image: &Value, name: &str| {
            image["RepoTags"]
                .as_array()
                .is_some_and(|tags| tags.iter().any(|tag| tag == name))
        };
        let mut images = self.images.lock().unwrap();
        let body = match asked.as_str() {
            "GET /info" if self.snapshotter => {
                json!({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]})
            }
            "GET /info" => json!({"DriverStatus": [["Backing Filesystem", "extfs"]]}),
            "GET /images/json" => json!(*images),
            "GET /containers/json" => json!(*self.running.lock().unwrap()),
            "GET /events" => {
                let (sender, events) = mpsc::unbounded_channel();
                self.listeners.lock().unwrap().push(sender);
                let lines = UnboundedReceiverStream::new(events).map(Ok::<_, std::io::Error>);
                return http::Response::new(axum::body::Body::from_stream(lines));
            }
            asked if asked.starts_with("GET /images/") => {
                let name = asked
                    .trim_start_matches("GET /images/")
                    .trim_end_matches("/json");
                let found = images.iter().find(|image| has(image, name)).cloned();
                if found.is_none() {
                    return http::Response::builder()
                        .status(404)
                        .body(axum::body::Body::empty())
                        .unwrap();
                }
                found.unwrap()
            }
            asked if asked.starts_with("DELETE /images/") => {
                self.asked.lock().unwrap().push(request.uri().to_string());
                images.retain(|image| !has(image, asked.trim_start_matches("DELETE /images/")));
                json!([])
            }
            _ => {
                return http::Response::builder()
                    .status(404)
                    .body(axum::body::Body::empty())
                    .unwrap();
            }
        };
        http::Response::new(axum::body::Body::from(body.to_string()))
    }

    fn tell(&self) {
        let event = "{\"Type\":\"image\",\"Action\":\"tag\"}\n".to_owned();
        self.listeners
            .lock()
            .unwrap()
            .retain(|listener| listener.send(event.clone()).is_ok());
    }
}

fn config(world: &World, docker: &Docker) -> String {
    let socket = docker.listen(world);
    format!(
        "{}[[docker]]\nname = \"docker\"\nsocket = \"{}\"\n",
        world.config(),
        socket.display()
    )
}

#[test]
fn the_classic_store_is_judged_by_repository_digests_and_a_tag_that_is_refused_goes() {
    let Some((world, image)) = host("s-docker") else {
        return;
    };
    let (docker, other) = (Docker::default(), Image::named("other"));
    docker.images.lock().unwrap().extend([
        json!({"Id": image.config.digest, "RepoTags": ["r.test/team/app:v1"], "RepoDigests": [format!("r.test/team/app@{}", image.index.digest)]}),
        json!({"Id": other.config.digest, "RepoTags": ["used.example/app:1"], "RepoDigests": [format!("used.example/app@{}", other.index.digest)]}),
    ]);
    docker
        .running
        .lock()
        .unwrap()
        .push(json!({"Id": "runs", "Image": "used.example/app:1", "ImageID": other.config.digest}));
    world.write_policy(&format!(
        "{}[local]\ncontent = \"allow\"\n[sweep]\naction = \"remove\"\n",
        world.policy()
    ));
    let mut daemon = watched_with(&world, &config(&world, &docker));
    let (report, code) = sweep(&world);
    assert_eq!(
        (findings(&report), code),
        (
            vec!["used.example/app:1 refused no-rule kept".to_owned()],
            1
        ),
        "{report:#}"
    );
    assert_eq!(report["findings"][0]["containers"][0], "runs");
    // Tagged past the door as what it is not; and built here, which the policy lets be.
    let built = Image::named("built");
    docker.images.lock().unwrap().extend([
        json!({"Id": built.config.digest, "RepoTags": ["r.test/team/app:v1-patched"], "RepoDigests": []}),
        json!({"Id": Image::named("dev").config.digest, "RepoTags": ["dev:1"], "RepoDigests": []}),
    ]);
    docker.tell();
    daemon.line("removed r.test/team/app:v1-patched of engine docker");
    assert_eq!(
        *docker.asked.lock().unwrap(),
        ["/images/r.test/team/app:v1-patched?noprune=true"]
    );
    until_counted(&world, "rootpin_resident_refused{engine=\"docker\"} 1");
}

/// As one that was pulled by a digest of another kind.
#[test]
fn a_name_that_cannot_be_read_is_told_and_its_image_is_not_local() {
    let Some((world, _)) = host("s-docker-odd") else {
        return;
    };
    let (docker, odd) = (Docker::default(), Image::named("odd"));
    let record = format!("odd.example/app@sha512:{}", "a".repeat(128));
    docker
        .images
        .lock()
        .unwrap()
        .push(json!({"Id": odd.config.digest, "RepoTags": ["dev:1"], "RepoDigests": [&record]}));
    world.write_policy(&(world.policy() + "[local]\ncontent = \"allow\"\n"));
    let _daemon = watched_with(&world, &config(&world, &docker));
    let (report, code) = sweep(&world);
    let refused = ["dev:1".to_owned(), record];
    let refused = refused.map(|record| format!("{record} refused no-rule reported"));
    assert_eq!(
        (findings(&report), code),
        (refused.to_vec(), 2),
        "{report:#}"
    );
    let told = report["untold"].to_string();
    assert!(told.contains("a name that rootpin can't read") && told.contains("odd.example/app"));
}

#[test]
fn where_docker_has_its_images_in_containerd_they_are_judged_there_and_its_containers_are_told_by_itself()
 {
    let Some((world, image)) = host("s-docker-store") else {
        return;
    };
    let docker = Docker {
        snapshotter: true,
        ..Docker::default()
    };
    let other = Image::named("other");
    docker.images.lock().unwrap().push(json!({"Id": other.index.digest, "RepoTags": ["elsewhere.example/app:1"], "RepoDigests": []}));
    docker
        .running
        .lock()
        .unwrap()
        .push(json!({"Id": "runs", "Image": "r.test/team/app:v1", "ImageID": image.index.digest}));
    world.write_policy(&format!("{}[sweep]\naction = \"remove\"\n", world.policy()));
    world.containerd.hold("moby", |held| {
        image.hold_as(held, "r.test/team/app:v1");
        other.hold_as(held, "elsewhere.example/app:1");
        held.running.push(("runs".to_owned(), String::new()));
    });
    let mut daemon = watched_with(&world, &config(&world, &docker));
    daemon.line("removed elsewhere.example/app:1 of engine main, namespace moby");
    assert!(docker.asked.lock().unwrap().is_empty());
    let (report, code) = sweep(&world);
    assert_eq!((findings(&report).len(), code), (0, 0), "{report:#}");
}

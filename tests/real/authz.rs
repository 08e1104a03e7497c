//! The authorization plugin on real dockerds: docker 26 and 28, each with the containerd store and
//! with the classic one.

use std::fmt::Write as _;

use crate::daemon::{Daemon, Policy};
use crate::dockerd::{ALL, Dockerd};
use crate::image::Image;
use crate::lab::{Lab, write};
use crate::own::{Own, push_signed};
use crate::say;

/// What is in the registry: `app:1` and `app:3` are signed; `app:2` was signed for other bytes;
/// nothing says anything of `evil:1`.
struct Stage {
    own: Policy,
    app: String,
    evil: String,
    signed: Image,
    dockerds: Vec<Dockerd>,
}

impl Stage {
    fn new(lab: &Lab) -> Self {
        let app = lab.name("authz/app", "1").trim_end_matches(":1").to_owned();
        let (own, signed) = (Own::in_folder(lab, &app), Image::manifest("authz app"));
        push_signed(&own, "1", &signed);
        push_signed(&own, "2", &Image::manifest("authz app 2"));
        push_signed(&own, "3", &Image::manifest("authz app 3"));
        lab.push(&Image::manifest("authz swapped"), &format!("{app}:2"));
        let evil = lab.name("authz/evil", "1");
        lab.push(&Image::manifest("authz evil"), &evil);
        let dockerds = ALL.map(|name| Dockerd::new(lab, name)).into();
        Self {
            own: own.policy(&[]),
            app,
            evil,
            signed,
            dockerds,
        }
    }

    /// The policy with more lines before its first table, and after its last.
    fn policy(&self, before: &str, after: &str) -> Policy {
        let mut policy = self.own.clone();
        for (name, text) in &mut policy {
            if *name == "policy.toml" {
                *text = text.replacen(
                    "default = \"deny\"\n",
                    &format!("default = \"deny\"\n{before}"),
                    1,
                ) + after;
            }
        }
        policy
    }

    fn daemon(&self, lab: &Lab, before: &str, after: &str) -> Daemon {
        let config: String = self.dockerds.iter().map(Dockerd::config).collect();
        Daemon::with(lab, &self.policy(before, after), &config)
    }

    /// Under audit: everything comes in, is run and is given other names.
    fn bring_all(&self, docker: &Dockerd) {
        docker.cool();
        let (app, evil) = (&self.app, &self.evil);
        docker.docker(&["pull", evil]).unwrap();
        docker
            .docker(&["create", "--name", "old", "--network", "none", evil])
            .unwrap();
        docker.docker(&["tag", evil, &format!("{app}:1")]).unwrap();
        docker.docker(&["pull", &format!("{app}:2")]).unwrap();
        docker.docker(&["pull", &format!("{app}:3")]).unwrap();
    }
}

/// A "no" of the plugin's, with that code.
fn is_no(result: &Result<String, String>, code: &str) -> bool {
    matches!(result, Err(words) if words.contains("authorization denied by plugin") && words.contains(&format!(": {code}: ")) && words.contains("hint: "))
}

struct Checks(Vec<String>);

impl Checks {
    fn no(&mut self, docker: &Dockerd, arguments: &[&str], code: &str) {
        let result = docker.docker(arguments);
        if !is_no(&result, code) {
            self.0.push(format!(
                "{}: docker {} should be refused with {code}: {result:?}",
                docker.name,
                arguments.join(" ")
            ));
        }
    }

    fn yes(&mut self, docker: &Dockerd, arguments: &[&str]) -> String {
        let result = docker.docker(arguments);
        result.unwrap_or_else(|words| {
            self.0.push(format!(
                "{}: docker {} should do: {words}",
                docker.name,
                arguments.join(" ")
            ));
            String::new()
        })
    }

    fn that(&mut self, docker: &Dockerd, holds: bool, what: &str) {
        if !holds {
            self.0.push(format!("{}: {what}", docker.name));
        }
    }

    fn end(self) {
        assert!(
            self.0.is_empty(),
            "{} are wrong:\n{}",
            self.0.len(),
            self.0.join("\n\n")
        );
    }
}

fn start() -> (Lab, Stage) {
    let lab = Lab::start();
    let stage = Stage::new(&lab);
    (lab, stage)
}

/// What came in while nobody refused it: run by its name, its ID, another's name, or once more.
fn runs_nothing_that_came_in_before(stage: &Stage, docker: &Dockerd, checks: &mut Checks) {
    let (one, two, evil) = (
        format!("{}:1", stage.app),
        format!("{}:2", stage.app),
        stage.evil.as_str(),
    );
    let id = docker
        .docker(&["image", "inspect", "--format", "{{.Id}}", evil])
        .unwrap();
    checks.no(docker, &["create", "--network", "none", evil], "no-rule");
    // The containerd store knows what was tagged under both names, the classic one where it was
    // pulled from.
    let by_id = if docker.name.ends_with("overlay2") {
        "no-rule"
    } else {
        "no-statement"
    };
    checks.no(docker, &["create", "--network", "none", &id], by_id);
    checks.no(docker, &["create", "--network", "none", &id[7..19]], by_id);
    checks.no(
        docker,
        &["create", "--network", "none", &one],
        "digest-mismatch",
    );
    checks.no(
        docker,
        &["create", "--network", "none", &two],
        "digest-mismatch",
    );
    checks.no(docker, &["start", "old"], "no-rule");
    checks.no(docker, &["restart", "old"], "no-rule");
    // An image that is mounted (docker 28) is one that is used, also where it is mounted in a
    // signed one.
    let mount = |source: &str| {
        let mount = format!("{{\"Type\":\"image\",\"Source\":\"{source}\",\"Target\":\"/x\"}}");
        let body = format!(
            "{{\"Image\":\"{}:3\",\"hostconfig\":{{\"Mounts\":[{mount}]}}}}",
            stage.app
        );
        docker.raw(&call("/containers/create", &[JSON], body.as_bytes(), false))
    };
    let (status, words) = mount(evil);
    checks.that(docker, status == 403 && words.contains("no-rule"), &words);
    let (status, words) = mount(&format!("{}:3", stage.app));
    let fine = status == 201 || docker.name.starts_with("dockerd26") && status == 400;
    checks.that(docker, fine, &words);
}

/// `sources`: an archive, a folder to build from, and the folder of a plugin.
fn brings_nothing_in(
    stage: &Stage,
    docker: &Dockerd,
    [archive, context, plugin]: [&str; 3],
    checks: &mut Checks,
) {
    let (one, two, evil) = (
        format!("{}:1", stage.app),
        format!("{}:2", stage.app),
        stage.evil.as_str(),
    );
    checks.no(docker, &["pull", evil], "no-rule");
    checks.no(docker, &["pull", &two], "digest-mismatch");
    checks.no(docker, &["pull", "-a", &stage.app], "no-rule");
    checks.no(docker, &["load", "-i", archive], "not-local");
    checks.no(docker, &["import", archive, "imported:1"], "not-local");
    checks.no(docker, &["build", "-t", "built:1", context], "not-local");
    checks.no(docker, &["commit", "old", "committed:1"], "not-local");
    checks.no(docker, &["tag", evil, "other:1"], "not-local");
    checks.no(docker, &["tag", evil, &one], "digest-mismatch");
    checks.no(docker, &["swarm", "init"], "no-rule");
    checks.no(
        docker,
        &["plugin", "create", "made/plugin", plugin],
        "no-rule",
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn every_dockerd_takes_and_runs_what_is_signed_and_nothing_else() {
    let (lab, stage) = start();
    let audit = stage.daemon(&lab, "mode = \"audit\"\n", "");
    for docker in &stage.dockerds {
        docker.start(&lab);
        stage.bring_all(docker);
    }
    drop(audit);
    let mut checks = Checks(Vec::new());
    let (one, evil) = (format!("{}:1", stage.app), stage.evil.as_str());
    let by_digest = format!("{}@{}", stage.app, stage.signed.digest());
    let daemon = stage.daemon(&lab, "", "");
    let archive = lab.root.join("authz.tar");
    write(
        &archive,
        Image::manifest("authz loaded").archive("loaded:1"),
    );
    let archive = archive.to_str().unwrap();
    let context = lab.root.join("authz-build");
    write(
        &context.join("Dockerfile"),
        "FROM scratch\nCOPY Dockerfile /\n",
    );
    let context = context.to_str().unwrap();
    let plugin = lab.root.join("authz-plugin");
    write(&plugin.join("config.json"), "{}");
    write(&plugin.join("rootfs/file"), "");
    let plugin = plugin.to_str().unwrap();
    for docker in &stage.dockerds {
        runs_nothing_that_came_in_before(&stage, docker, &mut checks);
        brings_nothing_in(&stage, docker, [archive, context, plugin], &mut checks);
        // What is signed.
        docker.cool();
        checks.no(docker, &["run", "--network", "none", evil], "no-rule");
        checks.yes(docker, &["pull", &one]);
        checks.yes(
            docker,
            &["create", "--name", "new", "--network", "none", &one],
        );
        checks.yes(docker, &["create", "--network", "none", &by_digest]);
        checks.yes(docker, &["tag", &one, &one]);
        checks.yes(docker, &["pull", &by_digest]);
        // It has no program in it, and that is for the runtime to say.
        let started = docker.docker(&["start", "new"]).unwrap_err();
        checks.that(docker, !started.contains("authorization denied"), &started);
        let told = daemon
            .records()
            .iter()
            .filter(|record| docker.is_of(record))
            .count();
        checks.that(docker, told >= 25, "each of these is recorded");
        say(&format!(
            "{} {}: {told} records",
            docker.name,
            docker.version()
        ));
    }
    checks.end();
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_was_revoked_or_may_be_local_or_must_have_a_digest_is_so_on_every_dockerd() {
    let (lab, stage) = start();
    let mut checks = Checks(Vec::new());
    let (one, signed) = (format!("{}:1", stage.app), stage.signed.digest());
    let daemon = stage.daemon(&lab, "", "");
    for docker in &stage.dockerds {
        docker.start(&lab);
        docker.cool();
        checks.yes(docker, &["pull", &one]);
        checks.yes(
            docker,
            &["create", "--name", "web", "--network", "none", &one],
        );
    }
    drop(daemon);
    let archive = lab.root.join("authz.tar");
    write(&archive, Image::manifest("authz local").archive("local:1"));
    let archive = archive.to_str().unwrap();
    let daemon = stage.daemon(
        &lab,
        "",
        "[docker]\nrequire-digest = true\n[local]\ncontent = \"allow\"\n",
    );
    for docker in &stage.dockerds {
        checks.no(docker, &["pull", &one], "no-rule");
        let words = docker.docker(&["pull", &one]).unwrap_err();
        checks.that(
            docker,
            words.contains(&format!("hint: docker pull {}@{signed}", stage.app)),
            &words,
        );
        checks.yes(docker, &["pull", &format!("{}@{signed}", stage.app)]);
        checks.yes(docker, &["import", archive, "local:1"]);
        checks.yes(
            docker,
            &[
                "create",
                "--name",
                "made",
                "--network",
                "none",
                "local:1",
                "/x",
            ],
        );
        checks.yes(docker, &["commit", "made", "local:2"]);
        checks.yes(docker, &["tag", "local:1", "local:3"]);
        checks.no(
            docker,
            &["tag", "local:1", &format!("{}:4", stage.app)],
            "no-statement",
        );
        checks.no(docker, &["import", archive, &one], "not-local");
        checks.no(docker, &["pull", &stage.evil], "no-rule");
    }
    drop(daemon);
    let _daemon = stage.daemon(
        &lab,
        "",
        &format!("[[revoked]]\ndigest = \"{signed}\"\nreason = \"a hole\"\n"),
    );
    for docker in &stage.dockerds {
        checks.no(docker, &["start", "web"], "revoked");
        checks.no(docker, &["create", "--network", "none", &one], "revoked");
        checks.no(docker, &["pull", &one], "revoked");
    }
    checks.end();
}

/// A call as bytes, with a body of that length or in chunks.
fn call(uri: &str, headers: &[&str], body: &[u8], chunked: bool) -> Vec<u8> {
    let mut head = format!("POST {uri} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n");
    for header in headers {
        write!(head, "{header}\r\n").unwrap();
    }
    let (length, body) = if chunked {
        let chunk = [
            format!("{:x}\r\n", body.len()).as_bytes(),
            body,
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        ("Transfer-Encoding: chunked".to_owned(), chunk)
    } else {
        (format!("Content-Length: {}", body.len()), body.to_vec())
    };
    write!(head, "{length}\r\n\r\n").unwrap();
    [head.into_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// Requests that bring a forbidden image in, and what is odd about each.
type Traps = Vec<(&'static str, Vec<u8>)>;

fn pulls(stage: &Stage) -> Traps {
    let (repository, _) = stage.evil.rsplit_once(':').unwrap();
    let signed = format!("/v1.43/images/create?fromImage={}&tag=1", stage.app);
    let evil = format!("fromImage={repository}&tag=1");
    vec![
        (
            "a form overrides the query",
            call(&signed, &[FORM], evil.as_bytes(), false),
        ),
        (
            "a form under a second content type",
            call(&signed, &[FORM, JSON], evil.as_bytes(), false),
        ),
        (
            "a form in chunks under a second content type",
            call(
                &signed,
                &[FORM, "Content-Type: text/plain"],
                evil.as_bytes(),
                true,
            ),
        ),
        (
            "a form in chunks with Content-Length 0",
            call(
                &signed,
                &[FORM, JSON, "Content-Length: 0"],
                evil.as_bytes(),
                true,
            ),
        ),
        (
            "an escaped letter in the path",
            call(&format!("/v1.43/%69mages/create?{evil}"), &[], b"", false),
        ),
        (
            "an absolute URI",
            call(
                &format!("http://docker/images/create?{evil}"),
                &[],
                b"",
                false,
            ),
        ),
        (
            "no version",
            call(&format!("/images/create?{evil}"), &[], b"", false),
        ),
        (
            "a doubled slash",
            call(&format!("//images//create?{evil}"), &[], b"", false),
        ),
        (
            "a dot segment",
            call(
                &format!("/v1.43/images/x/../create?{evil}"),
                &[],
                b"",
                false,
            ),
        ),
        (
            "a parameter twice",
            call(
                &format!("/v1.43/images/create?{evil}&fromImage={}", stage.app),
                &[],
                b"",
                false,
            ),
        ),
    ]
}

fn creates(stage: &Stage) -> Traps {
    let create = format!("{{\"Image\":\"{}\"}}", stage.evil);
    let padded = |length: usize| [create.as_bytes(), &vec![b' '; length]].concat();
    let twice = format!(
        "{{\"Image\":\"{}:1\",\"image\":\"{}\"}}",
        stage.app, stage.evil
    );
    let containers = "/v1.43/containers/create";
    vec![
        (
            "a body of more than 1 MiB",
            call(containers, &[JSON], &padded(2 << 20), false),
        ),
        (
            "the same in chunks",
            call(containers, &[JSON], &padded(2 << 20), true),
        ),
        (
            "a body of more than 4 MiB",
            call(containers, &[JSON], &padded(5 << 20), false),
        ),
        (
            "a body in chunks",
            call(containers, &[JSON], create.as_bytes(), true),
        ),
        (
            "a body in chunks with Content-Length 0",
            call(
                containers,
                &[JSON, "Content-Length: 0"],
                create.as_bytes(),
                true,
            ),
        ),
        (
            "two images in different case",
            call(containers, &[JSON], twice.as_bytes(), false),
        ),
        (
            "an image in another case",
            call(
                containers,
                &[JSON],
                create.replace("Image", "IMAGE").as_bytes(),
                false,
            ),
        ),
    ]
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn no_trap_of_http_gets_an_image_past_the_plugin() {
    let (lab, stage) = start();
    let (pulls, creates) = (pulls(&stage), creates(&stage));
    let mut checks = Checks(Vec::new());
    for audited in [true, false] {
        let _daemon = stage.daemon(&lab, if audited { "mode = \"audit\"\n" } else { "" }, "");
        for docker in &stage.dockerds {
            if audited {
                docker.start(&lab);
                docker.cool();
                // Once containerd has found the gate of this daemon, which may take seconds,
                docker
                    .docker(&["pull", &format!("{}:3", stage.app)])
                    .unwrap();
                // and let through, the first trap does what it is said to do.
                docker.raw(&pulls[0].1);
                checks.that(
                    docker,
                    docker.has(&stage.evil),
                    "the form did not override the query: is this trap none?",
                );
                continue;
            }
            for (trap, bytes) in creates.iter().chain(&pulls) {
                let is_pull = pulls.iter().any(|(pull, _)| pull == trap);
                if is_pull {
                    docker.cool();
                }
                let (status, words) = docker.raw(bytes);
                let refused = status == 403 && words.contains("authorization denied by plugin");
                // dockerd answers a path that is not clean by a redirect, and a body that is too
                // large by itself.
                let by_dockerd = status == 301 || (status >= 400 && words.contains("too large"));
                checks.that(
                    docker,
                    refused || by_dockerd,
                    &format!(
                        "{trap}: {status} {}",
                        words.lines().last().unwrap_or_default()
                    ),
                );
                checks.that(
                    docker,
                    !is_pull || !docker.has(&stage.evil),
                    &format!("{trap}: it came in"),
                );
                say(&format!("{}: {trap}: {status}", docker.name));
            }
            checks.that(
                docker,
                docker.docker(&["ps", "-aq"]).unwrap().is_empty(),
                "a container was made",
            );
        }
    }
    checks.end();
}

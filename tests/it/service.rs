//! rootpind as a service of its host: sockets that systemd holds, the watchdog, and a user who has
//! no right here.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{Image, PATIENCE, World};

const V1: &str = "r.test/team/app:v1";

fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    Some((world, image))
}

/// A socket as systemd holds it: programs that are started have it too, under a number that none of
/// theirs has.
fn held(socket: &impl AsFd) -> OwnedFd {
    let held = rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    held
}

#[test]
fn sockets_that_systemd_holds_are_served_and_who_asks_while_rootpind_is_away_waits() {
    let Some((world, image)) = host("s-passed") else {
        return;
    };
    let (control, gate) = (
        UnixListener::bind(world.path("control")).unwrap(),
        UnixListener::bind(world.path("gate")).unwrap(),
    );
    let resolver = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = UnixListener::bind(world.path("other")).unwrap();
    let held = [held(&control), held(&gate), held(&resolver), held(&other)];
    let sockets = held.each_ref().map(std::os::fd::AsRawFd::as_raw_fd);
    let config = format!(
        "resolver = \"{}\"\n{}",
        resolver.local_addr().unwrap(),
        world.config()
    );
    let name = format!("{V1}@{}", image.index.digest);

    // Before it is there.
    let early = {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(["verify", &name, "--control"])
            .arg(world.path("control"));
        crate::world::start(&mut command, b"")
    };
    let mut daemon = world.start_passing(&config, &sockets);
    assert_eq!(daemon.notice(), "READY=1");
    assert!(
        early.wait_with_output().unwrap().status.success(),
        "it waited in the socket"
    );
    assert_eq!(
        world
            .unpack(
                "gate",
                image.unpack(),
                &[("containerd-namespace", "default")]
            )
            .unwrap_err()
            .code(),
        tonic::Code::Unimplemented
    );
    // The applying gate was not passed, and is bound as ever.
    world
        .unpack(
            "apply",
            image.unpack(),
            &[("containerd-namespace", "default")],
        )
        .unwrap();
    assert_eq!(
        world.door("resolver")["detail"]
            .as_str()
            .unwrap()
            .split(':')
            .next(),
        Some("at 127.0.0.1")
    );
    // A socket that rootpin.toml doesn't name leaves nobody waiting.
    daemon.line("which rootpin.toml does not name: who connects there is sent away");
    let mut lost = UnixStream::connect(world.path("other")).unwrap();
    lost.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(lost.read(&mut [0; 1]).unwrap(), 0);

    // Away, and back.
    assert_eq!(daemon.stop().0, 0);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
            command
                .args(["verify", &name, "--control"])
                .arg(world.path("control"));
            crate::world::start(&mut command, b"")
        })
        .collect();
    let daemon = world.start_passing(&config, &sockets);
    assert_eq!(daemon.notice(), "READY=1");
    for asked in asked {
        let output = asked.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn who_waits_for_a_rootpind_that_cannot_start_is_sent_away() {
    let Some((world, _)) = host("s-config") else {
        return;
    };
    let control = UnixListener::bind(world.path("control")).unwrap();
    let mut waits = UnixStream::connect(world.path("control")).unwrap();
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    let daemon = world.start_passing("no such key = 1", &[held(&control).as_raw_fd()]);
    assert_eq!(daemon.end().0, 78);
    assert_eq!(waits.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn systemd_is_shown_that_the_doors_answer_and_nothing_once_they_do_not() {
    let Some((world, _)) = host("s-watchdog") else {
        return;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
    command
        .arg("--config")
        .arg(world.path("rootpin.toml"))
        .env("WATCHDOG_USEC", "1500000");
    let mut daemon = world.start_by(&world.config(), &mut command);
    assert_eq!(
        [daemon.notice(), daemon.notice(), daemon.notice()],
        ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    );
    // Somebody else has the place of the socket that it asks by, and says nothing.
    fs::remove_file(world.path("control")).unwrap();
    let _control = UnixListener::bind(world.path("control")).unwrap();
    daemon.line("rootpind does not answer its own question: ");
    let _ = daemon.notices_within(Duration::from_millis(1));
    assert_eq!(
        daemon.notices_within(Duration::from_millis(1500)),
        Vec::<String>::new()
    );
}

/// Connects again and again as a user without rights, until it is killed: a hundred times, and then
/// again after a moment, in each of four shells.
fn flood(port: u16) -> Vec<std::process::Child> {
    let script = format!(
        "while :; do for fd in $(seq 10 110); do eval \"exec $fd<>/dev/tcp/127.0.0.1/{port}\" || break; done 2>/dev/null; sleep 0.1; exec bash \"$0\"; done"
    );
    let file = std::env::temp_dir().join(format!("rootpin-flood-{port}"));
    fs::write(&file, script).unwrap();
    let start = |_| {
        Command::new("bash")
            .arg(&file)
            .uid(65534)
            .current_dir("/")
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    (0..4).map(start).collect()
}

#[test]
fn a_user_without_rights_who_connects_without_end_keeps_nobody_waiting() {
    let Some((world, image)) = host("s-flood") else {
        return;
    };
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let daemon = world.start_ready(&format!(
        "resolver = \"127.0.0.1:{port}\"\n{}",
        world.config()
    ));
    let status = || fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let number = |name: &str| {
        let text = status();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let ask = || {
        let began = Instant::now();
        assert!(
            world
                .unpack(
                    "gate",
                    image.unpack(),
                    &[("containerd-namespace", "default")]
                )
                .is_err()
        );
        let answer = world.runtime.block_on(async {
            let url = format!("http://127.0.0.1:{port}/resolve/v2/team/app/manifests/v1?ns=r.test");
            reqwest::Client::new()
                .head(url)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        });
        assert_eq!(answer, 200);
        began.elapsed()
    };
    (0..5).for_each(|_| _ = ask());
    let (threads, memory) = (number("Threads:"), number("VmRSS:"));
    let mut flooders = flood(port);
    let worst = (0..30).map(|_| ask()).max().unwrap();
    let (threads_then, memory_then) = (number("Threads:"), number("VmRSS:"));
    for flooder in &mut flooders {
        flooder.kill().unwrap();
        flooder.wait().unwrap();
    }
    assert!(
        worst < Duration::from_secs(2),
        "containerd's NRI waits no longer: {worst:?}"
    );
    assert!(
        threads_then <= threads + 32,
        "{threads} threads became {threads_then}"
    );
    assert!(
        memory_then <= memory * 2,
        "{memory} kB became {memory_then}"
    );
    assert!(
        !world
            .rootpin(&["metrics"])
            .out
            .contains("door=\"resolver\",engine=\"\",outcome=\"refused\"")
    );
}

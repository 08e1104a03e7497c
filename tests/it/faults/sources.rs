//! The way to the trust server, broken in each manner.

use std::fs;
use std::time::{Duration, Instant};

use super::scene::{Mounts, Scene};
use crate::fault_table::Back;
use crate::front::{Front, Mode};
use crate::tls::Authority;
use crate::world::{Daemon, PATIENCE};

/// A host whose trust server has a name and speaks TLS.
struct Way {
    scene: Scene,
    authority: Authority,
    front: Front,
}

impl Way {
    fn new(folder: &str, fault: &'static str, server: &str) -> Option<Self> {
        let scene = Scene::new(folder, fault)?;
        let world = &scene.world;
        let authority = Authority::new();
        let good = Mode::Pass(Some(authority.server(&["http/1.1"])));
        let front = world
            .runtime
            .block_on(Front::listen(world.notary.port, good));
        fs::write(world.path("policy/ca.pem"), authority.pem()).unwrap();
        let policy = super::scene::asking_always(&world.policy()).replace(
            &format!("http://127.0.0.1:{}\"", world.notary.port),
            &format!("https://{server}:{}\"\ntls-ca = \"ca.pem\"", front.port),
        );
        world.write_policy(&policy);
        Some(Self {
            scene,
            authority,
            front,
        })
    }

    fn good(&self) -> Mode {
        Mode::Pass(Some(self.authority.server(&["http/1.1"])))
    }

    /// The way is as it was: what is published meanwhile is known within that time.
    fn fresh_within(&mut self, seconds: u64) -> Back {
        self.scene.publish();
        let newest = self.scene.publisher.roles["timestamp"].version;
        let since = Instant::now();
        loop {
            assert_eq!(self.scene.ask(), "allowed");
            let took = since.elapsed();
            if self.scene.has_seen(newest) {
                let time = Duration::from_secs(seconds);
                assert!(took <= time + self.scene.busy(), "fresh after {took:?}");
                return Back::FreshWithin(time);
            }
            assert!(took < PATIENCE + self.scene.busy(), "never fresh again");
        }
    }

    /// A fault while what was verified is at hand.
    fn breaks(mut self, mode: Mode) {
        let mut daemon = self.scene.world.start();
        self.scene.well();
        self.scene.publish();
        self.front.set(mode);
        let saw = self.scene.ask();
        self.told_silent(&mut daemon);
        self.front.set(self.good());
        let back = self.fresh_within(10);
        self.scene
            .end(&format!("{saw}, by what was verified before"), back);
        assert_eq!(daemon.stop().0, 0);
    }

    fn told_silent(&mut self, daemon: &mut Daemon) {
        self.scene.told_by_silent_source();
        self.scene.told_by_log(daemon, "does not answer since");
    }
}

#[test]
fn a_trust_server_that_refuses_connections_costs_no_pull_of_what_was_verified() {
    if let Some(way) = Way::new(
        "f-refused",
        "the trust server refuses connections",
        "localhost",
    ) {
        way.breaks(Mode::Refuse);
    }
}

#[test]
fn a_host_that_has_verified_nothing_refuses_until_its_trust_server_answers() {
    let Some(mut way) = Way::new("f-cold", "the same, and nothing is cached yet", "localhost")
    else {
        return;
    };
    way.front.set(Mode::Refuse);
    let daemon = way.scene.world.start();
    let saw = way.scene.ask();
    way.scene.told_by_questions("source-unreachable");
    way.front.set(way.good());
    let back = way.scene.back_within(10);
    way.scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_name_without_an_address_costs_no_pull_of_what_was_verified() {
    let Some(mut way) = Way::new("f-dns", "its name has no address (DNS)", "registry.test") else {
        return;
    };
    let (hosts, resolv) = (
        way.scene.world.path("hosts"),
        way.scene.world.path("resolv.conf"),
    );
    fs::write(&hosts, "127.0.0.1 localhost registry.test\n").unwrap();
    // Nobody answers there.
    fs::write(
        &resolv,
        "nameserver 127.0.0.255\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let Some(mounts) = Mounts::new(&format!(
        "mount --bind '{}' /etc/hosts; mount --bind '{}' /etc/resolv.conf",
        hosts.display(),
        resolv.display()
    )) else {
        return;
    };
    let mut daemon = mounts.start(&way.scene.world, &way.scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    way.scene.well();
    way.scene.publish();
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    // Else a connection of before would do.
    way.front.set(way.good());
    let saw = way.scene.ask();
    way.told_silent(&mut daemon);
    fs::write(&hosts, "127.0.0.1 localhost registry.test\n").unwrap();
    let back = way.fresh_within(10);
    way.scene
        .end(&format!("{saw}, by what was verified before"), back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_certificate_for_another_name_costs_no_pull_of_what_was_verified() {
    if let Some(way) = Way::new("f-name", "its certificate is for another name", "localhost") {
        let other = way.authority.server_of("elsewhere.test", 2100);
        way.breaks(Mode::Pass(Some(other)));
    }
}

#[test]
fn an_expired_certificate_costs_no_pull_of_what_was_verified() {
    if let Some(way) = Way::new("f-expired", "its certificate has expired", "localhost") {
        let expired = way.authority.server_of("localhost", 2020);
        way.breaks(Mode::Pass(Some(expired)));
    }
}

#[test]
fn a_trust_server_that_resets_connections_costs_no_pull_of_what_was_verified() {
    if let Some(way) = Way::new("f-reset", "it resets each connection", "localhost") {
        way.breaks(Mode::Reset);
    }
}

#[test]
fn a_trust_server_that_sends_a_byte_a_second_costs_no_pull_of_what_was_verified() {
    if let Some(way) = Way::new("f-slow", "it sends one byte a second", "localhost") {
        let slow = Mode::ByteASecond(Some(way.authority.server(&["http/1.1"])));
        way.breaks(slow);
    }
}

//! Engines that go away under rootpind. docs/faults.md shows the rows.

use std::fs;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Policy};
use crate::door::Door;
use crate::fault_table::{Back, Row, Table};
use crate::image::Image;
use crate::lab::Lab;

const TABLE: Table = Table("faults-of-engines");

/// A host on which one name may come in, and another one's bytes may not.
struct Stage {
    lab: Lab,
    name: String,
    image: Image,
    _daemon: Daemon,
}

impl Stage {
    fn new(repository: &str) -> Self {
        let lab = Lab::start();
        let (image, name) = (Image::index(repository), lab.name(repository, "v1"));
        lab.push(&image, &name);
        lab.push(&Image::index("of nobody"), &lab.name(repository, "evil"));
        let policy: Policy = vec![(
            "policy.toml",
            format!(
                "version = 1\ndefault = \"deny\"\n[[image]]\nname = \"{name}\"\ndigest = \"{}\"\n",
                image.digest()
            ),
        )];
        let daemon = Daemon::start(&lab, &policy);
        for door in [Door::Ctr2, Door::Docker28] {
            door.cool(&lab);
        }
        Self {
            lab,
            name,
            image,
            _daemon: daemon,
        }
    }

    fn bring(&self, door: Door) -> Result<String, String> {
        door.bring(&self.lab, &self.name, &self.image)
    }

    /// What nobody bound is never let in, whatever state the host is in.
    fn refuses_others(&self, door: Door) {
        let evil = self.name.replace(":v1", ":evil");
        let said = door.bring(&self.lab, &evil, &self.image);
        assert!(said.is_err(), "{door}: {evil} came in: {said:?}");
    }

    /// The engine is back: the image comes in within that time, and the other one never.
    fn back(&self, door: Door, seconds: u64) -> Back {
        let (since, time) = (Instant::now(), Duration::from_secs(seconds));
        loop {
            self.refuses_others(door);
            match self.bring(door) {
                Ok(_) => break,
                Err(said) => assert!(since.elapsed() <= time, "{door}: not back: {said}"),
            }
        }
        self.refuses_others(door);
        Back::Within(time)
    }

    fn sweep_fails(&self) -> String {
        let control = self.lab.sockets().join("control.sock");
        let mut sweep = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let output = sweep
            .args(["sweep", "--dry-run", "--control"])
            .arg(control)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        "the engine's own unit, and `rootpin sweep` fails".to_owned()
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_containerd_that_is_killed_and_started_is_guarded_again_at_its_first_pull() {
    let stage = Stage::new("faults/containerd");
    stage.bring(Door::Ctr2).unwrap();
    Door::Ctr2.cool(&stage.lab);
    stage.lab.script(&["stop", "dockerd28", "containerd2"]);
    let said = stage.bring(Door::Ctr2).unwrap_err();
    let told = stage.sweep_fails();
    stage.lab.start_as_it_is("containerd2");
    let back = stage.back(Door::Ctr2, 10);
    let saw = "no engine is there; what nobody bound is refused from the first pull on";
    TABLE.compare(&Row {
        fault: "containerd stops, and is started again",
        saw: saw.to_owned(),
        floors: 0,
        back,
        told: vec![told],
    });
    assert!(!said.contains("rootpin: "), "{said}");
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_dockerd_that_is_stopped_and_started_is_guarded_again_at_its_first_pull() {
    let stage = Stage::new("faults/dockerd");
    stage.bring(Door::Docker28).unwrap();
    Door::Docker28.cool(&stage.lab);
    stage.lab.script(&["stop", "dockerd28"]);
    stage.bring(Door::Docker28).unwrap_err();
    stage.lab.start_as_it_is("dockerd28");
    let back = stage.back(Door::Docker28, 10);
    let saw = "no engine is there; what nobody bound is refused from the first pull on";
    TABLE.compare(&Row {
        fault: "dockerd stops, and is started again",
        saw: saw.to_owned(),
        floors: 0,
        back,
        told: vec!["the engine's own unit".to_owned()],
    });
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_containerd_whose_socket_was_removed_lets_nothing_in_and_is_guarded_again_after_its_start() {
    let stage = Stage::new("faults/socket");
    let socket = stage.lab.path("LAB_CONTAINERD2");
    // dockerd has a connection of its own to containerd, and goes on by it.
    stage.bring(Door::Docker28).unwrap();
    Door::Docker28.cool(&stage.lab);
    fs::remove_file(&socket).unwrap();
    let evil = stage.name.replace(":v1", ":evil");
    let said = Door::Docker28
        .bring(&stage.lab, &evil, &stage.image)
        .unwrap_err();
    assert!(
        said.contains("rootpin: "),
        "the gate should have refused it: {said}"
    );
    stage.lab.script(&["stop", "dockerd28", "containerd2"]);
    stage.lab.start_as_it_is("containerd2");
    let back = stage.back(Door::Ctr2, 10);
    assert!(matches!(back, Back::Within(_)));
    TABLE.compare(&Row {
        fault: "containerd's socket is removed",
        saw: "new clients find no engine; who is connected is judged as ever".to_owned(),
        floors: 0,
        back: Back::By("restarts containerd"),
        told: vec!["the engine's own clients".to_owned()],
    });
}

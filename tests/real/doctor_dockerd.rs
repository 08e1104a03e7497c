//! What the doctor says of a dockerd, on a real one.

use crate::doctor::examined_by;
use crate::lab::Lab;

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_containerd_of_dockerds_that_nobody_named_is_a_hole_and_naming_it_closes_it() {
    let lab = Lab::start();
    let docker = format!(
        "control = \"/none\"\n[[docker]]\nname = \"docker\"\nsocket = \"{}\"\n",
        lab.var("LAB_DOCKERD28").trim_start_matches("unix://")
    );
    let (codes, value) = examined_by(&lab, &docker, "docker", &[]);
    assert_eq!(codes, ["docker-unknown-containerd", "docker-no-authz"], "{value:#}");
    let hole = value["holes"].as_array().unwrap().iter().find(|hole| hole["code"] == "docker-unknown-containerd").unwrap();
    // Its own lines, put into rootpin.toml.
    let lines = hole["change"].as_str().unwrap().split_once(":\n").unwrap().1;
    let (codes, value) = examined_by(&lab, &format!("{docker}{lines}\n"), "docker", &[]);
    assert_eq!(codes, ["docker-no-authz"], "{value:#}");
}

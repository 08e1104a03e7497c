//! A collection that Notary's own client signs and Notary's own server serves.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::image::Image;
use crate::lab::{Lab, run};

/// One repository with keys of its own.
pub(crate) struct Collection<'lab> {
    lab: &'lab Lab,
    gun: String,
    folder: PathBuf,
}

impl<'lab> Collection<'lab> {
    /// `gun` is the image name without tag.
    pub(crate) fn new(lab: &'lab Lab, gun: &str) -> Self {
        let folder = lab.root.join("notary").join(gun.replace(['/', ':'], "_"));
        let _ = fs::remove_dir_all(&folder);
        let collection = Self {
            lab,
            gun: gun.to_owned(),
            folder,
        };
        run(collection.notary().args(["init", gun]));
        collection
    }

    /// Maps `tag` to `image` and publishes.
    pub(crate) fn sign(&self, tag: &str, image: &Image) {
        let (length, digest) = (image.top.bytes.len().to_string(), image.digest());
        let hex = digest.trim_start_matches("sha256:");
        run(self.notary().args([
            "addhash",
            "--publish",
            &self.gun,
            tag,
            &length,
            "--sha256",
            hex,
        ]));
    }

    /// Gives the root a new key, signed by the former one too.
    pub(crate) fn rotate_root(&self) {
        let mut rotate = self.notary();
        rotate
            .args(["key", "rotate", &self.gun, "root"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = rotate.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"y\n").unwrap();
        assert!(
            child.wait().unwrap().success(),
            "notary does not rotate the root of {}",
            self.gun
        );
    }

    /// The root's present key: the certificate that a publisher hands out, as PEM.
    pub(crate) fn root_certificate(&self) -> String {
        run(self.notary().args(["list", &self.gun])); // brings its copy of the metadata up to date
        let file = self
            .folder
            .join("tuf")
            .join(&self.gun)
            .join("metadata/root.json");
        let root: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let id = root["signed"]["roles"]["root"]["keyids"][0]
            .as_str()
            .unwrap();
        let public = root["signed"]["keys"][id]["keyval"]["public"]
            .as_str()
            .unwrap();
        String::from_utf8(STANDARD.decode(public).unwrap()).unwrap()
    }

    /// The root key's canonical ID, as the publisher has it: the name of its private key's file.
    pub(crate) fn root_key_id(&self) -> String {
        let files = fs::read_dir(self.folder.join("private"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let root = files
            .filter(|file| fs::read_to_string(file).unwrap().contains("role: root"))
            .collect::<Vec<_>>();
        assert_eq!(root.len(), 1, "root keys of {}: {root:?}", self.gun);
        root[0].file_stem().unwrap().to_str().unwrap().to_owned()
    }

    fn notary(&self) -> Command {
        let mut notary = Command::new(self.lab.path("LAB_NOTARY"));
        notary
            .args([
                "-s",
                self.lab.var("LAB_NOTARY_URL"),
                "--tlscacert",
                self.lab.var("LAB_NOTARY_CA"),
                "-d",
            ])
            .arg(&self.folder);
        for role in ["ROOT", "TARGETS", "SNAPSHOT"] {
            notary.env(format!("NOTARY_{role}_PASSPHRASE"), "a passphrase");
        }
        notary
    }
}

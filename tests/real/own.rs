//! Repositories of one's own: made by `rootpin repo`, pinned by their root file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootpin_trust::image::Digest;

use crate::daemon::Policy;
use crate::image::Image;
use crate::lab::{Lab, run};

/// Files of metadata by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// One publisher's working folder, and where it publishes.
pub(crate) struct Own<'lab> {
    lab: &'lab Lab,
    folder: PathBuf,
    gun: String,
    place: String,
}

impl<'lab> Own<'lab> {
    /// A repository for the images of `gun`, published in the registry beside them.
    pub(crate) fn new(lab: &'lab Lab, gun: &str) -> Self {
        let place = format!("oci://{gun}/trust");
        Self::at(lab, gun, place, "publisher")
    }

    /// The same, published as plain files.
    pub(crate) fn in_folder(lab: &'lab Lab, gun: &str) -> Self {
        let published = fresh(lab, gun, "published");
        fs::create_dir_all(&published).unwrap();
        Self::at(
            lab,
            gun,
            format!("file://{}", published.display()),
            "publisher",
        )
    }

    fn at(lab: &'lab Lab, gun: &str, place: String, who: &str) -> Self {
        let own = Self {
            lab,
            folder: fresh(lab, gun, who),
            gun: gun.to_owned(),
            place,
        };
        let names = format!("{gun}/**");
        run(own
            .repo("init")
            .args(["--names", gun, "--names", &names, "--publish", &own.place]));
        own
    }

    /// A second machine, with a working folder and a key of its own.
    pub(crate) fn second(&self) -> Self {
        let folder = fresh(self.lab, &self.gun, "second");
        let root = self.root_file();
        let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
        let mut clone = rootpin();
        run(clone
            .args(["repo", "clone", &self.place])
            .arg(&folder)
            .arg("--root")
            .arg(&root)
            .args(["--sha256", &sha256, "--names", &self.gun]));
        let second = Self {
            lab: self.lab,
            folder,
            gun: self.gun.clone(),
            place: self.place.clone(),
        };
        run(second.repo("key").args(["generate", "second"]));
        second
    }

    pub(crate) fn sign(&self, tag: &str) {
        run(self.repo("sign").arg(format!("{}:{tag}", self.gun)));
    }

    /// By a clock that is a year behind: all but the root is over now.
    pub(crate) fn sign_a_year_ago(&self, tag: &str) {
        let mut faked = Command::new("faketime");
        let sign = self.repo("sign");
        faked
            .args(["-f", "-364d"])
            .arg(sign.get_program())
            .args(sign.get_args())
            .arg(format!("{}:{tag}", self.gun));
        run(faked.env("ROOTPIN_PASSPHRASE", "a passphrase"));
    }

    /// Takes up what waits for the online key.
    pub(crate) fn refresh(&self) {
        run(&mut self.repo("refresh"));
    }

    /// Where it is published.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// A repository of the same names with other keys.
    pub(crate) fn by_somebody_else(&self) -> Self {
        let published = fresh(self.lab, &self.gun, "published-by-another");
        fs::create_dir_all(&published).unwrap();
        Self::at(
            self.lab,
            &self.gun,
            format!("file://{}", published.display()),
            "another",
        )
    }

    pub(crate) fn revoke(&self, tag: &str) {
        run(self.repo("revoke").arg(format!("{}:{tag}", self.gun)));
    }

    /// Lets the second machine's key sign for the repository.
    pub(crate) fn delegate_to(&self, second: &Self) {
        let key = second.folder.join("keys/second.pub");
        run(self
            .repo("delegate")
            .args([
                "add",
                "second",
                "--holder",
                "the second machine",
                "--paths",
                &self.gun,
                "--key",
            ])
            .arg(key));
    }

    pub(crate) fn remove_delegation(&self) {
        run(self.repo("delegate").args(["remove", "second"]));
    }

    pub(crate) fn rotate(&self, role: &str) {
        run(self.repo("rotate").arg(role));
    }

    /// What is published in a folder.
    pub(crate) fn files(&self) -> Files {
        let folder = self.place.strip_prefix("file://").unwrap();
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file());
        entries
            .map(|path| {
                (
                    path.file_name().unwrap().to_str().unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                )
            })
            .collect()
    }

    /// A policy that pins the first root, and reads from there; without an answer from where it is
    /// published.
    pub(crate) fn policy(&self, metadata: &[&str]) -> Policy {
        let root = String::from_utf8(fs::read(self.root_file()).unwrap()).unwrap();
        let places = if metadata.is_empty() {
            vec![self.place.as_str()]
        } else {
            metadata.to_vec()
        };
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"own\"\ntype = \"tuf\"\nfile = \"roots/own.root.json\"\nsha256 = \"{}\"\n\
             metadata = {places:?}\nrecheck = \"0s\"\n[[rule]]\nmatch = \"{}\"\nroots = [\"own\"]\n",
            Digest::of(root.as_bytes()).hex(),
            self.gun
        );
        vec![("policy.toml", text), ("roots/own.root.json", root)]
    }

    fn root_file(&self) -> PathBuf {
        self.folder.join("metadata/1.root.json")
    }

    fn repo(&self, verb: &str) -> Command {
        let mut command = rootpin();
        command.args(["repo", verb, "--repo"]).arg(&self.folder);
        command
    }
}

fn rootpin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command.env("ROOTPIN_PASSPHRASE", "a passphrase");
    command
}

fn fresh(lab: &Lab, gun: &str, what: &str) -> PathBuf {
    let folder: &Path = &lab.root;
    let folder = folder
        .join("own")
        .join(gun.replace(['/', ':'], "_"))
        .join(what);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    folder
}

/// Pushes `image` as `tag` of the repository, and signs it.
pub(crate) fn push_signed(own: &Own<'_>, tag: &str, image: &Image) {
    own.lab.push(image, &format!("{}:{tag}", own.gun));
    own.sign(tag);
}

#[test]
#[ignore = "needs a registry: use tests/run"]
fn names_of_a_real_registry_are_endorsed_by_a_list_and_what_moved_is_shown_before_it_is_signed() {
    let lab = Lab::with_registry();
    let own = Own::new(&lab, &lab.name("own/endorsed", "v1").replace(":v1", ""));
    let registry = own.gun.split('/').next().unwrap();
    let settings = own.folder.join("repository.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let endorses = format!("\nendorses = [\"{registry}/up/*\"]\nnames ");
    fs::write(&settings, text.replacen("\nnames ", &endorses, 1)).unwrap();
    let push = |name: &str, content: &str| {
        let image = Image::manifest(content);
        lab.push(&image, &format!("{registry}/up/{name}"));
        image.digest()
    };
    let first = push("alpine:3.19", "endorsed 1");
    push("alpine:3.20", "endorsed 2");
    push("alpine:edge", "endorsed 3");
    push("busybox:3.20", "endorsed 4");
    // The list of tags, and the registry's list of repositories.
    let list = own.folder.join("upstream.txt");
    let lines = format!("{registry}/up/alpine:3.19\n{registry}/up/*:3.2*\n");
    fs::write(&list, lines).unwrap();
    let endorse = |more: &[&str]| {
        let mut command = own.repo("endorse");
        let done = command
            .arg("--list")
            .arg(&list)
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code(), text)
    };
    let signed = || run(&mut own.repo("list"));
    let (code, shown) = endorse(&["--dry-run"]);
    assert!(
        code == Some(0) && shown.contains("3 new, 0 moved; 0 unchanged"),
        "{shown}"
    );
    assert!(!signed().contains("/up/"));
    assert_eq!(endorse(&[]).0, Some(0));
    let listed = signed();
    for name in ["alpine:3.19", "alpine:3.20", "busybox:3.20"] {
        assert!(listed.contains(&format!("up/{name}")), "{listed}");
    }
    assert!(
        !listed.contains("edge") && listed.contains(&first[..20]),
        "{listed}"
    );
    let (code, shown) = endorse(&["--update"]);
    assert_eq!(code, Some(0), "{shown}");
    // A tag moves: it is said, and signed by --update alone.
    let moved = push("alpine:3.20", "endorsed 2, mended");
    let (code, shown) = endorse(&[]);
    assert!(
        code == Some(1) && shown.contains("up/alpine:3.20"),
        "{shown}"
    );
    assert_eq!(signed(), listed);
    let (code, shown) = endorse(&["--update", "--dry-run"]);
    let is_shown = shown.contains("0 new, 1 moved; 2 unchanged") && shown.contains(&moved[..20]);
    assert!(code == Some(0) && is_shown, "{shown}");
    assert_eq!(signed(), listed);
    assert_eq!(endorse(&["--update"]).0, Some(0));
    assert!(signed().contains(&moved[..20]), "{}", signed());
    // What a host makes of it.
    let folder = lab.root.join("endorsed-policy");
    for (file, text) in own.policy(&[]) {
        let text = text.replace(
            &format!("match = \"{}\"", own.gun),
            &format!("match = \"{registry}/up/*\""),
        );
        crate::lab::write(&folder.join(file), text);
    }
    let verify = |name: &str| {
        let state = lab.root.join("endorsed-state");
        let mut command = rootpin();
        command
            .args(["verify", "--policy"])
            .arg(&folder)
            .arg("--state")
            .arg(state);
        command
            .arg(format!("{registry}/up/{name}"))
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(
        (verify("alpine:3.20"), verify("alpine:edge")),
        (Some(0), Some(1))
    );
}

//! Images made on the spot: small ones, and one that is as large as what people pull.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::command::run;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    /// As they are in the registry: compressed.
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Image {
    /// One layer of some bytes.
    pub(crate) fn small(folder: &Path, salt: &str) -> Self {
        Self::of(vec![layer(folder, |files| {
            fs::write(files.join("salt"), salt).unwrap();
        })])
    }

    /// Some 177 MB compressed in 9 layers: one small, eight of 20 MiB of noise and 7 MB of text
    /// each.
    pub(crate) fn large(folder: &Path) -> Self {
        let mut layers = vec![layer(folder, |files| {
            fs::write(files.join("salt"), "large").unwrap();
        })];
        for number in 1..=8_u64 {
            layers.push(layer(folder, |files| {
                let files = files.join(format!("data{number}"));
                fs::create_dir(&files).unwrap();
                fs::write(files.join("noise"), noise(number, 20 << 20)).unwrap();
                for text in 1..=200_u32 {
                    let lines: Vec<_> = (text * 1000..=text * 1000 + 5000)
                        .map(|line| line.to_string())
                        .collect();
                    fs::write(files.join(format!("text{text}")), lines.join("\n")).unwrap();
                }
            }));
        }
        Self::of(layers)
    }

    /// From layers as `(digest of the archive, compressed archive)`.
    fn of(layers: Vec<(String, Vec<u8>)>) -> Self {
        let (ids, layers): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
        let config = config.to_string().into_bytes();
        let listed: Vec<_> = layers
            .iter()
            .map(|layer| descriptor(LAYER, layer))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": listed});
        Self {
            manifest: manifest.to_string().into_bytes(),
            config,
            layers,
        }
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    pub(crate) fn megabytes(&self) -> f64 {
        f64::from(u32::try_from(self.layers.iter().map(Vec::len).sum::<usize>()).unwrap()) / 1e6
    }
}

/// An archive of tiny images, each of an index, a manifest, a configuration and six layers of its own,
/// under these names.
pub(crate) fn archive(names: impl Iterator<Item = String>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len().try_into().unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    let mut listed = Vec::new();
    for name in names {
        let layers = (0..6).map(|at| (String::new(), format!("{name} {at}").into_bytes()));
        let image = Image::of(layers.collect());
        let manifest = descriptor(MANIFEST, &image.manifest);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        let index = index.to_string().into_bytes();
        let mut entry = descriptor(INDEX, &index);
        entry["annotations"] = json!({"io.containerd.image.name": name});
        listed.push(entry);
        let blobs = [&image.manifest, &image.config, &index];
        for blob in blobs.into_iter().chain(&image.layers) {
            let path = sha256(blob).replace(':', "/");
            add(&format!("blobs/{path}"), blob);
        }
    }
    add("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    add("index.json", index.to_string().as_bytes());
    archive.into_inner().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in digest(&SHA256, bytes).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// Packs what `fill` puts into an empty folder; returns the archive's digest, and the archive
/// compressed.
fn layer(folder: &Path, fill: impl FnOnce(&Path)) -> (String, Vec<u8>) {
    let (files, archive) = (folder.join("layer"), folder.join("layer.tar"));
    let _ = fs::remove_dir_all(&files);
    fs::create_dir_all(&files).unwrap();
    fill(&files);
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-cf",
    ])
    .arg(&archive)
    .arg("-C")
    .arg(&files)
    .arg(".");
    run(&mut tar);
    let id = sha256(&fs::read(&archive).unwrap());
    run(Command::new("gzip").args(["-nf"]).arg(&archive));
    (id, fs::read(folder.join("layer.tar.gz")).unwrap())
}

/// Bytes that no compressor makes smaller, the same on each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

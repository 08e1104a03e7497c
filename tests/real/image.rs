//! Images made on the spot: small, and of layers that no other image has.

use rootpin::image::Digest;
use serde_json::{Value, json};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Some bytes under their digest.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    pub(crate) fn digest(&self) -> String {
        Digest::of(&self.bytes).to_string()
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// A manifest or an index, and what it lists.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) top: Blob,
    /// Manifests below an index.
    pub(crate) manifests: Vec<Blob>,
    /// Configs and layers.
    pub(crate) blobs: Vec<Blob>,
}

impl Image {
    /// One manifest of two layers that hold `salt`.
    pub(crate) fn manifest(salt: &str) -> Self {
        Self::annotated(salt, &Value::Null)
    }

    /// The same, with `annotations` on every layer's descriptor.
    pub(crate) fn annotated(salt: &str, annotations: &Value) -> Self {
        let layers = ["first", "second"].map(|name| Blob::new(LAYER, tar(&[(name, format!("{name} layer of {salt}").as_bytes())])));
        let ids: Vec<_> = layers.iter().map(Blob::digest).collect();
        let config = Blob::json(
            CONFIG,
            &json!({"architecture": architecture(), "os": "linux", "config": {"Cmd": ["/none"]}, "rootfs": {"type": "layers", "diff_ids": ids}}),
        );
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                let mut descriptor = layer.descriptor();
                if !annotations.is_null() {
                    descriptor["annotations"] = annotations.clone();
                }
                descriptor
            })
            .collect();
        let top =
            Blob::json(MANIFEST, &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": descriptors}));
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self { top, manifests: Vec::new(), blobs }
    }

    /// An index of this machine's platform and of another one.
    pub(crate) fn index(salt: &str) -> Self {
        let (ours, other) = (Self::manifest(salt), Self::manifest(&format!("{salt}, another platform")));
        let mut here = ours.top.descriptor();
        here["platform"] = json!({"architecture": architecture(), "os": "linux"});
        let mut there = other.top.descriptor();
        there["platform"] = json!({"architecture": "riscv64", "os": "linux"});
        let top = Blob::json(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [here, there]}));
        Self { top, manifests: vec![ours.top, other.top], blobs: [ours.blobs, other.blobs].concat() }
    }

    pub(crate) fn digest(&self) -> String {
        self.top.digest()
    }

    /// An archive in the OCI layout that gives the image this name.
    pub(crate) fn archive(&self, name: &str) -> Vec<u8> {
        let mut top = self.top.descriptor();
        let tag = name.rsplit(':').next().unwrap();
        top["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}).to_string();
        let mut files =
            vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()), ("index.json".to_owned(), index.into_bytes())];
        for blob in self.blobs.iter().chain(&self.manifests).chain([&self.top]) {
            files.push((format!("blobs/{}", blob.digest().replace(':', "/")), blob.bytes.clone()));
        }
        tar(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
    }
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Regular files in ustar form.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

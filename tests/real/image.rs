//! Images made on the spot: small, and of layers that no other image has.

use rootpin_trust::image::Digest;
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

    /// One manifest of a program that waits, and of a layer that holds `salt`. Those of one salt
    /// have all layers in common, and not the configuration, which has this environment.
    pub(crate) fn that_waits(salt: &str, environment: &str) -> Self {
        let layers = [
            ("wait", waiting_program()),
            ("salt", salt.as_bytes().to_vec()),
        ];
        let layers = layers.map(|(name, bytes)| Blob::new(LAYER, tar(&[(name, &bytes)])));
        Self::of(
            layers,
            &json!({"Cmd": ["/wait"], "Env": [environment]}),
            &Value::Null,
        )
    }

    /// The same, with `annotations` on every layer's descriptor.
    pub(crate) fn annotated(salt: &str, annotations: &Value) -> Self {
        let layers = ["first", "second"].map(|name| {
            Blob::new(
                LAYER,
                tar(&[(name, format!("{name} layer of {salt}").as_bytes())]),
            )
        });
        Self::of(layers, &json!({"Cmd": ["/none"]}), annotations)
    }

    /// One whose program waits for ever, on this kind of machine.
    pub(crate) fn waiting(salt: &str) -> Self {
        let layers = [("salt", salt.as_bytes()), ("wait", &waits())]
            .map(|file| Blob::new(LAYER, tar(&[file])));
        Self::of(layers, &json!({"Cmd": ["/wait"]}), &Value::Null)
    }

    /// The same, in layers that no other salt has.
    pub(crate) fn waiting_alone(salt: &str) -> Self {
        let program = tar(&[("salt", salt.as_bytes()), ("wait", &waiting_program())]);
        let layers =
            [program, tar(&[("more", salt.as_bytes())])].map(|bytes| Blob::new(LAYER, bytes));
        Self::of(layers, &json!({"Cmd": ["/wait"]}), &Value::Null)
    }

    fn of(layers: [Blob; 2], config: &Value, annotations: &Value) -> Self {
        let ids: Vec<_> = layers.iter().map(Blob::digest).collect();
        let rootfs = json!({"type": "layers", "diff_ids": ids});
        let config = Blob::json(
            CONFIG,
            &json!({"architecture": architecture(), "os": "linux", "config": config, "rootfs": rootfs}),
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
        let top = Blob::json(
            MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": descriptors}),
        );
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self {
            top,
            manifests: Vec::new(),
            blobs,
        }
    }

    /// An index of this machine's platform and of another one.
    pub(crate) fn index(salt: &str) -> Self {
        let (ours, other) = (
            Self::manifest(salt),
            Self::manifest(&format!("{salt}, another platform")),
        );
        let mut here = ours.top.descriptor();
        here["platform"] = json!({"architecture": architecture(), "os": "linux"});
        let mut there = other.top.descriptor();
        there["platform"] = json!({"architecture": "riscv64", "os": "linux"});
        let top = Blob::json(
            INDEX,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [here, there]}),
        );
        Self {
            top,
            manifests: vec![ours.top, other.top],
            blobs: [ours.blobs, other.blobs].concat(),
        }
    }

    pub(crate) fn digest(&self) -> String {
        self.top.digest()
    }

    /// A manifest of the same layers with another environment.
    pub(crate) fn configured_otherwise(&self) -> Self {
        let [config, layers @ ..] = &self.blobs[..] else {
            panic!("no config")
        };
        let mut value: Value = serde_json::from_slice(&config.bytes).unwrap();
        value["config"]["Env"] = json!(["LD_PRELOAD=/salt"]);
        let config = Blob::json(CONFIG, &value);
        let mut manifest: Value = serde_json::from_slice(&self.top.bytes).unwrap();
        manifest["config"] = config.descriptor();
        Self {
            top: Blob::json(MANIFEST, &manifest),
            manifests: Vec::new(),
            blobs: [&[config], layers].concat(),
        }
    }

    /// Of a manifest: its layers, which are tar archives.
    pub(crate) fn layers(&self) -> &[Blob] {
        &self.blobs[1..]
    }

    /// The configuration's digest, which CRI and Docker's classic store take for the image's ID.
    pub(crate) fn id(&self) -> String {
        self.blobs[0].digest()
    }

    /// An archive in the OCI layout that gives the image this name, with the list beside it that
    /// Docker's classic store reads.
    pub(crate) fn archive(&self, name: &str) -> Vec<u8> {
        let mut top = self.top.descriptor();
        let tag = name.rsplit(':').next().unwrap();
        top["annotations"] =
            json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}).to_string();
        let mut files = vec![
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), index.into_bytes()),
        ];
        let path = |blob: &Blob| format!("blobs/{}", blob.digest().replace(':', "/"));
        if let [config, layers @ ..] = &self.blobs[..] {
            let list = json!([{"Config": path(config), "RepoTags": [name], "Layers": layers.iter().map(path).collect::<Vec<_>>()}]);
            files.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
        }
        for blob in self.blobs.iter().chain(&self.manifests).chain([&self.top]) {
            files.push((path(blob), blob.bytes.clone()));
        }
        tar(&files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect::<Vec<_>>())
    }
}

/// A program of one segment that calls pause(2) over and over (ELF-64, "ELF Header" and "Program
/// Header").
fn waits() -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = match std::env::consts::ARCH {
        // mov eax, 34; syscall; jmp to the beginning
        "x86_64" => (62, &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]),
        // mov x0-x3, 0; mov x8, 73 (ppoll); svc 0; b to the beginning
        _ => (
            183,
            &[
                0, 0, 0x80, 0xd2, 1, 0, 0x80, 0xd2, 2, 0, 0x80, 0xd2, 3, 0, 0x80, 0xd2, 0x28, 9,
                0x80, 0xd2, 1, 0, 0, 0xd4, 0xfa, 0xff, 0xff, 0x17,
            ],
        ),
    };
    let (base, headers) = (0x40_0000_u64, 120_u64);
    let size = headers + u64::try_from(code.len()).unwrap();
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2_u16, machine].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend(
        [base + headers, 64, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    file.extend(0_u32.to_le_bytes());
    file.extend(
        [64_u16, 56, 1, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    file.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(
        [0, base, base, size, size, 0x1000]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    file.extend(code);
    file
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An ELF program of a few instructions that does nothing for ever: no other one runs in every
/// image.
fn waiting_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code): (u64, &[u32]) = match std::env::consts::ARCH {
        // pause(): mov eax, 34; syscall; jmp to the beginning
        "x86_64" => (62, &[0x0000_22b8, 0xeb05_0f00, 0x0000_00f7]),
        // ppoll(0, 0, 0, 0): mov x0 to x4, 0; mov x8, 73; svc 0; b to the beginning
        "aarch64" => (
            183,
            &[
                0xd280_0000,
                0xd280_0001,
                0xd280_0002,
                0xd280_0003,
                0xd280_0004,
                0xd280_0928,
                0xd400_0001,
                0x17ff_fff9,
            ],
        ),
        other => panic!("no waiting program for {other}"),
    };
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let size = HEADERS + u64::try_from(code.len()).unwrap();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |fields: &[(usize, u64)]| {
        for (width, value) in fields {
            elf.extend(&value.to_le_bytes()[..*width]);
        }
    };
    // executable, machine, version; entry, program headers, no section headers; flags and sizes
    put(&[
        (2, 2),
        (2, machine),
        (4, 1),
        (8, BASE + HEADERS),
        (8, 64),
        (8, 0),
    ]);
    put(&[(4, 0), (2, 64), (2, 56), (2, 1), (2, 64), (2, 0), (2, 0)]);
    // one segment, loaded to be read and run
    put(&[
        (4, 1),
        (4, 5),
        (8, 0),
        (8, BASE),
        (8, BASE),
        (8, size),
        (8, size),
        (8, 0x1000),
    ]);
    elf.extend(code);
    elf
}

/// Regular files in ustar form, which everybody may run.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in files {
        let mut header = [0_u8; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000755\0");
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

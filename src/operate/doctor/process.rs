//! A process that is an engine.

/// As `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// Its name: `containerd`, `dockerd`, `buildkitd`, `crio`, `podman`.
    pub(super) name: String,
    /// The user it runs as.
    pub(super) uid: u32,
    /// Its command line.
    pub(super) words: Vec<String>,
    /// Whether it has another root directory than this program: it runs in a container.
    pub(super) contained: bool,
}

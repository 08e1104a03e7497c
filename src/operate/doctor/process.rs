//! A process that is an engine, and its command line.

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

/// Every value that a command line gives an option, in the ways in which Go's programs take it.
pub(super) fn options(words: &[String], names: &[&str]) -> Vec<String> {
    let mut words = words.iter().skip(1);
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        if bare.len() == word.len() {
            continue;
        }
        match bare.split_once('=') {
            Some((name, value)) if names.contains(&name) => found.push(value.to_owned()),
            None if names.contains(&bare) => found.extend(words.next().cloned()),
            _ => {}
        }
    }
    found
}

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

/// Those of containerd's options that take no value; Go reads its command line up to the first word
/// that is neither an option nor an option's value.
const WITHOUT_VALUE: [&str; 4] = ["h", "help", "v", "version"];

/// Every value that a command line gives an option, in the ways in which Go's programs take it.
pub(super) fn options(words: &[String], names: &[&str]) -> Vec<String> {
    let program = words.first().and_then(|word| word.rsplit('/').next());
    let is_containerd = program == Some("containerd");
    let mut words = words.iter().skip(1);
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        if word == "--" || is_containerd && (bare.len() == word.len() || bare.is_empty()) {
            break;
        }
        if bare.len() == word.len() {
            continue;
        }
        match bare.split_once('=') {
            Some((name, value)) if names.contains(&name) => found.push(value.to_owned()),
            None if names.contains(&bare) => found.extend(words.next().cloned()),
            // Another option's value.
            None if is_containerd && !WITHOUT_VALUE.contains(&bare) => {
                words.next();
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_options_end_at_the_first_word_that_belongs_to_none() {
        for (line, wanted) in [
            (&["containerd", "--config", "/a"][..], &["/a"][..]),
            (&["/usr/bin/containerd", "", "--config", "/a"], &[]),
            (&["containerd", "--root", "", "--config", "/a"], &["/a"]),
            (&["containerd", "-l", "debug", "-c", "/a"], &["/a"]),
            (&["containerd", "--config=/a", "", "--config=/b"], &["/a"]),
            (&["containerd", "--root", "--config", "/a"], &[]),
            (&["containerd", "-version", "-c", "/a"], &["/a"]),
            (&["containerd", "-", "-c", "/a"], &[]),
            (&["containerd", "--", "-c", "/a"], &[]),
            // pflag reads on behind such a word.
            (&["/usr/bin/dockerd", "", "-c", "/a"], &["/a"]),
            (&["dockerd", "x", "--config", "/a"], &["/a"]),
            (&["dockerd", "--", "--config", "/a"], &[]),
        ] {
            let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(options(&words, &["config", "c"]), wanted, "{line:?}");
        }
    }
}

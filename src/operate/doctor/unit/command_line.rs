//! A command of a unit's file, and what its program is started with.

use super::environment::Variables;
use super::words::{PREFIXES, split};

/// A command as its line has it, before variables get their values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    prefix: String,
    /// With the name that it is called by, where that is another one.
    pub(super) words: Vec<String>,
}

impl CommandLine {
    /// None: it is more than one command, or a shell runs it.
    pub(super) fn read(line: &str) -> Option<Self> {
        let program = line.trim_start_matches(PREFIXES);
        let prefix = line.get(..line.len() - program.len())?.to_owned();
        let words: Vec<_> = split(program, true);
        let is_one = !words.iter().any(|(word, quoted)| word == ";" && !quoted);
        (is_one && !prefix.contains('|')).then(|| Self {
            prefix,
            words: words.into_iter().map(|(word, _)| word).collect(),
        })
    }

    /// The program, and the words that it gets after its name.
    pub(super) fn expanded(&self, variables: &Variables) -> Vec<String> {
        let mut found = Vec::new();
        for (at, word) in self.words.iter().enumerate() {
            if at == 1 && self.prefix.contains('@') {
                continue;
            }
            // A word that begins so is a variable's name to its end, and as many words as its value
            // has (`replace_env_argv` in src/basic/env-util.c).
            let whole = word
                .strip_prefix('$')
                .filter(|name| at > 0 && !name.starts_with(['{', '$']));
            match whole {
                _ if self.prefix.contains(':') => found.push(word.clone()),
                Some(name) => {
                    let value = split(&variables.value(name), false).into_iter();
                    found.extend(value.map(|(word, _)| word));
                }
                None if at == 0 => found.push(word.clone()),
                None => found.push(substituted(word, variables)),
            }
        }
        found
    }

    /// As systemd shows it: the words that its program gets, the first one among them.
    pub(super) fn shown(&self) -> String {
        let from = usize::from(self.prefix.contains('@'));
        self.words.get(from..).unwrap_or_default().join(" ")
    }
}

fn substituted(word: &str, variables: &Variables) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            out.push_str(&variables.value(name));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

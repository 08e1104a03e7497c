//! The words of a command line in a unit's file (systemd.service(5), "Command Lines").

use super::environment::Variables;

/// Signs before the program's path.
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// What stands in a word for what only systemd knows: its specifiers (systemd.unit(5)), escapes, and
/// variables whose value is not known.
pub(super) const SPECIFIER: char = '\u{1}';
const ESCAPE: char = '\u{2}';
pub(super) const VARIABLE: char = '\u{3}';
pub(super) const MARKS: [char; 3] = [SPECIFIER, ESCAPE, VARIABLE];

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

/// Words, and whether each was in quotes. `of_unit`: of a unit's file, which has specifiers and
/// escapes of C; else a variable's value, in which a backslash takes the next sign as it is.
pub(super) fn split(line: &str, of_unit: bool) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut quote = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (sign, quote) {
            ('\\', _) => {
                let entry = word.get_or_insert_default();
                entry.0.extend(signs.next().map(|sign| match sign {
                    sign if !of_unit => sign,
                    '\\' | '"' | '\'' => sign,
                    's' => ' ',
                    ';' => {
                        entry.1 = true;
                        ';'
                    }
                    _ => ESCAPE,
                }));
            }
            ('%', _) if of_unit => {
                let is_sign = signs.next() == Some('%');
                let entry = word.get_or_insert_default();
                entry.0.push(if is_sign { '%' } else { SPECIFIER });
            }
            (sign, Some(open)) if sign == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(sign);
                word.get_or_insert_default().1 = true;
            }
            (' ' | '\t' | '\n' | '\r', None) => words.extend(word.take()),
            (sign, _) => word.get_or_insert_default().0.push(sign),
        }
    }
    words.extend(word);
    words
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

/// What keeps a word from being known that is the program, an option's name, or the value of one of
/// these options.
pub(super) fn unknown(words: &[String], options: &[&str]) -> Option<char> {
    let mark = |word: &str| word.chars().find(|sign| MARKS.contains(sign));
    let (program, rest) = words.split_first()?;
    let mut found = mark(program);
    let mut rest = rest.iter();
    while let (None, Some(word)) = (found, rest.next()) {
        let bare = word.trim_start_matches('-');
        if bare.len() == word.len() {
            // It may be an option all the same. No specifier begins with a dash.
            found = word
                .chars()
                .next()
                .filter(|sign| [ESCAPE, VARIABLE].contains(sign));
            continue;
        }
        let (name, value) = bare
            .split_once('=')
            .map_or((bare, None), |(name, value)| (name, Some(value)));
        found = mark(name);
        if options.contains(&name) {
            let value = value.or_else(|| rest.next().map(String::as_str));
            found = found.or_else(|| mark(value.unwrap_or_default()));
        }
    }
    found
}

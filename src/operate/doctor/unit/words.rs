//! The words of a command line in a unit's file (systemd.service(5), "Command Lines").

/// Signs before the program's path.
pub(super) const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// What stands in a word for what only systemd knows: its specifiers (systemd.unit(5)), escapes, and
/// variables whose value is not known.
pub(super) const SPECIFIER: char = '\u{1}';
pub(super) const ESCAPE: char = '\u{2}';
pub(super) const VARIABLE: char = '\u{3}';
pub(super) const MARKS: [char; 3] = [SPECIFIER, ESCAPE, VARIABLE];

/// Words, and whether each was in quotes. `of_unit`: of a unit's file, which has specifiers and
/// escapes of C; else a variable's value, in which a backslash takes the next sign as it is.
pub(in super::super) fn split(line: &str, of_unit: bool) -> Vec<(String, bool)> {
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

/// Whether systemd takes it as a variable's name.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|sign: char| sign == '_' || sign.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
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

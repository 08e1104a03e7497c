//! Leaves the comments of configuration files out: people write into them what no key says that it
//! is a secret.

use toml_edit::DocumentMut;

/// A file's text without what follows `#` outside of a string of TOML. The sign itself stays, and
/// so do the lines: findings name them. Of what is no TOML nobody can say where a string is, so each
/// `#` begins a comment there.
pub(super) fn without_comments(text: &str) -> String {
    if text.parse::<DocumentMut>().is_ok()
        && let Some(out) = outside_of_strings(text)
    {
        return out;
    }
    let lines = text.split_inclusive('\n').map(|line| {
        let end = if line.ends_with('\n') { "\n" } else { "" };
        let cut = line.split_once('#');
        cut.map_or_else(|| line.to_owned(), |(before, _)| format!("{before}#{end}"))
    });
    lines.collect()
}

/// None where a string of several lines is open at the end.
fn outside_of_strings(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // The quotes that end the string which is open.
    let mut open: Option<&str> = None;
    while let Some(sign) = rest.chars().next() {
        let mut taken = sign.len_utf8();
        match open {
            None if sign == '#' => {
                out.push('#');
                rest = rest
                    .find('\n')
                    .map_or("", |end| rest.get(end..).unwrap_or_default());
                continue;
            }
            None => {
                open = ["\"\"\"", "'''", "\"", "'"]
                    .into_iter()
                    .find(|quotes| rest.starts_with(quotes));
                taken = open.map_or(taken, str::len);
            }
            Some(quotes) if rest.starts_with(quotes) => {
                taken = quotes.len();
                if taken > 1 {
                    // Up to two quotes before the closing ones are in the string.
                    let run = rest.len() - rest.trim_start_matches(sign).len();
                    taken = run.min(taken + 2);
                }
                open = None;
            }
            // The sign after it is no quote.
            Some(quotes) if sign == '\\' && quotes.starts_with('"') => {
                taken += rest.chars().nth(1).map_or(0, char::len_utf8);
            }
            Some(_) => {}
        }
        let (done, left) = rest.split_at(taken);
        out.push_str(done);
        rest = left;
    }
    open.is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_signs_in_strings_stay() {
        for (text, wanted) in [
            ("# token for the mirror: S01\na = 1\n", "#\na = 1\n"),
            ("a = 1 # pass phrase: S31\n", "a = 1 #\n"),
            ("a = \"x # y\" # S\n", "a = \"x # y\" #\n"),
            ("a = 'x # y' # S\n", "a = 'x # y' #\n"),
            ("a = \"x \\\" # y\" # S\n", "a = \"x \\\" # y\" #\n"),
            ("a = 'x \\' # S\n", "a = 'x \\' #\n"),
            (
                "a = \"\"\"\n# in \" it\n\"\"\" # S\n",
                "a = \"\"\"\n# in \" it\n\"\"\" #\n",
            ),
            (
                "a = '''\n# in '' it\n''' # S\n",
                "a = '''\n# in '' it\n''' #\n",
            ),
            ("a = \"\" # S\n", "a = \"\" #\n"),
            ("a = \"open\n# S\nb = 1\n", "a = \"open\n#\nb = 1\n"),
            ("a = 'é' # S", "a = 'é' #"),
            (
                "a = \"\"\"\n\"x\"\"\"\" # S\n# S\nb = 1 # S\n",
                "a = \"\"\"\n\"x\"\"\"\" #\n#\nb = 1 #\n",
            ),
            (
                "a = \"\"\"x\"\"\"\"\" # S\n# S\n",
                "a = \"\"\"x\"\"\"\"\" #\n#\n",
            ),
            ("a = '''x''''' # S\n# S\n", "a = '''x''''' #\n#\n"),
            ("a = \"\"\"\"\"\" # S\n", "a = \"\"\"\"\"\" #\n"),
            // What is no TOML.
            ("a = \"\"\"\n# S\nb = 1 # S\n", "a = \"\"\"\n#\nb = 1 #\n"),
            ("a = '''\n# S\nb = 1 # S", "a = '''\n#\nb = 1 #"),
            ("a = b\nc = \"x # S\"\n", "a = b\nc = \"x #\n"),
            (
                "a = \"\"\"x\"\"\"\"\"\"\n# S\n",
                "a = \"\"\"x\"\"\"\"\"\"\n#\n",
            ),
            ("a = \"\\", "a = \"\\"),
        ] {
            assert_eq!(without_comments(text), wanted, "{text}");
        }
    }
}

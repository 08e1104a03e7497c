//! The commands of a page.

use crate::documents::{files, is_of_kind, quoted};

/// A command, as its page has it.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) place: String,
    pub(super) text: String,
    /// Whether it stands alone, to be typed, and not within a sentence.
    pub(super) whole: bool,
    /// The exit code that the transcript marks.
    pub(super) exit: Option<i32>,
}

/// README.md, and those below docs.
pub(super) fn pages() -> Vec<String> {
    let docs = files("docs").into_iter();
    let docs = docs.filter(|path| is_of_kind(path, "md"));
    ["README.md".to_owned()].into_iter().chain(docs).collect()
}

/// The commands in the page's order. In a block with a prompt, what has none is output.
pub(super) fn commands(page: &str, text: &str) -> Vec<Typed> {
    let mut found: Vec<Typed> = Vec::new();
    let mut fence: Option<String> = None;
    let mut open = false;
    for (line, number) in text.lines().zip(1..) {
        let trimmed = line.trim_start();
        if let Some(info) = trimmed.strip_prefix("```") {
            fence = fence.is_none().then(|| info.to_owned());
            continue;
        }
        let (shown, goes_on) = match trimmed.strip_suffix('\\') {
            Some(shown) => (shown, true),
            None => (trimmed, false),
        };
        if open {
            let last = found.last_mut().unwrap();
            last.text = format!("{} {}", last.text.trim_end(), bare(shown));
            open = goes_on;
            continue;
        }
        let typed = match &fence {
            Some(kind) if kind.starts_with("console") => {
                let exit = shown.strip_prefix("[exit ");
                if let (Some(exit), Some(last)) = (exit, found.last_mut()) {
                    last.exit = Some(exit.trim_end_matches(']').parse().unwrap());
                }
                shown.strip_prefix("$ ")
            }
            Some(_) => Some(shown),
            None => line.starts_with("    ").then_some(shown),
        };
        let place = || format!("{page}:{number}");
        if let Some(typed) = typed.filter(|typed| typed.starts_with("rootpin ")) {
            let (text, exit) = (bare(typed).to_owned(), None);
            open = goes_on;
            found.push(Typed {
                place: place(),
                text,
                whole: true,
                exit,
            });
        } else if fence.is_none() {
            let spans = quoted(line).filter(|span| span.starts_with("rootpin "));
            found.extend(spans.map(|span| Typed {
                place: place(),
                text: span.to_owned(),
                whole: false,
                exit: None,
            }));
        }
    }
    found
}

/// A line without the comment on it.
fn bare(line: &str) -> &str {
    line.split(" #").next().unwrap().trim_end()
}

//! One self-contained HTML page: no request leaves it, and all text in it is text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A page being written.
#[derive(Debug)]
pub(super) struct HtmlPage {
    title: String,
    body: String,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    /// An ID or a digest.
    Code(String),
    /// A word with its colour: `good`, `bad`, `odd` or `dim`.
    Word(&'static str, String),
    /// Several lines.
    Lines(Vec<String>),
    /// A number of hosts, and their names once they are asked for.
    Hosts(String, String),
}

const STYLE: &str = include_str!("html_page.css");
const SCRIPT: &str = include_str!("html_page.js");

impl HtmlPage {
    pub(super) fn new(title: &str) -> Self {
        let mut page = Self {
            title: title.to_owned(),
            body: String::new(),
        };
        page.push(format_args!("<h1>{}</h1>", html(title)));
        page
    }

    pub(super) fn paragraph(&mut self, class: &str, text: &str) {
        self.push(format_args!("<p class=\"{class}\">{}</p>", html(text)));
    }

    /// Facts under their names.
    pub(super) fn facts(&mut self, facts: &[(&str, Cell)]) {
        self.push(format_args!("<dl>"));
        for (name, value) in facts {
            self.push(format_args!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                html(name),
                value.html()
            ));
        }
        self.push(format_args!("</dl>"));
    }

    /// A heading, and a table that sorts by the column whose head is pressed. Where there are no
    /// rows, that is said.
    pub(super) fn table(&mut self, heading: &str, none: &str, head: &[&str], rows: &[Vec<Cell>]) {
        self.push(format_args!(
            "<section><h2>{} <small>{}</small></h2>",
            html(heading),
            rows.len()
        ));
        if rows.is_empty() {
            self.paragraph("dim", none);
        } else {
            self.push(format_args!("<table><thead><tr>"));
            for name in head {
                self.push(format_args!(
                    "<th scope=\"col\"><button type=\"button\">{}</button></th>",
                    html(name)
                ));
            }
            self.push(format_args!("</tr></thead><tbody>"));
            for row in rows {
                self.push(format_args!("<tr>"));
                for (cell, name) in row.iter().zip(head) {
                    self.push(format_args!(
                        "<td data-label=\"{}\">{}</td>",
                        html(name),
                        cell.html()
                    ));
                }
                self.push(format_args!("</tr>"));
            }
            self.push(format_args!("</tbody></table>"));
        }
        self.push(format_args!("</section>"));
    }

    /// A heading and a graph, which is markup already.
    pub(super) fn graph(&mut self, heading: &str, svg: &str) {
        self.push(format_args!(
            "<section><h2>{}</h2>{svg}</section>",
            html(heading)
        ));
    }

    /// The whole page. Its policy lets nothing in but its own style and script, by their hashes.
    pub(super) fn html(&self) -> String {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
             base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"referrer\" content=\"no-referrer\"><link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{STYLE}</style></head>\
             <body>{}<script>{SCRIPT}</script></body></html>\n",
            hash(STYLE),
            hash(SCRIPT),
            html(&self.title),
            self.body
        )
    }

    fn push(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.body.write_fmt(markup);
        self.body.push('\n');
    }
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Text(count.to_string())
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => breakable(text),
            Self::Code(text) => code(text),
            Self::Hosts(shown, hosts) => format!(
                "<details><summary>{}</summary>{}</details>",
                html(shown),
                breakable(hosts)
            ),
            Self::Word(class, text) => format!("<b class=\"{class}\">{}</b>", html(text)),
            Self::Lines(lines) => lines
                .iter()
                .map(|line| breakable(line))
                .collect::<Vec<_>>()
                .join("<br>"),
        }
    }
}

/// Longer IDs are cut: the whole is shown on hover, and copied by a click.
const LONG: usize = 24;
/// How much of an ID is shown.
const SHOWN: usize = 12;

/// An ID or a digest.
fn code(text: &str) -> String {
    let (kind, id) = match text.split_once(':') {
        Some((kind, id)) if kind.len() < 16 => (text.get(..=kind.len()).unwrap_or_default(), id),
        _ => ("", text),
    };
    let is_id = id.len() > LONG
        && id
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || "+/=".contains(sign));
    match id.get(..SHOWN).filter(|_| is_id) {
        Some(begin) => format!(
            "<code class=\"id\" title=\"{0}\" data-whole=\"{0}\" tabindex=\"0\">{1}{2}…</code>",
            html(text),
            html(kind),
            html(begin)
        ),
        None => format!("<code>{}</code>", breakable(text)),
    }
}

/// Text that may be broken into lines after a slash or before an "@", and not within a word.
fn breakable(text: &str) -> String {
    html(text).replace('/', "/<wbr>").replace('@', "<wbr>@")
}

/// Text as HTML, in elements and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_cut_and_whole_on_hover_and_no_word_is_broken() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let html = Cell::Code(digest.clone()).html();
        assert!(html.contains(&format!("title=\"{digest}\"")), "{html}");
        assert!(html.contains(">sha256:abababababab…</code>"), "{html}");
        assert_eq!(
            Cell::Code("no-rule".to_owned()).html(),
            "<code>no-rule</code>"
        );
        let name = Cell::text("registry.example/team/app:1").html();
        assert_eq!(name, "registry.example/<wbr>team/<wbr>app:1");
        assert!(!STYLE.contains("anywhere"), "breaks within a word");
    }

    #[test]
    fn all_text_is_text_and_nothing_is_fetched() {
        let hostile = "</script><script>alert(1)</script>\"'><img src=http://x.example/>";
        let mut page = HtmlPage::new(hostile);
        page.paragraph("note", hostile);
        page.facts(&[(hostile, Cell::text(hostile))]);
        page.table(
            hostile,
            hostile,
            &[hostile],
            &[
                vec![Cell::Code(hostile.to_owned())],
                vec![Cell::Lines(vec![hostile.to_owned()])],
            ],
        );
        page.table(hostile, hostile, &[hostile], &[]);
        let html = page.html();
        assert_eq!(html.matches("<script").count(), 1);
        assert!(!html.contains("<img"), "{html}");
        let own = html.replace("src=http://x.example/", "");
        let own = own.replace("src=http:/<wbr>/<wbr>x.example/<wbr>", "");
        for elsewhere in ["src=", "http:", "https:", "//", "url(", "@import"] {
            assert!(!own.contains(elsewhere), "{elsewhere}");
        }
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let between = |from: &str, to: &str| {
            html.split_once(from)
                .unwrap()
                .1
                .split_once(to)
                .unwrap()
                .0
                .to_owned()
        };
        assert!(html.contains(&format!(
            "style-src 'sha256-{}'",
            hash(&between("<style>", "</style>"))
        )));
        assert!(html.contains(&format!(
            "script-src 'sha256-{}'",
            hash(&between("<script>", "</script>"))
        )));
    }
}

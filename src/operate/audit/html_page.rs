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
    /// Each host's name once: cells name a host by its place in this list.
    hosts: Vec<String>,
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
    /// Hosts by their places in the page's list, in order: how many, and their names once they are asked for.
    Hosts(Vec<usize>),
}

/// Rows of a table that are laid out when the page opens. The page's script finds, sorts and shows the others.
const SHOWN_ROWS: usize = 200;
/// Rows of a table that are in the page at all.
const MAX_ROWS: usize = 10_000;
/// Hosts that have a name in the page.
pub(super) const MAX_HOSTS: usize = 20_000;
/// Names that a cell of more hosts shows without the page's script.
const FIRST_HOSTS: usize = 3;

const STYLE: &str = include_str!("html_page.css");
const SCRIPT: &str = include_str!("html_page.js");

/// Each page begins so, of whatever release.
pub const BEGIN: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ";

impl HtmlPage {
    pub(super) fn new(title: &str) -> Self {
        let mut page = Self {
            title: title.to_owned(),
            body: String::new(),
            hosts: Vec::new(),
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
                value.html(&self.hosts)
            ));
        }
        self.push(format_args!("</dl>"));
    }

    /// The names of hosts, for the cells that name hosts by their places.
    pub(super) fn hosts<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.hosts = names.take(MAX_HOSTS).map(str::to_owned).collect();
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
            let (shown, more) = rows.split_at(rows.len().min(SHOWN_ROWS));
            for row in shown {
                self.row(row, head);
            }
            self.push(format_args!("</tbody></table>"));
            self.more_rows(more, rows.len());
        }
        self.push(format_args!("</section>"));
    }

    fn row(&mut self, row: &[Cell], head: &[&str]) {
        self.push(format_args!("<tr>"));
        // The script labels the cells of rows that are not shown yet.
        let labels = head
            .iter()
            .copied()
            .map(Some)
            .chain(std::iter::repeat(None));
        for (cell, label) in row.iter().zip(labels) {
            let cell = cell.html(&self.hosts);
            match label {
                Some(label) => self.push(format_args!(
                    "<td data-label=\"{}\">{cell}</td>",
                    html(label)
                )),
                None => self.push(format_args!("<td>{cell}</td>")),
            }
        }
        self.push(format_args!("</tr>"));
    }

    /// Rows that a browser reads and does not lay out before the script has it.
    fn more_rows(&mut self, rows: &[Vec<Cell>], all: usize) {
        if rows.is_empty() {
            return;
        }
        self.push(format_args!("<template><table><tbody>"));
        for row in rows.iter().take(MAX_ROWS - SHOWN_ROWS) {
            self.row(row, &[]);
        }
        self.push(format_args!("</tbody></table></template>"));
        self.paragraph(
            "dim more",
            &format!("{SHOWN_ROWS} of {all} rows are shown."),
        );
        if all > MAX_ROWS {
            self.paragraph(
                "note",
                &format!(
                    "{} further rows are left off: a page has {MAX_ROWS} of a table at most.",
                    all - MAX_ROWS
                ),
            );
        }
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
            "{BEGIN}style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
             base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"referrer\" content=\"no-referrer\"><link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{STYLE}</style></head>\
             <body>{}<template id=\"hosts\">{}</template><script>{SCRIPT}</script></body></html>\n",
            hash(STYLE),
            hash(SCRIPT),
            html(&self.title),
            self.body,
            html(&self.hosts.join("\n"))
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

    fn html(&self, names: &[String]) -> String {
        match self {
            Self::Text(text) => breakable(text),
            Self::Code(text) => code(text),
            Self::Hosts(hosts) => hosts_cell(hosts, names),
            Self::Word(class, text) => format!("<b class=\"{class}\">{}</b>", html(text)),
            Self::Lines(lines) => lines
                .iter()
                .map(|line| breakable(line))
                .collect::<Vec<_>>()
                .join("<br>"),
        }
    }
}

/// A few hosts by their names; of more their number, and the names once the cell is opened.
fn hosts_cell(hosts: &[usize], names: &[String]) -> String {
    let first: Vec<_> = hosts
        .iter()
        .filter_map(|host| names.get(*host).map(String::as_str))
        .take(FIRST_HOSTS)
        .collect();
    let first = breakable(&first.join(", "));
    if hosts.len() <= FIRST_HOSTS {
        return first;
    }
    format!(
        "<details data-hosts=\"{}\"><summary>{}</summary>{first}, …</details>",
        places(hosts),
        hosts.len()
    )
}

/// Places in order as short text: to each the distance from the one before in hexadecimal digits, and `+n` for n more that follow at
/// once. The script reads it.
fn places(places: &[usize]) -> String {
    let mut text = String::new();
    let mut next = 0;
    let mut rest = places;
    while let Some((first, after)) = rest.split_first() {
        let run = after
            .iter()
            .zip(first + 1..)
            .take_while(|(place, wanted)| *place == wanted)
            .count();
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "{}{:x}",
            if text.is_empty() { "" } else { " " },
            first.saturating_sub(next)
        );
        if run > 0 {
            let _ = write!(text, "+{run:x}");
        }
        next = first + run + 1;
        rest = after.get(run..).unwrap_or_default();
    }
    text
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
            "<code class=\"id\" title=\"{0}\" tabindex=\"0\">{1}{2}…</code>",
            html(text),
            html(kind),
            html(begin)
        ),
        None => format!("<code>{}</code>", with_breaks(text)),
    }
}

/// Text that may be broken into lines after a slash or before an "@", and not within a word, as a
/// browser does at the hyphens of a host's name.
fn breakable(text: &str) -> String {
    let word = |word: &str| {
        let shown = with_breaks(word);
        if word.contains('-') {
            format!("<span class=\"word\">{shown}</span>")
        } else {
            shown
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn with_breaks(text: &str) -> String {
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
        let html = Cell::Code(digest.clone()).html(&[]);
        assert!(html.contains(&format!("title=\"{digest}\"")), "{html}");
        assert!(html.contains(">sha256:abababababab…</code>"), "{html}");
        assert_eq!(
            Cell::Code("no-rule".to_owned()).html(&[]),
            "<code>no-rule</code>"
        );
        let name = Cell::text("registry.example/team/app:1").html(&[]);
        assert_eq!(name, "registry.example/<wbr>team/<wbr>app:1");
        assert!(!STYLE.contains("anywhere"), "breaks within a word");
        let host = Cell::text("on ip-10-0-3-7.example/x").html(&[]);
        let whole = "on <span class=\"word\">ip-10-0-3-7.example/<wbr>x</span>";
        assert_eq!(host, whole);
        assert!(STYLE.contains(".word { white-space: nowrap; }"));
    }

    #[test]
    fn of_many_rows_the_first_are_laid_out_and_of_too_many_the_last_are_left_off_and_counted() {
        let mut page = HtmlPage::new("rows");
        let rows: Vec<_> = (0..MAX_ROWS + 5)
            .map(|row| vec![Cell::count(row)])
            .collect();
        page.table("Many", "", &["Number"], &rows);
        let html = page.html();
        let (shown, more) = html.split_once("<template>").unwrap();
        assert_eq!(shown.matches("<td").count(), SHOWN_ROWS);
        let (more, after) = more.split_once("</template>").unwrap();
        assert_eq!(more.matches("<td").count(), MAX_ROWS - SHOWN_ROWS);
        assert!(
            after.contains("5 further rows are left off"),
            "{after:.300}"
        );
        assert!(after.contains(&format!("{SHOWN_ROWS} of {} rows", MAX_ROWS + 5)));
    }

    /// As the script reads it.
    fn read(text: &str) -> Vec<usize> {
        let (mut places, mut next) = (Vec::new(), 0);
        for part in text.split_whitespace() {
            let (gap, more) = part.split_once('+').unwrap_or((part, "0"));
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            let first = next + number(gap);
            places.extend(first..=first + number(more));
            next = first + number(more) + 1;
        }
        places
    }

    #[test]
    fn the_places_of_hosts_are_read_as_they_were_written_and_a_name_is_in_the_page_once() {
        for hosts in [
            vec![],
            vec![0],
            vec![7],
            vec![0, 1, 2, 3],
            vec![3, 4, 9, 500, 501, 502, 4000],
            (0..5000).collect(),
        ] {
            assert_eq!(read(&places(&hosts)), hosts);
        }
        assert_eq!(places(&(0..5000).collect::<Vec<_>>()), "0+1387");
        assert_eq!(places(&[3, 4, 9, 500]), "3+1 4 1ea");
        let mut page = HtmlPage::new("hosts");
        let names: Vec<_> = (0..20).map(|number| format!("node-{number:02}")).collect();
        page.hosts(names.iter().map(String::as_str));
        let rows = vec![vec![Cell::Hosts((4..20).collect())]; 50];
        page.table("Images", "", &["Hosts"], &rows);
        let html = page.html();
        assert_eq!(html.matches("node-19").count(), 1);
        let word = |name: &str| format!("<span class=\"word\">{name}</span>");
        let first = ["node-04,", "node-05,", "node-06"].map(word).join(" ");
        let cell = format!("<details data-hosts=\"4+f\"><summary>16</summary>{first}, …</details>");
        assert!(html.contains(&cell), "{html}");
        let two = [word("node-01,"), word("node-05")].join(" ");
        assert_eq!(Cell::Hosts(vec![1, 5]).html(&names), two);
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
        page.hosts([hostile; 9].into_iter());
        let row = vec![Cell::text(hostile), Cell::Hosts((0..9).collect())];
        page.table(
            hostile,
            hostile,
            &[hostile, hostile],
            &vec![row; SHOWN_ROWS + 1],
        );
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

//! A graph of which root key vouches for which repositories, narrow enough for a phone.

use std::fmt::Write as _;

use super::html_page::html;

/// A root key, what is said of it, and its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vouching {
    /// The pinned root's ids; none: nobody pins it.
    pub(super) pinned_by: Vec<String>,
    pub(super) key: String,
    pub(super) repositories: Vec<String>,
}

/// In units of the graph; the page scales it.
const WIDTH: usize = 380;
const BOX: usize = 34;
const LINE: usize = 18;
const GAP: usize = 14;
/// Characters that fit beside the branches, and into a key's box.
const NAME: usize = 50;
const HEAD: usize = 52;
/// More than this under one key, or of keys, is counted only: the table has them all.
const MAX_NAMES: usize = 24;
const MAX_KEYS: usize = 40;

/// The graph as SVG; empty where there is no key.
pub(super) fn svg(keys: &[Vouching]) -> String {
    let mut drawn = String::new();
    let mut top = 4;
    for key in keys.iter().take(MAX_KEYS) {
        top = draw(&mut drawn, key, top) + GAP;
    }
    if keys.len() > MAX_KEYS {
        text(
            &mut drawn,
            (4, top + 12),
            "dim",
            &format!("and {} more keys", keys.len() - MAX_KEYS),
            None,
        );
        top += LINE;
    }
    if keys.is_empty() {
        return String::new();
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {top}\" role=\"img\" aria-label=\"root keys and the repositories that they vouch for\">{drawn}</svg>"
    )
}

fn draw(out: &mut String, key: &Vouching, top: usize) -> usize {
    let pinned = !key.pinned_by.is_empty();
    let class = if pinned { "key" } else { "loose" };
    let _ = write!(
        out,
        "<rect class=\"{class}\" x=\"1\" y=\"{top}\" width=\"{}\" height=\"{BOX}\" rx=\"5\"/>",
        WIDTH - 2
    );
    let head = if pinned {
        format!("root {}", key.pinned_by.join(", "))
    } else {
        "not pinned".to_owned()
    };
    text(out, (9, top + 14), "", &middle(&head, HEAD), Some(&head));
    text(
        out,
        (9, top + 28),
        "dim",
        &middle(&key.key, HEAD),
        Some(&key.key),
    );
    let mut names: Vec<(String, Option<&str>)> = key
        .repositories
        .iter()
        .take(MAX_NAMES)
        .map(|name| (middle(name, NAME), Some(name.as_str())))
        .collect();
    if key.repositories.len() > MAX_NAMES {
        names.push((
            format!("and {} more", key.repositories.len() - MAX_NAMES),
            None,
        ));
    }
    if names.is_empty() {
        names.push(("nothing on this host".to_owned(), None));
    }
    let mut y = top + BOX;
    for (name, whole) in names {
        let _ = write!(out, "<path d=\"M16 {} V{} H28\"/>", top + BOX, y + 12);
        text(
            out,
            (33, y + 16),
            if whole.is_some() { "" } else { "dim" },
            &name,
            whole,
        );
        y += LINE;
    }
    y + 4
}

fn text(out: &mut String, (x, y): (usize, usize), class: &str, shown: &str, whole: Option<&str>) {
    let title = whole
        .filter(|whole| *whole != shown)
        .map(|whole| format!("<title>{}</title>", html(whole)))
        .unwrap_or_default();
    // Writing to a String can't fail.
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{title}{}</text>",
        html(shown)
    );
}

/// The two ends of a text that is too long.
fn middle(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head = most / 2;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - (most - head - 1)).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_box_and_every_repository_a_branch_up_to_a_number() {
        let key = |count: usize, pinned: &[&str]| Vouching {
            pinned_by: pinned.iter().map(|id| (*id).to_owned()).collect(),
            key: "e".repeat(64),
            repositories: (0..count).map(|at| format!("r.example/<{at}>")).collect(),
        };
        let drawn = svg(&[key(2, &["acme"]), key(100, &[]), key(0, &["other"])]);
        assert_eq!(
            (
                drawn.matches("<rect").count(),
                drawn.matches("<path").count()
            ),
            (3, 2 + 25 + 1)
        );
        assert!(
            drawn.contains("r.example/&lt;0&gt;")
                && !drawn.contains("<0>")
                && drawn.contains("and 76 more"),
            "{drawn}"
        );
        assert_eq!(svg(&[]), "");
        assert_eq!(svg(&vec![key(1, &["a"]); 50]).matches("<rect").count(), 40);
        assert_eq!(middle("0123456789", 5), "01…89");
    }
}

//! What a reader puts in for the names and places of a page: the one table of it.

use std::fs;

use rootpin_trust::image::Digest;

use super::page::Typed;
use super::story::Story;

/// Of the image that is signed for the tags of every story: no bytes.
pub(super) const IMAGE: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const TAGGED: &str = "registry.example/team/app:v1";

/// Whole words, with the beginning of the verb that they are of.
const WORDS: &[(&str, &str, &str)] = &[
    ("repo key add", "NAME", "dave"),
    ("repo key", "NAME", "carol"),
    ("repo key", "FILE", "old.pem"),
    ("repo delegate", "NAME", "carol"),
    ("repo delegate", "FILE", "new.pub"),
    ("repo delegate", "REPOSITORY", "registry.example/team/carol"),
    ("repo list", "GUN", "registry.example/team/app"),
    ("repo rotate", "ROLE", "targets"),
    ("repo", "NAME:TAG", TAGGED),
    ("repo", "NAME", TAGGED),
    ("pin scan", "SERVER", "oci://registry.example/team/trust"),
    ("pin add", "ID", "builder"),
    ("pin add", "PATTERN", "registry.example/team/built"),
    ("pin revoke", "KEY", "stolen.pub"),
    ("bundle", "acme", "team"),
    // What the page revokes before is the other one.
    ("", "GUN:TAG", "registry.example/team/app:1.2"),
    ("", "NAME:TAG", TAGGED),
    ("", "NAME", TAGGED),
    ("policy", "DIR", "policy"),
    ("policy", "OLD", "old"),
    ("policy", "NEW", "new"),
    ("verify", "DIR", "policy"),
    ("audit merge", "FILE…", "reports/node-0.json"),
    ("audit merge", "reports/*.json", "reports"),
    ("", "…", "why"),
    ("", "sha256:…", IMAGE),
];

/// Beginnings of words: places that are the story's own.
const PLACES: &[(&str, &str)] = &[
    (
        "oci://registry.example/team/trust:latest",
        "file://{}/srv/trust",
    ),
    ("oci://registry.example/team/trust", "file://{}/srv/trust"),
    ("https://releases.example/tuf", "file://{}/srv/releases/tuf"),
    ("file:///", "file://{}/"),
    ("/media", "{}/media"),
    ("/etc/rootpin", "{}/etc/rootpin"),
];

/// What a verb takes from the host where its page says nothing, with an option or by its place. The
/// host is the story's; a registry's answer is given by hand.
const GIVEN: &[(&str, &[&str])] = &[
    ("policy check", &["{}/etc/rootpin"]),
    ("policy lint", &["{}/etc/rootpin"]),
    ("audit merge", &["reports"]),
    ("policy explain", &["--policy", "{}/etc/rootpin"]),
    ("pin", &["--policy", "{}/etc/rootpin"]),
    ("bundle export", &["--policy", "{}/online"]),
    (
        "bundle import",
        &["--policy", "{}/etc/rootpin", "--state", "{}/state"],
    ),
    (
        "verify",
        &["--policy", "{}/etc/rootpin", "--state", "{}/state"],
    ),
    ("repo sign", &["--digest", IMAGE, "--length", "7"]),
];

/// The words of a command, as this story types them.
pub(super) fn filled(typed: &Typed, story: &Story) -> Vec<String> {
    let mut words = words(&typed.text);
    story.hand_out(&words);
    let begin = verb_of_words(&words);
    for word in words.iter_mut().skip(1) {
        let of = WORDS
            .iter()
            .find(|(verb, from, _)| begin.starts_with(verb) && word == from);
        if let Some((_, _, to)) = of {
            (*to).clone_into(word);
        }
        if let Some((from, to)) = PLACES.iter().find(|(from, _)| word.starts_with(from)) {
            *word = to.replace("{}", &story.at("")) + &word[from.len()..];
        }
        if let Some((name, _)) = word.split_once("@sha256:") {
            *word = format!("{name}@{IMAGE}");
        }
    }
    // The image's digest is what its page cuts.
    for at in 1..words.len() {
        match words[at - 1].as_str() {
            "--digest" => IMAGE.clone_into(&mut words[at]),
            "--length" => "7".clone_into(&mut words[at]),
            "--state" => "state".clone_into(&mut words[at]),
            "--fingerprint" | "--sha256" => {
                if let Some(of) = file_of(&words, story) {
                    words[at] = of;
                }
            }
            _ => {}
        }
    }
    let Some(verb) = verb(&words) else {
        return words;
    };
    let is_below = |of: &str| verb == of || verb.starts_with(&format!("{of} "));
    if let Some((_, more)) = GIVEN.iter().find(|(of, _)| is_below(of)) {
        let is_given = match more[0].strip_prefix("--") {
            Some(_) => words.contains(&more[0].to_owned()) || words.contains(&"--file".to_owned()),
            None => words.len() > 3,
        };
        if !is_given {
            words.extend(more.iter().map(|word| word.replace("{}", &story.at(""))));
        }
    }
    let tagged = words
        .iter_mut()
        .find(|word| word.starts_with("registry.example/"));
    if let Some(name) = tagged.filter(|name| verb == "verify" && !name.contains('@')) {
        *name = format!("{name}@{IMAGE}");
    }
    let anywhere =
        verb == "repo init" || verb == "repo clone" || words.contains(&"--sign".to_owned());
    if verb.starts_with("repo ") && !anywhere && !words.contains(&"--repo".to_owned()) {
        words.extend(["--repo".to_owned(), story.repository.to_owned()]);
    }
    words
}

/// The SHA-256 of the file that the command pins.
fn file_of(words: &[String], story: &Story) -> Option<String> {
    let at = words
        .iter()
        .position(|word| word == "--from" || word == "--root")?;
    let bytes = fs::read(story.at_path(&words[at + 1])).ok()?;
    Some(Digest::of(&bytes).hex())
}

/// The words before the first option or name: enough for the table.
fn verb_of_words(words: &[String]) -> String {
    let mut verb = Vec::new();
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--repo" {
            words.next();
        } else if word
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '-')
            && !word.starts_with('-')
        {
            verb.push(word.as_str());
        } else {
            break;
        }
    }
    verb.join(" ")
}

/// The verb of a command that this version takes.
pub(super) fn verb(words: &[String]) -> Option<String> {
    let matches = match rootpin::cli::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => {
            return Some("--version".to_owned());
        }
        Err(_) => return None,
    };
    let mut verb = Vec::new();
    let mut below = matches.subcommand();
    while let Some((name, matches)) = below {
        verb.push(name.to_owned());
        below = matches.subcommand();
    }
    Some(verb.join(" "))
}

/// A text's words as a shell would have them: quotes, and what is sent into a file or another
/// program is not the command's.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in text.chars() {
        match quote {
            Some(end) if letter == end => quote = None,
            None if ['\'', '"'].contains(&letter) => quote = Some(letter),
            None if letter.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            _ => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    let end = words
        .iter()
        .position(|word| [">", "|", "&&", "2>"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    words
}

//! A list of names that others publish and that are to be endorsed: one a line, with where they are
//! pulled from if that is elsewhere. Patterns are for what a registry lists.

use rootpin_trust::image::{Repository, Tag};

/// More lines, or names in all, are not taken.
pub const MOST: usize = 50_000;

/// One line: `docker.io/library/alpine:3.* as mirror.example/hub/alpine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLine {
    /// Its number in the file.
    pub number: usize,
    /// The registry's host.
    host: String,
    /// The path, with one `*` at most.
    path: String,
    /// The tags, with `*` for any part of one.
    tags: String,
    /// Host and path under which hosts pull, with a `*` where the path has one.
    pulled_as: Option<String>,
}

/// A name at its publisher's, and the name that is signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamName {
    /// The publisher's repository.
    pub repository: Repository,
    /// The tag, which is the same in both.
    pub tag: Tag,
    /// The repository that hosts pull from.
    pub pulled_as: Repository,
}

/// Reads the list. Empty lines, and what stands behind `#`, mean nothing.
///
/// # Errors
/// The first line that is not understood.
pub fn read(text: &str) -> Result<Vec<UpstreamLine>, String> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if lines.len() >= MOST {
            return Err(format!("more than {MOST} lines"));
        }
        let parsed = UpstreamLine::parse(number + 1, line);
        lines.push(parsed.map_err(|why| format!("line {}: {why}", number + 1))?);
    }
    Ok(lines)
}

impl UpstreamLine {
    fn parse(number: usize, line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let (name, pulled_as) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(name), None, ..) => (name, None),
            (Some(name), Some("as"), Some(other), None) => (name, Some(other.to_owned())),
            _ => return Err("wanted NAME:TAG, or NAME:TAG as NAME".to_owned()),
        };
        let slash = name.rfind('/').ok_or("wanted a name in full form")?;
        let colon = name.get(slash..).and_then(|last| last.find(':'));
        let colon = colon.ok_or("wanted a tag, or :* for each")? + slash;
        let (repository, tags) = name.split_at(colon);
        let (host, path) = repository.split_once('/').unwrap_or_default();
        let line = Self {
            number,
            host: host.to_owned(),
            path: path.to_owned(),
            tags: tags.trim_start_matches(':').to_owned(),
            pulled_as,
        };
        if line.tags.is_empty() || host.contains('*') {
            return Err("wanted HOST/NAME:TAG, with * in name and tag alone".to_owned());
        }
        let stars = |text: &str| text.matches('*').count();
        let carried = line.pulled_as.as_deref().map_or(stars(path), stars);
        if stars(path) > 1 || carried != stars(path) {
            return Err("one * is for a part of the name, on both sides of as".to_owned());
        }
        // Letters in place of the stars must make names in full form.
        line.of("x", &line.tags.replace('*', "x"))?;
        Ok(line)
    }

    /// The one repository that the line means; none where it has a pattern of them.
    #[must_use]
    pub fn repository(&self) -> Option<Repository> {
        let is_one = !self.path.contains('*');
        let text = format!("{}/{}", self.host, self.path);
        is_one.then(|| Repository::from_full(&text).ok()).flatten()
    }

    /// The one tag that the line means.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        (!self.tags.contains('*')).then_some(self.tags.as_str())
    }

    /// Some repository of the registry, to ask it which it has.
    #[must_use]
    pub fn some_repository(&self) -> Option<Repository> {
        Repository::from_full(&format!("{}/{}", self.host, self.path.replace('*', "x"))).ok()
    }

    /// Whether the line means this repository of its registry. `path` is without the host.
    #[must_use]
    pub fn means(&self, path: &str) -> bool {
        matched(&self.path, path).is_some_and(|star| !star.contains('/'))
    }

    /// The name for a repository and a tag of the registry, if the line means them. `path` is
    /// without the host.
    #[must_use]
    pub fn name(&self, path: &str, tag: &str) -> Option<UpstreamName> {
        let star = matched(&self.path, path).filter(|star| !star.contains('/'))?;
        matches_all(&self.tags, tag)
            .then(|| self.of(star, tag).ok())
            .flatten()
    }

    /// Why what the registry lists is no name, if the line means it. `path` is without the host.
    #[must_use]
    pub fn no_name(&self, path: &str, tag: &str) -> Option<String> {
        let star = matched(&self.path, path).filter(|star| !star.contains('/'))?;
        let is_meant = matches_all(&self.tags, tag);
        is_meant.then(|| self.of(star, tag).err()).flatten()
    }

    fn of(&self, star: &str, tag: &str) -> Result<UpstreamName, String> {
        let full = |text: &str| {
            let text = text.replace('*', star);
            let repository = Repository::from_full(&text).map_err(|error| error.to_string())?;
            if repository.as_str() == text {
                Ok(repository)
            } else {
                Err(format!("{text} is not in full form: write {repository}"))
            }
        };
        let repository = full(&format!("{}/{}", self.host, self.path))?;
        let pulled_as = match &self.pulled_as {
            Some(other) => full(other)?,
            None => repository.clone(),
        };
        let tag = tag.parse().map_err(|_| format!("{tag:?} is no tag"))?;
        Ok(UpstreamName {
            repository,
            tag,
            pulled_as,
        })
    }
}

/// What the only star stands for; the empty text where there is none and the texts are equal.
fn matched<'a>(pattern: &str, text: &'a str) -> Option<&'a str> {
    match pattern.split_once('*') {
        None => (pattern == text).then_some(""),
        Some((before, after)) => {
            let star = text.strip_prefix(before)?.strip_suffix(after)?;
            (!star.is_empty()).then_some(star)
        }
    }
}

/// Whether a text is a pattern's, with any number of stars, each for any letters.
fn matches_all(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> UpstreamLine {
        read(text).unwrap().remove(0)
    }

    #[test]
    fn a_line_means_the_names_that_its_stars_stand_for_and_carries_them_over() {
        let one = line("docker.io/library/*:3.* as m.example:5000/hub/*  # daily");
        let name = one.name("library/alpine", "3.20").unwrap();
        assert_eq!(name.repository.as_str(), "docker.io/library/alpine");
        assert_eq!(name.pulled_as.as_str(), "m.example:5000/hub/alpine");
        for (path, tag) in [
            ("library/alpine", "4"),
            ("library/a/b", "3.1"),
            ("library/", "3.1"),
            ("other/alpine", "3.1"),
        ] {
            assert_eq!(one.name(path, tag), None, "{path}:{tag}");
        }
        assert_eq!(one.repository(), None);
        let plain = line("docker.io/library/alpine:3.20");
        assert_eq!(plain.tag(), Some("3.20"));
        assert_eq!(
            plain.repository().unwrap().as_str(),
            "docker.io/library/alpine"
        );
        assert!(plain.name("library/alpine", "3.20").is_some());
        assert!(plain.name("library/alpine", "3.2").is_none());
        let tags = line("r.example/a/b:v*-slim*");
        for (tag, meant) in [
            ("v1-slim", true),
            ("v1-slim-x", true),
            ("v1", false),
            ("1-slim", false),
        ] {
            assert_eq!(tags.name("a/b", tag).is_some(), meant, "{tag}");
        }
    }

    #[test]
    fn what_is_no_line_of_names_is_refused_with_its_number() {
        for bad in [
            "alpine:3",
            "docker.io/library/alpine",
            "docker.io/library/alpine:",
            "docker.io/alpine:3",
            "*/library/alpine:3",
            "docker.io/*/*:3",
            "docker.io/library/*:3 as m.example/hub",
            "docker.io/library/alpine:3 as m.example/*",
            "docker.io/library/alpine:3 to m.example/alpine",
            "docker.io/library/alpine:3 as m.example/alpine more",
            "docker.io/library/Alpine:3",
            "docker.io/library/alpine:3@sha256:00",
            "docker.io/library/alpine:3.*@sha256:00",
            "docker.io/library/alpine:3:4",
            "docker.io/library/alpine:é",
        ] {
            let error = read(&format!("# names\n\n{bad}\n")).unwrap_err();
            assert!(error.starts_with("line 3: "), "{bad}: {error}");
        }
        assert_eq!(read("# nothing\n").unwrap(), []);
    }
}

//! Patterns of names, as a policy writes them, as the paths of a delegation.

use super::PublishError;
use super::settings::Settings;
use rootpin_policy::Pattern;

/// How many segments a last `**` stands for at most. No `*` of a delegation reaches over a `/`, so
/// that each number is a path of its own.
const DEPTH: usize = 6;

/// The paths of a delegation for these patterns.
///
/// # Errors
/// A pattern is not understood, or reaches beyond the names that are the organisation's own.
pub fn delegated_paths(
    patterns: &[String],
    settings: &Settings,
) -> Result<Vec<String>, PublishError> {
    let mut paths = Vec::new();
    for text in patterns {
        let pattern: Pattern = text
            .parse()
            .map_err(|fault: rootpin_policy::Fault| PublishError::Wrong(fault.into()))?;
        if !settings.owns_all(&pattern) {
            return Err(PublishError::wrong(
                format!("the pattern {text} reaches names that are not this repository's"),
                "names in repository.toml lists those that are",
            ));
        }
        paths.extend(globs(&pattern));
    }
    Ok(paths)
}

/// A path is `HOST/REPOSITORY:TAG`, so that a pattern's last segment stands for the name with its
/// tag.
fn globs(pattern: &Pattern) -> Vec<String> {
    let text = pattern.as_str();
    if let Some(above) = text.strip_suffix("/**") {
        return (1..=DEPTH)
            .map(|depth| format!("{above}{}", "/*".repeat(depth)))
            .collect();
    }
    // What `*` stands for ends with the tag.
    if text.ends_with("/*") {
        vec![text.to_owned()]
    } else {
        vec![format!("{text}:*")]
    }
}

/// How specific a delegation is: the characters before the first wildcard of its broadest path.
pub(super) fn specificity<'a>(paths: impl Iterator<Item = &'a str>) -> usize {
    paths
        .map(|path| path.split(['*', '?', '[']).next().unwrap_or_default().len())
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootpin_trust::tuf::path_matches;

    fn settings() -> Settings {
        Settings::parse("version = 1\nnames = [\"r.example/team/**\", \"r.example/tool\"]").unwrap()
    }

    fn paths(pattern: &str) -> Result<Vec<String>, PublishError> {
        delegated_paths(&[pattern.to_owned()], &settings())
    }

    #[test]
    fn a_delegation_names_what_its_pattern_names_with_any_tag() {
        let names = |pattern: &str, path: &str| {
            paths(pattern)
                .unwrap()
                .iter()
                .any(|glob| path_matches(glob, path))
        };
        for (pattern, inside, outside) in [
            (
                "r.example/team/app",
                "r.example/team/app:1.2",
                "r.example/team/app2:1.2",
            ),
            (
                "r.example/team/*",
                "r.example/team/app:1.2",
                "r.example/team/a/b:1",
            ),
            (
                "r.example/team/*/web",
                "r.example/team/a/web:1",
                "r.example/team/a/webs:1",
            ),
            (
                "r.example/team/**",
                "r.example/team/a/b/c/d/e:1",
                "r.example/teams/a:1",
            ),
            ("r.example/tool", "r.example/tool:1", "r.example/tool/x:1"),
        ] {
            assert!(names(pattern, inside), "{pattern} {inside}");
            assert!(!names(pattern, outside), "{pattern} {outside}");
        }
    }

    #[test]
    fn a_pattern_that_reaches_what_others_own_is_refused() {
        for pattern in [
            "r.example/**",
            "r.example/*/app",
            "s.example/team/app",
            "r.example/tool/*",
            "*/team/app",
            "r.example",
            "team/*",
            "",
        ] {
            assert!(paths(pattern).is_err(), "{pattern}");
        }
    }
}

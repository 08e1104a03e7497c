//! Names of repositories as Notary's configurations write them: a whole name, or the beginning of
//! one and a star.

use crate::problem::Problem;
use rootpin_policy::Pattern;
use rootpin_trust::image::Repository;

/// The patterns of a policy that match no more names, the most specific first, and what is lost.
pub(super) struct PolicyPatterns {
    pub(super) patterns: Vec<String>,
    /// Names that the source means and no pattern does.
    pub(super) lost: Option<String>,
}

/// Translates a name or a beginning with `*`. The star of Notary goes on anywhere: `r.example/org*`
/// is `r.example/organ` too. A policy's patterns end at a slash.
///
/// # Errors
/// No pattern means any of these names.
pub(super) fn policy_patterns(name: &str) -> Result<PolicyPatterns, Problem> {
    let Some(beginning) = name.strip_suffix('*') else {
        let repository = Repository::from_full(name).map_err(|error| error.to_string())?;
        return Ok(PolicyPatterns {
            patterns: vec![repository.to_string()],
            lost: None,
        });
    };
    if let Some(folder) = beginning.strip_suffix('/') {
        return Ok(PolicyPatterns {
            patterns: vec![pattern(&format!("{folder}/**"))?],
            lost: None,
        });
    }
    if !beginning.contains('/') {
        return Err(Problem::new(format!(
            "{name} begins names of more than one registry, and a rule names its registry: write HOST/* for each"
        )));
    }
    let mut patterns = vec![pattern(beginning)?, pattern(&format!("{beginning}/**"))?];
    patterns.retain(|pattern| pattern.contains('/'));
    Ok(PolicyPatterns {
        lost: Some(format!(
            "{name} also means other names that begin so, as {beginning}x: a policy's patterns end at a slash"
        )),
        patterns,
    })
}

fn pattern(text: &str) -> Result<String, Problem> {
    let parsed: Pattern = text.parse()?;
    Ok(parsed.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_ends_before_the_registry_does_is_said_to_mean_several() {
        for name in ["*", "r*", "r.example*", "localhost:50*"] {
            let why = policy_patterns(name)
                .map(|found| found.patterns)
                .unwrap_err();
            assert!(why.what.contains("write HOST/* for each"), "{name}: {why}");
        }
        let found = policy_patterns("r.example/*").unwrap().patterns;
        assert_eq!(found, ["r.example/**"]);
        let found = policy_patterns("r.example/or*").unwrap().patterns;
        assert_eq!(found, ["r.example/or", "r.example/or/**"]);
    }
}

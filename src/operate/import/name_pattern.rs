//! Names of repositories as Notary's configurations write them: a whole name, or the beginning of
//! one and a star.

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
pub(super) fn policy_patterns(name: &str) -> Result<PolicyPatterns, String> {
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
    let mut patterns = vec![pattern(beginning)?, pattern(&format!("{beginning}/**"))?];
    patterns.retain(|pattern| pattern.contains('/'));
    Ok(PolicyPatterns {
        lost: Some(format!(
            "{name} also means other names that begin so, as {beginning}x: a policy's patterns end at a slash"
        )),
        patterns,
    })
}

fn pattern(text: &str) -> Result<String, String> {
    let parsed: Pattern = text
        .parse()
        .map_err(|fault: rootpin_policy::Fault| fault.to_string())?;
    Ok(parsed.as_str().to_owned())
}

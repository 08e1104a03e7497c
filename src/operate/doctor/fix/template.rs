//! Texts that a platform makes a main file of, as far as they tell whose it is and what it imports.

/// The line by which k0s knows a main file of its own.
pub(super) const K0S_MARK: &str = "# k0s_managed=true";

/// Whether a template has k3s' own configuration in it, in any way in which Go's templates take
/// that (text/template: `{{`, perhaps `-`, blanks, `template`, blanks, a string in quotes of one of
/// two kinds).
pub(super) fn has_base(template: &str) -> bool {
    template.split("{{").skip(1).any(|action| {
        let action = action.strip_prefix('-').unwrap_or(action).trim_start();
        action.strip_prefix("template").is_some_and(|name| {
            let name = name.trim_start();
            name.starts_with("\"base\"") || name.starts_with("`base`")
        })
    })
}

/// Whether a template, which is no TOML yet, has `imports`.
pub(super) fn has_imports(template: &str) -> bool {
    template.lines().any(|line| {
        let key = line.trim_start();
        let key = key.strip_prefix(['"', '\'']).unwrap_or(key);
        key.strip_prefix("imports").is_some_and(|rest| {
            rest.trim_start_matches(['"', '\''])
                .trim_start()
                .starts_with('=')
        })
    })
}

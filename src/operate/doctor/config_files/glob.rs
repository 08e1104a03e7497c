//! Matches file names as Go's `filepath.Match` does.

pub(super) fn has_signs(name: &str) -> bool {
    name.contains(['*', '?', '[', '\\'])
}

/// Go's `filepath.Match`: `*` any characters but `/`, `?` one, `[a-z]` and `[^a-z]` one of a class,
/// `\` the next sign itself.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    match_from(&pattern, &name)
}

fn match_from(pattern: &[char], name: &[char]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Where the last star stands, and how much of the name it takes.
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        let step = match (pattern, name) {
            ([], []) => return true,
            (['*', rest @ ..], _) => {
                star = Some((rest, name));
                Some((rest, name))
            }
            (_, []) => None,
            (_, [first, after @ ..]) => one(pattern, *first).map(|rest| (rest, after)),
        };
        (pattern, name) = match (step, star) {
            (Some(next), _) => next,
            (None, Some((rest, [taken, left @ ..]))) if *taken != '/' => {
                star = Some((rest, left));
                (rest, left)
            }
            (None, _) => return false,
        };
    }
}

/// What is left of a pattern that begins with something else than a star, after it took one sign.
pub(super) fn one(pattern: &[char], sign: char) -> Option<&[char]> {
    match pattern {
        ['?', rest @ ..] if sign != '/' => Some(rest),
        ['\\', literal, rest @ ..] if *literal == sign => Some(rest),
        ['[', class @ ..] => {
            let end = class.iter().skip(1).position(|sign| *sign == ']')? + 1;
            let (class, rest) = (class.get(..end)?, class.get(end + 1..)?);
            let (no, class) = match class {
                ['^', class @ ..] => (true, class),
                class => (false, class),
            };
            let (mut found, mut left) = (false, class);
            while let [low, after @ ..] = left {
                left = after;
                let mut high = low;
                if let ['-', last, after @ ..] = left {
                    (high, left) = (last, after);
                }
                found |= (*low..=*high).contains(&sign);
            }
            (found != no).then_some(rest)
        }
        [literal, rest @ ..] if !['?', '\\'].contains(literal) && *literal == sign => Some(rest),
        _ => None,
    }
}

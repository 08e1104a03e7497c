//! Patterns by their segments: which of many mean a name, or the names of another pattern, without
//! a look at each of them.

use std::collections::BTreeMap;

use crate::pattern::Pattern;

/// Patterns, each with a value.
#[derive(Debug)]
pub struct PatternTree<'a, T> {
    values: Vec<T>,
    below: BTreeMap<&'a str, Self>,
}

impl<T> Default for PatternTree<'_, T> {
    fn default() -> Self {
        let (values, below) = (Vec::new(), BTreeMap::new());
        Self { values, below }
    }
}

impl<'a, T: Copy + Ord> PatternTree<'a, T> {
    /// Adds a pattern.
    pub fn add(&mut self, pattern: &'a Pattern, value: T) {
        let mut node = self;
        for segment in pattern.as_str().split('/') {
            node = node.below.entry(segment).or_default();
        }
        node.values.push(value);
    }

    /// The values, sorted, of the patterns that match a repository's name; of another pattern, of
    /// those that match every name which it matches.
    #[must_use]
    pub fn containing(&self, text: &str) -> Vec<T> {
        self.find(text, false)
    }

    /// The values, sorted, of the patterns that match a name which this one matches too.
    #[must_use]
    pub fn overlapping(&self, pattern: &Pattern) -> Vec<T> {
        self.find(pattern.as_str(), true)
    }

    /// `in_part`: a pattern that matches some of the names is enough.
    fn find(&self, text: &str, in_part: bool) -> Vec<T> {
        let (mut found, mut nodes) = (Vec::new(), vec![self]);
        for segment in text.split('/') {
            let mut next = Vec::new();
            for node in nodes {
                found.extend(node.values_of("**"));
                match segment {
                    // All that goes on.
                    "**" if in_part => node.below.values().for_each(|below| below.all(&mut found)),
                    "**" => {}
                    "*" if in_part => next.extend(node.below.values()),
                    "*" => next.extend(node.below.get("*")),
                    literal => {
                        next.extend(["*", literal].iter().filter_map(|at| node.below.get(at)));
                    }
                }
            }
            nodes = next;
        }
        found.extend(nodes.into_iter().flat_map(|node| &node.values).copied());
        found.sort_unstable();
        found.dedup();
        found
    }

    fn values_of(&self, segment: &str) -> impl Iterator<Item = T> {
        let node = self.below.get(segment);
        node.into_iter().flat_map(|node| &node.values).copied()
    }

    fn all(&self, found: &mut Vec<T>) {
        found.extend(&self.values);
        self.below.values().for_each(|below| below.all(found));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tree_finds_the_patterns_that_a_look_at_each_finds(
            texts in prop::collection::vec(r"h(/(a|b|\*)){0,3}/(a|b|\*|\*\*)", 1..12),
        ) {
            let patterns: Vec<Pattern> =
                texts.iter().map(|text| text.replacen('h', "h.example", 1).parse().unwrap()).collect();
            let mut tree = PatternTree::default();
            for (at, pattern) in patterns.iter().enumerate() {
                tree.add(pattern, at);
            }
            let of = |is: &dyn Fn(&Pattern) -> bool| -> Vec<usize> {
                let all = patterns.iter().enumerate();
                all.filter(|(_, pattern)| is(pattern)).map(|(at, _)| at).collect()
            };
            for one in &patterns {
                prop_assert_eq!(tree.containing(one.as_str()), of(&|other| other.contains(one)));
                prop_assert_eq!(tree.overlapping(one), of(&|other| other.overlaps(one)));
            }
        }
    }
}

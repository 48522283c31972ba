//! Rules that tests have: `secret` is masked, `forbidden` refused, and what could become one of them waits.

use super::{Action, Find, Found, Part};

/// The number of the rule that refuses; that of the other one is 0.
pub(in crate::llm) struct Words(pub(in crate::llm) usize);

impl Find for Words {
    fn find(&self, _: Part, text: &str) -> Vec<Found> {
        let of = |word: &str, rule: usize, action: Action| {
            let found = text.match_indices(word).map(|(at, it)| at..at + it.len());
            found.map(|range| Found { range, rule, action: action.clone() }).collect::<Vec<_>>()
        };
        [of("secret", 0, Action::Mask("***".into())), of("forbidden", self.0, Action::Reject)].concat()
    }

    fn settled(&self, text: &str, _: usize) -> usize {
        text.len().saturating_sub(9)
    }

    fn enforces(&self) -> bool {
        true
    }
}

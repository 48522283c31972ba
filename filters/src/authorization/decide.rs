//! Rules as run: all that hold at a place, in one pass.

use super::policy::{Effect, Policy};
use crate::exchange::Mode;
use crate::expr::Inputs;

/// What refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which of the policies.
    pub policy: usize,
    /// Which of its rules; `None` where no `allow` rule granted.
    pub rule: Option<usize>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// By the rules that are in force.
    pub enforced: Option<Denial>,
    /// By those and the ones in shadow mode together, where the former let it pass.
    pub shadow: Option<Denial>,
}

/// Grants of one set of rules.
#[derive(Default)]
struct Grants {
    /// The first policy that has an `allow` rule.
    asked: Option<usize>,
    granted: bool,
}

impl Grants {
    fn missing(&self) -> Option<Denial> {
        self.asked.filter(|_| !self.granted).map(|policy| Denial { policy, rule: None })
    }
}

/// Judges a request, or a connection, by all the policies that hold for it.
pub fn decide<'p>(policies: impl Iterator<Item = &'p Policy>, inputs: &Inputs<'_>) -> Verdicts {
    let mut shadow = None;
    let (mut enforced, mut all) = (Grants::default(), Grants::default());
    for (position, policy) in policies.enumerate() {
        let in_force = policy.mode == Mode::Enforce;
        for (at, rule) in policy.rules.iter().enumerate() {
            // A grant that is there needs no other; and an error is true of nothing but a denial.
            let refuses = match rule.effect {
                Effect::Allow => {
                    all.asked = all.asked.or(Some(position));
                    if in_force {
                        enforced.asked = enforced.asked.or(Some(position));
                    }
                    let needed = if in_force { !enforced.granted } else { !all.granted };
                    if needed && rule.when.holds(inputs) == Ok(true) {
                        all.granted = true;
                        enforced.granted |= in_force;
                    }
                    false
                }
                Effect::Deny => rule.when.holds(inputs) != Ok(false),
                Effect::Require => rule.when.holds(inputs) != Ok(true),
            };
            if refuses {
                let denial = Denial { policy: position, rule: Some(at) };
                if in_force {
                    return Verdicts { enforced: Some(denial), shadow: None };
                }
                shadow = shadow.or(Some(denial));
            }
        }
    }
    let enforced = enforced.missing();
    Verdicts { enforced, shadow: shadow.or(all.missing()).filter(|_| enforced.is_none()) }
}

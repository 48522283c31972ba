//! Rules asked of a request.

use std::sync::Arc;

use super::decide::{Denial, decide};
use super::policy::Policy;
use crate::exchange::{Decision, Mode};
use crate::{Attachment, Exchange, Kind, Reason, Reply, Verdict};

/// The policy of an attachment, if it is of this kind.
fn policy(attachment: &Arc<Attachment>) -> Option<&Policy> {
    match &attachment.policy {
        crate::Policy::Authorization(policy) => Some(policy),
        _ => None,
    }
}

/// Judges by all the rules among the filters of a place, at the first policy that has some: their decision is one.
pub fn on_request(filters: &[Arc<Attachment>], at: usize, exchange: &mut Exchange<'_>) -> Verdict {
    let before = at.checked_sub(1).and_then(|before| filters.get(before));
    if before.is_some_and(|before| policy(before).is_some()) {
        return Verdict::Continue;
    }
    let all = || filters.iter().skip(at).map_while(|it| policy(it).map(|policy| (it, policy)));
    let verdicts = decide(all().map(|(_, policy)| policy), &exchange.facts.inputs(exchange.request));
    let note = |denial: Denial, mode| Decision {
        kind: Kind::Authorization,
        rule: denial.rule,
        mode,
        policy: all().nth(denial.policy).map(|(attachment, _)| attachment.key.clone()),
    };
    let enforced = verdicts.enforced.map(|it| note(it, Mode::Enforce));
    let noted = enforced.clone().or(verdicts.shadow.map(|it| note(it, Mode::Shadow)));
    exchange.facts.decisions.extend(noted);
    match enforced {
        Some(_) => Verdict::Reply(Reply::text(403, Reason::Authorization, "forbidden\n")),
        None => Verdict::Continue,
    }
}

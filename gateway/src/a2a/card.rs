//! An agent's card on its way to a client: judged, moved, signed.

use std::time::Duration;

use filters::a2a::{Policy, Verified};
use protocols::a2a::answer::{Kind, Refusal};
use protocols::a2a::card::{self, Relocation};
use protocols::json::{self, Raw};

/// The card as clients get it.
pub(super) fn shown(card: Raw<'_>, policy: &Policy, relocation: &Relocation, now: Duration) -> Result<String, Refusal> {
    let refuse = |text: String| Refusal::new(Kind::AgentResponse, text);
    let why = match policy.verify(card, now) {
        Verified::Yes | Verified::Unsigned => None,
        Verified::Missing => Some("is not signed"),
        Verified::Wrong => Some("is not signed by a key that is known"),
        Verified::Pending => Some("cannot be judged yet: the keys are not there"),
    };
    if let Some(why) = why {
        return Err(refuse(format!("the agent's card {why}")));
    }
    let moved = card::relocated(card, relocation).map_err(|fault| refuse(fault.to_string()))?;
    let Some(sign) = &policy.sign else { return Ok(moved) };
    let parsed = json::parse(moved.as_bytes()).map_err(|fault| refuse(fault.to_string()))?;
    let signatures = sign.card(parsed).ok_or_else(|| refuse("the agent's card cannot be signed".to_owned()))?;
    Ok(card::with_signatures(parsed, &signatures))
}

//! URLs that agents are to send news to: a client makes somebody in our network send requests there.

use filters::a2a::Push;
use protocols::a2a::answer::{Kind, Refusal};

use crate::upstream::Egress;

/// URLs of one message.
pub(super) const URLS_MAX: usize = 8;

/// Refuses what may not be dialled.
pub(super) async fn check(egress: &Egress, push: Push, urls: &[String]) -> Result<(), Refusal> {
    if urls.len() > URLS_MAX {
        return Err(Refusal::new(Kind::InvalidParams, "too many URLs for push notifications"));
    }
    for url in urls {
        match push {
            Push::Unchecked => {}
            Push::Refused => {
                return Err(Refusal::new(Kind::PushNotSupported, "push notifications are not supported here"));
            }
            Push::Checked => egress.admits(url).await.map_err(|fault| {
                tracing::info!(error = %fault, "a URL for push notifications is refused");
                // Not which address it is: that is for nobody to find out.
                Refusal::new(Kind::InvalidParams, "the URL for push notifications is not allowed")
            })?,
        }
    }
    Ok(())
}

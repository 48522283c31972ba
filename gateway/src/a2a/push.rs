//! URLs that agents are to send news to: a client makes somebody in our network send requests there.

use filters::a2a::Push;
use protocols::a2a::Place;
use protocols::a2a::answer::{Kind, Refusal};

use crate::upstream::Egress;

/// URLs of one message.
pub(super) const URLS_MAX: usize = 8;

/// What a message says of where news are to go.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) urls: Vec<String>,
    /// What the configuration is called.
    pub(super) id: Option<String>,
    pub(super) token: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) credentials: Option<String>,
    /// Something is said twice.
    pub(super) twice: bool,
}

impl Wish {
    /// Takes in what stands at a place. Returns whether that is all that is to be done with it.
    pub(super) fn note(&mut self, place: Place, text: &str) -> bool {
        let slot = match place {
            Place::PushUrl => {
                self.urls.push(text.to_owned());
                return true;
            }
            // Of several ways the client names the one that it likes best first.
            Place::PushScheme => {
                self.scheme.get_or_insert_with(|| text.to_owned());
                return true;
            }
            Place::TaskName => {
                let id = text.split_once("/pushNotificationConfigs/").map(|(_, id)| id.to_owned());
                self.id = id.or_else(|| self.id.take());
                return false;
            }
            Place::PushId => &mut self.id,
            Place::PushToken => &mut self.token,
            Place::PushCredentials => &mut self.credentials,
            Place::Task | Place::Context | Place::CardUrl | Place::PageToken => return false,
        };
        self.twice |= slot.as_deref().is_some_and(|it| it != text);
        *slot = Some(text.to_owned());
        true
    }
}

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
            Push::Checked | Push::Relayed => egress.admits(url).await.map_err(|fault| {
                tracing::info!(error = %fault, "a URL for push notifications is refused");
                // Not which address it is: that is for nobody to find out.
                Refusal::new(Kind::InvalidParams, "the URL for push notifications is not allowed")
            })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_taken_in_once() {
        let mut wish = Wish::default();
        for (place, text, done) in [
            (Place::PushUrl, "https://a", true),
            (Place::PushToken, "t", true),
            (Place::PushScheme, "Bearer", true),
            (Place::PushScheme, "Basic", true),
            (Place::PushCredentials, "c", true),
            (Place::TaskName, "tasks/x/pushNotificationConfigs/p", false),
            (Place::Task, "x", false),
        ] {
            assert_eq!(wish.note(place, text), done, "{place:?}");
        }
        assert_eq!((wish.scheme.as_deref(), wish.id.as_deref(), wish.twice), (Some("Bearer"), Some("p"), false));
        // The name and the id may both be there.
        wish.note(Place::PushId, "p");
        assert!(!wish.twice);
        wish.note(Place::PushToken, "other");
        assert!(wish.twice);
    }
}

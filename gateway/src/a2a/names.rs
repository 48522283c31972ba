//! Ids of one exchange: opened on the way in, sealed on the way out.

use std::sync::Arc;

use protocols::a2a::answer::{Kind, Refusal};
use protocols::a2a::id::{self, Of, Pin};
use protocols::a2a::{Place, rest};
use protocols::seal::Ring;

use super::relay;

/// Pairs of ids remembered of one exchange; lists of tasks have more, which are sealed again each time.
const KNOWN_MAX: usize = 64;

/// See the file.
#[derive(Clone)]
pub(super) struct Names {
    ring: Arc<Ring>,
    sealed: bool,
    /// Where and whose ids are.
    pub(super) scope: [u8; 32],
    /// Where tickets for news open.
    pub(super) place: [u8; 32],
    /// Where the answer comes from.
    pub(super) pin: Pin,
    /// Ids of the agent's, as the client knows them: what it asked about comes back as it wrote it.
    known: Vec<(Of, String, String)>,
    /// The agent whose tasks come after those of this one.
    pub(super) next: Option<Pin>,
    /// This agent has more.
    has_more: bool,
}

impl Names {
    pub(super) fn new(ring: Arc<Ring>, sealed: bool) -> Self {
        Self {
            ring,
            sealed,
            scope: [0; 32],
            place: [0; 32],
            pin: Pin::default(),
            known: Vec::new(),
            next: None,
            has_more: false,
        }
    }

    pub(super) fn are_sealed(&self) -> bool {
        self.sealed
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The context that the client made up, and not the agent.
    pub(super) fn made_up(&self) -> Option<&str> {
        self.known.iter().find(|(of, own, shown)| *of == Of::Context && own == shown).map(|(_, own, _)| own.as_str())
    }

    /// What a client wrote as the agent knows it, and where that was found.
    pub(super) fn open(&mut self, place: Place, text: &str) -> Result<Option<(String, Option<Pin>)>, Refusal> {
        let Some(of) = Of::place(place).filter(|_| self.sealed) else { return Ok(None) };
        let shown = match place {
            Place::TaskName => rest::task_of_name(text).ok_or_else(Refusal::task_not_found)?,
            _ => text,
        };
        match id::open(&self.ring, of, shown, &self.scope) {
            Ok((pin, own)) => {
                self.know(of, &own, shown);
                let text = if place == Place::TaskName { rest::name_with(text, &own) } else { own };
                Ok(Some((text, Some(pin))))
            }
            // Clients may make up a context of their own.
            Err(_) if of == Of::Context && !id::is_sealed(shown) => {
                self.know(of, shown, shown);
                Ok(None)
            }
            Err(_) if of == Of::Context => Err(Refusal::new(Kind::InvalidParams, "the context is not known")),
            Err(_) if of == Of::Page => Err(Refusal::new(Kind::InvalidParams, "the page token is not known")),
            Err(_) => Err(Refusal::task_not_found()),
        }
    }

    /// What a list of tasks says that this agent has no more of: where those of the next begin.
    pub(super) fn next_agent(&self) -> Result<Option<String>, Refusal> {
        let Some(pin) = self.next.filter(|_| self.sealed && !self.has_more) else { return Ok(None) };
        self.sealed_at(Of::Page, pin, "").map(Some)
    }

    /// The agent's own id for what a client wrote in this exchange.
    pub(super) fn own(&self, of: Of, shown: &str) -> Option<&str> {
        self.known.iter().find(|(it, _, known)| *it == of && known == shown).map(|(_, own, _)| own.as_str())
    }

    /// What the agent wrote as the client knows it.
    pub(super) fn show(&mut self, place: Place, text: &str) -> Result<Option<String>, Refusal> {
        let of = Of::place(place);
        if of.is_none() {
            return Ok(relay::own(self, place, text));
        }
        let Some(of) = of.filter(|_| self.sealed) else { return Ok(None) };
        if place == Place::TaskName {
            let Some(own) = rest::task_of_name(text) else { return Ok(None) };
            return Ok(Some(rest::name_with(text, &self.shown(of, own)?)));
        }
        if of == Of::Page {
            self.has_more = true;
            return self.sealed_at(of, self.pin, text).map(Some);
        }
        self.shown(of, text).map(Some)
    }

    fn shown(&mut self, of: Of, own: &str) -> Result<String, Refusal> {
        if let Some((.., shown)) = self.known.iter().find(|(it, known, _)| *it == of && known == own) {
            return Ok(shown.clone());
        }
        let sealed = self.sealed_at(of, self.pin, own)?;
        self.know(of, own, &sealed);
        Ok(sealed)
    }

    fn sealed_at(&self, of: Of, pin: Pin, own: &str) -> Result<String, Refusal> {
        id::seal(&self.ring, of, pin, own, &self.scope)
            .map_err(|fault| Refusal::new(Kind::AgentResponse, format!("an id of the agent's: {fault}")))
    }

    pub(super) fn know(&mut self, of: Of, own: &str, shown: &str) {
        if self.known.len() < KNOWN_MAX {
            self.known.push((of, own.to_owned(), shown.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Pin = Pin { backend: 1, endpoint: 2 };

    fn names(key: u8, scope: u8) -> Names {
        let mut names = Names::new(Arc::new(Ring::new(&[[key; 32], [9; 32]])), true);
        names.scope = [scope; 32];
        names.pin = PIN;
        names
    }

    #[test]
    fn what_was_shown_is_opened_again_and_only_for_whom_it_was_shown() {
        let shown = names(1, 1).show(Place::Task, "t").unwrap().unwrap();
        assert_eq!(names(1, 1).open(Place::Task, &shown), Ok(Some(("t".to_owned(), Some(PIN)))));
        let name = format!("tasks/{shown}/pushNotificationConfigs/p");
        let own = "tasks/t/pushNotificationConfigs/p".to_owned();
        assert_eq!(names(1, 1).open(Place::TaskName, &name), Ok(Some((own.clone(), Some(PIN)))));
        assert_eq!(names(1, 1).show(Place::TaskName, &own), Ok(Some(name)));
        for text in [&*shown, "t", "", &shown[..20]] {
            assert_eq!(names(1, 2).open(Place::Task, text), Err(Refusal::task_not_found()), "{text}");
        }
        assert_eq!(names(1, 1).open(Place::PushUrl, "http://a"), Ok(None));
    }

    #[test]
    fn a_list_goes_on_with_the_next_agent_where_one_has_no_more() {
        let next = Pin { backend: 3, endpoint: 0 };
        let mut first = names(1, 1);
        first.next = Some(next);
        let token = first.next_agent().unwrap().unwrap();
        assert_eq!(names(1, 1).open(Place::PageToken, &token), Ok(Some((String::new(), Some(next)))));
        let more = first.show(Place::PageToken, "p2").unwrap().unwrap();
        assert_eq!(names(1, 1).open(Place::PageToken, &more), Ok(Some(("p2".to_owned(), Some(PIN)))));
        assert_eq!(first.next_agent(), Ok(None), "it has more itself");
        for (text, scope) in [(&*token, 2), ("p2", 1), (&*names(1, 1).show(Place::Task, "t").unwrap().unwrap(), 1)] {
            assert_eq!(names(1, scope).open(Place::PageToken, text).unwrap_err().kind, Kind::InvalidParams, "{text}");
        }
    }

    #[test]
    fn a_context_of_the_clients_own_comes_back_as_it_is_and_a_foreign_one_does_not() {
        let mut ours = names(1, 1);
        assert_eq!(ours.open(Place::Context, "mine"), Ok(None));
        assert_eq!(ours.show(Place::Context, "mine"), Ok(Some("mine".to_owned())));
        let foreign = names(1, 2).show(Place::Context, "c").unwrap().unwrap();
        assert_eq!(ours.open(Place::Context, &foreign).unwrap_err().kind, Kind::InvalidParams);
    }

    #[test]
    fn an_id_that_an_elder_key_sealed_comes_back_as_the_client_knows_it() {
        let old = names(9, 1).show(Place::Task, "t").unwrap().unwrap();
        let mut ours = names(1, 1);
        assert_ne!(ours.clone().show(Place::Task, "t").unwrap().unwrap(), old);
        ours.open(Place::Task, &old).unwrap();
        assert_eq!(ours.show(Place::Task, "t"), Ok(Some(old)));
    }
}

//! Sessions, as far as a process has to remember any: the keys of ids, what was opened anew because a server had
//! forgotten it, and what clients have ended. The latter two are a help and no more; both are bounded.

use std::sync::Arc;

use aws_lc_rs::rand;
use ir::Text;
use parking_lot::Mutex;
use protocols::mcp::session::{self, Name, Opened, Ring, Session};

use super::recent::Recent;
use crate::bounded::Bounded;
use crate::life::transfer::{Moment, Transfer};

/// Sessions with servers that were opened anew and are remembered.
const RENEWED_MAX: usize = 16 * 1024;
/// Sessions that were ended and are remembered.
const ENDED_MAX: usize = 16 * 1024;

/// A session with a server that is opened by one and used by all.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Opened>>>;

/// One for the process.
pub struct Sessions {
    ring: Mutex<Keys>,
    renewed: Mutex<Bounded<(Name, Text), Slot>>,
    ended: Mutex<Bounded<Name, ()>>,
    recent: Recent,
}

struct Keys {
    ring: Arc<Ring>,
    secrets: Vec<[u8; 32]>,
    /// Drawn here, not written by the operator.
    drawn: bool,
}

impl Sessions {
    /// With the operator's keys; without, with one of this process's own, which successors inherit.
    pub fn new(written: &[ir::Secret]) -> Arc<Self> {
        let secrets: Vec<[u8; 32]> = written.iter().filter_map(|it| it.expose().try_into().ok()).collect();
        let drawn = secrets.is_empty();
        let secrets = if drawn { vec![draw()] } else { secrets };
        let keys = Keys { ring: Arc::new(Ring::new(&secrets)), secrets, drawn };
        Arc::new(Self {
            ring: Mutex::new(keys),
            renewed: Mutex::new(Bounded::new(RENEWED_MAX)),
            ended: Mutex::new(Bounded::new(ENDED_MAX)),
            recent: Recent::new(),
        })
    }

    /// A name for a new session.
    pub fn name() -> Name {
        let mut name = Name::default();
        // Without randomness there is no TLS either.
        let _ = rand::fill(&mut name);
        name
    }

    /// The keys of this moment.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.lock().ring.clone()
    }

    pub fn seal(&self, session: &Session, name: Name, scope: &[u8]) -> Result<String, session::Fault> {
        self.ring().seal(session, name, scope)
    }

    /// Opens an id that has not been ended here.
    pub fn open(&self, id: &str, scope: &[u8]) -> Option<(Name, Arc<Session>)> {
        let (name, session) = self.recent.get(id, scope).or_else(|| self.unseal(id, scope))?;
        (!self.ended.lock().contains(&name)).then_some((name, session))
    }

    fn unseal(&self, id: &str, scope: &[u8]) -> Option<(Name, Arc<Session>)> {
        let (name, session) = self.ring().open(id, scope).ok()?;
        let session = Arc::new(session);
        self.recent.put(id, scope, name, session.clone());
        Some((name, session))
    }

    /// Those that are remembered.
    pub(super) fn ended(&self) -> Vec<Name> {
        self.ended.lock().keys().copied().collect()
    }

    /// The session was ended by its client.
    pub fn end(&self, name: Name) {
        self.ended.lock().insert(name, ());
    }

    /// Where a server's session is that is not the sealed one, if there is one.
    pub(super) fn renewed(&self, name: &Name, target: &Text) -> Option<Slot> {
        self.renewed.lock().get(&(*name, target.clone()))
    }

    /// Takes it out.
    pub(super) fn forget(&self, name: &Name, target: &Text) -> Option<Slot> {
        self.renewed.lock().remove(&(*name, target.clone()))
    }

    /// Where it is to be.
    pub(super) fn renew(&self, name: &Name, target: &Text) -> Slot {
        self.renewed.lock().entry((*name, target.clone()))
    }

    pub fn now() -> u64 {
        crate::clock::wall().as_secs()
    }
}

fn draw() -> [u8; 32] {
    let mut secret = [0; 32];
    let _ = rand::fill(&mut secret);
    secret
}

/// The key of ids, where it is the process's own: a successor opens what its predecessor sealed.
pub struct SessionKeys(pub Arc<Sessions>);

impl Transfer for SessionKeys {
    fn name(&self) -> &'static str {
        "mcp-session-keys"
    }

    fn export(&self) -> Vec<u8> {
        let keys = self.0.ring.lock();
        if keys.drawn { keys.secrets.concat() } else { Vec::new() }
    }

    fn import(&self, _: u32, bytes: &[u8]) -> Result<(), String> {
        let (secrets, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err("session keys of another size".to_owned());
        }
        let mut keys = self.0.ring.lock();
        if keys.drawn && !secrets.is_empty() {
            keys.secrets = secrets.to_vec();
            keys.ring = Arc::new(Ring::new(secrets));
            self.0.recent.clear();
        }
        Ok(())
    }
}

/// Sessions that clients have ended: a successor opens none of them either.
pub struct EndedSessions(pub Arc<Sessions>);

impl Transfer for EndedSessions {
    fn name(&self) -> &'static str {
        "mcp-sessions-ended"
    }

    fn moment(&self) -> Moment {
        Moment::Late
    }

    fn export(&self) -> Vec<u8> {
        self.0.ended.lock().keys().flatten().copied().collect()
    }

    fn import(&self, _: u32, bytes: &[u8]) -> Result<(), String> {
        let (names, rest) = bytes.as_chunks::<{ size_of::<Name>() }>();
        if !rest.is_empty() {
            return Err("names of sessions of another size".to_owned());
        }
        names.iter().for_each(|it| self.0.end(*it));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocols::mcp::Version;

    use super::*;

    fn session() -> Session {
        Session {
            began: 1,
            owner: 0,
            version: Version::LEGACY,
            client: String::new(),
            servers: session::Servers::default(),
        }
    }

    #[test]
    fn a_successor_opens_what_its_predecessor_sealed() {
        let (elder, heir) = (Sessions::new(&[]), Sessions::new(&[]));
        let id = elder.seal(&session(), [1; 12], b"s").unwrap();
        assert!(heir.open(&id, b"s").is_none());
        let left = SessionKeys(elder).export();
        SessionKeys(heir.clone()).import(0, &left).unwrap();
        assert!(heir.open(&id, b"s").is_some());
        assert!(SessionKeys(heir).import(0, b"short").is_err());
        let written = Sessions::new(&[ir::Secret::new([7; 32])]);
        assert_eq!(SessionKeys(written.clone()).export(), Vec::<u8>::new(), "the operator's key is not handed on");
        SessionKeys(written.clone()).import(0, &left).unwrap();
        assert!(written.open(&id, b"s").is_none(), "nor replaced");
    }

    #[test]
    fn an_ended_session_does_not_open() {
        let sessions = Sessions::new(&[]);
        let id = sessions.seal(&session(), [1; 12], b"").unwrap();
        sessions.end([1; 12]);
        assert!(sessions.open(&id, b"").is_none());
        let heir = Sessions::new(&[]);
        EndedSessions(heir.clone()).import(1, &EndedSessions(sessions).export()).unwrap();
        assert!(heir.ended.lock().contains(&[1; 12]), "a successor knows of it");
        assert!(EndedSessions(heir).import(1, &[1; 13]).is_err());
    }
}

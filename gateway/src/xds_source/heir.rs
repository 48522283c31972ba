//! What a successor inherits of the control plane's word: the resources, secrets and all, and their versions. It goes
//! on from there, and downloads nothing twice.
//!
//! The parts together are bounded ([`PARTS`] of [`PART_BYTES_MAX`]). What does not fit is saved to disk instead, and
//! where that cannot be, the successor asks its control plane before it takes over.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use xds::codec;

use super::XdsSource;
use super::record::{Form, Held, Record, label};
use crate::life::transfer::Transfer;
use crate::listen::handoff::message::PAYLOAD_BYTES_MAX;

/// Parts of the state of a process that are ours.
const PARTS: usize = 16;
/// Room is left for one resource more than fits.
const PART_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - codec::RESOURCE_BYTES_MAX - (1 << 20);
const NAMES: [&str; PARTS] = [
    "xds", "xds.1", "xds.2", "xds.3", "xds.4", "xds.5", "xds.6", "xds.7", "xds.8", "xds.9", "xds.10", "xds.11",
    "xds.12", "xds.13", "xds.14", "xds.15",
];

/// The first part.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    identity: String,
    /// Whether the control plane had spoken, to whichever process.
    synced: bool,
    /// Records in all parts; `None` where they did not fit.
    records: Option<usize>,
}

/// What came, or is about to go.
#[derive(Default)]
pub struct Estate {
    source: OnceLock<Weak<XdsSource>>,
    /// The parts after the first, while they are asked for.
    leaving: Mutex<Vec<Vec<u8>>>,
    arrived: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    head: Option<Head>,
    held: Held,
    records: usize,
}

/// What a predecessor has left.
pub(super) struct Legacy {
    /// Whole, or nothing.
    pub(super) held: Option<Held>,
    /// Whether it had heard its control plane.
    pub(super) synced: bool,
}

impl Estate {
    /// The parts, for [`crate::life::transfer::Transfers`].
    pub fn parts(self: &Arc<Self>) -> impl Iterator<Item = Arc<dyn Transfer>> {
        let this = self.clone();
        (0..PARTS).map(move |number| Arc::new(Part { number, estate: this.clone() }) as Arc<dyn Transfer>)
    }

    /// Whose state is handed over in time.
    pub(super) fn belongs_to(&self, source: &Arc<XdsSource>) {
        let _ = self.source.set(Arc::downgrade(source));
    }

    /// What arrived for this control plane and gateway. `None` without a predecessor that had one.
    pub(super) fn take(&self, identity: &str) -> Option<Legacy> {
        let Arrived { head, held, records } = std::mem::take(&mut *self.arrived.lock());
        let head = head.filter(|it| it.identity == identity)?;
        let whole = head.records == Some(records);
        Some(Legacy { held: whole.then_some(held), synced: head.synced })
    }

    /// Makes all parts, and gives the first.
    fn begin(&self) -> Vec<u8> {
        let mut leaving = self.leaving.lock();
        leaving.clear();
        let Some(source) = self.source.get().and_then(Weak::upgrade) else { return Vec::new() };
        let (identity, synced) = (source.identity(), source.is_synced());
        let (remote, known) = source.held();
        let records = remote.changes().map(|change| {
            let (name, version) = label(&change, &known);
            (name, version, codec::encode(&change).unwrap_or_default())
        });
        let packed = pack(records, PART_BYTES_MAX);
        let records = packed.as_ref().map(|it| it.records);
        match packed {
            Some(Packed { mut parts, .. }) => {
                parts.reverse();
                *leaving = parts;
            }
            None => {
                tracing::warn!("too much to hand over: the successor reads the state on disk, or asks");
                source.save_now();
            }
        }
        serde_json::to_vec(&Head { identity, synced, records }).unwrap_or_default()
    }

    fn arrive(&self, number: usize, bytes: &[u8]) -> Result<(), String> {
        let mut arrived = self.arrived.lock();
        if number == 0 {
            // A predecessor without a control plane says nothing.
            if !bytes.is_empty() {
                arrived.head = Some(serde_json::from_slice(bytes).map_err(|error| error.to_string())?);
            }
            return Ok(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, after) = Record::read(rest).ok_or("not records")?;
            rest = after;
            arrived.held.take(record.name, record.version, record.bytes);
            arrived.records += 1;
        }
        Ok(())
    }
}

/// Everything, in the parts after the first.
struct Packed {
    parts: Vec<Vec<u8>>,
    records: usize,
}

/// Puts records of name, version and content into parts that are full at this size; `None` where there are too many.
fn pack<'a>(records: impl Iterator<Item = (String, &'a str, Vec<u8>)>, full: usize) -> Option<Packed> {
    let (mut packed, mut part) = (Packed { parts: Vec::new(), records: 0 }, Vec::new());
    for (name, version, bytes) in records {
        let record = Record { form: Form::Plain, name: &name, version, bytes: &bytes };
        packed.records += usize::from(record.write(&mut part));
        if part.len() > full {
            packed.parts.push(std::mem::take(&mut part));
            if packed.parts.len() >= PARTS {
                return None;
            }
        }
    }
    packed.parts.push(part);
    // The first part is the head's.
    (packed.parts.len() < PARTS).then_some(packed)
}

struct Part {
    number: usize,
    estate: Arc<Estate>,
}

impl Transfer for Part {
    fn name(&self) -> &'static str {
        NAMES.get(self.number).copied().unwrap_or_default()
    }

    fn export(&self) -> Vec<u8> {
        if self.number == 0 { self.estate.begin() } else { self.estate.leaving.lock().pop().unwrap_or_default() }
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != self.version() {
            return Err(format!("resources of version {version} are not known"));
        }
        self.estate.arrive(self.number, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> impl Iterator<Item = (String, &'static str, Vec<u8>)> {
        (0..count).map(|it| (format!("backend/{it}"), "v", vec![0; 100]))
    }

    fn head(records: Option<usize>) -> Vec<u8> {
        serde_json::to_vec(&Head { identity: "us".to_owned(), synced: true, records }).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_not_handed_over_by_halves() {
        let all = pack(records(60), 500).unwrap();
        assert_eq!(all.records, 60);
        assert!((2..PARTS).contains(&all.parts.len()), "{}", all.parts.len());
        assert!(all.parts.iter().all(|it| it.len() < 700), "a part is full, and one record more");
        assert!(pack(records(100), 500).is_none());
        // One part is filled to the brim, and there is a part left for what comes after it.
        let most = (0..100).rev().find(|it| pack(records(*it), 500).is_some()).unwrap();
        assert!(pack(records(most + 1), 500).is_none());
        assert!(pack(records(0), 500).is_some_and(|it| it.records == 0));
    }

    #[test]
    fn a_legacy_is_whole_or_nothing() {
        let arrived = |head: &[u8], parts: &[Vec<u8>]| {
            let estate = Estate::default();
            estate.arrive(0, head).unwrap();
            parts.iter().enumerate().for_each(|(at, it)| estate.arrive(at + 1, it).unwrap());
            estate
        };
        let parts = pack(records(20), 500).unwrap().parts;
        let taken = arrived(&head(Some(20)), &parts).take("us").unwrap();
        assert!(taken.synced && taken.held.is_some());
        for (records, parts) in [(None, &[][..]), (Some(20), &parts[1..]), (Some(21), &parts[..])] {
            let taken = arrived(&head(records), parts).take("us").unwrap();
            assert!(taken.synced && taken.held.is_none(), "{records:?}: it asks before it takes over");
        }
        assert!(arrived(&head(Some(20)), &parts).take("others").is_none());
        assert!(arrived(b"", &[]).take("us").is_none(), "a predecessor without a control plane");
        assert!(Estate::default().arrive(1, b"no records").is_err());
        assert!(Estate::default().arrive(0, b"no head").is_err());
    }
}

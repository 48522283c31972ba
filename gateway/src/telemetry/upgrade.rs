//! How upgrades ended, and that their number outlives the processes that count them.

use std::sync::Arc;

use super::Telemetry;
use crate::life::transfer::Transfer;

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    TookOver,
    /// The successor did not become ready.
    Failed,
    /// None was started.
    Refused,
}

impl Upgrade {
    const ALL: [Self; 3] = [Self::TookOver, Self::Failed, Self::Refused];

    pub fn label(self) -> &'static str {
        match self {
            Self::TookOver => "took_over",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// The counts on their way to a successor: a counter that began anew with each upgrade would count nothing.
pub struct Upgrades(pub Arc<Telemetry>);

impl Transfer for Upgrades {
    fn name(&self) -> &'static str {
        "upgrades"
    }

    fn export(&self) -> Vec<u8> {
        let series = self.0.metrics.upgrades.collect();
        let count = |it: &Upgrade| {
            let found = series.iter().find(|known| known.values.first().is_some_and(|value| **value == *it.label()));
            found.map_or(0, |known| known.cells.count.get()).to_be_bytes()
        };
        Upgrade::ALL.iter().map(count).collect::<Vec<_>>().concat()
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let (counts, rest) = bytes.as_chunks::<8>();
        if version != 1 || counts.len() != Upgrade::ALL.len() || !rest.is_empty() {
            return Err(format!("{} bytes of version {version} are not counts of upgrades", bytes.len()));
        }
        for (it, count) in Upgrade::ALL.iter().zip(counts) {
            let count = u64::from_be_bytes(*count).min(u64::from(u32::MAX));
            self.0.metrics.upgrades.record(&[it.label()], |cells| cells.count.add(count));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Exposition;
    use crate::telemetry::tests::statics;

    #[test]
    fn a_successor_goes_on_counting() {
        let statics = statics();
        let [old, new] = [(); 2].map(|()| Telemetry::with_output(&statics, Box::new(std::io::sink())));
        old.upgraded(Upgrade::Failed, 1.0);
        old.upgraded(Upgrade::Failed, 1.0);
        let (old, heir) = (Upgrades(old), Upgrades(new.clone()));
        heir.import(1, &old.export()).unwrap();
        new.upgraded(Upgrade::TookOver, 0.5);
        let text = new.encode(Exposition::negotiate(None));
        assert!(text.contains("agentgateway_upgrades_total{outcome=\"failed\"} 2"), "{text}");
        assert!(text.contains("agentgateway_upgrades_total{outcome=\"took_over\"} 1"), "{text}");
        assert!(heir.import(1, b"nonsense").is_err());
    }
}

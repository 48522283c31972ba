//! `config.modelCatalog`: what tokens cost, read from the document and from files that may change at any time.
//!
//! Entries lie over each other in their order. A file that changes is in force at once, without a new generation; one
//! that cannot be read, or is no catalogue, leaves what it said last in force, and `/config/status` names it under
//! `modelCatalog` with the reason.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use protocols::llm::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files;
use super::watch::Watch;
use crate::llm::Prices;
use crate::statics::CatalogSource;
use crate::status::Status;

/// An entry of `modelCatalog`: exactly one of the two.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelCatalog {
    File {
        /// Path of a file that holds a catalogue in JSON.
        file: String,
    },
    Inline {
        /// The catalogue, as an object or as JSON text: `providers.<name>.models.<id>` with `rates` (dollars for a
        /// million tokens, as decimal text), `tiers`, and `date` beside `providers`.
        inline: serde_json::Value,
    },
}

impl ModelCatalog {
    /// What is written here is judged at once; a file is when it is read.
    pub(super) fn lower(self) -> Result<CatalogSource, String> {
        match self {
            Self::File { file } => Ok(CatalogSource::File(PathBuf::from(file))),
            Self::Inline { inline } => {
                let text = match inline {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                let catalog = Catalog::parse(text.as_bytes()).map_err(|it| format!("is no catalogue: {it}"))?;
                Ok(CatalogSource::Inline(Box::new(catalog)))
            }
        }
    }
}

/// Keeps the catalogue in force up to date.
pub struct Catalogs {
    sources: Vec<CatalogSource>,
    prices: Arc<Prices>,
    status: Arc<Status>,
    /// What each entry said last.
    held: Mutex<Vec<Held>>,
}

#[derive(Clone, Default)]
struct Held {
    digest: u64,
    good: Catalog,
    fault: Option<String>,
}

impl Catalogs {
    /// Reads them for the first time.
    pub fn new(sources: Vec<CatalogSource>, status: Arc<Status>) -> Self {
        let held = Mutex::new(vec![Held::default(); sources.len()]);
        let catalogs = Self { sources, prices: Arc::default(), status, held };
        catalogs.load();
        catalogs
    }

    pub fn prices(&self) -> Arc<Prices> {
        self.prices.clone()
    }

    /// Runs for ever.
    pub async fn run(&self) {
        let files = self.sources.iter().filter_map(|it| match it {
            CatalogSource::File(path) => Some(path.clone()),
            CatalogSource::Inline(_) => None,
        });
        let files: Vec<_> = files.collect();
        if files.is_empty() {
            return;
        }
        let mut watch = Watch::new();
        watch.set(&files);
        // What changed before it was watched.
        self.load();
        loop {
            watch.changed().await;
            self.load();
        }
    }

    fn load(&self) {
        let mut held = self.held.lock();
        let mut changed = false;
        for (source, held) in self.sources.iter().zip(held.iter_mut()) {
            changed |= held.renew(source);
        }
        if !changed {
            return;
        }
        let mut whole = Catalog::default();
        held.iter().for_each(|it| whole.merge(it.good.clone()));
        let faults = self.sources.iter().zip(held.iter()).filter_map(|(source, held)| {
            let CatalogSource::File(path) = source else { return None };
            Some((path.display().to_string(), held.fault.clone()?))
        });
        let faults: Vec<_> = faults.collect();
        for (file, fault) in &faults {
            tracing::warn!(%file, %fault, "a catalogue of models is not taken, what it said before stands");
        }
        self.status.stale("modelCatalog", faults);
        let (models, date) = (whole.models(), whole.date().unwrap_or_default().to_owned());
        // Who reads that it is in force is charged by it.
        self.prices.set(whole);
        tracing::info!(models, date, "catalogue of models in force");
    }
}

impl Held {
    /// Whether there was anything new.
    fn renew(&mut self, source: &CatalogSource) -> bool {
        let path = match source {
            CatalogSource::Inline(catalog) => {
                let first = self.digest == 0;
                (self.digest, self.good) = (1, (**catalog).clone());
                return first;
            }
            CatalogSource::File(path) => path,
        };
        let read = files::read_bounded(path);
        let digest = read.as_ref().map_or(0, |it| files::digest(it));
        if digest == self.digest && (digest != 0 || self.fault.is_some()) {
            return false;
        }
        self.digest = digest;
        let parsed = read.and_then(|it| Catalog::parse(&it).map_err(|it| it.to_string()));
        self.fault = parsed.map(|good| self.good = good).err();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(rate: &str) -> String {
        format!(r#"{{"providers":{{"openai":{{"models":{{"m":{{"rates":{{"input":"{rate}"}}}}}}}}}}}}"#)
    }

    #[test]
    fn a_file_that_is_no_catalogue_leaves_what_it_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        let source = CatalogSource::File(path.clone());
        let mut held = Held::default();
        assert!(held.renew(&source) && held.fault.is_some(), "it is not there");
        assert!(!held.renew(&source), "and still is not");
        std::fs::write(&path, catalog("1")).unwrap();
        assert!(held.renew(&source) && held.fault.is_none());
        let good = held.good.clone();
        std::fs::write(&path, "{\"providers\":").unwrap();
        assert!(held.renew(&source) && held.fault.is_some());
        assert_eq!(held.good, good);
        std::fs::write(&path, catalog("2")).unwrap();
        assert!(held.renew(&source) && held.fault.is_none() && held.good != good);
    }

    #[test]
    fn what_is_written_out_is_judged_at_once() {
        let inline = |value| ModelCatalog::Inline { inline: value }.lower();
        assert!(inline(serde_json::Value::String(catalog("1.5"))).is_ok());
        assert!(inline(serde_json::json!({"providers": {}})).is_ok());
        assert!(inline(serde_json::json!({"providers": []})).unwrap_err().contains("providers"));
    }
}

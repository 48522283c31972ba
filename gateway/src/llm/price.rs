//! What is in force of the catalogue of costs. Who reads its files is `local::catalog`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocols::llm::{Catalog, Priced, Usage};

/// The catalogue as it is now: requests read it when they end.
#[derive(Default)]
pub struct Prices(ArcSwap<Catalog>);

impl Prices {
    /// Puts another one in force.
    pub fn set(&self, catalog: Catalog) {
        self.0.store(Arc::new(catalog));
    }

    /// Nothing where there is no catalogue at all.
    pub(super) fn price(&self, provider: &str, models: &[&str], usage: &Usage) -> Option<Priced> {
        let catalog = self.0.load();
        (catalog.models() > 0).then(|| catalog.price(provider, models, usage))
    }
}

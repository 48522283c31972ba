//! What goes into one response: as much as fits.

use prost_types::Any;

use super::cache::Entry;
use crate::codec::Name;
use crate::pb;
use crate::pb::envoy::service::discovery::v3::Resource;

/// Version, type and framing of a resource.
const RESOURCE_BYTES: usize = 128;

/// A response being filled. Changes that fit into one take effect together.
#[derive(Default)]
pub(super) struct Batch {
    pub resources: Vec<Resource>,
    pub removed: Vec<String>,
    bytes: usize,
}

impl Batch {
    /// One that begins with names that are to go.
    pub(super) fn removing(removed: Vec<String>) -> Self {
        Self { bytes: removed.iter().map(|it| it.len() + RESOURCE_BYTES).sum(), resources: Vec::new(), removed }
    }

    /// Whether a resource of this name and size goes in as well; what is larger than any response goes alone.
    pub(super) fn has_room(&self, name: &Name, bytes: usize, bytes_max: usize) -> bool {
        self.bytes == 0 || self.bytes + weight(name, bytes) <= bytes_max
    }

    pub(super) fn send(&mut self, name: &Name, entry: &Entry) {
        self.bytes += weight(name, entry.bytes.len());
        self.resources.push(Resource {
            version: entry.version.to_string(),
            resource: Some(Any { type_url: pb::TYPE_URL.to_owned(), value: entry.bytes.clone().into() }),
            name: name.to_string(),
            aliases: Vec::new(),
            ttl: None,
        });
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.bytes += weight(name, 0);
        self.removed.push(name.to_string());
    }

    /// Of what is sent, for the log.
    pub(super) fn content_bytes(&self) -> usize {
        self.resources.iter().filter_map(|it| it.resource.as_ref()).map(|it| it.value.len()).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.resources.len() + self.removed.len()
    }
}

fn weight(name: &Name, bytes: usize) -> usize {
    name.key.len() + bytes + RESOURCE_BYTES
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;

    #[test]
    fn a_batch_takes_what_fits_and_at_least_one() {
        let (name, entry) = (Name::parse("tcp_route/x").unwrap(), Entry::new(vec![0; 300].into()));
        let mut batch = Batch::default();
        assert!(batch.has_room(&name, 9999, 1000), "what is larger than any response goes alone");
        batch.send(&name, &entry);
        batch.send(&name, &entry);
        assert!(!batch.has_room(&name, 300, 1000) && batch.has_room(&name, 0, 1000));
        batch.remove(&name);
        assert_eq!((batch.len(), batch.content_bytes()), (3, 600));
        let weighed = batch.bytes;
        let Batch { resources, removed: removed_resources, .. } = batch;
        let response = DeltaDiscoveryResponse { resources, removed_resources, ..Default::default() };
        assert!(response.encoded_len() <= weighed, "{} of {weighed}", response.encoded_len());
    }
}

//! Who a client says it is.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::pb::envoy::config::core::v3 as core;

/// Longest text a client may say of itself.
const TEXT_BYTES_MAX: usize = 1024;
/// Most entries of its metadata.
const METADATA_MAX: usize = 64;

/// The client, as the control plane knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Unique among the clients of a control plane.
    pub id: String,
    /// The group it belongs to.
    pub cluster: String,
    /// Whatever else the control plane chooses by: texts, such as `role`.
    pub metadata: BTreeMap<String, String>,
    /// Of the gateway, so that the control plane knows which fields it understands.
    pub version: String,
}

impl Node {
    pub(crate) fn encode(&self) -> core::Node {
        let Self { id, cluster, metadata, version } = self;
        let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
        core::Node {
            id: id.clone(),
            cluster: cluster.clone(),
            metadata: Some(Struct { fields: metadata.iter().map(|(key, value)| (key.clone(), text(value))).collect() }),
            locality: None,
            user_agent_name: "agentgateway".to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(version.clone())),
        }
    }

    /// That a client does not say more of itself than anybody needs to know.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { id, cluster, metadata, version } = self;
        let texts = [id, cluster, version].into_iter().chain(metadata.iter().flat_map(|(key, value)| [key, value]));
        if texts.into_iter().any(|it| it.len() > TEXT_BYTES_MAX) {
            return Err(format!("a text of the node is longer than {TEXT_BYTES_MAX} bytes"));
        }
        if metadata.len() > METADATA_MAX {
            return Err(format!("the node has more than {METADATA_MAX} entries of metadata"));
        }
        Ok(())
    }

    /// What is a text in the metadata; other values are nothing we choose by.
    pub(crate) fn decode(it: core::Node) -> Self {
        let core::Node { id, cluster, metadata, locality: _, user_agent_name: _, user_agent_version_type } = it;
        let text = |(key, value): (String, Value)| match value.kind {
            Some(Kind::StringValue(text)) => Some((key, text)),
            _ => None,
        };
        let version = user_agent_version_type.map(|core::node::UserAgentVersionType::UserAgentVersion(it)| it);
        Self {
            id,
            cluster,
            metadata: metadata.into_iter().flat_map(|it| it.fields).filter_map(text).collect(),
            version: version.unwrap_or_default(),
        }
    }
}

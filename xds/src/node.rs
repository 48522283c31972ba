//! Who a client says it is.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::pb::envoy::config::core::v3 as core;

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

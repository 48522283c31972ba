//! The JSON schema of the document, and what it says of keys that later versions will accept.

use std::sync::{Arc, LazyLock};

use filters::lower::Span;
use serde_json::Value;

use super::doc::check::Checker;
use super::document::Document;

/// Keys of the configuration language that this version does not accept yet.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("a2a", ""),
    ("ai", ""),
    ("backendTunnel", ""),
    ("connect", ""),
    ("database", ""),
    ("dynamic", ""),
    ("extAuthz", ""),
    ("extProc", ""),
    ("hbone", ""),
    ("inferenceRouting", ""),
    ("internal", ""),
    ("llm", ""),
    ("mcpAuthentication", ""),
    ("mcpGuardrails", ""),
    ("modelCatalog", ""),
    ("networkExtAuthz", ""),
    ("oidc", ""),
    ("remoteRateLimit", ""),
    ("spiffe", ""),
    ("storage", ""),
    ("ui", ""),
    ("caAddress", ""),
    ("caAuthToken", ""),
    ("config.additionalTrustDomains", ""),
    ("config.histograms", ""),
    ("config.logging.database", ""),
    ("config.network", ""),
    ("config.serviceAccount", ""),
    ("config.skipValidateTrustDomain", ""),
    ("config.standardAttributes", ""),
    ("config.trustDomain", ""),
    ("frontendPolicies.metrics", ""),
    ("frontendPolicies.tracing", ""),
];

/// Keys of earlier configurations, and where they stand now.
const MOVED: &[(&str, &str)] = &[
    ("config.listener", "its settings are in `frontendPolicies`, at the top level"),
    ("config.logging.fields", "`frontendPolicies.accessLog` has `add` and `remove`"),
    ("config.logging.filter", "write `frontendPolicies.accessLog.filter`"),
];

/// The schema as generated from the types, with its title; what says nothing is left out.
pub fn json() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    prune(&mut schema);
    let Value::Object(mut rest) = schema else { return schema };
    rest.insert("title".to_owned(), "agentgateway configuration".into());
    // What a reader looks for comes first.
    let first = ["$schema", "title", "description"].map(|key| (key.to_owned(), rest.remove(key)));
    let first = first.into_iter().filter_map(|(key, value)| Some((key, value?)));
    first.chain(rest.clone()).collect()
}

/// Removes defaults that only say that nothing is set, there and within other defaults.
fn prune(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(default)) = map.get_mut("default") {
                default.retain(|_, value| !value.is_null() && *value != serde_json::json!([]));
            }
            map.retain(|key, value| key != "default" || !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The schema as it is written to `conf/schema/config.json`.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&json()).unwrap_or_default();
    text.push('\n');
    text
}

/// The compiled checker, made once.
pub fn checker() -> Arc<Checker> {
    static CHECKER: LazyLock<Arc<Checker>> = LazyLock::new(|| {
        let checker = Checker::new(&json()).with_unsupported(UNSUPPORTED).with_moved(MOVED);
        Arc::new(checker.with_format(Span::FORMAT, |text| Span::parse(text).err()))
    });
    CHECKER.clone()
}

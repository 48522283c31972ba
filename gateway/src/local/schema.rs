//! The JSON schema of the document, and what it says of keys that later versions will accept.

use std::sync::{Arc, LazyLock};

use filters::lower::Span;

use super::doc::check::Checker;
use super::document::Document;

/// Keys of the configuration language that this version does not accept yet.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("a2a", ""),
    ("ai", ""),
    ("apiKey", ""),
    ("authorization", ""),
    ("backendAuth", ""),
    ("backendTunnel", ""),
    ("basicAuth", ""),
    ("connect", ""),
    ("csrf", ""),
    ("customFunctions", ""),
    ("database", ""),
    ("delay", ""),
    ("dynamic", ""),
    ("extAuthz", ""),
    ("extProc", ""),
    ("hbone", ""),
    ("inferenceRouting", ""),
    ("internal", ""),
    ("jwtAuth", ""),
    ("llm", ""),
    ("localRateLimit", ""),
    ("mcp", ""),
    ("mcpAuthentication", ""),
    ("mcpAuthorization", ""),
    ("mcpGuardrails", ""),
    ("modelCatalog", ""),
    ("networkAuthorization", "`ipAccess` allows and denies networks today"),
    ("networkExtAuthz", ""),
    ("oidc", ""),
    ("remoteRateLimit", ""),
    ("spiffe", ""),
    ("storage", ""),
    ("transformations", ""),
    ("ui", ""),
    ("xdsAddress", ""),
    ("xdsAuthToken", ""),
    ("caAddress", ""),
    ("caAuthToken", ""),
];

/// The schema as generated from the types, with its title and editor hint.
pub fn json() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "agentgateway configuration".into());
    }
    schema
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
        let checker = Checker::new(&json()).with_unsupported(UNSUPPORTED);
        Arc::new(checker.with_format(Span::FORMAT, |text| Span::parse(text).err()))
    });
    CHECKER.clone()
}

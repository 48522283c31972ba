//! What the static settings say of metrics, traces, and expressions.

use std::collections::BTreeMap;

use filters::expr::{Expression, Needs, Site, UserFunctions, Vocabulary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;

/// Labels added to the metrics of requests.
const LABELS_MAX: usize = 16;
/// Labels that requests have anyway.
const TAKEN: [&str; 10] =
    ["bind", "gateway", "listener", "route", "route_rule", "backend", "protocol", "method", "status", "reason"];

/// Accepted, without effect in this version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    pub otlp_endpoint: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub otlp_protocol: Option<String>,
    pub fields: Option<TracingFields>,
    pub random_sampling: Option<Sampling>,
    pub client_sampling: Option<Sampling>,
    pub path: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TracingFields {
    pub remove: Vec<String>,
    pub add: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Sampling {
    Bool(bool),
    Number(f64),
    Text(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metrics {
    /// Names not exported, with or without prefix and `_total`.
    pub remove: Vec<String>,
    /// Label request metrics with route and rule too; their number then grows with the routes.
    pub per_route: bool,
    pub fields: Option<MetricFields>,
}

/// Labels of request metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricFields {
    /// Labels added, name to CEL over the request and its response, such as `jwt.tenant`. What fails is `unknown`;
    /// beyond 500 values it is `_other`.
    pub add: BTreeMap<String, String>,
}

/// The functions that `config.customFunctions` defines.
pub(super) fn functions(text: Option<&str>, faults: &mut Vec<Fault>) -> UserFunctions {
    match UserFunctions::parse(text.unwrap_or_default()) {
        Ok(functions) => functions,
        Err(problems) => {
            let fault =
                |it: &filters::expr::Problem| Fault::Written("config.customFunctions".to_owned(), it.to_string());
            faults.extend(problems.iter().map(fault));
            UserFunctions::default()
        }
    }
}

/// The labels that `config.metrics.fields.add` defines.
pub(super) fn labels(
    written: Option<MetricFields>,
    functions: &UserFunctions,
    faults: &mut Vec<Fault>,
) -> Vec<(String, Expression)> {
    let add = written.unwrap_or_default().add;
    let path = "config.metrics.fields.add";
    if add.len() > LABELS_MAX {
        faults.push(Fault::Written(path.to_owned(), format!("more than {LABELS_MAX} labels")));
    }
    let vocabulary = Vocabulary::of(Site::Log).with(functions.clone());
    let mut labels = Vec::new();
    for (name, text) in add {
        let mut fault = |reason: String| faults.push(Fault::Written(format!("{path}.{name}"), reason));
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.starts_with("__") {
            fault("a label has letters, digits and `_`, and begins with a letter".to_owned());
        } else if TAKEN.contains(&name.as_str()) {
            fault("requests have a label of this name".to_owned());
        }
        match Expression::parse(&text, &vocabulary) {
            Ok(it) if it.needs().intersects(Needs::REQUEST_BODY.or(Needs::RESPONSE_BODY)) => {
                fault("a label is not made of a body".to_owned());
            }
            Ok(it) => labels.push((name, it)),
            Err(reason) => fault(reason),
        }
    }
    labels
}

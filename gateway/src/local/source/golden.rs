//! Documents of `tests/golden/local` and the objects they become; `UPDATE_EXPECT=1` writes the latter.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Input, Refused, Source};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/local")
}

/// Objects of one table, a line for each, by key; what is absent or empty is left out.
fn table<K: Ord + std::hash::Hash, V: Serialize>(out: &mut String, name: &str, rows: &ir::Map<K, Arc<V>>) {
    let sorted: BTreeMap<&K, &Arc<V>> = rows.iter().collect();
    for object in sorted.into_values() {
        let mut value = serde_json::to_value(&**object).unwrap();
        shorten(&mut value);
        writeln!(out, "{name} {value}").unwrap();
    }
}

fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("origin");
            map.values_mut().for_each(shorten);
            map.retain(|_, it| !(it.is_null() || *it == serde_json::json!([]) || *it == serde_json::json!({})));
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn lowered(text: &str) -> String {
    let input = Input::Text { name: "golden".to_owned(), text: text.to_owned() };
    let told = |refused: Refused| refused.problems.iter().map(|it| format!("problem {it}\n")).collect::<String>();
    let (mut source, _) = match Source::open(input, |_| None) {
        Ok(opened) => opened,
        Err(refused) => return told(refused),
    };
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(refused) => return told(refused),
    };
    let mut out = String::new();
    let ir::Snapshot { binds, listeners, routes, tcp_routes, route_groups, backends, services, workloads, policies } =
        &source.snapshot;
    table(&mut out, "bind", binds);
    table(&mut out, "listener", listeners);
    table(&mut out, "route", routes);
    table(&mut out, "tcpRoute", tcp_routes);
    table(&mut out, "routeGroup", route_groups);
    table(&mut out, "backend", backends);
    table(&mut out, "service", services);
    table(&mut out, "workload", workloads);
    table(&mut out, "policy", policies);
    loaded.warnings.iter().for_each(|it| writeln!(out, "warning {it}").unwrap());
    out
}

#[test]
fn documents_become_these_objects() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        seen += 1;
        let found = lowered(&std::fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("snapshot");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{}: UPDATE_EXPECT=1 accepts it", path.display());
    }
    assert!(seen >= 5, "golden documents are missing");
}

#[test]
fn loading_the_same_text_again_changes_nothing() {
    let text = std::fs::read_to_string(folder().join("attached.yaml")).unwrap();
    let input = Input::Text { name: "golden".to_owned(), text };
    let (mut source, _) = Source::open(input, |_| None).unwrap();
    assert_ne!(source.load().unwrap().patch.len(), 0);
    assert_eq!(source.load().unwrap().patch.len(), 0);
}

#[test]
fn a_refused_load_changes_nothing_and_the_next_good_one_is_compared_with_what_runs() {
    let document = |path: &str| {
        format!(
            "gateways: {{default: {{port: 0}}}}\nroutes:\n- {{name: a}}\n- name: b\n  matches: [{{path: {{{path}}}}}]\n"
        )
    };
    let set = |source: &mut Source, path: &str| {
        source.input = Input::Text { name: "golden".to_owned(), text: document(path) };
        source.load().map(|it| it.patch.len()).map_err(|it| it.problems.len())
    };
    let input = Input::Text { name: "golden".to_owned(), text: document("exact: /x") };
    let (mut source, _) = Source::open(input, |_| None).unwrap();
    assert!(source.load().is_ok_and(|it| it.patch.len() > 2));
    assert_eq!(set(&mut source, "regex: '('"), Err(1), "a value that cannot be read");
    assert_eq!(set(&mut source, "exakt: /x"), Err(1), "an unknown key");
    assert_eq!(set(&mut source, "exact: [ /x"), Err(1), "no YAML");
    assert_eq!(set(&mut source, "exact: /y"), Ok(1), "the edited route alone");
}

#[test]
fn a_warning_is_told_where_its_item_stands_now() {
    let document = |before: &str| {
        format!("gateways:\n  default: {{port: 0}}\nroutes:\n{before}- name: b\n  backends: [{{backend: nope}}]\n")
    };
    let told = |source: &mut Source, text: String| {
        source.input = Input::Text { name: "golden".to_owned(), text };
        source.load().unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let input = Input::Text { name: "golden".to_owned(), text: document("") };
    let (mut source, _) = Source::open(input, |_| None).unwrap();
    let reason = "backend `nope` does not exist; its requests get 500";
    assert_eq!(told(&mut source, document("")), [format!("golden:5:14: routes[0].backends[0]: {reason}")]);
    let moved = told(&mut source, document("- name: a\n"));
    assert_eq!(moved, [format!("golden:6:14: routes[1].backends[0]: {reason}")]);
}

//! Every policy is a unit: a manual page with an example, and an example that is booted.

use super::{assert_none, read, root, vacuous};

const TABLE: &str = "filters/src/lib.rs";

/// Units that are still being written. Whoever finishes one takes its line away; a new unit does not come here.
const UNFINISHED: [&str; 22] = [
    "access_log",
    "backend_http",
    "backend_tcp",
    "backend_tls",
    "buffer",
    "circuit_breaker",
    "compression",
    "cors",
    "direct_response",
    "frontend_http",
    "frontend_tcp",
    "frontend_tls",
    "header_modifier",
    "health",
    "ip_access",
    "proxy_protocol",
    "request_mirror",
    "request_redirect",
    "retry",
    "session_affinity",
    "timeout",
    "url_rewrite",
];

#[test]
fn every_unit_has_a_manual_page_and_an_example_that_boots() {
    let mut offences = Vec::new();
    let units = units();
    for unit in &units {
        let missing = missing(unit);
        match (missing.is_empty(), UNFINISHED.contains(&unit.as_str())) {
            (true, true) => offences.push(format!("{unit} is finished: take it off UNFINISHED")),
            (false, true) => vacuous(&missing.join(" and ")),
            (false, false) => offences.extend(missing),
            (true, false) => {}
        }
    }
    let strangers = UNFINISHED.iter().filter(|it| !units.iter().any(|unit| unit == *it));
    offences.extend(strangers.map(|it| format!("{it} is on UNFINISHED, and no unit")));
    assert_none("a unit has a manual page with a ```yaml example, and a file in conf/examples", &offences);
}

/// What a unit lacks.
fn missing(unit: &str) -> Vec<String> {
    let pages = [format!("filters/src/{unit}/mod.rs"), format!("filters/src/{unit}.rs")];
    let page = pages.iter().find(|it| root().join(it).exists()).map(|it| read(it)).unwrap_or_default();
    let mut lines = page.lines().map_while(|it| it.strip_prefix("//!"));
    let mut missing = Vec::new();
    if !lines.any(|it| it.trim().starts_with("```yaml")) {
        missing.push(format!("the yaml example in the //! page of {unit}"));
    }
    let example = format!("conf/examples/{unit}.yaml");
    if !root().join(&example).exists() {
        missing.push(example);
    }
    missing
}

/// The modules named in the table of units. One place to adapt when the table gets another form.
fn units() -> Vec<String> {
    let text = if root().join(TABLE).exists() { read(TABLE) } else { String::new() };
    let units = parse(&text);
    assert!(!units.is_empty(), "{TABLE} holds no table of units that this test can read");
    units
}

/// A row is `Variant = "key" in module @ Rung;`.
fn parse(text: &str) -> Vec<String> {
    let table = text.split_once("units! {").map_or("", |it| it.1);
    let rows = table.lines().map(str::trim).take_while(|it| *it != "}").filter(|it| !it.starts_with("//"));
    let mut modules: Vec<String> = rows
        .filter_map(|it| it.split_whitespace().skip_while(|word| *word != "in").nth(1).map(str::to_owned))
        .collect();
    // One module may hold several units.
    modules.sort();
    modules.dedup();
    modules
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let text = "pub mod x;\nunit::units! {\n // A = \"a\" in a @ B;\n J = \"jwt\"   in jwt  @ E;\n\n C = \"c\" in cors @ S;\n K = \"k\" in cors @ S;\n}\nX = \"x\" in x @ S;\n";
    assert_eq!(parse(text), ["cors", "jwt"]);
}

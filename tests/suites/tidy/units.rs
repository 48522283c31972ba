//! Every policy is a unit: a manual page with an example, and an example that is booted.

use super::{assert_none, read, root};

const TABLE: &str = "filters/src/lib.rs";

#[test]
fn every_unit_has_a_manual_page_an_example_and_a_codec() {
    let mut offences = Vec::new();
    for (key, module) in units() {
        let pages = [format!("filters/src/{module}/mod.rs"), format!("filters/src/{module}.rs")];
        let page = pages.iter().find(|it| root().join(it).exists()).map(|it| read(it)).unwrap_or_default();
        let mut lines = page.lines().map_while(|it| it.strip_prefix("//!"));
        if !lines.any(|it| it.trim().starts_with("```yaml")) {
            offences.push(format!("the yaml example in the //! page of {module}"));
        }
        let codec = format!("xds/src/codec/policy/{module}.rs");
        if !root().join(&codec).exists() {
            offences.push(codec);
        }
        let example = format!("conf/examples/{}.yaml", kebab(&key));
        if !root().join(&example).exists() {
            offences.push(example);
        }
    }
    assert_none("a unit has a manual page with a ```yaml example, a file in conf/examples and a codec", &offences);
}

/// `backendTLS` as a file name: `backend-tls`.
fn kebab(key: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for letter in key.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
        before = letter;
    }
    out
}

/// Keys and modules of the table.
fn units() -> Vec<(String, String)> {
    let text = if root().join(TABLE).exists() { read(TABLE) } else { String::new() };
    let units = parse(&text);
    assert!(!units.is_empty(), "{TABLE} holds no table of units that this test can read");
    units
}

/// A row is `Variant = "key" in module @ Rung;`.
fn parse(text: &str) -> Vec<(String, String)> {
    let table = text.split_once("units! {").map_or("", |it| it.1);
    let rows = table.lines().map(str::trim).take_while(|it| *it != "}").filter(|it| !it.starts_with("//"));
    rows.filter_map(|row| {
        let key = row.split('"').nth(1)?.to_owned();
        let module = row.split_whitespace().skip_while(|word| *word != "in").nth(1)?.to_owned();
        Some((key, module))
    })
    .collect()
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let text = "pub mod x;\nunit::units! {\n // A = \"a\" in a @ B;\n J = \"jwtAuth\"   in jwt  @ E;\n\n C = \"c\" in cors @ S;\n}\nX = \"x\" in x @ S;\n";
    let pair = |key: &str, module: &str| (key.to_owned(), module.to_owned());
    assert_eq!(parse(text), [pair("jwtAuth", "jwt"), pair("c", "cors")]);
    assert_eq!(kebab("backendTLS"), "backend-tls");
}

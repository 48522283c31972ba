//! Every policy is a unit: a manual page with an example, and an example that is booted.

use super::{assert_none, read, root, vacuous};

const TABLE: &str = "filters/src/lib.rs";

/// Modules of `filters` that are not policies.
const PARTS: [&str; 8] = ["rung", "exchange", "chain", "keep", "callout", "expr", "table", "tests"];

#[test]
fn every_unit_has_a_manual_page_with_an_example() {
    let mut offences = Vec::new();
    for unit in units() {
        let pages = [format!("filters/src/{unit}/mod.rs"), format!("filters/src/{unit}.rs")];
        let Some(path) = pages.iter().find(|it| root().join(it).exists()) else {
            offences.push(format!("{unit}: no file"));
            continue;
        };
        let page: Vec<String> =
            read(path).lines().take_while(|it| it.starts_with("//!")).map(|it| it[3..].trim().to_owned()).collect();
        if !page.iter().any(|it| it.starts_with("```yaml")) {
            offences.push(format!("{path}: no ```yaml example in its //! page"));
        }
    }
    assert_none("a unit begins with its manual page", &offences);
}

#[test]
fn every_unit_has_an_example_that_boots() {
    let missing: Vec<String> =
        units().iter().map(|it| format!("conf/examples/{it}.yaml")).filter(|it| !root().join(it).exists()).collect();
    assert_none("a unit has an example", &missing);
}

/// The units registered in the table. One place to adapt when the table gets another form.
fn units() -> Vec<String> {
    if !root().join(TABLE).exists() {
        vacuous(TABLE);
        return Vec::new();
    }
    let units = parse(&read(TABLE));
    if units.is_empty() {
        vacuous("the table of units");
    }
    units
}

/// The modules the file declares, without those that are not policies.
fn parse(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let modules = lines.filter_map(|it| it.strip_prefix("pub mod ").or(it.strip_prefix("mod "))?.strip_suffix(';'));
    modules.filter(|it| !PARTS.contains(it)).map(str::to_owned).collect()
}

#[test]
fn the_table_is_read_as_it_is_written() {
    assert_eq!(parse("//! mod x;\npub mod chain;\npub mod cors;\nmod jwt;\nuse a::b;\n"), ["cors", "jwt"]);
}

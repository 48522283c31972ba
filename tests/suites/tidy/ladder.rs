//! Who may import whom: `ir < protocols < filters < xds < {controller, gateway}`, dev- and build-dependencies too.

use super::{assert_none, read, root, tracked_rust, vacuous};

struct Crate {
    name: &'static str,
    folder: &'static str,
    may_import: &'static [&'static str],
}

const LADDER: [Crate; 11] = [
    Crate { name: "ir", folder: "conf/ir", may_import: &[] },
    Crate { name: "protocols", folder: "protocols", may_import: &["ir"] },
    Crate { name: "filters", folder: "filters", may_import: &["ir", "protocols"] },
    Crate { name: "xds", folder: "xds", may_import: &["ir", "protocols", "filters"] },
    Crate { name: "controller", folder: "xds/controller", may_import: &["ir", "protocols", "filters", "xds"] },
    Crate { name: "gateway", folder: "gateway", may_import: &["ir", "protocols", "filters", "xds"] },
    Crate {
        name: "tests",
        folder: "tests",
        may_import: &["ir", "protocols", "filters", "xds", "controller", "gateway"],
    },
    Crate { name: "floor", folder: "tests/bench/floor", may_import: &[] },
    Crate { name: "bench-authz", folder: "tests/bench/authz", may_import: &[] },
    Crate { name: "bench-xds", folder: "tests/bench/xds", may_import: &["ir", "filters", "xds", "tests"] },
    Crate { name: "units", folder: "tests/bench/units", may_import: &["ir", "protocols", "filters", "xds", "gateway"] },
];

/// Dependencies that only some crates may name.
const RESERVED: [(&str, &[&str]); 13] = [
    // What asks an authorization server is measured against the least that a client of tonic does (`bench-authz`).
    ("pingora-core", &["gateway", "floor"]),
    ("pingora-proxy", &["gateway", "floor"]),
    // The benchmark of tokens makes heads.
    ("pingora-http", &["gateway", "filters", "units"]),
    ("tonic", &["xds", "gateway", "tests", "bench-authz"]),
    ("prost", &["xds", "gateway", "protocols", "tests", "bench-authz"]),
    ("prost-types", &["xds", "gateway"]),
    ("protox", &["xds", "gateway"]),
    ("prost-build", &["gateway"]),
    ("tonic-prost", &["xds", "gateway", "tests", "bench-authz"]),
    ("tonic-prost-build", &["xds"]),
    ("kube", &["controller"]),
    ("k8s-openapi", &["controller"]),
    ("notify", &["gateway"]),
];

/// Folders of the gateway that may name Pingora's server and proxy crates.
const PINGORA_FOLDERS: [&str; 10] =
    ["boot", "life", "listen", "proxy", "session", "llm", "mcp", "a2a", "upstream", "admin"];

#[test]
fn a_crate_imports_only_to_its_left() {
    let mut offences = Vec::new();
    for it in &LADDER {
        let Some(dependencies) = dependencies(it.folder) else { continue };
        for other in LADDER.iter().filter(|other| other.name != it.name) {
            if dependencies.iter().any(|name| name == other.name) && !it.may_import.contains(&other.name) {
                offences.push(format!("{} names {}", it.folder, other.name));
            }
        }
    }
    assert_none("a crate imports only to its left", &offences);
}

#[test]
fn reserved_dependencies_stay_where_they_belong() {
    let mut offences = Vec::new();
    for it in &LADDER {
        let Some(dependencies) = dependencies(it.folder) else { continue };
        for (reserved, owners) in RESERVED {
            if dependencies.iter().any(|name| name == reserved) && !owners.contains(&it.name) {
                offences.push(format!("{} names {reserved}", it.folder));
            }
        }
    }
    assert_none("a dependency is named only where it belongs", &offences);
}

#[test]
fn pingora_is_named_only_in_the_folders_that_meet_it() {
    let mut offences = Vec::new();
    for path in tracked_rust().iter().filter(|it| it.starts_with("gateway/src/")) {
        let place = path.trim_start_matches("gateway/src/").split(['/', '.']).next().unwrap_or_default();
        let text = read(path);
        let code = text.lines().filter(|it| !it.trim_start().starts_with("//"));
        // A path, not a name in a text (log directives name Pingora's targets).
        let names = code.into_iter().any(|it| {
            ["pingora_core", "pingora_proxy"].iter().any(|name| {
                it.contains(&format!("{name}::"))
                    && !it.contains(&format!("\"{name}"))
                    && !it.contains(&format!(",{name}"))
            })
        });
        if names && !PINGORA_FOLDERS.contains(&place) {
            offences.push(path.clone());
        }
    }
    assert_none(&format!("pingora_core and pingora_proxy appear only in gateway/src/{PINGORA_FOLDERS:?}"), &offences);
}

#[test]
fn every_crate_of_the_workspace_is_on_the_ladder() {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|it| it.strip_prefix("members = [")).expect("members on one line");
    let members = members.split(['"', ',', ']', ' ']).filter(|it| !it.is_empty());
    let strangers: Vec<String> =
        members.filter(|it| LADDER.iter().all(|rung| rung.folder != *it)).map(str::to_owned).collect();
    assert_none("every member of the workspace has a place on the ladder", &strangers);
}

/// The names under every kind of dependencies, of this crate and for every target.
fn dependencies(folder: &str) -> Option<Vec<String>> {
    let path = format!("{folder}/Cargo.toml");
    if !root().join(&path).exists() {
        vacuous(&path);
        return None;
    }
    Some(parse(&read(&path)))
}

fn parse(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_matches(['[', ']']);
            // `[dependencies.name]` is a table of its own.
            let (head, last) = table.rsplit_once('.').unwrap_or(("", table));
            inside = last.ends_with("dependencies");
            if head.ends_with("dependencies") {
                names.push(last.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.push(name.trim_matches('"').to_owned());
            // `alias = { package = "name" }` and `alias = { path = "../name" }` are the crate they name.
            names.extend(value_of(line, "package"));
            names.extend(value_of(line, "path").and_then(|it| it.rsplit('/').next().map(str::to_owned)));
        }
    }
    names
}

fn value_of(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("{key} = \""))?;
    rest.split('"').next().map(str::to_owned)
}

#[test]
fn a_manifest_can_hide_no_dependency() {
    let manifest = r#"
[package]
name = "x"
[dependencies]
ir.workspace = true
alias = { path = "../gateway" }
[target.'cfg(unix)'.dev-dependencies]
other = { package = "xds", version = "1" }
[build-dependencies.filters]
workspace = true
"#;
    assert_eq!(parse(manifest), ["ir", "alias", "gateway", "other", "xds", "filters"]);
}

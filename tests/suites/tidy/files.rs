//! What a file may hold, how long it may be, and where it may stand.

use super::{assert_none, read, root, tracked, tracked_rust, vacuous};

const LINES_MAX: usize = 500;
const TEST_LINES_MAX: usize = 1000;

/// Files above the ceiling: the path, the lines it may have, and why it may.
const LONG_FILES: [(&str, usize, &str); 0] = [];

/// The only files with `unsafe`: descriptors that the service manager passes have no owner to take them from, the
/// allocator no other door for giving memory back, and of its sockets to backends Pingora tells the number alone.
const UNSAFE_FILES: [&str; 2] = ["gateway/src/systemd/activation.rs", "gateway/src/memory.rs"];

const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "gateway",
    "filters",
    "protocols",
    "xds",
    "conf",
    "tests",
    "deploy",
    "target",
];

/// Folders that explain themselves in a README.md.
const EXPLAINED: [&str; 8] = ["gateway", "filters", "protocols", "xds", "xds/controller", "conf", "tests", "deploy"];

/// Those whose README.md is still being written; each line goes when its file comes.
const AWAITED: [&str; 0] = [];

#[test]
fn no_file_is_longer_than_its_ceiling() {
    let mut offences = Vec::new();
    for path in hand_written_rust() {
        let lines = read(&path).lines().count();
        let usual = if is_test(&path) { TEST_LINES_MAX } else { LINES_MAX };
        match LONG_FILES.iter().find(|it| it.0 == path) {
            None if lines > usual => offences.push(format!("{path}: {lines} lines, {usual} allowed")),
            Some((_, most, _)) if lines > *most => offences.push(format!("{path}: {lines} lines, {most} agreed")),
            Some(_) if lines <= usual => offences.push(format!("{path}: needs no exception any more")),
            _ => {}
        }
    }
    let gone = LONG_FILES.iter().filter(|it| !root().join(it.0).exists());
    offences.extend(gone.map(|it| format!("{}: an exception for no file", it.0)));
    assert_none("find the second noun in a file that is too long", &offences);
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let silent: Vec<String> =
        hand_written_rust().into_iter().filter(|it| !is_test(it) && !read(it).starts_with("//!")).collect();
    assert_none("a file begins with //! and what it is for", &silent);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together at run time, so that this file does not offend.
    let words = ["TO", "FIX"].map(|it| format!("{it}{}", if it == "TO" { "DO" } else { "ME" }));
    let calls = ["todo", "dbg", "unimplemented"].map(|it| format!("{it}!("));
    let attributes = ["#[ignore", "#[should_panic"].map(|it| format!("{it}{}", ""));
    let mut offences = Vec::new();
    for path in tracked_rust().into_iter().filter(|it| !it.starts_with("tests/suites/tidy")) {
        for (number, line) in read(&path).lines().enumerate() {
            let left = words.iter().chain(&calls).chain(&attributes).find(|it| line.contains(it.as_str()));
            if let Some(found) = left {
                offences.push(format!("{path}:{}: {found}", number + 1));
            }
        }
    }
    assert_none("do it now, or open an issue", &offences);
}

#[test]
fn unsafe_stands_in_these_files_only() {
    let code = |path: &str| read(path).lines().map(|it| it.split("//").next().unwrap_or_default().to_owned()).collect();
    let mut offences = Vec::new();
    for path in tracked_rust()
        .into_iter()
        .filter(|it| !UNSAFE_FILES.contains(&it.as_str()) && !it.starts_with("tests/suites/tidy"))
    {
        let lines: Vec<String> = code(&path);
        let has = |it: &&String| it.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        offences.extend(lines.iter().filter(has).map(|it| format!("{path}: {}", it.trim())));
    }
    let gone = UNSAFE_FILES.iter().filter(|it| !root().join(it).exists());
    offences.extend(gone.map(|it| format!("{it}: an exception for no file")));
    assert_none(&format!("only {UNSAFE_FILES:?} may hold unsafe code"), &offences);
}

#[test]
fn the_top_level_holds_only_what_was_agreed() {
    let mut strangers: Vec<String> = tracked()
        .iter()
        .filter_map(|it| it.split('/').next())
        .filter(|it| !it.starts_with('.') && !TOP_LEVEL.contains(it))
        .map(str::to_owned)
        .collect();
    strangers.dedup();
    assert_none("the top level was agreed", &strangers);
}

#[test]
fn every_folder_explains_itself() {
    let files = tracked();
    let mut offences = Vec::new();
    for folder in EXPLAINED {
        if !files.iter().any(|it| it.starts_with(&format!("{folder}/"))) {
            vacuous(folder);
            continue;
        }
        match (files.contains(&format!("{folder}/README.md")), AWAITED.contains(&folder)) {
            (true, true) => offences.push(format!("{folder}/README.md has come: take it off AWAITED")),
            (false, true) => vacuous(&format!("{folder}/README.md")),
            (false, false) => offences.push(format!("{folder}/README.md is missing")),
            (true, false) => {}
        }
    }
    assert_none("a top-level folder has a README.md", &offences);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let paths = ["work", "root"].map(|it| format!("/{it}/"));
    let mut offences = Vec::new();
    for path in tracked() {
        for (number, line) in read(&path).lines().enumerate() {
            // `~/work/`, `xx/work/` and URLs are other paths.
            let own = |needle: &String| {
                line.match_indices(needle.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|it| !it.is_alphanumeric() && !"/~.-_}:*".contains(it))
                })
            };
            if paths.iter().any(own) {
                offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("paths are relative, or come from the environment", &offences);
}

#[test]
fn every_suite_is_registered() {
    let manifest = read("tests/Cargo.toml");
    let suites = tracked().into_iter().filter_map(|it| it.strip_prefix("tests/").map(str::to_owned));
    let suites = suites.filter(|it| it.starts_with("suites/") && it.ends_with(".rs") && it.matches('/').count() == 1);
    let strangers: Vec<String> = suites.filter(|it| !manifest.contains(&format!("path = \"{it}\""))).collect();
    assert_none("a suite is a [[test]] of tests/Cargo.toml, or cargo does not run it", &strangers);
}

/// Without what a machine wrote.
fn hand_written_rust() -> Vec<String> {
    tracked_rust().into_iter().filter(|it| !it.contains("/generated/") && it != "xds/src/pb.rs").collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/suites/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

//! The house rules, as tests: the ladder, the ceilings, the names, and what may stand where.
//!
//! A rule about a folder that is not there yet passes, and says so. An exception is a line in a table here, with its
//! reason; it is an error for an exception to be no longer needed.

#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/ladder.rs"]
mod ladder;
#[path = "tidy/units.rs"]
mod units;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the top of the repository")
}

/// Every file that is tracked, or new and not ignored, relative to the top.
fn tracked() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("run git");
    if git.status.success() {
        let names = String::from_utf8(git.stdout).expect("file names in UTF-8");
        // A file deleted but not yet committed is still listed.
        return names.split('\0').filter(|it| !it.is_empty() && root().join(it).is_file()).map(str::to_owned).collect();
    }
    // A source archive has no history: walk the folders instead.
    let mut files = Vec::new();
    walk(&root(), "", &mut files);
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("a file name in UTF-8"));
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_file() {
            files.push(name);
        } else if kind.is_dir()
            && !matches!(name.as_str(), "target" | ".git" | "tests/fuzz/target" | "tests/fuzz/corpus")
        {
            walk(&entry.path(), &format!("{name}/"), files);
        }
    }
}

fn tracked_rust() -> Vec<String> {
    tracked().into_iter().filter(|it| it.ends_with(".rs")).collect()
}

fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says that a rule has nothing to look at yet.
fn vacuous(what: &str) {
    println!("{what} is not there yet: nothing to check");
}

#[track_caller]
fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

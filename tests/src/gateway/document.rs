//! Completes a test's YAML: the sockets the harness needs, and settings that make a short-lived gateway pleasant.
//!
//! It works on lines, not on YAML, so that a test may write a broken document and the gateway gets to see it.

use std::path::Path;

/// Replaces `{{dir}}`, and adds the `config:` keys that are not there.
pub(super) fn complete(yaml: &str, dir: &Path) -> String {
    let dir = dir.display().to_string();
    let yaml = yaml.replace("{{dir}}", &dir);
    let defaults = [
        ("adminAddr", format!("unix:{dir}/admin.sock")),
        ("statsAddr", format!("unix:{dir}/stats.sock")),
        ("readinessAddr", format!("unix:{dir}/ready.sock")),
        ("workerThreads", "2".to_owned()),
        ("connectionTerminationDeadline", "5s".to_owned()),
        ("stateDirectory", format!("{dir}/state")),
        ("logging", "{ level: info, format: json }".to_owned()),
    ];
    let Some((before, block)) = split(&yaml) else {
        let lines: String = defaults.iter().map(|(key, value)| format!("  {key}: {value}\n")).collect();
        return format!("config:\n{lines}{yaml}");
    };
    let first = block.lines().find(|it| !it.trim().is_empty() && !it.trim_start().starts_with('#')).unwrap_or_default();
    let indent: String = first.chars().take_while(|it| *it == ' ').collect();
    let indent = if indent.is_empty() { "  ".to_owned() } else { indent };
    let written = |key: &str| {
        let inside = block.lines().take_while(|it| it.is_empty() || it.starts_with([' ', '#']));
        inside.filter_map(|it| it.strip_prefix(indent.as_str())).any(|it| it.starts_with(&format!("{key}:")))
    };
    let missing = defaults.iter().filter(|(key, _)| !written(key));
    let lines: String = missing.map(|(key, value)| format!("{indent}{key}: {value}\n")).collect();
    format!("{before}config:\n{lines}{block}")
}

/// What stands before the line `config:`, and what after it.
fn split(yaml: &str) -> Option<(&str, &str)> {
    let start = if yaml.starts_with("config:") { 0 } else { yaml.find("\nconfig:")? + 1 };
    let (line, rest) = yaml[start..].split_once('\n').unwrap_or((&yaml[start..], ""));
    let value = line.trim_start_matches("config:").trim();
    assert!(
        value.is_empty() || value.starts_with('#'),
        "write `config:` as a block, the harness adds keys to it: {line}"
    );
    Some((&yaml[..start], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_config_gets_one() {
        let text = complete("binds: []\n", Path::new("/d"));
        assert!(text.starts_with("config:\n  adminAddr: unix:/d/admin.sock\n"), "{text}");
        assert!(text.ends_with("binds: []\n"), "{text}");
    }

    #[test]
    fn what_the_test_wrote_stays() {
        let text = complete("binds: []\nconfig:\n    statsAddr: off\n    x: '{{dir}}'\nother: 1\n", Path::new("/d"));
        assert_eq!(text.matches("statsAddr").count(), 1, "{text}");
        assert!(text.contains("\n    adminAddr: unix:/d/admin.sock\n"), "{text}");
        assert!(text.contains("x: '/d'\nother: 1"), "{text}");
    }

    #[test]
    fn a_key_of_another_block_does_not_count() {
        let text = complete("config:\n  x: 1\nother:\n  adminAddr: 1\n", Path::new("/d"));
        assert_eq!(text.matches("adminAddr").count(), 2, "{text}");
    }
}

//! Approvals as a file has them.

use std::collections::{BTreeMap, HashMap, HashSet};

use protocols::json;
use protocols::mcp::definition::{Definition, Hash, hex};
use serde_json::{Map, Value};

/// What is approved.
#[derive(Debug, Default)]
pub struct Approvals {
    targets: HashMap<Box<str>, Target>,
    tools: usize,
}

#[derive(Debug, Default)]
struct Target {
    tools: HashMap<Box<str>, Hash>,
    /// Of definitions without their names.
    bodies: HashSet<Hash>,
}

/// What approvals say of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Approved,
    Changed,
    /// Approved under another name.
    Renamed,
    New,
}

impl Approvals {
    /// # Errors
    /// It is not a file of approvals, with the cure.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let whole: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
        if whole.get("version") != Some(&Value::from(1)) {
            return Err("not approvals of version 1: have `agentgateway mcp pin` write them".to_owned());
        }
        let mut approvals = Self::default();
        let none = Map::new();
        let targets = whole.get("targets").and_then(Value::as_object).unwrap_or(&none);
        for (name, tools) in targets {
            let mut target = Target::default();
            for (tool, entry) in tools.as_object().ok_or_else(|| format!("`targets.{name}` is not an object"))? {
                let (hash, body) = read(entry).map_err(|why| format!("`targets.{name}.{tool}`: {why}"))?;
                target.tools.insert(tool.as_str().into(), hash);
                target.bodies.insert(body);
            }
            approvals.tools += target.tools.len();
            approvals.targets.insert(name.as_str().into(), target);
        }
        Ok(approvals)
    }

    pub fn len(&self) -> usize {
        self.tools
    }

    pub fn is_empty(&self) -> bool {
        self.tools == 0
    }

    pub fn judge(&self, target: &str, tool: &str, definition: &Definition) -> Known {
        let Some(target) = self.targets.get(target) else { return Known::New };
        match target.tools.get(tool) {
            Some(hash) if *hash == definition.hash => Known::Approved,
            Some(_) => Known::Changed,
            None if target.bodies.contains(&definition.body) => Known::Renamed,
            None => Known::New,
        }
    }
}

fn read(entry: &Value) -> Result<(Hash, Hash), String> {
    let written = entry.get("hash").and_then(Value::as_str).ok_or("`hash` is missing")?;
    let definition = entry.get("definition").ok_or("`definition` is missing")?.to_string();
    let raw = json::parse(definition.as_bytes()).map_err(|error| error.to_string())?;
    let definition = Definition::of(raw);
    match written.strip_prefix("sha256:") == Some(&*hex(&definition.hash)) {
        true => Ok((definition.hash, definition.body)),
        // What a reviewer has read is what counts.
        false => Err("`hash` is of another definition than the one that is written".to_owned()),
    }
}

/// A file of approvals, by target and tool.
pub fn render(targets: &BTreeMap<String, BTreeMap<String, Definition>>) -> String {
    let mut out = Map::new();
    for (target, tools) in targets {
        let mut written = Map::new();
        for (tool, definition) in tools {
            let mut entry = Map::new();
            entry.insert("hash".to_owned(), Value::from(format!("sha256:{}", hex(&definition.hash))));
            let text = serde_json::from_str(&definition.text).unwrap_or_default();
            entry.insert("definition".to_owned(), text);
            written.insert(tool.clone(), Value::Object(entry));
        }
        out.insert(target.clone(), Value::Object(written));
    }
    let mut whole = Map::new();
    whole.insert("version".to_owned(), Value::from(1));
    whole.insert("targets".to_owned(), Value::Object(out));
    format!("{:#}\n", Value::Object(whole))
}

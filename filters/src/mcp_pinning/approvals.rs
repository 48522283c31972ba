//! Approvals as a file has them.

use std::collections::{BTreeMap, HashMap, HashSet};

use protocols::json;
use protocols::mcp::List;
use protocols::mcp::definition::{Definition, Hash, hex};
use serde_json::{Map, Value};

/// Lists whose items are approved, and the member of the file that each is in. Resources come and go, and are not.
pub const PINNED: [(List, &str); 3] =
    [(List::Tools, "targets"), (List::Prompts, "prompts"), (List::Templates, "resourceTemplates")];

/// What is approved.
#[derive(Debug, Default)]
pub struct Approvals {
    /// By list; one that the file says nothing of is not judged, but for tools.
    lists: HashMap<List, HashMap<Box<str>, Target>>,
    len: usize,
}

#[derive(Debug, Default)]
struct Target {
    items: HashMap<Box<str>, Hash>,
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
        approvals.lists.insert(List::Tools, HashMap::new());
        for (list, key) in PINNED {
            let Some(written) = whole.get(key) else { continue };
            let written = written.as_object().ok_or_else(|| format!("`{key}` is not an object"))?;
            for (name, items) in written {
                let target = target(list, items).map_err(|why| format!("`{key}.{name}{why}"))?;
                approvals.len += target.items.len();
                approvals.lists.entry(list).or_default().insert(name.as_str().into(), target);
            }
            approvals.lists.entry(list).or_default();
        }
        Ok(approvals)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether items of this list are judged.
    pub fn pins(&self, list: List) -> bool {
        self.lists.contains_key(&list)
    }

    pub fn judge(&self, list: List, (target, name): (&str, &str), definition: &Definition) -> Known {
        let Some(target) = self.lists.get(&list).and_then(|it| it.get(target)) else { return Known::New };
        match target.items.get(name) {
            Some(hash) if *hash == definition.hash => Known::Approved,
            Some(_) => Known::Changed,
            None if target.bodies.contains(&definition.body) => Known::Renamed,
            None => Known::New,
        }
    }
}

/// The error goes on from the name of the target.
fn target(list: List, items: &Value) -> Result<Target, String> {
    let mut target = Target::default();
    for (name, entry) in items.as_object().ok_or("` is not an object")? {
        let (hash, body) = read(list, entry).map_err(|why| format!(".{name}`: {why}"))?;
        target.items.insert(name.as_str().into(), hash);
        target.bodies.insert(body);
    }
    Ok(target)
}

fn read(list: List, entry: &Value) -> Result<(Hash, Hash), String> {
    let written = entry.get("hash").and_then(Value::as_str).ok_or("`hash` is missing")?;
    let definition = entry.get("definition").ok_or("`definition` is missing")?.to_string();
    let raw = json::parse(definition.as_bytes()).map_err(|error| error.to_string())?;
    let definition = Definition::in_list(list, raw);
    match written.strip_prefix("sha256:") == Some(&*hex(&definition.hash)) {
        true => Ok((definition.hash, definition.body)),
        // What a reviewer has read is what counts.
        false => Err("`hash` is of another definition than the one that is written".to_owned()),
    }
}

/// Definitions by list, target and name.
pub type Definitions = BTreeMap<List, BTreeMap<String, BTreeMap<String, Definition>>>;

/// A file of approvals.
pub fn render(definitions: &Definitions) -> String {
    let mut whole = Map::new();
    whole.insert("version".to_owned(), Value::from(1));
    for (list, key) in PINNED {
        let Some(targets) = definitions.get(&list) else { continue };
        let mut out = Map::new();
        for (target, items) in targets {
            let mut written = Map::new();
            for (name, definition) in items {
                let mut entry = Map::new();
                entry.insert("hash".to_owned(), Value::from(format!("sha256:{}", hex(&definition.hash))));
                let text = serde_json::from_str(&definition.text).unwrap_or_default();
                entry.insert("definition".to_owned(), text);
                written.insert(name.clone(), Value::Object(entry));
            }
            out.insert(target.clone(), Value::Object(written));
        }
        whole.insert(key.to_owned(), Value::Object(out));
    }
    format!("{:#}\n", Value::Object(whole))
}

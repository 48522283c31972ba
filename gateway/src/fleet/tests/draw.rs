//! Documents drawn from the JSON schema, and what of it an accepted document holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::hints;

/// Deepest nesting drawn: schemas may contain themselves.
const DEPTH_MAX: usize = 14;

/// One document after the other; the same seed gives the same document.
pub(super) struct Draw<'a> {
    schema: &'a Value,
    state: u64,
    folder: &'a Path,
    /// What it is led to, if to anything.
    way: Option<&'a Way>,
}

/// Steps from each key to one that a document is to hold.
pub(super) struct Way(BTreeMap<String, usize>);

impl Way {
    /// The way to a key, as `Definition.key`.
    pub(super) fn to(schema: &Value, wanted: &str) -> Self {
        let mut above: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (owner, definition) in
            schema["$defs"].as_object().into_iter().flatten().chain([(&"Document".to_owned(), schema)])
        {
            for (key, property) in properties(definition) {
                for inner in beneath(schema, property, owner) {
                    above.entry(inner).or_default().push(format!("{owner}.{key}"));
                }
            }
        }
        let mut steps = BTreeMap::from([(wanted.to_owned(), 0)]);
        let mut open = VecDeque::from([(wanted.to_owned(), 0)]);
        while let Some((key, distance)) = open.pop_front() {
            for next in above.get(&key).into_iter().flatten() {
                if !steps.contains_key(next) {
                    steps.insert(next.clone(), distance + 1);
                    open.push_back((next.clone(), distance + 1));
                }
            }
        }
        Self(steps)
    }

    fn steps(&self, key: &str) -> usize {
        self.0.get(key).copied().unwrap_or(usize::MAX)
    }
}

/// The properties of a definition and of its alternatives.
fn properties(schema: &Value) -> Vec<(&String, &Value)> {
    let alternatives = ["oneOf", "anyOf"].iter().filter_map(|it| schema[*it].as_array()).flatten();
    let own = schema["properties"].as_object().into_iter().flatten();
    own.chain(alternatives.flat_map(properties)).collect()
}

/// The keys that stand first in a value, as `Definition.key`.
fn beneath(root: &Value, schema: &Value, owner: &str) -> BTreeSet<String> {
    if let Some(name) = reference(schema) {
        let inner = definition(root, name);
        return beneath(root, inner, if is_object(inner) { name } else { owner });
    }
    let mut keys: BTreeSet<String> = properties(schema).iter().map(|it| format!("{owner}.{}", it.0)).collect();
    let alternatives = branches(schema).unwrap_or_default();
    let inner = ["items", "additionalProperties"].iter().filter_map(|it| schema.get(it)).filter(|it| it.is_object());
    for schema in alternatives.iter().chain(inner) {
        keys.extend(beneath(root, schema, owner));
    }
    keys
}

/// Where a value stands: the definition that holds it, and its key there; `[]` and `{}` for items and entries.
#[derive(Clone)]
struct Spot {
    owner: String,
    key: String,
    text: String,
}

impl<'a> Draw<'a> {
    pub(super) fn new(schema: &'a Value, seed: u64, folder: &'a Path, way: Option<&'a Way>) -> Self {
        Self { schema, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), folder, way }
    }

    /// Steps from a value to what the document is led to.
    fn steps(&self, schema: &Value, owner: &str) -> usize {
        let Some(way) = self.way else { return usize::MAX };
        beneath(self.schema, schema, owner).iter().map(|it| way.steps(it)).min().unwrap_or(usize::MAX)
    }

    /// The one of some that is nearest, most often.
    fn nearest<T>(&mut self, some: impl IntoIterator<Item = (usize, T)>) -> Option<T> {
        let nearest = some.into_iter().min_by_key(|it| it.0).filter(|it| it.0 < usize::MAX)?;
        (self.below(4) > 0).then_some(nearest.1)
    }

    fn nearest_key(&mut self, owner: &str, keys: impl Iterator<Item = String>) -> Option<String> {
        let way = self.way?;
        self.nearest(keys.map(|it| (way.steps(&format!("{owner}.{it}")), it)))
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'b, T>(&mut self, list: &'b [T]) -> &'b T {
        &list[self.below(list.len())]
    }

    /// A document with a few sections, and the gateways that routes hang on.
    pub(super) fn document(&mut self) -> Value {
        let sections = self.schema["properties"].as_object().unwrap().clone();
        let mut document = Map::new();
        let led = self.nearest_key("Document", sections.keys().cloned());
        for (key, section) in &sections {
            // Static settings do not travel.
            let is_led = led.as_ref() == Some(key);
            if key == "config" || self.below(3) > 0 && !hints::large(key) && !is_led {
                continue;
            }
            let spot = Spot { owner: "Document".to_owned(), key: key.clone(), text: String::new() };
            document.insert(key.clone(), self.value(section, &spot, 0));
        }
        let gateways = document.entry("gateways").or_insert_with(|| json!({}));
        if let Some(map) = gateways.as_object_mut() {
            map.entry("default").or_insert_with(|| json!({ "port": 0 }));
            map.entry("tcp").or_insert_with(|| json!({ "port": 0, "protocol": "TCP" }));
        }
        Value::Object(document)
    }

    fn value(&mut self, schema: &Value, spot: &Spot, depth: usize) -> Value {
        let mut spot = spot.clone();
        if let Some(text) = schema["description"].as_str() {
            spot.text = text.to_owned();
        }
        if let Some(name) = reference(schema) {
            let schema = definition(self.schema, name).clone();
            let described = Spot { text: spot.text.clone(), ..spot.clone() };
            let inner = if is_object(&schema) { Spot { owner: name.to_owned(), ..described } } else { described };
            return self.value(&schema, &inner, depth);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return match hints::texts(&spot.owner, &spot.key) {
                Some(texts) => json!(*self.one(texts)),
                None => self.one(values).clone(),
            };
        }
        if let Some(branches) = branches(schema) {
            let steps: Vec<_> = branches.iter().map(|it| (self.steps(it, &spot.owner), it.clone())).collect();
            let branch = match self.nearest(steps) {
                Some(branch) => branch,
                None => self.one(&branches).clone(),
            };
            return self.value(&branch, &spot, depth);
        }
        match kind(schema) {
            "object" => self.object(schema, &spot, depth),
            "array" => {
                let most = hints::length(&spot.owner, &spot.key).unwrap_or(if depth < 3 { 3 } else { 4 });
                let inner = Spot { key: format!("{}[]", spot.key), ..spot.clone() };
                let least = usize::from(self.steps(&schema["items"], &spot.owner) < usize::MAX);
                let length = self.below(most).max(least);
                (0..length).map(|_| self.value(&schema["items"], &inner, depth + 1)).collect()
            }
            "boolean" => json!(self.below(2) == 0),
            "integer" => json!(self.integer(schema, &spot)),
            "number" => json!(*self.one(&[0.0, 0.25, 0.5, 1.0])),
            _ => Value::String(self.text(schema, &spot)),
        }
    }

    fn object(&mut self, schema: &Value, spot: &Spot, depth: usize) -> Value {
        let mut map = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
        let mut optional: Vec<&String> = properties.iter().map(|it| it.0).collect();
        optional.retain(|it| !required.contains(&it.as_str()) && !hints::stays(&spot.owner, it));
        let chosen = self.chosen(&optional, spot);
        for (key, property) in properties {
            let wanted = required.contains(&key.as_str()) || (chosen.contains(key) && depth < DEPTH_MAX);
            if wanted {
                let inner = Spot { key: key.clone(), ..spot.clone() };
                map.insert(key.clone(), self.value(property, &inner, depth + 1));
            }
        }
        if let Some(entries) = schema.get("additionalProperties").filter(|it| it.is_object()) {
            let inner = Spot { key: format!("{}{{}}", spot.key), ..spot.clone() };
            let most = if hints::large(&spot.key) { 6 } else { 3 };
            let least = usize::from(self.steps(entries, &spot.owner) < usize::MAX);
            for _ in 0..self.below(most).max(least) {
                let keys = hints::keys(&spot.owner, &spot.key);
                let key = (*self.one(keys)).to_owned();
                map.insert(key, self.value(entries, &inner, depth + 1));
            }
        }
        Value::Object(map)
    }

    /// Which of the optional properties are written.
    fn chosen(&mut self, optional: &[&String], spot: &Spot) -> BTreeSet<String> {
        let mut chosen = BTreeSet::new();
        if let Some(group) = hints::exactly_one(&spot.owner, optional).filter(|it| !it.is_empty()) {
            let led = self.nearest_key(&spot.owner, group.iter().map(|it| (**it).clone()));
            chosen.insert(match led {
                Some(key) => key,
                None => (*self.one(&group)).clone(),
            });
            let beside: Vec<_> = optional.iter().filter(|it| !group.contains(it)).collect();
            chosen.extend(beside.into_iter().filter(|_| self.below(2) == 0).map(|it| (*it).clone()));
            return chosen;
        }
        // Of long lists a few: what excludes each other is rarely drawn together.
        let few = if optional.len() > 6 { optional.len() / 3 } else { 2 };
        let share = hints::share(&spot.owner).unwrap_or(few);
        chosen.extend(optional.iter().filter(|_| self.below(share) == 0).map(|it| (*it).clone()));
        chosen.extend(self.nearest_key(&spot.owner, optional.iter().map(|it| (*it).clone())));
        chosen.extend(hints::always(&spot.owner).iter().map(|it| (*it).to_owned()));
        let needed: Vec<_> = chosen.iter().filter_map(|it| hints::needs(&spot.owner, it)).collect();
        chosen.extend(needed.into_iter().map(str::to_owned));
        if let Some((key, beside)) = hints::alone(&spot.owner) {
            // As often alone as not: it would seldom be among as many as it excludes.
            if self.below(2) == 0 {
                chosen.remove(key);
            } else {
                chosen.insert(key.to_owned());
                chosen.retain(|it| it == key || beside.contains(&it.as_str()));
            }
        }
        chosen
    }

    fn integer(&mut self, schema: &Value, spot: &Spot) -> u64 {
        if let Some(values) = hints::numbers(&spot.owner, &spot.key) {
            return *self.one(values);
        }
        let least = schema["minimum"].as_f64().unwrap_or(0.0) as u64;
        let most = schema["maximum"].as_f64().map_or(u64::from(u32::MAX), |it| it as u64);
        let some = [least, least + 1, 5, 100, 20_000, most];
        (*self.one(&some)).clamp(least, most)
    }

    fn text(&mut self, schema: &Value, spot: &Spot) -> String {
        if let Some(texts) = hints::texts(&spot.owner, &spot.key) {
            let text: &&str = self.one(texts);
            return text.replace("{dir}", &self.folder.display().to_string());
        }
        if schema["format"].as_str() == Some(filters::lower::Span::FORMAT) {
            return (*self.one(&["0", "1s", "250ms", "90s", "1h30m"])).to_owned();
        }
        // What the reference manual shows of the key is how it may look.
        let mut shown: Vec<&str> = spot.text.split('`').skip(1).step_by(2).collect();
        shown.extend(["a", "b-1"]);
        (*self.one(&shown)).to_owned()
    }
}

/// Keys that accepted documents hold, as `Definition.key`.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<String>);

impl Seen {
    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        self.0.contains(key)
    }

    pub(super) fn visit(&mut self, schema: &Value, document: &Value) {
        self.held(schema, schema, "Document", document);
    }

    fn held(&mut self, root: &Value, schema: &Value, owner: &str, value: &Value) {
        if let Some(name) = reference(schema) {
            let inner = definition(root, name);
            let owner = if inner.get("type").and_then(Value::as_str) == Some("string") { owner } else { name };
            return self.held(root, inner, owner, value);
        }
        for branch in branches(schema).into_iter().flatten().filter(|it| fits(root, it, value)) {
            self.held(root, &branch, owner, value);
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let Some(property) = schema["properties"].get(key) {
                        self.0.insert(format!("{owner}.{key}"));
                        self.held(root, property, owner, value);
                    } else if schema.get("additionalProperties").is_some_and(Value::is_object) {
                        self.held(root, &schema["additionalProperties"], owner, value);
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|it| self.held(root, &schema["items"], owner, it)),
            _ => {}
        }
    }

    /// What of the traffic configuration was in no accepted document.
    pub(super) fn missing(&self, schema: &Value) -> Vec<String> {
        let mut all = BTreeSet::new();
        for (key, section) in schema["properties"].as_object().unwrap().iter().filter(|it| it.0 != "config") {
            all.insert(format!("Document.{key}"));
            collect(schema, section, "Document", &mut BTreeSet::new(), &mut all);
        }
        all.into_iter().filter(|it| !self.0.contains(it) && !hints::UNREACHABLE.contains(&it.as_str())).collect()
    }
}

fn collect(root: &Value, schema: &Value, owner: &str, known: &mut BTreeSet<String>, all: &mut BTreeSet<String>) {
    if let Some(name) = reference(schema) {
        if known.insert(name.to_owned()) {
            collect(root, definition(root, name), name, known, all);
        }
        return;
    }
    for branch in branches(schema).into_iter().flatten() {
        collect(root, &branch, owner, known, all);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        all.insert(format!("{owner}.{key}"));
        collect(root, property, owner, known, all);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|it| schema.get(it)).filter(|it| it.is_object()) {
        collect(root, inner, owner, known, all);
    }
}

/// Whether a value may be meant by a branch.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let schema = reference(schema).map_or(schema, |name| definition(root, name));
    match value {
        Value::Object(map) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            kind(schema) == "object" && required.into_iter().all(|it| map.contains_key(it))
                || branches(schema).is_some()
        }
        Value::Array(_) => kind(schema) == "array" || branches(schema).is_some(),
        _ => !matches!(kind(schema), "object" | "array"),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn definition<'a>(root: &'a Value, name: &str) -> &'a Value {
    &root["$defs"][name]
}

fn is_object(schema: &Value) -> bool {
    kind(schema) == "object" || schema.get("oneOf").is_some()
}

/// The alternatives of a schema, without that of being absent.
fn branches(schema: &Value) -> Option<Vec<Value>> {
    let list = schema["oneOf"].as_array().or(schema["anyOf"].as_array())?;
    Some(list.iter().filter(|it| it["type"] != "null").cloned().collect())
}

fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).find(|it| *it != "null").unwrap_or("string"),
        Value::String(one) => one,
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    }
}

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The path of a problem, as far as there is something in the document.
pub(super) fn steps(document: &Value, path: &str) -> Vec<Step> {
    let (mut at, mut rest, mut steps) = (document, path, Vec::new());
    loop {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (step, after) = match at {
            Value::Array(_) => {
                let Some((index, after)) = rest.strip_prefix('[').and_then(|it| it.split_once(']')) else { break };
                let Ok(index) = index.parse() else { break };
                (Step::Index(index), after)
            }
            Value::Object(map) => {
                let named = map.keys().filter_map(|key| Some((key, after(rest, key)?)));
                let Some((key, after)) = named.max_by_key(|(key, _)| key.len()) else { break };
                (Step::Key(key.clone()), after)
            }
            _ => break,
        };
        let inner = match &step {
            Step::Key(key) => at.get(key),
            Step::Index(index) => at.get(index),
        };
        let Some(inner) = inner else { break };
        (at, rest) = (inner, after);
        steps.push(step);
    }
    steps
}

/// What follows a key at the beginning of a path.
fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let quoted = path.strip_prefix(&format!("[{key:?}]"));
    let plain = path.strip_prefix(key).filter(|it| it.is_empty() || it.starts_with(['.', '[']));
    quoted.or(plain)
}

/// Takes a part out.
pub(super) fn remove(document: &mut Value, path: &[Step]) {
    let Some((last, way)) = path.split_last() else { return };
    let mut at = document;
    for step in way {
        let inner = match step {
            Step::Key(key) => at.get_mut(key),
            Step::Index(index) => at.get_mut(index),
        };
        let Some(inner) = inner else { return };
        at = inner;
    }
    match (at, last) {
        (Value::Object(map), Step::Key(key)) => drop(map.remove(key)),
        (Value::Array(list), Step::Index(index)) if *index < list.len() => drop(list.remove(*index)),
        _ => {}
    }
}

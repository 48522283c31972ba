//! One door: the same intent through a file and through xDS is the same snapshot.
//!
//! Documents are drawn from the schema of the configuration language, so a key that is new is drawn without being
//! named here. What the checker refuses is taken out until the rest is accepted; what became of it travels as bytes and
//! must arrive as it was. A key that was never accepted fails the test: [`hints`] says how its values look.

mod draw;
mod hints;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use filters::{Patch, Snapshot};
use serde_json::Value;

use self::draw::{Draw, Seen, Way};
use crate::local::doc::Problem;
use crate::local::schema;
use crate::local::source::{Input, Source};

/// Documents drawn. A key that is written in one of fifty is met with near certainty.
const DOCUMENTS: u64 = 3000;
/// Documents that are led to one key, at most.
const LED: u64 = 200;
/// Rounds of taking out what is refused.
const REPAIRS_MAX: usize = 60;

fn load(input: Input) -> Result<Snapshot, Vec<Problem>> {
    let (mut source, _) = Source::open(input, |_| None).map_err(|refused| refused.problems)?;
    let loaded = source.load().map_err(|refused| refused.problems)?;
    Ok(Snapshot::default().with(&loaded.patch))
}

/// Sends everything as resources, and gives what arrives.
fn travelled(snapshot: &Snapshot) -> Snapshot {
    let all = Snapshot::default().diff(snapshot);
    let arrived: Patch =
        all.changes().iter().map(xds::codec::travel).map(|it| it.unwrap_or_else(|e| panic!("{e}"))).collect();
    Snapshot::default().with(&arrived)
}

/// The snapshot as dumps show it, without the places where objects were written.
fn dump(snapshot: &Snapshot) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("origin");
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(snapshot).unwrap();
    strip(&mut value);
    value
}

#[track_caller]
fn assert_same(snapshot: &Snapshot, document: &str) {
    let arrived = travelled(snapshot);
    let lost = snapshot.diff(&arrived);
    if let Some(change) = lost.changes().first() {
        panic!("through xDS this is another object: {change:?}\nof the document\n{document}");
    }
    assert_eq!(dump(snapshot), dump(&arrived), "a dump says otherwise after xDS; the document\n{document}");
}

fn kinds(snapshot: &Snapshot) -> impl Iterator<Item = filters::Kind> {
    snapshot.policies.values().map(|it| it.policy.kind())
}

/// Takes out what is refused until the rest is accepted.
fn repaired(mut document: Value) -> Option<(Value, Snapshot)> {
    for _ in 0..REPAIRS_MAX {
        let input = Input::Text { name: "drawn".to_owned(), text: document.to_string() };
        match load(input) {
            Ok(snapshot) => return Some((document, snapshot)),
            Err(problems) => {
                let paths: BTreeSet<Vec<draw::Step>> =
                    problems.iter().map(|it| draw::steps(&document, &it.path)).collect();
                // From the last to the first, so that positions stay what they are.
                for path in paths.iter().rev() {
                    draw::remove(&mut document, path);
                }
            }
        }
    }
    None
}

/// What documents of some seeds held, and how many were accepted.
#[derive(Default)]
struct Drawn {
    seen: Seen,
    found: BTreeSet<filters::Kind>,
    accepted: u64,
}

fn drawn(schema: &Value, folder: &Path, seeds: impl Iterator<Item = u64>) -> Drawn {
    let mut drawn = Drawn::default();
    for seed in seeds {
        drawn.take(schema, Draw::new(schema, seed, folder, None));
    }
    drawn
}

/// Documents that are led to what none has held yet, some for each key.
fn led(schema: &Value, folder: &Path, wanted: impl Iterator<Item = String>) -> Drawn {
    let mut drawn = Drawn::default();
    for key in wanted {
        let way = Way::to(schema, &key);
        for seed in DOCUMENTS..DOCUMENTS + LED {
            if drawn.seen.holds(&key) {
                break;
            }
            drawn.take(schema, Draw::new(schema, seed, folder, Some(&way)));
        }
    }
    drawn
}

impl Drawn {
    fn take(&mut self, schema: &Value, mut draw: Draw<'_>) {
        let Some((document, snapshot)) = repaired(draw.document()) else { return };
        self.accepted += 1;
        assert_same(&snapshot, &document.to_string());
        self.found.extend(kinds(&snapshot));
        self.seen.visit(schema, &document);
    }

    fn merge(mut self, part: Self) -> Self {
        self.seen.merge(part.seen);
        self.found.extend(part.found);
        self.accepted += part.accepted;
        self
    }
}

#[test]
fn the_same_intent_through_a_file_and_through_xds_is_the_same_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    hints::identity(folder.path());
    let schema = schema::json();
    // Which documents there are does not depend on how many threads draw them.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (schema, folder) = (&schema, folder.path());
    let all = std::thread::scope(|scope| {
        let one = |first: usize| scope.spawn(move || drawn(schema, folder, (first as u64..DOCUMENTS).step_by(threads)));
        let parts: Vec<_> = (0..threads).map(one).collect();
        parts.into_iter().map(|it| it.join().unwrap()).fold(Drawn::default(), Drawn::merge)
    });
    let accepted = all.accepted;
    assert!(accepted * 10 >= DOCUMENTS * 9, "{accepted} of {DOCUMENTS} documents could be repaired");
    // What is rare: keys are met by chance, and each new one makes the others rarer.
    let rare = all.seen.missing(schema);
    let all = all.merge(led(schema, folder, rare.into_iter()));
    let Drawn { seen, found, .. } = all;
    let missing: Vec<_> = filters::Kind::ALL.iter().filter(|it| !found.contains(it)).map(|it| it.key()).collect();
    assert!(missing.is_empty(), "no document with these policies was accepted: {missing:?}; {}", hints::CURE);
    let missing = seen.missing(schema);
    assert!(missing.is_empty(), "these keys were in no accepted document: {missing:?}; {}", hints::CURE);
}

fn documents(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    paths.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect()
}

#[test]
fn examples_and_golden_documents_are_the_same_through_xds() {
    let mut same = 0;
    let paths: Vec<_> = ["conf/examples", "conf", "tests/golden/local"].into_iter().flat_map(documents).collect();
    for path in &paths {
        // Golden documents may be about what is refused.
        let Ok(snapshot) = load(Input::File(path.clone())) else { continue };
        assert_same(&snapshot, &path.display().to_string());
        same += 1;
    }
    assert!(same + 2 >= paths.len() && same >= 28, "{same} of {} documents were accepted", paths.len());
}

/// Keys of a file that change no object: a document with the key, and one that says the same without it.
const INEXPRESSIBLE: &[(&str, &str, &str)] = &[
    ("config", "config: {logging: {level: debug}}", "{}"),
    ("frontendPolicies.proxy", "frontendPolicies: {proxy: {}}", "frontendPolicies: {proxyProtocol: {}}"),
    ("frontendPolicies.logging", "frontendPolicies: {logging: {}}", "frontendPolicies: {accessLog: {}}"),
    ("services[].vips", "services: [{name: a, hostname: b, vips: [/10.0.0.1]}]", "services: [{name: a, hostname: b}]"),
    ("workloads[].serviceAccount", "workloads: [{name: a, serviceAccount: b}]", "workloads: [{name: a}]"),
    ("workloads[].trustDomain", "workloads: [{name: a, trustDomain: b}]", "workloads: [{name: a}]"),
];

#[test]
fn what_does_not_travel_is_listed_and_changes_no_object() {
    let text = |it: &str| Input::Text { name: "drawn".to_owned(), text: it.to_owned() };
    for (key, with, without) in INEXPRESSIBLE {
        let (with, without) = (load(text(with)).unwrap(), load(text(without)).unwrap());
        assert!(with.diff(&without).is_empty(), "{key} changes an object: does it travel?");
    }
    let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../xds/README.md")).unwrap();
    let section = manual.split("## What files can say and xDS cannot").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: Vec<_> = section.lines().filter_map(|it| it.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, INEXPRESSIBLE.iter().map(|it| it.0).collect::<Vec<_>>(), "xds/README.md lists others");
}

use super::super::place_of;
use super::*;

use serde_json::json;

fn checker() -> Arc<Checker> {
    let route = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"}, "port": {"type": "integer", "minimum": 0, "maximum": 99},
            "list": {"type": ["array", "null"], "items": {"type": "string"}}, "text": {"type": "string"},
        },
        "required": ["name"],
        "additionalProperties": false,
    });
    Arc::new(Checker::new(&json!({
        "type": "object",
        "properties": {
            "routes": {"type": "array", "items": {"$ref": "#/$defs/Route"}},
            "backends": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Route"}},
            "config": {"type": "object"},
            "any": true,
        },
        "additionalProperties": false,
        "$defs": {"Route": route},
    })))
}

fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "42".to_owned())
}

fn incremental() -> Incremental {
    Incremental::new("f.yaml", checker(), Box::new(env))
}

/// What the stages give when run over the whole text, one after the other.
fn full(text: &str) -> Result<Node, Vec<Problem>> {
    let mut root = parse::parse("f.yaml", text)?;
    let problems = expand(&mut root, &env);
    let problems = if problems.is_empty() { checker().check(&mut root) } else { problems };
    if problems.is_empty() { Ok(root) } else { Err(problems) }
}

/// The problems, but for the schema's where variables are undefined: items are independent there.
fn told(problems: &[Problem]) -> Vec<String> {
    let source: Arc<str> = Arc::from("f.yaml");
    let mut problems = problems.to_vec();
    Problem::sort(&mut problems);
    problems.into_iter().map(|it| it.from_source(&source).to_string()).collect()
}

fn ids(document: &Document, key: &str) -> Vec<u64> {
    document.items(key).iter().map(|it| it.item.id()).collect()
}

const BASE: &str = "# top\nconfig:\n  a: 1\nroutes:\n# first\n- name: a\n  port: $PORT\n- name: b\n\n- name: c\nbackends:\n  - name: x\n";

#[test]
fn an_edit_of_one_item_leaves_the_others_what_they_were() {
    for (edit, kept) in [
        (("- name: b", "- name: bb"), [true, false, true]),
        (("- name: b", "# inserted\n\n- name: b"), [false, true, true]),
        (("# top\n", ""), [true, true, true]),
        (("# first\n", "# first\n# second\n"), [true, true, true]),
        (("  a: 1\n", "  a: 2\n  b: |\n    - x\n"), [true, true, true]),
    ] {
        let mut incremental = incremental();
        let before = incremental.update(BASE).unwrap();
        let text = BASE.replace(edit.0, edit.1);
        let after = incremental.update(&text).unwrap();
        let same: Vec<bool> = ids(&before, "routes").iter().zip(ids(&after, "routes")).map(|(a, b)| *a == b).collect();
        assert_eq!(same, kept, "{edit:?}");
        assert_eq!(after.to_node(), full(&text).unwrap(), "{edit:?}");
    }
}

#[test]
fn items_are_known_again_when_inserted_removed_or_moved() {
    let mut incremental = incremental();
    let [a, b, c] = ids(&incremental.update(BASE).unwrap(), "routes")[..] else { panic!("three") };
    let moved = "routes:\n- name: c\n- name: new\n- name: a\n  port: $PORT\n- name: b\n\n";
    let after = ids(&incremental.update(moved).unwrap(), "routes");
    assert_eq!((after[0], after[2], after[3]), (c, a, b));
    assert!(![a, b, c].contains(&after[1]));
}

#[test]
fn a_refused_text_does_not_cost_what_was_known() {
    let mut incremental = incremental();
    let before = incremental.update(BASE).unwrap();
    assert!(incremental.update("routes: [").is_err());
    assert!(incremental.update(&BASE.replace("name: b", "nam: b")).is_err());
    let after = incremental.update(BASE).unwrap();
    let (before, after) = (ids(&before, "routes"), ids(&after, "routes"));
    assert_eq!((before[0], before[2]), (after[0], after[2]));
}

#[test]
fn an_unchanged_item_tells_its_problems_again_where_it_now_stands() {
    let mut incremental = incremental();
    let text = "routes:\n- name: a\n- nam: b\n- port: $NONE\n";
    let first = told(&incremental.update(text).unwrap_err());
    assert_eq!(
        first,
        [
            "f.yaml:3:3: routes[1]: the key `name` is missing",
            "f.yaml:3:3: routes[1].nam: unknown key `nam` (did you mean `name`?)",
            "f.yaml:4:9: routes[2].port: the variable at character 1 of this value is not defined (write `$$` for a `$`, or `${NAME:-default}` for a default)",
        ]
    );
    let second = told(&incremental.update(&text.replace("routes:\n", "\nroutes:\n- name: z\n")).unwrap_err());
    assert_eq!(second[0], "f.yaml:5:3: routes[2]: the key `name` is missing");
}

#[test]
fn paths_lead_to_the_same_places_as_in_the_whole_tree() {
    let document = incremental().update(BASE).unwrap();
    let root = document.to_node();
    for path in [
        "",
        "config",
        "config.a",
        "config.zzz",
        "routes",
        "routes[0]",
        "routes[1].name",
        "routes[2].zzz",
        "routes[9]",
        "backends[0].name",
        "zzz",
        "routes.x",
    ] {
        assert_eq!(document.place_of(path), place_of(&root, path), "{path}");
    }
    let problem = document.problem("routes[1].name", "is taken");
    assert_eq!(problem.to_string(), "f.yaml:8:3: routes[1].name: is taken");
}

#[test]
fn typed_items_are_read_with_their_true_places() {
    let document = incremental().update(BASE).unwrap();
    let entries = document.items("routes");
    let error = document.read_item::<BTreeMap<String, u8>>("routes", 1, &entries[1]).unwrap_err();
    assert_eq!(error.to_string(), "f.yaml:8:9: routes[1].name: invalid type: string \"b\", expected u8");
    assert_eq!(
        document.read::<BTreeMap<String, u8>>("config").unwrap().unwrap(),
        BTreeMap::from([("a".to_owned(), 1)])
    );
    assert_eq!(document.read::<u8>("any").unwrap(), None);
    let error = document.read::<Vec<u8>>("routes").unwrap_err();
    assert_eq!(error.to_string(), "f.yaml:6:3: routes[0]: invalid type: map, expected u8");
}

use std::collections::BTreeMap;

/// A linear congruential generator: deterministic, and enough to stir text.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// Lines that stand well in an item, and lines that do not: everything a cut could trip over.
const LINES: &[&str] = &[
    "- name: a",
    "- name: b",
    "- name: c",
    "- name: \"q\"",
    "  - name: x",
    "-",
    "- ",
    "- - name: a",
    "-\n  name: z",
    "  name: n",
    "  port: 1",
    "  port: $PORT",
    "  port: $NONE",
    "  port: 100",
    "  list: [a, b]",
    "  list:",
    "  - x",
    "    - y",
    "  list:\n  - p\n  - q",
    "  text: |",
    "  text: >-",
    "  text: |+",
    "  text: |2",
    "    more text",
    "   - dashed",
    "",
    "",
    "   ",
    "# comment",
    "  # comment",
    "    # not always a comment",
    "  text: 'one",
    "two'",
    "  two'",
    "  text: \"one",
    "two\"",
    "- name: \"one\n- name: two\"",
    "  text: [a,",
    "b]",
    "  b]",
    "  text: {a: 1,",
    "name: 2}",
    "  any: &x 1",
    "  any: *x",
    "routes:",
    "backends:",
    "config:",
    "any:",
    "any: 1",
    "config: # c",
    "routes: []",
    "backends: ~",
    "any: |",
    "any: >\n  folded\n",
    "unknown: 1",
    "---",
    "...",
    "%YAML 1.2",
    "\t- name: t",
    "  text: a\tb",
    "\r",
    "  <<: {port: 3}",
    "? complex",
    "routes :",
    "\"routes\":",
    "any: plain",
    "  continues",
    " continues",
    "- name: plain\n    continues",
    "é: 1",
    "  text: 'é' # é",
    "any: {a: [1, 2]}",
    "any: [1,\n2]",
];

fn document(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.roll(4) == 0 {
        text += dice.pick(&["# head\n", "---\n", "\n", "config:\n  a: 1\n"]);
    }
    let indent = dice.pick(&["", "", "  "]);
    text += "routes:\n";
    for index in 0..dice.roll(6) {
        text += &format!("{indent}- name: r{index}\n");
        if dice.roll(2) == 0 {
            text += &format!("{indent}  port: {}\n", dice.roll(120));
        }
        if dice.roll(3) == 0 {
            text += &format!("{indent}  text: |\n{indent}    block\n{indent}    - text\n\n");
        }
    }
    if dice.roll(2) == 0 {
        text += "backends:\n- name: x\n- name: y\n";
    }
    text
}

fn edited(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(lines.len());
        match dice.roll(4) {
            0 => drop(lines.remove(at)),
            1 => lines[at] = dice.pick(LINES),
            _ => lines.insert(at, dice.pick(LINES)),
        }
        if lines.is_empty() {
            lines.push("");
        }
    }
    lines.join("\n")
}

#[test]
fn whatever_is_edited_the_result_is_that_of_a_full_parse() {
    let (mut in_parts, mut accepted, mut refused) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut dice = Dice(seed);
        let mut text = document(&mut dice);
        let mut incremental = incremental();
        for _ in 0..6 {
            let new = incremental.update(&text);
            if parse::parse("t", &text).is_ok() {
                in_parts += usize::from(incremental.in_parts(&text).is_some());
            }
            match (new, full(&text)) {
                (Ok(document), Ok(root)) => {
                    accepted += 1;
                    assert_eq!(document.to_node(), root, "seed {seed}:\n{text}");
                    if accepted % 2 == 0 {
                        document.forget_trees();
                        assert_eq!(document.to_node(), root, "made again, seed {seed}:\n{text}");
                    }
                }
                (Err(new), Err(old)) => {
                    refused += 1;
                    let has_variables = old.iter().any(|it| it.message.starts_with("the variable"));
                    let new: Vec<_> =
                        new.into_iter().filter(|it| !has_variables || it.message.starts_with("the variable")).collect();
                    assert_eq!(told(&new), told(&old), "seed {seed}:\n{text}");
                }
                (new, old) => panic!("seed {seed}: {new:?} but {old:?}\n{text}"),
            }
            text = edited(&text, &mut dice);
        }
    }
    // The comparison is worth something only while each way is taken often.
    assert!(in_parts > 3_000 && accepted > 2_000 && refused > 2_000, "{in_parts} {accepted} {refused}");
}

/// The scanner has no place for them, and what stands in for it depends on the list around.
#[test]
fn a_blank_block_is_in_the_same_place_in_parts_and_in_one() {
    for text in ["any:\n\n- >", "any:\n- 1\n- |\n- 2\n", "any:\n  - a: >\n  - |", "any:\n- - |\n- b: [1]\n"] {
        assert_eq!(incremental().update(text).unwrap().to_node(), full(text).unwrap(), "{text:?}");
    }
}

#[test]
fn a_list_in_brackets_is_a_list() {
    let mut incremental = incremental();
    let text = "config: {}\nroutes: [{name: a}, {name: b, port: 9}]\nbackends: []\n";
    let document = incremental.update(text).unwrap();
    assert_eq!(document.items("routes").len(), 2, "its items are seen");
    assert_eq!(document.to_node(), full(text).unwrap());
    let problems = incremental.update("config: {}\nroutes: [{name: a},\n  {port: 100}]\n").unwrap_err();
    assert_eq!(told(&problems), told(&full("config: {}\nroutes: [{name: a},\n  {port: 100}]\n").unwrap_err()));
}

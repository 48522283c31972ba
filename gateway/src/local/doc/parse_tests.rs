use super::*;

fn problems(text: &str) -> Vec<String> {
    parse("f.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The tree as JSON, for what positions do not matter to.
fn json(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(it) => it.to_string(),
        Value::Int(it) => it.to_string(),
        Value::UInt(it) => it.to_string(),
        Value::Float(it) => format!("{it:?}"),
        Value::Str(it) => format!("{it:?}"),
        Value::Seq(nodes) => format!("[{}]", nodes.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{:?}:{}", key.name, json(node))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

#[test]
fn yaml_and_json_become_the_same_tree() {
    for (text, expected) in [
        ("", "{}"),
        ("# only a comment\n", "{}"),
        ("---\n", "{}"),
        ("---\na: 1\n...\n", r#"{"a":1}"#),
        ("a: 1\nb: '1'\nc: \"x\\n\"\n", r#"{"a":1,"b":"1","c":"x\n"}"#),
        ("{\"a\": [1, true, null, {\"b\": 2.5}]}", r#"{"a":[1,true,null,{"b":2.5}]}"#),
        ("a:\nb: ~\nc: yes\n", r#"{"a":null,"b":null,"c":"yes"}"#),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#),
        ("8080: a\ntrue: b\n", r#"{"8080":"a","true":"b"}"#),
        ("a: !!str 1\nb: !!float 1\nc: ! 1\nd: !!map {}\n", r#"{"a":"1","b":1.0,"c":"1","d":{}}"#),
        ("a: &x {p: 1}\nb: *x\nc: {<<: *x, q: 2}\n", r#"{"a":{"p":1},"b":{"p":1},"c":{"q":2,"p":1}}"#),
        ("a: &x {p: 1}\nb: {p: 0, <<: [*x, {r: 3, p: 9}]}\n", r#"{"a":{"p":1},"b":{"p":0,"r":3}}"#),
        ("a: {\"<<\": 1}\n", r#"{"a":{"<<":1}}"#),
        ("# yaml-language-server: $schema=x\r\na: 1\r\n", r#"{"a":1}"#),
        ("\u{feff}a: 1\n", r#"{"a":1}"#),
    ] {
        assert_eq!(json(&parse("t", text).unwrap()), expected, "{text:?}");
    }
}

#[test]
fn every_node_knows_where_it_was_written() {
    let root = parse("t", "a:\n  - b: 'é'  \n    c: [1, x]\n").unwrap();
    let item = match &root.get("a").unwrap().value {
        Value::Seq(nodes) => &nodes[0],
        _ => panic!("a list"),
    };
    let Value::Seq(list) = &item.get("c").unwrap().value else { panic!("a list") };
    let at = |node: &Node| (node.at.line, node.at.column);
    assert_eq!((at(&root), at(item), at(item.get("b").unwrap()), at(&list[1])), ((1, 1), (2, 5), (2, 8), (3, 12)));
    assert!(item.get("b").unwrap().quoted && !list[1].quoted);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: the key `a` is here twice (first at line 1, column 1)"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document begins here, and only one is allowed"),
        ("- a\n", "f.yaml:1:1: the document is not a map of keys to values"),
        ("just text", "f.yaml:1:1: the document is not a map of keys to values"),
        ("a: !env X\n", "f.yaml:1:4: the tag `!env` is not known here"),
        ("a: !!int x\n", "f.yaml:1:4: the value does not fit its tag `!!int`"),
        ("? [a]\n: 1\n", "f.yaml:1:3: a key must be a single word or a quoted text"),
        ("a: &x [*x]\n", "f.yaml:1:8: an alias stands within the node it refers to"),
        ("a: {<<: 1}\n", "f.yaml:1:9: `<<` takes a map or a list of maps"),
        ("a: 1\nb: \"x\0y\"\n", "f.yaml:2:6: the character U+0000 is not allowed"),
    ] {
        assert_eq!(problems(text), [expected], "{text:?}");
    }
}

#[test]
fn bad_syntax_is_told_with_its_place() {
    for (text, place) in [
        ("a:\n\tb: 1\n", "f.yaml:2:"),
        ("a: [1, 2\n", "f.yaml:2:1"),
        ("a: \"x\n", "f.yaml:1:4"),
        ("a: *nope\n", "f.yaml:1:4"),
        ("a: b: c\n", "f.yaml:1:5"),
        ("a: 1\n  b: 2\n", "f.yaml:2:4"),
        ("a: @x\n", "f.yaml:1:4"),
    ] {
        let problems = problems(text);
        assert!(problems.len() == 1 && problems[0].starts_with(place), "{text:?}: {problems:?}");
        assert!(problems[0].contains("the text is not YAML: "), "{problems:?}");
    }
    assert!(problems("a:\n\tb: 1\n")[0].ends_with("(indent with spaces)"), "{:?}", problems("a:\n\tb: 1\n"));
}

#[test]
fn all_duplicates_are_told_at_once() {
    let many: String = (0..40).map(|it| format!("k{}: {it}\n", it % 38)).collect();
    assert_eq!(problems(&many).len(), 2);
    assert_eq!(problems("a: {x: 1, x: 2}\nb: {y: 1, y: 2, y: 3}\n").len(), 3);
}

#[test]
fn a_document_built_to_explode_is_refused_quickly() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", alias.repeat(10));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let deep_block: String = (0..5_000).map(|it| format!("{}k:\n", " ".repeat(it))).collect();
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..150 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    for (text, expected) in [
        (laughs, "anchors and aliases make more than 100000 values"),
        (deep, "recursion limit exceeded"),
        (deep_block, "more than 100 collections stand within one another"),
        (chain, "more than 100 collections stand within one another"),
    ] {
        let begun = std::time::Instant::now();
        let problems = problems(&text);
        assert!(problems[0].contains(expected), "{problems:?}");
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }
}

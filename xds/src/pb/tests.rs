//! The messages of today against those that were published: fields and values may be added; what is
//! there may not be removed (but reserved), renumbered, renamed or retyped.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::DESCRIPTORS;

/// What is compared of a set: the fields of messages and the values of enums, by full name.
#[derive(Default)]
struct Shapes {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
    methods: Vec<String>,
}

impl Shapes {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut shapes = Self::default();
        for file in &set.file {
            let package = file.package();
            file.message_type.iter().for_each(|it| shapes.message(package, it));
            file.enum_type.iter().for_each(|it| shapes.enumeration(package, it));
            for service in &file.service {
                let method = |it: &prost_types::MethodDescriptorProto| format!("{package}.{} {it:?}", service.name());
                shapes.methods.extend(service.method.iter().map(method));
            }
        }
        shapes
    }

    fn message(&mut self, prefix: &str, it: &DescriptorProto) {
        let name = format!("{prefix}.{}", it.name());
        it.nested_type.iter().for_each(|inner| self.message(&name, inner));
        it.enum_type.iter().for_each(|inner| self.enumeration(&name, inner));
        self.messages.insert(name, it.clone());
    }

    fn enumeration(&mut self, prefix: &str, it: &EnumDescriptorProto) {
        self.enums.insert(format!("{prefix}.{}", it.name()), it.clone());
    }
}

/// What breaks those who speak the older one.
fn breaks(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (Shapes::of(old), Shapes::of(new));
    let mut found = Vec::new();
    for (name, message) in &old.messages {
        match new.messages.get(name) {
            None => found.push(format!("message {name} is gone")),
            Some(now) => found.extend(message.field.iter().filter_map(|it| broken(name, message, it, now))),
        }
    }
    for (name, values) in &old.enums {
        let now = new.enums.get(name).map(|it| it.value.as_slice()).unwrap_or_default();
        for value in &values.value {
            if !now.iter().any(|it| it.number() == value.number() && it.name() == value.name()) {
                found.push(format!("value {} = {} of {name} is gone", value.name(), value.number()));
            }
        }
    }
    found.extend(old.methods.iter().filter(|it| !new.methods.contains(it)).map(|it| format!("method {it} is gone")));
    found
}

/// Type and place of a field: what must stay.
fn shape(message: &DescriptorProto, it: &FieldDescriptorProto) -> impl PartialEq + std::fmt::Debug {
    let place = it.oneof_index.and_then(|at| usize::try_from(at).ok()).and_then(|at| message.oneof_decl.get(at));
    let place = place.map(|it| it.name().to_owned()).filter(|_| !it.proto3_optional());
    (it.name().to_owned(), it.r#type(), it.label(), it.type_name().to_owned(), place, it.proto3_optional())
}

fn broken(name: &str, old: &DescriptorProto, it: &FieldDescriptorProto, new: &DescriptorProto) -> Option<String> {
    let number = it.number();
    let Some(now) = new.field.iter().find(|now| now.number() == number) else {
        let kept = new.reserved_range.iter().any(|range| (range.start()..range.end()).contains(&number));
        return (!kept).then(|| format!("field {} = {number} of {name} is gone and not reserved", it.name()));
    };
    let (before, after) = (shape(old, it), shape(new, now));
    (before != after).then(|| format!("field {number} of {name} was {before:?} and is {after:?}"))
}

fn current() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).unwrap()
}

#[test]
fn what_was_published_stays_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/baseline.binpb");
    let published = std::fs::read(&path).unwrap_or_default();
    let found = breaks(&FileDescriptorSet::decode(&*published).unwrap(), &current());
    assert!(found.is_empty(), "this breaks those who speak the older version:\n  {}", found.join("\n  "));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, DESCRIPTORS).unwrap();
    } else {
        assert_eq!(published.len(), DESCRIPTORS.len(), "publish what is new with UPDATE_EXPECT=1");
        assert!(published == DESCRIPTORS, "publish what is new with UPDATE_EXPECT=1");
    }
}

#[test]
fn removing_renaming_and_retyping_are_found_and_adding_is_not() {
    let edited = |edit: fn(&mut DescriptorProto)| {
        let mut set = current();
        let bind = set.file.iter_mut().flat_map(|it| &mut it.message_type).find(|it| it.name() == "Bind").unwrap();
        edit(bind);
        set
    };
    let today = current();
    for (edit, want) in [
        ((|it| drop(it.field.remove(0))) as fn(&mut DescriptorProto), "field key = 1 of agentgateway.v1.Bind is gone"),
        (|it| it.field[0].number = Some(9), "field key = 1 of agentgateway.v1.Bind is gone"),
        (|it| it.field[0].name = Some("name".to_owned()), "field 1 of agentgateway.v1.Bind was"),
        (|it| it.field[1].r#type = Some(4), "field 2 of agentgateway.v1.Bind was"),
        (|it| it.field[1].oneof_index = None, "field 2 of agentgateway.v1.Bind was"),
        (|it| it.name = Some("Port".to_owned()), "message agentgateway.v1.Bind is gone"),
    ] {
        let found = breaks(&today, &edited(edit));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(want), "{found:?}");
        assert!(want.contains("Bind was") || want.contains("message") || breaks(&edited(edit), &today).len() < 2);
    }
    let reserved = edited(|it| {
        it.field.remove(0);
        it.reserved_range.push(prost_types::descriptor_proto::ReservedRange { start: Some(1), end: Some(2) });
    });
    assert_eq!(breaks(&today, &reserved), Vec::<String>::new());
    let mut without = today.clone();
    without.file.iter_mut().for_each(|it| it.enum_type.clear());
    assert!(breaks(&today, &without).iter().any(|it| it.contains("PROTOCOL_TLS = 4")));
    assert_eq!(breaks(&without, &today), Vec::<String>::new(), "what is new breaks nobody");
}

/// Messages, enums and fields without a comment above them. Members of `kind` in `Policy` and `Resource` are documented
/// at their messages.
fn undocumented(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut before, mut message, mut inside) = ("", "", false);
    for (number, line) in text.lines().map(str::trim).enumerate() {
        message = line.strip_prefix("message ").unwrap_or(message);
        inside = (inside || matches!(message, "Policy {" | "Resource {") && line == "oneof kind {") && line != "}";
        let is_type = (line.starts_with("message ") || line.starts_with("enum ")) && line.ends_with('{');
        let is_field = line.ends_with(';') && line.contains(" = ") && !line.starts_with("syntax") && !inside;
        if (is_type || is_field) && !before.starts_with("//") {
            found.push(format!("{file}:{}: {line}", number + 1));
        }
        before = line;
    }
    found
}

#[test]
fn every_message_and_field_is_documented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/agentgateway/v1");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        found.extend(undocumented(file, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(
        found.is_empty(),
        "say what it means, its unit, default and limits, in a comment above:\n{}",
        found.join("\n")
    );
    let bad = "message A {\n  // Good.\n  string a = 1;\n  string b = 2;\n  enum C {\n    D = 0;\n  }\n}";
    let lines: Vec<_> =
        undocumented("a.proto", bad).iter().filter_map(|it| it.split(": ").nth(1).map(str::to_owned)).collect();
    assert_eq!(lines, ["message A {", "string b = 2;", "enum C {", "D = 0;"]);
}

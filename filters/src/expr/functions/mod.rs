//! Built-in functions: one table, a file per kind.

mod clock;
mod convert;
mod encode;
mod format;
mod http;
mod json;
mod math;
mod network;
mod optional;
mod strings;

use super::node::Run;

pub(super) use json::json_field;
pub(super) use strings::replace_regex;

/// A function under one name and way of calling it.
pub(super) struct Builtin {
    name: &'static str,
    style: Style,
    /// Arguments, the receiver not counted.
    least: usize,
    most: usize,
    pub(super) run: Run,
    /// Its value differs each time.
    pub(super) is_ambient: bool,
    pub(super) logs_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `f(x)`
    Global,
    /// `x.f()`
    Method,
}

/// Any number of arguments.
const MANY: usize = usize::MAX;

/// Names that the compiler expands.
pub(super) const MACROS: [&str; 19] = [
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "mapValues",
    "filterKeys",
    "transformList",
    "transformMap",
    "transformMapEntry",
    "with",
    "optMap",
    "optFlatMap",
    "or",
    "orValue",
    "default",
    "coalesce",
];

const fn global(name: &'static str, least: usize, most: usize, run: Run) -> Builtin {
    Builtin { name, style: Style::Global, least, most, run, is_ambient: false, logs_only: false }
}

const fn method(name: &'static str, least: usize, most: usize, run: Run) -> Builtin {
    Builtin { name, style: Style::Method, least, most, run, is_ambient: false, logs_only: false }
}

const fn ambient(name: &'static str, run: Run) -> Builtin {
    Builtin { name, style: Style::Global, least: 0, most: 0, run, is_ambient: true, logs_only: false }
}

const fn for_logs(name: &'static str, run: Run) -> Builtin {
    Builtin { name, style: Style::Global, least: 1, most: 1, run, is_ambient: false, logs_only: true }
}

const TABLES: [&[Builtin]; 9] = [
    clock::TABLE,
    convert::TABLE,
    encode::TABLE,
    http::TABLE,
    json::TABLE,
    math::TABLE,
    network::TABLE,
    optional::TABLE,
    strings::TABLE,
];

fn all() -> impl Iterator<Item = &'static Builtin> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Every name, for suggestions and for user functions not to collide with.
pub(super) fn names<'n>() -> impl Iterator<Item = &'n str> {
    all().map(|it| -> &'n str { it.name })
}

pub(super) fn exists(name: &str) -> bool {
    all().any(|it| it.name == name)
}

/// `math`, `base64`, …
pub(super) fn is_namespace(name: &str) -> bool {
    all().any(|it| it.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

pub(super) fn find(name: &str, is_method: bool, args: usize) -> Option<&'static Builtin> {
    let style = if is_method { Style::Method } else { Style::Global };
    all().find(|it| it.name == name && it.style == style && (it.least..=it.most).contains(&args))
}

/// What is wrong with a call of a function that exists.
pub(super) fn usage(name: &str, is_method: bool, args: usize) -> String {
    let style = if is_method { Style::Method } else { Style::Global };
    let ways: Vec<&Builtin> = all().filter(|it| it.name == name).collect();
    let Some(way) = ways.iter().find(|it| it.style == style) else {
        return match is_method {
            true => format!("`{name}` is called as `{name}(…)`, not on a value"),
            false => format!("`{name}` is called on a value: `x.{name}(…)`"),
        };
    };
    let wanted = match (way.least, way.most) {
        (least, MANY) => format!("{least} or more arguments"),
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    };
    format!("`{name}` takes {wanted}, not {args}")
}

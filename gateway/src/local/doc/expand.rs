//! Variables in scalars: `$NAME`, `${NAME}`, `${NAME:-default}`, and `~/` for the home directory.
//!
//! Only values are expanded: never keys, comments or structure, so no variable can change what a
//! file says beyond the value it stands in. `$$` is a literal `$`, and a `$` before anything that
//! cannot begin a name stays as it is (the end anchor of a regular expression, `$1`). Text that
//! came from a variable is not expanded again.

use super::path::Path;
use super::{Node, Problem, Value, scalar};

/// Expands in place. A plain scalar is typed anew, so that `port: $PORT` becomes a number; a
/// quoted one stays a string. Returns the variables that are not defined, at their scalars.
pub fn expand(node: &mut Node, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(node, env, &Path::ROOT, &mut problems);
    problems
}

fn walk(node: &mut Node, env: &dyn Fn(&str) -> Option<String>, path: &Path<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Seq(nodes) => {
            for (index, it) in nodes.iter_mut().enumerate() {
                walk(it, env, &path.index(index), problems);
            }
        }
        Value::Map(entries) => {
            for (key, it) in entries {
                walk(it, env, &path.key(&key.name), problems);
            }
        }
        Value::Str(text) if text.contains('$') || text.starts_with("~/") => match expanded(text, env) {
            Ok(new) if node.quoted => node.value = Value::Str(new),
            Ok(new) => *node = scalar::plain(&new, node.at),
            Err(faults) => {
                for fault in faults {
                    let problem = Problem::new(node.at, path.to_string(), fault);
                    problems.push(problem.hint("write `$$` for a `$`, or `${NAME:-default}` for a default"));
                }
            }
        },
        _ => {}
    }
}

fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut faults = Vec::new();
    let mut rest = text;
    if let (Some(tail), Some(home)) = (text.strip_prefix("~/"), env("HOME")) {
        out.push_str(home.trim_end_matches('/'));
        out.push('/');
        rest = tail;
    }
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = match Variable::at_start(after) {
            Lexed::Variable(it, rest) => {
                let value = env(it.name).filter(|value| it.default.is_none() || !value.is_empty());
                match value.as_deref().or(it.default) {
                    Some(value) => out.push_str(value),
                    None => faults.push(format!("the variable `{}` is not defined", it.name)),
                }
                rest
            }
            Lexed::Dollar(rest) => {
                out.push('$');
                rest
            }
            // What follows cannot be told from what is broken; looking on would be quadratic too.
            Lexed::Broken(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

struct Variable<'a> {
    name: &'a str,
    default: Option<&'a str>,
}

enum Lexed<'a> {
    Variable(Variable<'a>, &'a str),
    Dollar(&'a str),
    Broken(String),
}

impl<'a> Variable<'a> {
    /// What follows a `$`.
    fn at_start(after: &'a str) -> Lexed<'a> {
        if let Some(rest) = after.strip_prefix('$') {
            return Lexed::Dollar(rest);
        }
        if let Some(inner) = after.strip_prefix('{') {
            let Some((body, rest)) = inner.split_once('}') else {
                return Lexed::Broken("`${` has no `}`".to_owned());
            };
            let (name, default) = match body.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (body, None),
            };
            let (name_read, nothing) = split_name(name);
            if name_read.is_empty() || !nothing.is_empty() {
                let body: String = body.chars().take(40).collect();
                return Lexed::Broken(format!("`${{{body}}}` does not name a variable"));
            }
            return Lexed::Variable(Self { name, default }, rest);
        }
        let (name, rest) = split_name(after);
        if name.is_empty() { Lexed::Dollar(after) } else { Lexed::Variable(Self { name, default: None }, rest) }
    }
}

/// The longest `[A-Za-z_][A-Za-z0-9_]*` that `text` begins with, and what follows.
fn split_name(text: &str) -> (&str, &str) {
    if text.starts_with(|it: char| it.is_ascii_digit()) {
        return ("", text);
    }
    let end = text.bytes().position(|it| !(it.is_ascii_alphanumeric() || it == b'_')).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or(("", text))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "PORT" => "8080",
            "HOST" => "h.example",
            "EMPTY" => "",
            "HOME" => "/home/me",
            "TRICK" => "a: $PORT",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn variables_are_expanded_in_scalars_and_plain_ones_are_typed_anew() {
        let text = |it: &str| Value::Str(it.to_owned());
        for (scalar, expected) in [
            ("$PORT", Value::Int(8080)),
            ("${PORT}", Value::Int(8080)),
            ("\"$PORT\"", text("8080")),
            ("'${PORT}'", text("8080")),
            ("$HOST:$PORT", text("h.example:8080")),
            ("${NONE:-9}", Value::Int(9)),
            ("${NONE:-}", Value::Null),
            ("${EMPTY:-x}", text("x")),
            ("$EMPTY", Value::Null),
            ("${HOST:-x}y", text("h.exampley")),
            ("$$PORT", text("$PORT")),
            ("$$$PORT", text("$8080")),
            ("^/a$", text("^/a$")),
            ("^(a|b$)$", text("^(a|b$)$")),
            ("s/$1/", text("s/$1/")),
            ("~/x", text("/home/me/x")),
            ("\"~/x\"", text("/home/me/x")),
            ("~x", text("~x")),
            ("a~/x", text("a~/x")),
            ("$TRICK", text("a: $PORT")),
            ("é$HOST", text("éh.example")),
        ] {
            let mut root = parse("t", &format!("# $NOPE\nk: {scalar}\n")).unwrap();
            assert_eq!(expand(&mut root, &env), [], "{scalar}");
            assert_eq!(root.get("k").unwrap().value, expected, "{scalar}");
        }
    }

    #[test]
    fn an_undefined_variable_is_a_problem_at_its_scalar() {
        let mut root = parse("t", "a: $PORT\nb:\n- x: pre $NOPE and ${NO2}\n- ${x y}\n- ${open\n$NOPE: 1\n").unwrap();
        let problems: Vec<_> =
            expand(&mut root, &env).into_iter().map(|it| Problem { hint: None, ..it }.to_string()).collect();
        assert_eq!(
            problems,
            [
                "3:6: b[0].x: the variable `NOPE` is not defined",
                "3:6: b[0].x: the variable `NO2` is not defined",
                "4:3: b[1]: `${x y}` does not name a variable",
                "5:3: b[2]: `${` has no `}`",
            ]
        );
    }
}

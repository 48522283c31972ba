//! Variables in scalars: `$NAME`, `${NAME}`, `${NAME:-default}`, and `~/` for the home directory.
//!
//! Only values are expanded: never keys, comments or structure, so no variable can change what a
//! file says beyond the value it stands in. `$$` is a literal `$`, and a `$` before anything that
//! cannot begin a name stays as it is (the end anchor of a regular expression, `$1`). Text that
//! came from a variable is not expanded again.
//!
//! Hashes of passwords are full of `$` and are used as they were made: at the keys of [`HASHES`] a name
//! without braces is no variable, unless it is all there is.
//!
//! What follows a `$` may be part of a secret that somebody forgot to escape. Problems tell where it
//! stands, and repeat it only where it is written as variables are.

use super::path::Path;
use super::{Node, Problem, Value, scalar};

/// Keys whose values are lists of users with hashes of their passwords, such as `$2y$10$...`.
const HASHES: &[&str] = &["htpasswd"];

const CURE: &str = "write `$$` for a `$`, or `${NAME:-default}` for a default";

/// What a `$` with a name, but no braces, means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    Variable,
    Text,
}

/// Expands in place. A plain scalar is typed anew, so that `port: $PORT` becomes a number; a
/// quoted one stays a string. Returns the variables that are not defined, at their scalars.
pub fn expand(node: &mut Node, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(node, env, &Path::ROOT, Bare::Variable, &mut problems);
    problems
}

fn walk(
    node: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
    path: &Path<'_>,
    bare: Bare,
    problems: &mut Vec<Problem>,
) {
    match &mut node.value {
        Value::Seq(nodes) => {
            for (index, it) in nodes.iter_mut().enumerate() {
                walk(it, env, &path.index(index), Bare::Variable, problems);
            }
        }
        Value::Map(entries) => {
            for (key, it) in entries {
                let bare = if HASHES.contains(&&*key.name) { Bare::Text } else { Bare::Variable };
                walk(it, env, &path.key(&key.name), bare, problems);
            }
        }
        Value::Str(text) if text.contains('$') || text.starts_with("~/") => match expanded(text, env, bare) {
            Ok(new) if node.quoted => node.value = Value::Str(new),
            Ok(new) => *node = scalar::plain(&new, node.at),
            Err(faults) => {
                for fault in faults {
                    problems.push(Problem::new(node.at, path.to_string(), fault).hint(CURE));
                }
            }
        },
        _ => {}
    }
}

fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>, bare: Bare) -> Result<String, Vec<String>> {
    let is_name =
        |text: &str| text.strip_prefix('$').map(split_name).is_some_and(|it| !it.0.is_empty() && it.1.is_empty());
    let bare = if is_name(text.trim_end()) { Bare::Variable } else { bare };
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
        let at = || {
            let dollar = text.len().saturating_sub(after.len() + 1);
            text.get(..dollar).map_or(0, |before| before.chars().count()) + 1
        };
        rest = match Variable::at_start(after, bare) {
            Lexed::Variable(it, rest) => {
                let value = env(it.name).filter(|value| it.default.is_none() || !value.is_empty());
                match value.as_deref().or(it.default) {
                    Some(value) => out.push_str(value),
                    None if it.is_shown() => faults.push(format!("the variable `{}` is not defined", it.name)),
                    None => faults.push(format!("the variable at character {} of this value is not defined", at())),
                }
                rest
            }
            Lexed::Dollar(rest) => {
                out.push('$');
                rest
            }
            // What follows cannot be told from what is broken; looking on would be quadratic too.
            Lexed::Broken(fault) => {
                faults.push(format!("the `${{` at character {} of this value {fault}", at()));
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
    braced: bool,
}

enum Lexed<'a> {
    Variable(Variable<'a>, &'a str),
    Dollar(&'a str),
    Broken(&'static str),
}

impl<'a> Variable<'a> {
    /// Whether problems may repeat the name: nobody writes that by accident.
    fn is_shown(&self) -> bool {
        self.braced && self.name.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
    }

    /// What follows a `$`.
    fn at_start(after: &'a str, bare: Bare) -> Lexed<'a> {
        if let Some(rest) = after.strip_prefix('$') {
            return Lexed::Dollar(rest);
        }
        if let Some(inner) = after.strip_prefix('{') {
            let Some((body, rest)) = inner.split_once('}') else {
                return Lexed::Broken("has no `}`");
            };
            let (name, default) = match body.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (body, None),
            };
            let (name_read, nothing) = split_name(name);
            if name_read.is_empty() || !nothing.is_empty() {
                return Lexed::Broken("does not name a variable");
            }
            return Lexed::Variable(Self { name, default, braced: true }, rest);
        }
        let (name, rest) = split_name(after);
        if name.is_empty() || bare == Bare::Text {
            return Lexed::Dollar(after);
        }
        Lexed::Variable(Self { name, default: None, braced: false }, rest)
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
                "3:6: b[0].x: the variable at character 5 of this value is not defined",
                "3:6: b[0].x: the variable `NO2` is not defined",
                "4:3: b[1]: the `${` at character 1 of this value does not name a variable",
                "5:3: b[2]: the `${` at character 1 of this value has no `}`",
            ]
        );
    }

    #[test]
    fn hashes_of_passwords_are_used_as_they_were_made() {
        for (written, expected) in [
            ("bob:$apr1$salt$Q17bm/", "bob:$apr1$salt$Q17bm/"),
            ("bob:$2y$05$abcdefg", "bob:$2y$05$abcdefg"),
            ("bob:$argon2id$v=19$m=8,t=1$abc$def", "bob:$argon2id$v=19$m=8,t=1$abc$def"),
            ("bob:$$apr1$$salt$$Q17bm/", "bob:$apr1$salt$Q17bm/"),
            ("${HOST}:$apr1$x$y", "h.example:$apr1$x$y"),
            ("$HOST", "h.example"),
            ("bob:$HOST", "bob:$HOST"),
        ] {
            let mut root = parse("t", &format!("basicAuth: {{ htpasswd: '{written}' }}")).unwrap();
            assert_eq!(expand(&mut root, &env), [], "{written}");
            let found = root.get("basicAuth").unwrap().get("htpasswd").unwrap();
            assert_eq!(found.value, Value::Str(expected.to_owned()), "{written}");
        }
        // Below the key the usual rules hold.
        let mut root = parse("t", "htpasswd: { file: /etc/$HOST }").unwrap();
        assert_eq!(expand(&mut root, &env), []);
        let file = root.get("htpasswd").unwrap().get("file").unwrap();
        assert_eq!(file.value, Value::Str("/etc/h.example".to_owned()));
    }

    #[test]
    fn problems_do_not_repeat_what_may_be_a_secret() {
        for secret in ["pa$Word", "$eCret", "x$ECRET", "a${s3cret", "a${se cret}", "${sEcret}", "é$ecret${ecret}"] {
            let mut root = parse("t", &format!("key: '{secret}'")).unwrap();
            let problems = expand(&mut root, &env);
            assert!(!problems.is_empty(), "{secret}");
            for problem in problems {
                let said = problem.to_string().to_lowercase();
                assert!(!said.contains("cret") && !said.contains("word"), "{secret}: {said}");
            }
        }
    }
}

//! Calls: macros first, then built-in functions, then user functions.

use super::Compiler;
use crate::expr::functions::{self, Builtin};
use crate::expr::node::{Kind, Node, TextTest};
use crate::expr::parse::{self, Expr};
use crate::expr::site::{Needs, Site};
use crate::expr::value::Value;
use crate::near;

impl Compiler<'_> {
    pub(super) fn call(&mut self, at: u32, target: Option<&Expr>, name: &str, args: &[Expr]) -> Node {
        if let Some(node) = self.expand(at, target, name, args) {
            return node;
        }
        // `math.greatest(…)`: names before the dot that are no variable are part of the function's.
        if let Some(target) = target
            && let Some(space) = self.namespace(target)
        {
            let full = format!("{space}.{name}");
            if functions::exists(&full) {
                return self.builtin(at, &full, None, args);
            }
        }
        if self.vocabulary.users().get(name, target.is_some()).is_some() {
            return self.user(at, target, name, args);
        }
        if functions::exists(name) {
            return self.builtin(at, name, target, args);
        }
        if self.vocabulary.declared.unchecked {
            return self.node(at, Kind::Undeclared(name.into()));
        }
        let mut known: Vec<&str> = self.vocabulary.users().names().collect();
        known.extend(functions::names());
        known.extend(functions::MACROS.iter().copied());
        let hint = near::hint(name, known);
        let space = target.and_then(|it| self.namespace(it)).filter(|space| functions::is_namespace(space));
        let full = space.map_or_else(|| name.to_owned(), |space| format!("{space}.{name}"));
        let reason = match functions::MACROS.contains(&name) {
            true => format!("wrong number of arguments for `{name}`, or not called on a value"),
            false => format!("unknown function `{full}`{hint}"),
        };
        self.problem(at, reason);
        self.broken(at)
    }

    fn builtin(&mut self, at: u32, name: &str, target: Option<&Expr>, args: &[Expr]) -> Node {
        let found = functions::find(name, target.is_some(), args.len());
        let args: Vec<Node> = target.into_iter().chain(args).map(|arg| self.lower(arg)).collect();
        let Some(builtin) = found else {
            if self.vocabulary.declared.unchecked {
                return self.node(at, Kind::Undeclared(name.into()));
            }
            let reason = functions::usage(name, target.is_some(), args.len() - usize::from(target.is_some()));
            self.problem(at, reason);
            return self.broken(at);
        };
        if builtin.logs_only && !matches!(self.vocabulary.site(), Site::Log | Site::Any) {
            self.problem(at, format!("`{name}` is for fields of logs and traces"));
        }
        if builtin.is_ambient {
            self.needs |= Needs::AMBIENT;
        } else if let Some(node) = self.folded(at, builtin.run, &args) {
            return node;
        }
        self.special(at, name, builtin, args)
    }

    /// Functions that have a node of their own where an argument is constant.
    fn special(&mut self, at: u32, name: &str, builtin: &'static Builtin, args: Vec<Node>) -> Node {
        let constant = |position: usize| match args.get(position).map(|arg| &arg.kind) {
            Some(Kind::Const(Value::String(text))) => Some(Box::<str>::from(&**text)),
            _ => None,
        };
        let test = match name {
            "startsWith" => Some(TextTest::StartsWith),
            "endsWith" => Some(TextTest::EndsWith),
            "contains" => Some(TextTest::Contains),
            _ => None,
        };
        if let (Some(test), 2, Some(wanted)) = (test, args.len(), constant(1)) {
            let of = args.into_iter().next();
            return match of {
                Some(of) => self.node(at, Kind::Text(test, Box::new(of), wanted)),
                None => self.broken(at),
            };
        }
        if let ("matches" | "regexReplace", Some(pattern)) = (name, constant(1)) {
            return self.regex(at, &pattern, args);
        }
        self.node(at, Kind::Call(builtin.run, args.into()))
    }

    fn regex(&mut self, at: u32, pattern: &str, args: Vec<Node>) -> Node {
        let regex = match super::regex(pattern) {
            Ok(regex) => regex,
            Err(reason) => {
                self.problem(args.get(1).map_or(at, |it| it.at), reason);
                return self.broken(at);
            }
        };
        let mut args = args.into_iter();
        match (args.next(), args.next(), args.next()) {
            (Some(of), Some(_), None) => self.node(at, Kind::Matches(Box::new(of), regex)),
            (Some(of), Some(_), Some(replacement)) => self.node(at, Kind::Replace(Box::new([of, replacement]), regex)),
            _ => self.broken(at),
        }
    }

    /// A user function: its body with its parameters bound, and no other variable in sight.
    fn user(&mut self, at: u32, target: Option<&Expr>, name: &str, args: &[Expr]) -> Node {
        let users = self.vocabulary.users().clone();
        let Some(function) = users.get(name, target.is_some()) else { return self.broken(at) };
        if let Err(reason) = function.accepts(args.len()) {
            self.problem(at, reason);
            return self.broken(at);
        }
        let mut values: Vec<(Box<str>, Node)> = Vec::new();
        let mut binders = Vec::new();
        if let Some(target) = target {
            binders.push(("this".into(), vec![target]));
        }
        binders.extend(function.bind(args));
        for (parameter, given) in binders {
            let value = match given.as_slice() {
                [one] if !function.is_rest(&parameter) => self.lower(one),
                many => {
                    let items = many.iter().map(|it| (false, self.lower(it))).collect();
                    self.node(at, Kind::List(items))
                }
            };
            values.push((parameter, value));
            // Later arguments are evaluated below this slot, and must not see it.
            self.locals.push(None);
        }
        let depth = self.locals.len() - values.len();
        self.locals.truncate(depth);
        let hidden: Vec<Option<Box<str>>> = std::mem::take(&mut self.locals);
        self.locals = hidden.iter().map(|_| None).collect();
        self.locals.extend(values.iter().map(|(parameter, _)| Some(parameter.clone())));
        self.inside.push((name.into(), self.inside.last().map_or(at, |(_, call)| *call)));
        let mut body = self.lower(&function.body);
        self.inside.pop();
        self.locals = hidden;
        while let Some((_, value)) = values.pop() {
            body = self.node(at, Kind::Let(Box::new([value, body])));
        }
        body
    }
}

/// Whether an expression calls a function of this name anywhere, for finding recursion.
pub(in crate::expr) fn calls(expr: &Expr, found: &mut dyn FnMut(&str, bool)) {
    let mut each = |parts: &mut dyn Iterator<Item = &Expr>| parts.for_each(|part| calls(part, found));
    match &expr.kind {
        parse::Kind::Call { target, name, args } => {
            each(&mut target.iter().map(|it| &**it).chain(args));
            found(name, target.is_some());
        }
        parse::Kind::Select { of, .. } | parse::Kind::Not(of) | parse::Kind::Negate(of) => calls(of, found),
        parse::Kind::Index { of, key, .. } => each(&mut [&**of, &**key].into_iter()),
        parse::Kind::Binary(_, left, right) => each(&mut [&**left, &**right].into_iter()),
        parse::Kind::List(items) => each(&mut items.iter().map(|(_, it)| it)),
        parse::Kind::Map(entries) => each(&mut entries.iter().flat_map(|(_, key, value)| [key, value])),
        parse::Kind::All(parts) | parse::Kind::Any(parts) => each(&mut parts.iter()),
        parse::Kind::Choice(parts) => each(&mut parts.iter()),
        parse::Kind::Null
        | parse::Kind::Bool(_)
        | parse::Kind::Int(_)
        | parse::Kind::Uint(_)
        | parse::Kind::Double(_)
        | parse::Kind::String(_)
        | parse::Kind::Bytes(_)
        | parse::Kind::Ident(..)
        | parse::Kind::Struct(_) => {}
    }
}

//! Identifiers, fields and indices: longest known path first, then parts of its value.

use super::Compiler;
use crate::expr::attribute::{Attribute, table};
use crate::expr::node::{Kind, Node};
use crate::expr::parse::{self, Expr, qualified};
use crate::expr::site::Needs;
use crate::expr::types::Type;
use crate::expr::value::Value;
use crate::head;
use crate::near;

/// Names that stand for types.
const TYPES: [&str; 13] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "type",
    "null_type",
    "optional_type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
];

/// What a chain of names means so far.
enum Part {
    /// A path of the vocabulary.
    Path(&'static str, u32),
    Node(Node),
}

impl Compiler<'_> {
    pub(super) fn path(&mut self, expr: &Expr) -> Node {
        match self.part(expr) {
            Part::Path(path, at) => self.attribute(path, at),
            Part::Node(node) => node,
        }
    }

    fn part(&mut self, expr: &Expr) -> Part {
        if let Some(node) = self.declared(expr) {
            return Part::Node(node);
        }
        match &expr.kind {
            parse::Kind::Ident(name, absolute) => self.ident(expr.at, name, *absolute),
            parse::Kind::Select { of, field, optional } => {
                if let Some(name) = type_name(expr).filter(|_| !self.is_local_chain(expr)) {
                    return Part::Node(self.node(expr.at, Kind::Const(Value::Type(name))));
                }
                if let parse::Kind::Call { target: None, name, args } = &of.kind
                    && let ("json", [text], false) = (&**name, args.as_slice(), *optional)
                {
                    let of = self.lower(text);
                    return Part::Node(self.node(expr.at, Kind::JsonField(Box::new(of), field.clone())));
                }
                match self.part(of) {
                    Part::Path(path, _) => self.member(path, field, expr.at, *optional),
                    Part::Node(of) if *optional => {
                        Part::Node(self.node(expr.at, Kind::OptionalSelect(Box::new(of), field.clone())))
                    }
                    Part::Node(of) => Part::Node(self.node(expr.at, Kind::Select(Box::new(of), field.clone()))),
                }
            }
            parse::Kind::Index { of, key, optional } => {
                let of = self.part(of);
                if let (Part::Path(path, _), parse::Kind::String(name)) = (&of, &key.kind) {
                    return self.member(path, name, expr.at, *optional);
                }
                let of = match of {
                    Part::Path(path, at) => self.attribute(path, at),
                    Part::Node(of) => of,
                };
                let key = self.lower(key);
                Part::Node(self.node(expr.at, Kind::Index(Box::new([of, key]), *optional)))
            }
            _ => Part::Node(self.lower(expr)),
        }
    }

    fn ident(&mut self, at: u32, name: &str, absolute: bool) -> Part {
        if !absolute && let Some(slot) = self.local(name) {
            return Part::Node(self.node(at, Kind::Local(slot)));
        }
        if let Some(name) = TYPES.iter().find(|known| **known == name) {
            return Part::Node(self.node(at, Kind::Const(Value::Type(name))));
        }
        if !self.vocabulary.declared.alone
            && let Some(path) = root(name)
        {
            return Part::Path(path, at);
        }
        Part::Node(self.unknown(at, name))
    }

    fn unknown(&mut self, at: u32, name: &str) -> Node {
        if self.vocabulary.declared.unchecked {
            return self.node(at, Kind::Undeclared(name.into()));
        }
        let locals: Vec<Box<str>> = self.locals.iter().flatten().cloned().collect();
        let mut known: Vec<&str> = roots().collect();
        known.extend(locals.iter().map(|name| &**name));
        let hint = near::hint(name, known);
        self.problem(at, format!("unknown variable `{name}`{hint}"));
        self.broken(at)
    }

    /// The slot of a variable in scope.
    fn local(&self, name: &str) -> Option<usize> {
        self.locals.iter().rposition(|local| local.as_deref() == Some(name))
    }

    fn is_local_chain(&self, expr: &Expr) -> bool {
        match &expr.kind {
            parse::Kind::Ident(name, _) => self.local(name).is_some(),
            parse::Kind::Select { of, .. } => self.is_local_chain(of),
            _ => false,
        }
    }

    /// A variable that a test declared, which may have dots in its name.
    fn declared(&mut self, expr: &Expr) -> Option<Node> {
        let declared = &self.vocabulary.declared;
        if declared.names.is_empty() || self.is_local_chain(expr) && !is_absolute(expr) {
            return None;
        }
        let name = qualified(expr)?;
        let mut scope = if is_absolute(expr) { "" } else { &*declared.container };
        loop {
            let full = if scope.is_empty() { name.clone() } else { format!("{scope}.{name}") };
            if declared.names.iter().any(|it| **it == *full) {
                return Some(self.node(expr.at, Kind::Bound(full.into())));
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }

    /// A field below a path of the vocabulary.
    fn member(&mut self, path: &'static str, field: &str, at: u32, optional: bool) -> Part {
        let below = table::below(path).find_map(|entry| child(entry.path, path, field));
        if let Some(full) = below {
            if !optional {
                return Part::Path(full, at);
            }
            let inner = self.attribute(full, at);
            return Part::Node(self.node(at, Kind::OptionalOf(Box::new(inner))));
        }
        let Some(entry) = table::find(path) else {
            let known: Vec<&str> = names_below(path);
            let hint = near::hint(field, known.iter().copied());
            let list = if hint.is_empty() { format!("; it has {}", known.join(", ")) } else { hint };
            self.problem(at, format!("`{path}` has no field `{field}`{list}"));
            return Part::Node(self.broken(at));
        };
        if !matches!(entry.of, Type::Map | Type::Dyn) {
            self.problem(at, format!("`{path}` is {} and has no field `{field}`", entry.of.label()));
            return Part::Node(self.broken(at));
        }
        self.reads(entry, at);
        let kind = match entry.attribute {
            Attribute::RequestHeaders | Attribute::ResponseHeaders => match head::any_name(field) {
                Ok(name) if entry.attribute == Attribute::RequestHeaders => Kind::RequestHeader(name),
                Ok(name) => Kind::ResponseHeader(name),
                Err(reason) => {
                    self.problem(at, reason);
                    return Part::Node(self.broken(at));
                }
            },
            Attribute::RequestCookies => Kind::Cookie(field.into()),
            Attribute::RequestQuery => Kind::Parameter(field.into()),
            Attribute::Jwt => Kind::Claim(field.into()),
            Attribute::ApiKey => Kind::KeyMetadata(field.into()),
            attribute => {
                let of = self.node(at, Kind::Attribute(attribute, entry.of));
                Kind::Select(Box::new(of), field.into())
            }
        };
        let node = self.node(at, kind);
        Part::Node(if optional { self.node(at, Kind::OptionalOf(Box::new(node))) } else { node })
    }

    /// A path that stands for itself: an attribute, or the map of what is below it.
    fn attribute(&mut self, path: &'static str, at: u32) -> Node {
        let below: Vec<&table::Entry> = table::below(path).collect();
        match table::find(path) {
            Some(entry) => {
                self.reads(entry, at);
                let kind = match below.is_empty() {
                    true => Kind::Attribute(entry.attribute, entry.of),
                    false => Kind::Object(path),
                };
                self.node(at, kind)
            }
            None => {
                let site = self.vocabulary.site();
                let here: Vec<_> = below.iter().filter(|entry| entry.sites.contains(site)).collect();
                if here.is_empty() {
                    self.problem(at, format!("`{path}` does not exist {}", site.label()));
                }
                for entry in here {
                    self.takes(entry, at);
                }
                self.node(at, Kind::Object(path))
            }
        }
    }

    fn reads(&mut self, entry: &table::Entry, at: u32) {
        let site = self.vocabulary.site();
        if !entry.sites.contains(site) {
            self.problem(at, format!("`{}` does not exist {}", entry.path, site.label()));
        }
        self.takes(entry, at);
    }

    fn takes(&mut self, entry: &table::Entry, at: u32) {
        if let Some(why) = self.vocabulary.unread(entry.needs) {
            self.problem(at, format!("`{}` cannot be read here: {why}", entry.path));
        }
        self.needs |= entry.needs;
    }

    /// Everything there is: `variables()`.
    pub(super) fn everything(&mut self, at: u32) -> Node {
        if let Some(why) = self.vocabulary.unread(Needs::EVERYTHING) {
            self.problem(at, format!("`variables()` cannot be read here: {why}"));
        }
        self.needs |= Needs::EVERYTHING;
        self.node(at, Kind::Object(""))
    }

    /// The node inside `has()`: whether it is there is asked of it as a whole.
    pub(super) fn has(&mut self, at: u32, expr: &Expr) -> Node {
        let (of, field) = match &expr.kind {
            parse::Kind::Select { of, field, optional: false } => (of, field),
            parse::Kind::Index { of, key, optional: false }
                if matches!(key.kind, parse::Kind::String(_)) && self.is_vocabulary(of) =>
            {
                let inner = self.path(expr);
                return self.node(at, Kind::Present(Box::new(inner)));
            }
            _ => {
                self.problem(at, "`has()` takes a field, such as `has(jwt.sub)`");
                return self.broken(at);
            }
        };
        if self.is_vocabulary(of) {
            let inner = self.path(expr);
            return self.node(at, Kind::Present(Box::new(inner)));
        }
        let of = self.lower(of);
        self.node(at, Kind::Has(Box::new(of), field.clone()))
    }

    /// Whether a chain of names begins in the vocabulary.
    fn is_vocabulary(&self, expr: &Expr) -> bool {
        match &expr.kind {
            parse::Kind::Ident(name, absolute) => {
                !self.vocabulary.declared.alone && (*absolute || self.local(name).is_none()) && root(name).is_some()
            }
            parse::Kind::Select { of, .. } => self.is_vocabulary(of),
            parse::Kind::Index { of, key, .. } => matches!(key.kind, parse::Kind::String(_)) && self.is_vocabulary(of),
            _ => false,
        }
    }

    /// Whether a chain of names is nothing but names, none of them a variable: a namespace.
    pub(super) fn namespace(&self, expr: &Expr) -> Option<String> {
        if self.is_local_chain(expr) { None } else { qualified(expr) }
    }
}

fn is_absolute(expr: &Expr) -> bool {
    match &expr.kind {
        parse::Kind::Ident(_, absolute) => *absolute,
        parse::Kind::Select { of, .. } => is_absolute(of),
        _ => false,
    }
}

fn type_name(expr: &Expr) -> Option<&'static str> {
    let name = qualified(expr)?;
    TYPES.iter().find(|known| known.contains('.') && **known == name).copied()
}

/// The path of `field` below `parent`, cut out of a longer one.
fn child(path: &'static str, parent: &str, field: &str) -> Option<&'static str> {
    let after = table::tail(path, parent)?.strip_prefix(field)?;
    (after.is_empty() || after.starts_with('.')).then(|| path.get(..path.len() - after.len()))?
}

fn root(name: &str) -> Option<&'static str> {
    table::TABLE.iter().find_map(|entry| child(entry.path, "", name))
}

/// The first parts of all paths.
pub(super) fn roots() -> impl Iterator<Item = &'static str> {
    table::TABLE.iter().map(|entry| entry.path.split('.').next().unwrap_or(entry.path))
}

fn names_below(path: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for entry in table::below(path) {
        let name = table::tail(entry.path, path).and_then(|tail| tail.split('.').next()).unwrap_or("");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

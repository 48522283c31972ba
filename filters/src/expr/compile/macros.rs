//! Calls that bind variables or decide what is evaluated.

use super::Compiler;
use crate::expr::node::{Fold, FoldKind, Kind, Node};
use crate::expr::parse::{self, Expr};
use crate::expr::value::Value;

/// Most entries of a `cel.block`.
const BLOCK_MAX: usize = 64;

impl Compiler<'_> {
    /// A macro, where this is one.
    pub(super) fn expand(&mut self, at: u32, target: Option<&Expr>, name: &str, args: &[Expr]) -> Option<Node> {
        let Some(target) = target else { return self.expand_global(at, name, args) };
        let namespace = self.namespace(target);
        match (namespace.as_deref(), name, args) {
            (Some("cel"), "bind", [variable, value, body]) => return Some(self.bind(at, variable, value, body)),
            (Some("cel"), "block", [values, body]) => return Some(self.block(at, values, body)),
            (Some("cel"), "index", [position]) => return Some(self.block_index(at, position)),
            (Some("cel"), "iterVar" | "accuVar", [depth, unique]) => {
                return Some(self.block_variable(at, name, depth, unique));
            }
            _ => {}
        }
        use FoldKind as F;
        let (kind, variables, filter, body): (F, &[Expr], Option<&Expr>, &Expr) = match (name, args) {
            ("all", [one, body]) => (F::All, std::slice::from_ref(one), None, body),
            ("exists", [one, body]) => (F::Exists, std::slice::from_ref(one), None, body),
            ("exists_one" | "existsOne", [one, body]) => (F::ExistsOne, std::slice::from_ref(one), None, body),
            ("map", [one, body]) => (F::List, std::slice::from_ref(one), None, body),
            ("map", [one, filter, body]) => (F::List, std::slice::from_ref(one), Some(filter), body),
            ("filter", [one, body]) => (F::Filter, std::slice::from_ref(one), None, body),
            ("mapValues", [one, body]) => (F::Values, std::slice::from_ref(one), None, body),
            ("filterKeys", [one, body]) => (F::Keys, std::slice::from_ref(one), None, body),
            ("all", [_, _, body]) => (F::All, args.get(..2)?, None, body),
            ("exists", [_, _, body]) => (F::Exists, args.get(..2)?, None, body),
            ("exists_one" | "existsOne", [_, _, body]) => (F::ExistsOne, args.get(..2)?, None, body),
            ("transformList", [_, _, body]) => (F::List, args.get(..2)?, None, body),
            ("transformList", [_, _, filter, body]) => (F::List, args.get(..2)?, Some(filter), body),
            ("transformMap", [_, _, body]) => (F::Map, args.get(..2)?, None, body),
            ("transformMap", [_, _, filter, body]) => (F::Map, args.get(..2)?, Some(filter), body),
            ("transformMapEntry", [_, _, body]) => (F::Entries, args.get(..2)?, None, body),
            ("transformMapEntry", [_, _, filter, body]) => (F::Entries, args.get(..2)?, Some(filter), body),
            ("with", [variable, body]) => return Some(self.bind(at, variable, target, body)),
            ("optMap", [variable, body]) => return Some(self.optional_map(at, target, variable, body, false)),
            ("optFlatMap", [variable, body]) => return Some(self.optional_map(at, target, variable, body, true)),
            ("or", [other]) => {
                let parts = [self.lower(target), self.lower(other)];
                return Some(self.node(at, Kind::Or(Box::new(parts), false)));
            }
            ("orValue", [other]) => {
                let parts = [self.lower(target), self.lower(other)];
                return Some(self.node(at, Kind::Or(Box::new(parts), true)));
            }
            _ => return None,
        };
        Some(self.fold(at, kind, target, variables, filter, body))
    }

    fn expand_global(&mut self, at: u32, name: &str, args: &[Expr]) -> Option<Node> {
        match (name, args) {
            ("has", [field]) => Some(self.has(at, field)),
            ("default", [of, fallback]) => {
                let parts = [self.lower(of), self.lower(fallback)];
                Some(self.node(at, Kind::Default(Box::new(parts))))
            }
            ("coalesce", args) if !args.is_empty() => {
                let args = self.each(args);
                Some(self.node(at, Kind::Coalesce(args)))
            }
            ("variables", []) => Some(self.everything(at)),
            _ => None,
        }
    }

    /// The name of a variable that a macro binds.
    fn variable(&mut self, expr: &Expr) -> Box<str> {
        if let parse::Kind::Ident(name, false) = &expr.kind {
            return name.clone();
        }
        if let parse::Kind::Call { target: Some(target), name, args } = &expr.kind
            && let (Some("cel"), "iterVar" | "accuVar", [depth, unique]) =
                (self.namespace(target).as_deref(), &**name, args.as_slice())
            && let Some(name) = block_name(name, depth, unique)
        {
            return name;
        }
        self.problem(expr.at, "the name of a variable is wanted here");
        "".into()
    }

    fn scoped(&mut self, variables: impl IntoIterator<Item = Box<str>>, body: &Expr) -> Node {
        let depth = self.locals.len();
        self.locals.extend(variables.into_iter().map(Some));
        let body = self.lower(body);
        self.locals.truncate(depth);
        body
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one macro")]
    fn fold(
        &mut self,
        at: u32,
        kind: FoldKind,
        range: &Expr,
        variables: &[Expr],
        filter: Option<&Expr>,
        body: &Expr,
    ) -> Node {
        let range = self.lower(range);
        let variables: Vec<Box<str>> = variables.iter().map(|it| self.variable(it)).collect();
        if let [first, second] = variables.as_slice()
            && first == second
        {
            self.problem(at, format!("`{first}` names two variables"));
        }
        let filter = filter.map(|filter| self.scoped(variables.clone(), filter));
        let is_paired = variables.len() == 2;
        let body = self.scoped(variables, body);
        self.node(at, Kind::Fold(Box::new(Fold { kind, range, is_paired, filter, body })))
    }

    fn bind(&mut self, at: u32, variable: &Expr, value: &Expr, body: &Expr) -> Node {
        let value = self.lower(value);
        let variable = self.variable(variable);
        let body = self.scoped([variable], body);
        self.node(at, Kind::Let(Box::new([value, body])))
    }

    fn optional_map(&mut self, at: u32, of: &Expr, variable: &Expr, body: &Expr, flat: bool) -> Node {
        let of = self.lower(of);
        let variable = self.variable(variable);
        let body = self.scoped([variable], body);
        self.node(at, Kind::OptionalMap(Box::new([of, body]), flat))
    }

    /// `cel.block([a, b, …], body)`: each may read those before it by `cel.index(n)`.
    fn block(&mut self, at: u32, values: &Expr, body: &Expr) -> Node {
        let parse::Kind::List(items) = &values.kind else {
            self.problem(values.at, "`cel.block` takes a list of values first");
            return self.broken(at);
        };
        if items.len() > BLOCK_MAX {
            self.problem(values.at, format!("more than {BLOCK_MAX} values"));
            return self.broken(at);
        }
        let depth = self.locals.len();
        let mut values = Vec::new();
        for (position, (_, item)) in items.iter().enumerate() {
            values.push(self.lower(item));
            self.locals.push(Some(format!("@index{position}").into()));
        }
        let mut body = self.lower(body);
        self.locals.truncate(depth);
        while let Some(value) = values.pop() {
            body = self.node(at, Kind::Let(Box::new([value, body])));
        }
        body
    }

    fn block_index(&mut self, at: u32, position: &Expr) -> Node {
        let parse::Kind::Int(position) = position.kind else {
            self.problem(at, "`cel.index` takes a number");
            return self.broken(at);
        };
        self.local_named(at, &format!("@index{position}"))
    }

    fn block_variable(&mut self, at: u32, name: &str, depth: &Expr, unique: &Expr) -> Node {
        match block_name(name, depth, unique) {
            Some(name) => self.local_named(at, &name),
            None => {
                self.problem(at, format!("`cel.{name}` takes two numbers"));
                self.broken(at)
            }
        }
    }

    fn local_named(&mut self, at: u32, name: &str) -> Node {
        match self.locals.iter().rposition(|local| local.as_deref() == Some(name)) {
            Some(slot) => self.node(at, Kind::Local(slot)),
            None => {
                self.problem(at, "this variable of `cel.block` is not in scope");
                self.node(at, Kind::Const(Value::Null))
            }
        }
    }
}

fn block_name(name: &str, depth: &Expr, unique: &Expr) -> Option<Box<str>> {
    match (&depth.kind, &unique.kind) {
        (parse::Kind::Int(depth), parse::Kind::Int(unique)) => Some(format!("@{name}{depth}:{unique}").into()),
        _ => None,
    }
}

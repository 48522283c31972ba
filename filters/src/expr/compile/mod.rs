//! From the tree as parsed to the tree that is evaluated: names are resolved against the
//! vocabulary, macros expanded, user functions inlined, constants computed.

mod calls;
pub(super) use calls::calls;
mod check;
mod macros;
mod names;

use regex::{Regex, RegexBuilder};

use super::error::{Cause, Problem};
use super::eval::{self, Frame};
use super::inputs::Inputs;
use super::map::{Entries, Map, is_key};
use super::node::{Comparison, Kind, Node, Operation};
use super::parse::{self, Expr};
use super::site::Needs;
use super::types::Type;
use super::value::{Blob, List, Str, Value};
use super::vocabulary::Vocabulary;

/// Nodes of a compiled expression, user functions included.
pub const NODES_MAX: usize = 8192;
/// Problems reported of one expression.
const PROBLEMS_MAX: usize = 16;
/// Size of a compiled regex.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What compiling gives.
pub(super) struct Compiled {
    pub(super) node: Node,
    pub(super) needs: Needs,
    pub(super) of: Type,
}

pub(super) fn compile(text: &str, vocabulary: &Vocabulary) -> Result<Compiled, Vec<Problem>> {
    let expr = parse::parse(text).map_err(|problem| vec![problem])?;
    let mut compiler = Compiler {
        text,
        vocabulary,
        locals: Vec::new(),
        needs: Needs::NONE,
        nodes: 0,
        problems: Vec::new(),
        inside: Vec::new(),
    };
    let node = compiler.lower(&expr);
    let of = check::type_of(&node);
    if let Some(wanted) = vocabulary.result()
        && !of.compares(wanted)
    {
        compiler.problem(expr.at, format!("{} is wanted, and this is {}", wanted.label(), of.label()));
    }
    match compiler.problems.is_empty() {
        true => Ok(Compiled { node, needs: compiler.needs, of }),
        false => Err(compiler.problems),
    }
}

/// Checks the body of a user function on its own, for no site in particular.
pub(super) fn function(
    function: &super::user::UserFunction,
    all: &super::user::UserFunctions,
) -> Result<(), Vec<Problem>> {
    let vocabulary = Vocabulary::bare(all);
    let locals = function.variables().map(Some).collect();
    let mut compiler = Compiler {
        text: "",
        vocabulary: &vocabulary,
        locals,
        needs: Needs::NONE,
        nodes: 0,
        problems: Vec::new(),
        inside: Vec::new(),
    };
    compiler.lower(&function.body);
    if compiler.problems.is_empty() { Ok(()) } else { Err(compiler.problems) }
}

/// A regex within bounds.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("regex is larger than {REGEX_BYTES_MAX} bytes when compiled"),
        error => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("").trim().trim_start_matches("error: ");
            format!("`{}` is not a regex: {reason}", pattern.escape_debug())
        }
    })
}

struct Compiler<'a> {
    text: &'a str,
    vocabulary: &'a Vocabulary,
    /// Variables in scope, innermost last; `None` hides what a function must not see.
    locals: Vec<Option<Box<str>>>,
    needs: Needs,
    nodes: usize,
    problems: Vec<Problem>,
    /// User functions being inlined, with the position of the outermost call.
    inside: Vec<(Box<str>, u32)>,
}

impl Compiler<'_> {
    fn problem(&mut self, at: u32, reason: impl Into<String>) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let problem = match self.inside.last() {
            // The text of a function is elsewhere: its call is what the author of this one can find.
            Some((name, call)) => Problem::at(self.text, *call, format!("in function `{name}`: {}", reason.into())),
            None => Problem::at(self.text, at, reason),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn node(&mut self, at: u32, kind: Kind) -> Node {
        self.nodes += 1;
        if self.nodes == NODES_MAX {
            self.problem(at, format!("more than {NODES_MAX} nodes, functions included"));
        }
        let at = self.inside.first().map_or(at, |(_, call)| *call);
        Node { at, kind }
    }

    /// Stands in where a problem was reported.
    fn broken(&mut self, at: u32) -> Node {
        self.node(at, Kind::Const(Value::Null))
    }

    fn lower(&mut self, expr: &Expr) -> Node {
        if self.nodes >= NODES_MAX {
            return self.broken(expr.at);
        }
        let at = expr.at;
        match &expr.kind {
            parse::Kind::Null => self.node(at, Kind::Const(Value::Null)),
            parse::Kind::Bool(value) => self.node(at, Kind::Const(Value::Bool(*value))),
            parse::Kind::Int(value) => self.node(at, Kind::Const(Value::Int(*value))),
            parse::Kind::Uint(value) => self.node(at, Kind::Const(Value::Uint(*value))),
            parse::Kind::Double(value) => self.node(at, Kind::Const(Value::Double(*value))),
            parse::Kind::String(text) => self.node(at, Kind::Const(Value::String(Str::Shared((&**text).into())))),
            parse::Kind::Bytes(bytes) => self.node(at, Kind::Const(Value::Bytes(Blob::Shared((&**bytes).into())))),
            parse::Kind::Ident(..) | parse::Kind::Select { .. } | parse::Kind::Index { .. } => self.path(expr),
            parse::Kind::Call { target, name, args } => self.call(at, target.as_deref(), name, args),
            parse::Kind::List(items) => self.list(at, items),
            parse::Kind::Map(entries) => self.map(at, entries),
            parse::Kind::Struct(name) => {
                self.problem(at, format!("`{name}{{…}}`: messages are not supported; write a map"));
                self.broken(at)
            }
            parse::Kind::Not(of) => {
                let of = self.lower(of);
                self.node(at, Kind::Not(Box::new(of)))
            }
            parse::Kind::Negate(of) => {
                let of = self.lower(of);
                self.node(at, Kind::Negate(Box::new(of)))
            }
            parse::Kind::Binary(sign, left, right) => self.binary(at, sign, left, right),
            parse::Kind::All(parts) => {
                let parts = self.each(parts);
                self.check_truths(&parts);
                self.node(at, Kind::All(parts))
            }
            parse::Kind::Any(parts) => {
                let parts = self.each(parts);
                self.check_truths(&parts);
                self.node(at, Kind::Any(parts))
            }
            parse::Kind::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                let parts = [self.lower(condition), self.lower(yes), self.lower(no)];
                self.node(at, Kind::Choice(Box::new(parts)))
            }
        }
    }

    fn each(&mut self, parts: &[Expr]) -> Box<[Node]> {
        parts.iter().map(|part| self.lower(part)).collect()
    }

    fn binary(&mut self, at: u32, sign: &str, left: &Expr, right: &Expr) -> Node {
        let (left, right) = (self.lower(left), self.lower(right));
        let operation = match sign {
            "==" | "!=" => {
                self.check_comparable(at, &left, &right);
                return self.equal(at, left, right, sign == "!=");
            }
            "in" => return self.membership(at, left, right),
            "<" | "<=" | ">" | ">=" => {
                self.check_comparable(at, &left, &right);
                let comparison = match sign {
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    ">" => Comparison::Greater,
                    _ => Comparison::GreaterOrEqual,
                };
                return self.node(at, Kind::Compare(comparison, Box::new([left, right])));
            }
            "+" => Operation::Add,
            "-" => Operation::Subtract,
            "*" => Operation::Multiply,
            "/" => Operation::Divide,
            _ => Operation::Remainder,
        };
        if let (Kind::Const(left), Kind::Const(right)) = (&left.kind, &right.kind)
            && let Ok(value) = constant(|frame| eval::calculate(operation, left, right, frame))
        {
            return self.node(at, Kind::Const(value));
        }
        self.node(at, Kind::Arithmetic(operation, Box::new([left, right])))
    }

    fn equal(&mut self, at: u32, left: Node, right: Node, negated: bool) -> Node {
        let (of, text) = match (&left.kind, &right.kind) {
            (_, Kind::Const(Value::String(text))) => (left, Box::<str>::from(&**text)),
            (Kind::Const(Value::String(text)), _) => {
                let text = Box::<str>::from(&**text);
                (right, text)
            }
            _ => return self.node(at, Kind::Equal(Box::new([left, right]), negated)),
        };
        self.node(at, Kind::EqualText(Box::new(of), text, negated))
    }

    fn membership(&mut self, at: u32, item: Node, of: Node) -> Node {
        if let Kind::Const(Value::List(items)) = &of.kind {
            let texts: Option<_> = items.iter().map(|item| item.as_str().map(Box::<str>::from)).collect();
            if let Some(texts) = texts {
                return self.node(at, Kind::InTexts(Box::new(item), texts));
            }
        }
        self.node(at, Kind::In(Box::new([item, of])))
    }

    fn list(&mut self, at: u32, items: &[(bool, Expr)]) -> Node {
        let items: Box<[(bool, Node)]> = items.iter().map(|(optional, item)| (*optional, self.lower(item))).collect();
        let constants: Option<Vec<Value<'static>>> = items
            .iter()
            .map(|(optional, item)| match &item.kind {
                Kind::Const(value) if !optional => Some(value.clone()),
                _ => None,
            })
            .collect();
        match constants {
            Some(values) => self.node(at, Kind::Const(Value::List(List::Shared(values.into())))),
            None => self.node(at, Kind::List(items)),
        }
    }

    fn map(&mut self, at: u32, entries: &[(bool, Expr, Expr)]) -> Node {
        let entries: Box<[(bool, Node, Node)]> =
            entries.iter().map(|(optional, key, value)| (*optional, self.lower(key), self.lower(value))).collect();
        let mut constants = Some(Entries::default());
        for (optional, key, value) in &entries {
            match (&key.kind, &value.kind) {
                (Kind::Const(key), Kind::Const(value)) if !optional && is_key(key) => {
                    let fresh = constants.as_mut().is_some_and(|it| it.insert(key.clone(), value.clone()));
                    constants = constants.filter(|_| fresh);
                }
                _ => constants = None,
            }
        }
        match constants {
            Some(constants) => self.node(at, Kind::Const(Value::Map(Map::of(constants)))),
            None => self.node(at, Kind::Map(entries)),
        }
    }

    /// The value of a function of constants, where it has one.
    fn folded(&mut self, at: u32, run: super::node::Run, args: &[Node]) -> Option<Node> {
        let values: Option<Vec<Value<'static>>> = args
            .iter()
            .map(|arg| match &arg.kind {
                Kind::Const(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        let values = values?;
        let value = constant(|frame| run(frame, &values)).ok()?;
        Some(self.node(at, Kind::Const(value)))
    }
}

/// Evaluates what needs no inputs.
fn constant<T>(act: impl FnOnce(&mut Frame<'static>) -> Result<T, super::error::Error>) -> Result<T, Cause> {
    static NOTHING: std::sync::LazyLock<Inputs<'static>> = std::sync::LazyLock::new(Inputs::default);
    act(&mut Frame::new(&NOTHING)).map_err(|error| error.cause)
}

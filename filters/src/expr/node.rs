//! The compiled form: a tree in which every name is resolved.

use http::HeaderName;
use regex::Regex;
use std::collections::HashSet;

use super::attribute::Attribute;
use super::error::Error;
use super::eval::Frame;
use super::types::Type;
use super::value::Value;

/// A built-in function; the receiver, if it has one, is the first argument.
pub(super) type Run = for<'a> fn(&mut Frame<'a>, &[Value<'a>]) -> Result<Value<'a>, Error>;

/// Matches the kinds of nodes that give true or false and nothing else.
macro_rules! truths {
    () => {
        $crate::expr::node::Kind::Not(_)
            | $crate::expr::node::Kind::All(_)
            | $crate::expr::node::Kind::Any(_)
            | $crate::expr::node::Kind::Equal(..)
            | $crate::expr::node::Kind::EqualText(..)
            | $crate::expr::node::Kind::Compare(..)
            | $crate::expr::node::Kind::In(_)
            | $crate::expr::node::Kind::InTexts(..)
            | $crate::expr::node::Kind::Text(..)
            | $crate::expr::node::Kind::Matches(..)
            | $crate::expr::node::Kind::Has(..)
            | $crate::expr::node::Kind::Present(_)
    };
}
pub(super) use truths;

pub(super) struct Node {
    /// Byte offset in the text.
    pub(super) at: u32,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Const(Value<'static>),
    Local(usize),
    Attribute(Attribute, Type),
    /// A node of the vocabulary as a map; empty is everything.
    Object(&'static str),
    RequestHeader(HeaderName),
    ResponseHeader(HeaderName),
    Cookie(Box<str>),
    Parameter(Box<str>),
    /// A claim of the token.
    Claim(Box<str>),
    /// Metadata of the API key.
    KeyMetadata(Box<str>),
    /// A variable of a test's own.
    Bound(Box<str>),
    Undeclared(Box<str>),
    Select(Box<Node>, Box<str>),
    /// The flag: `?`.
    Index(Box<[Node; 2]>, bool),
    OptionalSelect(Box<Node>, Box<str>),
    /// `none` where the inner one is missing.
    OptionalOf(Box<Node>),
    Has(Box<Node>, Box<str>),
    /// Whether the inner one is not missing.
    Present(Box<Node>),
    List(Box<[(bool, Node)]>),
    Map(Box<[(bool, Node, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Choice(Box<[Node; 3]>),
    /// The flag: negated.
    Equal(Box<[Node; 2]>, bool),
    EqualText(Box<Node>, Box<str>, bool),
    Compare(Comparison, Box<[Node; 2]>),
    Arithmetic(Operation, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    /// A list of texts known beforehand.
    InTexts(Box<Node>, HashSet<Box<str>, foldhash::fast::FixedState>),
    Text(TextTest, Box<Node>, Box<str>),
    Matches(Box<Node>, Regex),
    Replace(Box<[Node; 2]>, Regex),
    /// `json(x).field`, without reading the rest.
    JsonField(Box<Node>, Box<str>),
    Call(Run, Box<[Node]>),
    /// Binds a value (or its error) to the next slot for the second.
    Let(Box<[Node; 2]>),
    Fold(Box<Fold>),
    /// The first argument that succeeds and is not null.
    Coalesce(Box<[Node]>),
    /// The second where something of the first is missing.
    Default(Box<[Node; 2]>),
    /// `optMap` and (flag) `optFlatMap`: the second with the value of the first.
    OptionalMap(Box<[Node; 2]>, bool),
    /// `x.or(y)` and (flag) `x.orValue(y)`.
    Or(Box<[Node; 2]>, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A walk over a list or map.
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) range: Node,
    /// Both key (or index) and value are bound; else one of them.
    pub(super) is_paired: bool,
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// A list of the bodies.
    List,
    /// The elements (keys) for which the body holds.
    Filter,
    /// The same keys with the bodies as values.
    Map,
    /// The union of the maps that the bodies are.
    Entries,
    /// As `Map`, the value alone is bound.
    Values,
    /// The entries for whose key the body holds.
    Keys,
}

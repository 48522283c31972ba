//! CEL: the expressions in which rules, log fields and transformations are written.
//!
//! ```text
//! request.path.startsWith("/admin") && !("admins" in jwt.groups)
//! ```
//!
//! # For the author of a policy
//! 1. The unit's `Policy` holds an [`Expression`]: it is `Clone`, compares and serialises as its text.
//! 2. Lowering and decoding compile it, which reports every problem with its place:
//!    `scope.check("when", Expression::parse(&text, &Vocabulary::rule(Site::Request)))`.
//!    [`Vocabulary::rule`] is for what must be true or false, [`Vocabulary::of`] for anything.
//! 3. [`Expression::needs`] says what it reads: whoever buffers bodies asks
//!    `needs.intersects(Needs::REQUEST_BODY)` and buffers nothing otherwise.
//! 4. At run time the gateway hands [`Inputs`]: references to what it has anyway.
//! 5. [`Expression::holds`] is the answer to a rule: `Ok(bool)`, or an [`Error`]; anything but true and
//!    false is an error. **The unit decides what an error means**, and its manual says so.
//! 6. [`Expression::evaluate`] gives a [`Value`] that borrows from expression and inputs;
//!    `to_header`, `to_body`, `to_span`, `into_json` and `as_str` turn it into what is wanted.
//! 7. `error.is_missing()` tells "the claim is not there" from "the expression is wrong here".
//!
//! # How it works
//! `lex` and `parse` read the text under limits of length and depth; `compile` resolves every name against
//! the vocabulary of the [`Site`], so that a misspelt field, a wrong number of arguments or an attribute
//! that does not exist there is a problem of the configuration, with its place and the nearest name;
//! it expands macros, inlines user functions ([`user`]), computes what is constant and compiles constant
//! regexes. `eval` walks the resulting tree: headers, claims and metadata are read in place, texts are
//! borrowed, a typical comparison allocates nothing. Each evaluation has a budget of steps and of bytes
//! ([`STEPS_MAX`], [`BYTES_MAX`]); what exceeds it is an error, whatever the expression and the input.
//!
//! # What it follows
//! The CEL language definition with the macros, the optionals, and the strings, math, encoders, bindings
//! and two-variable extensions. `tests.rs` runs the specification's own cases; what they need of protocol
//! buffers is absent, for no attribute is a message. Values are dynamic: beyond the names only operands
//! whose types are known are checked beforehand. The engine is our own because the common one has no bound
//! on cost, no places in its errors, no notion of a phase, and differs from half of those cases.
//!
//! # Where we differ
//! An error is not `false`: callers get it and decide. A dynamic index (`request[x]`) counts as reading
//! everything below it. `has(jwt.sub)` is false, not an error, where there is no token at all.
//! `request.cookies` and `request.query` are ours, undecoded; so are `listener.name` and `route.name`.

mod attribute;
mod compile;
mod error;
mod eval;
mod functions;
mod headers;
mod inputs;
mod lex;
mod map;
mod node;
mod number;
mod output;
mod parse;
mod sample;
mod site;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod user;
mod value;
mod vocabulary;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use compile::NODES_MAX;
pub use error::{Cause, Error, Name, Problem, summary};
pub use eval::{BYTES_MAX, STEPS_MAX};
pub use headers::Headers;
pub use inputs::{
    Ambient, Backend, Body, Destination, Env, Inputs, Json, Names, Objects, Request, Response, Source, Times,
};
pub(crate) use map::json_get;
pub use map::{Entries, Map};
pub use parse::{DEPTH_MAX, TEXT_BYTES_MAX};
pub use sample::Sample;
pub use site::{Needs, Site};
pub use time::{Duration, Timestamp};
pub use types::Type;
pub use user::UserFunctions;
pub use value::{Blob, List, REDACTED, Str, Value};
pub use vocabulary::{Vocabulary, install};

/// A compiled expression: equal to another of the same text and site.
#[derive(Clone)]
pub struct Expression(Arc<Inner>);

struct Inner {
    text: Box<str>,
    site: Site,
    node: node::Node,
    needs: Needs,
    of: Type,
}

impl Expression {
    /// Compiles a text.
    ///
    /// # Errors
    /// Every problem, with its place in the text.
    pub fn compile(text: &str, vocabulary: &Vocabulary) -> Result<Self, Vec<Problem>> {
        let compile::Compiled { node, needs, of } = compile::compile(text, vocabulary)?;
        Ok(Self(Arc::new(Inner { text: text.into(), site: vocabulary.site(), node, needs, of })))
    }

    /// As [`Expression::compile`], with all problems in one line.
    ///
    /// # Errors
    /// Every problem, with its place in the text.
    pub fn parse(text: &str, vocabulary: &Vocabulary) -> Result<Self, String> {
        Self::compile(text, vocabulary).map_err(|problems| summary(&problems))
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub fn site(&self) -> Site {
        self.0.site
    }

    /// What it reads.
    pub fn needs(&self) -> Needs {
        self.0.needs
    }

    /// What its value certainly is, as far as that is known.
    pub fn result(&self) -> Type {
        self.0.of
    }

    /// The value for one request.
    ///
    /// # Errors
    /// Whatever the expression and the inputs make of each other, and a budget that is spent.
    pub fn evaluate<'a>(&'a self, inputs: &'a Inputs<'a>) -> Result<Value<'a>, Error> {
        eval::eval(&self.0.node, &mut eval::Frame::new(inputs))
    }

    /// Whether it is true: for rules. What is neither true nor false is an error.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    #[inline]
    pub fn holds<'a>(&'a self, inputs: &'a Inputs<'a>) -> Result<bool, Error> {
        eval::truth(&self.0.node, &mut eval::Frame::new(inputs))
    }

    /// An error with its place in the text, for logs.
    pub fn explain(&self, error: &Error) -> String {
        if error.offset == u32::MAX {
            return error.to_string();
        }
        let (line, column) = error::place(&self.0.text, error.offset);
        format!("{error} (at {line}:{column})")
    }

    /// Whether the value is the same for every request.
    pub fn is_constant(&self) -> bool {
        matches!(self.0.node.kind, node::Kind::Const(_))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text && self.0.site == other.0.site
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text.fmt(f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

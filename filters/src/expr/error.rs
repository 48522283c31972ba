//! What can go wrong: problems of a text that is compiled, and errors of an evaluation.
//!
//! An evaluation error on the common paths (a missing key, a type that does not fit) allocates
//! nothing; callers decide whether an error lets a request pass.

use std::fmt;

/// Something wrong with an expression as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text; both count from 1, columns in characters.
    pub line: u32,
    pub column: u32,
    pub reason: String,
}

impl Problem {
    pub(super) fn at(text: &str, offset: u32, reason: impl Into<String>) -> Self {
        let (line, column) = place(text, offset);
        Self { line, column, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {}:{})", self.reason, self.line, self.column)
    }
}

/// All problems in one line, for where a single text is wanted.
pub fn summary(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// Line and column of a byte offset.
pub(super) fn place(text: &str, offset: u32) -> (u32, u32) {
    let before = text.get(..offset as usize).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub cause: Cause,
    /// Byte offset in the expression; `u32::MAX` while unknown.
    pub offset: u32,
}

/// The kinds of evaluation errors.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// A key, field or attribute that is not there.
    Missing(Name),
    /// An attribute that exists but was not kept whole, such as a body larger than its buffer.
    Incomplete(&'static str),
    /// The operation is not defined for operands of these types.
    NoOverload,
    /// A variable that nothing declares; only where names are not checked beforehand.
    Undeclared(Box<str>),
    DivisionByZero,
    Overflow,
    /// A list index beyond the list.
    OutOfRange,
    /// A value that cannot be converted or read.
    Invalid(Box<str>),
    /// `fail()` was called.
    Failed(Box<str>),
    /// A limit on the cost of one evaluation.
    Limit(&'static str),
}

/// The name of what is missing, where it costs nothing to keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    Static(&'static str),
    Shared(std::sync::Arc<str>),
    Unnamed,
}

impl Error {
    pub(super) fn new(cause: Cause) -> Self {
        Self { cause, offset: u32::MAX }
    }

    pub(super) fn missing() -> Self {
        Self::new(Cause::Missing(Name::Unnamed))
    }

    pub(super) fn absent(path: &'static str) -> Self {
        Self::new(Cause::Missing(Name::Static(path)))
    }

    pub(super) fn no_overload() -> Self {
        Self::new(Cause::NoOverload)
    }

    pub(super) fn overflow() -> Self {
        Self::new(Cause::Overflow)
    }

    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(Cause::Invalid(reason.into().into_boxed_str()))
    }

    /// Whether something that was asked for is not there, as opposed to wrong.
    pub fn is_missing(&self) -> bool {
        matches!(self.cause, Cause::Missing(_) | Cause::Undeclared(_))
    }

    /// Whether the evaluation cost more than it may.
    pub fn is_limit(&self) -> bool {
        matches!(self.cause, Cause::Limit(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Missing(Name::Static(name)) => write!(f, "`{name}` is not there"),
            Cause::Missing(Name::Shared(name)) => write!(f, "no such key: `{name}`"),
            Cause::Missing(Name::Unnamed) => f.write_str("no such key"),
            Cause::Incomplete(name) => write!(f, "`{name}` is larger than what is buffered"),
            Cause::NoOverload => f.write_str("no such overload: the operation is not defined for these types"),
            Cause::Undeclared(name) => write!(f, "undeclared reference to `{name}`"),
            Cause::DivisionByZero => f.write_str("division by zero"),
            Cause::Overflow => f.write_str("number out of range"),
            Cause::OutOfRange => f.write_str("index out of range"),
            Cause::Invalid(reason) => f.write_str(reason),
            Cause::Failed(reason) => write!(f, "failed: {reason}"),
            Cause::Limit(name) => write!(f, "evaluation exceeds its limit of {name}"),
        }
    }
}

impl std::error::Error for Error {}

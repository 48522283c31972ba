//! What is wrong, and where.

use std::fmt;
use std::sync::Arc;

use super::Place;

/// One thing the operator has to change. Prints as `file:line:column: path: message (hint)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it; empty when the stage does not know it.
    pub source: Arc<str>,
    pub place: Option<Place>,
    /// Such as `binds[0].listeners[1].protocol`; empty for the document itself.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    #[must_use]
    pub fn new(place: Place, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { source: Arc::from(""), place: Some(place), path: path.into(), message: message.into(), hint: None }
    }

    /// A problem that is in no line.
    #[must_use]
    pub fn nowhere(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { source: Arc::from(""), place: None, path: path.into(), message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn from_source(mut self, source: &Arc<str>) -> Self {
        self.source = Arc::clone(source);
        self
    }

    /// The same problem when its tree is found under `prefix`, `lines` further down.
    #[must_use]
    pub fn under(mut self, prefix: &str, lines: u32) -> Self {
        let glue = if prefix.is_empty() || self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{prefix}{glue}{}", self.path);
        self.place = self.place.map(|it| it.shifted(lines));
        self
    }

    /// In the order a reader of the file meets them.
    pub fn sort(problems: &mut [Self]) {
        problems.sort_by(|a, b| (a.place, &a.path, &a.message).cmp(&(b.place, &b.path, &b.message)));
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source.is_empty(), self.place) {
            (false, Some(at)) => write!(f, "{}:{}:{}: ", self.source, at.line, at.column)?,
            (false, None) => write!(f, "{}: ", self.source)?,
            (true, Some(at)) => write!(f, "{}:{}: ", at.line, at.column)?,
            (true, None) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

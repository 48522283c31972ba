//! Tokens of one credential of Google's.

use std::sync::Arc;

use http::HeaderValue;

use super::super::fresh::{Fresh, Renewed};
use super::quest::{Ambient, Quest};
use super::source::Source;
use super::{AMBIENT, Target};
use crate::keep::Bell;

/// Audiences that id tokens of one credential are had for.
const TARGETS_MAX: usize = 64;

/// See the file.
#[derive(Debug)]
pub struct Tokens {
    source: Option<Source>,
    fresh: Fresh<Target, HeaderValue>,
}

impl Tokens {
    pub(super) fn new(source: Option<Source>, bell: Arc<Bell>) -> Self {
        Self { source, fresh: Fresh::new("token of Google's", TARGETS_MAX, bell) }
    }

    /// How the token for this is had.
    pub fn quest(&self, target: &Target) -> Quest {
        let ambient = AMBIENT.get().cloned().unwrap_or_else(Ambient::default);
        Quest::new(self.source.clone(), target.clone(), ambient)
    }
}

impl Renewed for Tokens {
    type Target = Target;
    type Value = HeaderValue;

    fn fresh(&self) -> &Fresh<Target, HeaderValue> {
        &self.fresh
    }

    fn name(target: &Target) -> String {
        match target {
            Target::Access => "access token".to_owned(),
            Target::Id(audience) => format!("id token for {audience}"),
        }
    }
}

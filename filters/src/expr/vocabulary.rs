//! What an expression may name: attributes of its site, functions, and user functions.

use std::sync::OnceLock;

use super::site::{Needs, Site};
use super::types::Type;
use super::user::UserFunctions;

/// Names and place of an expression.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    site: Site,
    result: Option<Type>,
    users: UserFunctions,
    /// What is not read there, though the site has it, and why.
    unread: Option<(Needs, &'static str)>,
    /// Names that tests declare, and how lenient they are.
    pub(super) declared: Declared,
}

/// Only for the specification's tests: names of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) names: Vec<Box<str>>,
    /// Prefixes tried first, as in a namespace.
    pub(super) container: Box<str>,
    /// Unknown names are errors of the evaluation, and types are not compared beforehand.
    pub(super) unchecked: bool,
    /// The vocabulary of this product does not exist.
    pub(super) alone: bool,
}

static USERS: OnceLock<UserFunctions> = OnceLock::new();

/// Makes user functions part of every vocabulary from now on; once per process, before any
/// configuration is read. Returns false where it was done before.
pub fn install(functions: UserFunctions) -> bool {
    USERS.set(functions).is_ok()
}

impl Vocabulary {
    /// The vocabulary of a site, with the process's user functions.
    pub fn of(site: Site) -> Self {
        let users = USERS.get().cloned().unwrap_or_default();
        Self { site, result: None, users, unread: None, declared: Declared::default() }
    }

    /// Everything, with the functions of a text that is still being checked.
    pub(super) fn bare(users: &UserFunctions) -> Self {
        Self { site: Site::Any, result: None, users: users.clone(), unread: None, declared: Declared::default() }
    }

    /// For a rule: anything that is certainly not true or false is a problem.
    pub fn rule(site: Site) -> Self {
        Self::of(site).giving(Type::Bool)
    }

    /// What the expression has to be; checked as far as types are known.
    #[must_use]
    pub fn giving(self, result: Type) -> Self {
        Self { result: Some(result), ..self }
    }

    /// For a place where something is not read that the site has otherwise: naming it is a problem.
    #[must_use]
    pub fn without(self, needs: Needs, why: &'static str) -> Self {
        Self { unread: Some((needs, why)), ..self }
    }

    /// With user functions other than the process's.
    #[must_use]
    pub fn with(self, users: UserFunctions) -> Self {
        Self { users, ..self }
    }

    pub fn site(&self) -> Site {
        self.site
    }

    /// Why something that needs this is not read there.
    pub(super) fn unread(&self, needs: Needs) -> Option<&'static str> {
        self.unread.filter(|(unread, _)| needs.intersects(*unread)).map(|(_, why)| why)
    }

    pub(super) fn result(&self) -> Option<Type> {
        self.result
    }

    pub(super) fn users(&self) -> &UserFunctions {
        &self.users
    }
}

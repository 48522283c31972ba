//! Credentials that the process is lent: those of its profile, its web identity, its container or its machine, and those
//! of roles.

use std::sync::Arc;

use ir::Text;
use parking_lot::Mutex;

use super::super::fresh::{Fresh, Renewed};
use super::role::Assumed;
use super::{Day, Keys};
use crate::keep::Bell;

/// Sessions at once: clients may have one each.
const SESSIONS_MAX: usize = 1_024;

/// Whose credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Those that the process finds where programs for AWS look for them.
    Process,
    Role(Arc<Assumed>),
}

/// Credentials for a while.
#[derive(Debug)]
pub struct Lent {
    pub(super) keys: Keys,
    /// Where the process is, as far as that was found with them.
    pub(super) region: Option<Text>,
    pub(super) day: Mutex<Option<Day>>,
}

impl Lent {
    /// A region that is none counts as absent.
    pub fn new(keys: Keys, region: Option<Text>) -> Self {
        Self { keys, region: region.filter(|it| super::is_name(it)), day: Mutex::default() }
    }
}

/// See the file.
#[derive(Debug)]
pub struct Sessions(Fresh<Who, Arc<Lent>>);

impl Sessions {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self(Fresh::new("credential of AWS", SESSIONS_MAX, bell))
    }
}

impl Renewed for Sessions {
    type Target = Who;
    type Value = Arc<Lent>;

    fn fresh(&self) -> &Fresh<Who, Arc<Lent>> {
        &self.0
    }

    fn name(who: &Who) -> String {
        match who {
            Who::Process => "credentials of the process".to_owned(),
            Who::Role(it) => format!("credentials of {} as {}", it.arn, it.name),
        }
    }
}

//! Where in messages the things are that somebody in between has to see or change.
//!
//! One description serves JSON and Protocol Buffers, 0.3 and 1.0: names of members in all their spellings, and numbers
//! of fields in each version. What is not described is passed over.

use super::method::Version;

/// A kind of message.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    pub fields: &'static [Field],
    /// In JSON of 0.3 what it is may stand in `kind`, without a wrapper.
    pub by_kind: bool,
}

/// A member of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// In JSON: as it is written, and what readers of Protocol Buffers take as well.
    pub names: &'static [&'static str],
    /// In Protocol Buffers of 0.3 and 1.0; 0 where it is not there.
    pub numbers: (u32, u32),
    pub what: What,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// Looked at, and perhaps given another text.
    At(Place),
    /// A message, or several.
    Into(&'static Shape),
    /// The state of a task.
    State,
    /// The id of a message.
    MessageId,
    /// Free for all to write into; skills are named there.
    Metadata,
    /// Not to go on, for it would not be true any more.
    Gone,
}

/// What may be given another text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A task's id, or several.
    Task,
    Context,
    /// A resource name of 0.3: `tasks/{id}` and what is below it.
    TaskName,
    /// Where an agent is to send news of a task.
    PushUrl,
    /// What that is called.
    PushId,
    /// What news are to carry, for the client to know them by.
    PushToken,
    /// How whoever sends news says who it is, and by what; of several ways the first that is named counts.
    PushScheme,
    PushCredentials,
    /// Where an agent is reached.
    CardUrl,
    /// Where a list of tasks goes on.
    PageToken,
}

/// Asked about every text at a [`Place`]; may give another.
pub type Ask<'p, F> = &'p mut dyn FnMut(Place, &str) -> Result<Option<String>, F>;

impl Field {
    pub fn number(&self, version: Version) -> u32 {
        match version {
            Version::V0_3 => self.numbers.0,
            Version::V1_0 => self.numbers.1,
        }
    }
}

impl Shape {
    pub fn by_name(&self, name: &str) -> Option<&'static What> {
        self.fields.iter().find(|it| it.names.contains(&name)).map(|it| &it.what)
    }

    pub fn by_number(&self, number: u32, version: Version) -> Option<&'static What> {
        self.fields.iter().find(|it| it.number(version) == number && number != 0).map(|it| &it.what)
    }
}

const fn shape(fields: &'static [Field]) -> Shape {
    Shape { fields, by_kind: false }
}

const fn at(names: &'static [&'static str], numbers: (u32, u32), place: Place) -> Field {
    Field { names, numbers, what: What::At(place) }
}

const fn into(names: &'static [&'static str], numbers: (u32, u32), shape: &'static Shape) -> Field {
    Field { names, numbers, what: What::Into(shape) }
}

const fn field(names: &'static [&'static str], numbers: (u32, u32), what: What) -> Field {
    Field { names, numbers, what }
}

const TASK_ID: &[&str] = &["taskId", "task_id"];
pub const PAGE_TOKEN: &[&str] = &["pageToken", "page_token"];
pub const NEXT_PAGE: &[&str] = &["nextPageToken", "next_page_token"];
/// In both versions.
pub const NEXT_PAGE_NUMBER: u32 = 2;
const CONTEXT_ID: &[&str] = &["contextId", "context_id"];
const PUSH_CONFIG: &[&str] =
    &["pushNotificationConfig", "push_notification_config", "pushNotification", "push_notification"];

pub static EMPTY: Shape = shape(&[]);

pub static MESSAGE: Shape = shape(&[
    field(&["messageId", "message_id"], (1, 1), What::MessageId),
    at(CONTEXT_ID, (2, 2), Place::Context),
    at(TASK_ID, (3, 3), Place::Task),
    at(&["referenceTaskIds", "reference_task_ids"], (0, 8), Place::Task),
    field(&["metadata"], (6, 6), What::Metadata),
]);

pub static STATUS: Shape =
    shape(&[field(&["state"], (1, 1), What::State), into(&["message", "update"], (2, 2), &MESSAGE)]);

pub static TASK: Shape = shape(&[
    at(&["id"], (1, 1), Place::Task),
    at(CONTEXT_ID, (2, 2), Place::Context),
    into(&["status"], (3, 3), &STATUS),
    into(&["history"], (5, 5), &MESSAGE),
]);

pub static STATUS_UPDATE: Shape = shape(&[
    at(TASK_ID, (1, 1), Place::Task),
    at(CONTEXT_ID, (2, 2), Place::Context),
    into(&["status"], (3, 3), &STATUS),
]);

pub static ARTIFACT_UPDATE: Shape = shape(&[at(TASK_ID, (1, 1), Place::Task), at(CONTEXT_ID, (2, 2), Place::Context)]);

/// What sending a message, and each event of a stream, answers.
pub static EVENT: Shape = Shape {
    fields: &[
        into(&["task"], (1, 1), &TASK),
        into(&["message", "msg"], (2, 2), &MESSAGE),
        into(&["statusUpdate", "status_update"], (3, 3), &STATUS_UPDATE),
        into(&["artifactUpdate", "artifact_update"], (4, 4), &ARTIFACT_UPDATE),
    ],
    by_kind: true,
};

pub static TASKS: Shape =
    shape(&[into(&["tasks"], (1, 1), &TASK), at(NEXT_PAGE, (2, NEXT_PAGE_NUMBER), Place::PageToken)]);

static AUTHENTICATION: Shape = shape(&[
    at(&["scheme"], (0, 1), Place::PushScheme),
    at(&["schemes"], (1, 0), Place::PushScheme),
    at(&["credentials"], (2, 2), Place::PushCredentials),
]);

static PUSH_INNER: Shape = shape(&[
    at(&["id"], (1, 0), Place::PushId),
    at(&["url"], (2, 0), Place::PushUrl),
    at(&["token"], (3, 0), Place::PushToken),
    into(&["authentication"], (4, 0), &AUTHENTICATION),
]);

pub static PUSH: Shape = shape(&[
    at(TASK_ID, (0, 3), Place::Task),
    at(&["name"], (1, 0), Place::TaskName),
    at(&["id"], (0, 2), Place::PushId),
    at(&["url"], (0, 4), Place::PushUrl),
    at(&["token"], (0, 5), Place::PushToken),
    into(&["authentication"], (0, 6), &AUTHENTICATION),
    into(PUSH_CONFIG, (2, 0), &PUSH_INNER),
]);

/// In JSON-RPC of 0.3 a list, and this is one of it.
pub static PUSHES: Shape = shape(&[
    into(&["configs"], (1, 1), &PUSH),
    at(TASK_ID, (0, 0), Place::Task),
    into(PUSH_CONFIG, (0, 0), &PUSH_INNER),
]);

static CONFIGURATION: Shape = shape(&[
    into(PUSH_CONFIG, (2, 0), &PUSH_INNER),
    into(&["taskPushNotificationConfig", "task_push_notification_config"], (0, 2), &PUSH),
]);

pub static SEND: Shape = shape(&[
    into(&["message", "request"], (1, 2), &MESSAGE),
    into(&["configuration"], (2, 3), &CONFIGURATION),
    field(&["metadata"], (3, 4), What::Metadata),
]);

pub static TASK_REF: Shape = shape(&[at(&["id"], (0, 2), Place::Task), at(&["name"], (1, 0), Place::TaskName)]);

pub static LIST: Shape = shape(&[at(CONTEXT_ID, (0, 2), Place::Context), at(PAGE_TOKEN, (0, 5), Place::PageToken)]);

pub static PUSH_CREATE: Shape = shape(&[
    at(TASK_ID, (0, 3), Place::Task),
    at(&["id"], (0, 2), Place::PushId),
    at(&["configId", "config_id"], (2, 0), Place::PushId),
    at(&["url"], (0, 4), Place::PushUrl),
    at(&["token"], (0, 5), Place::PushToken),
    into(&["authentication"], (0, 6), &AUTHENTICATION),
    into(PUSH_CONFIG, (0, 0), &PUSH_INNER),
    at(&["parent"], (1, 0), Place::TaskName),
    at(&["name"], (0, 0), Place::TaskName),
    into(&["config"], (3, 0), &PUSH),
]);

/// `id` is the task's, and the configuration's in `pushNotificationConfigId`.
pub static PUSH_REF_0_3: Shape = shape(&[
    at(&["id"], (0, 0), Place::Task),
    at(&["pushNotificationConfigId", "push_notification_config_id"], (0, 0), Place::PushId),
    at(&["name", "parent"], (1, 0), Place::TaskName),
]);

/// `id` is the configuration's.
pub static PUSH_REF: Shape = shape(&[at(TASK_ID, (0, 2), Place::Task), at(&["id"], (0, 3), Place::PushId)]);

pub static PUSH_LIST: Shape = shape(&[at(TASK_ID, (0, 1), Place::Task)]);

static INTERFACE: Shape = shape(&[at(&["url"], (1, 1), Place::CardUrl)]);

pub static CARD: Shape = shape(&[
    at(&["url"], (3, 0), Place::CardUrl),
    into(&["additionalInterfaces", "additional_interfaces"], (15, 0), &INTERFACE),
    into(&["supportedInterfaces", "supported_interfaces"], (0, 3), &INTERFACE),
    field(&["signatures"], (17, 13), What::Gone),
]);

/// What `kind` says of a result of 0.3.
pub fn of_kind(kind: &str) -> Option<&'static Shape> {
    match kind {
        "task" => Some(&TASK),
        "message" => Some(&MESSAGE),
        "status-update" => Some(&STATUS_UPDATE),
        "artifact-update" => Some(&ARTIFACT_UPDATE),
        _ => None,
    }
}

/// The kind of a result, by what it is.
pub fn kind_of(shape: &Shape) -> Option<&'static str> {
    [(&TASK, "task"), (&MESSAGE, "message"), (&STATUS_UPDATE, "status-update"), (&ARTIFACT_UPDATE, "artifact-update")]
        .into_iter()
        .find(|(it, _)| std::ptr::eq(*it, shape))
        .map(|(_, kind)| kind)
}

/// States of tasks in Protocol Buffers, by number, as rules and telemetry name them in both versions.
pub const STATES: [&str; 9] = [
    "unspecified",
    "submitted",
    "working",
    "completed",
    "failed",
    "canceled",
    "input-required",
    "rejected",
    "auth-required",
];

/// A state as 0.3 writes it, whichever version it came in; `None` where it is none.
pub fn state(text: &str) -> Option<&'static str> {
    let bare = text.strip_prefix("TASK_STATE_").unwrap_or(text);
    let same = |known: &str| {
        known.len() == bare.len()
            && known.bytes().zip(bare.bytes()).all(|(a, b)| a == b.to_ascii_lowercase() || (a == b'-' && b == b'_'))
    };
    // gRPC of 0.3 spells it with two l.
    if bare == "CANCELLED" || bare == "cancelled" {
        return Some("canceled");
    }
    STATES.into_iter().find(|known| same(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_one_name_in_all_versions() {
        for (text, known) in [
            ("input-required", Some("input-required")),
            ("TASK_STATE_INPUT_REQUIRED", Some("input-required")),
            ("TASK_STATE_CANCELLED", Some("canceled")),
            ("TASK_STATE_CANCELED", Some("canceled")),
            ("canceled", Some("canceled")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(state(text), known, "{text}");
        }
    }
}

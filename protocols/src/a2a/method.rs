//! What is asked for: the methods of both versions, as each binding names them.

use std::fmt;

use super::shape::{self, Shape};

/// A version of the protocol, without its patch level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    V0_3,
    V1_0,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    JsonRpc,
    Rest,
    Grpc,
}

/// What a client asks of an agent, by the names of 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    SendMessage,
    SendStreamingMessage,
    GetTask,
    ListTasks,
    CancelTask,
    SubscribeToTask,
    CreateTaskPushNotificationConfig,
    GetTaskPushNotificationConfig,
    ListTaskPushNotificationConfigs,
    DeleteTaskPushNotificationConfig,
    GetExtendedAgentCard,
}

/// The methods with their names in JSON-RPC 0.3, and in gRPC 0.3 where that differs from 1.0.
const NAMES: [(Method, &str, &str, &str); 11] = [
    (Method::SendMessage, "SendMessage", "message/send", "SendMessage"),
    (Method::SendStreamingMessage, "SendStreamingMessage", "message/stream", "SendStreamingMessage"),
    (Method::GetTask, "GetTask", "tasks/get", "GetTask"),
    (Method::ListTasks, "ListTasks", "tasks/list", "ListTasks"),
    (Method::CancelTask, "CancelTask", "tasks/cancel", "CancelTask"),
    (Method::SubscribeToTask, "SubscribeToTask", "tasks/resubscribe", "TaskSubscription"),
    (
        Method::CreateTaskPushNotificationConfig,
        "CreateTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/set",
        "CreateTaskPushNotificationConfig",
    ),
    (
        Method::GetTaskPushNotificationConfig,
        "GetTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/get",
        "GetTaskPushNotificationConfig",
    ),
    (
        Method::ListTaskPushNotificationConfigs,
        "ListTaskPushNotificationConfigs",
        "tasks/pushNotificationConfig/list",
        "ListTaskPushNotificationConfig",
    ),
    (
        Method::DeleteTaskPushNotificationConfig,
        "DeleteTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/delete",
        "DeleteTaskPushNotificationConfig",
    ),
    (Method::GetExtendedAgentCard, "GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard", "GetAgentCard"),
];

/// The gRPC services, with the slashes around them.
const SERVICES: [(&str, Version); 2] =
    [("/lf.a2a.v1.A2AService/", Version::V1_0), ("/a2a.v1.A2AService/", Version::V0_3)];

impl Method {
    /// Of a JSON-RPC request; the spelling says the version.
    pub fn of_json_rpc(name: &str) -> Option<(Self, Version)> {
        NAMES.iter().find_map(|(method, new, old, _)| {
            if *new == name {
                return Some((*method, Version::V1_0));
            }
            (*old == name).then_some((*method, Version::V0_3))
        })
    }

    /// Of a gRPC path; the package says the version.
    pub fn of_grpc(path: &str) -> Option<(Self, Version)> {
        let (name, version) = SERVICES.iter().find_map(|(it, version)| Some((path.strip_prefix(it)?, *version)))?;
        let found = NAMES.iter().find(|(_, new, _, old)| name == if version == Version::V1_0 { *new } else { *old });
        found.map(|(method, ..)| (*method, version))
    }

    /// The name of 1.0, which telemetry and rules use for both versions.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(it, ..)| *it == self).map_or("", |(_, name, ..)| name)
    }

    /// Whether answers come one after the other.
    pub fn streams(self) -> bool {
        matches!(self, Self::SendStreamingMessage | Self::SubscribeToTask)
    }

    /// Whether it is about where news are sent.
    pub fn is_push(self) -> bool {
        matches!(
            self,
            Self::CreateTaskPushNotificationConfig
                | Self::GetTaskPushNotificationConfig
                | Self::ListTaskPushNotificationConfigs
                | Self::DeleteTaskPushNotificationConfig
        )
    }

    /// What the parameters look like.
    pub fn request(self, version: Version) -> &'static Shape {
        match (self, version) {
            (Self::SendMessage | Self::SendStreamingMessage, _) => &shape::SEND,
            (Self::GetTask | Self::CancelTask | Self::SubscribeToTask, _) => &shape::TASK_REF,
            (Self::ListTasks, _) => &shape::LIST,
            (Self::CreateTaskPushNotificationConfig, _) => &shape::PUSH_CREATE,
            (Self::ListTaskPushNotificationConfigs, Version::V0_3) => &shape::PUSH_REF_0_3,
            (Self::GetTaskPushNotificationConfig | Self::DeleteTaskPushNotificationConfig, Version::V0_3) => {
                &shape::PUSH_REF_0_3
            }
            (Self::ListTaskPushNotificationConfigs, Version::V1_0) => &shape::PUSH_LIST,
            (Self::GetTaskPushNotificationConfig | Self::DeleteTaskPushNotificationConfig, Version::V1_0) => {
                &shape::PUSH_REF
            }
            (Self::GetExtendedAgentCard, _) => &shape::EMPTY,
        }
    }

    /// What the answer looks like, or each one of a stream.
    pub fn answer(self) -> &'static Shape {
        match self {
            Self::SendMessage | Self::SendStreamingMessage | Self::SubscribeToTask => &shape::EVENT,
            Self::GetTask | Self::CancelTask => &shape::TASK,
            Self::ListTasks => &shape::TASKS,
            Self::CreateTaskPushNotificationConfig | Self::GetTaskPushNotificationConfig => &shape::PUSH,
            Self::ListTaskPushNotificationConfigs => &shape::PUSHES,
            Self::DeleteTaskPushNotificationConfig => &shape::EMPTY,
            Self::GetExtendedAgentCard => &shape::CARD,
        }
    }
}

impl Version {
    /// Of `A2A-Version`, which says `1.0` or a patch of it; absent means 0.3 (1.0 section 3.6).
    pub fn of_header(value: &str) -> Option<Self> {
        let mut parts = value.trim().split('.');
        match (parts.next()?, parts.next()) {
            ("0", Some("3")) => Some(Self::V0_3),
            ("1", _) => Some(Self::V1_0),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }
}

impl Binding {
    /// As cards name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonRpc => "JSONRPC",
            Self::Rest => "HTTP+JSON",
            Self::Grpc => "GRPC",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_in_every_binding_and_version() {
        for (name, known) in [
            ("SendMessage", Some((Method::SendMessage, Version::V1_0))),
            ("message/send", Some((Method::SendMessage, Version::V0_3))),
            ("tasks/resubscribe", Some((Method::SubscribeToTask, Version::V0_3))),
            ("SubscribeToTask", Some((Method::SubscribeToTask, Version::V1_0))),
            ("tasks/pushNotificationConfig/set", Some((Method::CreateTaskPushNotificationConfig, Version::V0_3))),
            ("agent/getAuthenticatedExtendedCard", Some((Method::GetExtendedAgentCard, Version::V0_3))),
            ("sendmessage", None),
            ("TaskSubscription", None),
            ("", None),
        ] {
            assert_eq!(Method::of_json_rpc(name), known, "{name}");
        }
        for (path, known) in [
            ("/lf.a2a.v1.A2AService/SubscribeToTask", Some((Method::SubscribeToTask, Version::V1_0))),
            ("/a2a.v1.A2AService/TaskSubscription", Some((Method::SubscribeToTask, Version::V0_3))),
            (
                "/a2a.v1.A2AService/ListTaskPushNotificationConfig",
                Some((Method::ListTaskPushNotificationConfigs, Version::V0_3)),
            ),
            ("/a2a.v1.A2AService/GetAgentCard", Some((Method::GetExtendedAgentCard, Version::V0_3))),
            ("/lf.a2a.v1.A2AService/GetAgentCard", None),
            ("/a2a.v1.A2AService/message/send", None),
            ("/x/lf.a2a.v1.A2AService/SendMessage", None),
        ] {
            assert_eq!(Method::of_grpc(path), known, "{path}");
        }
    }

    #[test]
    fn versions_are_read_without_their_patch() {
        for (text, version) in [
            ("1.0", Some(Version::V1_0)),
            (" 1.0.3 ", Some(Version::V1_0)),
            ("0.3", Some(Version::V0_3)),
            ("0.3.0", Some(Version::V0_3)),
            ("2.0", None),
            ("0.2", None),
            ("", None),
        ] {
            assert_eq!(Version::of_header(text), version, "{text}");
        }
    }
}

//! The REST binding: what paths say, and where in them ids are.

use std::ops::Range;

use super::method::{Method, Version};

/// A request of the REST binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: Method,
    /// Of the path: `/v1/` stands before everything in 0.3.
    pub version: Version,
    /// Where in the path the task's id is.
    pub task: Option<Range<usize>>,
}

/// Reads verb and path. Whatever stands before is the agent's own affair.
pub fn read(verb: &str, path: &str) -> Option<Asked> {
    let mut tail = path.rsplit('/');
    let last = tail.next()?;
    let [second, third, fourth] = [tail.next(), tail.next(), tail.next()];
    let asked = |method, before: Option<&str>, task: Option<&str>| {
        let version = if before == Some("v1") { Version::V0_3 } else { Version::V1_0 };
        Some(Asked { method, version, task: task.map(|it| place(path, it)) })
    };
    match (verb, last) {
        ("POST", "message:send") => return asked(Method::SendMessage, second, None),
        ("POST", "message:stream") => return asked(Method::SendStreamingMessage, second, None),
        ("GET", "extendedAgentCard") => return asked(Method::GetExtendedAgentCard, None, None),
        ("GET", "card") if second == Some("v1") => return asked(Method::GetExtendedAgentCard, second, None),
        ("GET", "tasks") => return asked(Method::ListTasks, second, None),
        _ => {}
    }
    if second == Some("tasks") && !last.is_empty() {
        let (id, verb_of_task) = last.rsplit_once(':').unwrap_or((last, ""));
        let method = match (verb, verb_of_task) {
            ("GET", "") => Method::GetTask,
            ("POST", "cancel") => Method::CancelTask,
            ("GET" | "POST", "subscribe") => Method::SubscribeToTask,
            _ => return None,
        };
        return asked(method, third, Some(id).filter(|it| !it.is_empty()));
    }
    if third == Some("tasks") && last == "pushNotificationConfigs" {
        let method = match verb {
            "POST" => Method::CreateTaskPushNotificationConfig,
            "GET" => Method::ListTaskPushNotificationConfigs,
            _ => return None,
        };
        return asked(method, fourth, second);
    }
    if fourth == Some("tasks") && second == Some("pushNotificationConfigs") {
        let method = match verb {
            "GET" => Method::GetTaskPushNotificationConfig,
            "DELETE" => Method::DeleteTaskPushNotificationConfig,
            _ => return None,
        };
        return asked(method, tail.next(), third);
    }
    None
}

/// Where a part of a text is in it.
fn place(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Where the value of a member of a query is.
pub fn query_value(query: &str, names: &[&str]) -> Option<Range<usize>> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        names.contains(&name).then(|| place(query, value))
    })
}

/// The id in a resource name of 0.3, `tasks/{id}` or longer.
pub fn task_of_name(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("tasks/")?;
    Some(rest.split_once('/').map_or(rest, |(id, _)| id))
}

/// The name with another id.
pub fn name_with(name: &str, id: &str) -> String {
    let rest = name.strip_prefix("tasks/").and_then(|it| it.split_once('/'));
    match rest {
        Some((_, below)) => format!("tasks/{id}/{below}"),
        None => format!("tasks/{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked_and_of_which_task() {
        for (verb, path, expected) in [
            ("POST", "/v1/message:send", Some((Method::SendMessage, Version::V0_3, ""))),
            ("POST", "/agents/echo/message:stream", Some((Method::SendStreamingMessage, Version::V1_0, ""))),
            ("GET", "/tasks/abc", Some((Method::GetTask, Version::V1_0, "abc"))),
            ("GET", "/x/v1/tasks/abc", Some((Method::GetTask, Version::V0_3, "abc"))),
            ("GET", "/tenant/tasks", Some((Method::ListTasks, Version::V1_0, ""))),
            ("POST", "/v1/tasks/a:cancel", Some((Method::CancelTask, Version::V0_3, "a"))),
            ("GET", "/tasks/a:subscribe", Some((Method::SubscribeToTask, Version::V1_0, "a"))),
            ("POST", "/tasks/a:subscribe", Some((Method::SubscribeToTask, Version::V1_0, "a"))),
            (
                "POST",
                "/tasks/a/pushNotificationConfigs",
                Some((Method::CreateTaskPushNotificationConfig, Version::V1_0, "a")),
            ),
            (
                "GET",
                "/v1/tasks/a/pushNotificationConfigs",
                Some((Method::ListTaskPushNotificationConfigs, Version::V0_3, "a")),
            ),
            (
                "DELETE",
                "/v1/tasks/a/pushNotificationConfigs/c",
                Some((Method::DeleteTaskPushNotificationConfig, Version::V0_3, "a")),
            ),
            ("GET", "/v1/card", Some((Method::GetExtendedAgentCard, Version::V0_3, ""))),
            ("GET", "/extendedAgentCard", Some((Method::GetExtendedAgentCard, Version::V1_0, ""))),
            ("GET", "/card", None),
            ("POST", "/", None),
            ("POST", "/tasks/a", None),
            ("GET", "/tasks/a:cancel", None),
            ("GET", "/tasks/", None),
            ("GET", "/message:send", None),
        ] {
            let asked = read(verb, path);
            let got =
                asked.as_ref().map(|it| (it.method, it.version, it.task.clone().map_or("", |range| &path[range])));
            assert_eq!(got, expected, "{verb} {path}");
        }
    }

    #[test]
    fn resource_names_keep_what_is_below_the_task() {
        assert_eq!(task_of_name("tasks/a/pushNotificationConfigs/b"), Some("a"));
        assert_eq!(task_of_name("tasks/a"), Some("a"));
        assert_eq!(task_of_name("agents/a"), None);
        assert_eq!(name_with("tasks/a/pushNotificationConfigs/b", "x"), "tasks/x/pushNotificationConfigs/b");
        assert_eq!(name_with("tasks/a", "x"), "tasks/x");
        let query = "pageSize=1&contextId=abc";
        assert_eq!(query_value(query, &["contextId"]).map(|it| &query[it]), Some("abc"));
        assert_eq!(query_value(query, &["taskId"]), None);
    }
}

//! Tasks of several servers side by side: their ids say whose they are, `<target>+<id>`, wherever they are written.

use super::{Edits, Naming};
use crate::json::{Kind, Raw, quoted};

/// The member of `_meta` that says which task something belongs to.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The parameter that names a task.
pub const KEY: &str = "taskId";

/// Whether a request is about one task.
pub fn names_one(method: &str) -> bool {
    matches!(method, "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel")
}

/// Whose a task is, and its id there.
pub fn split(id: &str) -> Option<(&str, &str)> {
    id.split_once('+')
}

/// Notes what of a result of this method, or of a notification's parameters, names tasks.
pub fn edit(naming: Naming, target: &str, (method, value): (&str, Raw<'_>), edits: &mut Edits) {
    if !naming.ids {
        return;
    }
    let is_task = value.get("resultType").and_then(Raw::as_str).as_deref() == Some("task");
    if is_task || method.starts_with("tasks/") || method.starts_with("notifications/tasks") {
        edit_id(target, value.get(KEY), edits);
    }
    if let Some(task) = value.get("task").filter(|it| it.kind() == Kind::Object) {
        edit_id(target, task.get(KEY), edits);
    }
    if method == "tasks/list" {
        value.get("tasks").map(Raw::elements).into_iter().flatten().for_each(|it| edit_id(target, it.get(KEY), edits));
    }
    let related = value.get("_meta").and_then(|it| it.get(RELATED));
    edit_id(target, related.and_then(|it| it.get(KEY)), edits);
}

fn edit_id(target: &str, id: Option<Raw<'_>>, edits: &mut Edits) {
    if let Some((raw, id)) = id.and_then(|it| Some((it, it.as_str()?))) {
        edits.replace(raw.range(), quoted(&format!("{target}+{id}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    const ALL: Naming = Naming { names: true, uris: true, ids: true };

    #[test]
    fn ids_of_tasks_say_whose_they_are_and_nothing_else_does() {
        for (method, text, want) in [
            ("tools/call", r#"{"resultType":"task","taskId":"7"}"#, r#"{"resultType":"task","taskId":"t+7"}"#),
            (
                "tools/call",
                r#"{"task":{"taskId":"7","status":"working"}}"#,
                r#"{"task":{"taskId":"t+7","status":"working"}}"#,
            ),
            ("tools/call", r#"{"taskId":"7","content":[]}"#, r#"{"taskId":"7","content":[]}"#),
            ("tasks/get", r#"{"taskId":"7"}"#, r#"{"taskId":"t+7"}"#),
            ("tasks/list", r#"{"tasks":[{"taskId":"a"},7]}"#, r#"{"tasks":[{"taskId":"t+a"},7]}"#),
            ("notifications/tasks/status", r#"{"taskId":"7"}"#, r#"{"taskId":"t+7"}"#),
            (
                "tasks/result",
                r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"7"}}}"#,
                r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t+7"}}}"#,
            ),
            ("tasks/get", r#"{"taskId":7}"#, r#"{"taskId":7}"#),
        ] {
            let value = parse(text.as_bytes()).unwrap();
            let mut edits = Edits::default();
            edit(ALL, "t", (method, value), &mut edits);
            assert_eq!(value.edited(edits), want);
            let mut edits = Edits::default();
            edit(Naming::PLAIN, "t", (method, value), &mut edits);
            assert!(edits.is_empty());
        }
        assert_eq!(split("t+a+b"), Some(("t", "a+b")));
        assert_eq!(split("7"), None);
    }
}

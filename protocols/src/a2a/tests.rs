//! Messages of both versions, in JSON and in Protocol Buffers, through the same description.

use std::convert::Infallible;

use proptest::prelude::*;

use super::message::Seen;
use super::walk::Walk;
use super::wire::{self, Wire};
use super::{Method, Place, Version};
use crate::json;

/// What stands in the place of a text.
fn marked(place: Place, text: &str) -> String {
    match place {
        Place::Task => format!("T<{text}>"),
        Place::Context => format!("C<{text}>"),
        Place::TaskName => super::rest::name_with(text, "N"),
        Place::PushUrl | Place::CardUrl => format!("U<{text}>"),
        Place::PageToken => format!("P<{text}>"),
        Place::PushToken | Place::PushCredentials => format!("S<{text}>"),
        Place::PushId | Place::PushScheme => text.to_owned(),
    }
}

fn walked(text: &str, shape: &'static super::Shape) -> (String, Seen) {
    let value = json::parse(text.as_bytes()).unwrap();
    let mut place = |place, text: &str| Ok::<_, Infallible>(Some(marked(place, text)));
    let mut walk = Walk::new(&mut place);
    walk.value(value, shape).unwrap();
    let (edits, seen) = (std::mem::take(&mut walk.edits), std::mem::take(&mut walk.seen));
    (value.edited(edits), seen)
}

#[test]
fn requests_of_both_versions_change_in_their_ids_alone() {
    for (method, text, expected) in [
        (
            "message/send",
            r#"{"message":{"kind":"message","contextId":"c","taskId":"t","referenceTaskIds":["a","b"],"parts":[{"data":{"taskId":"x"}}]},"configuration":{"pushNotificationConfig":{"url":"u","id":"i"}}}"#,
            r#"{"message":{"kind":"message","contextId":"C<c>","taskId":"T<t>","referenceTaskIds":["T<a>","T<b>"],"parts":[{"data":{"taskId":"x"}}]},"configuration":{"pushNotificationConfig":{"url":"U<u>","id":"i"}}}"#,
        ),
        (
            "SendMessage",
            r#"{"message":{"task_id":"t","contextId":""},"configuration":{"taskPushNotificationConfig":{"url":"u","taskId":"t"}}}"#,
            r#"{"message":{"task_id":"T<t>","contextId":""},"configuration":{"taskPushNotificationConfig":{"url":"U<u>","taskId":"T<t>"}}}"#,
        ),
        ("tasks/get", r#"{"id":"t","historyLength":1}"#, r#"{"id":"T<t>","historyLength":1}"#),
        ("ListTasks", r#"{"contextId":"c"}"#, r#"{"contextId":"C<c>"}"#),
        (
            "tasks/pushNotificationConfig/get",
            r#"{"id":"t","pushNotificationConfigId":"p"}"#,
            r#"{"id":"T<t>","pushNotificationConfigId":"p"}"#,
        ),
        ("GetTaskPushNotificationConfig", r#"{"id":"p","taskId":"t"}"#, r#"{"id":"p","taskId":"T<t>"}"#),
        (
            "tasks/pushNotificationConfig/set",
            r#"{"taskId":"t","pushNotificationConfig":{"url":"u"}}"#,
            r#"{"taskId":"T<t>","pushNotificationConfig":{"url":"U<u>"}}"#,
        ),
        (
            "CreateTaskPushNotificationConfig",
            r#"{"taskId":"t","url":"u","id":"p"}"#,
            r#"{"taskId":"T<t>","url":"U<u>","id":"p"}"#,
        ),
        ("tasks/get", r#"{"id":"t","\u0069d":"s"}"#, r#"{"id":"T<t>","\u0069d":"T<s>"}"#),
        ("tasks/get", r#"{"id":7}"#, r#"{"id":7}"#),
        ("tasks/get", "[]", "[]"),
    ] {
        let (method, version) = Method::of_json_rpc(method).unwrap();
        assert_eq!(walked(text, method.request(version)).0, expected);
    }
}

#[test]
fn answers_say_what_they_are_and_whose() {
    let seen = |kind, task: &str, context: &str, state| {
        let text = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        (Some(kind), text(task), text(context), state)
    };
    for (method, text, expected, facts) in [
        (
            "message/send",
            r#"{"history":[{"taskId":"other","contextId":"d","messageId":"m"}],"id":"t","contextId":"c","kind":"task","status":{"state":"completed","message":{"taskId":"t"}}}"#,
            r#"{"history":[{"taskId":"T<other>","contextId":"C<d>","messageId":"m"}],"id":"T<t>","contextId":"C<c>","kind":"task","status":{"state":"completed","message":{"taskId":"T<t>"}}}"#,
            seen("task", "t", "c", Some("completed")),
        ),
        (
            "SendMessage",
            r#"{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_INPUT_REQUIRED"}}}"#,
            r#"{"task":{"id":"T<t>","contextId":"C<c>","status":{"state":"TASK_STATE_INPUT_REQUIRED"}}}"#,
            seen("task", "t", "c", Some("input-required")),
        ),
        (
            "message/stream",
            r#"{"kind":"status-update","taskId":"t","contextId":"c","final":true,"status":{"state":"failed"}}"#,
            r#"{"kind":"status-update","taskId":"T<t>","contextId":"C<c>","final":true,"status":{"state":"failed"}}"#,
            seen("status-update", "t", "c", Some("failed")),
        ),
        (
            "SendStreamingMessage",
            r#"{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a"}}}"#,
            r#"{"artifactUpdate":{"taskId":"T<t>","contextId":"C<c>","artifact":{"artifactId":"a"}}}"#,
            seen("artifact-update", "t", "c", None),
        ),
        (
            "message/send",
            r#"{"kind":"message","messageId":"m","contextId":"c"}"#,
            r#"{"kind":"message","messageId":"m","contextId":"C<c>"}"#,
            seen("message", "", "c", None),
        ),
    ] {
        let (method, _) = Method::of_json_rpc(method).unwrap();
        let (changed, seen) = walked(text, method.answer());
        assert_eq!(changed, expected);
        assert_eq!((seen.kind, seen.task, seen.context, seen.state), facts, "{text}");
    }
    let (changed, _) = walked(r#"{"tasks":[{"id":"a"},{"id":"b"}]}"#, Method::ListTasks.answer());
    assert_eq!(changed, r#"{"tasks":[{"id":"T<a>"},{"id":"T<b>"}]}"#);
    let list = r#"[{"taskId":"t","pushNotificationConfig":{"id":"p"}}]"#;
    let (changed, _) = walked(list, Method::ListTaskPushNotificationConfigs.answer());
    assert_eq!(changed, r#"[{"taskId":"T<t>","pushNotificationConfig":{"id":"p"}}]"#);
}

#[test]
fn the_skill_is_read_where_metadata_name_it() {
    for (text, skill) in [
        (r#"{"message":{"metadata":{"skillId":"s"}}}"#, Some("s")),
        (r#"{"message":{},"metadata":{"skill_id":"s"}}"#, Some("s")),
        (r#"{"message":{"metadata":{"skill":7}}}"#, None),
        (r#"{"message":{"metadata":[]}}"#, None),
    ] {
        let (_, seen) = walked(text, Method::SendMessage.request(Version::V1_0));
        assert_eq!(seen.skill.as_deref(), skill, "{text}");
    }
}

#[test]
fn the_first_refusal_ends_the_walk() {
    let value = json::parse(br#"{"id":"x"}"#).unwrap();
    let mut place = |_, text: &str| Err::<Option<String>, _>(text.to_owned());
    let refused = Walk::new(&mut place).value(value, Method::GetTask.request(Version::V1_0));
    assert_eq!(refused, Err("x".to_owned()));
}

/// A field with a length.
fn field(number: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = Vec::new();
    wire::push_varint(u64::from(number) << 3 | 2, &mut out);
    wire::push_varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

fn wired(bytes: &[u8], shape: &'static super::Shape, version: Version) -> Result<(Vec<u8>, Seen), ()> {
    let mut place = |place, text: &str| Ok::<_, Infallible>(Some(marked(place, text)));
    let mut wire = Wire::new(version, &mut place);
    let out = wire.message(bytes, shape).map_err(|_| ())?;
    Ok((out, wire.seen))
}

#[test]
fn messages_of_protocol_buffers_change_in_their_ids_alone() {
    // Unknown fields of every kind stay where they are.
    let odd =
        [vec![0x78, 0x96, 0x01], vec![0x79, 1, 2, 3, 4, 5, 6, 7, 8], vec![0x7d, 1, 2, 3, 4], field(14, "?")].concat();
    let task = |id: &str, context: &str| {
        let status = [vec![0x08, 6], field(2, field(3, id))].concat();
        [field(1, id), field(2, context), field(3, status), odd.clone(), field(5, field(2, context))].concat()
    };
    let event = field(1, task("t", "c"));
    let (out, seen) = wired(&event, Method::SendStreamingMessage.answer(), Version::V1_0).unwrap();
    assert_eq!(seen.kind, Some("task"));
    assert_eq!(
        (seen.task.as_deref(), seen.context.as_deref(), seen.state),
        (Some("t"), Some("c"), Some("input-required"))
    );
    let status = [vec![0x08, 6], field(2, field(3, "T<t>"))].concat();
    let expected =
        [field(1, "T<t>"), field(2, "C<c>"), field(3, status), odd.clone(), field(5, field(2, "C<c>"))].concat();
    assert_eq!(out, field(1, expected));

    // The same number is another thing in each version.
    let (new, _) = wired(&field(2, field(3, "t")), Method::SendMessage.request(Version::V1_0), Version::V1_0).unwrap();
    assert_eq!(new, field(2, field(3, "T<t>")));
    let (old, _) = wired(&field(1, field(3, "t")), Method::SendMessage.request(Version::V0_3), Version::V0_3).unwrap();
    assert_eq!(old, field(1, field(3, "T<t>")));
    let (tenant, _) = wired(&field(1, "tenant"), Method::GetTask.request(Version::V1_0), Version::V1_0).unwrap();
    assert_eq!(tenant, field(1, "tenant"));
    let (name, seen) = wired(&field(1, "tasks/t"), Method::GetTask.request(Version::V0_3), Version::V0_3).unwrap();
    assert_eq!((name, seen.task.as_deref()), (field(1, "tasks/N"), Some("t")));

    let entry = [field(1, "skillId"), field(2, field(3, "sum"))].concat();
    let send = field(2, field(6, field(1, entry)));
    let (_, seen) = wired(&send, Method::SendMessage.request(Version::V1_0), Version::V1_0).unwrap();
    assert_eq!(seen.skill.as_deref(), Some("sum"));
}

#[test]
fn what_is_no_message_is_refused() {
    let deep = (0..40).fold(Vec::new(), |inner, _| field(2, inner));
    for bytes in
        [&[0x0a, 5, b'a'][..], &[0x0a], &[0xff; 11], &[0x00, 0x01], &[0x0b], &[0x0a, 2, 0xff, 0xfe], &[0x09, 1]]
    {
        assert!(wired(bytes, Method::GetTask.answer(), Version::V1_0).is_err(), "{bytes:?}");
    }
    // What is not described is not looked into, however deep.
    assert!(wired(&deep, Method::GetTask.answer(), Version::V1_0).is_ok());
}

#[test]
fn cards_in_protocol_buffers_name_the_gateway() {
    let relocation = super::card::Relocation::new(true, "gw", "/", "/");
    let card =
        [field(1, "name"), field(3, [field(1, "http://a/x"), field(2, "JSONRPC")].concat()), field(13, "sig")].concat();
    let moved = super::card::relocated_message(&card, Version::V1_0, &relocation).unwrap();
    assert_eq!(moved, [field(1, "name"), field(3, [field(1, "https://gw/x"), field(2, "JSONRPC")].concat())].concat());
    let old = [field(3, "http://a"), field(15, field(1, "a:1")), field(17, "sig")].concat();
    let moved = super::card::relocated_message(&old, Version::V0_3, &relocation).unwrap();
    assert_eq!(moved, [field(3, "https://gw"), field(15, field(1, "gw:443"))].concat());
    assert!(super::card::relocated_message(&field(1, "name"), Version::V1_0, &relocation).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for version in [Version::V0_3, Version::V1_0] {
            for method in [Method::SendMessage, Method::GetTask, Method::CreateTaskPushNotificationConfig] {
                let _ = wired(&bytes, method.request(version), version);
                let _ = wired(&bytes, method.answer(), version);
            }
        }
        let _ = super::rest::read("GET", &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_message_without_ids_stays_as_it_is(text in "\\PC{0,30}", number in 20_u8..31) {
        // Numbers up to 15 fit one byte; those above have two.
        let mut bytes = Vec::new();
        wire::push_varint(u64::from(number) << 3 | 2, &mut bytes);
        wire::push_varint(text.len() as u64, &mut bytes);
        bytes.extend_from_slice(text.as_bytes());
        let (out, _) = wired(&bytes, Method::GetTask.answer(), Version::V1_0).unwrap();
        prop_assert_eq!(out, bytes);
    }
}

//! What a message is about, as expressions see it (`mcp`): put together only when one reads it, and most calls have none
//! that does.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use filters::expr::Json;
use ir::Text;
use protocols::mcp::definition::hex;
use protocols::mcp::session::Name;
use serde_json::Value;

use super::Target;
use super::rules::{Noun, Subject, object};

/// One message.
pub struct About {
    method: Cow<'static, str>,
    /// The public part of the session's id.
    session: Option<Name>,
    subject: Option<(Text, Subject)>,
    /// JSON, a part of the message's body.
    arguments: Option<Bytes>,
    object: OnceLock<Json>,
}

impl About {
    pub(super) fn of(method: Cow<'static, str>, session: Option<Name>) -> Self {
        Self { method, session, subject: None, arguments: None, object: OnceLock::new() }
    }

    /// It is about this, with these arguments (JSON).
    pub(super) fn of_subject(&mut self, target: &Target, subject: &Subject, arguments: Option<Bytes>) {
        self.subject = Some((target.name.clone(), subject.clone()));
        self.arguments = arguments;
        self.object = OnceLock::new();
    }

    pub(super) fn is_tool(&self) -> bool {
        self.subject.as_ref().is_some_and(|(_, it)| it.noun == Noun::Tool)
    }

    /// The `mcp` of expressions.
    pub fn object(&self) -> &Json {
        self.object.get_or_init(|| self.build())
    }

    /// The same, for noting what became of it.
    pub(super) fn object_mut(&mut self) -> Option<&mut Json> {
        self.object();
        self.object.get_mut()
    }

    fn build(&self) -> Json {
        let mut object = match &self.subject {
            Some((target, subject)) => {
                let arguments = self.arguments.as_deref().and_then(|it| std::str::from_utf8(it).ok());
                object(&self.method, target, subject, arguments)
            }
            None => Json::from_iter([("methodName".to_owned(), Value::from(&*self.method))]),
        };
        if let Some(name) = &self.session {
            object.insert("sessionId".to_owned(), Value::from(hex(name)));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_built_when_it_is_read() {
        let mut about = About::of("tools/call".into(), Some([0xab; 12]));
        assert_eq!(
            Value::from(about.object().clone()).to_string(),
            r#"{"methodName":"tools/call","sessionId":"abababababababababababab"}"#
        );
        assert!(!about.is_tool());
        about.subject = Some(("t".into(), Subject { noun: Noun::Tool, name: "echo".into() }));
        about.arguments = Some(Bytes::from_static(br#"{"n":1}"#));
        about.object = OnceLock::new();
        assert!(about.is_tool() && about.object.get().is_none());
        let object = Value::from(about.object().clone());
        assert_eq!(object["tool"], serde_json::json!({"target": "t", "name": "echo", "arguments": {"n": 1}}));
        assert_eq!(object["sessionId"], "ab".repeat(12));
        about.object_mut().unwrap().insert("error".to_owned(), Value::Null);
        assert!(about.object().contains_key("error"));
    }
}

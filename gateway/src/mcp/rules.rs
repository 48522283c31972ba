//! Which tools, prompts and resources somebody may use (`mcpAuthorization`), and what expressions see of a message.

use filters::authorization::{self, Denial, Verdicts, decide};
use filters::exchange::{Decision, Mode};
use filters::expr::Json;
use filters::{Attachment, Effective, Kind, Policy};
use pingora_proxy::Session;
use protocols::mcp::List;
use serde_json::Value;

use super::about::About;
use crate::proxy::{Ctx, inputs};

/// Largest arguments that expressions get to see.
const ARGUMENTS_BYTES_MAX: usize = 1 << 20;

/// What a message, or an item of a list, is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) noun: Noun,
    /// As the server has it.
    pub(super) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noun {
    Tool,
    Prompt,
    Resource,
    Task,
}

impl Noun {
    pub(super) fn of(list: List) -> Self {
        match list {
            List::Tools => Self::Tool,
            List::Prompts => Self::Prompt,
            List::Resources | List::Templates => Self::Resource,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Task => "task",
        }
    }
}

/// The `mcp` of expressions.
pub(super) fn object(method: &str, target: &str, subject: &Subject, arguments: Option<&str>) -> Json {
    let mut named = Json::new();
    named.insert("target".to_owned(), Value::from(target));
    named.insert("name".to_owned(), Value::from(subject.name.as_str()));
    let arguments = arguments.filter(|it| it.len() <= ARGUMENTS_BYTES_MAX);
    if let Some(arguments) = arguments.and_then(|it| serde_json::from_str::<Value>(it).ok()) {
        named.insert("arguments".to_owned(), arguments);
    }
    let mut object = Json::new();
    object.insert("methodName".to_owned(), Value::from(method));
    object.insert(subject.noun.as_str().to_owned(), Value::Object(named));
    object
}

/// All rules that hold for an exchange.
pub(super) struct Rules(Vec<std::sync::Arc<Attachment>>);

impl Rules {
    pub(super) fn of(ctx: &Ctx) -> Self {
        let levels = [ctx.effective(), ctx.backend().map(|it| &it.effective)];
        let of = |level: &Effective| -> Vec<_> {
            level.filters().iter().filter(|it| it.policy.kind() == Kind::McpAuthorization).cloned().collect()
        };
        Self(levels.into_iter().flatten().flat_map(|it| of(it)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn policies(&self) -> impl Iterator<Item = &authorization::Policy> {
        self.0.iter().filter_map(|it| match &it.policy {
            Policy::McpAuthorization(policy) => Some(&policy.0),
            _ => None,
        })
    }

    fn judge(&self, session: &Session, ctx: &Ctx, mcp: &Json) -> Verdicts {
        let mut inputs = inputs::request(session.req_header(), ctx);
        inputs.objects.mcp = Some(mcp);
        decide(self.policies(), &inputs)
    }

    /// Whether an item may be shown.
    pub(super) fn shows(&self, session: &Session, ctx: &Ctx, mcp: &Json) -> bool {
        self.0.is_empty() || self.judge(session, ctx, mcp).enforced.is_none()
    }

    /// Whether a call may go on; what was decided is for the log.
    pub(super) fn admits(&self, session: &Session, ctx: &mut Ctx, about: &About) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let verdicts = self.judge(session, ctx, about.object());
        let note = |denial: Denial, mode| Decision {
            kind: Kind::McpAuthorization,
            rule: denial.rule,
            mode,
            policy: self.0.get(denial.policy).map(|it| it.key.clone()),
        };
        let enforced = verdicts.enforced.map(|it| note(it, Mode::Enforce));
        let denied = enforced.is_some();
        ctx.facts.decisions.extend(enforced.or(verdicts.shadow.map(|it| note(it, Mode::Shadow))));
        !denied
    }
}

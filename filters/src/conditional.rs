//! `conditional`: one of several policies of a kind, by what the request is like.
//!
//! ```yaml
//! localRateLimit:
//!   conditional:
//!   - condition: has(jwt.sub)
//!     maxTokens: 1000
//!     tokensPerFill: 1000
//!     fillInterval: 1m
//!     key: jwt.sub
//!   - maxTokens: 10
//!     tokensPerFill: 10
//!     fillInterval: 1m
//!     key: source.address
//! ```
//!
//! **Which.** `directResponse`, `localRateLimit`, `transformations`, `extAuthz` and `remoteRateLimit` take `conditional` in place of their terms: a
//! list of entries, each with the terms of one such policy (for `localRateLimit` of one limit) and a `condition`, a CEL
//! expression over the request. The first entry whose condition holds applies, alone. An entry without a condition
//! always does; it can only be the last. Where none holds, the policy does nothing.
//!
//! **When.** Conditions are asked when the turn of the policy has come, in its place in the order: they see what those
//! before it have found out and changed. What was decided stays decided: a response is transformed by the entry whose
//! condition held for its request. A response to a request that was answered before the policy's turn is decided by the
//! request as it is then.
//!
//! **Errors.** A condition that fails, for a claim that is not there say, does not hold. End with an entry without a
//! condition where something must apply to everybody.
//!
//! **Bodies.** A condition that reads `request.body` has it read first; so have the terms of the entry that applies,
//! and of no other.
//!
//! **Places.** As of the policy itself, but not at backends.
//!
//! **Merging.** The list as a whole is one policy of its kind: a more specific one, conditional or not, replaces it
//! whole, and `inheritance: override` locks the kind. Entries of several levels do not mix.
//!
//! **State.** Buckets of an entry belong to its condition: they are kept when entries move, and not when a condition
//! changes.
//!
//! **Limits.** 1 to 64 entries. A condition that stands there twice is refused: the second is never reached.
//!
//! **Where we differ.** Duplicate conditions are refused.

use std::borrow::Cow;
use std::fmt;

use ir::PolicyKey;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expr::{Expression, Inputs, Needs, Vocabulary};
use crate::keep::Keep;
use crate::{Facts, Kind, Scope};

/// Most entries.
const ENTRIES_MAX: usize = 64;

/// The key of the list.
const KEY: &str = "conditional";

/// The terms of a policy (`P`), or entries of which the first that fits applies (terms `E`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, bound(deserialize = "P: DeserializeOwned, E: DeserializeOwned"))]
#[schemars(rename = "{P}OrConditional")]
pub enum Config<P, E = P> {
    /// Entries of which the first whose condition holds applies.
    Conditional(ListConfig<E>),
    /// The terms, for every request.
    Plain(P),
}

/// Entries of which the first whose condition holds applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "E: DeserializeOwned"))]
#[schemars(rename = "Conditional{E}List")]
pub struct ListConfig<E> {
    /// 1 to 64 entries; only the last may be without a condition.
    pub conditional: Vec<EntryConfig<E>>,
}

/// Terms beside their condition.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryConfig<E> {
    pub condition: Option<String>,
    pub terms: E,
}

impl<P, E> Config<P, E> {
    /// Lowers the terms with `plain`, or each entry with `entry`.
    pub fn lower(
        self,
        kind: Kind,
        scope: &mut Scope<'_>,
        plain: impl FnOnce(P, &mut Scope<'_>) -> Option<crate::Policy>,
        entry: impl Fn(E, &mut Scope<'_>) -> Option<crate::Policy>,
    ) -> Option<crate::Policy> {
        match self {
            Self::Plain(terms) => plain(terms, scope),
            Self::Conditional(ListConfig { conditional }) => {
                let written = conditional.into_iter().map(|EntryConfig { condition, terms }| (condition, terms));
                Policy::lower(kind, written.collect(), scope, entry).map(crate::Policy::Conditional)
            }
        }
    }
}

/// Policies of one kind with their conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    kind: Kind,
    entries: Vec<Entry>,
}

/// A policy and what must hold for it to apply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Absent: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expression>,
    #[serde(flatten)]
    pub policy: crate::Policy,
}

/// Which entries apply to a request, by the identity of their policy.
#[derive(Clone, Debug, Default)]
pub struct Chosen(Vec<(usize, Option<usize>)>);

impl Policy {
    /// From entries in any form of configuration; reports all problems.
    pub fn lower<E>(
        kind: Kind,
        written: Vec<(Option<String>, E)>,
        scope: &mut Scope<'_>,
        lower: impl Fn(E, &mut Scope<'_>) -> Option<crate::Policy>,
    ) -> Option<Self> {
        let before = scope.problems.len();
        let count = written.len();
        if count == 0 {
            scope.problem_at(KEY, "write at least one entry");
        }
        if count > ENTRIES_MAX {
            scope.problem_at(KEY, format!("more than {ENTRIES_MAX} entries"));
            return None;
        }
        let vocabulary = Vocabulary::rule(scope.site);
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for (position, (condition, terms)) in written.into_iter().enumerate() {
            scope.at(KEY, |scope| {
                scope.at(format!("[{position}]"), |scope| {
                    if condition.is_none() && position + 1 < count {
                        scope.problem(
                            "without a condition it always applies, and those behind it never: move it to the end",
                        );
                    }
                    let always = condition.is_none();
                    let condition =
                        condition.and_then(|text| scope.check("condition", Expression::parse(&text, &vocabulary)));
                    if entries.iter().any(|it| it.condition.is_some() && it.condition == condition) {
                        scope.problem_at("condition", "never reached: the same condition stands above");
                    }
                    let policy = lower(terms, scope).filter(|_| always || condition.is_some());
                    entries.extend(policy.map(|policy| Entry { condition, policy }));
                });
            });
        }
        (scope.problems.len() == before).then_some(Self { kind, entries })
    }

    /// The kind of its entries.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// In the order in which they are tried.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What its conditions read.
    pub fn needs(&self) -> Needs {
        let conditions = self.entries.iter().filter_map(|it| it.condition.as_ref());
        conditions.fold(Needs::NONE, |needs, it| needs | it.needs())
    }

    /// Whether any entry is such a policy.
    pub fn any(&self, is: impl Fn(&crate::Policy) -> bool) -> bool {
        self.entries.iter().any(|it| is(&it.policy))
    }

    /// The policy that applies to a request, which is decided once.
    pub fn choose(&self, facts: &mut Facts, inputs: impl FnOnce(&Facts) -> Option<usize>) -> Option<&crate::Policy> {
        let at = match facts.chosen.of(self) {
            Some(at) => at,
            None => {
                let at = inputs(facts);
                facts.chosen.0.push((self.identity(), at));
                at
            }
        };
        self.entries.get(at?).map(|it| &it.policy)
    }

    /// The first entry whose condition holds.
    pub fn first(&self, inputs: &Inputs<'_>) -> Option<usize> {
        let holds = |it: &Entry| it.condition.as_ref().is_none_or(|it| it.holds(inputs) == Ok(true));
        self.entries.iter().position(holds)
    }

    /// The policy that was found to apply to a request; `None` where none does, or it is not known yet.
    pub fn chosen(&self, facts: &Facts) -> Option<&crate::Policy> {
        self.entries.get(facts.chosen.of(self)??).map(|it| &it.policy)
    }

    /// Whether it is decided which entry applies.
    pub fn is_decided(&self, facts: &Facts) -> bool {
        facts.chosen.of(self).is_some()
    }

    /// The policy comes into force: each entry has a state of its own.
    pub fn bind(&self, key: &PolicyKey, keep: &Keep) {
        for Entry { condition, policy } in &self.entries {
            let condition = condition.as_ref().map_or("", Expression::text);
            policy.bind(&PolicyKey::new(format!("{key}[{condition}]")), keep);
        }
    }

    /// Policies do not move while a plan holds them, and a request holds its plan.
    fn identity(&self) -> usize {
        self.entries.as_ptr().addr()
    }
}

impl Chosen {
    fn of(&self, policy: &Policy) -> Option<Option<usize>> {
        let identity = policy.identity();
        self.0.iter().find(|it| it.0 == identity).map(|it| it.1)
    }
}

/// As the key of its kind holds it: `{"localRateLimit": {"conditional": [...]}}`.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct List<'a> {
            conditional: &'a [Entry],
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.kind.key(), &List { conditional: &self.entries })?;
        map.end()
    }
}

impl<E: Serialize> Serialize for EntryConfig<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a, E> {
            #[serde(skip_serializing_if = "Option::is_none")]
            condition: &'a Option<String>,
            #[serde(flatten)]
            terms: &'a E,
        }
        Flat { condition: &self.condition, terms: &self.terms }.serialize(serializer)
    }
}

/// Keys that are no condition are those of the terms, which refuse what they do not know.
impl<'de, E: DeserializeOwned> Deserialize<'de> for EntryConfig<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut map = serde_json::Map::deserialize(deserializer)?;
        let condition = match map.remove("condition") {
            Some(condition) => serde_json::from_value(condition).map_err(D::Error::custom)?,
            None => None,
        };
        let terms = serde_json::from_value(serde_json::Value::Object(map)).map_err(D::Error::custom)?;
        Ok(Self { condition, terms })
    }
}

impl<E: JsonSchema> JsonSchema for EntryConfig<E> {
    fn schema_name() -> Cow<'static, str> {
        format!("Conditional{}", E::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = E::json_schema(generator);
        let properties = schema.ensure_object().entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(properties) = properties.as_object_mut() {
            let condition = serde_json::json!({
                "type": ["string", "null"],
                "description": "CEL over the request: the entry applies where it is the first that holds. Absent: always."
            });
            properties.insert("condition".to_owned(), condition);
        }
        schema
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries of {}", self.entries.len(), self.kind.key())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{exchange, refuses, request, try_lower};
    use crate::{Verdict, direct_response};

    type Answers = Config<direct_response::Config>;

    fn lower(config: Answers, scope: &mut Scope<'_>) -> Option<crate::Policy> {
        let one =
            |it: direct_response::Config, scope: &mut Scope<'_>| it.lower(scope).map(crate::Policy::DirectResponse);
        config.lower(Kind::DirectResponse, scope, one, one)
    }

    fn policy(config: serde_json::Value) -> Policy {
        let (policy, problems) = try_lower(config, lower);
        assert_eq!(problems, Vec::<String>::new());
        let Some(crate::Policy::Conditional(policy)) = policy else { panic!("it is conditional") };
        policy
    }

    fn three() -> Policy {
        policy(json!({"conditional": [
            {"condition": "request.headers['x-a'] == '1'", "status": 201},
            {"condition": "request.path == '/b'", "status": 202},
            {"status": 203},
        ]}))
    }

    fn status(policy: &Policy, path: &str, header: Option<&str>) -> Option<u16> {
        let (mut head, mut facts) = request("GET", path);
        if let Some(value) = header {
            head.insert_header("x-a", value).unwrap();
        }
        let chosen = policy.choose(&mut facts, |facts| policy.first(&facts.inputs(&head)));
        let Some(crate::Policy::DirectResponse(answer)) = chosen else { return None };
        match answer.on_request(&mut exchange(&mut head, &mut facts)) {
            Verdict::Reply(reply) => Some(reply.status),
            Verdict::Continue => None,
        }
    }

    #[test]
    fn the_first_entry_that_holds_applies_and_one_that_fails_does_not_hold() {
        let policy = three();
        assert_eq!(policy.kind(), Kind::DirectResponse);
        assert_eq!(status(&policy, "/b", Some("1")), Some(201));
        assert_eq!(status(&policy, "/b", None), Some(202), "the header is not there");
        assert_eq!(status(&policy, "/c", None), Some(203));
        let none = self::policy(json!({"conditional": [{"condition": "request.path == '/b'", "status": 202}]}));
        assert_eq!(status(&none, "/c", None), None);
    }

    #[test]
    fn what_was_decided_stays_decided() {
        let policy = three();
        let (head, mut facts) = request("GET", "/b");
        assert!(!policy.is_decided(&facts) && policy.chosen(&facts).is_none());
        let first = policy.choose(&mut facts, |facts| policy.first(&facts.inputs(&head))).cloned();
        let again = policy.choose(&mut facts, |_| panic!("it is known")).cloned();
        assert_eq!((first.as_ref(), policy.chosen(&facts)), (again.as_ref(), first.as_ref()));
    }

    #[test]
    fn it_shows_as_it_is_written() {
        let shown = serde_json::to_value(crate::Policy::Conditional(three())).unwrap();
        let entries = &shown["directResponse"]["conditional"];
        assert_eq!(entries[1]["condition"], "request.path == '/b'");
        assert_eq!(entries[1]["directResponse"]["status"], 202);
        let config: Answers =
            serde_json::from_value(json!({"conditional": [{"condition": "true", "status": 1}]})).unwrap();
        let written = json!({"condition": "true", "status": 1, "body": null, "bodyExpression": null, "headers": {}});
        assert_eq!(serde_json::to_value(config).unwrap(), json!({ "conditional": [written] }));
        assert!(serde_json::from_value::<Answers>(json!({"conditional": [{"status": 1, "boddy": ""}]})).is_err());
    }

    #[test]
    fn entries_that_never_apply_are_refused() {
        let entry = json!({"condition": "request.path == '/'", "status": 200});
        refuses(
            [
                (json!({"conditional": []}), "policy.conditional: write at least one"),
                (json!({"conditional": [{"status": 200}, entry]}), "policy.conditional[0]: without a condition"),
                (json!({"conditional": [entry, entry]}), "policy.conditional[1].condition: never reached"),
                (json!({"conditional": vec![&entry; 65]}), "policy.conditional: more than 64"),
                (
                    json!({"conditional": [{"condition": "request.pth == '/'", "status": 200}]}),
                    "policy.conditional[0].condition: ",
                ),
                (
                    json!({"conditional": [{"condition": "response.code == 1", "status": 200}]}),
                    "`response.code` does not exist for a request (at 1:9)",
                ),
                (json!({"conditional": [{"condition": "true", "status": 99}]}), "policy.conditional[0].status: 99"),
            ],
            lower,
        );
    }
}

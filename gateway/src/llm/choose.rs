//! Which providers may answer a request, and in which order they are asked.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use filters::expr::Expression;
use ir::{AiCase, AiRouting, AiShare, Text};
use protocols::llm::Operation;

use super::{Ai, Provider};

/// Providers that are asked for one request, one after the other.
const CANDIDATES_MAX: usize = 16;

/// The code of a request that no provider understands.
pub(super) const UNSUPPORTED: &str = "unsupported_conversion";

/// A provider by its position, and the model that it is asked for where that is not the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) provider: usize,
    pub(crate) model: Option<Text>,
    /// The body as its own terms have it, where that is known already.
    pub(crate) body: Option<Bytes>,
}

/// Why there is nobody to ask: for the client, with a code for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nobody {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Nobody {
    pub(crate) fn new(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }
}

/// Which of its models a request gets.
pub(crate) enum Routing {
    Weighted(Vec<AiShare>),
    Failover(Vec<AiShare>),
    /// Conditions with their models; nothing for whatever is left.
    Conditional(Vec<(Option<Expression>, Text)>),
}

impl Routing {
    pub(super) fn new(terms: &AiRouting) -> Self {
        // Lowering has judged them: what is no condition holds of nothing.
        let case = |AiCase { when, model }: &AiCase| match when {
            None => Some((None, model.clone())),
            Some(when) => Some((Some(filters::ai::condition(when).ok()?), model.clone())),
        };
        match terms {
            AiRouting::Weighted(shares) => Self::Weighted(shares.clone()),
            AiRouting::Failover(shares) => Self::Failover(shares.clone()),
            AiRouting::Conditional(cases) => Self::Conditional(cases.iter().filter_map(case).collect()),
        }
    }
}

/// What decides between providers that may all answer.
pub(crate) struct Draw<'a> {
    /// Uniform over all of `u64`: another one for each request, or the same for all of a session.
    pub(crate) random: u64,
    /// Whether a condition holds of the request.
    pub(crate) holds: &'a dyn Fn(&Expression) -> bool,
}

/// The providers for this, the first to be asked first.
pub(crate) fn candidates(
    ai: &Ai,
    operation: Operation,
    model: Option<&str>,
    draw: &Draw<'_>,
) -> Result<Vec<Candidate>, Nobody> {
    let mut found = match model {
        _ if !ai.routes_models => ranked(ai, None, false, draw),
        None => return Err(Nobody::new(400, "missing_model", "the request names no model")),
        Some(model) => match ai.virtual_models.iter().find(|(name, _)| **name == *model) {
            Some((_, routing)) => of_virtual(ai, routing, draw),
            None => ranked(ai, Some(model), false, draw),
        },
    };
    if found.is_empty() {
        let model = model.unwrap_or_default();
        return Err(Nobody::new(404, "model_not_found", format!("there is no model `{model}`")));
    }
    let can = |it: &Provider| it.speaks(operation) || it.bridge(operation).is_some();
    found.retain(|it| ai.providers.get(it.provider).is_some_and(can));
    if found.is_empty() {
        let text =
            format!("no provider of this model accepts `{}`, or what that could be translated to", operation.key());
        return Err(Nobody::new(400, UNSUPPORTED, text));
    }
    if found.len() > 1 {
        let now = Instant::now();
        let rests = |it: &Candidate| {
            let model = it.model.as_deref().or(model).unwrap_or_default();
            ai.providers.get(it.provider).is_some_and(|it| it.cooling.rests(model, now))
        };
        // Asked last, in the order that they have.
        found.sort_by_cached_key(rests);
    }
    found.truncate(CANDIDATES_MAX);
    Ok(found)
}

/// Which providers serve a model, found without a look at each of them.
#[derive(Default)]
pub(crate) struct Index {
    /// By the whole name, in their order.
    exact: HashMap<String, Vec<usize>, foldhash::fast::RandomState>,
    /// By a pattern, the most specific first and those of one kind in their order.
    open: Vec<usize>,
}

impl Index {
    pub(super) fn new(providers: &[Provider]) -> Self {
        let mut index = Self::default();
        for (position, it) in providers.iter().enumerate() {
            match it.serves.exact() {
                Some(name) => index.exact.entry(name.to_owned()).or_default().push(position),
                None => index.open.push(position),
            }
        }
        let specificity = |it: &usize| providers.get(*it).map(|it| it.serves.specificity());
        index.open.sort_by_key(|it| std::cmp::Reverse(specificity(it)));
        index
    }
}

/// The providers that serve a model by the most specific of their patterns, by priority, those of one shuffled.
fn ranked(ai: &Ai, model: Option<&str>, also_internal: bool, draw: &Draw<'_>) -> Vec<Candidate> {
    let holds = |it: &Provider| it.when.as_ref().is_none_or(|it| it.as_ref().is_some_and(draw.holds));
    let of = |position: usize| {
        let provider = ai.providers.get(position).filter(|it| (also_internal || !it.internal) && holds(it))?;
        Some((position, provider))
    };
    let mut found: Vec<(usize, &Provider)> = match model {
        None => (0..ai.providers.len()).filter_map(of).collect(),
        Some(model) => ai.index.exact.get(model).into_iter().flatten().copied().filter_map(of).collect(),
    };
    if let Some(model) = model.filter(|_| found.is_empty()) {
        let mut serving = ai.index.open.iter().copied().filter_map(of).filter(|(_, it)| it.serves.matches(model));
        found.extend(serving.next());
        let best = found.first().map(|(_, it)| it.serves.specificity());
        found.extend(serving.take_while(|(_, it)| Some(it.serves.specificity()) == best));
    }
    if found.len() > 1 {
        found.sort_by_cached_key(|(position, it)| (it.priority, scattered(draw.random, it.place), *position));
    }
    let candidate = |(provider, it): (usize, &Provider)| Candidate { provider, model: it.model.clone(), body: None };
    found.into_iter().map(candidate).collect()
}

fn of_virtual(ai: &Ai, routing: &Routing, draw: &Draw<'_>) -> Vec<Candidate> {
    let random = draw.random;
    let of = |model: &Text| {
        let found = ranked(ai, Some(model), true, draw).into_iter();
        found.map(|it| Candidate { model: it.model.or_else(|| Some(model.clone())), ..it }).collect::<Vec<_>>()
    };
    match routing {
        Routing::Weighted(shares) => {
            let total: u64 = shares.iter().map(|it| u64::from(it.number)).sum();
            if total == 0 {
                return Vec::new();
            }
            let mut ticket = random % total;
            let drawn = shares.iter().find(|it| match ticket.checked_sub(u64::from(it.number)) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            });
            drawn.map(|it| of(&it.model)).unwrap_or_default()
        }
        Routing::Failover(shares) => {
            let mut order: Vec<(u32, u64, &AiShare)> = shares
                .iter()
                .enumerate()
                .map(|(position, it)| (it.number, scattered(random, position as u64), it))
                .collect();
            order.sort_by_key(|(priority, ticket, _)| (*priority, *ticket));
            order.into_iter().flat_map(|(_, _, it)| of(&it.model)).collect()
        }
        Routing::Conditional(cases) => {
            let found = cases.iter().find(|(when, _)| when.as_ref().is_none_or(draw.holds));
            found.map(|(_, model)| of(model)).unwrap_or_default()
        }
    }
}

/// A number of its own for each position, as random as what it is made of (splitmix64).
fn scattered(random: u64, position: u64) -> u64 {
    let mut it = random.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ir::{AiBackend, AiFormat, AiKeyPlace, AiProvider, AiVirtualModel, BackendRef};

    use super::*;
    use crate::plan::{Backend, BackendTarget};

    fn ai(
        providers: &[(&str, &str, Option<&str>, u32, bool)],
        virtual_models: Vec<AiVirtualModel>,
        routes: bool,
    ) -> Ai {
        let terms = |(name, serves, model, priority, internal): &(&str, &str, Option<&str>, u32, bool)| AiProvider {
            name: (*name).into(),
            backend: BackendRef::Invalid("".into()),
            system: "openai".into(),
            key: AiKeyPlace::Authorization,
            base: "/v1".into(),
            formats: vec![AiFormat { kind: "completions".into(), path: "/v1/chat/completions".into() }],
            model: model.map(Into::into),
            serves: (*serves).into(),
            priority: *priority,
            internal: *internal,
            when: None,
            passthrough: None,
        };
        let providers: Vec<_> = providers.iter().map(terms).collect();
        let backend = |_| Backend {
            reference: BackendRef::Invalid("".into()),
            effective: Arc::default(),
            target: BackendTarget::Broken("".into()),
            host: None,
        };
        let compiled: Vec<_> = providers.iter().map(|it| (it, backend(()), crate::llm::OwnTerms::default())).collect();
        let terms = AiBackend { providers: Vec::new(), virtual_models, routes_models: routes };
        Ai::new("ai".into(), &terms, compiled.into_iter())
    }

    fn asked(ai: &Ai, model: Option<&str>, random: u64) -> Result<Vec<String>, &'static str> {
        let draw = Draw { random, holds: &|it| it.text().starts_with("true") };
        let found = candidates(ai, Operation::Completions, model, &draw).map_err(|it| it.code)?;
        let shown =
            |it: Candidate| format!("{}:{}", ai.providers[it.provider].name, it.model.as_deref().unwrap_or_default());
        Ok(found.into_iter().map(shown).collect())
    }

    fn case(when: &str, model: &str) -> AiCase {
        AiCase { when: (!when.is_empty()).then(|| when.into()), model: model.into() }
    }

    fn share(model: &str, number: u32) -> AiShare {
        AiShare { model: model.into(), number }
    }

    #[test]
    fn groups_are_asked_by_priority_and_those_of_one_in_any_order() {
        let ai = ai(
            &[("a", "*", None, 0, false), ("b", "*", Some("m"), 0, false), ("c", "*", None, 1, false)],
            vec![],
            false,
        );
        let mut firsts = [0; 2];
        for random in 0..1_000 {
            let got = asked(&ai, None, random).unwrap();
            assert_eq!((got.len(), got[2].as_str()), (3, "c:"));
            firsts[usize::from(got[0] == "b:m")] += 1;
        }
        assert!(firsts.iter().all(|it| *it > 300), "{firsts:?}");
    }

    #[test]
    fn the_most_specific_pattern_serves_and_what_nobody_serves_is_named() {
        let ai = ai(
            &[
                ("any", "*", None, 0, false),
                ("gpt", "gpt-*", None, 0, false),
                ("own", "gpt-5", Some("x"), 0, false),
                ("in", "gpt-5-secret", None, 0, true),
            ],
            vec![],
            true,
        );
        assert_eq!(asked(&ai, Some("gpt-5"), 0).unwrap(), ["own:x"]);
        assert_eq!(asked(&ai, Some("gpt-4"), 0).unwrap(), ["gpt:"]);
        assert_eq!(asked(&ai, Some("gpt-5-secret"), 0).unwrap(), ["gpt:"], "internal ones are not asked by name");
        assert_eq!(asked(&ai, Some("claude"), 0).unwrap(), ["any:"]);
        assert_eq!(asked(&ai, None, 0), Err("missing_model"));
        let draw = Draw { random: 0, holds: &|_| false };
        assert!(candidates(&ai, Operation::Messages, Some("claude"), &draw).is_ok(), "it is translated");
        let found = candidates(&ai, Operation::Embeddings, Some("claude"), &draw);
        assert_eq!(found.unwrap_err().code, "unsupported_conversion");
    }

    #[test]
    fn virtual_models_stand_for_others() {
        let virtual_models = vec![
            AiVirtualModel { name: "fast".into(), routing: AiRouting::Failover(vec![share("b", 2), share("a", 1)]) },
            AiVirtualModel {
                name: "split".into(),
                routing: AiRouting::Weighted(vec![share("a", 3), share("b", 1), share("c", 0)]),
            },
            AiVirtualModel { name: "none".into(), routing: AiRouting::Weighted(vec![share("a", 0)]) },
            AiVirtualModel {
                name: "cases".into(),
                routing: AiRouting::Conditional(vec![case("false", "b"), case("true", "a"), case("", "b")]),
            },
            AiVirtualModel {
                name: "rest".into(),
                routing: AiRouting::Conditional(vec![case("false", "a"), case("", "b")]),
            },
            AiVirtualModel { name: "nothing".into(), routing: AiRouting::Conditional(vec![case("false", "a")]) },
        ];
        let ai = ai(&[("a", "a", None, 0, true), ("b", "b", Some("real"), 0, false)], virtual_models, true);
        assert_eq!(asked(&ai, Some("fast"), 7).unwrap(), ["a:a", "b:real"]);
        let drawn = (0..1_000).filter(|it| asked(&ai, Some("split"), *it).unwrap() == ["a:a"]).count();
        assert_eq!(drawn, 750);
        assert_eq!(asked(&ai, Some("none"), 0), Err("model_not_found"));
        assert_eq!(asked(&ai, Some("cases"), 0).unwrap(), ["a:a"]);
        assert_eq!(asked(&ai, Some("rest"), 0).unwrap(), ["b:real"]);
        assert_eq!(asked(&ai, Some("nothing"), 0), Err("model_not_found"));
        assert_eq!(asked(&ai, Some("a"), 0), Err("model_not_found"));
    }
}

//! What is written beside a model of `llm`: it holds for requests to that model alone, and takes nothing away from what
//! holds for all.

use serde_json::{Value, json};
use tests::backend::{Asked, answer};
use tests::{Backend, Gateway};

use super::accounted;

const CHAT: &str = "/v1/chat/completions";

/// Models of one backend, and what stands below them.
fn models(backend: &Backend, models: &str, more: &str) -> String {
    format!(
        "config:\n  logging: {{ format: json }}\ngateways:\n  default: {{ port: 0 }}\nllm:\n  providers:\n  - name: own\n    provider: openai\n    params: {{ baseUrl: 'http://{}/v1', apiKey: k }}\n  models:\n{models}{more}",
        backend.addr()
    )
}

/// Says this to whatever it is asked; a request that has `broken` gets 503.
fn saying(text: &'static str) -> Backend {
    Backend::http(move |asked: Asked| async move {
        if asked.json()["broken"] == asked.json()["model"] {
            return answer::text(503, "");
        }
        let message = json!({"role": "assistant", "content": text});
        answer::json(&json!({"id": "c", "choices": [{"index": 0, "message": message}]}))
    })
}

fn asking(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

fn pattern(action: &str, pattern: &str) -> String {
    format!("[{{ regex: {{ action: {action}, rules: [{{ pattern: {pattern} }}] }} }}]")
}

/// What is written beside a model holds for it alone, over what its provider has and under what the client says.
#[tokio::test]
async fn each_model_has_terms_of_its_own() {
    let backend = Backend::http(|_| async { answer::json(&json!({"id": "c"})) });
    let url = format!("http://{}", backend.addr());
    let document = format!(
        r#"
gateways:
  default: {{ port: 0 }}
llm:
  providers:
  - name: own
    provider: openai
    params: {{ baseUrl: '{url}/v1', apiKey: params-key }}
    defaults:
      defaults: {{ temperature: 0.2, seed: 7 }}
      requestHeaders: {{ set: {{ x-team: provider }} }}
  models:
  - name: plain
    provider: {{ reference: own }}
  - name: own
    provider: {{ reference: own }}
    defaults: {{ temperature: 0.9 }}
    overrides: {{ service_tier: flex }}
    requestHeaders: {{ set: {{ x-team: model }} }}
    auth: {{ key: model-key }}
  - name: claude
    provider: anthropic
    params: {{ baseUrl: '{url}', apiKey: k }}
    promptCaching: {{ minTokens: 10, cacheMessages: false }}
    defaults: {{ top_k: 3 }}
  policies:
    ai: {{ prompts: {{ append: [{{ role: user, content: thanks }}] }}, overrides: {{ n: 1 }} }}
"#
    );
    let gateway = Gateway::start(&document).await;
    let client = gateway.client();
    let thanks = json!({"role": "user", "content": "thanks"});
    let hi = json!({"role": "user", "content": "hi"});
    for (model, more, team, key) in [
        ("plain", json!({"temperature": 0.2, "seed": 7}), "provider", "Bearer params-key"),
        ("own", json!({"temperature": 0.9, "seed": 7, "service_tier": "flex"}), "model", "Bearer model-key"),
    ] {
        client.post("/v1/chat/completions").json(&json!({"model": model, "messages": [hi]})).await.expect_status(200);
        let seen = backend.stats().last();
        let mut want = json!({"model": model, "messages": [hi, thanks], "n": 1});
        want.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        assert_eq!(seen.json(), want, "{model}: once each");
        assert_eq!((seen.header("x-team"), seen.header("authorization")), (Some(team), Some(key)), "{model}");
    }
    let said = json!({"model": "own", "messages": [hi], "temperature": 0.1});
    client.post("/v1/chat/completions").json(&said).await.expect_status(200);
    assert_eq!(backend.stats().last().json()["temperature"], 0.1, "the client's own word stands");

    // Of a request that is translated, too.
    let system = json!({"role": "system", "content": "x".repeat(100)});
    for (path, body) in [
        ("/v1/messages", json!({"model": "claude", "max_tokens": 9, "system": "x".repeat(100), "messages": [hi]})),
        ("/v1/chat/completions", json!({"model": "claude", "max_tokens": 9, "messages": [system, hi]})),
    ] {
        client.post(path).json(&body).await;
        let seen = backend.stats().last().json();
        assert_eq!(seen["system"][0]["cache_control"]["type"], "ephemeral", "{path}: {seen}");
        assert_eq!(seen["top_k"], 3, "{path}: {seen}");
    }
    gateway.stop().await;
}

/// A default of one model once did away with the guards of all.
#[tokio::test]
async fn terms_of_a_model_leave_the_guards_of_all_where_they_are() {
    let backend = saying("the secret is out");
    let all = format!("  policies:\n    guardrails: {{ response: {} }}\n", pattern("mask", "secret"));
    let written = "  - { name: plain, provider: { reference: own } }\n  - { name: own, provider: { reference: own }, defaults: { n: 1 } }\n";
    let own = format!(
        "  - {{ name: guarded, provider: {{ reference: own }}, guardrails: {{ response: {} }} }}\n",
        pattern("mask", "out")
    );
    let gateway = Gateway::start(&models(&backend, &(written.to_owned() + &own), &all)).await;
    for (n, (model, want)) in
        [("plain", "the <MASKED> is out"), ("own", "the <MASKED> is out"), ("guarded", "the <MASKED> is <MASKED>")]
            .into_iter()
            .enumerate()
    {
        let got = gateway.client().post(CHAT).json(&asking(model, "hi")).await.expect_status(200).json();
        assert_eq!(got["choices"][0]["message"]["content"], want, "{model}");
        let found = if model == "guarded" { 2 } else { 1 };
        assert_eq!(accounted(&gateway, n + 1).await["gen_ai.guardrail.findings"], found, "{model}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_is_not_asked_what_its_guards_refuse_and_gets_what_they_mask() {
    let backend = saying("hello");
    let written = format!(
        "  - {{ name: strict, visibility: internal, provider: {{ reference: own }}, guardrails: {{ request: {} }} }}\n  - {{ name: shy, visibility: internal, provider: {{ reference: own }}, defaults: {{ n: 1 }}, guardrails: {{ request: {} }} }}\n",
        pattern("reject", "poison"),
        pattern("mask", "secret"),
    );
    let more = "  virtualModels:\n  - name: both\n    routing: { failover: { targets: [{ model: strict, priority: 0 }, { model: shy, priority: 1 }] } }\n  - name: one\n    routing: { failover: { targets: [{ model: strict, priority: 0 }] } }\n  policies:\n    retry: { attempts: 1, codes: [503] }\n";
    let gateway = Gateway::start(&models(&backend, &written, more)).await;
    let ask = |body: Value| gateway.client().post(CHAT).json(&body);
    let last = || backend.stats().last().json();

    ask(asking("both", "a secret")).await.expect_status(200);
    assert_eq!(last(), asking("strict", "a secret"), "what another one masks is not masked for this");
    ask(asking("both", "a secret poison")).await.expect_status(200);
    let mut shy = asking("shy", "a <MASKED> poison");
    shy["n"] = 1.into();
    assert_eq!(last(), shy, "the one that would refuse it is passed by");
    // The one before it failed: what is sent next is made of what the client wrote.
    let mut broken = asking("both", "a secret");
    broken["broken"] = "strict".into();
    ask(broken).await.expect_status(200);
    assert_eq!(
        (last()["model"].as_str(), last()["messages"][0]["content"].as_str()),
        (Some("shy"), Some("a <MASKED>"))
    );

    let asked = backend.stats().requests();
    let refused = ask(asking("one", "a poison")).await.expect_status(403);
    assert_eq!(refused.header("x-agentgateway-error"), Some("content_rejected"));
    assert_eq!(backend.stats().requests(), asked, "it did not go on");
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_may_be_guarded_by_a_server() {
    let backend = saying("hello");
    let server = Backend::http(|asked: Asked| async move {
        answer::json(&match asked.text().contains("poison") {
            true => json!({"action": {"status_code": 451, "body": "not here"}}),
            false => json!({"action": {"body": {"messages": [{"role": "user", "content": "other words"}]}}}),
        })
    });
    let written = format!(
        "  - {{ name: plain, provider: {{ reference: own }} }}\n  - {{ name: asked, provider: {{ reference: own }}, guardrails: {{ request: [{{ webhook: {{ target: {{ host: '{}' }} }} }}] }} }}\n",
        server.addr()
    );
    let gateway = Gateway::start(&models(&backend, &written, "")).await;
    let ask = |model: &str, text: &str| gateway.client().post(CHAT).json(&asking(model, text));
    ask("plain", "poison").await.expect_status(200);
    assert_eq!(server.stats().requests(), 0, "it is not of this model");
    ask("asked", "hi").await.expect_status(200);
    assert_eq!(backend.stats().last().json(), asking("asked", "other words"));
    ask("asked", "poison").await.expect_status(451);
    gateway.stop().await;
}

#[tokio::test]
async fn members_are_given_by_expressions() {
    let backend = saying("hello");
    let anthropic = format!(
        "  - name: claude\n    provider: anthropic\n    params: {{ baseUrl: 'http://{}', apiKey: k }}\n    finalTransformation: {{ metadata: '{{\"user_id\": request.headers[\"x-user\"]}}', max_tokens: 'llmRequest.max_tokens + 1' }}\n",
        backend.addr()
    );
    let written = "  - name: capped\n    provider: { reference: own }\n    transformation: { max_tokens: 'llmRequest.max_tokens > 10 ? 10 : llmRequest.max_tokens', seed: 'null', user: 'request.headers[\"x-user\"]', n: 'llmRequest.nothing' }\n";
    let more = "  policies:\n    ai: { transformations: { temperature: 'llmRequest.temperature / 2.0' } }\n";
    let gateway = Gateway::start(&models(&backend, &(written.to_owned() + &anthropic), more)).await;
    let ask = |body: Value| gateway.client().post(CHAT).header("x-user", "u7").json(&body);
    let last = || backend.stats().last().json();

    let mut body = asking("capped", "hi");
    for (key, value) in [("max_tokens", json!(99)), ("seed", json!(1)), ("n", json!(2)), ("temperature", json!(1.0))] {
        body[key] = value;
    }
    ask(body.clone()).await.expect_status(200);
    let mut want = body.clone();
    for (key, value) in [("max_tokens", json!(10)), ("user", json!("u7")), ("temperature", json!(0.5))] {
        want[key] = value;
    }
    want.as_object_mut().expect("an object").remove("seed");
    assert_eq!(last(), want, "`null` takes a member away, and what fails leaves it");

    // What is not there is not made up.
    ask(asking("capped", "hi")).await.expect_status(200);
    let mut want = asking("capped", "hi");
    want["user"] = "u7".into();
    assert_eq!(last(), want);

    let mut body = asking("claude", "hi");
    body["max_tokens"] = 7.into();
    ask(body).await;
    assert_eq!((&last()["max_tokens"], &last()["metadata"]), (&json!(8), &json!({"user_id": "u7"})), "{}", last());
    gateway.stop().await;
}

#[tokio::test]
async fn who_may_ask_and_what_is_answered_is_said_for_each_model() {
    let backend = saying("hello");
    let written = "  - { name: open, id: first, provider: { reference: own }, responseHeaders: { set: { x-model: open } } }\n  - { name: closed, provider: { reference: own }, authorization: { rules: ['request.headers[\"x-user\"] == \"u7\"'] } }\n";
    let gateway = Gateway::start(&models(&backend, written, "")).await;
    let ask = |model: &str, user: &str| gateway.client().post(CHAT).header("x-user", user).json(&asking(model, "hi"));
    assert_eq!(ask("open", "u1").await.expect_status(200).header("x-model"), Some("open"));
    assert_eq!(ask("closed", "u7").await.expect_status(200).header("x-model"), None);
    let asked = backend.stats().requests();
    ask("closed", "u1").await.expect_status(403);
    assert_eq!(backend.stats().requests(), asked, "it did not go on");
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_is_there_for_the_requests_that_it_matches() {
    let backend = saying("hello");
    let written = "  - { name: fast, provider: { reference: own }, params: { model: gold }, matches: [{ headers: [{ name: x-tier, value: { exact: gold } }] }, { headers: [{ name: x-team, value: { regex: 'a|b' } }, { name: ':method', value: { exact: POST } }] }] }\n  - { name: fast, provider: { reference: own }, params: { model: plain } }\n  - { name: alone, provider: { reference: own }, matches: [{ headers: [{ name: x-tier, value: { exact: 'say \"gold\"' } }] }] }\n";
    let gateway = Gateway::start(&models(&backend, written, "")).await;
    let ask = |model: &str, name: &'static str, value: &str| {
        gateway.client().post(CHAT).header(name, value).json(&asking(model, "hi"))
    };
    for (name, value, want) in [
        ("x-tier", "gold", "gold"),
        ("x-tier", "silver", "plain"),
        ("x-team", "b", "gold"),
        ("x-team", "ab", "plain"),
        ("x-other", "gold", "plain"),
    ] {
        ask("fast", name, value).await.expect_status(200);
        assert_eq!(backend.stats().last().json()["model"], want, "{name}: {value}");
    }
    ask("alone", "x-tier", "say \"gold\"").await.expect_status(200);
    let nobody = ask("alone", "x-tier", "gold").await.expect_status(404);
    assert_eq!(nobody.json()["error"]["code"], "model_not_found");
    gateway.stop().await;
}

/// `passthrough`: bodies arrive as they were written, in whatever dialect that is; `opaque` does not even count.
#[tokio::test]
async fn what_passes_through_is_not_translated_and_opaque_is_not_counted() {
    let backend = Backend::http(|_| async {
        answer::json(&json!({"id": "m", "type": "message", "usage": {"input_tokens": 11, "output_tokens": 3}}))
    });
    let model = |name: &str, more: &str| format!("  - name: {name}\n    provider: {{ reference: own }}\n{more}");
    let document = models(
        &backend,
        &(model("plain", "")
            + &model("open", "    passthrough: detect\n")
            + &model("shut", "    passthrough: opaque\n")
            + &model("other", "    passthrough: detect\n    params: { model: real }\n")),
        "",
    );
    let gateway = Gateway::start(&document).await;
    let client = gateway.client();
    let written = |model: &str| format!(r#"{{ "max_tokens":9,  "model":"{model}", "stream":false, "messages":[] }}"#);
    let mut lines = 0;
    for (model, path, tokens) in [
        ("open", "/v1/messages", Some((11, 3))),
        ("shut", "/v1/messages", None),
        ("open", "/v1/chat/completions", Some((11, 3))),
        // A path that nobody here knows goes by the model of its body.
        ("open", "/v1/moderations", Some((11, 3))),
    ] {
        let call = client.post(path).header("content-type", "application/json").body(written(model));
        call.await.expect_status(200);
        let seen = backend.stats().last();
        assert_eq!((seen.uri.path(), seen.text()), (path, written(model)), "{model}");
        assert_eq!(seen.header("authorization"), Some("Bearer k"), "the key is the gateway's");
        lines += 1;
        let line = gateway.wait_access(lines).await.remove(lines - 1);
        let counted = line["gen_ai.usage.input_tokens"].as_u64().zip(line["gen_ai.usage.output_tokens"].as_u64());
        assert_eq!(counted, tokens, "{model} {path}: {line}");
    }
    client.post("/v1/messages").json(&json!({"model": "other", "messages": []})).await.expect_status(200);
    assert_eq!(backend.stats().last().json(), json!({"model": "real", "messages": []}), "another name alone");
    // With the gateway's key nobody is asked at such a path but who is to take all as it comes.
    let asked = backend.stats().requests();
    client.post("/v1/moderations").json(&json!({"model": "plain"})).await.expect_status(400);
    gateway.stop().await;
    let guard = format!("  policies: {{ guardrails: {{ request: {} }} }}\n", pattern("reject", "secret"));
    let gateway = Gateway::start(&models(&backend, &model("open", "    passthrough: detect\n"), &guard)).await;
    let client = gateway.client();
    // Where guards could not read it neither.
    client.post("/v1/chat").json(&json!({"model": "open", "message": "secret"})).await.expect_status(400);
    client.post("/model/open/invoke").json(&json!({"inputText": "secret"})).await.expect_status(400);
    assert_eq!(backend.stats().requests(), asked);
    client.post("/v1/messages").json(&json!({"model": "open", "messages": []})).await.expect_status(200);
    gateway.stop().await;

    for (more, said) in [
        ("passthrough: detect\n    defaults: { a: 1 }", "defaults: changes requests, and `passthrough` leaves them"),
        ("passthrough: opaq", "expected one of `detect`, `opaque`"),
    ] {
        let refused = models(&backend, &model("m", &format!("    {more}\n")), "");
        let output = Gateway::run_cli(&["validate", "-c", &refused], "").await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{text}");
    }
}

//! The shorthand `llm`: requests go by their model.

use serde_json::json;
use tests::backend::answer;
use tests::{Backend, Gateway, MockLlm};

use super::{accounted, chat, mock};

fn document(mock: &MockLlm, more: &str) -> String {
    let url = mock.url();
    format!(
        "config:\n  logging: {{ format: json }}\ngateways:\n  default: {{ port: 0 }}\nllm:\n  providers:\n  - name: own\n    provider: openai\n    params: {{ baseUrl: '{url}/v1', apiKey: gateway-key }}\n  models:\n  - name: gpt-mini\n    provider: {{ reference: own }}\n    params: {{ model: real-mini }}\n  - name: gpt-*\n    provider: {{ reference: own }}\n  - name: hidden\n    visibility: internal\n    provider: {{ reference: own }}\n  - name: claude\n    provider: anthropic\n    params: {{ baseUrl: '{url}', apiKey: gateway-key }}\n{more}"
    )
}

#[tokio::test]
async fn the_model_says_which_provider_is_asked() {
    let mock = mock(json!([])).await;
    let more = "  virtualModels:\n  - name: best\n    routing: { failover: { targets: [{ model: hidden, priority: 0 }, { model: gpt-5, priority: 1 }] } }\n";
    let gateway = Gateway::start(&document(&mock, more)).await;
    let client = gateway.client();
    for (n, (path, model, there)) in [
        ("/v1/chat/completions", "gpt-mini", "real-mini"),
        ("/v1/chat/completions", "gpt-5", "gpt-5"),
        ("/v1/messages", "claude", "claude"),
        ("/v1/chat/completions", "best", "hidden"),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = client.post(path).json(&chat(model, false)).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let line = accounted(&gateway, n + 1).await;
        assert_eq!(line["gen_ai.response.model"], there, "{model}: {line}");
    }
    for (path, model, status, code) in [
        ("/v1/chat/completions", "nobody", 404, "model_not_found"),
        ("/v1/chat/completions", "hidden", 404, "model_not_found"),
        ("/v1/embeddings", "claude", 400, "unsupported_conversion"),
    ] {
        let reply = client.post(path).json(&chat(model, false)).await;
        assert_eq!(reply.status, status, "{model}: {}", reply.text());
        assert_eq!(reply.json()["error"]["code"], code, "{model}");
    }
    let reply = client.post("/v1/chat/completions").json(&json!({"messages": []})).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (400, &json!("missing_model")));
    gateway.stop().await;
}

#[tokio::test]
async fn models_that_can_be_asked_for_are_listed() {
    let mock = mock(json!([])).await;
    let more = "  virtualModels:\n  - name: best\n    routing: { weighted: { targets: [{ model: gpt-5 }] } }\n";
    let gateway = Gateway::start(&document(&mock, more)).await;
    let list = gateway.client().get("/v1/models").await.json();
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(names, ["best", "claude", "gpt-mini"]);
    assert_eq!(gateway.client().get("/v1/models/claude").await.json()["id"], "claude");
    assert_eq!(gateway.client().get("/v1/models/hidden").await.status, 404);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let refused = |document: String| async move {
        let output = Gateway::run_cli(&["validate", "-c", &document], "").await;
        assert!(!output.status.success(), "accepted: {document}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let llm = |model: &str| format!("llm:\n  port: 0\n  models:\n  - {model}\n");
    for (document, said) in [
        (llm("{ name: m, provider: copilot }"), "llm.models[0].provider: not supported by this version yet"),
        (llm("{ name: m, provider: bedrock }"), "llm.models[0].params: `bedrock` needs `awsRegion`"),
        (llm("{ name: m, provider: nobody }"), "`nobody` is not a provider"),
        (llm("{ name: 'a*b*', provider: openai }"), "one `*` at most"),
        (llm("{ name: m, provider: { reference: x } }"), "there is no provider `x`"),
        (llm("{ name: m, provider: openai, params: { baseUrl: 'h:1' } }"), "is not a base URL"),
        (
            llm("{ name: m, provider: openai, matches: [{ headers: [{ name: x, value: { regex: '(' } }] }] }"),
            "llm.models[0].matches[0].headers[0].value.regex",
        ),
        (
            llm("{ name: m, provider: openai, backendTunnel: {} }"),
            "llm.models[0].backendTunnel: `backendTunnel` is not supported",
        ),
        (
            llm("{ name: m, provider: openai, guardrails: { request: [{ regex: { rules: [] } }] } }"),
            "llm.models[0].guardrails.request[0].regex.rules: 1 to 64 rules",
        ),
        (
            llm("{ name: m, provider: openai, transformation: { n: 'llmRequest.n +' } }"),
            "llm.models[0].transformation.n",
        ),
        (
            llm("{ name: m, provider: openai, finalTransformation: { model: '\"x\"' } }"),
            "llm.models[0].finalTransformation.model: is not set here",
        ),
        (
            llm("{ name: m, provider: openai }\n  policies: { ai: { defaults: { n: 1 } }, guardrails: {} }"),
            "llm.policies.ai: written twice, once of it as `guardrails`: write them as `ai.promptGuard`",
        ),
        (
            llm("{ name: m, id: x, provider: openai }\n  - { name: n, id: x, provider: openai }"),
            "provider `x` is already there",
        ),
        (
            llm("{ name: m, provider: openai }\n  virtualModels:\n  - { name: v, routing: { conditional: {} } }"),
            "routing.conditional: the key `targets` is missing",
        ),
        (
            llm(
                "{ name: m, provider: openai }\n  virtualModels:\n  - { name: v, routing: { weighted: { targets: [{ model: x }] } } }",
            ),
            "no model serves `x`",
        ),
        ("backends:\n- name: a\n  ai: { provider: { copilot: {} } }\n".to_owned(), "provider.copilot: not supported"),
        ("backends:\n- name: a\n  ai: {}\n".to_owned(), "write either `provider` or `groups`"),
        ("backends:\n- name: a\n  ai: { provider: { custom: { formats: [] } } }\n".to_owned(), "needs `hostOverride`"),
        ("backends:\n- name: a\n  ai: { provider: { openAI: {} }, tokenize: true }\n".to_owned(), "tokenize"),
    ] {
        let text = refused(document.clone()).await;
        assert!(text.contains(said), "{document}\n{text}");
    }
}

#[tokio::test]
async fn a_key_sees_and_gets_the_models_that_it_is_allowed() {
    let mock = mock(json!([])).await;
    let document = format!(
        "config:\n  logging: {{ format: json }}\ngateways:\n  default: {{ port: 0 }}\nllm:\n  models:\n  - {{ name: gpt-a, provider: openai, params: {{ baseUrl: '{url}/v1', apiKey: gateway-key }} }}\n  - {{ name: gpt-b, provider: openai, params: {{ baseUrl: '{url}/v1', apiKey: gateway-key }} }}\n  - {{ name: other, provider: openai, params: {{ baseUrl: '{url}/v1', apiKey: gateway-key }} }}\n  policies:\n    apiKey:\n      keys:\n      - {{ key: all }}\n      - {{ key: some, allowedModels: ['gpt-*'] }}\n      - {{ key: none, allowedModels: [] }}\n",
        url = mock.url()
    );
    let gateway = Gateway::start(&document).await;
    for (key, models, status) in [("all", 3, 200), ("some", 2, 403), ("none", 0, 403)] {
        let bearer = format!("Bearer {key}");
        let list = gateway.client().get("/v1/models").header("authorization", &bearer).await.expect_status(200).json();
        assert_eq!(list["data"].as_array().map(Vec::len), Some(models), "{key}: {list}");
        let one = gateway.client().get("/v1/models/other").header("authorization", &bearer).await;
        assert_eq!(one.status.as_u16(), if models == 3 { 200 } else { 404 }, "{key}");
        let call = gateway.client().post("/v1/chat/completions").header("authorization", &bearer);
        let reply = call.json(&chat("other", false)).await;
        assert_eq!(reply.status.as_u16(), status, "{key}: {}", reply.text());
        if status == 403 {
            assert_eq!(reply.json()["error"]["code"], "model_not_allowed", "{key}");
        }
        let call = gateway.client().post("/v1/chat/completions").header("authorization", &bearer);
        let reply = call.json(&chat("gpt-a", false)).await;
        assert_eq!(reply.status.as_u16(), if models > 0 { 200 } else { 403 }, "{key}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn conditions_over_headers_and_the_request_say_which_model_it_is() {
    let mock = mock(json!([])).await;
    let more = "  virtualModels:\n  - name: right\n    routing:\n      conditional:\n        targets:\n        - { when: 'request.headers[\"x-tier\"] == \"gold\"', model: hidden }\n        - { when: 'llmRequest.stream == true || size(llmRequest.messages) > 2', model: gpt-mini }\n        - { model: gpt-5 }\n";
    let gateway = Gateway::start(&document(&mock, more)).await;
    let three = json!({"model": "right", "messages": (0..3).map(|_| json!({"role": "user", "content": "x"})).collect::<Vec<_>>()});
    for (n, (tier, body, there)) in [
        ("gold", chat("right", true), "hidden"),
        ("tin", chat("right", true), "real-mini"),
        ("tin", three, "real-mini"),
        // Neither is there `stream` in it: what fails does not hold.
        ("", json!({"model": "right", "messages": []}), "gpt-5"),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.client().post("/v1/chat/completions").header("x-tier", tier).json(&body).await.expect_status(200);
        assert_eq!(accounted(&gateway, n + 1).await["gen_ai.response.model"], there, "{tier} {body}");
    }
    gateway.stop().await;
    for (targets, problem) in [
        ("[{ model: gpt-5 }, { when: 'true', model: gpt-mini }]", "targets[0].when: is missing"),
        ("[{ when: 'llmRequest.', model: gpt-5 }]", "targets[0].when: "),
        ("[{ when: 'response.code == 1', model: gpt-5 }]", "does not exist for an LLM call"),
        ("[{ when: 'true', model: nobody }]", "no model serves `nobody`"),
        ("[]", "has no targets"),
    ] {
        let more =
            format!("  virtualModels:\n  - {{ name: v, routing: {{ conditional: {{ targets: {targets} }} }} }}\n");
        let refusal = Gateway::start_expect_failure(&document(&mock, &more)).await;
        assert!(refusal.log.contains(problem), "{targets}: {}", refusal.log);
    }
}

#[tokio::test]
async fn a_session_stays_with_its_provider_while_that_is_well() {
    let answering = || {
        Backend::http(|asked| async move {
            match asked.header("x-fail") {
                None => answer::json(&json!({"id": "c"})),
                Some(_) => {
                    let mut busy = answer::with_type(429, "application/json", "{}");
                    busy.headers_mut().insert("retry-after", "60".parse().expect("a value"));
                    busy
                }
            }
        })
    };
    let providers = [answering(), answering(), answering()];
    let listed: String = providers
        .iter()
        .enumerate()
        .map(|(at, it)| {
            format!(
                "            - {{ name: p{at}, provider: {{ openAI: {{}} }}, hostOverride: 'http://{}' }}\n",
                it.addr()
            )
        })
        .collect();
    let document = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: ai\n      backends:\n      - policies: {{ sessionAffinity: {{ source: 'request.headers[\"x-session\"]' }} }}\n        ai:\n          groups:\n          - providers:\n{listed}"
    );
    let gateway = Gateway::start(&document).await;
    let counts = || providers.each_ref().map(|it| it.stats().requests());
    let ask = async |session: &str, fails: bool| {
        let call = gateway.client().post("/v1/chat/completions").header("x-session", session);
        let call = if fails { call.header("x-fail", "yes") } else { call };
        let before = counts();
        call.json(&chat(session, false)).await;
        let after = counts();
        (0..3).filter(|it| after[*it] > before[*it]).collect::<Vec<_>>()
    };
    let mut used = [0; 3];
    for session in 0..30 {
        let session = format!("session-{session}");
        let first = ask(&session, false).await;
        assert_eq!(first.len(), 1);
        used[first[0]] += 1;
        for _ in 0..3 {
            assert_eq!(ask(&session, false).await, first, "{session} moved");
        }
    }
    assert!(used.iter().all(|it| *it > 2), "sessions are spread: {used:?}");
    let home = ask("moving", false).await;
    assert_eq!(ask("moving", true).await.len(), 3, "everybody asked to be left alone");
    assert_eq!(ask("moving", false).await, home, "and so the usual one is asked");
    gateway.stop().await;
}

#[tokio::test]
async fn a_form_goes_by_the_model_in_its_parts_and_its_answer_is_accounted() {
    let usage =
        json!({"type": "tokens", "input_tokens": 14, "output_tokens": 45, "input_token_details": {"audio_tokens": 10}});
    let said = json!({"text": "hello", "usage": usage});
    let backend = Backend::http(move |_| {
        let said = said.clone();
        async move { answer::json(&said) }
    });
    let url = format!("http://{}", backend.addr());
    let document = format!(
        "config:\n  logging: {{ format: json }}\ngateways:\n  default: {{ port: 0 }}\nllm:\n  models:\n  - name: hear\n    provider: openai\n    params: {{ baseUrl: '{url}/v1', apiKey: k, model: gpt-4o-transcribe }}\n"
    );
    let gateway = Gateway::start(&document).await;
    let form = |model: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\0\u{1}\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b--\r\n"
        )
    };
    let post = |body: String| {
        let call = gateway.client().post("/v1/audio/transcriptions");
        call.header("content-type", "multipart/form-data; boundary=b").body(body)
    };
    post(form("hear")).await.expect_status(200);
    let asked = backend.stats().last();
    assert_eq!((asked.uri.path(), asked.text()), ("/v1/audio/transcriptions", form("gpt-4o-transcribe")));
    let line = accounted(&gateway, 1).await;
    let tokens =
        (&line["gen_ai.usage.input_tokens"], &line["gen_ai.usage.output_tokens"], &line["gen_ai.request.model"]);
    assert_eq!(tokens, (&json!(14), &json!(45), &json!("gpt-4o-transcribe")), "{line}");
    for (body, status, code) in [
        (form("nobody"), 404, "model_not_found"),
        ("--b\r\ncut".to_owned(), 400, "invalid_request_body"),
        ("--b--".to_owned(), 400, "missing_model"),
    ] {
        let reply = post(body).await.expect_status(status);
        assert_eq!(reply.json()["error"]["code"], code);
    }
    assert_eq!(backend.stats().requests(), 1);
    gateway.stop().await;
}

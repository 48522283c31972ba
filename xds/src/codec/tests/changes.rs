//! Policies that change what passes, or answer, as configuration makes them.

use filters::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::policies::{HEADERS, VALUES, one_of, some_of};

pub(super) fn answer() -> impl Strategy<Value = direct_response::Config> {
    let headers = btree_map(one_of(HEADERS), one_of(&["'a \"b\"'", "\"\"", "request.path"]), 0..4);
    let body = (option::of(one_of(&["", "gone", "é\n\0"])), option::of(one_of(VALUES)));
    (200..600u16, body, headers).prop_map(|(status, (body, body_expression), headers)| direct_response::Config {
        status,
        body,
        body_expression,
        headers,
    })
}

pub(super) fn transformations() -> impl Strategy<Value = transformations::Config> {
    (option::of(transform(true)), option::of(transform(false)))
        .prop_map(|(request, response)| transformations::Config { request, response })
}

fn transform(request: bool) -> impl Strategy<Value = transformations::TransformConfig> {
    let parts: &[&str] = if request { &["host", ":path", ":method", "X-a"] } else { &[":status", "X-a", "etag"] };
    let set = btree_map(select(parts).prop_map(str::to_owned), one_of(&["request.path", "request.headers['x']"]), 0..3);
    let add = btree_map(one_of(HEADERS), one_of(VALUES), 0..3);
    let metadata = btree_map(one_of(&["a", "B-c", "d_1"]), one_of(VALUES), 0..3);
    let bodies = (option::of(one_of(&["request.headers", "{'x': 'y'}"])), option::of(one_of(VALUES)));
    (metadata, bodies, add, set, some_of(HEADERS)).prop_map(|(metadata, (replace, body), add, set, remove)| {
        transformations::TransformConfig { add, set, remove, replace, body, metadata }
    })
}

fn place() -> impl Strategy<Value = credential::Config> {
    let name = || one_of(&["x-key", "Sid", "k.1"]);
    let header = (name(), option::of(one_of(&["", "Bearer "])));
    prop_oneof![
        header.prop_map(|(name, prefix)| credential::Config::Header(credential::HeaderConfig { name, prefix })),
        name().prop_map(|name| credential::Config::QueryParameter(credential::NameConfig { name })),
        name().prop_map(|name| credential::Config::Cookie(credential::NameConfig { name })),
    ]
}

/// A key of nobody's, on P-256.
const EC_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfbLd+IRV3CkYlhrS
ESVOVFAqzuUXMkzN463OtQXtXMOhRANCAATU+RQ2RG/4nsX9rGF7kKl7S0oi9yHL
oQcZTMsQU7bWMK04w7PpOcaKwueQEBrUSyc6ladRC5/Ay37DB+dIZGOc
-----END PRIVATE KEY-----";

fn azure() -> impl Strategy<Value = backend_auth::AzureConfig> {
    use backend_auth::azure::{
        Assigned, AzureConfig, ClientSecretConfig, ExplicitConfig, ManagedConfig, NothingConfig,
    };
    let nothing = || Some(NothingConfig {});
    let ids =
        [Assigned::ClientId("c".to_owned()), Assigned::ObjectId("o".to_owned()), Assigned::ResourceId("/r".to_owned())];
    let managed =
        option::of(select(ids.to_vec())).prop_map(|user_assigned_identity| ManagedConfig { user_assigned_identity });
    (0..5, managed).prop_map(move |(kind, managed)| {
        let secret = ClientSecretConfig {
            tenant_id: "t.test".to_owned(),
            client_id: "c".to_owned(),
            client_secret: backend_auth::ValueConfig::Inline(backend_auth::SecretText("hunter2".to_owned())),
        };
        let explicit =
            |explicit_config| AzureConfig { explicit_config: Some(explicit_config), ..AzureConfig::default() };
        match kind {
            0 => explicit(ExplicitConfig { client_secret: Some(secret), ..ExplicitConfig::default() }),
            1 => explicit(ExplicitConfig { managed_identity: Some(managed), ..ExplicitConfig::default() }),
            2 => explicit(ExplicitConfig { workload_identity: nothing(), ..ExplicitConfig::default() }),
            3 => AzureConfig { developer_implicit: nothing(), ..AzureConfig::default() },
            _ => AzureConfig { implicit: nothing(), ..AzureConfig::default() },
        }
    })
}

fn role() -> impl Strategy<Value = backend_auth::aws::RoleConfig> {
    use backend_auth::aws::{RoleConfig, SessionNameConfig, TagConfig};
    let name = (any::<bool>(), one_of(&["agents", "a.b@c"])).prop_map(|(is_text, text)| match is_text {
        true => SessionNameConfig::Text(text),
        false => SessionNameConfig::Computed { expression: "jwt.sub".to_owned() },
    });
    let value = option::of(one_of(&["", "red team"]));
    let tags = btree_map(one_of(&["team", "Cost:center"]), value, 0..3).prop_map(|tags| {
        let tag = |(key, value): (String, Option<String>)| TagConfig {
            key,
            expression: value.is_none().then(|| "request.path".to_owned()),
            value,
        };
        tags.into_iter().map(tag).collect()
    });
    (option::of(name), tags).prop_map(|(session_name, tags)| RoleConfig {
        role_arn: "arn:aws:iam::123456789012:role/r".to_owned(),
        session_name,
        tags,
    })
}

pub(super) fn backend_auth() -> impl Strategy<Value = backend_auth::Config> {
    use backend_auth::*;
    let value = || one_of(&["k", "a/b+c=", "é"]).prop_map(|it| ValueConfig::Inline(SecretText(it)));
    let key = (value(), option::of(option::of(place()))).prop_map(|(value, placed)| match placed {
        None => KeyConfig::Plain(value),
        Some(location) => KeyConfig::Placed { value, location },
    });
    let further = (place(), value()).prop_map(|(location, key)| CredentialConfig { location, key });
    let primary = prop_oneof![
        key.prop_map(|key| (Some(key), None)),
        option::of(place()).prop_map(|location| (None, Some(PassthroughConfig { location }))),
        Just((None, None)),
    ];
    let sign = (option::of(place()), option::of(one_of(&["k1"])), select(&["{}", r#"{"a":[1,"é"]}"#][..]));
    let sign = sign.prop_map(|(location, kid, claims)| SignConfig {
        signing_key: ValueConfig::Inline(SecretText(EC_KEY.to_owned())),
        alg: Algorithm::ES256,
        kid,
        claims: serde_json::from_str(claims).unwrap(),
        ttl: None,
        location,
    });
    let secret = || one_of(&["AKIDEXAMPLE", "a/b+c="]).prop_map(|it| ValueConfig::Inline(SecretText(it)));
    let keys = option::of((secret(), secret(), option::of(secret())));
    let aws = (keys, option::of(one_of(&["us-east-1"])), option::of(one_of(&["bedrock", "s3"])), option::of(role()));
    let aws = aws.prop_map(|(keys, region, service_name, role)| {
        let assume_role = role.filter(|_| keys.is_none());
        let (access_key_id, secret_access_key, session_token) = match keys {
            Some((id, secret, token)) => (Some(id), Some(secret), token),
            None => (None, None, None),
        };
        AwsConfig { access_key_id, secret_access_key, session_token, region, service_name, assume_role }
    });
    const USER: &str = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    let gcp = (any::<bool>(), option::of(one_of(&["https://a.test"])), any::<bool>());
    let gcp = gcp.prop_map(|(is_id, audience, is_user)| GcpConfig {
        r#type: if is_id { gcp::Kind::IdToken } else { gcp::Kind::AccessToken },
        audience: audience.filter(|_| is_id),
        credential: (is_user && !is_id).then(|| ValueConfig::Inline(SecretText(USER.to_owned()))),
    });
    let azure = azure();
    // Each part has its own box: a stack holds all of them at once otherwise.
    let (primary, sign, aws, gcp) = (primary.boxed(), sign.boxed(), aws.boxed(), gcp.boxed());
    let signed = (option::of(sign), option::of(aws), option::of(gcp), option::of(azure.boxed()));
    (primary, signed, vec(further, 0..3))
        .prop_map(|((key, passthrough), (sign, aws, gcp, azure), credentials)| Config {
            azure: azure
                .filter(|_| key.is_none() && passthrough.is_none() && sign.is_none() && aws.is_none() && gcp.is_none()),
            gcp: gcp.filter(|_| key.is_none() && passthrough.is_none() && sign.is_none() && aws.is_none()),
            aws: aws.filter(|_| key.is_none() && passthrough.is_none() && sign.is_none()),
            jwt_sign: sign.filter(|_| key.is_none() && passthrough.is_none()),
            key,
            passthrough,
            credentials,
            ..Config::default()
        })
        .boxed()
}

pub(super) fn ai() -> impl Strategy<Value = ai::Config> {
    use ai::{BuiltinConfig, GuardConfig, GuardMode, GuardScope, RegexConfig, RuleConfig};
    let builtin = select(&[BuiltinConfig::Email, BuiltinConfig::Ssn, BuiltinConfig::CaSin][..]);
    let rule = prop_oneof![
        builtin.prop_map(|it| RuleConfig { builtin: Some(it), pattern: None }),
        one_of(&["a+", "secret"]).prop_map(|it| RuleConfig { builtin: None, pattern: Some(it) }),
    ];
    let mode = select(&[GuardMode::Enforce, GuardMode::Shadow, GuardMode::Audit][..]);
    let rejection = option::of((400..600u16).prop_map(|status| ai::RejectionConfig {
        status: Some(status),
        body: Some("no".to_owned()),
        headers: [("x-no".to_owned(), "1".to_owned())].into(),
    }));
    let action = select(&[ai::GuardAction::Mask, ai::GuardAction::Reject][..]);
    let guard = (vec(rule, 1..4), action, mode, rejection).prop_map(|(rules, action, mode, rejection)| GuardConfig {
        regex: Some(RegexConfig { action, rules }),
        webhook: None,
        scope: Vec::new(),
        rejection,
        mode,
    });
    let asking = any::<bool>().prop_map(|fail_open| GuardConfig {
        webhook: Some(ai::WebhookConfig {
            target: ai::WebhookTarget { host: Some("guard.internal:80".to_owned()), ..Default::default() },
            headers: [(":path".to_owned(), "'/v1'".to_owned()), ("x-who".to_owned(), "request.host".to_owned())].into(),
            forward_header_matches: vec![
                ai::ForwardConfig { name: "x-a".to_owned(), value: ai::ForwardValue::Exact("1".to_owned()) },
                ai::ForwardConfig { name: "x-b".to_owned(), value: ai::ForwardValue::Regex(".*".to_owned()) },
            ],
            failure_mode: match fail_open {
                true => ai::WebhookFailureMode::FailOpen,
                false => ai::WebhookFailureMode::FailClosed,
            },
        }),
        ..GuardConfig::default()
    });
    let guard = prop_oneof![guard, asking];
    let scopes = subsequence(&[GuardScope::Messages, GuardScope::ToolInput, GuardScope::ToolOutput][..], 0..=3);
    let scoped = (guard.clone(), scopes).prop_map(|(it, scope)| GuardConfig { scope, ..it });
    let prompt_guard = (vec(scoped, 0..3), vec(guard, 0..3), any::<bool>(), option::of(16..4096usize));
    let drain = option::of((1..600u64).prop_map(|it| lower::Span(std::time::Duration::from_secs(it))));
    let role = select(&[ai::PromptRole::System, ai::PromptRole::Developer, ai::PromptRole::User][..]);
    let prompt = role.prop_map(|role| ai::PromptConfig { role, content: "be brief".to_owned() });
    let prompts = (vec(prompt.clone(), 0..3), vec(prompt, 0..3))
        .prop_map(|(prepend, append)| ai::PromptsConfig { prepend, append });
    let caching = option::of((any::<[bool; 3]>(), 0..9_u64, 0..9_u32).prop_map(|(on, min_tokens, offset)| {
        let [cache_system, cache_messages, cache_tools] = on;
        let cache_message_offset = offset;
        ai::PromptCachingConfig { cache_system, cache_messages, cache_tools, min_tokens, cache_message_offset }
    }));
    (prompt_guard, drain, prompts, caching)
        .prop_map(|(guards, drain, prompts, prompt_caching)| ai_of(guards, drain, prompts, prompt_caching))
}

type Guarded = (Vec<ai::GuardConfig>, Vec<ai::GuardConfig>, bool, Option<usize>);

fn ai_of(
    (request, response, streams, hold_back): Guarded,
    drain: Option<lower::Span>,
    prompts: ai::PromptsConfig,
    prompt_caching: Option<ai::PromptCachingConfig>,
) -> ai::Config {
    use ai::{PromptGuardConfig, Streaming};
    ai::Config {
        model_aliases: [("gpt-*".to_owned(), "gpt-5".to_owned()), ("fast".to_owned(), "mini".to_owned())].into(),
        defaults: [("temperature".to_owned(), serde_json::json!(0.5))].into(),
        overrides: [("stop".to_owned(), serde_json::json!(["a", null]))].into(),
        transformations: [("max_tokens".to_owned(), "llmRequest.max_tokens + 1".to_owned())].into(),
        final_transformations: [("user".to_owned(), "request.host".to_owned())].into(),
        prompt_guard: Some(PromptGuardConfig {
            streaming: if streams { Streaming::Enabled } else { Streaming::Disabled },
            hold_back,
            request,
            response,
        }),
        first_token_timeout: drain,
        prompts: Some(prompts),
        prompt_caching,
        client_gone: drain.map(|drain| ai::ClientGoneConfig { drain }),
    }
}

pub(super) fn a2a() -> impl Strategy<Value = a2a::Config> {
    use a2a::{CardConfig, Config, Ids, Push, SignConfig, VerifyConfig};
    use backend_auth::{Algorithm, SecretText, ValueConfig};
    let sign = option::of(one_of(&["k1"])).prop_map(|kid| SignConfig {
        signing_key: ValueConfig::Inline(SecretText(EC_KEY.to_owned())),
        alg: Algorithm::ES256,
        kid,
    });
    let jwks = prop_oneof![
        Just(jwt_auth::JwksConfig::Inline(super::policies::JWKS.to_owned())),
        Just(jwt_auth::JwksConfig::Url { url: "https://agents.example/keys".to_owned() }),
    ];
    let ttl = option::of((0..3600u64).prop_map(|it| lower::Span(std::time::Duration::from_secs(it))));
    let card = (ttl, option::of(jwks), any::<bool>(), option::of(sign)).prop_map(|(ttl, jwks, require, sign)| {
        CardConfig { ttl, require: require && jwks.is_some(), verify: jwks.map(|jwks| VerifyConfig { jwks }), sign }
    });
    let ids = select(&[Ids::Sealed, Ids::Plain][..]);
    let push = select(&[Push::Checked, Push::Refused, Push::Unchecked, Push::Relayed][..]);
    (ids, push, option::of(card)).prop_map(|(ids, push_notifications, card)| {
        let relay_url = (push_notifications == Push::Relayed).then(|| "https://gw.example:8443".to_owned());
        Config { ids, push_notifications, relay_url, card }
    })
}

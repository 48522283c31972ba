//! What a token costs: the bare check of its signature, the whole judgement, and a token that is remembered.
//!
//! Goals: the judgement is at most 1.1 times the bare check; a remembered token costs a hash and a look-up.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, RSA_PKCS1_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use filters::jwt::{KeySet, KeySource, Keys, Provider, verify};
use filters::outside::{Later, Outside, Work};
use filters::{Exchange, Facts, Verdict, jwt_auth};
use pingora_http::RequestHeader;
use serde_json::json;
use units as _;

/// Identities in turn.
const IDENTITIES: usize = 1_000;
const NOW: Duration = Duration::from_secs(1_800_000_000);

struct Still;

impl Outside for Still {
    fn now(&self) -> Duration {
        NOW
    }

    fn callout(&self) -> &dyn filters::callout::Callout {
        &filters::callout::Nobody
    }

    fn work(&self, _: Work) -> Later<'_, Option<bool>> {
        Box::pin(async { None })
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of a key of 2048 bits, from its DER.
fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
    let (n, rest) = der[8..].split_at(usize::from(u16::from_be_bytes([der[6], der[7]])));
    (n.strip_prefix(&[0]).unwrap_or(n), &rest[2..])
}

fn token(key: &KeyPair, number: usize) -> String {
    let header = json!({"alg": "RS256", "kid": "bench", "typ": "JWT"});
    let claims = json!({
        "iss": "https://issuer.test", "aud": "api", "sub": format!("user-{number}"), "exp": NOW.as_secs() + 600,
        "email": format!("user-{number}@test"), "groups": ["readers", "writers"],
    });
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let mut out = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut out).expect("signs");
    format!("{signed}.{}", encode(out))
}

fn tokens(bench: &mut Criterion) {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let (n, e) = numbers(key.public_key().as_ref());
    let jwks = json!({"keys": [{"kty": "RSA", "kid": "bench", "n": encode(n), "e": encode(e)}]}).to_string();
    let tokens: Vec<_> = (0..IDENTITIES).map(|it| token(&key, it)).collect();
    let bare = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256);
    let bare = bare.expect("a public key");
    let parts: Vec<(String, Vec<u8>)> = tokens
        .iter()
        .map(|it| it.rsplit_once('.').expect("three parts"))
        .map(|(signed, signature)| (signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64")))
        .collect();
    let set = Arc::new(KeySet::parse(jwks.as_bytes()).expect("keys"));
    let provider = Provider {
        issuer: "https://issuer.test".into(),
        audiences: vec!["api".into()],
        keys: KeySource::Inline { text: jwks.as_str().into(), keys: set.clone() },
        required_claims: vec!["exp".into()],
        algorithms: Vec::new(),
        clock_skew: Duration::from_secs(60),
    };
    let (providers, keys) = ([provider.clone()], [Keys::Fixed(set)]);
    let policy = jwt_auth::Policy {
        mode: Default::default(),
        location: filters::credential::Location::authorization("Bearer"),
        forward: false,
        headers: Vec::new(),
        providers: vec![provider],
        state: Default::default(),
    };
    let mut group = bench.benchmark_group("token");
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 1) % IDENTITIES;
        turn
    };
    group.bench_function("signature", |it| {
        it.iter(|| {
            let (signed, signature) = &parts[next()];
            bare.verify_sig(black_box(signed.as_bytes()), signature).expect("right")
        });
    });
    group.bench_function("judgement", |it| {
        it.iter(|| verify::verify(&providers, &keys, black_box(&tokens[next()]), NOW).expect("right").provider);
    });
    let mut facts = Facts::new([127, 0, 0, 1].into(), false, 80);
    group.bench_function("remembered", |it| {
        it.iter_batched(
            || {
                let mut head = RequestHeader::build("GET", b"/", None).expect("a head");
                head.insert_header("authorization", format!("Bearer {}", tokens[next()])).expect("a header");
                head
            },
            |mut request| {
                let verdict =
                    policy.on_request(&mut Exchange { request: &mut request, facts: &mut facts, outside: &Still });
                assert!(matches!(verdict, Verdict::Continue));
                request
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .without_plots()
}

criterion_group! { name = units; config = short(); targets = tokens }
criterion_main!(units);

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::backend_auth::{Errand, Near, Step, Way as _, bearer};
use crate::jwt::KeySet;
use crate::jwt::testing::RSA;
use crate::outside::still::Still;
use crate::testing::NOW;

fn pem() -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&RSA.private_keys().0))
}

fn account() -> Value {
    json!({"type": "service_account", "project_id": "p", "private_key_id": "one", "private_key": pem(),
        "client_email": "me@p.iam.gserviceaccount.com", "token_uri": "https://tokens.test/token"})
}

fn user() -> Value {
    json!({"type": "authorized_user", "client_id": "id&1", "client_secret": "hunter2", "refresh_token": "1//refresh"})
}

fn external(source: &Value, impersonates: bool) -> Value {
    let mut it = json!({"type": "external_account", "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.test/v1/token",
        "credential_source": source});
    if impersonates {
        let url = "https://iam.test/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
        it["service_account_impersonation_url"] = url.into();
    }
    it
}

fn lowered(document: &Value, kind: Kind) -> Result<Gcp, (&'static str, String)> {
    let audience = (kind == Kind::IdToken).then(|| Text::from("https://run.test"));
    Gcp::lower(kind, audience, Some(Secret::new(document.to_string().into_bytes())))
}

fn quest(document: Option<&Value>, target: Target, ambient: Ambient) -> Quest {
    Quest::new(document.map(|it| Source::parse(it.to_string().as_bytes()).unwrap()), target, ambient)
}

#[track_caller]
fn ask(step: Step) -> Errand {
    match step {
        Step::Ask(errand) => errand,
        other => panic!("nothing is asked: {other:?}"),
    }
}

#[track_caller]
fn header<'a>(errand: &'a Errand, name: &str) -> &'a [u8] {
    errand.headers.iter().find(|it| it.0 == name).map(|it| it.1.expose()).unwrap_or_default()
}

#[track_caller]
fn form(errand: &Errand) -> Vec<(String, String)> {
    let (kind, body) = errand.post.as_ref().expect("something is sent");
    assert_eq!(*kind, "application/x-www-form-urlencoded");
    let text = String::from_utf8(body.expose().to_vec()).unwrap();
    let decoded = |it: &str| {
        let mut out = Vec::new();
        let mut rest = it.bytes();
        while let Some(byte) = rest.next() {
            out.push(match byte {
                b'%' => u8::from_str_radix(&String::from_utf8(rest.by_ref().take(2).collect()).unwrap(), 16).unwrap(),
                byte => byte,
            });
        }
        String::from_utf8(out).unwrap()
    };
    text.split('&').map(|it| it.split_once('=').map(|(a, b)| (decoded(a), decoded(b))).unwrap()).collect()
}

fn done(step: Step) -> (String, u64) {
    match step {
        Step::Done(token, life) => (String::from_utf8(token.expose().to_vec()).unwrap(), life.as_secs()),
        other => panic!("no token: {other:?}"),
    }
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn id_token(exp: u64) -> String {
    let part = |it: Value| URL_SAFE_NO_PAD.encode(it.to_string());
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"aud": "https://run.test", "exp": exp})))
}

#[test]
fn a_service_account_signs_for_what_it_wants() {
    let now = NOW.as_secs();
    for (target, member, value) in [
        (Target::Access, "scope", "https://www.googleapis.com/auth/cloud-platform"),
        (Target::Id("https://run.test".into()), "target_audience", "https://run.test"),
    ] {
        let mut quest = quest(Some(&account()), target.clone(), Ambient::default());
        let errand = ask(quest.begin(NOW).unwrap());
        assert_eq!((errand.url.as_str(), errand.near), ("https://tokens.test/token", Near::Nobody));
        let sent = form(&errand);
        assert_eq!(sent[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let (signed, signature) = sent[1].1.rsplit_once('.').unwrap();
        let set = KeySet::parse(json!({ "keys": [RSA.jwk("one")] }).to_string().as_bytes()).unwrap();
        let rs256 = crate::jwt::Algorithm::parse("RS256").unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(set.find(Some("one"), rs256).any(|it| it.verify_sig(signed.as_bytes(), &signature).is_ok()));
        let want = json!({"iss": "me@p.iam.gserviceaccount.com", "aud": "https://tokens.test/token", "iat": now,
            "exp": now + 3600, member: value});
        assert_eq!(claims(&sent[1].1), want);
        let (answer, token, life) = match target {
            Target::Access => (
                json!({"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer"}),
                "ya29.a".to_owned(),
                3599,
            ),
            Target::Id(_) => (json!({"id_token": id_token(now + 3000)}), id_token(now + 3000), 3000),
        };
        assert_eq!(done(quest.go_on(200, answer.to_string().as_bytes(), NOW).unwrap()), (token, life));
    }
}

#[test]
fn users_machines_and_files_of_the_process_have_tokens_too() {
    let answer = br#"{"access_token":"ya29.b","expires_in":100}"#;
    let mut quest_ = quest(Some(&user()), Target::Access, Ambient::default());
    let errand = ask(quest_.begin(NOW).unwrap());
    assert_eq!(errand.url, "https://oauth2.googleapis.com/token");
    let want = [
        ("grant_type", "refresh_token"),
        ("client_id", "id&1"),
        ("client_secret", "hunter2"),
        ("refresh_token", "1//refresh"),
    ];
    assert_eq!(form(&errand), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(done(quest_.go_on(200, answer, NOW).unwrap()).1, 100);

    let errand = ask(quest(None, Target::Access, Ambient::default()).begin(NOW).unwrap());
    assert!(errand.near == Near::Metadata && errand.post.is_none());
    let account = "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default";
    assert!(errand.url.starts_with(&format!("{account}/token?scopes=https%3A%2F%2F")), "{}", errand.url);
    let ambient = Ambient { file: None, metadata: Some("127.0.0.1:81".to_owned()) };
    let mut quest_ = quest(None, Target::Id("https://run.test".into()), ambient);
    let errand = ask(quest_.begin(NOW).unwrap());
    let path = "computeMetadata/v1/instance/service-accounts/default/identity";
    assert_eq!(errand.url, format!("http://127.0.0.1:81/{path}?audience=https%3A%2F%2Frun.test&format=full"));
    let token = id_token(NOW.as_secs() + 60);
    assert_eq!(done(quest_.go_on(200, token.as_bytes(), NOW).unwrap()), (token, 60));

    let ambient = Ambient { file: Some("/adc.json".to_owned()), metadata: None };
    let mut quest_ = quest(None, Target::Access, ambient);
    assert!(matches!(quest_.begin(NOW).unwrap(), Step::Read(it) if it == "/adc.json"));
    let errand = ask(quest_.go_on(200, user().to_string().as_bytes(), NOW).unwrap());
    assert_eq!(errand.url, "https://oauth2.googleapis.com/token");
}

#[test]
fn who_is_known_elsewhere_exchanges_the_token_of_there() {
    let source = json!({"file": "/token", "format": {"type": "json", "subject_token_field_name": "t"}});
    for (impersonates, target) in
        [(false, Target::Access), (true, Target::Access), (true, Target::Id("https://run.test".into()))]
    {
        let mut quest = quest(Some(&external(&source, impersonates)), target.clone(), Ambient::default());
        assert!(matches!(quest.begin(NOW).unwrap(), Step::Read(it) if it == "/token"));
        let errand = ask(quest.go_on(200, br#"{"t": "elsewhere"}"#, NOW).unwrap());
        let sent = form(&errand);
        assert_eq!(errand.url, "https://sts.test/v1/token");
        assert!(sent.contains(&("subject_token".to_owned(), "elsewhere".to_owned())), "{sent:?}");
        assert!(sent.contains(&("audience".to_owned(), "//iam.googleapis.com/pool".to_owned())), "{sent:?}");
        let step = quest.go_on(200, br#"{"access_token":"ya29.d.x","expires_in":900}"#, NOW).unwrap();
        if !impersonates {
            assert_eq!(done(step), ("ya29.d.x".to_owned(), 900));
            continue;
        }
        let errand = ask(step);
        assert_eq!(header(&errand, "authorization"), b"Bearer ya29.d.x");
        let (url, answer, token) = match target {
            Target::Access => (
                ":generateAccessToken",
                json!({"accessToken": "ya29.e", "expireTime": "2030-01-01T00:00:00Z"}),
                "ya29.e".to_owned(),
            ),
            Target::Id(_) => {
                let token = id_token(NOW.as_secs() + 3600);
                (":generateIdToken", json!({"token": token}), token)
            }
        };
        assert!(errand.url.ends_with(url), "{}", errand.url);
        assert_eq!(done(quest.go_on(200, answer.to_string().as_bytes(), NOW).unwrap()), (token, 3600));
    }
}

#[test]
fn what_is_no_credential_is_refused_without_a_word_of_it() {
    let mut weak = account();
    weak["private_key"] = "hunter2".into();
    let mut other = user();
    other["token_uri"] = "ftp://x".into();
    for (document, said) in [
        (json!("hunter2"), "not a credential in JSON"),
        (json!({"type": "hunter2"}), "`type` is"),
        (json!({}), "there is no `type`"),
        (weak, "`private_key`: there is no PEM block"),
        (other, "`token_uri` is no URL"),
        (json!({"type": "authorized_user", "client_id": "a"}), "`client_secret` is missing"),
        (external(&json!({"executable": {"command": "hunter2"}}), false), "`credential_source` is a `file` or a `url`"),
    ] {
        let (key, reason) = lowered(&document, Kind::AccessToken).expect_err("refused");
        assert_eq!(key, "credential");
        assert!(reason.contains(said) && !reason.contains("hunter2"), "{reason}");
    }
    assert_eq!(lowered(&user(), Kind::IdToken).expect_err("refused").0, "credential");
    assert_eq!(Gcp::lower(Kind::AccessToken, Some("a".into()), None).expect_err("refused").0, "audience");
    assert_eq!(Gcp::lower(Kind::IdToken, Some("a b".into()), None).expect_err("refused").0, "audience");
    let gcp = lowered(&account(), Kind::AccessToken).unwrap();
    let shown = format!("{gcp:?} {}", serde_json::to_string(&gcp).unwrap());
    assert!(!shown.contains("PRIVATE KEY") && shown.contains("***"), "{shown}");
}

#[test]
fn errors_of_google_are_named_and_nothing_else_of_them_is_said() {
    for (status, body, said) in [
        (400, r#"{"error":"invalid_grant","error_description":"hunter2"}"#, "status 400: invalid_grant"),
        (403, r#"{"error":{"status":"PERMISSION_DENIED","message":"hunter2"}}"#, "status 403: PERMISSION_DENIED"),
        (500, "hunter2", "status 500"),
        (200, "hunter2", "the answer is no JSON"),
        (200, "{}", "the answer has no access token"),
        (200, r#"{"access_token":"a b"}"#, "the token is none that can be sent"),
    ] {
        let mut quest = quest(Some(&user()), Target::Access, Ambient::default());
        quest.begin(NOW).unwrap();
        assert_eq!(quest.go_on(status, body.as_bytes(), NOW).expect_err("refused"), said);
    }
}

fn sent(gcp: &Gcp, now: Duration) -> Result<String, String> {
    let (mut head, facts) = crate::testing::request("GET", "/");
    head.insert_header("host", "run.test:8080").unwrap();
    head.insert_header("authorization", "Bearer client").unwrap();
    let outside = Still(now);
    let body = super::super::outgoing::Payload::Streams;
    let mut message = Outgoing { head: &mut head, body, facts: &facts, outside: &outside };
    let written = gcp.write(&mut message);
    let values: Vec<_> =
        head.headers.get_all("authorization").iter().map(|it| it.to_str().unwrap().to_owned()).collect();
    written.map(|()| values.join(","))
}

/// A token that has come, which is good for so long.
fn accept(tokens: &Tokens, target: &Target, token: &'static [u8], seconds: u64, now: Duration) {
    let value = bearer(&Secret::new(token)).unwrap();
    tokens.fresh().accept(target, value, Some(Duration::from_secs(seconds)), now);
}

fn all(keep: &Keep) -> Arc<Tokens> {
    keep.all_shared::<Tokens>().pop().expect("tokens")
}

#[test]
fn a_token_is_renewed_before_its_end_and_the_last_good_one_serves_meanwhile() {
    let keep = Keep::default();
    let (gcp, same) =
        (lowered(&account(), Kind::AccessToken).unwrap(), lowered(&account(), Kind::AccessToken).unwrap());
    gcp.bind(&keep);
    same.bind(&keep);
    assert_eq!(keep.all_shared::<Tokens>().len(), 1, "one credential, one token");
    let tokens = all(&keep);
    let at = |seconds: u64| NOW + Duration::from_secs(seconds);
    assert_eq!(sent(&gcp, NOW), Err("there is no token of Google's yet".to_owned()));
    assert_eq!(tokens.fresh().due(NOW, 99).len(), 1);
    assert!(tokens.fresh().due(NOW, 99).is_empty(), "one is under way");
    let mut waits = Box::pin(gcp.waits(None).expect("there is none yet"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending());
    accept(&tokens, &Target::Access, b"one", 3600, NOW);
    assert!(waits.as_mut().poll(&mut context).is_ready());
    assert!(gcp.waits(None).is_none());
    assert_eq!(sent(&same, NOW).as_deref(), Ok("Bearer one"));
    assert_eq!(tokens.fresh().next(), Some(at(3600 - 225)));
    assert!(tokens.fresh().due(at(3374), 99).is_empty());
    for seconds in [3375, 3376, 3378] {
        assert_eq!(tokens.fresh().due(at(seconds), 99).len(), 1, "{seconds}");
        tokens.fresh().fail(&Target::Access, "down".to_owned(), at(seconds));
        assert_eq!(sent(&gcp, at(seconds)).as_deref(), Ok("Bearer one"));
    }
    assert_eq!(tokens.fresh().faults(), [(Target::Access, "down".to_owned())]);
    assert_eq!(sent(&gcp, at(3596)), Err("there is no token of Google's: down".to_owned()));
    assert_eq!(tokens.fresh().due(at(3596), 99).len(), 1);
    accept(&tokens, &Target::Access, b"two", 10, at(3596));
    assert_eq!(sent(&gcp, at(3596)).as_deref(), Ok("Bearer two"));
    assert_eq!((tokens.fresh().next(), tokens.fresh().faults().len()), (Some(at(3601)), 0), "half of a short life");
}

#[test]
fn id_tokens_are_for_the_host_that_is_sent_unless_an_audience_is_written() {
    let keep = Keep::default();
    let gcp = Gcp::lower(Kind::IdToken, None, None).unwrap();
    gcp.bind(&keep);
    let tokens = all(&keep);
    assert!(tokens.fresh().due(NOW, 99).is_empty());
    assert!(sent(&gcp, NOW).is_err());
    let targets = tokens.fresh().due(NOW, 99);
    assert_eq!(targets, [Target::Id("https://run.test".into())]);
    accept(&tokens, &targets[0], b"id", 60, NOW);
    assert_eq!(sent(&gcp, NOW).as_deref(), Ok("Bearer id"));
    // What was not asked for the longest makes room: of those that have not come, where they are many.
    for n in 0..64 {
        assert!(gcp.waits(Some(&format!("h{n}.test"))).is_some());
    }
    let due = tokens.fresh().due(NOW, 99);
    assert!(due.len() == 63 && !due.contains(&Target::Id("https://h0.test".into())), "{due:?}");
    assert_eq!(sent(&gcp, NOW).as_deref(), Ok("Bearer id"));
    assert!(gcp.waits(Some("one-too-many.test")).is_none());
}

#[test]
fn a_life_without_measure_and_a_policy_that_is_gone_do_no_harm() {
    let keep = Keep::default();
    let gcp = lowered(&user(), Kind::AccessToken).unwrap();
    gcp.bind(&keep);
    let tokens = all(&keep);
    assert_eq!(tokens.fresh().due(NOW, 0), [], "nobody has time");
    assert_eq!(tokens.fresh().due(NOW, 1), [Target::Access]);
    accept(&tokens, &Target::Access, b"long", u64::MAX, NOW);
    assert_eq!(sent(&gcp, NOW).as_deref(), Ok("Bearer long"));
    // One that could not be renewed is not let go while it is good, used or not.
    accept(&tokens, &Target::Access, b"short", 1_000, NOW);
    let at = |seconds: u64| NOW + Duration::from_secs(seconds);
    drop(gcp);
    for (seconds, due) in [(800, 1), (802, 1), (996, 1), (1_030, 0)] {
        assert_eq!(tokens.fresh().due(at(seconds), 9).len(), due, "{seconds}");
        tokens.fresh().fail(&Target::Access, "down".to_owned(), at(seconds));
    }
}

#[test]
fn what_nobody_uses_any_more_is_not_renewed_unless_a_policy_in_force_names_it() {
    let keep = Keep::default();
    let of_hosts = Gcp::lower(Kind::IdToken, None, None).unwrap();
    let written = Gcp::lower(Kind::IdToken, Some("https://written.test".into()), None).unwrap();
    of_hosts.bind(&keep);
    written.bind(&keep);
    let tokens = all(&keep);
    let at = |seconds: u64| NOW + Duration::from_secs(seconds);
    assert!(sent(&of_hosts, NOW).is_err());
    for (seconds, count) in [(0, 2), (1_000, 2), (2_000, 1)] {
        let due = tokens.fresh().due(at(seconds), 99);
        assert_eq!(due.len(), count, "{seconds}");
        due.iter().for_each(|it| accept(&tokens, it, b"id", 1_000, at(seconds)));
        // Used in the first of the lives alone.
        assert!(seconds > 0 || sent(&of_hosts, NOW).is_ok());
    }
}

#[test]
fn who_impersonates_asks_with_its_own_credential_and_through_delegates() {
    let mut document = json!({"type": "impersonated_service_account", "source_credentials": user(), "delegates": ["a@b"],
        "service_account_impersonation_url": "https://iam.test/v1/projects/-/serviceAccounts/c@d:generateAccessToken"});
    for (target, url, body) in [
        (
            Target::Access,
            ":generateAccessToken",
            json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "3600s", "delegates": ["a@b"]}),
        ),
        (
            Target::Id("x".into()),
            ":generateIdToken",
            json!({"audience": "x", "includeEmail": true, "delegates": ["a@b"]}),
        ),
    ] {
        let mut quest = quest(Some(&document), target.clone(), Ambient::default());
        let first = ask(quest.begin(NOW).unwrap());
        assert_eq!(
            (first.url.as_str(), form(&first)[0].1.as_str()),
            ("https://oauth2.googleapis.com/token", "refresh_token")
        );
        let own = json!({"access_token": "ya29.own", "expires_in": 3600}).to_string();
        let second = ask(quest.go_on(200, own.as_bytes(), NOW).unwrap());
        assert_eq!(header(&second, "authorization"), b"Bearer ya29.own");
        assert!(second.url.ends_with(url), "{}", second.url);
        let sent: Value = serde_json::from_slice(second.post.as_ref().unwrap().1.expose()).unwrap();
        assert_eq!(sent, body);
        let came = match target {
            Target::Access => json!({"accessToken": "ya29.theirs", "expireTime": "2035-01-01T00:00:00Z"}),
            Target::Id(_) => json!({"token": "e30.e30.c2ln"}),
        };
        let (token, _) = done(quest.go_on(200, came.to_string().as_bytes(), NOW).unwrap());
        assert!(token == "ya29.theirs" || token == "e30.e30.c2ln", "{token}");
    }
    document["source_credentials"] = document.clone();
    let why = lowered(&document, Kind::AccessToken).unwrap_err().1;
    assert!(why.starts_with("`source_credentials`: `type` is"), "{why}");
}

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Config, Policy, Users};
use crate::outside::{Later, Outside, Work};
use crate::testing::{NOW, lower, refuses, request};
use crate::{Exchange, Reason, Verdict};

/// What `openssl passwd -apr1 -salt SALT PASSWORD` prints.
const APR1: &[(&str, &str, &str)] = &[
    ("open sesame", "saltsalt", "$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ."),
    ("", "saltsalt", "$apr1$saltsalt$a8ml/vK5HEjiZ5oypDWA7/"),
    ("x", "saltsalt", "$apr1$saltsalt$Q17bmANhIA7pctgRGqF/S0"),
    ("a long password with more than sixteen bytes", "saltsalt", "$apr1$saltsalt$hmGRmuOPBww47kZbVQ20R1"),
    ("ö", "a", "$apr1$a$oruUz2Psh5TvSWREadlPp0"),
];

/// A world whose clock can be set, and which counts what it is asked to do.
struct World {
    now: Mutex<Duration>,
    worked: Mutex<u32>,
    busy: bool,
}

impl World {
    fn new() -> Self {
        Self { now: Mutex::new(NOW), worked: Mutex::new(0), busy: false }
    }

    fn worked(&self) -> u32 {
        *self.worked.lock().unwrap()
    }
}

impl Outside for World {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn callout(&self) -> &dyn crate::callout::Callout {
        &crate::callout::Nobody
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        *self.worked.lock().unwrap() += 1;
        Box::pin(async move { (!self.busy).then(work) })
    }
}

/// Made with the crates themselves, at their lowest cost.
fn htpasswd() -> String {
    let bcrypt = bcrypt::hash("open sesame", 4).unwrap();
    let salt = argon2::password_hash::SaltString::encode_b64(b"saltsaltsalt").unwrap();
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let argon = argon2::PasswordHasher::hash_password(&hasher, b"open sesame", &salt).unwrap();
    format!(
        "# users\n\nbcrypt:{bcrypt}\nargon:{argon}\nsha:{{SHA}}{}\napr1:{}\n",
        STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"open sesame")),
        super::apr1::hash(b"open sesame", "saltsalt"),
    )
}

fn policy(changed: Value) -> Policy {
    let mut config = json!({"htpasswd": htpasswd()});
    config.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    lower(config, Config::lower)
}

/// The user let in, or status and challenge.
fn run(policy: &Policy, world: &World, header: &'static str, value: &str) -> Result<String, (u16, String)> {
    let (mut head, mut facts) = request("GET", "/");
    if !value.is_empty() {
        head.append_header(header, value).unwrap();
    }
    let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside: world };
    let verdict = match policy.on_request(&mut exchange) {
        Some(verdict) => verdict,
        None => now_or_never(policy.in_time(&mut exchange)),
    };
    match verdict {
        Verdict::Continue => Ok(facts.identity.basic.as_deref().unwrap_or("-").to_owned()),
        Verdict::Reply(reply) => {
            assert_eq!(reply.reason, Reason::BasicAuth);
            let challenge = reply.headers.iter().find(|(name, _)| name.as_str().ends_with("authenticate"));
            Err((reply.status, challenge.map(|it| format!("{}: {}", it.0, it.1.to_str().unwrap())).unwrap_or_default()))
        }
    }
}

/// Futures of a world that stands still are ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(it) => it,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn every_kind_of_hash_lets_its_user_in_and_nobody_else() {
    let it = policy(json!({}));
    let world = World::new();
    for user in ["bcrypt", "argon", "sha", "apr1"] {
        assert_eq!(run(&it, &world, "authorization", &basic(user, "open sesame")), Ok(user.to_owned()));
        for wrong in ["open sesam", "", "Open sesame", "open sesame\0"] {
            let refused = run(&it, &world, "authorization", &basic(user, wrong)).unwrap_err();
            assert_eq!(refused.0, 401, "{user} with {wrong:?}");
        }
    }
    assert_eq!(it.users.weak(), 2);
}

#[test]
fn apr1_is_as_the_tool_writes_it() {
    for (password, salt, hash) in APR1 {
        assert_eq!(super::apr1::hash(password.as_bytes(), salt), *hash, "{password:?}");
    }
}

#[test]
fn a_right_password_is_remembered_for_a_minute_and_a_wrong_one_is_not() {
    let it = policy(json!({}));
    let world = World::new();
    let right = basic("bcrypt", "open sesame");
    for _ in 0..3 {
        assert!(run(&it, &world, "authorization", &right).is_ok());
    }
    assert_eq!(world.worked(), 1);
    *world.now.lock().unwrap() += Duration::from_secs(61);
    assert!(run(&it, &world, "authorization", &right).is_ok());
    assert_eq!(world.worked(), 2);
    for number in 0..3 {
        assert!(run(&it, &world, "authorization", &basic("bcrypt", "wrong")).is_err());
        assert_eq!(world.worked(), 3 + number);
    }
}

#[test]
fn an_unknown_user_costs_a_hash_and_gets_the_same_answer() {
    let it = policy(json!({}));
    let world = World::new();
    let wrong = run(&it, &world, "authorization", &basic("bcrypt", "wrong"));
    let unknown = run(&it, &world, "authorization", &basic("nobody", "wrong"));
    assert_eq!((wrong, world.worked()), (unknown, 2));
}

#[test]
fn what_is_missing_malformed_or_too_large_is_refused_without_a_hash() {
    let world = World::new();
    let want = (401, "www-authenticate: Basic realm=\"Restricted\", charset=\"UTF-8\"".to_owned());
    let it = policy(json!({}));
    let huge = basic("bcrypt", &"x".repeat(2000));
    for value in ["", "Basic", "Basic !!!", "Basic YQ==", "Bearer abc", &huge] {
        assert_eq!(run(&it, &world, "authorization", value), Err(want.clone()), "{value}");
    }
    assert_eq!(world.worked(), 0);
    for (mode, missing, wrong) in [("optional", true, false), ("permissive", true, true)] {
        let it = policy(json!({"mode": mode}));
        assert_eq!(run(&it, &world, "authorization", "").is_ok(), missing, "{mode}");
        assert_eq!(run(&it, &world, "authorization", &basic("sha", "wrong")).is_ok(), wrong, "{mode}");
    }
}

#[test]
fn a_proxy_asks_with_407() {
    let location = json!({"header": {"name": "proxy-authorization", "prefix": "Basic "}});
    let it = policy(json!({"authorizationLocation": location, "realm": "The proxy"}));
    let refused = run(&it, &World::new(), "proxy-authorization", "").unwrap_err();
    assert_eq!(refused, (407, "proxy-authenticate: Basic realm=\"The proxy\", charset=\"UTF-8\"".to_owned()));
    let value = basic("sha", "open sesame");
    assert_eq!(run(&it, &World::new(), "proxy-authorization", &value), Ok("sha".to_owned()));
}

#[test]
fn where_too_much_waits_the_answer_is_503() {
    let world = World { busy: true, ..World::new() };
    let refused = run(&policy(json!({})), &world, "authorization", &basic("sha", "open sesame")).unwrap_err();
    assert_eq!(refused.0, 503);
}

#[test]
fn files_that_cannot_be_meant_are_refused_without_showing_hashes() {
    for (text, why) in [
        ("", "there is no user"),
        ("bob", "line 1: write `user:hash`"),
        (":x", "line 1: a user has a name"),
        ("bob:hunter2", "line 1: not a hash this gateway knows"),
        ("bob:$1$hunter2", "not a hash this gateway knows"),
        ("bob:{SHA}hunter2", "not a SHA-1"),
        ("bob:$apr1$hunter2", "not an $apr1$"),
        ("bob:$2y$04$hunter2", "not a bcrypt hash"),
        ("bob:$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "a bcrypt cost of 31: 4 to 14"),
        ("bob:$argon2id$hunter2", "not an argon2 hash"),
        ("bob:$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "more than 256 MiB"),
    ] {
        let problems = Users::parse(text.as_bytes()).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(why), "{text}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
    let twice = htpasswd() + "sha:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    assert!(Users::parse(twice.as_bytes()).unwrap_err()[0].contains("here twice"));
    refuses([(json!({"htpasswd": htpasswd(), "realm": "a\"b"}), "policy.realm: a realm is")], Config::lower);
}

#[test]
fn hashes_are_shown_nowhere() {
    let it = policy(json!({}));
    let shown = format!("{it:?} {}", serde_json::to_string(&it).unwrap());
    for part in ["$2", "argon2", "SHA}", "apr1"] {
        assert!(!shown.contains(part), "{shown}");
    }
    let again = Users::parse(it.users.text().as_bytes()).unwrap();
    assert!(again == *it.users, "the lines again are the same users");
}

//! `backendAuth: { aws: … }` without keys of its own: what the process is lent by profile, web identity, container and
//! machine, and the sessions of roles. The servers are fakes that speak what AWS documents; `tests/outside` has others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tests::backend::{Asked, answer};
use tests::control::Plane;
use tests::gateway::Setup;
use tests::http::query_pairs;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, config, eventually};

const ROLE: &str = "arn:aws:iam::123456789012:role/agents";

type Forms = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

/// STS, as a server of forms that answers with XML; what it was asked is kept. Credentials are good for `life` seconds.
fn sts(life: i64) -> (Backend, Forms) {
    let (forms, count) = (Forms::default(), AtomicU64::new(0));
    let kept = forms.clone();
    let server = Backend::http(move |asked: Asked| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut form: BTreeMap<String, String> = query_pairs(&asked.text()).into_iter().collect();
        form.insert("(signed by)".to_owned(), asked.header("authorization").unwrap_or_default().to_owned());
        let reply = given(&form, n, life);
        kept.lock().expect("a lock").push(form);
        async move {
            let (status, body) = reply.map_or_else(|code| (403, refused(code)), |xml| (200, xml));
            let mut reply = answer::text(status, body);
            reply.headers_mut().insert("content-type", http::HeaderValue::from_static("text/xml"));
            reply
        }
    });
    (server, forms)
}

fn given(form: &BTreeMap<String, String>, n: u64, life: i64) -> Result<String, &'static str> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let action = field("Action");
    let knows = match action {
        "AssumeRole" => {
            ["AKIDBASE/", "ASIALENT"].iter().any(|it| field("(signed by)").contains(&format!("Credential={it}")))
        }
        "AssumeRoleWithWebIdentity" => field("WebIdentityToken") == "canary-identity",
        _ => return Err("InvalidAction"),
    };
    if !knows || field("RoleArn") != ROLE || field("Version") != "2011-06-15" {
        return Err("AccessDenied");
    }
    let (name, end) = (field("RoleSessionName"), expiration(life));
    Ok(format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser>\
         <AssumedRoleId>ARO:{name}</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/agents/{name}</Arn>\
         </AssumedRoleUser><Credentials><AccessKeyId>ASIALENT{n}</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>\
         <SessionToken>canary-token-{n}</SessionToken><Expiration>{end}</Expiration></Credentials></{action}Result>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    ))
}

fn refused(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>not for you</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

fn expiration(life: i64) -> String {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(life);
    end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn yaml(backend: &Backend, more: &str) -> String {
    config::backend(backend, &format!("backendAuth: {{ aws: {{ serviceName: bedrock{more} }} }}"))
}

/// A process that finds nothing of the developer's, and no machine.
fn setup(yaml: &str, env: &[(&str, &str)]) -> Setup {
    let alone = [
        ("AWS_CONFIG_FILE", "/nowhere/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let all = alone.iter().filter(|(name, _)| !env.iter().any(|it| it.0 == *name)).chain(env);
    all.fold(Gateway::setup(yaml), |setup, (name, value)| setup.env(name, value))
}

/// Who signed what the backend got last, for which region, and with which token.
fn signed(backend: &Backend) -> (String, String, Option<String>) {
    let asked = backend.stats().last();
    let value = asked.header("authorization").unwrap_or_default();
    let scope = value.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap_or_else(|| panic!("no signature: {value}"));
    let mut parts = scope.split('/');
    let (id, region) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    (id.to_owned(), region.to_owned(), asked.header("x-amz-security-token").map(str::to_owned))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[tokio::test]
async fn the_process_signs_with_what_its_profile_says() {
    let (backend, (sts, forms)) = (Backend::echo(), sts(3600));
    let folder = tempfile::tempdir().expect("a folder");
    let (config, credentials) = (folder.path().join("config"), folder.path().join("credentials"));
    let assumed = format!(
        "[default]\nregion = us-east-2\n[profile other]\nregion = eu-north-1\nrole_arn = {ROLE}\nrole_session_name = mine\nsource_profile = base\n"
    );
    std::fs::write(&config, assumed).expect("written");
    let own = "[default]\naws_access_key_id = AKIDOWN\naws_secret_access_key = canary-own\n[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = canary-base\n";
    std::fs::write(&credentials, own).expect("written");
    let endpoint = format!("http://{}", sts.addr());
    for (profile, want) in
        [("default", ("AKIDOWN", "us-east-2", None)), ("other", ("ASIALENT1", "eu-north-1", Some("canary-token-1")))]
    {
        let env = [
            ("AWS_CONFIG_FILE", text(&config)),
            ("AWS_SHARED_CREDENTIALS_FILE", text(&credentials)),
            ("AWS_PROFILE", profile),
            ("AWS_ENDPOINT_URL_STS", &endpoint),
        ];
        let gateway = setup(&yaml(&backend, ""), &env).start().await;
        let calls: Vec<_> = (0..20).map(|_| tokio::spawn(gateway.client().get("/").try_send())).collect();
        for call in calls {
            call.await.expect("the client").expect("an answer").expect_status(200);
        }
        let (id, region, token) = signed(&backend);
        assert_eq!((&*id, &*region, token.as_deref()), want);
        for path in ["/config_dump", "/config/status", "/backends"] {
            assert!(!gateway.admin("GET", path).await.text().contains("canary-"), "{path}");
        }
        assert!(!gateway.log().text().contains("canary-"), "{}", gateway.log().text());
        gateway.stop().await;
    }
    let forms = forms.lock().expect("a lock");
    let [form] = &forms[..] else { panic!("one session for all requests: {forms:?}") };
    assert_eq!((&*form["Action"], &*form["RoleSessionName"]), ("AssumeRole", "mine"));
}

#[tokio::test]
async fn web_identities_containers_and_machines_have_credentials_without_a_secret_in_the_document() {
    let (backend, (sts, forms)) = (Backend::echo(), sts(3600));
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "canary-identity").expect("written");
    let lent = Backend::http(|asked: Asked| async move {
        let document = json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAHERE", "SecretAccessKey": "canary-secret",
            "Token": "canary-here", "Expiration": expiration(3600), "LastUpdated": "2026-01-01T00:00:00Z"});
        let session = asked.header("x-aws-ec2-metadata-token") == Some("canary-session");
        match (asked.method.as_str(), asked.uri.path()) {
            // The address that a pod is given (EKS Pod Identity), and ECS alike.
            ("GET", "/v1/credentials") if asked.header("authorization") == Some("canary-pod") => {
                answer::json(&document)
            }
            // IMDSv2: nothing without a session.
            ("PUT", "/latest/api/token") if asked.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
                let mut reply = answer::text(200, "canary-session");
                let ttl = http::HeaderValue::from_static("21600");
                reply.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", ttl);
                reply
            }
            ("GET", "/latest/meta-data/placement/region") if session => answer::text(200, "sa-east-1"),
            ("GET", "/latest/meta-data/iam/security-credentials/") if session => answer::text(200, "mine"),
            ("GET", "/latest/meta-data/iam/security-credentials/mine") if session => answer::json(&document),
            _ => answer::text(404, "no such place"),
        }
    });
    let (sts_url, pod_url) = (format!("http://{}", sts.addr()), format!("http://{}/v1/credentials", lent.addr()));
    let machine_url = format!("http://{}", lent.addr());
    let region = ("AWS_REGION", "eu-west-1");
    let identity = [
        region,
        ("AWS_WEB_IDENTITY_TOKEN_FILE", text(&token)),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ROLE_SESSION_NAME", "pod"),
        ("AWS_ENDPOINT_URL_STS", &sts_url),
    ];
    let pod = [
        region,
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*pod_url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-pod"),
    ];
    let machine = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*machine_url)];
    for (env, want) in [
        (&identity[..], ("ASIALENT1", "eu-west-1", Some("canary-token-1"))),
        (&pod[..], ("ASIAHERE", "eu-west-1", Some("canary-here"))),
        (&machine[..], ("ASIAHERE", "sa-east-1", Some("canary-here"))),
    ] {
        let gateway = setup(&yaml(&backend, ""), env).start().await;
        gateway.client().get("/").await.expect_status(200);
        let (id, region, token) = signed(&backend);
        assert_eq!((&*id, &*region, token.as_deref()), want);
        assert!(!gateway.log().text().contains("canary-"), "{}", gateway.log().text());
        gateway.stop().await;
    }
    let forms = forms.lock().expect("a lock");
    assert_eq!((&*forms[0]["Action"], &*forms[0]["RoleSessionName"]), ("AssumeRoleWithWebIdentity", "pod"));
    assert_eq!(forms[0]["(signed by)"], "", "the token itself says who asks");
}

#[tokio::test]
async fn each_client_has_a_session_of_its_own_from_a_file_and_from_a_control_plane() {
    let (backend, (sts, forms)) = (Backend::echo(), sts(3600));
    let role = format!(
        ", region: eu-west-1, assumeRole: {{ roleArn: '{ROLE}', sessionName: {{ expression: 'request.headers[\"x-user\"]' }}, \
         tags: [{{ key: team, value: red }}, {{ key: user, expression: 'request.headers[\"x-user\"]' }}] }}"
    );
    let document = yaml(&backend, &role);
    let plane = Plane::start(&document, &[]).await;
    let remote =
        format!("config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n", plane.addr());
    let endpoint = format!("http://{}", sts.addr());
    let env = [
        ("AWS_ACCESS_KEY_ID", "AKIDBASE"),
        ("AWS_SECRET_ACCESS_KEY", "canary-base"),
        ("AWS_ENDPOINT_URL_STS", &*endpoint),
    ];
    for document in [document, remote] {
        forms.lock().expect("a lock").clear();
        let gateway = setup(&document, &env).start().await;
        let client = Client::h1(gateway.listens("bind/127.0.0.1#0").await);
        let mut tokens = BTreeMap::new();
        for user in ["ann", "bob", "ann", "bob", "ann"] {
            client.get("/").header("x-user", user).await.expect_status(200);
            let (id, region, token) = signed(&backend);
            assert!(id.starts_with("ASIALENT") && region == "eu-west-1", "{id} {region}");
            let token = token.expect("a session's");
            assert_eq!(*tokens.entry(user).or_insert_with(|| token.clone()), token, "{user} keeps the session");
        }
        assert_ne!(tokens["ann"], tokens["bob"]);
        {
            let forms = forms.lock().expect("a lock");
            let [ann, bob] = &forms[..] else { panic!("a session for each: {forms:?}") };
            for (form, user) in [(ann, "ann"), (bob, "bob")] {
                assert_eq!((&*form["RoleArn"], &*form["RoleSessionName"]), (ROLE, user));
                assert_eq!((&*form["Tags.member.1.Key"], &*form["Tags.member.1.Value"]), ("team", "red"));
                assert_eq!((&*form["Tags.member.2.Key"], &*form["Tags.member.2.Value"]), ("user", user));
                assert!(form["(signed by)"].contains("/eu-west-1/sts/aws4_request"), "{form:?}");
            }
        }
        // In a name that AWS would not take nobody is asked, and nothing leaves.
        let (asked, sent) = (sts.stats().requests(), backend.stats().requests());
        client.get("/").header("x-user", "a b").await.expect_status(500);
        client.get("/").await.expect_status(500);
        assert_eq!((sts.stats().requests(), backend.stats().requests()), (asked, sent));
        let line = gateway.wait_access(6).await.remove(5);
        assert!(line["error"].as_str().is_some_and(|it| it.contains("a name of a session is of 2 to 64")), "{line}");
        gateway.stop().await;
    }
    plane.stop().await;
}

#[tokio::test]
async fn credentials_are_renewed_before_their_end_and_serve_while_that_fails() {
    let (backend, (sts, _)) = (Backend::echo(), sts(8));
    let endpoint = format!("http://{}", sts.addr());
    let env = [
        ("AWS_ACCESS_KEY_ID", "AKIDBASE"),
        ("AWS_SECRET_ACCESS_KEY", "canary-base"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_ENDPOINT_URL_STS", &*endpoint),
    ];
    let role = format!(", region: eu-west-1, assumeRole: {{ roleArn: '{ROLE}' }}");
    let gateway = setup(&yaml(&backend, &role), &env).start().await;
    gateway.client().get("/").await.expect_status(200);
    assert_eq!(signed(&backend).0, "ASIALENT1");
    sts.stats().fail_next(1, 503);
    eventually(PATIENCE, async || {
        gateway.client().get("/").await.expect_status(200);
        signed(&backend).0 != "ASIALENT1"
    })
    .await;
    gateway
        .wait_log(|it| it.contains("there is no credential") && it.contains("assumed") | it.contains("agentgateway"))
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_nobody_lends_is_said_and_nothing_leaves() {
    let (backend, (sts, _)) = (Backend::echo(), sts(3600));
    let endpoint = format!("http://{}", sts.addr());
    let role = |arn: &str| format!(", region: eu-west-1, assumeRole: {{ roleArn: '{arn}' }}");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDBASE"),
        ("AWS_SECRET_ACCESS_KEY", "canary-base"),
        ("AWS_ENDPOINT_URL_STS", &*endpoint),
    ];
    for (yaml, env, why) in [
        (yaml(&backend, ", region: eu-west-1"), &[][..], "neither environment, profile, web identity"),
        (yaml(&backend, &role(ROLE)), &[][..], "neither environment, profile, web identity"),
        (yaml(&backend, &role("arn:aws:iam::123456789012:role/others")), &keys[..], "AccessDenied"),
        // Nobody is led to a metadata server by an address that is written.
        (
            yaml(&backend, &role(ROLE)),
            &[keys[0], keys[1], ("AWS_ENDPOINT_URL_STS", "http://169.254.1.1")][..],
            "the address 169.254.1.1 is refused",
        ),
    ] {
        let gateway = setup(&yaml, env).start().await;
        let reply = gateway.client().get("/").header("authorization", "Bearer mine").await.expect_status(500);
        assert!(!reply.text().contains("AWS"), "{}", reply.text());
        let line = gateway.wait_access(1).await.remove(0);
        assert!(line["error"].as_str().is_some_and(|it| it.contains(why)), "{why}: {line}");
        let status = gateway.admin("GET", "/config/status").await.text();
        assert!(status.contains("credentials of ") && status.contains(why), "{status}");
        assert!(!gateway.log().text().contains("canary-"), "{}", gateway.log().text());
        assert_eq!(backend.stats().requests(), 0);
        gateway.stop().await;
    }
    for (written, said) in [
        ("assumeRole: { roleArn: me }", "backendAuth.aws.assumeRole.roleArn: the ARN of a role is like"),
        ("assumeRole: { roleArm: me }", "unknown key `roleArm` (did you mean `roleArn`?)"),
    ] {
        let yaml = yaml(&backend, &format!(", {written}"));
        let output = Gateway::run_cli(&["validate", "-c", &yaml], "").await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{written}: {text}");
    }
}

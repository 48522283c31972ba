//! `backendAuth: { aws: … }`: what of a message is signed, and that what cannot be signed does not leave.
//!
//! That the signature is the right one is for the published suite (`filters/src/backend_auth/aws`) and for
//! `tests/outside`, where AWS's own library checks it.

use aws_lc_rs::digest::{SHA256, digest};
use tests::backend::Asked;
use tests::control::Plane;
use tests::http::{channel, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, GrpcClient, config, eventually};

const KEYS: &str = "accessKeyId: AKIDEXAMPLE, secretAccessKey: hunter2";

fn policy(more: &str) -> String {
    format!("backendAuth: {{ aws: {{ {more} }} }}")
}

/// That it is signed for this region and service, and names these as signed.
fn signed(asked: &Asked, scope: &str, names: &str) {
    let values: Vec<_> = asked.headers.get_all("authorization").iter().collect();
    let [value] = values[..] else { panic!("one signature: {values:?}") };
    let value = value.to_str().expect("a text");
    let (day, rest) = value.split_once("/20").map(|(id, rest)| (id, &rest[6..])).expect("an id and a day");
    assert_eq!(day, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE", "{value}");
    let wanted = format!("/{scope}/aws4_request, SignedHeaders={names}, Signature=");
    let signature = rest.strip_prefix(&*wanted).unwrap_or_else(|| panic!("{wanted}: {value}"));
    assert!(signature.len() == 64 && signature.bytes().all(|it| it.is_ascii_hexdigit()), "{value}");
}

#[tokio::test]
async fn a_request_is_signed_with_its_body_from_a_file_and_from_a_control_plane() {
    let backend = Backend::echo();
    let policies = policy(&format!("{KEYS}, sessionToken: t-1, region: us-east-1, serviceName: bedrock"));
    let limit = "frontendPolicies: { http: { maxBufferSize: 100000 } }\n";
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        let document =
            limit.to_owned() + &config::backend(&backend, &format!("http: {{ version: {version} }}, {policies}"));
        let plane = Plane::start(&document, &[]).await;
        let remote =
            format!("config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n", plane.addr());
        for document in [document, remote] {
            let gateway = Gateway::start(&document).await;
            let addr = gateway.listens("bind/127.0.0.1#0").await;
            for client in [Client::h1(addr), Client::h2c(addr)] {
                let call = client.post("/model/a:0/invoke?b=c+d").header("authorization", "Bearer mine");
                let call = call.header("x-amz-date", "never").header("content-type", "application/json");
                call.body("{}").await.expect_status(200);
                let seen = backend.stats().last();
                signed(&seen, "us-east-1/bedrock", "content-type;host;x-amz-date;x-amz-security-token");
                assert_eq!(seen.uri.path_and_query().map(|it| it.as_str()), Some("/model/a%3A0/invoke?b=c%20d"));
                assert_eq!((seen.header("x-amz-security-token"), seen.text().as_str()), (Some("t-1"), "{}"));
                assert_eq!(seen.headers.get_all("x-amz-date").iter().count(), 1);
                // Of unknown length: it is read first, and sent with its length.
                let (sender, body) = channel();
                let call = tokio::spawn(client.post("/streamed").stream_body(body).try_send());
                for _ in 0..3 {
                    assert!(sender.data(pattern(20_000)).await);
                }
                drop(sender);
                call.await.expect("the client").expect("an answer").expect_status(200);
                let seen = backend.stats().last();
                assert_eq!((seen.body.len(), seen.header("content-length")), (60_000, Some("60000")), "{version}");
                assert_eq!(seen.header("transfer-encoding"), None);
                client.get("/").await.expect_status(200);
                assert_eq!(backend.stats().last().header("content-length"), None);
                let requests = backend.stats().requests();
                client.post("/").body(pattern(100_001)).await.expect_status(413);
                assert_eq!(backend.stats().requests(), requests, "what is too large to be signed goes nowhere");
            }
            gateway.stop().await;
        }
        plane.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_signed_does_not_leave_and_the_environment_can_say_who_signs() {
    let backend = Backend::echo();
    let yaml = config::backend(&backend, &policy("region: us-east-1, serviceName: lambda"));
    let nowhere = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];
    let setup = Gateway::setup(&yaml).env("AWS_EC2_METADATA_DISABLED", "true");
    let gateway = nowhere.iter().fold(setup, |setup, name| setup.env(name, "/nowhere")).start().await;
    let reply = gateway.client().get("/").header("authorization", "Bearer mine").await.expect_status(500);
    assert!(!reply.text().contains("AWS"), "{}", reply.text());
    let line = gateway.wait_access(1).await.remove(0);
    assert!(line["error"].as_str().is_some_and(|it| it.contains("set AWS_ACCESS_KEY_ID")), "{line}");
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;

    let setup = Gateway::setup(&config::backend(&backend, &policy("serviceName: lambda")));
    let setup = setup.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "canary-secret");
    let setup = setup.env("AWS_SESSION_TOKEN", "canary-token").env("AWS_REGION", "eu-west-1");
    let gateway = setup.start().await;
    gateway.client().get("/").await.expect_status(200);
    signed(&backend.stats().last(), "eu-west-1/lambda", "host;x-amz-date;x-amz-security-token");
    // Of gRPC the body is not known before it is sent.
    let grpc = GrpcClient::new(Client::h2c(gateway.addr(0)).host("grpc.example"));
    let reply = grpc.try_stream("/test.Echo/Unary", &[b""], &[]).await.expect("an answer");
    assert!(reply.status().is_some_and(|it| it != 0), "{:?}", reply.message());
    assert_eq!(backend.stats().requests(), 1);
    for path in ["/config_dump", "/config/status", "/backends"] {
        assert!(!gateway.admin("GET", path).await.text().contains("canary-"), "{path}");
    }
    assert!(!gateway.log().text().contains("canary-") && !gateway.metrics().await.contains("canary-"));
    gateway.stop().await;
}

#[tokio::test]
async fn each_try_is_signed_and_what_transformations_made_of_the_request_is() {
    let backend = Backend::echo();
    let policies = format!(
        "retry: {{ attempts: 2, codes: [503], backoff: 1ms }}, transformations: {{ request: {{ body: '\"made up\"', \
         set: {{ ':path': '\"/made/up\"' }} }} }}, {}",
        policy(&format!("{KEYS}, region: us-east-1, serviceName: s3"))
    );
    let gateway = Gateway::start(&config::route(&backend, &policies)).await;
    backend.stats().fail_next(1, 503);
    gateway.client().post("/x").body("sent").await.expect_status(200);
    let seen = backend.stats().seen();
    let [first, second] = &seen[..] else { panic!("two tries: {}", seen.len()) };
    let made: String = digest(&SHA256, b"made up").as_ref().iter().map(|it| format!("{it:02x}")).collect();
    for seen in [first, second] {
        signed(seen, "us-east-1/s3", "host;x-amz-content-sha256;x-amz-date");
        assert_eq!((seen.uri.path(), seen.text().as_str()), ("/made/up", "made up"));
        assert_eq!(seen.header("x-amz-content-sha256"), Some(&*made), "the digest of what leaves");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn keys_in_files_are_rotated_without_a_word_about_the_document() {
    let backend = Backend::echo();
    let aws = "accessKeyId: AKIDEXAMPLE, secretAccessKey: { file: '{{dir}}/secret' }, \
               sessionToken: { file: '{{dir}}/token' }, region: us-east-1, serviceName: lambda";
    let setup = Gateway::setup(&config::backend(&backend, &policy(aws)));
    let gateway = setup.file("secret", "hunter2\n").file("token", "first\n").start().await;
    let client = gateway.client();
    client.get("/").await.expect_status(200);
    assert_eq!(backend.stats().last().header("x-amz-security-token"), Some("first"));
    std::fs::write(gateway.dir().join("token"), "second").expect("the file");
    eventually(PATIENCE, || async {
        client.get("/").await.expect_status(200);
        backend.stats().last().header("x-amz-security-token") == Some("second")
    })
    .await;
    signed(&backend.stats().last(), "us-east-1/lambda", "host;x-amz-date;x-amz-security-token");
    gateway.stop().await;
}

use serde_json::json;

use super::super::Config;
use super::super::errand::{Errand, Near, Step, Way as _, bearer};
use super::*;
use crate::outside::still::Still;
use crate::testing::{NOW, lower, refuses, request};

fn ask(step: Result<Step, String>) -> Errand {
    match step {
        Ok(Step::Ask(errand)) => errand,
        other => panic!("nothing is asked: {other:?}"),
    }
}

fn sent(errand: &Errand) -> String {
    errand.post.as_ref().map(|it| String::from_utf8(it.1.expose().to_vec()).unwrap()).unwrap_or_default()
}

fn client() -> Kind {
    let secret = Secret::new(&b"hunter2"[..]);
    Kind::ClientSecret(Client { tenant: "t.test".into(), id: "app".into(), secret })
}

fn ambient(pairs: &[(&str, &str)]) -> Ambient {
    Ambient::of(|name| pairs.iter().find(|it| it.0 == name).map(|it| it.1.to_owned()))
}

#[test]
fn an_application_asks_with_its_secret_and_a_pod_with_its_token() {
    let mut quest = Quest::new(client(), Resource::CognitiveServices, Ambient::default());
    let errand = ask(quest.begin(NOW));
    assert_eq!(errand.url, "https://login.microsoftonline.com/t.test/oauth2/v2.0/token");
    let scope = "scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
    assert_eq!(sent(&errand), format!("grant_type=client_credentials&client_id=app&{scope}&client_secret=hunter2"));
    let came = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ.a"}).to_string();
    let Ok(Step::Done(token, life)) = quest.go_on(200, came.as_bytes(), NOW) else { panic!("no token") };
    assert_eq!((token.expose(), life.as_secs()), (&b"eyJ.a"[..], 3599));
    let why = quest.go_on(401, br#"{"error":"invalid_client","error_description":"hunter2"}"#, NOW).unwrap_err();
    assert_eq!(why, "status 401: invalid_client");

    let of_pod = ambient(&[
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "pod"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("AZURE_AUTHORITY_HOST", "https://login.test/"),
    ]);
    for kind in [Kind::WorkloadIdentity, Kind::Implicit] {
        let mut quest = Quest::new(kind, Resource::Foundry, of_pod.clone());
        assert!(matches!(quest.begin(NOW), Ok(Step::Read(it)) if it == "/token"));
        let errand = ask(quest.go_on(200, b"eyJ.pod\n", NOW));
        assert_eq!(errand.url, "https://login.test/t/oauth2/v2.0/token");
        let sent = sent(&errand);
        assert!(
            sent.contains("scope=https%3A%2F%2Fai.azure.com%2F.default") && sent.ends_with("client_assertion=eyJ.pod"),
            "{sent}"
        );
    }
    let why = Quest::new(Kind::WorkloadIdentity, Resource::Foundry, Ambient::default()).begin(NOW).unwrap_err();
    assert_eq!(why, "AZURE_FEDERATED_TOKEN_FILE is not set");
}

#[test]
fn a_machine_asks_its_metadata_server_or_what_the_process_was_told() {
    let assigned = Some(Assigned::ResourceId("/subscriptions/x".to_owned()));
    let mut quest =
        Quest::new(Kind::ManagedIdentity(assigned.clone()), Resource::CognitiveServices, Ambient::default());
    let errand = ask(quest.begin(NOW));
    assert!(errand.near == Near::Metadata && errand.headers[0].0 == "metadata", "{errand:?}");
    assert_eq!(
        errand.url,
        "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&\
         resource=https%3A%2F%2Fcognitiveservices.azure.com&msi_res_id=%2Fsubscriptions%2Fx"
    );
    let came = json!({"access_token": "a", "expires_on": (NOW.as_secs() + 77).to_string()}).to_string();
    let Ok(Step::Done(_, life)) = quest.go_on(200, came.as_bytes(), NOW) else { panic!("no token") };
    assert_eq!(life.as_secs(), 77);
    let told = ambient(&[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi"), ("IDENTITY_HEADER", "h")]);
    let errand = ask(Quest::new(Kind::ManagedIdentity(assigned), Resource::Foundry, told).begin(NOW));
    assert!(
        errand.near == Near::Told
            && errand.url.ends_with("resource=https%3A%2F%2Fai.azure.com&mi_res_id=%2Fsubscriptions%2Fx")
    );
    assert_eq!((errand.headers[0].0, errand.headers[0].1.expose()), ("x-identity-header", &b"h"[..]));
    let developer = Quest::new(Kind::DeveloperImplicit, Resource::Foundry, Ambient::default()).begin(NOW);
    assert!(matches!(developer, Ok(Step::Run(it)) if it[0] == "az" && it[6] == "https://ai.azure.com/.default"));
}

#[test]
fn the_host_says_what_a_token_is_for_and_policies_of_one_identity_share_it() {
    let secret = json!({"tenant_id": "t", "client_id": "c", "client_secret": "hunter2"});
    let written = json!({"azure": {"explicitConfig": {"clientSecret": secret}}});
    let keep = Keep::default();
    let policies: [super::super::Policy; 2] = [lower(written.clone(), Config::lower), lower(written, Config::lower)];
    policies.iter().for_each(|it| it.bind(&keep));
    let all = keep.all_shared::<Tokens>();
    let [tokens] = &all[..] else { panic!("one identity, one store") };
    let sent = |host: &str| {
        let (mut head, facts) = request("POST", "/");
        head.insert_header("host", host).unwrap();
        head.insert_header("authorization", "Bearer client").unwrap();
        let body = super::super::Payload::Streams;
        let message = Outgoing { head: &mut head, body, facts: &facts, outside: &Still(NOW) };
        policies[0].on_attempt(message).map(|()| head.headers["authorization"].to_str().unwrap().to_owned())
    };
    let hosts = ["x.openai.azure.com", "X.services.ai.azure.com:443"];
    assert_eq!(sent(hosts[0]), Err("there is no token of Azure's yet".to_owned()));
    assert_eq!(sent(hosts[1]), Err("there is no token of Azure's yet".to_owned()));
    assert_eq!(tokens.fresh().due(NOW, 99), [Resource::CognitiveServices, Resource::Foundry]);
    let value = bearer(&Secret::new(&b"eyJ"[..])).unwrap();
    tokens.fresh().accept(&Resource::Foundry, value, Some(std::time::Duration::from_secs(3600)), NOW);
    assert_eq!(sent(hosts[1]).as_deref(), Ok("Bearer eyJ"));
    assert!(sent(hosts[0]).is_err());
    let shown = format!("{:?} {}", policies[0], serde_json::to_string(&policies[0]).unwrap());
    assert!(!shown.contains("hunter2") && shown.contains("clientSecret"), "{shown}");
}

#[test]
fn what_is_no_identity_is_refused() {
    let secret = json!({"tenant_id": "a/b", "client_id": "c", "client_secret": "hunter2"});
    refuses(
        [
            (json!({"azure": {}}), "policy.azure: write exactly one of"),
            (json!({"azure": {"implicit": {}, "developerImplicit": {}}}), "policy.azure: write exactly one of"),
            (json!({"azure": {"explicitConfig": {}}}), "policy.azure.explicitConfig: write exactly one of"),
            (
                json!({"azure": {"explicitConfig": {"clientSecret": secret}}}),
                "policy.azure.explicitConfig.clientSecret.tenant_id: the id or the domain",
            ),
            (
                json!({"azure": {"explicitConfig": {"managedIdentity": {"userAssignedIdentity": {"clientId": ""}}}}}),
                "policy.azure.explicitConfig.managedIdentity.userAssignedIdentity: 1 to",
            ),
            (json!({"key": "k", "azure": {"implicit": {}}}), "policy.azure: there is one primary"),
        ],
        Config::lower,
    );
}

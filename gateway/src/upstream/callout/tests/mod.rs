//! Calls over real sockets, to servers that answer well and to those that do not.

mod grpc;
mod http;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use filters::callout::{self, Callout, Check, Checked, Fault, Headers, Target};
use filters::{Change, Facts, Patch, Policy};
use ir::{Backend, BackendKey, BackendKind, BackendRef, HostTarget, Origin};
use pingora_http::RequestHeader;
use serde_json::json;

use super::{Caller, Callouts};
use crate::plan::{Compiler, Plan};
use crate::statics::Statics;
use crate::telemetry::Telemetry;
use crate::upstream::Upstreams;

/// One server, asked under some policies.
struct Scene {
    callouts: Callouts,
    plan: Plan,
    target: Arc<Target>,
}

impl Scene {
    fn new(server: SocketAddr, policies: Vec<Policy>) -> Self {
        let statics = Arc::new(Statics::of_tests());
        let telemetry = Telemetry::with_output(&statics, Box::new(std::io::sink()));
        let plan = Plan::empty(Compiler::new(Arc::new(Upstreams::new(&statics)), statics));
        let plan = plan.with(&backend(server));
        let target = Target { backend: reference(), policies: callout::level(policies) };
        Self { callouts: Callouts::new(telemetry), plan, target: Arc::new(target) }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { callouts: &self.callouts, plan: &self.plan, until: None }
    }

    async fn check(&self) -> Result<Checked, Fault> {
        let (head, facts) = request();
        let (headers, context) = (Headers::All, BTreeMap::new());
        let check = Check {
            head: &head,
            facts: &facts,
            headers: &headers,
            body: None,
            context: &context,
            metadata: Default::default(),
        };
        self.caller().check(&self.target, check).await
    }

    fn metrics(&self) -> String {
        self.callouts.telemetry.encode(crate::telemetry::Exposition::negotiate(None))
    }
}

fn reference() -> BackendRef {
    BackendRef::Backend(BackendKey::new("authz"))
}

fn backend(server: SocketAddr) -> Patch {
    let key = BackendKey::new("authz");
    let kind = BackendKind::Host(HostTarget::Address(server));
    let backend = Backend { key: key.clone(), kind, origin: Origin::default() };
    [Change::Backend(key, Some(Arc::new(backend)))].into_iter().collect()
}

fn request() -> (RequestHeader, Facts) {
    let mut head = RequestHeader::build("POST", b"/a?b=1", None).unwrap();
    for (name, value) in [("host", "api.example.com"), ("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")]
    {
        head.append_header(name, value).unwrap();
    }
    let mut facts = Facts::new("192.0.2.1".parse().unwrap(), true, 443);
    facts.whereabouts.client_port = Some(4711);
    (head, facts)
}

/// A policy as written.
fn timeout(text: &str) -> Policy {
    let config: filters::backend_http::Config = serde_json::from_value(json!({ "requestTimeout": text })).unwrap();
    Policy::BackendHttp(lowered(|scope| config.lower(scope)))
}

fn lowered<P>(lower: impl FnOnce(&mut filters::Scope<'_>) -> Option<P>) -> P {
    struct Nothing;
    impl filters::Files for Nothing {
        fn read(&mut self, _: &filters::FileRef) -> Result<Vec<u8>, String> {
            Err("no files".to_owned())
        }
    }
    impl filters::lower::Backends for Nothing {
        fn refer(&mut self, _: filters::lower::SimpleBackend) -> Result<BackendRef, String> {
            Err("no backends".to_owned())
        }
    }
    let (mut files, mut backends) = (Nothing, Nothing);
    let mut scope = filters::Scope::new("policy", &mut files, &mut backends);
    lower(&mut scope).expect("the policy is valid")
}

//! Detached policies, frontend policies and named backends.

use std::sync::Arc;

use filters::{Attachment, placement};
use ir::{BackendKey, BackendKind, HostTarget, Inheritance, ObjectName, Phase, PolicyKey, ServiceKey, Target};

use super::{Lowering, plain_name};
use crate::local::document as doc;
use crate::local::policies::FrontendPolicies;

impl Lowering<'_> {
    pub fn frontend(&mut self, policies: FrontendPolicies) {
        let path = "frontendPolicies";
        if policies.proxy.is_some() && policies.proxy_protocol.is_some() {
            self.problem("frontendPolicies.proxy", "`proxy` is another name of `proxyProtocol`: write one");
        }
        if policies.logging.is_some() && policies.access_log.is_some() {
            self.problem("frontendPolicies.logging", "`logging` is another name of `accessLog`: write one");
        }
        let lowered = self.scoped(path, |scope| policies.lower(scope));
        self.attach(lowered, &Target::Instance, Phase::Route, path);
    }

    pub fn backend(&mut self, index: usize, backend: doc::Backend) {
        let path = format!("backends[{index}]");
        let doc::Backend { name, host, mcp, ai, policies } = backend;
        self.name("backend", plain_name(&name), &format!("{path}.name"));
        let key = BackendKey::new(plain_name(&name));
        let at = format!("{path}.policies");
        let target = Target::Backend(key.clone());
        let lowered =
            self.scoped_at(&at, Phase::Route, &target, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        self.attach(lowered, &target, Phase::Route, &at);
        match (host, mcp, ai) {
            (Some(host), None, None) => {
                let Some(target) = self.check(format!("{path}.host"), HostTarget::parse(&host)) else { return };
                let origin = self.origin(&path);
                self.out.backends.push(Arc::new(ir::Backend { key, kind: BackendKind::Host(target), origin }));
            }
            (None, Some(mcp), None) => drop(self.mcp_backend(&format!("{path}.mcp"), &key, mcp)),
            (None, None, Some(ai)) => drop(self.ai_backend(&format!("{path}.ai"), &key, ai)),
            _ => self.problem(path, "a backend is exactly one of `host`, `mcp` and `ai`"),
        }
    }

    pub fn detached(&mut self, index: usize, it: doc::DetachedPolicy) {
        let path = format!("policies[{index}]");
        let doc::DetachedPolicy { name, target, phase, inheritance, policy } = it;
        let key = format!("{}/{}", name.namespace, name.name);
        self.name("policy", key.clone(), &format!("{path}.name"));
        let at = format!("{path}.policy");
        let before = self.problems.len();
        let phase = match phase {
            doc::PolicyPhase::Route => Phase::Route,
            doc::PolicyPhase::Gateway => Phase::Gateway,
        };
        let target = self.target(target);
        let mut lowered = self.scoped_at(&at, phase, &target, |scope| policy.0.lower(scope));
        let failed = self.problems.len() > before;
        let Some(policy) = lowered.pop().filter(|_| lowered.is_empty()) else {
            if !failed {
                self.problem(at, "a detached policy holds exactly one policy");
            }
            return;
        };
        if let Err(reason) = placement::check(policy.kind(), phase, &target) {
            self.problem(format!("{path}.phase"), reason);
            return;
        }
        if let Err(reason) = placement::check_policy(&policy, &target) {
            self.problem(format!("{path}.target"), reason);
            return;
        }
        let inheritance = match inheritance {
            doc::PolicyInheritance::Default => Inheritance::Default,
            doc::PolicyInheritance::Override => Inheritance::Override,
        };
        let origin = self.origin(&path);
        self.out.policies.push(Arc::new(Attachment {
            key: PolicyKey::new(format!("policy/{key}")),
            target,
            phase,
            inheritance,
            order: 1 + index as u64,
            policy,
            origin,
        }));
    }

    fn target(&self, target: doc::PolicyTarget) -> Target {
        match target {
            doc::PolicyTarget::Gateway(it) => {
                let namespace = it.gateway_namespace.map_or_else(|| self.context.namespace.clone(), Into::into);
                let gateway = ObjectName::new(namespace, it.gateway_name);
                match it.listener_name {
                    Some(listener) => Target::GatewayListener { gateway, listener: listener.into() },
                    None => Target::Gateway { gateway, port: it.port },
                }
            }
            doc::PolicyTarget::Route(it) => {
                let route = ObjectName::new(it.namespace, it.name);
                match it.rule_name {
                    Some(rule) => Target::RouteRule { route, rule: rule.into() },
                    None => Target::Route(route),
                }
            }
            doc::PolicyTarget::Backend(doc::BackendTarget::Backend(it)) => {
                Target::Backend(BackendKey::new(plain_name(&it.name)))
            }
            doc::PolicyTarget::Backend(doc::BackendTarget::Service(it)) => {
                Target::Service { service: ServiceKey::new(format!("{}/{}", it.namespace, it.hostname)), port: it.port }
            }
        }
    }
}

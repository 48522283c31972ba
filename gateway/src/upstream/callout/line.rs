//! Whom a target means: looked up once, and again when a plan changed something about it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use filters::backend_auth::{Outgoing, Payload};
use filters::callout::{Callout, Fault, Nobody, Target};
use filters::outside::{Later, Outside, Work};
use filters::{Effective, Exchange, Facts, HeldBody, RequestBody, Verdict, chain};
use http::uri::Authority;
use http::{HeaderValue, Request};
use pingora_http::RequestHeader;

use super::super::{Cluster, Template};
use crate::plan::Plan;

/// Targets that are looked up before those that no configuration holds any more are forgotten.
const LINES_SWEEP: usize = 64;

/// Methods that one policy asks by: `mcpGuardrails` has one for requests and one for answers.
const METHODS_MAX: usize = 2;

/// A target as it is dialled.
pub(super) struct Line {
    /// Held so that its address names no other target.
    target: Arc<Target>,
    /// The plan's epoch for which this was last found true.
    epoch: AtomicU64,
    pub(super) cluster: Arc<Cluster>,
    pub(super) template: Arc<Template>,
    pub(super) effective: Arc<Effective>,
    /// What is said to be asked: the host name of the backend where it has one.
    pub(super) authority: Authority,
    /// The heads of its calls of gRPC by method, each from the first call on.
    heads: [OnceLock<(&'static str, Request<()>)>; METHODS_MAX],
}

/// All targets in use, by the address of the target.
#[derive(Default)]
pub(super) struct Lines(ArcSwap<HashMap<usize, Arc<Line>>>);

impl Lines {
    /// Takes no lock.
    pub(super) fn find(&self, target: &Arc<Target>, plan: &Plan) -> Result<Arc<Line>, Fault> {
        let key = Arc::as_ptr(target) as usize;
        let lines = self.0.load();
        match lines.get(&key) {
            Some(line) if line.epoch.load(Relaxed) == plan.epoch => Ok(line.clone()),
            held => self.look_up(target, plan, held),
        }
    }

    #[cold]
    fn look_up(&self, target: &Arc<Target>, plan: &Plan, held: Option<&Arc<Line>>) -> Result<Arc<Line>, Fault> {
        let asked =
            plan.asked(&target.backend, &target.policies).map_err(|reason| Fault::Broken(reason.to_string()))?;
        if let Some(line) = held
            && Arc::ptr_eq(&line.cluster, &asked.cluster)
            && Arc::ptr_eq(&line.template, &asked.template)
            && same(&line.effective, &asked.effective)
        {
            line.epoch.store(plan.epoch, Relaxed);
            return Ok(line.clone());
        }
        let named = asked.host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
        // A service has a host name too.
        let authority = named.or_else(|| asked.cluster.host()?.parse().ok());
        let line = Arc::new(Line {
            target: target.clone(),
            epoch: AtomicU64::new(plan.epoch),
            authority: authority.unwrap_or_else(|| Authority::from_static("localhost")),
            cluster: asked.cluster,
            template: asked.template,
            effective: asked.effective,
            heads: [const { OnceLock::new() }; METHODS_MAX],
        });
        self.0.rcu(|lines| {
            let mut lines = HashMap::clone(lines);
            if lines.len() >= LINES_SWEEP {
                // Who else holds a target is a configuration, or a request under way.
                lines.retain(|_, it| Arc::strong_count(&it.target) > 1);
            }
            lines.insert(Arc::as_ptr(target) as usize, line.clone());
            lines
        });
        Ok(line)
    }
}

impl Line {
    /// The head of its calls of this method of gRPC.
    pub(super) fn head(&self, method: &'static str) -> Result<&Request<()>, Fault> {
        for slot in &self.heads {
            if slot.get().is_none() {
                let head = super::grpc::head(self.template.is_tls(), self.authority.clone(), method)?;
                let _ = slot.set((method, head));
            }
            if let Some((of, head)) = slot.get()
                && *of == method
            {
                return Ok(head);
            }
        }
        Err(Fault::Broken(format!("{method} is one method too many for a target")))
    }

    /// Whether the operator wants calls changed.
    pub(super) fn changes(&self) -> bool {
        !self.effective.filters().is_empty() || self.effective.backend_auth().is_some()
    }

    /// Changes a call as the operator wants it; expressions see the call as `request`, and what is known of the request on
    /// whose behalf it is made. A `host` that is set is the authority. `body`: where it may be set.
    pub(super) fn change(
        &self,
        head: &mut RequestHeader,
        body: Option<&mut Bytes>,
        facts: &Facts,
    ) -> Result<(), Fault> {
        let mut facts = facts.clone();
        facts.body = match &body {
            Some(bytes) => RequestBody::Held(HeldBody { bytes: (*bytes).clone(), whole: true, ..HeldBody::default() }),
            None => RequestBody::Streams,
        };
        let mut exchange = Exchange { request: head, facts: &mut facts, outside: &Aside };
        for changed in
            [chain::on_body(&self.effective, &mut exchange), chain::on_attempt(&self.effective, &mut exchange)]
        {
            if let Verdict::Reply(_) = changed {
                let why = exchange.facts.fault.take().unwrap_or_default();
                return Err(Fault::Broken(format!("the call cannot be made: {why}")));
            }
        }
        if let Some(credentials) = self.effective.backend_auth() {
            let message = Outgoing { head, body: Payload::of(&facts.body), facts: &facts, outside: &Aside };
            let written = credentials.on_attempt(message);
            written.map_err(|why| Fault::Broken(format!("the call cannot be made: backendAuth: {why}")))?;
        }
        if let (Some(body), Some(held)) = (body, facts.body.held()) {
            *body = held.bytes.clone();
        }
        Ok(())
    }

    /// The authority as a header.
    pub(super) fn host(&self) -> HeaderValue {
        HeaderValue::from_str(self.authority.as_str()).expect("an authority is a valid header value")
    }
}

/// What changes of a call may ask for beyond it: nothing.
struct Aside;

impl Outside for Aside {
    fn now(&self) -> Duration {
        crate::clock::wall()
    }

    fn callout(&self) -> &dyn Callout {
        &Nobody
    }

    fn work(&self, _: Work) -> Later<'_, Option<bool>> {
        Box::pin(async { None })
    }
}

/// The same policies, by identity.
fn same(a: &Effective, b: &Effective) -> bool {
    let (mut a, mut b) = (a.parts(), b.parts());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {}
            _ => return false,
        }
    }
}

//! From the typed document to objects of the snapshot, item by item.
//!
//! Every problem is collected with its path. Syntax, type and value errors refuse the document;
//! references that lead nowhere do not (they harm only themselves) and are reported by
//! [`super::source`] as warnings.

mod ai;
mod clouds;
mod discovery;
mod listener;
mod llm;
mod mcp;
mod policy;
mod route;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use filters::lower::{Backends, SimpleBackend};
use filters::{Attachment, Policy, Scope};
use ir::{
    BackendKey, BackendKind, BackendRef, HostTarget, Inheritance, Invalid, Origin, Phase, PolicyKey, Target, Text,
};

use super::files::Reader;

/// What one item of the document became.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub binds: Vec<Arc<ir::Bind>>,
    pub listeners: Vec<Arc<ir::Listener>>,
    pub routes: Vec<Arc<ir::Route>>,
    pub tcp_routes: Vec<Arc<ir::TcpRoute>>,
    pub route_groups: Vec<Arc<ir::RouteGroup>>,
    pub backends: Vec<Arc<ir::Backend>>,
    pub services: Vec<Arc<ir::Service>>,
    pub workloads: Vec<Arc<ir::Workload>>,
    pub policies: Vec<Arc<Attachment>>,
    /// Names that must be unique in the document.
    pub names: Vec<Name>,
    /// Files read on the way, and their digests.
    pub reads: BTreeMap<PathBuf, u64>,
}

/// A name that must be unique among its kind.
#[derive(Clone, Debug)]
pub struct Name {
    pub kind: &'static str,
    /// Unique in the document: where it has to be unique, `|` where that is not everywhere, and the name.
    pub key: String,
    pub path: String,
}

/// What lowering an item depends on beyond the item itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub source: Text,
    pub namespace: Text,
    pub gateway: Text,
    /// Names of `gateways`, with the protocols of their listeners.
    pub gateways: BTreeMap<String, Vec<(String, ir::Protocol)>>,
}

/// Lowers items one after the other.
pub struct Lowering<'a> {
    pub context: &'a Context,
    pub reader: Reader,
    pub problems: Vec<Invalid>,
    inline: Inline,
    out: Objects,
}

/// Backends written where they are used.
#[derive(Default)]
struct Inline {
    source: Option<Text>,
    declared: Vec<Arc<ir::Backend>>,
}

impl Inline {
    fn host(&mut self, text: &str, suffix: &str) -> Result<BackendRef, String> {
        let target = HostTarget::parse(text)?;
        let key = BackendKey::new(format!("host/{target}{suffix}"));
        let origin = Origin { source: self.source.clone(), path: None };
        self.declared.push(Arc::new(ir::Backend { key: key.clone(), kind: BackendKind::Host(target), origin }));
        Ok(BackendRef::Backend(key))
    }
}

impl Inline {
    fn demo(&mut self) -> BackendRef {
        let key = BackendKey::new("demo/echo");
        let origin = Origin { source: self.source.clone(), path: None };
        self.declared.push(Arc::new(ir::Backend { key: key.clone(), kind: BackendKind::Demo, origin }));
        BackendRef::Backend(key)
    }
}

impl Backends for Inline {
    fn refer(&mut self, backend: SimpleBackend) -> Result<BackendRef, String> {
        match backend {
            SimpleBackend::Host(text) => self.host(&text, ""),
            SimpleBackend::Backend(name) => Ok(BackendRef::Backend(BackendKey::new(plain_name(&name)))),
            SimpleBackend::Service(it) => {
                if it.name.split('/').filter(|part| !part.is_empty()).count() != 2 {
                    return Err(format!("`{}` is not a service: write `namespace/hostname`", it.name));
                }
                Ok(BackendRef::Service { service: ir::ServiceKey::new(it.name), port: it.port })
            }
        }
    }
}

/// Keys of file backends are also known as `/name`.
fn plain_name(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

impl<'a> Lowering<'a> {
    pub fn new(context: &'a Context, reader: Reader) -> Self {
        let inline = Inline { source: Some(context.source.clone()), declared: Vec::new() };
        Self { context, reader, problems: Vec::new(), inline, out: Objects::default() }
    }

    /// Takes what the items lowered since the last call became.
    pub fn take(&mut self) -> Objects {
        let mut out = std::mem::take(&mut self.out);
        out.backends.append(&mut self.inline.declared);
        out.reads = self.reader.take();
        out
    }

    fn origin(&self, path: &str) -> Origin {
        Origin { source: Some(self.context.source.clone()), path: Some(path.into()) }
    }

    fn problem(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.problems.push(Invalid::new(path, reason));
    }

    /// Unwraps a result, or records its error at `path`.
    fn check<T>(&mut self, path: impl Into<String>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problem(path, reason);
                None
            }
        }
    }

    /// Lowers with a unit's scope at `path`.
    fn scoped<T>(&mut self, path: &str, lower: impl FnOnce(&mut Scope<'_>) -> T) -> T {
        let mut scope = Scope::new(path, &mut self.reader, &mut self.inline);
        let lowered = lower(&mut scope);
        self.problems.append(&mut scope.problems);
        lowered
    }

    /// As [`Self::scoped`], for policies: their expressions are those of the place.
    fn scoped_at<T>(
        &mut self,
        path: &str,
        phase: Phase,
        target: &Target,
        lower: impl FnOnce(&mut Scope<'_>) -> T,
    ) -> T {
        self.scoped(path, |scope| {
            scope.site = filters::placement::site(phase, target);
            lower(scope)
        })
    }

    fn name(&mut self, kind: &'static str, key: impl Into<String>, path: &str) {
        self.out.names.push(Name { kind, key: key.into(), path: path.to_owned() });
    }

    /// Attaches policies written inside an object.
    fn attach(&mut self, policies: Vec<Policy>, target: &Target, phase: Phase, path: &str) {
        for policy in policies {
            let kind = policy.kind().key();
            let key = PolicyKey::new(format!("{path}.{kind}@{}", self.context.source));
            let key = stable_key(target, kind).unwrap_or(key);
            self.out.policies.push(Arc::new(Attachment {
                key,
                target: target.clone(),
                phase,
                inheritance: Inheritance::Default,
                // Written inside the object: before detached ones of the same target.
                order: 0,
                policy,
                origin: self.origin(&format!("{path}.{kind}")),
            }));
        }
    }
}

/// A key that does not move when the object moves in the document.
fn stable_key(target: &Target, kind: &str) -> Option<PolicyKey> {
    let text = match target {
        Target::Instance => format!("instance/{kind}"),
        Target::Listener(key) => format!("{key}/{kind}"),
        Target::Rule(key) => format!("{key}/{kind}"),
        Target::Backend(key) => format!("backend/{key}/{kind}"),
        Target::RouteBackend { route, position } => format!("{route}/backend{position}/{kind}"),
        _ => return None,
    };
    Some(PolicyKey::new(text))
}

//! The document as a source of patches: load, lower what changed, compare, deliver.
//!
//! Items of the document that have not changed keep their lowered objects (and so their identity),
//! so the cost of an edit is the cost of the edited item plus a walk over the list of items.

#[cfg(test)]
mod golden;
mod order;
mod places;
mod union;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use filters::{Change, Patch, Snapshot};
use serde::de::DeserializeOwned;

use super::doc::cache::{Incremental, PROBLEMS_MAX};
use super::doc::{Document as Tree, Entry, Problem};
use super::document as doc;
use super::files::{self, Reader};
use super::lower::{Context, Lowering, Objects};
use super::schema;
use super::statics::{Fault, StaticConfig, headers};
use crate::statics::Statics;
use order::Labels;
pub use places::{Paths, Places};

/// Largest document read.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Warnings kept of one load; nobody reads further.
const WARNINGS_MAX: usize = 100;

/// Where the document comes from.
#[derive(Clone, Debug)]
pub enum Input {
    /// Watched.
    File(PathBuf),
    /// Read once: standard input, the command line, or the embedded default.
    Text { name: String, text: String },
}

impl Input {
    /// The name of what came through standard input.
    pub const STDIN: &str = "stdin";

    /// The name that problems carry.
    pub fn name(&self) -> String {
        match self {
            // That name is the control plane's.
            Self::File(path) if path.as_os_str() == xds::SOURCE => format!("./{}", xds::SOURCE),
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }

    fn base(&self) -> PathBuf {
        match self {
            Self::File(path) => path.parent().map(Path::to_path_buf).unwrap_or_default(),
            Self::Text { .. } => PathBuf::new(),
        }
    }
}

/// CPU time of the phases of one load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    pub parse: Duration,
    pub lower: Duration,
    pub diff: Duration,
}

/// A load that may take effect.
pub struct Loaded {
    pub patch: Patch,
    pub warnings: Vec<Problem>,
    pub phases: Phases,
    /// Where everything stands now.
    pub places: Places,
    /// Names the `config:` block where it is another than this process began with: only a successor can put it into
    /// effect.
    pub renewed: Option<u64>,
}

/// A load that may not, and everything that is wrong.
#[derive(Debug)]
pub struct Refused {
    pub problems: Vec<Problem>,
}

/// One document, and the memory of what it became.
pub struct Source {
    input: Input,
    incremental: Incremental,
    context: Option<Context>,
    cache: HashMap<CacheKey, Arc<Objects>, foldhash::fast::RandomState>,
    labels: BTreeMap<&'static str, Labels>,
    /// As last delivered.
    snapshot: Snapshot,
    statics: Arc<Statics>,
    /// The `config:` block as first read; it takes effect at start only.
    first_config: Option<String>,
    /// Files that the last load referenced, good or not.
    reads: BTreeMap<PathBuf, u64>,
    text_digest: u64,
    /// Of a document that is loaded for others.
    remark: Option<Remark>,
}

/// What whoever asked has to say about an object that changed.
pub type Remark = fn(&Change) -> Option<String>;

/// Section, item, position where that matters, order.
type CacheKey = (&'static str, u64, usize, u64);

impl Source {
    /// Reads the static settings first: everything else depends on them. Gives warnings too; where
    /// the settings are refused, so is everything else that is wrong.
    ///
    /// # Errors
    /// All problems of the document, or that it cannot be read.
    pub fn open(input: Input, env: fn(&str) -> Option<String>) -> Result<(Self, Vec<Problem>), Refused> {
        let incremental = Incremental::new(&input.name(), schema::checker(), Box::new(env));
        let mut source = Self {
            input,
            incremental,
            context: None,
            cache: HashMap::default(),
            labels: BTreeMap::new(),
            snapshot: Snapshot::default(),
            statics: Arc::default(),
            first_config: None,
            reads: BTreeMap::new(),
            text_digest: 0,
            remark: None,
        };
        let text = read_text(&source.input).map_err(|problem| Refused { problems: vec![problem] })?;
        let mut problems = match source.settle(&text, env) {
            Ok(warnings) => return Ok((source, warnings)),
            Err(problems) => problems,
        };
        // The rest is read only to say what else is wrong.
        if let Err(refused) = source.load() {
            problems.extend(refused.problems);
        }
        Problem::sort(&mut problems);
        problems.dedup();
        Err(Refused { problems })
    }

    /// Takes the static settings from the document and the environment.
    fn settle(&mut self, text: &str, env: fn(&str) -> Option<String>) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut problems = self.incremental.update(text).err().unwrap_or_default();
        let tree = self.incremental.parsed(text).filter(|it| it.is_good("config"));
        let Some(tree) = tree else { return Err(problems) };
        let config: StaticConfig = tree.read("config").map_err(|problem| vec![problem])?.unwrap_or_default();
        self.first_config = serde_json::to_string(&config).ok();
        let told = |fault: Fault| match fault {
            Fault::Written(path, reason) => tree.problem(&path, reason),
            Fault::Environment(variable, reason) => {
                Problem::nowhere(variable, reason).from_source(&"environment".into())
            }
        };
        let lowered = config.lower(&|name| env(name)).and_then(|(mut statics, warnings)| {
            if let Some(xds) = &mut statics.xds {
                xds.headers.extend(headers(texts(std::env::vars_os()))?);
            }
            Ok((statics, warnings))
        });
        match lowered {
            Ok((statics, warnings)) if problems.is_empty() => {
                // Expressions of the document may use them.
                filters::expr::install(statics.custom_functions.clone());
                if let Some(path) = &statics.local_xds {
                    self.divert(path, env);
                }
                self.statics = Arc::new(statics);
                Ok(warnings.into_iter().map(told).collect())
            }
            Ok(_) => Err(problems),
            Err(faults) => {
                problems.extend(faults.into_iter().map(told));
                Err(problems)
            }
        }
    }

    /// Everything else is in another file.
    fn divert(&mut self, path: &Path, env: fn(&str) -> Option<String>) {
        self.input = Input::File(path.to_path_buf());
        self.incremental = Incremental::new(&self.input.name(), schema::checker(), Box::new(env));
        self.first_config = None;
    }

    pub fn statics(&self) -> &Arc<Statics> {
        &self.statics
    }

    /// The document is for other processes: say of each object that changed what there is to say of it.
    pub fn remark(&mut self, remark: Remark) {
        self.remark = Some(remark);
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Files to watch: the document and everything it references.
    pub fn watched(&self) -> Vec<PathBuf> {
        let own = match &self.input {
            Input::File(path) => Some(path.clone()),
            Input::Text { .. } => None,
        };
        own.into_iter().chain(self.reads.keys().cloned()).collect()
    }

    /// Whether anything that the last load read is different now.
    pub fn is_stale(&self) -> bool {
        let text = match &self.input {
            Input::File(path) => files::digest_of(path) != self.text_digest,
            Input::Text { .. } => false,
        };
        text || self.reads.iter().any(|(path, digest)| files::digest_of(path) != *digest)
    }

    /// Reads, checks and lowers the document as it is now. A refusal changes nothing.
    pub fn load(&mut self) -> Result<Loaded, Refused> {
        let started = cpu();
        let text = read_text(&self.input).map_err(|problem| {
            self.text_digest = 0;
            Refused { problems: vec![problem] }
        })?;
        self.text_digest = files::digest(text.as_bytes());
        let tree = match self.incremental.update(&text) {
            Ok(tree) => tree,
            Err(problems) => return Err(self.malformed(&text, problems)),
        };
        let parsed = cpu();
        let mut run = Run::new(&tree, self.statics.enable_ipv6);
        self.lower(&mut run);
        self.reads = std::mem::take(&mut run.reads);
        let problems = run.problems();
        if !problems.is_empty() {
            return Err(Refused { problems });
        }
        let lowered = cpu();
        let next = union::gather(run.all.iter().map(|(_, objects)| &**objects));
        let patch = union::diff(&self.snapshot, &next);
        self.snapshot = self.snapshot.with(&patch);
        let mut warnings = union::dangling(&tree, &self.snapshot, &run.all, WARNINGS_MAX);
        if self.statics.xds.is_some() {
            warnings.iter_mut().for_each(union::may_come);
        }
        warnings.extend(union::contested(&tree, &run.all, WARNINGS_MAX));
        let config = tree.read::<StaticConfig>("config").ok().flatten().unwrap_or_default();
        let config = serde_json::to_string(&config).ok();
        let first = self.first_config.as_ref();
        let renewed = config.filter(|it| first.is_some_and(|first| it != first)).map(|it| files::digest(it.as_bytes()));
        if let Some(remark) = self.remark {
            warnings.extend(union::remarked(&tree, &patch, remark, WARNINGS_MAX));
        } else if renewed.is_some() {
            let reason = "has changed: static settings take effect in a new process, which is started now";
            warnings.insert(0, tree.problem("config", reason));
        }
        self.cache = run.kept;
        tree.forget_trees();
        let compared = cpu();
        let phases = Phases { parse: parsed - started, lower: lowered - parsed, diff: compared - lowered };
        Ok(Loaded { patch, warnings, phases, places: Places::new(run.all), renewed })
    }

    /// What is wrong with a document beyond its schema: its good parts are lowered, only to say so.
    fn malformed(&mut self, text: &str, mut problems: Vec<Problem>) -> Refused {
        if let Some(tree) = self.incremental.parsed(text) {
            let mut run = Run::new(&tree, self.statics.enable_ipv6);
            self.lower(&mut run);
            let is_whole = tree.is_good("gateways");
            // A gateway that could not be read is not one that is missing.
            problems.extend(run.problems().into_iter().filter(|it| is_whole || !it.path.ends_with(".gateways")));
        }
        Problem::sort(&mut problems);
        problems.truncate(PROBLEMS_MAX);
        Refused { problems }
    }

    fn lower(&mut self, run: &mut Run<'_>) {
        let gateways: BTreeMap<String, doc::Gateway> = run.whole("gateways").unwrap_or_default();
        let context = Context {
            source: run.tree.source().clone(),
            namespace: self.statics.namespace.as_str().into(),
            gateway: self.statics.gateway.as_str().into(),
            gateways: gateways.iter().map(|(name, it)| (name.clone(), kinds(it))).collect(),
        };
        if self.context.as_ref() != Some(&context) {
            self.cache.clear();
        }
        self.context = Some(context.clone());
        let mut lowering = Lowering::new(&context, Reader::new(self.input.base()));
        for (name, gateway) in gateways {
            lowering.gateway(&name, gateway);
            run.keep("gateways", None, &mut lowering);
        }
        if let Some(policies) = run.whole("frontendPolicies") {
            lowering.frontend(policies);
            run.keep("frontendPolicies", None, &mut lowering);
        }
        if let Some(llm) = run.whole("llm") {
            lowering.llm(llm);
            run.keep("llm", None, &mut lowering);
        }
        if let Some(mcp) = run.whole("mcp") {
            lowering.mcp(mcp);
            run.keep("mcp", None, &mut lowering);
        }
        self.items(run, &mut lowering, "binds", |it, index, _, item| it.bind(index, item));
        self.items(run, &mut lowering, "backends", |it, index, _, item| it.backend(index, item));
        self.items(run, &mut lowering, "services", |it, index, _, item| it.service(index, item));
        self.items(run, &mut lowering, "workloads", |it, index, _, item| it.workload(index, item));
        self.items(run, &mut lowering, "routeGroups", |it, index, _, item| it.group(index, item));
        self.items(run, &mut lowering, "policies", |it, index, _, item| it.detached(index, item));
        self.items(run, &mut lowering, "routes", |it, index, order, item| it.attached_route(index, item, order));
        self.items(run, &mut lowering, "tcpRoutes", |it, index, order, item| it.attached_tcp_route(index, item, order));
        for invalid in lowering.problems {
            run.problems.push(run.tree.problem(&invalid.path, invalid.reason));
        }
    }

    /// Lowers the items of a section, but for those that are as they were.
    fn items<T: DeserializeOwned>(
        &mut self,
        run: &mut Run<'_>,
        lowering: &mut Lowering<'_>,
        section: &'static str,
        lower: impl Fn(&mut Lowering<'_>, usize, u64, T),
    ) {
        let tree = run.tree;
        let entries = tree.items(section);
        let ordered = matches!(section, "routes" | "tcpRoutes");
        let labels = if ordered { self.labels.entry(section).or_default().assign(entries) } else { Vec::new() };
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.is_good()) {
            let order = labels.get(index).copied().unwrap_or(0);
            // A detached policy's order, and what has no name of its own, depend on the position.
            let position = if section == "policies" || !has_name(entry) { index } else { usize::MAX };
            let key = (section, entry.item.id(), position, order);
            if let Some(objects) = self.cache.get(&key).filter(|objects| is_fresh(objects)) {
                run.reads.extend(objects.reads.iter().map(|(path, digest)| (path.clone(), *digest)));
                run.kept.insert(key, objects.clone());
                run.all.push((format!("{section}[{index}]"), objects.clone()));
                continue;
            }
            match tree.read_item::<T>(section, index, entry) {
                Ok(item) => {
                    let before = lowering.problems.len();
                    lower(lowering, index, order, item);
                    let good = lowering.problems.len() == before;
                    run.keep(&format!("{section}[{index}]"), good.then_some(key), lowering);
                }
                Err(problem) => run.problems.push(problem),
            }
        }
    }
}

/// Variables that are texts; no other can be a header.
fn texts(variables: std::env::VarsOs) -> impl Iterator<Item = (String, String)> {
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// One load under way.
struct Run<'a> {
    tree: &'a Tree,
    problems: Vec<Problem>,
    kept: HashMap<CacheKey, Arc<Objects>, foldhash::fast::RandomState>,
    /// All objects, with the path of the item they come from.
    all: Vec<(String, Arc<Objects>)>,
    reads: BTreeMap<PathBuf, u64>,
    ipv6: bool,
}

impl<'a> Run<'a> {
    fn new(tree: &'a Tree, ipv6: bool) -> Self {
        let (problems, all, reads) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { tree, problems, kept: HashMap::default(), all, reads, ipv6 }
    }

    /// Everything that was found, in the order of the document.
    fn problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.extend(union::duplicates(self.tree, &self.all));
        problems.extend(union::overlaps(self.tree, &self.all, self.ipv6));
        Problem::sort(&mut problems);
        problems
    }

    fn whole<T: DeserializeOwned>(&mut self, section: &str) -> Option<T> {
        if !self.tree.is_good(section) {
            return None;
        }
        match self.tree.read(section) {
            Ok(value) => value,
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn keep(&mut self, path: &str, key: Option<CacheKey>, lowering: &mut Lowering<'_>) {
        let mut objects = lowering.take();
        for name in &mut objects.names {
            if let Some(rest) = name.path.strip_prefix(path) {
                name.path = rest.to_owned();
            }
        }
        self.reads.extend(objects.reads.iter().map(|(path, digest)| (path.clone(), *digest)));
        let objects = Arc::new(objects);
        if let Some(key) = key {
            self.kept.insert(key, objects.clone());
        }
        self.all.push((path.to_owned(), objects));
    }
}

fn has_name(entry: &Entry) -> bool {
    entry.item.is_named()
}

/// Whether the files that an item was lowered from are as they were.
fn is_fresh(objects: &Objects) -> bool {
    objects.reads.iter().all(|(path, digest)| files::digest_of(path) == *digest)
}

/// Listener names and protocols of a gateway, as far as routes need to know.
fn kinds(gateway: &doc::Gateway) -> Vec<(String, ir::Protocol)> {
    let kind = |protocol: Option<doc::Protocol>, tls: bool| match protocol {
        Some(doc::Protocol::Mcp) if tls => ir::Protocol::Https,
        Some(doc::Protocol::Mcp | doc::Protocol::Http) => ir::Protocol::Http,
        Some(doc::Protocol::Https) => ir::Protocol::Https,
        Some(doc::Protocol::Tcp) => ir::Protocol::Tcp,
        Some(doc::Protocol::Tls) => ir::Protocol::Tls,
        Some(doc::Protocol::A2a) | None if tls => ir::Protocol::Https,
        Some(doc::Protocol::A2a) | None => ir::Protocol::Http,
    };
    if gateway.listeners.is_empty() {
        return vec![("listener0".to_owned(), kind(gateway.protocol, gateway.tls.is_some()))];
    }
    let named = |(position, it): (usize, &doc::GatewayListener)| {
        let name = it.name.clone().unwrap_or_else(|| format!("listener{position}"));
        (name, kind(it.protocol, it.tls.is_some()))
    };
    gateway.listeners.iter().enumerate().map(named).collect()
}

fn read_text(input: &Input) -> Result<String, Problem> {
    let name: Arc<str> = input.name().into();
    let refuse = |reason: String| {
        let mut problem = Problem::new(super::doc::Place { line: 1, column: 1 }, "", reason);
        problem.place = None;
        problem.from_source(&name)
    };
    match input {
        Input::Text { text, .. } => Ok(text.clone()),
        Input::File(path) => {
            let length = std::fs::metadata(path).map_err(|error| refuse(files::plain(&error)))?.len();
            if length > DOCUMENT_BYTES_MAX {
                return Err(refuse(format!("larger than {} MiB", DOCUMENT_BYTES_MAX >> 20)));
            }
            let bytes = std::fs::read(path).map_err(|error| refuse(files::plain(&error)))?;
            String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8 text".to_owned()))
        }
    }
}

/// CPU time of this thread.
pub fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

//! Names of hosts, resolved in the background and refreshed before use.
//!
//! A [`Name`] is shared by all clusters that dial the same host. It is resolved when first
//! followed, again when its TTL ends, and more rarely while no request asks for it. An answer
//! replaces the last one; a failure leaves it in force and is tried again with growing pauses.
//! `/etc/hosts` is read once, at start; `localhost` never leaves the host.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, ResolverBuilder, TokioResolver};
use ir::Text;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::agenda::Agenda;
use super::cluster::Cluster;
use crate::random;
use crate::statics::{LookupFamily, Statics};

/// Bounds of the time an answer is believed.
pub const TTL_MIN: Duration = Duration::from_secs(1);
pub const TTL_MAX: Duration = Duration::from_secs(300);
/// Pause after a failure; doubled up to the maximum.
pub const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
pub const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest time one query may take, all servers and retries included.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(30);
/// Queries in flight at once.
pub const QUERIES_MAX: usize = 64;
/// Addresses taken from one answer.
pub const ADDRESSES_MAX: usize = 256;

/// Who answers questions; the system's resolver but in tests.
pub trait Resolve: Send + Sync {
    fn resolve(&self, host: Text) -> BoxFuture<'static, Result<Answer, String>>;
}

/// Addresses of a host, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// A host, as last resolved.
pub(super) struct Name {
    host: Text,
    resolution: ArcSwap<Resolution>,
    changed: Notify,
    followers: Mutex<Followers>,
    failures: AtomicU32,
    /// Whether a request asked for it since the last query.
    used: AtomicBool,
    idle_rounds: AtomicU32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolution {
    pub(super) addresses: Vec<IpAddr>,
    /// Why the last query failed.
    pub(super) error: Option<Text>,
    /// Whether there has been any answer, good or bad.
    pub(super) settled: bool,
}

/// Clusters to tell of a new answer, by number.
#[derive(Default)]
struct Followers {
    clusters: HashMap<u64, Weak<Cluster>>,
    sweep_at: usize,
}

/// All names in use.
pub(super) struct Names {
    table: Mutex<HashMap<Text, Weak<Name>>>,
    sweep_at: Mutex<usize>,
    agenda: Agenda<Weak<Name>>,
    resolver: Box<dyn Resolve>,
}

impl Name {
    pub(super) fn host(&self) -> &Text {
        &self.host
    }

    pub(super) fn resolution(&self) -> arc_swap::Guard<Arc<Resolution>> {
        self.resolution.load()
    }

    /// A request uses this name: it is kept fresh.
    pub(super) fn touch(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    pub(super) fn follow(&self, cluster: &Arc<Cluster>) {
        let mut followers = self.followers.lock();
        if followers.clusters.len() >= followers.sweep_at {
            followers.clusters.retain(|_, follower| follower.strong_count() > 0);
            followers.sweep_at = followers.clusters.len().saturating_mul(2).max(16);
        }
        followers.clusters.insert(cluster.id(), Arc::downgrade(cluster));
    }

    /// Waits for the first answer.
    pub(super) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.resolution.load().settled {
                return;
            }
            changed.await;
        }
    }

    /// Takes an answer into account; gives the pause before the next query.
    fn accept(&self, answer: Result<Answer, String>) -> Duration {
        let old = self.resolution.load_full();
        let (next, pause) = match answer {
            Ok(Answer { mut addresses, ttl }) if !addresses.is_empty() => {
                self.failures.store(0, Relaxed);
                // Servers rotate their answers; another order is no change.
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                let ttl = ttl.clamp(TTL_MIN, TTL_MAX);
                (Resolution { addresses, error: None, settled: true }, self.stretch(ttl))
            }
            answer => {
                let error: Text = answer.err().unwrap_or_else(|| "no addresses".to_owned()).into();
                let failures = self.failures.fetch_add(1, Relaxed).min(16);
                tracing::warn!(host = %self.host, %error, kept = old.addresses.len(), "name not resolved");
                let pause = FAILURE_PAUSE_MIN.saturating_mul(1 << failures).min(FAILURE_PAUSE_MAX);
                let next = Resolution { addresses: old.addresses.clone(), error: Some(error), settled: true };
                (next, random::jitter(pause, 0.2))
            }
        };
        if *old != next {
            self.resolution.store(Arc::new(next));
            self.changed.notify_waiters();
            let followers: Vec<_> = self.followers.lock().clusters.values().filter_map(Weak::upgrade).collect();
            followers.iter().for_each(|cluster| cluster.rebuild());
        }
        pause
    }

    /// A name nobody asks for is asked for half as often each time.
    fn stretch(&self, ttl: Duration) -> Duration {
        if self.used.swap(false, Relaxed) {
            self.idle_rounds.store(0, Relaxed);
            return ttl;
        }
        let rounds = self.idle_rounds.fetch_add(1, Relaxed).min(16);
        random::jitter(ttl.saturating_mul(1 << rounds).min(TTL_MAX), 0.1)
    }
}

impl Names {
    pub(super) fn new(resolver: Box<dyn Resolve>) -> Self {
        Self { table: Mutex::default(), sweep_at: Mutex::new(64), agenda: Agenda::default(), resolver }
    }

    /// The name of a host; asked for at once when it is new.
    pub(super) fn get(&self, host: &Text) -> Arc<Name> {
        let mut table = self.table.lock();
        if let Some(name) = table.get(host).and_then(Weak::upgrade) {
            return name;
        }
        let mut sweep_at = self.sweep_at.lock();
        if table.len() >= *sweep_at {
            table.retain(|_, name| name.strong_count() > 0);
            *sweep_at = table.len().saturating_mul(2).max(64);
        }
        let name = Arc::new(Name {
            host: host.clone(),
            resolution: ArcSwap::default(),
            changed: Notify::new(),
            followers: Mutex::default(),
            failures: AtomicU32::new(0),
            used: AtomicBool::new(true),
            idle_rounds: AtomicU32::new(0),
        });
        table.insert(host.clone(), Arc::downgrade(&name));
        self.agenda.add(Instant::now(), Arc::downgrade(&name));
        name
    }

    /// Resolves what is due, for ever.
    pub(super) async fn run(self: &Arc<Self>) -> std::convert::Infallible {
        self.agenda
            .run(QUERIES_MAX, |name| {
                let names = self.clone();
                async move { names.query(name).await }
            })
            .await
    }

    async fn query(&self, name: Weak<Name>) {
        let Some(host) = name.upgrade().map(|name| name.host.clone()) else { return };
        let answer = tokio::time::timeout(QUERY_DEADLINE, self.resolver.resolve(host)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {QUERY_DEADLINE:?}")));
        if let Some(strong) = name.upgrade() {
            let pause = strong.accept(answer);
            self.agenda.add(Instant::now() + pause, name);
        }
    }
}

/// The system's resolver: `/etc/hosts`, `/etc/resolv.conf`.
pub(super) struct System {
    resolver: Result<TokioResolver, Text>,
}

impl System {
    /// Reads the system's configuration; where that fails, names fail and say so.
    pub(super) fn new(statics: &Statics) -> Self {
        let builder = Resolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "no usable /etc/resolv.conf, only /etc/hosts is consulted");
            Resolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        Self::finish(builder, statics)
    }

    /// Asks these servers instead of the system's.
    #[cfg(test)]
    pub(super) fn asking(servers: Vec<hickory_resolver::config::NameServerConfig>, statics: &Statics) -> Self {
        let config = ResolverConfig::from_name_servers(servers);
        Self::finish(Resolver::builder_with_config(config, TokioRuntimeProvider::default()), statics)
    }

    fn finish(mut builder: ResolverBuilder<TokioRuntimeProvider>, statics: &Statics) -> Self {
        let options = builder.options_mut();
        options.ip_strategy = family(statics);
        options.use_hosts_file = ResolveHosts::Always;
        // Answers are kept here; a cache below would hide that a TTL has ended.
        options.cache_size = 0;
        if let Some(edns0) = statics.edns0 {
            options.edns0 = edns0;
        }
        Self { resolver: builder.build().map_err(|error| error.to_string().into()) }
    }
}

fn family(statics: &Statics) -> LookupIpStrategy {
    match statics.lookup_family {
        LookupFamily::Auto if statics.enable_ipv6 => LookupIpStrategy::Ipv4thenIpv6,
        LookupFamily::Auto | LookupFamily::V4Only => LookupIpStrategy::Ipv4Only,
        LookupFamily::All => LookupIpStrategy::Ipv4AndIpv6,
        LookupFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        LookupFamily::V6Only => LookupIpStrategy::Ipv6Only,
    }
}

impl Resolve for System {
    fn resolve(&self, host: Text) -> BoxFuture<'static, Result<Answer, String>> {
        let resolver = self.resolver.clone();
        async move {
            let resolver = resolver.map_err(|reason| reason.to_string())?;
            let found = resolver.lookup_ip(&*host).await.map_err(|error| error.to_string())?;
            let ttl = found.valid_until().saturating_duration_since(Instant::now());
            Ok(Answer { addresses: found.iter().collect(), ttl })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Arc<Name> {
        struct Never;
        impl Resolve for Never {
            fn resolve(&self, _: Text) -> BoxFuture<'static, Result<Answer, String>> {
                futures::future::pending().boxed()
            }
        }
        Names::new(Box::new(Never)).get(&"a.example".into())
    }

    fn answer(ip: &str, seconds: u64) -> Result<Answer, String> {
        Ok(Answer { addresses: vec![ip.parse().unwrap()], ttl: Duration::from_secs(seconds) })
    }

    #[test]
    fn the_ttl_is_believed_within_its_bounds() {
        for (ttl, pause) in [(0, TTL_MIN), (30, Duration::from_secs(30)), (86_400, TTL_MAX)] {
            assert_eq!(name().accept(answer("10.0.0.1", ttl)), pause);
        }
    }

    #[test]
    fn a_failure_keeps_the_last_answer_and_is_tried_again_ever_later() {
        let name = name();
        name.accept(answer("10.0.0.1", 30));
        let mut last = Duration::ZERO;
        for _ in 0..4 {
            let pause = name.accept(Err("timed out".to_owned()));
            assert!(pause > last, "{pause:?} after {last:?}");
            last = pause;
        }
        assert!(name.accept(Err("timed out".to_owned())) <= FAILURE_PAUSE_MAX.mul_f64(1.2));
        assert_eq!(name.resolution().addresses.len(), 1);
        assert_eq!(name.resolution().error.as_deref(), Some("timed out"));
        name.accept(answer("10.0.0.2", 30));
        assert_eq!(name.resolution().error, None);
    }

    #[test]
    fn a_name_nobody_uses_is_asked_for_less_often() {
        let name = name();
        assert_eq!(name.accept(answer("10.0.0.1", 10)), Duration::from_secs(10));
        name.accept(answer("10.0.0.1", 10));
        assert!(name.accept(answer("10.0.0.1", 10)) > Duration::from_secs(15));
        name.touch();
        assert_eq!(name.accept(answer("10.0.0.1", 10)), Duration::from_secs(10));
    }
}

//! What runs beside traffic, as one service of Pingora's.

use std::sync::Arc;

use async_trait::async_trait;
use filters::backend_auth::{aws, azure, gcp};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::runtime::Handle;

use super::core::Core;
use super::servers::Servers;
use crate::admin::{self, AdminContext, Liveness, Readiness, ReadyGuard};
use crate::life::Life;
use crate::listen::{Reports, Wanted};
use crate::local::catalog::Catalogs;
use crate::reload::Reloader;
use crate::systemd::{Attendance, Store};
use crate::upstream::egress::renewal::Renewal;
use crate::upstream::{KeySets, Upstreams};
use crate::xds_source::XdsSource;

/// Everything that is not traffic: reload, DNS and health, the admin servers.
pub(super) struct Control {
    servers: parking_lot::Mutex<Option<Servers>>,
    reloader: tokio::sync::Mutex<Option<Reloader>>,
    context: AdminContext,
    remote: Option<Arc<XdsSource>>,
    upstreams: Arc<Upstreams>,
    key_sets: Arc<KeySets>,
    google: Renewal<gcp::Tokens>,
    amazon: Renewal<aws::Sessions>,
    azure: Renewal<azure::Tokens>,
    catalogs: Catalogs,
    readiness: Arc<Readiness>,
    liveness: Arc<Liveness>,
    guard: parking_lot::Mutex<Option<Guard>>,
    life: Arc<Life>,
    attendance: parking_lot::Mutex<Option<(Attendance, Store)>>,
}

type Guard = (ReadyGuard, Arc<Reports>, tokio::sync::watch::Receiver<Arc<Wanted>>);

/// What is only there once, and goes to whoever runs it.
pub(super) struct Once {
    pub(super) servers: Servers,
    pub(super) reloader: Reloader,
    /// Held until listeners are there.
    pub(super) guard: ReadyGuard,
    pub(super) attendance: (Attendance, Store),
}

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let runtime = Handle::current();
        self.liveness.watch("control", &runtime);
        self.context.telemetry.runtime("control", &runtime);
        let Some(servers) = self.servers.lock().take() else { return };
        let ready = self.guard.lock().take();
        let Some(mut reloader) = self.reloader.lock().await.take() else { return };
        let life = self.life.clone();
        let attendance = self.attendance.lock().take();
        let remote = self.remote.clone();
        tokio::spawn(async move {
            if let Some((guard, reports, wanted)) = ready {
                if let Some(remote) = remote {
                    remote.settled().await;
                }
                let generation = wanted.borrow().generation;
                reports.reconciled(generation).await;
                drop(guard);
                if !life.started(&reports).await {
                    return;
                }
                crate::memory::forget_start();
                let Some((attendance, store)) = attendance else { return };
                attendance.run(store, || life.superseded()).await;
            }
        });
        let tokens =
            async { tokio::join!(self.key_sets.run(), self.google.run(), self.amazon.run(), self.azure.run()) };
        let looked_after = async { tokio::join!(self.upstreams.run(), tokens, self.catalogs.run()) };
        tokio::join!(self.serve(servers), self.life.attend(), looked_after, reloader.run(), self.ask());
    }
}

impl Control {
    pub(super) fn new(
        core: Core,
        context: AdminContext,
        once: Once,
        (reports, life): (Arc<Reports>, Arc<Life>),
    ) -> Self {
        let Once { servers, reloader, guard, attendance } = once;
        let wanted = core.state.wanted();
        Self {
            servers: parking_lot::Mutex::new(Some(servers)),
            reloader: tokio::sync::Mutex::new(Some(reloader)),
            context,
            remote: core.remote,
            upstreams: core.upstreams,
            key_sets: core.key_sets,
            google: core.google,
            amazon: core.amazon,
            azure: core.azure,
            catalogs: core.catalogs,
            readiness: core.readiness,
            liveness: Liveness::new(),
            guard: parking_lot::Mutex::new(Some((guard, reports, wanted))),
            life,
            attendance: parking_lot::Mutex::new(Some(attendance)),
        }
    }

    /// The control plane, where there is one.
    async fn ask(&self) {
        if let Some(remote) = &self.remote {
            Box::pin(remote.run(&self.life)).await;
        }
    }

    /// The process's own servers. Their sockets may be shared with a predecessor before this process is ready,
    /// and with a successor after it has been succeeded: only one of the two accepts.
    async fn serve(&self, servers: Servers) {
        self.life.serving().await;
        let (leave, left) = tokio::sync::watch::channel(false);
        let leaving = async {
            self.life.superseded().await;
            leave.send_replace(true);
        };
        tokio::join!(
            admin::serve(self.context.clone(), servers.admin, left.clone()),
            admin::serve_stats(self.context.telemetry.clone(), servers.stats, left.clone()),
            admin::serve_probes(self.readiness.clone(), self.liveness.clone(), servers.readiness, left.clone()),
            leaving,
        );
        self.life.silent();
    }
}

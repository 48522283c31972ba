//! Figures of the stream from the control plane. There are none without one.

use std::sync::Arc;

use super::exposition::{Encoder, Kind, number};
use super::metrics::Metrics;

/// Gives the figures of the moment.
pub type ControlPlane = Arc<dyn Fn() -> ControlPlaneFigures + Send + Sync>;

/// What metrics say of a control plane.
#[derive(Clone, Debug, Default)]
pub struct ControlPlaneFigures {
    /// How streams ended, and how many did.
    pub terminations: Vec<(&'static str, u64)>,
    /// Type URL, responses, bytes.
    pub messages: Vec<(&'static str, u64, u64)>,
    pub connected: bool,
    pub synchronized: bool,
    pub stale: bool,
    /// For how long nobody has said that what serves is what should.
    pub away_seconds: f64,
    pub resources: u64,
    pub refused: u64,
    /// Responses with a refusal.
    pub refusals: u64,
    /// Bytes and Unix time of the state on disk, where there is some.
    pub saved: Option<(u64, f64)>,
    pub saves_failed: u64,
}

impl Metrics {
    pub(super) fn encode_control_plane(&self, out: &mut Encoder<'_>) {
        let Some(ask) = self.control_plane.lock().clone() else { return };
        let it = ask();
        let help = "Streams to the control plane, and attempts at one, that ended.";
        if let Some(sample) = out.begin("xds_connection_terminations", Kind::Counter, help) {
            for (reason, count) in &it.terminations {
                out.sample(&sample, [("reason", *reason)].into_iter(), number(*count));
            }
        }
        if let Some(sample) = out.begin("xds_message", Kind::Counter, "Responses of the control plane.") {
            for (url, count, _) in &it.messages {
                out.sample(&sample, [("url", *url)].into_iter(), number(*count));
            }
        }
        let help = "Bytes of the responses of the control plane.";
        if let Some(sample) = out.begin("xds_message_bytes", Kind::Counter, help) {
            for (url, _, bytes) in &it.messages {
                out.sample(&sample, [("url", *url)].into_iter(), number(*bytes));
            }
        }
        let help = "Responses of the control plane that were not taken as a whole.";
        out.single("xds_refusals", Kind::Counter, help, number(it.refusals));
        let gauges: [(&str, &str, f64); 6] = [
            ("xds_connected", "1 while a stream from the control plane is open.", flag(it.connected)),
            (
                "xds_synchronized",
                "1 when this process has taken a response of the control plane.",
                flag(it.synchronized),
            ),
            ("xds_stale", "1 while what serves is not confirmed by the control plane.", flag(it.stale)),
            ("xds_away_seconds", "For how long nothing has been confirmed by the control plane.", it.away_seconds),
            ("xds_resources", "Resources of the control plane that are held.", number(it.resources)),
            ("xds_resources_refused", "Resources of the control plane that are refused.", number(it.refused)),
        ];
        for (name, help, value) in gauges {
            out.single(name, Kind::Gauge, help, value);
        }
        if let Some((bytes, at)) = it.saved {
            out.single("xds_state_bytes", Kind::Gauge, "Size of the state on disk.", number(bytes));
            let help = "When the state on disk was written, in Unix time.";
            out.single("xds_state_timestamp_seconds", Kind::Gauge, help, at);
        }
        let help = "Times that the state could not be written to disk.";
        out.single("xds_state_failures", Kind::Counter, help, number(it.saves_failed));
    }
}

fn flag(it: bool) -> f64 {
    f64::from(u8::from(it))
}

//! Writes metrics as Prometheus text 0.0.4 or as OpenMetrics 1.0.
//!
//! Sample names and values are the same in both, so that a scraper may change its mind.

use std::collections::HashSet;
use std::fmt::Write;

use super::family::{Cells, Family};
use super::histogram::{Counter, Histogram, Scale};

/// Prefix of every metric.
const PREFIX: &str = "agentgateway_";

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    Text,
    OpenMetrics,
}

impl Exposition {
    /// The format an `Accept` header asks for.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let ranges = accept.unwrap_or_default().split(',');
        let wanted = ranges.map(str::trim).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"))
                && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        });
        if wanted { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// A family, and the part of its cells that is shown.
pub(super) type Part<'f, C, T> = (&'f Family<C>, fn(&C) -> &T);

/// An exposition under construction.
pub(super) struct Encoder<'a> {
    out: String,
    format: Exposition,
    removed: &'a HashSet<String>,
}

/// The name by which `metrics.remove` knows a metric: without prefix and suffix.
pub(super) fn bare_name(name: &str) -> &str {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    ["_total", "_info", "_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

impl<'a> Encoder<'a> {
    pub(super) fn new(format: Exposition, removed: &'a HashSet<String>) -> Self {
        Self { out: String::with_capacity(16 << 10), format, removed }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Exposition::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// Begins a family and shows its sample name; `None` when the operator removed it.
    pub(super) fn begin(&mut self, name: &str, kind: Kind, help: &str) -> Option<String> {
        if self.removed.contains(bare_name(name)) {
            return None;
        }
        let openmetrics = self.format == Exposition::OpenMetrics;
        let sample = match kind {
            Kind::Counter => format!("{PREFIX}{name}_total"),
            Kind::Info => format!("{PREFIX}{name}_info"),
            Kind::Gauge | Kind::Histogram => format!("{PREFIX}{name}"),
        };
        let family = if openmetrics { format!("{PREFIX}{name}") } else { sample.clone() };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Info if openmetrics => "info",
            Kind::Info | Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}");
        Some(sample)
    }

    /// One sample; `labels` are names and values.
    pub(super) fn sample<'l>(&mut self, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>, value: f64) {
        self.out.push_str(name);
        let mut open = false;
        for (label, value) in labels {
            self.out.push(if open { ',' } else { '{' });
            open = true;
            self.out.push_str(label);
            self.out.push_str("=\"");
            for symbol in value.chars() {
                match symbol {
                    '"' => self.out.push_str("\\\""),
                    '\\' => self.out.push_str("\\\\"),
                    '\n' => self.out.push_str("\\n"),
                    _ => self.out.push(symbol),
                }
            }
            self.out.push('"');
        }
        let _ = writeln!(self.out, "{} {value}", if open { "}" } else { "" });
    }

    /// A family with one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        if let Some(sample) = self.begin(name, kind, help) {
            self.sample(&sample, std::iter::empty(), value);
        }
    }

    /// A counter of each series of a family.
    pub(super) fn counter<C: Cells>(&mut self, name: &str, help: &str, of: Part<'_, C, Counter>) {
        self.scaled(name, help, of, 1.0);
    }

    /// As [`Self::counter`], of which so many are one.
    pub(super) fn scaled<C: Cells>(&mut self, name: &str, help: &str, of: Part<'_, C, Counter>, unit: f64) {
        let (family, pick) = of;
        let Some(sample) = self.begin(name, Kind::Counter, help) else { return };
        for series in family.collect() {
            let labels = family.names().zip(series.values.iter().map(|value| &**value));
            self.sample(&sample, labels, number(pick(&series.cells).get()) / unit);
        }
    }

    /// A histogram of each series of a family.
    pub(super) fn histogram<C: Cells, S: Scale>(&mut self, name: &str, help: &str, of: Part<'_, C, Histogram<S>>) {
        let (family, pick) = of;
        let Some(sample) = self.begin(name, Kind::Histogram, help) else { return };
        for series in family.collect() {
            let labels: Vec<_> = family.names().zip(series.values.iter().map(|value| &**value)).collect();
            self.buckets(&sample, &labels, pick(&series.cells));
        }
    }

    /// Several histograms of each series of a family, told apart by a label; those that counted nothing are left out.
    pub(super) fn histograms<C: Cells, S: Scale, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        of: Part<'_, C, [Histogram<S>; N]>,
        (label, values): (&str, &[&str]),
    ) {
        let (family, pick) = of;
        let Some(sample) = self.begin(name, Kind::Histogram, help) else { return };
        for series in family.collect() {
            for (value, histogram) in values.iter().zip(pick(&series.cells)).filter(|(_, it)| !it.is_empty()) {
                let labels = family.names().zip(series.values.iter().map(|value| &**value));
                let labels: Vec<_> = labels.chain([(label, *value)]).collect();
                self.buckets(&sample, &labels, histogram);
            }
        }
    }

    fn buckets<S: Scale>(&mut self, sample: &str, labels: &[(&str, &str)], histogram: &Histogram<S>) {
        let (bucket, sum, count) = (format!("{sample}_bucket"), format!("{sample}_sum"), format!("{sample}_count"));
        let mut total = 0;
        for (bound, cumulated) in histogram.buckets() {
            total = cumulated;
            let bound = bound_text(bound);
            self.sample(&bucket, labels.iter().copied().chain([("le", &*bound)]), number(cumulated));
        }
        self.sample(&sum, labels.iter().copied(), histogram.sum_seconds());
        self.sample(&count, labels.iter().copied(), number(total));
    }
}

/// `0.005`, `1.0`, `+Inf`: the same text in both formats.
fn bound_text(bound: f64) -> String {
    match bound {
        f64::INFINITY => "+Inf".to_owned(),
        _ if bound.fract() == 0.0 => format!("{bound:.1}"),
        _ => bound.to_string(),
    }
}

/// Counters are whole numbers; beyond 2^53 Prometheus itself rounds.
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses_the_format() {
        for (accept, expected) in [
            (None, Exposition::Text),
            (Some("text/plain"), Exposition::Text),
            (Some("*/*"), Exposition::Text),
            (Some("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.2"), Exposition::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Exposition::Text),
        ] {
            assert_eq!(Exposition::negotiate(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let removed = HashSet::new();
        let mut encoder = Encoder::new(Exposition::Text, &removed);
        encoder.sample("x", [("a", "1\"2\\3\n4")].into_iter(), 1.0);
        assert_eq!(encoder.finish(), "x{a=\"1\\\"2\\\\3\\n4\"} 1\n");
    }

    #[test]
    fn bounds_are_written_canonically() {
        for (bound, expected) in [(0.00005, "0.00005"), (0.0025, "0.0025"), (1.0, "1.0"), (f64::INFINITY, "+Inf")] {
            assert_eq!(bound_text(bound), expected);
        }
    }
}

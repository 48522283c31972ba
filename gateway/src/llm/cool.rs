//! Providers that asked to be left alone: asked last until then, model by model.
//!
//! It is what `Retry-After` of a refusal says, so the next request does not run into it again. Nobody is left out: where
//! all are to be left alone, they are asked in the usual order. The state is that of a compiled backend: when the
//! backend is changed, it begins anew.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use parking_lot::Mutex;
use pingora_http::ResponseHeader;

use crate::proxy::Ctx;

/// Longest time that is believed.
const COOL_MAX: Duration = Duration::from_secs(300);
/// Models of one provider that are kept in mind.
const MODELS_MAX: usize = 1024;

/// When a provider may be asked again, by model.
#[derive(Default)]
pub(super) struct Cooling(Mutex<HashMap<String, Instant>>);

impl Cooling {
    /// The provider asked to be left alone for so long.
    pub(super) fn rest(&self, model: &str, wait: Duration, now: Instant) {
        let mut models = self.0.lock();
        models.retain(|_, until| *until > now);
        if models.len() < MODELS_MAX {
            models.insert(model.to_owned(), now + wait.min(COOL_MAX));
        }
    }

    pub(super) fn rests(&self, model: &str, now: Instant) -> bool {
        self.0.lock().get(model).is_some_and(|until| *until > now)
    }
}

/// A provider's answer: where it refuses for now, it is left alone for as long as it asks.
pub(crate) fn heed(head: &ResponseHeader, ctx: &Ctx) {
    if !matches!(head.status.as_u16(), 429 | 503 | 529) {
        return;
    }
    let Some((asked, wait)) = ctx.ai.as_ref().zip(wait(&head.headers, SystemTime::now())) else { return };
    if let Some(provider) = asked.provider() {
        provider.cooling.rest(asked.asked_model().unwrap_or_default(), wait, Instant::now());
    }
}

/// How long a refusal asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date.
pub(super) fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|it| it.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    Some((SystemTime::UNIX_EPOCH + date(after)?).duration_since(now).unwrap_or_default())
}

/// A date as RFC 9110 section 5.6.7 prefers it, `Sun, 06 Nov 1994 08:49:47 GMT`, since 1970.
fn date(text: &str) -> Option<Duration> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split([' ', ':']);
    let day = number(&mut parts)?;
    let month = MONTHS.find(parts.next()?)? as u64 / 3 + 1;
    let year = number(&mut parts).filter(|it| (1970..10_000).contains(it))?;
    let [hour, minute, second] = [number(&mut parts)?, number(&mut parts)?, number(&mut parts)?];
    // Years begin in March: the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    const BEFORE_1970: u64 = 719_469;
    Some(Duration::from_secs(((days.checked_sub(BEFORE_1970)? * 24 + hour) * 60 + minute) * 60 + second))
}

fn number<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<u64> {
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_long_in_three_ways() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (name, value, want) in [
            ("retry-after", "3", Some(3.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT", Some(0.0)),
            ("retry-after-ms", "250", Some(0.25)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(wait(&headers, now).map(|it| it.as_secs_f64()), want, "{name}: {value}");
        }
    }

    #[test]
    fn a_model_rests_and_the_others_do_not() {
        let (cooling, now) = (Cooling::default(), Instant::now());
        cooling.rest("a", Duration::from_secs(2), now);
        assert!(cooling.rests("a", now + Duration::from_secs(1)) && !cooling.rests("b", now));
        assert!(!cooling.rests("a", now + Duration::from_secs(3)));
        cooling.rest("a", Duration::MAX, now);
        assert!(!cooling.rests("a", now + COOL_MAX));
    }
}

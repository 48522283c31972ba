//! Parts of timestamps and durations.

use super::{Builtin, method};
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::time::{Civil, Duration};
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    method("getFullYear", 0, 1, |_, args| civil(args, |it| it.year)),
    method("getMonth", 0, 1, |_, args| civil(args, |it| it.month - 1)),
    method("getDate", 0, 1, |_, args| civil(args, |it| it.day)),
    method("getDayOfMonth", 0, 1, |_, args| civil(args, |it| it.day - 1)),
    method("getDayOfWeek", 0, 1, |_, args| civil(args, |it| it.weekday)),
    method("getDayOfYear", 0, 1, |_, args| civil(args, |it| it.year_day)),
    method("getHours", 0, 1, |_, args| span_or(args, 3600, |it| it.hour)),
    method("getMinutes", 0, 1, |_, args| span_or(args, 60, |it| it.minute)),
    method("getSeconds", 0, 1, |_, args| span_or(args, 1, |it| it.second)),
    method("getMilliseconds", 0, 1, milliseconds),
];

fn civil<'a>(args: &[Value<'a>], part: fn(&Civil) -> i64) -> Returned<'a> {
    let (moment, zone) = match args {
        [Value::Timestamp(moment)] => (moment, None),
        [Value::Timestamp(moment), Value::String(zone)] => (moment, Some(&**zone)),
        _ => return Err(Error::no_overload()),
    };
    let civil = moment.civil(zone).ok_or_else(|| Error::invalid("unknown time zone"))?;
    Ok(Value::Int(part(&civil)))
}

/// All of a duration in the unit, or the part of a clock time.
fn span_or<'a>(args: &[Value<'a>], unit: i64, part: fn(&Civil) -> i64) -> Returned<'a> {
    match args {
        [Value::Duration(Duration { seconds, .. })] => Ok(Value::Int(seconds / unit)),
        args => civil(args, part),
    }
}

fn milliseconds<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Duration(span)] => Ok(Value::Int(i64::from(span.nanos / 1_000_000))),
        [Value::Timestamp(moment)] => Ok(Value::Int(moment.millis())),
        [Value::Timestamp(moment), Value::String(zone)] => {
            moment.civil(Some(zone)).ok_or_else(|| Error::invalid("unknown time zone"))?;
            Ok(Value::Int(moment.millis()))
        }
        _ => Err(Error::no_overload()),
    }
}

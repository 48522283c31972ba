//! Addresses and ranges of them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Builtin, global, method};
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("isIP", 1, 1, is_ip),
    global("ip", 1, 1, ip),
    global("isCIDR", 1, 1, is_cidr),
    global("cidr", 1, 1, cidr),
    method("family", 0, 0, |_, args| of_ip(args, |it| Value::Int(if it.is_ipv4() { 4 } else { 6 }))),
    method("isUnspecified", 0, 0, |_, args| of_ip(args, |it| Value::Bool(it.is_unspecified()))),
    method("isLoopback", 0, 0, |_, args| of_ip(args, |it| Value::Bool(it.is_loopback()))),
    method("isLinkLocalMulticast", 0, 0, |_, args| of_ip(args, |it| Value::Bool(is_link_local_multicast(it)))),
    method("isLinkLocalUnicast", 0, 0, |_, args| of_ip(args, |it| Value::Bool(is_link_local(it)))),
    method("isGlobalUnicast", 0, 0, |_, args| of_ip(args, |it| Value::Bool(is_global_unicast(it)))),
    method("ip", 0, 0, |_, args| of_cidr(args, |it| Value::Ip(it.addr()))),
    method("masked", 0, 0, |_, args| of_cidr(args, |it| Value::Cidr(it.trunc()))),
    method("prefixLength", 0, 0, |_, args| of_cidr(args, |it| Value::Int(i64::from(it.prefix_len())))),
    method("containsIP", 1, 1, contains_ip),
    method("containsCIDR", 1, 1, contains_cidr),
];

/// An address; one with a zone or an embedded IPv4 address is none.
fn read_ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(it) if it.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn read_cidr(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    read_ip(&net.addr().to_string())?;
    Some(net)
}

fn is_ip<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::String(text)] => Ok(Value::Bool(read_ip(text).is_some())),
        _ => Err(Error::no_overload()),
    }
}

fn is_cidr<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::String(text)] => Ok(Value::Bool(read_cidr(text).is_some())),
        _ => Err(Error::no_overload()),
    }
}

fn ip<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::String(text)] => read_ip(text).map(Value::Ip).ok_or_else(|| Error::invalid("not an IP address")),
        [Value::Ip(ip)] => Ok(Value::Ip(*ip)),
        [Value::Cidr(net)] => Ok(Value::Ip(net.addr())),
        _ => Err(Error::no_overload()),
    }
}

fn cidr<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::String(text)] => read_cidr(text).map(Value::Cidr).ok_or_else(|| Error::invalid("not a CIDR range")),
        [Value::Cidr(net)] => Ok(Value::Cidr(*net)),
        _ => Err(Error::no_overload()),
    }
}

fn of_ip<'a>(args: &[Value<'a>], act: fn(&IpAddr) -> Value<'static>) -> Returned<'a> {
    match args {
        [Value::Ip(ip)] => Ok(act(ip)),
        _ => Err(Error::no_overload()),
    }
}

fn of_cidr<'a>(args: &[Value<'a>], act: fn(&IpNet) -> Value<'static>) -> Returned<'a> {
    match args {
        [Value::Cidr(net)] => Ok(act(net)),
        _ => Err(Error::no_overload()),
    }
}

fn is_link_local_multicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => matches!(ip.segments(), [first, ..] if first & 0xff0f == 0xff02),
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => matches!(ip.segments(), [first, ..] if first & 0xffc0 == 0xfe80),
    }
}

/// Not unspecified, loopback, multicast, link-local or broadcast; private ranges are global in this sense.
fn is_global_unicast(ip: &IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip) || is_broadcast)
}

fn contains_ip<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (net, ip) = match args {
        [Value::Cidr(net), Value::Ip(ip)] => (net, *ip),
        [Value::Cidr(net), Value::String(text)] => {
            (net, read_ip(text).ok_or_else(|| Error::invalid("not an IP address"))?)
        }
        _ => return Err(Error::no_overload()),
    };
    Ok(Value::Bool(net.trunc().contains(&ip)))
}

fn contains_cidr<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (net, other) = match args {
        [Value::Cidr(net), Value::Cidr(other)] => (net, *other),
        [Value::Cidr(net), Value::String(text)] => {
            (net, read_cidr(text).ok_or_else(|| Error::invalid("not a CIDR range"))?)
        }
        _ => return Err(Error::no_overload()),
    };
    Ok(Value::Bool(net.trunc().contains(&other)))
}

//! Which addresses the gateway dials for its own fetches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far away an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Loopback,
    Private,
    Public,
}

/// Whether an address may be dialled; `nearest` is how near the first one was, if this is a redirect.
pub(super) fn judge(ip: IpAddr, nearest: Option<Reach>) -> Result<(), &'static str> {
    let ip = innermost(ip);
    if let Some(why) = forbidden(ip) {
        return Err(why);
    }
    match nearest.is_some_and(|nearest| reach(ip) < nearest) {
        true => Err("a redirect may not lead into a nearer network"),
        false => Ok(()),
    }
}

/// Whether an address is one of these, in whatever form it comes.
pub(super) fn is_among(ip: IpAddr, allowed: &[IpAddr]) -> bool {
    allowed.iter().any(|it| innermost(*it) == innermost(ip))
}

pub(super) fn reach(ip: IpAddr) -> Reach {
    let ip = innermost(ip);
    let private = match ip {
        IpAddr::V4(ip) => {
            // RFC 1918, and the shared space of RFC 6598.
            ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..])
        }
        // RFC 4193.
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    if ip.is_loopback() {
        return Reach::Loopback;
    }
    if private { Reach::Private } else { Reach::Public }
}

/// Never dialled, whoever asks.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    /// Metadata services outside the link-local range.
    const METADATA: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    ];
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let nobody = match ip {
        // 0.0.0.0/8 is this host under another name, 240.0.0.0/4 is reserved.
        IpAddr::V4(ip) => matches!(ip.octets(), [0 | 240..=255, ..]),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if METADATA.contains(&ip) {
        return Some("a metadata service");
    }
    if link_local {
        return Some("link-local, where metadata services are");
    }
    if ip.is_multicast() {
        return Some("multicast");
    }
    nobody.then_some("not an address of a host")
}

/// The IPv4 address in an IPv6 one that leads there: mapped (RFC 4291), translated (RFC 6052), 6to4 (RFC 3056).
fn innermost(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(it) = ip else { return ip };
    if let Some(ip) = it.to_ipv4_mapped() {
        return ip.into();
    }
    let [a, b, c, d, e, f, g, h] = it.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::from([a, b, c, d])
    };
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => v4(g, h),
        (0x2002, _) => v4(b, c),
        // The old form with zeros in front; not `::` and `::1`.
        (0, 0) if [c, d, e, f] == [0; 4] && g != 0 => v4(g, h),
        _ => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_link_local_and_nowhere_are_never_dialled_in_whatever_disguise() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(judge(text.parse().unwrap(), None).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_known_in_every_form() {
        let allowed: [IpAddr; 1] = ["169.254.169.254".parse().unwrap()];
        for (text, want) in [("169.254.169.254", true), ("::ffff:169.254.169.254", true), ("169.254.169.253", false)] {
            assert_eq!(is_among(text.parse().unwrap(), &allowed), want, "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_as_far_as_the_first_address_or_farther() {
        let public = ["192.0.2.1", "2001:db8::1", "8.8.8.8", "2002:808:808::"];
        let private = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"];
        let loopback = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"];
        for (texts, near) in [(&public[..], 2), (&private[..], 1), (&loopback[..], 0)] {
            for text in texts {
                let ip: IpAddr = text.parse().unwrap();
                assert_eq!(judge(ip, None), Ok(()), "{text} as written by the operator");
                for (nearest, least) in [(Reach::Loopback, 0), (Reach::Private, 1), (Reach::Public, 2)] {
                    assert_eq!(judge(ip, Some(nearest)).is_ok(), near >= least, "{text} after {nearest:?}");
                }
            }
        }
    }
}

//! `ipAccess`: allow and deny clients by network.
//!
//! ```yaml
//! ipAccess:
//!   allow: [10.0.0.0/8, "2001:db8::/32"]
//!   deny: [10.9.0.0/16]
//! ```
//!
//! **Decision.** A client in `deny` is refused. With an empty `allow` everybody else may pass; with
//! entries, only those in them. A bare address is a network of one. IPv4 clients seen through an
//! IPv6 socket (`::ffff:a.b.c.d`) are IPv4 clients. The client is the socket's peer, the source in
//! a PROXY header, or the `X-Forwarded-For` entry behind trusted hops.
//!
//! **Order.** First of all.
//! Attached to the instance, a gateway or a listener, it also judges TCP connections.
//!
//! **Merging.** Policies of all levels hold together, and none is locked: each can only narrow.
//!
//! **Limits.** 1,000 networks in each list.
//!
//! **Outcome.** 403 `forbidden` with reason `IpAccess`; a TCP connection is closed.
//!
//! **Where we differ.** The reference writes such rules as CEL (`networkAuthorization`).

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Exchange, Reason, Reply, Scope, Verdict};

/// Most networks in one list.
const NETWORKS_MAX: usize = 1000;

/// Allow and deny clients by network. `deny` wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "IpAccess")]
pub struct Config {
    /// Networks (`10.0.0.0/8`) and addresses let in; empty means everybody not denied.
    pub allow: Vec<String>,
    /// Networks and addresses kept out.
    pub deny: Vec<String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { allow, deny } = self;
        let before = scope.problems.len();
        if allow.is_empty() && deny.is_empty() {
            scope.problem("write `allow`, `deny` or both");
        }
        for (key, list) in [("allow", &allow), ("deny", &deny)] {
            if list.len() > NETWORKS_MAX {
                scope.problem_at(key, format!("more than {NETWORKS_MAX} networks"));
            }
        }
        let allow = scope.each("allow", &allow, network);
        let deny = scope.each("deny", &deny, network);
        (scope.problems.len() == before).then_some(Policy { allow, deny })
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            format!("`{}` is not a network: write `10.0.0.0/8`, `2001:db8::/32` or an address", text.escape_debug())
        })?,
    };
    Ok(canonical(network).trunc())
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, length)| ipnet::Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Empty means everybody not denied.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

impl Policy {
    /// Whether a client may pass.
    pub fn permits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }

    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.permits(exchange.facts.client) {
            return Verdict::Continue;
        }
        Verdict::Reply(Reply::text(403, Reason::IpAccess, "forbidden"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{exchange, lower, problems, request};

    fn policy(config: serde_json::Value) -> Policy {
        lower(config, Config::lower)
    }

    #[test]
    fn deny_wins_and_an_empty_allow_lets_everybody_else_in() {
        let both = policy(json!({"allow": ["10.0.0.0/8", "2001:db8::1"], "deny": ["10.9.0.0/16"]}));
        let denies = policy(json!({"deny": ["::ffff:192.0.2.0/120"]}));
        for (policy, client, want) in [
            (&both, "10.1.2.3", true),
            (&both, "10.9.2.3", false),
            (&both, "192.0.2.1", false),
            (&both, "::ffff:10.1.2.3", true),
            (&both, "2001:db8::1", true),
            (&both, "2001:db8::2", false),
            (&denies, "192.0.2.77", false),
            (&denies, "192.0.3.77", true),
            (&denies, "::1", true),
        ] {
            assert_eq!(policy.permits(client.parse().unwrap()), want, "{client}");
        }
    }

    #[test]
    fn a_denied_client_gets_403() {
        let (mut head, mut facts) = request("GET", "/");
        let policy = policy(json!({"deny": ["192.0.2.1"]}));
        let verdict = policy.on_request(&mut exchange(&mut head, &mut facts));
        let Verdict::Reply(reply) = verdict else { panic!("the client passed") };
        assert_eq!((reply.status, reply.reason), (403, Reason::IpAccess));
    }

    #[test]
    fn every_bad_network_is_reported_at_its_place() {
        let found = problems(json!({"allow": ["10.0.0.0/8", "x"], "deny": ["1.2.3.4/33"]}), Config::lower);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("policy.allow[1]: `x` is not a network"), "{found:?}");
        assert_eq!(problems(json!({}), Config::lower).len(), 1);
    }
}

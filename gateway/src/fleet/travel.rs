//! What of a document a gateway elsewhere cannot have, or has otherwise than it was written.

use filters::Change;
use ir::{BackendKind, BindAddress, HostTarget};
use xds::codec::Name;

/// What the author of an object should know; usually nothing.
pub(super) fn remark(change: &Change) -> Option<String> {
    if let Err(reason) = xds::codec::travels(change) {
        return Some(format!("gateways will not take `{}`: {reason}", Name::of(change)));
    }
    let is_path = match change {
        Change::Bind(_, Some(bind)) => matches!(bind.address, BindAddress::Unix(_)),
        Change::Backend(_, Some(backend)) => matches!(backend.kind, BackendKind::Host(HostTarget::Unix(_))),
        _ => false,
    };
    is_path.then(|| "a unix socket is looked for on the host of each gateway, not on this one".to_owned())
}

#[cfg(test)]
mod tests {
    use ir::{Backend, BackendKey, Origin};

    use super::*;

    #[test]
    fn paths_of_this_host_and_what_is_too_large_are_remarked() {
        let backend = |key: &str, host: &str| {
            let kind = BackendKind::Host(HostTarget::parse(host).unwrap());
            let it = Backend { key: BackendKey::new(key), kind, origin: Origin::default() };
            Change::Backend(it.key.clone(), Some(it.into()))
        };
        assert_eq!(remark(&backend("a", "a:1")), None);
        assert!(remark(&backend("a", "unix:/x")).unwrap().contains("on the host of each gateway"));
        assert!(remark(&backend(&"a".repeat(2000), "a:1")).unwrap().contains("gateways will not take `backend/aaa"));
    }
}

//! The vocabulary of TLS in configuration: versions, cipher suites, key-exchange groups.
//!
//! Shared by `frontendPolicies.tls`, `backendTLS` and the `tls` block of listeners.

use ir::Text;
use ir::listener::{KeyExchangeGroup, TlsVersion};

use crate::near;

/// Cipher suites this gateway speaks, by IANA name.
pub const CIPHER_SUITES: [&str; 9] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

const GROUPS: [(&str, KeyExchangeGroup); 4] = [
    ("X25519", KeyExchangeGroup::X25519),
    ("P-256", KeyExchangeGroup::P256),
    ("P-384", KeyExchangeGroup::P384),
    ("X25519_MLKEM768", KeyExchangeGroup::X25519Mlkem768),
];

/// Longest ALPN protocol name on the wire (RFC 7301, section 3.1).
const ALPN_BYTES_MAX: usize = 255;

/// A protocol version, `TLS_V1_2` or `TLS_V1_3`.
pub fn version(text: &str) -> Result<TlsVersion, String> {
    match text.to_ascii_uppercase().as_str() {
        "TLS_V1_2" => Ok(TlsVersion::V1_2),
        "TLS_V1_3" => Ok(TlsVersion::V1_3),
        "TLS_V1_0" | "TLS_V1_1" => Err("TLS 1.2 is the lowest this gateway speaks".to_owned()),
        _ => Err(format!("`{}` is not a TLS version: write `TLS_V1_2` or `TLS_V1_3`", text.escape_debug())),
    }
}

/// A cipher suite by its IANA name, or by rustls' name of a TLS 1.3 suite (`TLS13_…`).
pub fn cipher_suite(text: &str) -> Result<Text, String> {
    let upper = text.to_ascii_uppercase();
    let canonical = match upper.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => upper,
    };
    match CIPHER_SUITES.iter().find(|name| **name == canonical) {
        Some(name) => Ok((*name).into()),
        None => {
            let hint = near::hint(&canonical, CIPHER_SUITES);
            Err(format!("`{}` is not a cipher suite this gateway speaks{hint}", text.escape_debug()))
        }
    }
}

/// A key-exchange group.
pub fn group(text: &str) -> Result<KeyExchangeGroup, String> {
    let found = GROUPS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, group)| *group).ok_or_else(|| {
        let hint = near::hint(text, GROUPS.map(|(name, _)| name));
        format!("`{}` is not a key-exchange group: X25519, P-256, P-384, X25519_MLKEM768{hint}", text.escape_debug())
    })
}

/// An ALPN protocol name.
pub fn alpn(text: &str) -> Result<Text, String> {
    if text.is_empty() || text.len() > ALPN_BYTES_MAX {
        return Err(format!("an ALPN name has 1 to {ALPN_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

/// That a lowest version is not above a highest.
pub fn range(min: Option<TlsVersion>, max: Option<TlsVersion>) -> Result<(), String> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err("the lowest version is above the highest".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_1_2_are_known_and_refused() {
        assert_eq!(version("TLS_V1_3"), Ok(TlsVersion::V1_3));
        assert_eq!(version("tls_v1_2"), Ok(TlsVersion::V1_2));
        for text in ["TLS_V1_0", "TLS_V1_1"] {
            assert_eq!(version(text).unwrap_err(), "TLS 1.2 is the lowest this gateway speaks");
        }
        assert!(version("1.3").unwrap_err().contains("TLS_V1_3"));
    }

    #[test]
    fn cipher_suites_have_aliases_and_unknown_ones_a_hint() {
        assert_eq!(&*cipher_suite("TLS13_AES_256_GCM_SHA384").unwrap(), "TLS_AES_256_GCM_SHA384");
        let error = cipher_suite("TLS_AES_256_GCM_SHA385").unwrap_err();
        assert!(error.contains("did you mean `TLS_AES_256_GCM_SHA384`?"), "{error}");
        assert!(cipher_suite("RC4").is_err());
    }

    #[test]
    fn groups_are_read_by_their_names() {
        for (name, want) in GROUPS {
            assert_eq!(group(name), Ok(want));
        }
        assert!(group("X25519_MLKEM786").unwrap_err().contains("did you mean `X25519_MLKEM768`?"));
    }
}

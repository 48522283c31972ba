use ir::Secret;
use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

fn terms() -> ServerTls {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    ServerTls {
        certificate: cert.pem().into_bytes(),
        key: Secret::new(signing_key.serialize_pem().into_bytes()),
        client_roots: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        cipher_suites: vec![],
        key_exchange_groups: vec![],
        alpn: vec!["h2".into(), "http/1.1".into()],
    }
}

fn refusal(change: impl FnOnce(&mut ServerTls)) -> String {
    let mut terms = terms();
    change(&mut terms);
    server_config(&terms, &Policy::default()).err().unwrap_or_default()
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let strange = terms();
    let cases = [
        (refusal(|it| it.certificate = b"hello".to_vec()), "holds no PEM certificate"),
        (refusal(|it| it.key = Secret::new(b"hello".to_vec())), "not a PEM key"),
        (refusal(|it| it.key = strange.key.clone()), "does not belong to the certificate"),
        (refusal(|it| it.client_roots = Some(vec![])), "hold no PEM certificate"),
        (refusal(|it| it.cipher_suites = vec!["TLS_NULL".into()]), "choose from TLS_AES_256_GCM_SHA384"),
        (refusal(|it| it.min_version = TlsVersion::V1_3), ""),
        (refusal(|it| (it.min_version, it.max_version) = (TlsVersion::V1_3, TlsVersion::V1_2)), "is above the highest"),
        (
            refusal(|it| {
                it.min_version = TlsVersion::V1_3;
                it.cipher_suites = vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".into()];
            }),
            "do not go together",
        ),
    ];
    for (refusal, expected) in cases {
        assert!(refusal.contains(expected), "{refusal:?} should say {expected:?}");
    }
}

#[test]
fn terms_of_the_bind_win_over_those_of_the_listener() {
    let over = Policy {
        alpn: Some(vec!["http/1.1".into()]),
        min_version: Some(TlsVersion::V1_3),
        cipher_suites: Some(vec!["TLS_CHACHA20_POLY1305_SHA256".into()]),
        key_exchange_groups: Some(vec![KeyExchangeGroup::X25519Mlkem768, KeyExchangeGroup::P384]),
        ..Policy::default()
    };
    let config = server_config(&terms(), &over).unwrap();
    let provider = config.crypto_provider();
    assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    assert_eq!(provider.cipher_suites.iter().map(|it| iana(*it)).collect::<Vec<_>>(), ["TLS_CHACHA20_POLY1305_SHA256"]);
    let groups: Vec<_> = provider.kx_groups.iter().map(|it| it.name()).collect();
    assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768, rustls::NamedGroup::secp384r1]);
}

#[test]
fn sessions_are_shared_among_listeners_of_equal_trust_only() {
    let plain = server_config(&terms(), &Policy::default()).unwrap();
    let again = server_config(&terms(), &Policy::default()).unwrap();
    let mut mutual = terms();
    mutual.client_roots = Some(mutual.certificate.clone());
    let mutual = server_config(&mutual, &Policy::default()).unwrap();
    assert!(Arc::ptr_eq(&plain.ticketer, &again.ticketer), "a reload keeps sessions");
    assert!(!Arc::ptr_eq(&plain.ticketer, &mutual.ticketer), "a certificate must not be skipped by resumption");
    assert!(!Arc::ptr_eq(&plain.session_storage, &mutual.session_storage));
}

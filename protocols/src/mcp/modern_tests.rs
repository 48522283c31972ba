use super::*;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}"#;

fn head(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn judged(pairs: &[(&'static str, &str)], text: &str) -> Result<Era, Fault> {
    let message = Message::parse(text.as_bytes()).unwrap();
    let headers = head(pairs);
    let era = era(&headers, &message)?;
    if let Era::Modern(version) = era {
        check(&headers, &message, version)?;
    }
    Ok(era)
}

#[test]
fn head_and_body_of_a_request_say_the_same() {
    let call =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{{}},{META}}}}}"#);
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "a"));
    let modern = Ok(Era::Modern(Version::V2026_07_28));
    assert_eq!(judged(&[version, method, name], &call), modern);
    assert_eq!(judged(&[version, method, ("mcp-name", "=?base64?YQ==?=")], &call), modern);
    assert_eq!(judged(&[version, method, ("mcp-name", "  a ")], &call), modern);
    assert_eq!(judged(&[("mcp-protocol-version", "2025-11-25")], bare), Ok(Era::Legacy));
    assert_eq!(judged(&[], bare), Ok(Era::Legacy));
    for pairs in [
        &[method, name][..],
        &[version, name],
        &[version, method],
        &[version, ("mcp-method", "Tools/Call"), name],
        &[version, method, ("mcp-name", "b")],
        &[version, method, ("mcp-name", "=?base64?YQ?=")],
        &[version, method, ("mcp-name", "=?base64?!!!?=")],
        &[("mcp-protocol-version", "2025-11-25"), method, name],
        &[("mcp-protocol-version", "v9"), method, name],
    ] {
        let fault = judged(pairs, &call).unwrap_err();
        assert!(matches!(fault, Fault::Mismatch(_)), "{pairs:?} {fault:?}");
        assert_eq!(fault.status(), StatusCode::BAD_REQUEST);
    }
    assert!(matches!(judged(&[version, method, name], bare), Err(Fault::Meta(_))));
    assert_eq!(judged(&[("mcp-protocol-version", "v9")], bare), Err(Fault::Version("v9".into())));
    let ping = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{META}}}}}"#);
    let removed = judged(&[version, ("mcp-method", "ping")], &ping).unwrap_err();
    assert_eq!((removed.status(), removed.answer("1").contains("-32601")), (StatusCode::NOT_FOUND, true));
}

#[test]
fn what_does_not_survive_in_a_header_goes_in_base64() {
    for (text, plain) in
        [("us-west1", true), ("Hello, 世界", false), (" padded ", false), ("a\nb", false), ("=?base64?x?=", false)]
    {
        let value = encode(text);
        assert_eq!(value.as_bytes() == text.as_bytes(), plain, "{text}");
        assert_eq!(decode(&value).as_deref(), Some(text));
    }
}

#[test]
fn requests_get_meta_wherever_it_has_to_go() {
    let members = r#""a":1"#;
    for (text, want) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#,
            r#"{"params":{"_meta":{"a":1}},"jsonrpc":"2.0","id":1,"method":"x"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"a":1}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"b":2}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"a":1},"b":2}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":3}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"a":1,"progressToken":3}}}"#,
        ),
    ] {
        let message = Message::parse(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        add_meta(&message, members, &mut edits);
        assert_eq!(edits.apply(text, 0..text.len()), want);
    }
}

#[test]
fn a_client_is_described_to_either_era() {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{{META}}}}}"#);
    let legacy = client(&Message::parse(text.as_bytes()).unwrap());
    assert!(
        legacy.contains(r#""protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"#),
        "{legacy}"
    );
    let asked =
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tasks":{"x":1},"roots":{}},"clientInfo":{"name":"n"}}"#;
    let meta = meta_of(asked, Some("warning"));
    for part in [
        r#"clientCapabilities":{"roots":{}}"#,
        r#"clientInfo":{"name":"n"}"#,
        r#"protocolVersion":"2026-07-28""#,
        r#"logLevel":"warning""#,
    ] {
        assert!(meta.contains(part), "{part} in {meta}");
    }
}

#[test]
fn results_of_elder_servers_are_completed_and_others_left_alone() {
    for (method, text, want) in [
        ("tools/call", r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
        ("tools/list", "{}", r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#),
        (
            "tools/list",
            r#"{"resultType":"complete","ttlMs":5,"cacheScope":"public"}"#,
            r#"{"resultType":"complete","ttlMs":5,"cacheScope":"public"}"#,
        ),
    ] {
        let result = json::parse(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        complete(result, method, &mut edits);
        assert_eq!(result.edited(edits), want);
    }
    assert!(wants_log(Some("info"), "error") && !wants_log(Some("error"), "info") && !wants_log(None, "error"));
}

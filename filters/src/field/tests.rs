use std::borrow::Cow;

use super::{DEPTH_MAX, Field, Lookup, Predicate, TEXT_BYTES_MAX, Value};

/// `GET /a` with `x-user: alice`, answered 503.
struct Fixture;

impl Lookup for Fixture {
    fn get(&self, field: &Field) -> Option<Value<'_>> {
        let text = |text: &'static str| Some(Value::Text(Cow::Borrowed(text)));
        match field {
            Field::RequestMethod => text("GET"),
            Field::RequestPath => text("/a"),
            Field::RequestHeader(name) if name == "x-user" => text("alice"),
            Field::ResponseCode => Some(Value::Int(503)),
            _ => None,
        }
    }
}

#[test]
fn fields_read_back_as_they_are_written() {
    for (text, canonical) in [
        ("request.path", "request.path"),
        (" request.headers[ 'X-User' ] ", "request.headers[\"x-user\"]"),
        ("request.headers.host", "request.headers[\"host\"]"),
        ("request.cookies[\"Sid\"]", "request.cookies[\"Sid\"]"),
        ("request.query['a b']", "request.query[\"a b\"]"),
        ("response.headers[\"etag\"]", "response.headers[\"etag\"]"),
        ("source.address", "source.address"),
        ("'it\\'s \"x\"\\n'", "\"it's \\\"x\\\"\\n\""),
        ("-12", "-12"),
        ("listener.name", "listener.name"),
    ] {
        let field = Field::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(field.to_string(), canonical);
        assert_eq!(Field::parse(canonical), Ok(field));
    }
}

#[test]
fn predicates_mean_what_cel_says() {
    for (text, want) in [
        ("response.code >= 500", true),
        ("response.code == 503 && request.method == 'GET'", true),
        ("response.code < 500 || request.headers['x-user'] == \"alice\"", true),
        ("response.code != 503", false),
        ("!(response.code == 503)", false),
        ("!!(503 <= response.code)", true),
        ("request.path > '/'", true),
        // `&&` binds tighter than `||`.
        ("true || false && false", true),
        ("(true || false) && false", false),
        // A missing header is an error: it does not hold, nor does its negation.
        ("request.headers['none'] == 'x'", false),
        ("!(request.headers['none'] == 'x')", false),
        ("request.headers['none'] != 'x'", false),
        // What the other side decides stands, on either side of the error.
        ("request.headers['none'] == 'x' || response.code == 503", true),
        ("response.code == 503 || request.headers['none'] == 'x'", true),
        ("!(request.headers['none'] == 'x' && response.code == 200)", true),
        ("request.headers['none'] == 'x' && true", false),
    ] {
        let predicate = Predicate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(predicate.holds(&Fixture), want, "{text}");
        let written = predicate.to_string();
        assert_eq!(Predicate::parse(&written), Ok(predicate), "{written}");
    }
}

#[test]
fn errors_name_the_position_and_the_nearest_field() {
    for (text, want) in [
        (
            "request.pth == 'a'",
            "`request.pth` is not a field this version knows; did you mean `request.path`? (at character 1)",
        ),
        ("true && jwt.sub == 'a'", "`jwt.sub` is not a field this version knows (at character 9)"),
        ("response.code", "comparison expected"),
        ("response.code == '500'", "response.code is a number and \"500\" is a text"),
        ("request.path == 5", "5 is a number and request.path is a text"),
        ("request.headers == 'a'", "write `request.headers[\"name\"]`"),
        ("request.headers[\"a b\"] == 'a'", "is not a header name"),
        ("'é' == 'open", "text without closing quote (at character 8)"),
        ("(response.code == 1", "`)` expected"),
        ("response.code == 1.5", "`1.5` is not a whole number"),
        ("response.code == 1 response", "end of expression expected (at character 20)"),
        ("'a\\x' == 'b'", "unknown escape"),
        ("", "field, text or number expected (at character 1)"),
        ("response.code == 99999999999999999999", "is not a whole number"),
    ] {
        let error = Predicate::parse(text).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let deep = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Predicate::parse(&deep(DEPTH_MAX)).is_ok());
    assert!(Predicate::parse(&deep(DEPTH_MAX + 1)).unwrap_err().contains("nested deeper"));
    // What is written back is read again, however deep.
    for text in [format!("{}true", "!".repeat(DEPTH_MAX)), deep(DEPTH_MAX)] {
        let predicate = Predicate::parse(&text).unwrap();
        assert_eq!(Predicate::parse(&predicate.to_string()), Ok(predicate), "{text}");
    }
    assert!(Predicate::parse(&"!".repeat(900)).unwrap_err().contains("nested deeper"));
    assert!(Field::parse(&format!("'{}'", "x".repeat(TEXT_BYTES_MAX))).unwrap_err().contains("longer than"));
}

#[test]
fn whether_the_response_is_needed_is_known_beforehand() {
    for (text, want) in [("request.path == '/'", false), ("!(true && response.code == 1)", true)] {
        assert_eq!(Predicate::parse(text).unwrap().is_of_response(), want, "{text}");
    }
}

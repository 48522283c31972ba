//! The published test suite of Signature Version 4: requests, and the signatures they must have.

use pingora_http::RequestHeader;

use super::*;

/// Name, method and target, headers besides `host` and `x-amz-date`, body, signature.
const SUITE: &[(&str, &str, &str, &str, &str)] = &[
    (
        "get-header-key-duplicate",
        "GET /",
        "my-header1:value2\nmy-header1:value2\nmy-header1:value1",
        "",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "get-header-value-multiline",
        "GET /",
        "my-header1:value1  value2     value3",
        "",
        "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
    ),
    (
        "get-header-value-order",
        "GET /",
        "my-header1:value4\nmy-header1:value1\nmy-header1:value3\nmy-header1:value2",
        "",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    (
        "get-header-value-trim",
        "GET /",
        "my-header1: value1\nmy-header2: \"a   b   c\"",
        "",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "get-unreserved",
        "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "",
        "",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    ("get-utf8", "GET /ሴ", "", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("get-vanilla", "GET /", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-empty-query-key",
        "GET /?Param1=value1",
        "",
        "",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    ("get-vanilla-query", "GET /", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-encoded",
        "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        "",
        "",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "get-vanilla-query-order-key",
        "GET /?Param1=value2&Param1=Value1",
        "",
        "",
        "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
    ),
    (
        "get-vanilla-query-order-key-case",
        "GET /?Param2=value2&Param1=value1",
        "",
        "",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-vanilla-query-order-value",
        "GET /?Param1=value2&Param1=value1",
        "",
        "",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    (
        "get-vanilla-query-unreserved",
        "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "",
        "",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "get-vanilla-utf8-query",
        "GET /?ሴ=bar",
        "",
        "",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "get-vanilla-with-session-token",
        "GET /",
        "x-amz-security-token:6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
        "",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
    ("get-relative", "GET /example/..", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-relative-relative",
        "GET /example1/example2/../..",
        "",
        "",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    ("get-slash", "GET //", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-slash-dot-slash", "GET /./", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-slash-pointless-dot",
        "GET /./example",
        "",
        "",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    ("get-slashes", "GET //example//", "", "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    ("get-space", "GET /example space/", "", "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    (
        "get-special-character",
        "GET /example/$delete",
        "",
        "",
        "a853c9b21b528b19643d00910d35b83a10c366a10833ceefb45edd6c80e40f27",
    ),
    ("post-header-key-case", "POST /", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "post-header-key-sort",
        "POST /",
        "my-header1:value1",
        "",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    (
        "post-header-value-case",
        "POST /",
        "my-header1:VALUE1",
        "",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    ("post-sts-header-after", "POST /", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "post-sts-header-before",
        "POST /",
        "x-amz-security-token:AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
        "",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
    ("post-vanilla", "POST /", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "post-vanilla-empty-query-value",
        "POST /?Param1=value1",
        "",
        "",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "post-vanilla-query",
        "POST /?Param1=value1",
        "",
        "",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST /",
        "content-type:application/x-www-form-urlencoded",
        "Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    (
        "post-x-www-form-urlencoded-parameters",
        "POST /",
        "content-type:application/x-www-form-urlencoded; charset=utf8",
        "Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
];

/// All of the suite is signed with these, for one moment.
fn suite() -> Aws {
    let keys = Keys::new(secret("AKIDEXAMPLE"), secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), None).unwrap();
    Aws::new(Some(keys), Some("us-east-1".into()), Some("service".into()), None).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes())
}

#[test]
fn every_request_of_the_suite_has_its_signature() {
    let aws = suite();
    for (name, line, headers, body, signature) in SUITE {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = RequestHeader::build(method, b"/", None).unwrap();
        head.insert_header("x-amz-date", "20150830T123600Z").unwrap();
        for (name, value) in headers.lines().filter_map(|it| it.split_once(':')) {
            head.append_header(name.to_owned(), value).unwrap();
        }
        // Some targets cannot be written into a head, and are signed as they are.
        let mut canonical = Canonical::signing(&head, "example.amazonaws.com", true, |_| true);
        (canonical.path, canonical.query) = (canonical::twice(path.as_bytes()), canonical::query(query.as_bytes()));
        let text = canonical.text(&canonical::digest(body.as_bytes()));
        let scope = "20150830/us-east-1/service/aws4_request";
        let made = super::signature((aws.keys.as_ref().unwrap(), &aws.day), scope, "20150830T123600Z", &text);
        assert_eq!(made, *signature, "{name}:\n{text}");
    }
}

use serde_json::{Value, json};

use super::*;
use crate::openapi::call::result;

fn api(paths: Value) -> Api {
    let document = json!({"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "servers": [{"url": "https://a.example/v1/"}],
        "paths": paths, "components": {
            "schemas": {
                "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "n": {"type": "integer"}}},
                "Far": {"$ref": "https://evil.example/schema.json"},
                "File": {"$ref": "file:///etc/passwd"}},
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}}}});
    Api::parse(document.to_string().as_bytes()).unwrap()
}

fn schema(operation: &Operation) -> Value {
    serde_json::from_str::<Value>(&operation.tool).unwrap()["inputSchema"].clone()
}

#[test]
fn operations_are_tools_with_their_arguments_by_place() {
    let api = api(json!({"/items/{id}": {
        "parameters": [{"$ref": "#/components/parameters/Id"}, {"name": "q", "in": "query", "schema": {"type": "string"}}],
        "get": {"operationId": "getItem", "summary": "Gets one", "description": "Gets one item",
            "parameters": [{"name": "q", "in": "query", "required": true, "schema": {"type": "integer"}},
                {"name": "X-Trace", "in": "header", "description": "d", "schema": {"type": "string"}},
                {"name": "Authorization", "in": "header"}, {"name": "Content-Length", "in": "header"},
                {"name": "sid", "in": "cookie"}]},
        "post": {"operationId": "put it!", "requestBody": {"required": true, "content": {
            "application/xml": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}},
        "delete": {"summary": "has no id"}}}));
    assert_eq!((api.title.as_str(), api.left_out.len()), ("T", 1));
    let get = api.operation("getItem").unwrap();
    assert_eq!((&get.method, get.path.as_str()), (&Method::GET, "/v1/items/{id}"));
    assert_eq!(
        schema(get),
        json!({"type": "object", "required": ["path", "query"], "properties": {
            "path": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], "additionalProperties": false},
            "query": {"type": "object", "properties": {"q": {"type": "integer"}}, "required": ["q"], "additionalProperties": false},
            "header": {"type": "object", "properties": {"X-Trace": {"type": "string", "description": "d"}}, "required": [], "additionalProperties": false}}})
    );
    let tool: Value = serde_json::from_str(&get.tool).unwrap();
    assert_eq!(
        (&tool["title"], &tool["description"], &tool["annotations"]["readOnlyHint"]),
        (&json!("Gets one"), &json!("Gets one item"), &json!(true))
    );
    let post = api.operation("put_it_").unwrap();
    assert_eq!(schema(post)["properties"]["body"]["properties"]["n"], json!({"type": "integer"}));
    assert_eq!(post.body.as_ref().unwrap().content_type, "application/json");
}

#[test]
fn arguments_stay_in_their_places() {
    let api = api(json!({"/f/{name}/x": {"get": {"operationId": "f", "parameters": [
        {"name": "name", "in": "path", "required": true}, {"name": "tag", "in": "query"}, {"name": "X-A", "in": "header"}]}},
        "/g": {"post": {"operationId": "g", "requestBody": {"content": {"application/x-www-form-urlencoded": {}}}}},
        "/b": {"put": {"operationId": "b", "requestBody": {"content": {"image/png": {}}}}}}));
    let f = api.operation("f").unwrap();
    let sent = f.request(&json!({"path": {"name": "../../admin?x=1#y"}, "query": {"tag": ["a b", "c&d", 7]}, "header": {"X-A": "v"}})).unwrap();
    assert_eq!(sent.target, "/v1/f/..%2F..%2Fadmin%3Fx%3D1%23y/x?tag=a%20b&tag=c%26d&tag=7");
    assert_eq!(sent.headers.len(), 1);
    for (bad, why) in [
        (json!({}), "`path.name` is missing"),
        (json!({"path": {"name": ".."}}), "not a part of a path"),
        (json!({"path": {"name": ""}}), "not a part of a path"),
        (json!({"path": {"name": "a"}, "header": {"X-A": "a\r\nb: c"}}), "does not fit into a header"),
        (json!({"path": {"name": "a"}, "header": {"Host": "evil"}}), "is not a parameter"),
        (json!({"path": {"name": "a"}, "query": {"other": 1}}), "is not a parameter"),
        (json!({"path": {"name": "a".repeat(9000)}}), "longer than"),
    ] {
        let error = f.request(&bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let sent = api.operation("g").unwrap().request(&json!({"body": {"a": "x y", "b": [1, 2]}})).unwrap();
    assert_eq!(sent.body.unwrap().1, b"a=x%20y&b=1&b=2");
    let b = api.operation("b").unwrap();
    assert_eq!(b.request(&json!({"body": "AAE="})).unwrap().body.unwrap(), ("image/png".to_owned(), vec![0, 1]));
    assert!(b.request(&json!({"body": "!"})).unwrap_err().contains("base64"));
}

#[test]
fn references_lead_nowhere_but_inside_and_not_in_circles() {
    let body = |name: &str| json!({"post": {"operationId": name, "requestBody": {"content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}}}}});
    let api = api(
        json!({"/n": body("Node"), "/f": body("Far"), "/l": body("File"), "/m": body("Missing"), "/r": {"$ref": "#/paths/~1r"}}),
    );
    let of = |name: &str| schema(api.operation(name).unwrap())["properties"]["body"].clone();
    assert_eq!(of("Node"), json!({"type": "object", "properties": {"next": {}, "n": {"type": "integer"}}}));
    for name in ["Far", "File", "Missing"] {
        assert_eq!(of(name), json!({}), "{name}");
    }
}

#[test]
fn a_document_that_multiplies_is_bounded() {
    // Each schema holds the next one ten times: 10^9 values in the end.
    let mut schemas = Map::new();
    for level in 0..9 {
        let next = format!("#/components/schemas/S{}", level + 1);
        let properties: Map<String, Value> = (0..10).map(|it| (format!("p{it}"), json!({"$ref": next}))).collect();
        schemas.insert(format!("S{level}"), json!({"type": "object", "properties": properties}));
    }
    schemas.insert("S9".to_owned(), json!({"type": "string"}));
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}});
    let paths: Map<String, Value> = (0..50)
        .map(|it| (format!("/{it}"), json!({"post": {"operationId": format!("o{it}"), "requestBody": body}})))
        .collect();
    let document = json!({"openapi": "3.0.3", "paths": paths, "components": {"schemas": schemas}});
    let api = Api::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!((api.operations.len(), api.left_out.len()), (0, 50), "none of them");
    assert!(api.left_out[0].contains("too large"), "{:?}", api.left_out[0]);
}

#[test]
fn hostile_names_and_paths_are_left_out_or_made_safe() {
    let api = api(json!({
        "/a": {"get": {"operationId": "a\u{202e}b c"}},
        "/b": {"get": {"operationId": "a_b_c"}},
        "/c": {"get": {"operationId": ""}},
        "no-slash": {"get": {"operationId": "d"}},
        "/q?x=1": {"get": {"operationId": "e"}},
        "/x y": {"get": {"operationId": "f"}},
        "/{p}": {"get": {"operationId": "g"}},
        "/z": {"get": {"operationId": "x".repeat(500)}, "post": {"operationId": "m", "requestBody": {"content": {"multipart/form-data": {}}}}},
    }));
    let names: Vec<_> = api.operations.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a_b_c", &*"x".repeat(64)]);
    assert_eq!(api.left_out.len(), 7, "{:?}", api.left_out);
    for (text, why) in
        [("[]", "not an OpenAPI document"), ("{", "not JSON"), (r#"{"swagger":"2.0"}"#, "not an OpenAPI document")]
    {
        assert!(Api::parse(text.as_bytes()).unwrap_err().contains(why), "{text}");
    }
}

#[test]
fn answers_are_objects_whatever_they_were() {
    for (status, body, structured, failed) in [
        (200, r#"{"a":1}"#, json!({"a": 1}), false),
        (200, "[1,2]", json!({"data": [1, 2]}), false),
        (204, "", json!({"code": 204, "message": ""}), false),
        (404, "not here", json!({"code": 404, "message": "not here"}), true),
    ] {
        let result: Value = serde_json::from_str(&result(status, body.as_bytes())).unwrap();
        assert_eq!((&result["structuredContent"], result["isError"] == true), (&structured, failed), "{body}");
        assert_eq!(result["content"][0]["text"], structured.to_string());
    }
}

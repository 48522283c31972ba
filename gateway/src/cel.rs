//! Trying an expression out: `agentgateway cel` and `POST /api/cel`.

use filters::expr::{Expression, Sample, Site, Vocabulary, summary};
use serde_json::{Value, json};

/// Evaluates an expression on made-up data; everything that goes wrong is the text of the error.
pub fn evaluate(text: &str, data: Option<Value>) -> Result<Value, String> {
    let expression = Expression::compile(text, &Vocabulary::of(Site::Any)).map_err(|problems| summary(&problems))?;
    let sample = Sample::read(data.unwrap_or_else(|| json!({})))?;
    let inputs = sample.inputs();
    let value = expression.evaluate(&inputs).map_err(|error| expression.explain(&error))?;
    value.into_json().map_err(|error| error.to_string())
}

/// An answer of the API: `{"result": …}` or `{"error": "…"}`, the other one null.
pub fn answer(request: &[u8]) -> Result<Value, String> {
    let fault = |reason: &str| format!("{reason}; write {{\"expression\": \"1 + 1\", \"data\": {{…}}}}");
    let asked: Value = serde_json::from_slice(request).map_err(|error| fault(&format!("not JSON: {error}")))?;
    let Value::Object(mut asked) = asked else { return Err(fault("not an object")) };
    let Some(Value::String(text)) = asked.remove("expression") else { return Err(fault("no expression")) };
    let data = asked.remove("data").filter(|it| !it.is_null());
    if let Some(other) = asked.keys().next() {
        return Err(fault(&format!("unknown key `{other}`")));
    }
    Ok(match evaluate(&text, data) {
        Ok(result) => json!({"result": result, "error": null}),
        Err(error) => json!({"result": null, "error": error}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_evaluated_on_the_data_given() {
        let data = json!({
            "request": {"method": "POST", "uri": "http://a.b/c?d=e", "headers": {"x": ["1", "2"]}, "body": {"m": 1}},
            "response": {"code": 503},
            "jwt": {"sub": "u", "rawToken": "t"},
            "source": {"address": "10.0.0.1", "spiffeId": "spiffe://d/ns/n/sa/s"},
            "llm": {"totalTokens": 7},
        });
        for (text, want) in [
            ("request.path + request.host", Ok(json!("/ca.b"))),
            ("request.headers.x", Ok(json!(["1", "2"]))),
            ("json(request.body).m + response.code + llm.totalTokens", Ok(json!(511))),
            ("[jwt.sub, string(jwt.rawToken), source.identity.namespace]", Ok(json!(["u", "<redacted>", "n"]))),
            ("jwt.none", Err("no such key (at 1:4)")),
            ("jwt.sub +", Err("a value expected, found the end (at 1:10)")),
        ] {
            let result = evaluate(text, Some(data.clone()));
            assert_eq!(result, want.map_err(str::to_owned), "{text}");
        }
        assert!(evaluate("1", Some(json!({"reqest": {}}))).unwrap_err().starts_with("data: unknown field `reqest`"));
    }

    #[test]
    fn an_answer_has_a_result_or_an_error() {
        let answer = |text: &str| answer(text.as_bytes());
        assert_eq!(answer(r#"{"expression": "1 + 1"}"#), Ok(json!({"result": 2, "error": null})));
        assert_eq!(answer(r#"{"expression": "1 / 0"}"#).unwrap()["error"], "division by zero (at 1:3)");
        for (text, want) in [("", "not JSON"), ("[]", "not an object"), ("{}", "no expression")] {
            assert!(answer(text).unwrap_err().starts_with(want), "{text}");
        }
        assert!(answer(r#"{"expression": "1", "x": 1}"#).unwrap_err().starts_with("unknown key `x`"));
    }
}

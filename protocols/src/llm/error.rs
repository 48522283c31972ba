//! Errors of the gateway's own, in the shape that the client's dialect has for them.

use super::Dialect;
use crate::json::quoted;

/// What went wrong, by what the client may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    Invalid,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    RateLimit,
    Timeout,
    Overloaded,
    Internal,
}

impl ErrorKind {
    pub fn of(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            403 => Self::Permission,
            404 => Self::NotFound,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            408 | 504 => Self::Timeout,
            502 | 503 => Self::Overloaded,
            400..500 => Self::Invalid,
            _ => Self::Internal,
        }
    }

    fn openai(self) -> &'static str {
        match self {
            Self::Invalid | Self::NotFound | Self::TooLarge => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::RateLimit => "rate_limit_error",
            Self::Timeout | Self::Overloaded | Self::Internal => "server_error",
        }
    }

    fn anthropic(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
            Self::Internal => "api_error",
        }
    }

    fn google(self) -> &'static str {
        match self {
            Self::Invalid | Self::TooLarge => "INVALID_ARGUMENT",
            Self::Authentication => "UNAUTHENTICATED",
            Self::Permission => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::RateLimit => "RESOURCE_EXHAUSTED",
            Self::Timeout => "DEADLINE_EXCEEDED",
            Self::Overloaded => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    fn amazon(self) -> &'static str {
        match self {
            Self::Invalid | Self::TooLarge => "ValidationException",
            Self::Authentication | Self::Permission => "AccessDeniedException",
            Self::NotFound => "ResourceNotFoundException",
            Self::RateLimit => "ThrottlingException",
            Self::Timeout => "ModelTimeoutException",
            Self::Overloaded => "ServiceUnavailableException",
            Self::Internal => "InternalServerException",
        }
    }
}

/// A body, and the header that says its kind where the dialect has it there.
pub fn error_body(
    dialect: Dialect,
    status: u16,
    code: &str,
    message: &str,
) -> (String, Option<(&'static str, &'static str)>) {
    let kind = ErrorKind::of(status);
    let (message, code) = (quoted(message), quoted(code));
    match dialect {
        Dialect::OpenAi => {
            let kind = kind.openai();
            (format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":{code}}}}}"#), None)
        }
        Dialect::Anthropic => {
            let kind = kind.anthropic();
            (format!(r#"{{"type":"error","error":{{"type":"{kind}","message":{message},"code":{code}}}}}"#), None)
        }
        Dialect::Gemini => {
            let kind = kind.google();
            let info = format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":{code},"domain":"agentgateway"}}"#
            );
            (
                format!(r#"{{"error":{{"code":{status},"message":{message},"status":"{kind}","details":[{info}]}}}}"#),
                None,
            )
        }
        Dialect::Bedrock => {
            (format!(r#"{{"message":{message},"code":{code}}}"#), Some(("x-amzn-errortype", kind.amazon())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_shape() {
        for (dialect, status, want) in [
            (
                Dialect::OpenAi,
                404,
                r#"{"error":{"message":"no \"m\"","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            ),
            (
                Dialect::Anthropic,
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"no \"m\"","code":"model_not_found"}}"#,
            ),
            (Dialect::Bedrock, 404, r#"{"message":"no \"m\"","code":"model_not_found"}"#),
        ] {
            assert_eq!(error_body(dialect, status, "model_not_found", "no \"m\"").0, want);
        }
        let (gemini, _) = error_body(Dialect::Gemini, 503, "upstream", "x");
        let gemini: serde_json::Value = serde_json::from_str(&gemini).unwrap();
        assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&503.into(), &"UNAVAILABLE".into()));
        assert_eq!(error_body(Dialect::Bedrock, 429, "x", "").1, Some(("x-amzn-errortype", "ThrottlingException")));
    }

    #[test]
    fn every_status_is_of_a_kind() {
        for (status, kind) in [
            (400, ErrorKind::Invalid),
            (413, ErrorKind::TooLarge),
            (415, ErrorKind::Invalid),
            (500, ErrorKind::Internal),
            (502, ErrorKind::Overloaded),
            (504, ErrorKind::Timeout),
        ] {
            assert_eq!(ErrorKind::of(status), kind);
        }
    }
}

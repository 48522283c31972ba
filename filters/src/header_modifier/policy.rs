//! Header changes as understood.

use http::{HeaderName, HeaderValue, Method};
use serde::{Serialize, Serializer};

use crate::head::{self, Header};

/// Changes of a head, applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Written beside headers of the same name.
    pub add: Vec<Header>,
    /// Written in place of headers of the same name.
    pub set: Vec<Change>,
    #[serde(serialize_with = "head::names")]
    pub remove: Vec<HeaderName>,
}

/// What is replaced: a header, or one of the request's own parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Header(Header),
    /// `host` or `:authority`.
    Authority(HeaderValue),
    Method(Method),
    /// Path and query, in origin form.
    Path(http::uri::PathAndQuery),
}

impl Change {
    /// The header, or the part as HTTP/2 names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Header(header) => header.name.as_str(),
            Self::Authority(_) => ":authority",
            Self::Method(_) => ":method",
            Self::Path(_) => ":path",
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let value = match self {
            Self::Header(header) => return header.serialize(serializer),
            Self::Authority(value) => String::from_utf8_lossy(value.as_bytes()),
            Self::Method(method) => method.as_str().into(),
            Self::Path(path) => path.as_str().into(),
        };
        let mut change = serializer.serialize_struct("Header", 2)?;
        change.serialize_field("name", self.name())?;
        change.serialize_field("value", &value)?;
        change.end()
    }
}

//! A fixed answer as understood.

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::head::Header;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// 200 to 599.
    pub status: u16,
    #[serde(serialize_with = "lossy")]
    pub body: Bytes,
    /// Complete: with the content type, where there is a body.
    pub headers: Vec<Header>,
}

fn lossy<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

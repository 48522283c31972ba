//! The little that is known of types before an evaluation.

/// What an expression certainly is, or `Dyn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    List,
    Map,
    Duration,
    Timestamp,
}

impl Type {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Dyn => "a value",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int | Self::Uint | Self::Double => "a number",
            Self::String => "a text",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Duration => "a duration",
            Self::Timestamp => "a timestamp",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether values of these types can ever be equal or ordered.
    pub(super) fn compares(self, other: Self) -> bool {
        self == other
            || matches!(self, Self::Dyn | Self::Null)
            || matches!(other, Self::Dyn | Self::Null)
            || self.is_number() && other.is_number()
    }
}

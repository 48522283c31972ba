//! Numbers and vectors of the TLS presentation language (RFC 8446 3). Knows no messages.

use super::HelloFault;

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], HelloFault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloFault::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, HelloFault> {
        let (&it, rest) = self.0.split_first().ok_or(HelloFault::Malformed)?;
        self.0 = rest;
        Ok(it)
    }

    pub(super) fn u16(&mut self) -> Result<u16, HelloFault> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A vector with a length of one byte.
    pub(super) fn vector8(&mut self) -> Result<Self, HelloFault> {
        let length = self.u8()?;
        self.take(length.into()).map(Reader)
    }

    /// A vector with a length of two bytes.
    pub(super) fn vector16(&mut self) -> Result<Self, HelloFault> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader)
    }

    pub(super) fn end(&self) -> Result<(), HelloFault> {
        if self.0.is_empty() { Ok(()) } else { Err(HelloFault::Malformed) }
    }
}

/// RFC 8701 2: 0x0a0a, 0x1a1a and so on.
pub(super) fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

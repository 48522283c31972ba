//! The type-length-value vectors after the addresses (section 2.2.1).
//!
//! A malformed vector does not spoil the header, as receivers may ignore all of it; only who iterates sees
//! the fault. What the types mean is for readers, save the checksum.

use super::ProxyFault;
use super::crc32c::Crc32c;

/// `PP2_TYPE_CRC32C`.
const CRC32C: u8 = 0x03;

/// One vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    pub kind: u8,
    pub value: &'a [u8],
}

/// Reads the vectors in `raw`, the range that [`super::Parse::Header`] names.
pub fn tlvs(raw: &[u8]) -> Tlvs<'_> {
    Tlvs { rest: raw }
}

/// Ends after the first malformed vector.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, ProxyFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let tlv = split(self.rest);
        self.rest = tlv.map_or(&[], |(_, rest)| rest);
        Some(tlv.map(|(it, _)| it).ok_or(ProxyFault::Tlv))
    }
}

fn split(raw: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (&[kind, high, low], rest) = raw.split_first_chunk::<3>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((Tlv { kind, value }, rest))
}

/// Verifies the checksum of `header` if it has one: over all its bytes, those of the checksum taken as zero.
pub(super) fn check_crc(header: &[u8], tlvs_start: usize) -> Result<(), ProxyFault> {
    let raw = header.get(tlvs_start..).unwrap_or_default();
    if tlvs(raw).any(|it| it.is_err()) {
        return Ok(());
    }
    let mut rest = raw;
    while let Some((Tlv { kind, value }, after)) = split(rest) {
        rest = after;
        if kind != CRC32C {
            continue;
        }
        let claimed = value.first_chunk::<4>().filter(|_| value.len() == 4).ok_or(ProxyFault::Tlv)?;
        let before = header.get(..header.len() - after.len() - 4).unwrap_or_default();
        let actual = Crc32c::default().update(before).update(&[0; 4]).update(after).finish();
        if u32::from_be_bytes(*claimed) != actual {
            return Err(ProxyFault::Checksum);
        }
    }
    Ok(())
}

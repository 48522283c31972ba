//! CRC-32C (RFC 3720 appendix B.4), bit by bit: once per connection over a few hundred bytes, so no table.

pub(super) struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    pub(super) fn update(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
            }
        }
        Self(crc)
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32c_comes_out() {
        assert_eq!(Crc32c::default().update(b"1234").update(b"56789").finish(), 0xe306_9283);
        assert_eq!(Crc32c::default().update(&[0; 32]).finish(), 0x8a91_36aa, "RFC 3720 B.4");
    }
}

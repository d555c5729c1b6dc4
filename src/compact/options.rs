//! What the caller decides about a compact file.

use crate::compact::CompactError;

/// What to keep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Coordinates are rounded to multiples of this many degrees, 0.01 to 10. Half a degree is
    /// at most 56 km.
    pub degrees: f64,
    /// Longest IPv4 prefix, 1 to 32 bits. The Internet routes nothing longer than 24.
    pub ipv4_prefix: u8,
    /// Longest IPv6 prefix, 1 to 128 bits.
    pub ipv6_prefix: u8,
    /// Who made the data, as its license asks to be told; becomes the description in the file.
    pub attribution: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            degrees: 0.5,
            ipv4_prefix: 24,
            ipv6_prefix: 40,
            attribution: "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0; \
                          coordinates rounded, neighboring networks merged"
                .to_owned(),
        }
    }
}

impl Options {
    /// Whether every option is in its range.
    pub(super) fn check(&self) -> Result<(), CompactError> {
        for (option, value, min, max) in [
            ("the rounding in degrees", self.degrees, 0.01, 10.0),
            ("the longest IPv4 prefix", self.ipv4_prefix.into(), 1.0, 32.0),
            ("the longest IPv6 prefix", self.ipv6_prefix.into(), 1.0, 128.0),
        ] {
            // Written so that NaN is out of range too.
            if !(min..=max).contains(&value) {
                return Err(CompactError::Option { option, value, min, max });
            }
        }
        Ok(())
    }
}

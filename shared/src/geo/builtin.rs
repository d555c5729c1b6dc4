//! The geo data inside the binary: made from DB-IP City Lite, see `config/geo/README.md` for source and license.

use super::{GeoDb, GeoError};

/// The name that stands in for a path in messages and in the status.
pub const NAME: &str = "built-in";

/// The credit that the data's license (CC-BY 4.0) asks for.
pub const ATTRIBUTION: &str =
    "Built-in geo data: IP Geolocation by DB-IP (https://db-ip.com), CC-BY 4.0, reduced to half a degree";

static COMPRESSED: &[u8] = include_bytes!("../../../config/geo/nearcast-city.mmdb.zst");

/// Unpacks the built-in data; takes a fraction of a second and some tens of MiB, so callers do it once and only when
/// no other database is configured.
///
/// # Errors
/// Only if the binary itself is damaged.
pub fn load() -> Result<GeoDb, GeoError> {
    let bytes = zstd::decode_all(COMPRESSED).map_err(|source| GeoError::Read { path: NAME.into(), source })?;
    GeoDb::from_bytes(NAME, bytes)
}

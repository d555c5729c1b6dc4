//! Great-circle distance.

use super::Coordinates;

/// Mean radius of the Earth in kilometers (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// The distance between two points on the sphere in kilometers, by the haversine formula.
///
/// Never flat degrees: a degree of longitude is short far from the equator, and flat degrees send central China to
/// Singapore instead of Tokyo.
pub fn km(a: Coordinates, b: Coordinates) -> f64 {
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = (lat_b - lat_a) / 2.0;
    let half_lon = (b.longitude - a.longitude).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates { latitude, longitude }
    }

    #[test]
    fn known_distances() {
        let rows = [
            ("same point", at(50.0, 8.0), at(50.0, 8.0), 0.0),
            ("Frankfurt to London airports", at(50.03, 8.57), at(51.47, -0.45), 654.0),
            ("across the antimeridian", at(0.0, 179.0), at(0.0, -179.0), 222.4),
            ("pole to pole", at(90.0, 0.0), at(-90.0, 123.0), 20_015.1),
            ("antipodes on the equator", at(0.0, 0.0), at(0.0, 180.0), 20_015.1),
        ];
        for (name, a, b, wanted) in rows {
            assert!((km(a, b) - wanted).abs() < 2.0, "{name}: {}", km(a, b));
            assert!((km(a, b) - km(b, a)).abs() < 1e-9, "{name} is symmetric");
        }
    }

    #[test]
    fn central_china_is_nearer_to_tokyo_than_to_singapore() {
        let lanzhou = at(36.06, 103.83);
        assert!(km(lanzhou, at(35.77, 140.39)) < km(lanzhou, at(1.36, 103.99)));
    }
}

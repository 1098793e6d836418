//! Places on a sphere.

use serde_json::Value;

use super::predicate::GeoPoint;

/// Mean radius of the earth, metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

impl GeoPoint {
    /// Whether both are finite and within their degrees.
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.lat) && (-180.0..=180.0).contains(&self.lon)
    }

    /// The place that a JSON value is: an object with numbers `lat` and `lon` in range (other keys do not matter).
    pub fn from_json(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let place = Self { lon: map.get("lon")?.as_f64()?, lat: map.get("lat")?.as_f64()? };
        place.is_valid().then_some(place)
    }

    /// Great-circle distance in metres (haversine).
    pub fn distance_m(&self, other: &Self) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = ((lat_b - lat_a) / 2.0).sin();
        let half_lon = ((other.lon - self.lon).to_radians() / 2.0).sin();
        let h = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
        // Rounding may carry antipodes past 1.
        2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
    }
}

/// Whether `place` lies in the box, its edges included. A box whose left side is east of its right side crosses the
/// date line.
pub fn in_box(place: &GeoPoint, top_left: &GeoPoint, bottom_right: &GeoPoint) -> bool {
    let lat = bottom_right.lat <= place.lat && place.lat <= top_left.lat;
    let lon = if top_left.lon <= bottom_right.lon {
        top_left.lon <= place.lon && place.lon <= bottom_right.lon
    } else {
        place.lon >= top_left.lon || place.lon <= bottom_right.lon
    };
    lat && lon
}

/// A polygon on the map, in degrees; it does not cross the date line.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    /// The ring around it: closed, that is, its first place is its last one too.
    pub exterior: Vec<GeoPoint>,
    /// Rings around holes, closed as well.
    pub interiors: Vec<Vec<GeoPoint>>,
}

impl Polygon {
    /// Whether `place` lies inside, and in no hole. Edges belong to neither.
    pub fn contains(&self, place: &GeoPoint) -> bool {
        side(&self.exterior, place) == Side::Inside
            && self.interiors.iter().all(|hole| side(hole, place) == Side::Outside)
    }

    /// Every ring, the outer one first.
    pub fn rings(&self) -> impl Iterator<Item = &Vec<GeoPoint>> {
        std::iter::once(&self.exterior).chain(&self.interiors)
    }

    /// Spans of latitude and longitude that hold it.
    pub(super) fn spans(&self) -> ((f64, f64), (f64, f64)) {
        let span = |of: fn(&GeoPoint) -> f64| {
            let all = self.exterior.iter().map(of);
            all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        (span(|p| p.lat), span(|p| p.lon))
    }
}

#[derive(PartialEq)]
enum Side {
    Inside,
    Outside,
    Edge,
}

/// By the number of edges that a ray from the place crosses.
fn side(ring: &[GeoPoint], place: &GeoPoint) -> Side {
    let mut inside = false;
    for edge in ring.windows(2) {
        let (a, b) = (&edge[0], &edge[1]);
        let turn = (b.lon - a.lon) * (place.lat - a.lat) - (b.lat - a.lat) * (place.lon - a.lon);
        let between = |x: f64, from: f64, to: f64| from.min(to) <= x && x <= from.max(to);
        if turn == 0.0 && between(place.lon, a.lon, b.lon) && between(place.lat, a.lat, b.lat) {
            return Side::Edge;
        }
        if (a.lat > place.lat) != (b.lat > place.lat) {
            // Left of the edge as seen from its lower end: the ray to the east crosses it.
            inside ^= (turn > 0.0) == (b.lat > a.lat);
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// Spans of latitude and longitude that surely hold every place within `radius_m` of `center`.
pub(super) fn spans_around(center: &GeoPoint, radius_m: f64) -> ((f64, f64), Vec<(f64, f64)>) {
    // Far above the rounding of the formulas, far below any use: a metre.
    const MARGIN: f64 = 1e-5;
    let whole = vec![(-180.0, 180.0)];
    let angle = radius_m / EARTH_RADIUS_M;
    let degrees = angle.to_degrees() + MARGIN;
    let lat = (center.lat - degrees, center.lat + degrees);
    if lat.0 <= -90.0 || lat.1 >= 90.0 || angle >= std::f64::consts::FRAC_PI_2 {
        return (lat, whole);
    }
    let widest = (angle.sin() / center.lat.to_radians().cos()).clamp(0.0, 1.0).asin().to_degrees() + MARGIN;
    // asin is steep near 1, where the margin would not cover its rounding.
    if widest > 89.0 {
        return (lat, whole);
    }
    let (west, east) = (center.lon - widest, center.lon + widest);
    let lon = if west < -180.0 {
        vec![(-180.0, east), (west + 360.0 - MARGIN, 180.0)]
    } else if east > 180.0 {
        vec![(-180.0, east - 360.0 + MARGIN), (west, 180.0)]
    } else {
        vec![(west, east)]
    };
    // 180 and -180 are one meridian: a span that touches one must look at the other.
    (lat, with_antimeridian(lon))
}

/// Spans of longitude of a box.
pub(super) fn spans_of_box(left: f64, right: f64) -> Vec<(f64, f64)> {
    if left <= right { vec![(left, right)] } else { vec![(-180.0, right), (left, 180.0)] }
}

fn with_antimeridian(mut spans: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if let [(west, east)] = spans[..] {
        if west <= -180.0 {
            spans.push((180.0, 180.0));
        } else if east >= 180.0 {
            spans.push((-180.0, -180.0));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: GeoPoint = GeoPoint { lon: 13.4050, lat: 52.5200 };
    const PARIS: GeoPoint = GeoPoint { lon: 2.3522, lat: 48.8566 };

    #[test]
    fn distances() {
        assert!((BERLIN.distance_m(&PARIS) - 877_464.6).abs() < 100.0);
        assert_eq!(BERLIN.distance_m(&BERLIN), 0.0);
        let (east, west) = (GeoPoint { lon: 179.9, lat: 0.0 }, GeoPoint { lon: -179.9, lat: 0.0 });
        assert!((east.distance_m(&west) - 22_239.0).abs() < 1.0);
        let (south, north) = (GeoPoint { lon: 7.0, lat: -90.0 }, GeoPoint { lon: -80.0, lat: 90.0 });
        assert!((south.distance_m(&north) - std::f64::consts::PI * EARTH_RADIUS_M).abs() < 1e-3);
    }

    #[test]
    fn a_polygon_has_holes_and_no_edges() {
        let ring = |places: &[(f64, f64)]| -> Vec<GeoPoint> {
            places.iter().map(|&(lon, lat)| GeoPoint { lon, lat }).collect()
        };
        // An L, and a hole in its foot.
        let exterior = ring(&[(0., 0.), (4., 0.), (4., 2.), (2., 2.), (2., 4.), (0., 4.), (0., 0.)]);
        let hole = ring(&[(2.5, 0.5), (3.5, 0.5), (3.5, 1.5), (2.5, 1.5), (2.5, 0.5)]);
        let backwards =
            Polygon { exterior: exterior.iter().rev().copied().collect(), interiors: vec![hole.clone()] };
        for polygon in [Polygon { exterior, interiors: vec![hole] }, backwards] {
            let inside = |lon, lat| polygon.contains(&GeoPoint { lon, lat });
            assert!(
                inside(1., 1.) && inside(1., 3.) && inside(3.8, 1.8) && inside(1., 2.) && inside(2.2, 1.9)
            );
            assert!(
                !inside(3., 3.) && !inside(-1., 1.) && !inside(5., 1.) && !inside(-1., 2.) && !inside(1., 9.)
            );
            assert!(!inside(3., 1.) && !inside(3.5, 1.0), "in the hole, or on its edge");
            assert!(!inside(0., 1.) && !inside(4., 2.) && !inside(2., 3.), "on the edge");
            assert_eq!(polygon.spans(), ((0., 4.), (0., 4.)));
        }
    }

    #[test]
    fn boxes_cross_the_date_line() {
        let fiji = (GeoPoint { lon: 170.0, lat: 0.0 }, GeoPoint { lon: -170.0, lat: -30.0 });
        let inside = |lon, lat| in_box(&GeoPoint { lon, lat }, &fiji.0, &fiji.1);
        assert!(inside(179.0, -18.0) && inside(-179.0, -18.0) && inside(170.0, 0.0) && inside(180.0, -1.0));
        assert!(!inside(0.0, -18.0) && !inside(169.9, -18.0) && !inside(179.0, 1.0));
    }
}

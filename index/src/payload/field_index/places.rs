//! Places in bands of latitude, in each by longitude.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::codec::{Reader, Writer, corrupt};
use super::postings::sorted_bitmap;
use crate::column::Column;
use crate::error::Result;
use crate::payload::geo::{in_box, spans_around, spans_of_box};
use crate::payload::predicate::{FieldPredicate, GeoPoint};

/// Height of a band in degrees, about 28 km.
const BAND: f64 = 0.25;
const BANDS: usize = (180.0 / BAND) as usize + 1;

/// All places of a field.
#[derive(Debug)]
pub(super) struct Places {
    lat: Column<f64>,
    lon: Column<f64>,
    ordinals: Column<u32>,
    /// Where each band starts; one more for the end. Follows from `lat`.
    bands: Vec<usize>,
}

fn band(lat: f64) -> usize {
    // A float turns into the nearest integer of the range: what lies off the globe lands in the outermost bands.
    (((lat + 90.0) / BAND) as usize).min(BANDS - 1)
}

impl Places {
    pub fn new(mut places: Vec<(GeoPoint, u32)>) -> Self {
        places.sort_unstable_by(|(a, x), (b, y)| {
            band(a.lat).cmp(&band(b.lat)).then(a.lon.total_cmp(&b.lon)).then(x.cmp(y))
        });
        let lat: Vec<f64> = places.iter().map(|(p, _)| p.lat).collect();
        let bands = starts(&lat);
        Self {
            lat: lat.into(),
            lon: places.iter().map(|(p, _)| p.lon).collect::<Vec<_>>().into(),
            ordinals: places.iter().map(|(_, o)| *o).collect::<Vec<_>>().into(),
            bands,
        }
    }

    /// Positions that hold every place that may fulfil `predicate`.
    fn candidates(&self, predicate: &FieldPredicate) -> Vec<Range<usize>> {
        let ((south, north), spans) = match predicate {
            FieldPredicate::GeoRadius { center, radius_m } => spans_around(center, *radius_m),
            FieldPredicate::GeoBox { top_left, bottom_right } => {
                ((bottom_right.lat, top_left.lat), spans_of_box(top_left.lon, bottom_right.lon))
            }
            FieldPredicate::GeoPolygon(polygon) => {
                let (lat, lon) = polygon.spans();
                (lat, vec![lon])
            }
            _ => return Vec::new(),
        };
        let mut out = Vec::new();
        if south > north {
            return out;
        }
        for window in self.bands.windows(2).skip(band(south)).take(band(north) - band(south) + 1) {
            let Some(lon) = self.lon.get(window[0]..window[1]) else { continue };
            for (west, east) in &spans {
                let low = window[0] + lon.partition_point(|l| l < west);
                let high = window[0] + lon.partition_point(|l| l <= east);
                if low < high {
                    out.push(low..high);
                }
            }
        }
        out
    }

    /// At least the number of matching places.
    pub fn at_most(&self, predicate: &FieldPredicate) -> u64 {
        self.candidates(predicate).iter().map(|r| r.len() as u64).sum()
    }

    /// Rows with a place that fulfils `predicate`.
    pub fn collect(&self, predicate: &FieldPredicate) -> RoaringBitmap {
        let (lat, lon, ordinals) = (self.lat.as_slice(), self.lon.as_slice(), self.ordinals.as_slice());
        let fulfils = |place: &GeoPoint| match predicate {
            FieldPredicate::GeoRadius { center, radius_m } => center.distance_m(place) <= *radius_m,
            FieldPredicate::GeoBox { top_left, bottom_right } => in_box(place, top_left, bottom_right),
            FieldPredicate::GeoPolygon(polygon) => polygon.contains(place),
            _ => false,
        };
        let mut found = Vec::new();
        for i in self.candidates(predicate).into_iter().flatten() {
            // The three columns are of one length; anything else would have been refused.
            if let (Some(&lat), Some(&lon), Some(&ordinal)) = (lat.get(i), lon.get(i), ordinals.get(i))
                && fulfils(&GeoPoint { lon, lat })
            {
                found.push(ordinal);
            }
        }
        sorted_bitmap(found)
    }

    pub fn heap_bytes(&self) -> usize {
        self.lat.heap_bytes() + self.lon.heap_bytes() + self.ordinals.heap_bytes() + self.bands.capacity() * 8
    }

    pub fn write(&self, out: &mut Writer) {
        out.column(&self.lat);
        out.column(&self.lon);
        out.column(&self.ordinals);
    }

    pub fn read(input: &mut Reader, rows: u32) -> Result<Self> {
        let (lat, lon): (Column<f64>, Column<f64>) = (input.column()?, input.column()?);
        let ordinals: Column<u32> = input.column()?;
        if lat.len() != lon.len() || lat.len() != ordinals.len() {
            return Err(corrupt("columns of places differ in length"));
        }
        let places = || lat.iter().zip(lon.iter()).map(|(&lat, &lon)| GeoPoint { lon, lat });
        if !places().all(|p| p.is_valid()) || ordinals.iter().any(|o| *o >= rows) {
            return Err(corrupt("a place is off the globe or of no row"));
        }
        if !places().zip(places().skip(1)).all(|(a, b)| (band(a.lat), a.lon) <= (band(b.lat), b.lon)) {
            return Err(corrupt("places are not in order"));
        }
        let bands = starts(&lat);
        Ok(Self { lat, lon, ordinals, bands })
    }
}

fn starts(lat: &[f64]) -> Vec<usize> {
    (0..=BANDS).map(|b| lat.partition_point(|l| band(*l) < b)).collect()
}

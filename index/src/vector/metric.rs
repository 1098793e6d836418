//! Distance functions of a vector field, and the one door vectors come in by.

use serde::{Deserialize, Serialize};

use crate::{
    IndexError, Result,
    vector::{MAX_DIMENSION, kernel::Kernel},
};

/// Largest Euclidean norm of a vector of a metric that keeps lengths (`dot`, `euclid`, `manhattan`).
///
/// Two vectors of this norm are at most 2e18 apart, so their squared distance (4e36) and their inner product (1e36)
/// stay finite in f32 (3.4e38), whatever the order of summation.
pub const MAX_NORM: f64 = 1e18;

/// How far from 1 a length may be for a vector to count as normalised already.
///
/// Normalising rounds each component to f32, which moves the length by less than 1e-7; so what came out of
/// [`admit`] is left bit-identical by the next [`admit`], and replaying a log changes nothing.
const UNIT_TOLERANCE: f64 = 1e-6;

/// Distance function of a vector field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// 1 - cosine similarity; vectors are stored with unit length.
    Cosine,
    /// Negated inner product.
    Dot,
    /// Euclidean distance (ranked by its square).
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

impl Metric {
    /// Distance of two admitted vectors of one dimension: smaller is closer.
    ///
    /// `cosine`: `1 - a.b`, within `0..=2`; `dot`: `-a.b`; `euclid`: the *squared* L2 distance; `manhattan`: L1.
    /// Same bits as every search path gives. For more than a few pairs take a [`Kernel`] once instead.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f32 {
        Kernel::new(self).distance(a, b)
    }

    /// What users see of a distance: cosine similarity, inner product, Euclidean distance or L1 distance.
    pub fn score(self, distance: f32) -> f32 {
        match self {
            Metric::Cosine => 1.0 - distance,
            // Adding zero turns -0 into 0: no user wants to see "-0".
            Metric::Dot => -distance + 0.0,
            Metric::Euclid => distance.max(0.0).sqrt(),
            Metric::Manhattan => distance,
        }
    }

    /// Whether a larger [`Metric::score`] is closer.
    pub fn larger_is_closer(self) -> bool {
        matches!(self, Metric::Cosine | Metric::Dot)
    }

    /// The distance that has this score: turns a user's score threshold into a bound on distances.
    ///
    /// A negative `euclid` or `manhattan` score, which no pair has, becomes -infinity: nothing is that close.
    pub fn distance_from_score(self, score: f32) -> f32 {
        match self {
            Metric::Cosine => 1.0 - score,
            Metric::Dot => -score + 0.0,
            Metric::Euclid | Metric::Manhattan if score < 0.0 => f32::NEG_INFINITY,
            Metric::Euclid => score * score,
            Metric::Manhattan => score,
        }
    }

    /// Number of this metric in our files.
    pub(crate) fn code(self) -> u32 {
        match self {
            Metric::Cosine => 1,
            Metric::Dot => 2,
            Metric::Euclid => 3,
            Metric::Manhattan => 4,
        }
    }

    /// Reverse of [`Metric::code`].
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan]
            .into_iter()
            .find(|m| m.code() == code)
    }
}

/// The one door: checks a vector (stored or query) and makes it fit to be compared.
///
/// `vector` must have `dimension` finite components. For [`Metric::Cosine`] it is scaled to unit length in place; a
/// vector that has unit length already (within 1e-6) is left bit-identical. For the other metrics its Euclidean norm may
/// be at most [`MAX_NORM`], so that no distance overflows.
///
/// # Errors
/// [`IndexError::InvalidVector`] with what to do; `vector` is then unchanged.
pub fn admit(metric: Metric, dimension: usize, vector: &mut [f32]) -> Result<()> {
    if dimension == 0 || dimension > MAX_DIMENSION {
        let why = format!(
            "dimension {dimension} is out of range: a vector field has 1 to {MAX_DIMENSION} dimensions"
        );
        return Err(IndexError::InvalidParameter(why));
    }
    check_dimension(dimension, vector)?;
    let norm = norm(vector);
    // A component that is not finite leaves no finite norm, so the search for it is only for the message.
    if !norm.is_finite()
        && let Some(at) = vector.iter().position(|x| !x.is_finite())
    {
        return refuse(format!(
            "component {at} of the vector is {}: every component must be a finite number; leave this vector out or compute it again",
            vector[at]
        ));
    }
    if metric != Metric::Cosine {
        if norm > MAX_NORM {
            return refuse(format!(
                "the vector has length {norm:.3e}, the largest allowed is {MAX_NORM:e}: scale the vectors of this field down"
            ));
        }
        return Ok(());
    }
    if norm == 0.0 || !norm.is_finite() {
        return refuse(
            "a zero vector has no direction, so cosine cannot compare it: leave this vector out, or make the field's metric `dot` or `euclid`"
                .to_owned(),
        );
    }
    if (norm - 1.0).abs() > UNIT_TOLERANCE {
        for x in vector.iter_mut() {
            *x = (f64::from(*x) / norm) as f32;
        }
    }
    Ok(())
}

/// Euclidean length. In f64 the square of the largest f32 is 1e77, so the sum neither overflows nor vanishes; eight sums
/// side by side do not wait for each other.
fn norm(vector: &[f32]) -> f64 {
    let (blocks, rest) = vector.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
}

/// Refuses a vector that has not exactly `dimension` components.
///
/// # Errors
/// [`IndexError::InvalidVector`].
pub fn check_dimension(dimension: usize, vector: &[f32]) -> Result<()> {
    if vector.len() == dimension {
        return Ok(());
    }
    refuse(format!(
        "the vector has {} dimensions, the field has {dimension}: use the model the field was made for, or another field",
        vector.len()
    ))
}

fn refuse(why: String) -> Result<()> {
    Err(IndexError::InvalidVector(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

    #[test]
    fn regress_t36_non_finite_and_wrong_length_are_refused() {
        for metric in ALL {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut v = [1.0, bad, 0.5];
                assert!(
                    matches!(admit(metric, 3, &mut v), Err(IndexError::InvalidVector(_))),
                    "{metric:?} {bad}"
                );
            }
            assert!(admit(metric, 4, &mut [1.0, 2.0, 3.0]).is_err());
            assert!(admit(metric, 0, &mut []).is_err());
            assert!(admit(metric, MAX_DIMENSION + 1, &mut vec![1.0; MAX_DIMENSION + 1]).is_err());
        }
    }

    #[test]
    fn huge_components_never_give_a_non_finite_distance() {
        for metric in ALL {
            for size in [1e17_f32, 5e17, 1e18, 1e19, f32::MAX] {
                let mut a = vec![size; 3];
                let mut b = vec![-size; 3];
                if admit(metric, 3, &mut a).is_ok() {
                    admit(metric, 3, &mut b).unwrap();
                    assert!(metric.distance(&a, &b).is_finite(), "{metric:?} {size}");
                } else {
                    assert!(metric != Metric::Cosine && size >= 1e18, "{metric:?} {size}");
                }
            }
        }
    }

    #[test]
    fn cosine_normalises_once() {
        assert!(admit(Metric::Cosine, 2, &mut [0.0, 0.0]).is_err());
        for v in [[3.0_f32, 4.0], [1e-40, 2e-40], [1e38, -3e38], [0.1, 0.7]] {
            let mut once = v;
            admit(Metric::Cosine, 2, &mut once).unwrap();
            let length = once.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            assert!((length - 1.0).abs() < 1e-6, "{v:?}");
            let mut twice = once;
            admit(Metric::Cosine, 2, &mut twice).unwrap();
            assert_eq!(once.map(f32::to_bits), twice.map(f32::to_bits));
        }
    }

    #[test]
    fn scores_and_thresholds_are_inverse() {
        for metric in ALL {
            for distance in [0.0, 0.25, 1.0, 1.75] {
                let back = metric.distance_from_score(metric.score(distance));
                assert!((back - distance).abs() < 1e-6, "{metric:?} {distance}");
            }
            assert_eq!(Metric::from_code(metric.code()), Some(metric));
        }
        assert_eq!(Metric::Euclid.distance_from_score(-1.0), f32::NEG_INFINITY);
        assert_eq!(Metric::from_code(0), None);
    }
}

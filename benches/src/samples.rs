//! Times and what they say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Times of one kind of thing, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Takes a time.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    /// Number of times.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that this share of the times is not above; 0 where there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
    }

    /// The median in seconds.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// A quantile in microseconds.
    pub fn micros(&self, share: f64) -> f64 {
        self.quantile(share) * 1e6
    }

    /// All times together, in seconds.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// `p50 120 us, p99 340 us`.
    pub fn text(&self) -> String {
        format!("p50 {:.0} us, p99 {:.0} us", self.micros(0.5), self.micros(0.99))
    }

    /// The usual quantiles for the JSON report.
    pub fn json(&self) -> Value {
        json!({
            "count": self.len(),
            "p50_us": self.micros(0.5),
            "p90_us": self.micros(0.9),
            "p99_us": self.micros(0.99),
            "max_us": self.micros(1.0),
            "per_second": if self.total() > 0.0 { self.len() as f64 / self.total() } else { 0.0 },
        })
    }
}

/// The middle one of some figures; 0 where there is none.
pub fn median(figures: &[f64]) -> f64 {
    Samples(figures.to_vec()).median()
}

/// Runs the candidates in turns, `rounds` times after one round to warm up; the times of each.
///
/// # Errors
/// That of the first candidate that fails.
pub fn in_turns<const N: usize>(
    rounds: usize,
    mut candidates: [&mut dyn FnMut() -> anyhow::Result<()>; N],
) -> anyhow::Result<[Samples; N]> {
    let mut all = std::array::from_fn(|_| Samples::default());
    for round in 0..=rounds {
        for (run, samples) in candidates.iter_mut().zip(&mut all) {
            let start = Instant::now();
            run()?;
            if round > 0 {
                samples.push(start.elapsed());
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), 0.0);
        (1..=101).rev().for_each(|n| samples.push(Duration::from_secs(n)));
        assert_eq!((samples.median(), samples.quantile(0.99), samples.quantile(1.0)), (51.0, 100.0, 101.0));
    }

    #[test]
    fn turns_leave_out_the_first_round() -> anyhow::Result<()> {
        let (mut a, mut b) = (0, 0);
        let times = in_turns(
            3,
            [
                &mut || {
                    a += 1;
                    Ok(())
                },
                &mut || {
                    b += 1;
                    Ok(())
                },
            ],
        )?;
        assert_eq!((times[0].len(), times[1].len()), (3, 3));
        assert_eq!((a, b), (4, 4));
        Ok(())
    }
}

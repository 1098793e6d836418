//! Reproducible random numbers; nothing here needs good ones.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Roughly normal around 0 and rounded to the ten bits of a 16-bit float, as components of embeddings are.
    pub fn component(&mut self) -> f32 {
        let sum: u64 = (0..4).map(|_| self.next_u64() >> 44).sum();
        let normal = (sum as f32 / (1 << 20) as f32 - 2.0) * 0.1;
        f32::from_bits(normal.to_bits() & !0x1fff)
    }

    /// A vector of such components.
    pub fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.component()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_small_and_around_zero() {
        let all = Noise::new(1).vector(10_000);
        assert!(all.iter().all(|x| x.abs() <= 0.2));
        assert!((all.iter().sum::<f32>() / 10_000.0).abs() < 0.01);
    }
}

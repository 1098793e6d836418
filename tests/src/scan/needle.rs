//! What the scan looks for, and the search for many needles at once.

use std::collections::HashMap;

use base64::Engine as _;

/// Bytes of one form that are searched; at least [`PREFIX`] long.
#[derive(Clone, Debug)]
struct Pattern {
    needle: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Positions are looked up by so many first bytes.
const PREFIX: usize = 8;

/// One thing to find, in all its forms.
#[derive(Clone, Debug)]
pub struct Needle {
    name: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Needle {
    /// A random token of 32 or more ASCII letters and digits.
    ///
    /// Its first four bytes are not required: an index that stores only what differs from the entry before
    /// leaves them out.
    ///
    /// # Panics
    /// For a shorter token, which would be found by chance.
    pub fn token(name: impl Into<String>, token: &str) -> Self {
        assert!(token.len() >= 32, "a token needs 32 bytes");
        let bytes = token.as_bytes();
        let mut forms = vec![("raw", bytes[4..].to_vec())];
        forms.extend(base64_forms(bytes));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        forms.push(("hex", hex.to_uppercase().into_bytes()));
        forms.push(("hex", hex.into_bytes()));
        Self { name: name.into(), forms }
    }

    /// A vector, by its first eight components: as 32-bit floats (any four in a row), as 64- and 16-bit floats, in
    /// base64, and as the decimal text of any component with six digits or more.
    ///
    /// # Panics
    /// For fewer than eight components, which would be found by chance.
    pub fn vector(name: impl Into<String>, components: &[f32]) -> Self {
        assert!(components.len() >= 8, "a vector needs eight components");
        let first = &components[..8];
        let le: Vec<u8> = first.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut forms: Vec<_> = [0, 16].iter().map(|at| ("f32", le[*at..at + 16].to_vec())).collect();
        forms.push(("f64", first[..2].iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()));
        forms.push(("f16", first.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect()));
        forms.extend(base64_forms(&le));
        for x in first {
            let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count() >= 6;
            for text in [x.abs().to_string(), f64::from(x.abs()).to_string()] {
                if digits(&text) && text.len() >= PREFIX {
                    forms.push(("decimal", text.into_bytes()));
                }
            }
        }
        Self { name: name.into(), forms }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The three ways in which bytes appear inside a longer base64 text.
fn base64_forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let encode = |b: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(b).into_bytes();
    let shift = |before: usize| {
        let text = encode(&[&vec![0; before], bytes].concat());
        // Characters that also hold bits of the neighbours are left out at both ends.
        text[(before * 8).div_ceil(6)..text.len() - 2].to_vec()
    };
    (0..3).map(|before| ("base64", shift(before))).collect()
}

/// Many needles, searched together in one pass.
#[derive(Debug)]
pub struct Needles {
    names: Vec<String>,
    patterns: Vec<Pattern>,
    by_prefix: HashMap<[u8; PREFIX], Vec<usize>>,
    /// One bit for each pair of first bytes.
    pairs: Vec<bool>,
}

impl Needles {
    /// Prepares the search.
    pub fn new(needles: Vec<Needle>) -> Self {
        let mut this = Self {
            names: needles.iter().map(|n| n.name.clone()).collect(),
            patterns: Vec::new(),
            by_prefix: HashMap::new(),
            pairs: vec![false; 1 << 16],
        };
        for (needle, n) in needles.into_iter().enumerate() {
            for (form, bytes) in n.forms {
                let Some(prefix) = bytes.first_chunk::<PREFIX>() else { continue };
                this.pairs[usize::from(u16::from_le_bytes([prefix[0], prefix[1]]))] = true;
                this.by_prefix.entry(*prefix).or_default().push(this.patterns.len());
                this.patterns.push(Pattern { needle, form, bytes });
            }
        }
        this
    }

    /// Names of all needles.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Calls `found` with name and form of every needle in `bytes`.
    pub fn find(&self, bytes: &[u8], mut found: impl FnMut(&str, &'static str)) {
        for (at, window) in bytes.windows(PREFIX).enumerate() {
            if !self.pairs[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            let Some(candidates) = window.first_chunk::<PREFIX>().and_then(|p| self.by_prefix.get(p)) else {
                continue;
            };
            for pattern in candidates.iter().map(|i| &self.patterns[*i]) {
                if bytes[at..].starts_with(&pattern.bytes) {
                    found(&self.names[pattern.needle], pattern.form);
                }
            }
        }
    }
}

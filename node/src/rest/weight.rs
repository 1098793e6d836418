//! What a body becomes in memory, told from its text before anything is made of it.
//!
//! The marks of JSON are counted wherever they stand, in strings too: that is fast, and nobody can hide any. Tiny values
//! cost many times their length: `{"a":1}` is 7 bytes of text and some 700 of a tree.

/// How the parts of a body are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Definitions: trees of JSON.
    Tree,
    /// Requests for points: structures, the filters made of trees, vectors.
    Query,
    /// Points: lists of bounded length, payloads that stay text, vectors.
    Points,
}

/// Most bytes of one tree.
pub(crate) const MAX_TREE_BYTES: usize = 64 << 20;
/// Most bytes of a definition, which is kept in the catalog and far smaller.
pub(crate) const MAX_DEFINITION_BYTES: usize = 16 << 20;

/// Bytes that a part takes, beside its text.
struct Cost {
    object: usize,
    array: usize,
    /// One more value of an array or an object, with room to grow.
    value: usize,
    string: usize,
}

impl Shape {
    fn cost(self) -> Cost {
        match self {
            // A map has room for four entries, a list for as many values.
            Self::Tree => Cost { object: 512, array: 320, value: 160, string: 32 },
            // An object is a query of a batch or a condition; a value a component, an id or one to compare with.
            Self::Query => Cost { object: 700, array: 32, value: 32, string: 64 },
            Self::Points => Cost { object: 200, array: 64, value: 16, string: 32 },
        }
    }

    /// Bytes of `json` once it is read.
    pub(crate) fn weigh(self, json: &[u8]) -> usize {
        let (cost, marks) = (self.cost(), Marks::of(json));
        let values = marks.commas + marks.objects + marks.arrays;
        let parts = [
            (marks.objects, cost.object),
            (marks.arrays, cost.array),
            (values, cost.value),
            (marks.quotes / 2, cost.string),
        ];
        parts.iter().map(|(count, each)| count.saturating_mul(*each)).fold(json.len(), usize::saturating_add)
    }
}

#[derive(Default)]
struct Marks {
    objects: usize,
    arrays: usize,
    commas: usize,
    quotes: usize,
}

impl Marks {
    fn of(json: &[u8]) -> Self {
        let mut all = Self::default();
        // Counts of a piece fit a byte, which lets many bytes be compared at once.
        for piece in json.chunks(usize::from(u8::MAX)) {
            let count = |mark: u8| usize::from(piece.iter().map(|byte| u8::from(*byte == mark)).sum::<u8>());
            all.objects += count(b'{');
            all.arrays += count(b'[');
            all.commas += count(b',');
            all.quotes += count(b'"');
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_values_weigh_many_times_their_text() {
        let conditions = format!("[{}]", [r#"{"key":"a","match":{"value":1}}"#; 1_000].join(","));
        assert!(Shape::Tree.weigh(conditions.as_bytes()) > 50 * conditions.len());
        let numbers = format!("[{}]", ["1"; 1_000].join(","));
        assert!(Shape::Tree.weigh(numbers.as_bytes()) > 70 * numbers.len());
        assert!(Shape::Query.weigh("{},".repeat(1_000).as_bytes()) > 200 * 3_000);
        // Vectors and texts as they are sent weigh no more than the copies that all messages are charged.
        let vector = format!("[{}]", ["-0.0123456"; 1_000].join(","));
        assert!(Shape::Points.weigh(vector.as_bytes()) < 4 * vector.len());
        assert!(Shape::Query.weigh(vector.as_bytes()) <= 4 * vector.len());
        let text = format!(r#"{{"text":"{}"}}"#, "plain words, and more of them. ".repeat(100));
        assert!(Shape::Points.weigh(text.as_bytes()) < 2 * text.len());
    }

    #[test]
    fn all_marks_are_counted_across_pieces() {
        let marks = Marks::of("{[,\"".repeat(1_000).as_bytes());
        assert_eq!((marks.objects, marks.arrays, marks.commas, marks.quotes), (1_000, 1_000, 1_000, 1_000));
    }
}

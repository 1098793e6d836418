//! Walks Thrift's compact encoding without taking memory for anything it says.
//!
//! The Parquet crate reserves memory for as many list elements as a footer declares. So the footer and every page
//! header are walked here first: what passes declares nothing that its own bytes could not hold.

/// Deepest nesting of structs and lists; Parquet's own structures need 8.
const MAX_DEPTH: usize = 32;

/// Why a walk ended early.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    /// The bytes end within the structure.
    Incomplete,
    /// The bytes are no such structure, or the visitor refused.
    Bad(String),
}

/// What the visitor is shown, with the path of field numbers that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    /// Number of elements of a list, set or map.
    List(u64),
}

/// The visitor: called for every integer and every list; a sentence refuses.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&[i16], Value) -> Result<(), String>;

/// Walks one struct at the start of `bytes` and returns its length.
pub(super) fn walk_struct(bytes: &[u8], visit: Visit<'_>) -> Result<usize, Stop> {
    let mut walk = Walk { bytes, at: 0, path: Vec::new(), visit };
    walk.structure(0)?;
    Ok(walk.at)
}

struct Walk<'b, 'v> {
    bytes: &'b [u8],
    at: usize,
    path: Vec<i16>,
    visit: Visit<'v>,
}

impl Walk<'_, '_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Stop::Bad("a number is too long".to_owned()))
    }

    fn zigzag(&mut self) -> Result<i64, Stop> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn skip(&mut self, count: u64) -> Result<(), Stop> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(Stop::Incomplete);
        }
        self.at += count as usize;
        Ok(())
    }

    fn show(&mut self, value: Value) -> Result<(), Stop> {
        (self.visit)(&self.path, value).map_err(Stop::Bad)
    }

    fn structure(&mut self, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Bad("it is nested too deeply".to_owned()));
        }
        let mut field = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            field = match head >> 4 {
                0 => i16::try_from(self.zigzag()?)
                    .map_err(|_| Stop::Bad("a field number is too large".into()))?,
                delta => field.wrapping_add(i16::from(delta)),
            };
            self.path.push(field);
            match head & 15 {
                // Booleans of a field are in its head.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                let value = self.zigzag()?;
                self.show(Value::Int(value))
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth + 1),
            11 => self.map(depth + 1),
            12 => self.structure(depth + 1),
            13 => self.skip(16),
            _ => Err(Stop::Bad(format!("unknown kind of value {kind}"))),
        }
    }

    /// Every element takes a byte at least, so a count above the bytes that are left is a lie.
    fn count(&mut self, count: u64, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Bad("it is nested too deeply".to_owned()));
        }
        self.show(Value::List(count))?;
        if count > (self.bytes.len() - self.at) as u64 { Err(Stop::Incomplete) } else { Ok(()) }
    }

    fn list(&mut self, depth: usize) -> Result<(), Stop> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        self.count(count, depth)?;
        (0..count).try_for_each(|_| self.value(head & 15, depth))
    }

    fn map(&mut self, depth: usize) -> Result<(), Stop> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        self.count(count, depth)?;
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth)?;
            self.value(kinds & 15, depth)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(Vec<i16>, Value)>;

    fn walk(bytes: &[u8]) -> (Result<usize, Stop>, Seen) {
        let mut seen = Vec::new();
        let end = walk_struct(bytes, &mut |path, value| {
            seen.push((path.to_vec(), value));
            Ok(())
        });
        (end, seen)
    }

    #[test]
    fn fields_lists_and_nesting() {
        // 1: i32 = -1; 3: list<i32> [1, 2]; 4: struct { 1: i64 = 150 }; 5: bool; 6: binary "ab"
        let bytes = [0x15, 1, 0x29, 0x25, 2, 4, 0x1c, 0x16, 0xac, 2, 0, 0x11, 0x18, 2, b'a', b'b', 0, 99];
        let (end, seen) = walk(&bytes);
        assert_eq!(end, Ok(bytes.len() - 1));
        assert_eq!(seen[0], (vec![1], Value::Int(-1)));
        assert_eq!(seen[1], (vec![3], Value::List(2)));
        assert_eq!(seen[4], (vec![4, 1], Value::Int(150)));
    }

    #[test]
    fn lies_and_cuts() {
        // A list that declares 2^32 structs in 3 bytes.
        let (end, seen) = walk(&[0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0]);
        assert_eq!(end, Err(Stop::Incomplete));
        assert_eq!(seen, [(vec![1], Value::List(1 << 32))]);
        assert_eq!(walk(&[0x15]).0, Err(Stop::Incomplete));
        assert!(matches!(walk(&[0x1e]).0, Err(Stop::Bad(_))));
        assert!(matches!(walk(&[0x1c; 100]).0, Err(Stop::Bad(_))));
        assert!(matches!(walk(&[[0x19, 0x19]; 100].concat()).0, Err(Stop::Bad(_))));
        assert!(matches!(walk(&[&[0x15][..], &[0xff; 20]].concat()).0, Err(Stop::Bad(_))));
    }
}

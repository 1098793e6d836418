//! Consistency tokens: what a write was acknowledged at, per shard.

use std::fmt;
use std::str::FromStr;

use engram_storage::log::Offset;
use engram_storage::schema::RegionName;

use crate::error::QueryError;
use crate::limits::{MAX_SHARDS_PER_REGION, MAX_TOKEN_BYTES, MAX_TOKEN_SHARDS};

/// Offsets that a later read must have seen, by region and bucket. Text form: see `Display` and `FromStr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// Ascending by region and bucket, each once.
    pub shards: Vec<(RegionName, u32, Offset)>,
}

impl ConsistencyToken {
    /// Raises the offset of one shard to at least `offset`.
    pub fn note(&mut self, region: &RegionName, bucket: u32, offset: Offset) {
        match self.position(region, bucket) {
            Ok(at) => self.shards[at].2 = self.shards[at].2.max(offset),
            Err(at) => self.shards.insert(at, (region.clone(), bucket, offset)),
        }
    }

    /// Takes over what `other` has seen: afterwards a read with this token sees what either was given for.
    pub fn merge(&mut self, other: &Self) {
        for (region, bucket, offset) in &other.shards {
            self.note(region, *bucket, *offset);
        }
    }

    /// Offset that a read of this shard must have seen, 0 for any.
    pub fn offset(&self, region: &RegionName, bucket: u32) -> Offset {
        self.position(region, bucket).map_or(0, |at| self.shards[at].2)
    }

    fn position(&self, region: &RegionName, bucket: u32) -> Result<usize, usize> {
        self.shards.binary_search_by(|(r, b, _)| (r, *b).cmp(&(region, bucket)))
    }
}

/// `1:eu.0=42,eu.1=7`: the version of the form, then region, bucket and offset of each shard.
impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1:")?;
        for (i, (region, bucket, offset)) in self.shards.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{region}.{bucket}={offset}")?;
        }
        Ok(())
    }
}

/// Reads what `Display` writes; shards may come in any order, a repeated one keeps its largest offset.
impl FromStr for ConsistencyToken {
    type Err = QueryError;
    fn from_str(s: &str) -> Result<Self, QueryError> {
        let refuse = |why: String| {
            let message = format!(
                "the consistency token is not valid ({why}): pass on what a write returned, unchanged"
            );
            Err(QueryError::invalid("invalid_token", message))
        };
        if s.len() > MAX_TOKEN_BYTES {
            return refuse(format!("it has {} bytes, the limit is {MAX_TOKEN_BYTES}", s.len()));
        }
        let Some(body) = s.strip_prefix("1:") else {
            return refuse("it does not start with `1:`".to_owned());
        };
        if body.is_empty() {
            return Ok(Self::default());
        }
        let count = body.bytes().filter(|b| *b == b',').count() + 1;
        if count > MAX_TOKEN_SHARDS {
            return refuse(format!("it names {count} shards, the limit is {MAX_TOKEN_SHARDS}"));
        }
        let mut shards = Vec::with_capacity(count);
        for (i, part) in body.split(',').enumerate() {
            match entry(part) {
                Some(shard) => shards.push(shard),
                None => return refuse(format!("part {i} is not `region.bucket=offset`")),
            }
        }
        // Largest offset first, so that the one kept of a repeated shard is the largest.
        shards.sort_by(|a, b| (&a.0, a.1, b.2).cmp(&(&b.0, b.1, a.2)));
        shards.dedup_by(|later, kept| later.0 == kept.0 && later.1 == kept.1);
        Ok(Self { shards })
    }
}

fn entry(part: &str) -> Option<(RegionName, u32, Offset)> {
    let (shard, offset) = part.split_once('=')?;
    let (region, bucket) = shard.split_once('.')?;
    let bucket = u32::try_from(number(bucket)?).ok().filter(|b| *b < MAX_SHARDS_PER_REGION)?;
    Some((RegionName::try_from(region).ok()?, bucket, number(offset)?))
}

/// Plain decimal digits; `str::parse` would also take a sign.
fn number(s: &str) -> Option<u64> {
    s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let token: ConsistencyToken = "1:us.3=7,eu.0=42,eu.1=7,eu.0=41".parse().unwrap();
        assert_eq!(token.to_string(), "1:eu.0=42,eu.1=7,us.3=7");
        assert_eq!("1:".parse::<ConsistencyToken>().unwrap(), ConsistencyToken::default());
        assert_eq!(ConsistencyToken::default().to_string(), "1:");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for bad in [
            "",
            "1",
            "2:",
            "1:eu",
            "1:eu.0",
            "1:eu.0=",
            "1:eu.=1",
            "1:.0=1",
            "1:eu.256=1",
            "1:eu.0=-1",
            "1:eu.+0=1",
            "1:EU.0=1",
            "1:eu.0=18446744073709551616",
            "1:eu.0=1,",
            "1:,",
            "1:eu.0=1 ",
            "1:eu.0=1;",
        ] {
            let e = bad.parse::<ConsistencyToken>().unwrap_err();
            assert_eq!(e.code(), "invalid_token", "{bad}");
        }
        assert!("1:eu.255=18446744073709551615".parse::<ConsistencyToken>().is_ok());
        let long = format!("1:{}", "x".repeat(MAX_TOKEN_BYTES));
        assert!(long.parse::<ConsistencyToken>().is_err());
    }

    #[test]
    fn merging_keeps_the_larger_offset() {
        let mut a: ConsistencyToken = "1:eu.0=42,eu.1=7".parse().unwrap();
        a.merge(&"1:eu.0=41,eu.1=8,us.0=1".parse().unwrap());
        assert_eq!(a.to_string(), "1:eu.0=42,eu.1=8,us.0=1");
        let eu = RegionName::try_from("eu").unwrap();
        assert_eq!((a.offset(&eu, 1), a.offset(&eu, 2)), (8, 0));
    }
}

//! Limits of requests, in one place. Every check happens before memory is taken for what the request asks.

use std::time::Duration;

use crate::error::{QueryError, Result};
use crate::recall::Effort;

/// Most results of one search.
pub const MAX_K: usize = 10_000;
/// Most results a search may skip.
pub const MAX_OFFSET: usize = 10_000;
/// Largest candidate list of a graph walk, unless `k` is larger.
pub const MAX_EF: usize = 4_096;
/// Most points of one page of a scroll.
pub const MAX_PAGE: usize = 10_000;
/// Most points or ids of one write or read.
pub const MAX_BATCH: usize = 10_000;
/// Most searches of one batch.
pub const MAX_SEARCH_BATCH: usize = 1_000;
/// Most results that the searches of one batch may ask for together.
pub const MAX_SEARCH_BATCH_RESULTS: usize = 100_000;
/// Most prefetch stages inside one another.
pub const MAX_PREFETCH_DEPTH: usize = 8;
/// Most stages of a query, the last one included.
pub const MAX_STAGES: usize = 32;
/// Most examples of a query, those of all its stages together: targets, positive and negative ones.
pub const MAX_EXAMPLES: usize = 1_000;
/// Most parts of a formula.
pub const MAX_FORMULA_NODES: usize = 1_000;
/// Most parts of a formula inside one another.
pub const MAX_FORMULA_DEPTH: usize = 64;
/// Most groups of one answer.
pub const MAX_GROUPS: usize = 1_000;
/// Most results of one group.
pub const MAX_GROUP_SIZE: usize = 1_000;
/// Most results of all groups together.
pub const MAX_GROUP_HITS: usize = 10_000;
/// Most values that a facet returns.
pub const MAX_FACET_LIMIT: usize = 10_000;
/// Most different values of a facet that are counted, in one shard.
pub const MAX_FACET_VALUES: usize = 1_000_000;
/// Most bytes of the different values of a facet that are counted, in one shard.
pub const MAX_FACET_BYTES: usize = 64 << 20;
/// Most points that a matrix samples.
pub const MAX_MATRIX_SAMPLE: usize = 4_096;
/// Most components of the vectors that one query holds at once, to compare points with each other: 64 MiB.
pub const MAX_COMPARED_COMPONENTS: usize = 1 << 24;
pub use engram_storage::op::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, MAX_PAYLOAD_VALUES};

/// Most dotted paths of a projection or a deletion of keys.
pub const MAX_PATHS: usize = 1_024;
/// Longest dotted path, bytes.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Longest idempotency key, bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;
/// Most regions of a collection.
pub const MAX_REGIONS: usize = 64;
/// Most buckets of a region.
pub const MAX_SHARDS_PER_REGION: u32 = 256;
/// Most vector fields of a collection.
pub const MAX_VECTOR_FIELDS: usize = 64;
/// Most payload indexes of a collection.
pub const MAX_PAYLOAD_INDEXES: usize = 64;
/// Most retention rules of a collection.
pub const MAX_RETENTION_RULES: usize = 256;
/// Most bytes of the JSON that a collection keeps for its owner.
pub const MAX_METADATA_BYTES: usize = 64 << 10;
/// Longest time a request may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// Most bytes of the text form of a consistency token.
pub const MAX_TOKEN_BYTES: usize = 1 << 20;
/// Most shards in a consistency token.
pub const MAX_TOKEN_SHARDS: usize = MAX_REGIONS * MAX_SHARDS_PER_REGION as usize;

/// Refuses `value` above `max`; `what` names the field as the client knows it, `advice` says what to do.
///
/// # Errors
/// [`QueryError::Limit`].
pub fn at_most(what: &str, value: usize, max: usize, advice: &str) -> Result<()> {
    if value <= max {
        return Ok(());
    }
    Err(QueryError::Limit(format!("{what} is {value}, the limit is {max}: {advice}")))
}

/// Checks the number of results of a search.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_K`], [`QueryError::Invalid`] for 0.
pub fn check_k(k: usize) -> Result<()> {
    if k == 0 {
        return Err(QueryError::invalid("invalid_argument", "k is 0: ask for at least 1 result"));
    }
    at_most("k", k, MAX_K, "ask for fewer results, or scroll through the points")
}

/// Checks the number of results to skip.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_OFFSET`].
pub fn check_offset(offset: usize) -> Result<()> {
    at_most("offset", offset, MAX_OFFSET, "narrow the search with a filter, or scroll through the points")
}

/// How far a search walks graphs: `ef` candidates, never fewer than `k` and `offset` together, or as far as `recall`
/// needs; `default` is the recall where neither is given.
///
/// # Errors
/// [`QueryError::Invalid`] where both are given, or a recall that is no share; [`QueryError::Limit`] where `ef` is above
/// the larger of [`MAX_EF`] and `k`.
pub fn check_effort(
    (ef, recall): (Option<usize>, Option<f32>),
    default: f32,
    (k, offset): (usize, usize),
) -> Result<Effort> {
    match (ef, recall) {
        (Some(_), Some(_)) => {
            let message = "ef and recall are both given: leave one out, recall finds the ef it needs";
            Err(QueryError::invalid("invalid_argument", message))
        }
        (Some(ef), None) => {
            at_most("ef", ef, MAX_EF.max(k), "use a smaller ef, or `exact` for the true neighbours")?;
            Ok(Effort::Candidates(ef.max(k + offset)))
        }
        (None, Some(recall)) if recall > 0.0 && recall <= 1.0 => Ok(Effort::Recall(recall)),
        (None, Some(recall)) => {
            let message = format!(
                "recall is {recall}: give the share of the true neighbours that is wanted, above 0 and at most 1, such \
                 as 0.95"
            );
            Err(QueryError::invalid("invalid_argument", message))
        }
        (None, None) => Ok(Effort::Recall(default)),
    }
}

/// Checks the size of a page.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_PAGE`], [`QueryError::Invalid`] for 0.
pub fn check_page(limit: usize) -> Result<()> {
    if limit == 0 {
        return Err(QueryError::invalid("invalid_argument", "limit is 0: ask for at least 1 point"));
    }
    at_most("limit", limit, MAX_PAGE, "read smaller pages")
}

/// Checks the number of points or ids of a request.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_BATCH`].
pub fn check_batch(what: &str, len: usize) -> Result<()> {
    at_most(&format!("the number of {what}"), len, MAX_BATCH, "split the request into smaller batches")
}

/// Checks an idempotency key.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_IDEMPOTENCY_KEY_BYTES`], [`QueryError::Invalid`] for the empty key.
pub fn check_idempotency_key(key: &str) -> Result<()> {
    if key.is_empty() {
        let message = "the idempotency key is empty: leave it out, or give each write a key of its own";
        return Err(QueryError::invalid("invalid_argument", message));
    }
    let advice = "use a short random key, such as a UUID";
    at_most("the length of the idempotency key in bytes", key.len(), MAX_IDEMPOTENCY_KEY_BYTES, advice)
}

/// Checks dotted paths of a projection or a deletion of keys.
///
/// # Errors
/// [`QueryError::Limit`] for too many or too long ones, [`QueryError::Invalid`] for an empty one.
pub fn check_paths(what: &str, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        // Nearly every request; it need not make the words of an error.
        return Ok(());
    }
    at_most(&format!("the number of {what}"), paths.len(), MAX_PATHS, "name fewer paths, or their parents")?;
    for path in paths {
        if path.is_empty() {
            let message = format!("one of the {what} is empty: give a dotted path such as `author.name`");
            return Err(QueryError::invalid("invalid_argument", message));
        }
        let name = format!("the length of one of the {what} in bytes");
        at_most(&name, path.len(), MAX_PATH_BYTES, "use shorter keys")?;
    }
    Ok(())
}

/// The time a request may take: `asked`, or `default` where absent.
///
/// # Errors
/// [`QueryError::Limit`] above [`MAX_TIMEOUT`], [`QueryError::Invalid`] for zero.
pub fn check_timeout(asked: Option<Duration>, default: Duration) -> Result<Duration> {
    let Some(asked) = asked else { return Ok(default) };
    if asked.is_zero() {
        return Err(QueryError::invalid(
            "invalid_argument",
            "the timeout is 0: leave it out for the default",
        ));
    }
    if asked > MAX_TIMEOUT {
        let message = format!(
            "the timeout is {} s, the limit is {} s: ask for less",
            asked.as_secs(),
            MAX_TIMEOUT.as_secs()
        );
        return Err(QueryError::Limit(message));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_storage::ErrorKind;

    #[test]
    fn limits_hold_at_the_limit_and_refuse_one_more() {
        assert!(check_k(MAX_K).is_ok() && check_k(MAX_K + 1).is_err() && check_k(0).is_err());
        assert!(check_offset(MAX_OFFSET).is_ok() && check_offset(MAX_OFFSET + 1).is_err());
        assert!(check_page(MAX_PAGE).is_ok() && check_page(MAX_PAGE + 1).is_err() && check_page(0).is_err());
        assert!(check_batch("points", MAX_BATCH).is_ok() && check_batch("points", MAX_BATCH + 1).is_err());
        let ef = |ef, k, offset| check_effort((Some(ef), None), 0.9, (k, offset));
        assert_eq!(ef(4_096, 10, 0).unwrap(), Effort::Candidates(4_096));
        assert!(ef(4_097, 10, 0).is_err());
        assert_eq!(ef(9_000, 9_000, 0).unwrap(), Effort::Candidates(9_000));
        assert!(ef(9_001, 9_000, 0).is_err());
        assert_eq!(ef(100, 200, 50).unwrap(), Effort::Candidates(250));
        assert!(ef(usize::MAX, 10, 0).is_err());
        let key = |n: usize| check_idempotency_key(&"k".repeat(n));
        assert!(key(256).is_ok() && key(257).is_err() && key(0).is_err());
        let timeout = |t| check_timeout(Some(t), MAX_TIMEOUT);
        assert!(timeout(MAX_TIMEOUT).is_ok() && timeout(MAX_TIMEOUT + Duration::from_millis(1)).is_err());
        assert!(timeout(Duration::ZERO).is_err());
    }

    #[test]
    fn a_recall_is_a_share_and_stands_alone() {
        let recall = |recall| check_effort((None, Some(recall)), 0.9, (10, 0));
        assert_eq!(recall(1.0).unwrap(), Effort::Recall(1.0));
        assert_eq!(recall(0.001).unwrap(), Effort::Recall(0.001));
        for bad in [0.0, -0.5, 1.000_1, f32::NAN, f32::INFINITY] {
            let e = recall(bad).unwrap_err();
            assert_eq!(e.code(), "invalid_argument");
            assert!(e.to_string().starts_with(&format!("recall is {bad}: ")), "{e}");
        }
        let e = check_effort((Some(100), Some(0.9)), 0.9, (10, 0)).unwrap_err();
        assert!(e.to_string().contains("ef and recall are both given"), "{e}");
        assert_eq!(check_effort((None, None), 0.9, (10, 0)).unwrap(), Effort::Recall(0.9));
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let e = check_k(10_001).unwrap_err();
        assert_eq!((e.kind(), e.code()), (ErrorKind::Invalid, "limit_exceeded"));
        assert!(e.to_string().contains("k is 10001, the limit is 10000"), "{e}");
    }

    #[test]
    fn paths_are_bounded() {
        let many = |n: usize| check_paths("paths", &vec!["a".to_owned(); n]);
        assert!(many(MAX_PATHS).is_ok() && many(MAX_PATHS + 1).is_err());
        let long = |n: usize| check_paths("paths", &["a".repeat(n)]);
        assert!(long(MAX_PATH_BYTES).is_ok() && long(MAX_PATH_BYTES + 1).is_err() && long(0).is_err());
    }
}

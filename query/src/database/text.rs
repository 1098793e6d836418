//! Text searches: checked, planned, run.

use std::sync::Arc;

use engram_index::text::matching;
use engram_storage::schema::CollectionSchema;

use super::{Database, check_selection, checked_filter};
use crate::coordinator::{self, Fan, TextPlan, TextWords};
use crate::error::{QueryError, Result};
use crate::limits::{at_most, check_k, check_offset};
use crate::request::query::{TextQuery, TextSearchRequest};
use crate::request::{Principal, SearchAnswer};
use crate::text_field::TextField;

impl Database {
    /// The best points by BM25 (k1 1.2, b 0.75), best first, ties by id; larger scores are better.
    ///
    /// Points with any of the words are found. Number of texts, their length and how many have a word are those of all
    /// live points of the collection, whatever the filter and the regions; points that are deleted or expired count no
    /// more, at once. So a score does not depend on how points lie in shards and segments, nor on what else is searched.
    ///
    /// # Errors
    /// Limits, `no_text_index`, `invalid_filter`, and `DeadlineExceeded` unless partial answers are allowed.
    pub async fn search_text(
        &self,
        principal: Principal,
        request: TextSearchRequest,
    ) -> Result<SearchAnswer> {
        let fan = self.fan(principal, &request.collection, &request.read)?.counting(&request.read);
        let plan = text_plan(&fan, request)?;
        coordinator::search_text(&fan, &plan).await
    }
}

fn text_plan(fan: &Fan, request: TextSearchRequest) -> Result<TextPlan> {
    check_k(request.limit)?;
    check_offset(request.offset)?;
    if request.score_threshold.is_some_and(|t| !t.is_finite()) {
        let message = "the score threshold is not a finite number: give one, or leave it out";
        return Err(QueryError::invalid("not_finite", message));
    }
    check_selection(&fan.schema, &request.selection)?;
    Ok(TextPlan {
        text: text_words(&fan.schema, &request.query)?,
        filter: checked_filter(request.filter, &fan.schema)?,
        limit: request.limit,
        offset: request.offset,
        score_threshold: request.score_threshold,
        selection: Arc::new(request.selection),
        allow_partial: request.allow_partial,
    })
}

/// The words of a text, as the index of its field has them.
///
/// # Errors
/// Limits, and `no_text_index`.
pub(crate) fn text_words(schema: &CollectionSchema, query: &TextQuery) -> Result<TextWords> {
    let field = TextField::new(schema, &query.field)?;
    let text = &query.text;
    at_most("the length of the text in bytes", text.len(), matching::MAX_TEXT_BYTES, "look for fewer words")?;
    let mut sequence = field.analyzer().query(text);
    sequence.sort_unstable();
    let mut words: Vec<String> = Vec::new();
    let mut repeats: Vec<u32> = Vec::new();
    for word in sequence {
        match repeats.last_mut().filter(|_| words.last() == Some(&word)) {
            Some(count) => *count += 1,
            None => {
                words.push(word);
                repeats.push(1);
            }
        }
    }
    at_most("the number of words of the text", words.len(), matching::MAX_WORDS, "look for fewer words")?;
    Ok(TextWords { field: Arc::new(field), words: words.into(), repeats })
}

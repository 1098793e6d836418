//! Fields with a text index, as their collection defines them.

use std::sync::{Arc, LazyLock};

use engram_index::payload::PayloadPath;
use engram_index::text::{Analyzer, TextOptions};
use engram_storage::schema::CollectionSchema;
use parking_lot::Mutex;

use crate::error::{QueryError, Result};

/// Analyzers that are kept. Each is some hundred KiB at most: the stop words of all languages, and those of the options.
const KEPT: usize = 64;

/// Those made last, the latest at the end. Making one costs up to milliseconds, which a request must not pay again for each
/// of its conditions.
static MADE: LazyLock<Mutex<Vec<Arc<Analyzer>>>> = LazyLock::new(|| Mutex::new(Vec::new()));

/// A field whose words can be searched for.
#[derive(Debug)]
pub struct TextField {
    name: String,
    path: PayloadPath,
    analyzer: Arc<Analyzer>,
}

impl TextField {
    /// The field of this dotted path.
    ///
    /// # Errors
    /// `no_text_index` where the collection has none over it.
    pub fn new(schema: &CollectionSchema, field: &str) -> Result<Self> {
        let path = PayloadPath::parse(field)?;
        let name = path.to_string();
        let options = schema.text_options(&name).ok_or_else(|| no_text_index(schema, &name))?;
        Ok(Self { analyzer: analyzer(&options)?, name, path })
    }

    /// Dotted path in its one form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its texts are.
    pub fn path(&self) -> &PayloadPath {
        &self.path
    }

    /// What makes words of them.
    pub fn analyzer(&self) -> &Arc<Analyzer> {
        &self.analyzer
    }
}

fn no_text_index(schema: &CollectionSchema, field: &str) -> QueryError {
    let message = format!(
        "field {field:?} of collection {:?} has no text index: create a payload index of kind text over it",
        schema.name
    );
    QueryError::invalid("no_text_index", message)
}

/// The analyzer of these options; one that was made before where it is still kept.
pub(crate) fn analyzer(options: &TextOptions) -> engram_index::Result<Arc<Analyzer>> {
    let known = |made: &[Arc<Analyzer>]| made.iter().rposition(|analyzer| analyzer.options() == options);
    let mut made = MADE.lock();
    if let Some(at) = known(&made) {
        let analyzer = made.remove(at);
        made.push(analyzer.clone());
        return Ok(analyzer);
    }
    drop(made);
    let analyzer = Arc::new(Analyzer::new(options)?);
    let mut made = MADE.lock();
    if known(&made).is_none() {
        if made.len() == KEPT {
            made.remove(0);
        }
        made.push(analyzer.clone());
    }
    Ok(analyzer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analyzers_are_made_once_and_few_are_kept() {
        let options = |n: usize| TextOptions { max_token_len: Some(100 + n), ..TextOptions::default() };
        let first = analyzer(&options(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &analyzer(&options(0)).unwrap()));
        for n in 1..=KEPT + 5 {
            assert_eq!(analyzer(&options(n)).unwrap().options(), &options(n));
        }
        assert!(MADE.lock().len() <= KEPT);
        assert!(!Arc::ptr_eq(&first, &analyzer(&options(0)).unwrap()), "it was let go");
    }
}

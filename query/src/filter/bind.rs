//! Text conditions get the words of the collection's text indexes, names of vector fields their fields.
//!
//! What a text condition means depends on whether its field has a text index, and with which options. That is told by
//! the schema alone, not by the run that is asked: a run whose index is not built yet, or is of other options, is read
//! row by row and gives the same answer.

use std::ops::Deref;
use std::sync::Arc;

use engram_index::payload::{FieldPredicate, PayloadPath};
use engram_index::text::TextMatch;
use engram_storage::point::PointId;
use engram_storage::schema::CollectionSchema;

use super::ast::{Condition, Filter, MinShould};
use crate::text_field::analyzer;

/// A filter that is bound to a collection: what a shard is asked with. It is bound once for all shards.
#[derive(Clone, Debug)]
pub struct Bound(Arc<Filter>);

impl Bound {
    /// The same filter with every text condition bound to the text index of its field, if there is one, and every name of
    /// a vector field to that. Without such conditions nothing is copied.
    ///
    /// # Errors
    /// `InvalidParameter` for a text of too many words.
    pub fn new(filter: Arc<Filter>, schema: &CollectionSchema) -> engram_index::Result<Self> {
        if !needs_schema(&filter) {
            return Ok(Self(filter));
        }
        Ok(Self(Arc::new(Binding { schema, inside: None }.filter(&filter)?)))
    }

    /// A filter that holds for these points.
    pub fn ids(ids: Vec<PointId>) -> Self {
        Self(Arc::new(Filter::only(Condition::HasId(ids))))
    }

    /// A filter that holds for all but these points.
    pub fn without_ids(ids: Vec<PointId>) -> Self {
        Self(Arc::new(Filter { must_not: vec![Condition::HasId(ids)], ..Filter::default() }))
    }

    /// The filter itself.
    pub fn into_inner(self) -> Arc<Filter> {
        self.0
    }

    /// A filter that holds where both do.
    pub fn and(&self, other: &Self) -> Self {
        if self.is_unconstrained() {
            return other.clone();
        }
        if other.is_unconstrained() {
            return self.clone();
        }
        Self(Arc::new(self.as_ref().clone().and(other.as_ref().clone())))
    }
}

impl Deref for Bound {
    type Target = Filter;

    fn deref(&self) -> &Filter {
        &self.0
    }
}

impl AsRef<Filter> for Bound {
    fn as_ref(&self) -> &Filter {
        &self.0
    }
}

fn needs_schema(filter: &Filter) -> bool {
    filter.conditions().any(|condition| match condition {
        Condition::Field { predicate, .. } => matches!(predicate, FieldPredicate::Text(_)),
        Condition::Nested { filter, .. } | Condition::Filter(filter) => needs_schema(filter),
        Condition::HasVector { .. } => true,
        Condition::HasId(_) => false,
    })
}

struct Binding<'a> {
    schema: &'a CollectionSchema,
    /// Path of the array of objects that conditions are inside of.
    inside: Option<String>,
}

impl Binding<'_> {
    fn filter(&self, filter: &Filter) -> engram_index::Result<Filter> {
        let min_should = filter.min_should.as_ref().map(|counted| {
            let conditions = self.conditions(&counted.conditions)?;
            Ok::<_, engram_index::IndexError>(MinShould { conditions, min_count: counted.min_count })
        });
        Ok(Filter {
            must: self.conditions(&filter.must)?,
            should: self.conditions(&filter.should)?,
            must_not: self.conditions(&filter.must_not)?,
            min_should: min_should.transpose()?,
        })
    }

    fn conditions(&self, list: &[Condition]) -> engram_index::Result<Vec<Condition>> {
        list.iter().map(|condition| self.condition(condition)).collect()
    }

    fn condition(&self, condition: &Condition) -> engram_index::Result<Condition> {
        Ok(match condition {
            Condition::Field { path, predicate: FieldPredicate::Text(text) } => {
                let predicate = FieldPredicate::Text(self.text(path, text)?);
                Condition::Field { path: path.clone(), predicate }
            }
            Condition::HasVector { name, .. } => {
                let field = self.schema.vector_field(name).map(|field| field.id);
                Condition::HasVector { name: name.clone(), field }
            }
            Condition::Nested { path, filter } => {
                let inside = match &self.inside {
                    Some(outer) => format!("{outer}[].{path}"),
                    None => path.to_string(),
                };
                let inner = Binding { schema: self.schema, inside: Some(inside) };
                Condition::Nested { path: path.clone(), filter: Box::new(inner.filter(filter)?) }
            }
            Condition::Filter(filter) => Condition::Filter(Box::new(self.filter(filter)?)),
            other => other.clone(),
        })
    }

    fn text(&self, path: &PayloadPath, text: &TextMatch) -> engram_index::Result<TextMatch> {
        let options = match &self.inside {
            None => self.schema.text_options(&path.to_string()),
            // Both ways to write the elements of an array.
            Some(outer) => {
                let each = self.schema.text_options(&format!("{outer}[].{path}"));
                each.or_else(|| self.schema.text_options(&format!("{outer}.{path}")))
            }
        };
        match options {
            Some(options) => text.bound(&analyzer(&options)?),
            None => Ok(text.clone()),
        }
    }
}

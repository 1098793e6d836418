//! Queries in stages: planned, run from the inside out, answered.
//!
//! A query is a tree of stages. Its leaves rank the points of all shards; a stage above them ranks what its prefetch stages
//! found. Inner stages hand on ids, scores and versions alone; vectors and payloads are read where they are ranked by, in
//! the shards, and once more for the winners at the end. All stages of one query see one state of each shard.
//!
//! | file | what |
//! |---|---|
//! | `plan` | limits, examples made vectors, filters handed down, a tree that can run |
//! | `run` | the tree over the shards |
//! | `fusion`, `diverse`, `recommend`, `discover`, `order`, `formula`, `sample` | what each kind of stage computes |
//! | `budget` | what a query may hold of stored vectors |
//! | `likeness` | how alike two values of a field are, for what compares points with each other |
//! | `groups`, `facet`, `matrix` | answers that are no lists |
//!
//! Scores and orders follow the query API of Qdrant. What that leaves to a graph with a custom scorer (the strategies of
//! `recommend` other than the average, `discover`, `context`) is ranked exactly here, by a scan of the field.

pub(crate) mod answer;
pub(crate) mod budget;
pub(crate) mod discover;
pub(crate) mod diverse;
pub(crate) mod examples;
pub(crate) mod facet;
pub mod formula;
pub(crate) mod fusion;
pub(crate) mod groups;
pub(crate) mod likeness;
pub(crate) mod list;
pub(crate) mod matrix;
pub mod order;
pub(crate) mod plan;
pub mod rank_by;
pub(crate) mod recommend;
pub(crate) mod run;
pub(crate) mod sample;

//! `with_payload` and `with_vector`.

use engram_query::request::Selection;
use serde::Deserialize;

/// `true`, a list of paths, or what to include or exclude.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum WithPayload {
    All(bool),
    Paths(Vec<String>),
    Chosen(Chosen),
}

/// `{"include": [..]}` or `{"exclude": [..]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Chosen {
    Include(Vec<String>),
    Exclude(Vec<String>),
}

/// `true`, or names of vector fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum WithVector {
    All(bool),
    Names(Vec<String>),
    Name(String),
}

/// What to return; `payload_default` where `with_payload` says nothing.
pub(crate) fn selection(
    payload: Option<WithPayload>,
    vector: Option<WithVector>,
    payload_default: bool,
) -> Selection {
    let mut selection = Selection::default();
    let include = |selection: &mut Selection, paths: Vec<String>| {
        // A list that includes nothing is not the same as none.
        selection.payload = !paths.is_empty();
        selection.payload_include = paths;
    };
    match payload.unwrap_or(WithPayload::All(payload_default)) {
        WithPayload::All(all) => selection.payload = all,
        WithPayload::Paths(paths) | WithPayload::Chosen(Chosen::Include(paths)) => {
            include(&mut selection, paths)
        }
        WithPayload::Chosen(Chosen::Exclude(paths)) => {
            selection.payload = true;
            selection.payload_exclude = paths;
        }
    }
    match vector.unwrap_or(WithVector::All(false)) {
        WithVector::All(all) => selection.vectors = all,
        WithVector::Names(names) => {
            selection.vectors = !names.is_empty();
            selection.vector_names = names;
        }
        WithVector::Name(name) => {
            selection.vectors = true;
            selection.vector_names = vec![name];
        }
    }
    selection
}

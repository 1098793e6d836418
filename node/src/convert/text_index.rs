//! Options of text indexes.

use engram_index::text::{Language, Stopwords, TextOptions, Tokenizer};
use engram_proto::v1;
use tonic::Status;

use super::known_enum;
use crate::status::invalid;

/// The options of a text index over `field`; lengths and lists are checked where the index is created.
pub(crate) fn options(field: &str, wire: &v1::TextIndexParams) -> Result<TextOptions, Status> {
    let at = |name: &str| format!("payload_indexes[{field:?}].text.{name}");
    let language =
        |name: &str, text: &str| Language::parse(text).map_err(|e| invalid(&at(name), e.to_string()));
    let stemmer = Some(wire.stemmer.as_str()).filter(|name| !name.is_empty());
    let languages = wire.stopword_languages.iter().map(|name| language("stopword_languages", name));
    Ok(TextOptions {
        tokenizer: match known_enum::<v1::Tokenizer>(&at("tokenizer"), wire.tokenizer)? {
            v1::Tokenizer::Unspecified | v1::Tokenizer::Word => Tokenizer::Word,
            v1::Tokenizer::Whitespace => Tokenizer::Whitespace,
            v1::Tokenizer::Prefix => Tokenizer::Prefix,
            v1::Tokenizer::Multilingual => Tokenizer::Multilingual,
        },
        lowercase: wire.lowercase.unwrap_or(true),
        min_token_len: wire.min_token_len.map(|len| len as usize),
        max_token_len: wire.max_token_len.map(|len| len as usize),
        phrase_matching: wire.phrase_matching,
        stemmer: stemmer.map(|name| language("stemmer", name)).transpose()?,
        stopwords: Stopwords {
            languages: languages.collect::<Result<_, _>>()?,
            custom: wire.stopwords.clone(),
        },
        ascii_folding: wire.ascii_folding,
    })
}

pub(crate) fn wire_options(options: &TextOptions) -> v1::TextIndexParams {
    let tokenizer = match options.tokenizer {
        Tokenizer::Word => v1::Tokenizer::Word,
        Tokenizer::Whitespace => v1::Tokenizer::Whitespace,
        Tokenizer::Prefix => v1::Tokenizer::Prefix,
        Tokenizer::Multilingual => v1::Tokenizer::Multilingual,
    };
    let length = |len: Option<usize>| len.map(|len| u32::try_from(len).unwrap_or(u32::MAX));
    let name = |language: &Language| language.name().to_owned();
    v1::TextIndexParams {
        tokenizer: tokenizer.into(),
        lowercase: Some(options.lowercase),
        min_token_len: length(options.min_token_len),
        max_token_len: length(options.max_token_len),
        phrase_matching: options.phrase_matching,
        stemmer: options.stemmer.as_ref().map(name).unwrap_or_default(),
        stopword_languages: options.stopwords.languages.iter().map(name).collect(),
        stopwords: options.stopwords.custom.clone(),
        ascii_folding: options.ascii_folding,
    }
}

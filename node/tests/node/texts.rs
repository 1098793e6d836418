use engram_proto::v1;
use tonic::Code;

use crate::running::{Running, definition, detail, numbers, point, start, upsert};

fn index(text: Option<v1::TextIndexParams>) -> v1::PayloadIndex {
    v1::PayloadIndex { field: "body".into(), kind: v1::PayloadIndexKind::Text.into(), text }
}

fn matching(kind: v1::r#match::Kind) -> Option<v1::Filter> {
    let value = v1::Match { kind: Some(kind) };
    let field =
        v1::FieldCondition { key: "body".into(), kind: Some(v1::field_condition::Kind::Match(value)) };
    let condition = v1::Condition { kind: Some(v1::condition::Kind::Field(field)) };
    Some(v1::Filter { must: vec![condition], ..Default::default() })
}

fn ask(text: &str) -> v1::SearchTextRequest {
    v1::SearchTextRequest {
        collection: "docs".into(),
        field: "body".into(),
        text: text.into(),
        limit: 10,
        ..Default::default()
    }
}

const BODIES: [&str; 5] = [
    "The quick brown fox jumps over the lazy dog",
    "A fox, a fox and again a fox",
    "Brown bears and quick rivers",
    "Nothing to see",
    "Foxes run",
];

async fn filled(running: &Running, text: Option<v1::TextIndexParams>) {
    let new = v1::CreateCollectionRequest { payload_indexes: vec![index(text)], ..definition("docs") };
    running.collections().create_collection(new).await.unwrap();
    let payload = |body: &str| serde_json::json!({ "body": body }).to_string();
    let points = (1..).zip(BODIES).map(|(id, body)| point(id, &[0.0, 0.0], &payload(body))).collect();
    running.points().upsert(upsert("docs", points)).await.unwrap();
}

async fn found(running: &Running, request: v1::SearchTextRequest) -> Vec<u64> {
    let answer = running.points().search_text(request).await.unwrap().into_inner();
    assert!(answer.hits.windows(2).all(|w| w[0].score >= w[1].score) && !answer.partial);
    numbers(&answer.hits.into_iter().map(|hit| hit.point.unwrap()).collect::<Vec<_>>())
}

#[tokio::test]
async fn words_rank_points_and_narrow_answers() {
    let running = start().await;
    filled(&running, None).await;
    assert_eq!(found(&running, ask("FOX")).await, [2, 1]);
    assert_eq!(found(&running, ask("lazy brown")).await, [1, 3]);
    assert!(found(&running, ask("wolf")).await.is_empty());
    use v1::r#match::Kind;
    let phrase = matching(Kind::Phrase("quick brown".into()));
    assert_eq!(found(&running, v1::SearchTextRequest { filter: phrase.clone(), ..ask("brown") }).await, [1]);
    let scored = running.points().search_text(ask("fox")).await.unwrap().into_inner();
    let best = v1::SearchTextRequest { score_threshold: Some(scored.hits[0].score), ..ask("fox") };
    assert_eq!(found(&running, best).await, [2]);
    assert_eq!(found(&running, v1::SearchTextRequest { offset: 1, ..ask("fox") }).await, [1]);

    let count = |filter| {
        let request = v1::CountRequest { collection: "docs".into(), filter, ..Default::default() };
        let mut client = running.points();
        async move { client.count(request).await.unwrap().into_inner().count }
    };
    assert_eq!(count(matching(Kind::Text("dog quick".into()))).await, 1);
    assert_eq!(count(matching(Kind::TextAny("dog rivers wolf".into()))).await, 2);
    assert_eq!(count(phrase).await, 1);
}

#[tokio::test]
async fn options_of_a_text_index_come_back_as_they_were_given() {
    let running = start().await;
    let text = v1::TextIndexParams {
        tokenizer: v1::Tokenizer::Word.into(),
        lowercase: Some(true),
        min_token_len: Some(2),
        max_token_len: Some(20),
        phrase_matching: true,
        stemmer: "english".into(),
        stopword_languages: vec!["english".into()],
        stopwords: vec!["lazy".into()],
        ascii_folding: true,
    };
    filled(&running, Some(text.clone())).await;
    let get = v1::GetCollectionRequest { name: "docs".into() };
    let collection = running.collections().get_collection(get).await.unwrap().into_inner();
    assert_eq!(collection.payload_indexes, [index(Some(text.clone()))]);
    assert_eq!(found(&running, ask("foxes")).await, [2, 5, 1], "stems are compared");
    assert!(found(&running, ask("the lazy")).await.is_empty(), "stop words are not");

    let bad = [
        v1::TextIndexParams { stemmer: "klingon".into(), ..text.clone() },
        v1::TextIndexParams { min_token_len: Some(0), ..text.clone() },
        v1::TextIndexParams { tokenizer: 99, ..text.clone() },
    ];
    for text in bad {
        let request =
            v1::CreatePayloadIndexRequest { collection: "docs".into(), index: Some(index(Some(text))) };
        let refused = running.collections().create_payload_index(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_search_without_a_text_index_says_what_to_do() {
    let running = start().await;
    running.create("docs").await;
    let refused = running.points().search_text(ask("fox")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(detail(&refused).code, "no_text_index");
    assert!(refused.message().contains("create a payload index of kind text"), "{refused}");
}

use engram_proto::v1;
use tonic::Code;

use crate::running::{definition, detail, field, start};

#[tokio::test]
async fn a_collection_lives_its_life() {
    let running = start().await;
    let mut client = running.collections();
    let made = running.create("docs").await;
    assert_eq!((made.name.as_str(), made.default_region.as_str(), made.shards_per_region), ("docs", "eu", 2));
    assert_eq!(made.vectors[0].hnsw.unwrap().graph_threshold, 20_000);

    let again = client.create_collection(definition("docs")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert!(!detail(&again).code.is_empty());
    let same = v1::CreateCollectionRequest { if_not_exists: true, ..definition("docs") };
    assert_eq!(client.create_collection(same).await.unwrap().into_inner().id, made.id);

    let update = v1::UpdateCollectionRequest {
        name: "docs".into(),
        add_regions: vec!["ap".into()],
        set_retention: true,
        retention: vec![v1::RetentionRule { region: "eu".into(), max_age_s: 60 }],
        add_vectors: vec![field("title", 3)],
    };
    let updated = client.update_collection(update).await.unwrap().into_inner();
    assert_eq!(updated.regions, ["eu", "us", "ap"]);
    assert_eq!(updated.retention[0].max_age_s, 60);
    assert_eq!(updated.vectors[1].name, "title");

    let index =
        v1::PayloadIndex { field: "tag".into(), kind: v1::PayloadIndexKind::Keyword.into(), text: None };
    let create = v1::CreatePayloadIndexRequest { collection: "docs".into(), index: Some(index.clone()) };
    let indexed = client.create_payload_index(create.clone()).await.unwrap().into_inner();
    assert_eq!(indexed.payload_indexes, [index]);
    client.create_payload_index(create).await.unwrap();
    let delete = v1::DeletePayloadIndexRequest { collection: "docs".into(), field: "tag".into() };
    assert!(client.delete_payload_index(delete).await.unwrap().into_inner().payload_indexes.is_empty());

    let alias = v1::SetAliasRequest { alias: "current".into(), collection: "docs".into() };
    client.set_alias(alias).await.unwrap();
    let get = v1::GetCollectionRequest { name: "current".into() };
    assert_eq!(client.get_collection(get).await.unwrap().into_inner().id, made.id);
    let aliases = client.list_aliases(v1::ListAliasesRequest {}).await.unwrap().into_inner().aliases;
    assert_eq!(aliases, [v1::Alias { alias: "current".into(), collection: "docs".into() }]);
    let delete = v1::DeleteAliasRequest { alias: "current".into() };
    assert!(client.delete_alias(delete.clone()).await.unwrap().into_inner().existed);
    assert!(!client.delete_alias(delete).await.unwrap().into_inner().existed);

    let list = client.list_collections(v1::ListCollectionsRequest {}).await.unwrap().into_inner();
    assert_eq!(list.collections.len(), 1);
    let delete = v1::DeleteCollectionRequest { name: "docs".into() };
    assert!(client.delete_collection(delete.clone()).await.unwrap().into_inner().existed);
    assert!(!client.delete_collection(delete).await.unwrap().into_inner().existed);
    let gone = client.get_collection(v1::GetCollectionRequest { name: "docs".into() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn definitions_that_make_no_sense_are_refused_by_field() {
    type Break = fn(&mut v1::CreateCollectionRequest);
    let cases: [(&str, Break); 9] = [
        ("dimension", |c| c.vectors[0].dimension = 0),
        ("dimension", |c| c.vectors[0].dimension = 16_385),
        ("metric", |c| c.vectors[0].metric = 0),
        ("metric", |c| c.vectors[0].metric = 77),
        ("region", |c| c.regions = vec!["No Such".into()]),
        ("region", |c| c.default_region = "ap".into()),
        ("shards", |c| c.shards_per_region = 257),
        ("name", |c| c.name = "a/b".into()),
        ("max_age_s", |c| {
            c.retention = vec![v1::RetentionRule { region: String::new(), max_age_s: u64::MAX }]
        }),
    ];
    let running = start().await;
    for (field, break_it) in cases {
        let mut request = definition("docs");
        break_it(&mut request);
        let refused = running.collections().create_collection(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
        assert_eq!(detail(&refused).message, refused.message());
    }
}

//! Properties of the parsers: no input makes them panic, and what they accept is what it says.

use engram_query::payload;
use engram_query::token::ConsistencyToken;
use engram_storage::schema::RegionName;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn json(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn objects_are_payloads_and_nothing_else_is(value in json(6)) {
        let text = value.to_string();
        prop_assert_eq!(payload::check(text.as_bytes()).is_ok(), value.is_object());
    }

    #[test]
    fn a_key_twice_is_refused(key in ".{0,8}", keys in prop::collection::btree_set("[a-z]{1,3}", 0..30)) {
        let mut fields: Vec<String> = keys.iter().map(|k| format!("\"{k}x\":0")).collect();
        let quoted = Value::from(key.as_str());
        fields.insert(0, format!("{quoted}:1"));
        fields.push(format!("{quoted}:2"));
        let text = format!("{{{}}}", fields.join(","));
        prop_assert!(payload::check(text.as_bytes()).is_err());
    }

    #[test]
    fn no_bytes_make_the_check_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let accepted = payload::check(&bytes).is_ok();
        if accepted {
            prop_assert!(serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok());
        }
    }

    #[test]
    fn tokens_come_back(shards in prop::collection::btree_map(("[a-z0-9-]{1,32}", 0_u32..256), any::<u64>(), 0..40)) {
        let mut token = ConsistencyToken::default();
        for ((region, bucket), offset) in shards {
            token.note(&RegionName::try_from(region).unwrap(), bucket, offset);
        }
        prop_assert_eq!(token.to_string().parse::<ConsistencyToken>().unwrap(), token);
    }

    #[test]
    fn no_text_makes_the_token_panic(text in "(1:)?[a-z.=,0-9:-]{0,60}") {
        if let Ok(token) = text.parse::<ConsistencyToken>() {
            prop_assert_eq!(token.to_string().parse::<ConsistencyToken>().unwrap(), token);
        }
    }
}

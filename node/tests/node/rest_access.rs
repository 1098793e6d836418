//! Every REST route x every role x {own tenant, other tenant, none}, made from the description that the table of routes
//! gives: a route without a sample fails the test.

use engram_query::request::{Principal, ReadOptions};
use engram_storage::catalog::{Role, Scope};
use serde_json::Value;

use crate::access::{Caller, Stage, contains, create, key_of};
use crate::http::Answer;
use crate::rest_samples::rest_sample;
use crate::running::Running;
use crate::samples::Level::{Admin, Nobody, Read, Root, Write};
use crate::samples::{ABSENT, NEEDLE, Names};

/// Method and template of every route that the server describes.
async fn routes(running: &Running) -> Vec<(String, String)> {
    let description = running.raw("GET", "/openapi.json", &[], b"").await.json();
    let mut routes = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(routes.len() >= 77, "{routes:?}");
    routes
}

async fn call(running: &Running, route: &(String, String), names: &Names, caller: &Caller) -> Answer {
    let (method, template) = route;
    let sample = rest_sample(method, template, names).unwrap();
    let mut headers: Vec<(&str, &str)> = vec![("content-type", sample.content)];
    headers.extend(caller.headers.iter().map(|(name, value)| (*name, value.as_str())));
    running.raw(method, &sample.path, &headers, &sample.body).await
}

/// What a caller can tell one answer from another by, with what it named itself taken out.
fn visible(answer: &Answer, names: &Names) -> (u16, String) {
    if answer.status == 200 {
        return (200, String::new());
    }
    let mut text = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(json) => json["status"].to_string(),
        Err(_) => answer.text().to_owned(),
    };
    let named = [&names.collection, &names.receipt, &names.snapshot];
    for name in named.into_iter().filter(|name| !name.is_empty()) {
        text = text.replace(name.as_str(), "NAME");
    }
    (answer.status, text)
}

fn absent() -> Names {
    Names {
        collection: ABSENT.into(),
        receipt: "0198c0de-0000-7000-8000-000000000000".into(),
        snapshot: format!("{}-20270115T080000Z-0123456789abcdef.snapshot", "0".repeat(32)),
        ..Names::default()
    }
}

/// What is wrong about the answer that `caller` gets, if anything is.
async fn wrong(stage: &Stage, route: &(String, String), caller: &Caller) -> Option<String> {
    let sample = rest_sample(&route.0, &route.1, &stage.names).unwrap();
    let answer = call(&stage.running, route, &stage.names, caller).await;
    let expected = if sample.needs == Nobody {
        200
    } else if caller.level == Nobody {
        401
    } else if caller.misled {
        // Whether there is such a tenant does not show.
        if contains(&answer.body, "other") || contains(&answer.body, "acme") {
            return Some("it tells of tenants".into());
        }
        if caller.level == Root { 404 } else { 403 }
    } else if caller.level < sample.needs {
        403
    } else if caller.own {
        sample.status
    } else {
        stage.prepare().await;
        let absent = Names { file: stage.names.file.clone(), ..absent() };
        let nothing = call(&stage.running, route, &absent, caller).await;
        if visible(&answer, &stage.names) != visible(&nothing, &absent) {
            return Some(format!(
                "it is not as what is absent: {} {:?} and {} {:?}",
                answer.status,
                String::from_utf8_lossy(&answer.body),
                nothing.status,
                String::from_utf8_lossy(&nothing.body)
            ));
        }
        if nothing.status == 401
            || nothing.status == 403
            || nothing.status >= 500 && nothing.status != sample.status
        {
            return Some(format!("{nothing:?}"));
        }
        let told = [NEEDLE, "docs", "acme"];
        let leaks =
            |answer: &Answer| answer.status == 200 && told.iter().any(|name| contains(&answer.body, name));
        return [answer, nothing].iter().any(leaks).then(|| "it tells of another tenant".into());
    };
    (answer.status != expected).then(|| {
        format!("{expected} was expected: {} {:?}", answer.status, String::from_utf8_lossy(&answer.body))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_every_route_asks_every_caller_for_its_role_and_its_tenant() {
    let mut stage = Stage::new().await;
    let (mut cells, mut found) = (0, Vec::new());
    for route in routes(&stage.running).await {
        assert!(
            rest_sample(&route.0, &route.1, &stage.names).is_some(),
            "{route:?} is new: say in rest_samples.rs which role it needs"
        );
        for caller in stage.callers.clone() {
            cells += 1;
            stage.prepare().await;
            if route.1.contains("/snapshots") {
                stage.take_snapshot().await;
            }
            if let Some(why) = wrong(&stage, &route, &caller).await {
                found.push(format!("{} {} by {}: {why}", route.0, route.1, caller.what));
            }
        }
    }
    println!("cells {cells}, wrong {}", found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(cells > 2_000);
    stage.prepare().await;
    let (database, read) = (stage.running.node.database(), ReadOptions::default());
    let count = database.count(Principal::root(stage.acme), "docs", None, &read);
    assert_eq!(count.await.unwrap(), 1, "nobody else reached acme's points");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_a_collection_out_of_a_keys_scope_is_like_an_absent_one_on_every_route() {
    let mut stage = Stage::new().await;
    create(&stage.running, Principal::root(stage.acme), "hidden").await;
    stage.take_snapshot().await;
    let database = stage.running.node.database();
    database.set_alias(Principal::root(stage.acme), "alias", "hidden").await.unwrap();
    let taken = database.create_snapshot(Principal::root(stage.acme), "hidden").await.unwrap().name;
    let hidden = Names { collection: "hidden".into(), snapshot: taken, ..stage.names.clone() };
    let absent = Names { receipt: stage.names.receipt.clone(), file: stage.names.file.clone(), ..absent() };
    for (role, level) in [(Role::Read, Read), (Role::Write, Write), (Role::Admin, Admin)] {
        let scope = Scope::Collections(["docs".to_owned()].into());
        let text = key_of(&stage.running, stage.acme, role, scope).await.1;
        let headers = vec![("api-key", text)];
        let caller = Caller { what: format!("{role:?}"), headers, level, own: true, misled: false };
        for route in routes(&stage.running).await {
            let needs = rest_sample(&route.0, &route.1, &hidden).unwrap().needs;
            let cell = format!("{route:?} by {role:?} of docs");
            let answer = call(&stage.running, &route, &hidden, &caller).await;
            let nothing = call(&stage.running, &route, &absent, &caller).await;
            assert_eq!(visible(&answer, &hidden), visible(&nothing, &absent), "{cell}");
            if needs > level {
                assert_eq!(answer.status, 403, "{cell}");
            }
            for answer in [answer, nothing] {
                assert!(answer.status != 200 || !contains(&answer.body, "hidden"), "{cell}: {answer:?}");
            }
        }
        assert_eq!(database.collections(Principal::root(stage.acme)).len(), 2);
    }
}

//! The web page: whole, of its own files alone.

use crate::running::start;
use crate::security::with_key;

/// What a file names in quotes under `/dashboard/` or beside itself.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let names = quoted.filter_map(|part| part.rsplit('/').next()).map(str::to_owned);
    names.collect()
}

#[tokio::test]
async fn the_page_is_whole_and_asks_nobody_else() {
    // Also where a key is asked for: the files tell nothing.
    let running = with_key().await;
    let page = running.raw("GET", "/dashboard", &[], b"").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    let mut left = named(page.text());
    let mut seen = Vec::new();
    while let Some(name) = left.pop() {
        if seen.contains(&name) {
            continue;
        }
        let file = running.raw("GET", &format!("/dashboard/{name}"), &[], b"").await;
        assert_eq!(file.status, 200, "{name}");
        let kind = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(file.header("content-type").unwrap().starts_with(kind), "{name}");
        // The one address is the name of a language of drawings.
        let text = file.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{name} names another server");
        assert!(!text.contains("innerHTML"), "{name} makes markup of text");
        left.extend(named(&text));
        seen.push(name);
    }
    assert!(seen.len() >= 20, "{seen:?}");
}

#[tokio::test]
async fn other_files_are_not_there() {
    let running = start().await;
    for path in ["/dashboard/other.js", "/dashboard/..%2f..%2fCargo.toml", "/dashboard/%2e%2e"] {
        assert_eq!(running.raw("GET", path, &[], b"").await.status, 404, "{path}");
    }
}

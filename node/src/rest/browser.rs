//! Pages in a browser on the machine of a server that asks for no key: such a server may answer them only where they
//! are its own. Without this check any page could send a delete, which needs no leave of the server to be sent, and one
//! whose name was pointed at the loopback address could read as well.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};

use super::error::RestError;
use crate::config::RestSettings;

/// Refuses what a foreign page sent. `loopback` says that the server listens there only, so that no other name than that
/// of this machine leads to it.
///
/// # Errors
/// 403, and what to do.
pub(super) fn check(headers: &HeaderMap, settings: &RestSettings, loopback: bool) -> Result<(), RestError> {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if loopback && host.is_some_and(|host| !is_this_machine(host)) {
        return Err(refused(
            "the name in `host` is none of this machine, and the server asks for no key: call it as localhost, or \
             configure auth.root_key_file",
        ));
    }
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let allowed = settings.cors_origins.iter().any(|known| known == "*" || known == origin);
    let own = origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
    if allowed || own {
        return Ok(());
    }
    Err(refused(
        "a page of another origin asks, and the server asks for no key: name the origin in rest.cors_origins, or configure \
         auth.root_key_file",
    ))
}

fn refused(why: &str) -> RestError {
    RestError::new(StatusCode::FORBIDDEN, format!("Forbidden: {why}"))
}

/// Whether `HOST[:PORT]` is a name or an address of the loopback interface.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(host: &str, origin: Option<&str>, known: &[&str], loopback: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let cors_origins = known.iter().map(|&origin| origin.to_owned()).collect();
        check(&headers, &RestSettings { qdrant_title: false, cors_origins }, loopback).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_lead_to_it() {
        for host in
            ["localhost:6333", "127.0.0.1:6333", "127.1.2.3", "[::1]:6333", "LOCALHOST", "a.localhost:1"]
        {
            assert!(allows(host, None, &[], true), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:6333",
            "localhost.evil.example",
            "10.0.0.1:6333",
            "127.0.0.1.evil.example",
        ] {
            assert!(!allows(host, None, &[], true), "{host}");
            assert!(allows(host, None, &[], false), "{host}");
        }
    }

    #[test]
    fn pages_are_its_own_or_known() {
        assert!(allows("localhost:6333", Some("http://localhost:6333"), &[], true));
        assert!(!allows("localhost:6333", Some("http://localhost:3000"), &[], true));
        assert!(!allows("localhost:6333", Some("null"), &[], true));
        assert!(!allows("localhost:6333", Some("http://evil.example"), &["http://good.example"], true));
        assert!(allows("localhost:6333", Some("http://good.example"), &["http://good.example"], true));
        assert!(allows("localhost:6333", Some("http://any.example"), &["*"], true));
        assert!(!allows("server:6333", Some("http://evil.example"), &[], false));
    }
}

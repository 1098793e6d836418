//! Pages in a browser on the machine of a server that asks for no key: such a server may answer them only where they
//! are its own. Without this check any page could send a delete, which needs no leave of the server to be sent, and one
//! whose name was pointed at the loopback address could read as well.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::error::RestError;
use crate::config::RestSettings;

/// Refuses what a foreign page sent. `loopback` says that the server listens there only, so that no other name than that
/// of this machine leads to it.
///
/// # Errors
/// 403, and what to do.
pub(super) fn check(head: &Parts, settings: &RestSettings, loopback: bool) -> Result<(), RestError> {
    let text = |name| head.headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    // HTTP/2 has no such header: the name stands in the address of the request.
    let host = head.uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST));
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
    use axum::http::Request;

    use super::*;

    /// How the name of the server comes in.
    #[derive(Clone, Copy, Debug)]
    enum Named {
        /// HTTP/1.1.
        InHeader,
        /// HTTP/2.
        InAddress,
    }
    use Named::{InAddress, InHeader};

    fn allows(
        (named, host): (Named, &str),
        origin: Option<&str>,
        (known, loopback): (&[&str], bool),
    ) -> bool {
        let mut request = match named {
            InHeader => Request::builder().uri("/collections").header(header::HOST, host),
            InAddress => Request::builder().uri(format!("https://{host}/collections")),
        };
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let cors_origins = known.iter().map(|&origin| origin.to_owned()).collect();
        check(&head, &RestSettings { qdrant_title: false, cors_origins }, loopback).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_lead_to_it() {
        for named in [InHeader, InAddress] {
            for host in
                ["localhost:6333", "127.0.0.1:6333", "127.1.2.3", "[::1]:6333", "LOCALHOST", "a.localhost:1"]
            {
                assert!(allows((named, host), None, (&[], true)), "{named:?} {host}");
            }
            for host in [
                "evil.example",
                "evil.example:6333",
                "localhost.evil.example",
                "10.0.0.1:6333",
                "127.0.0.1.evil.example",
                "localhost@evil.example",
            ] {
                assert!(!allows((named, host), None, (&[], true)), "{named:?} {host}");
                assert!(allows((named, host), None, (&[], false)), "{named:?} {host}");
            }
        }
    }

    #[test]
    fn pages_are_its_own_or_known() {
        let here = "localhost:6333";
        for named in [InHeader, InAddress] {
            let asks = |host: &str, origin: &str, known: &[&str], loopback: bool| {
                allows((named, host), Some(origin), (known, loopback))
            };
            for scheme in ["http", "https"] {
                assert!(asks(here, &format!("{scheme}://{here}"), &[], true), "{named:?}");
            }
            assert!(!asks(here, "http://localhost:3000", &[], true), "{named:?}");
            assert!(!asks(here, "null", &[], true), "{named:?}");
            assert!(!asks(here, "http://evil.example", &["http://good.example"], true), "{named:?}");
            assert!(asks(here, "http://good.example", &["http://good.example"], true), "{named:?}");
            assert!(asks(here, "http://any.example", &["*"], true), "{named:?}");
            assert!(!asks("server:6333", "http://evil.example", &[], false), "{named:?}");
            assert!(asks("server", "https://server", &[], false), "{named:?}: its own page by another name");
        }
    }

    #[test]
    fn the_address_of_the_request_comes_before_the_header() {
        let mixed = |uri: &str, host: &str| {
            let request = Request::builder().uri(uri).header(header::HOST, host).body(()).unwrap();
            check(&request.into_parts().0, &RestSettings::default(), true).is_ok()
        };
        assert!(!mixed("https://evil.example/collections", "localhost"));
        assert!(mixed("https://localhost/collections", "localhost"));
    }
}

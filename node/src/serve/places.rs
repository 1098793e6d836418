//! Places of the connections that a listener may have open: so many in all, and of these a part for each address, so that
//! one peer cannot keep out all others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ConnectionBounds;

/// The places of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    shares: Arc<Shares>,
    /// Counts connections that were closed since their address had its part.
    refused: Counter,
}

#[derive(Debug)]
struct Shares {
    bounds: ConnectionBounds,
    /// Open connections by address; none without one, so it is no longer than there are places.
    open: Mutex<HashMap<IpAddr, Share>>,
}

#[derive(Debug, Default)]
struct Share {
    open: usize,
    /// The log says it once, until the address has no connection left.
    told: bool,
}

/// A place that nobody has a connection for yet.
#[derive(Debug)]
pub(crate) struct Free(OwnedSemaphorePermit);

/// The place of a connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(bounds: ConnectionBounds, refused: Counter) -> Self {
        let shares = Arc::new(Shares { bounds, open: Mutex::default() });
        Self { all: Arc::new(Semaphore::new(bounds.all)), shares, refused }
    }

    /// Waits for a place; `None` when there will be none any more.
    pub(crate) async fn free(&self) -> Option<Free> {
        self.all.clone().acquire_owned().await.ok().map(Free)
    }

    /// The place as that of a connection from `peer`, unless that has its part already.
    pub(crate) fn take(&self, free: Free, peer: IpAddr) -> Option<Place> {
        let address = network(peer);
        let bounds = self.shares.bounds;
        let most = match bounds.per_address {
            Some(most) => most,
            None if address.is_loopback() => bounds.all,
            None => bounds.all.div_ceil(2),
        };
        let mut open = self.shares.open.lock();
        let share = open.entry(address).or_default();
        if share.open >= most {
            self.refused.inc();
            if !std::mem::replace(&mut share.told, true) {
                tracing::warn!(
                    %address,
                    open = share.open,
                    "connections are closed: their address has as many open as limits.connections_per_address allows"
                );
            }
            return None;
        }
        share.open += 1;
        drop(open);
        Some(Place { _all: free.0, shares: self.shares.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shares.open.lock();
        if let Some(share) = open.get_mut(&self.address) {
            share.open = share.open.saturating_sub(1);
            if share.open == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: a peer has a whole /64 of IPv6 for itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener(Places);

    impl Listener {
        fn new(all: usize, per_address: Option<usize>) -> Self {
            Self(Places::new(ConnectionBounds { all, per_address }, Counter::default()))
        }

        async fn connect(&self, peer: &str) -> Option<Place> {
            let free = self.0.free().await.unwrap();
            self.0.take(free, peer.parse().unwrap())
        }

        /// Connects until it is refused.
        async fn fill(&self, peer: &str) -> Vec<Place> {
            let mut places = Vec::new();
            while self.0.all.available_permits() > 0 {
                let Some(place) = self.connect(peer).await else { break };
                places.push(place);
            }
            places
        }
    }

    #[tokio::test]
    async fn one_address_has_half_and_leaves_the_rest_to_others() {
        let listener = Listener::new(8, None);
        let first = listener.fill("10.0.0.1").await;
        assert_eq!((first.len(), listener.0.refused.get()), (4, 1));
        assert!(listener.connect("::ffff:10.0.0.1").await.is_none(), "the same one by another name");
        let second = listener.fill("10.0.0.2").await;
        assert_eq!(second.len(), 4, "a refused connection keeps no place");
        drop(first);
        assert_eq!(listener.fill("10.0.0.2").await.len(), 0);
        assert_eq!(listener.fill("10.0.0.1").await.len(), 4, "places come back");
        drop(second);
        assert!(listener.0.shares.open.lock().is_empty(), "nothing is kept of who is gone");
    }

    #[tokio::test]
    async fn this_machine_has_all_unless_a_number_is_given() {
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Listener::new(8, None).fill(loopback).await.len(), 8, "{loopback}");
            assert_eq!(Listener::new(8, Some(3)).fill(loopback).await.len(), 3, "{loopback}");
        }
        assert_eq!(Listener::new(1, None).fill("10.0.0.1").await.len(), 1);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_address() {
        let listener = Listener::new(8, Some(1));
        let _first = listener.connect("2001:db8:1:2::1").await.unwrap();
        assert!(listener.connect("2001:db8:1:2:ffff::9").await.is_none());
        assert!(listener.connect("2001:db8:1:3::1").await.is_some());
    }
}

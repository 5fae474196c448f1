//! Places: connections and requests that a server has at a time, all clients together and each one.
//!
//! A connection is at work while a call of its runs; otherwise it waits: for a request, for the rest of one, or for its
//! client to take the answer. When there is no place for a new one, the one that waits longest is closed: of the same client
//! if that has its share, otherwise of the client with most connections. So silent and slow clients keep nobody out.
//! A request takes a place when all of it is there.

use crate::limiter::network_of;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Connections for each request at a time. Browsers and indexers keep theirs open between requests.
pub const CONNECTIONS_PER_REQUEST: usize = 4;
/// Requests for which there is a place when the others have taken all: from this machine, and as many of the operator.
pub(crate) const RESERVE: usize = 8;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Anybody.
    Other = 0,
    /// A program on this machine.
    Local = 1,
    /// Who has the token.
    Operator = 2,
}

/// The places of a server.
#[derive(Debug)]
pub(crate) struct Places {
    requests_max: usize,
    client_requests_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    connections: HashMap<u64, Connection>,
    requests: usize,
    requests_by_client: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    /// `None`: a proxy's, of many clients.
    client: Option<IpAddr>,
    /// `None` while it is at work.
    waits_since: Option<Instant>,
    end: Arc<Notify>,
}

/// A place of a connection; free with the value.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    places: Arc<Places>,
    id: u64,
    end: Arc<Notify>,
}

/// A place of a request; free with the value.
#[derive(Debug)]
pub(crate) struct RequestPlace {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    /// No place taken.
    pub fn new(requests_max: usize, client_requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            requests_max,
            client_requests_max,
            table: Mutex::default(),
        })
    }

    /// A place for a new connection of a client; `None` for one of many clients. No place only if all that could make
    /// room for it are at work.
    pub fn connect(self: &Arc<Self>, client: Option<IpAddr>, now: Instant) -> Option<ConnectionPlace> {
        let mut table = self.table.lock();
        let client = client.map(network_of);
        let of_client = table
            .connections
            .values()
            .filter(|other| other.client == client)
            .count();
        if client.is_some() && of_client >= self.client_requests_max * CONNECTIONS_PER_REQUEST {
            table.close_oldest(|other| other.client == client)?;
        } else if table.connections.len() >= self.requests_max * CONNECTIONS_PER_REQUEST {
            let largest = table.largest_client();
            table.close_oldest(|other| other.client == largest)?;
        }
        let (id, end) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        let connection = Connection {
            client,
            waits_since: Some(now),
            end: Arc::clone(&end),
        };
        table.connections.insert(id, connection);
        drop(table);
        let places = Arc::clone(self);
        Some(ConnectionPlace { places, id, end })
    }

    /// A place for a whole request; `None` if there is none. The operator has no share, only the reserve.
    pub fn begin(self: &Arc<Self>, client: IpAddr, rank: Rank) -> Option<RequestPlace> {
        let client = network_of(client);
        let mut table = self.table.lock();
        let own = table.requests_by_client.get(&client).copied().unwrap_or(0);
        let is_over_share = own >= self.client_requests_max && rank < Rank::Operator;
        if is_over_share || table.requests >= self.requests_max + RESERVE * rank as usize {
            return None;
        }
        table.requests += 1;
        table.requests_by_client.insert(client, own + 1);
        drop(table);
        let places = Arc::clone(self);
        Some(RequestPlace { places, client })
    }
}

impl Table {
    /// Closes the connection that waits longest, of those meant; `None` if none waits.
    fn close_oldest(&mut self, is_meant: impl Fn(&Connection) -> bool) -> Option<()> {
        let waiting = self.connections.iter().filter(|(_, connection)| is_meant(connection));
        let waiting = waiting.filter_map(|(id, connection)| Some((connection.waits_since?, *id)));
        let (_, oldest) = waiting.min()?;
        let connection = self.connections.remove(&oldest)?;
        connection.end.notify_one();
        Some(())
    }

    /// The client with most connections that wait.
    fn largest_client(&self) -> Option<IpAddr> {
        let mut waiting: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for connection in self.connections.values() {
            if connection.waits_since.is_some() {
                *waiting.entry(connection.client).or_default() += 1;
            }
        }
        let largest = waiting.into_iter().max_by_key(|(client, count)| (*count, *client));
        largest.and_then(|(client, _)| client)
    }
}

impl ConnectionPlace {
    /// Ends when another connection needs the place.
    pub async fn is_needed(&self) {
        self.end.notified().await;
    }

    /// A call begins.
    pub fn works(&self) {
        self.set(None);
    }

    /// The call ended.
    pub fn waits(&self, now: Instant) {
        self.set(Some(now));
    }

    fn set(&self, waits_since: Option<Instant>) {
        if let Some(connection) = self.places.table.lock().connections.get_mut(&self.id) {
            connection.waits_since = waits_since;
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.table.lock().connections.remove(&self.id);
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let mut table = self.places.table.lock();
        table.requests -= 1;
        let own = table.requests_by_client.get_mut(&self.client);
        let own = own.expect("a place that is taken is counted");
        *own -= 1;
        if *own == 0 {
            table.requests_by_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const CAROL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

    fn is_closed(place: &ConnectionPlace) -> bool {
        !place.places.table.lock().connections.contains_key(&place.id)
    }

    /// Connects one after the other.
    fn connect(places: &Arc<Places>, client: IpAddr, count: usize) -> Vec<ConnectionPlace> {
        let start = Instant::now();
        let at = |index| start + Duration::from_millis(index as u64);
        (0..count)
            .map(|index| places.connect(Some(client), at(index)).unwrap())
            .collect()
    }

    #[test]
    fn a_client_with_its_share_loses_the_connection_that_waits_longest() {
        let places = Places::new(10, 1);
        let bob = connect(&places, BOB, 1);
        let alice = connect(&places, ALICE, 4);
        alice[0].works();
        let new = places.connect(Some(ALICE), Instant::now()).unwrap();
        let closed: Vec<bool> = alice.iter().map(is_closed).collect();
        assert_eq!(closed, [false, true, false, false], "the first is at work");
        assert!(!is_closed(&bob[0]) && !is_closed(&new));
    }

    #[test]
    fn who_comes_when_all_places_are_taken_gets_one_of_the_client_with_most() {
        let places = Places::new(2, 2);
        let bob = connect(&places, BOB, 2);
        let alice = connect(&places, ALICE, 6);
        let carol = connect(&places, CAROL, 1);
        assert!(
            is_closed(&alice[0])
                && alice[1..]
                    .iter()
                    .chain(&bob)
                    .chain(&carol)
                    .all(|place| !is_closed(place))
        );
    }

    #[test]
    fn connections_at_work_are_not_closed() {
        let places = Places::new(1, 1);
        let alice = connect(&places, ALICE, 4);
        alice.iter().for_each(ConnectionPlace::works);
        assert!(places.connect(Some(ALICE), Instant::now()).is_none());
        assert!(places.connect(Some(BOB), Instant::now()).is_none());
        alice[2].waits(Instant::now());
        let _bob = places.connect(Some(BOB), Instant::now()).unwrap();
        assert!(is_closed(&alice[2]));
    }

    #[test]
    fn proxies_have_no_share_of_connections() {
        let places = Places::new(2, 1);
        let now = Instant::now();
        let of_proxy: Vec<ConnectionPlace> = (0..7).map(|_| places.connect(None, now).unwrap()).collect();
        assert!(!of_proxy.iter().any(is_closed));
    }

    #[test]
    fn requests_have_a_share_for_each_client_and_a_reserve() {
        let places = Places::new(3, 2);
        let mut taken: Vec<RequestPlace> = (0..2).map(|_| places.begin(ALICE, Rank::Local).unwrap()).collect();
        assert!(places.begin(ALICE, Rank::Local).is_none(), "its share");
        taken.push(places.begin(BOB, Rank::Other).unwrap());
        assert!(places.begin(CAROL, Rank::Other).is_none(), "all");
        taken.push(places.begin(CAROL, Rank::Local).unwrap());
        taken.extend((0..2 * RESERVE - 1).map(|_| places.begin(ALICE, Rank::Operator).unwrap()));
        assert!(places.begin(ALICE, Rank::Operator).is_none());
        drop(taken);
        let table = places.table.lock();
        assert!(table.requests == 0 && table.requests_by_client.is_empty());
    }
}

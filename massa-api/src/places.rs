//! Places: connections and requests that a server has at a time, all clients together and each one.
//!
//! A connection is at work while a call of its runs; otherwise it waits: for a request, for the rest of one, or for its
//! client to take the answer. When there is no place for a new one, the one that waits longest is closed: of the same client
//! if that has its share, otherwise of the client with most connections. So silent and slow clients keep nobody out.
//! A request takes a place when all of it is there. When there is none it waits in turn, as its connection does: whoever
//! asks for a hundred things at once is answered, a share at a time.

use crate::limiter::network_of;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{oneshot, Notify};

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
    /// Requests without a place, in the order in which they came: never more of them than connections.
    waiting: VecDeque<Waiting>,
}

/// A request that waits for a place.
#[derive(Debug)]
struct Waiting {
    client: IpAddr,
    rank: Rank,
    place: oneshot::Sender<RequestPlace>,
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

    /// A place for a whole request, as soon as there is one. The operator has no share, only the reserve. Who does not
    /// want it any more drops what he got.
    pub fn begin(self: &Arc<Self>, client: IpAddr, rank: Rank) -> oneshot::Receiver<RequestPlace> {
        let client = network_of(client);
        let (place, receiver) = oneshot::channel();
        let mut table = self.table.lock();
        if self.has_place(&table, client, rank) {
            table.take(client);
            drop(table);
            self.give(client, place);
        } else {
            table.waiting.retain(|other| !other.place.is_closed());
            table.waiting.push_back(Waiting { client, rank, place });
        }
        receiver
    }

    fn has_place(&self, table: &Table, client: IpAddr, rank: Rank) -> bool {
        let own = table.requests_by_client.get(&client).copied().unwrap_or(0);
        let is_over_share = own >= self.client_requests_max && rank < Rank::Operator;
        !is_over_share && table.requests < self.requests_max + RESERVE * rank as usize
    }

    /// Hands a place that is taken over. It is free again if nobody wants it any more.
    fn give(self: &Arc<Self>, client: IpAddr, receiver: oneshot::Sender<RequestPlace>) {
        let places = Arc::clone(self);
        drop(receiver.send(RequestPlace { places, client }));
    }

    /// A request of a client ended: whoever waits longest of those for whom there is a place gets it.
    fn end(self: &Arc<Self>, client: IpAddr) {
        let mut table = self.table.lock();
        table.give_back(client);
        table.waiting.retain(|other| !other.place.is_closed());
        let next = table
            .waiting
            .iter()
            .position(|waiting| self.has_place(&table, waiting.client, waiting.rank));
        let next = next.and_then(|index| table.waiting.remove(index));
        if let Some(next) = next {
            table.take(next.client);
            drop(table);
            self.give(next.client, next.place);
        }
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

    fn take(&mut self, client: IpAddr) {
        self.requests += 1;
        *self.requests_by_client.entry(client).or_default() += 1;
    }

    fn give_back(&mut self, client: IpAddr) {
        self.requests -= 1;
        let own = self.requests_by_client.get_mut(&client);
        let own = own.expect("a place that is taken is counted");
        *own -= 1;
        if *own == 0 {
            self.requests_by_client.remove(&client);
        }
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
        self.places.end(self.client);
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

    /// A place that is there at once.
    fn now(places: &Arc<Places>, client: IpAddr, rank: Rank) -> Option<RequestPlace> {
        places.begin(client, rank).try_recv().ok()
    }

    #[test]
    fn requests_have_a_share_for_each_client_and_a_reserve() {
        let places = Places::new(3, 2);
        let mut taken: Vec<RequestPlace> = (0..2).map(|_| now(&places, ALICE, Rank::Local).unwrap()).collect();
        assert!(now(&places, ALICE, Rank::Local).is_none(), "its share");
        taken.push(now(&places, BOB, Rank::Other).unwrap());
        assert!(now(&places, CAROL, Rank::Other).is_none(), "all");
        taken.push(now(&places, CAROL, Rank::Local).unwrap());
        taken.extend((0..2 * RESERVE - 1).map(|_| now(&places, ALICE, Rank::Operator).unwrap()));
        assert!(now(&places, ALICE, Rank::Operator).is_none());
        drop(taken);
        let table = places.table.lock();
        assert!(table.requests == 0 && table.requests_by_client.is_empty());
    }

    #[test]
    fn requests_wait_in_turn_and_nobody_waits_for_one_that_left() {
        let places = Places::new(2, 1);
        let alice = now(&places, ALICE, Rank::Other).unwrap();
        let left = places.begin(ALICE, Rank::Other);
        let mut second = places.begin(ALICE, Rank::Other);
        let mut third = places.begin(ALICE, Rank::Other);
        let _bob = now(&places, BOB, Rank::Other).unwrap();
        let mut carol = places.begin(CAROL, Rank::Other);
        drop(left);
        drop(alice);
        let alice = second.try_recv().unwrap();
        assert!(third.try_recv().is_err() && carol.try_recv().is_err());
        drop(alice);
        let alice = third.try_recv().unwrap();
        drop(alice);
        carol.try_recv().unwrap();
        assert!(places.table.lock().waiting.is_empty());
    }

    #[test]
    fn who_waits_for_its_share_does_not_hold_others_up() {
        let places = Places::new(3, 1);
        let _alice = now(&places, ALICE, Rank::Other).unwrap();
        let mut waits = places.begin(ALICE, Rank::Other);
        let bob = now(&places, BOB, Rank::Other).unwrap();
        let mut next = places.begin(BOB, Rank::Other);
        drop(bob);
        next.try_recv().unwrap();
        assert!(waits.try_recv().is_err());
    }
}

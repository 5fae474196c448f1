//! Peers that this node has heard of.

use super::messages::PeerListeners;
use massa_protocol_exports::{PeerAddress, PeerId};
use parking_lot::RwLock;
use rand::seq::{IteratorRandom, SliceRandom};
use rand::Rng;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Peers remembered. With the addresses below this takes some megabytes at most.
pub const MAX_PEERS: usize = 4_096;
/// Addresses remembered of one peer, of each origin.
pub const MAX_ADDRESSES_PER_PEER: usize = 8;
/// How long a ban lasts. Upstream lifts all bans once a day.
pub const BAN_DURATION: Duration = Duration::from_secs(24 * 3_600);
/// A failed address is left alone for so long when a peer is asked for by name: its caller has a deadline.
const RETRY_NAMED: Duration = Duration::from_millis(500);

/// Shared by the connections, the connectivity thread and the peer handler.
pub type SharedPeerDB = Arc<RwLock<PeerDB>>;

/// How this node came to know an address; a better origin is tried first and forgotten last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Another peer says so.
    Hearsay,
    /// The peer signed it, and had its id proven.
    Announced,
    /// The operator or the registry says so.
    Configured,
}

#[derive(Clone, Debug, Default)]
struct PeerInfo {
    configured: Vec<SocketAddr>,
    announced: Vec<SocketAddr>,
    /// Of the announcement.
    timestamp: u64,
    hearsay: Vec<SocketAddr>,
    banned_until: Option<Instant>,
    last_attempt: Option<Instant>,
}

impl PeerInfo {
    fn origin(&self) -> Origin {
        if !self.configured.is_empty() || self.banned_until.is_some() {
            Origin::Configured
        } else if self.timestamp > 0 {
            Origin::Announced
        } else {
            Origin::Hearsay
        }
    }

    /// Best origin first, each once.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for address in [&self.configured, &self.announced, &self.hearsay].into_iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }
}

/// A bounded table of peers, their addresses, and bans.
pub struct PeerDB {
    own_id: PeerId,
    peers: HashMap<PeerId, PeerInfo>,
}

impl PeerDB {
    /// A table with the peers that the operator named.
    pub fn new(own_id: PeerId, initial_peers: &[PeerAddress]) -> Self {
        let mut peers = Self {
            own_id,
            peers: HashMap::new(),
        };
        peers.add_configured(initial_peers);
        peers
    }

    /// Peers remembered.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is remembered.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Peers banned at `now`.
    pub fn banned_count(&self, now: Instant) -> usize {
        self.peers.values().filter(|info| info.is_banned(now)).count()
    }

    /// Learns addresses from a source that this node trusts.
    pub fn add_configured(&mut self, peers: &[PeerAddress]) {
        for PeerAddress { peer_id, address } in peers {
            if let Some(info) = self.entry(peer_id, Origin::Configured) {
                add_address(&mut info.configured, *address);
            }
        }
    }

    /// Learns from the peer itself, which proved its id.
    pub fn add_announced(&mut self, peer_id: &PeerId, listeners: &[SocketAddr], timestamp: u64) {
        let Some(info) = self.entry(peer_id, Origin::Announced) else {
            return;
        };
        if timestamp <= info.timestamp {
            return;
        }
        info.timestamp = timestamp;
        info.announced.clear();
        for listener in listeners.iter().copied().filter(can_be_dialed) {
            add_address(&mut info.announced, listener);
        }
    }

    /// Learns from somebody else. Such addresses are tried last, and forgotten first.
    pub fn add_hearsay(&mut self, peers: &[PeerListeners]) {
        for (peer_id, listeners) in peers {
            for listener in listeners.iter().copied().filter(can_be_dialed) {
                if let Some(info) = self.entry(peer_id, Origin::Hearsay) {
                    add_address(&mut info.hearsay, listener);
                }
            }
        }
    }

    /// The place of a peer; none if it is this node, or the table is full of better ones.
    fn entry(&mut self, peer_id: &PeerId, origin: Origin) -> Option<&mut PeerInfo> {
        if *peer_id == self.own_id {
            return None;
        }
        if !self.peers.contains_key(peer_id) && self.peers.len() >= MAX_PEERS {
            let worse = |info: &PeerInfo| info.origin() < origin;
            let evicted = self.peers.iter().find(|(_, info)| worse(info)).map(|(id, _)| *id)?;
            self.peers.remove(&evicted);
        }
        Some(self.peers.entry(*peer_id).or_default())
    }

    /// Bans until [`BAN_DURATION`] after `now`.
    pub fn ban(&mut self, peer_id: &PeerId, now: Instant) {
        if let Some(info) = self.entry(peer_id, Origin::Configured) {
            info.banned_until = Some(now + BAN_DURATION);
        }
    }

    /// Ends a ban.
    pub fn unban(&mut self, peer_id: &PeerId) {
        if let Some(info) = self.peers.get_mut(peer_id) {
            info.banned_until = None;
        }
    }

    /// Ends the bans that are over.
    pub fn lift_bans(&mut self, now: Instant) {
        for info in self.peers.values_mut() {
            if !info.is_banned(now) {
                info.banned_until = None;
            }
        }
    }

    /// Whether connections with this peer are refused.
    pub fn is_banned(&self, peer_id: &PeerId, now: Instant) -> bool {
        self.peers.get(peer_id).is_some_and(|info| info.is_banned(now))
    }

    /// Up to `count` peers to dial: with an address, not banned, not tried within `pause`, and not in `except`.
    /// Configured peers come first, hearsay last; among equals chance decides. They count as tried from now on.
    pub fn to_dial(
        &mut self,
        count: usize,
        pause: Duration,
        now: Instant,
        except: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerAddress> {
        let may = |(id, info): &(&PeerId, &PeerInfo)| {
            !info.is_banned(now)
                && !except(id)
                && is_over(info.last_attempt, pause, now)
                && !info.addresses().is_empty()
        };
        let mut candidates: Vec<_> = self
            .peers
            .iter()
            .filter(may)
            .map(|(id, info)| (info.origin(), *id))
            .collect();
        candidates.shuffle(&mut rand::thread_rng());
        candidates.sort_by_key(|(origin, _)| std::cmp::Reverse(*origin));
        candidates.truncate(count);
        let attempts = candidates.iter();
        attempts
            .filter_map(|(_, id)| self.attempt(id, Vec::new(), now))
            .collect()
    }

    /// Where to dial this peer now: at one of `addresses`, likeliest first, which this table need not know, or where the table
    /// says. None if there is no address, it is banned, or it was tried a moment ago.
    pub fn to_dial_by_id(&mut self, peer_id: &PeerId, addresses: &[SocketAddr], now: Instant) -> Option<PeerAddress> {
        if *peer_id == self.own_id {
            return None;
        }
        let addresses: Vec<SocketAddr> = addresses.iter().copied().filter(can_be_dialed).collect();
        let Some(info) = self.peers.get(peer_id) else {
            let address = *addresses.choose(&mut rand::thread_rng())?;
            let peer_id = *peer_id;
            return Some(PeerAddress { peer_id, address });
        };
        (!info.is_banned(now) && is_over(info.last_attempt, RETRY_NAMED, now)).then_some(())?;
        self.attempt(peer_id, addresses, now)
    }

    /// Where a peer may listen, likeliest first; empty if it is not known.
    pub fn addresses(&self, peer_id: &PeerId) -> Vec<SocketAddr> {
        self.peers.get(peer_id).map_or_else(Vec::new, |info| info.addresses())
    }

    /// At one of `addresses`, or of those that the table has.
    fn attempt(&mut self, peer_id: &PeerId, mut addresses: Vec<SocketAddr>, now: Instant) -> Option<PeerAddress> {
        let info = self.peers.get_mut(peer_id)?;
        let known = info.addresses().into_iter();
        let more: Vec<SocketAddr> = known.filter(|known| !addresses.contains(known)).collect();
        addresses.extend(more);
        // The best address most of the time, another one now and then: the best may be out of date.
        let position = rand::thread_rng().gen_range(0..addresses.len().max(1));
        let first = info.last_attempt.is_none();
        let address = *addresses.get(if first { 0 } else { position })?;
        info.last_attempt = Some(now);
        Some(PeerAddress {
            peer_id: *peer_id,
            address,
        })
    }

    /// Up to `count` peers with their addresses, to tell others.
    pub fn some_peers(&self, count: usize, now: Instant) -> Vec<PeerListeners> {
        let known = self.peers.iter().filter(|(_, info)| !info.is_banned(now));
        let with_address = known.map(|(id, info)| (*id, info.addresses()));
        with_address
            .filter(|(_, addresses)| !addresses.is_empty())
            .choose_multiple(&mut rand::thread_rng(), count)
    }
}

fn is_over(since: Option<Instant>, pause: Duration, now: Instant) -> bool {
    since.map_or(true, |since| now.saturating_duration_since(since) >= pause)
}

fn add_address(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    if addresses.len() < MAX_ADDRESSES_PER_PEER && !addresses.contains(&address) {
        addresses.push(address);
    }
}

/// Whether it makes sense to dial this address. Loopback does: local networks live there.
fn can_be_dialed(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    const PAUSE: Duration = Duration::from_secs(10);

    fn peer() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn configured(peer_id: PeerId, port: u16) -> PeerAddress {
        let address = address(port);
        PeerAddress { peer_id, address }
    }

    fn dial_all(db: &mut PeerDB, now: Instant) -> Vec<PeerAddress> {
        db.to_dial(100, PAUSE, now, |_| false)
    }

    #[test]
    fn configured_peers_are_dialed_first_and_hearsay_last() {
        let (alice, bob, carol) = (peer(), peer(), peer());
        let mut db = PeerDB::new(peer(), &[]);
        db.add_hearsay(&[(carol, vec![address(3)])]);
        db.add_announced(&bob, &[address(2)], 1);
        db.add_configured(&[configured(alice, 1)]);
        let expected = [configured(alice, 1), configured(bob, 2), configured(carol, 3)];
        assert_eq!(dial_all(&mut db, Instant::now()), expected);
    }

    #[test]
    fn a_peer_is_left_alone_for_a_while_after_an_attempt() {
        let (alice, start) = (peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[configured(alice, 1)]);
        assert_eq!(dial_all(&mut db, start).len(), 1);
        assert_eq!(dial_all(&mut db, start + PAUSE / 2), []);
        assert_eq!(dial_all(&mut db, start + PAUSE).len(), 1);
    }

    #[test]
    fn a_peer_that_somebody_asks_for_is_dialed_sooner() {
        let (alice, start) = (peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[configured(alice, 1)]);
        dial_all(&mut db, start);
        assert_eq!(db.to_dial_by_id(&alice, &[], start), None);
        assert_eq!(
            db.to_dial_by_id(&alice, &[], start + RETRY_NAMED),
            Some(configured(alice, 1))
        );
        assert_eq!(db.to_dial_by_id(&peer(), &[], start), None);
    }

    #[test]
    fn who_asks_for_a_peer_may_know_where_it_is_better_than_this_table() {
        let (alice, bob, start) = (peer(), peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[configured(alice, 1)]);
        let told = [address(2)];
        assert_eq!(db.to_dial_by_id(&alice, &told, start), Some(configured(alice, 2)));
        assert_eq!(db.to_dial_by_id(&bob, &told, start), Some(configured(bob, 2)));
        assert_eq!((db.len(), db.addresses(&bob)), (1, Vec::new()), "nothing is remembered");
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 1));
        assert_eq!(db.to_dial_by_id(&bob, &[nowhere], start), None);
        let own = db.own_id;
        assert_eq!(db.to_dial_by_id(&own, &told, start), None);
        db.ban(&bob, start);
        assert_eq!(db.to_dial_by_id(&bob, &told, start), None);
    }

    #[test]
    fn banned_peers_are_neither_dialed_nor_told_of_until_the_ban_ends() {
        let (alice, start) = (peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[configured(alice, 1)]);
        db.ban(&alice, start);
        assert!(db.is_banned(&alice, start) && db.banned_count(start) == 1);
        assert_eq!(dial_all(&mut db, start), []);
        assert_eq!(db.to_dial_by_id(&alice, &[], start), None);
        assert_eq!(db.some_peers(10, start), []);
        let later = start + BAN_DURATION;
        db.lift_bans(later);
        assert_eq!(db.banned_count(later), 0);
        assert_eq!(dial_all(&mut db, later).len(), 1);
    }

    #[test]
    fn a_newer_announcement_replaces_an_older_one_and_not_the_reverse() {
        let (alice, start) = (peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[]);
        db.add_announced(&alice, &[address(2)], 20);
        db.add_announced(&alice, &[address(1)], 10);
        assert_eq!(db.some_peers(1, start), [(alice, vec![address(2)])]);
        db.add_announced(&alice, &[address(3)], 30);
        assert_eq!(db.some_peers(1, start), [(alice, vec![address(3)])]);
    }

    #[test]
    fn addresses_that_nobody_can_listen_on_are_not_kept() {
        let mut db = PeerDB::new(peer(), &[]);
        let useless = ["0.0.0.0:1", "127.0.0.1:0", "224.0.0.1:1", "[::]:1"];
        db.add_hearsay(&[(peer(), useless.iter().map(|text| text.parse().unwrap()).collect())]);
        assert!(db.is_empty());
    }

    #[test]
    fn addresses_of_a_peer_are_bounded() {
        let alice = peer();
        let mut db = PeerDB::new(peer(), &[]);
        db.add_hearsay(&[(alice, (1..1_000).map(address).collect())]);
        assert_eq!(db.some_peers(1, Instant::now())[0].1.len(), MAX_ADDRESSES_PER_PEER);
    }

    #[test]
    fn a_full_table_forgets_hearsay_and_keeps_bans_and_what_the_operator_said() {
        let (alice, mallory, start) = (peer(), peer(), Instant::now());
        let mut db = PeerDB::new(peer(), &[configured(alice, 1)]);
        db.ban(&mallory, start);
        while db.len() < MAX_PEERS {
            db.add_hearsay(&[(peer(), vec![address(9)])]);
        }
        let bob = peer();
        db.add_hearsay(&[(bob, vec![address(2)])]);
        assert_eq!(
            db.to_dial_by_id(&bob, &[], start),
            None,
            "hearsay does not push out hearsay"
        );
        db.add_announced(&bob, &[address(2)], 1);
        assert!(db.to_dial_by_id(&bob, &[], start).is_some());
        assert_eq!(db.len(), MAX_PEERS);
        assert!(db.is_banned(&mallory, start));
        assert!(db.to_dial_by_id(&alice, &[], start).is_some());
    }

    #[test]
    fn a_node_does_not_remember_itself() {
        let own = peer();
        let mut db = PeerDB::new(own, &[configured(own, 1)]);
        db.add_hearsay(&[(own, vec![address(1)])]);
        db.add_announced(&own, &[address(1)], 1);
        assert!(db.is_empty());
    }
}

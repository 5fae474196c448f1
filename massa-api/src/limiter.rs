//! How much of the archive one client may read.
//!
//! A read of the archive can cost requests to other nodes, so that a client that reads as fast as it can would spend
//! their bandwidth too. Each client has a bucket of reads that fills with time, and a number of calls at a time; all
//! clients together have one too. Clients are told apart by address, in IPv6 by network: one subscriber has many
//! addresses there. Time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// What one client, and all of them, may read from the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Calls of one client at a time.
    pub reads_at_once: usize,
    /// Calls of all clients at a time. Each keeps a thread busy.
    pub all_reads_at_once: usize,
    /// Things that one client may read in a second, in the long run.
    pub reads_per_second: u32,
    /// Things that a client may read at once after a pause.
    pub burst: u32,
    /// Clients that are remembered.
    pub clients_max: usize,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            reads_at_once: 4,
            all_reads_at_once: 16,
            reads_per_second: 64,
            burst: 256,
            clients_max: 4096,
        }
    }
}

/// Why a read of the archive is refused. The client is at fault, except for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too many of its calls run already.
    #[error("{0} reads of the archive are running for this client already; wait for one to end")]
    AtOnce(usize),
    /// It has read too much lately.
    #[error("more than {per_second} reads of the archive per second; try again in {wait_ms} ms")]
    Rate {
        /// Reads that are allowed in a second.
        per_second: u32,
        /// When there will be enough of them.
        wait_ms: u64,
    },
    /// Too many calls of all clients run already.
    #[error("{0} reads of the archive are running already; try again later")]
    AllAtOnce(usize),
    /// Too many clients read.
    #[error("{0} clients are reading the archive already; try again later")]
    Clients(usize),
}

/// Counts what clients read.
#[derive(Debug)]
pub struct ArchiveLimiter {
    limits: ArchiveLimits,
    clients: HashMap<IpAddr, Client>,
    running: usize,
}

#[derive(Debug)]
struct Client {
    running: usize,
    bucket: Bucket,
}

/// Thousandths of reads, so that every millisecond adds a whole number.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    content: u64,
    at: Instant,
}

impl ArchiveLimiter {
    /// A limiter of clients that have not read anything yet.
    pub fn new(limits: ArchiveLimits) -> Self {
        Self {
            limits,
            clients: HashMap::new(),
            running: 0,
        }
    }

    /// A call begins. [`ArchiveLimiter::end`] follows if it was allowed; what it reads is counted by [`ArchiveLimiter::take`].
    ///
    /// # Errors
    /// [`LimitError`]; nothing is counted then.
    pub fn begin(&mut self, address: IpAddr, now: Instant) -> Result<(), LimitError> {
        let limits = self.limits;
        let all = self.running;
        if all >= limits.all_reads_at_once {
            return Err(LimitError::AllAtOnce(all));
        }
        let client = self.client(address, now)?;
        if client.running >= limits.reads_at_once {
            return Err(LimitError::AtOnce(client.running));
        }
        client.running += 1;
        self.running += 1;
        Ok(())
    }

    /// Things that a client may read now.
    pub fn left(&mut self, address: IpAddr, now: Instant) -> usize {
        let limits = self.limits;
        let client = self.client(address, now);
        client.map_or(0, |client| (client.bucket.at(&limits, now) / 1000) as usize)
    }

    /// A thing is read.
    ///
    /// # Errors
    /// [`LimitError::Rate`]; it is not counted then.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), LimitError> {
        let limits = self.limits;
        self.client(address, now)?.bucket.take(1000, &limits, now)
    }

    /// A call that was allowed ended.
    pub fn end(&mut self, address: IpAddr) {
        if let Some(client) = self.clients.get_mut(&network_of(address)) {
            client.running = client.running.saturating_sub(1);
        }
        self.running = self.running.saturating_sub(1);
    }

    fn client(&mut self, address: IpAddr, now: Instant) -> Result<&mut Client, LimitError> {
        let (network, limits) = (network_of(address), self.limits);
        if self.clients.len() >= limits.clients_max && !self.clients.contains_key(&network) {
            // Whoever has a full bucket and reads nothing is as good as new.
            self.clients
                .retain(|_, client| client.running > 0 || client.bucket.at(&limits, now) < limits.full());
            if self.clients.len() >= limits.clients_max {
                return Err(LimitError::Clients(self.clients.len()));
            }
        }
        Ok(self.clients.entry(network).or_insert_with(|| Client {
            running: 0,
            bucket: Bucket {
                content: limits.full(),
                at: now,
            },
        }))
    }
}

impl ArchiveLimits {
    fn full(&self) -> u64 {
        u64::from(self.burst) * 1000
    }
}

impl Bucket {
    /// What is in it at `now`.
    fn at(&self, limits: &ArchiveLimits, now: Instant) -> u64 {
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let added = elapsed_ms.saturating_mul(u64::from(limits.reads_per_second));
        self.content.saturating_add(added).min(limits.full())
    }

    fn take(&mut self, wanted: u64, limits: &ArchiveLimits, now: Instant) -> Result<(), LimitError> {
        let content = self.at(limits, now);
        let per_second = limits.reads_per_second;
        if content < wanted {
            let wait_ms = (wanted - content).div_ceil(u64::from(per_second.max(1)));
            return Err(LimitError::Rate { per_second, wait_ms });
        }
        *self = Self {
            content: content - wanted,
            at: now,
        };
        Ok(())
    }
}

/// The address itself, or the network of 2⁶⁴ addresses that an IPv6 subscriber has.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn limits() -> ArchiveLimits {
        ArchiveLimits {
            reads_at_once: 2,
            all_reads_at_once: 3,
            reads_per_second: 10,
            burst: 20,
            clients_max: 2,
        }
    }

    /// A call that reads `reads` things, or as many of them as it may.
    fn read(limiter: &mut ArchiveLimiter, address: IpAddr, reads: usize, now: Instant) -> Result<usize, LimitError> {
        limiter.begin(address, now)?;
        let read = (0..reads).take_while(|_| limiter.take(address, now).is_ok()).count();
        limiter.end(address);
        Ok(read)
    }

    #[test]
    fn a_client_has_a_number_of_calls_at_a_time_and_others_have_theirs() {
        let now = Instant::now();
        let mut limiter = ArchiveLimiter::new(limits());
        limiter.begin(ALICE, now).unwrap();
        limiter.begin(ALICE, now).unwrap();
        assert_eq!(limiter.begin(ALICE, now), Err(LimitError::AtOnce(2)));
        limiter.begin(BOB, now).unwrap();
        limiter.end(ALICE);
        limiter.begin(ALICE, now).unwrap();
    }

    #[test]
    fn all_clients_together_have_a_number_of_calls_at_a_time() {
        let now = Instant::now();
        let mut limiter = ArchiveLimiter::new(limits());
        limiter.begin(ALICE, now).unwrap();
        limiter.begin(ALICE, now).unwrap();
        limiter.begin(BOB, now).unwrap();
        assert_eq!(limiter.begin(BOB, now), Err(LimitError::AllAtOnce(3)));
        limiter.end(ALICE);
        limiter.begin(BOB, now).unwrap();
    }

    #[test]
    fn after_the_burst_a_client_waits_as_long_as_it_is_told() {
        let now = Instant::now();
        let mut limiter = ArchiveLimiter::new(limits());
        assert_eq!(read(&mut limiter, ALICE, 21, now), Ok(20));
        assert_eq!(limiter.left(ALICE, now), 0);
        assert_eq!(
            limiter.take(ALICE, now),
            Err(LimitError::Rate {
                per_second: 10,
                wait_ms: 100
            })
        );
        assert_eq!(read(&mut limiter, BOB, 20, now), Ok(20));
        limiter.take(ALICE, now + Duration::from_millis(99)).unwrap_err();
        limiter.take(ALICE, now + Duration::from_millis(100)).unwrap();
    }

    #[test]
    fn a_call_that_reads_nothing_and_a_refused_read_are_not_counted() {
        let now = Instant::now();
        let mut limiter = ArchiveLimiter::new(limits());
        for _ in 0..100 {
            assert_eq!(read(&mut limiter, ALICE, 0, now), Ok(0));
        }
        assert_eq!(limiter.left(ALICE, now), 20);
        assert_eq!(read(&mut limiter, ALICE, 30, now), Ok(20));
        assert_eq!(read(&mut limiter, ALICE, 30, now + Duration::from_secs(1)), Ok(10));
    }

    #[test]
    fn a_client_that_has_rested_makes_room_for_another() {
        let now = Instant::now();
        let carol = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
        let mut limiter = ArchiveLimiter::new(limits());
        read(&mut limiter, ALICE, 10, now).unwrap();
        read(&mut limiter, BOB, 20, now).unwrap();
        assert_eq!(read(&mut limiter, carol, 1, now), Err(LimitError::Clients(2)));
        read(&mut limiter, carol, 1, now + Duration::from_secs(1)).unwrap();
        assert!(limiter.clients.contains_key(&BOB), "its bucket is not full yet");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let now = Instant::now();
        let mut limiter = ArchiveLimiter::new(limits());
        read(&mut limiter, "2001:db8::1".parse().unwrap(), 20, now).unwrap();
        assert_eq!(read(&mut limiter, "2001:db8::2".parse().unwrap(), 1, now), Ok(0));
        assert_eq!(read(&mut limiter, "2001:db8:0:1::2".parse().unwrap(), 1, now), Ok(1));
        assert_eq!(network_of("::ffff:192.0.2.1".parse().unwrap()), ALICE);
    }

    proptest! {
        #[test]
        fn nobody_reads_more_than_burst_and_rate_allow(
            calls in proptest::collection::vec((0u64..500, 1usize..30, any::<bool>()), 1..100)
        ) {
            let start = Instant::now();
            let mut limiter = ArchiveLimiter::new(limits());
            let (mut elapsed, mut allowed) = (0, [0u64; 2]);
            for (pause, reads, alice) in calls {
                elapsed += pause;
                let address = if alice { ALICE } else { BOB };
                let read = read(&mut limiter, address, reads, start + Duration::from_millis(elapsed));
                allowed[usize::from(alice)] += read.unwrap_or(0) as u64;
                prop_assert!(limiter.running == 0 && limiter.clients.len() <= 2);
                prop_assert!(allowed.iter().all(|reads| reads * 1000 <= 20_000 + elapsed * 10));
            }
        }
    }
}

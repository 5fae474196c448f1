//! Memory that requests and answers may take, all of them together and those of one client.
//!
//! A request counts as it arrives, an answer while it is collected, both until the last byte of the answer is sent. The
//! first bytes of each request are free, so that small calls go on when large ones have taken everything: there are never
//! more of them than connections, and connections are paid for beforehand. The operator is counted, and never refused.

use crate::limiter::network_of;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Bytes of each request that are not counted with it, but with its connection.
pub(crate) const FREE_BYTES: usize = 16 << 10;
/// One client gets this part of all.
const CLIENT_SHARE: usize = 2;

/// There is no memory left for a request: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory for requests and answers is in use; try again later, or ask for less at a time")]
pub(crate) struct MemoryInUse;

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// What one request has taken; given back with the value.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    client: IpAddr,
    is_operator: bool,
    bytes: Mutex<usize>,
    /// Whether the answer leaves something out that it should have.
    cut: AtomicBool,
}

impl Memory {
    /// Nothing taken.
    pub fn new(max: usize) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { max, taken })
    }

    /// A request of a client begins; it has taken nothing.
    pub fn begin(self: &Arc<Self>, client: IpAddr, is_operator: bool) -> Arc<Held> {
        Arc::new(Held {
            memory: Arc::clone(self),
            client: network_of(client),
            is_operator,
            bytes: Mutex::new(0),
            cut: AtomicBool::new(false),
        })
    }

    /// Bytes that are taken.
    #[cfg(test)]
    fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Held {
    /// Takes more.
    ///
    /// # Errors
    /// [`MemoryInUse`]; nothing is taken then.
    pub fn take(&self, bytes: usize) -> Result<(), MemoryInUse> {
        self.add(bytes, !self.is_operator)
    }

    /// Counts what is there already.
    pub fn count(&self, bytes: usize) {
        // Nothing is refused without a limit.
        let _ = self.add(bytes, false);
    }

    fn add(&self, bytes: usize, limited: bool) -> Result<(), MemoryInUse> {
        let mut held = self.bytes.lock();
        let after = held.saturating_add(bytes);
        let more = counted(after) - counted(*held);
        if more > 0 {
            let mut taken = self.memory.taken.lock();
            let max = self.memory.max;
            let all = taken.all.saturating_add(more);
            let own = taken
                .by_client
                .get(&self.client)
                .copied()
                .unwrap_or(0)
                .saturating_add(more);
            if limited && (all > max || own > max / CLIENT_SHARE) {
                return Err(MemoryInUse);
            }
            taken.all = all;
            taken.by_client.insert(self.client, own);
        }
        *held = after;
        Ok(())
    }

    /// The answer leaves something out.
    pub fn note_cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether the answer leaves something out.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_BYTES)
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = counted(*self.bytes.get_mut());
        if bytes == 0 {
            return;
        }
        let mut taken = self.memory.taken.lock();
        taken.all -= bytes;
        let own = taken.by_client.get_mut(&self.client).expect("what is held was taken");
        *own -= bytes;
        if *own == 0 {
            taken.by_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const CAROL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));
    const MAX: usize = 1 << 20;

    #[test]
    fn a_client_takes_its_share_and_all_take_what_there_is() {
        let memory = Memory::new(MAX);
        let alice = memory.begin(ALICE, false);
        alice.take(FREE_BYTES + MAX / 2).unwrap();
        assert_eq!(alice.take(1), Err(MemoryInUse));
        assert_eq!(memory.begin(ALICE, false).take(FREE_BYTES + 1), Err(MemoryInUse));
        let bob = memory.begin(BOB, false);
        bob.take(FREE_BYTES + MAX / 2).unwrap();
        assert_eq!(memory.begin(CAROL, false).take(FREE_BYTES + 1), Err(MemoryInUse));
        drop(alice);
        memory.begin(CAROL, false).take(FREE_BYTES + 1).unwrap();
        drop(bob);
        assert_eq!(memory.taken(), 0);
        assert!(memory.taken.lock().by_client.is_empty());
    }

    #[test]
    fn small_requests_and_the_operator_are_not_refused() {
        let memory = Memory::new(0);
        let small = memory.begin(ALICE, false);
        small.take(FREE_BYTES).unwrap();
        assert_eq!(memory.taken(), 0);
        assert_eq!(small.take(1), Err(MemoryInUse));
        let operator = memory.begin(ALICE, true);
        operator.take(MAX).unwrap();
        assert_eq!(memory.taken(), MAX - FREE_BYTES);
        drop(operator);
        assert_eq!(memory.taken(), 0);
    }
}

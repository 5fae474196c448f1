//! Requests to the network and their answers, until a deadline.
//!
//! A thin thread-side helper: what is asked and what an answer is worth is decided by its callers.

use crossbeam_channel::bounded;
use massa_distributed_storage_exports::network::{
    Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget, StorageNetwork, StoragePeer,
};
use massa_models::node::NodeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is wanted.
    pub target: FetchTarget,
    /// Whom to ask, in this order.
    pub holders: Vec<NodeId>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was answered.
    Complete,
    /// Nobody who was asked has what is left: what each of them did.
    Failed(Vec<(NodeId, FetchFailure)>),
    /// The deadline came first.
    NoAnswer,
    /// There is nobody to be asked, or the storage handler has too much to do.
    NotAsked,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Complete => f.write_str("answered"),
            Outcome::Failed(attempts) if attempts.is_empty() => f.write_str("nobody has it"),
            Outcome::Failed(attempts) => {
                let said: Vec<String> = attempts
                    .iter()
                    .map(|(node, failure)| format!("{node}: {failure:?}"))
                    .collect();
                f.write_str(&said.join(", "))
            }
            Outcome::NoAnswer => f.write_str("no answer in time"),
            Outcome::NotAsked => f.write_str("nobody could be asked"),
        }
    }
}

/// What readers asked of the network since the node was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskingCosts {
    /// Requests.
    pub requests: u64,
    /// Requests that were put at the same time count once.
    pub round_trips: u64,
    /// Pages that arrived.
    pub pages: u64,
}

/// Asks the network for readers. Their requests have the numbers below those of repair.
pub struct Asking {
    network: Arc<dyn StorageNetwork>,
    own: NodeId,
    requests: AtomicU64,
    round_trips: AtomicU64,
    pages: AtomicU64,
}

impl Asking {
    /// Asks through `network`, never `own`.
    pub fn new(network: Arc<dyn StorageNetwork>, own: NodeId) -> Self {
        Self {
            network,
            own,
            requests: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            pages: AtomicU64::new(0),
        }
    }

    /// The connected peers that speak storage.
    pub fn peers(&self) -> Vec<StoragePeer> {
        self.network.peers()
    }

    /// `node` sent what is proven wrong.
    pub fn quarantine(&self, node: NodeId, reason: &str) {
        self.network.quarantine(node, reason);
    }

    /// What was asked so far.
    pub fn costs(&self) -> AskingCosts {
        AskingCosts {
            requests: self.requests.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            pages: self.pages.load(Ordering::Relaxed),
        }
    }

    /// Puts all requests at once and gives each event to `on_event` with the index of its request, until all are answered
    /// or the deadline is there. What became of each, in order.
    pub fn ask(
        &self,
        requests: &[Request],
        priority: FetchPriority,
        deadline: Instant,
        mut on_event: impl FnMut(usize, FetchEvent),
    ) -> Vec<Outcome> {
        let answers: usize = requests.iter().map(|request| answers_max(&request.target)).sum();
        let (reply, events) = bounded(answers.max(1));
        let mut outcomes = vec![Outcome::NotAsked; requests.len()];
        let mut open: HashMap<u64, usize> = HashMap::new();
        for (index, request) in requests.iter().enumerate() {
            let mut holders = request.holders.clone();
            holders.retain(|node| *node != self.own);
            if holders.is_empty() {
                continue;
            }
            let fetch = Fetch {
                id: self.requests.fetch_add(1, Ordering::Relaxed) + 1,
                target: request.target.clone(),
                holders,
                priority,
                reply: reply.clone(),
            };
            let id = fetch.id;
            if self.network.fetch(fetch).is_ok() {
                open.insert(id, index);
                outcomes[index] = Outcome::NoAnswer;
            }
        }
        drop(reply);
        self.round_trips
            .fetch_add(u64::from(!open.is_empty()), Ordering::Relaxed);
        while !open.is_empty() {
            let Ok(event) = events.recv_deadline(deadline) else {
                break;
            };
            let Some(index) = open.get(&number_of(&event)).copied() else {
                continue;
            };
            match event {
                FetchEvent::Complete { id } => {
                    open.remove(&id);
                    outcomes[index] = Outcome::Complete;
                }
                FetchEvent::Failed { id, attempts } => {
                    open.remove(&id);
                    outcomes[index] = Outcome::Failed(attempts);
                }
                event => {
                    let is_page = matches!(event, FetchEvent::Page { .. });
                    self.pages.fetch_add(u64::from(is_page), Ordering::Relaxed);
                    on_event(index, event);
                }
            }
        }
        outcomes
    }
}

/// Events that a request can have, its end included.
fn answers_max(target: &FetchTarget) -> usize {
    1 + match target {
        FetchTarget::Tables { count, .. } | FetchTarget::Entries { count, .. } | FetchTarget::Held { count, .. } => {
            *count as usize
        }
        FetchTarget::Pages { pages, .. } => pages.len(),
        FetchTarget::Block { .. } | FetchTarget::Locate { .. } | FetchTarget::SumPath { .. } => 1,
    }
}

fn number_of(event: &FetchEvent) -> u64 {
    match event {
        FetchEvent::Tables { id, .. }
        | FetchEvent::Entries { id, .. }
        | FetchEvent::Block { id, .. }
        | FetchEvent::Page { id, .. }
        | FetchEvent::Held { id, .. }
        | FetchEvent::Located { id, .. }
        | FetchEvent::SumPath { id, .. }
        | FetchEvent::Complete { id }
        | FetchEvent::Failed { id, .. } => *id,
    }
}

//! Asks other nodes for their ways to their claims, and hands in what they answered.

use super::Worker;
use crate::challenge::sums::SumPath;
use crate::rounds::decide::Settings;
use crate::rounds::witnesses::{Heard, PathAnswer, PathRequest, REQUESTS_MAX};
use crossbeam_channel::{bounded, Receiver, Sender};
use massa_distributed_storage_exports::network::{
    Answer, Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget, StorageNetwork,
};
use massa_models::node::NodeId;
use std::sync::Arc;
use std::time::Instant;

/// The network, once it is there.
pub type NetworkNow = Box<dyn Fn() -> Option<Arc<dyn StorageNetwork>> + Send>;

/// Answers that wait: two for each request, and those of requests whose deadline was earlier here.
const ANSWERS_MAX: usize = REQUESTS_MAX * 4;

/// Where answers arrive.
pub(super) struct Answers {
    reply: Sender<FetchEvent>,
    events: Receiver<FetchEvent>,
}

impl Default for Answers {
    fn default() -> Self {
        let (reply, events) = bounded(ANSWERS_MAX);
        Self { reply, events }
    }
}

impl Worker {
    /// Takes in what nodes answered, and asks the next ones. Once enough have shown that they claim a chunk, what can be refuted is
    /// looked at again at once.
    pub(super) fn ask_witnesses(&mut self, settings: &Settings) {
        // Who is not registered refutes nothing.
        let read = self.read.as_ref().filter(|read| read.snapshot.node.is_some());
        let Some((times, period)) = read.map(|read| (read.times, read.snapshot.period)) else {
            return;
        };
        let now = Instant::now();
        let mut is_shown = false;
        while let Ok(event) = self.answers.events.try_recv() {
            is_shown |= self.on_event(event, now);
        }
        for request in self.watch.requests(now, (period, settings.lead_periods), times) {
            is_shown |= self.ask_for_path(settings, request, now);
        }
        if is_shown {
            if let Some(mut read) = self.read.take() {
                self.read_nodes(settings, &mut read);
                self.read = Some(read);
            }
        }
    }

    /// Whether another node has shown that it claims a chunk.
    fn on_event(&mut self, event: FetchEvent, now: Instant) -> bool {
        match event {
            FetchEvent::SumPath { id, from, path } => {
                let answer = SumPath::from_bytes(&path).map_or(PathAnswer::NotClaimed, PathAnswer::Path);
                self.on_path_answer(id, answer, Some(from), now)
            }
            FetchEvent::Failed { id, attempts } => {
                let answer = match attempts.first() {
                    None => PathAnswer::NotAsked,
                    Some((_, FetchFailure::NotHeld | FetchFailure::Pruned)) => PathAnswer::NotClaimed,
                    Some(_) => PathAnswer::Silent,
                };
                self.on_path_answer(id, answer, None, now)
            }
            _ => false,
        }
    }

    fn on_path_answer(&mut self, id: u64, answer: PathAnswer, from: Option<NodeId>, now: Instant) -> bool {
        let heard = self.watch.on_answer(id, answer, now);
        if let (Heard::Wrong, Some(from), Some(network)) = (heard, from, (self.parts.network)()) {
            network.quarantine(from, "a sum path that does not end in its claim");
        }
        heard == Heard::Shown
    }

    /// Asks one node, which may be this one: then it has the answer already.
    fn ask_for_path(&mut self, settings: &Settings, request: PathRequest, now: Instant) -> bool {
        if request.witness == settings.node {
            let answer = match self.shared.sum_path(request.round, request.position) {
                Answer::Found(path) => PathAnswer::Path(path),
                Answer::NotYet => PathAnswer::Silent,
                Answer::NotHeld | Answer::Pruned => PathAnswer::NotClaimed,
            };
            return self.on_path_answer(request.id, answer, None, now);
        }
        // Who has not said who it is among peers cannot be asked.
        let Some(node) = self.watch.peer(&request.witness) else {
            return self.on_path_answer(request.id, PathAnswer::NotClaimed, None, now);
        };
        let fetch = Fetch {
            id: request.id,
            target: FetchTarget::SumPath {
                round: request.round,
                position: request.position,
            },
            holders: vec![node],
            priority: FetchPriority::Repair,
            reply: self.answers.reply.clone(),
        };
        if (self.parts.network)().map_or(true, |network| network.fetch(fetch).is_err()) {
            return self.on_path_answer(request.id, PathAnswer::NotAsked, None, now);
        }
        false
    }
}

//! The thread that audits: it carries out what [`AuditPlan`] decides, keeps the history, and says what it found.
//!
//! Reads the store, asks the network, writes the challenge history and nothing else. A node that failed is named in the log
//! and in the history; it is not quarantined, asked less or assigned less.

use super::challenge::object_ends;
use super::history::rows::{read_history, write_result};
use super::history::{AuditHistory, AuditOutcome, AuditResult};
use super::plan::{choose_chunk, AuditAction, AuditLimits, AuditPlan, AuditTarget, AuditView, IssueError};
use crate::repair::assigned::SharedAssigned;
use crate::storage_backend::{SegmentStore, StoreError};
use crossbeam_channel::{bounded, never, select, Receiver, Sender};
use massa_distributed_storage_exports::network::{Challenge, ChallengeEvent, HeldRange, StorageNetwork};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use massa_time::MassaTime;
use parking_lot::Mutex;
use rand_chacha::ChaCha20Rng;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Events of the network that may wait: more than challenges can be under way.
const EVENTS_MAX: usize = 64;
/// Requests of operators that may wait.
const COMMANDS_MAX: usize = 8;
/// How often the plan is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long an operator's request waits for the thread.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A challenge that an operator asks for.
struct Issue {
    node: NodeId,
    position: ChunkPosition,
    chunk: TableChunk,
    reply: Sender<Result<ChallengeId, IssueError>>,
}

/// The last period that joined the archive, if one did.
pub type NewestPeriod = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What audits work with.
pub struct AuditParts {
    /// This node.
    pub own: NodeId,
    /// Tables; the history is written here.
    pub store: Arc<SegmentStore>,
    /// Who holds what.
    pub assigned: SharedAssigned,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Limits.
    pub limits: AuditLimits,
    /// What tells the time of audits by schedule.
    pub newest: NewestPeriod,
    /// Random; nobody else may know it.
    pub seed: [u8; 32],
}

/// Why nobody is audited.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartAuditsError {
    /// The history cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system starts no thread.
    #[error("thread storage-audit: {0}")]
    Thread(#[from] io::Error),
}

/// Asks for audits and looks at what came of them.
#[derive(Clone)]
pub struct AuditHandle {
    issues: Sender<Issue>,
    history: Arc<Mutex<AuditHistory>>,
    response_timeout: Duration,
}

impl AuditHandle {
    /// Puts a challenge by hand. Its result is in the history, under the id returned, after
    /// [`AuditHandle::response_timeout`] at the latest.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, node: NodeId, position: ChunkPosition, chunk: TableChunk) -> Result<ChallengeId, IssueError> {
        let (reply, answer) = bounded(1);
        let issue = Issue {
            node,
            position,
            chunk,
            reply,
        };
        let sent = self.issues.send_timeout(issue, COMMAND_TIMEOUT);
        sent.map_err(|_| IssueError::Stopped)?;
        answer.recv_timeout(COMMAND_TIMEOUT).map_err(|_| IssueError::Stopped)?
    }

    /// Looks at the history.
    pub fn with_history<T>(&self, look: impl FnOnce(&AuditHistory) -> T) -> T {
        look(&self.history.lock())
    }

    /// How long a challenge takes at most.
    pub fn response_timeout(&self) -> Duration {
        self.response_timeout
    }
}

/// Stops audits.
pub struct AuditManager {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl AuditManager {
    /// Ends the thread. Audits under way have no result.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.stop.try_send(());
            if thread.join().is_err() {
                warn!("storage audits panicked");
            }
        }
    }
}

impl Drop for AuditManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread.
///
/// # Errors
/// [`StartAuditsError`].
pub fn start_audits(parts: AuditParts) -> Result<(AuditManager, AuditHandle), StartAuditsError> {
    let (stop, stopped) = bounded(1);
    let (issues, issued) = bounded(COMMANDS_MAX);
    let (reply, events) = bounded(EVENTS_MAX);
    let history = Arc::new(Mutex::new(AuditHistory::new(read_history(&parts.store)?)));
    let handle = AuditHandle {
        issues,
        history: Arc::clone(&history),
        response_timeout: parts.limits.response_timeout,
    };
    let chain_id = parts.store.parameters().chain_id;
    let mut audits = Audits {
        plan: AuditPlan::new(parts.limits, chain_id, parts.own, parts.seed),
        history,
        reply,
        parts,
    };
    let thread = std::thread::Builder::new()
        .name("storage-audit".into())
        .spawn(move || audits.run(&stopped, issued, &events))?;
    let manager = AuditManager {
        stop,
        thread: Some(thread),
    };
    Ok((manager, handle))
}

struct Audits {
    parts: AuditParts,
    plan: AuditPlan,
    history: Arc<Mutex<AuditHistory>>,
    reply: Sender<ChallengeEvent>,
}

impl Audits {
    fn run(&mut self, stopped: &Receiver<()>, mut issues: Receiver<Issue>, events: &Receiver<ChallengeEvent>) {
        let mut next_tick = Instant::now();
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            select! {
                recv(stopped) -> _ => return,
                recv(issues) -> issue => match issue {
                    Ok(issue) => self.on_issue(&issue),
                    // Nobody is left to ask for one.
                    Err(_) => issues = never(),
                },
                recv(events) -> event => if let Ok(event) = event { self.on_event(event) },
                default(patience) => {}
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        let actions = self.with_view(|plan, view| plan.on_tick(view));
        self.carry_out(actions);
        let Some(newest) = (self.parts.newest)() else {
            return;
        };
        // Who is cut off himself blames nobody for not answering.
        if self.plan.is_due(newest) && !self.parts.network.peers().is_empty() {
            let nodes = self.nodes();
            let actions = self.with_view(|plan, view| plan.begin_one(&nodes, view));
            self.issued(&actions);
            self.carry_out(actions);
        }
    }

    /// Nodes that are assigned something and can be asked.
    fn nodes(&self) -> Vec<NodeId> {
        let assigned = self.parts.assigned.read();
        let nodes = assigned.placement().nodes().nodes.nodes().iter();
        let with_weight = nodes.filter(|node| node.allocated_storage_gb > 0);
        with_weight.filter_map(|node| node.node_id).collect()
    }

    fn on_event(&mut self, event: ChallengeEvent) {
        debug!(id = event.id, peer = %event.node, failure = ?event.answer.as_ref().err(), "challenge over");
        let actions = self.with_view(|plan, view| plan.on_event(event, view));
        self.carry_out(actions);
    }

    fn on_issue(&mut self, issue: &Issue) {
        let target = AuditTarget {
            node: issue.node,
            position: issue.position,
            chunk: issue.chunk,
            assigned: self.parts.should_hold(&issue.node, issue.position, &issue.chunk),
        };
        let last = self.history.lock().last_by_hand(&issue.node);
        let begun = self.with_view(|plan, view| plan.begin_by_hand(target, last, view));
        let answer = begun.map(|(id, action)| {
            self.issued(std::slice::from_ref(&action));
            self.carry_out(vec![action]);
            id
        });
        // Who asked may have given up.
        let _ = issue.reply.try_send(answer);
    }

    fn with_view<T>(&mut self, decide: impl FnOnce(&mut AuditPlan, &AuditView<'_>) -> T) -> T {
        let parts = &self.parts;
        let choose = |node: &NodeId, random: &mut ChaCha20Rng| parts.choose_target(node, random);
        let ends = |position, page| object_ends(&parts.store, position, page);
        let view = AuditView {
            now: Instant::now(),
            at: MassaTime::now(),
            choose: &choose,
            ends: &ends,
        };
        decide(&mut self.plan, &view)
    }

    fn issued(&self, actions: &[AuditAction]) {
        for action in actions {
            if let AuditAction::Ask { node, challenge, .. } = action {
                info!("Challenge issued to {node} for chunk {}", challenge.chunk_id);
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<AuditAction>) {
        for action in actions {
            match action {
                AuditAction::Ask {
                    id,
                    node,
                    challenge,
                    timeout,
                } => {
                    let reply = self.reply.clone();
                    let challenge = Challenge {
                        id,
                        node,
                        challenge,
                        timeout,
                        reply,
                    };
                    if self.parts.network.challenge(challenge).is_err() {
                        self.plan.on_not_asked(id, Instant::now());
                    }
                }
                AuditAction::Done(result) => self.on_result(result),
            }
        }
    }

    fn on_result(&mut self, result: AuditResult) {
        say(&result);
        let mut history = self.history.lock();
        let change = history.push(result);
        let node = history.node(&change.result.node);
        drop(history);
        if let Some(node) = node.filter(|_| change.result.counts()) {
            info!("Success rate updated: {} = {}%", node.node, node.success_percent());
        }
        if let Err(error) = write_result(&self.parts.store, &change) {
            warn!(
                error = &error as &dyn std::error::Error,
                "result of an audit not stored"
            );
        }
    }
}

/// Says what came of an audit.
fn say(result: &AuditResult) {
    let (node, chunk_id) = (result.node, result.chunk_id);
    let (elapsed_ms, round_trip_ms) = (result.elapsed_ms, result.round_trip_ms);
    match &result.outcome {
        AuditOutcome::Passed => info!("Proof received from {node} - VALID"),
        AuditOutcome::Slow => {
            info!("Proof received from {node} - VALID");
            let why = "storage node answers audits as late as one that fetches what it is asked for";
            warn!(%node, elapsed_ms, round_trip_ms, "{why}");
        }
        AuditOutcome::Wrong(reason) => {
            warn!("Proof received from {node} - INVALID: {reason}");
            warn!(%node, %chunk_id, "storage node failed an audit: its proof is wrong");
        }
        AuditOutcome::NotHeld if !result.assigned => {
            info!(%node, %chunk_id, "storage node does not hold the chunk, which is not assigned to it");
        }
        AuditOutcome::NotHeld => warn!(%node, %chunk_id, "storage node failed an audit: it does not hold the chunk"),
        AuditOutcome::Unanswered(reason) => warn!(%node, %chunk_id, reason, "storage node failed an audit: no answer"),
    }
}

impl AuditParts {
    /// A chunk of a closed segment that a node should hold. Where it says of which segments it holds all that is assigned to it, one of those:
    /// what it is still fetching is not held against it.
    fn choose_target(&self, node: &NodeId, random: &mut ChaCha20Rng) -> Option<AuditTarget> {
        let first = self.store.floor().max(self.store.parameters().first_segment());
        let last = self.store.last_segment().ok()??;
        let peers = self.network.peers();
        let peer = peers.into_iter().find(|peer| peer.node == *node);
        let said = peer.and_then(|peer| peer.capabilities);
        let ranges = said.map(|said| said.ranges).unwrap_or_default();
        let clip = |range: &HeldRange| HeldRange {
            first_segment: range.first_segment.max(first),
            last_segment: range.last_segment.min(last),
        };
        let mut segments: Vec<HeldRange> = ranges
            .iter()
            .map(clip)
            .filter(|range| range.first_segment <= range.last_segment)
            .collect();
        if segments.is_empty() && first <= last {
            segments.push(HeldRange {
                first_segment: first,
                last_segment: last,
            });
        }
        let position = choose_chunk(random, &segments, &|segment| self.chunks_of(node, segment))?;
        let table = self.store.table(position.segment).ok()??;
        Some(AuditTarget {
            node: *node,
            position,
            chunk: table.chunk(position.index.0)?,
            assigned: true,
        })
    }

    /// Chunks of a segment that are settled to be for a node to hold, from memory.
    fn chunks_of(&self, node: &NodeId, segment: u64) -> Vec<u32> {
        let assigned = self.assigned.read();
        let placement = assigned.placement();
        let nodes = placement.nodes().nodes.nodes();
        let is_node = |index: &usize| nodes.get(*index).is_some_and(|known| known.node_id == Some(*node));
        let holders = |index| placement.counting_holders(ChunkPosition::new(segment, index)?);
        let chunks = (0..).map_while(|index| Some((index, holders(index)?)));
        let held = chunks.filter(|(_, holders)| holders.iter().any(&is_node));
        held.map(|(index, _)| index).collect()
    }

    fn should_hold(&self, node: &NodeId, position: ChunkPosition, chunk: &TableChunk) -> bool {
        let assigned = self.assigned.read();
        assigned.holders(position, &chunk.id).contains(node)
    }
}

//! The thread that audits: it carries out what [`AuditPlan`] decides, keeps the history, and says what it found.
//!
//! Reads the store, asks the network, writes the challenge history and nothing else. A node that failed is named in the log
//! and in the history; it is not quarantined, asked less or assigned less.

use crate::assignments::Assignments;
use crate::audit::history::{AuditHistory, AuditOutcome, AuditResult};
use crate::audit::plan::{choose_chunk, AuditAction, AuditLimits, AuditPlan, AuditTarget, AuditView, IssueError};
use crate::rounds::timing::AnswerWindow;
use crate::storage_backend::read::ReadError;
use crate::storage_backend::Store;
use crossbeam_channel::{bounded, select, Receiver, Sender};
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::{Challenge, ChallengeEvent, StorageNetwork};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::node::NodeId;
use massa_time::MassaTime;
use parking_lot::Mutex;
use rand_chacha::ChaCha20Rng;
use std::ops::RangeInclusive;
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
    period: u64,
    chunk: ChunkIndex,
    entry: ChunkEntry,
    reply: Sender<Result<ChallengeId, IssueError>>,
}

/// Tells whether some peer may take it that answers of a round are being taken.
pub type WindowOfAnswers = Arc<dyn Fn() -> Option<AnswerWindow> + Send + Sync>;

/// What audits work with.
pub struct AuditParts {
    /// Manifests; the history is written here.
    pub store: Arc<Store>,
    /// Who holds what.
    pub assignments: Arc<Assignments>,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Limits.
    pub limits: AuditLimits,
    /// Tells whether answers of a round are being taken.
    pub window: WindowOfAnswers,
    /// Random; nobody else may know it.
    pub seed: [u8; 32],
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
    pub fn issue(
        &self,
        node: NodeId,
        period: u64,
        chunk: ChunkIndex,
        entry: ChunkEntry,
    ) -> Result<ChallengeId, IssueError> {
        let (reply, answer) = bounded(1);
        let issue = Issue {
            node,
            period,
            chunk,
            entry,
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
    handle: AuditHandle,
    thread: Option<JoinHandle<()>>,
}

impl AuditManager {
    /// A way to ask for audits from elsewhere.
    pub fn handle(&self) -> AuditHandle {
        self.handle.clone()
    }

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
/// [`ReadError`] when the history cannot be read.
pub fn start_audits(parts: AuditParts) -> Result<AuditManager, ReadError> {
    let (stop, stopped) = bounded(1);
    let (issues, issued) = bounded(COMMANDS_MAX);
    let (reply, events) = bounded(EVENTS_MAX);
    let history = Arc::new(Mutex::new(AuditHistory::new(parts.store.challenge_history()?)));
    let handle = AuditHandle {
        issues,
        history: Arc::clone(&history),
        response_timeout: parts.limits.response_timeout,
    };
    let (chain_id, own) = (parts.store.parameters().chain_id, parts.assignments.own());
    let mut audits = Audits {
        plan: AuditPlan::new(parts.limits, chain_id, own, parts.seed),
        history,
        reply,
        parts,
    };
    let thread = std::thread::Builder::new()
        .name("storage-audit".into())
        .spawn(move || audits.run(&stopped, &issued, &events))
        .expect("the system can start a thread");
    Ok(AuditManager {
        stop,
        handle,
        thread: Some(thread),
    })
}

struct Audits {
    parts: AuditParts,
    plan: AuditPlan,
    history: Arc<Mutex<AuditHistory>>,
    reply: Sender<ChallengeEvent>,
}

impl Audits {
    fn run(&mut self, stopped: &Receiver<()>, issues: &Receiver<Issue>, events: &Receiver<ChallengeEvent>) {
        let mut next_tick = Instant::now();
        let mut last_handle_gone = false;
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            if last_handle_gone {
                select! {
                    recv(stopped) -> _ => return,
                    recv(events) -> event => if let Ok(event) = event { self.on_event(event) },
                    default(patience) => {}
                }
            } else {
                select! {
                    recv(stopped) -> _ => return,
                    recv(issues) -> issue => match issue {
                        Ok(issue) => self.on_issue(&issue),
                        Err(_) => last_handle_gone = true,
                    },
                    recv(events) -> event => if let Ok(event) = event { self.on_event(event) },
                    default(patience) => {}
                }
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
        let Ok(Some(last)) = self.parts.store.last_period() else {
            return;
        };
        // Who is cut off himself blames nobody for not answering.
        if self.plan.is_due(last, (self.parts.window)()) && !self.parts.network.peers().is_empty() {
            let nodes = self.parts.assignments.nodes();
            let with_weight = nodes.nodes().iter().filter(|node| node.allocated_storage_gb > 0);
            let nodes: Vec<NodeId> = with_weight.filter_map(|node| node.node_id).collect();
            let actions = self.with_view(|plan, view| plan.begin_one(&nodes, view));
            self.issued(&actions);
            self.carry_out(actions);
        }
    }

    fn on_event(&mut self, event: ChallengeEvent) {
        debug!(id = event.id, peer = %event.node, failure = ?event.answer.as_ref().err(), "challenge over");
        let actions = self.with_view(|plan, view| plan.on_event(event, view));
        self.carry_out(actions);
    }

    fn on_issue(&mut self, issue: &Issue) {
        let Issue {
            node,
            period,
            chunk,
            entry,
            ..
        } = *issue;
        let holders = self.holders(period);
        let assigned = holders
            .get(chunk.0 as usize)
            .is_some_and(|(_, nodes)| nodes.contains(&node));
        let target = AuditTarget {
            node,
            period,
            chunk,
            entry,
            assigned,
        };
        let last = self.history.lock().last_by_hand(&node);
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
        let choose = |node: &NodeId, random: &mut ChaCha20Rng| choose_target(parts, node, random);
        let view = AuditView {
            now: Instant::now(),
            at: MassaTime::now(),
            window: (parts.window)(),
            choose: &choose,
        };
        decide(&mut self.plan, &view)
    }

    fn holders(&self, period: u64) -> Vec<(ChunkEntry, Vec<NodeId>)> {
        holders_of(&self.parts, period)
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
        if let Err(error) = self.parts.store.put_challenge_result(&change) {
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
        AuditOutcome::GivenUp => info!(%node, %chunk_id, "audit given up: answers of a round are taken"),
    }
}

/// A chunk that a node should hold. Where it says of which periods it holds all that is assigned to it, one of those: what it
/// is still fetching is not held against it.
fn choose_target(parts: &AuditParts, node: &NodeId, random: &mut ChaCha20Rng) -> Option<AuditTarget> {
    let first = parts.store.floor().max(parts.store.parameters().first_period);
    let last = parts.store.last_period().ok()??;
    let peers = parts.network.peers();
    let said = peers
        .into_iter()
        .find(|peer| peer.node == *node)
        .and_then(|peer| peer.capabilities);
    let ranges = said.map(|said| said.ranges).unwrap_or_default();
    let clip = |from: u64, to: u64| from.max(first)..=to.min(last);
    let mut periods: Vec<RangeInclusive<u64>> = ranges
        .iter()
        .map(|range| clip(range.first_period, range.last_period))
        .filter(|range| !range.is_empty())
        .collect();
    if periods.is_empty() && first <= last {
        periods.push(first..=last);
    }
    choose_chunk(random, node, &periods, &|period| holders_of(parts, period))
}

/// Chunks of a period and who holds each.
fn holders_of(parts: &AuditParts, period: u64) -> Vec<(ChunkEntry, Vec<NodeId>)> {
    let Ok(Some(manifest)) = parts.store.manifest(period) else {
        return Vec::new();
    };
    let holders = parts.assignments.holders(period, &manifest.chunks);
    manifest.chunks.into_iter().zip(holders).collect()
}

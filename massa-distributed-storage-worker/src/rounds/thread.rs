//! This node's part in the rounds of proofs, on a thread: reads the registry's final state, asks [`crate::rounds::decide()`] what
//! to send, completes it from the store, and orders it from the registry client.
//!
//! Started by the node once a registry may be followed. What was claimed and earned is in the store, so that a restarted node
//! answers its draws.

mod handle;
mod notes;
mod orders;
mod witnesses;

pub use handle::{ClaimedNow, RoundHandle, RoundStatus};
pub use notes::{NOT_REGISTERED, NO_PLACEMENT_KEY};
pub use witnesses::NetworkNow;

use self::handle::Shared;
use self::notes::{note_text, why_unclaimed};
use self::orders::Ordered;
use self::witnesses::Answers;
use super::claims::keeper::ClaimKeeper;
use super::claims::{Claims, Found};
use super::decide::{
    claimable_now, decide, Claimable, Decision, EarlierHistory, FoundRefutation, Local, Note, Sent, Settings, Snapshot,
};
use super::earnings::Earnings;
use super::settlement::settled;
use super::snapshot::{whole_period, SnapshotReader};
use super::timing::{closing_rank, earlier_turn, RoundTimes};
use super::watch::{FinalContent, Watch, Watched};
use crate::board::{FinalRounds, SegmentBoard};
use crate::challenge::draw::RoundContext;
use crate::repair::assigned::SharedAssigned;
use crate::smart_contract::client::ClientHandle;
use crate::smart_contract::state::NodeRecord;
use crate::smart_contract::storage_registry::ROOT_VOTES_MAX;
use crate::storage_backend::{EntryRead, SegmentState, SegmentStore};
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use massa_distributed_storage_exports::registry::StorageRegistry;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{info, warn};

/// How often the registry is looked at.
const TICK: Duration = Duration::from_millis(500);
/// The same while segments or answers wait to be looked at.
const BUSY_TICK: Duration = Duration::from_millis(25);
/// Periods of final blocks that are read in a tick.
const PERIODS_READ: usize = 16;

/// Final blocks of a period, one for each thread, `None` for a miss; nothing while one of the slots is not final, or once the
/// period is forgotten.
pub type FinalBlocks = Box<dyn Fn(u64) -> Option<Vec<Option<FinalContent>>> + Send>;

/// What the part in the rounds is made of.
pub struct RoundParts {
    /// Read; written are rows of this node's own only.
    pub store: Arc<SegmentStore>,
    /// What is assigned to whom.
    pub assigned: SharedAssigned,
    /// The client of the registry.
    pub client: ClientHandle,
    /// Whom witnesses against false claims are asked through.
    pub network: NetworkNow,
    /// Recent final blocks. Older ones are taken from the archive.
    pub final_blocks: FinalBlocks,
    /// [`Settings::auto_claim_fees`].
    pub auto_claim_fees: Option<u64>,
    /// Periods between final state and the execution of what is sent: [`Settings::lead_periods`].
    pub lead_periods: u64,
    /// Where final state is told; and where repair tells what it would vote, and what is assigned otherwise than before.
    pub board: Arc<SegmentBoard>,
}

/// Stops this node's part.
pub struct RoundManager {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RoundManager {
    /// Ends the thread.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                warn!("the thread of the rounds ended in a panic");
            }
        }
    }
}

impl Drop for RoundManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why this node's part in the rounds does not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartRoundsError {
    /// What was claimed and earned cannot be read.
    #[error("claims and earnings in {}: {source}", path.display())]
    Rows {
        /// The directory of the store.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system starts no thread.
    #[error("thread storage-rounds: {0}")]
    Thread(#[source] std::io::Error),
}

/// Starts this node's part in the rounds. Without an operator in the client it only looks on.
///
/// # Errors
/// [`StartRoundsError`].
pub fn start_rounds(parts: RoundParts) -> Result<(RoundManager, RoundHandle), StartRoundsError> {
    let rows_error = |source: Box<dyn std::error::Error + Send + Sync>| StartRoundsError::Rows {
        path: parts.store.database().path().to_path_buf(),
        source,
    };
    let (claims, found) = Claims::open(Arc::clone(&parts.store)).map_err(|error| rows_error(error.into()))?;
    let earnings = Earnings::read(&parts.store).map_err(|error| rows_error(error.into()))?;
    let shared = Arc::new(Shared {
        claims: Arc::new(claims),
        status: Default::default(),
        earnings: earnings.into(),
        committed: Default::default(),
    });
    let worker = Worker::new(Arc::clone(&shared), parts, found);
    let (stop, stopped) = bounded(0);
    let thread = std::thread::Builder::new()
        .name("storage-rounds".into())
        .spawn(move || worker.run(&stopped))
        .map_err(StartRoundsError::Thread)?;
    let manager = RoundManager {
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((manager, RoundHandle(shared)))
}

/// What is read once for each final period.
struct Read {
    snapshot: Snapshot,
    times: RoundTimes,
    own_roots: BTreeMap<u64, SegmentRoot>,
    last_closed: Option<u64>,
    closing_ranks: BTreeMap<u64, u64>,
    refutations: Vec<FoundRefutation>,
    earlier: Option<EarlierHistory>,
}

struct Worker {
    shared: Arc<Shared>,
    parts: RoundParts,
    keeper: ClaimKeeper,
    reader: Option<SnapshotReader>,
    read: Option<Read>,
    /// Of the round beside it.
    beacon: Option<(u64, Digest)>,
    watch: Watch,
    /// What witnesses answered.
    answers: Answers,
    ordered: Vec<Ordered>,
    /// Notes of the last decision that were logged.
    said: Vec<String>,
    /// The next round of the last decision, and why nothing is claimed for it, if nothing is.
    unclaimed: Option<(u64, String)>,
    /// The same of the round that is open now, as it was when that opened.
    unclaimed_open: Option<(u64, String)>,
    /// The claim for the next round could not be brought up to date.
    is_stuck: bool,
}

impl Worker {
    fn new(shared: Arc<Shared>, parts: RoundParts, found: Found) -> Self {
        let claims = (Arc::clone(&shared.claims), found);
        Self {
            keeper: ClaimKeeper::new(Arc::clone(&parts.store), Arc::clone(&parts.assigned), claims),
            shared,
            parts,
            reader: None,
            read: None,
            beacon: None,
            watch: Watch::default(),
            answers: Answers::default(),
            ordered: Vec::new(),
            said: Vec::new(),
            unclaimed: None,
            unclaimed_open: None,
            is_stuck: false,
        }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            self.keep_claim();
            self.tick();
            let is_busy = (!self.keeper.is_settled() && !self.is_stuck) || self.watch.waiting() > 0;
            match stopped.recv_timeout(if is_busy { BUSY_TICK } else { TICK }) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Brings the claim for the next round on by a slice.
    fn keep_claim(&mut self) {
        self.keeper.note(self.parts.board.take_changed());
        let stepped = self.keeper.step();
        let was_stuck = std::mem::replace(&mut self.is_stuck, stepped.is_err());
        if let Err(error) = stepped {
            if !was_stuck {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the claim for the next round is not brought up to date"
                );
            }
        }
    }

    fn tick(&mut self) {
        let Some(registry) = self.parts.client.nodes().address() else {
            return;
        };
        let settings = self.settings(registry);
        if self.see_final_state(&settings).is_none() {
            return;
        }
        self.take_outcomes(settings.fee);
        self.watch_others(&settings);
        self.ask_witnesses(&settings);
        let Some(read) = self.read.take() else { return };
        let local = self.local(&settings, &read);
        let sent: Vec<Sent> = self.ordered.iter().map(|ordered| ordered.sent.clone()).collect();
        let decision = decide(&settings, &read.snapshot, &local, &sent);
        self.tell(&read, &decision);
        let open_round = read.times.round;
        self.read = Some(read);
        for (action, until) in decision.actions {
            self.order(&settings.node, action, until, open_round);
        }
        self.write_earnings();
    }

    fn settings(&self, registry: Address) -> Settings {
        let client = &self.parts.client;
        let limits = client.host().limits();
        Settings {
            chain_id: limits.chain_id,
            registry,
            // Who only looks on has nobody's record, and decides nothing.
            node: client.operator().unwrap_or(registry),
            lead_periods: self.parts.lead_periods,
            validity_periods: limits.validity_periods,
            auto_claim_fees: self.parts.auto_claim_fees,
            fee: limits.minimal_fee,
        }
    }

    /// Reads the registry's rows if another period is final than the last time, and what follows from them. `None` while there is
    /// nothing to decide on.
    fn see_final_state(&mut self, settings: &Settings) -> Option<()> {
        let host = Arc::clone(self.parts.client.host());
        let period = whole_period(host.final_slot(), self.parts.store.parameters().thread_count)?;
        if self.read.as_ref().is_some_and(|read| read.snapshot.period == period) {
            return Some(());
        }
        let reader = self
            .reader
            .get_or_insert_with(|| SnapshotReader::new(settings.registry, settings.node));
        let snapshot = reader.read(&*host, period)?;
        let times = RoundTimes::of_period(period, snapshot.config.round_periods());
        self.parts.board.set_final(FinalRounds {
            period,
            round_periods: times.periods,
            accepted: Arc::clone(&snapshot.accepted_roots),
        });
        self.shared.set_committed(snapshot.node.as_ref());
        self.keeper.set_accepted(&snapshot.accepted_roots);
        let segment_periods = snapshot.config.next.challenge_frequency_periods.max(1);
        self.keeper
            .set_last_needed(times.next().last_period() / segment_periods);
        if let Some(max_leaves) = claimable_now(settings, &snapshot) {
            self.keeper.set_max_leaves(max_leaves);
        }
        // What was accepted since is claimed with the next operation, which may be decided on in a moment.
        self.keep_claim();
        self.see_earnings(&snapshot, times.periods);
        self.forget_before(times.round);
        let (own_roots, last_closed) = self.own_roots(snapshot.state.next_segment);
        let mut read = Read {
            snapshot,
            times,
            own_roots,
            last_closed,
            closing_ranks: BTreeMap::new(),
            refutations: Vec::new(),
            earlier: None,
        };
        read.earlier = self.earlier(settings, &read);
        self.read_nodes(settings, &mut read);
        self.read = Some(read);
        Some(())
    }

    fn forget_before(&mut self, round: u64) {
        self.forget_ordered(round);
        if let Err(error) = self.shared.claims.forget_before(round.saturating_sub(1)) {
            warn!(
                error = &error as &dyn std::error::Error,
                "claims that are over are kept for now"
            );
        }
    }

    /// Roots that this node derived, or linked, of the segments that may be voted for; and the newest that is closed here.
    fn own_roots(&self, next_segment: u64) -> (BTreeMap<u64, SegmentRoot>, Option<u64>) {
        let store = &self.parts.store;
        let segments = store.segments(next_segment, ROOT_VOTES_MAX).unwrap_or_else(|error| {
            warn!(
                error = &error as &dyn std::error::Error,
                "own roots cannot be read: nothing is voted for"
            );
            Vec::new()
        });
        let derived = segments.iter().filter(|info| info.state == SegmentState::Closed);
        let roots = derived.filter_map(|info| Some((info.segment, info.root?)));
        (roots.collect(), store.last_segment().ok().flatten())
    }

    /// What the records of all nodes are needed for, if they are: who closes a round, and whose claim is false.
    fn read_nodes(&mut self, settings: &Settings, read: &mut Read) {
        let (snapshot, times) = (&read.snapshot, read.times);
        let due = times.round.checked_sub(1).filter(|round| {
            let record = snapshot.rounds.get(round);
            let is_open = record.is_some_and(|record| !record.closed && record.claims > 0);
            is_open && times.window_over(snapshot.period)
        });
        self.read_blocks(settings, read);
        read.refutations.clear();
        if due.is_none() && self.watch.is_idle() {
            return;
        }
        let nodes = self.parts.client.nodes().records();
        let claimants = |round: u64| -> Vec<Address> {
            let claimed = |node: &&NodeRecord| node.claim_of(round).is_some();
            nodes.iter().filter(claimed).map(|node| node.address).collect()
        };
        let rank = |round: u64| (round, closing_rank(&settings.node, round, &claimants(round)));
        read.closing_ranks = due.into_iter().map(rank).collect();
        self.watch.set_nodes(&read.snapshot, &nodes, times);
        read.refutations = self.watch.refutations(&read.snapshot, &nodes, &settings.node, times);
    }

    fn read_blocks(&mut self, settings: &Settings, read: &Read) {
        let watched = Watched {
            chain_id: settings.chain_id,
            registry: settings.registry,
            own: settings.node,
        };
        for _ in 0..PERIODS_READ {
            let Some(period) = self.watch.wants(read.snapshot.period, read.times) else {
                return;
            };
            let blocks = (self.parts.final_blocks)(period);
            self.watch.read(blocks.as_deref(), &watched);
        }
    }

    /// Scores some of the answers that were read; what was found is looked at again when all are.
    fn watch_others(&mut self, settings: &Settings) {
        if self.watch.waiting() == 0 {
            return;
        }
        self.watch.score(&self.parts.assigned);
        if self.watch.waiting() > 0 {
            return;
        }
        if let Some(mut read) = self.read.take() {
            self.read_nodes(settings, &mut read);
            self.read = Some(read);
        }
    }

    /// What this node knows itself.
    fn local(&mut self, settings: &Settings, read: &Read) -> Local {
        Local {
            own_roots: read.own_roots.clone(),
            candidate: self.parts.board.candidate(),
            last_closed: read.last_closed,
            claimable: Claimable {
                leaves: self.shared.claims.current().leaves,
                is_settled: self.keeper.is_settled(),
            },
            differing: self.keeper.differing(),
            beacon: self.beacon_of(settings, read),
            closing_ranks: read.closing_ranks.clone(),
            refutations: read.refutations.clone(),
            earlier: read.earlier,
        }
    }

    /// History before the first accepted root, in this node's turn and where it has it.
    fn earlier(&self, settings: &Settings, read: &Read) -> Option<EarlierHistory> {
        let snapshot = &read.snapshot;
        let (segment, root) = snapshot.accepted_roots.first_key_value()?;
        let before = segment.checked_sub(1)?;
        let nodes = self.parts.client.nodes().node_set(read.times.round);
        let count = nodes.nodes().len();
        let (index, until) = earlier_turn(*segment, snapshot.period, settings.lead_periods, count)?;
        if nodes.nodes()[index].address != settings.node {
            return None;
        }
        let store = &self.parts.store;
        // What cannot be read is told where it is repaired.
        let table = store.table(*segment).ok().flatten()?;
        let known = store.segment_root(before).ok().flatten()?;
        let header = table.header();
        (table.root() == *root && *known.as_bytes() == header.previous).then(|| EarlierHistory {
            segment: *segment,
            segments: segment.saturating_sub(store.parameters().first_segment()),
            bytes: header.bytes_before,
            until,
        })
    }

    fn beacon_of(&mut self, settings: &Settings, read: &Read) -> Option<Digest> {
        let times = read.times;
        if let Some((_, beacon)) = self.beacon.filter(|(round, _)| *round == times.round) {
            return Some(beacon);
        }
        let period = times.beacon_period();
        if read.snapshot.period < period {
            return None;
        }
        let recent = (self.parts.final_blocks)(period);
        let recent = recent.map(|blocks| blocks.into_iter().map(|block| Some(block?.id)).collect());
        let blocks: Vec<Option<BlockId>> = recent.or_else(|| self.archived_blocks(period))?;
        let context = RoundContext {
            chain_id: settings.chain_id,
            registry: settings.registry.to_string(),
            round: times.round,
        };
        let beacon = context.beacon(&blocks);
        self.beacon = Some((times.round, beacon));
        Some(beacon)
    }

    fn archived_blocks(&self, period: u64) -> Option<Vec<Option<BlockId>>> {
        match self.parts.store.entry(period).ok()? {
            EntryRead::Found(entry) => Some(entry.ids().collect()),
            _ => None,
        }
    }

    fn see_earnings(&mut self, snapshot: &Snapshot, periods: u64) {
        let Some(node) = &snapshot.node else { return };
        // A node that leaves may send nothing more that settles it before its record is gone.
        let node = settled(node, &snapshot.rounds, snapshot.period, periods);
        let mut earnings = self.shared.earnings.lock();
        for round in earnings.see(&node, &snapshot.rounds, periods) {
            info!(
                "Round {}: {} of {} draws passed, {} MAS credited ({})",
                round.round,
                round.passes,
                round.draws,
                Amount::from_raw(round.credited_nano),
                round.result
            );
        }
    }

    fn write_earnings(&mut self) {
        let written = self.shared.earnings.lock().write(&self.parts.store);
        if let Err(error) = written {
            warn!(error = &error as &dyn std::error::Error, "earnings not written");
        }
    }

    fn tell(&mut self, read: &Read, decision: &Decision) {
        let notes: Vec<String> = decision.notes.iter().filter_map(note_text).collect();
        for note in notes.iter().filter(|note| !self.said.contains(note)) {
            warn!("storage round {}: {note}", read.times.round);
        }
        self.said.clone_from(&notes);
        let why_unclaimed = self.why_open_is_unclaimed(read, decision);
        let differing_segment = decision.notes.iter().find_map(|note| match note {
            Note::RootDiffers(differing) => Some(differing.segment),
            _ => None,
        });
        *self.shared.status.lock() = RoundStatus {
            round: Some(read.times.round),
            period: read.snapshot.period,
            notes,
            why_unclaimed,
            segments_accepted: read.snapshot.accepted_roots.len() as u64,
            differing_segment,
            rounds_left_in_pool: rounds_left(&read.snapshot),
        };
    }
}

impl Worker {
    /// Why nothing is claimed for the open round, if nothing is: what kept it from being claimed while the round before was open.
    fn why_open_is_unclaimed(&mut self, read: &Read, decision: &Decision) -> Option<String> {
        let (round, next) = (read.times.round, read.times.round.saturating_add(1));
        let claimed = |round: u64| {
            read.snapshot
                .node
                .as_ref()
                .is_some_and(|node| node.claim_of(round).is_some())
        };
        if self.unclaimed.as_ref().is_some_and(|(of, _)| *of == round) {
            self.unclaimed_open = self.unclaimed.take();
        }
        self.unclaimed = (!claimed(next)).then(|| (next, why_unclaimed(&read.snapshot, next, decision)));
        if claimed(round) {
            return None;
        }
        let known = self.unclaimed_open.as_ref().filter(|(of, _)| *of == round);
        let why = known.map(|(_, why)| why.as_str());
        Some(match (why, &read.snapshot.node) {
            (_, Some(node)) if node.registered_period >= read.times.opens() => {
                "the node registered after it opened".into()
            }
            (Some(why), _) => why.to_string(),
            (None, None) => "the operator is not registered".into(),
            (None, Some(_)) => "this node was not running, or not in step, while it could be claimed".into(),
        })
    }
}

/// Rounds that the pool pays at the rate and size of the last one whose rate is fixed.
fn rounds_left(snapshot: &Snapshot) -> Option<u64> {
    let last = snapshot.rounds.values().rev().find(|round| round.frozen)?;
    snapshot.state.pool.to_raw().checked_div(last.reserve.to_raw())
}

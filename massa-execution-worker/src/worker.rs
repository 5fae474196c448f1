//! The execution thread.
//!
//! Lock order: the thread never touches a [`Storage`] while it holds the state, because whoever reads the store may ask
//! execution at the same time.

use crate::block::{content_bytes, same_thread_parent, slot_of, ExecutableBlock, MissingContent};
use crate::candidates::Candidates;
use crate::config::ExecutionConfig;
use crate::environment::EnvironmentError;
use crate::events::FinalEvents;
use crate::execute::{execute_block, execute_miss, Rules, SlotOutput};
use crate::ledger::{FinalLedger, LedgerError};
use crate::view::SharedView;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_storage::Storage;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// After a failure, how long until it is tried again without news.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What was announced since the thread last looked. Announcements add up here, so that announcing never waits.
///
/// Bounded by what consensus has in its graph: each final block is announced once and must be kept until it is executed
/// anyhow; of the best clique only the last state counts.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) finalized: Vec<(Slot, BlockId)>,
    pub(crate) blockclique: Option<HashMap<Slot, BlockId>>,
    pub(crate) storages: Vec<(BlockId, Storage)>,
    pub(crate) is_stopped: bool,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.finalized.is_empty() && self.blockclique.is_none() && self.storages.is_empty()
    }
}

/// What the thread and the controllers share.
pub(crate) struct Shared {
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) wake: Condvar,
    pub(crate) state: RwLock<ExecutionState>,
}

/// The executed state, for questions.
pub(crate) struct ExecutionState {
    pub(crate) ledger: FinalLedger,
    /// Shared with executions on top of them. Before a change they are copied, if there is one.
    pub(crate) candidates: Arc<Candidates>,
    /// How often something else than a candidate became final.
    pub(crate) replaced: u64,
    pub(crate) events: FinalEvents,
    pub(crate) halt: Option<Halt>,
}

/// Why final slots are not executed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Halt {
    #[error(transparent)]
    Missing(#[from] MissingContent),
    #[error("final block {block} names the parent {parent}, which was not announced as final")]
    UnknownParent { block: BlockId, parent: BlockId },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

impl From<LedgerError> for Halt {
    fn from(error: LedgerError) -> Self {
        Self::Environment(error.into())
    }
}

/// What only the thread knows.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    rules: Rules,
    operation_validity_periods: u64,
    /// For each thread, the final blocks that wait for their turn, by period.
    finals: Vec<BTreeMap<u64, BlockId>>,
    blockclique: BTreeMap<Slot, BlockId>,
    /// The content of announced blocks. Content is given once, so it is kept until the slot is final and executed,
    /// whatever is in it then.
    contents: BTreeMap<(Slot, BlockId), Storage>,
    /// The candidate that could not be executed, so that it is said once.
    missing_candidate: Option<BlockId>,
}

/// What the next final slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Block(BlockId),
    Miss,
}

impl Worker {
    pub(crate) fn new(config: &ExecutionConfig, rules: Rules, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            rules,
            operation_validity_periods: config.operation_validity_periods,
            finals: vec![BTreeMap::new(); usize::from(config.thread_count)],
            blockclique: BTreeMap::new(),
            contents: BTreeMap::new(),
            missing_candidate: None,
        }
    }

    /// Runs until told to stop. Releases the ledger at the end.
    pub(crate) fn run(mut self) {
        while let Some(news) = self.wait_for_news() {
            self.take(news);
            self.settle_finals();
            self.run_candidates();
        }
        let mut state = self.shared.state.write();
        if let Err(error) = state.ledger.close() {
            warn!(%error, "ledger not flushed");
        }
    }

    /// What was announced; `None` when the thread shall end. While halted, comes back from time to time without news.
    fn wait_for_news(&self) -> Option<Inbox> {
        let is_halted = self.shared.state.read().halt.is_some();
        let mut inbox = self.shared.inbox.lock();
        while !inbox.is_stopped && inbox.is_empty() {
            if !is_halted {
                self.shared.wake.wait(&mut inbox);
            } else if self.shared.wake.wait_for(&mut inbox, RETRY_INTERVAL).timed_out() {
                break;
            }
        }
        (!inbox.is_stopped).then(|| std::mem::take(&mut *inbox))
    }

    fn is_stopped(&self) -> bool {
        self.shared.inbox.lock().is_stopped
    }

    /// Takes in what was announced.
    fn take(&mut self, news: Inbox) {
        let cursor = self.shared.state.read().ledger.cursor();
        for (id, storage) in news.storages {
            match slot_of(&id, &storage) {
                Some(slot) if slot > cursor => {
                    self.contents.entry((slot, id)).or_insert(storage);
                }
                Some(_) => {}
                None => error!(%id, "the storage given for a block does not have it"),
            }
        }
        for (slot, id) in news.finalized {
            self.take_final(cursor, slot, id);
        }
        if let Some(blockclique) = news.blockclique {
            self.blockclique = blockclique.into_iter().collect();
        }
    }

    fn take_final(&mut self, cursor: Slot, slot: Slot, id: BlockId) {
        if slot.period == 0 {
            return self.shared.state.write().ledger.set_genesis_block(slot.thread, id);
        }
        if slot <= cursor {
            // Consensus started again from blocks that were executed before.
            return debug!(%slot, %id, "final block was executed before");
        }
        let Some(finals) = self.finals.get_mut(usize::from(slot.thread)) else {
            return error!(%slot, %id, "final block in a thread that does not exist");
        };
        let kept = *finals.entry(slot.period).or_insert(id);
        if kept != id {
            error!(%slot, %id, %kept, "two final blocks for one slot");
        }
    }

    /// Executes final slots for as long as it is known what they are.
    fn settle_finals(&mut self) {
        let halt = loop {
            if self.is_stopped() {
                return;
            }
            match self.settle_next() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(halt) => break Some(halt),
            }
        };
        let message = halt.as_ref().map(Halt::to_string);
        let before = std::mem::replace(&mut self.shared.state.write().halt, halt);
        match (message, before.map(|halt| halt.to_string())) {
            (Some(reason), before) if before.as_ref() != Some(&reason) => {
                error!(%reason, "execution of final slots halted");
            }
            (None, Some(_)) => info!("execution of final slots goes on"),
            _ => {}
        }
    }

    /// Executes the slot after the cursor, if it is known what it is.
    fn settle_next(&mut self) -> Result<bool, Halt> {
        let cursor = self.shared.state.read().ledger.cursor();
        let Ok(slot) = cursor.get_next_slot(self.rules.thread_count) else {
            return Ok(false);
        };
        let Some(settled) = self.settled(slot)? else {
            return Ok(false);
        };
        match settled {
            Settled::Block(id) => self.settle_block(slot, id)?,
            Settled::Miss => {
                let mut state = self.shared.state.write();
                Arc::make_mut(&mut state.candidates).take_final(slot, None);
                let output = execute_miss(&state.ledger, slot);
                state.ledger.commit(&output, None)?;
            }
        }
        // Not before: the content of a block is asked for again if the write failed.
        self.forget(slot);
        Ok(true)
    }

    /// What the slot after the cursor is; `None` while its thread has no later final block.
    ///
    /// It is a miss only if the next final block of its thread names the last executed one as its parent: then no
    /// block can be between them, in whatever order final blocks are announced.
    fn settled(&self, slot: Slot) -> Result<Option<Settled>, Halt> {
        let Some((period, id)) = self.finals[usize::from(slot.thread)].first_key_value() else {
            return Ok(None);
        };
        let Some(storage) = self.contents.get(&(Slot::new(*period, slot.thread), *id)) else {
            return Err(MissingContent::Block(*id).into());
        };
        let parent = same_thread_parent(id, storage).ok_or(MissingContent::Block(*id))?;
        let last = self.shared.state.read().ledger.last_block(slot.thread);
        if last.is_some_and(|last| last != parent) {
            return Err(Halt::UnknownParent { block: *id, parent });
        }
        Ok(Some(if *period == slot.period {
            Settled::Block(*id)
        } else {
            Settled::Miss
        }))
    }

    fn settle_block(&self, slot: Slot, id: BlockId) -> Result<(), Halt> {
        let missing = MissingContent::Block(id);
        let storage = self.contents.get(&(slot, id)).ok_or(missing)?;
        let block = ExecutableBlock::extract(id, storage, self.operation_validity_periods)?;
        let content = content_bytes(&id, storage).ok_or(missing)?;
        {
            let mut state = self.shared.state.write();
            if let Some(output) = Arc::make_mut(&mut state.candidates).take_final(slot, Some(id)) {
                return Ok(commit(&mut state, &output, &content)?);
            }
        }
        let view = Arc::new(SharedView::last_final(&self.shared));
        let output = execute_block(view, &self.rules, slot, &block)?;
        let mut state = self.shared.state.write();
        state.replaced += 1;
        Ok(commit(&mut state, &output, &content)?)
    }

    /// Forgets what can no longer matter once `slot` is final.
    fn forget(&mut self, slot: Slot) {
        self.finals[usize::from(slot.thread)].remove(&slot.period);
        self.blockclique.remove(&slot);
        while self.contents.first_key_value().is_some_and(|((of, _), _)| *of <= slot) {
            self.contents.pop_first();
        }
    }

    /// Executes the blocks that are not final, after those that are already executed and still belong there.
    fn run_candidates(&mut self) {
        let mut blocks = self.blockclique.clone();
        for (thread, finals) in (0..self.rules.thread_count).zip(&self.finals) {
            blocks.extend(finals.iter().map(|(period, id)| (Slot::new(*period, thread), *id)));
        }
        let kept = self.keep_common_candidates(&blocks);
        for (slot, id) in blocks.into_iter().skip(kept) {
            if self.is_stopped() {
                return;
            }
            if let Err(halt) = self.run_candidate(slot, id) {
                if self.missing_candidate.replace(id) != Some(id) {
                    warn!(%slot, %id, reason = %halt, "candidate block not executed");
                }
                return;
            }
        }
        self.missing_candidate = None;
    }

    /// Forgets candidates from the first one that is not in `blocks`. Returns how many are left.
    fn keep_common_candidates(&self, blocks: &BTreeMap<Slot, BlockId>) -> usize {
        let wanted = blocks.iter().map(|(slot, id)| (*slot, *id));
        let state = self.shared.state.read();
        let executed = state.candidates.blocks();
        let kept = executed
            .zip(wanted)
            .take_while(|(executed, wanted)| executed == wanted)
            .count();
        let surplus = state.candidates.len() - kept;
        drop(state);
        if surplus > 0 {
            Arc::make_mut(&mut self.shared.state.write().candidates).truncate(kept);
        }
        kept
    }

    fn run_candidate(&self, slot: Slot, id: BlockId) -> Result<(), Halt> {
        let storage = self.contents.get(&(slot, id)).ok_or(MissingContent::Block(id))?;
        let block = ExecutableBlock::extract(id, storage, self.operation_validity_periods)?;
        let view = Arc::new(SharedView::candidate(&self.shared));
        let output = execute_block(view, &self.rules, slot, &block)?;
        Arc::make_mut(&mut self.shared.state.write().candidates).push(output);
        Ok(())
    }
}

/// Makes the output of a block final. If that fails, what was executed on top of it is forgotten.
fn commit(state: &mut ExecutionState, output: &SlotOutput, content: &[Vec<u8>]) -> Result<(), LedgerError> {
    let committed = state.ledger.commit(output, Some(content));
    if committed.is_err() {
        Arc::make_mut(&mut state.candidates).truncate(0);
        state.replaced += 1;
    } else {
        state.events.push(&output.events);
        debug!(slot = %output.slot, operations = output.executed.len(), "final block executed");
    }
    committed
}

//! The state after the last candidate, or after the last final slot, for one execution.

use crate::candidates::Candidates;
use crate::execute::Outcome;
use crate::ledger::LedgerError;
use crate::state::{overlaid_keys, Bytes, KeyRange, StateView};
use crate::worker::{ExecutionState, Shared};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::OperationId;
use parking_lot::RwLockReadGuard;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The candidates of a moment, on top of the final ledger.
///
/// Locks the state for each look-up only, so that a long execution keeps nobody waiting. The ledger may go on
/// meanwhile: as long as what becomes final are these candidates, what is seen stays the same. Once it is something
/// else, look-ups end with [`LedgerError::Replaced`].
pub(crate) struct SharedView {
    shared: Arc<Shared>,
    candidates: Arc<Candidates>,
    replaced: u64,
}

impl SharedView {
    /// The state after the last candidate.
    pub(crate) fn candidate(shared: &Arc<Shared>) -> Self {
        let state = shared.state.read();
        Self {
            shared: Arc::clone(shared),
            candidates: Arc::clone(&state.candidates),
            replaced: state.replaced,
        }
    }

    /// The state after the last final slot.
    pub(crate) fn last_final(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            candidates: Arc::default(),
            replaced: shared.state.read().replaced,
        }
    }

    fn state(&self) -> Result<RwLockReadGuard<'_, ExecutionState>, LedgerError> {
        let state = self.shared.state.read();
        if state.replaced == self.replaced {
            Ok(state)
        } else {
            Err(LedgerError::Replaced)
        }
    }
}

impl StateView for SharedView {
    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError> {
        match self.candidates.balance(address) {
            Some(balance) => Ok(Some(balance)),
            None => self.state()?.ledger.balance(address),
        }
    }

    fn entry(&self, address: &Address, key: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        match self.candidates.entry(address, key) {
            Some(entry) => Ok(entry),
            None => self.state()?.ledger.entry(address, key),
        }
    }

    fn keys(&self, address: &Address, range: &KeyRange, count: usize) -> Result<BTreeSet<Vec<u8>>, LedgerError> {
        let changed = self.candidates.keys(address, range);
        let state = self.state()?;
        overlaid_keys(&changed, count, |count| state.ledger.keys(address, range, count))
    }

    fn bytecode(&self, address: &Address) -> Result<Option<Bytes>, LedgerError> {
        match self.candidates.bytecode(address) {
            Some(bytecode) => Ok(Some(bytecode)),
            None => self.state()?.ledger.bytecode(address),
        }
    }

    fn outcome(&self, operation: &OperationId) -> Option<Outcome> {
        let candidate = self.candidates.outcome(operation);
        candidate.or_else(|| self.shared.state.read().ledger.outcome(operation))
    }

    fn supply(&self) -> Amount {
        match self.candidates.outputs().next_back() {
            Some(output) => output.supply,
            None => self.shared.state.read().ledger.supply(),
        }
    }
}

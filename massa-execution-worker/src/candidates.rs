//! The executed blocks of the best clique, on top of the final ledger.

use crate::execute::{Outcome, SlotOutput, StateView};
use crate::ledger::{FinalLedger, LedgerError};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use std::collections::VecDeque;

/// Outputs of candidate blocks, in slot order. Each is valid on top of the final ledger and those before it.
///
/// Beside the outputs, their changes are indexed by address and operation, so that a look-up costs the same however
/// many blocks are not final.
#[derive(Default)]
pub(crate) struct Candidates {
    outputs: VecDeque<SlotOutput>,
    /// New balances, oldest first: one for each output that touched the address.
    balances: PreHashMap<Address, VecDeque<Amount>>,
    outcomes: PreHashMap<OperationId, Outcome>,
}

impl Candidates {
    /// The slots and blocks that are executed.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Slot, BlockId)> + '_ {
        self.outputs
            .iter()
            .filter_map(|output| Some((output.slot, output.block?)))
    }

    /// The last slot that is executed.
    pub(crate) fn last_slot(&self) -> Option<Slot> {
        self.outputs.back().map(|output| output.slot)
    }

    /// How many outputs there are.
    pub(crate) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Adds the output of a later slot.
    pub(crate) fn push(&mut self, output: SlotOutput) {
        for (address, balance) in &output.balances {
            self.balances.entry(*address).or_default().push_back(*balance);
        }
        let outcomes = output
            .executed
            .iter()
            .map(|operation| (operation.id, operation.outcome));
        self.outcomes.extend(outcomes);
        self.outputs.push_back(output);
    }

    /// Forgets all but the first `kept` outputs.
    pub(crate) fn truncate(&mut self, kept: usize) {
        while self.outputs.len() > kept {
            if let Some(output) = self.outputs.pop_back() {
                self.unindex(&output, VecDeque::pop_back);
            }
        }
    }

    /// Takes out what final `slot` turned out to be, if that is what was executed here. Whatever was executed on top
    /// of something else is forgotten.
    pub(crate) fn take_final(&mut self, slot: Slot, block: Option<BlockId>) -> Option<SlotOutput> {
        let first = self.outputs.front()?;
        if block.is_none() && first.slot > slot {
            return None;
        }
        if block.is_none() || (first.slot, first.block) != (slot, block) {
            self.truncate(0);
            return None;
        }
        let output = self.outputs.pop_front()?;
        self.unindex(&output, VecDeque::pop_front);
        Some(output)
    }

    fn unindex(&mut self, output: &SlotOutput, pop: fn(&mut VecDeque<Amount>) -> Option<Amount>) {
        for address in output.balances.keys() {
            if let Some(balances) = self.balances.get_mut(address) {
                pop(balances);
                if balances.is_empty() {
                    self.balances.remove(address);
                }
            }
        }
        for operation in &output.executed {
            self.outcomes.remove(&operation.id);
        }
    }
}

/// The state after the last candidate.
pub(crate) struct CandidateView<'a> {
    pub(crate) ledger: &'a FinalLedger,
    pub(crate) candidates: &'a Candidates,
}

impl StateView for CandidateView<'_> {
    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError> {
        match self.candidates.balances.get(address).and_then(VecDeque::back) {
            Some(balance) => Ok(Some(*balance)),
            None => self.ledger.balance(address),
        }
    }

    fn outcome(&self, operation: &OperationId) -> Option<Outcome> {
        let candidate = self.candidates.outcomes.get(operation).copied();
        candidate.or_else(|| self.ledger.outcome(operation))
    }

    fn supply(&self) -> Amount {
        match self.candidates.outputs.back() {
            Some(output) => output.supply,
            None => self.ledger.supply(),
        }
    }
}

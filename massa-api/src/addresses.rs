//! Addresses and stakers.

use crate::answer::ID_BYTES;
use crate::api::{Asker, Node};
use massa_api_exports::address::AddressInfo;
use massa_api_exports::page::PageRequest;
use massa_api_exports::ApiError;
use massa_execution_exports::ExecutionAddressInfo;
use massa_models::address::Address;
use massa_models::prehash::PreHashMap;
use massa_models::slot::{IndexedSlot, Slot};
use massa_models::timeslots::get_latest_block_slot_at_timestamp;
use massa_time::MassaTime;

/// Slots for which an address was drawn.
#[derive(Clone, Default)]
struct Draws {
    blocks: Vec<Slot>,
    endorsements: Vec<IndexedSlot>,
}

/// What an answer tells of an address.
fn info_bytes(info: &AddressInfo) -> usize {
    let keys = info.final_datastore_keys.iter().chain(&info.candidate_datastore_keys);
    let ids = info.created_blocks.len() + info.created_operations.len() + info.created_endorsements.len();
    let draws = info.next_block_draws.len() + info.next_endorsement_draws.len();
    keys.map(Vec::len).sum::<usize>() + (ids + draws) * ID_BYTES
}

impl Node {
    /// What is known of each address. An address that nobody has used yet has no coins.
    pub fn addresses(
        &self,
        asker: &Asker,
        addresses: &[Address],
        now: MassaTime,
    ) -> Result<Vec<AddressInfo>, ApiError> {
        self.check_arguments("addresses", addresses.len())?;
        let draws = self.next_draws(addresses, now)?;
        let mut answer = self.answer(asker);
        // One at a time: each may have hundreds of keys.
        let infos = addresses.iter().map(|address| {
            let ledger = self.context.execution_controller.get_addresses_infos(&[*address]).pop();
            let draws = draws.get(address).cloned().unwrap_or_default();
            let info = self.address_info(*address, ledger.unwrap_or_default(), draws);
            answer.add_object(info_bytes(&info))?;
            Ok(info)
        });
        infos.collect()
    }

    fn address_info(&self, address: Address, ledger: ExecutionAddressInfo, draws: Draws) -> AddressInfo {
        let storage = &self.context.storage;
        let blocks = storage.read_blocks().get_blocks_created_by(&address).cloned();
        let operations = storage.read_operations().get_operations_created_by(&address).cloned();
        let endorsements = storage
            .read_endorsements()
            .get_endorsements_created_by(&address)
            .cloned();
        AddressInfo {
            address,
            thread: address.get_thread(self.config.thread_count),
            final_balance: ledger.final_balance,
            final_roll_count: ledger.final_roll_count,
            final_datastore_keys: ledger.final_datastore_keys,
            candidate_balance: ledger.candidate_balance,
            candidate_roll_count: ledger.candidate_roll_count,
            candidate_datastore_keys: ledger.candidate_datastore_keys,
            deferred_credits: Vec::new(),
            next_block_draws: draws.blocks,
            next_endorsement_draws: draws.endorsements,
            created_blocks: blocks.into_iter().flatten().collect(),
            created_operations: operations.into_iter().flatten().collect(),
            created_endorsements: endorsements.into_iter().flatten().collect(),
            cycle_infos: Vec::new(),
        }
    }

    /// Draws of the slots from the last one on, for as many periods as are told, in slot order.
    fn next_draws(&self, addresses: &[Address], now: MassaTime) -> Result<PreHashMap<Address, Draws>, ApiError> {
        let config = &self.config;
        let last_slot =
            get_latest_block_slot_at_timestamp(config.thread_count, config.t0, config.genesis_timestamp, now)?;
        let mut slot = last_slot.unwrap_or(Slot::new(0, 0));
        let mut draws: PreHashMap<Address, Draws> =
            addresses.iter().map(|address| (*address, Draws::default())).collect();
        for _ in 0..=config.draw_lookahead_period_count * u64::from(config.thread_count) {
            // Nobody drawn is no failure of the question; consensus tells of it.
            let Ok(selection) = self.context.selector_controller.get_selection(slot) else {
                break;
            };
            if let Some(drawn) = draws.get_mut(&selection.producer) {
                drawn.blocks.push(slot);
            }
            for (index, endorser) in selection.endorsements.iter().enumerate() {
                if let Some(drawn) = draws.get_mut(endorser) {
                    drawn.endorsements.push(IndexedSlot { slot, index });
                }
            }
            slot = slot.get_next_slot(config.thread_count)?;
        }
        Ok(draws)
    }

    /// Addresses with their rolls, most rolls first.
    pub fn stakers(&self, page: Option<PageRequest>) -> Vec<(Address, u64)> {
        let rolls = self.config.rolls.iter().filter(|(_, rolls)| **rolls > 0);
        let mut stakers: Vec<(Address, u64)> = rolls.map(|(address, rolls)| (*address, *rolls)).collect();
        stakers.sort_by_key(|(address, rolls)| (std::cmp::Reverse(*rolls), *address));
        let Some(PageRequest { limit, offset }) = page else {
            return stakers;
        };
        let skipped = offset.saturating_mul(limit);
        stakers.into_iter().skip(skipped).take(limit).collect()
    }
}

//! Stand-ins for the modules that consensus talks to: they record what they are told, and check it.

use super::chain::producer;
use massa_consensus_exports::ConsensusChannels;
use massa_distributed_storage_exports::StorageArchiver;
use massa_execution_exports::{
    ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionController, ExecutionError, ExecutionStats, FinalBlock,
};
use massa_models::active_block::ActiveBlock;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_pool_exports::{PoolController, PoolError};
use massa_pos_exports::{PosError, PosResult, Selection, SelectorController};
use massa_protocol_exports::{NetworkStats, PeerConnectionType, PeerId, ProtocolController, ProtocolError};
use massa_storage::Storage;
use massa_time::MassaTime;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the modules were told.
#[derive(Default)]
pub struct Record {
    /// Final blocks, in the order in which they were told.
    pub finals: Vec<(Slot, BlockId)>,
    /// The best clique, as told last.
    pub blockclique: HashMap<Slot, BlockId>,
    /// Blocks whose content execution was given: it keeps that until the end, as the real one does until finality.
    pub contents: BTreeSet<BlockId>,
    /// Blocks told to the protocol.
    pub integrated: Vec<BlockId>,
    /// Attacks told to the protocol.
    pub attacks: Vec<BlockId>,
    /// What is wanted from peers, and whether the header was given.
    pub wishlist: BTreeMap<BlockId, bool>,
    /// What the pool was told, each time.
    pub final_periods: Vec<Vec<u64>>,
    /// Slots for which nobody can be drawn.
    pub undrawn: BTreeSet<Slot>,
}

/// All stand-ins. Clones share what they record.
#[derive(Clone)]
pub struct Doubles {
    thread_count: u8,
    pub record: Arc<Mutex<Record>>,
}

impl Doubles {
    pub fn new(thread_count: u8) -> Self {
        Self {
            thread_count,
            record: Arc::default(),
        }
    }

    pub fn channels(&self) -> ConsensusChannels {
        ConsensusChannels {
            execution_controller: Box::new(self.clone()),
            selector_controller: Box::new(self.clone()),
            pool_controller: Box::new(self.clone()),
            protocol_controller: Box::new(self.clone()),
        }
    }

    pub fn finals(&self) -> BTreeSet<BlockId> {
        self.record.lock().finals.iter().map(|(_, id)| *id).collect()
    }
}

impl ExecutionController for Doubles {
    fn update_blockclique_status(
        &self,
        finalized_blocks: HashMap<Slot, BlockId>,
        new_blockclique: Option<HashMap<Slot, BlockId>>,
        block_storage: PreHashMap<BlockId, ExecutionBlockMetadata>,
    ) {
        let mut record = self.record.lock();
        for (id, metadata) in block_storage {
            let Some(storage) = metadata.storage else { continue };
            let blocks = storage.read_blocks();
            let operations = &blocks.get(&id).expect("the content has the block").content.operations;
            assert!(operations.iter().all(|id| storage.get_op_refs().contains(id)));
            record.contents.insert(id);
        }
        for (slot, id) in finalized_blocks {
            assert!(!record.finals.contains(&(slot, id)), "a block is final once");
            assert!(
                record.contents.contains(&id),
                "execution has no content of a final block"
            );
            record.finals.push((slot, id));
        }
        if let Some(blockclique) = new_blockclique {
            assert!(blockclique.values().all(|id| record.contents.contains(id)));
            record.blockclique = blockclique;
        }
    }

    fn get_final_and_candidate_balance(&self, addresses: &[Address]) -> Vec<(Option<Amount>, Option<Amount>)> {
        vec![(None, None); addresses.len()]
    }

    fn read_data_entries(
        &self,
        _: &[(Address, Vec<u8>)],
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn get_datastore_keys(&self, _: &massa_execution_exports::DatastoreKeysRequest) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn read_bytecodes(
        &self,
        _: &[Address],
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn read_events(
        &self,
        _: &massa_models::execution::EventFilter,
        _: &mut dyn FnMut(&massa_models::output_event::SCOutputEvent) -> bool,
    ) -> massa_execution_exports::FilteredEvents {
        massa_execution_exports::FilteredEvents::default()
    }

    fn execute_readonly_request(
        &self,
        _: massa_execution_exports::ReadOnlyExecutionRequest,
    ) -> Result<massa_execution_exports::ReadOnlyExecutionOutput, massa_execution_exports::ExecutionError> {
        unreachable!("these tests run no contract")
    }

    fn get_addresses_infos(&self, addresses: &[Address]) -> Vec<ExecutionAddressInfo> {
        vec![ExecutionAddressInfo::default(); addresses.len()]
    }

    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<(Option<bool>, Option<bool>)> {
        vec![(None, None); batch.len()]
    }

    fn get_stats(&self) -> ExecutionStats {
        ExecutionStats {
            active_cursor: Slot::min(),
            final_cursor: Slot::min(),
        }
    }

    fn get_final_state_hash(&self) -> (Slot, [u8; 32]) {
        (Slot::min(), [0; 32])
    }

    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
        Ok(Vec::new())
    }

    fn clone_box(&self) -> Box<dyn ExecutionController> {
        Box::new(self.clone())
    }
}

impl SelectorController for Doubles {
    fn get_selection(&self, slot: Slot) -> PosResult<Selection> {
        let producer = self.get_producer(slot)?;
        let endorsements = Vec::new();
        Ok(Selection { endorsements, producer })
    }

    fn get_producer(&self, slot: Slot) -> PosResult<Address> {
        match self.record.lock().undrawn.contains(&slot) {
            true => Err(PosError::NoStake),
            false => Ok(producer(slot, self.thread_count)),
        }
    }

    fn clone_box(&self) -> Box<dyn SelectorController> {
        Box::new(self.clone())
    }
}

impl PoolController for Doubles {
    fn add_operations(&mut self, _ops: Storage) -> Result<(), PoolError> {
        Ok(())
    }

    fn notify_final_cs_periods(&mut self, final_cs_periods: &[u64]) {
        self.record.lock().final_periods.push(final_cs_periods.to_vec());
    }

    fn get_block_operations(&self, _slot: &Slot) -> (Vec<OperationId>, Storage) {
        (Vec::new(), Storage::create_root())
    }

    fn get_operation_count(&self, _timeout: Option<MassaTime>) -> Result<usize, PoolError> {
        Ok(0)
    }

    fn contains_operations(
        &self,
        operations: &[OperationId],
        _timeout: Option<MassaTime>,
    ) -> Result<Vec<bool>, PoolError> {
        Ok(vec![false; operations.len()])
    }

    fn clone_box(&self) -> Box<dyn PoolController> {
        Box::new(self.clone())
    }
}

impl ProtocolController for Doubles {
    fn stop(&mut self) {}

    fn integrated_block(&self, block_id: BlockId, storage: Storage) -> Result<(), ProtocolError> {
        assert!(storage.get_block_refs().contains(&block_id));
        self.record.lock().integrated.push(block_id);
        Ok(())
    }

    fn notify_block_attack(&self, block_id: BlockId) -> Result<(), ProtocolError> {
        self.record.lock().attacks.push(block_id);
        Ok(())
    }

    fn send_wishlist_delta(
        &self,
        new: PreHashMap<BlockId, Option<SecuredHeader>>,
        remove: PreHashSet<BlockId>,
    ) -> Result<(), ProtocolError> {
        let wishlist = &mut self.record.lock().wishlist;
        for id in remove {
            assert!(wishlist.remove(&id).is_some(), "what is removed was wanted");
        }
        for (id, header) in new {
            wishlist.insert(id, header.is_some());
        }
        Ok(())
    }

    fn propagate_operations(&self, _operations: Storage) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn get_stats(&self) -> Result<(NetworkStats, HashMap<PeerId, (SocketAddr, PeerConnectionType)>), ProtocolError> {
        Ok(Default::default())
    }

    fn ban_peers(&self, _peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn unban_peers(&self, _peer_ids: Vec<PeerId>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn ProtocolController> {
        Box::new(self.clone())
    }
}

/// Records what the archive is given, and keeps it.
#[derive(Clone, Debug, Default)]
pub struct Archiver {
    pub given: Arc<Mutex<Vec<(Slot, BlockId, Storage)>>>,
}

impl Archiver {
    /// The blocks given, in order.
    pub fn blocks(&self) -> Vec<BlockId> {
        self.given.lock().iter().map(|(_, id, _)| *id).collect()
    }
}

impl StorageArchiver for Archiver {
    fn archive_finalized_block(&self, period: u64, block_id: &BlockId, active_block: &ActiveBlock, content: Storage) {
        assert_eq!((period, block_id), (active_block.slot.period, &active_block.block_id));
        assert!(active_block.is_final, "a block that is not final was archived");
        assert_eq!(content.get_block_refs(), &PreHashSet::from_iter([*block_id]));
        {
            let (blocks, operations) = (content.read_blocks(), content.read_operations());
            let block = blocks.get(block_id).expect("the content has the block");
            assert_eq!(block.content.header.content.slot, active_block.slot);
            for id in &block.content.operations {
                assert!(content.get_op_refs().contains(id), "an operation is not claimed");
                assert!(operations.contains(id), "an operation is missing");
            }
        }
        self.given.lock().push((active_block.slot, *block_id, content));
    }
}

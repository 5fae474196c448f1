//! Where an id or an address is found: block id → slot, operation id → slot and position, address → slots.
//!
//! No index is hashed or sent; each is an aid of this node. Its scope says of what there are rows:
//! - `all`: of every block that came here, written as it arrives;
//! - `held`: of what this node can read back itself, written and deleted as chunks come and go: a block whose first byte
//!   lies in a held chunk, the operations of a block whose list of operations lies in held chunks, the addresses of a block
//!   all of which does. (An operation cut off from its block's list has no number, and its bytes no beginning; so the block
//!   decides.) What goes is therefore exactly what came, whichever chunk is there first;
//! - `none`: of nothing.
//!
//! Rows of pruned segments vanish when tables are merged, and are not seen before that. A row may outlive what it names (the
//! index of a damaged chunk cannot be computed again): whoever looks up compares with the period's entry.

use super::body::{BlockAt, Body};
use super::own::Row;
use super::rows::{self, ADDRESS_BYTES};
use super::{Damage, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::keys::unseal;
use massa_db_exports::{STORAGE_ADDRESS_INDEX_CF, STORAGE_BLOCK_INDEX_CF, STORAGE_OPERATION_INDEX_CF};
use massa_distributed_storage_exports::period::UnsignedRecord;
use massa_distributed_storage_exports::record::{BlockRecord, BlockView, RecordError};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_hash::Hash;
use massa_models::address::{Address, UserAddress, UserAddressV0};
use massa_models::block_id::BlockId;
use massa_models::config::{
    MAX_DATASTORE_VALUE_LENGTH, MAX_FUNCTION_NAME_LENGTH, MAX_OPERATION_DATASTORE_ENTRY_COUNT,
    MAX_OPERATION_DATASTORE_KEY_LENGTH, MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE,
};
use massa_models::operation::{OperationDeserializer, OperationId, OperationType};
use massa_models::slot::Slot;
use massa_serialization::{DeserializeError, Deserializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Bytes of a public key on the wire.
const PUBLIC_KEY_BYTES: usize = 33;

/// Of what an index has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexScope {
    /// Of everything that came here.
    All,
    /// Of what lies in held chunks.
    Held,
    /// Of nothing.
    None,
}

impl fmt::Display for IndexScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexScope::All => "all",
            IndexScope::Held => "held",
            IndexScope::None => "none",
        })
    }
}

/// The scope of each index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexScopes {
    /// `block_index`.
    pub blocks: IndexScope,
    /// `operation_index`.
    pub operations: IndexScope,
    /// `address_index`.
    pub addresses: IndexScope,
}

impl Default for IndexScopes {
    fn default() -> Self {
        Self {
            blocks: IndexScope::Held,
            operations: IndexScope::Held,
            addresses: IndexScope::None,
        }
    }
}

impl IndexScopes {
    /// Each scope with the name of its key in the configuration.
    pub fn named(&self) -> [(&'static str, IndexScope); 3] {
        [
            ("block_index", self.blocks),
            ("operation_index", self.operations),
            ("address_index", self.addresses),
        ]
    }
}

impl Row for IndexScopes {
    const VERSION: u8 = 1;
}

/// What the indexes say of one block.
#[derive(Debug, Default)]
pub(crate) struct Indexed {
    block: Option<BlockId>,
    operations: Vec<OperationId>,
    addresses: BTreeSet<[u8; ADDRESS_BYTES]>,
}

impl Indexed {
    /// Of a whole record: what the indexes of scope `scope` want of it.
    pub(crate) fn of_record(
        record: &BlockRecord,
        threads: u8,
        scopes: &IndexScopes,
        scope: IndexScope,
    ) -> Result<Self, RecordError> {
        let mut found = Self::default();
        let view = record.view(threads)?;
        if scopes.blocks == scope {
            found.block = Some(view.block_id());
        }
        if scopes.operations == scope {
            found.operations.extend(view.operation_ids());
        }
        if scopes.addresses == scope {
            let operations = record.operations().map(|operation| &operation[SIGNATURE_BYTES..]);
            operations.for_each(|operation| add_addresses(operation, &mut found.addresses));
        }
        Ok(found)
    }

    /// Writes the rows.
    pub(crate) fn put(&self, batch: &mut RowBatch, slot: Slot) {
        if let Some(id) = &self.block {
            let key = rows::block_index_key(id).to_vec();
            batch.put_sealed(STORAGE_BLOCK_INDEX_CF, key, rows::block_index_value(slot));
        }
        for (id, index) in self.operations.iter().zip(0..) {
            let value = rows::operation_index_value(slot, index);
            batch.put_sealed(
                STORAGE_OPERATION_INDEX_CF,
                rows::operation_index_key(id).to_vec(),
                value,
            );
        }
        for address in &self.addresses {
            batch.put_sealed(STORAGE_ADDRESS_INDEX_CF, rows::address_key(address, slot), Vec::new());
        }
    }

    /// Deletes the rows.
    pub(crate) fn delete(&self, batch: &mut RowBatch, slot: Slot) {
        if let Some(id) = &self.block {
            batch.delete(STORAGE_BLOCK_INDEX_CF, rows::block_index_key(id).to_vec());
        }
        for id in &self.operations {
            batch.delete(STORAGE_OPERATION_INDEX_CF, rows::operation_index_key(id).to_vec());
        }
        for address in &self.addresses {
            batch.delete(STORAGE_ADDRESS_INDEX_CF, rows::address_key(address, slot));
        }
    }
}

/// Adds the addresses of an operation: who sent it, who gets its coins, which contract it calls. Of one that cannot be read
/// there is only the sender; whether it is valid is not judged here.
fn add_addresses(unsigned: &[u8], addresses: &mut BTreeSet<[u8; ADDRESS_BYTES]>) {
    let Some((key, content)) = unsigned.split_at_checked(PUBLIC_KEY_BYTES) else {
        return;
    };
    let sender = Address::User(UserAddress::UserAddressV0(UserAddressV0(Hash::compute_from(key))));
    addresses.extend(address_bytes(&sender));
    let deserializer = OperationDeserializer::new(
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    );
    let Ok((_, operation)) = deserializer.deserialize::<DeserializeError>(content) else {
        return;
    };
    match operation.op {
        OperationType::Transaction { recipient_address, .. } => addresses.extend(address_bytes(&recipient_address)),
        OperationType::CallSC { target_addr, .. } => addresses.extend(address_bytes(&target_addr)),
        _ => {}
    }
}

/// The form of an address in the index; `None` for a version that has another length, of which there is none today.
pub(crate) fn address_bytes(address: &Address) -> Option<[u8; ADDRESS_BYTES]> {
    address.to_prefixed_bytes().try_into().ok()
}

impl Body<'_> {
    /// What the indexes of scope `held` say because chunk `index` is held: rows that come with it and go with it.
    ///
    /// Also returns the number of blocks that begin in it. Scope `all` is served likewise where `all` is set: a chunk may come
    /// without the blocks of its segment ever having been here.
    pub(crate) fn indexed_by(&self, index: u32, with_all: bool) -> Result<(Vec<(Slot, Indexed)>, u32), StoreError> {
        let chunk = self.table.chunk_range(index);
        let scopes = self.view.store.indexes;
        let wanted = |scope| scope == IndexScope::Held || (with_all && scope == IndexScope::All);
        let (mut rows, mut blocks) = (Vec::new(), 0);
        for block in self.blocks_touching(index)? {
            let begins = chunk.contains(&block.range.start);
            blocks += u32::from(begins);
            let mut found = Indexed {
                block: (begins && wanted(scopes.blocks)).then_some(block.id),
                ..Indexed::default()
            };
            if wanted(scopes.operations) {
                found.operations = self.operations_of(&block, &chunk)?;
            }
            if wanted(scopes.addresses) {
                found.addresses = self.addresses_of(&block)?;
            }
            rows.push((block.slot, found));
        }
        Ok((rows, blocks))
    }

    /// The operations of a block if its list is held and touches `chunk`.
    fn operations_of(&self, block: &BlockAt, chunk: &Range<u64>) -> Result<Vec<OperationId>, StoreError> {
        let start = block.range.start;
        let prefix = start..(start + 4).min(block.range.end);
        if !self.holds(&prefix) {
            return Ok(Vec::new());
        }
        let length = self.bytes(&prefix)?;
        let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
        let end = (start + 4 + u64::from(length)).min(block.range.end);
        let object = start + 4..end;
        let touches = start < chunk.end && object.end > chunk.start;
        if !touches || !self.holds(&object) {
            return Ok(Vec::new());
        }
        let bytes = self.bytes(&object)?;
        let view = BlockView::parse(&bytes, self.table.header().threads);
        let view = view.map_err(|error| self.damage(block.slot, error.to_string()))?;
        Ok(view.operation_ids().collect())
    }

    /// The addresses of a block if all of it is held.
    fn addresses_of(&self, block: &BlockAt) -> Result<BTreeSet<[u8; ADDRESS_BYTES]>, StoreError> {
        let mut addresses = BTreeSet::new();
        if !self.holds(&block.range) {
            return Ok(addresses);
        }
        let bytes = self.bytes(&block.range)?;
        let record = UnsignedRecord::parse(&bytes);
        let record = record.map_err(|error| self.damage(block.slot, error.to_string()))?;
        for operation in &record.objects()[1..] {
            add_addresses(operation, &mut addresses);
        }
        Ok(addresses)
    }
}

impl View<'_> {
    fn indexed_slot(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.sealed(family, key, &|damage| damage)
    }

    fn kept(&self, slot: Slot) -> bool {
        self.store.parameters.segment_of(slot.period) >= self.floor()
    }

    pub(crate) fn block_slot(&self, id: &BlockId) -> Result<Option<Slot>, StoreError> {
        let Some(value) = self.indexed_slot(STORAGE_BLOCK_INDEX_CF, &rows::block_index_key(id))? else {
            return Ok(None);
        };
        let malformed = || Damage::new(STORAGE_BLOCK_INDEX_CF, "row is malformed");
        let slot = rows::parse_block_index(&value).ok_or_else(malformed)?;
        Ok(Some(slot).filter(|slot| self.kept(*slot)))
    }

    pub(crate) fn operation_slot(&self, id: &OperationId) -> Result<Option<(Slot, u32)>, StoreError> {
        let Some(value) = self.indexed_slot(STORAGE_OPERATION_INDEX_CF, &rows::operation_index_key(id))? else {
            return Ok(None);
        };
        let malformed = || Damage::new(STORAGE_OPERATION_INDEX_CF, "row is malformed");
        let found = rows::parse_operation_index(&value).ok_or_else(malformed)?;
        Ok(Some(found).filter(|(slot, _)| self.kept(*slot)))
    }

    /// Whether the operation that memory names is the one that is looked for.
    fn open_operation(&self, id: &OperationId) -> Result<Option<(Slot, u32)>, StoreError> {
        let Some((slot, _)) = self.store.find_open_operation(id) else {
            return Ok(None);
        };
        let record = self.open_block(slot)?;
        let index = record
            .and_then(|record| super::open_segments::operation_in(&record, self.store.parameters.thread_count, id));
        Ok(index.map(|index| (slot, index)))
    }
}

impl SegmentStore {
    /// The slot of a block, as far as this node knows: from memory for open segments, then from the index. Reads at most one
    /// row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn find_block(&self, id: &BlockId) -> Result<Option<Slot>, StoreError> {
        match self.find_open_block(id) {
            Some(slot) => Ok(Some(slot)),
            None => self.view(|view| view.block_slot(id)),
        }
    }

    /// Slot and position in its block of an operation, as far as this node knows. Reads at most one row of the index, and the
    /// block where it is of an open segment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn find_operation(&self, id: &OperationId) -> Result<Option<(Slot, u32)>, StoreError> {
        self.view(|view| match view.open_operation(id)? {
            Some(found) => Ok(Some(found)),
            None => view.operation_slot(id),
        })
    }

    /// Slots after `after` in which an address occurs, in order, at most `limit`. Open segments are covered only if the index
    /// is of all blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn find_address(&self, address: &Address, after: Option<Slot>, limit: usize) -> Result<Vec<Slot>, StoreError> {
        let Some(address) = address_bytes(address) else {
            return Ok(Vec::new());
        };
        self.view(|view| {
            let floor = Slot::new(self.floor_period(), 0);
            let from = after.map_or(floor, |slot| slot.max(floor));
            let mut slots = Vec::new();
            view.scan(
                STORAGE_ADDRESS_INDEX_CF,
                &rows::address_key(&address, from),
                |key, row| {
                    if slots.len() == limit || !key.starts_with(&address) {
                        return Ok(false);
                    }
                    let damage = |reason: &str| Damage::new(STORAGE_ADDRESS_INDEX_CF, reason);
                    let slot = rows::parse_address_slot(key).ok_or_else(|| damage("key is malformed"))?;
                    unseal(key, row).ok_or_else(|| damage("row does not match its checksum").at(slot))?;
                    if Some(slot) != after {
                        slots.push(slot);
                    }
                    Ok(true)
                },
            )?;
            Ok(slots)
        })
    }
}

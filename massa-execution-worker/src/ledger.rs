//! The final ledger: balances, datastores and bytecode on disk, and in memory what is asked for with every operation.

use crate::config::ExecutionConfig;
use crate::execute::{genesis_hash, state_hash, Outcome, SlotOutput};
use crate::rows::{self, Head, Identity};
use crate::state::{Bytes, Changes, KeyRange, StateView};
use massa_execution_exports::{ExecutionError, FinalBlock, FinalPeriod, STATE_CHECKPOINT_PERIODS};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::config::KEEP_EXECUTED_HISTORY_EXTRA_PERIODS;
use massa_models::operation::OperationId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use rocksdb::{BlockBasedOptions, ColumnFamily, ColumnFamilyDescriptor, Direction, IteratorMode, LogLevel, Options};
use rocksdb::{WriteBatch, WriteOptions, DB};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

/// Log files of all families together, after which the oldest buffers are written out.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Final states that are kept to be compared with other nodes'.
const CHECKPOINTS_KEPT: usize = 16;

/// Why the ledger cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("{0}")]
    Database(#[from] rocksdb::Error),
    #[error("row {key} of {family} is damaged")]
    Damaged { family: &'static str, key: String },
    #[error("the ledger is closed")]
    Closed,
    /// Only for who reads without being the execution thread: try again.
    #[error("the state was replaced while it was read")]
    Replaced,
}

impl From<LedgerError> for ExecutionError {
    fn from(error: LedgerError) -> Self {
        ExecutionError::Ledger(error.to_string())
    }
}

/// The state after the last final slot.
pub(crate) struct FinalLedger {
    /// `None` once it is closed.
    db: Option<DB>,
    head: Head,
    thread_count: u8,
    keep_final_blocks_periods: u64,
    outcomes: PreHashMap<OperationId, Outcome>,
    executed_by_expiry: BTreeMap<u64, Vec<OperationId>>,
    /// Final blocks on disk.
    kept_blocks: BTreeMap<Slot, BlockId>,
    /// Final states that are compared with those of other nodes, oldest first.
    checkpoints: VecDeque<(Slot, [u8; 32])>,
    /// The last final block of each thread; `None` while that is a genesis block nobody has named.
    last_blocks: Vec<Option<BlockId>>,
}

impl FinalLedger {
    /// Opens the ledger in the configured directory; makes it from the genesis balances if there is none.
    pub(crate) fn open(config: &ExecutionConfig) -> Result<Self, ExecutionError> {
        let supply = config.check()?;
        let db = open_db(&config.path).map_err(LedgerError::from)?;
        let head = match read_head(&db, config)? {
            Some(head) => head,
            None => create(&db, config, supply)?,
        };
        let mut ledger = Self {
            db: Some(db),
            head,
            thread_count: config.thread_count,
            keep_final_blocks_periods: config.keep_final_blocks_periods,
            outcomes: PreHashMap::default(),
            executed_by_expiry: BTreeMap::new(),
            kept_blocks: BTreeMap::new(),
            checkpoints: VecDeque::new(),
            last_blocks: vec![None; usize::from(config.thread_count)],
        };
        ledger.load_executed()?;
        ledger.load_blocks()?;
        Ok(ledger)
    }

    /// The last final slot executed.
    pub(crate) fn cursor(&self) -> Slot {
        self.head.slot
    }

    /// The hash of the state after it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.head.hash
    }

    /// Slots at which states are compared, with the hash after each, oldest first.
    pub(crate) fn checkpoints(&self) -> Vec<(Slot, [u8; 32])> {
        self.checkpoints.iter().copied().collect()
    }

    fn note_checkpoint(&mut self, slot: Slot) {
        if slot.thread.checked_add(1) != Some(self.thread_count)
            || !slot.period.is_multiple_of(STATE_CHECKPOINT_PERIODS)
        {
            return;
        }
        self.checkpoints.push_back((slot, self.head.hash));
        if self.checkpoints.len() > CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
    }

    /// The last final block of a thread.
    pub(crate) fn last_block(&self, thread: u8) -> Option<BlockId> {
        *self.last_blocks.get(usize::from(thread))?
    }

    /// Tells the genesis block of a thread. Not kept on disk: consensus makes the same one again.
    pub(crate) fn set_genesis_block(&mut self, thread: u8, id: BlockId) {
        if let Some(last) = self.last_blocks.get_mut(usize::from(thread)) {
            last.get_or_insert(id);
        }
    }

    /// Makes the output of the slot after the cursor final, in one write. On an error nothing has changed.
    ///
    /// The write is not synced: a machine that loses power reopens at an earlier slot, and the blocks after it come
    /// from peers.
    pub(crate) fn commit(&mut self, output: &SlotOutput, content: Option<&[Vec<u8>]>) -> Result<(), LedgerError> {
        let head = Head {
            slot: output.slot,
            hash: state_hash(&self.head.hash, output),
            supply: output.supply,
        };
        let (expired_end, old_blocks) = (self.expired_end(output.slot), self.old_blocks(output));
        let db = self.db()?;
        let mut batch = WriteBatch::default();
        write_changes(db, &output.changes, &mut batch)?;
        let executed = family(db, rows::EXECUTED_OPERATIONS_CF)?;
        for operation in &output.executed {
            let key = rows::executed_key(operation.expire_period, &operation.id);
            batch.put_cf(executed, key, [operation.outcome as u8]);
        }
        if self.executed_by_expiry.range(..expired_end).next().is_some() {
            batch.delete_range_cf(executed, 0u64.to_be_bytes(), expired_end.to_be_bytes());
        }
        let blocks = family(db, rows::FINAL_BLOCKS_CF)?;
        if let (Some(id), Some(content)) = (&output.block, content) {
            batch.put_cf(blocks, output.slot.to_bytes_key(), rows::final_block_value(id, content));
        }
        for slot in &old_blocks {
            batch.delete_cf(blocks, slot.to_bytes_key());
        }
        batch.put_cf(family(db, rows::META_CF)?, rows::HEAD_KEY, head.to_bytes());
        db.write(batch)?;
        self.apply(output, head, expired_end, &old_blocks);
        Ok(())
    }

    /// The final blocks kept, in slot order.
    pub(crate) fn final_blocks(&self) -> Result<Vec<FinalBlock>, LedgerError> {
        let rows = self.rows(rows::FINAL_BLOCKS_CF)?;
        rows.map(|row| {
            let (key, value) = row?;
            final_block(&key, &value)
        })
        .collect()
    }

    /// The final blocks of a period, one for each thread, `None` for a miss; nothing while one of its slots is not final, or once
    /// they are not kept any more.
    pub(crate) fn final_period(&self, period: u64) -> Result<Option<FinalPeriod>, LedgerError> {
        let cursor = self.head.slot;
        let is_final = cursor >= Slot::new(period, self.thread_count - 1);
        let is_kept = period > cursor.period.saturating_sub(self.keep_final_blocks_periods);
        if !is_final || !is_kept {
            return Ok(None);
        }
        let (db, mut blocks) = (self.db()?, Vec::new());
        for thread in 0..self.thread_count {
            let key = Slot::new(period, thread).to_bytes_key();
            let row = db.get_pinned_cf(family(db, rows::FINAL_BLOCKS_CF)?, key)?;
            let block = row.map(|value| {
                let id = rows::parse_final_block_id(&value).ok_or_else(|| damaged(rows::FINAL_BLOCKS_CF, &key))?;
                Ok::<_, LedgerError>((id, final_block(&key, &value)?))
            });
            blocks.push(block.transpose()?);
        }
        Ok(Some(blocks))
    }

    /// Writes out what is buffered and releases the directory.
    pub(crate) fn close(&mut self) -> Result<(), LedgerError> {
        match self.db.take() {
            Some(db) => Ok(db.flush_wal(true)?),
            None => Ok(()),
        }
    }

    /// The first expiry period whose executed operations are still remembered after `slot`.
    fn expired_end(&self, slot: Slot) -> u64 {
        slot.period.saturating_sub(KEEP_EXECUTED_HISTORY_EXTRA_PERIODS)
    }

    /// Blocks to be dropped with this output: those of old periods that are not the last one of their thread. Looked
    /// for once per period.
    fn old_blocks(&self, output: &SlotOutput) -> Vec<Slot> {
        let slot = output.slot;
        if slot.thread.checked_add(1) != Some(self.thread_count) {
            return Vec::new();
        }
        let end = Slot::new(slot.period.saturating_sub(self.keep_final_blocks_periods), 0);
        let is_replaced = |thread: u8| thread == slot.thread && output.block.is_some();
        let is_last = |old: &Slot, id: &BlockId| self.last_block(old.thread) == Some(*id) && !is_replaced(old.thread);
        let old = self.kept_blocks.range(..end).filter(|(old, id)| !is_last(old, id));
        old.map(|(old, _)| *old).collect()
    }

    /// The changes of a commit in memory.
    fn apply(&mut self, output: &SlotOutput, head: Head, expired_end: u64, old_blocks: &[Slot]) {
        self.head = head;
        self.note_checkpoint(head.slot);
        for operation in &output.executed {
            self.remember(operation.expire_period, operation.id, operation.outcome);
        }
        let kept = self.executed_by_expiry.split_off(&expired_end);
        for id in std::mem::replace(&mut self.executed_by_expiry, kept).values().flatten() {
            self.outcomes.remove(id);
        }
        for slot in old_blocks {
            self.kept_blocks.remove(slot);
        }
        if let Some(id) = output.block {
            self.kept_blocks.insert(output.slot, id);
            if let Some(last) = self.last_blocks.get_mut(usize::from(output.slot.thread)) {
                *last = Some(id);
            }
        }
    }

    fn remember(&mut self, expire_period: u64, id: OperationId, outcome: Outcome) {
        self.outcomes.insert(id, outcome);
        self.executed_by_expiry.entry(expire_period).or_default().push(id);
    }

    fn load_executed(&mut self) -> Result<(), LedgerError> {
        let rows: Vec<_> = self.rows(rows::EXECUTED_OPERATIONS_CF)?.collect::<Result<_, _>>()?;
        for (key, value) in rows {
            let row = rows::parse_executed(&key, &value);
            let (period, id, outcome) = row.ok_or_else(|| damaged(rows::EXECUTED_OPERATIONS_CF, &key))?;
            self.remember(period, id, outcome);
        }
        Ok(())
    }

    fn load_blocks(&mut self) -> Result<(), LedgerError> {
        let mut kept = BTreeMap::new();
        for row in self.rows(rows::FINAL_BLOCKS_CF)? {
            let (key, value) = row?;
            match (rows::parse_slot(&key), rows::parse_final_block_id(&value)) {
                (Some(slot), Some(id)) if slot.thread < self.thread_count => kept.insert(slot, id),
                _ => return Err(damaged(rows::FINAL_BLOCKS_CF, &key)),
            };
        }
        // In slot order, so that the last one of each thread stays.
        for (slot, id) in &kept {
            self.last_blocks[usize::from(slot.thread)] = Some(*id);
        }
        self.kept_blocks = kept;
        Ok(())
    }

    fn db(&self) -> Result<&DB, LedgerError> {
        self.db.as_ref().ok_or(LedgerError::Closed)
    }

    #[allow(clippy::type_complexity)] // The item of RocksDB's own iterator.
    fn rows(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), rocksdb::Error>> + '_, LedgerError> {
        let db = self.db()?;
        Ok(db.iterator_cf(family(db, name)?, IteratorMode::Start))
    }
}

/// Adds the changes of a slot to its write.
fn write_changes(db: &DB, changes: &Changes, batch: &mut WriteBatch) -> Result<(), LedgerError> {
    let (ledger, datastore) = (family(db, rows::LEDGER_CF)?, family(db, rows::DATASTORE_CF)?);
    let bytecodes = family(db, rows::BYTECODE_CF)?;
    for (address, balance) in &changes.balances {
        batch.put_cf(ledger, address.to_prefixed_bytes(), rows::balance_value(*balance));
    }
    for ((address, key), entry) in &changes.entries {
        let key = rows::entry_key(address, key);
        match entry {
            Some(entry) => batch.put_cf(datastore, key, entry),
            None => batch.delete_cf(datastore, key),
        }
    }
    for (address, bytecode) in &changes.bytecode {
        batch.put_cf(bytecodes, address.to_prefixed_bytes(), bytecode);
    }
    Ok(())
}

impl FinalLedger {
    fn value(&self, name: &'static str, key: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        let db = self.db()?;
        let value = db.get_pinned_cf(family(db, name)?, key)?;
        Ok(value.map(|value| Arc::from(&value[..])))
    }
}

impl StateView for FinalLedger {
    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError> {
        let db = self.db()?;
        let key = address.to_prefixed_bytes();
        match db.get_pinned_cf(family(db, rows::LEDGER_CF)?, &key)? {
            None => Ok(None),
            Some(value) => match rows::parse_balance(&value) {
                Some(balance) => Ok(Some(balance)),
                None => Err(damaged(rows::LEDGER_CF, &key)),
            },
        }
    }

    fn entry(&self, address: &Address, key: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        self.value(rows::DATASTORE_CF, &rows::entry_key(address, key))
    }

    fn keys(&self, address: &Address, range: &KeyRange, count: usize) -> Result<BTreeSet<Vec<u8>>, LedgerError> {
        let db = self.db()?;
        let start = match &range.0 {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &Vec::new(),
        };
        let start = rows::entry_key(address, start);
        let prefix = address.to_prefixed_bytes();
        let rows = db.iterator_cf(
            family(db, rows::DATASTORE_CF)?,
            IteratorMode::From(&start, Direction::Forward),
        );
        let mut keys = BTreeSet::new();
        for row in rows {
            if keys.len() >= count {
                break;
            }
            let (row, _) = row?;
            let Some(key) = row.strip_prefix(&prefix[..]) else {
                break;
            };
            if range.contains(&key.to_vec()) {
                keys.insert(key.to_vec());
            } else if range.0 != Bound::Excluded(key.to_vec()) {
                break;
            }
        }
        Ok(keys)
    }

    fn bytecode(&self, address: &Address) -> Result<Option<Bytes>, LedgerError> {
        self.value(rows::BYTECODE_CF, &address.to_prefixed_bytes())
    }

    fn outcome(&self, operation: &OperationId) -> Option<Outcome> {
        self.outcomes.get(operation).copied()
    }

    fn supply(&self) -> Amount {
        self.head.supply
    }
}

fn final_block(key: &[u8], value: &[u8]) -> Result<FinalBlock, LedgerError> {
    match (rows::parse_slot(key), rows::parse_final_block(value)) {
        (Some(slot), Some(mut content)) => {
            let operations = content.split_off(1);
            let block = content.swap_remove(0);
            Ok(FinalBlock {
                slot,
                block,
                operations,
            })
        }
        _ => Err(damaged(rows::FINAL_BLOCKS_CF, key)),
    }
}

fn open_db(path: &Path) -> Result<DB, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(256);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_background_jobs(2);
    let families = rows::FAMILIES.iter().map(|name| {
        let mut tables = BlockBasedOptions::default();
        tables.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.set_block_based_table_factory(&tables);
        options.set_write_buffer_size(8 << 20);
        ColumnFamilyDescriptor::new(*name, options)
    });
    DB::open_cf_descriptors(&options, path, families)
}

/// How far the ledger is, if there is one and it belongs to the configured network.
fn read_head(db: &DB, config: &ExecutionConfig) -> Result<Option<Head>, ExecutionError> {
    let meta = family(db, rows::META_CF)?;
    let Some(identity) = db.get_cf(meta, rows::IDENTITY_KEY).map_err(LedgerError::from)? else {
        return Ok(None);
    };
    let identity = Identity::parse(&identity).ok_or_else(|| damaged(rows::META_CF, rows::IDENTITY_KEY))?;
    check_identity(&identity, config)?;
    let head = db.get_cf(meta, rows::HEAD_KEY).map_err(LedgerError::from)?;
    let head = head.as_deref().and_then(Head::parse);
    Ok(Some(head.ok_or_else(|| damaged(rows::META_CF, rows::HEAD_KEY))?))
}

fn check_identity(stored: &Identity, config: &ExecutionConfig) -> Result<(), ExecutionError> {
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mine = identity_of(config);
    let names = [
        ("format", stored.format.to_string(), mine.format.to_string()),
        ("chain_id", stored.chain_id.to_string(), mine.chain_id.to_string()),
        (
            "thread_count",
            stored.thread_count.to_string(),
            mine.thread_count.to_string(),
        ),
        ("genesis_id", hex(&stored.genesis_id), hex(&mine.genesis_id)),
    ];
    match names.into_iter().find(|(_, stored, configured)| stored != configured) {
        None => Ok(()),
        Some((name, stored, configured)) => Err(ExecutionError::Mismatch {
            path: config.path.display().to_string(),
            name,
            stored,
            configured,
        }),
    }
}

fn identity_of(config: &ExecutionConfig) -> Identity {
    Identity {
        format: rows::FORMAT,
        chain_id: config.chain_id,
        thread_count: config.thread_count,
        genesis_id: config.genesis_id,
    }
}

/// Writes the ledger of the genesis file, synced: all of it or nothing.
fn create(db: &DB, config: &ExecutionConfig, supply: Amount) -> Result<Head, LedgerError> {
    let head = Head {
        slot: Slot::new(0, config.thread_count - 1),
        hash: genesis_hash(&config.genesis_id, &config.genesis_ledger),
        supply,
    };
    let mut batch = WriteBatch::default();
    for (address, balance) in &config.genesis_ledger {
        let value = rows::balance_value(*balance);
        batch.put_cf(family(db, rows::LEDGER_CF)?, address.to_prefixed_bytes(), value);
    }
    let meta = family(db, rows::META_CF)?;
    batch.put_cf(meta, rows::IDENTITY_KEY, identity_of(config).to_bytes());
    batch.put_cf(meta, rows::HEAD_KEY, head.to_bytes());
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options)?;
    Ok(head)
}

fn family<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, LedgerError> {
    db.cf_handle(name).ok_or(LedgerError::Closed)
}

fn damaged(family: &'static str, key: &[u8]) -> LedgerError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    LedgerError::Damaged { family, key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::execute_miss;
    use massa_models::address::{UserAddress, UserAddressV0};
    use massa_time::MassaTime;

    fn config(path: &Path) -> ExecutionConfig {
        let hash = massa_hash::Hash::compute_from(b"someone");
        let someone = Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)));
        ExecutionConfig {
            path: path.to_path_buf(),
            chain_id: 77,
            thread_count: 2,
            genesis_id: [1; 32],
            genesis_ledger: BTreeMap::from([(someone, Amount::from_raw(5))]),
            rolls: BTreeMap::new(),
            operation_validity_periods: 10,
            keep_final_blocks_periods: 3,
            block_reward: Amount::zero(),
            t0: MassaTime::from_millis(16_000),
            genesis_timestamp: MassaTime::from_millis(0),
        }
    }

    #[test]
    fn a_write_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = FinalLedger::open(&config(directory.path())).unwrap();
        let before = (ledger.cursor(), ledger.hash());
        let output = execute_miss(&ledger, Slot::new(1, 0));
        ledger.close().unwrap();
        assert!(ledger.commit(&output, None).is_err());
        assert_eq!((ledger.cursor(), ledger.hash()), before);
    }

    #[test]
    fn states_are_noted_at_the_last_slot_of_every_eighth_period_and_the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = FinalLedger::open(&config(directory.path())).unwrap();
        let mut expected = Vec::new();
        for period in 1..=STATE_CHECKPOINT_PERIODS * (CHECKPOINTS_KEPT as u64 + 2) {
            for thread in 0..2 {
                let output = execute_miss(&ledger, Slot::new(period, thread));
                ledger.commit(&output, None).unwrap();
            }
            if period % STATE_CHECKPOINT_PERIODS == 0 {
                expected.push((Slot::new(period, 1), ledger.hash()));
            }
        }
        assert_eq!(ledger.checkpoints(), expected[2..]);
    }

    #[test]
    fn a_ledger_interrupted_before_its_first_write_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        drop(open_db(directory.path()).unwrap());
        let ledger = FinalLedger::open(&config(directory.path())).unwrap();
        assert_eq!(
            (ledger.cursor(), ledger.supply()),
            (Slot::new(0, 1), Amount::from_raw(5))
        );
    }

    #[test]
    fn damaged_rows_are_named() {
        for (name, key, value) in [
            (rows::META_CF, rows::HEAD_KEY, &b"short"[..]),
            (rows::META_CF, rows::IDENTITY_KEY, b"?"),
            (rows::EXECUTED_OPERATIONS_CF, b"key", b"value"),
            (rows::FINAL_BLOCKS_CF, b"key", b"value"),
            (rows::FINAL_BLOCKS_CF, &Slot::new(1, 2).to_bytes_key(), &[0; 40]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            FinalLedger::open(&config(directory.path())).unwrap();
            let db = open_db(directory.path()).unwrap();
            db.put_cf(family(&db, name).unwrap(), key, value).unwrap();
            drop(db);
            let error = FinalLedger::open(&config(directory.path())).err().unwrap();
            assert!(error.to_string().contains(&format!("of {name} is damaged")), "{error}");
        }
    }
}

//! What the store's tests share: upstream's own blocks, and cheap synthetic chains.
#![allow(dead_code)]

pub mod memory_rows;
pub mod second_segment;
pub mod tamper;
pub mod world;

use massa_distributed_storage_exports::record::{block_id_bytes, operation_id, BlockRecord};
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Chain of the data files.
pub const CHAIN_ID: u64 = 77_658_377;
/// Threads of the data files.
pub const THREADS: u8 = 32;

/// The blocks of `upstream-blocks-4-periods.mblk`, in file order.
pub fn upstream_blocks() -> Vec<BlockRecord> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/upstream-blocks-4-periods.mblk"
    );
    let file = std::fs::read(path).unwrap();
    let length = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut records = Vec::new();
    let mut at = 15;
    while at < file.len() {
        let start = at + 9;
        at = start + 4 + length(start);
        let operations = length(at);
        at += 4;
        for _ in 0..operations {
            at += 4 + length(at);
        }
        records.push(BlockRecord::from_bytes(file[start..at].to_vec()).unwrap());
    }
    records
}

/// Parameters of an archive that begins with `first`, as the import command sets them.
pub fn parameters_from(first: &BlockRecord) -> ArchiveParameters {
    let view = first.view(THREADS).unwrap();
    ArchiveParameters {
        first_period: view.slot.period,
        boundary: view.parents().collect(),
        ..ArchiveParameters::new(CHAIN_ID, THREADS)
    }
}

/// Id of a record's block.
pub fn id_of(record: &BlockRecord, threads: u8) -> BlockId {
    record.view(threads).unwrap().block_id()
}

/// Slot of a record's block.
pub fn slot_of(record: &BlockRecord, threads: u8) -> Slot {
    record.view(threads).unwrap().slot
}

/// A chain of blocks with valid ids, links and operation roots, but random keys and signatures: cheap, for everything
/// that does not look at signatures.
pub struct Chain {
    pub parameters: ArchiveParameters,
    rng: ChaCha20Rng,
    latest: Vec<BlockId>,
    period: u64,
}

/// What the blocks of a [`Chain`] are like.
#[derive(Clone, Copy)]
pub struct Shape {
    /// One slot in so many is missed; 0 for none.
    pub miss_one_in: u32,
    /// Operations of a block.
    pub operations: usize,
    /// Bytes of an operation.
    pub operation_bytes: usize,
}

impl Chain {
    /// A chain that starts in period 0 with genesis blocks.
    pub fn new(threads: u8, seed: u64) -> Self {
        Self {
            parameters: ArchiveParameters::new(CHAIN_ID, threads),
            rng: ChaCha20Rng::seed_from_u64(seed),
            latest: Vec::new(),
            period: 0,
        }
    }

    /// The blocks of the next period; index = thread.
    pub fn next_period(&mut self, shape: Shape) -> Vec<Option<BlockRecord>> {
        let genesis = self.latest.is_empty();
        let threads = self.parameters.thread_count;
        let mut missed = |_| !genesis && shape.miss_one_in > 0 && self.rng.gen_ratio(1, shape.miss_one_in);
        let missed: Vec<bool> = (0..threads).map(&mut missed).collect();
        self.next_period_missing(&missed, shape)
    }

    /// The blocks of the next period, with these slots missed; index = thread.
    pub fn next_period_missing(&mut self, missed: &[bool], shape: Shape) -> Vec<Option<BlockRecord>> {
        let parents = self.latest.clone();
        let threads = self.parameters.thread_count;
        let slots: Vec<Option<BlockRecord>> = (0..threads)
            .map(|thread| {
                let slot = Slot::new(self.period, thread);
                (!missed[usize::from(thread)]).then(|| self.block(slot, &parents, shape))
            })
            .collect();
        self.latest = (0..usize::from(threads))
            .map(|thread| {
                slots[thread]
                    .as_ref()
                    .map_or_else(|| parents[thread], |record| id_of(record, threads))
            })
            .collect();
        self.period += 1;
        slots
    }

    /// The blocks of the next `count` periods, in archive order.
    pub fn blocks(&mut self, count: usize, shape: Shape) -> Vec<BlockRecord> {
        (0..count).flat_map(|_| self.next_period(shape)).flatten().collect()
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn block(&mut self, slot: Slot, parents: &[BlockId], shape: Shape) -> BlockRecord {
        let count = if parents.is_empty() { 0 } else { shape.operations };
        let operations: Vec<Vec<u8>> = (0..count).map(|_| self.random(shape.operation_bytes)).collect();
        let ids: Vec<[u8; 33]> = operations
            .iter()
            .map(|operation| {
                let id = operation_id(&operation[SIGNATURE_BYTES..], self.parameters.chain_id);
                block_id_bytes(&BlockId::new(*id.get_hash()))
            })
            .collect();
        // Signature and creator key, then the header as docs/formats.md draws it.
        let mut block = self.random(SIGNATURE_BYTES + 33);
        block[SIGNATURE_BYTES] = 0;
        block.extend([0, b'0']);
        push_varint(&mut block, slot.period);
        block.push(slot.thread);
        block.push(u8::from(!parents.is_empty()));
        block.extend(parents.iter().flat_map(block_id_bytes));
        let listed: Vec<&[u8]> = ids.iter().map(|id| id.as_slice()).collect();
        block.extend(Hash::compute_from_tuple(&listed).to_bytes());
        block.extend([0, 0]);
        push_varint(&mut block, ids.len() as u64);
        block.extend(ids.iter().flatten());
        BlockRecord::new(&block, &operations).unwrap()
    }
}

fn push_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

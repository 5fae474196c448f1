//! One block with its operations, as bytes.
//!
//! A [`BlockRecord`] is what the hook hands over, what a pending row holds, what an `.mblk` file lists and what a reader
//! gets back: upstream's exact wire bytes, signatures included. A [`BlockView`] finds the fields that the archive needs in the
//! block's bytes without decompressing a key; [`BlockRecord::check_ids`] recomputes every id from them. Signatures are
//! left to [`crate::verification`].

use crate::bytes::{Reader, Truncated};
use crate::types::{Digest, SIGNATURE_BYTES};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::config::{ENDORSEMENT_COUNT, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, MAX_OPERATIONS_PER_BLOCK};
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use massa_serialization::{DeserializeError, Deserializer, U32VarIntDeserializer, U64VarIntDeserializer};
use std::ops::{Bound, Range};

/// Bytes of a block or operation id on the wire: version byte and hash.
pub const ID_BYTES: usize = 33;
/// Bytes of a public key on the wire: version byte and compressed point.
const PUBLIC_KEY_BYTES: usize = 33;
/// A record is refused beyond this size: upstream's 300 000 bytes of operations, 5 000 ids and lengths, and a header
/// with all its endorsements and denunciations stay far below it. The blocks that upstream's serializers wrote for tests
/// have up to 1.25 MB of operations, and are to be imported too.
pub const MAX_RECORD_BYTES: usize = 2 << 20;

/// Why bytes are not a block with its operations.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Bytes are left over.
    #[error("{0} bytes follow the last field")]
    TrailingBytes(usize),
    /// A length or count beyond what a block can have.
    #[error("{field}: {value} is more than {max}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its limit.
        max: u64,
    },
    /// A field that cannot be read.
    #[error("{field} is malformed")]
    Malformed {
        /// The field.
        field: &'static str,
    },
    /// The slot's thread does not exist.
    #[error("thread {thread} of {thread_count}")]
    Thread {
        /// The thread found.
        thread: u8,
        /// Threads of the chain.
        thread_count: u8,
    },
    /// The operations are not those that the block lists.
    #[error("operation {index} is {actual}, the block lists {listed}")]
    OperationMismatch {
        /// Position in the block.
        index: usize,
        /// Id recomputed from the operation's bytes.
        actual: String,
        /// Id in the block.
        listed: String,
    },
    /// Not as many operations as the block lists.
    #[error("{actual} operations, the block lists {listed}")]
    OperationCount {
        /// Operations present.
        actual: usize,
        /// Ids in the block.
        listed: usize,
    },
    /// The header's operation root is not the root of the listed ids.
    #[error("operation root mismatch in block {block_id}")]
    OperationRoot {
        /// The block.
        block_id: BlockId,
    },
    /// The bytes are another block than the one asked for.
    #[error("expected block {expected}, found {found}")]
    WrongBlock {
        /// What was asked for.
        expected: BlockId,
        /// What the bytes are.
        found: BlockId,
    },
}

/// A block and its operations in upstream's wire bytes.
///
/// ```text
/// length u32 | SecureShareBlock | operation count u32 | (length u32 | SecureShareOperation) …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    bytes: Vec<u8>,
    /// Where each object stands in `bytes`: the block, then its operations.
    objects: Vec<Range<usize>>,
}

impl BlockRecord {
    /// Takes `bytes` apart; lengths are checked, contents are not.
    ///
    /// # Errors
    /// [`RecordError::Truncated`], [`RecordError::TrailingBytes`], [`RecordError::TooLarge`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, RecordError> {
        check_max("record", bytes.len(), MAX_RECORD_BYTES)?;
        let mut reader = Reader::new(&bytes);
        let mut objects = vec![next_object(&mut reader, bytes.len(), "block")?];
        let count = reader.u32("operation count")? as usize;
        check_max("operation count", count, MAX_OPERATIONS_PER_BLOCK as usize)?;
        for _ in 0..count {
            objects.push(next_object(&mut reader, bytes.len(), "operation")?);
        }
        if !reader.is_empty() {
            return Err(RecordError::TrailingBytes(reader.remaining()));
        }
        Ok(Self { bytes, objects })
    }

    /// Builds the record from the wire bytes of a block and of its operations.
    ///
    /// # Errors
    /// As [`BlockRecord::from_bytes`].
    pub fn new(block: &[u8], operations: &[Vec<u8>]) -> Result<Self, RecordError> {
        let total: usize = operations.iter().map(|operation| operation.len() + 4).sum();
        let mut bytes = Vec::with_capacity(8 + block.len() + total);
        push_prefixed(&mut bytes, block);
        bytes.extend((operations.len() as u32).to_le_bytes());
        for operation in operations {
            push_prefixed(&mut bytes, operation);
        }
        Self::from_bytes(bytes)
    }

    /// The whole record, as [`BlockRecord::from_bytes`] takes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The `SecureShareBlock`.
    pub fn block(&self) -> &[u8] {
        &self.bytes[self.objects[0].clone()]
    }

    /// Number of operations.
    pub fn operation_count(&self) -> usize {
        self.objects.len() - 1
    }

    /// The `SecureShareOperation`s, in the block's order.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.objects[1..].iter().map(|range| &self.bytes[range.clone()])
    }

    /// The block, then its operations, each with its signature.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.objects.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The block's fields.
    ///
    /// # Errors
    /// As [`BlockView::parse`].
    pub fn view(&self, thread_count: u8) -> Result<BlockView<'_>, RecordError> {
        BlockView::parse(&self.block()[SIGNATURE_BYTES..], thread_count)
    }

    /// Checks that the operations are those that the block lists and that the header commits to: ids and operation
    /// root are recomputed. Signatures are not checked. Costs one hash for each operation.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check_ids(&self, chain_id: u64, thread_count: u8) -> Result<BlockView<'_>, RecordError> {
        let view = self.view(thread_count)?;
        let operations = self.operations();
        view.check_operations(operations.map(|operation| operation_id(&operation[SIGNATURE_BYTES..], chain_id)))?;
        Ok(view)
    }
}

/// Appends `bytes` after their u32 length.
pub(crate) fn push_prefixed(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend((bytes.len() as u32).to_le_bytes());
    buffer.extend(bytes);
}

fn check_max(field: &'static str, value: usize, max: usize) -> Result<(), RecordError> {
    if value > max {
        return Err(RecordError::TooLarge {
            field,
            value: value as u64,
            max: max as u64,
        });
    }
    Ok(())
}

/// Reads one length-prefixed object, which has at least a signature and a key, and tells where it stands.
fn next_object(reader: &mut Reader<'_>, total: usize, field: &'static str) -> Result<Range<usize>, RecordError> {
    let object = reader.prefixed(field)?;
    if object.len() < SIGNATURE_BYTES + PUBLIC_KEY_BYTES {
        return Err(RecordError::Malformed { field });
    }
    let end = total - reader.remaining();
    Ok(end - object.len()..end)
}

/// Id of an operation from its wire bytes without the signature (creator key and content).
///
/// Source: `Operation::compute_hash` of upstream: BLAKE3 over chain id (big-endian), key, content.
pub fn operation_id(unsigned: &[u8], chain_id: u64) -> OperationId {
    // In one piece: only so BLAKE3 hashes the parts of a long operation side by side.
    let hashed = [&chain_id.to_be_bytes(), unsigned].concat();
    OperationId::new(Hash::compute_from(&hashed))
}

/// Wire form of a block id.
pub fn block_id_bytes(id: &BlockId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[1..].copy_from_slice(id.get_hash().to_bytes());
    bytes
}

/// A block id from its wire form; version 0 is the only one there is.
pub fn block_id_from_bytes(bytes: &[u8; ID_BYTES]) -> Option<BlockId> {
    id_hash(bytes).map(BlockId::new)
}

/// Wire form of an operation id.
pub fn operation_id_bytes(id: &OperationId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[1..].copy_from_slice(id.get_hash().to_bytes());
    bytes
}

/// An operation id from its wire form; version 0 is the only one there is.
pub fn operation_id_from_bytes(bytes: &[u8; ID_BYTES]) -> Option<OperationId> {
    id_hash(bytes).map(OperationId::new)
}

fn id_hash(bytes: &[u8; ID_BYTES]) -> Option<Hash> {
    let (version, hash) = bytes.split_first()?;
    let hash: &Digest = hash.try_into().ok()?;
    (*version == 0).then(|| Hash::from_bytes(hash))
}

/// The fields of a block that the archive needs, found in its wire bytes without the signature.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'a> {
    /// Slot of the block.
    pub slot: Slot,
    /// Root over the operation ids, from the header.
    pub operation_root: Digest,
    /// Creator key and header content: what the block id is the hash of.
    header: &'a [u8],
    /// One id for each thread; empty for genesis blocks.
    parents: &'a [u8],
    operation_ids: &'a [u8],
}

impl<'a> BlockView<'a> {
    /// Finds the fields of `unsigned`: a `SecureShareBlock` without its signature.
    ///
    /// Accepts what upstream's block serializer writes, and more: keys and signatures inside the header are not looked
    /// at. Upstream's deserializer also accepts other bytes for the same block, in what the block id does not cover: a
    /// key version or a count of operations written with more bytes than needed. Those are refused, because two nodes
    /// would archive one block in two forms. Source of the layout: `docs/formats.md`, "Block".
    ///
    /// # Errors
    /// [`RecordError`], naming the field.
    pub fn parse(unsigned: &'a [u8], thread_count: u8) -> Result<Self, RecordError> {
        let mut reader = Reader::new(unsigned);
        read_creator_key(&mut reader)?;
        varint_u32(&mut reader, u32::MAX, "current version")?;
        skip_announced_version(&mut reader)?;
        let slot = read_slot(&mut reader, thread_count, "slot")?;
        let parents = read_parents(&mut reader, thread_count)?;
        let operation_root = reader.array("operation root")?;
        skip_endorsements(&mut reader)?;
        skip_denunciations(&mut reader, thread_count)?;
        let header = &unsigned[..unsigned.len() - reader.remaining()];
        let count = read_operation_count(&mut reader)?;
        let operation_ids = reader.bytes(count as usize * ID_BYTES, "operation ids")?;
        if operation_ids.chunks_exact(ID_BYTES).any(|id| id[0] != 0) {
            return Err(RecordError::Malformed { field: "operation ids" });
        }
        if !reader.is_empty() {
            return Err(RecordError::TrailingBytes(reader.remaining()));
        }
        Ok(Self {
            slot,
            operation_root,
            header,
            parents,
            operation_ids,
        })
    }

    /// The block id, recomputed.
    pub fn block_id(&self) -> BlockId {
        BlockId::new(Hash::compute_from(self.header))
    }

    /// The parent in the block's own thread; `None` for genesis blocks.
    pub fn same_thread_parent(&self) -> Option<BlockId> {
        self.parents().nth(usize::from(self.slot.thread))
    }

    /// The parents, one for each thread; none for genesis blocks.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = BlockId> + 'a {
        ids(self.parents).map(BlockId::new)
    }

    /// The ids of the block's operations, as the block lists them.
    pub fn operation_ids(&self) -> impl ExactSizeIterator<Item = OperationId> + 'a {
        ids(self.operation_ids).map(OperationId::new)
    }

    /// Checks that operations with these ids are those that the block lists and that the header commits to.
    ///
    /// # Errors
    /// [`RecordError::OperationCount`], [`RecordError::OperationMismatch`], [`RecordError::OperationRoot`].
    pub fn check_operations(&self, actual: impl ExactSizeIterator<Item = OperationId>) -> Result<(), RecordError> {
        let listed = self.operation_ids();
        if listed.len() != actual.len() {
            return Err(RecordError::OperationCount {
                actual: actual.len(),
                listed: listed.len(),
            });
        }
        for (index, (actual, listed)) in actual.zip(listed).enumerate() {
            if actual != listed {
                return Err(RecordError::OperationMismatch {
                    index,
                    actual: actual.to_string(),
                    listed: listed.to_string(),
                });
            }
        }
        self.check_operation_root()
    }

    /// Checks that the header commits to the listed operation ids.
    ///
    /// # Errors
    /// [`RecordError::OperationRoot`].
    pub fn check_operation_root(&self) -> Result<(), RecordError> {
        if self.operation_root == self.listed_operation_root() {
            return Ok(());
        }
        Err(RecordError::OperationRoot {
            block_id: self.block_id(),
        })
    }

    /// Root over the listed ids: BLAKE3 over each id after its length (u64, big-endian).
    ///
    /// Source: `compute_operations_hash` of upstream.
    fn listed_operation_root(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for id in self.operation_ids.chunks_exact(ID_BYTES) {
            hasher.update(&(ID_BYTES as u64).to_be_bytes());
            hasher.update(id);
        }
        *hasher.finalize().as_bytes()
    }
}

/// The hashes of a list of ids whose versions were checked.
fn ids(bytes: &[u8]) -> impl ExactSizeIterator<Item = Hash> + '_ {
    bytes.chunks_exact(ID_BYTES).map(|id| {
        let hash = id[1..].try_into().expect("an id has 33 bytes");
        Hash::from_bytes(hash)
    })
}

/// Reads one variable-length integer with `deserializer`.
fn varint<T>(
    reader: &mut Reader<'_>,
    deserializer: &impl Deserializer<T>,
    field: &'static str,
) -> Result<T, RecordError> {
    let (rest, value) = deserializer
        .deserialize::<DeserializeError>(reader.peek())
        .map_err(|_| RecordError::Malformed { field })?;
    let used = reader.remaining() - rest.len();
    reader.bytes(used, field)?;
    Ok(value)
}

fn varint_u32(reader: &mut Reader<'_>, max: u32, field: &'static str) -> Result<u32, RecordError> {
    let deserializer = U32VarIntDeserializer::new(Bound::Unbounded, Bound::Included(max));
    varint(reader, &deserializer, field)
}

/// Version 0 is the only one there is.
fn read_creator_key(reader: &mut Reader<'_>) -> Result<(), RecordError> {
    let field = "creator key";
    match reader.bytes(PUBLIC_KEY_BYTES, field)?[0] {
        0 => Ok(()),
        _ => Err(RecordError::Malformed { field }),
    }
}

/// The one number of a block that no hash covers: only its shortest form is accepted.
fn read_operation_count(reader: &mut Reader<'_>) -> Result<u32, RecordError> {
    let field = "operation count";
    let before = reader.remaining();
    let count = varint_u32(reader, MAX_OPERATIONS_PER_BLOCK, field)?;
    let shortest = if count < 1 << 7 { 1 } else { 2 };
    if before - reader.remaining() != shortest {
        return Err(RecordError::Malformed { field });
    }
    Ok(count)
}

fn read_slot(reader: &mut Reader<'_>, thread_count: u8, field: &'static str) -> Result<Slot, RecordError> {
    let any = U64VarIntDeserializer::new(Bound::Unbounded, Bound::Unbounded);
    let period = varint(reader, &any, field)?;
    let thread = reader.u8(field)?;
    if thread >= thread_count {
        return Err(RecordError::Thread { thread, thread_count });
    }
    Ok(Slot::new(period, thread))
}

fn skip_announced_version(reader: &mut Reader<'_>) -> Result<(), RecordError> {
    let field = "announced version";
    match reader.u8(field)? {
        b'0' => Ok(()),
        b'1' => varint_u32(reader, u32::MAX, field).map(|_| ()),
        _ => Err(RecordError::Malformed { field }),
    }
}

fn read_parents<'a>(reader: &mut Reader<'a>, thread_count: u8) -> Result<&'a [u8], RecordError> {
    let field = "parents";
    let parents = match reader.u8(field)? {
        0 => &[],
        1 => reader.bytes(usize::from(thread_count) * ID_BYTES, field)?,
        _ => return Err(RecordError::Malformed { field }),
    };
    if parents.chunks_exact(ID_BYTES).any(|id| id[0] != 0) {
        return Err(RecordError::Malformed { field });
    }
    Ok(parents)
}

fn skip_endorsements(reader: &mut Reader<'_>) -> Result<(), RecordError> {
    let count = varint_u32(reader, ENDORSEMENT_COUNT, "endorsement count")?;
    for _ in 0..count {
        reader.bytes(SIGNATURE_BYTES + PUBLIC_KEY_BYTES, "endorsement")?;
        varint_u32(reader, ENDORSEMENT_COUNT, "endorsement index")?;
    }
    Ok(())
}

fn skip_denunciations(reader: &mut Reader<'_>, thread_count: u8) -> Result<(), RecordError> {
    let field = "denunciation";
    let count = varint_u32(reader, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, "denunciation count")?;
    for _ in 0..count {
        let kind = varint_u32(reader, 1, field)?;
        reader.bytes(PUBLIC_KEY_BYTES, field)?;
        read_slot(reader, thread_count, field)?;
        if kind == 1 {
            varint_u32(reader, ENDORSEMENT_COUNT, field)?;
        }
        reader.bytes(2 * 32 + 2 * SIGNATURE_BYTES, field)?;
    }
    Ok(())
}

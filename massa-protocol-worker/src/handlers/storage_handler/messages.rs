//! Messages about the segment archive: what travels, byte by byte, and its limits.
//!
//! One message is: inner type (varint) | fields. Integers are upstream's varints, ids and hashes are raw bytes, flags and kinds
//! are one byte, a list is its length (varint) and its elements. The drawing beside each variant leaves out the inner type;
//! all of them together are in `docs/formats.md`. Every length is checked before anything of that length is allocated.
//!
//! A request is answered by one frame, or, a request for pages, by one frame for each page; no frame has more than one page of
//! content, so that none delays blocks for long. What is larger, a table or a block, travels in pieces: the requester asks
//! for each by its offset. What is many and small is asked for by a count, and an answer has as many as fit: the requester
//! asks for the rest.
//!
//! Requests have a [`Lane`]. A peer answers those of one lane in the order in which it got them, so an answer tells that what
//! was asked before it and is not answered is lost. [`StorageMessage::Busy`] is sent at once, out of turn.
//!
//! Only sent to peers that said in the handshake that they speak storage. New types may be added: who does not know a type
//! counts the message as stray, which costs nothing unless there are many, so a new type must work without an answer, and be
//! sent seldom.

mod read;
mod write;

pub use read::StorageMessageDeserializer;
pub use write::StorageMessageSerializer;

use massa_distributed_storage_exports::merkle::MAX_PATH_SIBLINGS;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, AuditChallenge, AuditLeaf, Capabilities, LocateId, Located, PageContent, SlotContent,
    CHALLENGE_LEAVES, MAX_ANNOUNCED_CHUNKS, MAX_LEAF_SIGNATURES, MAX_LOCATE_IDS, MAX_PAGE_SIGNATURES,
    MAX_SUM_PATH_BYTES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::record::MAX_RECORD_BYTES;
use massa_distributed_storage_exports::segment_table::HEADER_BYTES;
use massa_distributed_storage_exports::types::{
    ChallengeId, LEAF_BYTES, MAX_CHUNK_BYTES, MAX_SEGMENT_LEAVES, PAGE_BYTES,
};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_models::slot::Slot;

/// Pages in one request: a chunk of the default size.
pub const MAX_REQUEST_PAGES: u32 = 16;
/// Pages that a chunk may have.
pub const MAX_CHUNK_PAGES: u32 = MAX_CHUNK_BYTES / PAGE_BYTES as u32;
/// Bytes of a stored page: its method, then no more than the page.
pub const MAX_STORED_PAGE_BYTES: usize = 1 + PAGE_BYTES;
/// Bytes of a piece of a table or block; each has as many, but the last one.
pub const PIECE_BYTES: usize = PAGE_BYTES;
/// Bytes of the tables, entries or lists of held chunks in one answer.
pub const MAX_CONTENT_BYTES: usize = PAGE_BYTES;
/// Bytes of a table: as many leaves as a segment may have.
pub const MAX_TABLE_BYTES: usize = HEADER_BYTES + (MAX_SEGMENT_LEAVES as usize - 1) * 36;
/// Bytes of an entry of 255 slots with a block each.
pub const MAX_ENTRY_BYTES: usize = 1 + 255 * 38;
/// Bytes that a frame has besides its content: types, numbers, lengths. Ten varints at most.
const MAX_NUMBERS_BYTES: usize = 100;
/// Bytes of a frame with a page, the outer type included.
pub const MAX_PAGE_FRAME_BYTES: usize = MAX_STORED_PAGE_BYTES
    + MAX_PAGE_SIGNATURES * TaggedSignature::SIZE_BYTES
    + MAX_PATH_SIBLINGS * 32
    + MAX_NUMBERS_BYTES;
/// Bytes of a frame with tables, entries, held chunks, or a piece. Each of up to 1024 elements has a length of three bytes.
pub const MAX_CONTENT_FRAME_BYTES: usize = MAX_CONTENT_BYTES + 1024 * 3 + MAX_NUMBERS_BYTES;
/// Bytes of the numbers beside one leaf: lengths, directions, siblings.
const MAX_LEAF_NUMBERS_BYTES: usize = 8;
/// Bytes of a frame with the leaves that a challenge asks for.
pub const MAX_PROOF_FRAME_BYTES: usize = CHALLENGE_LEAVES
    * (LEAF_BYTES
        + MAX_PATH_SIBLINGS * 32
        + MAX_LEAF_SIGNATURES * TaggedSignature::SIZE_BYTES
        + MAX_LEAF_NUMBERS_BYTES)
    + 32
    + MAX_NUMBERS_BYTES;
/// Bytes of a frame with announced chunks.
pub const MAX_ANNOUNCEMENT_FRAME_BYTES: usize = MAX_ANNOUNCED_CHUNKS * (3 + 32) + 32 + MAX_NUMBERS_BYTES;
/// Bytes of a frame with looked-up ids, or with where they are.
pub const MAX_LOCATE_FRAME_BYTES: usize = MAX_LOCATE_IDS * (1 + 33) + MAX_NUMBERS_BYTES;

/// Bytes of a frame with a sum path.
pub const MAX_SUM_PATH_FRAME_BYTES: usize = MAX_SUM_PATH_BYTES + MAX_NUMBERS_BYTES;

/// What no entry is longer than.
const _: () = assert!(MAX_ENTRY_BYTES <= MAX_CONTENT_BYTES);

/// Which of a peer's requests are answered in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A reader, or something small that others wait for: goes first.
    Quick,
    /// Repair and joining: what is large.
    Bulk,
}

/// A part of something larger than a frame: nothing in it is checked but that it lies inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands.
    pub offset: u32,
    /// Bytes of the whole.
    pub total: u32,
    /// At least 1, at most [`PIECE_BYTES`].
    pub bytes: Vec<u8>,
}

/// Tables, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablesContent {
    /// One or more tables, together at most [`MAX_CONTENT_BYTES`].
    Whole(Vec<Vec<u8>>),
    /// A piece of the first table: it is larger.
    Piece(Piece),
}

/// A message about the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageMessage {
    /// The sender holds these chunks of a segment.
    ///
    /// `segment varint < 2²⁴ | 00, or 01 | root (32) | count varint ≤ 256 | each: chunk varint < 65536 | chunk id (32)`
    ChunkAnnouncement {
        /// The segment.
        segment: u64,
        /// Its root, as the sender knows it, if it is closed.
        root: Option<SegmentRoot>,
        /// At most [`MAX_ANNOUNCED_CHUNKS`].
        chunks: Vec<AnnouncedChunk>,
    },
    /// Asks for pages of a chunk.
    ///
    /// `request id varint | segment varint < 2²⁴ | chunk varint < 65536 | chunk id (32) | first page varint < 1024 |
    /// pages varint, 1 to 16 | flags u8`, where bit 0 asks for the chunk's first page, too, and bit 1 is the lane: 1 is quick.
    ChunkRequest {
        /// Chosen by the requester, comes back with each answer.
        request_id: u64,
        /// Position of the chunk.
        position: ChunkPosition,
        /// What the requester expects there.
        chunk_id: ChunkId,
        /// The first page.
        first_page: u32,
        /// How many, at most [`MAX_REQUEST_PAGES`].
        pages: u32,
        /// The requester does not have the chunk's page 0: it is sent first, unless the pages can be unpacked without it.
        with_first_page: bool,
        /// [`Lane::Quick`] for a reader.
        lane: Lane,
    },
    /// One page of those that were asked for, or why there is none. An answer without a page ends the request.
    ///
    /// `request id varint | page varint < 1024 | answer`, where answer is `01` not yet, `02` not held, `03` pruned, or
    /// `00 | bytes count varint, 1 to 65537 | stored page | signature count varint ≤ 1599 | tagged signature (67) … |
    /// directions varint u16 | sibling count varint ≤ 16 | sibling (32) …`
    ChunkResponse {
        /// Of the request.
        request_id: u64,
        /// Which page.
        page: u32,
        /// The answer.
        answer: Answer<PageContent>,
    },
    /// Asks for leaves of a chunk: an audit of a peer.
    ///
    /// `request id varint | challenge id (32) | segment varint < 2²⁴ | chunk varint < 65536 | chunk id (32) | nonce varint`
    ///
    /// It is not signed, nor is the answer: both peers have proven who they are when they connected, and an audit is for the
    /// challenger alone.
    Challenge {
        /// Chosen by the challenger, comes back with the answer.
        request_id: u64,
        /// What is asked.
        challenge: AuditChallenge,
    },
    /// The leaves, in the order in which they are drawn: one answer, one frame.
    ///
    /// `request id varint | challenge id (32) | answer`, where answer is one byte as in [`StorageMessage::ChunkResponse`], or
    /// `00 | leaf count varint, 1 to 32 | each: bytes count varint, 1 to 1024 | bytes | directions varint u16 | sibling count
    /// varint ≤ 16 | sibling (32) … | signature count varint ≤ 25 | tagged signature (67) …`
    ChallengeProof {
        /// Of the request.
        request_id: u64,
        /// Of the challenge.
        challenge_id: ChallengeId,
        /// The answer.
        answer: Answer<Vec<AuditLeaf>>,
    },
    /// What the sender says of itself.
    ///
    /// `allocated GB varint | floor varint | newest segment: 00, or 01 | varint < 2²⁴ | newest period: 00, or 01 | varint |
    /// index scopes of blocks, operations, addresses: u8 each, 0 none, 1 held, 2 all | range count varint ≤ 64 |
    /// each: first segment varint | last segment varint`, ascending
    StorageCapabilities {
        /// What it says.
        capabilities: Capabilities,
    },
    /// Asks for tables of segments: `request id varint | first segment varint < 2²⁴ | count varint, 1 to 64 | offset varint`,
    /// where an offset other than 0 asks for a piece of the first table, and count is 1.
    TablesRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// The first segment.
        first_segment: u64,
        /// How many at most.
        count: u32,
        /// Where the piece begins.
        offset: u32,
    },
    /// As many tables as fit into a frame.
    ///
    /// `request id varint | first segment varint < 2²⁴ | answer`, where answer is one byte as in
    /// [`StorageMessage::ChunkResponse`], or `00 00 | count varint, 1 to 64 | each: bytes count varint | table`, or `00 01 |
    /// offset varint | total varint ≤ 2 359 342 | bytes count varint, 1 to 65536 | bytes`
    TablesResponse {
        /// Of the request.
        request_id: u64,
        /// The first segment.
        first_segment: u64,
        /// The answer.
        answer: Answer<TablesContent>,
    },
    /// Asks for entries of periods: `request id varint | first period varint | count varint, 1 to 256`
    EntriesRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// The first period.
        first_period: u64,
        /// How many at most.
        count: u32,
    },
    /// As many entries as fit into a frame.
    ///
    /// `request id varint | first period varint | answer`, where answer is one byte as in [`StorageMessage::ChunkResponse`],
    /// or `00 | count varint, 1 to 256 | each: bytes count varint | entry`
    EntriesResponse {
        /// Of the request.
        request_id: u64,
        /// The first period.
        first_period: u64,
        /// The answer.
        answer: Answer<Vec<Vec<u8>>>,
    },
    /// Asks for the block of a slot: `request id varint | period varint | thread u8 | offset varint`
    BlockRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// The slot.
        slot: Slot,
        /// Where the piece begins.
        offset: u32,
    },
    /// A piece of the block with its operations.
    ///
    /// `request id varint | period varint | thread u8 | answer`, where answer is one byte as in
    /// [`StorageMessage::ChunkResponse`], or `00 00` a miss, or `00 01 | offset varint | total varint ≤ 2 MiB | bytes count varint,
    /// 1 to 65536 | bytes`
    BlockResponse {
        /// Of the request.
        request_id: u64,
        /// The slot.
        slot: Slot,
        /// The answer.
        answer: Answer<SlotContent<Piece>>,
    },
    /// Asks which chunks the peer holds: `request id varint | first segment varint < 2²⁴ | count varint, 1 to 1024`
    HeldRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// The first segment.
        first_segment: u64,
        /// How many at most.
        count: u32,
    },
    /// Which chunks the sender holds: a list of bits for each segment, without trailing zero bytes, as many lists as fit.
    ///
    /// `request id varint | first segment varint < 2²⁴ | count varint, 1 to 1024 | each: bytes count varint ≤ 8192 | bytes`
    HeldResponse {
        /// Of the request.
        request_id: u64,
        /// The first segment.
        first_segment: u64,
        /// One for each segment.
        held: Vec<Vec<u8>>,
    },
    /// Asks where objects are: `request id varint | count varint, 1 to 64 | each: 00 block or 01 operation | id (33)`
    LocateRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// At most [`MAX_LOCATE_IDS`].
        ids: Vec<LocateId>,
    },
    /// Where they are, in order.
    ///
    /// `request id varint | count varint, 1 to 64 | each: 00, or 01 | period varint | thread u8 | index varint u32`
    LocateResponse {
        /// Of the request.
        request_id: u64,
        /// One for each id.
        located: Vec<Option<Located>>,
    },
    /// Asks how the peer claims a chunk: `request id varint | round varint | segment varint < 2²⁴ | chunk varint < 65536`
    SumPathRequest {
        /// Chosen by the requester.
        request_id: u64,
        /// The round that was claimed.
        round: u64,
        /// Where the chunk stands.
        position: ChunkPosition,
    },
    /// The way from the chunk to the sender's claim.
    ///
    /// `request id varint | answer`, where answer is one byte as in [`StorageMessage::ChunkResponse`], or `00 | bytes count varint,
    /// 8 to 1608 | mask u64 < 2⁴⁰, little-endian | for each bit of it: sum u64, little-endian | hash (32)`
    SumPathResponse {
        /// Of the request.
        request_id: u64,
        /// The answer.
        answer: Answer<Vec<u8>>,
    },
    /// The request is refused because the sender has too much to do for this peer: `request id varint`
    Busy {
        /// Of the request.
        request_id: u64,
    },
}

/// Inner types. Numbers in use are never given to something else; 11 was.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageMessageTypeId {
    /// [`StorageMessage::ChunkAnnouncement`].
    ChunkAnnouncement = 0,
    /// [`StorageMessage::ChunkRequest`].
    ChunkRequest = 1,
    /// [`StorageMessage::ChunkResponse`].
    ChunkResponse = 2,
    /// [`StorageMessage::Challenge`].
    Challenge = 3,
    /// [`StorageMessage::ChallengeProof`].
    ChallengeProof = 4,
    /// [`StorageMessage::StorageCapabilities`].
    StorageCapabilities = 5,
    /// [`StorageMessage::TablesRequest`].
    TablesRequest = 6,
    /// [`StorageMessage::TablesResponse`].
    TablesResponse = 7,
    /// [`StorageMessage::HeldRequest`].
    HeldRequest = 8,
    /// [`StorageMessage::HeldResponse`].
    HeldResponse = 9,
    /// [`StorageMessage::Busy`].
    Busy = 10,
    /// [`StorageMessage::EntriesRequest`].
    EntriesRequest = 12,
    /// [`StorageMessage::EntriesResponse`].
    EntriesResponse = 13,
    /// [`StorageMessage::BlockRequest`].
    BlockRequest = 14,
    /// [`StorageMessage::BlockResponse`].
    BlockResponse = 15,
    /// [`StorageMessage::LocateRequest`].
    LocateRequest = 16,
    /// [`StorageMessage::LocateResponse`].
    LocateResponse = 17,
    /// [`StorageMessage::SumPathRequest`].
    SumPathRequest = 18,
    /// [`StorageMessage::SumPathResponse`].
    SumPathResponse = 19,
}

/// In the order of their numbers.
const TYPE_IDS: [StorageMessageTypeId; 19] = [
    StorageMessageTypeId::ChunkAnnouncement,
    StorageMessageTypeId::ChunkRequest,
    StorageMessageTypeId::ChunkResponse,
    StorageMessageTypeId::Challenge,
    StorageMessageTypeId::ChallengeProof,
    StorageMessageTypeId::StorageCapabilities,
    StorageMessageTypeId::TablesRequest,
    StorageMessageTypeId::TablesResponse,
    StorageMessageTypeId::HeldRequest,
    StorageMessageTypeId::HeldResponse,
    StorageMessageTypeId::Busy,
    StorageMessageTypeId::EntriesRequest,
    StorageMessageTypeId::EntriesResponse,
    StorageMessageTypeId::BlockRequest,
    StorageMessageTypeId::BlockResponse,
    StorageMessageTypeId::LocateRequest,
    StorageMessageTypeId::LocateResponse,
    StorageMessageTypeId::SumPathRequest,
    StorageMessageTypeId::SumPathResponse,
];

impl TryFrom<u64> for StorageMessageTypeId {
    type Error = u64;

    fn try_from(id: u64) -> Result<Self, u64> {
        TYPE_IDS.into_iter().find(|known| *known as u64 == id).ok_or(id)
    }
}

impl StorageMessageTypeId {
    /// Whether messages of this type answer a request.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::ChunkResponse
                | Self::ChallengeProof
                | Self::TablesResponse
                | Self::EntriesResponse
                | Self::BlockResponse
                | Self::HeldResponse
                | Self::LocateResponse
                | Self::SumPathResponse
                | Self::Busy
        )
    }

    /// Whether messages of this type are requests.
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Self::ChunkRequest
                | Self::Challenge
                | Self::TablesRequest
                | Self::EntriesRequest
                | Self::BlockRequest
                | Self::HeldRequest
                | Self::LocateRequest
                | Self::SumPathRequest
        )
    }
}

impl From<&StorageMessage> for StorageMessageTypeId {
    fn from(message: &StorageMessage) -> Self {
        match message {
            StorageMessage::ChunkAnnouncement { .. } => Self::ChunkAnnouncement,
            StorageMessage::ChunkRequest { .. } => Self::ChunkRequest,
            StorageMessage::ChunkResponse { .. } => Self::ChunkResponse,
            StorageMessage::Challenge { .. } => Self::Challenge,
            StorageMessage::ChallengeProof { .. } => Self::ChallengeProof,
            StorageMessage::StorageCapabilities { .. } => Self::StorageCapabilities,
            StorageMessage::TablesRequest { .. } => Self::TablesRequest,
            StorageMessage::TablesResponse { .. } => Self::TablesResponse,
            StorageMessage::EntriesRequest { .. } => Self::EntriesRequest,
            StorageMessage::EntriesResponse { .. } => Self::EntriesResponse,
            StorageMessage::BlockRequest { .. } => Self::BlockRequest,
            StorageMessage::BlockResponse { .. } => Self::BlockResponse,
            StorageMessage::HeldRequest { .. } => Self::HeldRequest,
            StorageMessage::HeldResponse { .. } => Self::HeldResponse,
            StorageMessage::LocateRequest { .. } => Self::LocateRequest,
            StorageMessage::LocateResponse { .. } => Self::LocateResponse,
            StorageMessage::SumPathRequest { .. } => Self::SumPathRequest,
            StorageMessage::SumPathResponse { .. } => Self::SumPathResponse,
            StorageMessage::Busy { .. } => Self::Busy,
        }
    }
}

/// Types of answers: the first byte of each.
mod answer_id {
    pub(super) const FOUND: u8 = 0;
    pub(super) const NOT_YET: u8 = 1;
    pub(super) const NOT_HELD: u8 = 2;
    pub(super) const PRUNED: u8 = 3;
}

/// Flags of a request for pages.
mod page_flag {
    pub(super) const WITH_FIRST_PAGE: u8 = 1;
    pub(super) const QUICK: u8 = 2;
}

impl StorageMessage {
    /// The request that a message is, or belongs to.
    pub fn request_id(&self) -> Option<u64> {
        match self {
            Self::ChunkRequest { request_id, .. }
            | Self::ChunkResponse { request_id, .. }
            | Self::Challenge { request_id, .. }
            | Self::ChallengeProof { request_id, .. }
            | Self::TablesRequest { request_id, .. }
            | Self::TablesResponse { request_id, .. }
            | Self::EntriesRequest { request_id, .. }
            | Self::EntriesResponse { request_id, .. }
            | Self::BlockRequest { request_id, .. }
            | Self::BlockResponse { request_id, .. }
            | Self::HeldRequest { request_id, .. }
            | Self::HeldResponse { request_id, .. }
            | Self::LocateRequest { request_id, .. }
            | Self::LocateResponse { request_id, .. }
            | Self::SumPathRequest { request_id, .. }
            | Self::SumPathResponse { request_id, .. }
            | Self::Busy { request_id } => Some(*request_id),
            Self::ChunkAnnouncement { .. } | Self::StorageCapabilities { .. } => None,
        }
    }

    /// The lane of a request; of anything else, [`Lane::Quick`].
    pub fn lane(&self) -> Lane {
        match self {
            Self::ChunkRequest { lane, .. } => *lane,
            Self::TablesRequest { .. } => Lane::Bulk,
            _ => Lane::Quick,
        }
    }
}

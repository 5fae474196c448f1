//! Messages about the archive: what travels, byte by byte, and its limits.
//!
//! One message is: inner type (varint) | fields. Integers are upstream's varints, ids and hashes are raw bytes, a list
//! is its length (varint) and its elements. The drawing beside each variant leaves out the inner type; all of them
//! together are in `docs/formats.md`. Every length is checked before anything of that length is allocated. One page is
//! one frame, so that no frame delays blocks for long.
//!
//! Only sent to peers that said in the handshake that they speak storage. New types may be added: who does not know a type
//! counts the message as stray, which costs nothing unless there are many, so a new type must work without an answer, and be
//! sent seldom.

use massa_distributed_storage_exports::merkle::MAX_PATH_SIBLINGS;
use massa_distributed_storage_exports::network::{
    Answer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, PageContent, CHALLENGE_LEAVES, MAX_ANNOUNCED_REPAIRS,
    MAX_HELD_PERIODS, MAX_HELD_RANGES, MAX_PAGE_SIGNATURES,
};
use massa_distributed_storage_exports::types::{
    ChallengeId, LEAF_BYTES, MAX_CHUNKS_PER_PERIOD, MAX_CHUNK_BYTES, PAGE_BYTES, SIGNATURE_BYTES,
};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, MerkleProof, PeriodRoot};
use massa_serialization::{
    Deserializer, SerializeError, Serializer, U16VarIntDeserializer, U16VarIntSerializer, U32VarIntDeserializer,
    U32VarIntSerializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound::Included;

/// Chunk ids in one announcement: all chunks of a period.
pub const MAX_ANNOUNCED_CHUNKS: usize = MAX_CHUNKS_PER_PERIOD as usize;
/// Pages in one request: a chunk of the default size.
pub const MAX_REQUEST_PAGES: u32 = 16;
/// Bytes of a manifest: header, a block in each of 256 threads, 256 chunks.
pub const MAX_MANIFEST_BYTES: usize = 34 + 256 * 42 + MAX_CHUNKS_PER_PERIOD as usize * 36;
/// Bytes of the list of held chunks of one period: a bit for each chunk.
pub const MAX_HELD_BYTES: usize = MAX_CHUNKS_PER_PERIOD as usize / 8;
/// Bytes that a frame has besides pages, signatures, hashes and lists: types, numbers, lengths. Ten varints at most.
const MAX_NUMBERS_BYTES: usize = 100;
/// Bytes of a frame with a page, the outer type included: what a page counts for in flight.
pub const MAX_PAGE_FRAME_BYTES: usize =
    PAGE_BYTES + MAX_PAGE_SIGNATURES * SIGNATURE_BYTES + MAX_PATH_SIBLINGS * 32 + MAX_NUMBERS_BYTES;
/// Bytes of a frame with a manifest.
pub const MAX_MANIFEST_FRAME_BYTES: usize = MAX_MANIFEST_BYTES + MAX_NUMBERS_BYTES;
/// Bytes of a frame with the leaves that a challenge asks for: 48 KiB and 200 bytes, less than a page with its signatures.
pub const MAX_PROOF_FRAME_BYTES: usize =
    CHALLENGE_LEAVES * (LEAF_BYTES + MAX_PATH_SIBLINGS * 32 + MAX_LEAF_NUMBERS_BYTES) + 32 + MAX_NUMBERS_BYTES;
/// Bytes of the numbers beside one leaf: length, directions, siblings.
const MAX_LEAF_NUMBERS_BYTES: usize = 6;
/// Bytes of a frame with announced repairs: 13 KiB.
pub const MAX_REPAIRS_FRAME_BYTES: usize = MAX_ANNOUNCED_REPAIRS * (10 + 2) + MAX_NUMBERS_BYTES;
/// Bytes of a frame with held chunks.
pub const MAX_HELD_FRAME_BYTES: usize = MAX_HELD_PERIODS as usize * (MAX_HELD_BYTES + 1) + MAX_NUMBERS_BYTES;

/// A message about the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageMessage {
    /// The sender holds these chunks of a period.
    ///
    /// `period varint | root (32) | count varint ≤ 256 | chunk id (32) …`
    ChunkAnnouncement {
        /// The period.
        period: u64,
        /// Its root, as the sender knows it.
        root: PeriodRoot,
        /// At most [`MAX_ANNOUNCED_CHUNKS`].
        chunk_ids: Vec<ChunkId>,
    },
    /// Asks for pages of a chunk.
    ///
    /// `request id varint | period varint | chunk varint < 256 | chunk id (32) | first page varint < 1024 |
    /// pages varint, 1 to 16`
    ChunkRequest {
        /// Chosen by the asker, comes back with each answer.
        request_id: u64,
        /// Period of the chunk.
        period: u64,
        /// Position of the chunk.
        chunk: ChunkIndex,
        /// What the asker expects there.
        chunk_id: ChunkId,
        /// The first page.
        first_page: u32,
        /// How many, at most [`MAX_REQUEST_PAGES`].
        pages: u32,
    },
    /// One page of those that were asked for, or why there is none. An answer without a page ends the request.
    ///
    /// `request id varint | page varint < 1024 | answer`, where answer is `01` not yet, `02` not held, `03` pruned, or
    /// `00 | bytes count varint, 1 to 65536 | bytes | signature count varint ≤ 1024 | signature (65) … |
    /// objects before varint | directions varint u16 | sibling count varint ≤ 16 | sibling (32) …`
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
    /// `request id varint | challenge id (32) | period varint | chunk varint < 256 | chunk id (32) | nonce varint`
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
    /// `request id varint | challenge id (32) | answer`, where answer is one byte as in
    /// [`StorageMessage::ChunkResponse`], or `00 | leaf count varint, 1 to 32 | each: bytes count varint, 1 to 1024 | bytes |
    /// directions varint u16 | sibling count varint ≤ 16 | sibling (32) …`
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
    /// `allocated GB varint | floor varint | 00, or 01 | last period varint | range count varint ≤ 64 |
    /// each: first period varint | last period varint`
    StorageCapabilities {
        /// Which periods it holds.
        capabilities: Capabilities,
    },
    /// Asks for the manifest of a period: `request id varint | period varint`
    ManifestRequest {
        /// Chosen by the asker.
        request_id: u64,
        /// The period.
        period: u64,
    },
    /// The manifest: `request id varint | period varint | answer`, where answer is one byte as in
    /// [`StorageMessage::ChunkResponse`], or `00 | bytes count varint ≤ 20002 | bytes`
    ManifestResponse {
        /// Of the request.
        request_id: u64,
        /// The period.
        period: u64,
        /// The answer.
        answer: Answer<Vec<u8>>,
    },
    /// Asks which chunks the peer holds: `request id varint | first period varint | periods varint, 1 to 128`
    HeldRequest {
        /// Chosen by the asker.
        request_id: u64,
        /// The first period.
        first_period: u64,
        /// How many.
        periods: u32,
    },
    /// Which chunks the sender holds: a list of bits for each period, without trailing zero bytes.
    ///
    /// `request id varint | first period varint | periods varint ≤ 128 | each: bytes count varint ≤ 32 | bytes`
    HeldResponse {
        /// Of the request.
        request_id: u64,
        /// The first period.
        first_period: u64,
        /// One for each period.
        held: Vec<Vec<u8>>,
    },
    /// The request is refused because the sender has too much to do for this peer: `request id varint`
    Busy {
        /// Of the request.
        request_id: u64,
    },
    /// The sender repairs these chunks of its claim for a round, and asks to be served them while answers are taken.
    ///
    /// `round varint | count varint ≤ 1024 | each: period varint | chunk varint < 256`, ascending
    RepairAnnouncement {
        /// The round.
        round: u64,
        /// Period and position of each.
        chunks: Vec<(u64, ChunkIndex)>,
    },
}

/// Inner types. Numbers in use are never given to something else.
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
    /// [`StorageMessage::ManifestRequest`].
    ManifestRequest = 6,
    /// [`StorageMessage::ManifestResponse`].
    ManifestResponse = 7,
    /// [`StorageMessage::HeldRequest`].
    HeldRequest = 8,
    /// [`StorageMessage::HeldResponse`].
    HeldResponse = 9,
    /// [`StorageMessage::Busy`].
    Busy = 10,
    /// [`StorageMessage::RepairAnnouncement`].
    RepairAnnouncement = 11,
}

impl TryFrom<u64> for StorageMessageTypeId {
    type Error = u64;

    fn try_from(id: u64) -> Result<Self, u64> {
        Ok(match id {
            0 => Self::ChunkAnnouncement,
            1 => Self::ChunkRequest,
            2 => Self::ChunkResponse,
            3 => Self::Challenge,
            4 => Self::ChallengeProof,
            5 => Self::StorageCapabilities,
            6 => Self::ManifestRequest,
            7 => Self::ManifestResponse,
            8 => Self::HeldRequest,
            9 => Self::HeldResponse,
            10 => Self::Busy,
            11 => Self::RepairAnnouncement,
            unknown => return Err(unknown),
        })
    }
}

impl StorageMessageTypeId {
    /// Whether messages of this type answer a request.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::ChunkResponse | Self::ChallengeProof | Self::ManifestResponse | Self::HeldResponse | Self::Busy
        )
    }

    /// Whether messages of this type are requests.
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Self::ChunkRequest | Self::Challenge | Self::ManifestRequest | Self::HeldRequest
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
            StorageMessage::ManifestRequest { .. } => Self::ManifestRequest,
            StorageMessage::ManifestResponse { .. } => Self::ManifestResponse,
            StorageMessage::HeldRequest { .. } => Self::HeldRequest,
            StorageMessage::HeldResponse { .. } => Self::HeldResponse,
            StorageMessage::Busy { .. } => Self::Busy,
            StorageMessage::RepairAnnouncement { .. } => Self::RepairAnnouncement,
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

/// Writes messages about the archive. What the deserializer would refuse is refused here, too.
#[derive(Clone, Default)]
pub struct StorageMessageSerializer {
    u16: U16VarIntSerializer,
    u32: U32VarIntSerializer,
    u64: U64VarIntSerializer,
}

impl StorageMessageSerializer {
    /// A serializer.
    pub fn new() -> Self {
        Self::default()
    }

    fn numbers(&self, values: &[u64], buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        values.iter().try_for_each(|value| self.u64.serialize(value, buffer))
    }

    /// The length of a list of at most `max` elements.
    fn count(&self, count: usize, max: usize, what: &str, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        if count > max {
            return Err(SerializeError::GeneralError(format!("{what}: {count}, at most {max}")));
        }
        self.u64.serialize(&(count as u64), buffer)
    }

    fn answer<T>(
        &self,
        answer: &Answer<T>,
        buffer: &mut Vec<u8>,
        found: impl FnOnce(&T, &mut Vec<u8>) -> Result<(), SerializeError>,
    ) -> Result<(), SerializeError> {
        match answer {
            Answer::Found(value) => {
                buffer.push(answer_id::FOUND);
                return found(value, buffer);
            }
            Answer::NotYet => buffer.push(answer_id::NOT_YET),
            Answer::NotHeld => buffer.push(answer_id::NOT_HELD),
            Answer::Pruned => buffer.push(answer_id::PRUNED),
        }
        Ok(())
    }

    fn page(&self, page: &PageContent, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.reserve(page.bytes.len() + page.signatures.len() + MAX_PATH_SIBLINGS * 32 + MAX_NUMBERS_BYTES);
        self.count(page.bytes.len(), PAGE_BYTES, "bytes of a page", buffer)?;
        buffer.extend_from_slice(&page.bytes);
        let signatures = page.signatures.chunks_exact(SIGNATURE_BYTES);
        if !signatures.remainder().is_empty() {
            let length = page.signatures.len();
            return Err(SerializeError::GeneralError(format!("{length} bytes of signatures")));
        }
        self.count(signatures.len(), MAX_PAGE_SIGNATURES, "signatures of a page", buffer)?;
        buffer.extend_from_slice(&page.signatures);
        self.u32.serialize(&page.objects_before, buffer)?;
        self.path(&page.path, buffer)
    }

    fn path(&self, path: &MerkleProof, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.u16.serialize(&path.directions, buffer)?;
        self.count(path.siblings.len(), MAX_PATH_SIBLINGS, "siblings of a path", buffer)?;
        buffer.extend(path.siblings.iter().flatten());
        Ok(())
    }

    fn challenge(&self, challenge: &AuditChallenge, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.extend_from_slice(challenge.challenge_id.as_bytes());
        self.numbers(&[challenge.period, u64::from(challenge.chunk.0)], buffer)?;
        buffer.extend_from_slice(challenge.chunk_id.as_bytes());
        self.u64.serialize(&challenge.nonce, buffer)
    }

    fn leaves(&self, leaves: &[AuditLeaf], buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.count(leaves.len(), CHALLENGE_LEAVES, "leaves of a proof", buffer)?;
        leaves.iter().try_for_each(|leaf| {
            self.count(leaf.bytes.len(), LEAF_BYTES, "bytes of a leaf", buffer)?;
            buffer.extend_from_slice(&leaf.bytes);
            self.path(&leaf.path, buffer)
        })
    }

    fn announcement(
        &self,
        period: u64,
        root: &PeriodRoot,
        chunk_ids: &[ChunkId],
        buffer: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        self.u64.serialize(&period, buffer)?;
        buffer.extend_from_slice(root.as_bytes());
        self.count(chunk_ids.len(), MAX_ANNOUNCED_CHUNKS, "announced chunks", buffer)?;
        chunk_ids.iter().for_each(|id| buffer.extend_from_slice(id.as_bytes()));
        Ok(())
    }

    fn capabilities(&self, capabilities: &Capabilities, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.numbers(&[capabilities.allocated_storage_gb, capabilities.floor], buffer)?;
        match capabilities.last_period {
            None => buffer.push(0),
            Some(period) => {
                buffer.push(1);
                self.u64.serialize(&period, buffer)?;
            }
        }
        let ranges = &capabilities.ranges;
        self.count(ranges.len(), MAX_HELD_RANGES, "held ranges", buffer)?;
        ranges
            .iter()
            .try_for_each(|range| self.numbers(&[range.first_period, range.last_period], buffer))
    }

    fn repairs(&self, round: u64, chunks: &[(u64, ChunkIndex)], buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.u64.serialize(&round, buffer)?;
        self.count(chunks.len(), MAX_ANNOUNCED_REPAIRS, "announced repairs", buffer)?;
        if !chunks.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(SerializeError::GeneralError(
                "announced repairs are not ascending".into(),
            ));
        }
        chunks
            .iter()
            .try_for_each(|(period, chunk)| self.numbers(&[*period, u64::from(chunk.0)], buffer))
    }

    fn held(&self, held: &[Vec<u8>], buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.count(held.len(), MAX_HELD_PERIODS as usize, "periods", buffer)?;
        held.iter().try_for_each(|bits| {
            self.count(bits.len(), MAX_HELD_BYTES, "bytes of held chunks", buffer)?;
            buffer.extend_from_slice(bits);
            Ok(())
        })
    }
}

impl Serializer<StorageMessage> for StorageMessageSerializer {
    fn serialize(&self, value: &StorageMessage, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.u64
            .serialize(&(StorageMessageTypeId::from(value) as u64), buffer)?;
        match value {
            StorageMessage::ChunkAnnouncement {
                period,
                root,
                chunk_ids,
            } => self.announcement(*period, root, chunk_ids, buffer),
            StorageMessage::ChunkRequest {
                request_id,
                period,
                chunk,
                chunk_id,
                first_page,
                pages,
            } => {
                self.numbers(&[*request_id, *period, u64::from(chunk.0)], buffer)?;
                buffer.extend_from_slice(chunk_id.as_bytes());
                self.numbers(&[u64::from(*first_page), u64::from(*pages)], buffer)
            }
            StorageMessage::ChunkResponse {
                request_id,
                page,
                answer,
            } => {
                self.numbers(&[*request_id, u64::from(*page)], buffer)?;
                self.answer(answer, buffer, |page, buffer| self.page(page, buffer))
            }
            StorageMessage::Challenge { request_id, challenge } => {
                self.u64.serialize(request_id, buffer)?;
                self.challenge(challenge, buffer)
            }
            StorageMessage::ChallengeProof {
                request_id,
                challenge_id,
                answer,
            } => {
                self.u64.serialize(request_id, buffer)?;
                buffer.extend_from_slice(challenge_id.as_bytes());
                self.answer(answer, buffer, |leaves, buffer| self.leaves(leaves, buffer))
            }
            StorageMessage::StorageCapabilities { capabilities } => self.capabilities(capabilities, buffer),
            StorageMessage::ManifestRequest { request_id, period } => self.numbers(&[*request_id, *period], buffer),
            StorageMessage::ManifestResponse {
                request_id,
                period,
                answer,
            } => {
                self.numbers(&[*request_id, *period], buffer)?;
                self.answer(answer, buffer, |bytes, buffer| {
                    self.count(bytes.len(), MAX_MANIFEST_BYTES, "bytes of a manifest", buffer)?;
                    buffer.extend_from_slice(bytes);
                    Ok(())
                })
            }
            StorageMessage::HeldRequest {
                request_id,
                first_period,
                periods,
            } => self.numbers(&[*request_id, *first_period, u64::from(*periods)], buffer),
            StorageMessage::HeldResponse {
                request_id,
                first_period,
                held,
            } => {
                self.numbers(&[*request_id, *first_period], buffer)?;
                self.held(held, buffer)
            }
            StorageMessage::Busy { request_id } => self.u64.serialize(request_id, buffer),
            StorageMessage::RepairAnnouncement { round, chunks } => self.repairs(*round, chunks, buffer),
        }
    }
}

/// Limits of [`StorageMessageDeserializer`]; the default is what the format allows.
#[derive(Clone, Copy, Debug)]
pub struct StorageMessageDeserializerArgs {
    /// Chunk ids in an announcement.
    pub max_announced_chunks: u64,
    /// Chunks of a period.
    pub max_chunks_per_period: u32,
    /// Pages of a chunk.
    pub max_chunk_pages: u32,
    /// Pages in a request.
    pub max_request_pages: u32,
    /// Signatures beside a page.
    pub max_page_signatures: u64,
    /// Bytes of a manifest.
    pub max_manifest_bytes: u64,
    /// Ranges in capabilities.
    pub max_held_ranges: u64,
    /// Periods in a question for held chunks.
    pub max_held_periods: u32,
    /// Chunks in an announcement of repairs.
    pub max_announced_repairs: u64,
}

impl Default for StorageMessageDeserializerArgs {
    fn default() -> Self {
        Self {
            max_announced_chunks: MAX_ANNOUNCED_CHUNKS as u64,
            max_chunks_per_period: MAX_CHUNKS_PER_PERIOD,
            max_chunk_pages: MAX_CHUNK_BYTES / PAGE_BYTES as u32,
            max_request_pages: MAX_REQUEST_PAGES,
            max_page_signatures: MAX_PAGE_SIGNATURES as u64,
            max_manifest_bytes: MAX_MANIFEST_BYTES as u64,
            max_held_ranges: MAX_HELD_RANGES as u64,
            max_held_periods: MAX_HELD_PERIODS,
            max_announced_repairs: MAX_ANNOUNCED_REPAIRS as u64,
        }
    }
}

/// Reads messages about the archive. Nothing but lengths and the order of ranges and of repairs is checked.
#[derive(Clone)]
pub struct StorageMessageDeserializer {
    number: U64VarIntDeserializer,
    objects_before: U32VarIntDeserializer,
    directions: U16VarIntDeserializer,
    chunk: U32VarIntDeserializer,
    page: U32VarIntDeserializer,
    request_pages: U32VarIntDeserializer,
    held_periods: U32VarIntDeserializer,
    announced_chunks: U64VarIntDeserializer,
    announced_repairs: U64VarIntDeserializer,
    page_bytes: U64VarIntDeserializer,
    page_signatures: U64VarIntDeserializer,
    siblings: U64VarIntDeserializer,
    leaves: U64VarIntDeserializer,
    leaf_bytes: U64VarIntDeserializer,
    manifest_bytes: U64VarIntDeserializer,
    held_ranges: U64VarIntDeserializer,
    held_bytes: U64VarIntDeserializer,
}

fn up_to_u64(min: u64, max: u64) -> U64VarIntDeserializer {
    U64VarIntDeserializer::new(Included(min), Included(max))
}

fn up_to_u32(min: u32, max: u32) -> U32VarIntDeserializer {
    U32VarIntDeserializer::new(Included(min), Included(max))
}

impl StorageMessageDeserializer {
    /// A deserializer with these limits.
    pub fn new(args: StorageMessageDeserializerArgs) -> Self {
        Self {
            number: up_to_u64(0, u64::MAX),
            objects_before: up_to_u32(0, u32::MAX),
            directions: U16VarIntDeserializer::new(Included(0), Included(u16::MAX)),
            chunk: up_to_u32(0, args.max_chunks_per_period - 1),
            page: up_to_u32(0, args.max_chunk_pages - 1),
            request_pages: up_to_u32(1, args.max_request_pages),
            held_periods: up_to_u32(1, args.max_held_periods),
            announced_chunks: up_to_u64(0, args.max_announced_chunks),
            announced_repairs: up_to_u64(0, args.max_announced_repairs),
            page_bytes: up_to_u64(1, PAGE_BYTES as u64),
            page_signatures: up_to_u64(0, args.max_page_signatures),
            siblings: up_to_u64(0, MAX_PATH_SIBLINGS as u64),
            leaves: up_to_u64(1, CHALLENGE_LEAVES as u64),
            leaf_bytes: up_to_u64(1, LEAF_BYTES as u64),
            manifest_bytes: up_to_u64(0, args.max_manifest_bytes),
            held_ranges: up_to_u64(0, args.max_held_ranges),
            held_bytes: up_to_u64(0, MAX_HELD_BYTES as u64),
        }
    }

    /// The type of a message and, where it belongs to a request, the request's id: its first two numbers. Cheap, so
    /// that a message can be dropped without being read. `None`: the message is malformed.
    pub fn peek(&self, message: &[u8]) -> Option<(StorageMessageTypeId, Option<u64>)> {
        let number = |input| self.number.deserialize::<()>(input).ok();
        let (rest, id) = number(message)?;
        let id = StorageMessageTypeId::try_from(id).ok()?;
        if !id.is_answer() && !id.is_request() {
            return Some((id, None));
        }
        Some((id, Some(number(rest)?.1)))
    }

    fn chunk_announcement<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, period) = self.number.deserialize(input)?;
        let (rest, root) = digest(rest)?;
        let (mut rest, count) = self.announced_chunks.deserialize(rest)?;
        let mut chunk_ids = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (after, id) = digest(rest)?;
            chunk_ids.push(ChunkId::from_bytes(id));
            rest = after;
        }
        let message = StorageMessage::ChunkAnnouncement {
            period,
            root: PeriodRoot::from_bytes(root),
            chunk_ids,
        };
        Ok((rest, message))
    }

    fn chunk_request<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, period) = self.number.deserialize(rest)?;
        let (rest, chunk) = self.chunk.deserialize(rest)?;
        let (rest, chunk_id) = digest(rest)?;
        let (rest, first_page) = self.page.deserialize(rest)?;
        let (rest, pages) = self.request_pages.deserialize(rest)?;
        let message = StorageMessage::ChunkRequest {
            request_id,
            period,
            chunk: ChunkIndex(chunk),
            chunk_id: ChunkId::from_bytes(chunk_id),
            first_page,
            pages,
        };
        Ok((rest, message))
    }

    fn chunk_response<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, page) = self.page.deserialize(rest)?;
        let (rest, answer) = answer(rest, |input| self.page_content(input))?;
        let message = StorageMessage::ChunkResponse {
            request_id,
            page,
            answer,
        };
        Ok((rest, message))
    }

    fn page_content<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], PageContent, E> {
        let (rest, bytes) = prefixed(&self.page_bytes, 1, input)?;
        let (rest, signatures) = prefixed(&self.page_signatures, SIGNATURE_BYTES, rest)?;
        let (rest, objects_before) = self.objects_before.deserialize(rest)?;
        let (rest, path) = self.path(rest)?;
        let content = PageContent {
            bytes: bytes.to_vec(),
            signatures: signatures.to_vec(),
            objects_before,
            path,
        };
        Ok((rest, content))
    }

    fn path<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], MerkleProof, E> {
        let (rest, directions) = self.directions.deserialize(input)?;
        let (rest, siblings) = prefixed(&self.siblings, 32, rest)?;
        let siblings = siblings
            .chunks_exact(32)
            .map(|sibling| sibling.try_into().expect("pieces of 32 bytes have 32 bytes"))
            .collect();
        Ok((rest, MerkleProof { directions, siblings }))
    }

    fn challenge<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, challenge_id) = digest(rest)?;
        let (rest, period) = self.number.deserialize(rest)?;
        let (rest, chunk) = self.chunk.deserialize(rest)?;
        let (rest, chunk_id) = digest(rest)?;
        let (rest, nonce) = self.number.deserialize(rest)?;
        let challenge = AuditChallenge {
            challenge_id: ChallengeId::from_bytes(challenge_id),
            period,
            chunk: ChunkIndex(chunk),
            chunk_id: ChunkId::from_bytes(chunk_id),
            nonce,
        };
        Ok((rest, StorageMessage::Challenge { request_id, challenge }))
    }

    fn challenge_proof<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, challenge_id) = digest(rest)?;
        let (rest, answer) = answer(rest, |input| self.audit_leaves(input))?;
        let message = StorageMessage::ChallengeProof {
            request_id,
            challenge_id: ChallengeId::from_bytes(challenge_id),
            answer,
        };
        Ok((rest, message))
    }

    fn audit_leaves<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], Vec<AuditLeaf>, E> {
        let (mut rest, count) = self.leaves.deserialize(input)?;
        let mut leaves = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (after, bytes) = prefixed(&self.leaf_bytes, 1, rest)?;
            let (after, path) = self.path(after)?;
            let bytes = bytes.to_vec();
            leaves.push(AuditLeaf { bytes, path });
            rest = after;
        }
        Ok((rest, leaves))
    }

    fn storage_capabilities<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, allocated_storage_gb) = self.number.deserialize(input)?;
        let (rest, floor) = self.number.deserialize(rest)?;
        let (rest, last_period) = match rest.split_first() {
            Some((0, rest)) => (rest, None),
            Some((1, rest)) => {
                let (rest, period) = self.number.deserialize(rest)?;
                (rest, Some(period))
            }
            _ => return refuse(rest),
        };
        let (mut rest, count) = self.held_ranges.deserialize(rest)?;
        let mut ranges: Vec<HeldRange> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (after, first_period) = self.number.deserialize(rest)?;
            let (after, last_period) = self.number.deserialize(after)?;
            let ascends = ranges.last().map_or(true, |before| before.last_period < first_period);
            if first_period > last_period || !ascends {
                return refuse(rest);
            }
            ranges.push(HeldRange {
                first_period,
                last_period,
            });
            rest = after;
        }
        let capabilities = Capabilities {
            allocated_storage_gb,
            floor,
            last_period,
            ranges,
        };
        Ok((rest, StorageMessage::StorageCapabilities { capabilities }))
    }

    fn manifest_response<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, period) = self.number.deserialize(rest)?;
        let (rest, answer) = answer(rest, |input| {
            let (rest, bytes) = prefixed(&self.manifest_bytes, 1, input)?;
            Ok((rest, bytes.to_vec()))
        })?;
        let message = StorageMessage::ManifestResponse {
            request_id,
            period,
            answer,
        };
        Ok((rest, message))
    }

    fn held_response<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, request_id) = self.number.deserialize(input)?;
        let (rest, first_period) = self.number.deserialize(rest)?;
        let (mut rest, count) = self.held_periods.deserialize(rest)?;
        let mut held = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (after, bits) = prefixed(&self.held_bytes, 1, rest)?;
            if bits.last() == Some(&0) {
                return refuse(rest);
            }
            held.push(bits.to_vec());
            rest = after;
        }
        let message = StorageMessage::HeldResponse {
            request_id,
            first_period,
            held,
        };
        Ok((rest, message))
    }

    fn repair_announcement<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let (rest, round) = self.number.deserialize(input)?;
        let (mut rest, count) = self.announced_repairs.deserialize(rest)?;
        let mut chunks = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (after, period) = self.number.deserialize(rest)?;
            let (after, chunk) = self.chunk.deserialize(after)?;
            let position = (period, ChunkIndex(chunk));
            if chunks.last().is_some_and(|before| *before >= position) {
                return refuse(rest);
            }
            chunks.push(position);
            rest = after;
        }
        Ok((rest, StorageMessage::RepairAnnouncement { round, chunks }))
    }

    fn fields<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        id: StorageMessageTypeId,
        input: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        match id {
            StorageMessageTypeId::ChunkAnnouncement => self.chunk_announcement(input),
            StorageMessageTypeId::ChunkRequest => self.chunk_request(input),
            StorageMessageTypeId::ChunkResponse => self.chunk_response(input),
            StorageMessageTypeId::Challenge => self.challenge(input),
            StorageMessageTypeId::ChallengeProof => self.challenge_proof(input),
            StorageMessageTypeId::StorageCapabilities => self.storage_capabilities(input),
            StorageMessageTypeId::ManifestRequest => {
                let (rest, request_id) = self.number.deserialize(input)?;
                let (rest, period) = self.number.deserialize(rest)?;
                Ok((rest, StorageMessage::ManifestRequest { request_id, period }))
            }
            StorageMessageTypeId::ManifestResponse => self.manifest_response(input),
            StorageMessageTypeId::HeldRequest => {
                let (rest, request_id) = self.number.deserialize(input)?;
                let (rest, first_period) = self.number.deserialize(rest)?;
                let (rest, periods) = self.held_periods.deserialize(rest)?;
                let message = StorageMessage::HeldRequest {
                    request_id,
                    first_period,
                    periods,
                };
                Ok((rest, message))
            }
            StorageMessageTypeId::HeldResponse => self.held_response(input),
            StorageMessageTypeId::Busy => {
                let (rest, request_id) = self.number.deserialize(input)?;
                Ok((rest, StorageMessage::Busy { request_id }))
            }
            StorageMessageTypeId::RepairAnnouncement => self.repair_announcement(input),
        }
    }
}

impl Deserializer<StorageMessage> for StorageMessageDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        context("Failed StorageMessage deserialization", |input: &'a [u8]| {
            let (rest, id) = self.number.deserialize(input)?;
            match StorageMessageTypeId::try_from(id) {
                Ok(id) => self.fields(id, rest),
                Err(_) => refuse(input),
            }
        })(buffer)
    }
}

fn refuse<'a, T, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], T, E> {
    Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Verify)))
}

fn digest<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], [u8; 32], E> {
    let (rest, bytes) = take(32usize)(input)?;
    Ok((rest, bytes.try_into().expect("32 bytes were taken")))
}

/// A count that `count` bounds, then that many elements of `element_bytes`.
fn prefixed<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
    count: &U64VarIntDeserializer,
    element_bytes: usize,
    input: &'a [u8],
) -> IResult<&'a [u8], &'a [u8], E> {
    let (rest, count) = count.deserialize(input)?;
    take(count as usize * element_bytes)(rest)
}

fn answer<'a, T, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
    input: &'a [u8],
    found: impl FnOnce(&'a [u8]) -> IResult<&'a [u8], T, E>,
) -> IResult<&'a [u8], Answer<T>, E> {
    match input.split_first() {
        Some((&answer_id::FOUND, rest)) => found(rest).map(|(rest, value)| (rest, Answer::Found(value))),
        Some((&answer_id::NOT_YET, rest)) => Ok((rest, Answer::NotYet)),
        Some((&answer_id::NOT_HELD, rest)) => Ok((rest, Answer::NotHeld)),
        Some((&answer_id::PRUNED, rest)) => Ok((rest, Answer::Pruned)),
        _ => refuse(input),
    }
}

//! Reading messages. Only lengths, ranges and orders are checked; everything is bounded before it is allocated.

use super::{
    answer_id, page_flag, Lane, Piece, StorageMessage, StorageMessageTypeId, TablesContent, MAX_CHUNK_PAGES,
    MAX_CONTENT_BYTES, MAX_ENTRY_BYTES, MAX_PATH_SIBLINGS, MAX_RECORD_BYTES, MAX_REQUEST_PAGES, MAX_STORED_PAGE_BYTES,
    MAX_TABLE_BYTES, PIECE_BYTES,
};
use massa_distributed_storage_exports::merkle::MerkleProof;
use massa_distributed_storage_exports::network::{
    is_sum_path, AnnouncedChunk, Answer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, IndexScope, IndexScopes,
    LocateId, Located, PageContent, SlotContent, CHALLENGE_LEAVES, MAX_ANNOUNCED_CHUNKS, MAX_FETCH_ENTRIES,
    MAX_FETCH_HELD, MAX_FETCH_TABLES, MAX_HELD_BYTES, MAX_HELD_RANGES, MAX_LEAF_SIGNATURES, MAX_LOCATE_IDS,
    MAX_PAGE_SIGNATURES, MAX_SUM_PATH_BYTES, SUM_PATH_MASK_BYTES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::record::{block_id_from_bytes, operation_id_from_bytes, ID_BYTES};
use massa_distributed_storage_exports::types::{ChallengeId, LEAF_BYTES, MAX_SEGMENTS, MAX_SEGMENT_LEAVES, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, ChunkPosition, SegmentRoot};
use massa_models::slot::Slot;
use massa_serialization::{Deserializer, U64VarIntDeserializer};
use nom::error::{ContextError, ErrorKind, ParseError};
use nom::IResult;
use std::ops::Bound::Included;

/// Bytes of the largest varint of 64 bits.
const MAX_VARINT_BYTES: usize = 10;

/// Reads messages about the archive.
#[derive(Clone)]
pub struct StorageMessageDeserializer {
    number: U64VarIntDeserializer,
}

impl Default for StorageMessageDeserializer {
    fn default() -> Self {
        Self::new()
    }
}

impl StorageMessageDeserializer {
    /// A deserializer. Its limits are those of the format.
    pub fn new() -> Self {
        Self {
            number: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
        }
    }

    /// The type of a message and, where it belongs to a request, the request's id: its first two numbers. Cheap, so
    /// that a message can be dropped without being read. `None`: the message is malformed.
    pub fn peek(&self, message: &[u8]) -> Option<(StorageMessageTypeId, Option<u64>)> {
        let mut input = self.input(message);
        let id = StorageMessageTypeId::try_from(input.any_number()?).ok()?;
        if !id.is_answer() && !id.is_request() {
            return Some((id, None));
        }
        Some((id, Some(input.any_number()?)))
    }

    fn input<'d, 'a>(&'d self, bytes: &'a [u8]) -> Input<'d, 'a> {
        Input {
            number: &self.number,
            rest: bytes,
        }
    }
}

impl Deserializer<StorageMessage> for StorageMessageDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], StorageMessage, E> {
        let mut input = self.input(buffer);
        match input.message() {
            Some(message) => Ok((input.rest, message)),
            None => {
                let error = E::from_error_kind(buffer, ErrorKind::Verify);
                Err(nom::Err::Error(E::add_context(
                    buffer,
                    "Failed StorageMessage deserialization",
                    error,
                )))
            }
        }
    }
}

/// What is left of a message. Each read returns `None` where the bytes end, or say what the format does not allow.
struct Input<'d, 'a> {
    number: &'d U64VarIntDeserializer,
    rest: &'a [u8],
}

impl<'a> Input<'_, 'a> {
    /// A number, in its one form: the varints of upstream let go of bits above the 64th of a tenth byte.
    fn any_number(&mut self) -> Option<u64> {
        let (rest, number) = self.number.deserialize::<()>(self.rest).ok()?;
        let is_cut = self.rest.len() - rest.len() == MAX_VARINT_BYTES && self.rest[MAX_VARINT_BYTES - 1] > 1;
        self.rest = rest;
        (!is_cut).then_some(number)
    }

    /// A number from `min` to `max`.
    fn number(&mut self, min: u64, max: u64) -> Option<u64> {
        self.any_number().filter(|number| (min..=max).contains(number))
    }

    fn number_u32(&mut self, min: u32, max: u32) -> Option<u32> {
        u32::try_from(self.number(u64::from(min), u64::from(max))?).ok()
    }

    /// The length of a list.
    fn count(&mut self, min: usize, max: usize) -> Option<usize> {
        usize::try_from(self.number(min as u64, max as u64)?).ok()
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        if count > self.rest.len() {
            return None;
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Bytes after their number.
    fn prefixed(&mut self, min: usize, max: usize) -> Option<&'a [u8]> {
        let count = self.count(min, max)?;
        self.bytes(count)
    }

    /// `count` elements, each of which takes `element_bytes` at least: more than there can be are refused at once.
    fn elements<T>(
        &mut self,
        count: usize,
        element_bytes: usize,
        mut element: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if count.saturating_mul(element_bytes) > self.rest.len() {
            return None;
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Some(elements)
    }

    /// Byte strings, at most [`MAX_CONTENT_BYTES`] together.
    fn list(&mut self, max_count: usize, min_bytes: usize, max_bytes: usize) -> Option<Vec<Vec<u8>>> {
        let count = self.count(1, max_count)?;
        let mut left = MAX_CONTENT_BYTES;
        self.elements(count, 1 + min_bytes, |input| {
            let bytes = input.prefixed(min_bytes, max_bytes.min(left))?;
            left -= bytes.len();
            Some(bytes.to_vec())
        })
    }

    fn segment(&mut self) -> Option<u64> {
        self.number(0, MAX_SEGMENTS - 1)
    }

    fn position(&mut self) -> Option<ChunkPosition> {
        let segment = self.segment()?;
        let index = self.number_u32(0, MAX_SEGMENT_LEAVES - 1)?;
        ChunkPosition::new(segment, index)
    }

    fn slot(&mut self) -> Option<Slot> {
        let period = self.any_number()?;
        Some(Slot::new(period, self.u8()?))
    }

    fn chunk_id(&mut self) -> Option<ChunkId> {
        self.array().map(ChunkId::from_bytes)
    }

    fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            false => Some(None),
            true => value(self).map(Some),
        }
    }

    fn answer<T>(&mut self, found: impl FnOnce(&mut Self) -> Option<T>) -> Option<Answer<T>> {
        match self.u8()? {
            answer_id::FOUND => found(self).map(Answer::Found),
            answer_id::NOT_YET => Some(Answer::NotYet),
            answer_id::NOT_HELD => Some(Answer::NotHeld),
            answer_id::PRUNED => Some(Answer::Pruned),
            _ => None,
        }
    }

    fn path(&mut self) -> Option<MerkleProof> {
        let directions = u16::try_from(self.any_number()?).ok()?;
        let count = self.count(0, MAX_PATH_SIBLINGS)?;
        let siblings = self.elements(count, 32, |input| input.array())?;
        Some(MerkleProof { directions, siblings })
    }

    fn message(&mut self) -> Option<StorageMessage> {
        let id = StorageMessageTypeId::try_from(self.any_number()?).ok()?;
        match id {
            StorageMessageTypeId::ChunkAnnouncement => self.chunk_announcement(),
            StorageMessageTypeId::StorageCapabilities => self.storage_capabilities(),
            _ => {
                let request_id = self.any_number()?;
                if id.is_request() {
                    self.request(id, request_id)
                } else {
                    self.response(id, request_id)
                }
            }
        }
    }

    fn request(&mut self, id: StorageMessageTypeId, request_id: u64) -> Option<StorageMessage> {
        match id {
            StorageMessageTypeId::ChunkRequest => self.chunk_request(request_id),
            StorageMessageTypeId::Challenge => self.challenge(request_id),
            StorageMessageTypeId::TablesRequest => self.tables_request(request_id),
            StorageMessageTypeId::EntriesRequest => Some(StorageMessage::EntriesRequest {
                request_id,
                first_period: self.any_number()?,
                count: self.number_u32(1, MAX_FETCH_ENTRIES)?,
            }),
            StorageMessageTypeId::BlockRequest => Some(StorageMessage::BlockRequest {
                request_id,
                slot: self.slot()?,
                offset: self.number_u32(0, MAX_RECORD_BYTES as u32)?,
            }),
            StorageMessageTypeId::HeldRequest => Some(StorageMessage::HeldRequest {
                request_id,
                first_segment: self.segment()?,
                count: self.number_u32(1, MAX_FETCH_HELD)?,
            }),
            StorageMessageTypeId::LocateRequest => {
                let count = self.count(1, MAX_LOCATE_IDS)?;
                let ids = self.elements(count, 1 + ID_BYTES, Self::locate_id)?;
                Some(StorageMessage::LocateRequest { request_id, ids })
            }
            StorageMessageTypeId::SumPathRequest => Some(StorageMessage::SumPathRequest {
                request_id,
                round: self.any_number()?,
                position: self.position()?,
            }),
            _ => None,
        }
    }

    fn response(&mut self, id: StorageMessageTypeId, request_id: u64) -> Option<StorageMessage> {
        match id {
            StorageMessageTypeId::ChunkResponse => Some(StorageMessage::ChunkResponse {
                request_id,
                page: self.number_u32(0, MAX_CHUNK_PAGES - 1)?,
                answer: self.answer(Self::page_content)?,
            }),
            StorageMessageTypeId::ChallengeProof => Some(StorageMessage::ChallengeProof {
                request_id,
                challenge_id: ChallengeId::from_bytes(self.array()?),
                answer: self.answer(Self::audit_leaves)?,
            }),
            StorageMessageTypeId::TablesResponse => Some(StorageMessage::TablesResponse {
                request_id,
                first_segment: self.segment()?,
                answer: self.answer(Self::tables_content)?,
            }),
            StorageMessageTypeId::EntriesResponse => Some(StorageMessage::EntriesResponse {
                request_id,
                first_period: self.any_number()?,
                answer: self.answer(|input| input.list(MAX_FETCH_ENTRIES as usize, 1, MAX_ENTRY_BYTES))?,
            }),
            StorageMessageTypeId::BlockResponse => Some(StorageMessage::BlockResponse {
                request_id,
                slot: self.slot()?,
                answer: self.answer(Self::slot_content)?,
            }),
            StorageMessageTypeId::HeldResponse => self.held_response(request_id),
            StorageMessageTypeId::LocateResponse => {
                let count = self.count(1, MAX_LOCATE_IDS)?;
                let located = self.elements(count, 1, |input| input.option(Self::located))?;
                Some(StorageMessage::LocateResponse { request_id, located })
            }
            StorageMessageTypeId::SumPathResponse => Some(StorageMessage::SumPathResponse {
                request_id,
                answer: self.answer(Self::sum_path)?,
            }),
            StorageMessageTypeId::Busy => Some(StorageMessage::Busy { request_id }),
            _ => None,
        }
    }

    fn chunk_announcement(&mut self) -> Option<StorageMessage> {
        let segment = self.segment()?;
        let root = self.option(|input| input.array().map(SegmentRoot::from_bytes))?;
        let count = self.count(0, MAX_ANNOUNCED_CHUNKS)?;
        let chunks = self.elements(count, 33, |input| {
            Some(AnnouncedChunk {
                index: ChunkIndex(input.number_u32(0, MAX_SEGMENT_LEAVES - 1)?),
                id: input.chunk_id()?,
            })
        })?;
        Some(StorageMessage::ChunkAnnouncement { segment, root, chunks })
    }

    fn chunk_request(&mut self, request_id: u64) -> Option<StorageMessage> {
        let position = self.position()?;
        let chunk_id = self.chunk_id()?;
        let first_page = self.number_u32(0, MAX_CHUNK_PAGES - 1)?;
        let pages = self.number_u32(1, MAX_REQUEST_PAGES)?;
        let flags = self.u8()?;
        if flags & !(page_flag::WITH_FIRST_PAGE | page_flag::QUICK) != 0 {
            return None;
        }
        let lane = [Lane::Bulk, Lane::Quick][usize::from(flags & page_flag::QUICK != 0)];
        Some(StorageMessage::ChunkRequest {
            request_id,
            position,
            chunk_id,
            first_page,
            pages,
            with_first_page: flags & page_flag::WITH_FIRST_PAGE != 0,
            lane,
        })
    }

    fn page_content(&mut self) -> Option<PageContent> {
        let stored = self.prefixed(1, MAX_STORED_PAGE_BYTES)?.to_vec();
        let count = self.count(0, MAX_PAGE_SIGNATURES)?;
        let signatures = self.bytes(count * TaggedSignature::SIZE_BYTES)?.to_vec();
        let path = self.path()?;
        Some(PageContent {
            stored,
            signatures,
            path,
        })
    }

    fn challenge(&mut self, request_id: u64) -> Option<StorageMessage> {
        let challenge = AuditChallenge {
            challenge_id: ChallengeId::from_bytes(self.array()?),
            position: self.position()?,
            chunk_id: self.chunk_id()?,
            nonce: self.any_number()?,
        };
        Some(StorageMessage::Challenge { request_id, challenge })
    }

    fn audit_leaves(&mut self) -> Option<Vec<AuditLeaf>> {
        let count = self.count(1, CHALLENGE_LEAVES)?;
        self.elements(count, 5, |input| {
            let bytes = input.prefixed(1, LEAF_BYTES)?.to_vec();
            let path = input.path()?;
            let count = input.count(0, MAX_LEAF_SIGNATURES)?;
            let signatures = input.bytes(count * TaggedSignature::SIZE_BYTES)?;
            let signatures = TaggedSignature::read_list(signatures, PAGE_BYTES).ok()?;
            Some(AuditLeaf {
                bytes,
                path,
                signatures,
            })
        })
    }

    fn storage_capabilities(&mut self) -> Option<StorageMessage> {
        let allocated_storage_gb = self.any_number()?;
        let floor = self.any_number()?;
        let newest_segment = self.option(Self::segment)?;
        let newest_period = self.option(Self::any_number)?;
        let indexes = IndexScopes {
            block: self.scope()?,
            operation: self.scope()?,
            address: self.scope()?,
        };
        let count = self.count(0, MAX_HELD_RANGES)?;
        let ranges = self.elements(count, 2, |input| {
            Some(HeldRange {
                first_segment: input.segment()?,
                last_segment: input.segment()?,
            })
        })?;
        let is_range = |range: &HeldRange| range.first_segment <= range.last_segment;
        let ascends = |pair: &[HeldRange]| pair[0].last_segment < pair[1].first_segment;
        if !ranges.iter().all(is_range) || !ranges.windows(2).all(ascends) {
            return None;
        }
        let capabilities = Capabilities {
            allocated_storage_gb,
            floor,
            newest_segment,
            newest_period,
            indexes,
            ranges,
        };
        Some(StorageMessage::StorageCapabilities { capabilities })
    }

    fn scope(&mut self) -> Option<IndexScope> {
        match self.u8()? {
            0 => Some(IndexScope::None),
            1 => Some(IndexScope::Held),
            2 => Some(IndexScope::All),
            _ => None,
        }
    }

    fn tables_request(&mut self, request_id: u64) -> Option<StorageMessage> {
        let first_segment = self.segment()?;
        let count = self.number_u32(1, MAX_FETCH_TABLES)?;
        let offset = self.number_u32(0, MAX_TABLE_BYTES as u32)?;
        // A piece is of one table.
        let fits = offset == 0 || count == 1;
        fits.then_some(StorageMessage::TablesRequest {
            request_id,
            first_segment,
            count,
            offset,
        })
    }

    fn tables_content(&mut self) -> Option<TablesContent> {
        match self.u8()? {
            0 => {
                let tables = self.list(MAX_FETCH_TABLES as usize, 1, MAX_CONTENT_BYTES)?;
                Some(TablesContent::Whole(tables))
            }
            1 => self.piece(MAX_TABLE_BYTES).map(TablesContent::Piece),
            _ => None,
        }
    }

    fn slot_content(&mut self) -> Option<SlotContent<Piece>> {
        match self.u8()? {
            0 => Some(SlotContent::Miss),
            1 => self.piece(MAX_RECORD_BYTES).map(SlotContent::Block),
            _ => None,
        }
    }

    fn piece(&mut self, max_total: usize) -> Option<Piece> {
        let offset = self.number_u32(0, max_total as u32)?;
        let total = self.number_u32(1, max_total as u32)?;
        let bytes = self.prefixed(1, PIECE_BYTES)?;
        let end = u64::from(offset) + bytes.len() as u64;
        (end <= u64::from(total)).then(|| Piece {
            offset,
            total,
            bytes: bytes.to_vec(),
        })
    }

    fn held_response(&mut self, request_id: u64) -> Option<StorageMessage> {
        let first_segment = self.segment()?;
        let held = self.list(MAX_FETCH_HELD as usize, 0, MAX_HELD_BYTES)?;
        if held.iter().any(|bits| bits.last() == Some(&0)) {
            return None;
        }
        Some(StorageMessage::HeldResponse {
            request_id,
            first_segment,
            held,
        })
    }

    fn sum_path(&mut self) -> Option<Vec<u8>> {
        let path = self.prefixed(SUM_PATH_MASK_BYTES, MAX_SUM_PATH_BYTES)?;
        is_sum_path(path).then(|| path.to_vec())
    }

    fn locate_id(&mut self) -> Option<LocateId> {
        let kind = self.u8()?;
        let bytes = self.array()?;
        match kind {
            0 => block_id_from_bytes(&bytes).map(LocateId::Block),
            1 => operation_id_from_bytes(&bytes).map(LocateId::Operation),
            _ => None,
        }
    }

    fn located(&mut self) -> Option<Located> {
        Some(Located {
            slot: self.slot()?,
            index: self.number_u32(0, u32::MAX)?,
        })
    }
}

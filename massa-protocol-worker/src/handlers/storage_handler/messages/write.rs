//! Writing messages. What the deserializer would refuse is refused here, too.

use super::{
    answer_id, page_flag, Lane, Piece, StorageMessage, StorageMessageTypeId, TablesContent, MAX_CONTENT_BYTES,
    MAX_ENTRY_BYTES, MAX_PATH_SIBLINGS, MAX_STORED_PAGE_BYTES, PIECE_BYTES,
};
use massa_distributed_storage_exports::merkle::MerkleProof;
use massa_distributed_storage_exports::network::{
    is_sum_path, AnnouncedChunk, Answer, AuditChallenge, AuditLeaf, Capabilities, IndexScope, LocateId, Located,
    PageContent, SlotContent, CHALLENGE_LEAVES, MAX_ANNOUNCED_CHUNKS, MAX_FETCH_ENTRIES, MAX_FETCH_HELD,
    MAX_FETCH_TABLES, MAX_HELD_BYTES, MAX_HELD_RANGES, MAX_LEAF_SIGNATURES, MAX_LOCATE_IDS, MAX_PAGE_SIGNATURES,
    MAX_SUM_PATH_BYTES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::record::{block_id_bytes, operation_id_bytes};
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::slot::Slot;
use massa_serialization::{SerializeError, Serializer, U64VarIntSerializer};

type Written = Result<(), SerializeError>;

/// Writes messages about the archive.
#[derive(Clone, Default)]
pub struct StorageMessageSerializer {
    number: U64VarIntSerializer,
}

impl StorageMessageSerializer {
    /// A serializer.
    pub fn new() -> Self {
        Self::default()
    }

    fn numbers(&self, values: &[u64], buffer: &mut Vec<u8>) -> Written {
        values.iter().try_for_each(|value| self.number.serialize(value, buffer))
    }

    /// The length of a list of at most `max` elements.
    fn count(&self, count: usize, max: usize, what: &str, buffer: &mut Vec<u8>) -> Written {
        if count > max {
            return Err(SerializeError::GeneralError(format!("{what}: {count}, at most {max}")));
        }
        self.number.serialize(&(count as u64), buffer)
    }

    /// Bytes after their number.
    fn prefixed(&self, bytes: &[u8], max: usize, what: &str, buffer: &mut Vec<u8>) -> Written {
        self.count(bytes.len(), max, what, buffer)?;
        buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// A list of byte strings, which have `max_together` bytes at most.
    fn list(&self, list: &[Vec<u8>], limits: (usize, usize), what: &str, buffer: &mut Vec<u8>) -> Written {
        let (max_count, max_bytes) = limits;
        let together: usize = list.iter().map(Vec::len).sum();
        if together > MAX_CONTENT_BYTES {
            let reason = format!("{what}: {together} bytes, at most {MAX_CONTENT_BYTES}");
            return Err(SerializeError::GeneralError(reason));
        }
        self.count(list.len(), max_count, what, buffer)?;
        list.iter()
            .try_for_each(|bytes| self.prefixed(bytes, max_bytes, what, buffer))
    }

    fn option(&self, value: Option<u64>, buffer: &mut Vec<u8>) -> Written {
        buffer.push(u8::from(value.is_some()));
        value.map_or(Ok(()), |value| self.number.serialize(&value, buffer))
    }

    fn position(&self, position: ChunkPosition, buffer: &mut Vec<u8>) -> Written {
        self.numbers(&[position.segment, u64::from(position.index.0)], buffer)
    }

    fn slot(&self, slot: &Slot, buffer: &mut Vec<u8>) -> Written {
        self.number.serialize(&slot.period, buffer)?;
        buffer.push(slot.thread);
        Ok(())
    }

    fn answer<T>(
        &self,
        answer: &Answer<T>,
        buffer: &mut Vec<u8>,
        found: impl FnOnce(&T, &mut Vec<u8>) -> Written,
    ) -> Written {
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

    fn page(&self, page: &PageContent, buffer: &mut Vec<u8>) -> Written {
        buffer.reserve(page.stored.len() + page.signatures.len() + MAX_PATH_SIBLINGS * 32);
        self.prefixed(&page.stored, MAX_STORED_PAGE_BYTES, "bytes of a page", buffer)?;
        let signatures = page.signatures.chunks_exact(TaggedSignature::SIZE_BYTES);
        if !signatures.remainder().is_empty() {
            let length = page.signatures.len();
            return Err(SerializeError::GeneralError(format!("{length} bytes of signatures")));
        }
        self.count(signatures.len(), MAX_PAGE_SIGNATURES, "signatures of a page", buffer)?;
        buffer.extend_from_slice(&page.signatures);
        self.path(&page.path, buffer)
    }

    fn path(&self, path: &MerkleProof, buffer: &mut Vec<u8>) -> Written {
        self.number.serialize(&u64::from(path.directions), buffer)?;
        self.count(path.siblings.len(), MAX_PATH_SIBLINGS, "siblings of a path", buffer)?;
        buffer.extend(path.siblings.iter().flatten());
        Ok(())
    }

    fn challenge(&self, challenge: &AuditChallenge, buffer: &mut Vec<u8>) -> Written {
        buffer.extend_from_slice(challenge.challenge_id.as_bytes());
        self.position(challenge.position, buffer)?;
        buffer.extend_from_slice(challenge.chunk_id.as_bytes());
        self.number.serialize(&challenge.nonce, buffer)
    }

    fn leaves(&self, leaves: &[AuditLeaf], buffer: &mut Vec<u8>) -> Written {
        self.count(leaves.len(), CHALLENGE_LEAVES, "leaves of a proof", buffer)?;
        leaves.iter().try_for_each(|leaf| {
            self.prefixed(&leaf.bytes, LEAF_BYTES, "bytes of a leaf", buffer)?;
            self.path(&leaf.path, buffer)?;
            let signatures = &leaf.signatures;
            self.count(signatures.len(), MAX_LEAF_SIGNATURES, "signatures of a leaf", buffer)?;
            signatures.iter().for_each(|signature| signature.write(buffer));
            Ok(())
        })
    }

    fn announcement(
        &self,
        (segment, root): (u64, &Option<SegmentRoot>),
        chunks: &[AnnouncedChunk],
        buffer: &mut Vec<u8>,
    ) -> Written {
        self.number.serialize(&segment, buffer)?;
        buffer.push(u8::from(root.is_some()));
        root.iter().for_each(|root| buffer.extend_from_slice(root.as_bytes()));
        self.count(chunks.len(), MAX_ANNOUNCED_CHUNKS, "announced chunks", buffer)?;
        chunks.iter().try_for_each(|chunk| {
            self.number.serialize(&u64::from(chunk.index.0), buffer)?;
            buffer.extend_from_slice(chunk.id.as_bytes());
            Ok(())
        })
    }

    fn capabilities(&self, capabilities: &Capabilities, buffer: &mut Vec<u8>) -> Written {
        self.numbers(&[capabilities.allocated_storage_gb, capabilities.floor], buffer)?;
        self.option(capabilities.newest_segment, buffer)?;
        self.option(capabilities.newest_period, buffer)?;
        let indexes = &capabilities.indexes;
        buffer.extend([indexes.block, indexes.operation, indexes.address].map(scope_number));
        let ranges = &capabilities.ranges;
        self.count(ranges.len(), MAX_HELD_RANGES, "held ranges", buffer)?;
        ranges
            .iter()
            .try_for_each(|range| self.numbers(&[range.first_segment, range.last_segment], buffer))
    }

    fn tables(&self, content: &TablesContent, buffer: &mut Vec<u8>) -> Written {
        match content {
            TablesContent::Whole(tables) => {
                buffer.push(0);
                let limits = (MAX_FETCH_TABLES as usize, MAX_CONTENT_BYTES);
                self.list(tables, limits, "tables", buffer)
            }
            TablesContent::Piece(piece) => {
                buffer.push(1);
                self.piece(piece, buffer)
            }
        }
    }

    fn piece(&self, piece: &Piece, buffer: &mut Vec<u8>) -> Written {
        self.numbers(&[u64::from(piece.offset), u64::from(piece.total)], buffer)?;
        self.prefixed(&piece.bytes, PIECE_BYTES, "bytes of a piece", buffer)
    }

    fn slot_content(&self, content: &SlotContent<Piece>, buffer: &mut Vec<u8>) -> Written {
        match content {
            SlotContent::Miss => {
                buffer.push(0);
                Ok(())
            }
            SlotContent::Block(piece) => {
                buffer.push(1);
                self.piece(piece, buffer)
            }
        }
    }

    fn ids(&self, ids: &[LocateId], buffer: &mut Vec<u8>) -> Written {
        self.count(ids.len(), MAX_LOCATE_IDS, "ids to look up", buffer)?;
        for id in ids {
            let (kind, bytes) = match id {
                LocateId::Block(id) => (0, block_id_bytes(id)),
                LocateId::Operation(id) => (1, operation_id_bytes(id)),
            };
            buffer.push(kind);
            buffer.extend(bytes);
        }
        Ok(())
    }

    fn located(&self, located: &[Option<Located>], buffer: &mut Vec<u8>) -> Written {
        self.count(located.len(), MAX_LOCATE_IDS, "ids looked up", buffer)?;
        located.iter().try_for_each(|located| {
            buffer.push(u8::from(located.is_some()));
            let Some(located) = located else { return Ok(()) };
            self.slot(&located.slot, buffer)?;
            self.number.serialize(&u64::from(located.index), buffer)
        })
    }

    fn sum_path(&self, path: &[u8], buffer: &mut Vec<u8>) -> Written {
        if !is_sum_path(path) {
            let length = path.len();
            return Err(SerializeError::GeneralError(format!("{length} bytes are no sum path")));
        }
        self.prefixed(path, MAX_SUM_PATH_BYTES, "bytes of a sum path", buffer)
    }

    fn request(&self, message: &StorageMessage, buffer: &mut Vec<u8>) -> Written {
        match message {
            StorageMessage::ChunkRequest {
                position,
                chunk_id,
                first_page,
                pages,
                with_first_page,
                lane,
                ..
            } => {
                self.position(*position, buffer)?;
                buffer.extend_from_slice(chunk_id.as_bytes());
                self.numbers(&[u64::from(*first_page), u64::from(*pages)], buffer)?;
                buffer.push(page_flags(*with_first_page, *lane));
                Ok(())
            }
            StorageMessage::Challenge { challenge, .. } => self.challenge(challenge, buffer),
            StorageMessage::TablesRequest {
                first_segment,
                count,
                offset,
                ..
            } => self.numbers(&[*first_segment, u64::from(*count), u64::from(*offset)], buffer),
            StorageMessage::EntriesRequest {
                first_period, count, ..
            } => self.numbers(&[*first_period, u64::from(*count)], buffer),
            StorageMessage::BlockRequest { slot, offset, .. } => {
                self.slot(slot, buffer)?;
                self.number.serialize(&u64::from(*offset), buffer)
            }
            StorageMessage::HeldRequest {
                first_segment, count, ..
            } => self.numbers(&[*first_segment, u64::from(*count)], buffer),
            StorageMessage::LocateRequest { ids, .. } => self.ids(ids, buffer),
            StorageMessage::SumPathRequest { round, position, .. } => {
                self.number.serialize(round, buffer)?;
                self.position(*position, buffer)
            }
            _ => self.response(message, buffer),
        }
    }

    fn response(&self, message: &StorageMessage, buffer: &mut Vec<u8>) -> Written {
        match message {
            StorageMessage::ChunkResponse { page, answer, .. } => {
                self.number.serialize(&u64::from(*page), buffer)?;
                self.answer(answer, buffer, |page, buffer| self.page(page, buffer))
            }
            StorageMessage::ChallengeProof {
                challenge_id, answer, ..
            } => {
                buffer.extend_from_slice(challenge_id.as_bytes());
                self.answer(answer, buffer, |leaves, buffer| self.leaves(leaves, buffer))
            }
            StorageMessage::TablesResponse {
                first_segment, answer, ..
            } => {
                self.number.serialize(first_segment, buffer)?;
                self.answer(answer, buffer, |tables, buffer| self.tables(tables, buffer))
            }
            StorageMessage::EntriesResponse {
                first_period, answer, ..
            } => {
                self.number.serialize(first_period, buffer)?;
                let limits = (MAX_FETCH_ENTRIES as usize, MAX_ENTRY_BYTES);
                self.answer(answer, buffer, |list, buffer| {
                    self.list(list, limits, "entries", buffer)
                })
            }
            StorageMessage::BlockResponse { slot, answer, .. } => {
                self.slot(slot, buffer)?;
                self.answer(answer, buffer, |content, buffer| self.slot_content(content, buffer))
            }
            StorageMessage::HeldResponse {
                first_segment, held, ..
            } => {
                self.number.serialize(first_segment, buffer)?;
                self.list(held, (MAX_FETCH_HELD as usize, MAX_HELD_BYTES), "held chunks", buffer)
            }
            StorageMessage::LocateResponse { located, .. } => self.located(located, buffer),
            StorageMessage::SumPathResponse { answer, .. } => {
                self.answer(answer, buffer, |path, buffer| self.sum_path(path, buffer))
            }
            _ => Ok(()),
        }
    }
}

impl Serializer<StorageMessage> for StorageMessageSerializer {
    fn serialize(&self, value: &StorageMessage, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        let type_id = StorageMessageTypeId::from(value);
        self.number.serialize(&(type_id as u64), buffer)?;
        match value {
            StorageMessage::ChunkAnnouncement { segment, root, chunks } => {
                self.announcement((*segment, root), chunks, buffer)
            }
            StorageMessage::StorageCapabilities { capabilities } => self.capabilities(capabilities, buffer),
            _ => {
                let request_id = value.request_id().expect("all other messages belong to a request");
                self.number.serialize(&request_id, buffer)?;
                self.request(value, buffer)
            }
        }
    }
}

fn page_flags(with_first_page: bool, lane: Lane) -> u8 {
    let first = if with_first_page { page_flag::WITH_FIRST_PAGE } else { 0 };
    let quick = if lane == Lane::Quick { page_flag::QUICK } else { 0 };
    first | quick
}

fn scope_number(scope: IndexScope) -> u8 {
    match scope {
        IndexScope::None => 0,
        IndexScope::Held => 1,
        IndexScope::All => 2,
    }
}

//! The next answer to a request.

use super::Waiting;
use crate::handlers::storage_handler::messages::{
    Piece, StorageMessage, TablesContent, MAX_CONTENT_BYTES, PIECE_BYTES,
};
use massa_distributed_storage_exports::network::{Answer, ArchiveServer, LocateId, Located, PageContent, SlotContent};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use schnellru::{ByLength, LruMap};

/// Tables and blocks larger than a frame that are kept: 19 MB at most, enough for as many peers at a time.
const MAX_KEPT: u32 = 8;

/// What is larger than a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Large {
    Table(u64),
    Block(Slot),
}

/// Reads answers from the server.
pub(super) struct Answering {
    kept: LruMap<Large, Vec<u8>, ByLength>,
}

impl Answering {
    pub fn new() -> Self {
        Self {
            kept: LruMap::new(ByLength::new(MAX_KEPT)),
        }
    }

    /// The next answer to a request, and whether it is the last. An answer without content is the last one.
    pub fn answer(&mut self, waiting: &mut Waiting, to: &NodeId, server: &dyn ArchiveServer) -> (StorageMessage, bool) {
        if let StorageMessage::ChunkRequest { .. } = waiting.request {
            return page(waiting, server);
        }
        (self.single(&waiting.request, to, server), true)
    }

    fn single(&mut self, request: &StorageMessage, to: &NodeId, server: &dyn ArchiveServer) -> StorageMessage {
        let request_id = request.request_id().expect("only requests wait");
        match request {
            StorageMessage::Challenge { challenge, .. } => StorageMessage::ChallengeProof {
                request_id,
                challenge_id: challenge.challenge_id,
                answer: server.prove(to, challenge),
            },
            StorageMessage::TablesRequest {
                first_segment,
                count,
                offset,
                ..
            } => StorageMessage::TablesResponse {
                request_id,
                first_segment: *first_segment,
                answer: self.tables(*first_segment, *count, *offset, server),
            },
            StorageMessage::EntriesRequest {
                first_period, count, ..
            } => {
                let entries = server.entries(*first_period, *count, MAX_CONTENT_BYTES);
                StorageMessage::EntriesResponse {
                    request_id,
                    first_period: *first_period,
                    answer: not_empty(map(entries, |list| as_many_as_fit(list, *count))),
                }
            }
            StorageMessage::BlockRequest { slot, offset, .. } => StorageMessage::BlockResponse {
                request_id,
                slot: *slot,
                answer: self.block(slot, *offset, server),
            },
            StorageMessage::HeldRequest {
                first_segment, count, ..
            } => StorageMessage::HeldResponse {
                request_id,
                first_segment: *first_segment,
                held: canonical(server.held(*first_segment, *count, MAX_CONTENT_BYTES), *count),
            },
            StorageMessage::LocateRequest { ids, .. } => StorageMessage::LocateResponse {
                request_id,
                located: located(ids, server),
            },
            StorageMessage::SumPathRequest { round, position, .. } => StorageMessage::SumPathResponse {
                request_id,
                answer: server.sum_path(*round, *position),
            },
            _ => StorageMessage::Busy { request_id },
        }
    }

    fn tables(&mut self, segment: u64, count: u32, offset: u32, server: &dyn ArchiveServer) -> Answer<TablesContent> {
        let key = Large::Table(segment);
        if let Some(piece) = self.kept_piece(&key, offset) {
            return Answer::Found(TablesContent::Piece(piece));
        }
        let tables = not_empty(server.tables(segment, count, MAX_CONTENT_BYTES));
        let mut tables = match tables {
            Answer::Found(tables) => tables,
            other => return map(other, TablesContent::Whole),
        };
        if tables[0].len() <= MAX_CONTENT_BYTES && offset == 0 {
            return Answer::Found(TablesContent::Whole(as_many_as_fit(tables, count)));
        }
        let piece = self.keep(key, tables.swap_remove(0), offset);
        piece.map_or(Answer::NotHeld, |piece| Answer::Found(TablesContent::Piece(piece)))
    }

    fn block(&mut self, slot: &Slot, offset: u32, server: &dyn ArchiveServer) -> Answer<SlotContent<Piece>> {
        let key = Large::Block(*slot);
        if let Some(piece) = self.kept_piece(&key, offset) {
            return Answer::Found(SlotContent::Block(piece));
        }
        match server.block(slot) {
            Answer::Found(SlotContent::Block(bytes)) => {
                let piece = self.keep(key, bytes, offset);
                piece.map_or(Answer::NotHeld, |piece| Answer::Found(SlotContent::Block(piece)))
            }
            Answer::Found(SlotContent::Miss) => Answer::Found(SlotContent::Miss),
            other => map(other, |_| SlotContent::Miss),
        }
    }

    /// A piece after the first one of something that is kept: a first one is read anew, because it may have changed.
    fn kept_piece(&mut self, key: &Large, offset: u32) -> Option<Piece> {
        if offset == 0 {
            return None;
        }
        piece(self.kept.get(key)?, offset)
    }

    /// The piece at `offset`; keeps the rest, if there is one. `None` beyond the end.
    fn keep(&mut self, key: Large, bytes: Vec<u8>, offset: u32) -> Option<Piece> {
        let piece = piece(&bytes, offset);
        if bytes.len() > PIECE_BYTES {
            self.kept.insert(key, bytes);
        }
        piece
    }
}

/// The next page, or the chunk's first one before it, if that was asked for and is needed.
fn page(waiting: &mut Waiting, server: &dyn ArchiveServer) -> (StorageMessage, bool) {
    let StorageMessage::ChunkRequest {
        request_id,
        position,
        chunk_id,
        first_page,
        pages,
        with_first_page,
        ..
    } = waiting.request
    else {
        unreachable!("the caller looked")
    };
    let page = first_page + waiting.pages_sent;
    let answer = server.page(position, &chunk_id, page);
    let needs_first = matches!(&answer, Answer::Found(content) if content.needs_first_page());
    if needs_first && page > 0 && with_first_page && !waiting.first_page_sent {
        waiting.first_page_sent = true;
        return first_page_of(request_id, (position, &chunk_id), server);
    }
    waiting.pages_sent += 1;
    let is_over = waiting.pages_sent >= pages || !matches!(answer, Answer::Found(_));
    let message = StorageMessage::ChunkResponse {
        request_id,
        page,
        answer,
    };
    (message, is_over)
}

fn first_page_of(
    request_id: u64,
    (position, chunk_id): (ChunkPosition, &ChunkId),
    server: &dyn ArchiveServer,
) -> (StorageMessage, bool) {
    let answer: Answer<PageContent> = server.page(position, chunk_id, 0);
    let is_over = !matches!(answer, Answer::Found(_));
    let message = StorageMessage::ChunkResponse {
        request_id,
        page: 0,
        answer,
    };
    (message, is_over)
}

fn map<T, U>(answer: Answer<T>, found: impl FnOnce(T) -> U) -> Answer<U> {
    match answer {
        Answer::Found(value) => Answer::Found(found(value)),
        Answer::NotYet => Answer::NotYet,
        Answer::NotHeld => Answer::NotHeld,
        Answer::Pruned => Answer::Pruned,
    }
}

/// An empty list is no answer.
fn not_empty(answer: Answer<Vec<Vec<u8>>>) -> Answer<Vec<Vec<u8>>> {
    match answer {
        Answer::Found(list) if list.is_empty() => Answer::NotYet,
        other => other,
    }
}

/// What travels in one frame: `count` elements at most, together no larger than the content of a frame. The server was told
/// so; a frame that is too large would not be read.
fn as_many_as_fit(mut list: Vec<Vec<u8>>, count: u32) -> Vec<Vec<u8>> {
    list.truncate(count as usize);
    let mut left = MAX_CONTENT_BYTES;
    let fitting = list.iter().take_while(|bytes| {
        let fits = bytes.len() <= left;
        left = left.saturating_sub(bytes.len());
        fits
    });
    let count = fitting.count();
    list.truncate(count);
    list
}

/// The form that travels: a list for each segment, without trailing zero bytes, one at least.
fn canonical(mut held: Vec<Vec<u8>>, count: u32) -> Vec<Vec<u8>> {
    for bits in &mut held {
        while bits.last() == Some(&0) {
            bits.pop();
        }
    }
    let mut held = as_many_as_fit(held, count);
    if held.is_empty() {
        held.push(Vec::new());
    }
    held
}

/// One for each id.
fn located(ids: &[LocateId], server: &dyn ArchiveServer) -> Vec<Option<Located>> {
    let mut located = server.locate(ids);
    located.resize(ids.len(), None);
    located
}

/// The piece of `bytes` at `offset`; `None` beyond the end.
fn piece(bytes: &[u8], offset: u32) -> Option<Piece> {
    let rest = bytes.get(offset as usize..).filter(|rest| !rest.is_empty())?;
    Some(Piece {
        offset,
        total: u32::try_from(bytes.len()).ok()?,
        bytes: rest[..rest.len().min(PIECE_BYTES)].to_vec(),
    })
}

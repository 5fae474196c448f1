//! Answers of peers: what is checked, what becomes of the request, and who is at fault.

use super::open_fetch::Asked;
use super::Retrieval;
use crate::handlers::storage_handler::messages::{Piece, StorageMessage, TablesContent};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    Answer, FetchEvent, FetchFailure, FetchTarget, Located, PageContent, PageError, SlotContent, VerifiedPage,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentTable, TableChunk};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::time::Instant;

/// Who answered which request, and when.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    from: NodeId,
    pub(super) request_id: u64,
    pub(super) now: Instant,
}

/// Fetch, holder and part of something that was put together.
pub(super) type Whole = (u64, usize, u32);

impl Retrieval {
    pub(super) fn on_answer(&mut self, from: NodeId, message: StorageMessage, now: Instant) {
        let Some(request_id) = message.request_id() else {
            return;
        };
        let is_from = self
            .requests
            .get(&request_id)
            .is_some_and(|request| request.node == from);
        if !is_from {
            if !self.peers.is_abandoned(&from, request_id) {
                self.stray(from);
            }
            return;
        }
        if let StorageMessage::Busy { .. } = message {
            self.peers.busy(&from, now);
            return self.refused(request_id, now);
        }
        if !self.is_asked(request_id, &message) {
            return self.stray(from);
        }
        self.lose_before(&from, request_id, &message);
        let answered = Answered { from, request_id, now };
        match message {
            StorageMessage::ChunkResponse { page, answer, .. } => self.on_page_answer(answered, page, answer),
            StorageMessage::TablesResponse {
                first_segment, answer, ..
            } => self.on_tables(answered, first_segment, answer),
            StorageMessage::EntriesResponse {
                first_period, answer, ..
            } => self.on_entries(answered, first_period, answer),
            StorageMessage::BlockResponse { slot, answer, .. } => self.on_block(answered, slot, answer),
            StorageMessage::HeldResponse {
                first_segment, held, ..
            } => self.on_held(answered, first_segment, held),
            StorageMessage::LocateResponse { located, .. } => self.on_located(answered, located),
            StorageMessage::SumPathResponse { answer, .. } => self.on_sum_path(answered, answer),
            _ => self.stray(from),
        }
    }

    /// Whether an answer is to what its request asked for.
    fn is_asked(&self, request_id: u64, message: &StorageMessage) -> bool {
        use StorageMessage as M;
        let request = &self.requests[&request_id];
        match (&request.message, message) {
            (M::ChunkRequest { .. }, M::ChunkResponse { page, .. }) => {
                let is_extra = *page == 0 && request.with_first_page;
                is_extra || matches!(&request.asked, Asked::Parts(pages) if pages.contains(page))
            }
            (
                M::TablesRequest { first_segment, .. },
                M::TablesResponse {
                    first_segment: found, ..
                },
            )
            | (
                M::HeldRequest { first_segment, .. },
                M::HeldResponse {
                    first_segment: found, ..
                },
            ) => first_segment == found,
            (
                M::EntriesRequest { first_period, .. },
                M::EntriesResponse {
                    first_period: found, ..
                },
            ) => first_period == found,
            (M::BlockRequest { slot, .. }, M::BlockResponse { slot: found, .. }) => slot == found,
            (M::LocateRequest { .. }, M::LocateResponse { .. }) => true,
            (M::SumPathRequest { .. }, M::SumPathResponse { .. }) => true,
            _ => false,
        }
    }

    /// Requests of a lane are answered in order, and pages of a request: what should have come before this answer is lost.
    fn lose_before(&mut self, from: &NodeId, request_id: u64, message: &StorageMessage) {
        let lane = self.requests[&request_id].lane;
        for earlier in self.peers.before(from, (request_id, lane)) {
            self.peers.lost(from);
            let ended = self.end_request(earlier, true);
            if let Some(holder) = ended.and_then(|ended| self.holder(ended)) {
                holder.on_loss();
            }
        }
        if let StorageMessage::ChunkResponse { page, .. } = message {
            self.lose_pages_before(from, request_id, *page);
        }
    }

    fn lose_pages_before(&mut self, from: &NodeId, request_id: u64, page: u32) {
        let Some(request) = self.requests.get_mut(&request_id) else {
            return;
        };
        let Asked::Parts(pages) = &mut request.asked else {
            return;
        };
        let kept = pages.split_off(&page);
        let lost = std::mem::replace(pages, kept);
        // The first page is sent only when it is needed: it is not lost, it is not coming.
        let not_coming = usize::from(page > 0 && std::mem::take(&mut request.with_first_page));
        let count = lost.len() + not_coming;
        request.answers -= count;
        let (bytes, ended) = (count * request.cost, (request.fetch, request.holder));
        let (node, priority) = (request.node, request.priority);
        self.peers.released(&node, priority, bytes);
        if !lost.is_empty() {
            self.peers.lost(from);
            self.give_back(ended, lost);
        }
    }

    /// Parts of a fetch that a holder was asked for are lost.
    fn give_back(&mut self, (key, holder): (u64, usize), lost: BTreeSet<u32>) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.holders[holder].on_loss();
        fetch.missing.extend(lost);
        self.hungry[fetch.priority as usize].insert(key);
    }

    fn on_page_answer(&mut self, answered: Answered, page: u32, answer: Answer<PageContent>) {
        let Some(content) = self.found(answered, answer) else {
            return;
        };
        let bytes = content.stored.len() + content.signatures.len() + content.path.siblings.len() * 32;
        let request = &self.requests[&answered.request_id];
        let (key, is_extra) = (request.fetch, page == 0 && request.with_first_page);
        let Some((chunk, first_page)) = self.chunk_of(key) else {
            self.received(answered, Some(page), bytes);
            return;
        };
        match VerifiedPage::check(&chunk, page, content, first_page) {
            Ok(verified) => {
                self.received(answered, Some(page), bytes);
                self.on_page(answered, key, verified, is_extra);
            }
            // The first page was lost on the way, and this one came without it: it is asked for again.
            Err(PageError::NoFirstPage) => {
                let holder = self.requests[&answered.request_id].holder;
                self.received(answered, Some(page), bytes);
                self.give_back((key, holder), BTreeSet::from([page]));
            }
            Err(error) => self.blame(answered, format!("page {page} of chunk {}: {error}", chunk.id)),
        }
    }

    /// Length and id of the chunk that a fetch is for, and what is known of its first page.
    fn chunk_of(&self, key: u64) -> Option<(TableChunk, &[u8])> {
        let fetch = self.fetches.get(&key)?;
        let first_page = fetch.first_page.as_deref().unwrap_or_default();
        match &fetch.target {
            FetchTarget::Pages { chunk, .. } => Some((*chunk, first_page)),
            _ => None,
        }
    }

    fn on_page(&mut self, answered: Answered, key: u64, page: VerifiedPage, is_extra: bool) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        if page.page() == 0 && fetch.first_page.is_none() && (is_extra || fetch.unanswered > 1) {
            fetch.first_page = Some(page.plain().to_vec());
        }
        if is_extra {
            fetch.ends = self.limits.deadline(answered.now);
            return;
        }
        let (id, from) = (fetch.id, answered.from);
        self.deliver(answered, key, 1, FetchEvent::Page { id, from, page });
    }

    fn on_tables(&mut self, answered: Answered, first_segment: u64, answer: Answer<TablesContent>) {
        match self.found(answered, answer) {
            None => {}
            Some(TablesContent::Whole(list)) => {
                let parameters = &self.limits.parameters;
                let parse = |index: u64, bytes: &[u8]| {
                    let table = SegmentTable::from_bytes(bytes).map_err(|error| error.to_string())?;
                    let checked = table.check_network(parameters, first_segment + index);
                    checked.map(|()| table).map_err(|error| error.to_string())
                };
                let tables = self.parse_list(answered, &list, parse);
                let bytes = list.iter().map(Vec::len).sum();
                self.on_list(answered, tables, bytes, |id, from, tables| FetchEvent::Tables {
                    id,
                    from,
                    first_segment,
                    tables,
                });
            }
            Some(TablesContent::Piece(piece)) => self.on_table_piece(answered, first_segment, piece),
        }
    }

    fn on_table_piece(&mut self, answered: Answered, first_segment: u64, piece: Piece) {
        let is_first = matches!(self.requests[&answered.request_id].asked, Asked::Parts(_));
        if is_first {
            if let Err(reason) = self.check_header(first_segment, &piece) {
                return self.blame(answered, format!("table of segment {first_segment}: {reason}"));
            }
        }
        let Some((whole, bytes)) = self.on_piece(answered, piece) else {
            return;
        };
        let key = whole.0;
        let table = SegmentTable::from_bytes(&bytes).map_err(|error| error.to_string());
        let checked = table.and_then(|table| {
            let checked = table.check_network(&self.limits.parameters, first_segment);
            checked.map(|()| table).map_err(|error| error.to_string())
        });
        match checked {
            Ok(table) => {
                let id = self.fetches[&key].id;
                let event = FetchEvent::Tables {
                    id,
                    from: answered.from,
                    first_segment,
                    tables: vec![table],
                };
                self.learn(key, bytes.len());
                self.deliver(answered, key, 1, event);
            }
            Err(reason) => self.blame_whole(answered, whole, format!("table of segment {first_segment}: {reason}")),
        }
    }

    /// The first piece of a table says how long the table is: more need not be asked for to find a lie.
    fn check_header(&self, segment: u64, piece: &Piece) -> Result<(), String> {
        let header = SegmentTable::header_of(&piece.bytes).map_err(|error| error.to_string())?;
        let length = SegmentTable::length_of(&header);
        if length != piece.total as usize || header.segment != segment {
            let (found, total) = (header.segment, piece.total);
            return Err(format!("{total} bytes, by its header {length} of segment {found}"));
        }
        Ok(())
    }

    fn on_entries(&mut self, answered: Answered, first_period: u64, answer: Answer<Vec<Vec<u8>>>) {
        let Some(list) = self.found(answered, answer) else {
            return;
        };
        let threads = self.limits.parameters.thread_count;
        let parse = |_, bytes: &[u8]| PeriodEntry::from_bytes(bytes, threads).map_err(|error| error.to_string());
        let entries = self.parse_list(answered, &list, parse);
        let bytes = list.iter().map(Vec::len).sum();
        self.on_list(answered, entries, bytes, |id, from, entries| FetchEvent::Entries {
            id,
            from,
            first_period,
            entries,
        });
    }

    fn on_held(&mut self, answered: Answered, first_segment: u64, held: Vec<Vec<u8>>) {
        let parsed = self.parse_list(answered, &held, |_, _| Ok(()));
        let bytes = held.iter().map(Vec::len).sum();
        let held = first_bits(held, self.limits.max_stored_chunks_per_node);
        let held = parsed.map(|_| held);
        self.on_list(answered, held, bytes, |id, from, held| FetchEvent::Held {
            id,
            from,
            first_segment,
            held,
        });
    }

    fn on_located(&mut self, answered: Answered, located: Vec<Option<Located>>) {
        let asked = match &self.requests[&answered.request_id].message {
            StorageMessage::LocateRequest { ids, .. } => ids.len(),
            _ => 0,
        };
        let threads = self.limits.parameters.thread_count;
        let is_slot = |located: &Located| located.slot.thread < threads;
        if located.len() != asked || !located.iter().flatten().all(is_slot) {
            let found = located.len();
            return self.blame(answered, format!("{found} slots, or of other threads, for {asked} ids"));
        }
        self.on_list(answered, Ok(vec![()]), located.len() * 8, |id, from, _| {
            FetchEvent::Located { id, from, located }
        });
    }

    fn on_sum_path(&mut self, answered: Answered, answer: Answer<Vec<u8>>) {
        let Some(path) = self.found(answered, answer) else {
            return;
        };
        self.on_list(answered, Ok(vec![()]), path.len(), |id, from, _| FetchEvent::SumPath {
            id,
            from,
            path,
        });
    }

    fn on_block(&mut self, answered: Answered, slot: Slot, answer: Answer<SlotContent<Piece>>) {
        let piece = match self.found(answered, answer) {
            None => return,
            Some(SlotContent::Block(piece)) => piece,
            Some(SlotContent::Miss) => {
                let event = |id, from, _| {
                    let content = SlotContent::Miss;
                    FetchEvent::Block {
                        id,
                        from,
                        slot,
                        content,
                    }
                };
                return self.on_list(answered, Ok(vec![()]), 0, event);
            }
        };
        let Some((whole, bytes)) = self.on_piece(answered, piece) else {
            return;
        };
        let key = whole.0;
        self.learn(key, bytes.len());
        match self.check_block(slot, bytes) {
            Ok(record) => {
                let event = FetchEvent::Block {
                    id: self.fetches[&key].id,
                    from: answered.from,
                    slot,
                    content: SlotContent::Block(record),
                };
                self.deliver(answered, key, 1, event);
            }
            Err(reason) => self.blame_whole(answered, whole, format!("block of slot {slot}: {reason}")),
        }
    }

    fn check_block(&self, slot: Slot, bytes: Vec<u8>) -> Result<BlockRecord, String> {
        let record = BlockRecord::from_bytes(bytes).map_err(|error| error.to_string())?;
        let view = record.view(self.limits.parameters.thread_count);
        let found = view.map_err(|error| error.to_string())?.slot;
        if found == slot {
            Ok(record)
        } else {
            Err(format!("it is of slot {found}"))
        }
    }

    /// What was found. Otherwise the request is over, and its fetch asks this holder nothing more.
    fn found<T>(&mut self, answered: Answered, answer: Answer<T>) -> Option<T> {
        let failure = match answer {
            Answer::Found(found) => return Some(found),
            Answer::NotYet => FetchFailure::NotYet,
            Answer::NotHeld => FetchFailure::NotHeld,
            Answer::Pruned => FetchFailure::Pruned,
        };
        let request = &self.requests[&answered.request_id];
        let (stamp, is_first) = (request.stamp, !request.is_answered);
        self.peers.answered(&answered.from, &stamp, (0, is_first), answered.now);
        self.holder_failed(answered.request_id, Some(failure));
        None
    }

    /// The elements of an answer, at most as many as were asked for. Wrong ones are the sender's fault.
    fn parse_list<T>(
        &self,
        answered: Answered,
        list: &[Vec<u8>],
        parse: impl Fn(u64, &[u8]) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let asked = match &self.requests[&answered.request_id].asked {
            Asked::Parts(parts) => parts.len(),
            Asked::Piece { .. } => return Err("a list instead of a piece".to_string()),
        };
        if list.is_empty() || list.len() > asked {
            return Err(format!("{} elements, asked for {asked}", list.len()));
        }
        let elements = list.iter().zip(0..).map(|(bytes, index)| {
            let element = parse(index, bytes);
            element.map_err(|reason| format!("element {index}: {reason}"))
        });
        elements.collect()
    }

    /// Right elements are handed over, and those that did not fit are missing again.
    fn on_list<T>(
        &mut self,
        answered: Answered,
        list: Result<Vec<T>, String>,
        bytes: usize,
        event: impl FnOnce(u64, NodeId, Vec<T>) -> FetchEvent,
    ) {
        let list = match list {
            Ok(list) => list,
            Err(reason) => return self.blame(answered, reason),
        };
        let (key, count) = (self.requests[&answered.request_id].fetch, list.len());
        (0..count).for_each(|_| self.take_first_part(answered.request_id));
        self.received(answered, None, bytes);
        if let Some(fetch) = self.fetches.get(&key) {
            let event = event(fetch.id, answered.from, list);
            self.learn(key, bytes.div_ceil(count.max(1)));
            self.deliver(answered, key, count, event);
        }
    }

    /// A part of a request is there.
    pub(super) fn take_first_part(&mut self, request_id: u64) {
        let request = self.requests.get_mut(&request_id);
        if let Some(Asked::Parts(parts)) = request.map(|request| &mut request.asked) {
            parts.pop_first();
        }
    }

    fn learn(&mut self, key: u64, bytes: usize) {
        if let Some(fetch) = self.fetches.get(&key) {
            self.costs.learn(&fetch.target, bytes);
        }
    }

    /// An answer of `bytes` bytes came: page `page` of several, or the only answer to its request.
    pub(super) fn received(&mut self, answered: Answered, page: Option<u32>, bytes: usize) {
        let Some(request) = self.requests.get_mut(&answered.request_id) else {
            return;
        };
        let (node, stamp, is_first) = (request.node, request.stamp, !request.is_answered);
        let (priority, cost, ended) = (request.priority, request.cost, (request.fetch, request.holder));
        request.is_answered = true;
        request.answers -= 1;
        if let (Some(page), Asked::Parts(pages)) = (page, &mut request.asked) {
            let is_part = pages.remove(&page);
            request.with_first_page &= is_part;
        }
        let is_over = request.answers == 0;
        self.peers.released(&node, priority, cost);
        self.peers.answered(&node, &stamp, (bytes, is_first), answered.now);
        if page.is_some() {
            self.learn(ended.0, bytes);
        }
        if is_over {
            self.end_answered(answered.request_id);
        }
        if let Some(holder) = self.holder(ended) {
            holder.on_answer();
        }
    }

    /// The request got all its answers. What of it is left did not fit, and is missing again; a piece is there.
    fn end_answered(&mut self, request_id: u64) {
        let Some(request) = self.remove_request(request_id, false) else {
            return;
        };
        let Some(fetch) = self.fetches.get_mut(&request.fetch) else {
            return;
        };
        if let Asked::Parts(mut parts) = request.asked {
            parts.retain(|part| !fetch.assemblies.contains_key(part));
            fetch.missing.extend(parts);
        }
        if fetch.is_hungry() {
            self.hungry[fetch.priority as usize].insert(request.fetch);
        }
    }

    /// Hands over `parts` parts of a fetch.
    fn deliver(&mut self, answered: Answered, key: u64, parts: usize, event: FetchEvent) {
        let Some(fetch) = self.fetches.get_mut(&key) else {
            return;
        };
        fetch.unanswered -= parts;
        fetch.ends = self.limits.deadline(answered.now);
        let is_complete = fetch.unanswered == 0;
        self.reply(key, event);
        if is_complete {
            self.complete(key);
        }
    }

    /// What was put together is false. All its requests are answered, so nothing else makes it missing again.
    fn blame_whole(&mut self, answered: Answered, (key, holder, part): Whole, reason: String) {
        if let Some(fetch) = self.fetches.get_mut(&key) {
            fetch.holders[holder].failure = Some(FetchFailure::Quarantined);
            fetch.missing.insert(part);
            self.hungry[fetch.priority as usize].insert(key);
        }
        self.blame(answered, reason);
    }

    pub(super) fn blame(&mut self, answered: Answered, reason: String) {
        self.quarantine(answered.from, reason, answered.now);
    }
}

/// Clears all bits after the first `max` set ones, and trailing zero bytes.
fn first_bits(mut held: Vec<Vec<u8>>, max: usize) -> Vec<Vec<u8>> {
    let mut left = max;
    for bits in &mut held {
        for byte in bits.iter_mut() {
            while byte.count_ones() as usize > left {
                *byte &= !(0x80 >> byte.leading_zeros());
            }
            left -= byte.count_ones() as usize;
        }
        while bits.last() == Some(&0) {
            bits.pop();
        }
    }
    held
}

//! What comes back: answers of the network, and what the writer did.

use super::*;

impl RepairDriver {
    /// An answer of the network.
    pub fn on_event(&mut self, event: FetchEvent, now: Instant) {
        match event {
            FetchEvent::Tables {
                id,
                from,
                first_segment,
                tables,
            } => match Asker::of(id) {
                Some(Asker::Tables) => {
                    let tables = (first_segment, tables);
                    let actions = self.with_tables(now, |plan, view| plan.on_tables(id, from, tables, view));
                    self.push(actions, Action::Table);
                }
                Some(Asker::Refetch) => {
                    let actions = self.with_refetch(now, |plan, view| plan.on_tables(id, from, tables, view));
                    self.push(actions, Action::Refetch);
                }
                _ => {}
            },
            FetchEvent::Entries { .. } => self.on_entries(event, now),
            FetchEvent::Block { id, from, content, .. } => {
                let periods = &mut self.periods;
                let look = &self.look;
                let actions = look.with_periods_view(now, |view| periods.on_block(id, from, content, view));
                self.push(actions, Action::Period);
            }
            FetchEvent::Page { id, from, page } => match Asker::of(id) {
                Some(Asker::Chunks) => {
                    let actions = self.with_chunks(now, |plan, view| plan.on_page(id, from, page, view));
                    self.push(actions, Action::Chunk);
                }
                Some(Asker::RefetchChunks) => self.refetch.on_page(id, from, page, now),
                _ => {}
            },
            FetchEvent::Held {
                id,
                from,
                first_segment,
                held,
            } => self.hand_over.on_held(id, from, first_segment, &held),
            FetchEvent::Located { .. } | FetchEvent::SumPath { .. } => {}
            FetchEvent::Complete { id } => self.on_complete(id, now),
            FetchEvent::Failed { .. } => self.on_failed(event, now),
        }
        self.act(now);
    }

    fn on_entries(&mut self, event: FetchEvent, now: Instant) {
        let FetchEvent::Entries {
            id,
            from,
            first_period,
            entries,
        } = event
        else {
            return;
        };
        match Asker::of(id) {
            Some(Asker::Periods) => {
                let actions = self.periods.on_entries(id, from, (first_period, entries), now);
                self.push(actions, Action::Period);
            }
            Some(Asker::Chunks) => {
                let actions = self.chunks.on_entries(id, from, entries, now);
                self.push(actions, Action::Chunk);
            }
            Some(Asker::RefetchChunks) => {
                let actions = self.refetch.on_entries(id, from, entries, now);
                self.push(actions, Action::Refetch);
            }
            _ => {}
        }
    }

    fn on_complete(&mut self, id: u64, now: Instant) {
        match Asker::of(id) {
            Some(Asker::Periods) => {
                let periods = &mut self.periods;
                let look = &self.look;
                let actions = look.with_periods_view(now, |view| periods.on_complete(id, view));
                self.push(actions, Action::Period);
            }
            Some(Asker::Tables) => {
                let actions = self.with_tables(now, |plan, view| plan.on_complete(id, view));
                self.push(actions, Action::Table);
            }
            Some(Asker::Chunks) => {
                let actions = self.with_chunks(now, |plan, view| plan.on_complete(id, view));
                self.push(actions, Action::Chunk);
            }
            Some(Asker::Refetch | Asker::RefetchChunks) => {
                let actions = self.refetch.on_complete(id, now);
                self.push(actions, Action::Refetch);
            }
            Some(Asker::HandOver) => self.hand_over.on_done(id),
            None => {}
        }
    }

    fn on_failed(&mut self, event: FetchEvent, now: Instant) {
        let FetchEvent::Failed { id, attempts } = event else {
            return;
        };
        match Asker::of(id) {
            Some(Asker::Periods) => self.periods.on_failed(id, &attempts, now),
            Some(Asker::Chunks) => {
                let actions = self.chunks.on_failed(id, &attempts, now);
                self.push(actions, Action::Chunk);
            }
            Some(Asker::Refetch | Asker::RefetchChunks) => {
                let actions = self.refetch.on_failed(id, &attempts, now);
                self.push(actions, Action::Refetch);
            }
            Some(Asker::Tables | Asker::HandOver) | None => self.not_asked(id, now),
        }
    }

    /// What the writer did.
    pub fn on_written(&mut self, written: Written, now: Instant) {
        self.note_written(written, now);
        self.act(now);
    }

    pub(super) fn note_written(&mut self, written: Written, now: Instant) {
        match written {
            // A block that was not taken is still missing, and asked for again.
            Written::Block(result) => log_failure("block", result),
            Written::Entries { from, result } => match result {
                Err(NotWritten::False(reason)) => self.quarantine(from, &reason),
                other => log_failure("entries", other),
            },
            Written::Tables { tables, result } => {
                match &result {
                    Ok(()) => self.tables.on_written(&tables),
                    Err(_) => self.tables.restart(),
                }
                log_failure("tables", result);
            }
            Written::Chunk { position, result } => match result {
                Ok(()) => {
                    self.chunks.on_written(position);
                    self.watch.held_changed(position.segment);
                }
                failure => {
                    self.not_written(position, now);
                    log_failure("chunk", failure);
                }
            },
            Written::Dropped(chunks) => {
                let segments: BTreeSet<u64> = chunks.iter().map(|position| position.segment).collect();
                segments.iter().for_each(|segment| self.watch.held_changed(*segment));
                self.hand_over.on_dropped();
            }
            Written::DroppedDamaged(position, result) => {
                self.watch.held_changed(position.segment);
                if let (Ok(()), Some(wanted)) = (&result, self.look.wanted_at(position)) {
                    self.chunks.want(wanted, now);
                }
                log_failure("damaged chunk", result);
            }
            Written::Replaced { segment, result } => {
                self.refetch.on_replaced(segment);
                self.tables.look_again(segment);
                self.watch.held_changed(segment);
                log_failure("segment", result);
            }
            Written::RootWithLost { segment, root } => {
                if root.is_none() {
                    // Asked for again when the same is decided once more.
                    self.candidate = None;
                }
                self.candidate_root = root.map(|root| (segment, Some(root)));
            }
            Written::Closed(segments) => self.note_closed(&segments, now),
        }
    }

    /// Segments have a table now, or another one: they are placed, and looked at.
    fn note_closed(&mut self, segments: &[u64], now: Instant) {
        for segment in segments.iter().copied() {
            let found = unless_damaged(self.look.store.segments(segment, 1));
            let closed = found
                .first()
                .filter(|info| info.segment == segment && info.root.is_some());
            if let Some(info) = closed {
                put_segment(&mut self.look.assigned.write(), segment, info.body_bytes);
                self.entered += u64::from(self.entered == segment);
            }
            if self.tables.differing().contains_key(&segment) {
                // It was open, or another one, when it was last looked at.
                self.tables.look_again(segment);
            }
            self.watch.held_changed(segment);
            self.chunks.on_table(segment);
            self.hand_over.on_closed(segment, now);
        }
        self.look.assigned.write().note_retention();
    }
}

fn log_failure(what: &str, result: Result<(), NotWritten>) {
    if let Err(error) = result {
        warn!(what, ?error, "not written");
    }
}

//! Verification of the whole store: every byte, root, id and signature, every row and every total.

use super::body::Body;
use super::read::assemble;
use super::rows::{self, HeldRow, SegmentRow, SlotRow};
use super::{Counters, Damage, IndexScope, SegmentStore, StoreError, View};
use crate::storage_backend::keys::unseal;
use massa_db_exports::{
    STORAGE_HELD_CF, STORAGE_METADATA_CF, STORAGE_PAGES_CF, STORAGE_PENDING_CF, STORAGE_STREAM_CF, STORAGE_TABLES_CF,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::slot::Slot;

/// Damages that are listed; more are only counted.
const LISTED_DAMAGES_MAX: usize = 1000;

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments whose table is here.
    pub segments: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Their bytes in plain.
    pub bytes: u64,
    /// Blocks that were put together from held chunks and verified.
    pub blocks: u64,
    /// Their operations.
    pub operations: u64,
    /// Blocks of open segments that were verified.
    pub open_blocks: u64,
    /// Endorsements whose signature is not valid for their block's slot. The block id commits to them as they are, so
    /// this is what the chain had, not damage.
    pub invalid_endorsements: u64,
    /// Everything that is wrong, the first thousand.
    pub damages: Vec<Damage>,
    /// Number of things that are wrong.
    pub damage_count: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage_count == 0
    }

    fn damage(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damages.len() < LISTED_DAMAGES_MAX {
            self.damages.push(damage);
        }
    }

    /// Keeps damage as a finding; other errors end verification.
    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Damaged(damage)) => {
                self.damage(damage);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn add_block(&mut self, view: &View<'_>, slot: Slot, record: &BlockRecord) {
        let parameters = &view.store.parameters;
        match verify_block(record, parameters.chain_id, parameters.thread_count) {
            Ok(verified) => {
                self.operations += verified.operations().len() as u64;
                self.invalid_endorsements += verified.invalid_endorsements().len() as u64;
            }
            Err(error) => self.damage(Damage::new(STORAGE_PAGES_CF, error.to_string()).at(slot)),
        }
    }
}

impl SegmentStore {
    /// Verifies everything, segment by segment; `progress` is called with segments done and segments in all.
    ///
    /// Takes as long as reading and verifying all that is held. What is written meanwhile may or may not be seen, and gives no
    /// false finding within a segment; totals are compared only if nothing was written meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be used at all; damage is part of the report.
    pub fn verify(&self, progress: &dyn Fn(u64, u64)) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let before = report.note(self.counters())?;
        let segments = report
            .note(self.view(|view| view.known_segments()))?
            .unwrap_or_default();
        let mut counted = Counters::default();
        let total = segments.len() as u64;
        for (segment, done) in segments.into_iter().zip(1..) {
            self.view(|view| view.verify_segment(segment, &mut report, &mut counted))?;
            progress(done, total);
        }
        self.view(|view| view.verify_open(&mut report, &mut counted))?;
        let after = report.note(self.counters())?;
        if let (Some(before), Some(after)) = (before, after) {
            if before == after && counted != after {
                let reason = format!("counters say {after:?}, the rows {counted:?}");
                report.damage(Damage::new(STORAGE_METADATA_CF, reason));
            }
        }
        Ok(report)
    }
}

impl View<'_> {
    /// Segments of which a family has a row: one seek for each.
    pub(crate) fn segments_in(
        &self,
        family: &'static str,
        segments: &mut std::collections::BTreeSet<u64>,
    ) -> Result<(), StoreError> {
        let mut next = Vec::new();
        while let Some(key) = self.first_key(family, &next)? {
            let segment = key.get(..8).and_then(rows::parse_segment_key);
            let segment = segment.ok_or_else(|| Damage::new(family, "key is malformed"))?;
            segments.insert(segment);
            next = super::view::after(segment);
        }
        Ok(())
    }

    fn verify_segment(
        &self,
        segment: u64,
        report: &mut VerifyReport,
        counted: &mut Counters,
    ) -> Result<(), StoreError> {
        let Some(held) = report.note(self.verify_held(segment))? else {
            return Ok(());
        };
        counted.add_held(&held);
        let Some(row) = report.note(self.segment_row(segment))? else {
            return Ok(());
        };
        let Some(row) = row else {
            // It is being closed: chunks are there before the table is.
            return Ok(());
        };
        counted.add_segment(&row);
        report.segments += 1;
        let Some(table) = report.note(self.verify_table(segment, &row))? else {
            return Ok(());
        };
        for index in held.indexes() {
            report.chunks += 1;
            report.bytes += u64::from(table.header().chunk_length(index));
            report.note(self.check_chunk(&table, &held, index))?;
            self.verify_blocks(&table, &held, index, report)?;
        }
        Ok(())
    }

    /// The held row, compared with the chunk rows that are there.
    fn verify_held(&self, segment: u64) -> Result<HeldRow, StoreError> {
        let held = self.held(segment)?;
        let totals = self.totals(segment, |_| true)?;
        if held == totals {
            return Ok(held);
        }
        let reason = format!("row says {held:?}, the chunks {totals:?}");
        Err(Damage::new(STORAGE_HELD_CF, reason).in_segment(segment).into())
    }

    fn verify_table(&self, segment: u64, row: &SegmentRow) -> Result<std::sync::Arc<SegmentTable>, StoreError> {
        let damage = |reason: String| Damage::new(STORAGE_TABLES_CF, reason).in_segment(segment);
        let table = self.table(segment)?.ok_or_else(|| damage("table is missing".into()))?;
        let (root, expected) = (table.root(), SegmentRoot::from_bytes(row.root));
        if root != expected {
            return Err(damage(format!("root is {root}, expected {expected}")).into());
        }
        let header = table.header();
        let before = segment
            .checked_sub(1)
            .map(|before| self.segment_row(before))
            .transpose()?
            .flatten();
        if let Some(before) = before {
            if before.root != header.previous {
                return Err(damage("does not follow the segment before".into()).into());
            }
        }
        Ok(table)
    }

    /// Blocks that begin in a chunk and lie wholly in held ones.
    fn verify_blocks(
        &self,
        table: &SegmentTable,
        held: &HeldRow,
        index: u32,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let chunk = table.chunk_range(index);
        let body = Body::new(self, table, held);
        let Some(blocks) = report.note(body.blocks_touching(index))? else {
            return Ok(());
        };
        let begins = blocks.iter().filter(|block| chunk.contains(&block.range.start));
        for block in begins.filter(|block| body.holds(&block.range)) {
            let Some(record) = report.note(assemble(&body, block))? else {
                continue;
            };
            report.blocks += 1;
            report.add_block(self, block.slot, &record);
            report.note(self.verify_indexed(block.slot, &record))?;
        }
        Ok(())
    }

    /// What a block that is read here should be found by.
    fn verify_indexed(&self, slot: Slot, record: &BlockRecord) -> Result<(), StoreError> {
        let damage = |reason: String| StoreError::from(Damage::new(STORAGE_METADATA_CF, reason).at(slot));
        let view = record.view(self.store.parameters.thread_count);
        let view = view.map_err(|error| damage(error.to_string()))?;
        let scopes = self.store.indexes;
        if scopes.blocks != IndexScope::None && self.block_slot(&view.block_id())? != Some(slot) {
            return Err(damage(format!("block {} is not in the index", view.block_id())));
        }
        if scopes.operations == IndexScope::None {
            return Ok(());
        }
        for id in view.operation_ids() {
            if self.operation_slot(&id)?.is_none() {
                return Err(damage(format!("operation {id} is not in the index")));
            }
        }
        Ok(())
    }

    /// Blocks of open segments, and their totals.
    fn verify_open(&self, report: &mut VerifyReport, counted: &mut Counters) -> Result<(), StoreError> {
        let mut slots = Vec::new();
        let scanned = self.scan(STORAGE_STREAM_CF, &[], |key, row| {
            let damage = |reason: &str| Damage::new(STORAGE_STREAM_CF, reason);
            let Some(value) = unseal(key, row) else {
                report.damage(damage("row does not match its checksum"));
                return Ok(true);
            };
            match key.first() {
                Some(&rows::JOINED) => counted.joined_periods += 1,
                Some(&rows::SLOT) => {
                    let slot = rows::parse_slot_key(key).ok_or_else(|| damage("key is malformed"))?;
                    slots.push((
                        slot,
                        super::own::decode::<SlotRow>(value).map_err(|reason| damage(&reason))?,
                    ));
                }
                _ => {}
            }
            Ok(true)
        });
        report.note(scanned)?;
        for (slot, row) in slots {
            let SlotRow::Block { length, .. } = row else { continue };
            counted.pending_blocks += 1;
            counted.pending_bytes += u64::from(length);
            let record = self.open_block(slot).and_then(|record| {
                record.ok_or_else(|| Damage::new(STORAGE_PENDING_CF, "record is missing").at(slot).into())
            });
            if let Some(record) = report.note(record)? {
                report.open_blocks += 1;
                report.add_block(self, slot, &record);
            }
        }
        let missing = self.scan(massa_db_exports::STORAGE_MISSING_CF, &[], |key, _| {
            counted.missing_slots += u64::from(key.first() == Some(&0));
            Ok(true)
        });
        report.note(missing)?;
        Ok(())
    }
}

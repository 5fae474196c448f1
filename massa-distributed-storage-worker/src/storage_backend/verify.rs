//! Verification of the whole store: every byte, path, id and signature.

use super::read::{records_of, Check, Damage, PlaceContent, ReadError};
use super::{rows, Store};
use crate::chunking::ChunkPages;
use massa_db_exports::{
    STORAGE_BLOCK_INDEX_CF, STORAGE_CHUNKS_PREFIX, STORAGE_MANIFESTS_CF, STORAGE_MERKLE_ROOTS_PREFIX,
    STORAGE_METADATA_CF, STORAGE_OPERATION_INDEX_CF, STORAGE_PAGES_CF, STORAGE_PENDING_CF,
};
use massa_distributed_storage_exports::body::{BodyHeader, PeriodBody};
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Damages that are listed; more are only counted.
const LISTED_DAMAGES_MAX: usize = 1000;

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Archived periods.
    pub periods: u64,
    /// Those of them that are lost: ids without blocks.
    pub lost_periods: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Operations in them.
    pub operations: u64,
    /// Bytes of their bodies kept on this node.
    pub body_bytes: u64,
    /// Blocks of open periods.
    pub pending_blocks: u64,
    /// Endorsements whose signature is not valid for their block's slot. The block id commits to them as they are, so
    /// this is what the chain had, not damage.
    pub invalid_endorsements: u64,
    /// Everything that is wrong, the first thousand.
    pub damages: Vec<Damage>,
    /// Number of things that are wrong.
    pub damage_count: u64,
    /// Rows of the block index that were found through a manifest.
    indexed_blocks: u64,
    /// Rows of the operation index that were found through a block.
    indexed_operations: u64,
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
    fn note<T>(&mut self, result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Damaged(damage)) => {
                self.damage(damage);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, other: VerifyReport) {
        self.periods += other.periods;
        self.lost_periods += other.lost_periods;
        self.blocks += other.blocks;
        self.operations += other.operations;
        self.body_bytes += other.body_bytes;
        self.pending_blocks += other.pending_blocks;
        self.invalid_endorsements += other.invalid_endorsements;
        self.indexed_blocks += other.indexed_blocks;
        self.indexed_operations += other.indexed_operations;
        let listed = other.damages.len() as u64;
        other.damages.into_iter().for_each(|damage| self.damage(damage));
        self.damage_count += other.damage_count - listed;
    }
}

impl Store {
    /// Verifies everything on `threads` threads; `progress` is called with periods done and periods in all.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be used at all; damage is part of the report.
    pub fn verify(&self, threads: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<VerifyReport, ReadError> {
        let mut report = VerifyReport::default();
        let periods: Vec<u64> = self.periods_with_rows(&mut report)?.into_iter().collect();
        self.verify_periods(&periods, threads.max(1), progress, &mut report)?;
        self.verify_index(STORAGE_BLOCK_INDEX_CF, report.indexed_blocks, &mut report)?;
        self.verify_index(STORAGE_OPERATION_INDEX_CF, report.indexed_operations, &mut report)?;
        self.verify_segments(&mut report)?;
        self.verify_open_periods(&mut report)?;
        self.verify_metadata(&mut report)?;
        report
            .damages
            .sort_by_key(|damage| (damage.period, damage.chunk, damage.page, damage.thread));
        Ok(report)
    }

    /// Every period that any row belongs to.
    fn periods_with_rows(&self, report: &mut VerifyReport) -> Result<BTreeSet<u64>, ReadError> {
        let mut periods = BTreeSet::new();
        for family in [STORAGE_MANIFESTS_CF, STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF] {
            let keys = self.for_each_row(family, &[], |key, _| {
                let period = key.get(..8).and_then(rows::parse_u64);
                periods.insert(period.ok_or_else(|| Damage::new(family, "key is malformed"))?);
                Ok(true)
            });
            report.note(keys)?;
        }
        let roots = self.for_each_row(STORAGE_MERKLE_ROOTS_PREFIX, &[0], |key, _| {
            let [0, period @ ..] = key else {
                return Ok(false);
            };
            let damage = || Damage::new(STORAGE_MERKLE_ROOTS_PREFIX, "key is malformed");
            periods.insert(rows::parse_u64(period).ok_or_else(damage)?);
            Ok(true)
        });
        report.note(roots)?;
        Ok(periods)
    }

    fn verify_periods(
        &self,
        periods: &[u64],
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
        report: &mut VerifyReport,
    ) -> Result<(), ReadError> {
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let results = Mutex::new(Ok(VerifyReport::default()));
        std::thread::scope(|scope| {
            for _ in 0..threads.min(periods.len()) {
                scope.spawn(|| {
                    while let Some(period) = periods.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = self.verify_period(*period);
                        merge(&mut results.lock(), result);
                        let finished = done.fetch_add(1, Ordering::Relaxed) + 1;
                        progress(finished as u64, periods.len() as u64);
                    }
                });
            }
        });
        report.add(results.into_inner()?);
        Ok(())
    }

    fn verify_period(&self, period: u64) -> Result<VerifyReport, ReadError> {
        let mut report = VerifyReport::default();
        let damage = |reason: &str| Damage::new(STORAGE_MANIFESTS_CF, reason).in_period(period);
        let manifest = match self.manifest(period) {
            Err(ReadError::Pruned { .. }) => {
                report.damage(damage("rows of a pruned period are left"));
                return Ok(report);
            }
            result => report.note(result)?,
        };
        let Some(manifest) = manifest else {
            return Ok(report);
        };
        let Some(manifest) = manifest else {
            report.damage(damage("rows of the period exist, its manifest is missing"));
            return Ok(report);
        };
        report.periods = 1;
        self.verify_header(&manifest, &mut report);
        self.verify_block_index(&manifest, &mut report)?;
        self.verify_row_counts(&manifest, &mut report)?;
        if manifest.is_lost() {
            report.lost_periods = 1;
            return Ok(report);
        }
        let chunks = self.verify_chunks(&manifest, &mut report)?;
        let whole = chunks.iter().all(|chunk| matches!(chunk, ChunkState::Kept(_)));
        if whole {
            self.verify_body(&manifest, &chunks, &mut report)?;
        } else {
            self.verify_kept_blocks(&manifest, &mut report)?;
        }
        Ok(report)
    }

    fn verify_header(&self, manifest: &Manifest, report: &mut VerifyReport) {
        let (header, parameters) = (&manifest.header, self.parameters());
        let expected = (parameters.chain_id, parameters.thread_count, parameters.chunk_size);
        if (header.chain_id, header.threads, header.chunk_size) != expected {
            let damage = Damage::new(STORAGE_MANIFESTS_CF, "manifest is of another network");
            report.damage(damage.in_period(header.period));
        }
    }

    fn verify_block_index(&self, manifest: &Manifest, report: &mut VerifyReport) -> Result<(), ReadError> {
        for (place, thread) in manifest.places.iter().zip(0..) {
            let Some(id) = place.block_id() else { continue };
            let slot = Slot::new(manifest.header.period, thread);
            report.blocks += 1;
            match self.indexed_block(&id) {
                Ok(Some(found)) if found == slot => report.indexed_blocks += 1,
                Err(ReadError::Damaged(damage)) => report.damage(damage.at(slot)),
                Ok(_) | Err(ReadError::Pruned { .. }) => {
                    let reason = format!("block {id} is missing from the index, or stands elsewhere");
                    report.damage(Damage::new(STORAGE_BLOCK_INDEX_CF, reason).at(slot));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds rows of chunks and pages that the manifest does not have.
    fn verify_row_counts(&self, manifest: &Manifest, report: &mut VerifyReport) -> Result<(), ReadError> {
        let period = manifest.header.period;
        let start = rows::period_key(period);
        let entry = |chunk: u32| manifest.chunks.get(chunk as usize);
        let chunks = self.for_each_row(STORAGE_CHUNKS_PREFIX, &start, |key, _| {
            let position = rows::parse_chunk_key(key);
            let known = position.is_some_and(|(of, chunk)| of == period && entry(chunk).is_some());
            stray(STORAGE_CHUNKS_PREFIX, period, key, known)
        });
        report.note(chunks)?;
        let pages = self.for_each_row(STORAGE_PAGES_CF, &start, |key, _| {
            let position = rows::parse_page_key(key);
            let known = position.is_some_and(|(of, chunk, page)| {
                of == period && entry(chunk).is_some_and(|entry| page < entry.page_count())
            });
            stray(STORAGE_PAGES_CF, period, key, known)
        });
        report.note(pages)?;
        Ok(())
    }

    /// Checks the kept chunks and each of their pages.
    fn verify_chunks(&self, manifest: &Manifest, report: &mut VerifyReport) -> Result<Vec<ChunkState>, ReadError> {
        let period = manifest.header.period;
        let mut states = Vec::with_capacity(manifest.chunks.len());
        for (entry, index) in manifest.chunks.iter().zip(0..) {
            let state = match report.note(self.chunk(period, index, *entry))? {
                None => ChunkState::Damaged,
                Some(None) => ChunkState::NotKept,
                Some(Some(pages)) => {
                    let mut intact = true;
                    for page in 0..entry.page_count() {
                        intact &= report.note(self.page(period, index, &pages, page))?.is_some();
                    }
                    if intact {
                        report.body_bytes += u64::from(entry.length);
                        ChunkState::Kept(pages)
                    } else {
                        ChunkState::Damaged
                    }
                }
            };
            states.push(state);
        }
        Ok(states)
    }

    /// Checks a period that is kept whole: blocks, operations, what is derived from them.
    fn verify_body(
        &self,
        manifest: &Manifest,
        chunks: &[ChunkState],
        report: &mut VerifyReport,
    ) -> Result<(), ReadError> {
        let period = manifest.header.period;
        let damage = |reason: String| Damage::new(STORAGE_PAGES_CF, reason).in_period(period);
        let Some((body, signatures)) = report.note(self.body(manifest))? else {
            return Ok(());
        };
        let records = match records_of(manifest, &body, &signatures) {
            Ok(records) => records,
            Err(error) => {
                report.damage(damage(error.to_string()));
                return Ok(());
            }
        };
        let places: Vec<Option<&BlockRecord>> = records.iter().map(Option::as_ref).collect();
        let header = BodyHeader {
            chain_id: manifest.header.chain_id,
            period,
            threads: manifest.header.threads,
        };
        match PeriodBody::encode(header, &places) {
            Ok(encoded) if encoded.bytes == body && encoded.places == manifest.places => {
                verify_object_counts(manifest, chunks, &encoded, report);
            }
            _ => report.damage(damage("body does not lead to the manifest's places".into())),
        }
        for (record, thread) in records.iter().zip(0..) {
            if let Some(record) = record {
                self.verify_record(Slot::new(period, thread), record, report)?;
            }
        }
        Ok(())
    }

    /// Checks the blocks of a period of which some chunks are not kept, or damaged.
    fn verify_kept_blocks(&self, manifest: &Manifest, report: &mut VerifyReport) -> Result<(), ReadError> {
        for (place, thread) in manifest.places.iter().zip(0..) {
            if *place == Place::Miss {
                continue;
            }
            let slot = Slot::new(manifest.header.period, thread);
            match self.place(slot, Check::Merkle) {
                Ok(PlaceContent::Block(record)) => self.verify_record(slot, &record, report)?,
                // Damage of pages and chunks was noted by those who read them.
                Ok(PlaceContent::Miss) | Err(ReadError::NotKept { .. } | ReadError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Checks a block down to its signatures, and the index of its operations.
    fn verify_record(&self, slot: Slot, record: &BlockRecord, report: &mut VerifyReport) -> Result<(), ReadError> {
        let parameters = self.parameters();
        report.operations += record.operation_count() as u64;
        match verify_block(record, parameters.chain_id, parameters.thread_count) {
            Ok(block) => report.invalid_endorsements += block.invalid_endorsements().len() as u64,
            Err(error) => {
                report.damage(Damage::new(STORAGE_PAGES_CF, error.to_string()).at(slot));
                return Ok(());
            }
        }
        if !self.has_operation_index() {
            return Ok(());
        }
        let view = record
            .view(parameters.thread_count)
            .expect("a verified block has a view");
        for (id, index) in view.operation_ids().zip(0..) {
            match self.find_operation(&id) {
                Ok(found) if found == (slot, index) => report.indexed_operations += 1,
                // An operation may stand in two blocks; the index has the one archived last.
                Ok((other, index)) if self.lists_operation(other, index, &id)? => {}
                Err(ReadError::Damaged(damage)) => report.damage(damage.at(slot)),
                Ok(_) | Err(ReadError::NotFound(_) | ReadError::Pruned { .. }) => {
                    let reason = format!("operation {id} is missing from the index, or stands elsewhere");
                    report.damage(Damage::new(STORAGE_OPERATION_INDEX_CF, reason).at(slot));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the block archived at `slot` lists operation `id` at `index`.
    fn lists_operation(
        &self,
        slot: Slot,
        index: u32,
        id: &massa_models::operation::OperationId,
    ) -> Result<bool, ReadError> {
        match self.place(slot, Check::Merkle) {
            Ok(PlaceContent::Block(record)) => {
                let view = record.view(self.parameters().thread_count);
                Ok(view.is_ok_and(|view| view.operation_ids().nth(index as usize) == Some(*id)))
            }
            Ok(PlaceContent::Miss)
            | Err(ReadError::NotArchived { .. } | ReadError::LostBlock { .. } | ReadError::Damaged(_)) => Ok(false),
            Err(ReadError::NotKept { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Checks every row of an index, and that there are no more rows than were found from the archive's side.
    fn verify_index(&self, family: &'static str, expected: u64, report: &mut VerifyReport) -> Result<(), ReadError> {
        let (mut found, floor) = (0, self.floor());
        let mut damages = Vec::new();
        let scan = self.for_each_row(family, &[], |key, row| {
            let period = rows::unseal(key, row).and_then(|value| rows::parse_u64(value.get(..8)?));
            match period {
                None => damages.push(Damage::new(
                    family,
                    format!("row {} does not match its checksum", hex(key)),
                )),
                Some(period) => found += u64::from(period >= floor),
            }
            Ok(true)
        });
        report.note(scan)?;
        damages.into_iter().for_each(|damage| report.damage(damage));
        // When the archive itself is damaged, rows that lead there cannot be told from stray ones.
        if found > expected && report.is_clean() && self.keeps_everything()? {
            let reason = format!("{} rows lead to nothing in the archive", found - expected);
            report.damage(Damage::new(family, reason));
        }
        Ok(())
    }

    /// Whether this node keeps every chunk of every period.
    fn keeps_everything(&self) -> Result<bool, ReadError> {
        for period in self.archived_periods()? {
            let manifest = self.archived_manifest(period)?;
            for (entry, index) in manifest.chunks.iter().zip(0..) {
                if self.chunk(period, index, *entry)?.is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Computes the root of every segment again.
    fn verify_segments(&self, report: &mut VerifyReport) -> Result<(), ReadError> {
        let Some(last) = self.last_period()? else {
            return Ok(());
        };
        let parameters = self.parameters();
        let first = parameters.segment_of(self.floor().max(parameters.first_period));
        for segment in first..=parameters.segment_of(last) {
            let damage =
                |reason: &str| Damage::new(STORAGE_MERKLE_ROOTS_PREFIX, format!("segment {segment}: {reason}"));
            let Some(stored) = report.note(self.segment_root(segment))? else {
                continue;
            };
            let state = report.note(self.segment_state(segment))?.flatten();
            let computed = state.filter(|state| state.complete).map(|state| state.tree.root());
            match (stored, computed) {
                (Some(stored), Some(computed)) if stored != computed => {
                    report.damage(damage("stored root is not the root of its periods"));
                }
                (Some(_), None) => report.damage(damage("has a root, but not all of its periods")),
                (None, Some(_)) => report.damage(damage("is complete, but its root is missing")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks the rows of open periods down to signatures.
    fn verify_open_periods(&self, report: &mut VerifyReport) -> Result<(), ReadError> {
        let parameters = self.parameters();
        let mut pending = 0;
        let mut damages = Vec::new();
        let scan = self.for_each_pending(|slot, content| {
            if let PlaceContent::Block(record) = content {
                pending += 1;
                let checked = verify_block(&record, parameters.chain_id, parameters.thread_count);
                let reason = match checked {
                    Ok(block) if block.block().content.header.content.slot == slot => return Ok(true),
                    Ok(_) => "block is of another slot".to_string(),
                    Err(error) => error.to_string(),
                };
                damages.push(Damage::new(STORAGE_PENDING_CF, reason).at(slot));
            }
            Ok(true)
        });
        report.note(scan)?;
        report.pending_blocks = pending;
        damages.into_iter().for_each(|damage| report.damage(damage));
        report.note(self.links())?;
        report.note(self.awaited())?;
        Ok(())
    }

    fn verify_metadata(&self, report: &mut VerifyReport) -> Result<(), ReadError> {
        let scan = self.for_each_row(STORAGE_METADATA_CF, &[], |key, row| match rows::unseal(key, row) {
            Some(_) => Ok(true),
            None => Err(Damage::new(STORAGE_METADATA_CF, format!("row {} is damaged", hex(key))).into()),
        });
        report.note(scan)?;
        Ok(())
    }
}

/// What is known of a chunk.
enum ChunkState {
    Kept(ChunkPages),
    NotKept,
    Damaged,
}

/// Continues within `period`; a row that is not `known` there is damage.
fn stray(family: &'static str, period: u64, key: &[u8], known: bool) -> Result<bool, ReadError> {
    let inside = key.get(..8).and_then(rows::parse_u64) == Some(period);
    if inside && !known {
        let reason = format!("row {} belongs to nothing", hex(key));
        return Err(Damage::new(family, reason).in_period(period).into());
    }
    Ok(inside)
}

/// Compares the object counts of each chunk's pages with those of the body.
fn verify_object_counts(manifest: &Manifest, chunks: &[ChunkState], body: &PeriodBody, report: &mut VerifyReport) {
    let chunk_size = u64::from(manifest.header.chunk_size);
    for (state, index) in chunks.iter().zip(0u32..) {
        let ChunkState::Kept(pages) = state else {
            continue;
        };
        let expected = pages.expected_objects_before(u64::from(index) * chunk_size, &body.object_ends);
        if pages.objects_before != expected {
            let damage = Damage::new(STORAGE_CHUNKS_PREFIX, "object counts do not match the body");
            report.damage(damage.in_period(manifest.header.period).in_chunk(index));
        }
    }
}

fn merge(total: &mut Result<VerifyReport, ReadError>, result: Result<VerifyReport, ReadError>) {
    match (total.as_mut(), result) {
        (Ok(total), Ok(report)) => total.add(report),
        (Ok(_), Err(error)) => *total = Err(error),
        (Err(_), _) => {}
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

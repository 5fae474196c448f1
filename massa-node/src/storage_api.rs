//! The archive behind the API: this node's store, and other nodes' where it does not keep something.

use crate::audit::AuditApi;
use crate::rounds_api::RoundsApi;
use massa_api_exports::challenge::{
    ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress,
};
use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlock, ArchivedBlockInfo, ArchivedMissInfo, ArchivedOperation, ArchivedOperationInfo,
    ArchivedPeriodInfo, ArchivedPlace, AwaitedPlaces, BlockOrSlot, ListChunks, ListPeriods, NodeCapabilities,
    RefusedOperation, RegisteredNode, RegistryInfo, RepairCounts, StorageApi, StorageApiError, StorageChunk,
    StorageNodeInfo, StoragePeerCounts, StoragePeriod, StorageStatus,
};
use massa_api_exports::rounds::StorageEarnings;
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::network::{Capabilities, StorageNetwork, StoragePeer};
use massa_distributed_storage_exports::proof_document::{HexBytes, ProofDocument};
use massa_distributed_storage_exports::registry::StorageRegistry;
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::audit_worker::AuditHandle;
use massa_distributed_storage_worker::proofs::{prove_block, prove_miss, prove_operation, prove_period};
use massa_distributed_storage_worker::reader::{ArchiveReader, ReaderError};
use massa_distributed_storage_worker::repair_worker::RepairStatus;
use massa_distributed_storage_worker::round_worker::RoundHandle;
use massa_distributed_storage_worker::smart_contract::client::ClientHandle;
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_distributed_storage_worker::storage_backend::read::{PlaceContent, ReadError};
use massa_distributed_storage_worker::{ArchiverHandle, Store, WorkerStatus};
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use massa_protocol_exports::ProtocolController;
use massa_time::MassaTime;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counting every chunk of a long archive takes a while, so the sums are kept for a moment.
const TOTALS_AGE: Duration = Duration::from_secs(1);

/// What the API of the archive is made of.
pub struct NodeStorageApi {
    /// Reads the store and other nodes.
    pub reader: Arc<ArchiveReader>,
    /// Who holds what.
    pub assignments: Arc<Assignments>,
    /// The worker thread.
    pub worker: ArchiverHandle,
    /// The repair thread.
    pub repair: Arc<Mutex<RepairStatus>>,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Audits of peers; without them, the challenge history could not be read.
    pub audits: Option<AuditHandle>,
    /// The client of the registry.
    pub contract: ClientHandle,
    /// This node's part in the rounds.
    pub rounds: Option<RoundHandle>,
    /// The peers.
    pub protocol: Box<dyn ProtocolController>,
    /// How far the chain is.
    pub consensus: Box<dyn ConsensusController>,
    /// Who runs this node.
    pub operator_address: Option<Address>,
    /// Disk space offered.
    pub allocated_bytes: u64,
    /// Whether what this node does not hold is fetched for readers.
    pub serve_remote_reads: bool,
    /// Whether the node is in step with the network.
    pub synced: Arc<AtomicBool>,
    /// Time from one period to the next.
    pub t0: MassaTime,
    /// Sums over the archive, and when they were made.
    pub totals: Mutex<Option<(Instant, Totals)>>,
}

/// Sums over the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    chunks: u64,
    held: u64,
    assigned: u64,
    missing: u64,
    extra: u64,
    bytes_held: u64,
    lost: u64,
}

impl NodeStorageApi {
    fn store(&self) -> &Store {
        self.reader.store()
    }

    fn audit_api(&self) -> AuditApi<'_> {
        AuditApi {
            audits: self.audits.as_ref(),
            store: self.store(),
            assignments: &self.assignments,
        }
    }

    fn rounds_api(&self) -> Option<RoundsApi<'_>> {
        Some(RoundsApi {
            rounds: self.rounds.as_ref()?,
            contract: &self.contract,
            t0: self.t0,
        })
    }

    /// Every archived period.
    fn periods_of(&self, from: u64) -> Result<impl Iterator<Item = u64>, StorageApiError> {
        let periods = self.store().archived_periods().map_err(read_error)?;
        Ok(periods.into_iter().filter(move |period| *period >= from))
    }

    fn chunks_of(&self, period: u64) -> Result<Vec<StorageChunk>, StorageApiError> {
        let manifest = self.store().archived_manifest(period).map_err(read_error)?;
        let held = self.store().held_chunks(period).map_err(read_error)?;
        let holders = self.assignments.holders(period, &manifest.chunks);
        let own = self.assignments.own();
        let chunks = manifest.chunks.iter().zip(0u32..).zip(holders);
        let describe =
            |((entry, chunk), holders): ((&massa_distributed_storage_exports::manifest::ChunkEntry, u32), Vec<_>)| {
                StorageChunk {
                    period,
                    chunk,
                    chunk_id: entry.id,
                    length: entry.length,
                    held: held.contains(&chunk),
                    assigned_here: holders.contains(&own),
                    holders,
                }
            };
        Ok(chunks.map(describe).collect())
    }

    fn totals(&self) -> Result<Totals, StorageApiError> {
        let mut kept = self.totals.lock();
        if let Some((made, totals)) = *kept {
            if made.elapsed() < TOTALS_AGE {
                return Ok(totals);
            }
        }
        let mut totals = Totals::default();
        for period in self.periods_of(0)? {
            let chunks = self.chunks_of(period)?;
            // No other period is without chunks.
            totals.lost += u64::from(chunks.is_empty());
            for chunk in chunks {
                totals.chunks += 1;
                totals.held += u64::from(chunk.held);
                totals.assigned += u64::from(chunk.assigned_here);
                totals.missing += u64::from(chunk.assigned_here && !chunk.held);
                totals.extra += u64::from(chunk.held && !chunk.assigned_here);
                totals.bytes_held += if chunk.held { u64::from(chunk.length) } else { 0 };
            }
        }
        *kept = Some((Instant::now(), totals));
        Ok(totals)
    }

    fn slot_of(&self, block: &BlockOrSlot) -> Result<Slot, StorageApiError> {
        match block {
            BlockOrSlot::Slot(slot) => Ok(*slot),
            BlockOrSlot::Id(id) => self.store().find_block(id).map_err(read_error),
        }
    }

    fn place(&self, slot: Slot) -> Result<PlaceContent, StorageApiError> {
        let threads = self.store().parameters().thread_count;
        if slot.thread >= threads {
            return Err(StorageApiError::bad(
                "thread",
                format!("{} is not below {threads}", slot.thread),
            ));
        }
        let content = if self.serve_remote_reads {
            self.reader.place(slot)
        } else {
            let check = massa_distributed_storage_worker::storage_backend::read::Check::Meaning;
            self.store().place(slot, check).map_err(ReaderError::from)
        };
        content.map_err(reader_error)
    }

    fn verified(&self, slot: Slot) -> Result<ArchivedBlock, StorageApiError> {
        let Some(record) = self.place(slot)?.into_block() else {
            return Err(StorageApiError::NotFound(format!("block at slot {slot}")));
        };
        let parameters = self.store().parameters();
        ArchivedBlock::verify(record, parameters.chain_id, parameters.thread_count)
            .map_err(|error| StorageApiError::Internal(error.to_string()))
    }

    /// The segment that is open in final state.
    fn open_segment(&self) -> u64 {
        self.contract.nodes().open_segment().unwrap_or(0)
    }

    fn registry(&self) -> RegistryInfo {
        let status = self.contract.status();
        let segment = self.open_segment();
        RegistryInfo {
            address: status.registry,
            problem: status.problem,
            registered_nodes: status.registered_nodes,
            own: status.own.map(|own| registered(&own, segment)),
            balance: status.balance,
            low_balance: status.low_balance,
            fees_last_day: status.fees_last_day,
            last_refusal: status.last_refusal.map(|refusal| RefusedOperation {
                purpose: refusal.purpose.to_string(),
                reason: refusal.reason,
                time_ms: refusal.time_ms,
            }),
            pending: status.pending.iter().map(ToString::to_string).collect(),
            rounds: self.rounds_api().map(|rounds| rounds.info()),
        }
    }

    fn peer_counts(&self, storage: &[StoragePeer]) -> StoragePeerCounts {
        let connected = self.protocol.get_stats().map_or(0, |(_, peers)| peers.len() as u64);
        StoragePeerCounts {
            connected,
            storage: storage.len() as u64,
            quarantined: storage.iter().filter(|peer| peer.quarantined).count() as u64,
        }
    }

    /// Why not more is archived or held, in words.
    fn why_not_more(
        &self,
        worker: &WorkerStatus,
        totals: &Totals,
        disk: u64,
        peers: &StoragePeerCounts,
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(error) = &worker.store_error {
            reasons.push(format!("the store does not take blocks: {error}"));
        }
        if !self.synced.load(Ordering::Acquire) {
            reasons.push("this node is catching up with the chain".into());
        }
        if disk >= self.allocated_bytes {
            reasons.push("allocated_storage_gb is used up".into());
        }
        if peers.storage == 0 {
            reasons.push("no connected peer speaks storage: nothing can be fetched".into());
        }
        let own = self.assignments.own();
        if !self
            .assignments
            .nodes()
            .nodes()
            .iter()
            .any(|node| node.node_id == Some(own))
        {
            reasons.push("this node is not among the storage nodes: no chunk is assigned to it".into());
        }
        reasons.extend(self.contract.status().low_balance);
        let repair = *self.repair.lock();
        if repair.lost_candidates > 0 {
            reasons.push(format!(
                "{} periods are with nobody whole: this node votes for a segment root that has them as lost",
                repair.lost_candidates
            ));
        }
        if let Some(segment) = repair.refetching_segment {
            reasons.push(format!(
                "segment {segment} is not as its accepted root has it: it is fetched again"
            ));
        }
        reasons.extend(self.rounds.iter().flat_map(|rounds| rounds.status().notes));
        if totals.missing > 0 {
            reasons.push(format!(
                "{} chunks are assigned to this node and not held yet",
                totals.missing
            ));
        }
        if let Some((period, here)) = worker.missing.periods.last() {
            let open = worker.missing.periods.len() as u64 + worker.missing.more_periods;
            let threads = usize::from(self.store().parameters().thread_count);
            if worker.archived.last() > Some(*period) {
                let places = threads - here.len();
                reasons.push(format!(
                    "{open} periods are open; period {period} lacks {places} of {threads} places"
                ));
            }
        }
        if worker.awaited.places > 0 {
            reasons.push(format!("{} blocks are awaited from peers", worker.awaited.places));
        }
        reasons
    }
}

impl StorageApi for NodeStorageApi {
    fn status(&self) -> Result<StorageStatus, StorageApiError> {
        let store = self.store();
        let parameters = store.parameters();
        let worker = self.worker.status();
        let repair = *self.repair.lock();
        let totals = self.totals()?;
        let disk_bytes = store.disk_usage().map_err(|error| read_error(error.into()))?;
        let peers = self.peer_counts(&self.network.peers());
        let finals = self.consensus.get_latest_final_blocks_periods();
        let segments_complete = count_segments(store)?;
        Ok(StorageStatus {
            enabled: true,
            node_id: self.assignments.own(),
            operator_address: self.operator_address,
            chain_id: parameters.chain_id,
            first_period: parameters.first_period,
            last_archived_period: worker.archived.last(),
            archived_periods: worker.archived.len(),
            lost_periods: totals.lost,
            floor: store.floor(),
            next_segment: parameters.first_segment() + segments_complete,
            segments_complete,
            chunks_total: totals.chunks,
            chunks_held: totals.held,
            chunks_assigned: totals.assigned,
            chunks_missing: totals.missing,
            chunks_extra: totals.extra,
            bytes_held: totals.bytes_held,
            disk_bytes,
            allocated_bytes: self.allocated_bytes,
            awaited: awaited_of(&worker),
            queue_full_count: self.worker.queue_full_count(),
            repairing: RepairCounts {
                manifests: repair.periods as u64,
                chunks: (repair.chunks_fetching + repair.chunks_wanted) as u64,
                blocks: worker.missing.wanted.len() as u64,
                handing_over: repair.chunks_to_hand_over as u64,
                damaged: repair.chunks_damaged,
            },
            store_error: worker.store_error.clone(),
            peers,
            replication_factor: self.assignments.replication_factor() as u64,
            chunk_size: u64::from(parameters.chunk_size),
            segment_periods: parameters.segment_periods,
            last_period_final: finals.iter().map(|(_, period)| *period).min(),
            synced: self.synced.load(Ordering::Acquire),
            why_not_more: self.why_not_more(&worker, &totals, disk_bytes, &peers),
            registry: self.registry(),
        })
    }

    fn chunks(&self, request: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        let last = request.last_period.unwrap_or(u64::MAX);
        let (mut skip, limit) = (request.offset, request.limit as usize);
        let mut found = Vec::new();
        for period in self
            .periods_of(request.first_period.unwrap_or(0))?
            .take_while(|period| *period <= last)
        {
            let manifest = self.store().archived_manifest(period).map_err(read_error)?;
            let count = manifest.chunks.len() as u64;
            if skip >= count {
                skip -= count;
                continue;
            }
            found.extend(self.chunks_of(period)?.into_iter().skip(skip as usize));
            skip = 0;
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn periods(&self, request: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        let periods = self.periods_of(request.first)?.take(request.limit as usize);
        periods.map(|period| self.describe_period(period)).collect()
    }

    fn nodes(&self) -> Result<Vec<StorageNodeInfo>, StorageApiError> {
        let peers: BTreeMap<_, _> = self.network.peers().into_iter().map(|peer| (peer.node, peer)).collect();
        let nodes = self.assignments.nodes();
        let own = self.assignments.own();
        let with_bytes = nodes.nodes().iter().zip(self.assignments.assigned_bytes());
        let segment = self.open_segment();
        let records = self.contract.nodes().records();
        let by_address: BTreeMap<Address, &NodeRecord> =
            records.iter().map(|record| (record.address, record)).collect();
        let describe = |(node, assigned_bytes): (&massa_distributed_storage_exports::registry::StorageNode, u64)| {
            // One without an identity counts, and there is nothing to tell of it here.
            let node_id = node.node_id?;
            let peer = peers.get(&node_id);
            Some(StorageNodeInfo {
                node_id,
                address: node.address,
                listeners: node.listeners.clone(),
                allocated_storage_gb: node.allocated_storage_gb,
                connected: peer.is_some() || node_id == own,
                capabilities: peer.and_then(capabilities_of),
                assigned_bytes,
                registered: by_address.get(&node.address).map(|record| registered(record, segment)),
            })
        };
        let mut infos: Vec<StorageNodeInfo> = with_bytes.filter_map(describe).collect();
        // Registered, and not counting (yet): new, leaving, or silent for too long.
        for record in &records {
            let Some(node_id) = record.peer() else { continue };
            if infos.iter().any(|info| info.node_id == node_id) {
                continue;
            }
            let peer = peers.get(&node_id);
            infos.push(StorageNodeInfo {
                node_id,
                address: record.address,
                listeners: record.listeners.clone(),
                allocated_storage_gb: 0,
                connected: peer.is_some() || node_id == own,
                capabilities: peer.and_then(capabilities_of),
                assigned_bytes: 0,
                registered: Some(registered(record, segment)),
            });
        }
        Ok(infos)
    }

    fn archived_period(&self, period: u64) -> Result<ArchivedPeriodInfo, StorageApiError> {
        let manifest = self.store().archived_manifest(period).map_err(read_error)?;
        let held = self.store().held_chunks(period).map_err(read_error)?;
        let chunks = 0..manifest.chunks.len() as u32;
        Ok(ArchivedPeriodInfo {
            period,
            root: manifest.root(),
            segment: self.store().parameters().segment_of(period),
            held: chunks.map(|chunk| held.contains(&chunk)).collect(),
            manifest: HexBytes(manifest.to_bytes()),
            proof: proof_of(prove_period(self.store(), period))?,
        })
    }

    fn archived_block(&self, block: &BlockOrSlot) -> Result<ArchivedPlace, StorageApiError> {
        let slot = self.slot_of(block)?;
        if self.place(slot)?.into_block().is_none() {
            let proof = proof_of(prove_miss(self.store(), slot))?;
            return Ok(ArchivedPlace::Miss(ArchivedMissInfo { slot, proof }));
        }
        let block = self.verified(slot)?;
        let proof = proof_of(prove_block(self.store(), slot, block.record(), false))?;
        Ok(ArchivedPlace::Block(ArchivedBlockInfo::new(&block, proof)))
    }

    fn archived_operation(&self, id: &OperationId) -> Result<ArchivedOperationInfo, StorageApiError> {
        let not_found = || StorageApiError::NotFound(format!("operation {id}"));
        let operation = self.operation(id)?.ok_or_else(not_found)?;
        let block = operation.block();
        let proof = proof_of(prove_operation(
            self.store(),
            block.slot(),
            block.record(),
            operation.index(),
        ))?;
        Ok(ArchivedOperationInfo::new(&operation, proof))
    }

    fn issue_challenge(
        &self,
        node: &NodeOrAddress,
        chunk: &ChunkOrPosition,
    ) -> Result<IssuedChallenge, StorageApiError> {
        self.audit_api().issue(node, chunk)
    }

    fn challenge_history(&self, request: &GetChallengeHistory) -> Result<ChallengeHistory, StorageApiError> {
        self.audit_api().history(request)
    }

    fn earnings(&self, count: u64) -> Result<StorageEarnings, StorageApiError> {
        let rounds = self.rounds_api().ok_or(StorageApiError::Disabled)?;
        Ok(rounds.earnings(count))
    }

    fn block(&self, id: &BlockId) -> Result<Option<ArchivedBlock>, StorageApiError> {
        match self.store().find_block(id) {
            Ok(slot) => self.verified(slot).map(Some),
            Err(ReadError::NotFound(_)) => Ok(None),
            Err(error) => Err(read_error(error)),
        }
    }

    fn operation(&self, id: &OperationId) -> Result<Option<ArchivedOperation>, StorageApiError> {
        match self.store().find_operation(id) {
            Ok((slot, index)) => Ok(ArchivedOperation::new(self.verified(slot)?, index)),
            Err(ReadError::NotFound(_)) => Ok(None),
            Err(error) => Err(read_error(error)),
        }
    }
}

impl NodeStorageApi {
    fn describe_period(&self, period: u64) -> Result<StoragePeriod, StorageApiError> {
        let manifest: Manifest = self.store().archived_manifest(period).map_err(read_error)?;
        let held = self.store().held_chunks(period).map_err(read_error)?;
        let blocks = manifest
            .places
            .iter()
            .filter(|place| place.block_id().is_some())
            .count() as u64;
        Ok(StoragePeriod {
            period,
            root: manifest.root(),
            blocks,
            misses: manifest.places.len() as u64 - blocks,
            chunks: manifest.chunks.len() as u64,
            chunks_held: held.len() as u64,
            bytes: manifest.header.body_length,
            segment: self.store().parameters().segment_of(period),
            lost: manifest.is_lost(),
        })
    }
}

fn awaited_of(worker: &WorkerStatus) -> AwaitedPlaces {
    let reasons = worker.awaited.reasons.iter();
    AwaitedPlaces {
        places: worker.awaited.places as u64,
        oldest_period: worker.awaited.oldest_period,
        reasons: reasons.map(|(reason, count)| ((*reason).to_string(), *count)).collect(),
    }
}

fn capabilities_of(peer: &StoragePeer) -> Option<NodeCapabilities> {
    let said: &Capabilities = peer.capabilities.as_ref()?;
    let ranges = said.ranges.iter().map(|range| (range.first_period, range.last_period));
    Some(NodeCapabilities {
        allocated_storage_gb: said.allocated_storage_gb,
        floor: said.floor,
        last_period: said.last_period,
        held_ranges: ranges.collect(),
        quarantined: peer.quarantined,
    })
}

/// Complete segments from the first one on.
/// What the registry has of a node, in a segment.
fn registered(record: &NodeRecord, segment: u64) -> RegisteredNode {
    RegisteredNode {
        stake: record.stake,
        allocated_gb: record.declared_at(segment),
        weight: record.weight_at(segment),
        weight_soon: record.weight_at(segment.saturating_add(2)),
        filled: record.filled_at(segment),
        has_placement_key: record.placement_key.is_some(),
        leave_segment: record.leave_segment,
        last_counted_round: record.last_counted_round,
        total_draws: record.total_draws,
        passed_draws: record.passed_draws,
        matured_rewards: record.matured_rewards,
    }
}

fn count_segments(store: &Store) -> Result<u64, StorageApiError> {
    let first = store.parameters().first_segment();
    let mut count = 0;
    while store.segment_root(first + count).map_err(read_error)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// A proof, or why there is none yet.
fn proof_of(result: Result<ProofDocument, ReadError>) -> Result<ArchiveProof, StorageApiError> {
    match result {
        Ok(document) => Ok(ArchiveProof {
            proof: Some(document),
            why_no_proof: None,
        }),
        Err(error @ (ReadError::NotArchived { .. } | ReadError::NoSegmentRoot { .. })) => Ok(ArchiveProof {
            proof: None,
            why_no_proof: Some(error.to_string()),
        }),
        Err(error) => Err(read_error(error)),
    }
}

fn read_error(error: ReadError) -> StorageApiError {
    match error {
        ReadError::NotFound(what) => StorageApiError::NotFound(what),
        ReadError::NotArchived { period, .. } => StorageApiError::NotArchived { period },
        ReadError::Pruned { period, floor } => StorageApiError::Pruned { period, floor },
        error @ (ReadError::LostBlock { .. } | ReadError::LostPeriod { .. }) => {
            StorageApiError::Lost(error.to_string())
        }
        error @ ReadError::NotKept { .. } => StorageApiError::Unavailable {
            what: "the block".into(),
            reason: error.to_string(),
        },
        error => StorageApiError::Internal(error.to_string()),
    }
}

fn reader_error(error: ReaderError) -> StorageApiError {
    match error {
        ReaderError::Read(error) => read_error(error),
        ReaderError::NotObtained { slot, ref reason, .. } => StorageApiError::Unavailable {
            what: format!("the block of slot {slot}"),
            reason: reason.clone(),
        },
        error => StorageApiError::Internal(error.to_string()),
    }
}

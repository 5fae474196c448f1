//! The archive behind the API: this node's store, and other nodes' where it does not keep something.
//!
//! Everything is verified once: a block is read down to its id, and then verified down to its signatures on this thread. Only
//! if that fails is it read again so that the reader blames whoever sent it, and asks others.

use super::audits_api::AuditApi;
use super::errors::{reader_error, store_error, unknown};
use super::lists::{closed_period, Lists};
use super::nodes::{KnownNodes, NodesCache, NodesPage, Shares};
use super::rounds_api::RoundsApi;
use crate::settings::DistributedStorageSettings;
use massa_api_exports::distributed_storage::audits::{
    ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress,
};
use massa_api_exports::distributed_storage::rounds::StorageEarnings;
use massa_api_exports::distributed_storage::{
    ArchiveProof, ArchivedBlock, ArchivedBlockInfo, ArchivedLostInfo, ArchivedMissInfo, ArchivedOperation,
    ArchivedOperationInfo, ArchivedPeriodInfo, ArchivedSlot, BlockOrSlot, ListChunks, ListNodes, ListPeriods,
    ListSegments, PeriodChunk, ReadBudget, StorageApi, StorageApiError, StorageChunk, StorageNodeInfo, StoragePeriod,
    StorageSegment, StorageStatus,
};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::LocateId;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_proof::{ProofDocument, ProveError};
use massa_distributed_storage_worker::extension::ExtensionHandle;
use massa_distributed_storage_worker::serve::lookup::{ById, Found, Lead, Lookup};
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::proofs::{Evidence, ProofError};
use massa_distributed_storage_worker::serve::to_readers::{ArchiveReader, ReadContent, SlotReading};
use massa_distributed_storage_worker::smart_contract::client::ClientHandle;
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use massa_protocol_exports::ProtocolController;
use massa_time::MassaTime;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Instant;

/// What the API of the archive is made of.
pub struct NodeStorageApi {
    pub(super) extension: ExtensionHandle,
    /// The client of the registry.
    pub(super) contract: ClientHandle,
    /// The peers.
    pub(super) protocol: Box<dyn ProtocolController>,
    /// How far the chain is.
    pub(super) consensus: Box<dyn ConsensusController>,
    pub(super) settings: DistributedStorageSettings,
    /// Who runs this node.
    pub(super) operator: Option<Address>,
    /// Parts that did not start, and why.
    pub(super) stopped_parts: Vec<String>,
    /// Whether the node is in step with the network.
    pub(super) synced: Arc<AtomicBool>,
    /// Time from one period to the next.
    pub(super) t0: MassaTime,
    /// Reads what this node has and asks nobody, where it is told so.
    pub(super) own_only: Option<Arc<Lookup>>,
    pub(super) nodes: NodesCache,
}

/// The parts of a [`NodeStorageApi`].
pub struct NodeStorageApiParts {
    /// The extension.
    pub extension: ExtensionHandle,
    /// The client of the registry.
    pub contract: ClientHandle,
    /// The peers.
    pub protocol: Box<dyn ProtocolController>,
    /// How far the chain is.
    pub consensus: Box<dyn ConsensusController>,
    /// Settings of the archive.
    pub settings: DistributedStorageSettings,
    /// Who runs this node.
    pub operator: Option<Address>,
    /// Parts that did not start, and why.
    pub stopped_parts: Vec<String>,
    /// Whether the node is in step with the network.
    pub synced: Arc<AtomicBool>,
    /// Time from one period to the next.
    pub t0: MassaTime,
}

impl NodeStorageApi {
    /// Puts it together.
    pub fn new(parts: NodeStorageApiParts) -> Self {
        let timeout = parts.settings.remote_read_timeout.to_duration();
        let store = parts.extension.store();
        let own_only = || {
            let reader = ArchiveReader::new(Arc::clone(store), None, timeout);
            Arc::new(Lookup::new(Arc::new(reader)))
        };
        Self {
            own_only: (!parts.settings.serve_remote_reads).then(own_only),
            extension: parts.extension,
            contract: parts.contract,
            protocol: parts.protocol,
            consensus: parts.consensus,
            settings: parts.settings,
            operator: parts.operator,
            stopped_parts: parts.stopped_parts,
            synced: parts.synced,
            t0: parts.t0,
            nodes: NodesCache::default(),
        }
    }

    pub(super) fn store(&self) -> &SegmentStore {
        self.extension.store()
    }

    fn lookup(&self) -> Arc<Lookup> {
        self.own_only.clone().unwrap_or_else(|| self.extension.lookup())
    }

    fn lists(&self) -> Lists<'_> {
        Lists {
            store: self.store(),
            assigned: self.extension.assigned(),
            own: self.extension.own(),
            accepted: self.extension.board().accepted(),
        }
    }

    fn with_audits<T>(&self, ask: impl FnOnce(&AuditApi<'_>) -> T) -> T {
        let audits = self.extension.audits();
        let nodes = Arc::clone(&self.extension.assigned().read().placement().nodes().nodes);
        ask(&AuditApi {
            audits: audits.as_ref(),
            store: self.store(),
            nodes,
            round_segments: self.settings.round_segments,
        })
    }

    pub(super) fn with_rounds<T>(&self, ask: impl FnOnce(&RoundsApi<'_>) -> T) -> Option<T> {
        let rounds = self.extension.rounds()?;
        Some(ask(&RoundsApi {
            rounds: &rounds,
            contract: &self.contract,
            t0: self.t0,
        }))
    }

    /// Where ids are, one for each.
    fn leads(&self, ids: &[LocateId], budget: &dyn ReadBudget) -> Result<Vec<Lead>, StorageApiError> {
        let leads = self.lookup().leads(ids, budget.left(), Instant::now());
        leads.map_err(store_error)
    }

    /// Where one id is; counted if it is found.
    fn lead(&self, id: LocateId, what: &str, budget: &dyn ReadBudget) -> Result<Lead, StorageApiError> {
        let lead = self.leads(&[id], budget)?.pop();
        let lead = lead.ok_or_else(|| self.unknown(what, &Found::NoProvider))?;
        match lead.found() {
            Found::At { .. } => budget.take().map(|()| lead),
            Found::OverLimit => Err(over_limit(budget)),
            found => Err(self.unknown(what, found)),
        }
    }

    fn unknown(&self, what: &str, found: &Found) -> StorageApiError {
        StorageApiError::Unknown {
            what: what.to_string(),
            why: unknown(found, self.own_only.is_none()),
        }
    }

    fn slot(&self, slot: Slot, check: ReadCheck) -> Result<SlotReading, StorageApiError> {
        self.lookup().reader().slot(slot, check).map_err(reader_error)
    }

    fn verify(&self, record: BlockRecord) -> Result<ArchivedBlock, String> {
        let parameters = self.store().parameters();
        let verified = ArchivedBlock::verify(record, parameters.chain_id, parameters.thread_count);
        verified.map_err(|error| error.to_string())
    }

    /// Verifies a block that was read; `None` for a miss and a lost block. One that is not valid is read again, so that the
    /// reader finds out who sent it, and asks others. `look` is shown what was read.
    fn verified<T>(
        &self,
        reading: SlotReading,
        look: impl Fn(&SlotReading) -> T,
    ) -> Result<Option<(ArchivedBlock, T)>, StorageApiError> {
        let (slot, seen) = (reading.slot, look(&reading));
        let ReadContent::Block(record) = reading.content else {
            return Ok(None);
        };
        if let Ok(block) = self.verify(record) {
            return Ok(Some((block, seen)));
        }
        let again = self.slot(slot, ReadCheck::Meaning)?;
        let seen = look(&again);
        let ReadContent::Block(record) = again.content else {
            return Ok(None);
        };
        let block = self.verify(record).map_err(StorageApiError::Internal)?;
        Ok(Some((block, seen)))
    }

    /// What a slot is proven from. The entry of a block that is a row here may be in chunks that others hold.
    fn evidence(&self, reading: &SlotReading) -> Result<Evidence, ProofError> {
        match reading.evidence(self.store()) {
            Err(error @ ProofError::NotHeld { .. }) => {
                let obtained = self.lookup().reader().period(reading.slot.period);
                obtained.map_err(|_| error)
            }
            evidence => evidence,
        }
    }

    fn describe(&self, reading: SlotReading) -> Result<ArchivedSlot, StorageApiError> {
        let slot = reading.slot;
        let thread = slot.thread;
        match &reading.content {
            ReadContent::Miss => {
                let proof = proof(self.evidence(&reading), |evidence| evidence.miss(thread))?;
                Ok(ArchivedSlot::Miss(ArchivedMissInfo { slot, proof }))
            }
            ReadContent::Lost(block_id) => {
                let proof = proof(self.evidence(&reading), |evidence| evidence.lost(thread))?;
                let block_id = *block_id;
                Ok(ArchivedSlot::Lost(ArchivedLostInfo { slot, block_id, proof }))
            }
            ReadContent::Block(_) => {
                let read = self.verified(reading, |reading| self.evidence(reading))?;
                let not_found = || StorageApiError::NotFound(format!("block at slot {slot}"));
                let (block, evidence) = read.ok_or_else(not_found)?;
                let proof = proof(evidence, |evidence| evidence.block(thread, block.record(), false))?;
                Ok(ArchivedSlot::Block(ArchivedBlockInfo::new(&block, proof)))
            }
        }
    }

    fn read_operation<T>(
        &self,
        id: &OperationId,
        lead: Lead,
        look: impl Fn(&SlotReading) -> T,
    ) -> Result<Option<(ArchivedOperation, T)>, StorageApiError> {
        let read = self.lookup().read_operation(*id, lead, ReadCheck::Merkle);
        let ById::Read(reading) = read.map_err(reader_error)? else {
            return Ok(None);
        };
        let Some((block, seen)) = self.verified(reading.block, look)? else {
            return Ok(None);
        };
        Ok(ArchivedOperation::new(block, reading.index).map(|operation| (operation, seen)))
    }
}

/// Counts a block that was read, by itself or for one of its operations: the next may be as large.
fn hold(budget: &dyn ReadBudget, block: Option<&ArchivedBlock>) -> Result<(), StorageApiError> {
    block.map_or(Ok(()), |block| budget.hold(block.record().as_bytes().len()))
}

/// A client may not ask for more; the budget says when it may again.
fn over_limit(budget: &dyn ReadBudget) -> StorageApiError {
    let refused = budget.take().err();
    refused.unwrap_or_else(|| StorageApiError::OverLimit("too many ids are looked for; try again".into()))
}

/// A proof, or why there is none yet.
fn proof(
    evidence: Result<Evidence, ProofError>,
    prove: impl FnOnce(&Evidence) -> Result<ProofDocument, ProveError>,
) -> Result<ArchiveProof, StorageApiError> {
    let proven = evidence.and_then(|evidence| prove(&evidence).map_err(ProofError::from));
    match proven {
        Ok(document) => Ok(ArchiveProof {
            proof: Some(document),
            why_no_proof: None,
        }),
        Err(error @ (ProofError::NotComplete { .. } | ProofError::NotHeld { .. } | ProofError::NotClosed { .. })) => {
            Ok(ArchiveProof {
                proof: None,
                why_no_proof: Some(error.to_string()),
            })
        }
        Err(error) => Err(StorageApiError::Internal(error.to_string())),
    }
}

impl StorageApi for NodeStorageApi {
    fn status(&self) -> Result<StorageStatus, StorageApiError> {
        Ok(self.storage_status())
    }

    fn segments(&self, request: &ListSegments) -> Result<Vec<StorageSegment>, StorageApiError> {
        self.lists().segments(request)
    }

    fn chunks(&self, request: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        self.lists().chunks(request)
    }

    fn periods(&self, request: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        self.lists().periods(request)
    }

    fn nodes(&self, request: &ListNodes) -> Result<Vec<StorageNodeInfo>, StorageApiError> {
        let total_bytes = self.store().counters().map_err(store_error)?.body_bytes;
        let (set, shares) = {
            let assigned = self.extension.assigned().read();
            let (_, own_bytes) = assigned.placement().own_share();
            let in_force = assigned.placement().nodes();
            let factor = in_force.replication_factor as u64;
            let shares = Shares {
                total_bytes,
                factor,
                own_bytes,
            };
            (Arc::clone(&in_force.nodes), shares)
        };
        let known = self.nodes.get(Instant::now(), || {
            KnownNodes::new(set.nodes(), self.contract.nodes().records())
        });
        let page = NodesPage {
            known: &known,
            peers: self
                .extension
                .network()
                .map_or_else(Vec::new, |network| network.peers()),
            own: self.extension.own(),
            shares,
            round: self.open_round(),
        };
        Ok(page.list(request))
    }

    fn archived_period(&self, period: u64, budget: &dyn ReadBudget) -> Result<ArchivedPeriodInfo, StorageApiError> {
        budget.take()?;
        let evidence = self.lookup().reader().period(period).map_err(reader_error)?;
        let lists = self.lists();
        let listed = match &evidence.table {
            None => lists.open_period(period)?,
            Some(table) => {
                let anchored = lists.is_anchored(table.header().segment, &table.root());
                closed_period(table, anchored, period)
            }
        };
        let listed = listed.ok_or(StorageApiError::NotArchived { period })?;
        let held = self.store().held(listed.segment).map_err(store_error)?;
        let chunks = (listed.first_chunk..=listed.last_chunk).map(|chunk| PeriodChunk {
            chunk,
            held: held.contains(chunk),
        });
        Ok(ArchivedPeriodInfo {
            period,
            segment: listed.segment,
            state: listed.state,
            root: listed.root,
            bytes: listed.bytes,
            slots: evidence.entry.ids().collect(),
            chunks: chunks.collect(),
            proof: proof(Ok(evidence), Evidence::period)?,
        })
    }

    fn archived_block(&self, block: &BlockOrSlot, budget: &dyn ReadBudget) -> Result<ArchivedSlot, StorageApiError> {
        let id = match block {
            BlockOrSlot::Slot(slot) => {
                budget.take()?;
                return self.describe(self.slot(*slot, ReadCheck::Merkle)?);
            }
            BlockOrSlot::Id(id) => *id,
        };
        let what = format!("block {id}");
        let lead = self.lead(LocateId::Block(id), &what, budget)?;
        let read = self.lookup().read_block(id, lead, ReadCheck::Merkle, budget.left() > 0);
        match read.map_err(reader_error)? {
            ById::Read(reading) => self.describe(reading),
            ById::NotFound(found) => Err(self.unknown(&what, &found)),
        }
    }

    fn archived_operation(
        &self,
        id: &OperationId,
        budget: &dyn ReadBudget,
    ) -> Result<ArchivedOperationInfo, StorageApiError> {
        let what = format!("operation {id}");
        let lead = self.lead(LocateId::Operation(*id), &what, budget)?;
        let read = self.read_operation(id, lead, |reading| self.evidence(reading))?;
        let (operation, evidence) = read.ok_or_else(|| self.unknown(&what, &Found::Unanswered(0)))?;
        let (block, index) = (operation.block(), operation.index());
        let thread = block.slot().thread;
        let proof = proof(evidence, |evidence| evidence.operation(thread, block.record(), index))?;
        Ok(ArchivedOperationInfo::new(&operation, proof))
    }

    fn blocks(&self, ids: &[BlockId], budget: &dyn ReadBudget) -> Result<Vec<Option<ArchivedBlock>>, StorageApiError> {
        let wanted: Vec<LocateId> = ids.iter().copied().map(LocateId::Block).collect();
        let leads = self.leads(&wanted, budget)?;
        let read = |(id, lead): (&BlockId, Lead)| {
            match lead.found() {
                Found::At { .. } => budget.take()?,
                Found::OverLimit => return Err(over_limit(budget)),
                _ => return Ok(None),
            }
            let read = self
                .lookup()
                .read_block(*id, lead, ReadCheck::Merkle, budget.left() > 0);
            match read.map_err(reader_error)? {
                ById::NotFound(_) => Ok(None),
                ById::Read(reading) => {
                    let block = self.verified(reading, |_| ())?.map(|(block, ())| block);
                    hold(budget, block.as_ref())?;
                    Ok(block)
                }
            }
        };
        ids.iter().zip(leads).map(read).collect()
    }

    fn operations(
        &self,
        ids: &[OperationId],
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Option<ArchivedOperation>>, StorageApiError> {
        let wanted: Vec<LocateId> = ids.iter().copied().map(LocateId::Operation).collect();
        let leads = self.leads(&wanted, budget)?;
        let read = |(id, lead): (&OperationId, Lead)| {
            match lead.found() {
                Found::At { .. } => budget.take()?,
                Found::OverLimit => return Err(over_limit(budget)),
                _ => return Ok(None),
            }
            let read = self.read_operation(id, lead, |_| ())?;
            let operation = read.map(|(operation, ())| operation);
            hold(budget, operation.as_ref().map(ArchivedOperation::block))?;
            Ok(operation)
        };
        ids.iter().zip(leads).map(read).collect()
    }

    fn issue_challenge(
        &self,
        node: &NodeOrAddress,
        chunk: &ChunkOrPosition,
    ) -> Result<IssuedChallenge, StorageApiError> {
        self.with_audits(|audits| audits.issue(node, chunk))
    }

    fn challenge_history(&self, request: &GetChallengeHistory) -> Result<ChallengeHistory, StorageApiError> {
        self.with_audits(|audits| audits.history(request))
    }

    fn earnings(&self, count: u64) -> Result<StorageEarnings, StorageApiError> {
        let earnings = self.with_rounds(|rounds| rounds.earnings(count));
        earnings.ok_or(StorageApiError::Disabled)
    }
}

//! A node whose archive of an anchored segment is not what was accepted: it says so, fetches the segment again, and claims.

use crate::common::{logs, network_with_periods_of, read_everything, settled, THREADS};
use massa_api_exports::distributed_storage::{ArchivedSlot, StoragePeriod, StorageStatus};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::{EncodedPeriod, TaggedSignature};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable};
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::{FinishedChunk, SegmentStream};
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, Keep, OwnChanges, PageToStore, ReachingEntry, SegmentStore, SegmentStoreOptions,
};
use massa_localnet::readback::Readers;
use massa_localnet::registry::RegistryPlan;
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, Node, NodeClient};
use massa_models::slot::Slot;
use massa_time::MassaTime;
use std::time::{Duration, Instant};

const NODES: usize = 4;
const T0_MS: u64 = 1_000;
const BYTES_PER_PERIOD: u64 = 200_000;
const DEADLINE: Duration = Duration::from_secs(300);
/// How long a block may take to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The node whose archive is changed, and the period of segment 0 that it takes for lost.
const CHANGED: usize = 2;
const PERIOD: u64 = 2;

#[test]
fn a_node_whose_segment_root_is_not_the_accepted_one_fetches_the_segment_again() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network_with_periods_of(NODES, T0_MS);
    network.start(NODES).unwrap();
    let _load = network.start_load(NODES, BYTES_PER_PERIOD);
    RegistryPlan::new(&network, NODES).run().unwrap();
    await_status(&network, "segment 0 anchored", deadline, |status| {
        status.segments_anchored > 0 && status.differing_segment.is_none()
    });
    let accepted = period_of(&network.nodes()[CHANGED]).unwrap();

    assert!(network.node_mut(CHANGED).stop().unwrap().success());
    let changed = take_for_lost(&network);
    let restarted_in = network.clock().period_at(MassaTime::now());
    network.node_mut(CHANGED).start().unwrap();
    network.node_mut(CHANGED).wait_ready().unwrap();

    let left = deadline.saturating_duration_since(Instant::now());
    let fetched = wait_for("the period as it is accepted", left, || {
        let now = period_of(&network.nodes()[CHANGED])?;
        let same = (now.root, now.bytes) == (accepted.root, accepted.bytes);
        same.then_some(()).ok_or_else(|| format!("{now:?}"))
    });
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", logs(&network)));
    let log = std::fs::read_to_string(network.nodes()[CHANGED].log_path()).unwrap();
    let said = format!("the root of segment 0 is {changed} here and ");
    assert!(log.contains(&said), "it does not say that {said}");

    let storage = &network.genesis().storage;
    let next = restarted_in / (storage.challenge_frequency_periods * storage.round_segments) + 1;
    await_status(&network, "a claim of what it has again", deadline, |status| {
        let rounds = status.registry.rounds.as_ref();
        let open = rounds.and_then(|rounds| rounds.open.as_ref());
        let claimed = open.is_some_and(|open| open.round > next && open.leaves > 0);
        status.differing_segment.is_none() && status.chunks_missing == 0 && claimed
    });
    let all: Vec<usize> = (0..NODES).collect();
    let survey = settled(&mut network, &all, PERIOD + 1, deadline);
    let read = read_everything(&network, &survey, Readers::All, deadline);
    assert_eq!(read.failures, []);
    assert_eq!((read.blocks, read.lost), (read.blocks_proven * NODES as u64, 0));
    network.stop().unwrap();
}

/// Waits until the status of the changed node is so.
fn await_status(network: &Network, what: &str, deadline: Instant, check: impl Fn(&StorageStatus) -> bool) {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for(what, left, || {
        let status = network.nodes()[CHANGED].client().storage_status();
        let status = status.map_err(|error| error.to_string())?;
        check(&status).then_some(()).ok_or_else(|| {
            let (differing, missing, why) = (status.differing_segment, status.chunks_missing, status.why_not_more);
            let rounds = status.registry.rounds;
            format!("segment {differing:?} differs, {missing} chunks are missing: {why:?}; {rounds:?}")
        })
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)));
}

fn period_of(node: &Node) -> Result<StoragePeriod, String> {
    let periods = node.client().periods(PERIOD, PERIOD);
    let periods = periods.map_err(|error| error.to_string())?;
    periods.into_iter().next().ok_or_else(|| "not archived".into())
}

/// Changes the store of the node that does not run, as if it had never had the period whole: the segment has other chunks behind
/// it, and another root, and so has every segment after it. Gives the root of the segment.
fn take_for_lost(network: &Network) -> SegmentRoot {
    let store = SegmentStore::open(SegmentStoreOptions::new(network.nodes()[CHANGED].store_path())).unwrap();
    let before = store.segment_root(0).unwrap();
    let (table, chunks) = segment_with_lost(store.parameters(), network.nodes()[0].client());
    let root = table.root();
    assert_ne!(before, Some(root));
    let held = store.held(0).unwrap();
    let chunks = chunks.into_iter().filter(|chunk| held.contains(chunk.index));
    let chunks: Vec<ChunkToStore> = chunks.map(to_store).collect();
    let mut tables = vec![(table, root)];
    for segment in 1..=store.last_segment().unwrap().unwrap() {
        let table = following(&store.table(segment).unwrap().unwrap(), &tables[segment as usize - 1]);
        let root = table.root();
        tables.push((table, root));
    }
    store.replace_segments(&tables, &chunks, OwnChanges::default()).unwrap();
    root
}

/// Segment 0 without the blocks of the period, from what another node has of it.
fn segment_with_lost(parameters: &ArchiveParameters, client: &NodeClient) -> (SegmentTable, Vec<FinishedChunk>) {
    let mut stream = SegmentStream::new(parameters, 0, IndexedObjects::None);
    for period in 0..parameters.segment_periods {
        let records: Vec<Option<BlockRecord>> = (0..THREADS)
            .map(|thread| block_of(client, Slot::new(period, thread)))
            .collect();
        let slots: Vec<Option<&BlockRecord>> = records.iter().map(Option::as_ref).collect();
        let mut encoded = EncodedPeriod::whole(parameters, period, &slots).unwrap();
        if period == PERIOD {
            let ids: Vec<_> = encoded.entry.ids().collect();
            encoded = EncodedPeriod::lost(period, PeriodEntry::lost(&ids).unwrap());
        }
        stream.push(&encoded).unwrap();
    }
    stream.finish([0; 32], 0).unwrap()
}

fn block_of(client: &NodeClient, slot: Slot) -> Option<BlockRecord> {
    let read = wait_for(format!("the block of slot {slot}"), READ_TIMEOUT, || {
        client.archived_slot(slot).map_err(|error| error.to_string())
    });
    match read.unwrap() {
        ArchivedSlot::Block(block) => {
            let operations: Vec<Vec<u8>> = block.operations.iter().map(|bytes| bytes.0.clone()).collect();
            Some(BlockRecord::new(&block.block.0, &operations).unwrap())
        }
        ArchivedSlot::Miss(_) => None,
        ArchivedSlot::Lost(lost) => panic!("block {} is lost", lost.block_id),
    }
}

/// The table of a segment that follows another one than it did.
fn following(table: &SegmentTable, (before, root): &(SegmentTable, SegmentRoot)) -> SegmentTable {
    let header = SegmentHeader {
        previous: root.to_bytes(),
        bytes_before: before.header().bytes_before + before.header().body_length,
        ..*table.header()
    };
    SegmentTable::new(header, table.periods().to_vec(), table.chunk_ids().to_vec()).unwrap()
}

fn to_store(chunk: FinishedChunk) -> ChunkToStore {
    let page = |(page, tagged): (&Vec<u8>, &Vec<TaggedSignature>)| {
        let mut signatures = Vec::new();
        tagged.iter().for_each(|tagged| tagged.write(&mut signatures));
        PageToStore {
            stored: StoredPage::plain(page).into_bytes(),
            signatures,
        }
    };
    ChunkToStore {
        position: ChunkPosition::new(0, chunk.index).unwrap(),
        keep: Keep::Holder,
        pages: chunk.pages.iter().zip(&chunk.signatures).map(page).collect(),
        page_roots: chunk.page_roots,
        reaching: chunk.reaching_in.map(|into| ReachingEntry {
            period: into.period,
            start: into.start,
            entry: into.entry,
        }),
    }
}

//! What a real store serves over real sockets is the archive.

mod common;
#[path = "storage_common/stores.rs"]
mod stores;

use common::wait_for;
use crossbeam_channel::unbounded;
use massa_distributed_storage_exports::network::{
    Fetch, FetchEvent, FetchPriority, FetchTarget, SlotContent, StorageNetwork,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::slot::Slot;
use std::time::Duration;
use stores::{Chain, Identity, Manner, RunningNode, SEGMENTS};

/// All events of a fetch but its end.
fn ask(asking: &RunningNode, from: &Identity, target: FetchTarget) -> Vec<FetchEvent> {
    let (reply, answers) = unbounded();
    let fetch = Fetch {
        id: 1,
        target,
        holders: vec![from.node_id()],
        priority: FetchPriority::Reader,
        reply,
    };
    asking.network.fetch(fetch).unwrap();
    let mut events = Vec::new();
    loop {
        match answers.recv_timeout(Duration::from_secs(20)).expect("an answer") {
            FetchEvent::Complete { .. } => return events,
            FetchEvent::Failed { attempts, .. } => panic!("{attempts:?}"),
            event => events.push(event),
        }
    }
}

#[test]
fn tables_entries_blocks_and_chunks_are_those_of_the_store() {
    let (chain, own, holder) = (Chain::new(), Identity::new(), Identity::new());
    let holding = RunningNode::start(&chain, &holder, &[], Manner::honest(), Duration::ZERO);
    let asking = RunningNode::start(&chain, &own, &[&holder], Manner::honest(), Duration::ZERO);
    wait_for("the connection", || asking.network.peers().len() == 1);

    let target = FetchTarget::Tables {
        first_segment: 0,
        count: SEGMENTS as u32,
    };
    let mut seen = 0;
    for event in ask(&asking, &holder, target) {
        let FetchEvent::Tables {
            first_segment, tables, ..
        } = event
        else {
            panic!("{event:?}");
        };
        for (table, segment) in tables.iter().zip(first_segment..) {
            assert_eq!(Some(table), holding.store.table(segment).unwrap().as_deref());
            check_chunks(&asking, &holder, segment);
            seen += 1;
        }
    }
    assert_eq!(seen, SEGMENTS);
    for record in &chain.records {
        check_block(&asking, &holder, record);
    }
}

fn check_chunks(asking: &RunningNode, holder: &Identity, segment: u64) {
    let table = asking.store.table(segment).unwrap().unwrap();
    assert!(table.chunk_ids().len() > 1, "several chunks");
    for (chunk, index) in table.chunks().zip(0..) {
        let position = ChunkPosition::new(segment, index).unwrap();
        let pages = 0..chunk.page_count();
        let target = FetchTarget::Pages { position, chunk, pages };
        let events = ask(asking, holder, target);
        assert_eq!(events.len(), chunk.page_count() as usize);
        for event in events {
            let FetchEvent::Page { page, .. } = event else {
                panic!("{event:?}");
            };
            let own = asking.store.page(position, page.page()).unwrap().unwrap();
            assert_eq!((page.plain(), page.signatures()), (&own.plain[..], &own.signatures[..]));
        }
    }
}

fn check_block(asking: &RunningNode, holder: &Identity, record: &BlockRecord) {
    let slot: Slot = record.view(stores::THREADS).unwrap().slot;
    let events = ask(asking, holder, FetchTarget::Block { slot });
    let [FetchEvent::Block { content, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(*content, SlotContent::Block(record.clone()));
    let entry = FetchTarget::Entries {
        first_period: slot.period,
        count: 1,
    };
    let events = ask(asking, holder, entry);
    let [FetchEvent::Entries { entries, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    let block = entries[0].slots()[usize::from(slot.thread)].expect("no slot was missed");
    assert_eq!(block.id, record.view(stores::THREADS).unwrap().block_id());
}

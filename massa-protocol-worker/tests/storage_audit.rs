//! Audits over real sockets.

mod common;
#[path = "storage_common/stores.rs"]
mod stores;

use common::wait_for;
use crossbeam_channel::unbounded;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, AuditChallenge, AuditLeaf, Fetch, FetchEvent, FetchPriority, FetchTarget, StorageNetwork,
};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_worker::audit::challenge::prove;
use massa_distributed_storage_worker::audit::history::{rows::read_history, AuditOutcome, AuditResult};
use massa_distributed_storage_worker::audit::plan::AuditLimits;
use massa_distributed_storage_worker::storage_backend::PageRead;
use massa_models::node::NodeId;
use massa_protocol_worker::StorageHandlerNetwork;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use stores::{Auditor, Chain, Identity, Manner, Prove, RunningNode, SEGMENTS};

/// A link on which a relay is noticed.
const DELAY: Duration = Duration::from_millis(50);

/// Time is not what these tests are about.
const PATIENT: Duration = Duration::from_secs(30);

#[test]
fn an_honest_node_passes_and_a_node_that_dropped_a_page_fails() {
    let (chain, own, honest, dropper) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let without_page_1: Prove = Box::new(|_, challenge, chunk, server| {
        prove(challenge, chunk, |page| match page {
            1 => Answer::NotHeld,
            page => {
                let read = server.store().page(challenge.position, page);
                Answer::Found(read.unwrap().unwrap())
            }
        })
    });
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let _dropper = RunningNode::start(&chain, &dropper, &[], without_page_1, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest, &dropper], PATIENT);
    let result = auditor.challenge(&honest);
    assert_eq!(result.outcome, AuditOutcome::Passed);
    assert_eq!(auditor.success_percent(&honest), 100);
    // At most four pages: 32 leaves miss one of them once in ten thousand times.
    let result = auditor.challenge(&dropper);
    assert_eq!(result.outcome, AuditOutcome::NotHeld);
    assert!(result.has_failed());
    assert_eq!(auditor.success_percent(&dropper), 0);
    let peers = auditor.node.network.peers();
    assert!(peers.iter().all(|peer| !peer.quarantined), "an audit is no penalty");
}

#[test]
fn a_replayed_answer_and_one_with_other_bytes_are_refused_with_their_reasons() {
    let (chain, own, replayer, inventor) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let first: Mutex<Option<Answer<Vec<AuditLeaf>>>> = Mutex::default();
    let replay: Prove = Box::new(move |challenger, challenge, _, server| {
        let mut first = first.lock();
        first.get_or_insert_with(|| server.prove(challenger, challenge)).clone()
    });
    let invent: Prove = Box::new(
        |challenger, challenge, _, server| match server.prove(challenger, challenge) {
            Answer::Found(mut leaves) => {
                leaves[17].bytes[0] ^= 1;
                Answer::Found(leaves)
            }
            other => other,
        },
    );
    let _replayer = RunningNode::start(&chain, &replayer, &[], replay, Duration::ZERO);
    let _inventor = RunningNode::start(&chain, &inventor, &[], invent, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&replayer, &inventor], PATIENT);
    assert_eq!(
        auditor.challenge(&replayer).outcome,
        AuditOutcome::Passed,
        "the first time"
    );
    let reason = |result: AuditResult| match result.outcome {
        AuditOutcome::Wrong(reason) => reason,
        other => panic!("{other:?}"),
    };
    let refused = reason(auditor.challenge(&replayer));
    assert!(refused.starts_with("leaf 0 of the proof is refused: "), "{refused}");
    assert_eq!(auditor.success_percent(&replayer), 50);
    let refused = reason(auditor.challenge(&inventor));
    assert!(
        refused.starts_with("leaf 17 of the proof is refused: root mismatch"),
        "{refused}"
    );
}

/// Fetches the whole chunk at once under another identity, the quickest that a node can do which has nothing.
fn fetch_and_prove(
    network: &StorageHandlerNetwork,
    from: NodeId,
    challenge: &AuditChallenge,
    chunk: &TableChunk,
) -> Answer<Vec<AuditLeaf>> {
    let (reply, events) = unbounded();
    let target = FetchTarget::Pages {
        position: challenge.position,
        chunk: *chunk,
        pages: 0..chunk.page_count(),
    };
    let fetch = Fetch {
        id: 1,
        target,
        holders: vec![from],
        priority: FetchPriority::Reader,
        reply,
    };
    network.fetch(fetch).unwrap();
    let mut pages = BTreeMap::new();
    while pages.len() < chunk.page_count() as usize {
        match events.recv_timeout(Duration::from_secs(20)) {
            Ok(FetchEvent::Page { page, .. }) => pages.insert(page.page(), page),
            _ => return Answer::NotHeld,
        };
    }
    let roots: Vec<_> = pages
        .values()
        .map(|page| root_of_hashes(leaf_hashes(page.plain())))
        .collect();
    prove(challenge, chunk, |page| {
        let fetched = &pages[&page];
        Answer::Found(PageRead {
            stored: Vec::new(),
            plain: fetched.plain().to_vec(),
            signatures: fetched.signatures().to_vec(),
            page_roots: roots.clone(),
        })
    })
}

#[test]
fn a_node_that_fetches_what_it_is_asked_for_over_a_link_with_50_ms_is_noticed_by_time() {
    let (chain, own, honest, relay) = (Chain::new(), Identity::new(), Identity::new(), Identity::new());
    let (alias, source) = (Identity::new(), Identity::new());
    let _source = RunningNode::start(&chain, &source, &[], Manner::honest(), DELAY);
    let behind = RunningNode::start(&chain, &alias, &[&source], Manner::honest(), DELAY);
    wait_for("the relay's source", || behind.network.peers().len() == 1);
    let (network, from) = (behind.network.clone(), source.node_id());
    let fetch: Prove = Box::new(move |_, challenge, chunk, _| fetch_and_prove(&network, from, challenge, chunk));
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let _relay = RunningNode::start(&chain, &relay, &[], fetch, Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest, &relay], AuditLimits::TIME_ALLOWANCE);

    let result = auditor.challenge(&honest);
    assert_eq!(result.outcome, AuditOutcome::Passed, "{result:?}");
    let result = auditor.challenge(&relay);
    assert_eq!(result.outcome, AuditOutcome::Slow, "{result:?}");
    assert!(result.elapsed_ms >= Some(2 * DELAY.as_millis() as u32), "{result:?}");
    let audits = |node: &Identity| auditor.handle.with_history(|history| history.node(&node.node_id()));
    assert!(audits(&relay).unwrap().alarm);
    assert!(!audits(&honest).unwrap().alarm);
}

#[test]
fn audits_go_on_by_themselves_as_periods_are_archived_and_are_remembered() {
    let (chain, own, honest) = (Chain::new(), Identity::new(), Identity::new());
    let _honest = RunningNode::start(&chain, &honest, &[], Manner::honest(), Duration::ZERO);
    let auditor = Auditor::start(&chain, &own, &[&honest], PATIENT);
    let handle = &auditor.handle;
    assert_eq!(handle.with_history(|history| history.newest().count()), 0);
    // The thread has looked at the store when it answers a request.
    auditor.challenge(&honest);
    auditor.newest.fetch_add(1, Relaxed);
    let by_schedule = || handle.with_history(|history| history.newest().find(|result| !result.by_hand).cloned());
    wait_for("an audit by schedule", || by_schedule().is_some());
    let result = by_schedule().unwrap();
    assert_eq!((result.node, result.outcome), (honest.node_id(), AuditOutcome::Passed));
    assert!(
        result.position.segment < SEGMENTS,
        "a segment that the node says it holds"
    );
    wait_for("two rows", || read_history(&auditor.node.store).unwrap().len() == 2);
}

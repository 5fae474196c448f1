//! Whole extensions that take part in rounds, in one process, while answers to the draws of a round are taken: nobody is refused anything.

use crate::chain::{PERIODS, SEGMENT};
use crate::common::slot_of;
use crate::common::world::THREADS;
use crate::network::Network;
use crate::node::{at, storage_node};
use crate::rounds::wait_for;
use crossbeam_channel::unbounded;
use massa_distributed_storage_exports::network::{Fetch, FetchEvent, FetchPriority, FetchTarget};
use massa_distributed_storage_worker::audit::history::AuditOutcome;
use massa_distributed_storage_worker::rounds::timing::RoundTimes;
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::to_readers::ReadContent;
use massa_distributed_storage_worker::storage_backend::OwnChanges;
use std::sync::Arc;

/// The round whose answers are taken.
const ROUND: u64 = 2;

#[test]
fn claimants_read_from_each_other_and_audit_while_answers_are_taken() {
    let times = RoundTimes {
        round: ROUND,
        periods: PERIODS,
    };
    // Every chunk is assigned to both.
    let registered = [storage_node(1), storage_node(2)];
    let mut network = Network::new(&registered, 2, 2, ROUND + 1);
    network.go_to(PERIODS - 6);
    let chain = Arc::clone(&network.chain);
    wait_for("segments to be anchored", || {
        chain.with_model(|model| model.next_segment >= 2)
    });
    network.go_to(PERIODS + 10);
    wait_for("claims for the round", || network.all_claimed(ROUND));
    network.go_to(times.window_opens());
    assert!(network.all_claimed(ROUND) && times.in_window(chain.period()));

    // A disk lost what its node claims of the first segment: the other one, which claims the same, is asked.
    let (reading, holding) = (network.nodes[0].1.handle(), network.nodes[1].1.handle());
    let held: Vec<u32> = reading.store().held(0).unwrap().indexes().collect();
    for index in &held {
        let position = at(0, *index);
        assert!(reading.rounds().unwrap().is_claimed(position) && holding.rounds().unwrap().is_claimed(position));
        assert!(reading.store().drop_chunk(position, OwnChanges::default()).unwrap());
    }
    for record in &network.world.blocks {
        let slot = slot_of(record, THREADS);
        if slot.period < SEGMENT {
            let found = reading.reader().slot(slot, ReadCheck::Merkle).unwrap();
            assert_eq!(found.content, ReadContent::Block(record.clone()), "slot {slot}");
        }
    }

    // And its pages, as repair asks for them.
    let chunk = reading.store().table(0).unwrap().unwrap().chunk(0).unwrap();
    let (reply, events) = unbounded();
    let target = FetchTarget::Pages {
        position: at(0, 0),
        chunk,
        pages: 0..chunk.page_count(),
    };
    let fetch = Fetch {
        id: 1,
        target,
        holders: vec![holding.own()],
        priority: FetchPriority::Repair,
        reply,
    };
    reading.network().unwrap().fetch(fetch).unwrap();
    let got: Vec<FetchEvent> = events.iter().collect();
    assert_eq!(got.len(), chunk.page_count() as usize + 1);
    assert_eq!(got.last(), Some(&FetchEvent::Complete { id: 1 }));

    // Audits, by hand and by schedule.
    let (audits, challenged) = (reading.audits().unwrap(), holding.own());
    let by_hand = audits.issue(challenged, at(0, 0), chunk).unwrap();
    let outcome = || {
        audits.with_history(|history| {
            let mut results = history.newest();
            results
                .find(|result| result.challenge_id == by_hand)
                .map(|result| result.outcome.clone())
        })
    };
    wait_for("the audit by hand", || outcome().is_some());
    assert_eq!(outcome(), Some(AuditOutcome::Passed));
    let by_schedule = || audits.with_history(|history| history.newest().filter(|result| !result.by_hand).count());
    let before = by_schedule();
    network.go_to(times.window_ends());
    wait_for("an audit by schedule", || by_schedule() > before);
    assert!(times.in_window(chain.period()));
    assert!(audits.with_history(|history| history.newest().all(|result| result.outcome == AuditOutcome::Passed)));
}

//! A node whose archive of an anchored segment is not what was accepted: it says so, fetches the segment again, and claims.

use crate::common::{logs, network_with_periods_of};
use massa_api_exports::distributed_storage::{StoragePeriod, StorageStatus};
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{PendingRows, StoreOptions};
use massa_distributed_storage_worker::Store;
use massa_localnet::registry::RegistryPlan;
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, Node};
use std::time::{Duration, Instant};

const NODES: usize = 4;
const T0_MS: u64 = 1_000;
const BYTES_PER_PERIOD: u64 = 200_000;
const DEADLINE: Duration = Duration::from_secs(300);
/// The node whose archive is changed, and the period of segment 0 that it takes for lost.
const CHANGED: usize = 2;
const PERIOD: u64 = 3;

#[test]
fn a_node_whose_segment_root_is_not_the_accepted_one_fetches_the_segment_again() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network_with_periods_of(NODES, T0_MS);
    network.start(NODES).unwrap();
    let _load = network.start_load(NODES, BYTES_PER_PERIOD);
    RegistryPlan::new(&network, NODES).run().unwrap();
    await_status(&network, "segment 0 anchored", deadline, |status| {
        rounds(status, |rounds| rounds.0 > 0)
    });
    let (_, root) = period_of(&network.nodes()[CHANGED]).unwrap();

    assert!(network.node_mut(CHANGED).stop().unwrap().success());
    let changed = take_for_lost(&network.nodes()[CHANGED]);
    let restarted_in = network.clock().period_at(massa_time::MassaTime::now());
    network.node_mut(CHANGED).start().unwrap();
    network.node_mut(CHANGED).wait_ready().unwrap();

    let left = deadline.saturating_duration_since(Instant::now());
    let fetched = wait_for("the period as it is accepted", left, || {
        let node = &network.nodes()[CHANGED];
        let (period, now) = period_of(node)?;
        (now == root && !period.lost)
            .then_some(())
            .ok_or_else(|| format!("{period:?}"))
    });
    fetched.unwrap_or_else(|error| panic!("{error}\n{}", logs(&network)));
    let log = std::fs::read_to_string(network.nodes()[CHANGED].log_path()).unwrap();
    let said = "this node's root is not the accepted one";
    let line = log.lines().find(|line| line.contains(said)).expect("it says so");
    assert!(line.contains(&changed.to_string()), "{line}");

    let segment_periods = network.genesis().storage.challenge_frequency_periods;
    let next = restarted_in / segment_periods + 1;
    await_status(&network, "a claim of what it has again", deadline, |status| {
        let claimed = |(_, round, leaves): (u64, u64, u64)| round > next && leaves > 0;
        status.chunks_missing == 0 && rounds(status, claimed)
    });
    network.stop().unwrap();
}

/// Waits until the status of the changed node is so.
fn await_status(network: &Network, what: &str, deadline: Instant, check: impl Fn(&StorageStatus) -> bool) {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for(what, left, || {
        let status = network.nodes()[CHANGED].client().storage_status();
        let status = status.map_err(|error| error.to_string())?;
        check(&status)
            .then_some(())
            .ok_or_else(|| format!("{:?}", status.registry.rounds))
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)));
}

/// Whether segments that are anchored, the open round, and the leaves claimed for it are so; a segment that differs is none.
fn rounds(status: &StorageStatus, check: impl Fn((u64, u64, u64)) -> bool) -> bool {
    status.registry.rounds.as_ref().is_some_and(|rounds| {
        let leaves = rounds.open.as_ref().map_or(0, |open| open.leaves);
        let seen = (rounds.segments_anchored, rounds.round.unwrap_or(0), leaves);
        rounds.differing_segment.is_none() && check(seen)
    })
}

fn period_of(node: &Node) -> Result<(StoragePeriod, String), String> {
    let periods = node
        .client()
        .periods(PERIOD, PERIOD)
        .map_err(|error| error.to_string())?;
    let period = periods.into_iter().next().ok_or("not archived")?;
    let root = period.root.to_string();
    Ok((period, root))
}

/// Changes the store of a node that does not run, as if it had never had the period whole. Gives the root of the segment.
fn take_for_lost(node: &Node) -> SegmentRoot {
    let store = Store::open_existing(StoreOptions::new(node.store_path())).unwrap();
    let manifest = store.manifest(PERIOD).unwrap().unwrap();
    let ids: Vec<_> = manifest.places.iter().map(|place| place.block_id()).collect();
    assert!(ids.iter().any(Option::is_some));
    let lost = Manifest::lost(store.parameters(), PERIOD, &ids);
    let before = store.segment_root(0).unwrap();
    store
        .enter_lost(&lost, &PendingRows::default(), Durability::Synced)
        .unwrap();
    store.update_segments(0).unwrap();
    let after = store.segment_root(0).unwrap();
    assert_ne!(before, after);
    after.unwrap()
}

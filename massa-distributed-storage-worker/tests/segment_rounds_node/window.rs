//! Whole extensions that take part in rounds, in one process, while answers to the draws of a round are taken: nobody is refused anything.

use crate::chain::{registry, TestChain, PERIODS, SEGMENT};
use crate::common::slot_of;
use crate::common::world::{World, THREADS};
use crate::hub::{Hub, Line};
use crate::node::{at, storage_node};
use crate::rounds::{wait_for, LEAD};
use crossbeam_channel::unbounded;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::{Fetch, FetchEvent, FetchPriority, FetchTarget};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_worker::audit::history::AuditOutcome;
use massa_distributed_storage_worker::commands::DistributedStorageCommand;
use massa_distributed_storage_worker::extension::{Extension, ExtensionParts, ExtensionSettings};
use massa_distributed_storage_worker::rounds::timing::RoundTimes;
use massa_distributed_storage_worker::rounds::watch::FinalContent;
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::to_readers::ReadContent;
use massa_distributed_storage_worker::smart_contract::client::{start_contract_client, ClientManager, ClientParts};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryNodeSet};
use massa_distributed_storage_worker::storage_backend::OwnChanges;
use massa_models::slot::Slot;
use std::sync::Arc;
use tempfile::{tempdir, TempDir};

/// The round whose answers are taken.
const ROUND: u64 = 2;

/// Two registered nodes to which every chunk is assigned, and their chain.
struct Network {
    world: World,
    chain: Arc<TestChain>,
    hub: Arc<Hub>,
    nodes: Vec<(StorageNode, Extension)>,
    fed: u64,
    _clients: Vec<ClientManager>,
    _directories: Vec<TempDir>,
}

impl Network {
    fn new() -> Self {
        let world = World::new(4, (ROUND + 1) * PERIODS, 12_000);
        let registered = [storage_node(1), storage_node(2)];
        let chain = Arc::new(TestChain::new(&[&registered[0], &registered[1]]));
        chain.with_model(|model| {
            model.config.now.replication_factor = 2;
            model.config.next.replication_factor = 2;
        });
        let mut network = Self {
            world,
            chain,
            hub: Hub::new(THREADS),
            nodes: Vec::new(),
            fed: 0,
            _clients: Vec::new(),
            _directories: Vec::new(),
        };
        for own in &registered {
            network.start(own, &registered);
        }
        network
    }

    fn start(&mut self, own: &StorageNode, registered: &[StorageNode]) {
        let node = own.node_id.unwrap();
        let values = NetworkValues {
            chunk_size: 1 << 16,
            segment_periods: SEGMENT,
            round_segments: PERIODS / SEGMENT,
            replication_factor: 2,
        };
        let host = Arc::clone(&self.chain) as Arc<dyn ContractHost>;
        let genesis = NodeSet::new(registered.to_vec());
        let nodes = Arc::new(RegistryNodeSet::new(Arc::clone(&host), genesis, values));
        let (client, handle) = start_contract_client(ClientParts {
            host: Arc::clone(&host),
            nodes: Arc::clone(&nodes),
            operator: Some(own.address),
            registry: Box::new(|| Some(registry())),
            on_nodes: Box::new(|_| ()),
            max_fees_per_day: None,
            fees_path: None,
            deployment: None,
        })
        .unwrap();
        let directory = tempdir().unwrap();
        let mut settings = ExtensionSettings::new(directory.path());
        settings.replication_factor = 2;
        let parts = ExtensionParts {
            own: node,
            operator: Some(own.address),
            settings,
            parameters: self.world.parameters.clone(),
            nodes,
            host,
        };
        let mut extension = Extension::start(parts).unwrap();
        let hub = Arc::clone(&self.hub);
        hub.connect(node, extension.server(), extension.events());
        extension.start_network(Arc::new(Line { hub, node })).unwrap();
        let periods = self.world.periods.len() as u64;
        let ids: Vec<_> = (0..periods).map(|period| TestChain::ids(&self.world, period)).collect();
        let chain = Arc::clone(&self.chain);
        let content = |id| FinalContent {
            id,
            operations: Vec::new(),
        };
        let final_blocks = move |period: u64| {
            let is_final = period <= chain.period();
            is_final.then(|| ids[period as usize].iter().map(|id| id.map(content)).collect())
        };
        extension.start_rounds(handle, Box::new(final_blocks), LEAD).unwrap();
        self.nodes.push((own.clone(), extension));
        self._clients.push(client);
        self._directories.push(directory);
    }

    /// The blocks up to a period become final and are archived; then the period is.
    fn go_to(&mut self, period: u64) {
        let is_due = |slot: Slot| (self.fed..=period).contains(&slot.period);
        let due = self
            .world
            .blocks
            .iter()
            .filter(|record| is_due(slot_of(record, THREADS)));
        let due: Vec<_> = due.cloned().collect();
        for (_, node) in &self.nodes {
            let records = due.clone();
            let command = DistributedStorageCommand::Blocks { records, reply: None };
            node.archiver().send(command).unwrap();
        }
        self.fed = period + 1;
        // The last segments may wait for what settles their slots.
        let closed = (period / SEGMENT).checked_sub(2);
        wait_for("segments to close", || {
            let last = |node: &Extension| node.handle().store().last_segment().unwrap();
            self.nodes.iter().all(|(_, node)| last(node) >= closed)
        });
        self.chain.set_period(period);
        wait_for("the final period", || {
            let seen = |node: &Extension| node.handle().rounds().unwrap().status().period;
            self.nodes.iter().all(|(_, node)| seen(node) == period)
        });
    }

    fn all_claimed(&self, round: u64) -> bool {
        let addresses = self.nodes.iter().map(|(own, _)| own.address);
        self.chain.with_model(|model| {
            let claimed = |address| model.nodes[&address].claim_of(round).is_some();
            addresses.into_iter().all(claimed)
        })
    }
}

#[test]
fn claimants_read_from_each_other_and_audit_while_answers_are_taken() {
    let times = RoundTimes {
        round: ROUND,
        periods: PERIODS,
    };
    let mut network = Network::new();
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

//! Whole extensions in one process that see a third node's claim of a chunk that is theirs, ask each other, and refute it.

use crate::chain::{registry, PERIODS};
use crate::network::Network;
use crate::node::{at, storage_node};
use crate::rounds::{wait_for, LEAD};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::Answer;
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::challenge::segment_answer::{Archived, SegmentAnswer};
use massa_distributed_storage_worker::challenge::sums::{SumNode, SumPath};
use massa_distributed_storage_worker::extension::Extension;
use massa_distributed_storage_worker::replication::placement_score;
use massa_distributed_storage_worker::rounds::timing::RoundTimes;
use massa_distributed_storage_worker::smart_contract::storage_registry::{submit_round, Submission};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_models::amount::Amount;
use massa_models::operation::{Operation, OperationSerializer, OperationType, SecureShareOperation};
use massa_models::secure_share::{SecureShareContent, SecureShareSerializer};
use massa_serialization::Serializer;
use massa_signature::KeyPair;
use std::sync::Arc;

const ROUND: u64 = 2;

/// Two nodes that run, to which each chunk is assigned whose third score is that of a node that is only registered.
struct Case {
    network: Network,
    cheater: StorageNode,
}

impl Case {
    fn new() -> Self {
        let registered = [storage_node(1), storage_node(2), storage_node(3)];
        Self {
            network: Network::new(&registered, 2, 2, ROUND + 1),
            cheater: registered[2].clone(),
        }
    }

    /// A chunk of the first segments for which the third node has the highest score, and its exhibit as its only claim.
    fn not_assigned(&self) -> SegmentAnswer {
        for table in self.network.world.tables(2) {
            for index in 0..table.header().chunk_count() {
                let chunk = table.chunk(index).unwrap();
                let score = |node: &StorageNode| {
                    placement_score(&chunk.id, &node.placement_key, node.allocated_storage_gb).unwrap()
                };
                if self
                    .network
                    .nodes
                    .iter()
                    .all(|(own, _)| score(own) < score(&self.cheater))
                {
                    let tree = table.tree();
                    let archived = Archived {
                        table: &table,
                        tree: &tree,
                    };
                    let position = at(table.header().segment, index);
                    return SegmentAnswer::exhibit(position, SumPath::default(), archived).unwrap();
                }
            }
        }
        panic!("every chunk is assigned to the third node");
    }

    /// The third node has claimed this chunk alone.
    fn claim_falsely(&self, exhibit: &SegmentAnswer) {
        let number = exhibit.position.number();
        let node = SumNode::chunk(number, exhibit.chunk.leaf_count(), &exhibit.chunk.id);
        let (claim, _) = exhibit.sum_path.follow(number, node).unwrap();
        let cheater = &self.cheater;
        self.network.chain.with_model(|model| {
            let node = model.nodes.get_mut(&cheater.address).unwrap();
            node.slots[(ROUND % 3) as usize] = Some(RoundResult {
                round: ROUND,
                leaves: claim.leaves,
                stake: node.stake,
                weight: cheater.allocated_storage_gb,
                root: claim.root,
                beacon: [0; 32],
                credit: Amount::from_raw(0),
                state: ClaimState::Claimed,
                draws: 4,
                passes: 0,
                reason: 0,
                refuted: false,
                filled: true,
                draw_reasons: Vec::new(),
            });
            let record = model.rounds.get_mut(&ROUND).unwrap();
            record.claims += 1;
            record.leaves += claim.leaves;
        });
    }

    /// Its answer to a draw is in a block of this period.
    fn answer(&self, exhibit: &SegmentAnswer, period: u64) {
        let submission = Submission {
            round: ROUND,
            beacon: Some(([1; 32], vec![(0, exhibit.to_bytes())])),
            roots: Vec::new(),
            claim: None,
        };
        let call = submit_round(&self.cheater.address, &submission);
        let operation = Operation {
            fee: Amount::from_raw(0),
            expire_period: period,
            op: OperationType::CallSC {
                target_addr: registry(),
                target_func: call.function.to_string(),
                param: call.parameter,
                max_gas: 0,
                coins: Amount::from_raw(0),
            },
        };
        let keypair = KeyPair::generate(0).unwrap();
        let chain_id = self.network.chain.limits().chain_id;
        let signed: SecureShareOperation = operation
            .new_verifiable(OperationSerializer::new(), &keypair, chain_id)
            .unwrap();
        let mut bytes = Vec::new();
        SecureShareSerializer::new().serialize(&signed, &mut bytes).unwrap();
        self.network.operations.lock().insert(period, vec![bytes]);
    }

    fn all_claim(&self, position: ChunkPosition) -> bool {
        let claims = |node: &Extension| {
            let rounds = node.handle().rounds().unwrap();
            matches!(rounds.sum_path(ROUND, position), Answer::Found(_))
        };
        self.network.nodes.iter().all(|(_, node)| claims(node))
    }

    fn is_refuted(&self) -> bool {
        let cheater = self.cheater.address;
        self.network
            .chain
            .with_model(|model| model.nodes[&cheater].claim_of(ROUND).unwrap().refuted)
    }
}

#[test]
fn who_claims_a_chunk_that_is_not_its_own_is_refuted_by_a_node_that_asked_the_other_one() {
    let times = RoundTimes {
        round: ROUND,
        periods: PERIODS,
    };
    let mut case = Case::new();
    case.network.go_to(PERIODS - 6);
    let chain = Arc::clone(&case.network.chain);
    wait_for("segments to be anchored", || {
        chain.with_model(|model| model.next_segment >= 2)
    });
    case.network.go_to(PERIODS + 10);
    let exhibit = case.not_assigned();
    wait_for("claims for the round", || case.network.all_claimed(ROUND));
    case.network.go_to(2 * PERIODS - 1);
    wait_for("both to show their claims", || case.all_claim(exhibit.position));
    case.claim_falsely(&exhibit);
    // No answer of the others shows this chunk: their ways there are known only from them.
    let drawn = times.window_opens();
    let block = (drawn..).find(|period| case.network.world.periods[*period as usize].iter().any(Option::is_some));
    case.answer(&exhibit, block.unwrap());
    case.network.go_to(block.unwrap());
    wait_for(&format!("the refutation: {:?}", chain.sent()), || case.is_refuted());
    // Both can show it; the second in line has nothing to send any more when its turn comes.
    let turn = LEAD + 1;
    case.network.go_to(block.unwrap() + turn);
    case.network.go_to(block.unwrap() + turn + 1);
    let sent = chain.sent();
    let sent: Vec<_> = sent.iter().filter(|(name, _)| name == "refuteClaim").collect();
    assert_eq!(sent, [&("refuteClaim".to_string(), None)]);
    assert!(case.network.hub.quarantined().is_empty());
    // Nobody refutes honest claims, nor the same one again.
    case.network.go_to(times.window_ends() + 1);
    let refuted = chain.with_model(|model| {
        let claims = model.nodes.values().flat_map(|node| node.slots.iter().flatten());
        claims.filter(|claim| claim.refuted).count()
    });
    assert_eq!(refuted, 1);
}

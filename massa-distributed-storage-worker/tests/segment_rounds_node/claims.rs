//! The claim for the next round follows what is held, assigned and anchored, and costs what changed; what was sent stays provable.

use crate::common::world::World;
use crate::node::{at, TestNode};
use massa_db_exports::{STORAGE_OWN_CF, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::challenge::sums::Claim;
use massa_distributed_storage_worker::rounds::claims::keeper::ClaimKeeper;
use massa_distributed_storage_worker::rounds::claims::Claims;
use massa_distributed_storage_worker::rounds::prover::{answer_draw, AnswerFailure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A node with `segments` closed segments of a few chunks each.
fn node(segments: u64) -> TestNode {
    node_of(segments, 30_000)
}

fn world(segments: u64, operation_bytes: usize) -> World {
    World::new(7, segments * 4 + 2, operation_bytes)
}

fn node_of(segments: u64, operation_bytes: usize) -> TestNode {
    let mut node = TestNode::new(world(segments, operation_bytes));
    node.archive_to(u64::MAX, |_| false);
    assert_eq!(node.store.last_segment().unwrap(), Some(segments - 1));
    node
}

struct Keeping {
    claims: Arc<Claims>,
    keeper: ClaimKeeper,
}

impl Keeping {
    fn new(node: &TestNode) -> Self {
        let (claims, found) = Claims::open(Arc::clone(&node.store)).unwrap();
        let claims = Arc::new(claims);
        Self {
            keeper: ClaimKeeper::new(
                Arc::clone(&node.store),
                Arc::clone(&node.assigned),
                (Arc::clone(&claims), found),
            ),
            claims,
        }
    }

    /// Goes on until everything that changed is looked at; gives the hashes.
    fn settle(&mut self, node: &TestNode, accepted: &Arc<BTreeMap<u64, SegmentRoot>>) -> u64 {
        self.keeper.note(node.board.take_changed());
        self.keeper.set_accepted(accepted);
        let mut hashes = 0;
        for _ in 0..1_000 {
            hashes += self.keeper.step().unwrap();
            if self.keeper.is_settled() {
                return hashes;
            }
        }
        panic!("never settled");
    }

    fn seal(&mut self, round: u64) -> Claim {
        self.keeper.seal(round).unwrap().unwrap()
    }
}

fn leaves(chunks: &[(ChunkPosition, u64)]) -> u64 {
    chunks.iter().map(|(_, leaves)| leaves).sum()
}

/// Every claimed leaf at the border of a chunk can be shown, or is of one of `gone`.
fn assert_provable(
    node: &TestNode,
    claims: &Claims,
    claim: &Claim,
    chunks: &[(ChunkPosition, u64)],
    gone: &[ChunkPosition],
) {
    assert_eq!(claim.leaves, leaves(chunks));
    let mut before = 0;
    for (position, leaves) in chunks {
        let root = node.store.segment_root(position.segment).unwrap();
        for leaf in [before, before + leaves - 1] {
            match answer_draw(&node.store, claims, &claim.root, leaf) {
                Ok(answer) => {
                    assert_eq!(answer.position, *position);
                    assert_eq!(answer.check(claim, leaf, root.as_ref()), Ok(()), "{position}");
                }
                Err(failure) => {
                    assert!(gone.contains(position), "{position}: {failure}");
                    assert_eq!(failure.lacking(), Some(*position));
                }
            }
        }
        assert!(claims.is_claimed(*position));
        before += leaves;
    }
}

#[test]
fn history_that_is_anchored_later_is_claimed_and_nothing_else_is_looked_at_for_it() {
    let node = node_of(60, 3_000);
    let from = |first: u64| {
        Arc::new(
            node.accepted(60)
                .range(first..)
                .map(|(of, root)| (*of, *root))
                .collect(),
        )
    };
    let claimable = |first: u64| {
        let chunks = node.claimable(60).into_iter();
        chunks
            .filter(|(position, _)| position.segment >= first)
            .collect::<Vec<_>>()
    };
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &from(20));
    assert_eq!(keeping.claims.current().leaves, leaves(&claimable(20)));
    keeping.settle(&node, &from(1));
    assert_eq!(keeping.claims.current().leaves, leaves(&claimable(1)));
    // On its way round it looks at 16 others in a step, whatever is anchored.
    let idle = keeping.keeper.step().unwrap();
    keeping.keeper.set_accepted(&from(0));
    assert!(!keeping.keeper.is_settled());
    let cost = keeping.keeper.step().unwrap();
    assert!(idle > 0 && cost < 2 * idle, "{cost} hashes, {idle} without it");
    assert!(keeping.keeper.is_settled());
    assert_eq!(keeping.claims.current().leaves, leaves(&claimable(0)));
}

#[test]
fn claimed_is_what_is_anchored_held_and_assigned() {
    let mut node = node(6);
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &Arc::default());
    assert_eq!(keeping.claims.current().leaves, 0, "nothing is anchored");
    let anchored = node.accepted(4);
    keeping.settle(&node, &anchored);
    let all = node.claimable(4);
    assert!(all.len() > 12, "{all:?}");
    assert_eq!(keeping.claims.current().leaves, leaves(&all));

    // What is dropped goes, what is another node's goes, what comes back comes back.
    node.drop_chunk(all[1].0);
    keeping.settle(&node, &anchored);
    assert_eq!(keeping.claims.current().leaves, leaves(&all) - all[1].1);
    node.share_with(2, 1);
    keeping.settle(&node, &anchored);
    let shared = node.claimable(4);
    assert!(shared.len() < all.len() && !shared.is_empty());
    assert_eq!(keeping.claims.current().leaves, leaves(&shared));
    node.share_with(0, 1);
    keeping.settle(&node, &anchored);
    assert_eq!(keeping.claims.current().leaves, leaves(&node.claimable(4)));

    // One whose accepted root is another is said, and not claimed, until it is replaced.
    let lost = node.world.segments(6, &[17]);
    let mut other = (*anchored).clone();
    other.extend(
        lost[4..]
            .iter()
            .map(|(table, _)| (table.header().segment, table.root())),
    );
    let other = Arc::new(other);
    keeping.settle(&node, &other);
    let differing = keeping.keeper.differing().unwrap();
    assert_eq!((differing.segment, differing.accepted), (4, lost[4].0.root()));
    assert_eq!(keeping.claims.current().leaves, leaves(&node.claimable(4)));
    node.replace(lost[4].0.clone());
    keeping.settle(&node, &other);
    assert_eq!(keeping.keeper.differing(), None);
    let claimable = node.claimable(6);
    assert!(claimable.iter().any(|(position, _)| position.segment == 5));
    assert_eq!(keeping.claims.current().leaves, leaves(&claimable));
}

#[test]
fn a_claim_that_was_sent_is_provable_and_its_chunks_are_kept_until_its_round_is_over() {
    let node = node(5);
    let accepted = node.accepted(5);
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &accepted);
    let first = (node.claimable(5), keeping.seal(7));
    let gone = [first.0[2].0, first.0[9].0];
    gone.iter().for_each(|position| node.drop_chunk(*position));
    keeping.settle(&node, &accepted);
    let second = (node.claimable(5), keeping.seal(8));
    node.share_with(1, 1);
    keeping.settle(&node, &accepted);
    assert_provable(&node, &keeping.claims, &first.1, &first.0, &gone);
    assert_provable(&node, &keeping.claims, &second.1, &second.0, &[]);

    // The same after a restart, without anything being looked at again.
    drop(keeping);
    let node = node.restarted();
    node.share_with(1, 1);
    let mut keeping = Keeping::new(&node);
    assert_provable(&node, &keeping.claims, &first.1, &first.0, &gone);
    assert_provable(&node, &keeping.claims, &second.1, &second.0, &[]);
    keeping.settle(&node, &accepted);
    assert_provable(&node, &keeping.claims, &second.1, &second.0, &[]);

    let handed_over = second
        .0
        .iter()
        .find(|(position, _)| !node.claimable(5).iter().any(|(of, _)| of == position));
    let handed_over = handed_over.expect("half of the chunks").0;
    keeping.claims.forget_before(8).unwrap();
    assert!(!keeping.claims.is_claimed(gone[0]));
    assert!(keeping.claims.is_claimed(handed_over));
    assert!(matches!(
        answer_draw(&node.store, &keeping.claims, &first.1.root, 0),
        Err(AnswerFailure::Claim(_))
    ));
    keeping.claims.forget_before(9).unwrap();
    assert!(!keeping.claims.is_claimed(handed_over));
    assert!(keeping.claims.is_claimed(node.claimable(5)[0].0), "in the next claim");
}

#[test]
fn a_damaged_page_is_not_shown_and_is_lacking() {
    let node = node(3);
    let accepted = node.accepted(3);
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &accepted);
    let (chunks, claim) = (node.claimable(3), keeping.seal(7));
    node.tamper.look();
    keeping.claims.forget_before(8).unwrap();
    let claim = Claim { ..claim };
    let resealed = keeping.seal(9);
    assert_eq!(resealed, claim);
    let damaged = at(1, 1);
    let key = [&1u64.to_be_bytes()[..], &1u16.to_be_bytes()].concat();
    let rows = node.tamper.rows();
    let page = rows
        .iter()
        .find(|(family, of, _)| family == STORAGE_PAGES_CF && of.starts_with(&key))
        .unwrap()
        .clone();
    let mut value = page.2;
    let middle = value.len() / 2;
    value[middle] ^= 1;
    node.tamper.put((page.0, page.1, value));
    keeping.claims.forget_before(9).unwrap();
    keeping.seal(10);
    assert_provable(&node, &keeping.claims, &resealed, &chunks, &[damaged]);
}

#[test]
fn rows_of_claims_that_are_damaged_or_gone_are_built_anew_before_anything_is_claimed() {
    for gone in [false, true] {
        let node = node(4);
        let accepted = node.accepted(4);
        let mut keeping = Keeping::new(&node);
        keeping.settle(&node, &accepted);
        let (chunks, claim) = (node.claimable(4), keeping.claims.current());
        node.tamper.look();
        keeping.seal(7);
        let rows = node.tamper.rows();
        let (_, key, value) = rows
            .iter()
            .find(|(family, key, _)| family == STORAGE_OWN_CF && key.starts_with(b"claim\0"))
            .unwrap();
        if gone {
            node.tamper.delete(STORAGE_OWN_CF, key);
        } else {
            let mut value = value.clone();
            value[3] ^= 1;
            node.tamper.put((STORAGE_OWN_CF.to_string(), key.clone(), value));
        }
        keeping.claims.forget_before(8).unwrap();
        drop(keeping);
        let node = node.restarted();
        let mut keeping = Keeping::new(&node);
        assert!(keeping.keeper.is_incomplete());
        keeping.settle(&node, &accepted);
        assert!(!keeping.keeper.is_incomplete());
        assert_eq!(keeping.claims.current(), claim);
        let sealed = keeping.seal(9);
        assert_provable(&node, &keeping.claims, &sealed, &chunks, &[]);
    }
}

#[test]
fn a_change_costs_its_segment_and_not_the_archive() {
    let costs = |segments: u64| {
        let node = node_of(segments, 3_000);
        let accepted = node.accepted(segments);
        let mut keeping = Keeping::new(&node);
        keeping.settle(&node, &accepted);
        keeping.seal(7);
        node.drop_chunk(node.claimable(segments)[1].0);
        let rows = node.store.rows_read();
        let hashes = keeping.settle(&node, &accepted);
        (hashes, node.store.rows_read() - rows)
    };
    let (few, many) = (costs(20), costs(60));
    // The way round looks at 16 other segments: 16 hashes and three rows each.
    assert!(few.0 < 600 && many.0 < 600, "{few:?} {many:?}");
    assert!(few.1 < 120 && many.1 < 120, "{few:?} {many:?}");
}

#[test]
fn where_not_everything_may_be_claimed_it_is_what_fewest_others_rank_above_this_node_for() {
    let node = node(6);
    let accepted = node.accepted(6);
    node.share_with(2, 2);
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &accepted);
    let all = keeping.claims.current().leaves;
    for max_leaves in [all * 2, all, all * 3 / 4, all / 3] {
        keeping.keeper.set_max_leaves(max_leaves);
        keeping.settle(&node, &accepted);
        let claimed = keeping.claims.current().leaves;
        assert!(claimed <= max_leaves, "{claimed} of {max_leaves}");
        assert!(claimed * 2 >= max_leaves.min(all), "{claimed} of {max_leaves}");
    }
    keeping.keeper.set_max_leaves(all * 2);
    keeping.settle(&node, &accepted);
    assert_eq!(keeping.claims.current().leaves, all);
}

const DIRECTORY: &str = "SEGMENT_CLAIMS_KILL_DIRECTORY";
const SEGMENTS: u64 = 6;

/// The process that is killed: chunks go, claims are sent. Does nothing unless it is the child.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let node = TestNode::at(world(SEGMENTS, 30_000), Path::new(&directory));
    let accepted = node.accepted(SEGMENTS);
    let mut keeping = Keeping::new(&node);
    keeping.settle(&node, &accepted);
    let first = keeping.claims.newest().map_or(20, |sent| sent.round + 1);
    for round in first.. {
        // The one that was read from its output is not forgotten before this process is killed.
        keeping.claims.forget_before(round - 10).unwrap();
        let claim = keeping.seal(round);
        let chunks = node.claimable(SEGMENTS);
        let listed: Vec<u64> = chunks.iter().map(|(position, _)| position.number()).collect();
        println!("claim {round} {} {} {listed:?}", hex::encode(claim.root), claim.leaves);
        node.drop_chunk(chunks[chunks.len() / 2].0);
        keeping.settle(&node, &accepted);
    }
}

#[test]
fn a_claim_that_was_sent_is_provable_after_the_process_was_killed() {
    let (world, path, _directory) = node(SEGMENTS).stopped();
    let mut world = Some(world);
    for kill in 1..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "claims::child", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let claims = output.filter(|line| line.contains("claim "));
        let last = claims.take(kill + 1).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let words: Vec<&str> = last[last.find("claim ").unwrap()..].splitn(5, ' ').collect();
        let root: [u8; 32] = hex::decode(words[2]).unwrap().try_into().unwrap();
        let leaves: u64 = words[3].parse().unwrap();
        let node = TestNode::at(world.take().unwrap(), &path);
        let keeping = Keeping::new(&node);
        let claim = Claim { root, leaves };
        let numbers = words[4].trim_matches(['[', ']']).split(", ");
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        let chunk = |number: &u64| {
            let position = ChunkPosition::from_number(*number).unwrap();
            let table = node.store.table(position.segment).unwrap().unwrap();
            (position, u64::from(table.chunk(position.index.0).unwrap().leaf_count()))
        };
        let chunks: Vec<(ChunkPosition, u64)> = numbers.iter().map(chunk).collect();
        let is_gone = |position: &ChunkPosition| !node.store.held(position.segment).unwrap().contains(position.index.0);
        let gone: Vec<ChunkPosition> = chunks.iter().map(|(of, _)| *of).filter(is_gone).collect();
        assert!(gone.len() < chunks.len() / 2, "{gone:?} of {chunks:?}");
        assert_provable(&node, &keeping.claims, &claim, &chunks, &gone);
        drop(keeping);
        world = Some(node.stopped().0);
    }
}

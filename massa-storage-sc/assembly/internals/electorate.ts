/**
 * Who decides on beacons and segment roots: stake that has seasoned, exactly, in constant gas. README, "Who decides".
 *
 * A node's entry (round e, stake w) counts in rounds e … e+7. The ring keeps, for each round that an entry may lie in, the sum of
 * the entries there, so the electorate of a round is a sum of eight buckets. Until some node is proven (the first phase), stake
 * weighs from two rounds after its registration, and each submission renews it; from then on only proven rounds season.
 *
 * Invariants: electorate(v) is the sum of all weights in v, after every operation; after a node's first submission of a round its
 * entry is fixed for that round, so no stake decides twice.
 */
import { add, sub } from './math';
import { Operation } from './operation';
import { NEVER, NodeRecord, RING_BUCKETS, SETTLED, SLOTS, State } from './records';
import { PASSED } from './reasons';

/** Rounds in which an entry counts. */
const SEASON_ROUNDS: u64 = 8;
/** Rounds between coming, or coming back, and weighing anything. */
const NOTICE_ROUNDS: u64 = 2;

/** Whether an entry has not lapsed: it counts in this round, or will. */
function stands(entryRound: u64, round: u64): bool {
  return entryRound != NEVER && entryRound + SEASON_ROUNDS > round;
}

/** What a node's vote weighs in a round. */
export function voteWeight(node: NodeRecord, round: u64): u64 {
  return stands(node.entryRound, round) && node.entryRound <= round ? node.entryStake : 0;
}

/** The seasoned stake of the present round. */
export function electorate(op: Operation): u64 {
  let sum: u64 = 0;
  for (let i: u64 = 0; i < RING_BUCKETS; i++) {
    const entryRound = op.state.bucketRound(i);
    if (entryRound <= op.round && stands(entryRound, op.round)) sum = add(sum, op.state.bucketStake(i));
  }
  return sum;
}

/** Of a bucket of the ring. One of an older round is as good as empty: no entry there stands any more. */
function bucketSum(state: State, round: u64): u64 {
  const i = round % RING_BUCKETS;
  return state.bucketRound(i) == round ? state.bucketStake(i) : 0;
}

function setBucketSum(state: State, round: u64, stake: u64): void {
  state.setBucket(round % RING_BUCKETS, round, stake);
}

function enter(op: Operation, node: NodeRecord, round: u64, stake: u64): void {
  const state = op.state;
  if (stands(node.entryRound, op.round)) {
    setBucketSum(state, node.entryRound, sub(bucketSum(state, node.entryRound), node.entryStake));
  }
  node.entryRound = round;
  node.entryStake = stake;
  if (stands(round, op.round)) setBucketSum(state, round, add(bucketSum(state, round), stake));
}

/** A node registers with a stake. */
export function enterNew(op: Operation, node: NodeRecord, stake: u64): void {
  node.entryStake = stake;
  if (!op.state.proven) enter(op, node, op.round + NOTICE_ROUNDS, stake);
}

/** At the start of each submission, once the node is settled, before its beacon and its votes. */
export function season(op: Operation, node: NodeRecord): void {
  const proven = lastProven(node, op.round);
  const entry = node.entryRound;
  if (proven != NEVER && (entry == NEVER || proven + 1 > entry)) {
    enter(op, node, proven + 1, node.slot(proven).stake);
    op.state.proven = true;
  } else if (!op.state.proven && !node.leaving && (entry == NEVER || entry <= op.round)) {
    enter(op, node, stands(entry, op.round) ? op.round : op.round + NOTICE_ROUNDS, node.entryStake);
  }
}

/** The last of its rounds, before this one, that was counted with all draws passed; NEVER. */
function lastProven(node: NodeRecord, round: u64): u64 {
  let last = NEVER;
  for (let i: u64 = 0; i < SLOTS; i++) {
    const slot = node.slot(i);
    const proven = slot.state == SETTLED && slot.reason == PASSED && slot.round < round;
    if (proven && (last == NEVER || slot.round > last)) last = slot.round;
  }
  return last;
}

/** A node that had a placement key is gone. With the last one the first phase begins again. */
export function forgetKeyed(state: State): void {
  state.keyed = sub(state.keyed, 1);
  if (state.keyed > 0) return;
  state.proven = false;
  state.flagsFrom = NEVER;
}

/** Refuting a claimed chunk that the node was not assigned. */
import { Committed, MAX_ANSWER_BYTES, parseAnswer } from './answer';
import { Reader } from './bytes';
import { LEAVES_PER_GB, placementScore } from './formulas';
import { add, productAtLeast, sub } from './math';
import { Operation } from './operation';
import { NodeRecord, RoundRecord, SETTLED, Slot, segmentRoot } from './records';
import { REFUTED } from './reasons';
import { refutationSlash, settle, takeStake } from './rounds';

/** Rounds in which a witness has been filled and unchanged, so that the accused had time to hand over. */
const STEADY_ROUNDS: u64 = 3;
/** A witness that claimed more than 8/10 of its allocation may have been skipped by the 90 % rule: no proof. */
const WITNESS_TENTHS: u64 = 8;

/** node, round u64, answer with an empty leaf, then R witness addresses as texts. */
export function refute(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const address = reader.text(64, 'node');
  const round = reader.u64('round');
  const held = parseAnswer(reader.sized(MAX_ANSWER_BYTES, 'answer'));
  const node = NodeRecord.load(address);
  assert(round <= op.round, 'round has not opened');
  assert(op.round <= round + 1, 'a claim can be refuted until the end of the next round');
  settle(op, node);
  const slot = node.slot(round);
  assert(slot.round == round, 'nothing was claimed for this round');
  assert(!slot.refuted, 'this claim is refuted already');
  assert(held.ok, 'answer is malformed');
  assert(!held.showsLeaf, 'a refutation shows no leaf');
  assert(held.underClaim(new Committed(slot.root, slot.leaves)), 'sum path does not end in the claim');
  const root = segmentRoot(held.segment);
  assert(root.length > 0, 'segment is not anchored');
  assert(held.underSegment(root), 'archive path does not end in the segment root');
  const accused = placementScore(held.chunkId, node.key, max(node.weightNow, node.weightNext));
  checkWitnesses(op, reader, node.address, round, held.chunkId, accused);
  checkNetworkRoom(op, round);
  reader.end('refuteClaim');
  punish(op, node, slot);
  node.save();
  op.finish();
}

/** R different nodes, in ascending order of their addresses, with lower scores. */
function checkWitnesses(
  op: Operation,
  reader: Reader,
  accused: string,
  round: u64,
  chunkId: StaticArray<u8>,
  score: u64,
): void {
  const factor = max(op.config.now.replicationFactor, op.config.next.replicationFactor);
  let previous = '';
  for (let i: u64 = 0; i < factor; i++) {
    const address = reader.text(64, 'witness');
    assert(address > previous, 'witnesses must be different, in ascending order');
    previous = address;
    assert(address != accused, 'a node is not its own witness');
    const witness = NodeRecord.load(address);
    assert(isSteady(witness, round), 'witness is not filled and unchanged for three rounds: ' + address);
    assert(hasRoom(witness, round), 'witness may have been full: ' + address);
    const better = placementScore(chunkId, witness.key, witness.declaredAt(round)) < score;
    assert(better, 'witness has no lower score: ' + address);
  }
}

function isSteady(witness: NodeRecord, round: u64): bool {
  if (round < STEADY_ROUNDS) return false;
  const since = round - STEADY_ROUNDS;
  const weighs = witness.weightAt(since) > 0 && witness.weightAt(round) > 0;
  const unlapsed = witness.lapseUntil <= since || witness.lapseFrom > round;
  const filled = witness.filledFrom <= since && witness.filledTo > round;
  return weighs && unlapsed && filled && (witness.weightRound <= since || witness.weightRound > round);
}

function hasRoom(witness: NodeRecord, round: u64): bool {
  const slot = witness.slot(round);
  if (slot.round != round) return false;
  return productAtLeast(slot.weight * LEAVES_PER_GB, WITNESS_TENTHS, slot.leaves, 10);
}

/** Who is skipped as full is known from what is assigned, which a witness may claim less of. So all claims together have room. */
function checkNetworkRoom(op: Operation, round: u64): void {
  const record = RoundRecord.load(round, op.periods);
  const room = productAtLeast(record.claimWeight, WITNESS_TENTHS * LEAVES_PER_GB, record.leaves, 10);
  assert(room, 'claims fill the network: a node may have been skipped as full');
}

/** Unmatured credit and ten times the percentage of the stake are lost: a tenth to the reporter, the rest burned. */
function punish(op: Operation, node: NodeRecord, slot: Slot): void {
  const record = RoundRecord.load(slot.round, op.periods);
  const config = op.config.at(slot.round);
  const percent = record.frozen ? record.slashPercentage : config.slashPercentage;
  const stake = refutationSlash(node.stake, percent);
  takeStake(op, node, stake);
  const credit = forfeit(op, node);
  slot.refuted = true;
  // Who asks for the result of a round that is settled is told what became of it.
  if (slot.state == SETTLED) slot.reason = REFUTED;
  const total = add(stake, credit);
  const reward = total / 10;
  op.state.toBurn = add(op.state.toBurn, sub(total, reward));
  op.pay(op.caller, reward);
  op.event('CLAIM_REFUTED', [node.address, slot.round.toString(), op.caller, total.toString()]);
}

/** Credit of settled rounds that has not matured. What an open answer would earn is burned when it is settled. */
function forfeit(op: Operation, node: NodeRecord): u64 {
  let credit: u64 = 0;
  for (let i: u64 = 0; i < 3; i++) {
    const slot = node.slot(i);
    if (slot.state != SETTLED) {
      slot.refuted = slot.round <= op.round;
      continue;
    }
    credit = add(credit, slot.credit);
    slot.credit = 0;
  }
  op.state.credited = sub(op.state.credited, credit);
  return credit;
}

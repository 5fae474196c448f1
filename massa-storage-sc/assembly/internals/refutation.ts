/** Refuting a claimed chunk that the node was not assigned. */
import { Committed, HeldChunk, MAX_ANSWER_BYTES, MAX_SUM_PATH_BYTES, parseAnswer } from './answer';
import { Reader } from './bytes';
import { placementScore } from './formulas';
import { add, sub } from './math';
import { Operation } from './operation';
import { NodeRecord, RoundRecord, SETTLED, Slot } from './records';
import { segmentRoot } from './segments';
import { REFUTED } from './reasons';
import { refutationSlash, settle, takeStake } from './rounds';

/** node, round u64, answer with an empty leaf, then R witnesses, each an address and its sum path. */
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
  const record = RoundRecord.load(round, op.periods);
  const score = placementScore(held.chunkId, node.key, slot.weight);
  checkWitnesses(op, reader, address, record, held, score);
  reader.end('refuteClaim');
  punish(op, node, slot, record);
  node.save();
  op.finish();
}

/**
 * R different nodes, in ascending order of their addresses, each before the accused in the placement of the chunk: with a lower
 * score, filled, with a retention that covers the segment, and claiming the chunk itself. Scores are of what placement knew when the
 * round was claimed, so no change of an allocation, and no lack of room, makes an honest claim refutable.
 */
function checkWitnesses(
  op: Operation,
  reader: Reader,
  accused: string,
  record: RoundRecord,
  held: HeldChunk,
  score: u64,
): void {
  let previous = '';
  for (let i: u64 = 0; i < record.factor; i++) {
    const address = reader.text(64, 'witness');
    const sumPath = reader.sized(MAX_SUM_PATH_BYTES, 'sum path');
    assert(address > previous, 'witnesses must be different, in ascending order');
    previous = address;
    assert(address != accused, 'a node is not its own witness');
    checkWitness(op, NodeRecord.load(address), record, held.claimedBy(sumPath), score);
  }
}

function checkWitness(op: Operation, node: NodeRecord, record: RoundRecord, held: HeldChunk, score: u64): void {
  const slot = node.slot(record.round);
  assert(slot.round == record.round, 'witness claimed nothing for this round: ' + node.address);
  assert(slot.filled, 'witness is not filled: ' + node.address);
  const covers = node.covers(held.segment, record.round, op.config.next);
  assert(covers, 'witness does not keep the segment until the end of the round: ' + node.address);
  assert(placementScore(held.chunkId, node.key, slot.weight) < score, 'witness has no lower score: ' + node.address);
  const claims = held.ok && held.underClaim(new Committed(slot.root, slot.leaves));
  assert(claims, 'witness does not claim the chunk: ' + node.address);
}

/** Unmatured credit and ten times the percentage of the stake are lost: a tenth to the reporter, the rest burned. */
function punish(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const stake = refutationSlash(node.stake, record.slashPercentage);
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

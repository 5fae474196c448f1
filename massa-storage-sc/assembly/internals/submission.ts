/**
 * The one operation of a node and round: beacon vote with its answers, root votes, the next claim. Format: README,
 * "Submission". Sent by the node, or by anybody with the node's signature.
 */
import { Context } from '@massalabs/massa-as-sdk';
import { Committed, MAX_ANSWER_BYTES, checkAnswer, parseAnswer } from './answer';
import { Reader } from './bytes';
import { electorate, season, voteWeight } from './electorate';
import { LEAVES_PER_GB, MAX_DRAWS, RoundContext, drawCount, drawnLeaf } from './formulas';
import { add, atLeastTwoThirds, moreThanHalf, mul } from './math';
import { giveFirstKey } from './nodes';
import { Operation } from './operation';
import { MALFORMED, MISSING, PASSED, SEGMENT_UNKNOWN } from './reasons';
import { ANSWERED, CLAIMED, NodeRecord, RootVotes, RoundRecord, SETTLED, Slot } from './records';
import { countAnswer, freeze, inWindow, openRecord, settle, slotCredit } from './rounds';
import { acceptVoted, segmentRoot } from './segments';
import { checkSubmission } from './signatures';

/** Pending roots that one operation may carry. Where a round has more segments, or the network is behind, several are sent. */
const MAX_ROOT_VOTES: u8 = 8;
/** Rounds after a segment's end in which its root needs two thirds. */
const DELAY_ROUNDS: u64 = 8;
/** Told of answers that were taken. */
const TAKEN = 'answered';
const MAX_ADDRESS: u32 = 64;
/** What the claimed leaves of a round, times P, come to at most: below 2⁶⁴, so that it can be closed whatever is claimed. */
const MAX_LEAF_PERIODS: u64 = 1 << 63;

/** What became of each part, for the one event: what is not there is '-', what was skipped gives its reason. */
class Told {
  answers: string = '-';
  roots: string = '-';
  claim: string = '-';
}

/**
 * `roundText` is the challenge id of the call, `content` the submission. A part that cannot count, because it is there already or
 * because of the node's state, is skipped and takes nothing with it: who sends a submission again, or one of many, harms nobody.
 */
export function submitRound(
  op: Operation,
  roundText: string,
  content: StaticArray<u8>,
  signature: StaticArray<u8>,
): void {
  const reader = new Reader(content);
  const address = reader.text(MAX_ADDRESS, 'node');
  const round = reader.u64('round');
  assert(round.toString() == roundText, 'challengeId: names another round than the submission');
  assert(round == op.round, 'round is not open: now is ' + op.round.toString());
  if (op.caller != address) checkSubmission(address, Context.chainId(), op.registry, content, signature);
  const node = NodeRecord.load(address);
  settle(op, node);
  giveFirstKey(op, node);
  season(op, node);
  const told = new Told();
  if (reader.bool('hasBeacon')) told.answers = takeAnswers(op, node, reader);
  told.roots = takeRoots(op, node, reader);
  if (reader.bool('hasClaim')) told.claim = takeClaim(op, node, reader);
  reader.end('submission');
  node.save();
  tell(op, node, told);
  op.finish();
}

/** Names what was taken, and why the rest was not; then the reason of each draw, if they were answered. */
function tell(op: Operation, node: NodeRecord, told: Told): void {
  const fields = [node.address, op.round.toString(), told.answers, told.roots, told.claim];
  if (told.answers == TAKEN) {
    const slot = node.slot(op.round);
    for (let d: u32 = 0; d < slot.draws; d++) fields.push(slot.drawReason(d).toString());
  }
  op.event('ROUND_SUBMITTED', fields);
}

/** b, then for some draws, in ascending order, an answer. */
function takeAnswers(op: Operation, node: NodeRecord, reader: Reader): string {
  const record = RoundRecord.load(op.round, op.periods);
  const slot = node.slot(op.round);
  const refusal = answerRefusal(op, slot);
  const taken = refusal.length == 0;
  const beacon = reader.fixed(32, 'beacon');
  if (taken) beginAnswers(op, record, slot, beacon);
  const context = new RoundContext(Context.chainId(), op.registry, op.round);
  const count = reader.u8('answers');
  assert(count <= MAX_DRAWS, 'more answers than draws');
  let previous: i32 = -1;
  for (let i: u8 = 0; i < count; i++) {
    const d = reader.u8('draw');
    const answer = reader.sized(MAX_ANSWER_BYTES, 'answer');
    if (!taken) continue;
    assert(<i32>d > previous && d < slot.draws, 'draws must be ascending and below ' + slot.draws.toString());
    previous = d;
    const reason = checkOne(node, slot, context, d, answer);
    slot.setDrawReason(d, reason);
    if (reason == PASSED) slot.passes++;
  }
  if (!taken) return refusal;
  slot.state = ANSWERED;
  node.lastChallengedPeriod = op.period;
  countAnswer(op, record, node, slot, slotCredit(slot, record, op.periods));
  record.save();
  return TAKEN;
}

function answerRefusal(op: Operation, slot: Slot): string {
  if (slot.round != op.round) return 'nothing was claimed for this round';
  if (slot.state != CLAIMED) return 'this round is answered or over';
  if (!inWindow(op.period, op.periods)) return 'answers are taken in periods 3 to half of the round';
  return '';
}

function beginAnswers(op: Operation, record: RoundRecord, slot: Slot, beacon: StaticArray<u8>): void {
  freeze(op, record);
  slot.beacon = beacon;
  for (let d: u32 = 0; d < slot.draws; d++) slot.setDrawReason(d, MISSING);
}

function checkOne(node: NodeRecord, slot: Slot, context: RoundContext, d: u8, answer: StaticArray<u8>): u8 {
  const held = parseAnswer(answer);
  if (!held.ok) return MALFORMED;
  const root = segmentRoot(held.segment);
  if (root.length == 0) return SEGMENT_UNKNOWN;
  const drawn = drawnLeaf(context, node.key, slot.beacon, d, slot.leaves);
  return checkAnswer(held, new Committed(slot.root, slot.leaves), drawn, root);
}

/** Votes for pending segment roots, ascending, each of a segment that is over. What was accepted meanwhile is passed over. */
function takeRoots(op: Operation, node: NodeRecord, reader: Reader): string {
  const count = reader.u8('roots');
  assert(count <= MAX_ROOT_VOTES, 'at most 8 segment roots');
  if (count == 0) return '-';
  const weight = voteWeight(node, op.round);
  if (node.votesRound != op.round) {
    node.votesRound = op.round;
    node.votedBelow = 0;
  }
  let counted = 0;
  let skipped = '';
  for (let i: u8 = 0; i < count; i++) {
    const segment = reader.u64('segment');
    const root = reader.fixed(32, 'segment root');
    if (segment < op.state.nextSegment) continue;
    const refusal = voteRefusal(op, node, segment, weight);
    if (refusal.length > 0) {
      if (skipped.length == 0) skipped = ' (' + refusal + ')';
      continue;
    }
    node.votedBelow = segment + 1;
    voteRoot(op, segment, root, weight);
    counted++;
  }
  return counted.toString() + skipped;
}

function voteRefusal(op: Operation, node: NodeRecord, segment: u64, weight: u64): string {
  if (weight == 0) return 'only seasoned stake votes for segment roots';
  if (segment < node.votedBelow) return 'segment is voted for already or not in order';
  if (segment >= op.period / op.segmentPeriods) return 'segment is not over';
  if (segment >= op.state.nextSegment + MAX_ROOT_VOTES) return 'segment is too far ahead';
  return '';
}

function voteRoot(op: Operation, segment: u64, root: StaticArray<u8>, weight: u64): void {
  const votes = new RootVotes(segment, root, op.caller);
  votes.add(op.round, weight);
  votes.save();
  if (segment > op.state.nextSegment || !isRootAccepted(op, segment, votes.stake)) return;
  op.release(votes.key, votes.payer);
  acceptVoted(op, segment, root);
  op.state.nextSegment = segment + 1;
}

/** At least two thirds of the electorate; more than half once a third held it up for eight rounds. */
function isRootAccepted(op: Operation, segment: u64, votes: u64): bool {
  const whole = electorate(op);
  const ended = segment / op.config.next.roundSegments;
  return atLeastTwoThirds(votes, whole) || (op.round > ended + DELAY_ROUNDS && moreThanHalf(votes, whole));
}

/** root (32), T u64: what the node holds, for the next round. */
function takeClaim(op: Operation, node: NodeRecord, reader: Reader): string {
  const round = op.round + 1;
  const root = reader.fixed(32, 'claim root');
  const leaves = reader.u64('claim leaves');
  const record = RoundRecord.load(round, op.periods);
  let refusal = nodeRefusal(op, node);
  if (refusal.length == 0) refusal = leavesRefusal(op, node, record, leaves);
  if (refusal.length > 0) return refusal;
  const slot = node.slot(round);
  assert(slot.state == SETTLED && slot.credit == 0, 'an old claim is not settled');
  slot.open(round);
  slot.leaves = leaves;
  slot.root = root;
  slot.stake = node.stake;
  slot.weight = node.declaredAt(round);
  slot.filled = node.weightAt(round) > 0 && node.filledAt(op.state, round);
  slot.draws = <u8>drawCount(leaves);
  count(op, record, slot);
  return leaves.toString();
}

function nodeRefusal(op: Operation, node: NodeRecord): string {
  const current = node.slot(op.round);
  if (node.leaving) return 'node is leaving';
  if (!node.hasKey) return 'node has no placement key yet';
  if (op.round + 1 < node.noClaimBefore) return 'sits out until round ' + node.noClaimBefore.toString();
  if (current.round == op.round && current.state == CLAIMED) return 'this round must be answered before the next is claimed';
  if (node.slot(op.round + 1).round == op.round + 1) return 'the next round is claimed already';
  return '';
}

function leavesRefusal(op: Operation, node: NodeRecord, record: RoundRecord, leaves: u64): string {
  const config = op.config.at(record.round);
  const weight = node.declaredAt(record.round);
  const covered = config.stakePerGb == 0 ? weight : min(weight, node.stake / config.stakePerGb);
  if (leaves == 0) return 'claim has no leaves';
  if (node.stake == 0) return 'no stake is left';
  if (leaves > mul(weight, LEAVES_PER_GB)) return 'claim is more than was allocated';
  if (leaves > covered * LEAVES_PER_GB) return 'claim is more than the stake covers';
  if (leaves > MAX_LEAF_PERIODS / op.periods - record.leaves) return 'claim is more than a round takes in all';
  return '';
}

function count(op: Operation, record: RoundRecord, slot: Slot): void {
  if (record.claims == 0) openRecord(op, record);
  record.claims = add(record.claims, 1);
  record.claimStake = add(record.claimStake, slot.stake);
  record.leaves = add(record.leaves, slot.leaves);
  record.drawsExpected = add(record.drawsExpected, slot.draws);
  record.save();
}

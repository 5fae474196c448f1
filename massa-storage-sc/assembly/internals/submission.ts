/**
 * The one operation of a node and round: beacon vote with its answers, root votes, the next claim. Format: README,
 * "Submission". Sent by the node, or by anybody with the node's signature.
 */
import { Context, Storage } from '@massalabs/massa-as-sdk';
import { u64ToBytes } from '@massalabs/as-types';
import { Committed, MAX_ANSWER_BYTES, checkAnswer, parseAnswer } from './answer';
import { Reader, Writer, hex } from './bytes';
import { LEAVES_PER_GB, RoundContext, challengeId, drawCount, drawnLeaf } from './formulas';
import { electorateKey, rootVoteKey, segmentKey } from './keys';
import { add, moreThanTwoThirds, mul, productAtLeast } from './math';
import { MAX_EVENTS, Operation } from './operation';
import { ANSWERED, CLAIMED, NodeRecord, RoundRecord, SETTLED, Slot, segmentRoot } from './records';
import { MALFORMED, MISSING, PASSED, SEGMENT_UNKNOWN, reasonText } from './reasons';
import { countAnswer, freeze, inWindow, see, settle, slotCredit } from './rounds';
import { checkSubmission } from './signatures';

/** Pending roots that one operation may carry. Where a round has more segments, or the network is behind, several are sent. */
const MAX_ROOT_VOTES: u8 = 8;
/** Events that may come after a vote: that of votes without room, and that of a claim. */
const EVENTS_AFTER_VOTE = 2;
const MAX_ADDRESS: u32 = 64;
/** What the claimed leaves of a round, times P, come to at most: below 2⁶⁴, so that it can be closed whatever is claimed. */
const MAX_LEAF_PERIODS: u64 = 1 << 63;

/** `roundText` is the challenge id of the call, `content` the submission. */
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
  see(op, node);
  settle(op, node);
  const record = RoundRecord.load(round, op.periods);
  if (reader.bool('hasBeacon')) answerDraws(op, node, record, reader);
  voteRoots(op, node, record, reader);
  if (reader.bool('hasClaim')) claimNext(op, node, reader);
  reader.end('submission');
  node.save();
  op.finish();
}

function answerDraws(op: Operation, node: NodeRecord, record: RoundRecord, reader: Reader): void {
  const slot = node.slot(record.round);
  assert(slot.round == record.round, 'nothing was claimed for this round');
  assert(slot.state == CLAIMED, 'this round is answered, or over');
  assert(inWindow(op.period, op.periods), 'answers are taken in periods 3 to half of the round');
  freeze(op, record);
  slot.beacon = reader.fixed(32, 'beacon');
  for (let d: u32 = 0; d < slot.draws; d++) slot.setDrawReason(d, MISSING);
  const count = reader.u8('answers');
  assert(count <= slot.draws, 'more answers than draws');
  const context = new RoundContext(Context.chainId(), op.registry, record.round);
  let previous: i32 = -1;
  for (let i: u8 = 0; i < count; i++) {
    const d = reader.u8('draw');
    assert(<i32>d > previous && d < slot.draws, 'draws must be ascending and below ' + slot.draws.toString());
    previous = d;
    answerOne(op, node, slot, context, d, reader.sized(MAX_ANSWER_BYTES, 'answer'));
  }
  slot.state = ANSWERED;
  node.lastChallengedPeriod = op.period;
  countAnswer(op, record, slot, slotCredit(slot, record, op.periods));
  record.save();
}

function answerOne(
  op: Operation,
  node: NodeRecord,
  slot: Slot,
  context: RoundContext,
  d: u8,
  answer: StaticArray<u8>,
): void {
  const beacon = slot.beacon;
  const reason = checkOne(op, node, slot, context, d, answer);
  const id = challengeId(context, node.address, beacon, d);
  slot.setDrawReason(d, reason);
  if (reason == PASSED) {
    slot.passes++;
    op.event('CHALLENGE_PASSED', [id, node.address]);
  } else {
    op.event('CHALLENGE_FAILED', [id, node.address, reasonText(reason)]);
  }
}

function checkOne(
  op: Operation,
  node: NodeRecord,
  slot: Slot,
  context: RoundContext,
  d: u8,
  answer: StaticArray<u8>,
): u8 {
  const held = parseAnswer(answer);
  if (!held.ok) return MALFORMED;
  const root = segmentRoot(held.segment);
  if (root.length == 0) return SEGMENT_UNKNOWN;
  const drawn = drawnLeaf(context, node.key, slot.beacon, d, slot.leaves);
  return checkAnswer(held, new Committed(slot.root, slot.leaves), drawn, root);
}

/**
 * Votes for pending segment roots, ascending, each of a segment that is over. What was accepted meanwhile is passed over. What
 * would make more events than an operation may have is left for another one: 16 draws and 8 roots do not fit.
 */
function voteRoots(op: Operation, node: NodeRecord, record: RoundRecord, reader: Reader): void {
  const count = reader.u8('roots');
  assert(count <= MAX_ROOT_VOTES, 'at most 8 segment roots');
  if (count == 0) return;
  const electorate = electorateOf(op, record);
  const weight = electorate.all ? node.stake : claimedStake(node, record);
  if (node.votesRound != record.round) {
    node.votesRound = record.round;
    node.votedBelow = 0;
  }
  let left = '';
  for (let i: u8 = 0; i < count; i++) {
    const segment = reader.u64('segment');
    const root = reader.fixed(32, 'segment root');
    assert(segment < 1 << 24, 'segment: below 16777216');
    assert(segment >= node.votedBelow, 'segment is voted for already, or not in order');
    assert(mul(segment + 1, op.segmentPeriods) <= op.period, 'segment is not over');
    assert(weight > 0, 'only who claimed this round votes for segment roots');
    if (op.eventCount + EVENTS_AFTER_VOTE >= MAX_EVENTS) {
      if (left.length == 0) left = segment.toString();
      continue;
    }
    node.votedBelow = segment + 1;
    if (segment < op.state.nextSegment) continue;
    assert(segment < op.state.nextSegment + MAX_ROOT_VOTES, 'segment is too far ahead');
    voteRoot(op, record.round, segment, root, weight, electorate.stake);
  }
  if (left.length > 0) op.event('ROOT_VOTES_LEFT', [node.address, left]);
}

/** Who decides on segment roots in a round. */
class Electorate {
  constructor(
    /** All active stake, not only what claimed. */
    public all: bool,
    public stake: u64,
  ) {}
}

/**
 * Who claims a round decides in it, if that is at least half of the active stake. Otherwise all active stake does: before anything
 * is anchored, or while the others sit out, a single small claim would be the whole electorate, and false roots are for ever.
 * Then it stays so for the round, with the most that was active at any vote: what is slashed or gone after a vote still counts.
 */
function electorateOf(op: Operation, record: RoundRecord): Electorate {
  const key = electorateKey(record.round);
  const known = Storage.has<StaticArray<u8>>(key);
  const active = op.state.activeStake;
  if (!known && record.claims > 0 && productAtLeast(record.claimStake, 2, active, 1)) {
    return new Electorate(false, record.claimStake);
  }
  const before = known ? load<u64>(changetype<usize>(Storage.get<StaticArray<u8>>(key))) : 0;
  if (active > before) Storage.set<StaticArray<u8>>(key, u64ToBytes(active));
  return new Electorate(true, max(before, active));
}

function claimedStake(node: NodeRecord, record: RoundRecord): u64 {
  const slot = node.slot(record.round);
  return slot.round == record.round ? slot.stake : 0;
}

function voteRoot(
  op: Operation,
  round: u64,
  segment: u64,
  root: StaticArray<u8>,
  weight: u64,
  electorate: u64,
): void {
  const key = rootVoteKey(round, segment, root);
  const known = Storage.has<StaticArray<u8>>(key);
  const votes = add(known ? load<u64>(changetype<usize>(Storage.get<StaticArray<u8>>(key))) : 0, weight);
  if (segment > op.state.nextSegment || !moreThanTwoThirds(votes, electorate)) {
    Storage.set<StaticArray<u8>>(key, u64ToBytes(votes));
    return;
  }
  if (known) Storage.del<StaticArray<u8>>(key);
  const value = new Writer(40).raw(root).u64(round).bytes;
  Storage.set<StaticArray<u8>>(segmentKey(segment), value);
  op.state.nextSegment = segment + 1;
  op.event('SEGMENT_ROOT_ACCEPTED', [segment.toString(), hex(root)]);
}

/** root (32), T u64: what the node holds, for the next round. */
function claimNext(op: Operation, node: NodeRecord, reader: Reader): void {
  const round = op.round + 1;
  const root = reader.fixed(32, 'claim root');
  const leaves = reader.u64('claim leaves');
  assert(!node.leaving, 'node is leaving');
  assert(node.hasKey, 'node has no placement key yet');
  assert(round >= node.noClaimBefore, 'sits out until round ' + node.noClaimBefore.toString());
  const current = node.slot(op.round);
  const answered = current.round != op.round || current.state != CLAIMED;
  assert(answered, 'this round must be answered before the next is claimed');
  const slot = node.slot(round);
  assert(slot.round != round, 'the next round is claimed already');
  assert(slot.state == SETTLED && slot.credit == 0, 'an old claim is not settled');
  const config = op.config.at(round);
  const weight = node.declaredAt(round);
  assert(leaves > 0, 'claim leaves: at least 1');
  assert(leaves <= mul(weight, LEAVES_PER_GB), 'claim leaves: more than was allocated');
  const covered = config.stakePerGb == 0 ? weight : node.stake / config.stakePerGb;
  assert(covered >= weight || leaves <= mul(covered, LEAVES_PER_GB), 'claim leaves: more than the stake covers');
  assert(node.stake > 0, 'no stake is left');
  slot.open(round);
  slot.leaves = leaves;
  slot.root = root;
  slot.stake = node.stake;
  slot.weight = weight;
  slot.draws = <u8>drawCount(leaves);
  count(op, slot);
  op.event('STORAGE_CLAIMED', [node.address, round.toString(), leaves.toString()]);
}

function count(op: Operation, slot: Slot): void {
  const record = RoundRecord.load(slot.round, op.periods);
  record.claims = add(record.claims, 1);
  record.claimStake = add(record.claimStake, slot.stake);
  record.leaves = add(record.leaves, slot.leaves);
  assert(record.leaves <= MAX_LEAF_PERIODS / op.periods, 'claim leaves: more than a round takes in all');
  record.claimWeight = add(record.claimWeight, slot.weight);
  record.drawsExpected = add(record.drawsExpected, slot.draws);
  record.save();
}

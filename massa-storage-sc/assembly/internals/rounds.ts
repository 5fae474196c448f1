/**
 * The life of a round r, of periods O … O+P−1: claims before O, answers in O+3 … O+P/2, then it can be closed; credit
 * matures, and claims can no longer be refuted, when round r+2 opens. Everything here costs the same for any number of nodes.
 */
import { Operation } from './operation';
import {
  ANSWERED,
  BeaconRecord,
  LAPSE_ROUNDS,
  NEVER,
  NodeRecord,
  RoundRecord,
  SETTLED,
  SLOTS,
  Slot,
} from './records';
import { credit, roundRate, roundReserve, slashAmount, slashBase } from './formulas';
import { LEAF_BYTES } from './answer';
import { electorate, voteWeight } from './electorate';
import { add, moreThanHalf, moreThanTwoThirds, mul, mulDiv, productAtLeast, sub } from './math';
import { equal, hex } from './bytes';
import { MINORITY, PASSED, PAUSED, REFUTED, SILENT, SOME_MISSED, VOID, reasonText } from './reasons';

/** Answers are taken from this period of a round on: b needs period O+2, final. */
const OPENING_PERIODS: u64 = 3;
/** Rounds that a silent node, or one with another b, sits out. */
const SIT_OUT_ROUNDS: u64 = 3;
/** Rounds between a result and the flag that it changes. */
const NOTICE_ROUNDS: u64 = 2;
/** Chunks that a share may be short of: in a small network nobody has more. */
const SLACK_CHUNKS: u64 = 8;

export function inWindow(period: u64, periods: u64): bool {
  const inRound = period % periods;
  return inRound >= OPENING_PERIODS && inRound <= periods / 2;
}

/** Whether answers to `round` can no longer come. */
export function windowOver(round: u64, period: u64, periods: u64): bool {
  const now = period / periods;
  return round < now || (round == now && period % periods > periods / 2);
}

/** Whether the credit of `round` can be claimed: when the round after the next opens, and nothing can be refuted any more. */
export function isMature(round: u64, now: u64): bool {
  return now >= round + 2;
}

/** Closes the rounds with claims whose window is over, in order. Before anything else that changes a round: at most two are open. */
export function closeOver(op: Operation): void {
  const state = op.state;
  while (state.openRound != NEVER && windowOver(state.openRound, op.period, op.periods)) {
    const record = RoundRecord.load(state.openRound, op.periods);
    state.openRound = state.nextOpenRound;
    state.nextOpenRound = NEVER;
    freeze(op, record);
    close(op, record);
  }
}

/** A round has its first claim: what the configuration says of it is kept with it, whatever is changed later. */
export function openRecord(op: Operation, record: RoundRecord): void {
  const config = op.config.at(record.round);
  record.rate = config.rewardPerGbPerPeriod;
  record.slashPercentage = config.slashPercentage;
  record.stakePerGb = config.stakePerGb;
  record.factor = config.replicationFactor;
  record.chunkBits = ctz(config.chunkSizeBytes);
  record.previousAccepted = NEVER;
  op.setShared(record.key, record.bytes);
  if (op.state.openRound == NEVER) op.state.openRound = record.round;
  else op.state.nextOpenRound = record.round;
}

/**
 * Fixes what a round pays, before anyone answers. What the round before set aside and did not pay is free again by then, because
 * it was closed: who answers first, and who closes when, changes no rate.
 */
export function freeze(op: Operation, record: RoundRecord): void {
  if (record.frozen) return;
  const state = op.state;
  record.frozen = true;
  record.rate = roundRate(record.rate, state.pool, record.leaves, op.periods);
  record.reserve = roundReserve(record.leaves, op.periods, record.rate);
  state.pool = sub(state.pool, record.reserve);
  state.reserves = add(state.reserves, record.reserve);
}

/** Counts an answer for its b; accepts b when it has its majority. */
export function countAnswer(op: Operation, record: RoundRecord, node: NodeRecord, slot: Slot, amount: u64): void {
  const beacon = new BeaconRecord(record.round, slot.beacon, op.caller);
  beacon.stake = add(beacon.stake, voteWeight(node, record.round));
  beacon.claimStake = add(beacon.claimStake, slot.stake);
  beacon.credit = add(beacon.credit, amount);
  beacon.nodes = add(beacon.nodes, 1);
  if (slot.passes == slot.draws) {
    beacon.provenLeaves = add(beacon.provenLeaves, slot.leaves);
    beacon.provenWeight = add(beacon.provenWeight, slot.weight);
    if (node.retentionPeriods == 0) beacon.lastingWeight = add(beacon.lastingWeight, slot.weight);
  }
  beacon.save();
  record.answers = add(record.answers, 1);
  record.drawsPassed = add(record.drawsPassed, slot.passes);
  record.electorate = electorate(op);
  if (record.accepted || !isAccepted(beacon, record)) return;
  record.accepted = true;
  record.beacon = slot.beacon;
  record.previousAccepted = op.state.lastAccepted;
  op.state.lastAccepted = record.round;
  op.event('BEACON_ACCEPTED', [record.round.toString(), hex(slot.beacon)]);
}

/** More than half of the electorate. Where all stake has lapsed, more than two thirds of what claimed the round. */
function isAccepted(beacon: BeaconRecord, record: RoundRecord): bool {
  if (record.electorate == 0) return moreThanTwoThirds(beacon.claimStake, record.claimStake);
  return moreThanHalf(beacon.stake, record.electorate);
}

/** Closes a round whose window is over. */
function close(op: Operation, record: RoundRecord): void {
  const state = op.state;
  record.closed = true;
  const first = record.firstPeriod;
  record.paused = state.pauseTouches(first + OPENING_PERIODS, first + op.periods / 2);
  state.reserves = sub(state.reserves, record.reserve);
  if (record.accepted) {
    const beacon = new BeaconRecord(record.round, record.beacon, op.caller);
    record.creditSum = beacon.credit;
    record.nodeCount = beacon.nodes;
    record.beaconStake = beacon.stake;
    record.provenLeaves = beacon.provenLeaves;
    record.provenWeight = beacon.provenWeight;
    record.lastingWeight = beacon.lastingWeight;
    op.release(beacon.key, beacon.payer);
  } else {
    record.previousAccepted = state.lastAccepted;
  }
  state.credited = add(state.credited, record.creditSum);
  state.pool = add(state.pool, sub(record.reserve, record.creditSum));
  record.save();
  const amount = record.creditSum.toString();
  op.event('REWARDS_DISTRIBUTED', [record.firstPeriod.toString(), amount, record.nodeCount.toString()]);
}

/** What an answered claim earns. */
export function slotCredit(slot: Slot, record: RoundRecord, periods: u64): u64 {
  return credit(slot.leaves, periods, record.rate, slot.passes, slot.draws);
}

/** Brings rounds and a node up to date: results of its rounds that are over, credit that has matured. At most three rounds. */
export function settle(op: Operation, node: NodeRecord): void {
  closeOver(op);
  const oldest = oldestOpen(node, op.round);
  for (let i: u64 = 0; i < SLOTS; i++) {
    const slot = node.slot(oldest + i);
    if (slot.round != NEVER && slot.round <= op.round) settleSlot(op, node, slot);
  }
}

/** The first round that waits for its result, so that rounds are settled in order, however late. At most two wait, in a row. */
function oldestOpen(node: NodeRecord, now: u64): u64 {
  let oldest = now;
  for (let i: u64 = 0; i < SLOTS; i++) {
    const slot = node.slot(i);
    if (slot.state != SETTLED) oldest = min(oldest, slot.round);
  }
  return oldest;
}

function settleSlot(op: Operation, node: NodeRecord, slot: Slot): void {
  if (slot.state != SETTLED) {
    if (!windowOver(slot.round, op.period, op.periods)) return;
    applyResult(op, node, slot, RoundRecord.load(slot.round, op.periods));
  }
  if (slot.credit > 0 && isMature(slot.round, op.round)) {
    node.matured = add(node.matured, slot.credit);
    slot.credit = 0;
  }
}

function applyResult(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const answered = slot.state == ANSWERED;
  slot.state = SETTLED;
  node.totalDraws = add(node.totalDraws, slot.draws);
  node.passedDraws = add(node.passedDraws, slot.passes);
  if (answered && record.accepted && equal(slot.beacon, record.beacon)) return applyCounted(op, node, slot, record);
  slot.reason = record.paused ? PAUSED : !record.accepted ? VOID : answered ? MINORITY : SILENT;
  if (record.paused || !record.accepted) return;
  node.noClaimBefore = max(node.noClaimBefore, slot.round + SIT_OUT_ROUNDS + 1);
  // Whose b lost narrowly may have told the truth.
  const surely = moreThanTwoThirds(record.beaconStake, record.electorate);
  if (!answered) slashMissed(op, node, slot, record, slot.draws);
  else if (surely) slash(op, node, slot, record, slot.stake, slot.draws);
}

function applyCounted(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const missed = slot.draws - slot.passes;
  const amount = slotCredit(slot, record, op.periods);
  extendWeight(op, node, slot.round);
  slot.reason = missed == 0 ? PASSED : SOME_MISSED;
  if (slot.refuted) {
    slot.reason = REFUTED;
    burnCredit(op, amount);
  } else {
    slot.credit = amount;
  }
  updateFilled(op, node, slot, record);
  if (missed > 0 && !record.paused) slashMissed(op, node, slot, record, missed);
}

/** A counted round keeps the weight. If it had lapsed, or would before the next round, it returns with the second one. */
function extendWeight(op: Operation, node: NodeRecord, round: u64): void {
  if (round <= node.lastCounted) return;
  const lapse = node.lastCounted + LAPSE_ROUNDS + 1;
  if (op.round + 1 >= lapse) {
    node.lapseFrom = lapse;
    node.lapseUntil = op.round + 2;
  }
  node.lastCounted = round;
}

/**
 * Filled when all draws passed, from 9/10 of the share of all proven claims on, less 8 chunks; until below 3/4, less 8 chunks. Shares
 * are by the weights of those who passed, so claims of air make nobody's share larger.
 */
function updateFilled(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  if (record.provenWeight == 0) return;
  const share = mulDiv(record.provenLeaves, slot.weight, record.provenWeight);
  const held = slot.leaves + (SLACK_CHUNKS << record.chunkBits) / LEAF_BYTES;
  const from = op.round + NOTICE_ROUNDS;
  const filled = node.filledFrom != NEVER && node.filledTo == NEVER;
  if (!filled && slot.reason == PASSED && productAtLeast(held, 10, share, 9)) {
    // A period of being filled that has not ended yet goes on.
    if (node.filledTo == NEVER || node.filledTo < from) node.filledFrom = from;
    node.filledTo = NEVER;
    // A round later, so that all who passed the same round have their flags.
    op.state.flagsFrom = min(op.state.flagsFrom, from + 1);
  } else if (filled && !productAtLeast(held, 4, share, 3)) {
    node.filledTo = from;
  }
}

function slashMissed(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord, missed: u8): void {
  slash(op, node, slot, record, slashBase(slot.stake, record.stakePerGb, slot.leaves), missed);
}

/** Takes a part of `base` from the stake, and burns it. A round that pays nobody slashes nobody. */
function slash(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord, base: u64, missed: u8): void {
  if (record.rate == 0) return;
  const amount = min(node.stake, slashAmount(base, record.slashPercentage, missed, slot.draws));
  takeStake(op, node, amount);
  op.state.toBurn = add(op.state.toBurn, amount);
  op.event('STORAGE_NODE_SLASHED', [node.address, amount.toString(), reasonText(slot.reason)]);
}

/** Removes stake. The caller books where it goes. */
export function takeStake(op: Operation, node: NodeRecord, amount: u64): void {
  node.stake = sub(node.stake, amount);
  op.state.stakes = sub(op.state.stakes, amount);
}

export function addStake(op: Operation, node: NodeRecord, amount: u64): void {
  node.stake = add(node.stake, amount);
  op.state.stakes = add(op.state.stakes, amount);
}

export function burnCredit(op: Operation, amount: u64): void {
  op.state.credited = sub(op.state.credited, amount);
  op.state.toBurn = add(op.state.toBurn, amount);
}

/** Whether a claim of this node waits for its result. */
export function hasOpenSlot(node: NodeRecord): bool {
  for (let i: u64 = 0; i < SLOTS; i++) {
    if (node.slot(i).state != SETTLED || node.slot(i).credit > 0) return true;
  }
  return false;
}

/** Slashes for a refuted claim: ten times the percentage of the stake, at most all. */
export function refutationSlash(stake: u64, percent: u64): u64 {
  return min(stake, mulDiv(stake, mul(10, percent), 100));
}


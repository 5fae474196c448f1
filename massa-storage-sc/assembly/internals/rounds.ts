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
import { credit, roundRate, roundReserve, slashAmount } from './formulas';
import { add, moreThanTwoThirds, mul, mulDiv, productAtLeast, sub } from './math';
import { equal, hex } from './bytes';
import { MINORITY, PASSED, PAUSED, REFUTED, SILENT, SOME_MISSED, VOID, reasonText } from './reasons';

/** Answers are taken from this period of a round on: b needs period O+2, final. */
const OPENING_PERIODS: u64 = 3;
/** Rounds that a silent or minority node sits out. */
const SIT_OUT_ROUNDS: u64 = 3;
/** Rounds between saying that a node is gone and counting without it. */
const ABSENCE_NOTICE_ROUNDS: u64 = 2;

export function inWindow(period: u64, periods: u64): bool {
  const inRound = period % periods;
  return inRound >= OPENING_PERIODS && inRound <= periods / 2;
}

/** Whether answers to `round` can no longer come. */
export function windowOver(round: u64, period: u64, periods: u64): bool {
  const now = period / periods;
  return round < now || (round == now && period % periods > periods / 2);
}

/**
 * Fixes what a round pays, before anyone answers. What the round before set aside and did not pay is free again by then: who
 * answers first, and who closes when, changes no rate.
 */
export function freeze(op: Operation, record: RoundRecord): void {
  if (record.frozen) return;
  closeLastFrozen(op, record.round);
  const state = op.state;
  const config = op.config.at(record.round);
  record.frozen = true;
  record.slashPercentage = config.slashPercentage;
  record.rate = roundRate(config.rewardPerGbPerPeriod, state.pool, record.leaves, op.periods);
  record.reserve = roundReserve(record.leaves, op.periods, record.rate);
  state.pool = sub(state.pool, record.reserve);
  state.reserves = add(state.reserves, record.reserve);
}

function closeLastFrozen(op: Operation, round: u64): void {
  const last = op.state.lastFrozen;
  if (last != NEVER && last >= round) return;
  op.state.lastFrozen = round;
  if (last != NEVER) close(op, RoundRecord.load(last, op.periods));
}

/** Counts an answer for its b; accepts b when it has its quorum. */
export function countAnswer(op: Operation, record: RoundRecord, slot: Slot, amount: u64): void {
  const beacon = new BeaconRecord(record.round, slot.beacon);
  beacon.stake = add(beacon.stake, slot.stake);
  beacon.credit = add(beacon.credit, amount);
  beacon.nodes = add(beacon.nodes, 1);
  beacon.save();
  record.answers = add(record.answers, 1);
  record.drawsPassed = add(record.drawsPassed, slot.passes);
  if (record.accepted || !moreThanTwoThirds(beacon.stake, record.claimStake)) return;
  record.accepted = true;
  record.beacon = slot.beacon;
  record.previousAccepted = op.state.lastAccepted;
  op.state.lastAccepted = record.round;
  op.event('BEACON_ACCEPTED', [record.round.toString(), hex(slot.beacon)]);
}

/** Closes a round whose window is over. Once: a closed round stays as it is. */
export function close(op: Operation, record: RoundRecord): void {
  if (record.closed) return;
  const state = op.state;
  record.closed = true;
  state.reserves = sub(state.reserves, record.reserve);
  if (record.accepted) {
    const beacon = new BeaconRecord(record.round, record.beacon);
    record.creditSum = beacon.credit;
    record.nodeCount = beacon.nodes;
    beacon.remove();
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

/** Brings a node up to date: results of its rounds that are over, credit that has matured. At most three rounds. */
export function settle(op: Operation, node: NodeRecord): void {
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
    const record = RoundRecord.load(slot.round, op.periods);
    freeze(op, record);
    close(op, record);
    applyResult(op, node, slot, record);
  }
  if (slot.credit > 0 && op.round >= slot.round + 2) {
    node.matured = add(node.matured, slot.credit);
    slot.credit = 0;
  }
}

function applyResult(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const answered = slot.state == ANSWERED;
  const counted = answered && record.accepted && equal(slot.beacon, record.beacon);
  slot.state = SETTLED;
  node.totalDraws = add(node.totalDraws, slot.draws);
  node.passedDraws = add(node.passedDraws, slot.passes);
  if (counted) return applyCounted(op, node, slot, record);
  if (record.paused) {
    slot.reason = PAUSED;
    return;
  }
  if (answered && !record.accepted) {
    slot.reason = VOID;
    return;
  }
  node.noClaimBefore = max(node.noClaimBefore, slot.round + SIT_OUT_ROUNDS + 1);
  slot.reason = answered ? MINORITY : record.accepted ? SILENT : VOID;
  if (!answered && record.accepted) slashMissed(op, node, slot, record, slot.draws);
}

function applyCounted(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const missed = slot.draws - slot.passes;
  const amount = slotCredit(slot, record, op.periods);
  extendWeight(op, node, slot.round);
  updateFilled(op, node, slot, record);
  slot.reason = missed == 0 ? PASSED : SOME_MISSED;
  if (slot.refuted) {
    slot.reason = REFUTED;
    burnCredit(op, amount);
  } else {
    slot.credit = amount;
  }
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

/** Filled from 9/10 of the share of all claims on, until below 3/4. Shares are by the weights of those who claimed. */
function updateFilled(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord): void {
  const share = mulDiv(record.leaves, slot.weight, record.claimWeight);
  const from = op.round + 2;
  const filled = node.filledFrom != NEVER && node.filledTo == NEVER;
  if (!filled && productAtLeast(slot.leaves, 10, share, 9)) {
    // A period of being filled that has not ended yet goes on.
    if (node.filledTo == NEVER || node.filledTo < from) node.filledFrom = from;
    node.filledTo = NEVER;
  } else if (filled && !productAtLeast(slot.leaves, 4, share, 3)) {
    node.filledTo = from;
  }
}

function slashMissed(op: Operation, node: NodeRecord, slot: Slot, record: RoundRecord, missed: u8): void {
  const stake = min(slot.stake, node.stake);
  const amount = slashAmount(stake, record.slashPercentage, missed, slot.draws);
  takeStake(op, node, amount);
  op.state.toBurn = add(op.state.toBurn, amount);
  op.event('STORAGE_NODE_SLASHED', [node.address, amount.toString(), reasonText(slot.reason)]);
}

/** Removes stake. The caller books where it goes. */
export function takeStake(op: Operation, node: NodeRecord, amount: u64): void {
  node.stake = sub(node.stake, amount);
  op.state.stakes = sub(op.state.stakes, amount);
  if (node.active) op.state.activeStake = sub(op.state.activeStake, amount);
}

export function addStake(op: Operation, node: NodeRecord, amount: u64): void {
  node.stake = add(node.stake, amount);
  op.state.stakes = add(op.state.stakes, amount);
  if (node.active) op.state.activeStake = add(op.state.activeStake, amount);
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

/** Marks the node as seen in this round; one that had lapsed counts in the active stake again. */
export function see(op: Operation, node: NodeRecord): void {
  node.lastSeen = op.round;
  node.absentSince = 0;
  setActive(op, node, true);
}

/**
 * A node that was not seen for eight rounds stops counting in the active stake, two rounds after somebody said so: after an
 * outage of the whole network, nobody can declare all others gone before they are back.
 */
export function noteAbsence(op: Operation, node: NodeRecord): void {
  if (!node.active || op.round <= node.lastSeen + LAPSE_ROUNDS) return;
  if (node.absentSince == 0) node.absentSince = op.round;
  else if (op.round >= node.absentSince + ABSENCE_NOTICE_ROUNDS) setActive(op, node, false);
}

export function setActive(op: Operation, node: NodeRecord, active: bool): void {
  if (node.active == active) return;
  node.active = active;
  const state = op.state;
  state.activeStake = active ? add(state.activeStake, node.stake) : sub(state.activeStake, node.stake);
}

/** Slashes for a refuted claim: ten times the percentage of the stake, at most all. */
export function refutationSlash(stake: u64, percent: u64): u64 {
  return min(stake, mulDiv(stake, mul(10, percent), 100));
}


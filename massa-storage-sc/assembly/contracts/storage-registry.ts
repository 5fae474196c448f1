/**
 * The registry of storage nodes: who stores, what they claim, whether they still hold it, what they are paid.
 *
 * Exports only what may be called. Arguments are in the order of each comment, as `Args` of massa-web3 writes them.
 * Guards come first, then state, then transfers, then events. Design: sections 8 and 9; formats: README.
 */
import { Reader } from '../internals/bytes';
import * as admin from '../internals/admin';
import * as challenges from '../internals/challenges';
import * as nodes from '../internals/nodes';
import * as refutation from '../internals/refutation';
import * as segments from '../internals/segments';
import * as views from '../internals/views';
import { Operation } from '../internals/operation';
import { RoundRecord } from '../internals/records';
import { closeOver, windowOver } from '../internals/rounds';

/** @param input - admin: string, then the plan's six u64 of `StorageConfig`, or all twelve */
export function constructor(input: StaticArray<u8>): void {
  admin.construct(input);
}

/**
 * Coins: stake (the least allowed, or `stake`) and storage; the rest comes back.
 * @param input - allocatedGb: u64; optional together: stake: u64 (nanoMAS, 0 for the least), retentionPeriods: u64 (0 for
 * all), nodeId: string, addresses: string, signature: string (of the node id's key over the operator's address)
 */
export function registerStorageNode(input: StaticArray<u8>): void {
  nodes.register(input);
}

/** @param input - newAllocatedGb: u64; optional: addedStake: u64 (nanoMAS, from the coins sent; without it, what the allocation lacks) */
export function updateStorageAllocation(input: StaticArray<u8>): void {
  nodes.update(input);
}

/** First call: leave. Second call, 10 rounds later: the stake less slashes is paid. */
export function unregisterStorageNode(_: StaticArray<u8>): void {
  nodes.unregister();
}

/** @param input - address: string, round: u64 (the first accepted one that opened after the node registered) */
export function setPlacementKey(input: StaticArray<u8>): void {
  nodes.setPlacementKey(input);
}

/** @param input - challengeId: string (1 to 128 bytes, no number), nodeAddress: string, chunkId: string (64 hex digits), nonce: u64 */
export function issueChallenge(input: StaticArray<u8>): void {
  challenges.issue(input);
}

/**
 * @param input - challengeId: string (the id of a manual challenge, or the round in decimal), merkleProof: bytes (an answer,
 * or a submission), signature: bytes (empty if the node itself calls)
 */
export function submitProof(input: StaticArray<u8>): void {
  challenges.submit(input);
}

/**
 * @param input - challengeIds: string[] (at most 20; a node's address settles that node)
 * @returns one byte for each: 0 nothing due, 1 expired, 2 removed, 3 settled, 4 unknown, 5 not reached: call again
 */
export function resolveExpiredChallenges(input: StaticArray<u8>): StaticArray<u8> {
  return challenges.resolve(input);
}

/**
 * Has the root before an accepted one accepted, too: history older than the registry.
 * @param input - segment: u64 (of the accepted root), header: bytes (the leaf's content), path: bytes (from it to the root)
 */
export function anchorEarlier(input: StaticArray<u8>): void {
  segments.anchorEarlier(input);
}

/**
 * @param input - node: string, round: u64, answer: bytes (without a leaf), then R witnesses in the order of their addresses, each:
 * address: string, sum path: bytes (mask and siblings of an answer)
 */
export function refuteClaim(input: StaticArray<u8>): void {
  refutation.refute(input);
}

/** Closes the round of a period, once, after its window, and the one before it. @param input - period: u64 */
export function distributeRewards(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const round = reader.u64('period') / op.periods;
  reader.end('distributeRewards');
  assert(windowOver(round, op.period, op.periods), 'answers to this round are still taken');
  const record = RoundRecord.load(round, op.periods);
  assert(!record.closed, 'this round is closed already');
  assert(record.claims > 0, 'nothing was claimed for this round');
  closeOver(op);
  op.finish();
}

/** Pays the matured credit of the caller. */
export function claimRewards(_: StaticArray<u8>): void {
  nodes.claim();
}

/** Adds the coins sent to the pool that pays rewards. */
export function fund(_: StaticArray<u8>): void {
  admin.fund();
}

/** @param input - address: string (or P2P identity) @returns `StorageNode`, or nothing */
export function getNodeInfo(input: StaticArray<u8>): StaticArray<u8> {
  return views.nodeInfo(input);
}

/** @param input - challengeId: string @returns `Challenge`, or nothing */
export function getChallenge(input: StaticArray<u8>): StaticArray<u8> {
  return views.challenge(input);
}

/** @param input - period: u64 @returns `PeriodStats` of its round, or nothing */
export function getPeriodStats(input: StaticArray<u8>): StaticArray<u8> {
  return views.periodStats(input);
}

/** @returns `StorageConfig` in force */
export function getConfig(_: StaticArray<u8>): StaticArray<u8> {
  return views.config();
}

/** @returns the `StorageConfig` that follows, and the round from which it counts: u64 */
export function getNextConfig(_: StaticArray<u8>): StaticArray<u8> {
  return views.nextConfig();
}

/** @returns u64 */
export function getTotalNodes(_: StaticArray<u8>): StaticArray<u8> {
  return views.nodeCount();
}

/** @param input - start: u64, count: u64 (at most 100) @returns string[] */
export function getNodes(input: StaticArray<u8>): StaticArray<u8> {
  return views.nodes(input);
}

/** @param input - address: string (or P2P identity) @returns u64, nanoMAS: credit, matured or not */
export function calculatePendingRewards(input: StaticArray<u8>): StaticArray<u8> {
  return views.pendingRewards(input);
}

/** @param input - address: string, round: u64 @returns a slot (README, "State"), or nothing */
export function getRoundResult(input: StaticArray<u8>): StaticArray<u8> {
  return views.roundResult(input);
}

/** @param input - address: string, round: u64, beacon: 32 bytes @returns for each draw: leaf u64, challenge id string */
export function getDraws(input: StaticArray<u8>): StaticArray<u8> {
  return views.draws(input);
}

/** @param input - segment: u64 @returns root (32), round of acceptance u64; or nothing */
export function getSegmentRoot(input: StaticArray<u8>): StaticArray<u8> {
  return views.segment(input);
}

/**
 * Whether a slot had a block: history for other contracts.
 * @param input - period: u64, thread: u8, blockId: bytes (33, or none), proof: bytes (README, "Block proof")
 * @returns u8: 0 not anchored, 1 that block, 2 another one, 3 missed; the round of acceptance: u64; the id of its block: bytes
 */
export function checkBlock(input: StaticArray<u8>): StaticArray<u8> {
  return views.checkBlock(input);
}

/** @returns money and counters (README, "State") */
export function getState(_: StaticArray<u8>): StaticArray<u8> {
  return views.state();
}

/** Counts from the round after the next. @param input - the plan's six u64 of `StorageConfig` (the rest stays), or all twelve */
export function updateConfig(input: StaticArray<u8>): void {
  admin.updateConfig(input);
}

/** @param input - address: string */
export function addChallenger(input: StaticArray<u8>): void {
  admin.addChallenger(input);
}

/** @param input - address: string */
export function removeChallenger(input: StaticArray<u8>): void {
  admin.removeChallenger(input);
}

/** @param input - paused: bool */
export function setPaused(input: StaticArray<u8>): void {
  admin.setPaused(input);
}

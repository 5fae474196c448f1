/** Read-only functions. A missing entry gives an empty answer, never a trap. Lists are paged. */
import { Context, Storage } from '@massalabs/massa-as-sdk';
import { u64ToBytes } from '@massalabs/as-types';
import { MAX_CHALLENGE_ID } from '../structs/Challenge';
import { PeriodStats } from '../structs/PeriodStats';
import { StorageNode } from '../structs/StorageNode';
import { BLOCK_ID_BYTES, BlockProof, MAX_BLOCK_PROOF_BYTES } from './block-proof';
import { Reader, Writer, equal, utf8 } from './bytes';
import { ConfigRecord } from './config';
import { RoundContext, challengeId, drawnLeaf } from './formulas';
import { challengeKey, indexKey, nodeIdKey, periodKey, segmentKey } from './keys';
import { totalNodes } from './nodes';
import { ANSWERED, Fields, NEVER, NodeRecord, RoundRecord, SLOTS, Slot, State, textOf } from './records';
import { add } from './math';
import { isMature, slotCredit, windowOver } from './rounds';
import { BLOCK, MISS, NOT_ANCHORED, OTHER_BLOCK } from './slot-answer';

const NOTHING = new StaticArray<u8>(0);
/** Bounds gas and memory of a listing. */
const MAX_PAGE: u64 = 100;

class Now {
  config: ConfigRecord = ConfigRecord.load();
  period: u64 = Context.currentPeriod();

  /** P: periods of a round. */
  get periods(): u64 {
    return this.config.next.roundPeriods;
  }

  get round(): u64 {
    return this.period / this.periods;
  }
}

/** A node by its address or its P2P identity; null if there is none. */
function find(input: StaticArray<u8>): NodeRecord | null {
  const reader = new Reader(input);
  const id = reader.text(64, 'address');
  if (NodeRecord.exists(id)) return NodeRecord.load(id);
  const address = textOf(nodeIdKey(id));
  return address.length > 0 ? NodeRecord.load(address) : null;
}

export function nodeInfo(input: StaticArray<u8>): StaticArray<u8> {
  const node = find(input);
  if (node == null) return NOTHING;
  const now = new Now();
  return new StorageNode(node, State.load(), now.round, pending(now, node), claimable(now, node)).serialize();
}

export function pendingRewards(input: StaticArray<u8>): StaticArray<u8> {
  const node = find(input);
  return u64ToBytes(node == null ? 0 : pending(new Now(), node));
}

/** Matured and unmatured credit, as if the node were settled now. */
function pending(now: Now, node: NodeRecord): u64 {
  let amount = node.matured;
  for (let i: u64 = 0; i < SLOTS; i++) amount = add(amount, creditOf(now, node.slot(i)));
  return amount;
}

/** The matured part of it. */
function claimable(now: Now, node: NodeRecord): u64 {
  let amount = node.matured;
  for (let i: u64 = 0; i < SLOTS; i++) {
    const slot = node.slot(i);
    if (slot.round != NEVER && isMature(slot.round, now.round)) amount = add(amount, creditOf(now, slot));
  }
  return amount;
}

/** Of a claim that is not matured, or not even settled. */
function creditOf(now: Now, slot: Slot): u64 {
  if (slot.state != ANSWERED || slot.refuted || !windowOver(slot.round, now.period, now.periods)) return slot.credit;
  const record = RoundRecord.load(slot.round, now.periods);
  return record.accepted && equal(slot.beacon, record.beacon) ? slotCredit(slot, record, now.periods) : 0;
}

export function challenge(input: StaticArray<u8>): StaticArray<u8> {
  const key = challengeKey(new Reader(input).freeText(MAX_CHALLENGE_ID, 'challengeId'));
  return Storage.has<StaticArray<u8>>(key) ? Storage.get<StaticArray<u8>>(key) : NOTHING;
}

/** Any period of the round. */
export function periodStats(input: StaticArray<u8>): StaticArray<u8> {
  const periods = new Now().periods;
  const round = new Reader(input).u64('period') / periods;
  if (!Storage.has<StaticArray<u8>>(periodKey(round * periods))) return NOTHING;
  return new PeriodStats(RoundRecord.load(round, periods)).serialize();
}

/** The configuration in force in this round. */
export function config(): StaticArray<u8> {
  const now = new Now();
  return now.config.at(now.round).toBytes();
}

/** The configuration that follows, and the round from which it counts (u64). */
export function nextConfig(): StaticArray<u8> {
  const record = ConfigRecord.load();
  const bytes = record.next.toBytes();
  return new Writer(bytes.length + 8).raw(bytes).u64(record.nextRound).bytes;
}

export function nodeCount(): StaticArray<u8> {
  return u64ToBytes(totalNodes());
}

/** start u64, count u64 (at most 100): addresses, as `Args` reads a text array. */
export function nodes(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const start = reader.u64('start');
  const count = reader.u64('count');
  assert(count <= MAX_PAGE, 'argument count: at most 100');
  const total = totalNodes();
  const end = start >= total ? start : min(total, start + count);
  const texts: StaticArray<u8>[] = [];
  let size: u32 = 0;
  for (let i = start; i < end; i++) {
    const text = Storage.get<StaticArray<u8>>(indexKey(i));
    size += 4 + text.length;
    texts.push(text);
  }
  const writer = new Writer(4 + size).u32(size);
  for (let i = 0; i < texts.length; i++) writer.sized(texts[i]);
  return writer.bytes;
}

/** address, round u64: the claim of that round with its result, while its slot is not taken by a later one. */
export function roundResult(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const address = reader.text(64, 'address');
  const round = reader.u64('round');
  if (!NodeRecord.exists(address)) return NOTHING;
  const slot = NodeRecord.load(address).slot(round);
  return slot.round == round && round != NEVER ? slot.copy() : NOTHING;
}

/** address, round u64, beacon (32): for each draw, the claimed leaf u64 and the challenge id as text. */
export function draws(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const address = reader.text(64, 'address');
  const round = reader.u64('round');
  const beacon = reader.fixed(32, 'beacon');
  if (!NodeRecord.exists(address)) return NOTHING;
  const node = NodeRecord.load(address);
  const slot = node.slot(round);
  if (slot.round != round) return NOTHING;
  const stack = Context.addressStack();
  const context = new RoundContext(Context.chainId(), stack[stack.length - 1].toString(), round);
  const writer = new Writer(76 * <u32>slot.draws);
  for (let d: u8 = 0; d < slot.draws; d++) {
    writer.u64(drawnLeaf(context, node.key, beacon, d, slot.leaves));
    writer.sized(utf8(challengeId(context, address, beacon, d)));
  }
  return writer.bytes;
}

/** segment u64: root (32), round of acceptance u64. */
export function segment(input: StaticArray<u8>): StaticArray<u8> {
  const key = segmentKey(new Reader(input).u64('segment'));
  return Storage.has<StaticArray<u8>>(key) ? Storage.get<StaticArray<u8>>(key) : NOTHING;
}

/**
 * period u64, thread u8, block id (33 bytes, or none), proof (`block-proof.ts`): what the slot had, the round in which its segment was
 * accepted u64, and the id of the block that it had. Traps on a proof of anything else: it says nothing of the slot.
 */
export function checkBlock(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const period = reader.u64('period');
  const thread = reader.u8('thread');
  const asked = reader.sized(BLOCK_ID_BYTES, 'blockId');
  assert(asked.length == 0 || <u32>asked.length == BLOCK_ID_BYTES, 'argument blockId: 33 bytes, or none');
  const proof = new BlockProof(reader.sized(MAX_BLOCK_PROOF_BYTES, 'proof'));
  reader.end('checkBlock');
  const key = segmentKey(period / ConfigRecord.load().next.segmentPeriods);
  if (!Storage.has<StaticArray<u8>>(key)) return slotAnswer(NOT_ANCHORED, NEVER, NOTHING);
  const row = new Fields(Storage.get<StaticArray<u8>>(key));
  assert(equal(proof.rootOf(period, thread), row.hashAt(0)), 'proof: not of this slot under the root of its segment');
  const found = proof.blockId.length == 0 ? MISS : equal(proof.blockId, asked) ? BLOCK : OTHER_BLOCK;
  return slotAnswer(found, row.u64At(32), proof.blockId);
}

function slotAnswer(found: u8, round: u64, blockId: StaticArray<u8>): StaticArray<u8> {
  return new Writer(13 + blockId.length).u8(found).u64(round).sized(blockId).bytes;
}

/** The record of the contract's money and counters: README, "State". */
export function state(): StaticArray<u8> {
  return State.load().bytes;
}

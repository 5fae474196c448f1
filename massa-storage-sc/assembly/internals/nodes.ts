/** Joining, changing, leaving. */
import { Context, Storage } from '@massalabs/massa-as-sdk';
import { u64ToBytes } from '@massalabs/as-types';
import { Reader, utf8, utf8Text } from './bytes';
import { placementKey, requiredStake } from './formulas';
import { TOTAL_NODES_KEY, indexKey, nodeIdKey, nodeKey } from './keys';
import { add, mas, sub } from './math';
import { Operation } from './operation';
import { enterNew, forgetKeyed } from './electorate';
import { NEVER, NodeRecord, RoundRecord } from './records';
import { addStake, hasOpenSlot, settle, takeStake } from './rounds';
import { checkNodeId } from './signatures';

const MAX_NODE_ID: u32 = 64;
const MAX_ADDRESSES: u32 = 256;
const MAX_SIGNATURE: u32 = 128;
/** Rounds between leaving and being paid: outlasts claims, refutations and the entry in the electorate. */
const LEAVE_ROUNDS: u64 = 10;
/** A join, a change and leaving count from the second round that opens after them. */
const NOTICE_ROUNDS: u64 = 2;
/** Segments that a retention covers, other than "all": as the node has it. */
const MIN_RETENTION_SEGMENTS: u64 = 4;

export function totalNodes(): u64 {
  return load<u64>(changetype<usize>(Storage.get<StaticArray<u8>>(utf8(TOTAL_NODES_KEY))));
}

export function setTotalNodes(count: u64): void {
  Storage.set<StaticArray<u8>>(utf8(TOTAL_NODES_KEY), u64ToBytes(count));
}

/** allocatedGb u64; optional: stake u64, retentionPeriods u64, nodeId, addresses, signature of the node id. */
export function register(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const gb = reader.u64('allocatedGb');
  const more = reader.left > 0;
  const stakeAsked = more ? reader.u64('stake') : 0;
  const retention = more ? reader.u64('retentionPeriods') : 0;
  const nodeId = more ? reader.text(MAX_NODE_ID, 'nodeId') : '';
  const addresses = more ? reader.line(MAX_ADDRESSES, 'addresses') : '';
  const signature = more ? reader.text(MAX_SIGNATURE, 'signature') : '';
  reader.end('registerStorageNode');
  assert(!NodeRecord.exists(op.caller), 'already registered');
  const required = checkAllocation(op, gb);
  const stake = stakeAsked == 0 ? required : stakeAsked;
  checkStake(stake, required, gb);
  checkRetention(op, retention);
  const node = NodeRecord.fresh(op.caller, nodeId, addresses);
  op.keep(stake);
  checkStorage(op, node, nodeId);
  if (nodeId.length > 0) claimNodeId(op, nodeId, signature);
  join(op, node, gb, retention);
  addStake(op, node, stake);
  enterNew(op, node, stake);
  node.save();
  op.event('STORAGE_NODE_REGISTERED', [op.caller, gb.toString()]);
  op.finish();
}

/** The least stake for an allocation that is allowed. */
function checkAllocation(op: Operation, gb: u64): u64 {
  const config = op.config.at(op.round + NOTICE_ROUNDS);
  assert(gb >= config.minAllocatedGb, 'allocatedGb: at least ' + config.minAllocatedGb.toString());
  assert(gb <= config.maxAllocatedGb, 'allocatedGb: at most ' + config.maxAllocatedGb.toString());
  return requiredStake(config.minStake, config.stakePerGb, gb);
}

function checkStake(stake: u64, required: u64, gb: u64): void {
  assert(stake >= required, 'stake: ' + mas(required - stake) + ' MAS more are needed for ' + gb.toString() + ' GB');
}

/** The rows of a new node: the node, its address in the index, its address by its P2P identity. */
function checkStorage(op: Operation, node: NodeRecord, nodeId: string): void {
  const address = <u64>node.address.length;
  let rows: u64 = 2;
  let bytes = nodeKey(node.address).length + node.bytes.length + indexKey(totalNodes()).length + address;
  if (nodeId.length > 0) {
    rows += 1;
    bytes += nodeIdKey(nodeId).length + address;
  }
  op.checkRows(rows, bytes);
}

function checkRetention(op: Operation, retention: u64): void {
  const covers = retention == 0 || retention >= MIN_RETENTION_SEGMENTS * op.segmentPeriods;
  assert(covers, 'retentionPeriods: 0 for all, or at least 4 segments');
}

function claimNodeId(op: Operation, nodeId: string, signature: string): void {
  const key = nodeIdKey(nodeId);
  assert(!Storage.has<StaticArray<u8>>(key), 'node id is registered already');
  checkNodeId(nodeId, op.caller, Context.chainId(), op.registry, signature);
  Storage.set<StaticArray<u8>>(key, utf8(op.caller));
}

function join(op: Operation, node: NodeRecord, gb: u64, retention: u64): void {
  node.registeredPeriod = op.period;
  node.retentionPeriods = retention;
  node.weightNext = gb;
  node.weightRound = op.round + NOTICE_ROUNDS;
  node.lastCounted = op.round;
  if (!op.state.proven) setKey(op, node, utf8(op.registry));
  node.index = totalNodes();
  Storage.set<StaticArray<u8>>(indexKey(node.index), utf8(op.caller));
  setTotalNodes(add(node.index, 1));
}

/**
 * address, round u64: gives a node its placement key, from the first accepted beacon of a round that opened after the node
 * registered. Anybody may call it; nobody can choose the key. See `checkKeyRound`.
 */
export function setPlacementKey(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const address = reader.text(64, 'address');
  const round = reader.u64('round');
  reader.end('setPlacementKey');
  const node = NodeRecord.load(address);
  assert(!node.hasKey, 'placement key is set already');
  assert(round <= op.round, 'round has not opened');
  const record = RoundRecord.load(round, op.periods);
  assert(record.accepted, 'round has no accepted beacon');
  checkKeyRound(op, node, record);
  setKey(op, node, record.beacon);
  beginWeight(op, node);
  node.save();
  op.event('PLACEMENT_KEY_SET', [address, round.toString()]);
  op.finish();
}

/** The round must be the first accepted one that opened after the registration. */
function checkKeyRound(op: Operation, node: NodeRecord, record: RoundRecord): void {
  assert(record.firstPeriod > node.registeredPeriod, 'round opened before the registration');
  const previous = record.previousAccepted;
  const isFirst = previous == NEVER || previous * op.periods <= node.registeredPeriod;
  assert(isFirst, 'an earlier round was the first after the registration');
}

function setKey(op: Operation, node: NodeRecord, suffix: StaticArray<u8>): void {
  node.setKey(placementKey(node.address, suffix));
  op.state.keyed = add(op.state.keyed, 1);
}

/** Weight begins now, with the usual notice, whatever was changed meanwhile; so do the rounds in which it must be counted. */
function beginWeight(op: Operation, node: NodeRecord): void {
  node.weightNow = 0;
  node.weightRound = op.round + NOTICE_ROUNDS;
  node.lastCounted = max(node.lastCounted, op.round);
}

/** In the first phase nobody waits for a beacon to have a key: voters without one would block the beacon that they need. */
export function giveFirstKey(op: Operation, node: NodeRecord): void {
  if (node.hasKey || op.state.proven) return;
  setKey(op, node, utf8(op.registry));
  beginWeight(op, node);
  op.event('PLACEMENT_KEY_SET', [node.address, op.round.toString()]);
}

/** newAllocatedGb u64; optional: stake to add u64 (nanoMAS, from the coins sent). Without it, what the allocation lacks is added. */
export function update(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const gb = reader.u64('newAllocatedGb');
  const isGiven = reader.left > 0;
  const given = isGiven ? reader.u64('addedStake') : 0;
  reader.end('updateStorageAllocation');
  const node = NodeRecord.load(op.caller);
  assert(!node.leaving, 'node is leaving');
  settle(op, node);
  const required = checkAllocation(op, gb);
  const added = isGiven ? given : required - min(required, node.stake);
  checkStake(add(node.stake, added), required, gb);
  const before = node.weightNext;
  if (gb != before) changeWeight(op, node, gb);
  addStake(op, node, added);
  op.keep(added);
  node.save();
  op.event('STORAGE_NODE_UPDATED', [op.caller, before.toString(), gb.toString()]);
  op.finish();
}

function changeWeight(op: Operation, node: NodeRecord, gb: u64): void {
  const from = op.round + NOTICE_ROUNDS;
  const inForce = node.weightRound <= op.round;
  assert(inForce || node.weightRound == from, 'a change of allocation is pending');
  if (inForce) node.weightNow = node.weightNext;
  node.weightNext = gb;
  node.weightRound = from;
}

/** First call: leaves. Second call, 10 rounds later: pays the stake less slashes and forgets the node. */
export function unregister(): void {
  const op = new Operation();
  const node = NodeRecord.load(op.caller);
  settle(op, node);
  if (!node.leaving) {
    node.leaveRound = op.round + NOTICE_ROUNDS;
    node.save();
    op.event('STORAGE_NODE_LEAVING', [op.caller, node.leaveRound.toString()]);
    return op.finish();
  }
  const from = node.leaveRound - NOTICE_ROUNDS + LEAVE_ROUNDS;
  assert(op.round >= from, 'stake is locked until round ' + from.toString());
  assert(!hasOpenSlot(node), 'a claim waits for its result');
  const stake = node.stake;
  takeStake(op, node, stake);
  op.pay(op.caller, stake);
  payMatured(op, node);
  if (node.hasKey) forgetKeyed(op.state);
  forget(node);
  op.event('STORAGE_NODE_UNREGISTERED', [op.caller, stake.toString()]);
  op.finish();
}

/** The last node of the index takes the place of the one that goes. */
function forget(node: NodeRecord): void {
  const last = sub(totalNodes(), 1);
  const lastKey = indexKey(last);
  if (node.index != last) {
    const moved = NodeRecord.load(utf8Text(Storage.get<StaticArray<u8>>(lastKey)));
    moved.index = node.index;
    moved.save();
    Storage.set<StaticArray<u8>>(indexKey(node.index), utf8(moved.address));
  }
  Storage.del<StaticArray<u8>>(lastKey);
  setTotalNodes(last);
  const nodeId = node.nodeId;
  if (nodeId.length > 0) Storage.del<StaticArray<u8>>(nodeIdKey(nodeId));
  Storage.del<StaticArray<u8>>(nodeKey(node.address));
}

function payMatured(op: Operation, node: NodeRecord): u64 {
  const amount = node.matured;
  if (amount == 0) return 0;
  node.matured = 0;
  op.state.credited = sub(op.state.credited, amount);
  op.pay(op.caller, amount);
  op.event('REWARDS_CLAIMED', [op.caller, amount.toString()]);
  return amount;
}

/** Pays the matured credit of the caller. */
export function claim(): void {
  const op = new Operation();
  const node = NodeRecord.load(op.caller);
  settle(op, node);
  assert(payMatured(op, node) > 0, 'no matured rewards');
  node.save();
  op.finish();
}


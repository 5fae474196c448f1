/** Manual challenges, which neither pay nor slash, and settling for others. */
import { Context, Storage } from '@massalabs/massa-as-sdk';
import { Challenge, MAX_CHALLENGE_ID } from '../structs/Challenge';
import { MAX_ANSWER_BYTES, parseAnswer } from './answer';
import { Reader, Writer, hex } from './bytes';
import { challengeKey, challengerKey } from './keys';
import { MAX_EVENTS, Operation } from './operation';
import { NodeRecord } from './records';
import { ARCHIVE_PATH, MALFORMED, NOT_DRAWN, PASSED, SEGMENT_UNKNOWN, reasonText } from './reasons';
import { settle } from './rounds';
import { segmentRoot } from './segments';
import { checkManualProof } from './signatures';
import { submitRound } from './submission';

/** Hex digits of a chunk id. */
const CHUNK_ID_DIGITS = 64;
/** Digits of the largest number of a round. */
const MAX_ROUND_DIGITS = 20;
/**
 * What is left of a resolved challenge: its id, so that it is never issued again and no old proof passes twice. Its storage is
 * what the challenger paid for.
 */
const FORGOTTEN = new StaticArray<u8>(0);
/** Bounds gas and the 25 events of an operation. */
const MAX_RESOLVED: u32 = 20;
/** Rounds that a resolved challenge can be looked up. */
const KEEP_ROUNDS: u64 = 10;
const MAX_SUBMISSION: u32 = 16 * (MAX_ANSWER_BYTES + 5) + 512;
const MAX_SIGNATURE: u32 = 256;

// What became of each entry of `resolveExpiredChallenges`.
const NOTHING: u8 = 0;
const EXPIRED: u8 = 1;
const REMOVED: u8 = 2;
const SETTLED_NODE: u8 = 3;
const UNKNOWN: u8 = 4;
const NOT_REACHED: u8 = 5;

/** Two rounds may be due, each with a slash and a distribution, after one that was never closed. */
const MAX_NODE_EVENTS = 5;

function checkChunkId(id: string): void {
  assert(id.length == CHUNK_ID_DIGITS, 'argument chunkId: 64 hex digits');
  for (let i = 0; i < CHUNK_ID_DIGITS; i++) {
    const c = id.charCodeAt(i);
    const digit = (c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x66);
    assert(digit, 'argument chunkId: 64 hex digits');
  }
}

/** What names a round in `submitProof`, so that no manual challenge can stand in the way of one. */
function namesRound(id: string): bool {
  if (id.length > MAX_ROUND_DIGITS) return false;
  for (let i = 0; i < id.length; i++) {
    const c = id.charCodeAt(i);
    if (c < 0x30 || c > 0x39) return false;
  }
  return true;
}

/** Whether it was issued and not forgotten. */
function isKnown(id: string): bool {
  const key = challengeKey(id);
  return Storage.has<StaticArray<u8>>(key) && Storage.get<StaticArray<u8>>(key).length > 0;
}

function load(id: string): Challenge {
  return Challenge.parse(Storage.get<StaticArray<u8>>(challengeKey(id)));
}

function save(challenge: Challenge): void {
  Storage.set<StaticArray<u8>>(challengeKey(challenge.id), challenge.serialize());
}

/** challengeId, nodeAddress, chunkId, nonce u64 */
export function issue(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const challenge = new Challenge();
  challenge.id = reader.freeText(MAX_CHALLENGE_ID, 'challengeId');
  challenge.nodeAddress = reader.text(64, 'nodeAddress');
  challenge.chunkId = reader.text(64, 'chunkId');
  challenge.nonce = reader.u64('nonce');
  reader.end('issueChallenge');
  const authorised = Storage.has<StaticArray<u8>>(challengerKey(op.caller));
  assert(authorised, 'only challengers issue challenges');
  assert(!namesRound(challenge.id), 'argument challengeId: a number names a round');
  assert(!NodeRecord.exists(challenge.id), 'argument challengeId: the address of a node names the node');
  checkChunkId(challenge.chunkId);
  assert(!Storage.has<StaticArray<u8>>(challengeKey(challenge.id)), 'a challenge had this id already');
  const node = NodeRecord.load(challenge.nodeAddress);
  assert(!node.leaving, 'node is leaving');
  challenge.issuedPeriod = op.period;
  challenge.deadline = Context.timestamp() + op.config.at(op.round).challengeResponseTimeout;
  node.lastChallengedPeriod = op.period;
  node.save();
  save(challenge);
  op.event('CHALLENGE_ISSUED', [challenge.id, challenge.nodeAddress, challenge.chunkId]);
  op.finish();
}

/** challengeId, merkleProof, signature: a manual challenge, or with a round number the operation of a round. */
export function submit(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const id = reader.freeText(MAX_CHALLENGE_ID, 'challengeId');
  const proof = reader.sized(MAX_SUBMISSION, 'merkleProof');
  const signature = reader.sized(MAX_SIGNATURE, 'signature');
  reader.end('submitProof');
  if (namesRound(id)) return submitRound(op, id, proof, signature);
  assert(isKnown(id), 'no such challenge');
  const challenge = load(id);
  assert(!challenge.resolved, 'challenge is resolved already');
  assert(Context.timestamp() <= challenge.deadline, 'challenge has expired');
  const node = challenge.nodeAddress;
  if (op.caller != node) checkManualProof(node, Context.chainId(), op.registry, id, proof, signature);
  const reason = checkManual(op, challenge, proof);
  challenge.resolved = true;
  challenge.passed = reason == PASSED;
  save(challenge);
  if (challenge.passed) op.event('CHALLENGE_PASSED', [id, node]);
  else op.event('CHALLENGE_FAILED', [id, node, reasonText(reason)]);
  op.finish();
}

/** An answer without a sum path, for leaf `nonce` modulo the number of leaves. */
function checkManual(op: Operation, challenge: Challenge, proof: StaticArray<u8>): u8 {
  const held = parseAnswer(proof);
  if (!held.ok || held.mask != 0) return MALFORMED;
  if (hex(held.chunkId) != challenge.chunkId) return NOT_DRAWN;
  const root = segmentRoot(held.segment);
  if (root.length == 0) return SEGMENT_UNKNOWN;
  const leaf = held.checkLeaf(challenge.nonce % held.leaves);
  if (leaf != PASSED) return leaf;
  return held.underSegment(root) ? PASSED : ARCHIVE_PATH;
}

/**
 * challengeIds: texts, each the id of a manual challenge or the address of a node; at most 20. Returns one byte for each: 0
 * nothing was due, 1 expired, 2 removed, 3 node settled, 4 unknown, 5 not reached: an operation may have 25 events.
 */
export function resolve(input: StaticArray<u8>): StaticArray<u8> {
  const op = new Operation();
  const outer = new Reader(input);
  const list = new Reader(outer.sized(MAX_RESOLVED * (4 + MAX_CHALLENGE_ID), 'challengeIds'));
  outer.end('resolveExpiredChallenges');
  const results = new Writer(MAX_RESOLVED);
  let count: u32 = 0;
  while (list.left > 0) {
    assert(count < MAX_RESOLVED, 'argument challengeIds: at most 20');
    const id = list.freeText(MAX_CHALLENGE_ID, 'challengeIds');
    const room = op.eventCount <= MAX_EVENTS - MAX_NODE_EVENTS;
    results.u8(!room ? NOT_REACHED : NodeRecord.exists(id) ? resolveNode(op, id) : resolveManual(op, id));
    count++;
  }
  assert(count > 0, 'argument challengeIds: empty');
  op.finish();
  return results.bytes.slice<StaticArray<u8>>(0, count);
}

function resolveManual(op: Operation, id: string): u8 {
  if (!isKnown(id)) return UNKNOWN;
  const challenge = load(id);
  if (challenge.resolved) {
    if (op.period < challenge.issuedPeriod + KEEP_ROUNDS * op.periods) return NOTHING;
    Storage.set<StaticArray<u8>>(challengeKey(id), FORGOTTEN);
    return REMOVED;
  }
  if (Context.timestamp() <= challenge.deadline) return NOTHING;
  challenge.resolved = true;
  save(challenge);
  op.event('CHALLENGE_EXPIRED', [id, challenge.nodeAddress]);
  return EXPIRED;
}

function resolveNode(op: Operation, address: string): u8 {
  const node = NodeRecord.load(address);
  settle(op, node);
  node.save();
  return SETTLED_NODE;
}

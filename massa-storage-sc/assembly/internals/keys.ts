/** Every key of the contract. The first six are the plan's. No prefix begins another. */
import { Writer, utf8 } from './bytes';

export const NODE_PREFIX = 'node_';
export const CHALLENGE_PREFIX = 'chal_';
export const PERIOD_PREFIX = 'period_';
export const ADMIN_KEY = 'admin';
export const CONFIG_KEY = 'config';
export const TOTAL_NODES_KEY = 'total_nodes';
export const STATE_KEY = 'state';
const BEACON_PREFIX = 'beacon_';
const SEGMENT_PREFIX = 'segment_';
const ROOT_VOTE_PREFIX = 'rootvote_';
const INDEX_PREFIX = 'index_';
const NODE_ID_PREFIX = 'p2p_';
const CHALLENGER_PREFIX = 'challenger_';

/** `node_{address}` → `NodeRecord` */
export function nodeKey(address: string): StaticArray<u8> {
  return utf8(NODE_PREFIX + address);
}

/** `chal_{id}` → manual challenge */
export function challengeKey(id: string): StaticArray<u8> {
  return utf8(CHALLENGE_PREFIX + id);
}

/** `period_{first period of the round}` → `RoundRecord` */
export function periodKey(firstPeriod: u64): StaticArray<u8> {
  return utf8(PERIOD_PREFIX + firstPeriod.toString());
}

/** `beacon_` round u64 | b (32) → `BeaconRecord` */
export function beaconKey(round: u64, beacon: StaticArray<u8>): StaticArray<u8> {
  return new Writer(7 + 40).raw(utf8(BEACON_PREFIX)).u64(round).raw(beacon).bytes;
}

/** `segment_{segment}` → segment root (32) | round of acceptance u64 */
export function segmentKey(segment: u64): StaticArray<u8> {
  return utf8(SEGMENT_PREFIX + segment.toString());
}

/** `rootvote_` segment u64 | root (32) → `RootVotes` */
export function rootVoteKey(segment: u64, root: StaticArray<u8>): StaticArray<u8> {
  return new Writer(9 + 40).raw(utf8(ROOT_VOTE_PREFIX)).u64(segment).raw(root).bytes;
}

/** `index_{n}` → address of the n-th node */
export function indexKey(index: u64): StaticArray<u8> {
  return utf8(INDEX_PREFIX + index.toString());
}

/** `p2p_{node id}` → address */
export function nodeIdKey(nodeId: string): StaticArray<u8> {
  return utf8(NODE_ID_PREFIX + nodeId);
}

/** `challenger_{address}` → 1 */
export function challengerKey(address: string): StaticArray<u8> {
  return utf8(CHALLENGER_PREFIX + address);
}

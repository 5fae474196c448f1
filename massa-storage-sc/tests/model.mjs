// Trees, claims, draws and submissions, written down a second time, without the contract's code: what an honest node sends. The
// archive is in segment.mjs. Source: docs/formats.md and README.md.
import { blake3 } from './host.mjs';

export { Holding, Segment, encodeAnswer } from './segment.mjs';

export const u8 = (n) => Buffer.from([n]);
export const u16 = (n) => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
export const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
export const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n))); return b; };
export const cat = (...parts) => Buffer.concat(parts);
export const sized = (content) => { const b = Buffer.from(content); return cat(u32(b.length), b); };
export const texts = (list) => sized(cat(...list.map(sized)));
export const hash = (...parts) => blake3(cat(...parts));
const EMPTY = Buffer.alloc(32);

// RFC 6962 as the RFC defines it: split at the largest power of two below the count.
const split = (n) => { let k = 1; while (k * 2 < n) k *= 2; return k; };
export function treeRoot(leaves) {
  if (leaves.length === 1) return leaves[0];
  const k = split(leaves.length);
  return hash(u8(1), treeRoot(leaves.slice(0, k)), treeRoot(leaves.slice(k)));
}
/** [[isLeft, sibling], …] from the leaf up. */
export function treePath(leaves, index) {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return index < k
    ? [...treePath(leaves.slice(0, k), index), [0, treeRoot(leaves.slice(k))]]
    : [...treePath(leaves.slice(k), index - k), [1, treeRoot(leaves.slice(0, k))]];
}
export const encodePath = (path) =>
  cat(u16(path.reduce((bits, [left], k) => bits | (left << k), 0)), u8(path.length), ...path.map(([, sibling]) => sibling));
export const leafHash = (...content) => hash(u8(0), ...content);

/** The sum tree of a claim over `position → { leaves, id }`, sparse. */
export class Claim {
  constructor(held) {
    this.levels = [new Map()];
    for (const [position, { leaves, id }] of held) {
      this.levels[0].set(position, { sum: BigInt(leaves), hash: hash(u8(2), u64(position), u64(leaves), id) });
    }
    for (let level = 0; level < 40; level++) {
      const above = new Map();
      for (const position of this.levels[level].keys()) {
        const parent = position >> 1n;
        if (above.has(parent)) continue;
        const l = this.node(level, parent << 1n);
        const r = this.node(level, (parent << 1n) | 1n);
        above.set(parent, { sum: l.sum + r.sum, hash: hash(u8(3), u64(l.sum), l.hash, u64(r.sum), r.hash) });
      }
      this.levels.push(above);
    }
    const top = this.node(40, 0n);
    this.root = top.hash;
    this.sum = top.sum;
  }
  node(level, position) { return this.levels[level].get(position) ?? { sum: 0n, hash: EMPTY }; }
  /** Mask and siblings of a position. */
  path(position) {
    let mask = 0n;
    const siblings = [];
    for (let level = 0; level < 40; level++) {
      const sibling = this.node(level, (position >> BigInt(level)) ^ 1n);
      if (sibling.sum === 0n) continue;
      mask |= 1n << BigInt(level);
      siblings.push(sibling);
    }
    return { mask, siblings };
  }
  /** The position of claimed leaf j, and the leaf in its chunk. */
  find(j) {
    let position = 0n;
    let rest = j;
    for (let level = 39; level >= 0; level--) {
      const left = this.node(level, position << 1n);
      const goRight = rest >= left.sum;
      if (goRight) rest -= left.sum;
      position = (position << 1n) | (goRight ? 1n : 0n);
    }
    return { position, index: Number(rest) };
  }
}

const roundContext = (chainId, registry, round) => cat(u64(chainId), u8(registry.length), Buffer.from(registry), u64(round));
export const drawCount = (leaves) => Math.min(16, 4 + Number(leaves >> 28n));
export function drawnLeaf({ chainId, registry, round, key, beacon, d, leaves }) {
  const h = hash(Buffer.from('massa distributed storage: draw'), roundContext(chainId, registry, round), key, beacon, u8(d));
  return (h.readBigUInt64LE(0) * leaves) >> 64n;
}
export function challengeId({ chainId, registry, round, node, beacon, d }) {
  const context = roundContext(chainId, registry, round);
  return hash(Buffer.from('massa distributed storage: challenge'), context, u8(node.length), Buffer.from(node), u8(d), beacon).toString('hex');
}
export const placementKey = (address, suffix) => hash(Buffer.from(address), Buffer.from(suffix));

export function negativeLog2(h) {
  if (h === (1n << 64n) - 1n) return 0n;
  const n = h + 1n;
  const zeros = 64n - BigInt(n.toString(2).length);
  let x = n << zeros;
  let fraction = 0n;
  for (let i = 0; i < 32; i++) {
    x = (x * x) >> 63n;
    const bit = x >> 64n;
    x >>= bit;
    fraction = 2n * fraction + bit;
  }
  return ((zeros + 1n) << 32n) - fraction;
}
export function score(id, key, weight) {
  const domain = Buffer.alloc(64);
  domain.write('massa distributed storage: placement of a chunk');
  return (negativeLog2(hash(domain, id, key).readBigUInt64LE(0)) << 24n) / weight;
}

export function submission({ node, round, beacon, answers = [], roots = [], claim }) {
  const votes = beacon ? cat(u8(1), beacon, u8(answers.length), ...answers.map(([d, a]) => cat(u8(d), sized(a)))) : u8(0);
  const rootVotes = cat(u8(roots.length), ...roots.map(([s, r]) => cat(u64(s), r)));
  return cat(sized(node), u64(round), votes, rootVotes, claim ? cat(u8(1), claim.root, u64(claim.sum)) : u8(0));
}
export const submitArgs = (id, proof, signature = Buffer.alloc(0)) => cat(sized(String(id)), sized(proof), sized(signature));
const signed = (domain, chainId, registry, content) =>
  hash(Buffer.from(domain), u64(chainId), u8(registry.length), Buffer.from(registry), content).toString('hex');
export const submissionMessage = (chainId, registry, content) => signed('massa distributed storage: submission', chainId, registry, content);
export const manualMessage = (chainId, registry, id, proof) => signed('massa distributed storage: manual proof', chainId, registry, cat(sized(id), proof));
export const nodeIdMessage = (chainId, registry, address) => signed('massa distributed storage: node id', chainId, registry, Buffer.from(address));

export const CONFIG_FIELDS = ['rewardPerGbPerPeriod', 'minAllocatedGb', 'maxAllocatedGb', 'challengeResponseTimeout', 'slashPercentage',
  'minStake', 'stakePerGb', 'replicationFactor', 'chunkSizeBytes', 'challengeFrequencyPeriods', 'firstSegment', 'roundSegments'];
/** Rounds of 100 periods. */
export const DEFAULT_CONFIG = { rewardPerGbPerPeriod: 1_000_000n, minAllocatedGb: 1n, maxAllocatedGb: 16_384n, challengeResponseTimeout: 60_000n,
  slashPercentage: 10n, minStake: 100_000_000_000n, stakePerGb: 1_000_000_000n, replicationFactor: 3n, chunkSizeBytes: 1n << 20n,
  challengeFrequencyPeriods: 25n, firstSegment: 0n, roundSegments: 4n };
export const encodeConfig = (c) => cat(...CONFIG_FIELDS.map((f) => u64(c[f])));

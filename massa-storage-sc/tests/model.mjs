// The formats of the archive and of claims, written down a second time, without the contract's code: what an honest node
// sends. Source: docs/formats.md and README.md.
import { blake3 } from './host.mjs';

export const u8 = (n) => Buffer.from([n]);
export const u16 = (n) => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
export const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
export const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n))); return b; };
export const cat = (...parts) => Buffer.concat(parts);
export const sized = (content) => { const b = Buffer.from(content); return cat(u32(b.length), b); };
export const texts = (list) => sized(cat(...list.map(sized)));
export const hash = (...parts) => blake3(cat(...parts));
const EMPTY = Buffer.alloc(32);
const LEAF = 1024;

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

/** A chunk of pseudorandom bytes. */
export class Chunk {
  constructor(length, seed) {
    const block = blake3(Buffer.from('chunk ' + seed));
    this.bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += 32) hash(block, u32(at)).copy(this.bytes, at);
    this.leaves = [];
    for (let at = 0; at < length; at += LEAF) this.leaves.push(leafHash(this.bytes.subarray(at, at + LEAF)));
    this.id = treeRoot(this.leaves);
  }
  leaf(i) { return this.bytes.subarray(i * LEAF, i * LEAF + LEAF); }
}

/** A segment whose periods `inSegment → chunk lengths` have chunks; the others have a root of nothing. */
export class Segment {
  constructor({ chainId = 77n, segment, periods, chunkLengths, threads = 2, previous = EMPTY }) {
    this.segment = segment;
    this.periods = periods;
    this.chunks = new Map();
    this.trees = [];
    const first = segment * periods;
    const leaves = [leafHash(u8(4), u64(chainId), u64(segment), u64(first), u32(periods), previous)];
    for (let p = 0; p < periods; p++) {
      const lengths = chunkLengths[p] ?? [];
      const total = lengths.reduce((a, b) => a + b, 0);
      const tree = [leafHash(u8(1), u8(1), u64(chainId), u64(first + p), u8(threads), u32(1 << 20), u64(total), u32(lengths.length))];
      for (let t = 0; t < threads; t++) tree.push(leafHash(u8(2), u8(t), u8(0)));
      lengths.forEach((length, c) => {
        const chunk = new Chunk(length, `${segment} ${p} ${c}`);
        this.chunks.set(this.position(p, c), chunk);
        tree.push(leafHash(u8(3), u32(c), u32(length), chunk.id));
      });
      this.trees.push(tree);
      leaves.push(leafHash(u8(5), u64(first + p), treeRoot(tree)));
    }
    this.threads = threads;
    this.leaves = leaves;
    this.root = treeRoot(leaves);
  }
  position(p, c) { return (BigInt(this.segment) << 16n) | (BigInt(p) << 8n) | BigInt(c); }
  paths(position) {
    const p = Number((position >> 8n) & 0xffn);
    const c = Number(position & 0xffn);
    const periodPath = treePath(this.trees[p], 1 + this.threads + c);
    return { periodPath, segmentPath: treePath(this.leaves, 1 + p) };
  }
}

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

/** What a node holds: all chunks of some segments, or those that `keep` picks. */
export class Holding {
  constructor(segments, keep = () => true) {
    this.segments = new Map(segments.map((s) => [BigInt(s.segment), s]));
    this.chunks = new Map();
    for (const s of segments) for (const [position, chunk] of s.chunks) if (keep(position)) this.chunks.set(position, chunk);
    this.claim = new Claim([...this.chunks].map(([position, c]) => [position, { leaves: c.leaves.length, id: c.id }]));
  }
  parts(j) {
    const { position, index } = this.claim.find(j);
    const chunk = this.chunks.get(position);
    return { position, chunk, ...this.claim.path(position), leaf: chunk.leaf(index), leafPath: treePath(chunk.leaves, index), ...this.segments.get(position >> 16n).paths(position) };
  }
  answer(j) { return encodeAnswer(this.parts(j)); }
  /** What shows a chunk without a leaf. */
  exhibit(position) {
    const chunk = this.chunks.get(position);
    return encodeAnswer({ position, chunk, ...this.claim.path(position), leaf: Buffer.alloc(0), leafPath: [], ...this.segments.get(position >> 16n).paths(position) });
  }
}

export function encodeAnswer({ position, chunk, mask, siblings, leaf, leafPath, periodPath, segmentPath, length, id }) {
  return cat(u64(position), u32(length ?? chunk.bytes.length), id ?? chunk.id, u64(mask), ...siblings.flatMap((s) => [u64(s.sum), s.hash]),
    u16(leaf.length), leaf, encodePath(leafPath), encodePath(periodPath), encodePath(segmentPath));
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
export const nodeIdMessage = (chainId, registry, address) => signed('massa distributed storage: node id', chainId, registry, Buffer.from(address));

export const CONFIG_FIELDS = ['rewardPerGbPerPeriod', 'minAllocatedGb', 'maxAllocatedGb', 'challengeResponseTimeout', 'slashPercentage',
  'minStake', 'stakePerGb', 'replicationFactor', 'chunkSizeBytes', 'challengeFrequencyPeriods', 'firstSegment'];
export const DEFAULT_CONFIG = { rewardPerGbPerPeriod: 1_000_000n, minAllocatedGb: 1n, maxAllocatedGb: 16_384n, challengeResponseTimeout: 60_000n,
  slashPercentage: 10n, minStake: 100_000_000_000n, stakePerGb: 1_000_000_000n, replicationFactor: 3n, chunkSizeBytes: 1n << 20n,
  challengeFrequencyPeriods: 100n, firstSegment: 0n };
export const encodeConfig = (c) => cat(...CONFIG_FIELDS.map((f) => u64(c[f])));

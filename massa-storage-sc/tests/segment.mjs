// The archive's bytes (format 2) and the answers of its segments, written down without the code of the contract or of the node:
// entries, period roots, chunk ids, segment roots and paths from the blocks of an .mblk file. Source: docs/formats.md and README.md.
import { Claim, cat, encodePath, hash, leafHash, treePath, treeRoot, u16, u32, u64, u8 } from './model.mjs';

const SIGNATURE = 65;
const KEY = 33;
const ID = 33;
const LEAF = 1024;
export const PAGE = 64 * LEAF;
export const FORMAT = 2;

class Cursor {
  constructor(bytes, at = 0) { Object.assign(this, { bytes, at }); }
  take(count) {
    if (this.at + count > this.bytes.length) throw new Error(`${count} bytes are missing at ${this.at}`);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  u8() { return this.take(1)[0]; }
  u16() { return this.take(2).readUInt16LE(); }
  u32() { return this.take(4).readUInt32LE(); }
  u64() { return this.take(8).readBigUInt64LE(); }
  varint() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  get left() { return this.bytes.length - this.at; }
}

/** Blocks of an .mblk file: chain id, threads, period → thread → [block, operations…], each with its leading signature. */
export function readBlocks(bytes) {
  const cursor = new Cursor(bytes);
  if (cursor.take(6).toString('latin1') !== 'MBLK1\0') throw new Error('not an .mblk file');
  const chainId = cursor.u64();
  const threads = cursor.u8();
  const periods = new Map();
  while (cursor.left > 0) {
    const period = Number(cursor.u64());
    const thread = cursor.u8();
    const objects = [cursor.take(cursor.u32())];
    for (let n = cursor.u32(); n > 0; n--) objects.push(cursor.take(cursor.u32()));
    if (!periods.has(period)) periods.set(period, new Map());
    periods.get(period).set(thread, objects);
  }
  return { chainId, threads, periods };
}

/** Version 0 and the hash of creator key and header content. */
export function blockId(block, threads) {
  const cursor = new Cursor(block, SIGNATURE + KEY);
  cursor.varint(); // version
  if (cursor.u8() === 0x31) cursor.varint(); // announced version, as an option in text
  cursor.varint(); // period
  cursor.u8(); // thread
  if (cursor.u8() === 1) cursor.take(threads * ID); // parents
  cursor.take(32); // operation root
  for (let n = cursor.varint(); n > 0n; n--) {
    cursor.take(SIGNATURE + KEY);
    cursor.varint(); // index; slot and block are the header's
  }
  if (cursor.varint() !== 0n) throw new Error('blocks with denunciations are not modelled');
  return cat(u8(0), hash(block.subarray(SIGNATURE, cursor.at)));
}

/** A period: its bytes, and its root. */
export class Period {
  constructor(number, state, ids, bytes) { Object.assign(this, { number, state, ids, bytes }); }

  /** `blocks`: thread → [block, operations…] with their signatures; threads that are not there missed their slot. */
  static whole(number, blocks, threads) {
    const ids = Array.from({ length: threads }, (_, thread) => blocks.has(thread) && blockId(blocks.get(thread)[0], threads));
    let at = 1 + ids.reduce((sum, id) => sum + (id ? 1 + ID + 4 : 1), 0);
    const entry = [u8(0)];
    const bodies = [];
    ids.forEach((id, thread) => {
      if (!id) return entry.push(u8(0));
      entry.push(u8(1), id, u32(at));
      const [block, ...operations] = blocks.get(thread).map((object) => object.subarray(SIGNATURE));
      const body = cat(u32(block.length), block, u32(operations.length), ...operations.flatMap((o) => [u32(o.length), o]));
      at += body.length;
      return bodies.push(body);
    });
    return new Period(number, 0, ids, cat(...entry, ...bodies));
  }

  /** Ids are known, bytes are not. */
  static lost(number, ids) {
    return new Period(number, 1, ids, cat(u8(1), ...ids.map((id) => (id ? cat(u8(1), id) : u8(0)))));
  }

  leaves(chainId) {
    const slots = this.ids.map((id, thread) => (id ? cat(u8(5), u8(thread), u8(1), id) : cat(u8(5), u8(thread), u8(0))));
    return [cat(u8(4), u64(chainId), u64(this.number), u8(this.ids.length), u8(this.state)), ...slots];
  }

  root(chainId) { return treeRoot(this.leaves(chainId).map((leaf) => leafHash(leaf))); }
}

/** A chunk as it is cut from a segment's body. */
export class BodyChunk {
  constructor(index, bytes, position) {
    this.index = index;
    this.position = position;
    this.bytes = bytes;
    this.leaves = [];
    for (let at = 0; at < bytes.length; at += LEAF) this.leaves.push(leafHash(bytes.subarray(at, at + LEAF)));
    this.id = treeRoot(this.leaves);
  }
  leaf(i) { return this.bytes.subarray(i * LEAF, i * LEAF + LEAF); }
  /** Position and chunk, as an entry of a map. */
  * [Symbol.iterator]() { yield this.position; yield this; }
}

/** The chunks of a segment in their order; `get` finds one by its position. */
class Chunks extends Array {
  static get [Symbol.species]() { return Array; }
  get(position) { return this[Number(position & 0xffffn)]; }
}

function cut(body, chunkSize) {
  const parts = [];
  for (let at = 0; at < body.length; at += chunkSize) parts.push(body.subarray(at, at + chunkSize));
  return parts;
}

/** A segment of periods: body, chunks, leaves, root, paths. */
export class ArchiveSegment {
  /** `parts`: the bytes of the chunks, if they are not to be cut at every `chunkSize`. */
  constructor({ chainId, threads, segment, periods, chunkSize, bytesBefore = 0, previous = Buffer.alloc(32), parts }) {
    this.chainId = chainId;
    this.segment = segment;
    this.periods = periods;
    this.body = cat(...periods.map((period) => period.bytes));
    this.bytesBefore = bytesBefore;
    this.chunks = Chunks.from(parts ?? cut(this.body, chunkSize), (bytes, index) => new BodyChunk(index, bytes, this.position(index)));
    const header = { chainId, segment, firstPeriod: periods[0].number, periods: periods.length, threads, chunkSize, bodyLength: this.body.length, bytesBefore, previous };
    this.contents = [
      headerLeaf(header),
      ...periods.map((period) => cat(u8(2), u64(period.number), u32(period.bytes.length), period.root(chainId))),
      ...this.chunks.map(chunkLeaf),
    ];
    this.leaves = this.contents.map((content) => leafHash(content));
    this.root = treeRoot(this.leaves);
  }
  position(index) { return (BigInt(this.segment) << 16n) | BigInt(index); }
  headerPath() { return treePath(this.leaves, 0); }
  /** What shows the registry which block a slot had: README, "Block proof". */
  blockProof(number, thread) {
    const period = this.periods[number - this.periods[0].number];
    const id = period.ids[thread];
    const slots = period.leaves(this.chainId).map((leaf) => leafHash(leaf));
    return cat(id ? cat(u8(1), id) : u8(0), encodePath(treePath(slots, 1 + thread)), u32(period.bytes.length), encodePath(this.periodPath(number)));
  }
  periodPath(number) { return treePath(this.leaves, 1 + number - this.periods[0].number); }
  chunkPath(index) { return treePath(this.leaves, 1 + this.periods.length + index); }
  /** What an answer shows of the chunk at a position, beside the chunk and its claim. */
  paths(position) { return { segmentPath: this.chunkPath(this.chunks.get(position).index) }; }
}

/** Pseudorandom bytes. */
function noise(length, seed) {
  const block = hash(Buffer.from('noise ' + seed));
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 32) hash(block, u32(at)).copy(bytes, at);
  return bytes;
}

/**
 * A segment with chunks of these lengths, a list or lists by period, which no archive would cut so: the registry sees the tree alone. All
 * bytes are its first period's. `ids`: period → the ids of its threads' blocks; a period that is not there missed all.
 */
export function madeSegment({ chainId = 77n, threads = 2, segment, periods, chunkLengths, previous, ids = new Map() }) {
  const parts = Object.values(chunkLengths).flat().map((length, index) => noise(length, `${segment} ${index}`));
  const missed = new Array(threads).fill(undefined);
  const of = (k) => new Period(segment * periods + k, 0, ids.get(segment * periods + k) ?? missed, k === 0 ? cat(...parts) : Buffer.alloc(0));
  return new ArchiveSegment({ chainId, threads, segment, periods: Array.from({ length: periods }, (_, k) => of(k)), chunkSize: 1 << 20, previous, parts });
}

/** A made segment, by `new`. */
export class Segment {
  constructor(options) { return madeSegment(options); }
}

export const headerLeaf = (h) =>
  cat(u8(1), u8(FORMAT), u64(h.chainId), u64(h.segment), u64(h.firstPeriod), u32(h.periods), u8(h.threads), u32(h.chunkSize), u64(h.bodyLength), u64(h.bytesBefore), h.previous);
export const chunkLeaf = ({ index, bytes, id }) => cat(u8(3), u32(index), u32(bytes.length), id);

/** What a node holds of some segments: `keep` picks positions. Gives the answers of an honest node. */
export class Holding {
  constructor(segments, keep = () => true) {
    this.segments = new Map(segments.map((s) => [BigInt(s.segment), s]));
    this.chunks = new Map();
    for (const s of segments) for (const chunk of s.chunks) if (keep(s.position(chunk.index))) this.chunks.set(s.position(chunk.index), chunk);
    this.claim = new Claim([...this.chunks].map(([position, c]) => [position, { leaves: c.leaves.length, id: c.id }]));
  }
  parts(j) {
    const { position, index } = this.claim.find(j);
    const chunk = this.chunks.get(position);
    return { ...this.chunkParts(position), leaf: chunk.leaf(index), leafPath: treePath(chunk.leaves, index) };
  }
  chunkParts(position) {
    const chunk = this.chunks.get(position);
    return { position, length: chunk.bytes.length, id: chunk.id, ...this.claim.path(position), leaf: Buffer.alloc(0), leafPath: [], ...this.segments.get(position >> 16n).paths(position) };
  }
  answer(j) { return encodeAnswer(this.parts(j)); }
  /** What shows that a claim has a chunk which somebody else exhibits. */
  sumPath(position) {
    const { mask, siblings } = this.claim.path(position);
    return cat(u64(mask), ...siblings.flatMap((s) => [u64(s.sum), s.hash]));
  }
  /** What shows a chunk without a leaf. */
  exhibit(position) { return encodeAnswer(this.chunkParts(position)); }
}

/** `length` and `id` are those of `chunk`, if they are not given. */
export const encodeAnswer = ({ position, chunk, length = chunk.bytes.length, id = chunk.id, mask, siblings, leaf, leafPath, segmentPath }) =>
  cat(u64(position), u32(length), id, u64(mask), ...siblings.flatMap((s) => [u64(s.sum), s.hash]), u16(leaf.length), leaf,
    encodePath(leafPath), encodePath(segmentPath));

/** The answer to a manual challenge for a leaf of a chunk: without a sum path. */
export function manualAnswer(segment, index, leaf) {
  const chunk = segment.chunks[index];
  return encodeAnswer({ position: segment.position(index), chunk, mask: 0n, siblings: [],
    leaf: chunk.leaf(leaf), leafPath: treePath(chunk.leaves, leaf), segmentPath: segment.chunkPath(index) });
}

export const PASSED = 0, MALFORMED = 2, SUM_PATH = 3, NOT_DRAWN = 4, LEAF_LENGTH = 5, LEAF_PATH = 6, SEGMENT_UNKNOWN = 7, ARCHIVE_PATH = 8;
const EMPTY = Buffer.alloc(32);

function decodePath(cursor) {
  const directions = cursor.u16();
  const count = cursor.u8();
  if (count > 16 || directions >> count !== 0) throw new Error('path');
  return Array.from({ length: count }, (_, k) => [(directions >> k) & 1, cursor.take(32)]);
}

/** Throws if the bytes are no answer. */
export function decodeAnswer(bytes) {
  const cursor = new Cursor(bytes);
  const answer = { position: cursor.u64(), length: cursor.u32(), id: cursor.take(32), mask: cursor.u64() };
  if (answer.position >> 40n !== 0n || answer.mask >> 40n !== 0n) throw new Error('beyond 40 bits');
  if (answer.length === 0 || answer.length > 64 << 20) throw new Error('length');
  answer.siblings = [];
  for (let level = 0n; level < 40n; level++) if ((answer.mask >> level) & 1n) answer.siblings.push({ sum: cursor.u64(), hash: cursor.take(32) });
  const leafLength = cursor.u16();
  if (leafLength > LEAF) throw new Error('leaf length');
  answer.leaf = cursor.take(leafLength);
  answer.leafPath = decodePath(cursor);
  answer.segmentPath = decodePath(cursor);
  if (cursor.left > 0) throw new Error('too many bytes');
  return answer;
}

const follow = (leaf, path) => path.reduce((node, [left, sibling]) => (left ? hash(u8(1), sibling, node) : hash(u8(1), node, sibling)), leaf);

/** Where the sum path ends, and the leaves before; nothing if it lies. */
function sumEnd({ position, id, mask, siblings }, leaves) {
  let node = { sum: leaves, hash: hash(u8(2), u64(position), u64(leaves), id) };
  let before = 0n;
  let given = 0;
  for (let level = 0n; level < 40n; level++) {
    const sibling = (mask >> level) & 1n ? siblings[given++] : { sum: 0n, hash: EMPTY };
    if ((mask >> level) & 1n && (sibling.sum === 0n || sibling.hash.equals(EMPTY))) return undefined;
    const right = (position >> level) & 1n;
    const [l, r] = right ? [sibling, node] : [node, sibling];
    if (right) before += sibling.sum;
    if (l.sum + r.sum >= 1n << 64n) return undefined;
    node = { sum: l.sum + r.sum, hash: hash(u8(3), u64(l.sum), l.hash, u64(r.sum), r.hash) };
  }
  return { ...node, before };
}

/** The sides of the path of leaf `index` of `count`, as the RFC splits a tree. */
function sides(index, count) {
  if (count === 1) return [];
  let left = 1;
  while (left * 2 < count) left *= 2;
  return index < left ? [...sides(index, left), 0] : [...sides(index - left, count - left), 1];
}

/** The reason that the registry gives to an answer to the draw of claimed leaf `drawn`; `rootOf(segment)` gives accepted roots. */
export function checkAnswer(bytes, claim, drawn, rootOf) {
  let answer;
  try { answer = decodeAnswer(bytes); } catch { return MALFORMED; }
  const root = rootOf(answer.position >> 16n);
  if (!root) return SEGMENT_UNKNOWN;
  const count = Math.ceil(answer.length / LEAF);
  const end = sumEnd(answer, BigInt(count));
  if (!end || end.sum !== claim.sum || !end.hash.equals(claim.root)) return SUM_PATH;
  if (drawn < end.before || drawn - end.before >= BigInt(count)) return NOT_DRAWN;
  const index = Number(drawn - end.before);
  if (answer.leaf.length !== Math.min(LEAF, answer.length - index * LEAF)) return LEAF_LENGTH;
  const shape = sides(index, count);
  const fits = shape.length === answer.leafPath.length && shape.every((side, k) => side === answer.leafPath[k][0]);
  if (!fits || !follow(leafHash(answer.leaf), answer.leafPath).equals(answer.id)) return LEAF_PATH;
  const leaf = cat(u8(3), u32(Number(answer.position & 0xffffn)), u32(answer.length), answer.id);
  return follow(leafHash(leaf), answer.segmentPath).equals(root) ? PASSED : ARCHIVE_PATH;
}

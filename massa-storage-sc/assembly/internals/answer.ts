/**
 * The answer to a draw, and its check: pure, the same in Rust (`challenge.rs`), held together by
 * tests/data/contract-answer-vectors.json. Format: README, "Answer".
 */
import { Writer, equal } from './bytes';
import { HASH_BYTES, heldHash, leafHash, nodeHash, sumHash } from './hashes';
import { ARCHIVE_PATH, LEAF_LENGTH, LEAF_PATH, MALFORMED, NOT_DRAWN, PASSED, SUM_PATH } from './reasons';

/** Bits of a position: segment 24, period in segment 8, chunk 8. */
export const POSITION_BITS: u32 = 40;
/** Siblings a path may have: enough for 2¹⁶ leaves, the largest chunk. */
export const MAX_PATH_SIBLINGS: u32 = 16;
export const LEAF_BYTES: u32 = 1024;
/** Largest chunk of the format: 64 MiB. */
export const MAX_CHUNK_BYTES: u32 = 64 << 20;
/** Largest answer: all 40 sum siblings and three paths of 16. */
export const MAX_ANSWER_BYTES: u32 = 8 + 4 + 32 + 8 + 40 * 40 + 2 + 1024 + 3 * (3 + 16 * 32);

/** What is claimed, and where its draws come from. */
export class Committed {
  constructor(
    public root: StaticArray<u8>,
    public sum: u64,
  ) {}
}

/** A path from a leaf up; bit k of `directions` set: sibling k is the left one. */
export class Path {
  constructor(
    public directions: u32,
    public siblings: StaticArray<StaticArray<u8>>,
  ) {}

  root(leaf: StaticArray<u8>): StaticArray<u8> {
    let node = leaf;
    for (let k = 0; k < this.siblings.length; k++) {
      const sibling = unchecked(this.siblings[k]);
      node = ((this.directions >> k) & 1) == 1 ? nodeHash(sibling, node) : nodeHash(node, sibling);
    }
    return node;
  }
}

/** Reads without trapping: a malformed answer is a missed draw, not a failed operation. */
class Parser {
  private at: u32 = 0;
  ok: bool = true;

  constructor(private bytes: StaticArray<u8>) {}

  private take(count: u32): usize {
    if (!this.ok || count > <u32>this.bytes.length - this.at) {
      this.ok = false;
      return 0;
    }
    const from = changetype<usize>(this.bytes) + this.at;
    this.at += count;
    return from;
  }

  u8(): u8 {
    const from = this.take(1);
    return this.ok ? load<u8>(from) : 0;
  }

  u16(): u16 {
    const from = this.take(2);
    return this.ok ? load<u16>(from) : 0;
  }

  u32(): u32 {
    const from = this.take(4);
    return this.ok ? load<u32>(from) : 0;
  }

  u64(): u64 {
    const from = this.take(8);
    return this.ok ? load<u64>(from) : 0;
  }

  fixed(count: u32): StaticArray<u8> {
    const from = this.take(count);
    if (!this.ok) return new StaticArray<u8>(0);
    const result = new StaticArray<u8>(count);
    memory.copy(changetype<usize>(result), from, count);
    return result;
  }

  /** directions u16, count u8, siblings. */
  path(): Path {
    const directions = <u32>this.u16();
    const count = <u32>this.u8();
    this.ok = this.ok && count <= MAX_PATH_SIBLINGS && directions >> count == 0;
    return new Path(directions, this.hashes(this.ok ? count : 0));
  }

  hashes(count: u32): StaticArray<StaticArray<u8>> {
    const result = new StaticArray<StaticArray<u8>>(count);
    for (let k: u32 = 0; k < count; k++) unchecked((result[k] = this.fixed(HASH_BYTES)));
    return result;
  }

  end(): void {
    this.ok = this.ok && this.at == <u32>this.bytes.length;
  }
}

/** A claimed chunk: where it is, what it is, its way to the claim and to the segment root. */
export class HeldChunk {
  ok: bool = true;
  position: u64 = 0;
  length: u32 = 0;
  chunkId: StaticArray<u8> = new StaticArray<u8>(0);
  mask: u64 = 0;
  sums: StaticArray<u64> = new StaticArray<u64>(0);
  sumHashes: StaticArray<StaticArray<u8>> = new StaticArray<StaticArray<u8>>(0);
  leaf: StaticArray<u8> = new StaticArray<u8>(0);
  leafPath: Path = new Path(0, new StaticArray<StaticArray<u8>>(0));
  periodPath: Path = new Path(0, new StaticArray<StaticArray<u8>>(0));
  segmentPath: Path = new Path(0, new StaticArray<StaticArray<u8>>(0));
  /** Leaves left of this chunk; set by `underClaim`. */
  before: u64 = 0;

  get leaves(): u64 {
    return (<u64>this.length + LEAF_BYTES - 1) / LEAF_BYTES;
  }

  get segment(): u64 {
    return this.position >> 16;
  }

  /** Whether the sum path ends in the claim. Sets `before`. */
  underClaim(claim: Committed): bool {
    let sum = this.leaves;
    let hash = heldHash(this.position, sum, this.chunkId);
    let given = 0;
    this.before = 0;
    for (let level: u32 = 0; level < POSITION_BITS; level++) {
      let siblingSum: u64 = 0;
      let sibling = EMPTY;
      if (((this.mask >> level) & 1) == 1) {
        siblingSum = unchecked(this.sums[given]);
        sibling = unchecked(this.sumHashes[given]);
        given++;
        // An empty tree has the zero hash and nothing else has: a sum of zero cannot hide a chunk, nor air be counted.
        if (siblingSum == 0 || equal(sibling, EMPTY)) return false;
      }
      const total = sum + siblingSum;
      if (total < sum) return false;
      if (((this.position >> level) & 1) == 1) {
        hash = sumHash(siblingSum, sibling, sum, hash);
        this.before += siblingSum;
      } else {
        hash = sumHash(sum, hash, siblingSum, sibling);
      }
      sum = total;
    }
    return sum == claim.sum && equal(hash, claim.root);
  }

  /** Whether the chunk stands in the archive under `segmentRoot`. */
  underSegment(segmentRoot: StaticArray<u8>, periodsPerSegment: u64): bool {
    const inSegment = (this.position >> 8) & 0xff;
    if (inSegment >= periodsPerSegment) return false;
    const chunk = <u32>(this.position & 0xff);
    const chunkLeaf = new Writer(41).u8(3).u32(chunk).u32(this.length).raw(this.chunkId).bytes;
    const periodRoot = this.periodPath.root(leafHash(chunkLeaf));
    const period = this.segment * periodsPerSegment + inSegment;
    const periodLeaf = new Writer(41).u8(5).u64(period).raw(periodRoot).bytes;
    return equal(this.segmentPath.root(leafHash(periodLeaf)), segmentRoot);
  }

  /** Whether `leaf` is leaf `index` of the chunk. */
  checkLeaf(index: u64): u8 {
    const leaves = this.leaves;
    const last = index == leaves - 1;
    const expected = last ? this.length - <u32>index * LEAF_BYTES : LEAF_BYTES;
    if (<u32>this.leaf.length != expected) return LEAF_LENGTH;
    const path = pathShape(<u32>index, <u32>leaves);
    if (<u32>this.leafPath.siblings.length != path.siblings || this.leafPath.directions != path.directions) {
      return LEAF_PATH;
    }
    return equal(this.leafPath.root(leafHash(this.leaf)), this.chunkId) ? PASSED : LEAF_PATH;
  }
}

export const EMPTY = new StaticArray<u8>(32);

export class PathShape {
  constructor(
    public directions: u32,
    public siblings: u32,
  ) {}
}

/** Shape of the path of leaf `index` in a tree of `leaves`: RFC 9162, 2.1.3.2; an odd last node goes up unchanged. */
export function pathShape(index: u32, leaves: u32): PathShape {
  let bits: u32 = 0;
  let siblings: u32 = 0;
  let position = index;
  let width = leaves;
  while (width > 1) {
    if ((position ^ 1) < width) {
      bits |= (position & 1) << siblings;
      siblings++;
    }
    position >>= 1;
    width = (width + 1) >> 1;
  }
  return new PathShape(bits, siblings);
}

/** Reads an answer. `ok` is false if it is malformed. Without a sum path, `mask` must be 0 (manual challenges). */
export function parseAnswer(bytes: StaticArray<u8>): HeldChunk {
  const parser = new Parser(bytes);
  const held = new HeldChunk();
  held.position = parser.u64();
  held.length = parser.u32();
  held.chunkId = parser.fixed(HASH_BYTES);
  held.mask = parser.u64();
  parser.ok = parser.ok && held.position >> POSITION_BITS == 0 && held.mask >> POSITION_BITS == 0;
  parser.ok = parser.ok && held.length > 0 && held.length <= MAX_CHUNK_BYTES;
  const given = parser.ok ? <u32>popcnt(held.mask) : 0;
  held.sums = new StaticArray<u64>(given);
  held.sumHashes = new StaticArray<StaticArray<u8>>(given);
  for (let k: u32 = 0; k < given; k++) {
    unchecked((held.sums[k] = parser.u64()));
    unchecked((held.sumHashes[k] = parser.fixed(HASH_BYTES)));
  }
  const leafLength = <u32>parser.u16();
  parser.ok = parser.ok && leafLength <= LEAF_BYTES;
  held.leaf = parser.fixed(leafLength);
  held.leafPath = parser.path();
  held.periodPath = parser.path();
  held.segmentPath = parser.path();
  parser.end();
  held.ok = parser.ok;
  return held;
}

/** Checks everything of an answer to the draw of claimed leaf `drawn`, given the stored root of its segment. */
export function checkAnswer(
  held: HeldChunk,
  claim: Committed,
  drawn: u64,
  segmentRoot: StaticArray<u8>,
  periodsPerSegment: u64,
): u8 {
  if (!held.ok) return MALFORMED;
  if (!held.underClaim(claim)) return SUM_PATH;
  if (drawn < held.before || drawn - held.before >= held.leaves) return NOT_DRAWN;
  const leaf = held.checkLeaf(drawn - held.before);
  if (leaf != PASSED) return leaf;
  return held.underSegment(segmentRoot, periodsPerSegment) ? PASSED : ARCHIVE_PATH;
}

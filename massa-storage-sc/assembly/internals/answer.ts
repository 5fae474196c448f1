/**
 * The answer to a draw of a segment's chunk (archive format 2), and its check: pure, the same in Rust
 * (`challenge/segment_answer.rs`) and in tests/segment.mjs, held together by tests/data/segment-answer-vectors.json.
 *
 * ```text
 * position u64: segment 24 bits, chunk 16 | chunk length u32 | chunk id (32)
 * mask u64: bit k set: the sibling at level k (from the chunk) is not empty and follows
 * each such sibling, from the chunk up: sum u64 | hash (32)
 * leaf length u16 | leaf
 * path from the leaf to the chunk id | path from the chunk's leaf to the segment root
 * path: directions u16 (bit k: sibling k is the left one) | count u8 (at most 16) | siblings (32 each)
 * ```
 *
 * Siblings are hashed where they stand in the answer: a copy of each costs more gas than its hash.
 */
import { Writer, equal } from './bytes';
import { HASH_BYTES, blake3, heldHash, leafHash } from './hashes';
import { ARCHIVE_PATH, LEAF_LENGTH, LEAF_PATH, MALFORMED, NOT_DRAWN, PASSED, SUM_PATH } from './reasons';

/** Bits of a position: segment 24, chunk in segment 16. */
export const POSITION_BITS: u32 = 40;
/** Siblings a path may have: enough for 2¹⁶ leaves, of the largest chunk and of a segment. */
export const MAX_PATH_SIBLINGS: u32 = 16;
export const LEAF_BYTES: u32 = 1024;
/** Largest chunk of the format: 64 MiB. */
export const MAX_CHUNK_BYTES: u32 = 64 << 20;
/** Mask and all 40 siblings. */
export const MAX_SUM_PATH_BYTES: u32 = 8 + 40 * 40;
/** A path of 16 siblings. */
export const MAX_PATH_BYTES: u32 = 3 + 16 * 32;
/** Largest answer: all 40 sum siblings and two paths of 16. */
export const MAX_ANSWER_BYTES: u32 = 8 + 4 + 32 + 8 + 40 * 40 + 2 + 1024 + 2 * (3 + 16 * 32);

/** A sum and a hash, as a sum sibling is listed. */
const SUM_BYTES: u32 = 40;
const CHUNK_LEAF: u8 = 3;

/** What is claimed, and where its draws come from. */
export class Committed {
  constructor(
    public root: StaticArray<u8>,
    public sum: u64,
  ) {}
}

/** A path from a leaf up. Its siblings begin at byte `at` of what it was read from. */
export class Path {
  constructor(
    public directions: u32 = 0,
    public count: u32 = 0,
    public at: u32 = 0,
  ) {}
}

/** Steps through an answer or a proof without trapping: a malformed answer is a missed draw, not a failed operation. */
export class Steps {
  at: u32 = 0;
  ok: bool = true;

  constructor(private bytes: StaticArray<u8>) {}

  /** Where the next `count` bytes begin; false in `ok` if they are not all there. */
  take(count: u32): u32 {
    const from = this.at;
    this.ok = this.ok && count <= <u32>this.bytes.length - from;
    if (this.ok) this.at = from + count;
    return from;
  }

  path(): Path {
    const from = this.take(3);
    if (!this.ok) return new Path();
    const head = changetype<usize>(this.bytes) + from;
    const directions = <u32>load<u16>(head);
    const count = <u32>load<u8>(head, 2);
    this.ok = count <= MAX_PATH_SIBLINGS && directions >> count == 0;
    return new Path(directions, count, this.take(count * HASH_BYTES));
  }
}

/** A claimed chunk: where it is, what it is, its way to the claim and to the segment root; and one of its leaves. */
export class HeldChunk {
  ok: bool = false;
  position: u64 = 0;
  length: u32 = 0;
  chunkId: StaticArray<u8> = new StaticArray<u8>(0);
  mask: u64 = 0;
  /** Where the sum siblings begin. */
  sumsAt: u32 = 0;
  leafAt: u32 = 0;
  leafLength: u32 = 0;
  leafPath: Path = new Path();
  segmentPath: Path = new Path();
  /** Leaves left of this chunk; set by `underClaim`. */
  before: u64 = 0;

  constructor(private bytes: StaticArray<u8>) {}

  get leaves(): u64 {
    return (<u64>this.length + LEAF_BYTES - 1) / LEAF_BYTES;
  }

  get segment(): u64 {
    return this.position >> 16;
  }

  get chunk(): u32 {
    return <u32>(this.position & 0xffff);
  }

  /** False in a refutation. */
  get showsLeaf(): bool {
    return this.leafLength > 0 || this.leafPath.count > 0;
  }

  /** Whether the sum path ends in the claim. Sets `before`. */
  underClaim(claim: Committed): bool {
    let sum = this.leaves;
    let hash = heldHash(this.position, sum, this.chunkId);
    let sibling = changetype<usize>(this.bytes) + this.sumsAt;
    this.before = 0;
    const node = new StaticArray<u8>(1 + 2 * SUM_BYTES);
    const to = changetype<usize>(node);
    const leftSide = to + 1;
    const rightSide = leftSide + SUM_BYTES;
    store<u8>(to, 3);
    for (let level: u32 = 0; level < POSITION_BITS; level++) {
      const given = ((this.mask >> level) & 1) == 1;
      const right = ((this.position >> level) & 1) == 1;
      const own = right ? rightSide : leftSide;
      const other = right ? leftSide : rightSide;
      const siblingSum = given ? load<u64>(sibling) : 0;
      if (given) {
        // An empty tree has the zero hash and nothing else has: a sum of zero cannot hide a chunk, nor air be counted.
        if (siblingSum == 0 || isZeroHash(sibling + 8)) return false;
        memory.copy(other, sibling, SUM_BYTES);
        sibling += SUM_BYTES;
      } else {
        memory.fill(other, 0, SUM_BYTES);
      }
      store<u64>(own, sum);
      memory.copy(own + 8, changetype<usize>(hash), HASH_BYTES);
      if (right) this.before += siblingSum;
      const total = sum + siblingSum;
      if (total < sum) return false;
      sum = total;
      hash = blake3(node);
    }
    return sum == claim.sum && equal(hash, claim.root);
  }

  /** The same chunk with another sum path, mask u64 and siblings: what another node that claims it shows. Not ok if malformed. */
  claimedBy(sumPath: StaticArray<u8>): HeldChunk {
    const other = new HeldChunk(sumPath);
    other.position = this.position;
    other.length = this.length;
    other.chunkId = this.chunkId;
    other.sumsAt = 8;
    if (sumPath.length < 8) return other;
    other.mask = load<u64>(changetype<usize>(sumPath));
    other.ok = other.mask >> POSITION_BITS == 0 && <u32>sumPath.length == 8 + <u32>popcnt(other.mask) * SUM_BYTES;
    return other;
  }

  /** Whether the chunk stands in the archive under `segmentRoot`. */
  underSegment(segmentRoot: StaticArray<u8>): bool {
    const leaf = new Writer(41).u8(CHUNK_LEAF).u32(this.chunk).u32(this.length).raw(this.chunkId).bytes;
    return equal(this.follow(this.segmentPath, leafHash(leaf)), segmentRoot);
  }

  /** Whether the leaf shown is leaf `index` of the chunk. */
  checkLeaf(index: u64): u8 {
    const leaves = this.leaves;
    const last = index == leaves - 1;
    const expected = last ? this.length - <u32>index * LEAF_BYTES : LEAF_BYTES;
    if (this.leafLength != expected) return LEAF_LENGTH;
    const shape = pathShape(<u32>index, <u32>leaves);
    if (this.leafPath.count != shape.siblings || this.leafPath.directions != shape.directions) return LEAF_PATH;
    const content = new StaticArray<u8>(1 + this.leafLength);
    memory.copy(changetype<usize>(content) + 1, changetype<usize>(this.bytes) + this.leafAt, this.leafLength);
    return equal(this.follow(this.leafPath, blake3(content)), this.chunkId) ? PASSED : LEAF_PATH;
  }

  private follow(path: Path, leaf: StaticArray<u8>): StaticArray<u8> {
    return follow(this.bytes, path, leaf);
  }
}

/** The root in which a path from `leaf` ends. Its siblings stand in `bytes`. */
export function follow(bytes: StaticArray<u8>, path: Path, leaf: StaticArray<u8>): StaticArray<u8> {
  let hash = leaf;
  let sibling = changetype<usize>(bytes) + path.at;
  const node = new StaticArray<u8>(1 + 2 * HASH_BYTES);
  const to = changetype<usize>(node);
  const leftSide = to + 1;
  const rightSide = leftSide + HASH_BYTES;
  store<u8>(to, 1);
  for (let k: u32 = 0; k < path.count; k++) {
    const left = ((path.directions >> k) & 1) == 1;
    memory.copy(left ? leftSide : rightSide, sibling, HASH_BYTES);
    memory.copy(left ? rightSide : leftSide, changetype<usize>(hash), HASH_BYTES);
    sibling += HASH_BYTES;
    hash = blake3(node);
  }
  return hash;
}

/** The root in which a path, as an answer has it, ends from the first leaf of a tree: all its siblings are right ones. */
export function rootOfFirst(leaf: StaticArray<u8>, pathBytes: StaticArray<u8>): StaticArray<u8> {
  const steps = new Steps(pathBytes);
  const path = steps.path();
  const whole = steps.ok && steps.at == <u32>pathBytes.length && path.directions == 0;
  assert(whole, 'path: not that of the first leaf');
  return follow(pathBytes, path, leaf);
}

function isZeroHash(at: usize): bool {
  return (load<u64>(at) | load<u64>(at, 8) | load<u64>(at, 16) | load<u64>(at, 24)) == 0;
}

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

/** Reads an answer, which it keeps. `ok` is false if it is malformed. Without a sum path, `mask` must be 0 (manual challenges). */
export function parseAnswer(bytes: StaticArray<u8>): HeldChunk {
  const steps = new Steps(bytes);
  const held = new HeldChunk(bytes);
  const start = changetype<usize>(bytes);
  steps.take(8 + 4 + HASH_BYTES + 8);
  if (steps.ok) {
    held.position = load<u64>(start);
    held.length = load<u32>(start, 8);
    held.chunkId = StaticArray.slice<u8>(bytes, 12, 44);
    held.mask = load<u64>(start, 44);
  }
  steps.ok = steps.ok && held.position >> POSITION_BITS == 0 && held.mask >> POSITION_BITS == 0;
  steps.ok = steps.ok && held.length > 0 && held.length <= MAX_CHUNK_BYTES;
  held.sumsAt = steps.take(steps.ok ? <u32>popcnt(held.mask) * SUM_BYTES : 0);
  const lengthAt = steps.take(2);
  held.leafLength = steps.ok ? <u32>load<u16>(start + lengthAt) : 0;
  steps.ok = steps.ok && held.leafLength <= LEAF_BYTES;
  held.leafAt = steps.take(held.leafLength);
  held.leafPath = steps.path();
  held.segmentPath = steps.path();
  held.ok = steps.ok && steps.at == <u32>bytes.length;
  return held;
}

/** Checks everything of an answer to the draw of claimed leaf `drawn`, given the stored root of its segment. */
export function checkAnswer(held: HeldChunk, claim: Committed, drawn: u64, segmentRoot: StaticArray<u8>): u8 {
  if (!held.ok) return MALFORMED;
  if (!held.underClaim(claim)) return SUM_PATH;
  if (drawn < held.before || drawn - held.before >= held.leaves) return NOT_DRAWN;
  const leaf = held.checkLeaf(drawn - held.before);
  if (leaf != PASSED) return leaf;
  return held.underSegment(segmentRoot) ? PASSED : ARCHIVE_PATH;
}

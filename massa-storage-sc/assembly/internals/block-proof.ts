/**
 * The proof of which block a slot had: from the slot's leaf to the root of its period, from there to the root of its segment. The
 * same as `BlockProof` in massa-distributed-storage-exports, held together by tests/data/block-proof-vectors.json.
 *
 * ```text
 * slot u8: 00 missed, 01 a block, whose id (33) follows
 * path from the slot's leaf (05 | thread u8 | slot) to the period root
 * length of the period u32
 * path from the period's leaf (02 | period u64 | length u32 | period root) to the segment root
 * path: as in an answer
 * ```
 *
 * Both leaves name what they are of, and begin with a kind that no other leaf of their tree has: so the shapes of paths need no check.
 */
import { MAX_PATH_BYTES, Path, Steps, follow } from './answer';
import { Writer } from './bytes';
import { leafHash } from './hashes';

/** Of a block id: version and hash. */
export const BLOCK_ID_BYTES: u32 = 33;
/** A block, a length, two paths. */
export const MAX_BLOCK_PROOF_BYTES: u32 = 1 + BLOCK_ID_BYTES + MAX_PATH_BYTES + 4 + MAX_PATH_BYTES;

const PERIOD_LEAF: u8 = 2;
const SLOT_LEAF: u8 = 5;

export class BlockProof {
  /** Empty: the slot was missed. */
  blockId: StaticArray<u8> = new StaticArray<u8>(0);
  private slotPath: Path = new Path();
  private periodLength: u32 = 0;
  private periodPath: Path = new Path();

  /** Traps on anything that is not the whole of a proof. */
  constructor(private bytes: StaticArray<u8>) {
    const steps = new Steps(bytes);
    const start = changetype<usize>(bytes);
    const kindAt = steps.take(1);
    const kind: u32 = steps.ok ? load<u8>(start + kindAt) : 0;
    assert(kind < 2, 'argument proof: a slot is 0 or 1');
    const idAt = steps.take(kind * BLOCK_ID_BYTES);
    if (steps.ok) this.blockId = StaticArray.slice<u8>(bytes, idAt, idAt + kind * BLOCK_ID_BYTES);
    this.slotPath = steps.path();
    const lengthAt = steps.take(4);
    if (steps.ok) this.periodLength = load<u32>(start + lengthAt);
    this.periodPath = steps.path();
    assert(steps.ok && steps.at == <u32>bytes.length, 'argument proof: malformed');
  }

  /** The segment root in which it ends, if it is of this slot. */
  rootOf(period: u64, thread: u8): StaticArray<u8> {
    const slot = new Writer(3 + this.blockId.length).u8(SLOT_LEAF).u8(thread).u8(this.blockId.length > 0 ? 1 : 0);
    const periodRoot = follow(this.bytes, this.slotPath, leafHash(slot.raw(this.blockId).bytes));
    const leaf = new Writer(45).u8(PERIOD_LEAF).u64(period).u32(this.periodLength).raw(periodRoot).bytes;
    return follow(this.bytes, this.periodPath, leafHash(leaf));
  }
}

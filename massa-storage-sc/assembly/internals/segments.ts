/** Accepted segment roots: what claims and answers are checked against. Accepted by votes (`submission.ts`), or by a later root. */
import { Context, Storage } from '@massalabs/massa-as-sdk';
import { MAX_PATH_BYTES, rootOfFirst } from './answer';
import { Reader, Writer, equal, hex } from './bytes';
import { segmentKey } from './keys';
import { Operation } from './operation';
import { Fields } from './records';
import { HEADER_LEAF_BYTES, readHeader } from './segment-header';

/** The accepted root of a segment; empty if there is none. */
export function segmentRoot(segment: u64): StaticArray<u8> {
  const key = segmentKey(segment);
  if (!Storage.has<StaticArray<u8>>(key)) return new StaticArray<u8>(0);
  return new Fields(Storage.get<StaticArray<u8>>(key)).hashAt(0);
}

function rowOf(root: StaticArray<u8>, round: u64): StaticArray<u8> {
  return new Writer(40).raw(root).u64(round).bytes;
}

/** A root has its votes. */
export function acceptVoted(op: Operation, segment: u64, root: StaticArray<u8>): void {
  op.setShared(segmentKey(segment), rowOf(root, op.round));
  tellAccepted(op, segment, root);
}

function tellAccepted(op: Operation, segment: u64, root: StaticArray<u8>): void {
  op.event('SEGMENT_ROOT_ACCEPTED', [segment.toString(), hex(root)]);
}

/**
 * segment u64, header leaf, path: accepts the root before an accepted one. Segments form a chain: the header of one, which is under
 * its root, has the root of the one before. So history that is older than the registry can be claimed. The caller pays its storage.
 */
export function anchorEarlier(input: StaticArray<u8>): void {
  const op = new Operation();
  const reader = new Reader(input);
  const segment = reader.u64('segment');
  const leaf = reader.sized(HEADER_LEAF_BYTES, 'header');
  const path = reader.sized(MAX_PATH_BYTES, 'path');
  reader.end('anchorEarlier');
  const root = segmentRoot(segment);
  assert(root.length > 0, 'segment is not anchored');
  const header = readHeader(leaf);
  assert(equal(rootOfFirst(header.hash, path), root), 'header is not under the root of its segment');
  assert(header.segment == segment && header.chainId == Context.chainId(), 'header is of another segment');
  assert(segment > 0 && !isEmpty(header.previous), 'no segment comes before this one');
  assert(segmentRoot(segment - 1).length == 0, 'the segment before is anchored already');
  Storage.set<StaticArray<u8>>(segmentKey(segment - 1), rowOf(header.previous, op.round));
  tellAccepted(op, segment - 1, header.previous);
  op.finish();
}

function isEmpty(hash: StaticArray<u8>): bool {
  for (let i = 0; i < hash.length; i++) if (unchecked(hash[i]) != 0) return false;
  return true;
}

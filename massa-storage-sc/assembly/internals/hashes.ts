/** The tree's hashes. Same results as `massa-distributed-storage-exports/src/merkle.rs` and, for sums, README, "Claim". */
import { env } from '@massalabs/massa-as-sdk';
import { Writer } from './bytes';

export const HASH_BYTES: u32 = 32;

export function blake3(bytes: StaticArray<u8>): StaticArray<u8> {
  return env.env.blake3(bytes);
}

/** `H(00 | content)`. */
export function leafHash(content: StaticArray<u8>): StaticArray<u8> {
  return blake3(new Writer(1 + content.length).u8(0).raw(content).bytes);
}

/** `H(01 | left | right)`. */
export function nodeHash(left: StaticArray<u8>, right: StaticArray<u8>): StaticArray<u8> {
  return blake3(new Writer(65).u8(1).raw(left).raw(right).bytes);
}

/** A held chunk in a claim: `H(02 | position u64 | leaves u64 | chunk id)`. */
export function heldHash(position: u64, leaves: u64, chunkId: StaticArray<u8>): StaticArray<u8> {
  return blake3(new Writer(49).u8(2).u64(position).u64(leaves).raw(chunkId).bytes);
}

/** A node of a claim: `H(03 | left sum u64 | left hash | right sum u64 | right hash)`. */
export function sumHash(ls: u64, lh: StaticArray<u8>, rs: u64, rh: StaticArray<u8>): StaticArray<u8> {
  return blake3(new Writer(81).u8(3).u64(ls).raw(lh).u64(rs).raw(rh).bytes);
}

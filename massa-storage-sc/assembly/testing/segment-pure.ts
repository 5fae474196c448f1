/** What concerns segments, exported one by one for tests. Not part of the contract. */
import { Reader, Writer } from '../internals/bytes';
import { Committed, checkAnswer, parseAnswer } from '../internals/segment-answer';
import { readHeader } from '../internals/segment-header';

/** claim root, T, drawn leaf, segment root, answer */
export function check(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const claim = new Committed(reader.fixed(32, 'root'), reader.u64('sum'));
  const drawn = reader.u64('drawn');
  const segmentRoot = reader.fixed(32, 'segment root');
  return [checkAnswer(parseAnswer(reader.sized(10_000, 'answer')), claim, drawn, segmentRoot)];
}

/** claim root, T, segment root, answer: whether it is well-formed, shows a leaf, is under the claim, is under the segment root */
export function exhibit(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const claim = new Committed(reader.fixed(32, 'root'), reader.u64('sum'));
  const segmentRoot = reader.fixed(32, 'segment root');
  const held = parseAnswer(reader.sized(10_000, 'answer'));
  if (!held.ok) return [0, 0, 0, 0];
  const leaf: u8 = held.showsLeaf ? 1 : 0;
  return [1, leaf, held.underClaim(claim) ? 1 : 0, held.underSegment(segmentRoot) ? 1 : 0];
}

/** A header's leaf; gives its fields in their order, then its hash. */
export function header(input: StaticArray<u8>): StaticArray<u8> {
  const h = readHeader(input);
  const fields = new Writer(8 + 8 + 8 + 4 + 1 + 4 + 8 + 8 + 32 + 32).u64(h.chainId).u64(h.segment).u64(h.firstPeriod);
  fields.u32(h.periods).u8(h.threads).u32(h.chunkSize).u64(h.bodyLength).u64(h.bytesBefore);
  return fields.raw(h.previous).raw(h.hash).bytes;
}

/** Does nothing: what a call costs by itself. */
export function nothing(input: StaticArray<u8>): StaticArray<u8> {
  return input;
}

/** The pure parts, exported one by one for tests. Not part of the contract. */
import { Committed, checkAnswer, parseAnswer } from '../internals/answer';
import { Reader, Writer, utf8 } from '../internals/bytes';
import { readHeader } from '../internals/segment-header';
import * as formulas from '../internals/formulas';
import { add, moreThanTwoThirds, mul, mulDiv, sub } from '../internals/math';
import { u64ToBytes } from '@massalabs/as-types';

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

function context(reader: Reader): formulas.RoundContext {
  return new formulas.RoundContext(reader.u64('chain'), reader.text(64, 'registry'), reader.u64('round'));
}

export function draw(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const round = context(reader);
  const key = reader.fixed(32, 'key');
  const beacon = reader.fixed(32, 'beacon');
  return u64ToBytes(formulas.drawnLeaf(round, key, beacon, reader.u8('d'), reader.u64('leaves')));
}

export function challengeId(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const round = context(reader);
  const node = reader.text(64, 'node');
  const beacon = reader.fixed(32, 'beacon');
  return utf8(formulas.challengeId(round, node, beacon, reader.u8('d')));
}

export function drawCount(input: StaticArray<u8>): StaticArray<u8> {
  return u64ToBytes(formulas.drawCount(new Reader(input).u64('leaves')));
}

export function credit(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  return u64ToBytes(formulas.credit(r.u64('T'), r.u64('P'), r.u64('rate'), r.u64('passes'), r.u64('K')));
}

/** rate and reserve */
export function round(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  const configured = r.u64('configured');
  const pool = r.u64('pool');
  const leaves = r.u64('leaves');
  const periods = r.u64('periods');
  const rate = formulas.roundRate(configured, pool, leaves, periods);
  return new Writer(16).u64(rate).u64(formulas.roundReserve(leaves, periods, rate)).bytes;
}

export function slash(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  return u64ToBytes(formulas.slashAmount(r.u64('stake'), r.u64('percent'), r.u64('missed'), r.u64('K')));
}

export function negativeLog2(input: StaticArray<u8>): StaticArray<u8> {
  return u64ToBytes(formulas.negativeLog2(new Reader(input).u64('h')));
}

export function score(input: StaticArray<u8>): StaticArray<u8> {
  const reader = new Reader(input);
  const chunk = reader.fixed(32, 'chunk');
  return u64ToBytes(formulas.placementScore(chunk, reader.fixed(32, 'key'), reader.u64('weight')));
}

export function divide(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  return u64ToBytes(mulDiv(r.u64('a'), r.u64('b'), r.u64('c')));
}

export function twoThirds(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  return [moreThanTwoThirds(r.u64('part'), r.u64('whole')) ? 1 : 0];
}

/** What 0, 1, 2 stand for: a + b, a − b, a · b */
export function arithmetic(input: StaticArray<u8>): StaticArray<u8> {
  const r = new Reader(input);
  const which = r.u8('which');
  const a = r.u64('a');
  const b = r.u64('b');
  return u64ToBytes(which == 0 ? add(a, b) : which == 1 ? sub(a, b) : mul(a, b));
}

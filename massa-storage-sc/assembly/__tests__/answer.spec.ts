import { Committed, checkAnswer, parseAnswer, pathShape } from '../internals/answer';
import { Writer } from '../internals/bytes';
import { StorageConfig } from '../internals/config';
import { heldHash, leafHash, sumHash } from '../internals/hashes';
import { ARCHIVE_PATH, LEAF_LENGTH, MALFORMED, NOT_DRAWN, PASSED, SUM_PATH } from '../internals/reasons';

const ZERO = new StaticArray<u8>(32);
const CHUNK_BYTES: u16 = 5;

/** Of a chunk of one leaf at position 0, alone in its claim, under nothing. */
function answer(position: u64, length: u32, mask: u64, leafBytes: u16, directions: u16, siblings: u8, extra: u32): StaticArray<u8> {
  const sums = 40 * <u32>popcnt(mask);
  const size = 8 + 4 + 32 + 8 + sums + 2 + leafBytes + 6 + 32 * siblings + extra;
  const writer = new Writer(size).u64(position).u32(length).raw(chunkId()).u64(mask).raw(new StaticArray<u8>(sums));
  writer.u16(leafBytes).raw(new StaticArray<u8>(leafBytes));
  writer.u16(0).u8(0).u16(directions).u8(siblings).raw(new StaticArray<u8>(32 * siblings));
  return writer.bytes;
}

function chunkId(): StaticArray<u8> {
  return leafHash(new StaticArray<u8>(CHUNK_BYTES));
}

function claim(position: u64 = 0): Committed {
  let hash = heldHash(position, 1, chunkId());
  for (let level = 0; level < 40; level++) {
    const right = ((position >> level) & 1) == 1;
    hash = right ? sumHash(0, ZERO, 1, hash) : sumHash(1, hash, 0, ZERO);
  }
  return new Committed(hash, 1);
}

/** A segment root over the leaf of one chunk, without siblings. */
function segmentOf(chunk: u32): StaticArray<u8> {
  return leafHash(new Writer(41).u8(3).u32(chunk).u32(CHUNK_BYTES).raw(chunkId()).bytes);
}

/** Of a chunk of segment 2, which has this number in it. */
function reasonIn(chunk: u64, root: StaticArray<u8>): u8 {
  const position = (2 << 16) | chunk;
  const held = parseAnswer(answer(position, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 0));
  return checkAnswer(held, claim(position), 0, root);
}

function reason(bytes: StaticArray<u8>, drawn: u64): u8 {
  return checkAnswer(parseAnswer(bytes), claim(), drawn, ZERO);
}

describe('an answer', () => {
  it('is right up to the archive: its chunk is claimed, the leaf drawn, but no segment holds it', () => {
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 0), 0)).toBe(ARCHIVE_PATH);
  });

  it('passes with its chunk in its segment', () => {
    expect(reasonIn(7, segmentOf(7))).toBe(PASSED);
    expect(reasonIn(7, segmentOf(6))).toBe(ARCHIVE_PATH);
    expect(reasonIn(0xffff, segmentOf(0xffff))).toBe(PASSED);
  });

  it('shows the drawn leaf', () => {
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 0), 1)).toBe(NOT_DRAWN);
  });

  it('shows all of the leaf', () => {
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES - 1, 0, 0, 0), 0)).toBe(LEAF_LENGTH);
  });

  it('stands at its position', () => {
    expect(reason(answer(1, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 0), 0)).toBe(SUM_PATH);
  });

  it('is malformed with nothing in it, or with more than it says', () => {
    expect(reason(new StaticArray<u8>(0), 0)).toBe(MALFORMED);
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 1), 0)).toBe(MALFORMED);
  });

  it('is malformed with a position or a mask beyond 40 bits', () => {
    expect(reason(answer(<u64>1 << 40, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 0, 0), 0)).toBe(MALFORMED);
    expect(reason(answer(0, CHUNK_BYTES, <u64>1 << 40, CHUNK_BYTES, 0, 0, 0), 0)).toBe(MALFORMED);
  });

  it('is malformed with an empty chunk, or one above 64 MiB', () => {
    expect(reason(answer(0, 0, 0, CHUNK_BYTES, 0, 0, 0), 0)).toBe(MALFORMED);
    expect(reason(answer(0, <u32>(64 << 20) + 1, 0, CHUNK_BYTES, 0, 0, 0), 0)).toBe(MALFORMED);
  });

  it('is malformed with more than 16 siblings, or directions of siblings that are not there', () => {
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 0, 17, 0), 0)).toBe(MALFORMED);
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 2, 1, 0), 0)).toBe(MALFORMED);
    expect(reason(answer(0, CHUNK_BYTES, 0, CHUNK_BYTES, 1, 1, 0), 0)).toBe(ARCHIVE_PATH);
  });
});

describe('the shape of a path', () => {
  it('of one leaf is empty', () => {
    expect(pathShape(0, 1).siblings).toBe(0);
  });

  it('of leaf 5 of 8 goes left, right, left from the leaf up', () => {
    expect(pathShape(5, 8).siblings).toBe(3);
    expect(pathShape(5, 8).directions).toBe(0b101);
  });

  it('of the largest chunk has 16 siblings', () => {
    expect(pathShape(65_535, 65_536).siblings).toBe(16);
    expect(pathShape(65_535, 65_536).directions).toBe(0xffff);
  });
});

function config(field: i32, value: u64): StorageConfig {
  const values: u64[] = [1_000_000, 1, 16_384, 60_000, 10, 100, 7, 3, 1 << 20, 100, 0, 4];
  const config = new StorageConfig();
  for (let i = 0; i < values.length; i++) config.values[i] = i == field ? value : values[i];
  return config;
}

describe('a configuration', () => {
  it('is taken within its bounds', () => {
    config(-1, 0).check();
    config(4, 100).check();
    config(9, 2).check();
    config(9, 256).check();
    config(10, 8).check();
    config(11, 1).check();
    config(11, 64).check();
  });

  it('has rounds of all their segments', () => {
    expect(config(-1, 0).roundPeriods).toBe(400);
    expect(config(11, 1).roundPeriods).toBe(100);
  });

  throws('is refused with segments of more than 256 periods', () => { config(9, 257).check(); });
  throws('is refused with rounds of less than 8 periods', () => { config(9, 1).check(); });
  throws('is refused without segments in a round', () => { config(11, 0).check(); });
  throws('is refused with rounds of more than 64 segments', () => { config(11, 65).check(); });
  throws('is refused with a first segment inside of a round', () => { config(10, 6).check(); });
  throws('is refused without a slash', () => { config(4, 0).check(); });
  throws('is refused with a chunk that is no power of two', () => { config(8, 65_537).check(); });
});

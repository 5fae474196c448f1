import { Reader, Writer, equal, hex, utf8 } from '../internals/bytes';
import { credit, drawCount, negativeLog2, requiredStake, roundRate, roundReserve, slashAmount } from '../internals/formulas';
import { blake3, heldHash, leafHash, nodeHash, sumHash } from '../internals/hashes';
import { moreThanTwoThirds, mulDiv, mulHigh, productAtLeast } from '../internals/math';
import { pathShape } from '../internals/answer';

const ZERO = new StaticArray<u8>(32);

describe('hashes', () => {
  it('are BLAKE3', () => {
    // The test vector of BLAKE3 for no input.
    const expected = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262';
    expect(hex(blake3(new StaticArray<u8>(0)))).toBe(expected);
  });

  it('differ for leaves, nodes, held chunks and sums', () => {
    const leaf = leafHash(new Writer(64).bytes);
    expect(equal(leaf, nodeHash(ZERO, ZERO))).toBe(false);
    expect(equal(heldHash(0, 0, ZERO), sumHash(0, ZERO, 0, ZERO))).toBe(false);
    expect(equal(leaf, leafHash(new Writer(64).bytes))).toBe(true);
  });
});

describe('money', () => {
  it('pays 100 000 000 nano for a GB, 100 periods, rate a million, four of four', () => {
    expect(credit(1 << 20, 100, 1_000_000, 4, 4)).toBe(100_000_000);
  });

  it('pays 214 576 nano for 3000 leaves, three of four', () => {
    expect(credit(3000, 100, 1_000_000, 3, 4)).toBe(214_576);
  });

  it('lowers the rate to what the pool pays', () => {
    expect(roundRate(1_000_000, 256 * 50_000_000, 1 << 20, 100)).toBe(500_000);
    expect(roundReserve(1 << 20, 100, 500_000)).toBe(50_000_000);
  });

  it('slashes by the share of missed draws, at most everything', () => {
    expect(slashAmount(1000, 10, 1, 4)).toBe(25);
    expect(slashAmount(1000, 100, 4, 4)).toBe(1000);
  });

  it('asks the larger stake', () => {
    expect(requiredStake(100, 7, 10)).toBe(100);
    expect(requiredStake(100, 7, 20)).toBe(140);
  });
});

describe('arithmetic', () => {
  it('multiplies and divides in 128 bits', () => {
    expect(mulHigh(u64.MAX_VALUE, u64.MAX_VALUE)).toBe(u64.MAX_VALUE - 1);
    expect(mulDiv(u64.MAX_VALUE, 10, 20)).toBe(u64.MAX_VALUE >> 1);
    expect(mulDiv(u64.MAX_VALUE, 2, 1)).toBe(u64.MAX_VALUE);
  });

  it('needs more than two thirds', () => {
    expect(moreThanTwoThirds(2, 3)).toBe(false);
    expect(moreThanTwoThirds(3, 4)).toBe(true);
    expect(moreThanTwoThirds(0, 0)).toBe(false);
    expect(moreThanTwoThirds(u64.MAX_VALUE, u64.MAX_VALUE)).toBe(true);
  });

  it('compares products without wrapping', () => {
    expect(productAtLeast(u64.MAX_VALUE, 2, 2, u64.MAX_VALUE)).toBe(true);
    expect(productAtLeast(u64.MAX_VALUE, 2, 3, u64.MAX_VALUE)).toBe(false);
  });
});

describe('draws and paths', () => {
  it('draws 4, one more for each 256 GB, at most 16', () => {
    expect(drawCount(1)).toBe(4);
    expect(drawCount(1 << 28)).toBe(5);
    expect(drawCount(<u64>1 << 44)).toBe(16);
  });

  it('takes the logarithm of one half', () => {
    expect(negativeLog2((<u64>1 << 63) - 1)).toBe(<u64>1 << 32);
    expect(negativeLog2(u64.MAX_VALUE)).toBe(0);
  });

  it('knows the shape of a path: leaf 4 of 5 has one sibling, on the left', () => {
    const shape = pathShape(4, 5);
    expect(shape.siblings).toBe(1);
    expect(shape.directions).toBe(1);
  });
});

describe('input', () => {
  throws('a length near 2^32 is refused', () => {
    new Reader(new Writer(8).u32(u32.MAX_VALUE).u32(0).bytes).sized(u32.MAX_VALUE, 'field');
  });

  throws('bytes that follow are refused', () => {
    new Reader(utf8('x')).end('input');
  });
});

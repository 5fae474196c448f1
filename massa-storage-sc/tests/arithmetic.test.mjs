// Sums, differences and products of money never wrap.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pureParts } from './compiled.mjs';
import { Chain } from './host.mjs';
import * as m from './model.mjs';

const pure = new Chain(pureParts());
const MAX = (1n << 64n) - 1n;
const [SUM, DIFFERENCE, PRODUCT] = [0, 1, 2];
const run = (which, a, b) => pure.call('arithmetic', m.cat(m.u8(which), m.u64(a), m.u64(b)));
const gives = (which, a, b, expected) => assert.equal(run(which, a, b).result.readBigUInt64LE(), expected);
const refuses = (message, which, a, b) => assert.equal(run(which, a, b).error, message);

test('a sum', () => {
  gives(SUM, MAX - 1n, 1n, MAX);
  refuses('addition overflows', SUM, MAX, 1n);
  refuses('addition overflows', SUM, MAX, MAX);
});

test('a difference', () => {
  gives(DIFFERENCE, 5n, 5n, 0n);
  refuses('subtraction goes below zero', DIFFERENCE, 5n, 6n);
  refuses('subtraction goes below zero', DIFFERENCE, 0n, MAX);
});

test('a product', () => {
  gives(PRODUCT, 0n, MAX, 0n);
  gives(PRODUCT, 1n << 32n, (1n << 32n) - 1n, MAX - ((1n << 32n) - 1n));
  refuses('multiplication overflows', PRODUCT, 1n << 32n, 1n << 32n);
  refuses('multiplication overflows', PRODUCT, MAX, 2n);
});

test('a division by nothing', () => {
  assert.equal(pure.call('divide', m.cat(m.u64(1), m.u64(1), m.u64(0))).error, 'division by zero');
});

test('pay by hand: 2^20 leaves of four passed draws earn 100 000 000 nano, 3000 leaves of three of four earn 214 576', () => {
  const credit = (...numbers) => pure.call('credit', m.cat(...numbers.map(m.u64))).result.readBigUInt64LE();
  // 2^20 leaves are one GB: 1 GB · 100 periods · 1 000 000 nano · 4/4.
  assert.equal(credit(1 << 20, 100, 1_000_000, 4, 4), 100_000_000n);
  // 3000 · 100 · 1 000 000 · 3 = 900 000 000 000; by 4 · 1 048 576 = 4 194 304: 214 576.7…
  assert.equal(credit(3000, 100, 1_000_000, 3, 4), 214_576n);
});

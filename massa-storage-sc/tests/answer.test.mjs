// The contract's answers and segment headers against committed vectors, which the Rust code is held to, too.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { meter } from '../scripts/meter.mjs';
import { pureParts } from './compiled.mjs';
import { Chain } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';

/** Of one check, at the largest claim that is measured. */
const GAS_MAX = 1_500_000;

const wasm = pureParts();
const pure = new Chain(wasm);
const run = (fn, ...args) => {
  const done = pure.call(fn, m.cat(...args));
  assert.equal(done.error, undefined);
  return done.result;
};
const hex = (text) => Buffer.from(text, 'hex');
const committed = readFileSync(new URL('../../tests/data/segment-answer-vectors.json', import.meta.url), 'utf8');
const vectors = JSON.parse(committed);

/** What the registry says to the answers of a set. */
function registryOf(set) {
  const claim = m.cat(hex(set.claim.root), m.u64(set.claim.sum));
  const rootOf = (answer) => {
    const segment = answer.length >= 8 ? answer.readBigUInt64LE() >> 16n : 0n;
    const row = set.segment_roots.find((r) => BigInt(r.segment) === segment);
    return row && hex(row.root);
  };
  // Whether a segment is anchored is asked between parsing and checking, by who has the roots.
  const check = (drawn, answer) => {
    const anchored = rootOf(answer);
    const reason = run('check', claim, m.u64(drawn), anchored ?? Buffer.alloc(32), m.sized(answer))[0];
    return reason === s.MALFORMED || anchored ? reason : s.SEGMENT_UNKNOWN;
  };
  return { claim, rootOf, check };
}

for (const set of vectors.sets) {
  const { claim, rootOf, check } = registryOf(set);
  test(`chunks of ${set.chunk_size} bytes: valid answers pass`, () => {
    for (const { position, drawn, answer, reason } of set.answers) assert.equal(check(drawn, hex(answer)), reason, `${position}, leaf ${drawn}`);
  });
  for (const { name, drawn, answer, reason } of set.tampered) {
    test(`chunks of ${set.chunk_size} bytes: ${name}`, () => assert.equal(check(drawn, hex(answer)), reason));
  }
  test(`chunks of ${set.chunk_size} bytes: a chunk is shown without a leaf`, () => {
    const shown = set.tampered.find((row) => row.name === 'no leaf at all');
    const answer = hex(shown.answer);
    const exhibit = (bytes) => [...run('exhibit', claim, rootOf(bytes) ?? Buffer.alloc(32), m.sized(bytes))];
    assert.deepEqual(exhibit(answer), [1, 0, 1, 1]);
    assert.deepEqual(exhibit(hex(set.answers[0].answer)), [1, 1, 1, 1]);
    assert.deepEqual(exhibit(answer.subarray(1)), [0, 0, 0, 0]);
    const other = Buffer.from(answer);
    other[12] ^= 1;
    assert.deepEqual(exhibit(other), [1, 0, 0, 0]);
  });
}

/** The reason for the first leaf of a claim that was crafted with one sibling beside an honest chunk. */
function reasonBeside(sibling) {
  const [set] = vectors.sets;
  const answer = s.decodeAnswer(hex(set.answers.find((row) => row.drawn === '0').answer));
  const leaves = BigInt(Math.ceil(answer.length / 1024));
  const sum = BigInt.asUintN(64, leaves + sibling.sum);
  let claimRoot = m.hash(m.u8(3), m.u64(leaves), m.hash(m.u8(2), m.u64(0), m.u64(leaves), answer.id), m.u64(sibling.sum), sibling.hash);
  for (let level = 1; level < 40; level++) claimRoot = m.hash(m.u8(3), m.u64(sum), claimRoot, m.u64(0), Buffer.alloc(32));
  const crafted = s.encodeAnswer({ ...answer, mask: 1n, siblings: [sibling] });
  const reason = run('check', claimRoot, m.u64(sum), m.u64(0), hex(set.segment_roots[0].root), m.sized(crafted))[0];
  const rootOf = () => hex(set.segment_roots[0].root);
  assert.equal(s.checkAnswer(crafted, { root: claimRoot, sum }, 0n, rootOf), reason, 'the model');
  return reason;
}

test('a claim that counts air, hides a chunk or overflows is worth nothing', () => {
  const some = m.hash(m.u8(1));
  assert.equal(reasonBeside({ sum: 5n, hash: some }), s.PASSED);
  assert.equal(reasonBeside({ sum: 5n, hash: Buffer.alloc(32) }), s.SUM_PATH);
  assert.equal(reasonBeside({ sum: 0n, hash: some }), s.SUM_PATH);
  assert.equal(reasonBeside({ sum: (1n << 64n) - 1n, hash: some }), s.SUM_PATH);
});

test('the leaf after a chunk is not in it: where both have one whole leaf, its path would fit', () => {
  const segment = s.madeSegment({ segment: 0, periods: 4, chunkLengths: [1024, 1024] });
  const holding = new s.Holding([segment]);
  const { claim } = holding;
  const check = (drawn, answer) => run('check', claim.root, m.u64(claim.sum), m.u64(drawn), segment.root, m.sized(answer))[0];
  const [first, second] = [0n, 1n].map((j) => holding.answer(j));
  assert.deepEqual([check(0n, first), check(1n, second)], [s.PASSED, s.PASSED]);
  assert.deepEqual([check(1n, first), check(0n, second)], [s.NOT_DRAWN, s.NOT_DRAWN]);
});

test('a leaf is shown with the path of its own place: another may have the same sides, and fewer siblings', () => {
  const segment = s.madeSegment({ segment: 0, periods: 4, chunkLengths: [3072] });
  const holding = new s.Holding([segment]);
  const parts = [0n, 1n, 2n].map((j) => holding.parts(j));
  const sides = ({ leafPath }) => leafPath.map(([left]) => left);
  assert.deepEqual([sides(parts[1]), sides(parts[2])], [[1, 0], [1]]);
  const check = (drawn, answer) => run('check', holding.claim.root, m.u64(3), m.u64(drawn), segment.root, m.sized(s.encodeAnswer(answer)))[0];
  assert.deepEqual([check(1n, parts[1]), check(2n, parts[2]), check(1n, parts[2]), check(2n, parts[1])], [s.PASSED, s.PASSED, s.LEAF_PATH, s.LEAF_PATH]);
});

test('a claim has forty levels: a sibling above them makes an answer malformed', () => {
  const segment = s.madeSegment({ segment: 0, periods: 4, chunkLengths: [1024, 1024] });
  const holding = new s.Holding([segment]);
  const { mask, siblings, ...parts } = holding.parts(0n);
  const above = s.encodeAnswer({ ...parts, mask: mask | (1n << 40n), siblings: [...siblings, { sum: 1n, hash: m.hash(m.u8(1)) }] });
  assert.equal(run('check', holding.claim.root, m.u64(2), m.u64(0), segment.root, m.sized(above))[0], s.MALFORMED);
});

test('a header is read field by field, and its hash begins its path', () => {
  for (const { segment, leaf, hash, root: segmentRoot, path } of vectors.headers) {
    const bytes = hex(leaf);
    const fields = run('header', bytes);
    // Kind and format go, the hash of the leaf comes.
    assert.ok(fields.equals(m.cat(bytes.subarray(2), hex(hash))), `segment ${segment}`);
    assert.equal(fields.readBigUInt64LE(8), BigInt(segment));
    const siblings = hex(path);
    let node = hex(hash);
    for (let at = 3; at < siblings.length; at += 32) node = m.hash(m.u8(1), node, siblings.subarray(at, at + 32));
    assert.equal(node.toString('hex'), segmentRoot);
  }
});

test('what is no header of format 2 is refused', () => {
  const leaf = hex(vectors.headers[1].leaf);
  const refuses = (bytes, message) => assert.ok(pure.call('header', bytes).error?.includes(message), message);
  const changed = (at, value) => { const other = Buffer.from(leaf); other[at] = value; return other; };
  for (const length of [leaf.subarray(1), m.cat(leaf, m.u8(0)), Buffer.alloc(0)]) refuses(length, 'segment header: 83 bytes');
  for (const kind of [0, 2, 3]) refuses(changed(0, kind), 'segment header: not the leaf of a header');
  for (const format of [1, 3]) refuses(changed(1, format), `segment header: unknown archive format ${format}`);
});

/** Claims of `count` chunks side by side, answered at a chunk of 1 MiB in the middle of a full segment. */
function largeAnswer(count) {
  const bytes = Buffer.alloc(1 << 20, 7);
  const chunk = new s.BodyChunk(300, bytes);
  const leaf = m.leafHash(s.chunkLeaf(chunk));
  // The segment of a full chain has a path of 13; what the siblings are does not matter.
  const segmentPath = Array.from({ length: 13 }, (_, k) => [k % 2, m.hash(m.u8(k))]);
  const segmentRoot = segmentPath.reduce((node, [left, sibling]) => (left ? m.hash(m.u8(1), sibling, node) : m.hash(m.u8(1), node, sibling)), leaf);
  const position = 5n << 16n | 300n;
  const held = new Map([[position, { leaves: 1024, id: chunk.id }]]);
  for (let k = 0; held.size < count; k++) held.set(BigInt(k % 64) << 16n | BigInt(k >> 6), { leaves: 1024, id: chunk.id });
  const claim = new m.Claim(held);
  const drawn = firstLeaf(held, position) + 500n;
  const answer = s.encodeAnswer({ position, length: bytes.length, id: chunk.id, ...claim.path(position), leaf: chunk.leaf(500), leafPath: m.treePath(chunk.leaves, 500), segmentPath });
  return { claim, drawn, segmentRoot, answer };
}
const firstLeaf = (held, position) => [...held].reduce((sum, [at, { leaves }]) => (at < position ? sum + BigInt(leaves) : sum), 0n);

test('the gas of a check', () => {
  const metered = new Chain(meter(wasm));
  const base = metered.call('nothing', Buffer.alloc(0)).gas;
  for (const count of [16, 4096]) {
    const { claim, drawn, segmentRoot, answer } = largeAnswer(count);
    const done = metered.call('check', m.cat(claim.root, m.u64(claim.sum), m.u64(drawn), segmentRoot, m.sized(answer)));
    assert.deepEqual([done.error, done.result[0]], [undefined, s.PASSED]);
    const gas = done.gas - base;
    console.log(`${count} chunks claimed: ${answer.length} bytes, ${gas} gas`);
    assert.ok(gas < GAS_MAX, `${gas} gas with ${count} chunks`);
  }
});

for (const set of vectors.sets) {
  test(`chunks of ${set.chunk_size} bytes: every byte of a valid answer matters, with the model's reason`, () => {
    const { check } = registryOf(set);
    for (const { drawn, answer, changed } of set.answers.filter((row) => row.changed)) {
      assert.doesNotMatch(changed, /0/);
      for (let at = 0; at < changed.length; at++) {
        const bytes = hex(answer);
        bytes[at] ^= 1 << at % 8;
        assert.equal(check(drawn, bytes), Number(changed[at]), `leaf ${drawn}, byte ${at}`);
      }
    }
  });
}

test('the committed answer vectors are what their script gives', async () => {
  const { text } = await import('../scripts/make-answer-vectors.mjs');
  assert.equal(committed, text);
});

// Writes ../tests/data/contract-answer-vectors.json: answers to draws, valid and tampered, made with tests/model.mjs, which shares
// no code with the contract. The expected reasons follow from the formats; tests/vectors.test.mjs holds the contract to them.
import { writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';

const PERIODS = 100;
const CHAIN = 77n;
const REGISTRY = 'AS12EXAMPLEregistryEXAMPLEregistryEXAMPLEregistry111';
const NODE = 'AU12EXAMPLEnodeEXAMPLEnodeEXAMPLEnodeEXAMPLEnode1111';
const ROUND = 7;
const PASSED = 0, MALFORMED = 2, SUM_PATH = 3, NOT_DRAWN = 4, LEAF_LENGTH = 5, LEAF_PATH = 6, SEGMENT_UNKNOWN = 7, ARCHIVE_PATH = 8;

const zero = new m.Segment({ segment: 0, periods: PERIODS, chunkLengths: { 0: [5000, 1024, 1], 9: [70_000] } });
const one = new m.Segment({ segment: 1, periods: PERIODS, chunkLengths: { 99: [3 * 1024 + 1], 50: [1 << 20] }, previous: zero.root });
const holding = new m.Holding([zero, one]);
const other = new m.Holding([zero]);
const key = m.placementKey(NODE, REGISTRY);
const beacon = m.hash(Buffer.from('beacon'));
const leaves = holding.claim.sum;
const base = { chainId: CHAIN, registry: REGISTRY, round: ROUND, key, beacon, leaves };
const hexOf = (b) => b.toString('hex');

const draws = [0, 1, 2, 3, 15].map((d) => {
  const leaf = m.drawnLeaf({ ...base, d });
  return { d, leaf: String(leaf), challenge_id: m.challengeId({ ...base, node: NODE, d }) };
});

// One leaf of each chunk: the first, and the last, which may be shorter.
const wanted = [];
let before = 0n;
for (const position of [...holding.chunks.keys()].sort((a, b) => (a < b ? -1 : 1))) {
  const n = BigInt(holding.chunks.get(position).leaves.length);
  wanted.push(before, before + n - 1n);
  before += n;
}
const drawn = [...new Set(wanted)];
const valid = drawn.map((j) => ({ name: `claimed leaf ${j}`, drawn: j, answer: holding.answer(j), reason: PASSED }));

function tampered() {
  const j = 3n;
  const parts = holding.parts(j);
  const last = holding.parts(4n);
  const make = (name, change, reason, at = j) => ({ name, drawn: at, answer: m.encodeAnswer({ ...holding.parts(at), ...change }), reason });
  const chunkOf = (p) => holding.chunks.get(p);
  const far = one.position(99, 0);
  const zeroSum = { sum: 0n, hash: m.hash(Buffer.from('x')) };
  const path17 = Array.from({ length: 17 }, () => [0, Buffer.alloc(32)]);
  const replaced = (list, at, item) => list.map((old, k) => (k === at ? item : old));
  return [
    { name: 'the leaf before', drawn: j, answer: holding.answer(j - 1n), reason: LEAF_PATH },
    { name: 'a leaf of another chunk', drawn: j, answer: holding.answer(5n), reason: NOT_DRAWN },
    { name: 'a leaf of the chunk before', drawn: 6n, answer: holding.answer(5n), reason: NOT_DRAWN },
    { name: 'another claim (of another node, or another round)', drawn: j, answer: other.answer(j), reason: SUM_PATH },
    make('position of another chunk of the period', { position: zero.position(0, 1) }, SUM_PATH),
    make('position of another period', { position: zero.position(9, 0) }, SUM_PATH),
    make('position of a known segment', { position: far }, SUM_PATH),
    make('position of a segment that is not anchored', { position: (5n << 16n) }, SEGMENT_UNKNOWN),
    make('position above 40 bits', { position: 1n << 40n }, MALFORMED),
    make('id of another chunk', { id: chunkOf(far).id }, SUM_PATH),
    make('length one less, same leaves', { length: 4999 }, ARCHIVE_PATH),
    make('length one less, at the last leaf', { length: 4999 }, LEAF_LENGTH, 4n),
    make('length with another number of leaves', { length: 6000 }, SUM_PATH),
    make('length 0', { length: 0 }, MALFORMED),
    make('length above 64 MiB', { length: (64 << 20) + 1 }, MALFORMED),
    make('leaf of another place, with its path', { leaf: last.leaf, leafPath: last.leafPath }, LEAF_LENGTH),
    make('leaf path of another leaf', { leafPath: holding.parts(2n).leafPath }, LEAF_PATH),
    make('leaf path too short', { leafPath: parts.leafPath.slice(1) }, LEAF_PATH),
    make('leaf one byte short', { leaf: parts.leaf.subarray(1) }, LEAF_LENGTH),
    make('empty leaf', { leaf: Buffer.alloc(0), leafPath: [] }, LEAF_LENGTH),
    make('leaf above 1024 bytes', { leaf: Buffer.alloc(1025) }, MALFORMED),
    make('period path of another chunk', { periodPath: zero.paths(zero.position(0, 1)).periodPath }, ARCHIVE_PATH),
    make('period path of another period', { periodPath: zero.paths(zero.position(9, 0)).periodPath }, ARCHIVE_PATH),
    make('segment path of another period', { segmentPath: zero.paths(zero.position(9, 0)).segmentPath }, ARCHIVE_PATH),
    make('paths of another segment', one.paths(far), ARCHIVE_PATH),
    make('17 siblings', { segmentPath: path17 }, MALFORMED),
    make('no sum siblings', { mask: 0n, siblings: [] }, SUM_PATH),
    make('a sum sibling missing', { mask: parts.mask & (parts.mask - 1n), siblings: parts.siblings.slice(1) }, SUM_PATH),
    make('a sum sibling of sum 0 with a hash', { siblings: replaced(parts.siblings, 0, zeroSum) }, SUM_PATH),
    make('a sum sibling without a hash', { siblings: replaced(parts.siblings, 0, { sum: parts.siblings[0].sum, hash: Buffer.alloc(32) }) }, SUM_PATH),
    make('an empty sibling that is given', { mask: parts.mask | (1n << 39n), siblings: [...parts.siblings, { sum: 0n, hash: Buffer.alloc(32) }] }, SUM_PATH),
    make('a sum that overflows', { siblings: replaced(parts.siblings, 0, { ...parts.siblings[0], sum: (1n << 64n) - 1n }) }, SUM_PATH),
    make('mask above 40 bits', { mask: parts.mask | (1n << 40n) }, MALFORMED),
    { name: 'a byte too many', drawn: j, answer: m.cat(holding.answer(j), m.u8(0)), reason: MALFORMED },
    { name: 'a byte too few', drawn: j, answer: holding.answer(j).subarray(0, -1), reason: MALFORMED },
    { name: 'nothing', drawn: j, answer: Buffer.alloc(0), reason: MALFORMED },
  ];
}

const claimVector = (h) => ({
  chunks: [...h.chunks].map(([position, c]) => ({ position: String(position), leaves: c.leaves.length, chunk_id: hexOf(c.id) })),
  root: hexOf(h.claim.root),
  sum: String(h.claim.sum),
});
const row = ({ name, drawn: j, answer, reason }) => ({ name, drawn: String(j), reason, answer: hexOf(answer) });
const vectors = {
  about: 'Answers to draws, made by massa-storage-sc/scripts/make-vectors.mjs. Reasons are those of assembly/internals/reasons.ts. Each '
    + 'byte of each valid answer, changed in any way, must be refused. Numbers of 64 bits are decimal texts.',
  chain_id: String(CHAIN), registry: REGISTRY, node: NODE, round: ROUND, periods_per_segment: PERIODS,
  placement_key: hexOf(key), beacon: hexOf(beacon),
  segment_roots: [zero, one].map((s) => ({ segment: s.segment, root: hexOf(s.root) })),
  claim: claimVector(holding), other_claim: claimVector(other), draws,
  draw_counts: ['1', '268435455', '268435456', '3221225471', '3221225472', '17592186044416'].map((t) => ({ leaves: t, draws: m.drawCount(BigInt(t)) })),
  credits: [
    { leaves: '1048576', periods: 100, rate: '1000000', passes: 4, draws: 4, credit: '100000000' },
    { leaves: '3000', periods: 100, rate: '1000000', passes: 3, draws: 4, credit: '214576' },
    { leaves: '17592186044416', periods: 256, rate: '1000000000000', passes: 16, draws: 16, credit: '4294967296000000000000' },
  ].slice(0, 2),
  answers: [...valid, ...tampered()].map(row),
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/contract-answer-vectors.json', import.meta.url), text);
}

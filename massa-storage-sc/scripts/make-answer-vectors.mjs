// Writes ../tests/data/segment-answer-vectors.json: answers to draws of chunks of upstream's blocks, valid and tampered, made with
// tests/segment.mjs, which shares no code with the contract or the node. The reasons of the named changes follow from the format; those
// of `changed` are the model's. tests/answer.test.mjs holds the contract to them, tests/segment_answer.rs the node.
import { writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';
import * as s from '../tests/segment.mjs';
import { archive, chainId } from '../tests/segment-archive.mjs';

const SEGMENT_PERIODS = 2;
const hexOf = (b) => b.toString('hex');

/** Which positions the node claims: all but one chunk of each segment that has several. */
const keeps = (position) => (position & 0xffffn) !== 1n;

function set(chunkSize) {
  const segments = archive(chunkSize, SEGMENT_PERIODS);
  // The last segment stays without an accepted root.
  const anchored = segments.slice(0, -1);
  const holding = new s.Holding(segments, keeps);
  const rootOf = (segment) => anchored.find((a) => BigInt(a.segment) === segment)?.root;
  const check = (answer, drawn) => s.checkAnswer(answer, holding.claim, drawn, rootOf);
  const context = { segments, holding, check, drawnOf: firstLeaves(holding) };
  return {
    chunk_size: chunkSize,
    segment_periods: SEGMENT_PERIODS,
    segment_roots: anchored.map((a) => ({ segment: a.segment, root: hexOf(a.root) })),
    claim: {
      positions: [...holding.chunks.keys()].map(String),
      root: hexOf(holding.claim.root),
      sum: String(holding.claim.sum),
    },
    answers: valid(context),
    tampered: tampered(context),
  };
}

/** Position → the number of its first claimed leaf. */
function firstLeaves(holding) {
  const first = new Map();
  let before = 0n;
  for (const position of [...holding.chunks.keys()].sort((a, b) => (a < b ? -1 : 1))) {
    first.set(position, before);
    before += BigInt(holding.chunks.get(position).leaves.length);
  }
  return first;
}

/** The first leaf of each chunk, and the last, which may be shorter. `changed`: the reason after each byte is changed. */
function valid({ holding, check, drawnOf }) {
  const rows = [];
  for (const [position, first] of drawnOf) {
    const last = first + BigInt(holding.chunks.get(position).leaves.length) - 1n;
    for (const drawn of new Set([first, last])) {
      const answer = holding.answer(drawn);
      const reason = check(answer, drawn);
      const row = { position: String(position), drawn: String(drawn), reason, answer: hexOf(answer) };
      // Every byte of a few is enough, and keeps the file small.
      if (reason === s.PASSED && rows.filter((r) => r.changed).length < 4) row.changed = changes(answer, drawn, check);
      rows.push(row);
    }
  }
  return rows;
}

function changes(answer, drawn, check) {
  let reasons = '';
  for (let at = 0; at < answer.length; at++) {
    const changed = Buffer.from(answer);
    changed[at] ^= 1 << at % 8;
    reasons += check(changed, drawn);
  }
  return reasons;
}

function tampered({ segments, holding, drawnOf }) {
  const [, one, two] = segments;
  const [target, other] = [one.position(0), two.position(0)];
  const j = drawnOf.get(target) + 3n;
  const last = drawnOf.get(target) + BigInt(holding.chunks.get(target).leaves.length) - 1n;
  const parts = holding.parts(j);
  const make = (name, change, reason, at = j) => ({ name, drawn: at, answer: s.encodeAnswer({ ...holding.parts(at), ...change }), reason });
  const replaced = (list, at, item) => list.map((old, k) => (k === at ? item : old));
  const [side, sibling] = parts.segmentPath[0];
  const wrong = m.hash(Buffer.from('another'));
  const first = parts.siblings[0];
  const path17 = Array.from({ length: 17 }, () => [0, Buffer.alloc(32)]);
  const fromPeriod = one.periodPath(one.periods[0].number);
  const rows = [
    { name: 'the leaf before', drawn: j, answer: holding.answer(j - 1n), reason: s.LEAF_PATH },
    { name: 'a leaf of another chunk', drawn: j, answer: holding.answer(drawnOf.get(other)), reason: s.NOT_DRAWN },
    { name: 'another claim, of another node or another round', drawn: j, answer: new s.Holding(segments.slice(0, -1), keeps).answer(j), reason: s.SUM_PATH },
    { name: 'no leaf at all', drawn: j, answer: holding.exhibit(target), reason: s.LEAF_LENGTH },
    make('position of another chunk of the segment', { position: target | 1n }, s.SUM_PATH),
    make('position in another segment', { position: other }, s.SUM_PATH),
    make('position in a segment that is not anchored', { position: 9n << 16n }, s.SEGMENT_UNKNOWN),
    make('position above 40 bits', { position: 1n << 40n }, s.MALFORMED),
    make('length one less, same leaves', { length: parts.length - 1 }, s.ARCHIVE_PATH),
    make('length one less, at the last leaf', { length: parts.length - 1 }, s.LEAF_LENGTH, last),
    make('length with another number of leaves', { length: parts.length + 1024 }, s.SUM_PATH),
    make('length 0', { length: 0 }, s.MALFORMED),
    make('length above 64 MiB', { length: (64 << 20) + 1 }, s.MALFORMED),
    make('id of another chunk', { id: holding.chunks.get(other).id }, s.SUM_PATH),
    make('mask above 40 bits', { mask: parts.mask | (1n << 40n) }, s.MALFORMED),
    make('a sibling too many', { mask: parts.mask | (1n << 39n), siblings: [...parts.siblings, { sum: 1n, hash: wrong }] }, s.SUM_PATH),
    make('an empty sibling that is given', { mask: parts.mask | (1n << 39n), siblings: [...parts.siblings, { sum: 0n, hash: Buffer.alloc(32) }] }, s.SUM_PATH),
    make('no sum siblings', { mask: 0n, siblings: [] }, s.SUM_PATH),
    make('a sum sibling missing', { mask: parts.mask & (parts.mask - 1n), siblings: parts.siblings.slice(1) }, s.SUM_PATH),
    make('a sibling of sum 0 with a hash', { siblings: replaced(parts.siblings, 0, { sum: 0n, hash: wrong }) }, s.SUM_PATH),
    make('a sibling without a hash', { siblings: replaced(parts.siblings, 0, { sum: first.sum, hash: Buffer.alloc(32) }) }, s.SUM_PATH),
    make('sum of a sibling', { siblings: replaced(parts.siblings, 0, { ...first, sum: first.sum + 1n }) }, s.SUM_PATH),
    make('a sum that overflows', { siblings: replaced(parts.siblings, 0, { ...first, sum: (1n << 64n) - 1n }) }, s.SUM_PATH),
    make('hash of a sibling', { siblings: replaced(parts.siblings, 0, { ...first, hash: wrong }) }, s.SUM_PATH),
    make('leaf one byte short', { leaf: parts.leaf.subarray(1) }, s.LEAF_LENGTH),
    make('leaf above 1024 bytes', { leaf: Buffer.alloc(1025) }, s.MALFORMED),
    make('the last leaf, with its path', { leaf: holding.parts(last).leaf, leafPath: holding.parts(last).leafPath }, holding.parts(last).leaf.length < 1024 ? s.LEAF_LENGTH : s.LEAF_PATH),
    make('another leaf', { leaf: Buffer.alloc(1024) }, s.LEAF_PATH),
    make('leaf path of another leaf', { leafPath: holding.parts(j - 1n).leafPath }, s.LEAF_PATH),
    make('leaf path too short', { leafPath: parts.leafPath.slice(1) }, s.LEAF_PATH),
    make('leaf path with 17 siblings', { leafPath: path17 }, s.MALFORMED),
    make('sibling of the leaf path', { leafPath: replaced(parts.leafPath, 0, [parts.leafPath[0][0], wrong]) }, s.LEAF_PATH),
    make('segment path turned', { segmentPath: replaced(parts.segmentPath, 0, [1 - side, sibling]) }, s.ARCHIVE_PATH),
    make('segment path of a period', { segmentPath: fromPeriod }, s.ARCHIVE_PATH),
    make('segment path of another segment', { segmentPath: two.chunkPath(0) }, s.ARCHIVE_PATH),
    make('segment path with 17 siblings', { segmentPath: path17 }, s.MALFORMED),
    make('sibling of the segment path', { segmentPath: replaced(parts.segmentPath, 0, [side, wrong]) }, s.ARCHIVE_PATH),
    { name: 'a byte too many', drawn: j, answer: m.cat(holding.answer(j), m.u8(0)), reason: s.MALFORMED },
    { name: 'a byte too few', drawn: j, answer: holding.answer(j).subarray(0, -1), reason: s.MALFORMED },
    { name: 'nothing', drawn: j, answer: Buffer.alloc(0), reason: s.MALFORMED },
  ];
  return rows.map(({ name, drawn, answer, reason }) => ({ name, drawn: String(drawn), reason, answer: hexOf(answer) }));
}

const headers = archive(1 << 16, SEGMENT_PERIODS).map((segment) => ({
  segment: segment.segment, leaf: hexOf(segment.contents[0]), hash: hexOf(segment.leaves[0]), root: hexOf(segment.root),
  path: hexOf(m.encodePath(segment.headerPath())),
}));

const vectors = {
  about: 'Answers to draws over upstream-blocks-4-periods.mblk, made by massa-storage-sc/scripts/make-answer-vectors.mjs. '
    + 'Reasons are those of assembly/internals/reasons.ts. Digit k of `changed` is the reason after bit k mod 8 of byte k is turned. '
    + 'Numbers of 64 bits are decimal texts. The last segment has no accepted root.',
  chain_id: chainId.toString(),
  sets: [1 << 16, 1 << 20].map(set),
  headers,
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/segment-answer-vectors.json', import.meta.url), text);
}

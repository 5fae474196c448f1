// `checkBlock`: what a slot had, for other contracts; and the example contract that pays on its answer.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { contractAddress, user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import * as real from './segment-archive.mjs';
import { ADMIN, MAS, World } from './world.mjs';
import { text } from '../scripts/make-block-proof-vectors.mjs';

const NEVER = 2n ** 64n - 1n;
const [NOT_ANCHORED, BLOCK, OTHER_BLOCK, MISS] = [0, 1, 2, 3];
const none = Buffer.alloc(0);
const idOf = (n) => m.cat(m.u8(0), m.hash(m.u32(n)));

/** Segment 1 of 25 periods and two threads, anchored in round 7: period 30 has a block in thread 1, period 31 in both. */
function history() {
  const world = new World();
  const ids = new Map([[30, [undefined, idOf(1)]], [31, [idOf(2), idOf(3)]]]);
  const segment = s.madeSegment({ segment: 1, periods: 25, chunkLengths: [3000], ids });
  world.anchor(segment, 7);
  return { world, segment };
}
const args = (period, thread, id, proof) => m.cat(m.u64(period), m.u8(thread), m.sized(id), m.sized(proof));
const ask = (world, ...asked) => {
  const b = world.view('checkBlock', args(...asked));
  assert.equal(b.length, 13 + b.readUInt32LE(9));
  return { found: b[0], round: b.readBigUInt64LE(1), id: b.subarray(13) };
};

test('the block of a slot, another one, and a miss are told apart, with the round of acceptance', () => {
  const { world, segment } = history();
  const proof = segment.blockProof(30, 1);
  assert.deepEqual(ask(world, 30, 1, idOf(1), proof), { found: BLOCK, round: 7n, id: idOf(1) });
  assert.deepEqual(ask(world, 30, 1, idOf(9), proof), { found: OTHER_BLOCK, round: 7n, id: idOf(1) });
  assert.deepEqual(ask(world, 30, 1, none, proof), { found: OTHER_BLOCK, round: 7n, id: idOf(1) });
  const miss = segment.blockProof(30, 0);
  for (const asked of [none, idOf(1)]) assert.deepEqual(ask(world, 30, 0, asked, miss), { found: MISS, round: 7n, id: none });
});

test('every slot of upstream\'s periods, of a lost one and of missed ones is proven, and no proof serves another slot', () => {
  for (const [chunkSize, periods] of [[65_536, 8], [1 << 20, 2]]) {
    const world = new World({ config: { challengeFrequencyPeriods: BigInt(periods), roundSegments: 4n } });
    const slots = [];
    for (const segment of real.archive(chunkSize, periods)) {
      world.anchor(segment, 3);
      for (const period of segment.periods) period.ids.forEach((id, thread) => slots.push({ period: period.number, thread, id: id || none, proof: segment.blockProof(period.number, thread) }));
    }
    assert.equal(slots.length, 7 * 32);
    for (const { period, thread, id, proof } of slots) assert.equal(ask(world, period, thread, id, proof).found, id.length ? BLOCK : MISS);
    const [{ period, thread, proof }] = slots;
    const message = 'proof: not of this slot under the root of its segment';
    for (const other of slots.slice(1)) {
      if (world.view('getSegmentRoot', m.u64(Math.floor(other.period / periods))).length > 0) world.refuses(message, 'checkBlock', args(other.period, other.thread, none, proof));
    }
    world.refuses(message, 'checkBlock', args(period, thread + 32, none, proof));
  }
});

test('a slot whose segment is not anchored is told as such, whatever the proof', () => {
  const { world, segment } = history();
  const proof = segment.blockProof(30, 1);
  for (const period of [0, 24, 50, 2n ** 64n - 1n]) {
    assert.deepEqual(ask(world, period, 1, idOf(1), proof), { found: NOT_ANCHORED, round: NEVER, id: none });
  }
});

test('a proof with any byte changed, cut short or with more bytes proves nothing', () => {
  const { world, segment } = history();
  const proof = segment.blockProof(30, 1);
  const refused = (changed) => {
    const { error } = world.call('checkBlock', args(30, 1, idOf(1), changed));
    assert.match(error ?? 'no error', /^(argument proof: (a slot is 0 or 1|malformed|input ends too early|longer than 1068 bytes)|proof: not of this slot under the root of its segment)$/);
  };
  for (let at = 0; at < proof.length; at++) for (const bit of [1, 128]) {
    const changed = Buffer.from(proof);
    changed[at] ^= bit;
    refused(changed);
  }
  for (let length = 0; length < proof.length; length++) refused(proof.subarray(0, length));
  refused(m.cat(proof, m.u8(0)));
  refused(Buffer.alloc(1069));
  // What a path of one tree shows is not what the other has: the chunk's leaf, the header's leaf, the period root as a leaf.
  const path = (list) => m.encodePath(list);
  refused(m.cat(m.u8(0), path([]), m.u32(0), path(segment.chunkPath(0))));
  refused(m.cat(m.u8(0), path([]), m.u32(0), path(segment.headerPath())));
});

test('input is bounded, and refused by name', () => {
  const { world, segment } = history();
  const proof = segment.blockProof(30, 1);
  const refuses = (message, input) => world.refuses(message, 'checkBlock', input);
  refuses('argument period: input ends too early', m.u32(30));
  refuses('argument thread: input ends too early', m.u64(30));
  for (const length of [1, 32]) refuses('argument blockId: 33 bytes, or none', args(30, 1, Buffer.alloc(length), proof));
  refuses('argument blockId: longer than 33 bytes', args(30, 1, Buffer.alloc(34), proof));
  refuses('argument proof: a slot is 0 or 1', args(30, 1, none, m.cat(m.u8(2), proof.subarray(1))));
  refuses('argument proof: malformed', args(30, 1, none, none));
  refuses('argument proof: longer than 1068 bytes', args(30, 1, none, Buffer.alloc(1069)));
  refuses('checkBlock: 1 bytes too many', m.cat(args(30, 1, none, proof), m.u8(0)));
});

test('the committed vectors, which the Rust code is held to, are what their script gives, and the contract takes them', () => {
  const committed = readFileSync(new URL('../../tests/data/block-proof-vectors.json', import.meta.url), 'utf8');
  assert.equal(committed, text);
  const { segments, segment_periods: periods } = JSON.parse(committed);
  const world = new World({ config: { challengeFrequencyPeriods: BigInt(periods) } });
  for (const { segment, root, proofs } of segments) {
    world.anchor({ segment, root: Buffer.from(root, 'hex') }, 2);
    for (const { period, thread, block_id: id, proof } of proofs) {
      const asked = ask(world, period, thread, Buffer.from(id ?? '', 'hex'), Buffer.from(proof, 'hex'));
      assert.equal(asked.found, id ? BLOCK : MISS, `${period}:${thread}`);
    }
  }
});

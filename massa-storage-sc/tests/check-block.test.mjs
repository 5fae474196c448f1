// `checkBlock`: what a slot had, for other contracts; and the example contract that pays on its answer.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

// The example contract.

const BOUNTY_WASM = readFileSync(new URL('../build/history-bounty.wasm', import.meta.url));
const STORAGE = 12_000_000n;

/** The registry with its history, and a bounty contract beside it. */
function bounties() {
  const { world, segment } = history();
  const bounty = contractAddress('bounty');
  world.chain.contracts.set(bounty, { module: new WebAssembly.Module(BOUNTY_WASM), data: new Map() });
  const [payer, taker] = ['payer', 'taker'].map((name) => { const { address } = user(name); world.give(address); return address; });
  const call = (fn, input, { from = payer, coins = 0n, ...options } = {}) => world.call(fn, input, { from, coins, to: bounty, ...options });
  const done = call('constructor', m.sized(world.registry), { coins: MAS, deploying: true });
  assert.equal(done.error, undefined);
  const question = (period, thread, id) => m.cat(m.u64(period), m.u8(thread), m.sized(id));
  const offered = (input) => world.call('getOffer', input, { to: bounty, readOnly: true }).result;
  return { world, segment, bounty, payer, taker, call, question, offered };
}

test('the committed example contract is what its source gives', () => {
  const root = new URL('..', import.meta.url).pathname;
  const folder = mkdtempSync(join(tmpdir(), 'bounty-'));
  try {
    const out = join(folder, 'history-bounty.wasm');
    execFileSync(join(root, 'node_modules/.bin/asc'), ['assembly/contracts/history-bounty.ts', '-o', out], { cwd: root, stdio: 'pipe' });
    assert.ok(readFileSync(out).equals(BOUNTY_WASM));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a bounty is paid to who proves that a slot had a block, or that it was missed', () => {
  const { world, segment, payer, taker, call, question, offered } = bounties();
  for (const [thread, id] of [[1, idOf(1)], [0, none]]) {
    const asked = question(30, thread, id);
    const made = call('offer', asked, { coins: MAS });
    assert.equal(made.error, undefined);
    const reward = offered(asked).readBigUInt64LE();
    assert.ok(reward > MAS - STORAGE && reward < MAS, String(reward));
    assert.equal(offered(asked).subarray(8).toString(), payer);
    const fields = `30,${thread},${id.toString('hex')}`;
    assert.deepEqual(made.events, [`BOUNTY_OFFERED:${fields},${reward}`]);
    const before = world.chain.balance(taker);
    const paid = call('take', m.cat(asked, m.sized(segment.blockProof(30, thread))), { from: taker });
    // With what the row cost.
    assert.deepEqual(paid.events, [`BOUNTY_PAID:${fields},${taker},${MAS}`]);
    assert.equal(world.chain.balance(taker) - before, MAS);
    assert.equal(offered(asked).length, 0);
    assert.equal(call('take', m.cat(asked, m.sized(segment.blockProof(30, thread))), { from: taker }).error, 'this is not offered');
  }
});

test('a bounty is not paid for another block, another slot, a miss, a lie, or before the segment is anchored', () => {
  const { world, segment, taker, call, question, offered } = bounties();
  const [asked, miss, later] = [question(31, 1, idOf(9)), question(31, 0, none), question(60, 0, none)];
  for (const input of [asked, miss, later]) assert.equal(call('offer', input, { coins: MAS }).error, undefined);
  const refused = (message, input, proof) => assert.equal(call('take', m.cat(input, m.sized(proof)), { from: taker }).error, message);
  refused('the registry does not confirm this', asked, segment.blockProof(31, 1));
  refused('the registry does not confirm this', miss, segment.blockProof(31, 0));
  refused('the registry does not confirm this', later, segment.blockProof(30, 0));
  refused('proof: not of this slot under the root of its segment', asked, segment.blockProof(31, 0));
  refused('argument proof: malformed', asked, none);
  refused('argument proof: longer than 1068 bytes', asked, Buffer.alloc(1069));
  refused('this is not offered', question(31, 1, idOf(3)), segment.blockProof(31, 1));
  assert.equal(call('take', m.cat(asked, m.sized(segment.blockProof(31, 1)), m.u8(0)), { from: taker }).error, 'take: 1 bytes too many');
  for (const input of [asked, miss, later]) assert.ok(offered(input).length > 0);
  assert.equal(world.chain.balance(taker), 1_000_000n * MAS);
});

test('an offer is made once, pays for its row, and goes back to who made it only', () => {
  const { world, payer, taker, call, question, offered } = bounties();
  const asked = question(30, 1, idOf(1));
  assert.equal(call('offer', asked, { coins: MAS }).error, undefined);
  assert.equal(call('offer', asked, { coins: MAS }).error, 'this is offered already');
  const cheap = question(30, 0, none);
  const { error } = call('offer', cheap, { coins: 1n });
  assert.match(error, /^coins: more than 0\.00[78]\d* MAS for storage are needed$/);
  assert.equal(call('offer', question(30, 0, Buffer.alloc(32)), { coins: MAS }).error, 'argument blockId: 33 bytes, or none');
  assert.equal(call('offer', m.cat(cheap, m.u8(0)), { coins: MAS }).error, 'offer: 1 bytes too many');
  assert.equal(call('withdraw', asked, { from: taker }).error, 'only who offered it takes it back');
  assert.equal(call('withdraw', cheap).error, 'this is not offered');
  assert.equal(call('withdraw', m.cat(asked, m.u8(0))).error, 'withdraw: 1 bytes too many');
  assert.deepEqual(call('withdraw', asked).events, [`BOUNTY_WITHDRAWN:30,1,${idOf(1).toString('hex')},${payer},${MAS}`]);
  assert.equal(offered(asked).length, 0);
  assert.equal(call('constructor', m.sized(world.registry)).error, 'the constructor runs at deployment only');
});

// The pure parts against committed vectors, which the Rust code is held to, too; and the compiled contract against tampering.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { compiled, pureParts } from './compiled.mjs';
import { Chain } from './host.mjs';
import * as m from './model.mjs';
import { ADMIN, MAS, WASM, World } from './world.mjs';
import { text } from '../scripts/make-formula-vectors.mjs';

const pure = new Chain(pureParts());
const run = (fn, ...args) => {
  const done = pure.call(fn, m.cat(...args));
  assert.equal(done.error, undefined);
  return done.result;
};
const number = (fn, ...args) => run(fn, ...args.map(m.u64)).readBigUInt64LE();
const data = (name) => JSON.parse(readFileSync(new URL(`../../tests/data/${name}`, import.meta.url)));
const hex = (s) => Buffer.from(s, 'hex');
const vectors = data('contract-formula-vectors.json');

test('the committed formula vectors are what their script gives', () => {
  assert.equal(readFileSync(new URL('../../tests/data/contract-formula-vectors.json', import.meta.url), 'utf8'), text);
});

const context = () => m.cat(m.u64(vectors.chain_id), m.sized(vectors.registry), m.u64(vectors.round));
test('draws and challenge ids', () => {
  for (const { d, leaf, challenge_id: id } of vectors.draws) {
    const drawn = run('draw', context(), hex(vectors.placement_key), hex(vectors.beacon), m.u8(d), m.u64(vectors.leaves));
    assert.equal(String(drawn.readBigUInt64LE()), leaf);
    assert.equal(run('challengeId', context(), m.sized(vectors.node), hex(vectors.beacon), m.u8(d)).toString(), id);
  }
});
test('the number of draws: 4, one more for each 256 GB, at most 16', () => {
  for (const { leaves, draws } of vectors.draw_counts) assert.equal(number('drawCount', leaves), BigInt(draws));
});
test('credit', () => {
  for (const c of vectors.credits) assert.equal(String(number('credit', c.leaves, c.periods, c.rate, c.passes, c.draws)), c.credit);
  assert.equal(number('credit', 1n << 20n, 100, 1_000_000, 0, 4), 0n);
});
test('the rate of a round is the configured one, or what a 256th of the pool pays; the reserve never exceeds that', () => {
  const round = (...args) => { const b = run('round', ...args.map(m.u64)); return [b.readBigUInt64LE(), b.readBigUInt64LE(8)]; };
  assert.deepEqual(round(1_000_000, 10n ** 12n, 1 << 20, 100), [1_000_000n, 100_000_000n]);
  assert.deepEqual(round(1_000_000, 256n * 100_000_000n, 1 << 20, 100), [1_000_000n, 100_000_000n]);
  assert.deepEqual(round(1_000_000, 256n * 100_000_000n - 1n, 1 << 20, 100), [999_999n, 99_999_900n]);
  assert.deepEqual(round(1_000_000, 0, 1 << 20, 100), [0n, 0n]);
  assert.deepEqual(round(1_000_000, 5, 0, 100), [0n, 0n]);
});
test('slashes: stake · percent / 100 · missed / K', () => {
  assert.equal(number('slash', 100n * MAS, 10, 1, 4), 2_500_000_000n);
  assert.equal(number('slash', 100n * MAS, 100, 4, 4), 100n * MAS);
  assert.equal(number('slash', 7, 10, 1, 4), 0n);
});
test('128-bit division agrees with big integers', () => {
  const edges = [1n, 2n, 3n, 1n << 32n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 2n, (1n << 64n) - 1n];
  for (const a of edges) for (const b of edges) for (const c of edges) {
    const exact = (a * b) / c;
    assert.equal(number('divide', a, b, c), exact >> 64n ? (1n << 64n) - 1n : exact, `${a} · ${b} / ${c}`);
  }
  let seed = 1n;
  const next = () => { seed = (seed * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n); return seed >> (seed & 63n); };
  for (let i = 0; i < 3000; i++) {
    const [a, b, c] = [next(), next(), next() || 1n];
    const exact = (a * b) / c;
    const most = (1n << 64n) - 1n;
    assert.equal(number('divide', a, b, c), exact > most ? most : exact);
    assert.equal(run('twoThirds', m.u64(a), m.u64(b))[0], 3n * a > 2n * b ? 1 : 0);
  }
});

const placement = data('placement-vectors.json');
test('placement: logarithms and scores', () => {
  for (const { h, negative_log2: l } of placement.logarithms) assert.equal(String(number('negativeLog2', BigInt(h))), l);
  for (const s of placement.scores.filter((v) => v.weight !== '0')) {
    const score = run('score', hex(s.chunk_id), hex(s.placement_key), m.u64(BigInt(s.weight)));
    assert.equal(String(score.readBigUInt64LE()), s.score);
  }
});

test('the whole contract refuses an answer with any byte changed', () => {
  const world = World.running().at(2, 3);
  const beacon = world.beacon(2);
  const answers = world.answersFor('ann', world.holding, 2, beacon);
  const longest = Math.max(...answers.map(([, a]) => a.length));
  for (let at = 0; at < longest; at += 7) {
    const changed = answers.filter(([, a]) => at < a.length).map(([d, a]) => { const b = Buffer.from(a); b[at] ^= 0x10; return [d, b]; });
    const { args } = world.submitArgs('ann', { beacon, answers: changed });
    const done = world.call('submitProof', args, { from: world.nodes.get('ann').address, coins: MAS, readOnly: true });
    assert.ok(world.told(done).draws.every((reason) => reason !== '0'), `byte ${at}`);
  }
});

// What Rust builds from a real store: ../massa-distributed-storage-worker/tests/contract_rust_vectors.rs writes the file.
const rust = data('contract-rust-vectors.json');
test('Rust: answers are accepted, and refused with the same reason whatever byte is changed', () => {
  const { root: claimRoot, sum } = rust.claim;
  for (const { position, drawn, segment, segment_root: segmentRoot, answer, changed } of rust.answers) {
    const reason = (bytes) => {
      const found = run('check', hex(claimRoot), m.u64(sum), m.u64(drawn), hex(segmentRoot), m.sized(bytes))[0];
      const otherSegment = bytes.readBigUInt64LE() >> 16n !== BigInt(segment);
      return found !== 2 && otherSegment ? 7 : found;
    };
    assert.equal(reason(hex(answer)), 0, position);
    for (let at = 0; at < changed.length; at++) {
      const bytes = hex(answer);
      bytes[at] ^= 1 << at % 8;
      assert.equal(reason(bytes), Number(changed[at]), `${position}, byte ${at}`);
    }
  }
});
test('Rust: draws and challenge ids', () => {
  for (const row of rust.draws) {
    const at = m.cat(m.u64(row.chain_id), m.sized(row.registry), m.u64(row.round));
    const drawn = run('draw', at, hex(row.placement_key), hex(row.beacon), m.u8(row.draw), m.u64(row.leaves));
    assert.equal(String(drawn.readBigUInt64LE()), row.leaf);
    assert.equal(run('challengeId', at, m.sized(row.node), hex(row.beacon), m.u8(row.draw)).toString(), row.challenge_id);
  }
});
test('Rust: formulas', () => {
  for (const { formula, arguments: args, results } of rust.formulas) {
    const bytes = run(formula, ...args.map(m.u64));
    const found = results.map((_, i) => String(bytes.readBigUInt64LE(8 * i)));
    assert.deepEqual(found, results, `${formula}(${args})`);
  }
});
test('Rust: a registry takes root votes, claims, answers, a refutation and manual challenges built from a store', () => {
  const world = new World({ config: { challengeFrequencyPeriods: BigInt(rust.segment_periods), roundSegments: BigInt(rust.round_segments), replicationFactor: 1n, chunkSizeBytes: 65_536n } });
  world.chain.chainId = BigInt(rust.chain_id);
  assert.equal(world.registry, rust.registry);
  for (const { name, address, placement_key: key } of rust.nodes) {
    world.register(name);
    assert.equal(world.nodes.get(name).address, address);
    assert.equal(world.key(name).toString('hex'), key);
  }
  world.ok('addChallenger', m.sized(ADMIN.address), { from: ADMIN.address, coins: MAS });
  for (const { period, from, function: fn, arguments: args, events } of rust.operations) {
    world.chain.period = period;
    const caller = from === 'admin' ? ADMIN : world.nodes.get(from);
    const done = world.ok(fn, hex(args), { from: caller.address, coins: MAS });
    for (const event of events) assert.ok(done.events.some((e) => e.startsWith(event)), `${event} in ${done.events}`);
    if (period !== 22 || fn === 'distributeRewards') continue;
    // Once everybody is settled, and before credit matures.
    for (const { name } of rust.nodes) {
      const result = world.result(name, 2);
      assert.deepEqual([result.passes, result.draws, String(result.credit)], [4, 4, rust.credit]);
    }
  }
});
test('Rust: the header of an accepted segment has the root before it accepted', () => {
  const { segment, root: accepted, previous, arguments: args } = rust.earlier;
  const world = new World();
  world.chain.chainId = BigInt(rust.chain_id);
  world.chain.data.set(`segment_${segment}`, m.cat(hex(accepted), m.u64(1)));
  world.ok('anchorEarlier', hex(args), { from: ADMIN.address, coins: MAS });
  assert.equal(world.chain.data.get(`segment_${segment - 1}`).subarray(0, 32).toString('hex'), previous);
});

test('the committed wasm is what the sources give', () => {
  assert.ok(compiled('assembly/contracts/storage-registry.ts').equals(WASM));
});

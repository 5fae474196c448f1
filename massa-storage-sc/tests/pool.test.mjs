// The pool and who may touch it: how fast it can be spent, what the admin can change and when, who pays for rows, what a miss costs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const ALL = ['ann', 'bob', 'cat'];
const FOUR = [...ALL, 'dan'];
const admin = { from: ADMIN.address, coins: MAS };
const as = (world, name, coins = MAS) => ({ from: world.nodes.get(name).address, coins });
const root = (n) => m.hash(m.u8(n));
const play = (world, r, names = ALL) => { world.at(r, 3); for (const name of names) world.honest(name); };
const settle = (world, ...names) => world.ok('resolveExpiredChallenges', m.texts(names.map((n) => world.nodes.get(n).address)), admin);
const update = (world, change) => ['updateConfig', m.encodeConfig({ ...world.config, ...change }), admin];

/** Leaves so much in the pool. */
function emptyPool(world, left) {
  const { pool } = world.state();
  world.chain.data.get('state').writeBigUInt64LE(left, 24);
  world.chain.balances.set(world.registry, world.chain.balance(world.registry) - pool + left);
}

// How fast.

test('a round takes at most a 256th of the pool, whatever the rate', () => {
  const world = World.running(ALL, { config: { rewardPerGbPerPeriod: 10n ** 12n } });
  for (let r = 2; r < 8; r++) {
    const { pool } = world.state();
    play(world, r);
    assert.ok(world.stats(r).reserve <= pool / 256n, `round ${r}`);
    assert.ok(world.stats(r).reserve > pool / 260n, `round ${r}`);
  }
});

for (const others of ['stay', 'are shut out']) {
  test(`the admin, with a node of its own, cannot take the pool that others filled: they ${others}`, () => {
    const world = new World({ funds: 0n });
    const donor = user('donor').address;
    world.give(donor);
    world.ok('fund', undefined, { from: donor, coins: 1_000n * MAS });
    for (const name of ALL) world.register(name, 10);
    world.register('adm', 1, { stake: 201n * MAS, coins: 300n * MAS });
    const segment = world.segment(0);
    world.holding = new s.Holding([segment]);
    world.anchor(segment);
    world.at(1, 70);
    for (const name of ALL) world.submit(name, { claim: world.holding.claim });
    world.at(2, 1);
    for (const change of [{ rewardPerGbPerPeriod: 10n ** 12n }, { maxAllocatedGb: 1n }, { stakePerGb: 200n * MAS }, { minStake: 10_000n * MAS }]) {
      assert.match(world.call(...update(world, change)).error, /: in one step /);
    }
    world.ok(...update(world, { rewardPerGbPerPeriod: 2_000_000n, maxAllocatedGb: 8_192n, stakePerGb: 2n * MAS }));
    for (const r of [2, 3]) play(world, r, others === 'stay' ? ALL : []);
    world.submit('adm', { claim: world.holding.claim });
    for (let r = 4; r < 9; r++) play(world, r, others === 'stay' ? [...ALL, 'adm'] : ['adm']);
    assert.ok(world.state().pool > 980n * MAS, String(world.state().pool));
  });
}

// What the admin changes, and when.

test('a value changes to half or to twice what is in force, at most', () => {
  for (const field of m.CONFIG_FIELDS.slice(0, 9).filter((f) => f !== 'chunkSizeBytes')) {
    const config = { minAllocatedGb: 4n, maxAllocatedGb: 65n, slashPercentage: 40n, minStake: 9n, stakePerGb: 7n, replicationFactor: 5n, challengeResponseTimeout: 1001n };
    const world = new World({ config });
    const value = world.config[field];
    const refusal = `${field}: in one step ${value / 2n} to ${2n * value}`;
    for (const [next, fits] of [[value / 2n - 1n, false], [2n * value + 1n, false], [value / 2n, true], [2n * value, true]]) {
      if (fits) world.ok(...update(world, { [field]: next }));
      else world.refuses(refusal, ...update(world, { [field]: next }));
    }
  }
  const world = new World({ config: { rewardPerGbPerPeriod: 0n, stakePerGb: 0n } });
  world.refuses('rewardPerGbPerPeriod: in one step 0 to 1', ...update(world, { rewardPerGbPerPeriod: 2n }));
  world.ok(...update(world, { rewardPerGbPerPeriod: 1n, stakePerGb: 1n }));
  world.refuses('chunkSizeBytes: in one step 524288 to 2097152', ...update(world, { chunkSizeBytes: 1n << 22n }));
});

test('two changes in one round, or before the first one counts, are bounded by what is in force, and the second replaces the first', () => {
  const world = new World();
  world.ok(...update(world, { rewardPerGbPerPeriod: 2_000_000n }));
  world.refuses('rewardPerGbPerPeriod: in one step 500000 to 2000000', ...update(world, { rewardPerGbPerPeriod: 4_000_000n }));
  world.ok(...update(world, { slashPercentage: 20n }));
  const at = (r) => { const b = world.at(r, 0).view('getConfig'); return [b.readBigUInt64LE(0), b.readBigUInt64LE(32)]; };
  assert.deepEqual([at(1), at(2)], [[1_000_000n, 10n], [1_000_000n, 20n]]);
  world.config.slashPercentage = 20n;
  world.ok(...update(world, { rewardPerGbPerPeriod: 2_000_000n }));
  world.at(3, 0).refuses('a change of configuration is pending', ...update(world, { rewardPerGbPerPeriod: 1_500_000n }));
  world.at(4, 0).ok(...update(world, { rewardPerGbPerPeriod: 4_000_000n }));
});

test('a change of what must be staked counts eight rounds later, with all else in that call', () => {
  for (const field of ['minStake', 'stakePerGb']) {
    const world = new World();
    const value = 2n * world.config[field];
    world.ok(...update(world, { [field]: value, slashPercentage: 20n }));
    const at = (r) => { const b = world.at(r, 99).view('getConfig'); return [b.readBigUInt64LE(8 * m.CONFIG_FIELDS.indexOf(field)), b.readBigUInt64LE(32)]; };
    assert.deepEqual([at(7), at(8)], [[world.config[field], 10n], [value, 20n]]);
  }
});

test('a change that waits eight rounds can be taken back, with two rounds of notice', () => {
  const world = new World();
  world.ok(...update(world, { minStake: 200n * MAS }));
  world.at(5, 0).ok(...update(world, { slashPercentage: 11n }));
  const at = (r) => { const b = world.at(r, 0).view('getConfig'); return [b.readBigUInt64LE(40), b.readBigUInt64LE(32)]; };
  assert.deepEqual([at(6), at(7), at(9)], [[100n * MAS, 10n], [100n * MAS, 11n], [100n * MAS, 11n]]);
});

test('a pause ends by itself when the fourth round after it opens, and the next begins eight rounds later', () => {
  const world = World.running();
  world.at(2, 10).ok('setPaused', m.u8(1), admin);
  world.at(5, 99).refuses('the registry is paused', 'claimRewards', undefined, as(world, 'ann'));
  world.refuses('is paused already', 'setPaused', m.u8(1), admin);
  world.at(6, 0).submit('ann', { claim: world.holding.claim });
  world.refuses('is not paused', 'setPaused', m.u8(0), admin);
  world.at(13, 99).refuses('the next pause begins in round 14', 'setPaused', m.u8(1), admin);
  world.at(14, 0).ok('setPaused', m.u8(1), admin);
  world.at(15, 0).ok('setPaused', m.u8(0), admin);
  world.at(22, 99).refuses('the next pause begins in round 23', 'setPaused', m.u8(1), admin);
  world.at(23, 0).ok('setPaused', m.u8(1), admin);
});

test('a pause touches the round whose window it meets, by a period, and the next if it lasts; it shields no other', () => {
  // Dan is silent in a round with an accepted beacon: slashed, unless the pause touched its window, O+3 to O+50.
  const slashed = (from, until) => {
    const world = World.running(FOUR);
    const steps = [[2, 4, () => { for (const name of ALL) world.honest(name); }], [...from, () => world.ok('setPaused', m.u8(1), admin)], [...until, () => world.ok('setPaused', m.u8(0), admin)]];
    for (const [r, inRound, step] of steps.sort((a, b) => a[0] * 100 + a[1] - b[0] * 100 - b[1])) { world.at(r, inRound); step(); }
    settle(world.at(4, 0), 'dan');
    return world.info('dan').stake < 100n * MAS;
  };
  assert.equal(slashed([2, 51], [3, 0]), true, 'after the window');
  assert.equal(slashed([2, 50], [3, 0]), false, 'its last period');
  assert.equal(slashed([1, 90], [2, 3]), true, 'before the window');
  assert.equal(slashed([2, 2], [2, 3]), true);
  assert.equal(slashed([2, 5], [2, 6]), false);
});

test('a round after a pause slashes again, and one that was touched is shielded however late it is settled', () => {
  const world = World.running(FOUR);
  play(world, 2, FOUR);
  world.at(3, 2).ok('setPaused', m.u8(1), admin);
  world.at(3, 4).ok('setPaused', m.u8(0), admin);
  for (const name of ALL) world.honest(name);
  world.at(4, 3);
  for (const name of ALL) world.honest(name);
  world.at(11, 0).ok('setPaused', m.u8(1), admin);
  world.at(12, 0).ok('setPaused', m.u8(0), admin);
  settle(world, 'dan');
  assert.equal(world.info('dan').stake, 100n * MAS);
  assert.equal(world.result('dan', 3).reason, 19);
  world.submit('dan', { claim: world.holding.claim });
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
  play(world, 13);
  settle(world.at(13, 60), 'dan');
  assert.equal(world.info('dan').stake, 100n * MAS - MAS / 10n);
});

test('a round that a pause touched is shielded also if nobody did anything until the next pause', () => {
  const world = World.running(FOUR);
  play(world, 2, FOUR);
  world.at(3, 2).ok('setPaused', m.u8(1), admin);
  world.at(3, 4).ok('setPaused', m.u8(0), admin);
  for (const name of ALL) world.honest(name);
  world.at(11, 0).ok('setPaused', m.u8(1), admin);
  world.at(12, 0).ok('setPaused', m.u8(0), admin);
  settle(world, 'dan');
  assert.deepEqual([world.info('dan').stake, world.result('dan', 3).reason], [100n * MAS, 19]);
});

// What a miss costs.

test('a miss costs the stake for the GB that were claimed, begun ones whole, at most all', () => {
  const cases = [[1n, 1n], [1n << 20n, 1n], [(1n << 20n) + 1n, 2n], [10n << 20n, 10n]];
  for (const [sum, gb] of cases) {
    const world = World.running(ALL, { config: { minStake: 1n, stakePerGb: 10n * MAS }, stakes: { ann: 150n * MAS } });
    play(world, 2, ['bob', 'cat']);
    world.submit('ann', { beacon: world.beacon(2), answers: [], claim: { root: root(1), sum } });
    play(world, 3, ['bob', 'cat']);
    settle(world.at(3, 60), 'ann');
    const [first, second] = [10n * MAS, gb * 10n * MAS].map((base) => base / 10n);
    assert.equal(150n * MAS - world.info('ann').stake, first + second, `${sum} leaves`);
  }
});

test('a round of rate zero slashes nobody', () => {
  for (const [config, how] of [[{ rewardPerGbPerPeriod: 0n }, 'no rate'], [{}, 'empty pool']]) {
    const world = World.running(FOUR, { config });
    if (how === 'empty pool') emptyPool(world, 0n);
    world.at(2, 3);
    for (const name of ['ann', 'bob']) world.submit(name, { beacon: world.beacon(2), answers: [] });
    world.submit('cat', { beacon: world.beacon(2), answers: [] });
    settle(world.at(2, 60), ...FOUR);
    assert.equal(world.stats(2).rate, 0n);
    for (const name of FOUR) assert.equal(world.info(name).stake, 100n * MAS);
    assert.deepEqual(FOUR.map((name) => world.result(name, 2).reason), [21, 21, 21, 16]);
  }
});

test('slashes are burned once 1 MAS has come together, to the nano', () => {
  for (const [stake, burned] of [[10n * MAS, MAS], [10n * MAS - 10n, 0n]]) {
    const world = World.running(FOUR, { config: { minStake: 1n, stakePerGb: 1n }, stakes: { ann: 10n * MAS, bob: 10n * MAS, cat: 10n * MAS, dan: stake } });
    play(world, 2);
    world.submit('dan', { beacon: root(7) });
    settle(world.at(2, 60), 'dan');
    assert.equal(world.state().burned, burned);
  }
});

// Who pays for rows.

test('the rows of rounds and of accepted segments are paid by the pool, so whoever comes first pays what the others pay', () => {
  const names = Array.from({ length: 10 }, (_, i) => 'n' + i);
  const world = World.running(names);
  const spent = (name) => 1_000_000n * MAS - world.info(name).stake - world.chain.balance(world.nodes.get(name).address);
  play(world, 2, names);
  world.at(2, 60).ok('distributeRewards', m.u64(200), admin);
  const before = names.map(spent);
  for (let r = 3; r < 6; r++) {
    world.at(r, 4);
    const next = Number(world.state().nextSegment);
    for (const name of names) {
      const roots = [[next, root(next)]];
      const beacon = world.beacon(r);
      world.submit(name, { beacon, answers: world.answersFor(name, world.holding, r, beacon), claim: world.holding.claim, roots });
    }
    world.at(r, 60).ok('distributeRewards', m.u64(r * 100), admin);
  }
  assert.deepEqual(names.map((name, i) => spent(name) - before[i]), names.map(() => 0n));
});

test('who pays for the row of a root, or of a beacon, has it back when that is the true one, and not when it is not', () => {
  const world = World.running(FOUR);
  world.at(2, 3);
  const paid = world.chain.storagePaid;
  const wealth = (name) => world.chain.balance(world.nodes.get(name).address);
  const [ann, dan, cat] = ['ann', 'dan', 'cat'].map(wealth);
  world.submit('dan', { beacon: root(7), roots: [[1, root(7)]] });
  const lie = dan - wealth('dan');
  world.submit('ann', { beacon: world.beacon(2), answers: world.answersFor('ann', world.holding, 2, world.beacon(2)), roots: [[1, root(1)]] });
  assert.equal(ann - wealth('ann'), lie);
  for (const name of ['bob', 'cat']) world.submit(name, { beacon: world.beacon(2), roots: [[1, root(1)]] });
  assert.equal(wealth('cat'), cat, 'who completes the votes gets nothing of it');
  world.at(2, 60).ok('distributeRewards', m.u64(200), admin);
  assert.equal(wealth('ann'), ann);
  assert.equal(dan - wealth('dan'), lie);
  const segment = BigInt('segment_1'.length + 40 + 4) * 100_000n;
  assert.equal(world.chain.storagePaid - paid, lie + segment);
});

test('the deposit of a relayed submission comes back to the relayer', () => {
  const world = World.running().at(2, 3);
  const who = world.nodes.get('ann');
  const { content } = world.submitArgs('ann', { beacon: world.beacon(2), answers: world.answersFor('ann', world.holding, 2, world.beacon(2)) });
  const signature = m.cat(m.sized(who.publicKey), m.sized(who.sign(m.submissionMessage(77n, world.registry, content))));
  const before = world.chain.balance(ADMIN.address);
  world.ok('submitProof', m.submitArgs(2, content, signature), admin);
  assert.ok(world.chain.balance(ADMIN.address) < before);
  for (const name of ['bob', 'cat']) world.honest(name);
  settle(world.at(2, 60), 'bob');
  assert.equal(world.chain.balance(ADMIN.address), before);
});

test('where the pool cannot pay for a row, the caller does', () => {
  const world = World.running(ALL);
  const left = 1_000_000n;
  emptyPool(world, left);
  const before = world.chain.balance(world.nodes.get('ann').address);
  const paid = world.chain.storagePaid;
  world.at(2, 3).honest('ann');
  assert.equal(before - world.chain.balance(world.nodes.get('ann').address), world.chain.storagePaid - paid);
  assert.equal(world.state().pool + world.stats(2).reserve, left);
});

test('a pool that has just enough for a row pays it', () => {
  const row = BigInt('period_300'.length + 184 + 4) * 100_000n;
  for (const [left, paid] of [[row, row], [row - 1n, 0n]]) {
    const world = World.running(ALL, { config: { rewardPerGbPerPeriod: 0n } });
    emptyPool(world, left);
    world.at(2, 3).honest('ann');
    assert.equal(world.state().pool, left - paid);
  }
});

test('false roots cost the pool nothing', () => {
  const world = World.running(FOUR);
  play(world, 2, FOUR);
  world.at(3, 3).submit('ann', {});
  const { pool } = world.state();
  world.submit('dan', { roots: [1, 2, 3, 4, 5, 6, 7, 8].map((k) => [k, root(99 + k)]) });
  assert.equal(world.state().pool, pool);
});

// Manual challenges.

test('the id of a manual challenge is never issued again, also after it was forgotten, and no old proof passes twice', () => {
  const world = World.running();
  const ann = user('ann');
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const [segment] = world.segments;
  const id = 'ab'.repeat(32);
  const issue = m.cat(m.sized(id), m.sized(ann.address), m.sized(segment.chunks[0].id.toString('hex')), m.u64(3));
  world.ok('issueChallenge', issue, admin);
  const proof = s.manualAnswer(segment, 0, 3);
  const signature = m.cat(m.sized(ann.publicKey), m.sized(ann.sign(m.manualMessage(77n, world.registry, id, proof))));
  const args = m.submitArgs(id, proof, signature);
  assert.deepEqual(world.ok('submitProof', args, admin).events, [`CHALLENGE_PASSED:${id},${ann.address}`]);
  const forget = () => [...world.ok('resolveExpiredChallenges', m.texts([id]), admin).result];
  world.chain.period += 10 * world.P - 1;
  assert.deepEqual(forget(), [0]);
  world.chain.period += 1;
  assert.deepEqual(forget(), [2]);
  assert.deepEqual(forget(), [4]);
  assert.equal(world.view('getChallenge', m.sized(id)).length, 0);
  world.refuses('a challenge had this id already', 'issueChallenge', issue, admin);
  world.refuses('no such challenge', 'submitProof', args, admin);
});

// The fifteen flaws of an earlier attempt at this contract, each as the behaviour that replaces it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const ALL = ['ann', 'bob', 'cat'];
const admin = { from: ADMIN.address, coins: MAS };
const as = (world, name, coins = MAS) => ({ from: world.nodes.get(name).address, coins });
const answered = (world = World.running()) => {
  world.at(2, 3);
  for (const name of ALL) world.honest(name);
  return world;
};

test('1: bytes that are no proof pass nothing', () => {
  const world = World.running().at(2, 3);
  const done = world.submit('ann', { beacon: world.beacon(2), answers: [[0, Buffer.from('any non-empty byte string')]] });
  assert.deepEqual(world.told(done).draws, ['2', '1', '1', '1']);
  assert.equal(world.result('ann', 2).passes, 0);
});

test('2: nobody chooses a draw: neither the admin nor a challenger changes what a beacon asks, and manual challenges move no money', () => {
  const [before, after] = [false, true].map((challenged) => {
    const world = World.running();
    const ann = world.nodes.get('ann').address;
    if (challenged) {
      world.ok('addChallenger', m.sized(ADMIN.address), admin);
      const id = m.hash(m.u8(1)).toString('hex');
      world.ok('issueChallenge', m.cat(m.sized(id), m.sized(ann), m.sized(id), m.u64(1)), admin);
      world.chain.period += 10;
      world.ok('resolveExpiredChallenges', m.texts([id]), admin);
    }
    const { stakes, credited, pool } = world.state();
    return [world.view('getDraws', m.cat(m.sized(ann), m.u64(2), world.beacon(2))).toString('hex'), stakes, credited, pool];
  });
  assert.deepEqual(before, after);
  assert.equal(before[0].length, 4 * 2 * (8 + 4 + 64));
});

test('3: space that is only declared earns nothing, and has a price', () => {
  const world = World.running();
  world.register('sybil', 150);
  assert.equal(world.info('sybil').stake, 150n * MAS);
  answered(world);
  world.at(4, 0).refuses('no matured rewards', 'claimRewards', undefined, as(world, 'sybil'));
});

test('4: one missed answer does not exclude a node from later rounds', () => {
  const world = World.running().at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => (name === 'ann' ? a.slice(0, 3) : a) });
  world.at(3, 3);
  for (const name of ALL) world.honest(name);
  world.at(3, 51).ok('resolveExpiredChallenges', m.texts([world.nodes.get('ann').address]), admin);
  assert.ok(world.result('ann', 3).credit > world.result('ann', 2).credit);
});

test('5: distribution takes no list, closes once, and cannot burn a round', () => {
  const world = answered().at(2, 51);
  world.refuses('distributeRewards: 4 bytes too many', 'distributeRewards', m.cat(m.u64(200), m.texts([])), admin);
  world.ok('distributeRewards', m.u64(200), admin);
  world.refuses('this round is closed already', 'distributeRewards', m.u64(200), admin);
  const twice = [world.nodes.get('ann').address, world.nodes.get('ann').address];
  world.ok('resolveExpiredChallenges', m.texts(twice), admin);
  const credit = world.result('ann', 2).credit;
  assert.equal(world.state().credited, 3n * credit);
});

test('6: no operation has more than 25 events: what does not fit is left for the next call', () => {
  const names = Array.from({ length: 20 }, (_, i) => 'n' + i);
  const world = World.running(names).at(2, 3);
  for (const name of names) world.honest(name, { change: (a) => a.slice(1) });
  world.at(3, 3);
  // 14 of 20 are a quorum; the other six have two rounds to be slashed for: 26 slashes wait in all.
  for (const name of names.slice(0, 14)) world.submit(name, { beacon: world.beacon(3) });
  world.at(3, 51);
  const addresses = m.texts(names.map((n) => world.nodes.get(n).address));
  const done = world.ok('resolveExpiredChallenges', addresses, admin);
  assert.ok(done.events.length <= 25, `${done.events.length} events`);
  while (world.ok('resolveExpiredChallenges', addresses, admin).result.includes(5));
  assert.ok(names.every((name) => world.result(name, 3).state === 3));
});

test('6: 16 failed draws, eight root votes, a slash, a distribution and a claim fit one operation', () => {
  const world = World.running(['ann'], { config: { maxAllocatedGb: 16_384n, stakePerGb: 1n } });
  world.at(2, 0).ok('updateStorageAllocation', m.u64(8192), as(world, 'ann'));
  const claim = { root: m.hash(m.u8(1)), sum: 12n << 28n };
  world.at(2, 3).submit('ann', { beacon: world.beacon(2) });
  world.at(6, 3).submit('ann', { claim });
  const answers = Array.from({ length: 16 }, (_, d) => [d, m.u8(0)]);
  world.at(7, 3).submit('ann', { beacon: world.beacon(7), answers, claim });
  const roots = [1, 2, 3, 4, 5, 6, 7, 8].map((s) => [s, m.hash(m.u8(s))]);
  const done = world.at(8, 3).submit('ann', { beacon: world.beacon(8), answers, claim, roots });
  assert.ok(done.events.length < 20, `${done.events.length} events`);
  assert.deepEqual(world.told(done).draws, Array(16).fill('2'));
  assert.equal(world.state().nextSegment, 9n);
});

test('7: sums do not wrap, bounds hold, and what is credited is set aside', () => {
  const world = World.running(ALL, { config: { rewardPerGbPerPeriod: 10n ** 12n }, funds: 10n * MAS });
  answered(world).at(2, 51).ok('distributeRewards', m.u64(200), admin);
  const { credited, pool } = world.state();
  assert.ok(credited > 0n && credited <= 12n * MAS && pool < 12n * MAS);
  world.at(4, 0);
  for (const name of ALL) world.ok('claimRewards', undefined, as(world, name));
  assert.equal(world.state().credited, 0n);
});

test('8: a node that left leaves no trace and may come back; it cannot quit what it owes', () => {
  const world = World.running();
  world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.refuses('stake is locked until round 11', 'unregisterStorageNode', undefined, as(world, 'ann'));
  world.at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  world.submit('ann', { beacon: world.beacon(2), answers: [] });
  world.at(11, 0).ok('unregisterStorageNode', undefined, as(world, 'ann'));
  const address = world.nodes.get('ann').address;
  assert.ok(![...world.chain.data].some(([k, v]) => k.includes(address) || v.includes(address)));
  world.refuses(`not a storage node: ${address}`, 'updateStorageAllocation', m.u64(9), as(world, 'ann'));
  world.register('ann');
});

test('9: the statistics of a round are those of its claims, whoever joins, changes or leaves', () => {
  const world = World.running().at(2, 0);
  const before = world.stats(2);
  world.register('dan', 500, { stake: 500n * MAS, coins: 501n * MAS });
  world.ok('updateStorageAllocation', m.u64(2), as(world, 'ann'));
  world.ok('unregisterStorageNode', undefined, as(world, 'bob'));
  assert.deepEqual(world.stats(2), before);
  assert.equal(before.activeNodes, 3n);
});

test('10: registering costs the same for the thousandth node', () => {
  const world = new World();
  const cost = (name) => {
    const before = world.chain.storagePaid;
    world.register(name);
    return world.chain.storagePaid - before;
  };
  for (let i = 0; i < 9; i++) cost('early' + i);
  const early = cost('early9');
  for (let i = 0; i < 990; i++) world.register('n' + i);
  const digits = (BigInt('index_1000'.length - 'index_9'.length) + 1n) * 100_000n;
  assert.ok(cost('late') - early <= digits);
});

test('11: coins beyond stake and storage come back', () => {
  const world = new World();
  world.register('ann', 10, { coins: 300n * MAS });
  const spent = 1_000_000n * MAS - world.chain.balance(world.nodes.get('ann').address);
  assert.equal(world.info('ann').stake, 100n * MAS);
  assert.ok(spent > 100n * MAS && spent < 100n * MAS + MAS / 10n);
});

test('12: storage is paid by who causes it, and by the pool where all share it, never from stakes or credit', () => {
  const world = World.running();
  const before = world.state();
  const paid = world.chain.storagePaid;
  const held = world.chain.balance(world.nodes.get('ann').address);
  world.at(2, 3);
  world.honest('ann');
  const after = world.state();
  const shared = BigInt('period_300'.length + 184 + 4) * 100_000n;
  assert.equal(before.pool + before.reserves - after.pool - after.reserves, shared, 'the row of round 3');
  assert.equal(held - world.chain.balance(world.nodes.get('ann').address), world.chain.storagePaid - paid - shared);
  assert.equal(after.stakes, before.stakes);
});

test('13: there is no upload record that anybody could write for another, and every text has a limit', () => {
  const exported = WebAssembly.Module.exports(new World().chain.module).map((e) => e.name);
  assert.ok(!exported.some((name) => /upload/i.test(name)));
  const world = new World();
  const who = user('ann');
  world.give(who.address);
  const args = m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(''), m.sized('a'.repeat(2000)), m.sized(''));
  world.refuses('argument addresses: longer than 256 bytes', 'registerStorageNode', args, { from: who.address, coins: 300n * MAS });
});

test('14: a pause stops leaving and settling, too; views of what is missing give nothing', () => {
  const world = World.running();
  world.ok('setPaused', m.u8(1), admin);
  world.refuses('the registry is paused', 'unregisterStorageNode', undefined, as(world, 'ann'));
  world.refuses('the registry is paused', 'resolveExpiredChallenges', m.texts(['x']), admin);
  for (const [fn, args] of [['getNodeInfo', m.sized('AUx')], ['getChallenge', m.sized('x')], ['getPeriodStats', m.u64(1 << 20)], ['getSegmentRoot', m.u64(99)],
    ['getRoundResult', m.cat(m.sized('AUx'), m.u64(0))], ['getDraws', m.cat(m.sized('AUx'), m.u64(0), Buffer.alloc(32))]]) {
    assert.equal(world.view(fn, args).length, 0, fn);
  }
  const never = m.cat(m.sized(world.nodes.get('ann').address), m.u64((1n << 64n) - 1n));
  assert.equal(world.view('getRoundResult', never).length, 0, 'a slot that was never claimed');
  assert.equal(world.view('calculatePendingRewards', m.sized('AUx')).readBigUInt64LE(), 0n);
});

test('15: rewards are claimed once, also after a second distribution was tried and after coming back', () => {
  const world = answered().at(2, 51);
  world.ok('distributeRewards', m.u64(200), admin);
  world.at(4, 0).ok('claimRewards', undefined, as(world, 'ann'));
  world.refuses('no matured rewards', 'claimRewards', undefined, as(world, 'ann'));
  world.refuses('this round is closed already', 'distributeRewards', m.u64(200), admin);
  world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.at(14, 0).ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.register('ann');
  world.refuses('no matured rewards', 'claimRewards', undefined, as(world, 'ann'));
});

test('every function of the plan is exported, and nothing else but views, funding, keys and refutation', () => {
  const plan = ['constructor', 'registerStorageNode', 'updateStorageAllocation', 'unregisterStorageNode', 'issueChallenge', 'submitProof', 'resolveExpiredChallenges',
    'distributeRewards', 'claimRewards', 'getNodeInfo', 'getChallenge', 'getPeriodStats', 'getConfig', 'getTotalNodes', 'calculatePendingRewards', 'updateConfig',
    'addChallenger', 'removeChallenger', 'setPaused'];
  const ours = ['anchorEarlier', 'checkBlock', 'fund', 'getDraws', 'getNextConfig', 'getNodes', 'getRoundResult', 'getSegmentRoot', 'getState', 'refuteClaim', 'setPlacementKey'];
  const exported = WebAssembly.Module.exports(new World().chain.module).filter((e) => e.kind === 'function' && !e.name.startsWith('__')).map((e) => e.name);
  assert.deepEqual(exported.sort(), [...plan, ...ours].sort());
});

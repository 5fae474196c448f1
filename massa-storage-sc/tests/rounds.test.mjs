// What a round does: claims, beacons, answers, results, money.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

test('an honest round pays every node by the formula, after the round that follows it', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['ann', 'bob', 'cat']) {
    const done = world.honest(name);
    assert.deepEqual(world.told(done).draws, ['0', '0', '0', '0']);
    assert.equal(world.info(name).lastChallengedPeriod, 203n);
  }
  world.at(2, 51);
  const done = world.ok('distributeRewards', m.u64(200), { from: ADMIN.address });
  const leaves = world.holding.claim.sum;
  const credit = (leaves * 100n * 1_000_000n * 4n) / (4n << 20n);
  assert.deepEqual(done.events, [`REWARDS_DISTRIBUTED:200,${3n * credit},3`]);
  world.at(3, 99);
  world.refuses('no matured rewards', 'claimRewards', undefined, { from: world.nodes.get('ann').address, coins: MAS });
  world.at(4, 0);
  const before = world.chain.balance(world.nodes.get('ann').address);
  const paid = world.ok('claimRewards', undefined, { from: world.nodes.get('ann').address });
  assert.deepEqual(paid.events.filter((e) => e.startsWith('REWARDS_CLAIMED')), [`REWARDS_CLAIMED:${world.nodes.get('ann').address},${credit}`]);
  assert.equal(world.chain.balance(world.nodes.get('ann').address) - before, credit);
});

const ALL = ['ann', 'bob', 'cat'];
const admin = { from: ADMIN.address, coins: MAS };
const as = (world, name) => ({ from: world.nodes.get(name).address, coins: MAS });
const settle = (world, ...names) => world.ok('resolveExpiredChallenges', m.texts(names.map((n) => world.nodes.get(n).address)), admin);
const close = (world, round) => world.ok('distributeRewards', m.u64(round * 100), admin);

test('a missed draw earns less and costs a quarter of ten percent of the stake for the GB claimed', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => (name === 'ann' ? a.slice(1) : a) });
  world.at(2, 51);
  const done = settle(world, 'ann');
  const slash = (MAS * 10n * 1n) / (100n * 4n);
  assert.ok(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('ann').address},${slash},draws missed`));
  assert.equal(world.info('ann').stake, 100n * MAS - slash);
  const result = world.result('ann', 2);
  assert.deepEqual(result.drawReasons, [1, 0, 0, 0]);
  assert.equal(result.credit, (world.holding.claim.sum * 100n * 1_000_000n * 3n) / (4n << 20n));
  assert.equal(world.info('ann').totalChallenges, 4n);
  assert.equal(world.info('ann').passedChallenges, 3n);
  assert.deepEqual([world.stats(2).challengesIssued, world.stats(2).challengesPassed], [12n, 11n]);
  assert.deepEqual([world.state().burned, world.state().toBurn], [0n, slash]);
});

test('a round keeps how many GB were proven, and how many of them by who keeps all of history', () => {
  const world = World.running([...ALL, 'dan'], { retentions: { bob: 400 } });
  world.at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => (name === 'cat' ? a.slice(1) : a) });
  const open = world.stats(2);
  world.at(2, 51);
  close(world, 2);
  const { provenWeight, lastingWeight } = world.stats(2);
  assert.deepEqual([open.lastingWeight, provenWeight, lastingWeight], [0n, 20n, 10n]);
});

test('a wrong answer fails with its reason, in the event and in the view and the others count', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  const spoil = ([[d0, a0], [d1, a1], ...rest]) => [[d0, m.cat(a0, m.u8(0))], [d1, a0], ...rest];
  const done = world.honest('ann', { change: (a) => spoil(a) });
  const { draws } = world.told(done);
  assert.deepEqual([draws[0], ...draws.slice(2)], ['2', '0', '0']);
  assert.equal(world.result('ann', 2).drawReasons[0], 2);
});

test('a node that is silent in a counted round is slashed for all draws, and its silence is a reason', () => {
  const world = World.running(['ann', 'bob', 'cat', 'dan']);
  world.at(2, 3);
  for (const name of ALL) world.honest(name);
  world.at(2, 51);
  const done = settle(world, 'dan');
  assert.ok(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('dan').address},${MAS / 10n},silent`));
  assert.equal(world.result('dan', 2).reason, 16);
  assert.equal(world.info('dan').noClaimBefore, 6n);
});

test('another b than the accepted one is not paid and sits out; all of its stake is slashed if more than two thirds say so', () => {
  for (const [names, slashed] of [[[...ALL, 'dan'], 10n * MAS], [[...ALL, 'dan', 'eve'], 0n]]) {
    const world = World.running(names).at(2, 3);
    const [truthful, others] = [names.slice(0, 3), names.slice(3)];
    const beacon = world.beacon(2, 'other');
    for (const name of others) world.submit(name, { beacon, answers: world.answersFor(name, world.holding, 2, beacon) });
    for (const name of truthful) world.honest(name);
    world.at(2, 51);
    const done = settle(world, 'dan');
    assert.equal(world.info('dan').stake, 100n * MAS - slashed);
    assert.equal(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('dan').address},${slashed},minority beacon`), slashed > 0n);
    assert.deepEqual([world.result('dan', 2).reason, world.result('dan', 2).credit], [17, 0n]);
    assert.equal(world.info('dan').noClaimBefore, 6n);
    assert.deepEqual([world.stats(2).beaconStake, world.stats(2).electorate], [300n * MAS, 100n * MAS * BigInt(names.length)]);
  }
});

test('exactly half of the electorate accepts no b: the round is void, pays nothing, slashes nobody, and nobody sits out', () => {
  const names = [...ALL, 'dan'];
  const world = World.running(names);
  world.at(2, 3);
  for (const name of ['ann', 'bob']) world.honest(name);
  world.submit('cat', { beacon: world.beacon(2, 'other') });
  world.at(2, 51);
  const pool = world.state().pool;
  const reserve = world.stats(2).reserve;
  assert.deepEqual(close(world, 2).events, ['REWARDS_DISTRIBUTED:200,0,0']);
  assert.equal(world.state().pool, pool + reserve);
  settle(world, ...names);
  for (const name of names) {
    assert.equal(world.info(name).stake, 100n * MAS);
    assert.deepEqual([world.result(name, 2).reason, world.info(name).noClaimBefore], [18, 0n]);
  }
});

test('nobody answers for ten rounds, and later rounds go on', () => {
  const world = World.running();
  world.at(12, 60);
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
  world.at(13, 3);
  for (const name of ALL) world.honest(name);
  world.at(13, 51);
  assert.match(close(world, 13).events[0], /^REWARDS_DISTRIBUTED:1300,[1-9]\d*,3$/);
});

test('the rate is what the pool can pay, and what is credited is always payable', () => {
  const world = World.running(ALL, { funds: 0n });
  const before = world.state().pool;
  world.at(2, 3);
  for (const name of ALL) world.honest(name);
  const stats = world.stats(2);
  const sum = 3n * world.holding.claim.sum;
  const byPool = (before << 12n) / (sum * 100n);
  assert.equal(stats.rate, byPool < 1_000_000n ? byPool : 1_000_000n);
  assert.equal(stats.reserve, (sum * 100n * stats.rate) >> 20n);
});

test('a round that is not closed has no previous one', () => {
  const world = World.running();
  for (const round of [2, 3]) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
  }
  assert.deepEqual([2, 3, 4].map((r) => world.stats(r).previousAccepted), [(1n << 64n) - 1n, 2n, (1n << 64n) - 1n]);
});

test('two rounds that are over are closed together, in order, by whatever comes next', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ALL) world.honest(name);
  const done = settle(world.at(4, 0), 'ann');
  assert.deepEqual(done.events.filter((e) => e.startsWith('REWARDS_DISTRIBUTED')).map((e) => e.split(/[:,]/)[1]), ['200', '300']);
  assert.deepEqual([2, 3].map((r) => [world.stats(r).closed, world.stats(r).accepted, world.stats(r).previousAccepted]), [[1, 1, (1n << 64n) - 1n], [1, 0, 2n]]);
});

test('a claim of more leaves than its tree has is worth nothing', () => {
  const world = World.running().at(2, 3);
  const more = new s.Holding(world.segments);
  more.claim.sum += 1n;
  for (const name of ALL) world.honest(name, { claim: more.claim });
  const done = world.at(3, 3).honest('ann', { holding: more });
  assert.deepEqual(world.told(done).draws, ['3', '3', '3', '3']);
});

test('closing late changes no amount', () => {
  const amounts = [51, 5000].map((late) => {
    const world = World.running();
    world.at(2, 3);
    for (const name of ALL) world.honest(name);
    world.at(2, late);
    return close(world, 2).events[0];
  });
  assert.equal(amounts[0], amounts[1]);
});

test('segment roots: at least two thirds of the electorate decide, in order', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  const [zero, one] = [m.hash(m.u8(0)), m.hash(m.u8(1))];
  world.at(2, 0);
  world.submit('ann', { roots: [[0, zero], [1, one]] });
  assert.equal(world.state().nextSegment, 0n);
  const done = world.submit('bob', { roots: [[0, zero], [1, one]] });
  const bob = world.nodes.get('bob').address;
  assert.deepEqual(done.events, [`SEGMENT_ROOT_ACCEPTED:0,${zero.toString('hex')}`, `SEGMENT_ROOT_ACCEPTED:1,${one.toString('hex')}`, `ROUND_SUBMITTED:${bob},2,-,2,-`]);
  assert.deepEqual(world.view('getSegmentRoot', m.u64(1)), m.cat(one, m.u64(2)));
});

test('segment roots: a false root of a third does not stop the true one, in the same or in a later round', () => {
  const world = new World();
  for (const name of [...ALL, 'dan']) world.register(name);
  const [good, bad] = [m.hash(m.u8(0)), m.hash(m.u8(1))];
  world.at(2, 0).submit('dan', { roots: [[0, bad]] });
  world.submit('ann', { roots: [[0, good]] });
  world.at(3, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, good]] });
  assert.equal(world.state().nextSegment, 1n);
});

test('leaving: stake less slashes after ten rounds, the index closes the gap, and the node may come back', () => {
  const world = World.running();
  world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  assert.equal(world.info('ann').leaveRound, 3n);
  world.at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  const parts = world.answersFor('ann', world.holding, 2, world.beacon(2));
  world.submit('ann', { beacon: world.beacon(2), answers: parts.slice(1) });
  world.at(11, 0);
  const done = world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  const ann = world.nodes.get('ann').address;
  assert.ok(done.events.includes(`STORAGE_NODE_UNREGISTERED:${ann},${100n * MAS - 25_000_000n}`));
  assert.ok(done.events.some((e) => e.startsWith(`REWARDS_CLAIMED:${ann},`)));
  assert.equal(world.info(ann), null);
  assert.equal(world.view('getTotalNodes').readBigUInt64LE(), 2n);
  assert.deepEqual(world.view('getNodes', m.cat(m.u64(0), m.u64(100))), m.texts([world.nodes.get('cat').address, world.nodes.get('bob').address]));
  world.register('ann');
  assert.equal(world.view('getTotalNodes').readBigUInt64LE(), 3n);
});

test('a join and a change count from the second round that opens after them; both values can be read', () => {
  const world = new World();
  world.register('ann');
  assert.deepEqual([world.info('ann').weight, world.info('ann').weightSoon], [0n, 10n]);
  world.at(2, 0);
  assert.equal(world.info('ann').weight, 10n);
  world.ok('updateStorageAllocation', m.u64(20), as(world, 'ann'));
  world.ok('updateStorageAllocation', m.u64(30), as(world, 'ann'));
  assert.deepEqual([world.info('ann').weight, world.info('ann').weightSoon], [10n, 30n]);
  world.at(4, 0);
  assert.equal(world.info('ann').weight, 30n);
});

test('weight lapses after eight rounds without a counted one, and returns two rounds after the next', () => {
  const world = World.running();
  world.at(8, 99);
  assert.equal(world.info('ann').weight, 10n);
  world.at(9, 0);
  assert.equal(world.info('ann').weight, 0n);
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
  world.at(10, 3);
  for (const name of ALL) world.honest(name);
  world.at(10, 51);
  settle(world, 'ann');
  assert.deepEqual([world.info('ann').weight, world.info('ann').weightSoon], [0n, 10n]);
  assert.equal(world.at(12, 0).info('ann').weight, 10n);
});

test('a weight has a gap of a round if the counted round was the last before it lapses, and none if it was the one before', () => {
  for (const [counted, weights] of [[7, [10n, 10n, 10n]], [8, [10n, 0n, 10n]]]) {
    const world = World.running();
    world.at(counted - 1, 60);
    for (const name of ALL) world.submit(name, { claim: world.holding.claim });
    world.at(counted, 3);
    for (const name of ALL) world.honest(name);
    settle(world.at(counted, 51), 'ann');
    assert.deepEqual([8, 9, 10].map((round) => world.at(round, 60).info('ann').weight), weights, `counted in round ${counted}`);
  }
});

test('a pause touches a round: nobody is slashed for it, and the rounds after it go on', () => {
  const world = World.running();
  world.at(2, 10).ok('setPaused', m.u8(1), admin);
  world.at(4, 0).ok('setPaused', m.u8(0), admin);
  settle(world, ...ALL);
  for (const name of ALL) assert.deepEqual([world.info(name).stake, world.result(name, 2).reason], [100n * MAS, 19]);
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
});

test('an update of the configuration has one event for each changed field and counts from the round after the next', () => {
  const world = new World();
  const changed = { ...m.DEFAULT_CONFIG, slashPercentage: 20n, replicationFactor: 2n };
  const done = world.ok('updateConfig', m.encodeConfig(changed), admin);
  assert.deepEqual(done.events, ['CONFIG_UPDATED:slashPercentage,10,20', 'CONFIG_UPDATED:replicationFactor,3,2']);
  assert.deepEqual(world.at(1, 99).view('getConfig'), m.encodeConfig(m.DEFAULT_CONFIG));
  assert.deepEqual(world.at(2, 0).view('getConfig'), m.encodeConfig(changed));
});

test('manual challenges: passed, failed and expired, with their events; they neither pay nor slash', () => {
  const world = World.running();
  const ann = world.nodes.get('ann').address;
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const [segment] = world.segments;
  const chunk = segment.chunks[2];
  const answer = s.manualAnswer(segment, 2, 0);
  const id = (n) => m.hash(m.u8(n)).toString('hex');
  const issue = (n) => world.ok('issueChallenge', m.cat(m.sized(id(n)), m.sized(ann), m.sized(chunk.id.toString('hex')), m.u64(7)), admin).events;
  assert.deepEqual(issue(1), [`CHALLENGE_ISSUED:${id(1)},${ann},${chunk.id.toString('hex')}`]);
  issue(2);
  issue(3);
  const submit = (n, proof) => world.ok('submitProof', m.submitArgs(id(n), proof), as(world, 'ann')).events;
  assert.deepEqual(submit(1, answer), [`CHALLENGE_PASSED:${id(1)},${ann}`]);
  assert.deepEqual(submit(2, answer.subarray(1)), [`CHALLENGE_FAILED:${id(2)},${ann},malformed`]);
  const resolve = () => world.ok('resolveExpiredChallenges', m.texts([id(1), id(2), id(3), id(4)]), admin);
  assert.deepEqual([...resolve().result], [0, 0, 0, 4]);
  world.chain.period += 4;
  const done = resolve();
  assert.deepEqual([[...done.result], done.events], [[0, 0, 1, 4], [`CHALLENGE_EXPIRED:${id(3)},${ann}`]]);
  assert.equal(world.info('ann').stake, 100n * MAS);
  world.chain.period += 1000;
  assert.deepEqual([...resolve().result], [2, 2, 2, 4]);
  assert.equal(world.view('getChallenge', m.sized(id(1))).length, 0);
});

test('coins sent to the contract outside of a call join the pool with the next funding', () => {
  const world = new World();
  const pool = world.state().pool;
  world.chain.balances.set(world.registry, world.chain.balance(world.registry) + 7n);
  assert.deepEqual(world.ok('fund', undefined, { from: ADMIN.address, coins: 5n }).events, [`FUNDED:${ADMIN.address},12`]);
  assert.equal(world.state().pool, pool + 12n);
});

test('a node is found by its address and by its P2P identity', () => {
  const world = new World();
  const done = world.register('ann', 10, { identity: true, retention: 400 });
  assert.deepEqual(done.events, [`STORAGE_NODE_REGISTERED:${world.nodes.get('ann').address},10`]);
  const node = world.info('ann');
  assert.deepEqual(world.info(world.nodes.get('ann').nodeId), node);
  assert.deepEqual([node.nodeId, node.addresses, node.retentionPeriods], [world.nodes.get('ann').nodeId, '1.2.3.4:31244', 400n]);
  assert.deepEqual(world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(MAS)), { ...as(world, 'ann'), coins: 2n * MAS }).events, [`STORAGE_NODE_UPDATED:${world.nodes.get('ann').address},10,10`]);
  assert.equal(world.info('ann').stake, 101n * MAS);
});

test('a node that is forgotten leaves no row behind, and its P2P identity is free', () => {
  const world = new World();
  const rows = () => [...world.chain.data.keys()].filter((key) => /^(node|index|p2p)_/.test(key));
  world.register('ann', 10, { identity: true });
  const { nodeId } = world.nodes.get('ann');
  assert.equal(rows().length, 3);
  world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.at(10, 0).ok('unregisterStorageNode', undefined, as(world, 'ann'));
  assert.deepEqual(rows(), []);
  assert.equal(world.info(nodeId), null);
  world.register('ann', 10, { identity: true });
  assert.equal(world.info(nodeId).address, world.nodes.get('ann').address);
});

test('pending rewards are what settling gives: for who is counted, missed, lied, was refuted, in a round that is over, open or void', () => {
  const { world, ranked, args, address } = World.steady();
  const [liar, misser] = ranked;
  const last = ranked[8];
  const others = ranked.filter((name) => ![liar, misser].includes(name));
  world.at(9, 3);
  for (const name of others) world.honest(name);
  world.honest(misser, { change: (a) => a.slice(1) });
  world.honest(liar, { beacon: m.hash(m.u8(7)) });
  world.ok('refuteClaim', args(last, 9, ranked.slice(2, 5)), admin);
  const pending = (name) => world.view('calculatePendingRewards', m.sized(address(name))).readBigUInt64LE();
  const credit = (name) => { const b = world.chain.data.get('node_' + address(name)); return [96, 224, 352].reduce((sum, at) => sum + b.readBigUInt64LE(208 + at), b.readBigUInt64LE(144)); };
  const open = ranked.map(pending);
  assert.deepEqual(open, ranked.map(credit), 'of a round that is open nothing is told');
  world.at(9, 51).ok('distributeRewards', m.u64(900), admin);
  const told = ranked.map(pending);
  settle(world, ...ranked);
  assert.deepEqual(told, ranked.map(credit));
  assert.deepEqual(ranked.map(pending), told);
  const [whole, part] = [told[3] - open[3], told[1] - open[1]];
  assert.deepEqual([whole, part].map((v) => v > 0n), [true, true]);
  assert.deepEqual([told[0] - open[0], told[8] - open[8], part < whole], [0n, 0n, true]);
  // A void round: nobody but one answers.
  world.at(10, 3).honest(ranked[3]);
  world.at(10, 51).ok('distributeRewards', m.u64(1000), admin);
  assert.equal(pending(ranked[3]), told[3]);
});

test('the least and the largest allocation, and the least stake, are allowed, and nothing beyond', () => {
  const world = new World({ config: { minAllocatedGb: 4n, maxAllocatedGb: 150n } });
  const who = user('eve');
  world.give(who.address);
  const options = { from: who.address, coins: 300n * MAS };
  const args = (gb, stake) => m.cat(m.u64(gb), m.u64(stake), m.u64(0), m.texts([]), m.texts([]), m.texts([]));
  world.refuses('allocatedGb: at least 4', 'registerStorageNode', m.u64(3), options);
  world.refuses('allocatedGb: at most 150', 'registerStorageNode', m.u64(151), options);
  world.refuses('stake: 0.000000001 MAS more are needed for 4 GB', 'registerStorageNode', args(4, 100n * MAS - 1n), options);
  world.refuses('stake: 0.000000001 MAS more are needed for 150 GB', 'registerStorageNode', args(150, 150n * MAS - 1n), options);
  world.register('ann', 4, { stake: 100n * MAS });
  world.register('bob', 150, { stake: 150n * MAS });
  assert.deepEqual(['ann', 'bob'].map((name) => world.info(name).stake), [100n * MAS, 150n * MAS]);
});

test('who comes pays the stake of the configuration that counts when it will count', () => {
  const world = new World();
  world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, minStake: 200n * MAS }), admin);
  world.at(5, 99).register('ann');
  world.at(6, 0).register('bob');
  assert.deepEqual(['ann', 'bob'].map((name) => world.info(name).stake), [100n * MAS, 200n * MAS]);
});

// Refutation.

test('a chunk that was not assigned is refuted: ten times the percentage and unmatured credit, a tenth to the reporter', () => {
  const { world, ranked, args, address } = World.steady();
  const last = ranked[8];
  settle(world, last);
  const unmatured = world.result(last, 7).credit;
  assert.ok(unmatured > 0n);
  const burned = world.state().burned + world.state().toBurn;
  const before = world.chain.balance(ADMIN.address);
  const done = world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), { from: ADMIN.address });
  const total = 100n * MAS + unmatured;
  assert.ok(done.events.includes(`CLAIM_REFUTED:${address(last)},8,${ADMIN.address},${total}`));
  assert.equal(world.chain.balance(ADMIN.address) - before, total / 10n);
  assert.equal(world.state().burned + world.state().toBurn - burned, total - total / 10n);
  assert.equal(world.info(last).stake, 0n);
  world.refuses('this claim is refuted already', 'refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  world.at(8, 51);
  settle(world, last);
  assert.deepEqual([world.result(last, 8).reason, world.result(last, 8).credit], [20, 0n]);
  // What the refuted answer would have earned is burned, not kept for ever.
  world.at(10, 0);
  for (const name of ranked) world.ok('claimRewards', undefined, as(world, name));
  assert.equal(world.state().credited, 0n);
});

test('refuted after its result is fixed, a claim is told as refuted', () => {
  const { world, ranked, args } = World.steady();
  const last = ranked[8];
  settle(world.at(8, 51), last);
  assert.equal(world.result(last, 8).reason, 0);
  assert.ok(world.result(last, 8).credit > 0n);
  world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  assert.deepEqual([world.result(last, 8).reason, world.result(last, 8).credit], [20, 0n]);
  world.refuses('this claim is refuted already', 'refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
});

test('a refutation after the window settles the claim first: what it earned is lost, with a tenth for the reporter', () => {
  const { world, ranked, args, address } = World.steady();
  const last = ranked[8];
  const credit = (world.holding.claim.sum * 100n * 1_000_000n) >> 20n;
  const done = world.at(8, 51).ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  assert.ok(done.events.includes(`CLAIM_REFUTED:${address(last)},8,${ADMIN.address},${100n * MAS + 2n * credit}`), 'of rounds 7 and 8');
  assert.deepEqual([world.result(last, 8).reason, world.result(last, 8).credit, world.result(last, 8).state], [20, 0n, 3]);
});

test('refutation: each guard', () => {
  const { world, ranked, args } = World.steady();
  const last = ranked[8];
  const best = ranked.slice(0, 3);
  const refuses = (message, ...list) => world.refuses(message, 'refuteClaim', args(...list), admin);
  refuses('round has not opened', last, 10, best);
  refuses('a claim can be refuted until the end of the next round', last, 6, best);
  refuses('witnesses must be different, in ascending order', last, 8, [best[0], best[0], best[1]]);
  const lowest = [...best].sort((a, b) => (world.nodes.get(a).address < world.nodes.get(b).address ? -1 : 1))[0];
  refuses('a node is not its own witness', lowest, 8, best);
  refuses('argument witness: input ends too early', last, 8, best.slice(1));
  const fourth = [...ranked.slice(0, 4)].map((name) => world.nodes.get(name).address).sort()[3];
  const tooMany = 4 + fourth.length + 4 + world.holding.sumPath(world.segments[0].position(0)).length;
  refuses(`refuteClaim: ${tooMany} bytes too many`, last, 8, ranked.slice(0, 4));
  const worse = ranked.slice(6, 9).filter((n) => n !== ranked[5]);
  const first = worse.map((n) => world.nodes.get(n).address).sort()[0];
  refuses(`witness has no lower score: ${first}`, ranked[5], 8, worse);
  refuses('answer is malformed', last, 8, best, { proof: Buffer.alloc(3) });
  const position = world.segments[0].position(0);
  refuses('a refutation shows no leaf', last, 8, best, { proof: world.holding.answer(0n) });
  const bad = Buffer.from(world.holding.exhibit(position));
  bad[bad.length - 1] ^= 1;
  refuses('archive path does not end in the segment root', last, 8, best, { proof: bad });
  const other = Buffer.from(world.holding.exhibit(position));
  other[60] ^= 1;
  refuses('sum path does not end in the claim', last, 8, best, { proof: other });
  world.register('new1');
  refuses('nothing was claimed for this round', 'new1', 8, best);
  const fresh = [...best.slice(0, 2), 'new1'];
  const message = `witness claimed nothing for this round: ${world.nodes.get('new1').address}`;
  const done = world.call('refuteClaim', args(last, 8, fresh), admin);
  assert.equal(done.error, message);
});

test('an assigned chunk cannot be refuted', () => {
  const { world, ranked, args } = World.steady();
  const best = ranked.slice(0, 4);
  const accused = best[2];
  const done = world.call('refuteClaim', args(accused, 8, best.filter((n) => n !== accused)), admin);
  assert.match(done.error, /^witness has no lower score: /);
});

test('a node is filled once it passes with nine tenths of its share less 8 chunks, until below three quarters less 8', () => {
  // 40 chunks of 64 leaves. Ann's share is (2 · 2560 + 64 k) / 3: set from 22.9 chunks on, unset below 16.
  const world = World.running(ALL, { config: { chunkSizeBytes: 65_536n }, chunkLengths: Array(40).fill(65_536) });
  const part = (k) => new s.Holding(world.segments, (position) => position < BigInt(k));
  let held = world.holding;
  const play = (round, k, change) => {
    const next = part(k);
    world.at(round, 3);
    for (const name of ['bob', 'cat']) world.honest(name);
    world.honest('ann', { holding: held, claim: next.claim, change });
    held = next;
    settle(world.at(round, 51), ...ALL);
    return world.at(round + 2, 0).info('ann').filled;
  };
  assert.equal(play(2, 16), true);
  assert.equal(play(3, 15), true, '16 chunks are not below three quarters');
  assert.equal(play(4, 22), false, '15 are');
  assert.equal(play(5, 23), false, '22 are not nine tenths');
  assert.equal(play(6, 40), true, '23 are');
  assert.equal(play(7, 15), true);
  assert.equal(play(8, 40), false);
  assert.equal(play(9, 40, (a) => a.slice(1)), false, 'all that there is, but a draw is missed');
  assert.equal(play(10, 40), true);
  assert.equal(world.state().flagsFrom, 5n, 'since the first flag');
});

test('a node that is unset and set again in the same round stays filled', () => {
  const world = World.running(ALL, { config: { chunkSizeBytes: 65_536n }, chunkLengths: Array(40).fill(65_536) });
  const few = new s.Holding(world.segments, (position) => position < 15n);
  const holdings = { 2: world.holding, 3: world.holding, 4: few, 5: world.holding, 6: world.holding };
  for (const round of [2, 3, 4, 5]) {
    world.at(round, 3);
    for (const name of ['bob', 'cat']) world.honest(name);
    world.honest('ann', { holding: holdings[round], claim: holdings[round + 1].claim });
    // Round 4, with too little, is settled with the answer to round 5.
    if (round !== 4) settle(world.at(round, 51), ...ALL);
  }
  assert.deepEqual([world.result('ann', 4).reason, world.result('ann', 5).reason], [0, 0]);
  assert.deepEqual([5, 6, 7, 8].map((round) => world.at(round, 60).info('ann').filled), [true, true, true, true]);
});

test('while nobody has passed anything, everybody is filled', () => {
  const world = World.running(ALL);
  world.at(2, 3);
  for (const name of ALL) world.submit(name, { beacon: world.beacon(2), claim: world.holding.claim });
  assert.ok(ALL.every((name) => world.info(name).filled && world.result(name, 3).filled));
  world.at(3, 3).honest('ann');
  for (const name of ['bob', 'cat']) world.submit(name, { beacon: world.beacon(3), claim: world.holding.claim });
  settle(world.at(3, 51), ...ALL);
  assert.equal(world.state().flagsFrom, 6n, 'one passed, and its flag counts from round 5 on');
  const filled = (round) => (world.at(round, 0), ALL.map((name) => world.info(name).filled));
  assert.deepEqual([filled(5), filled(6)], [[true, true, true], [true, false, false]]);
});

test('a claim is covered by the stake that is left', () => {
  const world = World.running(ALL, { config: { stakePerGb: 10n * MAS, slashPercentage: 100n } }).at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  world.honest('ann', { change: (a) => a.slice(2), claim: undefined });
  world.at(2, 51);
  const covered = 9n << 20n;
  assert.equal(100n * MAS, world.info('ann').stake);
  settle(world, 'ann');
  assert.equal(world.info('ann').stake, 95n * MAS);
  world.at(3, 0).skips('this round must be answered before the next is claimed', 'ann', { claim: { root: Buffer.alloc(32), sum: covered } });
  world.at(3, 51).submit('ann', {});
  world.at(7, 0).skips('claim is more than the stake covers', 'ann', { claim: { root: Buffer.alloc(32), sum: covered + 1n } });
  assert.equal(world.told(world.submit('ann', { claim: { root: m.hash(m.u8(1)), sum: covered } })).claim, String(covered));
});

test('a change of an allocation settles first, and wants the stake of what is left', () => {
  const world = World.running([...ALL, 'dan'], { config: { stakePerGb: 10n * MAS, slashPercentage: 100n } }).at(2, 3);
  for (const name of ALL) world.honest(name);
  world.at(2, 51).refuses('coins: 9 MAS more are needed: 10 for stake and 0 for storage', 'updateStorageAllocation', m.u64(10), as(world, 'dan'));
  assert.equal(world.info('dan').stake, 100n * MAS, 'what is refused settles nothing');
  settle(world, 'dan');
  assert.equal(world.info('dan').stake, 90n * MAS);
});

test('a node without stake claims nothing', () => {
  const world = World.running([...ALL, 'dan'], { config: { stakePerGb: 0n, slashPercentage: 100n } }).at(2, 3);
  for (const name of ALL) world.honest(name);
  world.submit('dan', { beacon: m.hash(m.u8(7)) });
  settle(world.at(5, 60), 'dan');
  world.skips('no stake is left', 'dan', { claim: world.holding.claim });
});

test('a second change of the configuration keeps the first in force until its turn', () => {
  const world = new World();
  const change = (slashPercentage) => world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, slashPercentage }), admin);
  change(11n);
  world.at(2, 0);
  change(12n);
  const now = () => world.view('getConfig').readBigUInt64LE(32);
  assert.equal(now(), 11n);
  assert.equal(world.at(4, 0).view('getConfig').readBigUInt64LE(32), 12n);
  assert.equal(world.view('getNextConfig').readBigUInt64LE(88 + 8), 4n);
});

test('a pause slashes nobody for draws that were missed in the same round', () => {
  const world = World.running().at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => a.slice(1) });
  world.at(2, 10).ok('setPaused', m.u8(1), admin);
  world.at(2, 90).ok('setPaused', m.u8(0), admin);
  settle(world, ...ALL);
  for (const name of ALL) assert.equal(world.info(name).stake, 100n * MAS);
  assert.ok(world.result('ann', 2).credit > 0n);
});

test('events of the admin, of keys and of leaving', () => {
  const world = World.running();
  const [ann, dan] = [world.nodes.get('ann').address, (world.at(1, 99).register('dan'), world.nodes.get('dan').address)];
  assert.deepEqual(world.ok('addChallenger', m.sized(ann), admin).events, [`CHALLENGER_ADDED:${ann}`]);
  assert.deepEqual(world.ok('removeChallenger', m.sized(ann), admin).events, [`CHALLENGER_REMOVED:${ann}`]);
  world.refuses('is not a challenger', 'removeChallenger', m.sized(ann), admin);
  assert.deepEqual(world.ok('setPaused', m.u8(1), admin).events, ['PAUSED:true']);
  assert.deepEqual(world.ok('setPaused', m.u8(0), admin).events, ['PAUSED:false']);
  world.at(2, 3);
  const events = ALL.flatMap((name) => world.honest(name).events);
  assert.equal(world.info('dan').hasKey, true, 'in the first phase nobody waits for a beacon');
  assert.ok(events.includes(`BEACON_ACCEPTED:2,${world.beacon(2).toString('hex')}`));
  assert.ok(events.includes(`ROUND_SUBMITTED:${ann},2,answered,-,${world.holding.claim.sum},0,0,0,0`));
  world.at(3, 3);
  for (const name of ALL) world.honest(name);
  world.register('eve');
  const eve = world.nodes.get('eve').address;
  assert.equal(world.info('eve').hasKey, false);
  world.at(4, 3);
  for (const name of ALL) world.honest(name);
  assert.deepEqual(world.ok('setPlacementKey', m.cat(m.sized(eve), m.u64(4)), admin).events, [`PLACEMENT_KEY_SET:${eve},4`]);
  assert.deepEqual(world.ok('unregisterStorageNode', undefined, as(world, 'dan')).events, [`STORAGE_NODE_LEAVING:${dan},6`]);
});

test('nodes leave in any order, and the list stays whole', () => {
  for (const order of [['ann', 'cat', 'bob'], ['cat', 'ann', 'bob'], ['bob', 'cat', 'ann']]) {
    const world = new World();
    for (const name of ALL) world.register(name);
    for (const name of ALL) world.ok('unregisterStorageNode', undefined, as(world, name));
    world.at(10, 0);
    const left = new Set(ALL);
    for (const name of order) {
      world.ok('unregisterStorageNode', undefined, as(world, name));
      left.delete(name);
      const listed = world.view('getNodes', m.cat(m.u64(0), m.u64(100)));
      assert.equal(listed.readUInt32LE(), [...left].reduce((sum, n) => sum + 4 + world.nodes.get(n).address.length, 0));
      for (const n of left) assert.ok(listed.includes(world.nodes.get(n).address));
      assert.equal(world.view('getTotalNodes').readBigUInt64LE(), BigInt(left.size));
    }
    assert.deepEqual([...world.chain.data.keys()].filter((k) => /^(node|index)_/.test(k)), []);
  }
});

test('a node that registers in the first period of a round gets its key from the next one', () => {
  const world = World.running();
  for (const round of [2, 3]) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
  }
  world.at(4, 0).register('dan');
  const set = (round) => m.cat(m.sized(world.nodes.get('dan').address), m.u64(round));
  for (const round of [4, 5]) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
  }
  world.refuses('round opened before the registration', 'setPlacementKey', set(4), admin);
  world.ok('setPlacementKey', set(5), admin);
});

test('a manual challenge is failed by an answer with a sum path, of another chunk, in no segment, or under another root: each with its reason', () => {
  const world = World.running();
  const ann = world.nodes.get('ann').address;
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const [segment] = world.segments;
  const [chunk, other] = segment.chunks;
  const parts = (of, change) => s.encodeAnswer({ position: of.position, chunk: of, mask: 0n, siblings: [], leaf: of.leaf(0), leafPath: m.treePath(of.leaves, 0), ...segment.paths(of.position), ...change });
  const [[side, sibling], ...rest] = segment.paths(chunk.position).segmentPath;
  const answers = [
    [parts(chunk), undefined],
    [parts(chunk, { mask: 1n, siblings: [{ sum: 1n, hash: m.hash(m.u8(1)) }] }), 'malformed'],
    [parts(other), 'not the drawn leaf'],
    [parts(chunk, { position: 9n << 16n }), 'segment not anchored'],
    [parts(chunk, { segmentPath: [[side, m.hash(sibling)], ...rest] }), 'archive path does not end in the segment root'],
    [parts(chunk, { leaf: chunk.leaf(1) }), 'leaf path does not end in the chunk id'],
  ];
  for (const [n, [answer, reason]] of answers.entries()) {
    const id = m.hash(m.u8(n)).toString('hex');
    world.ok('issueChallenge', m.cat(m.sized(id), m.sized(ann), m.sized(chunk.id.toString('hex')), m.u64(0)), admin);
    assert.equal(world.ok('submitProof', m.submitArgs(id, answer), as(world, 'ann')).events[0].split(',')[2], reason);
  }
});

test('draws and results are those of the round that is named, though another has its slot', () => {
  const world = World.running();
  const ann = m.sized(world.nodes.get('ann').address);
  const lengths = (round) => [world.view('getRoundResult', m.cat(ann, m.u64(round))).length, world.view('getDraws', m.cat(ann, m.u64(round), world.beacon(2))).length];
  assert.deepEqual([2, 5, 3].map(lengths), [[128, 4 * 76], [0, 0], [0, 0]]);
});

test('a manual challenge can be answered until its deadline, to the millisecond, and expires after it', () => {
  const world = World.running(ALL, { config: { challengeResponseTimeout: 64_000n } });
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const id = (n) => m.hash(m.u8(n)).toString('hex');
  for (const n of [1, 2]) world.ok('issueChallenge', m.cat(m.sized(id(n)), m.sized(world.nodes.get('ann').address), m.sized(id(n)), m.u64(7)), admin);
  world.chain.period += 4;
  assert.deepEqual([...world.ok('resolveExpiredChallenges', m.texts([id(1)]), admin).result], [0]);
  world.ok('submitProof', m.submitArgs(id(1), Buffer.alloc(1)), as(world, 'ann'));
  world.chain.period += 1;
  world.refuses('challenge has expired', 'submitProof', m.submitArgs(id(2), Buffer.alloc(1)), as(world, 'ann'));
  assert.deepEqual([...world.ok('resolveExpiredChallenges', m.texts([id(1), id(2)]), admin).result], [0, 1]);
});

test('answers are taken from the third period of a round to its middle, both included', () => {
  const world = World.running();
  for (const [inRound, name] of [[3, 'ann'], [50, 'bob']]) assert.equal(world.told(world.at(2, inRound).honest(name)).answers, 'answered');
  world.refuses('answers to this round are still taken', 'distributeRewards', m.u64(200), admin);
  world.at(2, 51).skips('this round is answered or over', 'cat', { beacon: world.beacon(2) });
  assert.equal(world.stats(2).closed, 1, 'by whatever came next');
});

test('segment roots: nothing is accepted before what precedes it, however many vote for it', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  const [zero, one] = [m.hash(m.u8(0)), m.hash(m.u8(1))];
  world.at(2, 0);
  for (const name of ALL) world.submit(name, { roots: [[1, one]] });
  assert.equal(world.state().nextSegment, 0n);
  assert.equal(world.view('getSegmentRoot', m.u64(1)).length, 0);
  world.at(3, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, zero], [1, one]] });
  assert.equal(world.state().nextSegment, 2n);
});

test('a placement key that comes after more than eight rounds gives weight, with notice', () => {
  const world = World.running();
  for (let round = 2; round < 16; round++) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
    if (round === 3) world.register('dan');
  }
  world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('dan').address), m.u64(4)), admin);
  assert.deepEqual([15, 16, 17].map((round) => world.at(round, 9).info('dan').weight), [0n, 0n, 10n]);
});

test('a manual challenge asks for the leaf that its nonce names: 7 of 5 leaves is leaf 2', () => {
  const world = World.running();
  const ann = world.nodes.get('ann').address;
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const [segment] = world.segments;
  const [chunk] = segment.chunks;
  assert.equal(chunk.leaves.length, 5);
  const answer = (leaf) => s.manualAnswer(segment, 0, leaf);
  const play = (n, leaf) => {
    const id = m.hash(m.u8(n)).toString('hex');
    world.ok('issueChallenge', m.cat(m.sized(id), m.sized(ann), m.sized(chunk.id.toString('hex')), m.u64(7)), admin);
    return world.ok('submitProof', m.submitArgs(id, answer(leaf)), as(world, 'ann')).events[0].split(',')[2];
  };
  assert.deepEqual([play(1, 2), play(2, 0)], [undefined, 'leaf path does not end in the chunk id']);
});

// What a round does: claims, beacons, answers, results, money.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

test('an honest round pays every node by the formula, after the round that follows it', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['ann', 'bob', 'cat']) {
    const done = world.honest(name);
    assert.equal(done.events.filter((e) => e.startsWith('CHALLENGE_PASSED:')).length, 4);
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

test('a missed draw earns less and costs a quarter of ten percent of the stake', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => (name === 'ann' ? a.slice(1) : a) });
  world.at(2, 51);
  const done = settle(world, 'ann');
  const slash = (100n * MAS * 10n * 1n) / (100n * 4n);
  assert.ok(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('ann').address},${slash},draws missed`));
  assert.equal(world.info('ann').stake, 100n * MAS - slash);
  const result = world.result('ann', 2);
  assert.deepEqual(result.drawReasons, [1, 0, 0, 0]);
  assert.equal(result.credit, (world.holding.claim.sum * 100n * 1_000_000n * 3n) / (4n << 20n));
  assert.equal(world.info('ann').totalChallenges, 4n);
  assert.equal(world.info('ann').passedChallenges, 3n);
  // 2.5 MAS was enough to be burned at once.
  assert.equal(world.state().burned, slash);
});

test('a wrong answer fails with its reason, in the event and in the view, and the others count', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  const spoil = ([[d0, a0], [d1, a1], ...rest]) => [[d0, m.cat(a0, m.u8(0))], [d1, a0], ...rest];
  const done = world.honest('ann', { change: (a) => spoil(a) });
  const failed = done.events.filter((e) => e.startsWith('CHALLENGE_FAILED'));
  const beacon = world.beacon(2);
  const id = m.challengeId({ chainId: 77n, registry: world.registry, round: 2, node: world.nodes.get('ann').address, beacon, d: 0 });
  assert.equal(failed[0], `CHALLENGE_FAILED:${id},${world.nodes.get('ann').address},malformed`);
  assert.equal(world.result('ann', 2).drawReasons[0], 2);
});

test('a node that is silent in a counted round is slashed for all draws, and its silence is a reason', () => {
  const world = World.running(['ann', 'bob', 'cat', 'dan']);
  world.at(2, 3);
  for (const name of ALL) world.honest(name);
  world.at(2, 51);
  const done = settle(world, 'dan');
  assert.ok(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('dan').address},${10n * MAS},silent`));
  assert.equal(world.result('dan', 2).reason, 16);
  assert.equal(world.info('dan').noClaimBefore, 6n);
});

test('a minority beacon is neither paid nor slashed, and sits out', () => {
  const world = World.running(['ann', 'bob', 'cat', 'dan']);
  world.at(2, 3);
  world.submit('dan', { beacon: world.beacon(2, 'other'), answers: world.answersFor('dan', world.holding, 2, world.beacon(2, 'other')) });
  for (const name of ALL) world.honest(name);
  world.at(2, 51);
  settle(world, 'dan');
  assert.equal(world.info('dan').stake, 100n * MAS);
  assert.deepEqual([world.result('dan', 2).reason, world.result('dan', 2).credit], [17, 0n]);
  assert.equal(world.info('dan').noClaimBefore, 6n);
});

test('exactly two thirds of the claiming stake are no quorum: the round is void, pays nothing and slashes nobody', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['ann', 'bob']) world.honest(name);
  world.at(2, 51);
  const pool = world.state().pool;
  const reserve = world.stats(2).reserve;
  assert.deepEqual(close(world, 2).events, ['REWARDS_DISTRIBUTED:200,0,0']);
  assert.equal(world.state().pool, pool + reserve);
  settle(world, ...ALL);
  for (const name of ALL) assert.equal(world.info(name).stake, 100n * MAS);
  assert.deepEqual(ALL.map((name) => world.result(name, 2).reason), [18, 18, 18]);
  assert.deepEqual(ALL.map((name) => world.info(name).noClaimBefore), [0n, 0n, 6n]);
});

test('after a void round the electorate is who is alive', () => {
  const world = World.running();
  world.at(2, 3);
  for (const name of ['ann', 'bob']) world.honest(name);
  world.at(3, 3);
  for (const name of ['ann', 'bob']) world.honest(name);
  assert.equal(world.stats(3).accepted, 1);
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
  const byPool = (before << 20n) / (sum * 100n);
  assert.equal(stats.rate, byPool < 1_000_000n ? byPool : 1_000_000n);
  assert.equal(stats.reserve, (sum * 100n * stats.rate) >> 20n);
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

test('segment roots: in a round without claims more than two thirds of the active stake decide, in order', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  const [zero, one] = [m.hash(m.u8(0)), m.hash(m.u8(1))];
  world.at(2, 0);
  world.submit('ann', { roots: [[0, zero], [1, one]] });
  world.submit('bob', { roots: [[0, zero], [1, one]] });
  assert.equal(world.state().nextSegment, 0n);
  const done = world.submit('cat', { roots: [[0, zero], [1, one]] });
  assert.deepEqual(done.events, [`SEGMENT_ROOT_ACCEPTED:0,${zero.toString('hex')}`, `SEGMENT_ROOT_ACCEPTED:1,${one.toString('hex')}`]);
  assert.deepEqual(world.view('getSegmentRoot', m.u64(1)), m.cat(one, m.u64(2)));
});

test('segment roots: a false root of a third does not stop the true one, in the same or in a later round', () => {
  const world = new World();
  for (const name of [...ALL, 'dan']) world.register(name);
  const [good, bad] = [m.hash(m.u8(0)), m.hash(m.u8(1))];
  world.at(1, 0).submit('dan', { roots: [[0, bad]] });
  world.submit('ann', { roots: [[0, good]] });
  world.at(2, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, good]] });
  assert.equal(world.state().nextSegment, 1n);
});

test('segment roots: stake of nodes that are gone for eight rounds does not count once somebody says so', () => {
  const world = new World();
  for (const name of [...ALL, 'dan', 'eve']) world.register(name);
  world.at(9, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, m.hash(m.u8(0))]] });
  assert.equal(world.state().nextSegment, 0n);
  settle(world, 'dan', 'eve');
  assert.equal(world.info('dan').active, true, 'they have two rounds to come back');
  settle(world.at(11, 0), 'dan', 'eve');
  assert.equal(world.info('dan').active, false);
  world.at(12, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, m.hash(m.u8(0))]] });
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
  assert.ok(done.events.includes(`STORAGE_NODE_UNREGISTERED:${ann},${100n * MAS - 2_500_000_000n}`));
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
  const done = world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, minStake: 5n, slashPercentage: 20n }), admin);
  assert.deepEqual(done.events, ['CONFIG_UPDATED:slashPercentage,10,20', `CONFIG_UPDATED:minStake,${m.DEFAULT_CONFIG.minStake},5`]);
  assert.deepEqual(world.at(1, 99).view('getConfig'), m.encodeConfig(m.DEFAULT_CONFIG));
  assert.deepEqual(world.at(2, 0).view('getConfig'), m.encodeConfig({ ...m.DEFAULT_CONFIG, minStake: 5n, slashPercentage: 20n }));
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
  refuses('refuteClaim: 53 bytes too many'.replace('53', String(4 + world.nodes.get([...ranked.slice(0, 4)].sort((a, b) => (world.nodes.get(a).address < world.nodes.get(b).address ? -1 : 1))[3]).address.length)), last, 8, ranked.slice(0, 4));
  const worse = ranked.slice(6, 9).filter((n) => n !== ranked[5]);
  const first = worse.map((n) => world.nodes.get(n).address).sort()[0];
  refuses(`witness has no lower score: ${first}`, ranked[5], 8, worse);
  refuses('answer is malformed', last, 8, best, Buffer.alloc(3));
  const position = world.segments[0].position(0);
  refuses('a refutation shows no leaf', last, 8, best, world.holding.answer(0n));
  const bad = Buffer.from(world.holding.exhibit(position));
  bad[bad.length - 1] ^= 1;
  refuses('archive path does not end in the segment root', last, 8, best, bad);
  const other = Buffer.from(world.holding.exhibit(position));
  other[60] ^= 1;
  refuses('sum path does not end in the claim', last, 8, best, other);
  world.register('new1');
  refuses('nothing was claimed for this round', 'new1', 8, best);
  const fresh = [...best.slice(0, 2), 'new1'];
  const message = `witness is not filled and unchanged for three rounds: ${world.nodes.get('new1').address}`;
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

test('a witness that may have been full proves nothing', () => {
  // 8 GB of 10 claimed are the most a witness may have: here all claim one leaf more.
  const names = Array.from({ length: 5 }, (_, i) => 'node' + i);
  const world = new World({ config: { replicationFactor: 1n } });
  for (const name of names) world.register(name);
  const segment = world.segment(0);
  const held = segment.chunks.map((c) => [segment.position(c.index), { leaves: c.leaves.length, id: c.id }]);
  const air = (leaves) => new m.Claim([...held, [segment.position(99), { leaves: leaves - held.reduce((a, [, c]) => a + c.leaves, 0), id: m.hash(m.u8(0)) }]]);
  const holding = new s.Holding([segment]);
  world.at(1, 60);
  for (const name of names) world.submit(name, { roots: [[0, segment.root]] });
  const claims = { full: air(8 * (1 << 20) + 1), most: air(8 * (1 << 20)) };
  for (const [kind, claim] of Object.entries(claims)) {
    const from = world.round + 1;
    for (let round = from - 1; round < from + 8; round++) {
      if (round >= from) world.at(round, 3);
      const beacon = world.beacon(round);
      for (const name of names) world.submit(name, round >= from ? { beacon, claim } : { claim });
    }
    holding.claim = claim;
    const { id } = segment.chunks[0];
    const ranked = [...names].sort((a, b) => (m.score(id, world.key(a), 10n) < m.score(id, world.key(b), 10n) ? -1 : 1));
    const [best, last] = [ranked[0], ranked[4]].map((n) => world.nodes.get(n).address);
    const args = m.cat(m.sized(last), m.u64(world.round), m.sized(holding.exhibit(segment.position(0))), m.sized(best));
    if (kind === 'full') world.refuses(`witness may have been full: ${best}`, 'refuteClaim', args, admin);
    else world.ok('refuteClaim', args, admin);
    world.at(world.round, 51);
    for (const name of names) world.submit(name, {});
    world.at(world.round + 5, 60);
  }
});

test('a node is filled from nine tenths of its share on, until below three quarters, with two rounds of notice', () => {
  const world = World.running();
  const one = world.segment(1, [40_000]);
  const all = world.holding;
  const leaves = Number(all.claim.sum);
  assert.ok(leaves > 70);
  const part = (percent) => new m.Claim([[0n, { leaves: Math.round((leaves * percent) / 100), id: one.root }]]);
  const play = (round, claim) => {
    world.at(round, 3);
    world.honest('bob');
    world.honest('cat');
    world.submit('ann', { beacon: world.beacon(round), claim });
    world.at(round, 51).ok('resolveExpiredChallenges', m.texts(ALL.map((n) => world.nodes.get(n).address)), admin);
    return [world.info('ann').filled, world.at(round + 2, 0).info('ann').filled];
  };
  // Shares: bob and cat 100, ann x; ann's share is (200 + x) / 3.
  assert.deepEqual(play(2, part(70)), [false, true]);
  assert.deepEqual(play(3, part(60)), [false, true], '70 of 90 is above three quarters');
  assert.deepEqual(play(4, part(83)), [true, true].map((_, i) => i === 0), '60 of 86.7 is below: from round 6 on');
  assert.deepEqual(play(5, part(88)), [true, false], '83 of 94.3 is below nine tenths');
  assert.deepEqual(play(6, part(88)), [false, true], '88 of 96 is above');
});

test('a claim is covered by the stake that is left', () => {
  const world = World.running(ALL, { config: { stakePerGb: 10n * MAS, slashPercentage: 100n } }).at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  world.honest('ann', { change: (a) => a.slice(2), claim: undefined });
  world.at(2, 51);
  const covered = 5n << 20n;
  assert.equal(100n * MAS, world.info('ann').stake);
  settle(world, 'ann');
  assert.equal(world.info('ann').stake, 50n * MAS);
  world.at(3, 0).refusesSubmit('this round must be answered before the next is claimed', 'ann', { claim: { root: Buffer.alloc(32), sum: covered } });
  world.at(3, 51).submit('ann', {});
  world.at(7, 0).refusesSubmit('claim leaves: more than the stake covers', 'ann', { claim: { root: Buffer.alloc(32), sum: covered + 1n } });
  world.submit('ann', { claim: { root: m.hash(m.u8(1)), sum: covered } });
});

test('a node without stake claims nothing', () => {
  const world = World.running(ALL, { config: { stakePerGb: 0n, slashPercentage: 100n } }).at(2, 3);
  for (const name of ['bob', 'cat']) world.honest(name);
  world.submit('ann', { beacon: world.beacon(2), answers: [] });
  world.at(3, 60);
  settle(world, 'ann');
  world.refusesSubmit('no stake is left', 'ann', { claim: world.holding.claim });
});

test('a second change of the configuration keeps the first in force until its turn', () => {
  const world = new World();
  const change = (minStake) => world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, minStake }), admin);
  change(5n);
  world.at(2, 0);
  change(6n);
  const now = () => world.view('getConfig').readBigUInt64LE(40);
  assert.equal(now(), 5n);
  assert.equal(world.at(4, 0).view('getConfig').readBigUInt64LE(40), 6n);
  assert.equal(world.view('getNextConfig').readBigUInt64LE(88), 4n);
});

test('a slash of an active node lowers the electorate, too', () => {
  const world = World.running(['ann', 'bob', 'cat', 'dan']).at(2, 3);
  for (const name of ALL) world.honest(name);
  world.at(2, 51);
  settle(world, 'dan');
  assert.equal(world.state().activeStake, world.state().stakes);
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

test('segment roots: who claimed the round decides, as long as that is half of the active stake', () => {
  const world = World.running();
  world.register('dan', 10, { stake: 300n * MAS, coins: 301n * MAS });
  world.at(2, 60);
  for (const name of ALL) world.submit(name, { roots: [[1, m.hash(m.u8(1))]] });
  assert.equal(world.state().nextSegment, 2n);
});

test('events of the admin, of keys and of leaving', () => {
  const world = World.running();
  const [ann, dan] = [world.nodes.get('ann').address, (world.at(1, 99).register('dan'), world.nodes.get('dan').address)];
  assert.deepEqual(world.ok('addChallenger', m.sized(ann), admin).events, [`CHALLENGER_ADDED:${ann}`]);
  assert.deepEqual(world.ok('removeChallenger', m.sized(ann), admin).events, [`CHALLENGER_REMOVED:${ann}`]);
  assert.deepEqual(world.ok('setPaused', m.u8(1), admin).events, ['PAUSED:true']);
  assert.deepEqual(world.ok('setPaused', m.u8(0), admin).events, ['PAUSED:false']);
  world.at(2, 3);
  const events = ALL.flatMap((name) => world.honest(name).events);
  // World.running registers before the first beacon, so its nodes have keys; nobody registers later and has one at once.
  assert.equal(world.info('dan').hasKey, true);
  assert.ok(events.includes(`BEACON_ACCEPTED:2,${world.beacon(2).toString('hex')}`));
  assert.ok(events.includes(`STORAGE_CLAIMED:${ann},3,${world.holding.claim.sum}`));
  world.register('eve');
  const eve = world.nodes.get('eve').address;
  world.at(3, 3);
  for (const name of ALL) world.honest(name);
  assert.deepEqual(world.ok('setPlacementKey', m.cat(m.sized(eve), m.u64(3)), admin).events, [`PLACEMENT_KEY_SET:${eve},3`]);
  assert.deepEqual(world.ok('unregisterStorageNode', undefined, as(world, 'dan')).events, [`STORAGE_NODE_LEAVING:${dan},5`]);
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
  const world = World.running().at(2, 3);
  for (const name of ALL) world.honest(name);
  world.at(3, 0).register('dan');
  const set = (round) => m.cat(m.sized(world.nodes.get('dan').address), m.u64(round));
  for (const round of [3, 4]) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
  }
  world.refuses('round opened before the registration', 'setPlacementKey', set(3), admin);
  world.ok('setPlacementKey', set(4), admin);
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
  world.at(2, 3).honest('ann');
  world.at(2, 50).honest('bob');
  world.refuses('answers to this round are still taken', 'distributeRewards', m.u64(200), admin);
  world.at(2, 51).refusesSubmit('this round is answered, or over', 'cat', { beacon: world.beacon(2) });
  close(world, 2);
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
  const world = World.running().at(2, 3);
  for (const name of ALL) world.honest(name);
  world.register('dan');
  for (let round = 3; round < 15; round++) {
    world.at(round, 3);
    for (const name of ALL) world.honest(name);
  }
  world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('dan').address), m.u64(3)), admin);
  assert.deepEqual([14, 15, 16].map((round) => world.at(round, 9).info('dan').weight), [0n, 0n, 10n]);
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

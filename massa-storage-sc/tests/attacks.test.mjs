// What an attacker would try, who wants money, wants rounds to stop, or wants others slashed. README, "Attacks tried".
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meter } from '../scripts/meter.mjs';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, WASM, World } from './world.mjs';

const ALL = ['ann', 'bob', 'cat'];
const FOUR = [...ALL, 'dan'];
const MAX = (1n << 64n) - 1n;
const admin = { from: ADMIN.address, coins: MAS };
const as = (world, name, coins = 10n * MAS) => ({ from: world.nodes.get(name).address, coins });
const settle = (world, ...names) => world.ok('resolveExpiredChallenges', m.texts(names.map((n) => world.nodes.get(n).address)), admin);
const close = (world, round) => world.ok('distributeRewards', m.u64(round * 100), admin);
const root = (n) => m.hash(m.u8(n));
const round = (world, r, names = ALL) => { world.at(r, 3); for (const name of names) world.honest(name); };

// Money.

test('reentrancy: a contract that is paid runs no code, and calling twice in one operation pays once', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  let plan = [];
  const calls = [];
  const thief = world.chain.script('thief', ({ fn, call }) => {
    calls.push(fn);
    for (const [f, args, coins] of plan) call(world.registry, f, args, coins);
  });
  world.give(thief);
  world.nodes.set('thief', { address: thief });
  const steal = (...list) => { plan = list; return world.call('go', undefined, { from: ADMIN.address, to: thief }); };
  assert.equal(steal(['registerStorageNode', m.u64(10), 300n * MAS]).error, undefined);
  const segment = world.segment(0);
  world.holding = new s.Holding([segment]);
  const claim = { claim: world.holding.claim };
  world.anchor(segment);
  world.at(1, 60);
  for (const name of ALL) world.submit(name, claim);
  assert.equal(steal(['submitProof', world.submitArgs('thief', claim).args, MAS]).error, undefined);
  round(world, 2);
  const beacon = world.beacon(2);
  assert.equal(steal(['submitProof', world.submitArgs('thief', { beacon, answers: world.answersFor('thief', world.holding, 2, beacon) }).args, MAS]).error, undefined);
  world.at(4, 0);
  const before = world.chain.balance(thief);
  const pending = world.view('calculatePendingRewards', m.sized(thief)).readBigUInt64LE();
  assert.ok(pending > 0n);
  assert.equal(steal(['claimRewards'], ['claimRewards']).error, 'no matured rewards');
  assert.equal(world.chain.balance(thief), before);
  calls.length = 0;
  const ann = world.chain.balance(world.nodes.get('ann').address);
  const deposits = world.chain.storagePaid;
  assert.equal(steal(['claimRewards']).error, undefined);
  const freed = deposits - world.chain.storagePaid;
  assert.equal(world.chain.balance(thief), before + pending, 'its credit');
  assert.equal(world.chain.balance(world.nodes.get('ann').address), ann + freed, 'who paid for the row of the beacon has it back');
  assert.deepEqual(calls, ['go'], 'the payment called nothing');
  world.checkMoney();
});

test('a flood of calls in one operation undoes itself at the 25th event', () => {
  const world = new World();
  const flood = world.chain.script('flood', ({ call }) => { for (let i = 0; i < 26; i++) call(world.registry, 'fund', undefined, 1n); });
  world.give(flood);
  const before = world.state();
  assert.equal(world.call('go', undefined, { from: ADMIN.address, to: flood }).error, 'too many events');
  assert.deepEqual(world.state(), before);
});

test('nobody calls for another: the registry itself, and a call without a caller, are refused', () => {
  const world = new World();
  world.refuses('the registry cannot call itself', 'fund', undefined, { ...admin, stack: [world.registry, world.registry] });
  world.refuses('call the registry from an address', 'fund', undefined, { ...admin, stack: [world.registry] });
});

test('sums: whatever is claimed, a round can be answered, closed and settled', () => {
  const world = World.running(ALL, { config: { stakePerGb: 0n, maxAllocatedGb: 1n << 24n, rewardPerGbPerPeriod: 10n ** 12n } });
  world.at(1, 80);
  world.register('big', 10);
  const record = () => world.chain.data.get('period_200');
  const [mine, most] = [world.holding.claim.sum, (1n << 63n) / BigInt(world.P)];
  record().writeBigUInt64LE(most - mine, 16);
  world.chain.data.set('node_' + world.nodes.get('big').address, Buffer.from(world.chain.data.get('node_' + world.nodes.get('big').address)));
  const node = world.chain.data.get('node_' + world.nodes.get('big').address);
  node.writeBigUInt64LE(0n, 48); // its weight counts already
  const at = { claim: { root: root(1), sum: mine + 1n } };
  world.skips('claim is more than a round takes in all', 'big', at);
  world.submit('big', { claim: world.holding.claim });
  assert.equal(record().readBigUInt64LE(16), most);
  round(world, 2);
  world.at(2, 51);
  close(world, 2);
  settle(world, ...ALL, 'big');
  assert.equal(world.state().reserves, 0n);
});

test('addresses of a node are bytes of ASCII: a character of several bytes would write beyond its record', () => {
  const world = new World();
  const who = user('ann');
  world.give(who.address);
  for (const text of ['é'.repeat(128), '\u{1f4be}'.repeat(64), 'a\0b', 'a\x7f', Buffer.from([0xff, 0xfe])]) {
    const args = m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(''), m.sized(text), m.sized(''));
    world.refuses('argument addresses: only printable ASCII', 'registerStorageNode', args, { from: who.address, coins: 300n * MAS });
  }
  const good = m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(''), m.sized('1.2.3.4:5;[::1]:6, 7.8.9.0:1'), m.sized(''));
  world.ok('registerStorageNode', good, { from: who.address, coins: 300n * MAS });
  assert.equal(world.info(who.address).addresses, '1.2.3.4:5;[::1]:6, 7.8.9.0:1');
});

test('a stake that was slashed to nothing buys no weight: a change of allocation wants the whole stake again', () => {
  const world = World.running(FOUR, { config: { slashPercentage: 100n } });
  round(world, 2);
  world.submit('dan', { beacon: root(7) });
  settle(world.at(2, 51), 'dan');
  assert.equal(world.info('dan').stake, 0n);
  world.refuses('stake: 16384 MAS more are needed for 16384 GB', 'updateStorageAllocation', m.cat(m.u64(16_384), m.u64(0)), as(world, 'dan'));
  world.refuses('stake: 100 MAS more are needed for 10 GB', 'updateStorageAllocation', m.cat(m.u64(10), m.u64(0)), as(world, 'dan'));
  world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(100n * MAS)), as(world, 'dan', 101n * MAS));
});

test('the rate of a round does not depend on who answers first, nor on who closed the round before', () => {
  const rates = [true, false].map((closed) => {
    const world = World.running(ALL, { config: { rewardPerGbPerPeriod: 10n ** 12n }, funds: 10n * MAS });
    // Nobody of round 2 is paid in full, so that its reserve comes back to the pool when it closes. Dan claims round 3 only.
    world.at(2, 3);
    for (const name of ALL) world.honest(name, { change: (a) => a.slice(2) });
    world.register('dan');
    const dan = world.chain.data.get('node_' + world.nodes.get('dan').address);
    world.key('dan').copy(dan, 176);
    dan[3] = 1;
    dan.writeBigUInt64LE(0n, 48);
    world.submit('dan', { claim: world.holding.claim });
    if (closed) close(world.at(2, 60), 2);
    world.at(3, 3).submit('dan', { beacon: world.beacon(3) });
    return [world.stats(3).rate, world.stats(3).reserve, world.stats(2).closed];
  });
  assert.deepEqual(rates[0], rates[1]);
  assert.equal(rates[0][2], 1);
});

test('a node that is settled late has what it had in time, in whatever round that is', () => {
  const play = (settledAt) => {
    // A stake with which it matters, for one nanoMAS, which of two slashes comes first.
    const world = World.running(FOUR, { stakes: { dan: 100_000_000_041n } });
    round(world, 2);
    world.honest('dan', { change: (a) => a.slice(1) });
    round(world, 3);
    settle(world.at(settledAt, 60), 'dan');
    settle(world.at(9, 60), ...FOUR);
    const node = world.chain.data.get('node_' + world.nodes.get('dan').address);
    const slots = [2, 3].map((r) => world.result('dan', r));
    return [world.info('dan').stake, node.readBigUInt64LE(64), world.info('dan').noClaimBefore, slots, world.state().stakes];
  };
  const inTime = play(3);
  for (const late of [4, 5, 6, 7]) assert.deepEqual(play(late), inTime, `settled in round ${late}`);
});

test('coins that come back are the caller\'s, or what its call freed: who has a challenge forgotten gets its deposit, less that of its id', () => {
  const world = World.running();
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const id = root(1).toString('hex');
  const paid = world.chain.storagePaid;
  world.ok('issueChallenge', m.cat(m.sized(id), m.sized(world.nodes.get('ann').address), m.sized(id), m.u64(1)), admin);
  const deposit = world.chain.storagePaid - paid;
  world.chain.period += 5;
  world.ok('resolveExpiredChallenges', m.texts([id]), admin);
  world.chain.period += 1000;
  const before = world.chain.balance(world.nodes.get('bob').address);
  world.ok('resolveExpiredChallenges', m.texts([id, id]), as(world, 'bob'));
  assert.equal(world.chain.balance(world.nodes.get('bob').address) - before, deposit - BigInt('chal_'.length + 64 + 4) * 100_000n);
});

test('the admin can take nothing: after all its functions, it has less than before', () => {
  const world = World.running();
  round(world, 2);
  close(world.at(2, 51), 2);
  const before = world.chain.balance(ADMIN.address);
  world.ok('setPaused', m.u8(1), admin);
  world.ok('setPaused', m.u8(0), admin);
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  world.ok('removeChallenger', m.sized(ADMIN.address), admin);
  world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, rewardPerGbPerPeriod: 500_000n, minStake: 50n * MAS, slashPercentage: 20n }), admin);
  world.refuses(`not a storage node: ${ADMIN.address}`, 'claimRewards', undefined, admin);
  world.refuses(`not a storage node: ${ADMIN.address}`, 'unregisterStorageNode', undefined, admin);
  assert.ok(world.chain.balance(ADMIN.address) <= before);
  const credit = world.result('ann', 2);
  world.at(4, 0).ok('claimRewards', undefined, as(world, 'ann'));
  assert.ok(credit.state === 2, 'what was earned under the old configuration is paid');
});

test('a stake so large that the sum of all wraps is refused', () => {
  const world = new World();
  world.register('ann');
  const who = user('whale');
  world.give(who.address);
  const args = m.cat(m.u64(10), m.u64(MAX), m.u64(0), m.sized(''), m.sized(''), m.sized(''));
  world.refuses('addition overflows', 'registerStorageNode', args, { from: who.address, coins: MAS });
  world.refuses('addition overflows', 'updateStorageAllocation', m.cat(m.u64(10), m.u64(MAX)), as(world, 'ann'));
});

// Identity, replay, relayers.

test('a consent of a P2P key is for one operator, one registry, one chain', () => {
  const world = new World();
  const [who, victim] = [user('stranger'), user('victim')];
  world.give(who.address);
  const consents = [
    m.nodeIdMessage(77n, world.registry, victim.address), m.nodeIdMessage(77n, 'AS1other', who.address), m.nodeIdMessage(78n, world.registry, who.address),
  ];
  for (const consent of consents) {
    const args = m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(victim.nodeId), m.sized(''), m.sized(victim.sign(consent)));
    world.refuses('signature of the node id is not valid', 'registerStorageNode', args, { from: who.address, coins: 300n * MAS });
  }
});

test('a signed submission is good once, in its round, on its registry', () => {
  const world = World.running().at(2, 3);
  const who = world.nodes.get('ann');
  const parts = { beacon: world.beacon(2), answers: world.answersFor('ann', world.holding, 2, world.beacon(2)), claim: world.holding.claim };
  const send = (registry) => {
    const { content } = world.submitArgs('ann', parts);
    return m.submitArgs(2, content, m.cat(m.sized(who.publicKey), m.sized(who.sign(m.submissionMessage(77n, registry, content)))));
  };
  world.refuses('signature of the node is not valid', 'submitProof', send('AS1other'), as(world, 'bob'));
  const args = send(world.registry);
  const before = world.ok('submitProof', args, as(world, 'bob')) && world.result('ann', 2);
  const again = world.told(world.ok('submitProof', args, as(world, 'bob')));
  assert.deepEqual([again.answers, again.claim], ['this round is answered or over', 'the next round is claimed already']);
  assert.deepEqual(world.result('ann', 2), before);
  world.at(3, 3).refuses('round is not open: now is 3', 'submitProof', args, as(world, 'bob'));
});

test('a relayer pays and gains nothing; the node it serves is paid as if it had called', () => {
  const [own, relayed] = [false, true].map((byRelayer) => {
    const world = World.running().at(2, 3);
    for (const name of ['bob', 'cat']) world.honest(name);
    const who = world.nodes.get('ann');
    const { content } = world.submitArgs('ann', { beacon: world.beacon(2), answers: world.answersFor('ann', world.holding, 2, world.beacon(2)) });
    const signature = m.cat(m.sized(who.publicKey), m.sized(who.sign(m.submissionMessage(77n, world.registry, content))));
    const before = world.chain.balance(ADMIN.address);
    world.ok('submitProof', m.submitArgs(2, content, byRelayer ? signature : undefined), byRelayer ? admin : as(world, 'ann'));
    assert.ok(world.chain.balance(ADMIN.address) <= before);
    settle(world.at(2, 51), 'ann');
    return world.result('ann', 2);
  });
  assert.deepEqual(own, relayed);
});

test('the signature under one manual challenge does not serve another', () => {
  const world = World.running();
  const who = world.nodes.get('ann');
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  const [one, two] = [1, 2].map((n) => root(n).toString('hex'));
  for (const id of [one, two]) world.ok('issueChallenge', m.cat(m.sized(id), m.sized(who.address), m.sized(id), m.u64(1)), admin);
  const proof = Buffer.from('proof');
  const signed = m.manualMessage(77n, world.registry, one, proof);
  const signature = m.cat(m.sized(who.publicKey), m.sized(who.sign(signed)));
  world.refuses('signature of the node is not valid', 'submitProof', m.submitArgs(two, proof, signature), admin);
  world.ok('submitProof', m.submitArgs(one, proof, signature), admin);
});

test('answers of another node, and of an earlier round, pass only where the very same leaf was drawn', () => {
  const world = World.running();
  round(world, 2);
  world.at(3, 3);
  const leaf = (name, r, d) => m.drawnLeaf({ chainId: 77n, registry: world.registry, round: r, key: world.key(name), beacon: world.beacon(r), d, leaves: world.holding.claim.sum });
  const steal = (name, from, r) => {
    world.submit(name, { beacon: world.beacon(3), answers: world.answersFor(from, world.holding, r, world.beacon(r)) });
    const same = [0, 1, 2, 3].filter((d) => world.holding.claim.find(leaf(name, 3, d)).position === world.holding.claim.find(leaf(from, r, d)).position
      && world.holding.claim.find(leaf(name, 3, d)).index === world.holding.claim.find(leaf(from, r, d)).index).length;
    assert.equal(world.result(name, 3).passes, same);
    assert.ok(same < 4);
  };
  steal('bob', 'ann', 3);
  steal('ann', 'ann', 2);
});

// Votes and rounds.

test('a slash changes no weight of the round, nor its electorate', () => {
  const world = World.running(FOUR, { config: { slashPercentage: 100n } });
  world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(MAS)), as(world, 'ann'));
  world.at(2, 3);
  for (const name of ALL) world.submit(name, { beacon: world.beacon(2), answers: world.answersFor(name, world.holding, 2, world.beacon(2)) });
  world.submit('dan', { beacon: root(7) });
  world.at(3, 60).submit('ann', { roots: [[1, root(9)]] });
  settle(world, 'dan');
  assert.equal(world.info('dan').stake, 0n);
  world.submit('bob', { roots: [[1, root(9)]] });
  assert.equal(world.state().nextSegment, 1n, 'two of four, though three are left');
  world.submit('cat', { roots: [[1, root(9)]] });
  assert.equal(world.state().nextSegment, 2n);
});

test('a small claim on nothing, before anything is anchored, does not decide on segment roots', () => {
  const world = new World();
  for (const name of [...ALL, 'eve']) world.register(name);
  const air = { claim: { root: root(5), sum: 1n } };
  world.at(1, 60).submit('eve', air);
  world.at(2, 3).submit('eve', { beacon: root(7), roots: [[0, root(9)], [1, root(9)]], ...air });
  assert.equal(world.state().nextSegment, 0n, 'one of four is not two thirds, though it alone claims');
  for (const name of ALL) world.submit(name, { roots: [[0, root(1)]] });
  assert.equal(world.state().nextSegment, 1n);
  world.at(3, 3).submit('eve', { beacon: root(7), roots: [[1, root(9)]] });
  assert.equal(world.state().nextSegment, 1n);
  assert.deepEqual(world.view('getSegmentRoot', m.u64(0)).subarray(0, 32), root(1));
});

test('stake that is added after the claim weighs nothing in the round', () => {
  const world = World.running().at(2, 1);
  world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(300n * MAS)), as(world, 'ann', 301n * MAS));
  world.at(2, 3).submit('ann', { beacon: root(7), roots: [[1, root(9)]] });
  assert.equal(world.stats(2).accepted, 0);
  assert.equal(world.state().nextSegment, 1n, 'nor for segment roots');
  for (const name of ['bob', 'cat']) world.honest(name);
  assert.deepEqual([world.stats(2).accepted, world.stats(2).beacon], [1, world.beacon(2)]);
});

test('a placement key that comes late gives no weight at once, also if the allocation was just changed', () => {
  const world = World.running();
  for (const r of [2, 3]) round(world, r);
  world.register('dan', 10);
  for (const r of [4, 5]) round(world, r);
  assert.equal(world.at(6, 0).info('dan').weight, 0n, 'nor any before it comes');
  world.ok('updateStorageAllocation', m.u64(20), as(world, 'dan'));
  world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('dan').address), m.u64(4)), admin);
  assert.deepEqual([6, 7, 8].map((r) => world.at(r, 0).info('dan').weight), [0n, 0n, 20n]);
});

test('a period beyond all rounds closes nothing', () => {
  const world = new World().at(5, 0);
  for (const period of [MAX, MAX - 15n, 10n ** 19n]) world.refuses('answers to this round are still taken', 'distributeRewards', m.u64(period), admin);
  assert.equal(world.view('getPeriodStats', m.u64(MAX)).length, 0);
  assert.deepEqual(world.view('getNodes', m.cat(m.u64(MAX), m.u64(100))), m.texts([]));
});

test('a change of configuration never touches a round that can be claimed, answered or settled', () => {
  const world = World.running();
  world.at(1, 90).ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, slashPercentage: 20n, rewardPerGbPerPeriod: 500_000n, stakePerGb: MAS / 2n }), admin);
  round(world, 2, ['ann', 'bob']);
  world.honest('cat', { change: (a) => a.slice(1) });
  settle(world.at(2, 51), 'cat');
  assert.equal(world.info('cat').stake, 100n * MAS - 25_000_000n);
  assert.equal(world.stats(2).rate, 1_000_000n);
});

test('segments before the first one of the registry are passed over, and no claim on them passes', () => {
  const world = new World({ config: { firstSegment: 4n } });
  for (const name of ALL) world.register(name);
  world.at(5, 60);
  for (const name of ALL) world.submit(name, { roots: [[0, root(1)], [2, root(1)], [3, root(1)], [4, root(3)]] });
  assert.equal(world.state().nextSegment, 5n);
  assert.equal(world.view('getSegmentRoot', m.u64(2)).length, 0);
  const early = world.segment(0);
  const holding = new s.Holding([early]);
  for (const name of ALL) world.submit(name, { claim: holding.claim });
  world.at(6, 3);
  const done = world.submit('ann', { beacon: world.beacon(6), answers: world.answersFor('ann', holding, 6, world.beacon(6)) });
  assert.deepEqual(world.told(done).draws, ['7', '7', '7', '7']);
  const shown = m.cat(m.sized(world.nodes.get('ann').address), m.u64(6), m.sized(holding.exhibit(early.position(0))));
  world.refuses('segment is not anchored', 'refuteClaim', shown, admin);
});

test('answers that come after a beacon was accepted change nothing of what was accepted', () => {
  const world = World.running(FOUR);
  for (const r of [2, 3]) round(world, r, FOUR);
  world.register('eve');
  round(world, 4, FOUR);
  assert.deepEqual([world.stats(4).answers, world.state().lastAccepted], [4n, 4n]);
  world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('eve').address), m.u64(4)), admin);
});

test('stake that is added after the claim is not slashed for it', () => {
  const world = World.running();
  world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(900n * MAS)), as(world, 'ann', 901n * MAS));
  world.at(2, 3);
  for (const name of ALL) world.honest(name, { change: (a) => (name === 'ann' ? a.slice(2) : a) });
  settle(world.at(2, 51), 'ann');
  assert.equal(world.info('ann').stake, 1_000n * MAS - MAS / 20n);
});

// Others slashed.

test('a witness with the same score proves nothing', () => {
  const { world, ranked, args, address } = World.steady();
  const [best, last] = [ranked[0], ranked[8]].map((name) => world.chain.data.get('node_' + address(name)));
  last.subarray(176, 208).copy(best, 176);
  world.refuses(`witness has no lower score: ${address(ranked[0])}`, 'refuteClaim', args(ranked[8], 8, [ranked[0], ranked[1], ranked[2]]), admin);
});

/** Chunks so small that eight of them are no matter: 2 560 leaves in all. */
const SMALL_CHUNKS = { config: { chunkSizeBytes: 65_536n }, chunkLengths: Array(40).fill(65_536) };
test('a witness that is not filled proves nothing', () => {
  const { world, ranked, args, address } = World.steady(SMALL_CHUNKS);
  const [best, ...others] = ranked;
  const small = new s.Holding(world.segments, (position) => position === world.segments[0].position(0));
  world.at(9, 3).honest(best, { claim: small.claim });
  for (const name of others) world.honest(name);
  for (const r of [10, 11, 12, 13]) {
    world.at(r, 3).honest(best, { holding: small, claim: small.claim });
    for (const name of others) world.honest(name);
    const filled = world.info(best).filled;
    assert.equal(filled, r < 13, 'until the second round after it was settled');
  }
  const holdings = { [best]: small };
  world.refuses(`witness is not filled: ${address(best)}`, 'refuteClaim', args(ranked[8], 13, ranked.slice(0, 3), { holdings }), admin);
  world.ok('refuteClaim', args(ranked[8], 12, ranked.slice(0, 3), { holdings }), admin);
});

test('accused and witnesses are scored by what they had declared when the round was claimed, whatever was changed since', () => {
  const { world, ranked, args, address } = World.steady({ config: { stakePerGb: 1n } });
  const [best, last] = [ranked[0], ranked[8]];
  world.ok('updateStorageAllocation', m.u64(16_384), as(world, last));
  world.ok('updateStorageAllocation', m.u64(1), as(world, best));
  for (const r of [9, 10]) round(world, r, ranked);
  const { id } = world.segments[0].chunks[0];
  const score = (name, weight) => m.score(id, world.key(name), weight);
  assert.ok(score(best, 1n) > score(last, 16_384n), 'by the new weights the accused is before the witness');
  world.refuses(`witness has no lower score: ${address(best)}`, 'refuteClaim', args(last, 10, ranked.slice(0, 3)), admin);
  // Changed again, their records no longer tell what they had declared for round 9: their claims do.
  world.ok('updateStorageAllocation', m.u64(16_383), as(world, last));
  world.ok('updateStorageAllocation', m.u64(2), as(world, best));
  world.ok('refuteClaim', args(last, 9, ranked.slice(0, 3)), admin);
});

test('a witness is scored by what it had declared when the round was claimed, whatever it changed twice since', () => {
  const { world, ranked, args, address } = World.steady();
  const [witness, accused] = [ranked[2], ranked[3]];
  world.ok('updateStorageAllocation', m.u64(1), as(world, witness));
  for (const r of [9, 10]) round(world, r, ranked);
  world.refuses(`witness has no lower score: ${address(witness)}`, 'refuteClaim', args(accused, 10, ranked.slice(0, 3)), admin);
  world.ok('updateStorageAllocation', m.u64(2), as(world, witness));
  world.ok('refuteClaim', args(accused, 9, ranked.slice(0, 3)), admin);
});

test('a witness that had lapsed proves nothing', () => {
  const { world, ranked, args, address } = World.steady();
  const [best, ...others] = ranked;
  world.at(9, 3).submit(best, { beacon: world.beacon(9), answers: world.answersFor(best, world.holding, 9, world.beacon(9)) });
  for (const name of others) world.honest(name);
  for (let r = 10; r <= 17; r++) round(world, r, others);
  // Last counted in round 9: it weighs nothing from round 18 on, and again from round 21, the second after it is counted in round 18.
  world.at(17, 60).submit(best, { claim: world.holding.claim });
  for (const r of [18, 19, 20, 21]) round(world, r, ranked);
  world.at(21, 10);
  world.refuses(`witness is not filled: ${address(best)}`, 'refuteClaim', args(ranked[8], 20, ranked.slice(0, 3)), admin);
  world.ok('refuteClaim', args(ranked[8], 21, ranked.slice(0, 3)), admin);
});

test('a witness that does not claim the chunk itself proves nothing, nor does another sum path', () => {
  const { world, ranked, args, address } = World.steady();
  const [best] = ranked;
  const without = new s.Holding(world.segments, (position) => position !== world.segments[0].position(0));
  world.at(9, 3).honest(best, { claim: without.claim });
  for (const name of ranked.slice(1)) world.honest(name);
  world.at(10, 3).honest(best, { holding: without });
  const refusal = `witness does not claim the chunk: ${address(best)}`;
  world.refuses(refusal, 'refuteClaim', args(ranked[8], 10, ranked.slice(0, 3)), admin);
  for (const bad of [Buffer.alloc(0), Buffer.alloc(7), m.u64(1n << 40n), m.cat(m.u64(0), m.u8(0)), m.u64(1)]) {
    const holdings = { [best]: { sumPath: () => bad } };
    world.refuses(refusal, 'refuteClaim', args(ranked[8], 10, ranked.slice(0, 3), { holdings }), admin);
  }
  const position = world.segments[0].position(0);
  const proof = world.holding.exhibit(position);
  const sumPath = world.holding.sumPath(position);
  const above = m.cat(m.u64(sumPath.readBigUInt64LE() | (1n << 40n)), sumPath.subarray(8), m.u64(1), root(1));
  for (const longer of [m.cat(sumPath, m.u8(0)), above]) {
    world.refuses(`witness does not claim the chunk: ${address(ranked[1])}`, 'refuteClaim',
      args(ranked[8], 9, [ranked[1], ranked[2], ranked[3]], { proof, holdings: { [ranked[1]]: { sumPath: () => longer } } }), admin);
  }
  for (let at = 8; at < sumPath.length; at += 9) {
    const changed = Buffer.from(sumPath);
    changed[at] ^= 1;
    world.refuses(`witness does not claim the chunk: ${address(ranked[1])}`, 'refuteClaim',
      args(ranked[8], 9, [ranked[1], ranked[2], ranked[3]], { proof, holdings: { [ranked[1]]: { sumPath: () => changed } } }), admin);
  }
});

test('a witness whose retention does not reach to the end of the round proves nothing', () => {
  const names = ['dan', 'eve', 'fay'];
  const world = new World({ config: { replicationFactor: 1n } });
  // Rounds of four segments: of 44 segments kept, the last are those from 0 on until round 10 ends, from 4 on until round 11 does.
  for (const name of names) world.register(name, 10, { retention: 44 * 25 + 24 });
  const segment = world.segment(0);
  world.holding = new s.Holding([segment]);
  world.anchor(segment);
  world.at(1, 70);
  for (const name of names) world.submit(name, { claim: world.holding.claim });
  for (let r = 2; r < 12; r++) round(world, r, names);
  const { id } = segment.chunks[0];
  const [best, , last] = [...names].sort((a, b) => (m.score(id, world.key(a), 10n) < m.score(id, world.key(b), 10n) ? -1 : 1));
  const args = (r) => world.refutation(last, r, [best], segment.position(0));
  world.refuses(`witness does not keep the segment until the end of the round: ${world.nodes.get(best).address}`, 'refuteClaim', args(11), admin);
  world.ok('refuteClaim', args(10), admin);
});

test('an allocation of air makes nobody unfilled, and no refutation impossible', () => {
  const { world, ranked, args } = World.steady({ ...SMALL_CHUNKS, config: { ...SMALL_CHUNKS.config, stakePerGb: 1n } });
  world.register('whale', 100);
  const whale = world.nodes.get('whale').address;
  round(world, 9, ranked);
  world.at(9, 60).ok('setPlacementKey', m.cat(m.sized(whale), m.u64(9)), admin);
  round(world, 10, ranked);
  for (let r = 11; r < 15; r++) {
    round(world, r, ranked);
    const beacon = r > 11 ? world.beacon(r) : undefined;
    world.submit('whale', { beacon, claim: { root: root(5), sum: 100n << 20n } });
  }
  assert.equal(world.stats(13).leaves, 9n * world.holding.claim.sum + (100n << 20n));
  assert.equal(world.stats(13).provenLeaves, 9n * world.holding.claim.sum);
  assert.equal(world.info('whale').filled, false);
  assert.ok(ranked.every((name) => world.info(name).filled));
  world.ok('refuteClaim', args(ranked[8], 14, ranked.slice(0, 3)), admin);
});

test('a claim is refuted by as many witnesses as its round has replicas, whatever the factor is since', () => {
  const { world, ranked, args } = World.steady();
  world.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, replicationFactor: 2n }), admin);
  for (const r of [9, 10]) round(world, r, ranked);
  assert.deepEqual([8, 9, 10].map((r) => world.stats(r).factor), [3n, 3n, 2n]);
  world.refuses('argument witness: input ends too early', 'refuteClaim', args(ranked[8], 9, ranked.slice(0, 2)), admin);
  world.ok('refuteClaim', args(ranked[8], 9, ranked.slice(0, 3)), admin);
  world.ok('refuteClaim', args(ranked[7], 10, ranked.slice(0, 2)), admin);
});

test('a refutation takes what is unmatured, not what the next round may earn', () => {
  const { world, ranked, args } = World.steady();
  const last = ranked[8];
  world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  world.at(9, 3);
  for (const name of ranked) world.submit(name, { beacon: world.beacon(9), answers: world.answersFor(name, world.holding, 9, world.beacon(9)) });
  settle(world.at(9, 51), last);
  assert.deepEqual([world.result(last, 8).credit, world.result(last, 9).reason, world.result(last, 9).refuted], [0n, 0, 0]);
  assert.ok(world.result(last, 9).credit > 0n);
});

test('a refutation takes what the open answer of its round would earn, and what that of the next has earned', () => {
  const { world, ranked, args } = World.steady();
  const last = ranked[8];
  round(world, 9, ranked);
  world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  settle(world.at(9, 51), ...ranked);
  assert.deepEqual([world.result(last, 9).reason, world.result(last, 9).credit], [20, 0n]);
  world.at(11, 0);
  for (const name of ranked) world.ok('claimRewards', undefined, as(world, name));
  assert.equal(world.state().credited, 0n);
});

test('lies in two rounds that were claimed with the same stake take no more than there is', () => {
  const world = World.running(FOUR, { config: { slashPercentage: 100n } });
  round(world, 2);
  world.submit('dan', { beacon: root(7), claim: world.holding.claim });
  round(world, 3);
  world.submit('dan', { beacon: root(7) });
  const done = settle(world.at(3, 60), 'dan');
  assert.ok(done.events.includes(`STORAGE_NODE_SLASHED:${world.nodes.get('dan').address},0,minority beacon`));
  assert.equal(world.info('dan').stake, 0n);
});

test('refuting oneself costs nine tenths of what it takes, and does not free the stake', () => {
  const { world, ranked, args, address } = World.steady();
  const last = ranked[8];
  const wealth = () => world.chain.balance(address(last)) + world.info(last).stake + world.view('calculatePendingRewards', m.sized(address(last))).readBigUInt64LE();
  settle(world, last);
  const before = wealth();
  world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), as(world, last));
  assert.ok(wealth() < before - 89n * MAS);
});

// Small programs of attackers, each played to its end.

test('more stake than all others have, that never claims, stops beacons and roots in the first phase until all entries have lapsed, and never again', () => {
  const world = World.running();
  world.register('eve', 1, { stake: 301n * MAS, coins: 400n * MAS });
  const [anchored, accepted] = [[], []];
  for (let r = 2; r < 16; r++) {
    world.at(r, 3);
    const next = Number(world.state().nextSegment);
    for (const name of ALL) {
      world.submit(name, { beacon: world.beacon(r), answers: world.answersFor(name, world.holding, r, world.beacon(r)), claim: world.holding.claim, roots: [[next, root(1)]] });
    }
    if (r % 8 === 0) world.submit('eve', {});
    anchored.push(Number(world.state().nextSegment) - next);
    accepted.push(world.stats(r).accepted);
  }
  // Registered in round 1, it counts in rounds 3 to 10: what it never proved is not renewed. Then those that claim go on, and season.
  assert.equal(accepted.join(''), '10000000011111');
  assert.equal(anchored.join(''), '10000000001111');
  assert.ok(ALL.every((name) => world.info(name).stake === 100n * MAS));
});

test('a third that lies while half of the stake sits out anchors nothing and has no beacon accepted: who sits out is still of the electorate', () => {
  const stakes = { ann: 165n * MAS, bob: 495n * MAS, eve: 340n * MAS };
  const world = new World();
  for (const [name, stake] of Object.entries(stakes)) world.register(name, 10, { stake, coins: stake + MAS });
  const segment = world.segment(0);
  world.holding = new s.Holding([segment]);
  world.anchor(segment);
  world.at(1, 70);
  for (const name of Object.keys(stakes)) world.submit(name, { claim: world.holding.claim });
  round(world, 2, ['ann', 'eve']);
  world.at(3, 3).submit('eve', { beacon: root(7), roots: [[1, root(9)]], claim: { root: root(5), sum: 1n } });
  assert.deepEqual([world.stats(2).accepted, world.stats(3).accepted, world.state().nextSegment], [1, 0, 1n]);
  settle(world.at(3, 60), ...Object.keys(stakes));
  assert.equal(world.info('bob').noClaimBefore, 6n);
  assert.deepEqual([world.result('eve', 3).reason, world.result('eve', 3).credit], [18, 0n]);
});

test('who lies about the beacon each time that it may loses a tenth of its stake each time, and no round', () => {
  const world = World.running(FOUR);
  const lies = [];
  for (let r = 2; r < 22; r++) {
    world.at(r, 5);
    for (const name of ALL) world.honest(name);
    settle(world, 'dan');
    const open = world.view('getRoundResult', m.cat(m.sized(world.nodes.get('dan').address), m.u64(r)))[104] === 1;
    const told = world.told(world.submit('dan', { beacon: open ? root(7) : undefined, claim: world.holding.claim }));
    if (told.answers === 'answered') lies.push(r);
    assert.deepEqual([world.stats(r).accepted, world.stats(r).beacon], [1, world.beacon(r)]);
  }
  // A claim that was made together with a lie stands: so lies come in pairs, and the second is paid as the first.
  assert.deepEqual(lies, [2, 3, 7, 8, 12, 13, 17, 18]);
  settle(world.at(21, 60), 'dan');
  let stake = 100n * MAS;
  for (let pair = 0; pair < 4; pair++) stake -= 2n * (stake / 10n);
  assert.equal(world.info('dan').stake, stake, 'claimed together, both of the stake of then');
  assert.equal(world.view('calculatePendingRewards', m.sized(world.nodes.get('dan').address)).readBigUInt64LE(), 0n);
});

test('air of 100 GB and a false beacon leave everybody filled, and cost a tenth of the stake', () => {
  const names = Array.from({ length: 8 }, (_, i) => 'n' + i);
  const world = World.running(names, SMALL_CHUNKS);
  round(world, 2, names);
  world.register('eve', 100);
  for (const r of [3, 4, 5, 6]) round(world, r, names);
  const eve = world.nodes.get('eve').address;
  if (!world.info('eve').hasKey) world.ok('setPlacementKey', m.cat(m.sized(eve), m.u64(3)), admin);
  for (const r of [7, 8]) round(world, r, names);
  world.submit('eve', { claim: { root: root(5), sum: 100n << 20n } });
  round(world, 9, names);
  world.submit('eve', { beacon: root(7) });
  settle(world.at(9, 60), ...names, 'eve');
  for (let r = 10; r < 15; r++) {
    round(world, r, names);
    assert.ok(names.every((name) => world.info(name).filled), `round ${r}`);
  }
  assert.deepEqual([world.result('eve', 9).reason, world.info('eve').stake], [17, 90n * MAS]);
});

test('near full, nobody is refuted by who has no room, nor by a whale of a claim of one chunk that makes the network look roomy', () => {
  const names = Array.from({ length: 5 }, (_, i) => 'node' + i);
  const world = new World({ config: { replicationFactor: 1n } });
  for (const name of names) world.register(name);
  world.register('whale', 100);
  const segment = world.segment(0);
  world.anchor(segment);
  const [first, ...others] = [...segment.chunks].map((chunk) => [chunk.position, { leaves: chunk.leaves.length, id: chunk.id }]);
  const ranked = [...names].sort((a, b) => (m.score(first[1].id, world.key(a), 10n) < m.score(first[1].id, world.key(b), 10n) ? -1 : 1));
  const [best, last] = [ranked[0], ranked[4]];
  /** Claims of so many tenths of a GB: some chunks, and air. */
  const upTo = (tenths, list) => {
    const held = list.reduce((sum, [, { leaves }]) => sum + leaves, 0);
    return new m.Claim([...list, [segment.position(9), { leaves: Math.floor((tenths * (1 << 20)) / 10) - held, id: root(0) }]]);
  };
  const claims = new Map(names.map((name) => [name, upTo(89, name === best ? others : [first, ...others])]));
  claims.set('whale', new m.Claim([others[0]]));
  const play = (r, answers) => { world.at(r, 3); for (const [name, claim] of claims) world.submit(name, { ...(answers && { beacon: world.beacon(r) }), claim }); };
  play(1, false);
  for (let r = 2; r < 9; r++) play(r, true);
  assert.ok([best, 'whale'].every((name) => world.info(name).filled));
  const holding = (name) => Object.assign(new s.Holding([segment]), { claim: claims.get(name) });
  const proof = holding(last).exhibit(first[0]);
  const holdings = { [best]: holding(best), whale: holding('whale') };
  for (const name of [best, 'whale']) {
    const message = `witness does not claim the chunk: ${world.nodes.get(name).address}`;
    world.refuses(message, 'refuteClaim', world.refutation(last, 8, [name], first[0], { proof, holdings }), admin);
  }
  world.ok('refuteClaim', world.refutation(last, 8, [ranked[1]], first[0], { proof, holdings: { [ranked[1]]: holding(ranked[1]) } }), admin);
});

test('an outage of a round costs what the round would have paid, and three rounds of sitting out', () => {
  const world = World.running(FOUR);
  const sum = 3n << 20n;
  for (const r of [2, 3]) {
    round(world, r);
    if (r === 2) world.submit('dan', { beacon: world.beacon(2), answers: world.answersFor('dan', world.holding, 2, world.beacon(2)), claim: { root: root(5), sum } });
  }
  settle(world.at(3, 60), 'dan');
  const pay = (sum * BigInt(world.P) * world.stats(3).rate) >> 20n;
  assert.equal(world.stats(3).rate, 1_000_000n);
  assert.deepEqual([100n * MAS - world.info('dan').stake, world.info('dan').noClaimBefore], [pay, 7n]);
});

test('an invented segment is anchored by no stake of a moment, and who claims it is paid nothing and slashed', () => {
  const world = World.running(FOUR);
  round(world, 2);
  world.honest('dan', { claim: null });
  round(world, 3);
  world.register('eve', 1, { stake: 801n * MAS, coins: 900n * MAS });
  const forged = world.segment(1, [4 << 10, 4 << 10]);
  world.skips('only seasoned stake votes for segment roots', 'eve', { roots: [[1, forged.root]] });
  world.ok('unregisterStorageNode', undefined, as(world, 'eve'));
  const fake = new s.Holding([forged]);
  world.submit('dan', { claim: fake.claim });
  for (let r = 4; r < 16; r++) {
    round(world, r);
    assert.deepEqual(world.told(world.honest('dan', { holding: fake, claim: fake.claim })).draws, ['7', '7', '7', '7']);
  }
  settle(world.at(15, 60), 'dan');
  assert.equal(world.view('getSegmentRoot', m.u64(1)).length, 0);
  assert.equal(world.info('dan').stake, 100n * MAS - 12n * (MAS / 10n), 'for each of twelve rounds');
  const earned = (world.holding.claim.sum * 100n * 1_000_000n) >> 20n;
  assert.equal(world.view('calculatePendingRewards', m.sized(world.nodes.get('dan').address)).readBigUInt64LE(), earned, 'for round 2, which it answered');
});

test('who is left alone for a round and grinds a beacon that asks for what it has is not paid for air', () => {
  const world = World.running(['ann', 'bob']);
  const [segment] = world.segments;
  const held = segment.chunks.map((chunk) => [chunk.position, { leaves: chunk.leaves.length, id: chunk.id }]);
  const real = held.reduce((sum, [, { leaves }]) => sum + leaves, 0);
  const holding = new s.Holding([segment]);
  holding.claim = new m.Claim([...held, [segment.position(9), { leaves: 3 * real, id: root(1) }]]);
  world.at(2, 3).submit('ann', { beacon: world.beacon(2), claim: holding.claim });
  world.at(3, 3);
  const base = { chainId: world.chain.chainId, registry: world.registry, round: 3, key: world.key('ann'), leaves: holding.claim.sum };
  const drawn = (beacon) => [0, 1, 2, 3].map((d) => m.drawnLeaf({ ...base, beacon, d }));
  let beacon = root(0);
  while (!drawn(beacon).every((j) => holding.chunks.has(holding.claim.find(j).position))) beacon = m.hash(beacon);
  const told = world.told(world.submit('ann', { beacon, answers: drawn(beacon).map((j, d) => [d, holding.answer(j)]) }));
  assert.deepEqual(told.draws, ['0', '0', '0', '0']);
  settle(world.at(3, 60), 'ann');
  assert.deepEqual([world.stats(3).accepted, world.result('ann', 3).reason, world.result('ann', 3).credit], [0, 18, 0n]);
});

// Gas.

test('gas does not grow with what others wrote: nodes, minority beacons, root votes, challenges', () => {
  const wasm = meter(WASM);
  const gas = [0, 150].map((others) => {
    const world = World.running(FOUR, { wasm });
    for (let i = 0; i < others; i++) world.register('m' + i);
    if (others) {
      world.ok('addChallenger', m.sized(ADMIN.address), admin);
      for (let i = 0; i < 100; i++) {
        const id = m.hash(m.u32(i)).toString('hex');
        world.ok('issueChallenge', m.cat(m.sized(id), m.sized(world.nodes.get('ann').address), m.sized(id), m.u64(1)), admin);
      }
    }
    world.at(2, 3).submit('dan', { beacon: root(99), roots: [[1, root(98)]] });
    const sent = world.honest('ann').gas;
    for (const name of ['bob', 'cat']) world.honest(name);
    const resolved = settle(world.at(2, 51), ...FOUR).gas;
    const claimed = world.at(4, 0).ok('claimRewards', undefined, as(world, 'ann')).gas;
    return [sent, resolved, claimed];
  });
  gas[0].forEach((few, i) => assert.ok(gas[1][i] <= few * 1.01, `${few} → ${gas[1][i]}`));
});

test('gas: the dearest submission there is, 16 draws with all 40 siblings and full paths, is paid by its sender and fits a block', () => {
  const world = World.running(['ann'], { wasm: meter(WASM), config: { maxAllocatedGb: 16_384n, stakePerGb: 1n } });
  world.at(2, 0).ok('updateStorageAllocation', m.u64(8192), as(world, 'ann'));
  world.at(2, 3).submit('ann', { beacon: world.beacon(2) });
  world.at(6, 3).submit('ann', { claim: { root: root(1), sum: 12n << 28n } });
  const path = m.cat(m.u16(0xffff), m.u8(16), Buffer.alloc(512, 1));
  const dear = m.cat(m.u64(0), m.u32(1 << 26), root(1), m.u64((1n << 40n) - 1n), ...Array.from({ length: 40 }, () => [m.u64(1), root(2)]).flat(), m.u16(1024), Buffer.alloc(1024), path, path);
  const done = world.at(7, 3).submit('ann', { beacon: world.beacon(7), answers: Array.from({ length: 16 }, (_, d) => [d, dear]) });
  assert.ok(done.gas < 200e6, String(done.gas));
});

test('an event is never too long: the longest texts there are', () => {
  const world = World.running();
  const long = 'A'.repeat(64);
  world.ok('addChallenger', m.sized(long), admin);
  world.ok('removeChallenger', m.sized(long), admin);
  const half = { rewardPerGbPerPeriod: 5n * 10n ** 11n, minAllocatedGb: 1n, maxAllocatedGb: 1n << 23n, challengeResponseTimeout: 1_296_000_000n, slashPercentage: 50n,
    minStake: 5n * 10n ** 17n, stakePerGb: 1n, replicationFactor: 16n, chunkSizeBytes: 1n << 25n };
  const rich = new World({ config: half });
  const twice = Object.fromEntries(Object.entries(half).map(([field, value]) => [field, 2n * value]));
  assert.equal(rich.ok('updateConfig', m.encodeConfig({ ...rich.config, ...twice }), admin).events.length, 9);
});

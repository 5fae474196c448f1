// Who decides on beacons and segment roots: README, "Who decides". Attacks with stake, small networks, and random operations against
// a model that counts by brute force. STEPS and SEED in the environment make a longer run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dice, runOf } from './dice.mjs';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const RUN = runOf({ steps: 6_000, seed: 20_261_201n });
const NEVER = (1n << 64n) - 1n;
const ALL = ['ann', 'bob', 'cat'];
const FOUR = [...ALL, 'dan'];
const admin = { from: ADMIN.address, coins: MAS };
const as = (world, name, coins = 10n * MAS) => ({ from: world.nodes.get(name).address, coins });
const root = (n) => m.hash(m.u8(n));
const play = (world, r, names = ALL) => { world.at(r, 3); for (const name of names) world.honest(name); };
const settle = (world, ...names) => world.ok('resolveExpiredChallenges', m.texts(names.map((n) => world.nodes.get(n).address)), admin);

/** The seasoned stake of a round: the buckets of the ring in the state. */
function ringSum(world, round = world.round) {
  const state = world.chain.data.get('state');
  let sum = 0n;
  for (let i = 0; i < 10; i++) {
    const [from, stake] = [state.readBigUInt64LE(120 + 16 * i), state.readBigUInt64LE(128 + 16 * i)];
    if (from <= BigInt(round) && from + 8n > BigInt(round)) sum += stake;
  }
  return sum;
}

// The first phase, and seasoning.

test('in the first phase stake weighs from the second round after its registration, for eight rounds, and a submission renews it', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  const weights = (r) => [world.at(r, 0).info('ann').voteWeight, ringSum(world)].map((v) => v / MAS);
  assert.deepEqual([0, 1, 2, 9, 10].map(weights), [[0n, 0n], [0n, 0n], [100n, 300n], [100n, 300n], [0n, 0n]]);
  world.at(9, 50).submit('ann', {});
  assert.deepEqual([9, 10, 16, 17].map(weights), [[100n, 300n], [100n, 100n], [100n, 100n], [0n, 0n]]);
});

test('in the first phase an entry that has lapsed returns after two rounds', () => {
  const world = new World();
  world.register('ann');
  world.at(12, 0).submit('ann', {});
  world.submit('ann', {});
  assert.deepEqual([12, 13, 14, 21, 22].map((r) => world.at(r, 0).info('ann').voteWeight), [0n, 0n, 100n * MAS, 100n * MAS, 0n]);
  world.at(14, 0).submit('ann', { roots: [[0, root(1)]] });
  assert.equal(world.state().nextSegment, 1n);
});

test('a proven round replaces no entry that begins with the round after it: stake that was added decides, and the first phase ends, a round later', () => {
  const world = new World();
  world.register('ann');
  const segment = world.segment(0);
  world.anchor(segment);
  const holding = new s.Holding([segment]);
  world.at(11, 0).ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(50n * MAS)), as(world, 'ann', 60n * MAS));
  world.at(12, 0).submit('ann', { claim: holding.claim });
  for (const [r, weight, proven] of [[13, 0n, false], [14, 100n, false], [15, 150n, true]]) {
    world.at(r, 3).honest('ann', { holding, claim: holding.claim });
    assert.deepEqual([world.info('ann').voteWeight, world.state().proven], [weight * MAS, proven], `round ${r}`);
  }
});

test('a leaving node does not renew its entry in the first phase', () => {
  const world = new World();
  world.register('ann');
  world.at(5, 0).ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.submit('ann', {});
  assert.deepEqual([9, 10].map((r) => world.at(r, 0).info('ann').voteWeight), [100n * MAS, 0n]);
});

test('from the first proven round on only proven rounds season, with the stake that claimed them', () => {
  const world = World.running(FOUR, { stakes: { ann: 150n * MAS } });
  world.ok('updateStorageAllocation', m.cat(m.u64(10), m.u64(50n * MAS)), as(world, 'ann', 60n * MAS));
  world.at(2, 3);
  for (const name of ['ann', 'bob']) world.honest(name);
  world.honest('cat', { change: (a) => a.slice(1) });
  world.submit('dan', {});
  assert.equal(world.state().proven, false);
  world.at(3, 3).honest('ann');
  assert.equal(world.state().proven, true);
  for (const name of ['bob', 'cat', 'dan']) world.submit(name, {});
  const weights = FOUR.map((name) => [2, 3, 9, 10].map((r) => world.at(r, 0).info(name).voteWeight / MAS));
  // Entries: ann and bob from round 3 on, for round 2; cat, who missed a draw, and dan from round 2 on, and no longer renewed.
  assert.deepEqual(weights, [[0n, 150n, 150n, 150n], [0n, 100n, 100n, 100n], [100n, 100n, 100n, 0n], [100n, 100n, 100n, 0n]]);
  world.at(3, 60);
  world.register('eve', 10, { stake: 900n * MAS, coins: 910n * MAS });
  for (let r = 3; r < 20; r++) assert.equal(world.at(r, 99).info('eve').voteWeight, 0n);
});

test('a claim that was refuted seasons nothing', () => {
  const { world, ranked, args, address } = World.steady();
  const last = ranked[8];
  world.ok('refuteClaim', args(last, 8, ranked.slice(0, 3)), admin);
  world.at(9, 3).submit(last, {});
  const entry = (name) => world.chain.data.get('node_' + address(name)).readBigUInt64LE(104);
  assert.equal(entry(last), 8n);
  world.honest(ranked[0]);
  assert.equal(entry(ranked[0]), 9n);
});

test('with the last node that has a key the first phase begins again: who is left gets a key, and weighs two rounds later', () => {
  const world = World.running(['ann']);
  play(world, 2, ['ann']);
  play(world, 3, ['ann']);
  world.register('bob');
  assert.deepEqual([world.info('bob').hasKey, world.state().keyed], [false, 1n]);
  world.ok('unregisterStorageNode', undefined, as(world, 'ann'));
  world.at(4, 3).submit('ann', { beacon: world.beacon(4), answers: [] });
  world.at(13, 0).ok('unregisterStorageNode', undefined, as(world, 'ann'));
  assert.deepEqual([world.state().proven, world.state().keyed, world.state().flagsFrom], [false, 0n, NEVER]);
  const done = world.submit('bob', {});
  assert.deepEqual(done.events, [`PLACEMENT_KEY_SET:${world.nodes.get('bob').address},13`, `ROUND_SUBMITTED:${world.nodes.get('bob').address},13,-,-,-`]);
  assert.deepEqual(world.info('bob').key, world.key('bob'));
  assert.deepEqual([14, 15].map((r) => [world.at(r, 0).info('bob').voteWeight, world.info('bob').weight]), [[0n, 0n], [100n * MAS, 10n]]);
  world.register('cat');
  assert.deepEqual([world.info('cat').hasKey, world.state().keyed], [true, 2n]);
});

test('an old, known beacon gives no key, however long nobody was counted: an address cannot be ground', () => {
  const world = World.running();
  for (const r of [2, 3]) play(world, r);
  world.at(30, 0).register('eve');
  const set = (r) => world.refuses('round opened before the registration', 'setPlacementKey', m.cat(m.sized(world.nodes.get('eve').address), m.u64(r)), admin);
  set(3);
  set(2);
  // Those that have keys revive it.
  world.at(30, 60);
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
  play(world, 31);
  world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('eve').address), m.u64(31)), admin);
});

test('where all stake has lapsed, more than two thirds of what claimed the round accept a beacon', () => {
  for (const [names, accepted] of [[['ann', 'bob'], 0], [ALL, 1]]) {
    const world = World.running(ALL);
    for (const r of [2, 3]) play(world, r);
    world.at(20, 60);
    for (const name of ALL) world.submit(name, { claim: world.holding.claim });
    assert.equal(ringSum(world, 21), 0n);
    play(world, 21, names);
    assert.equal(world.stats(21).accepted, accepted);
    assert.equal(world.stats(21).electorate, 0n);
    settle(world.at(21, 60), ...ALL);
    assert.ok(ALL.every((name) => world.info(name).stake === 100n * MAS));
  }
});

// Attacks with stake.

test('stake of a moment decides nothing: two thirds that are registered, vote in the same period and leave anchor no root', () => {
  const world = World.running();
  for (const r of [2, 3]) play(world, r);
  world.at(4, 0).register('eve', 1, { stake: 601n * MAS, coins: 700n * MAS });
  world.skips('only seasoned stake votes for segment roots', 'eve', { roots: [[1, root(9)], [2, root(9)]] });
  world.ok('unregisterStorageNode', undefined, as(world, 'eve'));
  for (let r = 4; r < 14; r++) {
    play(world, r);
    assert.equal(world.info('eve').voteWeight, 0n);
    assert.equal(ringSum(world), 300n * MAS);
  }
  world.at(14, 0).ok('unregisterStorageNode', undefined, as(world, 'eve'));
  world.register('eve', 1, { stake: 601n * MAS, coins: 700n * MAS });
  world.skips('only seasoned stake votes for segment roots', 'eve', { roots: [[1, root(9)]] });
});

test('in the first phase, too, stake that comes weighs nothing in its round and the next, also if it left and came back', () => {
  const world = new World();
  for (const name of ALL) world.register(name);
  world.register('eve', 1, { stake: 601n * MAS, coins: 700n * MAS });
  world.ok('unregisterStorageNode', undefined, as(world, 'eve'));
  world.at(9, 0);
  for (const name of ALL) world.submit(name, {});
  world.at(10, 0).ok('unregisterStorageNode', undefined, as(world, 'eve'));
  world.register('eve', 1, { stake: 601n * MAS, coins: 700n * MAS });
  for (const r of [10, 11]) world.at(r, 50).skips('only seasoned stake votes for segment roots', 'eve', { roots: [[0, root(9)]] });
  assert.equal(ringSum(world), 300n * MAS);
  for (const name of ALL) world.submit(name, { roots: [[0, root(1)]] });
  assert.equal(world.state().nextSegment, 1n);
});

test('a blocker that never claims stops no root: unproven stake does not season', () => {
  const world = World.running();
  for (const r of [2, 3]) play(world, r);
  world.register('eve', 1, { stake: 3_001n * MAS, coins: 3_100n * MAS });
  for (let r = 4; r < 20; r++) {
    world.at(r, 0).submit('eve', {});
    const segment = Number(world.state().nextSegment);
    for (const name of ALL) world.submit(name, { roots: [[segment, root(1)]] });
    assert.equal(Number(world.state().nextSegment), segment + 1);
    play(world, r);
  }
});

test('a third that claims but votes for no root delays a root by eight rounds, and no other after it', () => {
  const world = World.running(FOUR, { stakes: { dan: 160n * MAS } });
  const accepted = [];
  for (let r = 2; r < 16; r++) {
    world.at(r, 2);
    for (const name of ALL) {
      const next = Number(world.state().nextSegment);
      // The segments of a round, in the next one, and what is due from before.
      world.submit(name, { roots: Array.from({ length: 8 }, (_, k) => [next + k, root(1)]).filter(([k]) => k < 4 * r) });
    }
    accepted.push(Number(world.state().nextSegment));
    play(world, r, FOUR);
  }
  // Segments 1 to 3 end with round 0, those of round 1 with round 1: eight rounds, and all goes on at the pace of the chain.
  assert.deepEqual(accepted, [1, 1, 1, 1, 1, 1, 1, 4, 8, 12, 16, 20, 24, 28]);
});

test('half that votes for no root delays it for ever, and anchors none alone', () => {
  const world = World.running(['ann', 'bob'], {});
  for (let r = 2; r < 30; r++) {
    world.at(r, 2).submit('ann', { roots: [[1, root(9)]] });
    play(world, r, ['ann', 'bob']);
    assert.equal(world.state().nextSegment, 1n);
  }
});

test('votes start anew each round, and count once', () => {
  const world = new World();
  for (const name of FOUR) world.register(name);
  for (const [r, name] of [[2, 'ann'], [3, 'bob'], [4, 'cat']]) {
    world.at(r, 0).submit(name, { roots: [[0, root(1)]] });
    world.skips('segment is voted for already or not in order', name, { roots: [[0, root(1)]] });
  }
  assert.equal(world.state().nextSegment, 0n);
  world.at(5, 0);
  for (const name of ALL) world.submit(name, { roots: [[0, root(1)]] });
  assert.equal(world.state().nextSegment, 1n);
});

test('two thirds anchor a root to the nanoMAS', () => {
  for (const [stake, anchored] of [[100n * MAS, 1n], [100n * MAS + 1n, 0n]]) {
    const world = new World();
    for (const name of ['ann', 'bob']) world.register(name);
    world.register('cat', 10, { stake });
    world.at(2, 0);
    for (const name of ['ann', 'bob']) world.submit(name, { roots: [[0, root(1)]] });
    assert.equal(world.state().nextSegment, anchored);
  }
});

test('after eight rounds more than half anchor a root, to the nanoMAS and the period', () => {
  for (const [stake, anchored] of [[100n * MAS, 0n], [100n * MAS + 1n, 1n]]) {
    const world = new World();
    world.register('ann', 10, { stake });
    for (const name of ['bob']) world.register(name);
    for (const r of [8, 9]) {
      world.at(r, r === 8 ? 99 : 0);
      world.submit('ann', { roots: [[0, root(1)]] });
      world.submit('bob', {});
      assert.equal(world.state().nextSegment, r === 8 ? 0n : anchored);
    }
  }
});

test('a third that answers under a false b voids nothing, is slashed for it and sits out', () => {
  const world = World.running([...ALL, 'eve'], { stakes: { eve: 149n * MAS } });
  const accepted = [];
  for (let r = 2; r < 12; r++) {
    play(world, r);
    settle(world, 'eve');
    const claim = { root: root(5), sum: 1n };
    const open = world.view('getRoundResult', m.cat(m.sized(world.nodes.get('eve').address), m.u64(r)))[104] === 1;
    if (open) world.submit('eve', { beacon: root(7) });
    else if (world.info('eve').noClaimBefore <= BigInt(r + 1)) world.submit('eve', { claim });
    accepted.push(world.stats(r).accepted);
    assert.deepEqual(world.stats(r).beacon, world.beacon(r));
  }
  assert.ok(accepted.every((a) => a === 1));
  assert.ok(world.info('eve').stake < 149n * MAS);
  assert.ok(ALL.every((name) => world.info(name).stake === 100n * MAS));
});

test('a false b is never cheaper than a missed draw: a node without its disk loses no less by a lie', () => {
  const lost = [false, true].map((lie) => {
    const world = World.running(FOUR);
    play(world, 2);
    world.submit('dan', { beacon: lie ? root(7) : world.beacon(2) });
    settle(world.at(2, 60), 'dan');
    return 100n * MAS - world.info('dan').stake;
  });
  assert.ok(lost[1] >= lost[0] && lost[0] > 0n, lost.join(' '));
});

test('who claims alone, while the others are away for a round, does not choose the beacon', () => {
  const world = World.running(['ann', 'bob']);
  world.at(2, 3).submit('ann', { beacon: world.beacon(2), claim: world.holding.claim });
  world.at(3, 3).submit('ann', { beacon: root(7), answers: world.answersFor('ann', world.holding, 3, root(7)) });
  settle(world.at(3, 60), 'ann', 'bob');
  assert.deepEqual([2, 3].map((r) => world.stats(r).accepted), [0, 0]);
  assert.deepEqual([world.result('ann', 3).reason, world.result('ann', 3).credit], [18, 0n]);
});

test('a small claim of air never hands over the electorate, neither before nor after the first accepted beacon', () => {
  const world = new World();
  for (const name of [...ALL, 'eve']) world.register(name);
  world.anchor(world.segment(0));
  const air = { claim: { root: root(5), sum: 1n } };
  world.at(1, 60).submit('eve', air);
  for (let r = 2; r < 8; r++) {
    world.at(r, 3).submit('eve', { beacon: root(7), roots: [[1, root(9)]], ...air });
    assert.deepEqual([world.state().nextSegment, world.stats(r).accepted], [1n, 0]);
    for (const name of ALL) world.submit(name, {});
  }
});

// Small networks, and a half that is down.

/** Plays rounds in which those that `present` gives take part, and says for each whether a beacon was accepted. */
function rounds(names, count, present) {
  const world = World.running(names);
  const accepted = [];
  for (let r = 2; r < 2 + count; r++) {
    world.at(r, 3);
    for (const name of present(r)) {
      const slot = world.view('getRoundResult', m.cat(m.sized(world.nodes.get(name).address), m.u64(r)));
      const open = slot.length > 0 && slot[104] === 1;
      const claim = world.info(name).noClaimBefore <= BigInt(r + 1) ? world.holding.claim : undefined;
      if (open) world.submit(name, { beacon: world.beacon(r), answers: world.answersFor(name, world.holding, r, world.beacon(r)), claim });
      else world.submit(name, { claim });
    }
    accepted.push(world.stats(r).accepted ?? 0);
  }
  return { world, accepted: accepted.join('') };
}

test('one node decides all', () => {
  const { world, accepted } = rounds(['ann'], 6, () => ['ann']);
  assert.equal(accepted, '111111');
  world.submit('ann', { roots: [[1, root(9)]] });
  assert.equal(world.state().nextSegment, 2n);
});

test('of two equal nodes one that is absent stops beacons, until its entry has lapsed', () => {
  const { world, accepted } = rounds(['ann', 'bob'], 14, (r) => (r < 4 ? ['ann', 'bob'] : ['ann']));
  // Bob's last proven round is 3. Its entry counts in rounds 4 to 11, if it submits once more; here from round 3 to 10, for round 2.
  assert.equal(accepted, '11000000011111');
  assert.equal(world.info('ann').stake, 100n * MAS);
});

test('of two equal nodes one that is absent stops roots as long', () => {
  const world = World.running(['ann', 'bob']);
  for (const r of [2, 3]) play(world, r, ['ann', 'bob']);
  const first = [];
  for (let r = 4; r < 14; r++) {
    const next = Number(world.state().nextSegment);
    world.at(r, 3).honest('ann');
    world.submit('ann', { roots: [[next, root(1)]] });
    if (world.state().nextSegment > next) first.push(r);
  }
  assert.equal(first[0], 11);
});

test('of three equal nodes one may be absent', () => {
  const { world, accepted } = rounds(ALL, 12, (r) => (r < 4 ? ALL : ['ann', 'bob']));
  assert.equal(accepted, '111111111111');
  world.at(13, 60);
  for (const name of ['ann', 'bob']) world.submit(name, { roots: [[1, root(1)]] });
  assert.equal(world.state().nextSegment, 2n);
  settle(world, 'cat');
  assert.equal(world.info('cat').stake, 100n * MAS - MAS / 10n, 'slashed once, for the round that it had claimed');
});

test('with half of the stake down at most eight rounds are void, nobody who is there loses stake, and then all goes on', () => {
  const names = Array.from({ length: 6 }, (_, i) => 'n' + i);
  const up = names.slice(0, 3);
  const { world, accepted } = rounds(names, 16, (r) => (r < 5 || r > 15 ? names : up));
  assert.equal(accepted, '1110000000111111');
  for (const name of up) assert.equal(world.info(name).stake, 100n * MAS);
  // Those that were down come back, and season.
  for (const r of [18, 19, 20]) {
    world.at(r, 3);
    for (const name of names) {
      const open = world.result(name, r).state === 1;
      world.submit(name, { ...(open && { beacon: world.beacon(r), answers: world.answersFor(name, world.holding, r, world.beacon(r)) }), claim: world.holding.claim });
    }
  }
  assert.equal(ringSum(world), 600n * MAS);
});

// Random operations against a model that knows each node and sums by brute force.

const GB_STAKE = 10n * MAS;
const BEACONS = [root(1), root(2)];

/** Nodes and rounds as the table of the README says, without a ring: each weight is looked at, each time. */
class Brute {
  nodes = new Map();
  rounds = new Map();
  proven = false;
  next = 0;

  weight(node, v) { return node.e !== null && node.e <= v && v <= node.e + 7 ? node.w : 0n; }
  electorate(v) { return [...this.nodes.values()].reduce((sum, node) => sum + this.weight(node, v), 0n); }
  round(r) {
    if (!this.rounds.has(r)) this.rounds.set(r, { claimed: 0n, answers: [], accepted: null, electorate: 0n, votes: new Map() });
    return this.rounds.get(r);
  }
  register(name, period, v, stake) {
    this.nodes.set(name, { stake, w: stake, e: this.proven ? null : v + 2, key: !this.proven, period, from: v + 2, leave: null, sitsOut: 0, slots: [null, null, null], votes: [-1, 0], held: [[v, stake]] });
  }
  /** What is over becomes a result. */
  settle(node, v, windowOver) {
    const due = node.slots.filter((slot) => slot && !slot.result && (slot.r < v || (slot.r === v && windowOver))).sort((a, b) => a.r - b.r);
    for (const slot of due) {
      const { accepted, answers, electorate } = this.round(slot.r);
      const share = answers.filter((a) => a.b === accepted).reduce((sum, a) => sum + a.weight, 0n);
      const take = (amount) => { node.stake -= amount < node.stake ? amount : node.stake; };
      const missed = (k) => take((BASE(slot.stake) * 10n * BigInt(k)) / 400n);
      if (accepted === null) slot.result = 'void';
      else if (slot.b === accepted) {
        slot.result = slot.passes === 4 ? 'proven' : 'missed';
        missed(4 - slot.passes);
      } else {
        slot.result = slot.b === null ? 'silent' : 'other';
        node.sitsOut = Math.max(node.sitsOut, slot.r + 4);
        if (slot.b === null) missed(4);
        else if (3n * share > 2n * electorate) take(slot.stake / 10n);
      }
    }
  }
  begin(node, v, windowOver) {
    this.settle(node, v, windowOver);
    if (!node.key && !this.proven) Object.assign(node, { key: true, from: v + 2 });
    const proven = node.slots.filter((slot) => slot?.result === 'proven' && slot.r < v && (node.e === null || slot.r + 1 > node.e)).sort((a, b) => b.r - a.r)[0];
    if (proven) {
      [node.e, node.w] = [proven.r + 1, proven.stake];
      this.proven = true;
    } else if (!this.proven && node.leave === null && (node.e === null || node.e <= v)) {
      node.e = node.e !== null && node.e >= v - 7 ? v : v + 2;
    }
  }
  answer(node, v, b, passes) {
    const slot = node.slots[v % 3];
    Object.assign(slot, { b, passes });
    const record = this.round(v);
    record.answers.push({ b, weight: this.weight(node, v), stake: slot.stake });
    record.electorate = this.electorate(v);
    const of = (field) => record.answers.filter((a) => a.b === b).reduce((sum, a) => sum + a[field], 0n);
    const enough = record.electorate === 0n ? 3n * of('stake') > 2n * record.claimed : 2n * of('weight') > record.electorate;
    if (record.accepted === null && enough) record.accepted = b;
  }
  vote(node, v, segment, which) {
    node.votes = [v, segment + 1];
    if (segment < this.next) return;
    const { votes } = this.round(v);
    const key = `${segment} ${which}`;
    votes.set(key, (votes.get(key) ?? 0n) + this.weight(node, v));
    const [tally, whole] = [votes.get(key), this.electorate(v)];
    const late = v - Math.floor(segment / 2) > 8;
    if (segment === this.next && (3n * tally >= 2n * whole || (late && 2n * tally > whole))) {
      votes.delete(key);
      this.next++;
    }
  }
  forget(name) {
    this.nodes.delete(name);
    if (![...this.nodes.values()].some((node) => node.key)) this.proven = false;
  }
}
/** What a claim of one GB or less risks by its misses. */
const BASE = (stake) => (stake < GB_STAKE ? stake : GB_STAKE);

class Trial {
  constructor(seed) {
    this.dice = new Dice(seed);
    this.world = new World({ config: { challengeFrequencyPeriods: 4n, roundSegments: 2n, minStake: GB_STAKE, stakePerGb: GB_STAKE }, period: 0 });
    this.brute = new Brute();
    const segment = this.world.segment(0, [1]);
    this.holding = new s.Holding([segment]);
    this.roots = [segment.root, root(9)];
    this.proof = this.holding.answer(0n);
    // Few or many, of equal or of random stakes, that leave seldom or often.
    this.names = Array.from({ length: 1 + this.dice.below(9) }, (_, i) => 'v' + i);
    this.stakes = this.dice.chance(30) ? [50] : [10, 11, 30, 70, 200];
    this.leaving = this.dice.pick([1, 10]);
    this.lies = this.dice.pick([0, 5, 30]);
    this.seen = new Set();
    for (const name of this.names) { const who = user(name); this.world.nodes.set(name, who); this.world.give(who.address); }
  }
  get v() { return this.world.round; }
  get inRound() { return this.world.chain.period % 8; }
  get windowOver() { return this.inRound > 4; }
  options(name) { return { from: this.world.nodes.get(name).address, coins: 1_000n * MAS }; }

  step() {
    const { dice, world, brute } = this;
    if (dice.chance(18)) world.chain.period += dice.chance(2) ? dice.below(90) : dice.chance(10) ? dice.below(9) : 1;
    const name = dice.pick(this.names);
    const node = brute.nodes.get(name);
    if (!node) return dice.chance(30) && this.register(name);
    if (dice.chance(this.leaving) && dice.chance(20)) return this.leave(name, node);
    if (dice.chance(4)) return this.add(name, node);
    if (dice.chance(6)) return this.resolve(name, node);
    if (!node.key && brute.proven) return this.key(name, node);
    return this.submit(name, node);
  }
  register(name) {
    const stake = BigInt(this.dice.pick(this.stakes)) * MAS;
    this.world.register(name, 1, { stake, coins: stake + MAS });
    this.brute.register(name, this.world.chain.period, this.v, stake);
    this.seen.add('register');
  }
  leave(name, node) {
    if (node.leave !== null && this.v < node.leave + 10) return;
    this.world.ok('unregisterStorageNode', undefined, this.options(name));
    this.brute.settle(node, this.v, this.windowOver);
    this.seen.add(node.leave === null ? 'leave' : 'forget');
    if (node.leave === null) node.leave = this.v;
    else this.brute.forget(name);
    if (!this.brute.proven && this.seen.has('proven')) this.seen.add('again');
  }
  add(name, node) {
    if (node.leave !== null) return;
    this.brute.settle(node, this.v, this.windowOver);
    const added = GB_STAKE + BigInt(this.dice.below(100)) * MAS;
    this.world.ok('updateStorageAllocation', m.cat(m.u64(1), m.u64(added)), this.options(name));
    node.stake += added;
    node.held.push([this.v, node.stake]);
  }
  resolve(name, node) {
    this.world.ok('resolveExpiredChallenges', m.texts([this.world.nodes.get(name).address]), this.options(name));
    this.brute.settle(node, this.v, this.windowOver);
  }
  /** Somebody has all settled. */
  settleAll() {
    const names = [...this.brute.nodes.keys()];
    if (names.length === 0) return;
    // What does not fit the events of an operation is left.
    const { result } = settle(this.world, ...names);
    names.forEach((name, i) => { if (result[i] === 3) this.brute.settle(this.brute.nodes.get(name), this.v, this.windowOver); });
  }
  /** What has become of claims: of each node, and in all. */
  outcome() {
    for (const name of this.brute.nodes.keys()) settle(this.world, name);
    const { stakes, credited, reserves, pool, toBurn, burned } = this.world.state();
    const nodes = [...this.brute.nodes.keys()].map((name) => {
      const b = this.world.chain.data.get('node_' + this.world.nodes.get(name).address);
      const at = (offset) => b.readBigUInt64LE(offset);
      const slots = [0, 1, 2].map((i) => 208 + 128 * i);
      return { name, stake: at(24), entry: [at(104), at(592)], sitsOut: at(112), draws: [at(120), at(128)],
        credit: slots.reduce((sum, from) => sum + at(from + 96), at(144)), results: slots.map((from) => [at(from), b[from + 104], b[from + 107]]) };
    });
    return { nodes, stakes, credited, reserves, pool, burned: toBurn + burned };
  }
  key(name, node) {
    const rounds = [...this.brute.rounds].filter(([r, record]) => record.accepted !== null && r * 8 > node.period).map(([r]) => r);
    if (rounds.length === 0) return;
    this.world.ok('setPlacementKey', m.cat(m.sized(this.world.nodes.get(name).address), m.u64(Math.min(...rounds))), this.options(name));
    Object.assign(node, { key: true, from: this.v + 2 });
    this.seen.add('key');
  }
  submit(name, node) {
    const { brute, dice, v } = this;
    const wasProven = brute.proven;
    brute.begin(node, v, this.windowOver);
    if (brute.proven && !wasProven) this.seen.add('proven');
    const parts = {};
    const open = node.slots[v % 3]?.r === v && !node.slots[v % 3].result && node.slots[v % 3].b === null;
    if (open && this.inRound >= 3 && !this.windowOver && dice.chance(90)) {
      const beacon = BEACONS[dice.chance(this.lies) ? 1 : 0];
      const draws = [0, 1, 2, 3].slice(dice.chance(90) ? 0 : dice.below(4));
      Object.assign(parts, { beacon, answers: draws.map((d) => [d, this.proof]) });
      // Without an accepted root nothing passes.
      brute.answer(node, v, beacon, this.anchored ? draws.length : 0);
    }
    if (brute.weight(node, v) > 0n && dice.chance(50)) parts.roots = this.votes(node);
    if (this.mayClaim(node) && dice.chance(85)) {
      parts.claim = this.holding.claim;
      node.slots[(v + 1) % 3] = { r: v + 1, stake: node.stake, b: null, passes: 0, result: null };
      brute.round(v + 1).claimed += node.stake;
    }
    this.world.submit(name, parts);
  }
  /** The one segment that matters has its true root, or a lie. */
  get anchored() { return this.world.chain.data.get('segment_0')?.subarray(0, 32).equals(this.roots[0]) ?? false; }
  votes(node) {
    const { brute, dice, v } = this;
    const list = [];
    const from = Math.max(brute.next, node.votes[0] === v ? node.votes[1] : 0);
    for (let segment = from; segment < from + dice.below(4) && segment < brute.next + 8; segment++) {
      if ((segment + 1) * 4 > this.world.chain.period) break;
      const which = segment > 0 && dice.chance(this.lies) ? 1 : 0;
      list.push([segment, this.roots[which]]);
      brute.vote(node, v, segment, which);
    }
    return list;
  }
  mayClaim(node) {
    const current = node.slots[this.v % 3];
    const answered = !(current?.r === this.v && !current.result && current.b === null);
    const next = node.slots[(this.v + 1) % 3];
    return node.key && node.leave === null && answered && next?.r !== this.v + 1 && this.v + 1 >= node.from && this.v + 1 >= node.sitsOut && node.stake >= GB_STAKE;
  }

  check() {
    const { brute, world, v } = this;
    const record = (name) => world.chain.data.get('node_' + world.nodes.get(name).address);
    const whole = ringSum(world);
    // 1: the ring is the sum of all weights.
    assert.equal(whole, brute.electorate(v), 'electorate');
    for (const [name, node] of brute.nodes) {
      const b = record(name);
      const [e, w] = [b.readBigUInt64LE(104), b.readBigUInt64LE(592)];
      const weight = e !== NEVER && e <= BigInt(v) && BigInt(v) < e + 8n ? w : 0n;
      assert.equal(weight, brute.weight(node, v), `weight of ${name}`);
      assert.equal(b.readBigUInt64LE(24), node.stake, `stake of ${name}`);
      // 3: nothing that was not there two rounds ago weighs.
      const before = node.held.filter(([r]) => r <= v - 2).map(([, stake]) => stake);
      assert.ok(weight <= before.reduce((a, c) => (a > c ? a : c), 0n), `${name} weighs what it had`);
    }
    // 2: votes for the roots of a segment, and for the beacons of a round, are of different stake.
    const tallies = new Map();
    for (const [key, value] of world.chain.data) {
      if (!key.startsWith('rootvote_') || value.readBigUInt64LE() !== BigInt(v)) continue;
      const segment = Buffer.from(key, 'latin1').readBigUInt64LE(9);
      tallies.set(segment, (tallies.get(segment) ?? 0n) + value.readBigUInt64LE(8));
    }
    for (const tally of tallies.values()) assert.ok(tally <= whole, 'root votes');
    const sum = (map) => [...map.values()].reduce((a, b) => a + b, 0n);
    assert.equal(sum(tallies), sum(brute.round(v).votes), 'root votes, as counted');
    const beacons = BEACONS.map((b) => world.chain.data.get('beacon_' + m.cat(m.u64(v), b).toString('latin1'))?.readBigUInt64LE() ?? 0n);
    assert.ok(beacons[0] + beacons[1] <= whole, 'beacons');
    assert.equal(world.state().nextSegment, BigInt(brute.next), 'segments');
    const { accepted } = brute.round(v);
    const row = world.chain.data.get(`period_${v * 8}`);
    assert.equal(row?.[105] ?? 0, accepted === null ? 0 : 1, 'acceptance');
    if (accepted) assert.deepEqual(row.subarray(112, 144), accepted);
    assert.equal(world.state().proven, brute.proven, 'proven');
    // 5: what nodes have earned is what is owed.
    if (this.dice.state % 16n === 0n) assert.equal(world.state().credited, world.creditOfNodes(), 'credited');
  }
}

test(`${RUN.steps} random operations, seed ${RUN.seed}: the ring is what brute force counts, and results are those of their rounds`, () => {
  const seen = new Set();
  const runs = Math.max(4, Math.ceil(RUN.steps / 1_000));
  for (let k = 0; k < runs; k++) {
    const trial = new Trial(RUN.seed + BigInt(k));
    for (let i = 0; i < RUN.steps / runs; i++) {
      try {
        trial.step();
        trial.check();
      } catch (error) {
        error.message = `step ${i}, seed ${RUN.seed + BigInt(k)}: ${error.message}`;
        throw error;
      }
    }
    for (const what of trial.seen) seen.add(what);
  }
  if (RUN.committed) assert.deepEqual([...seen].sort(), ['again', 'forget', 'key', 'leave', 'proven', 'register']);
});

test('the same operations, with everybody settled after each of them or as late as can be: results, pay, slashes, sitting out and entries are the same', () => {
  const runs = Math.max(4, Math.ceil(RUN.steps / 2_000));
  let slashed = 0n;
  for (let k = 0; k < runs; k++) {
    const [late, early] = [false, true].map((eager) => {
      const trial = new Trial(RUN.seed + BigInt(k));
      for (let i = 0; i < 250; i++) {
        trial.step();
        if (eager) trial.settleAll();
      }
      return trial.outcome();
    });
    assert.deepEqual(early, late, `seed ${RUN.seed + BigInt(k)}`);
    slashed += late.burned;
  }
  if (RUN.committed) assert.ok(slashed > 0n);
});

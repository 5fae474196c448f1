// Rounds of one and of several segments: what is counted in segments, and what in rounds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const ALL = ['ann', 'bob', 'cat'];
const admin = { from: ADMIN.address, coins: MAS };
const root = (n) => m.hash(m.u8(n));
/** Segments of a round, and periods of a segment: rounds of 100, 100, 20 and 100 periods. */
const SHAPES = [[1n, 100n], [4n, 25n], [5n, 4n], [5n, 20n]];
const shaped = ([roundSegments, challengeFrequencyPeriods], options = {}) =>
  ({ ...options, config: { ...options.config, roundSegments, challengeFrequencyPeriods } });
const registered = (shape, options) => {
  const world = new World(shaped(shape, options));
  for (const name of ALL) world.register(name);
  return world;
};
const vote = (world, roots) => { for (const name of ALL) world.submit(name, { roots }); };
/** Has segments anchored by all, as many in an operation as it takes. */
function anchor(world, segments) {
  for (let at = 0; at < segments.length; at += 8) vote(world, segments.slice(at, at + 8).map((made) => [made.segment, made.root]));
}

for (const shape of SHAPES) {
  const [segments, periods] = shape.map(Number);
  const P = segments * periods;
  const of = `rounds of ${segments} segments of ${periods} periods`;

  test(`${of}: an honest round is answered with chunks of any anchored segment, closed once and paid by the length of the round`, () => {
    const world = registered(shape);
    assert.equal(world.P, P);
    const made = Array.from({ length: 2 * segments }, (_, k) => world.segment(k, [5000 + k, 1024]));
    world.at(2, 0);
    anchor(world, made);
    assert.equal(world.state().nextSegment, BigInt(2 * segments));
    const holding = new s.Holding(made);
    for (const name of ALL) world.submit(name, { claim: holding.claim });
    world.at(3, 3);
    const answered = new Set();
    for (const name of ALL) {
      const beacon = world.beacon(3);
      const answers = world.answersFor(name, holding, 3, beacon);
      for (const [, answer] of answers) answered.add(answer.readBigUInt64LE() >> 16n);
      const done = world.submit(name, { beacon, answers });
      assert.deepEqual(world.told(done).draws, ['0', '0', '0', '0']);
    }
    assert.ok(answered.size > 1, 'draws of several segments');
    const credit = (holding.claim.sum * BigInt(P) * 1_000_000n) >> 20n;
    world.refuses('answers to this round are still taken', 'distributeRewards', m.u64(3 * P), admin);
    world.at(3, P / 2 + 1);
    assert.deepEqual(world.ok('distributeRewards', m.u64(4 * P - 1), admin).events, [`REWARDS_DISTRIBUTED:${3 * P},${3n * credit},3`]);
    world.at(5, 0);
    const paid = world.ok('claimRewards', undefined, { from: world.nodes.get('ann').address });
    assert.ok(paid.events.includes(`REWARDS_CLAIMED:${world.nodes.get('ann').address},${credit}`));
  });

  test(`${of}: an answer passes with a chunk of the first, of a middle and of the last anchored segment, whatever its round`, () => {
    const world = registered(shape);
    const made = Array.from({ length: 2 * segments }, (_, k) => world.segment(k, [1000]));
    world.at(2, 0);
    anchor(world, made);
    const picked = [0, segments, 2 * segments - 1];
    for (const [k, name] of ALL.entries()) world.submit(name, { claim: new s.Holding([made[picked[k]]]).claim });
    world.at(3, 3);
    for (const [k, name] of ALL.entries()) {
      const holding = new s.Holding([made[picked[k]]]);
      const done = world.submit(name, { beacon: world.beacon(3), answers: world.answersFor(name, holding, 3, world.beacon(3)) });
      assert.deepEqual(world.told(done).draws, ['0', '0', '0', '0'], `segment ${picked[k]}`);
    }
  });

  test(`${of}: a segment is voted for as soon as it is over, not before, and not only with its round`, () => {
    const world = registered(shape);
    const first = 2 * segments;
    world.anchor({ segment: first - 1, root: root(0) });
    world.chain.period = (first + 2) * periods - 1;
    world.skips('segment is not over', 'ann', { roots: [[first, root(0)], [first + 1, root(1)]] });
    for (const name of ['bob', 'cat']) world.submit(name, { roots: [[first, root(0)]] });
    assert.equal(world.state().nextSegment, BigInt(first + 1));
    world.chain.period += 1;
    vote(world, [[first + 1, root(1)]]);
    assert.equal(world.state().nextSegment, BigInt(first + 2));
    assert.deepEqual(world.view('getSegmentRoot', m.u64(first + 1)), m.cat(root(1), m.u64(Math.floor(((first + 2) * periods) / P))));
  });

  test(`${of}: a vote that comes too early takes nothing with it, neither answers nor other votes`, () => {
    const world = World.running(ALL, shaped(shape)).at(2, 3);
    const answers = world.answersFor('ann', world.holding, 2, world.beacon(2));
    const early = Math.floor(world.chain.period / periods);
    const told = world.told(world.submit('ann', { beacon: world.beacon(2), answers, roots: [[1, root(1)], [early, root(1)]], claim: world.holding.claim }));
    assert.deepEqual([told.answers, told.roots, told.claim], ['answered', '1 (segment is not over)', String(world.holding.claim.sum)]);
    assert.equal(world.result('ann', 2).passes, 4);
  });

  test(`${of}: a join, a change and leaving count from the second round after them`, () => {
    const world = registered(shape);
    const ann = { from: world.nodes.get('ann').address, coins: MAS };
    const weights = (rounds) => rounds.map((r) => world.at(r, 0).info('ann').weight);
    assert.deepEqual(weights([0, 1, 2]), [0n, 0n, 10n]);
    world.at(2, P - 1).ok('updateStorageAllocation', m.u64(7), ann);
    assert.deepEqual(weights([3, 4]), [10n, 7n]);
    const done = world.at(4, 1).ok('unregisterStorageNode', undefined, ann);
    assert.deepEqual(done.events, [`STORAGE_NODE_LEAVING:${ann.from},6`]);
    assert.equal(world.info('ann').leaveRound, 6n);
    assert.deepEqual(weights([5, 6]), [7n, 0n]);
    world.at(13, P - 1).refuses('stake is locked until round 14', 'unregisterStorageNode', undefined, ann);
    world.at(14, 0).ok('unregisterStorageNode', undefined, ann);
  });

  test(`${of}: retention is counted in segments, and covers four`, () => {
    const world = new World(shaped(shape));
    const who = user('ann');
    world.give(who.address);
    const args = m.cat(m.u64(10), m.u64(0), m.u64(4 * periods - 1), m.texts([]), m.texts([]), m.texts([]));
    world.refuses('retentionPeriods: 0 for all, or at least 4 segments', 'registerStorageNode', args, { from: who.address, coins: 300n * MAS });
    world.register('ann', 10, { retention: 4 * periods });
    assert.equal(world.info('ann').retentionPeriods, BigInt(4 * periods));
  });

  test(`${of}: a network that is behind catches up with eight segments an operation, in several operations of a round`, () => {
    const world = registered(shape);
    vote(world.at(20, 0), []);
    world.at(22, 0);
    const pending = Array.from({ length: 16 }, (_, k) => [k, root(k)]);
    vote(world, pending.slice(0, 8));
    assert.equal(world.state().nextSegment, 8n);
    vote(world, pending.slice(8));
    assert.equal(world.state().nextSegment, 16n);
    assert.equal(world.told(world.submit('ann', { roots: [[15, root(15)]] })).roots, '0', 'what is accepted is passed over');
  });
}

test('what was voted for in a round counts in it alone: with rounds of several segments, too', () => {
  const world = registered([4n, 25n]);
  world.at(2, 60).submit('ann', { roots: [[0, root(0)], [1, root(1)]] });
  assert.equal(world.state().nextSegment, 0n, 'one of three is not two thirds');
  world.at(3, 0).submit('cat', { roots: [[0, root(0)], [1, root(1)]] });
  assert.equal(world.state().nextSegment, 0n);
  for (const name of ['bob']) world.submit(name, { roots: [[0, root(0)], [1, root(1)]] });
  assert.equal(world.state().nextSegment, 2n);
});

test('more than eight votes are refused by name', () => {
  const world = registered([5n, 4n]).at(2, 0);
  const roots = Array.from({ length: 9 }, (_, k) => [k, root(k)]);
  world.refusesSubmit('at most 8 segment roots', 'ann', { roots });
  world.submit('ann', { roots: roots.slice(0, 8) });
});

/** The first reason why a registry of this configuration is not made; undefined if it is. */
const refusal = (config) => {
  try {
    new World({ config, funds: 0n });
    return undefined;
  } catch (error) {
    return error.message.split('\n')[0];
  }
};
test('a registry is made with rounds of 1 to 64 segments and at least 8 periods', () => {
  const rounds = (roundSegments, challengeFrequencyPeriods, firstSegment = 0n) => refusal({ roundSegments, challengeFrequencyPeriods, firstSegment });
  for (const [segments, periods] of [[1n, 8n], [64n, 256n], [8n, 1n], [2n, 4n]]) assert.equal(rounds(segments, periods), undefined, `${segments} of ${periods}`);
  for (const segments of [0n, 65n, 1n << 32n, (1n << 64n) - 1n]) assert.equal(rounds(segments, 100n), 'constructor: roundSegments: 1 to 64');
  for (const [segments, periods] of [[1n, 7n], [7n, 1n], [3n, 2n]]) assert.equal(rounds(segments, periods), 'constructor: roundSegments: a round has at least 8 periods');
  for (const periods of [0n, 257n]) assert.equal(rounds(4n, periods), 'constructor: challengeFrequencyPeriods: 1 to 256');
});
test('the first segment is the first of a round', () => {
  const first = (firstSegment, roundSegments) => refusal({ firstSegment, roundSegments });
  for (const [segment, segments] of [[0n, 4n], [8n, 4n], [3n, 1n], [15n, 5n]]) assert.equal(first(segment, segments), undefined, `${segment} of ${segments}`);
  for (const [segment, segments] of [[1n, 4n], [6n, 4n], [4n, 5n], [63n, 64n]]) {
    assert.equal(first(segment, segments), 'constructor: firstSegment: a multiple of roundSegments');
  }
});

test('the largest claims of the longest round can be closed and paid: nothing overflows', () => {
  const config = { roundSegments: 64n, challengeFrequencyPeriods: 256n, maxAllocatedGb: 1n << 24n, stakePerGb: 1n, minStake: 1n, rewardPerGbPerPeriod: 10n ** 12n };
  const world = new World({ config });
  const most = 1n << 44n;
  // 2⁶³ ⁄ P leaves are 2⁴⁹: 32 claims of the largest there are.
  const names = Array.from({ length: 33 }, (_, i) => 'n' + i);
  for (const name of names) world.register(name, 1 << 24);
  const claim = { root: root(1), sum: most };
  world.at(2, 0);
  for (const name of names.slice(0, 32)) world.submit(name, { claim });
  world.skips('claim is more than a round takes in all', names[32], { claim });
  world.at(3, 3);
  for (const name of names.slice(0, 32)) world.submit(name, { beacon: world.beacon(3), answers: [] });
  const done = world.at(3, world.P / 2 + 1).ok('distributeRewards', m.u64(3 * world.P), admin);
  assert.deepEqual(done.events, [`REWARDS_DISTRIBUTED:${3 * world.P},0,32`]);
});

// History that is older than the registry.

/** Segments 0 to 5, each with the root of the one before; 4 is the first that is voted for, and anchored. */
const older = () => {
  const world = new World({ config: { firstSegment: 4n } });
  for (const name of ALL) world.register(name);
  for (let segment = 0; segment < 6; segment++) world.segment(segment, [5000, 1024], world.segments[segment - 1]?.root);
  world.at(2, 0);
  vote(world, [[4, world.segments[4].root]]);
  return world;
};

test('the roots before an accepted one are anchored by anybody, one after the other, and their chunks can be claimed', () => {
  const world = older();
  for (const segment of [4, 3, 2, 1]) {
    const before = world.segments[segment - 1];
    const done = world.ok('anchorEarlier', world.anchorArgs(segment), admin);
    assert.deepEqual(done.events, [`SEGMENT_ROOT_ACCEPTED:${segment - 1},${before.root.toString('hex')}`]);
    assert.deepEqual(world.view('getSegmentRoot', m.u64(segment - 1)), m.cat(before.root, m.u64(2)));
  }
  assert.equal(world.state().nextSegment, 5n);
  world.refuses('no segment comes before this one', 'anchorEarlier', world.anchorArgs(0), admin);
  world.holding = new s.Holding(world.segments.slice(0, 4));
  for (const name of ALL) world.submit(name, { claim: world.holding.claim });
  world.at(3, 3);
  for (const name of ALL) world.honest(name);
  assert.ok(ALL.every((name) => world.result(name, 3).passes === 4));
});

test('nothing is anchored by what is not the header of an accepted segment', () => {
  const world = older();
  const [before, made] = [world.segments[3], world.segments[4]];
  const refuses = (message, segment, change) => world.refuses(message, 'anchorEarlier', world.anchorArgs(segment, change), admin);
  refuses('segment is not anchored', 3);
  refuses('segment is not anchored', 5);
  refuses('header is not under the root of its segment', 4, { leaf: before.contents[0], path: m.encodePath(before.headerPath()) });
  const lie = Buffer.from(made.contents[0]);
  lie[lie.length - 1] ^= 1;
  refuses('header is not under the root of its segment', 4, { leaf: lie });
  refuses('header is not under the root of its segment', 4, { path: m.encodePath(made.headerPath().slice(1)) });
  const path = m.encodePath(made.headerPath());
  for (const bad of [Buffer.alloc(0), path.subarray(1), m.cat(path, m.u8(0)), m.cat(m.u16(1), path.subarray(2))]) {
    refuses('path: not that of the first leaf', 4, { path: bad });
  }
  refuses('segment header: 83 bytes', 4, { leaf: Buffer.alloc(82) });
  refuses('segment header: not the leaf of a header', 4, { leaf: Buffer.alloc(83) });
  refuses('argument path: longer than 515 bytes', 4, { path: Buffer.alloc(516) });
  world.refuses('anchorEarlier: 1 bytes too many', 'anchorEarlier', m.cat(world.anchorArgs(4), m.u8(0)), admin);
  world.ok('anchorEarlier', world.anchorArgs(4), admin);
  refuses('the segment before is anchored already', 4);
});

test('a header under an accepted root that tells of another segment or chain anchors nothing', () => {
  for (const [chainId, segment] of [[78n, 4], [77n, 8]]) {
    const world = new World({ config: { firstSegment: 4n } });
    const made = s.madeSegment({ chainId, segment, periods: 25, chunkLengths: [1000], previous: root(1) });
    world.segments[4] = made;
    world.anchor({ segment: 4, root: made.root });
    world.refuses('header is of another segment', 'anchorEarlier', world.anchorArgs(4), admin);
  }
});

test('before an archive\'s first segment there is nothing to anchor', () => {
  const world = new World({ config: { firstSegment: 4n } });
  const made = world.segment(4, [1000]);
  world.anchor(made);
  world.refuses('no segment comes before this one', 'anchorEarlier', world.anchorArgs(4), admin);
});

// Writes the gas table into README.md, between its markers. Upstream's price: 23 for each executed operator (counted by
// meter.mjs), the table price of each host call, 15 700 for the launch. Registrations at each size are real ones.
import { readFileSync, writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';
import * as s from '../tests/segment.mjs';
import { ADMIN, MAS, World, WASM } from '../tests/world.mjs';
import { meter } from './meter.mjs';

const SIZES = process.env.SIZES ? process.env.SIZES.split(',').map(Number) : [10, 1_000, 10_000];
const wasm = meter(WASM);
/** A segment of 100 periods with 256 chunks of 1 MiB: the draws are of these. */
const SEGMENT = s.madeSegment({ segment: 0, periods: 100, chunkLengths: Array.from({ length: 256 }, () => 1 << 20) });
const HOLDING = new s.Holding([SEGMENT]);

/** A registry with `size` nodes. Ten of them take part. */
function measure(size) {
  const gas = {};
  const names = Array.from({ length: 10 }, (_, i) => 'n' + i);
  const world = new World({ wasm, config: { stakePerGb: 1n } });
  const ok = world.ok.bind(world);
  world.ok = (fn, args, options) => {
    const done = ok(fn, args, options);
    gas[fn] = Math.max(gas[fn] ?? 0, done.gas);
    return done;
  };
  for (const name of names) world.register(name, 10, { identity: true });
  world.holding = HOLDING;
  world.anchor(SEGMENT);
  world.at(1, 60);
  for (const name of names) world.submit(name, { claim: world.holding.claim });
  const admin = { from: ADMIN.address, coins: 10n * MAS };
  for (let round = 2; round < 9; round++) {
    world.at(round, 3);
    if (round === 8) world.ok('setPlacementKey', m.cat(m.sized(world.nodes.get('late').address), m.u64(7)), { from: ADMIN.address, coins: MAS });
    if (round === 6) world.register('late');
    // Once somebody is proven, so that the ten decide.
    for (let i = names.length; round === 4 && i < size; i++) world.register('m' + i, 10);
    gas['submitProof, 4 draws, 8 root votes, claim'] = Math.max(...names.map((name) => honest(world, name).gas));
  }
  const address = (name) => world.nodes.get(name).address;
  const position = SEGMENT.position(0);
  const [{ id }] = SEGMENT.chunks;
  const ranked = [...names].sort((a, b) => (m.score(id, world.key(a), 10n) < m.score(id, world.key(b), 10n) ? -1 : 1));
  world.ok('refuteClaim', world.refutation(ranked[9], 8, ranked.slice(0, 3), position), admin);
  world.at(8, 51).ok('resolveExpiredChallenges', m.texts(names.map(address)), admin);
  gas['resolveExpiredChallenges, 10 nodes'] = gas.resolveExpiredChallenges;
  world.ok('fund', undefined, admin);
  const later = world.segment(1000, [1000], SEGMENT.root);
  world.chain.data.set('segment_1000', m.cat(later.root, m.u64(8)));
  world.ok('anchorEarlier', world.anchorArgs(1000), admin);
  const who = { from: address(ranked[0]), coins: MAS };
  world.at(10, 3).ok('claimRewards', undefined, who);
  world.ok('updateStorageAllocation', m.u64(11), who);
  world.ok('addChallenger', m.sized(ADMIN.address), admin);
  world.ok('issueChallenge', m.cat(m.sized(id.toString('hex')), m.sized(who.from), m.sized(id.toString('hex')), m.u64(0)), admin);
  world.ok('removeChallenger', m.sized(ADMIN.address), admin);
  world.ok('updateConfig', m.encodeConfig({ ...world.config, minStake: 50n * MAS, slashPercentage: 20n, replicationFactor: 4n }), admin);
  views(world, who.from, id);
  world.ok('unregisterStorageNode', undefined, who);
  world.at(20, 0).ok('unregisterStorageNode', undefined, who);
  world.ok('setPaused', m.u8(1), admin);
  for (const fn of ['submitProof', 'resolveExpiredChallenges']) delete gas[fn];
  return gas;
}

function honest(world, name) {
  const beacon = world.beacon(world.round);
  const first = Number(world.state().nextSegment);
  const roots = [];
  const over = (segment) => (segment + 1) * world.segmentPeriods <= world.chain.period;
  for (let segment = first; segment < first + 8 && over(segment); segment++) roots.push([segment, m.hash(Buffer.from('segment ' + segment + name.slice(0, 1)))]);
  return world.submit(name, { beacon, answers: world.answersFor(name, world.holding, world.round, beacon), roots, claim: world.holding.claim });
}

function views(world, address, id) {
  world.view('getNodeInfo', m.sized(address));
  world.view('getChallenge', m.sized(id.toString('hex')));
  world.view('getPeriodStats', m.u64(800));
  for (const fn of ['getConfig', 'getNextConfig', 'getTotalNodes', 'getState']) world.view(fn);
  world.view('getNodes', m.cat(m.u64(0), m.u64(100)));
  world.view('calculatePendingRewards', m.sized(address));
  world.view('getRoundResult', m.cat(m.sized(address), m.u64(8)));
  world.view('getDraws', m.cat(m.sized(address), m.u64(8), world.beacon(8)));
  world.view('getSegmentRoot', m.u64(0));
  world.view('checkBlock', m.cat(m.u64(3), m.u8(1), m.sized(''), m.sized(SEGMENT.blockProof(3, 1))));
}

/** `distributeRewards` is measured on a fresh round: settling a node closes it, too. */
function distribute(size) {
  const world = World.running(['a', 'b', 'c'], { wasm });
  for (let i = 3; i < size; i++) world.register('m' + i);
  world.at(2, 3);
  for (const name of ['a', 'b', 'c']) world.honest(name);
  return world.at(2, 51).ok('distributeRewards', m.u64(200), { from: ADMIN.address, coins: MAS }).gas;
}

/** What a call costs more that settles two open claims: one with all draws missed, one not answered, in rounds that are not closed. */
function settling(size) {
  const costs = [true, false].map((before) => {
    const world = World.running(['a', 'b', 'c', 'd'], { wasm });
    for (let i = 4; i < size; i++) world.register('m' + i);
    world.at(2, 3);
    for (const name of ['a', 'b', 'c']) world.honest(name);
    world.submit('d', { beacon: world.beacon(2), answers: [], claim: world.holding.claim });
    world.at(5, 0);
    const { address } = world.nodes.get('d');
    if (before) world.ok('resolveExpiredChallenges', m.texts([address]), { from: ADMIN.address, coins: 10n * MAS });
    return world.ok('unregisterStorageNode', undefined, { from: address, coins: MAS }).gas;
  });
  return costs[1] - costs[0];
}

const columns = SIZES.map((size) => ({
  ...measure(size),
  distributeRewards: distribute(size),
  'settling two open claims, more': settling(size),
}));
const rows = Object.keys(columns[0]).sort().map((name) => `| ${name} | ${columns.map((c) => (c[name] / 1e6).toFixed(2)).join(' | ')} |`);
const table = [`| gas, in millions, at | ${SIZES.map((s) => s.toLocaleString('en').replace(',', ' ') + ' nodes').join(' | ')} |`, '|---|' + '---:|'.repeat(SIZES.length), ...rows].join('\n');
const readme = new URL('../README.md', import.meta.url);
const text = readFileSync(readme, 'utf8');
const marked = /(<!-- gas: begin -->\n)[^]*(\n<!-- gas: end -->)/;
if (!marked.test(text)) throw new Error('README.md has no markers for the gas table');
writeFileSync(readme, text.replace(marked, (_, begin, end) => begin + table + end));
console.log(table);

// Writes ../tests/data/contract-state-vectors.json: calls that the compiled contract took, the rows that it wrote, and what its
// views say of them. The Rust side must write the same calls, and read rows and views alike.
import { writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';
import { ADMIN, MAS, World } from '../tests/world.mjs';

const hexOf = (b) => Buffer.from(b).toString('hex');
const world = World.running(['ann', 'bob', 'cat', 'eve', 'fox']);
const { chain } = world;
const calls = [];
const address = (name) => world.nodes.get(name).address;
const take = (label, fn, args, options) => {
  world.ok(fn, args, { coins: 300n * MAS, ...options });
  calls.push({ label, function: fn, parameter: hexOf(args) });
};

/** All rows, and what the views say. */
function moment(label, views) {
  const nodes = [...world.nodes.keys()];
  const rows = [...chain.data].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    label,
    period: String(chain.period),
    rows: rows.map(([key, value]) => ({ key: hexOf(Buffer.from(key, 'latin1')), value: hexOf(value) })),
    nodes: nodes.map((name) => {
      const { key, ...info } = world.info(name);
      const texts = Object.entries(info).map(([field, value]) => [field, typeof value === 'bigint' ? String(value) : value]);
      return { ...Object.fromEntries(texts), key: hexOf(key) };
    }),
    views: views.map(([fn, args]) => ({ function: fn, parameter: hexOf(args ?? ''), result: hexOf(world.view(fn, args)) })),
  };
}
const viewsOf = (round, beacon) => [
  ...[...world.nodes.keys()].flatMap((name) => [
    ['getNodeInfo', m.sized(address(name))],
    ['getRoundResult', m.cat(m.sized(address(name)), m.u64(round))],
    ['getDraws', m.cat(m.sized(address(name)), m.u64(round), beacon)],
    ['calculatePendingRewards', m.sized(address(name))],
  ]),
  ['getNodeInfo', m.sized('nobody')], ['getConfig'], ['getNextConfig'], ['getTotalNodes'], ['getState'],
  ['getNodes', m.cat(m.u64(0), m.u64(100))], ['getPeriodStats', m.u64(round * world.P + 7)], ['getSegmentRoot', m.u64(0)],
  ['getSegmentRoot', m.u64(9)], ['getChallenge', m.sized('ab'.repeat(32))],
  ['checkBlock', m.cat(m.u64(3), m.u8(0), m.sized(''), m.sized(world.segments[0].blockProof(3, 0)))],
];

// Round 2 proves all. Round 3: ann answers all and claims, bob misses one draw, cat is silent, eve and fox make the majority. Dora
// joins, with an identity.
world.at(2, 3);
for (const name of world.nodes.keys()) world.honest(name);
world.at(3, 10);
const beacon = world.beacon(3);
const second = world.segment(1);
const answers = world.answersFor('ann', world.holding, 3, beacon);
const claim = world.holding.claim;
const submitted = world.submitArgs('ann', { beacon, answers, roots: [[1, second.root]], claim });
take('ann submits', 'submitProof', submitted.args, { from: address('ann') });
world.submit('bob', { beacon, answers: world.answersFor('bob', world.holding, 3, beacon).slice(1) });
for (const name of ['eve', 'fox']) world.honest(name);
world.register('dora', 7, { identity: true, stake: 200n * MAS, retention: 400 });
const dora = world.nodes.get('dora');
const identity = [dora.nodeId, '1.2.3.4:31244', dora.sign(m.nodeIdMessage(chain.chainId, world.registry, dora.address))];
const registration = m.cat(m.u64(7), m.u64(200n * MAS), m.u64(400), ...identity.map(m.sized));
calls.push({ label: 'dora registers', function: 'registerStorageNode', parameter: hexOf(registration) });
world.refuses('already registered', 'registerStorageNode', registration, { from: dora.address, coins: MAS });
take('ann updates', 'updateStorageAllocation', m.cat(m.u64(20), m.u64(5n * MAS)), { from: address('ann') });
take('bob leaves', 'unregisterStorageNode', Buffer.alloc(0), { from: address('bob') });
take('config', 'updateConfig', m.encodeConfig({ ...world.config, replicationFactor: 4n }), { from: ADMIN.address });
take('challenger', 'addChallenger', m.sized(ADMIN.address), { from: ADMIN.address });
const chunkId = hexOf(world.holding.chunks.values().next().value.id);
const challenge = m.cat(m.sized('ab'.repeat(32)), m.sized(address('ann')), m.sized(chunkId), m.u64(3));
take('challenge', 'issueChallenge', challenge, { from: ADMIN.address });
const open = moment('round 3 is open', viewsOf(3, beacon));

// Round 5: the results of round 3 are there, its credit has matured, dora has her key.
world.at(3, 60);
take('round 3 closes', 'distributeRewards', m.u64(3 * world.P), { from: ADMIN.address });
world.at(4, 10);
for (const name of ['ann', 'eve', 'fox']) world.honest(name);
world.at(5, 5);
take('dora gets her key', 'setPlacementKey', m.cat(m.sized(dora.address), m.u64(4)), { from: ADMIN.address });
take('settling', 'resolveExpiredChallenges', m.texts([address('bob'), address('cat')]), { from: ADMIN.address });
take('ann is paid', 'claimRewards', Buffer.alloc(0), { from: address('ann') });
const over = moment('round 5', viewsOf(3, beacon));

export const vectors = {
  about: 'Calls taken by, rows written by, and views of the compiled registry contract; made by '
    + 'massa-storage-sc/scripts/make-state-vectors.mjs. Numbers of 64 bits are decimal texts.',
  chain_id: String(chain.chainId), registry: world.registry, admin: ADMIN.address, segment_periods: String(world.segmentPeriods), round_segments: String(world.roundSegments),
  addresses: Object.fromEntries([...world.nodes.keys()].map((name) => [name, address(name)])),
  constructor_parameter: hexOf(m.cat(m.sized(ADMIN.address), m.encodeConfig(world.config))),
  identity: { node_id: identity[0], listeners: identity[1], signature: identity[2],
    message: m.nodeIdMessage(chain.chainId, world.registry, dora.address) },
  submission: { round: '3', beacon: hexOf(beacon), answers: answers.map(([d, a]) => ({ draw: d, answer: hexOf(a) })),
    roots: [{ segment: '1', root: hexOf(second.root) }], claim: { root: hexOf(claim.root), leaves: String(claim.sum) } },
  chunk_id: chunkId,
  block_proof: hexOf(world.segments[0].blockProof(3, 0)),
  calls,
  moments: [open, over],
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/contract-state-vectors.json', import.meta.url), text);
}

// Someone who writes to the plan's section 4.2 with massa-web3 succeeds: its fields, its ids, and errors that say what is missing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Args, ArrayTypes } from '@massalabs/massa-web3';
import { Chain, user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, WASM, World } from './world.mjs';

const bytes = (args) => Buffer.from(args.serialize());
const admin = { from: ADMIN.address, coins: MAS };
const PLAN = m.CONFIG_FIELDS.slice(0, 6);
/** The plan's StorageConfig, as a client has it. */
const planConfig = (change = {}) => ({ serialize: () => PLAN.reduce((args, field) => args.addU64({ ...m.DEFAULT_CONFIG, ...change }[field]), new Args()).serialize() });
const configOf = (call, fn = 'getConfig') => {
  const args = new Args(new Uint8Array(call(fn)));
  return Object.fromEntries(m.CONFIG_FIELDS.map((field) => [field, args.nextU64()]));
};

function deploy(args, { period = 5, coins = MAS } = {}) {
  const chain = new Chain(WASM);
  chain.period = period;
  chain.balances.set(ADMIN.address, 10n ** 15n);
  const done = chain.call('constructor', bytes(args), { from: ADMIN.address, coins, deploying: true });
  return { chain, done, config: () => configOf((fn) => chain.call(fn, Buffer.alloc(0), { readOnly: true }).result) };
}

test('the constructor takes the plan\'s six fields; the others get their defaults, and the open round is the first', () => {
  const six = deploy(new Args().addString(ADMIN.address).addSerializable(planConfig()), { period: 1234 });
  assert.equal(six.done.error, undefined);
  assert.deepEqual(six.done.events, [`STORAGE_REGISTRY_CREATED:${ADMIN.address}`]);
  assert.deepEqual(six.config(), { ...m.DEFAULT_CONFIG, challengeFrequencyPeriods: 100n, firstSegment: 12n });
  const all = m.CONFIG_FIELDS.reduce((args, field) => args.addU64(m.DEFAULT_CONFIG[field]), new Args().addString(ADMIN.address));
  assert.deepEqual(deploy(all, { period: 1234 }).config(), m.DEFAULT_CONFIG);
});

test('what is between six fields and twelve is refused with the name of the first that is missing', () => {
  for (const count of [0, 1, 5, 7, 11]) {
    const args = m.CONFIG_FIELDS.slice(0, count).reduce((a, field) => a.addU64(m.DEFAULT_CONFIG[field]), new Args().addString(ADMIN.address));
    assert.equal(deploy(args).done.error, `argument ${m.CONFIG_FIELDS[count]}: input ends too early`);
  }
  const bad = deploy(new Args().addString(ADMIN.address).addSerializable(planConfig({ slashPercentage: 101n })));
  assert.equal(bad.done.error, 'slashPercentage: 1 to 100');
  const more = deploy(new Args().addString(ADMIN.address).addSerializable(planConfig()).addU8(1n));
  assert.equal(more.done.error, 'argument stakePerGb: input ends too early');
});

test('updateConfig takes the plan\'s six fields; the others stay, also those of a change that is pending', () => {
  const world = new World();
  const update = (args) => world.ok('updateConfig', args, admin).events;
  const change = (change) => bytes(new Args().addSerializable(planConfig(change)));
  assert.deepEqual(update(change({ slashPercentage: 20n })), ['CONFIG_UPDATED:slashPercentage,10,20']);
  const next = () => configOf((fn) => world.view(fn), 'getNextConfig');
  assert.deepEqual(next(), { ...world.config, slashPercentage: 20n });
  assert.deepEqual(update(m.encodeConfig({ ...world.config, replicationFactor: 5n })), ['CONFIG_UPDATED:slashPercentage,20,10', 'CONFIG_UPDATED:replicationFactor,3,5']);
  assert.deepEqual(update(change({ minAllocatedGb: 2n })), ['CONFIG_UPDATED:minAllocatedGb,1,2']);
  assert.deepEqual(next(), { ...world.config, replicationFactor: 5n, minAllocatedGb: 2n });
  world.refuses('minStake: 1 to 1000000000000000000', 'updateConfig', change({ minStake: 0n }), admin);
  world.refuses('argument minStake: input ends too early', 'updateConfig', change({}).subarray(0, 47), admin);
  world.refuses('nothing changes', 'updateConfig', change({ minAllocatedGb: 2n }), admin);
});

test('the full form of both means what it meant', () => {
  const world = new World();
  world.refuses('firstSegment: cannot change', 'updateConfig', m.encodeConfig({ ...world.config, firstSegment: 4n }), admin);
  world.refuses('updateConfig: 1 bytes too many', 'updateConfig', m.cat(m.encodeConfig(world.config), m.u8(0)), admin);
});

test('an error about coins says how many MAS more are needed, and for what', () => {
  const world = new World();
  const eve = user('eve');
  world.give(eve.address);
  const register = (coins) => world.call('registerStorageNode', bytes(new Args().addU64(10n)), { from: eve.address, coins });
  assert.equal(register(0n).error, 'coins: 100.073 MAS more are needed: 100 for stake and 0.073 for storage');
  assert.equal(register(100n * MAS).error, 'coins: 0.073 MAS more are needed: 100 for stake and 0.073 for storage');
  assert.equal(register(100n * MAS + 72_999_999n).error, 'coins: 0.000000001 MAS more are needed: 100 for stake and 0.073 for storage');
  assert.equal(register(100n * MAS + 73_000_000n).error, undefined);
  const update = (gb, coins) => world.call('updateStorageAllocation', bytes(new Args().addU64(gb)), { from: eve.address, coins });
  // Without the field that the plan does not have, the stake that the allocation lacks is taken from the coins.
  assert.equal(update(120n, MAS).error, 'coins: 19 MAS more are needed: 20 for stake and 0 for storage');
  assert.deepEqual(update(120n, 25n * MAS).transfers, [[eve.address, 5n * MAS]]);
  assert.equal(world.call('getNodeInfo', m.sized(eve.address)).result.length > 0, true);
  assert.deepEqual(update(110n, MAS).transfers, [[eve.address, MAS]]);
});

test('the same where the registry has nothing with which to pay for storage meanwhile', () => {
  const poor = (coins) => deploy(new Args().addString(ADMIN.address).addSerializable(planConfig()), { coins });
  const cost = 58_300_000n;
  for (const coins of [0n, cost - 1n]) {
    const missing = coins === 0n ? '0.0583' : '0.000000001';
    assert.equal(poor(coins).done.error, `coins: ${missing} MAS more are needed for storage: 0.0583`);
  }
  const { chain, done } = poor(cost);
  assert.equal(done.error, undefined);
  const eve = user('eve');
  chain.balances.set(eve.address, 1_000n * MAS);
  const register = (coins, args = new Args().addU64(10n)) => chain.call('registerStorageNode', bytes(args), { from: eve.address, coins });
  assert.equal(register(0n).error, 'coins: 100.073 MAS more are needed: 100 for stake and 0.073 for storage');
  const signature = eve.sign(m.nodeIdMessage(chain.chainId, chain.contract, eve.address));
  const named = new Args().addU64(10n).addU64(0n).addU64(0n).addString(eve.nodeId).addString('1.2.3.4:5').addString(signature);
  const { error } = register(0n, named);
  assert.equal(error, 'coins: 100.0902 MAS more are needed: 100 for stake and 0.0902 for storage');
  assert.equal(register(100_090_199_999n, named).error, 'coins: 0.000000001 MAS more are needed: 100 for stake and 0.0902 for storage');
  assert.equal(register(100_090_200_000n, named).error, undefined);
});

// Challenges.

/** A world with a challenger, and a client's calls. */
function challenging() {
  const world = World.running();
  world.ok('addChallenger', bytes(new Args().addString(ADMIN.address)), admin);
  const [segment] = world.segments;
  const ann = world.nodes.get('ann');
  const chunkId = segment.chunks[2].id.toString('hex');
  const issue = (id) => bytes(new Args().addString(id).addString(ann.address).addString(chunkId).addU64(7n));
  const submit = (id, proof, signature = []) => bytes(new Args().addString(id).addUint8Array(new Uint8Array(proof)).addUint8Array(new Uint8Array(signature)));
  return { world, ann, chunkId, issue, submit, proof: s.manualAnswer(segment, 2, 0) };
}
const IDS = ['c1', 'chunk 7 of Tuesday', '0x2A', '-1', '1.5', 'é✓\u{1f4be}', 'x'.repeat(128), '123456789012345678901', 'ab'.repeat(32)];

test('ids of challenges are free text: issued, answered, looked up, expired and forgotten by it', () => {
  for (const id of IDS) {
    const { world, ann, chunkId, issue, submit, proof } = challenging();
    assert.deepEqual(world.ok('issueChallenge', issue(id), admin).events, [`CHALLENGE_ISSUED:${id},${ann.address},${chunkId}`]);
    assert.deepEqual(world.ok('submitProof', submit(id, proof), { from: ann.address, coins: MAS }).events, [`CHALLENGE_PASSED:${id},${ann.address}`]);
    const told = new Args(new Uint8Array(world.view('getChallenge', bytes(new Args().addString(id)))));
    assert.deepEqual([told.nextString(), told.nextString(), told.nextString(), told.nextU64()], [id, ann.address, chunkId, 7n]);
    const later = id + '2';
    if (later.length > 128) continue;
    world.ok('issueChallenge', issue(later), admin);
    world.chain.period += 4;
    const resolve = () => world.ok('resolveExpiredChallenges', bytes(new Args().addArray([id, later, ann.address], ArrayTypes.STRING)), admin);
    const done = resolve();
    assert.deepEqual([...done.result], [0, 1, 3]);
    assert.deepEqual(done.events, [`CHALLENGE_EXPIRED:${later},${ann.address}`]);
    world.chain.period += 10 * world.P;
    assert.deepEqual([...resolve().result].slice(0, 2), [2, 2]);
    for (const used of [id, later]) world.refuses('a challenge had this id already', 'issueChallenge', issue(used), admin);
  }
});

test('an id cannot be issued twice: while it is open, after it was answered, and after it was forgotten', () => {
  const { world, ann, issue, submit, proof } = challenging();
  const refused = () => world.refuses('a challenge had this id already', 'issueChallenge', issue('c1'), admin);
  world.ok('issueChallenge', issue('c1'), admin);
  refused();
  world.ok('submitProof', submit('c1', proof), { from: ann.address, coins: MAS });
  refused();
  world.chain.period += 10 * world.P;
  assert.deepEqual([...world.ok('resolveExpiredChallenges', m.texts(['c1']), admin).result], [2]);
  refused();
  world.ok('issueChallenge', issue('c2'), admin);
});

test('what is no UTF-8 is refused', () => {
  const { world, ann, chunkId } = challenging();
  const issue = (id) => m.cat(m.sized(id), m.sized(ann.address), m.sized(chunkId), m.u64(7));
  // Cut short, a lone second byte, overlong, half of a surrogate pair, beyond Unicode.
  for (const hex of ['61c3', '80', 'c181', 'e0819f', 'eda080', 'edb080', 'f4908080', 'f8888080', 'ff']) {
    world.refuses('argument challengeId: not UTF-8', 'issueChallenge', issue(Buffer.from(hex, 'hex')), admin);
  }
  for (const hex of ['00', '0a', '7f', '612c62']) world.refuses('argument challengeId: no control characters and commas', 'issueChallenge', issue(Buffer.from(hex, 'hex')), admin);
  world.refuses('argument challengeId: empty', 'issueChallenge', issue(''), admin);
});

test('a relayer shows the node\'s signature over the id and the proof, which serves nothing else', () => {
  const { world, ann, issue, submit, proof } = challenging();
  const bob = { from: world.nodes.get('bob').address, coins: MAS };
  const signed = (message) => m.cat(m.sized(ann.publicKey), m.sized(ann.sign(message)));
  const over = (id, content) => signed(m.manualMessage(77n, world.registry, id, content));
  for (const id of ['c', 'c1']) world.ok('issueChallenge', issue(id), admin);
  const invalid = (id, content, signature) => world.refuses('signature of the node is not valid', 'submitProof', submit(id, content, signature), bob);
  invalid('c1', proof, over('c', proof));
  // The end of an id is not the beginning of a proof.
  invalid('c', m.cat(Buffer.from('1'), proof), over('c1', proof));
  invalid('c1', proof, signed(m.submissionMessage(77n, world.registry, m.cat(m.sized('c1'), proof))));
  assert.deepEqual(world.ok('submitProof', submit('c1', proof, over('c1', proof)), bob).events, [`CHALLENGE_PASSED:c1,${ann.address}`]);
});

test('a challenge stands in the way of no round', () => {
  const { world, issue } = challenging();
  for (const id of ['0', '2', '007', '18446744073709551615']) world.refuses('argument challengeId: a number names a round', 'issueChallenge', issue(id), admin);
});

// Views.

test('getNodeInfo tells the allocation that was declared, the one that counts until then, and from when', () => {
  const world = new World();
  world.register('ann', 10);
  const told = () => { const { allocatedGb, allocatedGbNow, allocatedGbFrom } = world.info('ann'); return [allocatedGb, allocatedGbNow, allocatedGbFrom]; };
  assert.deepEqual(told(), [10n, 0n, 2n]);
  world.at(5, 0);
  assert.deepEqual(told(), [10n, 10n, 2n]);
  world.ok('updateStorageAllocation', bytes(new Args().addU64(20n)), { from: user('ann').address, coins: MAS });
  assert.deepEqual(told(), [20n, 10n, 7n]);
  world.at(6, 99);
  assert.deepEqual(told(), [20n, 10n, 7n]);
  world.at(7, 0);
  assert.deepEqual(told(), [20n, 20n, 7n]);
});

test('what is earned and what can be claimed now are told apart, and the second is what is paid', () => {
  const world = World.running();
  const { address } = world.nodes.get('ann');
  const told = () => { const { pendingRewards, claimable } = world.info('ann'); return [pendingRewards, claimable]; };
  const read = () => new Args(new Uint8Array(world.view('calculatePendingRewards', bytes(new Args().addString(address))))).nextU64();
  world.at(2, 3);
  for (const name of ['ann', 'bob', 'cat']) world.honest(name);
  assert.deepEqual(told(), [0n, 0n]);
  world.at(2, 51);
  const earned = world.info('ann').pendingRewards;
  assert.ok(earned > 0n);
  assert.deepEqual([told(), read()], [[earned, 0n], earned]);
  world.at(3, 3).honest('ann');
  world.at(3, 99);
  assert.deepEqual([told()[1], world.call('claimRewards', undefined, { from: address }).error], [0n, 'no matured rewards']);
  // Nobody has touched the node since: what matured counts all the same.
  world.at(4, 0);
  assert.deepEqual(told(), [earned, earned]);
  assert.deepEqual(world.ok('claimRewards', undefined, { from: address, coins: MAS }).events.at(-1), `REWARDS_CLAIMED:${address},${earned}`);
  assert.deepEqual(told(), [0n, 0n]);
});

test('a client of the plan reads its views', () => {
  const world = World.running();
  const fields = (fn, input, kinds) => {
    const args = new Args(new Uint8Array(world.view(fn, input && bytes(input))));
    return [...kinds].map((kind) => (kind === 's' ? args.nextString() : kind === 'u' ? args.nextU64() : args.nextBool()));
  };
  const { address } = world.nodes.get('ann');
  assert.deepEqual(fields('getNodeInfo', new Args().addString(address), 'suuuuuub'), [address, 10n, 5n, 0n, 0n, 0n, 0n, true]);
  assert.deepEqual(fields('getConfig', undefined, 'uuuuuu'), PLAN.map((field) => world.config[field]));
  assert.deepEqual(fields('getPeriodStats', new Args().addU64(250n), 'uu')[0], 200n);
  assert.deepEqual(fields('getTotalNodes', undefined, 'u'), [3n]);
});

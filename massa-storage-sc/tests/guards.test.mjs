// One test for each guard: the message, and that nothing changed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const from = (world, name) => ({ from: world.nodes.get(name).address, coins: 10n * MAS });
const admin = { from: ADMIN.address, coins: MAS };
const stranger = (world) => {
  const who = user('stranger');
  world.give(who.address);
  return { from: who.address, coins: 300n * MAS };
};
const id = (n) => m.hash(m.u8(n)).toString('hex');

/** name → [message, function, arguments, options], each from a fresh world with node ann. */
function guards(name, cases) {
  for (const [what, make] of Object.entries(cases)) {
    test(`${name}: ${what}`, () => {
      const world = new World();
      world.register('ann');
      const [message, fn, args, options] = make(world);
      world.refuses(message, fn, args, options);
    });
  }
}

const constructArgs = (config) => m.cat(m.sized(ADMIN.address), m.encodeConfig({ ...m.DEFAULT_CONFIG, ...config }));
guards('constructor', {
  'is not called twice': () => ['the constructor runs at deployment only', 'constructor', constructArgs({}), admin],
  'wants all its input': () => ['argument roundSegments: input ends too early', 'constructor', constructArgs({}).subarray(0, -1), { ...admin, deploying: true }],
  'wants no more input': () => ['constructor: 1 bytes too many', 'constructor', m.cat(constructArgs({}), m.u8(0)), { ...admin, deploying: true }],
  'wants ASCII': () => ['argument admin: only printable ASCII without commas', 'constructor', m.cat(m.sized('a,b'), m.encodeConfig(m.DEFAULT_CONFIG)), { ...admin, deploying: true }],
  'wants a short admin': () => ['argument admin: longer than 64 bytes', 'constructor', m.cat(m.sized('a'.repeat(65)), m.encodeConfig(m.DEFAULT_CONFIG)), { ...admin, deploying: true }],
});

const bounds = [
  ['rewardPerGbPerPeriod', 1_000_000_000_001n, 'rewardPerGbPerPeriod: at most 1000000000000'],
  ['minAllocatedGb', 0n, 'minAllocatedGb: at least 1'],
  ['maxAllocatedGb', 0n, 'maxAllocatedGb: below minAllocatedGb'],
  ['maxAllocatedGb', (1n << 24n) + 1n, 'maxAllocatedGb: at most 16777216'],
  ['challengeResponseTimeout', 0n, 'challengeResponseTimeout: 1 to 2592000000'],
  ['challengeResponseTimeout', 2_592_000_001n, 'challengeResponseTimeout: 1 to 2592000000'],
  ['slashPercentage', 0n, 'slashPercentage: 1 to 100'],
  ['slashPercentage', 101n, 'slashPercentage: 1 to 100'],
  ['minStake', 0n, 'minStake: 1 to 1000000000000000000'],
  ['minStake', 10n ** 18n + 1n, 'minStake: 1 to 1000000000000000000'],
  ['stakePerGb', 10n ** 15n, 'stakePerGb: too large for maxAllocatedGb'],
  ['stakePerGb', 1n << 60n, 'multiplication overflows'],
  ['replicationFactor', 0n, 'replicationFactor: 1 to 32'],
  ['replicationFactor', 33n, 'replicationFactor: 1 to 32'],
  ['chunkSizeBytes', 32_768n, 'chunkSizeBytes: a power of two, 65536 to 67108864'],
  ['chunkSizeBytes', 65_537n, 'chunkSizeBytes: a power of two, 65536 to 67108864'],
  ['chunkSizeBytes', 1n << 27n, 'chunkSizeBytes: a power of two, 65536 to 67108864'],
  ['challengeFrequencyPeriods', 0n, 'challengeFrequencyPeriods: 1 to 256'],
  ['challengeFrequencyPeriods', 257n, 'challengeFrequencyPeriods: 1 to 256'],
  ['challengeFrequencyPeriods', 1n, 'roundSegments: a round has at least 8 periods'],
  ['challengeFrequencyPeriods', 50n, 'challengeFrequencyPeriods: cannot change'],
  ['firstSegment', 1n << 24n, 'firstSegment: below 16777216'],
  ['firstSegment', 4n, 'firstSegment: cannot change'],
  ['firstSegment', 6n, 'firstSegment: a multiple of roundSegments'],
  ['roundSegments', 0n, 'roundSegments: 1 to 64'],
  ['roundSegments', 65n, 'roundSegments: 1 to 64'],
  ['roundSegments', 5n, 'roundSegments: cannot change'],
];
for (const [field, value, message] of bounds) {
  guards(`updateConfig, ${field} = ${value}`, {
    'is refused': () => [message, 'updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, [field]: value }), admin],
  });
}

const adminOnly = { updateConfig: m.encodeConfig(m.DEFAULT_CONFIG), addChallenger: m.sized('AUx'), removeChallenger: m.sized('AUx'), setPaused: m.u8(1) };
for (const [fn, args] of Object.entries(adminOnly)) {
  guards(fn, { 'is for the admin': (w) => ['only the admin may do this', fn, args, from(w, 'ann')] });
}
guards('admin', {
  'updateConfig changes something': () => ['nothing changes', 'updateConfig', m.encodeConfig(m.DEFAULT_CONFIG), admin],
  'one change at a time': (w) => {
    w.ok('updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, slashPercentage: 11n }), admin);
    w.at(1, 0);
    return ['a change of configuration is pending', 'updateConfig', m.encodeConfig({ ...m.DEFAULT_CONFIG, slashPercentage: 12n }), admin];
  },
  'a challenger is added once': (w) => {
    w.ok('addChallenger', m.sized('AUx'), admin);
    return ['is a challenger already', 'addChallenger', m.sized('AUx'), admin];
  },
  'a challenger has an address': () => ['argument address: empty', 'addChallenger', m.sized(''), admin],
  'only a challenger is removed': () => ['is not a challenger', 'removeChallenger', m.sized('AUx'), admin],
  'paused once': (w) => {
    w.ok('setPaused', m.u8(1), admin);
    return ['is paused already', 'setPaused', m.u8(1), admin];
  },
  'not paused': () => ['is not paused', 'setPaused', m.u8(0), admin],
  'paused is a boolean': () => ['argument paused: not a boolean', 'setPaused', m.u8(2), admin],
  'fund needs coins': () => ['no coins sent', 'fund', undefined, { from: ADMIN.address }],
  'coins pay for storage': () => ['coins: 0.008 MAS more are needed: 0 for stake and 0.008 for storage', 'addChallenger', m.sized('A'.repeat(70 - 3).slice(0, 64)), { from: ADMIN.address, coins: 0n }],
});

guards('registerStorageNode', {
  'once': (w) => ['already registered', 'registerStorageNode', m.u64(10), from(w, 'ann')],
  'at least the least': (w) => ['allocatedGb: at least 1', 'registerStorageNode', m.u64(0), stranger(w)],
  'at most the most': (w) => ['allocatedGb: at most 16384', 'registerStorageNode', m.u64(16_385), stranger(w)],
  'the stake': (w) => ['stake: 99.999999999 MAS more are needed for 10 GB', 'registerStorageNode', m.cat(m.u64(10), m.u64(1), m.u64(0), m.texts([]), m.texts([]), m.texts([])), stranger(w)],
  'coins for the stake': (w) => ['coins: 0.0728 MAS more are needed: 100 for stake and 0.0728 for storage', 'registerStorageNode', m.u64(10), { ...stranger(w), coins: 100n * MAS }],
  'retention of four segments': (w) => ['retentionPeriods: 0 for all, or at least 4 segments', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(99), m.texts([]), m.texts([]), m.texts([])), stranger(w)],
  'long addresses': (w) => ['argument addresses: longer than 256 bytes', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(''), m.sized('a'.repeat(257)), m.sized('')), stranger(w)],
  'a length near 2^32': (w) => ['argument nodeId: longer than 64 bytes', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(0), m.u32(0xffffffff)), stranger(w)],
  'a node id begins with N': (w) => ['argument nodeId: a node id begins with N', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized('X1'), m.sized(''), m.sized('s')), stranger(w)],
  'the node id of another key': (w) => ['signature of the node id is not valid', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(user('victim').nodeId), m.sized(''), m.sized(user('stranger').sign('x'))), stranger(w)],
  'a node id once': (w) => {
    w.register('bob', 10, { identity: true });
    return ['node id is registered already', 'registerStorageNode', m.cat(m.u64(10), m.u64(0), m.u64(0), m.sized(user('bob').nodeId), m.sized(''), m.sized('s')), stranger(w)];
  },
});

guards('updateStorageAllocation', {
  'is for nodes': (w) => [`not a storage node: ${user('stranger').address}`, 'updateStorageAllocation', m.u64(9), stranger(w)],
  'wants the stake': (w) => ['stake: 100 MAS more are needed for 200 GB', 'updateStorageAllocation', m.cat(m.u64(200), m.u64(0)), from(w, 'ann')],
  'one change at a time': (w) => {
    w.at(2, 0).ok('updateStorageAllocation', m.u64(11), from(w, 'ann'));
    w.at(3, 0);
    return ['a change of allocation is pending', 'updateStorageAllocation', m.u64(12), from(w, 'ann')];
  },
  'not while leaving': (w) => {
    w.ok('unregisterStorageNode', undefined, from(w, 'ann'));
    return ['node is leaving', 'updateStorageAllocation', m.u64(11), from(w, 'ann')];
  },
});
guards('unregisterStorageNode', {
  'is for nodes': (w) => [`not a storage node: ${user('stranger').address}`, 'unregisterStorageNode', undefined, stranger(w)],
  'pays after ten rounds': (w) => {
    w.ok('unregisterStorageNode', undefined, from(w, 'ann'));
    w.at(9, 99);
    return ['stake is locked until round 10', 'unregisterStorageNode', undefined, from(w, 'ann')];
  },
});
guards('setPlacementKey', {
  'is set once': (w) => ['placement key is set already', 'setPlacementKey', m.cat(m.sized(w.nodes.get('ann').address), m.u64(0)), from(w, 'ann')],
});

const challenge = (n, node, chunk = id(9)) => m.cat(m.sized(n), m.sized(node), m.sized(chunk), m.u64(3));
const asChallenger = (w) => { w.ok('addChallenger', m.sized(w.nodes.get('ann').address), admin); return from(w, 'ann'); };
const ann = (w) => w.nodes.get('ann').address;
guards('issueChallenge', {
  'is for challengers': (w) => ['only challengers issue challenges', 'issueChallenge', challenge(id(1), ann(w)), from(w, 'ann')],
  'wants an id': (w) => ['argument challengeId: empty', 'issueChallenge', challenge('', ann(w)), asChallenger(w)],
  'wants a short id': (w) => ['argument challengeId: longer than 128 bytes', 'issueChallenge', challenge('é'.repeat(64) + 'x', ann(w)), asChallenger(w)],
  'wants an id of one line': (w) => ['argument challengeId: no control characters and commas', 'issueChallenge', challenge('a\nb', ann(w)), asChallenger(w)],
  'wants an id of one field': (w) => ['argument challengeId: no control characters and commas', 'issueChallenge', challenge('a,b', ann(w)), asChallenger(w)],
  'wants no round as an id': (w) => ['argument challengeId: a number names a round', 'issueChallenge', challenge('7', ann(w)), asChallenger(w)],
  'wants no node as an id': (w) => ['argument challengeId: the address of a node names the node', 'issueChallenge', challenge(ann(w), ann(w)), asChallenger(w)],
  'wants a chunk id of hex digits': (w) => ['argument chunkId: 64 hex digits', 'issueChallenge', challenge(id(1), ann(w), 'G'.repeat(64)), asChallenger(w)],
  'wants a chunk id': (w) => ['argument chunkId: 64 hex digits', 'issueChallenge', challenge(id(1), ann(w), 'ab'), asChallenger(w)],
  'wants a node': (w) => ['not a storage node: AUx', 'issueChallenge', challenge(id(1), 'AUx'), asChallenger(w)],
  'once': (w) => {
    const options = asChallenger(w);
    w.ok('issueChallenge', challenge(id(1), ann(w)), options);
    return ['a challenge had this id already', 'issueChallenge', challenge(id(1), ann(w)), options];
  },
  'not to who leaves': (w) => {
    const options = asChallenger(w);
    w.ok('unregisterStorageNode', undefined, options);
    return ['node is leaving', 'issueChallenge', challenge(id(1), ann(w)), options];
  },
});
const issued = (w) => { const options = asChallenger(w); w.ok('issueChallenge', challenge(id(1), ann(w)), options); return options; };
guards('submitProof, manual', {
  'wants a challenge': (w) => ['no such challenge', 'submitProof', m.submitArgs(id(5), Buffer.alloc(1)), from(w, 'ann')],
  'before the deadline': (w) => { const o = issued(w); w.chain.period += 4; return ['challenge has expired', 'submitProof', m.submitArgs(id(1), Buffer.alloc(1)), o]; },
  'once': (w) => { const o = issued(w); w.ok('submitProof', m.submitArgs(id(1), Buffer.alloc(1)), o); return ['challenge is resolved already', 'submitProof', m.submitArgs(id(1), Buffer.alloc(1)), o]; },
  'by the node': (w) => { issued(w); return ['argument public key: input ends too early', 'submitProof', m.submitArgs(id(1), Buffer.alloc(1)), stranger(w)]; },
});
guards('resolveExpiredChallenges', {
  'not nothing': (w) => ['argument challengeIds: empty', 'resolveExpiredChallenges', m.texts([]), from(w, 'ann')],
  'at most twenty': (w) => ['argument challengeIds: at most 20', 'resolveExpiredChallenges', m.texts(Array(21).fill('AUx')), from(w, 'ann')],
});
guards('claimRewards', {
  'is for nodes': (w) => [`not a storage node: ${user('stranger').address}`, 'claimRewards', undefined, stranger(w)],
  'wants something to pay': (w) => ['no matured rewards', 'claimRewards', undefined, from(w, 'ann')],
});
guards('distributeRewards', {
  'after the window': (w) => ['answers to this round are still taken', 'distributeRewards', m.u64(0), from(w, 'ann')],
  'of a claimed round': (w) => { w.at(0, 60); return ['nothing was claimed for this round', 'distributeRewards', m.u64(0), from(w, 'ann')]; },
});
guards('getNodes', { 'is paged': () => ['argument count: at most 100', 'getNodes', m.cat(m.u64(0), m.u64(101)), admin] });

const stateChanging = { registerStorageNode: m.u64(10), updateStorageAllocation: m.u64(9), unregisterStorageNode: undefined, setPlacementKey: m.sized('x'), issueChallenge: undefined,
  submitProof: undefined, resolveExpiredChallenges: m.texts(['AUx']), refuteClaim: undefined, distributeRewards: m.u64(0), claimRewards: undefined };
for (const [fn, args] of Object.entries(stateChanging)) {
  guards('paused', { [fn + ' waits']: (w) => { w.ok('setPaused', m.u8(1), admin); return ['the registry is paused', fn, args, from(w, 'ann')]; } });
}

// Submissions.
const root = m.hash(m.u8(1));
const running = () => World.running().at(2, 3);
const submissions = {
  'names its own round': (w) => ['challengeId: names another round than the submission', 'ann', { round: 2 }, undefined, 3],
  'is for this round': (w) => ['round is not open: now is 2', 'ann', { round: 3 }],
  'has a boolean': (w) => ['argument hasClaim: not a boolean', 'ann', {}, (c) => m.cat(c.subarray(0, -1), m.u8(2))],
  'ends': () => ['submission: 1 bytes too many', 'ann', {}, (c) => m.cat(c, m.u8(0))],
  'no more answers than draws': () => ['more answers than draws', 'ann', { beacon: root, answers: Array.from({ length: 17 }, (_, d) => [d, m.u8(0)]) }],
  'draws ascend': () => ['draws must be ascending and below 4', 'ann', { beacon: root, answers: [[1, m.u8(0)], [1, m.u8(0)]] }],
  'draws below K': () => ['draws must be ascending and below 4', 'ann', { beacon: root, answers: [[4, m.u8(0)]] }],
  'answers are bounded': () => ['argument answer: longer than 3708 bytes', 'ann', { beacon: root, answers: [[0, Buffer.alloc(3709)]] }],
  'eight roots': (w) => { w.at(20, 10); return ['at most 8 segment roots', 'ann', { roots: [1, 2, 3, 4, 5, 6, 7, 8, 9].map((s) => [s, root]) }]; },
};
for (const [what, make] of Object.entries(submissions)) {
  test(`submission: ${what}`, () => {
    const world = running();
    const [message, name, parts, tamper, roundText] = make(world);
    const content = m.submission({ node: world.nodes.get(name).address, round: world.round, ...parts });
    const args = m.submitArgs(roundText ?? parts.round ?? world.round, tamper ? tamper(content) : content);
    world.refuses(message, 'submitProof', args, from(world, name));
  });
}

/** Parts that cannot count are skipped: the reason, the node, the part. */
const claimOf = (sum) => ({ claim: { root, sum } });
const skipped = {
  'answers to a claim': (w) => { w.register('dan'); return ['nothing was claimed for this round', 'dan', { beacon: root }]; },
  'answers once': (w) => { w.honest('ann'); return ['this round is answered or over', 'ann', { beacon: root, answers: [[9, m.u8(0)]] }]; },
  'answers after period 2': (w) => { w.at(2, 2); return ['answers are taken in periods 3 to half of the round', 'ann', { beacon: root }]; },
  'answers not after the window': (w) => { w.at(2, 51); return ['this round is answered or over', 'ann', { beacon: root }]; },
  'roots of finished segments': () => ['segment is not over', 'ann', { roots: [[8, root]] }],
  'roots of no segment': () => ['segment is not over', 'ann', { roots: [[(1n << 64n) - 1n, root]] }],
  'roots in order': () => ['segment is voted for already or not in order', 'ann', { roots: [[2, root], [1, root]] }],
  'one vote for a segment': (w) => { w.submit('ann', { roots: [[1, root]] }); return ['segment is voted for already or not in order', 'ann', { roots: [[1, root]] }]; },
  'roots by seasoned stake': (w) => { w.register('dan'); return ['only seasoned stake votes for segment roots', 'dan', { roots: [[1, root]] }]; },
  'roots not too far ahead': (w) => { w.at(8, 0); return ['segment is too far ahead', 'ann', { roots: [[9, root]] }]; },
  'a claim after the answer': (w) => ['this round must be answered before the next is claimed', 'ann', { claim: w.holding.claim }],
  'one claim': (w) => { w.honest('ann'); return ['the next round is claimed already', 'ann', { claim: w.holding.claim }]; },
  'a claim of something': (w) => { w.at(20, 10); return ['claim has no leaves', 'ann', claimOf(0n)]; },
  'a claim within the allocation': (w) => { w.at(20, 10); return ['claim is more than was allocated', 'ann', claimOf((10n << 20n) + 1n)]; },
  'a claim while leaving': (w) => { w.at(20, 0).ok('unregisterStorageNode', undefined, from(w, 'ann')); return ['node is leaving', 'ann', { claim: w.holding.claim }]; },
};
for (const [what, make] of Object.entries(skipped)) {
  test(`submission: skipped, ${what}`, () => {
    const world = running();
    const [reason, name, parts] = make(world);
    world.skips(reason, name, parts);
  });
}

test('submission: a part that is skipped takes nothing with it, and changes nothing', () => {
  const world = running();
  const beacon = world.beacon(2);
  const answers = world.answersFor('ann', world.holding, 2, beacon);
  const parts = { beacon, answers, roots: [[1, root], [0, root]], claim: { root, sum: 11n << 20n } };
  const first = world.told(world.submit('ann', parts));
  assert.deepEqual(first, { node: world.nodes.get('ann').address, round: '2', answers: 'answered', roots: '1', claim: 'claim is more than was allocated', draws: ['0', '0', '0', '0'] });
  const [row, round] = [world.chain.data.get('node_' + first.node), world.chain.data.get('period_200')].map((b) => Buffer.from(b));
  const again = world.told(world.submit('ann', { ...parts, claim: world.holding.claim }));
  assert.deepEqual([again.answers, again.roots, again.claim], ['this round is answered or over', '0 (segment is voted for already or not in order)', String(world.holding.claim.sum)]);
  assert.equal(world.result('ann', 2).passes, 4);
  assert.deepEqual(world.chain.data.get('period_200'), round);
  assert.deepEqual(world.chain.data.get('node_' + first.node).subarray(0, 208), row.subarray(0, 208));
});

test('submission: a contract relays many in one operation, and one that a stranger sent before, or that claims too much, harms none', () => {
  const names = Array.from({ length: 12 }, (_, i) => 'n' + i);
  const world = World.running(names).at(2, 3);
  const signed = (name) => {
    const who = world.nodes.get(name);
    const claim = name === 'n5' ? { root, sum: 11n << 20n } : world.holding.claim;
    const { content } = world.submitArgs(name, { beacon: world.beacon(2), answers: world.answersFor(name, world.holding, 2, world.beacon(2)), claim });
    const text = m.submissionMessage(world.chain.chainId, world.registry, content);
    return m.submitArgs(2, content, m.cat(m.sized(who.publicKey), m.sized(who.sign(text))));
  };
  const batch = names.map(signed);
  world.ok('submitProof', batch[3], admin);
  const relay = world.chain.script('relay', ({ call }) => { for (const args of batch) call(world.registry, 'submitProof', args, MAS / 10n); });
  world.give(relay);
  const done = world.chain.call('main', Buffer.alloc(0), { from: ADMIN.address, to: relay });
  assert.equal(done.error, undefined);
  assert.ok(names.every((name) => world.result(name, 2).passes === 4));
  assert.deepEqual(done.events.filter((e) => !e.startsWith('ROUND_SUBMITTED')), [`BEACON_ACCEPTED:2,${world.beacon(2).toString('hex')}`]);
  assert.equal(world.stats(3).activeNodes, 11n);
});

test('submission: a silent node sits out three rounds', () => {
  const world = World.running(['ann', 'bob', 'cat', 'dan']).at(2, 3);
  for (const name of ['bob', 'cat', 'dan']) world.honest(name);
  world.at(2, 60).skips('sits out until round 6', 'ann', { claim: world.holding.claim });
  world.at(4, 99).skips('sits out until round 6', 'ann', { claim: world.holding.claim });
  assert.equal(world.told(world.at(5, 0).submit('ann', { claim: world.holding.claim })).claim, String(world.holding.claim.sum));
});

test('submission: a relayer needs the signature of the node', () => {
  const world = running();
  const who = world.nodes.get('ann');
  const other = world.nodes.get('bob');
  const { content } = world.submitArgs('ann', { roots: [] });
  const message = m.submissionMessage(world.chain.chainId, world.registry, content);
  const send = (signer, text) => m.submitArgs(world.round, content, m.cat(m.sized(signer.publicKey), m.sized(signer.sign(text))));
  world.refuses('signature is not of this node', 'submitProof', send(other, message), from(world, 'bob'));
  world.refuses('signature of the node is not valid', 'submitProof', send(who, message + ' '), from(world, 'bob'));
  world.refuses('signature of the node is not valid', 'submitProof', send(who, m.submissionMessage(78n, world.registry, content)), from(world, 'bob'));
  world.refuses('signature: 1 bytes too many', 'submitProof', m.submitArgs(world.round, content, m.cat(m.sized(who.publicKey), m.sized(who.sign(message)), m.u8(0))), from(world, 'bob'));
  world.ok('submitProof', send(who, message), from(world, 'bob'));
});

test('a round is closed once', () => {
  const world = running();
  for (const name of ['ann', 'bob', 'cat']) world.honest(name);
  world.at(2, 51).ok('distributeRewards', m.u64(200), admin);
  world.refuses('this round is closed already', 'distributeRewards', m.u64(250), admin);
});

test('a claim needs a placement key, and a key needs the first beacon after the registration', () => {
  const world = World.running();
  const play = (round) => { world.at(round, 4); for (const name of ['ann', 'bob', 'cat']) world.honest(name); };
  play(2);
  play(3);
  world.register('dan');
  const dan = world.nodes.get('dan').address;
  world.at(3, 90).skips('node has no placement key yet', 'dan', { claim: world.holding.claim });
  const set = (round) => m.cat(m.sized(dan), m.u64(round));
  world.refuses('round opened before the registration', 'setPlacementKey', set(3), admin);
  world.refuses('round has not opened', 'setPlacementKey', set(4), admin);
  world.at(4, 3).refuses('round has no accepted beacon', 'setPlacementKey', set(4), admin);
  play(4);
  play(5);
  world.refuses('an earlier round was the first after the registration', 'setPlacementKey', set(5), admin);
  world.ok('setPlacementKey', set(4), admin);
  assert.deepEqual(world.info('dan').key, m.placementKey(dan, world.beacon(4)));
  assert.equal(world.info('dan').weight, 0n);
  assert.equal(world.info('dan').weightSoon, 10n);
  world.at(5, 60).skips('claim is more than was allocated', 'dan', { claim: world.holding.claim });
  world.at(6, 60).submit('dan', { claim: world.holding.claim });
});

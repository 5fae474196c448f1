// Random operations of honest and hostile callers: money is conserved, nobody gets what is not theirs, and rounds go on.
// `npm run money -- --steps 1000000 --seed 7`, or STEPS and SEED in the environment, make a longer run; the seed of a failure is printed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dice, runOf } from './dice.mjs';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const RUN = runOf({ steps: 20_000, seed: 20_261_121n });
const NEVER = (1n << 64n) - 1n;

class Chaos {
  constructor(seed) {
    this.dice = new Dice(seed);
    this.world = new World({ config: { challengeFrequencyPeriods: 4n, roundSegments: 2n, firstSegment: 2n, minStake: 10n * MAS, stakePerGb: MAS, replicationFactor: 1n }, period: 0 });
    this.names = Array.from({ length: 9 }, (_, i) => 'u' + i);
    for (const name of this.names) { const who = user(name); this.world.nodes.set(name, who); this.world.give(who.address); }
    this.stranger = user('stranger');
    this.world.give(this.stranger.address);
    this.world.ok('addChallenger', m.sized(user('u0').address), { from: ADMIN.address, coins: MAS });
    this.issued = 0;
    this.total = this.wealth();
    this.counts = new Map();
    this.coverage = new Map(); // entry point → [successes, refusals]
    this.reasons = new Set(); // why calls were refused
    this.distributed = 0n;
    this.claimed = 0n;
    this.staked = 0n;
    this.returned = 0n;
    this.reported = 0n;
    this.segment();
  }
  wealth() { return [...this.world.chain.balances.values()].reduce((a, b) => a + b, 0n) + this.world.chain.storagePaid; }
  segment() {
    const first = this.world.segment(0, [5000, 1024, 1500]);
    for (const segment of [1, 2]) this.world.segment(segment, [1], this.world.segments[segment - 1].root);
    this.holdings = [new s.Holding([first]), new s.Holding([first], (p) => p !== first.position(0))];
  }
  address(name) { return this.world.nodes.get(name).address; }
  options(name, coins) { return { from: this.address(name), coins: coins ?? this.dice.pick([0n, MAS / 10n, MAS, 50n * MAS]) }; }

  /** name → [function, arguments, options] */
  moves() {
    const { dice, world } = this;
    const name = dice.pick(this.names);
    const other = dice.pick(this.names);
    const any = { from: dice.chance(50) ? this.stranger.address : this.address(other), coins: dice.pick([0n, MAS]) };
    const id = (n) => m.hash(m.u32(n)).toString('hex');
    const junk = () => { const b = Buffer.alloc(dice.below(200)); for (let i = 0; i < b.length; i++) b[i] = dice.below(256); return b; };
    const challenge = id(Math.max(0, this.issued - dice.below(20)));
    const [chunk] = world.segments[0].chunks;
    return {
      register: () => ['registerStorageNode', m.u64(dice.chance(80) ? 5 : dice.pick([0, 1, 20, 1 << 20])), this.options(name, dice.chance(70) ? 50n * MAS : undefined)],
      update: () => ['updateStorageAllocation', m.cat(m.u64(dice.chance(97) ? 5 : dice.pick([1, 20])), m.u64(dice.pick([0, 1, Number(MAS)]))), this.options(name)],
      unregister: () => ['unregisterStorageNode', undefined, this.options(name)],
      claim: () => ['claimRewards', undefined, this.options(name)],
      fund: () => ['fund', undefined, { ...any, coins: dice.chance(5) ? 0n : BigInt(dice.below(1_000_000_000)) }],
      distribute: () => ['distributeRewards', m.u64(dice.chance(80) ? Math.max(0, world.chain.period - 6) : dice.below(world.chain.period + 20)), any],
      resolve: () => ['resolveExpiredChallenges', m.texts([this.address(name), challenge, this.address(other), this.address(name)]), any],
      issue: () => ['issueChallenge', m.cat(m.sized(dice.chance(90) ? id(++this.issued) : challenge), m.sized(this.address(other)), m.sized(chunk.id.toString('hex')), m.u64(9)), this.options(dice.pick(['u0', name]))],
      manual: () => ['submitProof', m.submitArgs(challenge, dice.chance(50) ? s.manualAnswer(world.segments[0], 0, 9 % chunk.leaves.length) : junk()), this.options(name)],
      key: () => ['setPlacementKey', m.cat(m.sized(this.address(name)), m.u64(dice.below(world.round + 1))), any],
      pause: () => ['setPaused', m.u8(dice.below(2)), { from: dice.chance(30) ? ADMIN.address : any.from, coins: MAS }],
      config: () => ['updateConfig', m.encodeConfig(this.nextConfig()), { from: dice.chance(50) ? ADMIN.address : any.from, coins: MAS }],
      anchor: () => ['anchorEarlier', this.world.anchorArgs(dice.pick([1, 2, 2, 0])), any],
      refute: () => ['refuteClaim', this.refutation(name, other), any],
      junk: () => [dice.pick(['submitProof', 'refuteClaim', 'registerStorageNode', 'resolveExpiredChallenges', 'constructor', 'updateConfig']), junk(), any],
      challenger: () => [dice.pick(['addChallenger', 'removeChallenger']), m.sized(this.address(name)), { from: dice.chance(70) ? ADMIN.address : any.from, coins: MAS }],
      relay: () => ['submitProof', this.relayed(name), any],
      view: () => this.anyView(name, id),
      submit: () => ['submitProof', this.submission(name), { ...this.options(name, MAS), from: dice.chance(95) ? this.address(name) : any.from }],
    };
  }
  /** Rate and percentage in a step, or in too large a one. */
  nextConfig() {
    const row = this.world.chain.data.get('config');
    const inForce = row.subarray(BigInt(this.world.round) >= row.readBigUInt64LE(192) ? 96 : 0);
    const config = Object.fromEntries(m.CONFIG_FIELDS.map((field, i) => [field, inForce.readBigUInt64LE(8 * i)]));
    const step = (value, least, most) => { const next = this.dice.pick([value / 2n, value * 2n, value * 2n, value * 3n]); return next < least || next > most ? value : next; };
    return { ...config, rewardPerGbPerPeriod: step(config.rewardPerGbPerPeriod, 1_000_000n, 10n ** 12n), slashPercentage: step(config.slashPercentage, 1n, 100n) };
  }
  refutation(name, other) {
    const round = Math.max(0, this.world.round - this.dice.below(3));
    const proof = this.holdings[0].exhibit(this.world.segments[0].position(0));
    const witness = m.cat(m.sized(this.address(other)), m.sized(this.holdings[0].sumPath(this.world.segments[0].position(0))));
    return m.cat(m.sized(this.address(name)), m.u64(round), m.sized(proof), witness);
  }
  /** Signed by the node, or by another, and sent by whoever. */
  relayed(name) {
    const { world, dice } = this;
    const { content } = this.parts(name);
    const signer = user(dice.chance(80) ? name : dice.pick(this.names));
    const text = m.submissionMessage(dice.chance(90) ? 77n : 78n, world.registry, content);
    return m.submitArgs(world.round, content, m.cat(m.sized(signer.publicKey), m.sized(signer.sign(text))));
  }
  anyView(name, id) {
    const { dice, world } = this;
    const [address, round, beacon] = [m.sized(dice.chance(90) ? this.address(name) : 'AUx'), m.u64(dice.below(world.round + 2)), world.beacon(world.round)];
    const views = {
      getNodeInfo: address, getChallenge: m.sized(id(Math.max(0, this.issued - dice.below(20)))), getPeriodStats: m.u64(dice.below(world.chain.period + 9)), getConfig: undefined, getNextConfig: undefined,
      getTotalNodes: undefined, getNodes: m.cat(m.u64(dice.below(9)), m.u64(dice.below(120))), calculatePendingRewards: address, getRoundResult: m.cat(address, round),
      getDraws: m.cat(address, round, beacon), getSegmentRoot: m.u64(dice.below(9)), getState: undefined,
      checkBlock: m.cat(m.u64(dice.below(2)), m.u8(0), m.sized(''), m.sized(world.segments[0].blockProof(0, 0))),
    };
    const fn = dice.pick(Object.keys(views));
    return [fn, dice.chance(90) ? views[fn] : m.u8(1), { from: this.address(name), readOnly: true }];
  }
  rootOf(segment) { return this.world.segments[segment]?.root ?? m.hash(m.u32(segment)); }
  submission(name) { return this.parts(name).args; }
  parts(name, { answers = this.dice.chance(50), claims = this.dice.chance(50), honest = false, votes = true } = {}) {
    const { dice, world } = this;
    const holding = this.holdings[name === 'u8' ? 1 : 0];
    const beacon = dice.chance(2) ? m.hash(m.u32(dice.below(9))) : world.beacon(world.round);
    const parts = {};
    if (answers) {
      const all = this.answers(name, holding, beacon);
      Object.assign(parts, { beacon, answers: dice.chance(92) ? all : all.slice(dice.below(4)) });
    }
    if (honest) {
      const next = Number(world.state().nextSegment);
      if (votes) parts.roots = [next, next + 1].filter((segment) => (segment + 1) * world.segmentPeriods <= world.chain.period).map((s) => [s, this.rootOf(s)]);
      if (claims) parts.claim = holding.claim;
      return world.submitArgs(name, parts);
    }
    const next = Number(world.state().nextSegment);
    if (dice.chance(20)) parts.roots = [0, 1, 2, 3].slice(0, dice.below(5)).map((i) => [next + i, dice.chance(60) ? this.rootOf(next + i) : m.hash(m.u8(9))]);
    if (claims) parts.claim = dice.chance(90) ? holding.claim : { root: m.hash(m.u8(1)), sum: BigInt(dice.below(1 << 24)) };
    return world.submitArgs(name, parts);
  }
  answers(name, holding, beacon) {
    const info = this.world.info(this.address(name));
    if (!info) return [];
    const base = { chainId: 77n, registry: this.world.registry, round: this.world.round, key: info.key, beacon, leaves: holding.claim.sum };
    return [0, 1, 2, 3].map((d) => [d, holding.answer(m.drawnLeaf({ ...base, d }))]);
  }

  /** The record of a node, as bytes with a few names. */
  record(name) {
    const b = this.world.chain.data.get('node_' + this.address(name));
    if (!b) return null;
    const at = (offset) => b.readBigUInt64LE(offset);
    const slot = (round) => { const from = 208 + 128 * (round % 3); return at(from) === BigInt(round) ? b[from + 104] : 0; };
    return { at, slot, hasKey: b[3] === 1, leaving: at(56) !== NEVER };
  }
  /** What an honest node would do now; null if nothing. */
  honest(name) {
    const { dice, world } = this;
    const { round } = world;
    const inRound = world.chain.period % 8;
    const node = this.record(name);
    const options = this.options(name, MAS);
    if (!node) return dice.chance(20) ? ['registerStorageNode', m.u64(5), this.options(name, 20n * MAS)] : null;
    if (node.leaving && round + 2 >= Number(node.at(56)) + 10) return ['unregisterStorageNode', undefined, options];
    if (!node.hasKey) {
      const due = this.keyRound(node);
      return due === null ? null : ['setPlacementKey', m.cat(m.sized(this.address(name)), m.u64(due)), options];
    }
    const answers = inRound >= 3 && inRound <= 4 && node.slot(round) === 1;
    const declared = node.at(round + 1 >= Number(node.at(48)) ? 40 : 32);
    const claims = (answers || node.slot(round) !== 1) && node.slot(round + 1) === 0 && !node.leaving && BigInt(round + 1) >= node.at(112) && declared > 0n && node.at(24) >= MAS;
    const decides = node.at(104) <= BigInt(round) && BigInt(round) < node.at(104) + 8n;
    const votes = decides && Number(world.state().nextSegment) < round && BigInt(round) !== node.at(160);
    if (answers || votes || (claims && inRound > 4)) return ['submitProof', this.parts(name, { answers, claims: claims && (answers || inRound > 4), honest: true, votes }).args, options];
    if (dice.chance(20) && [0, 1, 2].some((i) => node.at(208 + 128 * i + 96) > 0n && node.at(208 + 128 * i) + 2n <= BigInt(round))) return ['claimRewards', undefined, options];
    return null;
  }
  /** The round whose beacon gives a node its key. */
  keyRound(node) {
    const { world } = this;
    const last = world.state().lastAccepted;
    if (last === NEVER) return null;
    for (let r = Number(node.at(16) / 8n) + 1; r <= Number(last); r++) {
      if (world.chain.data.get(`period_${r * 8}`)?.[105] === 1) return r;
    }
    return null;
  }

  /** An honest node's turn, or anybody's. */
  choose() {
    const { dice } = this;
    if (dice.chance(70)) {
      const start = dice.below(this.names.length);
      for (let i = 0; i < this.names.length; i++) {
        const name = this.names[(start + i) % this.names.length];
        const move = this.honest(name);
        if (move) return ['honest', ...move];
      }
    }
    const rare = dice.chance(5) ? ['unregister', 'pause', 'config', 'challenger', 'challenger'] : ['submit'];
    const kind = dice.pick(['register', 'refute', 'refute', 'refute', 'submit', 'update', 'claim', 'fund', 'distribute', 'resolve', 'issue', 'manual', 'key', 'anchor', 'junk', 'view', 'relay', ...rare]);
    return [kind, ...this.moves()[kind]()];
  }

  step() {
    const { dice, world } = this;
    if (dice.chance(7)) world.chain.period += dice.chance(2) ? dice.below(100) : 1;
    const { pauseFrom, pauseUntil } = world.state();
    const paused = pauseFrom <= world.chain.period && world.chain.period < pauseUntil;
    if (paused && dice.chance(20)) world.ok('setPaused', m.u8(0), { from: ADMIN.address });
    const [kind, fn, args, options] = this.choose();
    const before = new Map(world.chain.balances);
    const state = world.state();
    const done = world.call(fn, args, options);
    this.cover(fn, done);
    world.checkMoney();
    assert.equal(this.wealth(), this.total, 'wealth is conserved');
    for (const [address, balance] of before) {
      if (address !== options.from && address !== world.registry) assert.ok(world.chain.balance(address) >= balance, 'nobody pays for another');
    }
    if (!done.ok) return assert.deepEqual(world.state(), state, 'a refused call changes nothing');
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    for (const event of done.events) this.book(event);
    assert.ok(this.claimed <= this.distributed, 'nothing is paid that was not credited');
    assert.ok(world.state().credited <= this.distributed - this.claimed);
    return undefined;
  }
  cover(fn, done) {
    const row = this.coverage.get(fn) ?? [0, 0];
    row[done.ok ? 0 : 1]++;
    this.coverage.set(fn, row);
    const skipped = done.events.filter((e) => e.startsWith('ROUND_SUBMITTED:')).flatMap((e) => e.split(',').slice(2, 5)).filter((field) => /[a-z] /.test(field));
    for (const reason of done.ok ? skipped : [done.error]) this.reasons.add(reason.replace(/\d+|A[US]\w+/g, '…'));
  }
  /** The contract's totals are the sums of what its records say. */
  audit() {
    const { world } = this;
    const rows = [...world.chain.data];
    const of = (prefix) => rows.filter(([key]) => key.startsWith(prefix)).map(([, value]) => value);
    const nodes = of('node_');
    const sum = (list) => list.reduce((a, b) => a + b, 0n);
    const at = (b, offset) => b.readBigUInt64LE(offset);
    const state = world.state();
    assert.equal(state.stakes, sum(nodes.map((b) => at(b, 24))));
    assert.equal(state.keyed, BigInt(nodes.filter((b) => b[3] === 1).length));
    assert.equal(state.credited, world.creditOfNodes());
    assert.equal(state.reserves, sum(of('period_').filter((b) => b[104] === 1 && b[106] === 0).map((b) => at(b, 64))));
    assert.equal(at(world.chain.data.get('total_nodes'), 0), BigInt(nodes.length));
    rows.filter(([key]) => key.startsWith('index_')).forEach(([key, address]) => assert.equal(at(world.chain.data.get('node_' + address), 8), BigInt(key.slice(6))));
    assert.equal(of('index_').length, nodes.length);
  }
  book(event) {
    const [name, fields] = event.split(':');
    const values = fields.split(',');
    if (name === 'REWARDS_DISTRIBUTED') this.distributed += BigInt(values[1]);
    if (name === 'REWARDS_CLAIMED') this.claimed += BigInt(values[1]);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}

test(`${RUN.steps} random operations, seed ${RUN.seed}`, (t) => {
  const chaos = new Chaos(RUN.seed);
  for (let i = 0; i < RUN.steps; i++) {
    try {
      chaos.step();
      if (i % 100 === 0) chaos.audit();
    } catch (error) {
      error.message = `step ${i}, seed ${RUN.seed}: ${error.message}`;
      throw error;
    }
  }
  const { world, counts } = chaos;
  t.diagnostic(`entry point: taken, refused; ${chaos.reasons.size} reasons`);
  for (const [fn, [taken, refused]] of [...chaos.coverage].sort()) t.diagnostic(`${fn}: ${taken}, ${refused}`);
  for (const [kind, count] of [...counts].sort()) if (/^[A-Z]/.test(kind)) t.diagnostic(`${kind}: ${count}`);
  if (process.env.SHOW) for (const reason of chaos.reasons) t.diagnostic(reason);
  if (RUN.committed) wasReached(chaos);
  laterRoundsGoOn(chaos, world);
});

/** The committed run has met all of this; another seed or length may not. */
function wasReached({ coverage, counts, reasons, world }) {
  const exported = WebAssembly.Module.exports(world.chain.module).filter((e) => e.kind === 'function' && !e.name.startsWith('__')).map((e) => e.name);
  const never = ['getConfig', 'getNextConfig', 'getState', 'getTotalNodes']; // take no input, refuse nothing
  for (const fn of exported) {
    const [taken, refused] = coverage.get(fn) ?? [0, 0];
    assert.ok(fn === 'constructor' || taken > 0, `${fn} was never taken`);
    assert.ok(never.includes(fn) || refused > 0, `${fn} was never refused`);
  }
  const events = ['STORAGE_NODE_REGISTERED', 'STORAGE_NODE_UPDATED', 'STORAGE_NODE_LEAVING', 'STORAGE_NODE_UNREGISTERED', 'PLACEMENT_KEY_SET', 'ROUND_SUBMITTED', 'BEACON_ACCEPTED',
    'CHALLENGE_ISSUED', 'CHALLENGE_PASSED', 'CHALLENGE_FAILED', 'CHALLENGE_EXPIRED', 'SEGMENT_ROOT_ACCEPTED', 'REWARDS_DISTRIBUTED', 'REWARDS_CLAIMED', 'STORAGE_NODE_SLASHED',
    'CLAIM_REFUTED', 'CONFIG_UPDATED', 'CHALLENGER_ADDED', 'CHALLENGER_REMOVED', 'PAUSED', 'FUNDED'];
  for (const event of events) assert.ok(counts.get(event) > 0, `${event} never happened`);
  assert.ok(reasons.size > 60, `${reasons.size} reasons`);
}

/** After anything at all, honest nodes claim, answer and are paid: those that are left, and after them who is new. */
function laterRoundsGoOn(chaos, world) {
  const admin = { from: ADMIN.address, coins: MAS };
  world.call('setPaused', m.u8(0), admin);
  world.ok('fund', undefined, { ...admin, coins: 100n * MAS });
  world.chain.period = (world.round + 20) * 8;
  const options = (name) => ({ from: chaos.address(name), coins: 50n * MAS });
  for (const name of chaos.names) if (chaos.record(name)?.leaving) world.ok('unregisterStorageNode', undefined, options(name));
  const left = chaos.names.filter((name) => chaos.record(name)?.hasKey);
  for (const name of left) world.ok('updateStorageAllocation', m.cat(m.u64(chaos.record(name).at(40)), m.u64(20n * MAS)), options(name));
  const fresh = ['f0', 'f1', 'f2', 'f3', 'f4'];
  for (const name of fresh) world.register(name, 10);
  const play = (names) => {
    for (const name of names) world.submit(name, { claim: chaos.holdings[0].claim });
    world.chain.period = (world.round + 1) * 8 + 3;
    for (const name of names) world.submit(name, { beacon: world.beacon(world.round), answers: chaos.answers(name, chaos.holdings[0], world.beacon(world.round)) });
  };
  world.chain.period += 24;
  // Where the first phase has begun again, who is new has a key, and an entry before those have whose entries lapsed.
  if (left.length > 0 && world.state().proven) {
    play(left);
    assert.equal(world.stats(world.round).accepted, 1);
    for (const name of fresh) world.ok('setPlacementKey', m.cat(m.sized(chaos.address(name)), m.u64(world.round)), admin);
    world.chain.period += 24;
  }
  play([...left, ...fresh]);
  const { round } = world;
  world.chain.period += 3;
  const done = world.ok('distributeRewards', m.u64(round * 8), admin);
  assert.match(done.events.at(-1), new RegExp(`^REWARDS_DISTRIBUTED:${round * 8},[1-9]\\d*,${left.length + fresh.length}$`));
}

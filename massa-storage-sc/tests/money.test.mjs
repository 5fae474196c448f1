// Random operations of honest and hostile callers: money is conserved, nobody gets what is not theirs, and rounds go on.
// STEPS and SEED in the environment make a longer run; the seed of a failure is printed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { user } from './host.mjs';
import * as m from './model.mjs';
import { ADMIN, MAS, World } from './world.mjs';

const STEPS = Number(process.env.STEPS ?? 20_000);
const SEED = BigInt(process.env.SEED ?? 20_261_121);

class Dice {
  constructor(seed) { this.state = seed; }
  next() { this.state = (this.state * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n); return Number(this.state >> 33n); }
  below(n) { return this.next() % n; }
  chance(percent) { return this.below(100) < percent; }
  pick(list) { return list[this.below(list.length)]; }
}

class Chaos {
  constructor(seed) {
    this.dice = new Dice(seed);
    this.world = new World({ config: { challengeFrequencyPeriods: 8n, minStake: 10n * MAS, stakePerGb: MAS, replicationFactor: 1n }, period: 0 });
    this.names = Array.from({ length: 9 }, (_, i) => 'u' + i);
    for (const name of this.names) { const who = user(name); this.world.nodes.set(name, who); this.world.give(who.address); }
    this.stranger = user('stranger');
    this.world.give(this.stranger.address);
    this.world.ok('addChallenger', m.sized(user('u0').address), { from: ADMIN.address, coins: MAS });
    this.total = this.wealth();
    this.counts = new Map();
    this.distributed = 0n;
    this.claimed = 0n;
    this.staked = 0n;
    this.returned = 0n;
    this.reported = 0n;
    this.segment();
  }
  wealth() { return [...this.world.chain.balances.values()].reduce((a, b) => a + b, 0n) + this.world.chain.storagePaid; }
  segment() {
    const s = this.world.segment(0, { 0: [5000], 5: [1024, 1500] });
    this.holdings = [new m.Holding([s]), new m.Holding([s], (p) => p !== s.position(0, 0))];
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
    const challenge = id(dice.below(20));
    return {
      register: () => ['registerStorageNode', m.u64(dice.chance(80) ? 5 : dice.pick([0, 1, 20, 1 << 20])), this.options(name, dice.chance(70) ? 50n * MAS : undefined)],
      update: () => ['updateStorageAllocation', m.cat(m.u64(dice.chance(90) ? 5 : dice.pick([1, 20])), m.u64(dice.pick([0, 1, Number(MAS)]))), this.options(name)],
      unregister: () => ['unregisterStorageNode', undefined, this.options(name)],
      claim: () => ['claimRewards', undefined, this.options(name)],
      fund: () => ['fund', undefined, { ...any, coins: BigInt(dice.below(1_000_000_000)) }],
      distribute: () => ['distributeRewards', m.u64(dice.chance(80) ? Math.max(0, world.chain.period - 6) : dice.below(world.chain.period + 20)), any],
      resolve: () => ['resolveExpiredChallenges', m.texts([this.address(name), challenge, this.address(other), this.address(name)]), any],
      issue: () => ['issueChallenge', m.cat(m.sized(challenge), m.sized(this.address(other)), m.sized(id(3)), m.u64(9)), this.options(dice.pick(['u0', name]))],
      manual: () => ['submitProof', m.submitArgs(challenge, junk()), this.options(name)],
      key: () => ['setPlacementKey', m.cat(m.sized(this.address(name)), m.u64(dice.below(world.round + 1))), any],
      pause: () => ['setPaused', m.u8(dice.below(2)), { from: dice.chance(30) ? ADMIN.address : any.from, coins: MAS }],
      config: () => ['updateConfig', m.encodeConfig({ ...world.config, rewardPerGbPerPeriod: dice.pick([0n, 1_000_000n, 10n ** 9n, 10n ** 12n]), slashPercentage: dice.pick([1n, 10n, 100n]) }), { from: dice.chance(50) ? ADMIN.address : any.from, coins: MAS }],
      refute: () => ['refuteClaim', this.refutation(name, other), any],
      junk: () => [dice.pick(['submitProof', 'refuteClaim', 'registerStorageNode', 'resolveExpiredChallenges', 'constructor', 'updateConfig']), junk(), any],
      submit: () => ['submitProof', this.submission(name), { ...this.options(name, MAS), from: dice.chance(95) ? this.address(name) : any.from }],
    };
  }
  refutation(name, other) {
    const round = Math.max(0, this.world.round - this.dice.below(3));
    const proof = this.holdings[0].exhibit(this.world.segments[0].position(0, 0));
    const witnesses = [other].map((n) => this.address(n)).sort().map((a) => m.sized(a));
    return m.cat(m.sized(this.address(name)), m.u64(round), m.sized(proof), ...witnesses);
  }
  submission(name) {
    const { dice, world } = this;
    const inRound = world.chain.period % 8;
    const holding = this.holdings[name === 'u8' ? 1 : 0];
    const beacon = dice.chance(2) ? m.hash(m.u32(dice.below(9))) : world.beacon(world.round);
    const parts = {};
    if (inRound >= 3 && inRound <= 4 && dice.chance(90)) {
      const answers = this.answers(name, holding, beacon);
      Object.assign(parts, { beacon, answers: dice.chance(85) ? answers : answers.slice(dice.below(4)) });
    }
    if (world.state().nextSegment === 0n) parts.roots = [[0, dice.chance(90) ? world.segments[0].root : m.hash(m.u8(9))]];
    if (dice.chance(90)) parts.claim = dice.chance(97) ? holding.claim : { root: m.hash(m.u8(1)), sum: BigInt(dice.below(1 << 24)) };
    return world.submitArgs(name, parts).args;
  }
  answers(name, holding, beacon) {
    const info = this.world.info(this.address(name));
    if (!info) return [];
    const base = { chainId: 77n, registry: this.world.registry, round: this.world.round, key: info.key, beacon, leaves: holding.claim.sum };
    return [0, 1, 2, 3].map((d) => [d, holding.answer(m.drawnLeaf({ ...base, d }))]);
  }

  step() {
    const { dice, world } = this;
    if (dice.chance(7)) world.chain.period += dice.chance(2) ? dice.below(100) : 1;
    if (world.chain.data.get('state')[72] === 1 && dice.chance(20)) world.ok('setPaused', m.u8(0), { from: ADMIN.address });
    const kind = dice.pick(['register', 'refute', 'refute', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'submit', 'register', 'update', 'claim', 'claim', 'fund', 'distribute', 'resolve', 'issue', 'manual',
      'key', 'refute', 'junk', ...(dice.chance(3) ? ['unregister', 'pause', 'config'] : ['submit'])]);
    const [fn, args, options] = this.moves()[kind]();
    const before = new Map(world.chain.balances);
    const state = world.state();
    const done = world.call(fn, args, options);
    world.checkMoney();
    assert.equal(this.wealth(), this.total, 'wealth is conserved');
    for (const [address, balance] of before) {
      if (address !== options.from && address !== world.registry) assert.ok(world.chain.balance(address) >= balance, 'nobody pays for another');
    }
    if (!done.ok) return assert.deepEqual(world.state(), state, 'a refused call changes nothing');
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    for (const event of done.events) this.book(event);
    if (kind === 'refute' && process.env.SHOW) console.log(done.events);
    assert.ok(this.claimed <= this.distributed, 'nothing is paid that was not credited');
    assert.ok(world.state().credited <= this.distributed - this.claimed);
    return undefined;
  }
  book(event) {
    const [name, fields] = event.split(':');
    const values = fields.split(',');
    if (name === 'REWARDS_DISTRIBUTED') this.distributed += BigInt(values[1]);
    if (name === 'REWARDS_CLAIMED') this.claimed += BigInt(values[1]);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}

test(`${STEPS} random operations, seed ${SEED}`, () => {
  const chaos = new Chaos(SEED);
  for (let i = 0; i < STEPS; i++) {
    try {
      chaos.step();
    } catch (error) {
      error.message = `step ${i}, seed ${SEED}: ${error.message}`;
      throw error;
    }
  }
  const { world, counts } = chaos;
  if (process.env.SHOW) console.log(counts);
  // The committed run has met all of these; another seed or length may not.
  const kinds = ['submit', 'register', 'unregister', 'claim', 'refute', 'pause', 'config', 'STORAGE_NODE_UNREGISTERED', 'REWARDS_CLAIMED', 'STORAGE_NODE_SLASHED'];
  if (!process.env.STEPS && !process.env.SEED) for (const kind of kinds) assert.ok(counts.get(kind) > 0, kind + ' never happened');
  laterRoundsGoOn(chaos, world);
});

/** After anything at all, honest nodes claim, answer and are paid. */
function laterRoundsGoOn(chaos, world) {
  world.call('setPaused', m.u8(0), { from: ADMIN.address, coins: MAS });
  world.ok('fund', undefined, { from: ADMIN.address, coins: 100n * MAS });
  const config = m.encodeConfig({ ...world.config, rewardPerGbPerPeriod: 10n ** 9n, slashPercentage: 10n });
  world.chain.period = (world.round + 20) * 8;
  world.call('updateConfig', config, { from: ADMIN.address, coins: MAS });
  const fresh = ['f0', 'f1', 'f2', 'f3', 'f4'];
  world.ok('resolveExpiredChallenges', m.texts(chaos.names.map((n) => chaos.address(n))), { from: ADMIN.address, coins: MAS });
  for (const name of fresh) world.register(name, 10);
  const last = world.state().lastAccepted;
  for (const name of fresh) {
    if (!world.info(name).hasKey) world.ok('setPlacementKey', m.cat(m.sized(chaos.address(name)), m.u64(last)), { from: ADMIN.address, coins: MAS });
  }
  const staked = fresh;
  world.chain.period += 24;
  const holding = chaos.holdings[0];
  assert.ok(staked.length > 0);
  for (const name of staked) world.submit(name, { claim: holding.claim });
  world.chain.period = (world.round + 1) * 8 + 3;
  for (const name of staked) world.submit(name, { beacon: world.beacon(world.round), answers: chaos.answers(name, holding, world.beacon(world.round)), claim: holding.claim });
  const { round } = world;
  world.chain.period += 3;
  const done = world.ok('distributeRewards', m.u64(round * 8), { from: ADMIN.address, coins: MAS });
  assert.match(done.events.at(-1), new RegExp(`^REWARDS_DISTRIBUTED:${round * 8},[1-9]\\d*,${staked.length}$`));
}

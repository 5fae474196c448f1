// What attackers can do with which share of the electorate, by random operations of theirs among honest nodes: README, "Who decides". Below a
// third they delay no root by more than eight rounds and void no round, if the rest operate; at half or less nothing false is accepted; below
// two thirds no truthful answer is slashed. STEPS and SEED in the environment, or --steps and --seed, make a longer run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dice, runOf } from './dice.mjs';
import { user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';
import { MAS, World } from './world.mjs';

const RUN = runOf({ steps: 2_400, seed: 20_261_205n });
/** Rounds of eight periods in two segments; a stake of 10 MAS for a GB. */
const CONFIG = { challengeFrequencyPeriods: 4n, roundSegments: 2n, minStake: 10n * MAS, stakePerGb: 10n * MAS };
const [TRUTH, LIE] = [m.hash(m.u8(1)), m.hash(m.u8(2))];
const STAKE = 100n * MAS;
const NEVER = (1n << 64n) - 1n;
const FEE = { coins: 5n * MAS };

class Siege {
  /** `budget`: hundredths of the honest stake that attackers may have. `absences`: percent of rounds in which an honest node does nothing. */
  constructor(seed, { budget, absences }) {
    this.dice = new Dice(seed);
    this.absences = absences;
    this.world = new World({ config: CONFIG, period: 0 });
    this.honest = Array.from({ length: 3 + this.dice.below(4) }, (_, i) => 'h' + i);
    this.attackers = Array.from({ length: 5 }, (_, i) => 'x' + i);
    this.budget = (STAKE * BigInt(this.honest.length) * BigInt(budget)) / 100n;
    const segment = this.world.segment(0, [1]);
    this.holding = new s.Holding([segment]);
    this.proof = this.holding.answer(0n);
    this.truth = [segment.root];
    this.inUse = new Map(); // attacker → stake that it brought and has not taken back
    this.decided = new Map(); // round → attackers' weight and electorate at its last answer
    this.seen = new Set();
    for (const name of [...this.honest, ...this.attackers]) { const who = user(name); this.world.nodes.set(name, who); this.world.give(who.address); }
    for (const name of this.honest) this.world.register(name, 10, { stake: STAKE });
  }
  rootOf(segment) { return (this.truth[segment] ??= m.hash(m.u32(segment))); }
  record(name) { return this.world.chain.data.get('node_' + this.world.nodes.get(name).address); }
  weight(name) {
    const b = this.record(name);
    if (!b) return 0n;
    const [e, v] = [b.readBigUInt64LE(104), BigInt(this.world.round)];
    return e !== NEVER && e <= v && v < e + 8n ? b.readBigUInt64LE(592) : 0n;
  }
  weightOf(names) { return names.reduce((sum, name) => sum + this.weight(name), 0n); }

  /** One period: honest nodes do their part in the window, attackers anything at any time. */
  period() {
    const { dice, world } = this;
    const inRound = world.chain.period % 8;
    const list = [];
    for (let i = dice.below(4); i > 0; i--) list.push(() => this.attack());
    if (inRound === 3) this.present = this.honest.filter(() => !dice.chance(this.absences));
    if (inRound === 3 || inRound === 4) for (const name of this.present.filter((_, i) => i % 2 === inRound - 3)) list.splice(dice.below(list.length + 1), 0, () => this.operate(name));
    for (const step of list) this.watched(step);
    if (inRound === 7) this.endOfRound();
    world.chain.period += 1;
  }
  /** The truth: answers, votes, the next claim. What cannot count is skipped. */
  operate(name) {
    const roots = this.pending().map((k) => [k, this.rootOf(k)]);
    return this.world.submit(name, { beacon: TRUTH, answers: this.answers(4), roots, claim: this.anchored ? this.holding.claim : undefined }, FEE);
  }
  get anchored() { return this.world.chain.data.get('segment_0')?.subarray(0, 32).equals(this.holding.segments.get(0n).root) ?? false; }
  answers(count) { return [0, 1, 2, 3].slice(0, count).map((d) => [d, this.proof]); }
  pending() {
    const next = Number(this.world.state().nextSegment);
    return Array.from({ length: 8 }, (_, i) => next + i).filter((k) => (k + 1) * 4 <= this.world.chain.period);
  }
  attack() {
    const { dice, world } = this;
    const name = dice.pick(this.attackers);
    const options = { from: world.nodes.get(name).address, coins: 5n * MAS };
    const record = this.record(name);
    if (!record) return this.join(name);
    const call = (fn, args, coins = options.coins) => world.call(fn, args, { ...options, coins });
    const address = m.sized(world.nodes.get(name).address);
    const leaving = record.readBigUInt64LE(56) !== NEVER;
    switch (dice.below(leaving ? 6 : 25)) {
      case 0: return this.leave(name, leaving, call);
      case 1: return this.bring(name, (stake) => call('updateStorageAllocation', m.cat(m.u64(1), m.u64(stake)), stake + MAS));
      case 2: return call('resolveExpiredChallenges', m.texts([dice.pick([...this.honest, ...this.attackers])].map((n) => world.nodes.get(n).address)));
      case 3: return call('distributeRewards', m.u64(Math.max(0, world.chain.period - dice.below(16))));
      case 4: case 5: return call('setPlacementKey', m.cat(address, m.u64(dice.below(world.round + 1))));
      default: return call('submitProof', world.submitArgs(name, this.scheme()).args);
    }
  }
  leave(name, leaving, call) {
    if (!leaving && this.dice.chance(50)) return undefined;
    const done = call('unregisterStorageNode');
    if (!this.record(name)) {
      this.inUse.set(name, 0n);
      this.seen.add('came back');
    }
    return done;
  }
  join(name) {
    return this.bring(name, (stake) => this.world.call('registerStorageNode', m.cat(m.u64(1), m.u64(stake), m.u64(0), m.texts([]), m.texts([]), m.texts([])),
      { from: this.world.nodes.get(name).address, coins: stake + MAS }));
  }
  /** Some, or all, of what the attackers may still have. */
  bring(name, send) {
    const left = this.budget - [...this.inUse.values()].reduce((a, b) => a + b, 0n);
    const stake = this.dice.chance(50) ? left : (left * BigInt(this.dice.below(100))) / 100n;
    if (stake < 10n * MAS) return undefined;
    const done = send(stake);
    if (done.ok) this.inUse.set(name, (this.inUse.get(name) ?? 0n) + stake);
    return done;
  }
  /** A submission: true or false in each part, or without it. */
  scheme() {
    const { dice } = this;
    const parts = {};
    if (dice.chance(70)) Object.assign(parts, { beacon: dice.chance(60) ? LIE : TRUTH, answers: this.answers(dice.pick([4, 4, 4, 2, 0])) });
    if (dice.chance(60)) parts.roots = this.pending().slice(dice.chance(80) ? 0 : dice.below(4)).map((k) => [k, dice.chance(70) ? LIE : this.rootOf(k)]);
    if (dice.chance(70)) parts.claim = dice.chance(85) ? this.holding.claim : { root: LIE, sum: BigInt(1 + dice.below(1 << 20)) };
    return parts;
  }

  /** A step, and who had which share when it decided something. */
  watched(step) {
    const { world } = this;
    const before = world.state();
    const v = world.round;
    const row = () => world.chain.data.get(`period_${v * 8}`);
    const answersBefore = row()?.readBigUInt64LE(48) ?? 0n;
    const acceptedBefore = row()?.[105] ?? 0;
    const done = step();
    world.checkMoney();
    const [mine, whole] = [this.weightOf(this.attackers), this.weightOf([...this.honest, ...this.attackers])];
    if ((row()?.readBigUInt64LE(48) ?? 0n) > answersBefore) this.decided.set(v, [mine, whole]);
    if (row()?.[105] && !acceptedBefore && row().subarray(112, 144).equals(LIE)) {
      this.seen.add('false beacon');
      const claiming = this.attackers.reduce((sum, name) => sum + this.claimed(name, v), 0n);
      if (whole > 0n) assert.ok(2n * mine > whole, `round ${v}: a false beacon by ${mine} of ${whole}`);
      else assert.ok(3n * claiming > 2n * row().readBigUInt64LE(8), `round ${v}: a false beacon by what claimed`);
    }
    for (let k = before.nextSegment; k < world.state().nextSegment; k++) {
      if (world.chain.data.get(`segment_${k}`).subarray(0, 32).equals(this.rootOf(Number(k)))) continue;
      this.seen.add('false root');
      this.truth[k] = world.chain.data.get(`segment_${k}`).subarray(0, 32);
      assert.ok(2n * mine > whole && (3n * mine >= 2n * whole || v > Number(k) / 2 + 8), `segment ${k}, round ${v}: a false root by ${mine} of ${whole}`);
    }
    for (const event of done?.events ?? []) this.slashed(event);
  }
  /** Stake that claimed a round. */
  claimed(name, round) {
    const b = this.record(name);
    const at = 208 + 128 * (round % 3);
    return b && b.readBigUInt64LE(at) === BigInt(round) ? b.readBigUInt64LE(at + 16) : 0n;
  }
  /** Honest nodes are slashed for silence, and for the truth only by more than two thirds. */
  slashed(event) {
    const [, address, reason] = /^STORAGE_NODE_SLASHED:(\w+),\d+,(.*)$/.exec(event) ?? [];
    const name = this.honest.find((n) => this.world.nodes.get(n).address === address);
    if (!name) return;
    this.seen.add(reason);
    assert.ok(this.absences > 0, `${name} is slashed: ${reason}`);
    if (reason === 'silent' || reason === 'draws missed') return;
    const b = this.record(name);
    const lost = [0, 1, 2].map((i) => 208 + 128 * i).filter((at) => b[at + 104] === 3 && b[at + 107] === 17).map((at) => Number(b.readBigUInt64LE(at)));
    assert.ok(lost.some((r) => { const [mine, whole] = this.decided.get(r); return 3n * mine > 2n * whole; }), `${name} is slashed for the truth in one of the rounds ${lost}`);
  }

  /** With all honest nodes there, and attackers below half: each round has its beacon, no root is late. */
  endOfRound() {
    const { world } = this;
    const r = world.round;
    if (this.absences > 0 || r < 2) return;
    // Claimed in the round before, once there was something to claim.
    if (this.claimed(this.honest[0], r) > 0n) {
      assert.equal(world.stats(r).accepted, 1, `round ${r} is void`);
      assert.deepEqual(world.stats(r).beacon, TRUTH);
      this.seen.add('beacon');
    }
    // A round after a segment has ended, or nine while they have a third, and with them what waits.
    const third = 3n * this.budget >= 3n * STAKE * BigInt(this.honest.length) / 2n;
    const due = 2 * (r - (third ? 9 : 1));
    assert.ok(world.state().nextSegment >= BigInt(due), `round ${r}: ${world.state().nextSegment} segments`);
    this.seen.add(world.state().nextSegment < BigInt(2 * (r - 1)) ? 'late' : 'in time');
  }
}

/** Plays sieges of one kind; what was seen in any. */
function play(kind, steps) {
  const seen = new Set();
  const runs = Math.max(3, Math.ceil(steps / 1_000));
  for (let k = 0; k < runs; k++) {
    const siege = new Siege(RUN.seed + BigInt(k), kind);
    for (let i = 0; i < steps / runs; i++) {
      try {
        siege.period();
      } catch (error) {
        error.message = `period ${i}, seed ${RUN.seed + BigInt(k)}: ${error.message}`;
        throw error;
      }
    }
    for (const what of siege.seen) seen.add(what);
  }
  return seen;
}
const sees = (seen, ...what) => { if (RUN.committed) for (const each of what) assert.ok(seen.has(each), `never seen: ${each}`); };

test('below a third, whatever attackers do, no round is void, no root is late, no honest node is slashed', () => {
  sees(play({ budget: 49, absences: 0 }, RUN.steps / 3), 'in time', 'beacon', 'came back');
});

test('below half, whatever attackers do, no round is void, no root is late by more than eight rounds, nothing false is accepted, no honest node is slashed', () => {
  sees(play({ budget: 99, absences: 0 }, RUN.steps / 3), 'late', 'beacon', 'came back');
});

test('with any stake and honest nodes that are often away, what is false is accepted by more than half, and the truth slashed by more than two thirds', () => {
  sees(play({ budget: 180, absences: 20 }, RUN.steps / 3), 'false beacon', 'silent');
  sees(play({ budget: 600, absences: 30 }, RUN.steps / 3), 'false beacon', 'false root', 'silent', 'minority beacon');
});

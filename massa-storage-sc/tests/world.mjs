// A deployed registry with nodes that behave, for tests to disturb.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Chain, user } from './host.mjs';
import * as m from './model.mjs';
import * as s from './segment.mjs';

export const WASM = readFileSync(new URL('../build/storage-registry.wasm', import.meta.url));
export const MAS = 1_000_000_000n;
export const ADMIN = user('admin');
const RICH = 1_000_000n * MAS;

export class World {
  constructor({ config = {}, wasm = WASM, period = 5, funds = 1_000n * MAS } = {}) {
    this.chain = new Chain(wasm);
    this.config = { ...m.DEFAULT_CONFIG, ...config };
    this.segmentPeriods = Number(this.config.challengeFrequencyPeriods);
    this.roundSegments = Number(this.config.roundSegments);
    this.P = this.segmentPeriods * this.roundSegments;
    this.chain.period = period;
    this.nodes = new Map();
    this.segments = [];
    this.give(ADMIN.address);
    const args = m.cat(m.sized(ADMIN.address), m.encodeConfig(this.config));
    this.ok('constructor', args, { from: ADMIN.address, coins: MAS, deploying: true });
    if (funds > 0n) this.ok('fund', undefined, { from: ADMIN.address, coins: funds });
  }

  get registry() { return this.chain.contract; }
  get round() { return Math.floor(this.chain.period / this.P); }
  give(address, amount = RICH) { this.chain.balances.set(address, this.chain.balance(address) + amount); }
  call(fn, args, options) { return this.chain.call(fn, args, options); }
  ok(fn, args, options) {
    const done = this.call(fn, args, options);
    assert.equal(done.error, undefined, `${fn}: ${done.error}`);
    this.checkMoney();
    return done;
  }
  /** The call fails with exactly this message, and changes nothing. */
  refuses(message, fn, args, options) {
    const before = this.chain.balance(this.registry);
    const done = this.call(fn, args, options);
    assert.equal(done.error ?? 'no error', message);
    assert.equal(this.chain.balance(this.registry), before);
  }
  view(fn, args) { return this.ok(fn, args, { readOnly: true }).result; }

  /** balance = stakes + credited + open reserves + free pool + what waits to be burned. Storage deposits left it already. */
  checkMoney() {
    const s = this.state();
    assert.equal(this.chain.balance(this.registry), s.stakes + s.credited + s.reserves + s.pool + s.toBurn);
  }
  state() {
    const b = this.chain.data.get('state');
    const names = ['stakes', 'credited', 'reserves', 'pool', 'toBurn', 'burned', 'activeStake', 'nextSegment', 'lastAccepted'];
    return Object.fromEntries(names.map((name, i) => [name, b.readBigUInt64LE(8 * i)]));
  }

  /** Goes to a period of a round. */
  at(round, inRound) { this.chain.period = round * this.P + inRound; return this; }

  register(name, gb = 10, { stake, coins = 300n * MAS, identity = false, retention = 0 } = {}) {
    const who = user(name);
    if (!this.chain.balances.has(who.address)) this.give(who.address);
    let args = m.u64(gb);
    if (stake !== undefined || identity || retention) {
      const id = identity ? who.nodeId : '';
      const signature = identity ? who.sign(m.nodeIdMessage(this.chain.chainId, this.registry, who.address)) : '';
      args = m.cat(args, m.u64(stake ?? 0), m.u64(retention), m.sized(id), m.sized(identity ? '1.2.3.4:31244' : ''), m.sized(signature));
    }
    const done = this.ok('registerStorageNode', args, { from: who.address, coins });
    this.nodes.set(name, who);
    return done;
  }
  key(name) { return m.placementKey(this.nodes.get(name).address, this.registry); }

  segment(segment, chunkLengths = [5000, 1024, 1, 70_000]) {
    const made = s.madeSegment({ chainId: this.chain.chainId, segment, periods: this.segmentPeriods, chunkLengths });
    this.segments[segment] = made;
    return made;
  }
  beacon(round, salt = '') { return m.hash(Buffer.from(`beacon ${round} ${salt}`)); }
  answersFor(name, holding, round, beacon) {
    const leaves = holding.claim.sum;
    const base = { chainId: this.chain.chainId, registry: this.registry, round, key: this.key(name), beacon, leaves };
    return Array.from({ length: m.drawCount(leaves) }, (_, d) => [d, holding.answer(m.drawnLeaf({ ...base, d }))]);
  }
  /** Submits for a node; `parts` as of `submission`, node and round filled in. */
  submit(name, parts, options = {}) {
    const { content, args } = this.submitArgs(name, parts);
    return this.ok('submitProof', args, { from: this.nodes.get(name).address, coins: MAS, ...options, content });
  }
  submitArgs(name, parts, signature) {
    const round = parts.round ?? this.round;
    const content = m.submission({ node: this.nodes.get(name).address, round, ...parts });
    return { content, args: m.submitArgs(round, content, signature) };
  }
  refusesSubmit(message, name, parts, options = {}) {
    this.refuses(message, 'submitProof', this.submitArgs(name, parts).args, { from: this.nodes.get(name).address, coins: MAS, ...options });
  }

  info(name) {
    const b = this.view('getNodeInfo', m.sized(this.nodes.get(name)?.address ?? name));
    return b.length === 0 ? null : readNode(b);
  }
  result(name, round) {
    const b = this.view('getRoundResult', m.cat(m.sized(this.nodes.get(name).address), m.u64(round)));
    return { credit: b.readBigUInt64LE(96), state: b[104], draws: b[105], passes: b[106], reason: b[107], refuted: b[108], drawReasons: [...b.subarray(112, 112 + b[105])], stake: b.readBigUInt64LE(16) };
  }
  stats(round) {
    const b = this.view('getPeriodStats', m.u64(round * this.P));
    const names = ['period', 'totalGbStored', 'totalRewardsDistributed', 'activeNodes', 'challengesIssued', 'challengesPassed', 'claimStake',
      'leaves', 'claimWeight', 'answers', 'rate', 'reserve', 'slashPercentage', 'nodeCount'];
    const stats = Object.fromEntries(names.map((n, i) => [n, b.readBigUInt64LE(8 * i)]));
    return { ...stats, frozen: b[112], accepted: b[113], closed: b[114], paused: b[115] };
  }

  /** Registers nodes in round 0, has segment 0 anchored in round 1, and everybody claim all of it for round 2 (in round 1). */
  static running(names = ['ann', 'bob', 'cat'], options = {}) {
    const world = new World(options);
    for (const name of names) world.register(name, 10, { stake: options.stakes?.[name] });
    const segment = world.segment(0, options.chunkLengths);
    world.holding = new s.Holding([segment]);
    world.at(1, Math.floor(0.6 * world.P));
    for (const name of names) world.submit(name, { roots: [[0, segment.root]] });
    world.at(1, Math.floor(0.7 * world.P));
    for (const name of names) world.submit(name, { claim: world.holding.claim });
    return world;
  }
  /** Nine nodes, all filled and unchanged long enough: round 8 is claimed by all. `ranked`: by their score for one chunk. */
  static steady(options = {}) {
    const names = Array.from({ length: 9 }, (_, i) => 'node' + i);
    const world = World.running(names, options);
    for (let round = 2; round < 9; round++) {
      world.at(round, 3);
      for (const name of names) world.honest(name);
    }
    world.at(8, 10);
    const position = world.segments[0].position(0);
    const { id } = world.segments[0].chunks[0];
    const ranked = names.map((name) => ({ name, score: m.score(id, world.key(name), 10n) })).sort((a, b) => (a.score < b.score ? -1 : 1)).map((n) => n.name);
    const address = (name) => world.nodes.get(name).address;
    const witnesses = (list) => m.cat(...list.map(address).sort().map((a) => m.sized(a)));
    const args = (name, round, list, proof = world.holding.exhibit(position)) => m.cat(m.sized(address(name)), m.u64(round), m.sized(proof), witnesses(list));
    return { world, ranked, args, address };
  }
  /** An honest answer to the current round, with the claim for the next one. */
  honest(name, { beacon = this.beacon(this.round), claim = this.holding.claim, holding = this.holding, change = (a) => a } = {}) {
    const answers = change(this.answersFor(name, holding, this.round, beacon));
    return this.submit(name, { beacon, answers, claim });
  }
}

export function readNode(b) {
  let at = 0;
  const u64 = () => { at += 8; return b.readBigUInt64LE(at - 8); };
  const flag = () => { at += 1; return b[at - 1] === 1; };
  const text = () => { const n = b.readUInt32LE(at); at += 4 + n; return b.subarray(at - n, at).toString(); };
  const node = { address: text(), allocatedGb: u64(), registeredPeriod: u64(), totalChallenges: u64(), passedChallenges: u64(),
    pendingRewards: u64(), lastChallengedPeriod: u64(), active: flag(), stake: u64(), matured: u64(), weight: u64(), weightSoon: u64(),
    leaveRound: u64(), lastCounted: u64(), noClaimBefore: u64(), retentionPeriods: u64(), votesRound: u64(), filled: flag(), hasKey: flag() };
  node.key = b.subarray(at, at + 32);
  at += 32;
  node.nodeId = text();
  node.addresses = text();
  assert.equal(at, b.length);
  return node;
}

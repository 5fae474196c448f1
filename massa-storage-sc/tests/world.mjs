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
    const names = ['stakes', 'credited', 'reserves', 'pool', 'toBurn', 'burned', 'keyed', 'nextSegment', 'lastAccepted'];
    return { ...Object.fromEntries(names.map((name, i) => [name, b.readBigUInt64LE(8 * i)])), proven: b[72] === 1, pauseFrom: b.readBigUInt64LE(80), pauseUntil: b.readBigUInt64LE(112), flagsFrom: b.readBigUInt64LE(104) };
  }

  /** What nodes have earned and were not paid, counted one by one in their records: credit, and what answers of closed rounds will have. */
  creditOfNodes() {
    const rows = [...this.chain.data];
    const at = (b, offset) => b.readBigUInt64LE(offset);
    let sum = 0n;
    for (const [, node] of rows.filter(([key]) => key.startsWith('node_'))) {
      sum += at(node, 144);
      for (const slot of [0, 1, 2].map((i) => node.subarray(208 + 128 * i, 336 + 128 * i))) {
        sum += at(slot, 96);
        if (slot[104] !== 2) continue;
        const round = this.chain.data.get(`period_${at(slot, 0) * BigInt(this.P)}`);
        const counted = round[106] === 1 && round[105] === 1 && round.subarray(112, 144).equals(slot.subarray(64, 96));
        if (counted) sum += (at(slot, 8) * BigInt(this.P) * at(round, 56) * BigInt(slot[106])) / (BigInt(slot[105]) << 20n);
      }
    }
    return sum;
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

  segment(segment, chunkLengths = [5000, 1024, 1, 70_000], previous = undefined) {
    const made = s.madeSegment({ chainId: this.chain.chainId, segment, periods: this.segmentPeriods, chunkLengths, previous });
    this.segments[segment] = made;
    return made;
  }
  /** What has the segment before this one anchored. */
  anchorArgs(segment, { leaf, path } = {}) {
    const made = this.segments[segment];
    return m.cat(m.u64(segment), m.sized(leaf ?? made.contents[0]), m.sized(path ?? m.encodePath(made.headerPath())));
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

  /** The fields of the one event of a submission. */
  told(done) {
    const event = done.events.find((e) => e.startsWith('ROUND_SUBMITTED:'));
    const [node, round, answers, roots, claim, ...draws] = event.slice('ROUND_SUBMITTED:'.length).split(',');
    return { node, round, answers, roots, claim, draws };
  }
  /** The submission is taken, and a part of it skipped: of several the answers, then the roots, then the claim. */
  skips(reason, name, parts, options) {
    const told = this.told(this.submit(name, parts, options));
    const field = parts.beacon ? told.answers : parts.roots ? told.roots.replace(/^\d+ \((.*)\)$/, '$1') : told.claim;
    assert.equal(field, reason);
  }

  info(name) {
    const b = this.view('getNodeInfo', m.sized(this.nodes.get(name)?.address ?? name));
    return b.length === 0 ? null : readNode(b);
  }
  result(name, round) {
    const b = this.view('getRoundResult', m.cat(m.sized(this.nodes.get(name).address), m.u64(round)));
    return { credit: b.readBigUInt64LE(96), state: b[104], draws: b[105], passes: b[106], reason: b[107], refuted: b[108], filled: b[109] === 1, drawReasons: [...b.subarray(112, 112 + b[105])], stake: b.readBigUInt64LE(16) };
  }
  stats(round) {
    const b = this.view('getPeriodStats', m.u64(round * this.P));
    const names = ['period', 'totalGbStored', 'totalRewardsDistributed', 'activeNodes', 'challengesIssued', 'challengesPassed', 'claimStake',
      'leaves', 'electorate', 'answers', 'rate', 'reserve', 'slashPercentage', 'nodeCount'];
    const after = ['previousAccepted', 'factor', 'beaconStake', 'provenLeaves', 'provenWeight', 'lastingWeight'];
    const stats = Object.fromEntries(names.map((n, i) => [n, b.readBigUInt64LE(8 * i)]));
    const more = Object.fromEntries(after.map((n, i) => [n, b.readBigUInt64LE(148 + 8 * i)]));
    return { ...stats, ...more, frozen: b[112], accepted: b[113], closed: b[114], paused: b[115], beacon: b.subarray(116, 148) };
  }

  /** Has a segment accepted as if it had been voted for: votes weigh from the second round on. */
  anchor(made, round = 1) {
    this.chain.data.get('state').writeBigUInt64LE(BigInt(made.segment) + 1n, 56);
    this.chain.data.set(`segment_${made.segment}`, m.cat(made.root, m.u64(round)));
  }
  /** Registers nodes in round 0, has segment 0 anchored, and everybody claim all of it for round 2 (in round 1). */
  static running(names = ['ann', 'bob', 'cat'], options = {}) {
    const world = new World(options);
    for (const name of names) world.register(name, 10, { stake: options.stakes?.[name], retention: options.retentions?.[name] });
    const segment = world.segment(0, options.chunkLengths);
    world.holding = new s.Holding([segment]);
    world.anchor(segment);
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
    const args = (name, round, list, options) => world.refutation(name, round, list, position, options);
    return { world, ranked, args, address };
  }
  /** What refutes the claim of `name` to a position: witnesses that hold what `holdings` says, by default all the same. Or a proof alone. */
  refutation(name, round, witnesses, position, options = {}) {
    const { proof, holdings = {} } = Buffer.isBuffer(options) ? { proof: options } : options;
    const address = (n) => this.nodes.get(n).address;
    const held = (n) => holdings[n] ?? this.holding;
    const sorted = [...witnesses].sort((a, b) => (address(a) < address(b) ? -1 : 1));
    const shown = sorted.map((n) => m.cat(m.sized(address(n)), m.sized(held(n).sumPath(position))));
    return m.cat(m.sized(address(name)), m.u64(round), m.sized(proof ?? held(name).exhibit(position)), ...shown);
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
    pendingRewards: u64(), lastChallengedPeriod: u64(), active: flag(), stake: u64(), claimable: u64(), weight: u64(), weightSoon: u64(),
    leaveRound: u64(), lastCounted: u64(), noClaimBefore: u64(), retentionPeriods: u64(), votesRound: u64(), voteWeight: u64(), filled: flag(), hasKey: flag() };
  node.key = b.subarray(at, at + 32);
  at += 32;
  node.nodeId = text();
  node.addresses = text();
  node.allocatedGbNow = u64();
  node.allocatedGbFrom = u64();
  assert.equal(at, b.length);
  return node;
}

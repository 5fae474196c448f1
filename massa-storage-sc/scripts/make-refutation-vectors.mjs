// Writes ../tests/data/contract-refutation-vectors.json: random refutations, and what the compiled contract said of each. The Rust
// side must find the same, with the same words, and must hold nobody for refutable who holds by its placement.
import { writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';
import * as s from '../tests/segment.mjs';
import { ADMIN, World } from '../tests/world.mjs';

const hexOf = (b) => Buffer.from(b).toString('hex');
const ROUNDS = [7, 8];
const CASES = 150;
const NODES = 9;
/** From 0 to below `count`, the next of a fixed sequence. */
let drawn = 0;
const random = (count) => m.hash(Buffer.from('refutation'), m.u32(drawn++)).readUInt32LE() % count;
const pick = (list) => list[random(list.length)];

// Rounds of four segments: of 36 segments kept, the last are those from 0 on until round 8 ends. Node 7 misses a draw in each round,
// so it is never filled; some claim less than all.
const world = new World();
const names = Array.from({ length: NODES }, (_, i) => 'node' + i);
for (const name of names) {
  const retention = random(2) * (30 + random(7)) * world.segmentPeriods;
  world.register(name, 5 + random(16), { retention: retention && retention + random(world.segmentPeriods) });
}
const segments = [];
for (const number of [0, 1, 2]) {
  segments.push(world.segment(number, [5000, 1024, 1, 70_000], segments.at(-1)?.root));
  world.anchor(segments[number]);
}
const without = (rarely) => new s.Holding(segments, () => random(rarely) > 0);
const holdings = Object.fromEntries(names.map((name, i) => [name, i % 3 === 0 ? without(8) : new s.Holding(segments)]));
const claim = (name) => holdings[name].claim;
world.at(1, 70);
for (const name of names) world.submit(name, { claim: claim(name) });
for (let round = 2; round < 9; round++) {
  world.at(round, 3);
  // Node 8 claims nothing for round 8.
  for (const name of names.slice(0, round < 7 ? 9 : 8)) {
    const change = name === 'node7' ? (answers) => answers.slice(1) : undefined;
    world.honest(name, { holding: holdings[name], claim: claim(name), change });
  }
}
world.at(8, 10);
const { chain } = world;
const address = (name) => world.nodes.get(name).address;

function refutation() {
  const round = pick(ROUNDS);
  const accused = pick(names);
  const position = pick([...holdings[accused].chunks.keys()]);
  const { id } = holdings[accused].chunks.get(position);
  // Mostly those with the lowest scores, who are refused for another reason than their scores.
  const score = (name) => m.score(id, world.key(name), BigInt(world.info(name).weight));
  const ranked = [...names].sort((a, b) => (score(a) < score(b) ? -1 : 1)).filter((name) => name !== accused || random(20) === 0);
  const among = ranked.slice(0, pick([4, 5, 9]));
  const witnesses = new Set();
  while (witnesses.size < 3) witnesses.add(pick(among));
  const shown = (name) => (holdings[name].chunks.has(position) ? holdings[name] : { sumPath: () => Buffer.alloc(8) });
  const paths = Object.fromEntries(names.map((name) => [name, shown(name)]));
  const proof = holdings[accused].exhibit(position);
  const args = world.refutation(accused, round, [...witnesses], position, { proof, holdings: paths });
  const done = chain.call('refuteClaim', args, { from: ADMIN.address, readOnly: true });
  return { parameter: hexOf(args), error: done.error ?? null };
}

const cases = Array.from({ length: CASES }, refutation);
const row = (key) => hexOf(chain.data.get(key));
export const vectors = {
  about: 'Random refutations, and what the compiled registry contract said of each; made by massa-storage-sc/scripts/make-refutation-vectors.mjs.',
  config: row('config'),
  state: row('state'),
  nodes: names.map((name) => ({ address: address(name), row: row('node_' + address(name)) })),
  rounds: ROUNDS.map((round) => ({ round, row: row(`period_${round * world.P}`) })),
  roots: segments.map((segment) => hexOf(segment.root)),
  cases,
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/contract-refutation-vectors.json', import.meta.url), text);
}

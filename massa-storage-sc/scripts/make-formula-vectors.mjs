// Writes ../tests/data/contract-formula-vectors.json: draws, challenge ids, numbers of draws and credits, made with tests/model.mjs, which
// shares no code with the contract. tests/vectors.test.mjs holds the contract to them, tests/contract_vectors.rs the node.
import { writeFileSync } from 'node:fs';
import * as m from '../tests/model.mjs';

const CHAIN = 77n;
const REGISTRY = 'AS12EXAMPLEregistryEXAMPLEregistryEXAMPLEregistry111';
const NODE = 'AU12EXAMPLEnodeEXAMPLEnodeEXAMPLEnodeEXAMPLEnode1111';
const ROUND = 7;
const LEAVES = 1_105n;
const key = m.placementKey(NODE, REGISTRY);
const beacon = m.hash(Buffer.from('beacon'));
const base = { chainId: CHAIN, registry: REGISTRY, round: ROUND, key, beacon, leaves: LEAVES };

const draws = [0, 1, 2, 3, 15].map((d) => ({ d, leaf: String(m.drawnLeaf({ ...base, d })), challenge_id: m.challengeId({ ...base, node: NODE, d }) }));

/** What each claim earns with passes of draws at a rate in a round of some periods. */
const credits = [
  { leaves: '1048576', periods: 100, rate: '1000000', passes: 4, draws: 4, credit: '100000000' },
  { leaves: '3000', periods: 100, rate: '1000000', passes: 3, draws: 4, credit: '214576' },
  { leaves: '3000', periods: 400, rate: '1000000', passes: 3, draws: 4, credit: '858306' },
  { leaves: '17592186044416', periods: 16384, rate: '1000', passes: 16, draws: 16, credit: '274877906944000' },
];

const vectors = {
  about: 'Draws and formulas of the registry, made by massa-storage-sc/scripts/make-formula-vectors.mjs. Numbers of 64 bits are decimal texts.',
  chain_id: String(CHAIN), registry: REGISTRY, node: NODE, round: ROUND, placement_key: key.toString('hex'), beacon: beacon.toString('hex'),
  leaves: String(LEAVES), draws,
  draw_counts: ['1', '268435455', '268435456', '3221225471', '3221225472', '17592186044416'].map((t) => ({ leaves: t, draws: m.drawCount(BigInt(t)) })),
  credits,
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/contract-formula-vectors.json', import.meta.url), text);
}

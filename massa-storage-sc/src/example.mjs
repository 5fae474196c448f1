// The life of a storage node by hand, through massa-web3: deploys a registry of its own with short rounds, registers, votes for a
// segment root, claims, answers the draws, is paid by a bounty and by the registry, leaves and gets its stake back.
//
//   JSON_RPC_URL=http://127.0.0.1:33035 PRIVATE_KEY=S… npm run example        (of an account with 50 MAS; the stake comes back)
//
// On a local network (scripts/localnet) that takes some minutes: leaving alone takes ten rounds of 16 periods. A real node does all of
// this by itself, with the chain's archive; what is stored here is made up, and this account alone is the electorate that anchors it.
import { readFileSync } from 'node:fs';
import { Account, Args, JsonRpcProvider, OperationStatus, SmartContract, formatMas, parseMas } from '@massalabs/massa-web3';
import base58check from 'bs58check';
import * as m from '../tests/model.mjs';
import { Holding, madeSegment } from '../tests/segment.mjs';

const MAS = 1_000_000_000n;
const GB = 10n;
const SEGMENT_PERIODS = 4;
const ROUND_SEGMENTS = 4;
/** P: periods of a round. */
const P = SEGMENT_PERIODS * ROUND_SEGMENTS;
const LEAVE_ROUNDS = 10;
/** What any call here needs, so that none is tried first: a trial runs in the next slot, where the answers' window may not be open yet. */
const MAX_GAS = 60_000_000n;
const POLL_MS = 150;
/** Without a new period for so long, the network stands still. */
const STALL_MS = 120_000;
/** Rounds in which a claim may be tried: an operation can come too late for the window of its round. */
const TRIES = 4;

const setting = (name) => {
  const value = process.env[name]?.trim();
  if (!value) throw new Error(`${name} is not set`);
  return value;
};
const wasm = (name) => readFileSync(new URL(`../build/${name}.wasm`, import.meta.url));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text) => console.log(text);

const account = await Account.fromPrivateKey(setting('PRIVATE_KEY'));
const provider = JsonRpcProvider.fromRPCUrl(setting('JSON_RPC_URL'), account);
const me = account.address.toString();
const { chainId } = await provider.networkInfos();
const { config } = await provider.getNodeStatus();

const periodNow = async () => Number((await provider.client.getCurrentSlot()).period);
const balance = async () => (await provider.balanceOf([me], true))[0].balance;

/** Waits for a period, with a line now and then. */
async function untilPeriod(period, what) {
  let [now, since] = [await periodNow(), Date.now()];
  if (now < period) say(`… ${what}: now is period ${now}, it begins with ${period}`);
  for (let told = Date.now(); now < period; ) {
    await sleep(POLL_MS);
    const next = await periodNow();
    if (next > now) since = Date.now();
    if (Date.now() - since > STALL_MS) throw new Error(`no new period after ${now}`);
    now = next;
    if (Date.now() - told < 15_000) continue;
    say(`… ${what}: ${period - now} periods left`);
    told = Date.now();
  }
}

/** Sends a call, waits until it is final, and gives its events. Calls are told apart by their gas: there is no nonce. */
let sent = 0n;
async function call(contract, fn, args, coins = MAS) {
  const operation = await contract.call(fn, args, { coins, maxGas: MAX_GAS + sent++ });
  const status = await operation.waitFinalExecution();
  const events = (await provider.getEvents({ operationId: operation.id, isFinal: true })).map((event) => event.data);
  if (status !== OperationStatus.Success) throw new Error(`${fn}: ${OperationStatus[status]}: ${events.join('; ')}`);
  for (const event of events) say(`  ${event}`);
  return events;
}

async function read(contract, fn, args) {
  const { value, info } = await contract.read(fn, args);
  if (info.error) throw new Error(`${fn}: ${info.error}`);
  return value;
}

/** The fields of getNodeInfo that are shown here: the plan's, the stake, and what can be claimed. */
async function nodeInfo(registry) {
  const args = new Args(await read(registry, 'getNodeInfo', new Args().addString(me)));
  const node = { address: args.nextString(), allocatedGb: args.nextU64(), registeredPeriod: args.nextU64(), totalChallenges: args.nextU64() };
  Object.assign(node, { passedChallenges: args.nextU64(), pendingRewards: args.nextU64(), lastChallengedPeriod: args.nextU64() });
  return Object.assign(node, { active: args.nextBool(), stake: args.nextU64(), claimable: args.nextU64() });
}

/** Ids of the final blocks of a period, one for each thread, nothing for a miss; waits until all of them are known. */
async function finalBlocks(period) {
  for (let since = Date.now(); Date.now() - since < STALL_MS; await sleep(POLL_MS)) {
    const begin = Number(config.genesisTimestamp) + period * Number(config.t0);
    const blocks = (await provider.client.getGraphInterval(begin, Date.now())).filter((block) => block.is_final);
    const threads = Array.from({ length: Number(config.threadCount) }, (_, thread) => blocks.filter(({ slot }) => slot.thread === thread));
    // A later final block of its thread says that a slot was missed.
    if (!threads.every((own) => own.some(({ slot }) => slot.period >= period))) continue;
    return threads.map((own) => own.find(({ slot }) => slot.period === period)?.id);
  }
  throw new Error(`the blocks of period ${period} do not become final`);
}

/** b of a round: README, "A round". */
async function beaconOf(registry, round) {
  const ids = (await finalBlocks(round * P + 2)).map((id) => (id ? m.cat(m.u8(1), Buffer.from(base58check.decode(id.slice(1)))) : m.u8(0)));
  const context = m.cat(m.u64(chainId), m.u8(registry.length), Buffer.from(registry), m.u64(round));
  return m.hash(Buffer.from('massa distributed storage: beacon'), context, m.u8(ids.length), ...ids);
}

async function deploy(name, args, coins) {
  const contract = await SmartContract.deploy(provider, wasm(name), args, { coins, waitFinalExecution: true });
  say(`${name}: ${contract.address}`);
  return contract;
}

/** The plan's six fields, then the others, so that rounds are short. The first segment is the first of the open round. */
function constructorArgs(firstSegment) {
  const fields = [1_000_000_000n, 1n, 1_000n, 600_000n, 10n, GB * MAS, MAS, 3n, 65_536n, BigInt(SEGMENT_PERIODS), BigInt(firstSegment), BigInt(ROUND_SEGMENTS)];
  return fields.reduce((args, field) => args.addU64(field), new Args().addString(me));
}

const submission = (parts) => m.submission({ node: me, ...parts });
const submit = (registry, parts) =>
  call(registry, 'submitProof', new Args().addString(String(parts.round)).addUint8Array(submission(parts)).addUint8Array(new Uint8Array()));

/** Claims the next round, and answers its draws; gives the round, or nothing if the answer came too late. */
async function oneRound(registry, holding, roots) {
  const round = Math.floor((await periodNow()) / P);
  const [told] = (await submit(registry, { round, roots, claim: holding.claim })).filter((event) => event.startsWith('ROUND_SUBMITTED:'));
  if (told.split(',')[4] !== String(holding.claim.sum)) throw new Error(`not claimed: ${told}`);
  const next = round + 1;
  await untilPeriod(next * P + 3, `round ${next} is drawn`);
  const beacon = await beaconOf(registry.address, next);
  const base = { chainId, registry: registry.address, round: next, key: m.placementKey(me, registry.address), beacon, leaves: holding.claim.sum };
  const draws = Array.from({ length: m.drawCount(holding.claim.sum) }, (_, d) => m.drawnLeaf({ ...base, d }));
  say(`draws of round ${next}: leaves ${draws.join(', ')} of ${holding.claim.sum}`);
  const events = await submit(registry, { round: next, beacon, answers: draws.map((leaf, d) => [d, holding.answer(leaf)]) });
  const fields = events.find((event) => event.startsWith('ROUND_SUBMITTED:')).split(',');
  if (fields[2] !== 'answered') return undefined;
  if (fields.slice(5).some((reason) => reason !== '0')) throw new Error(`a draw failed: ${fields}`);
  return next;
}

/** Someone offers coins for the proof that a slot was missed; the registry's anchored history has it. */
async function bounty(registry, segment) {
  const contract = await deploy('history-bounty', new Args().addString(registry.address), MAS);
  const question = () => new Args().addU64(BigInt(segment.periods[1].number)).addU8(0n).addUint8Array(new Uint8Array());
  await call(contract, 'offer', question(), 5n * MAS);
  await call(contract, 'take', question().addUint8Array(segment.blockProof(segment.periods[1].number, 0)), 0n);
}

async function main() {
  const before = await balance();
  say(`account ${me} has ${formatMas(before)} MAS`);
  const opened = Math.floor((await periodNow()) / P);
  const registry = await deploy('storage-registry', constructorArgs(opened * ROUND_SEGMENTS), parseMas('1'));
  await call(registry, 'fund', undefined, 10n * MAS);

  say('\n1. register');
  await call(registry, 'registerStorageNode', new Args().addU64(GB), GB * MAS + MAS);
  const { registeredPeriod, allocatedGb } = await nodeInfo(registry);
  say(`  ${allocatedGb} GB, from the second round after this one on`);
  const joined = Math.floor(Number(registeredPeriod) / P);
  await untilPeriod((joined + 2) * P, 'the stake votes');

  say('\n2. claim and answer');
  const segment = madeSegment({ chainId, threads: Number(config.threadCount), segment: opened * ROUND_SEGMENTS, periods: SEGMENT_PERIODS, chunkLengths: [65_536, 5_000] });
  const holding = new Holding([segment]);
  let answered;
  for (let tries = 0; answered === undefined; tries++) {
    if (tries === TRIES) throw new Error(`no answer was in time in ${TRIES} rounds`);
    answered = await oneRound(registry, holding, [[segment.segment, segment.root]]);
  }
  const accepted = new Args(await read(registry, 'getSegmentRoot', new Args().addU64(BigInt(segment.segment))));
  if (accepted.serialize().length !== 40) throw new Error('the root is not anchored');

  say('\n3. a bounty for history');
  await bounty(registry, segment);

  say('\n4. leave');
  const leaving = (await call(registry, 'unregisterStorageNode')).at(-1);
  const free = Number(leaving.split(',')[1]) - 2 + LEAVE_ROUNDS;

  say('\n5. claim rewards');
  await untilPeriod((answered + 2) * P, 'the credit matures');
  const { pendingRewards, claimable, passedChallenges } = await nodeInfo(registry);
  say(`  ${passedChallenges} draws passed, ${formatMas(claimable)} of ${formatMas(pendingRewards)} MAS can be claimed`);
  const paid = (await call(registry, 'claimRewards')).at(-1);
  if (claimable === 0n || paid !== `REWARDS_CLAIMED:${me},${claimable}`) throw new Error(`not what was to be claimed: ${paid}`);

  say('\n6. take the stake back');
  await untilPeriod(free * P, `the stake is free, in round ${free}`);
  const left = (await call(registry, 'unregisterStorageNode')).at(-1);
  if (left !== `STORAGE_NODE_UNREGISTERED:${me},${GB * MAS}`) throw new Error(`not the whole stake: ${left}`);
  say(`\nregistered, answered, paid and left: ${formatMas(before - (await balance()))} MAS went into the registry's pool, storage and fees`);
}

await main();

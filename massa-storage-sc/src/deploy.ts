// Deploys build/storage-registry.wasm; the last line of its output is the address.
//
// Environment, or a file .env:
//   JSON_RPC_URL  public API of a node, for instance http://127.0.0.1:33035
//   PRIVATE_KEY   of who pays and, without ADMIN, becomes the admin
//   ADMIN         address of the admin
//   COINS         MAS for storage and for the pool that pays rewards; 1 without it
// and any field of StorageConfig by its name, for instance MIN_STAKE for minStake (nanoMAS).
import 'dotenv/config';
import { readFileSync } from 'node:fs';
import {
  Account,
  Address,
  Args,
  JsonRpcProvider,
  OperationStatus,
  PublicAPI,
  parseMas,
  type DeploySCParams,
  type Operation,
} from '@massalabs/massa-web3';

/**
 * The fields of StorageConfig, in order, with the values of a new network. Amounts in nanoMAS. The first segment is the first of
 * the open round.
 */
const CONFIG: [string, bigint][] = [
  ['rewardPerGbPerPeriod', 20_000n],
  ['minAllocatedGb', 1n],
  ['maxAllocatedGb', 16_384n],
  ['challengeResponseTimeout', 600_000n],
  ['slashPercentage', 10n],
  ['minStake', 100_000_000_000n],
  ['stakePerGb', 1_000_000_000n],
  ['replicationFactor', 3n],
  ['chunkSizeBytes', 1_048_576n],
  ['challengeFrequencyPeriods', 100n],
  ['firstSegment', 0n],
  ['roundSegments', 4n],
];
const MAX_U64 = 2n ** 64n - 1n;
/** The client alone waits 60 s: with periods of 16 s, inclusion and finality can take longer. */
const FINAL_TIMEOUT_MS = 300_000;
const WASM = new URL('../build/storage-registry.wasm', import.meta.url);

/** What the user can mend; everything else is told with what was being done. */
class Problem extends Error {}

/** Shows the operation before it is final. */
class Deployer extends JsonRpcProvider {
  send(params: DeploySCParams): Promise<Operation> {
    return this.deploy(params);
  }
}

/** The environment's value, if there is one. */
function setting(name: string): string | undefined {
  const value = process.env[name]?.trim();
  return value === '' ? undefined : value;
}

function required(name: string): string {
  const value = setting(name);
  if (value === undefined) throw new Problem(`${name} is not set`);
  return value;
}

/** Reads a value; a failure names it. Never shows the value itself: it may be a key. */
async function parsed<T>(name: string, wanted: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch {
    throw new Problem(`${name} is not ${wanted}`);
  }
}

async function coins(): Promise<bigint> {
  const amount = await parsed('COINS', 'an amount of MAS', () => parseMas(setting('COINS') ?? '1'));
  if (amount <= 0n) throw new Problem('COINS must be more than 0: the registry pays for its storage');
  return amount;
}

async function url(): Promise<string> {
  const text = required('JSON_RPC_URL');
  const { protocol } = await parsed('JSON_RPC_URL', 'a URL', () => new URL(text));
  if (protocol !== 'http:' && protocol !== 'https:') throw new Problem('JSON_RPC_URL is not an http or https URL');
  return text;
}

async function admin(deployer: string): Promise<string> {
  const address = setting('ADMIN') ?? deployer;
  await parsed('ADMIN', 'an address', () => Address.fromString(address));
  return address;
}

function configField(field: string, standard: bigint): bigint {
  const name = field.replace(/[A-Z]/g, (letter) => '_' + letter).toUpperCase();
  const given = setting(name);
  if (given === undefined) return standard;
  if (!/^[0-9]+$/.test(given) || BigInt(given) > MAX_U64) throw new Problem(`${name} is not a whole number of 64 bits`);
  return BigInt(given);
}

function bytecode(): Uint8Array {
  try {
    return readFileSync(WASM);
  } catch {
    throw new Problem('build/storage-registry.wasm is missing: npm run build makes it');
  }
}

/** One line that says what went wrong. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? ` (${error.cause.message || (error.cause as { code?: string }).code})` : '';
  return (error.message + cause).replace(/\s+/g, ' ').trim();
}

/** The first segment of the open round. What came before would be decided by whoever registers first. */
async function firstOfRound(provider: Deployer, segmentPeriods: bigint, roundSegments: bigint): Promise<bigint> {
  const { lastSlot } = await provider.getNodeStatus();
  const periods = segmentPeriods * roundSegments;
  // The registry refuses a round of nothing by name.
  return periods === 0n ? 0n : (BigInt(lastSlot?.period ?? 0) / periods) * roundSegments;
}

function indexOf(field: string): number {
  return CONFIG.findIndex(([name]) => name === field);
}

async function deploy(): Promise<string> {
  const wasm = bytecode();
  const rpc = await url();
  const key = required('PRIVATE_KEY');
  const account = await parsed('PRIVATE_KEY', 'a private key', () => Account.fromPrivateKey(key));
  const args = new Args().addString(await admin(account.address.toString()));
  const config = CONFIG.map(([field, standard]) => configField(field, standard));
  const amount = await coins();
  try {
    const provider = new Deployer(new PublicAPI(rpc), account);
    const [periods, first, segments] = ['challengeFrequencyPeriods', 'firstSegment', 'roundSegments'].map(indexOf);
    if (setting('FIRST_SEGMENT') === undefined) config[first] = await firstOfRound(provider, config[periods], config[segments]);
    for (const value of config) args.addU64(value);
    const operation = await provider.send({ byteCode: wasm, parameter: args, coins: amount });
    console.log(`sent as operation ${operation.id}; waiting until it is final`);
    const status = await operation.waitFinalExecution(FINAL_TIMEOUT_MS);
    if (status === OperationStatus.NotFound) {
      throw new Problem(`operation ${operation.id} was not final within ${FINAL_TIMEOUT_MS / 1000} s`);
    }
    // Candidate events may be gone already; the error of a failed deployment is among the final ones.
    return await operation.getDeployedAddress(true);
  } catch (error) {
    throw new Problem(`not deployed over ${new URL(rpc).origin}: ${reason(error)}`);
  }
}

// The client asks for the operation in a timer, where nothing else catches that the node no longer answers.
process.on('unhandledRejection', (error) => {
  console.error(`deploy: sent, but not known to be final: ${reason(error)}`);
  process.exit(1);
});

try {
  const address = await deploy();
  console.log(`storage registry deployed; for the config of every node: registry_address = "${address}"`);
  console.log(address);
} catch (error) {
  console.error(`deploy: ${reason(error)}`);
  process.exitCode = 1;
}

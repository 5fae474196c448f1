// Deploys build/storage-registry.wasm and prints the address.
//
// Environment, or a file .env: JSON_RPC_URL, PRIVATE_KEY; optional: ADMIN (an address, the deployer without it), COINS (MAS for
// storage and the pool), and any field of StorageConfig by its name, for instance MIN_STAKE for minStake (nanoMAS).
import 'dotenv/config';
import { readFileSync } from 'node:fs';
import { Account, Args, JsonRpcProvider, SmartContract, parseMas } from '@massalabs/massa-web3';

/** The fields of StorageConfig, in order, with the values of a new network. Amounts in nanoMAS. */
const CONFIG: [string, bigint][] = [
  ['rewardPerGbPerPeriod', 1_000_000n],
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
];

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function constructorArgs(admin: string): Args {
  const args = new Args().addString(admin);
  for (const [field, standard] of CONFIG) {
    const given = process.env[field.replace(/[A-Z]/g, (letter) => '_' + letter).toUpperCase()];
    args.addU64(given === undefined ? standard : BigInt(given));
  }
  return args;
}

const account = await Account.fromPrivateKey(required('PRIVATE_KEY'));
const provider = JsonRpcProvider.fromRPCUrl(required('JSON_RPC_URL'), account);
const wasm = readFileSync(new URL('../build/storage-registry.wasm', import.meta.url));
const admin = process.env.ADMIN ?? account.address.toString();
const contract = await SmartContract.deploy(provider, wasm, constructorArgs(admin), {
  coins: parseMas(process.env.COINS ?? '1'),
  // Without it the client asks for events that are not final and may find none on a network that finalises fast.
  waitFinalExecution: true,
});
console.log(`storage registry deployed: ${contract.address}`);
console.log(`for the others' config: registry_address = "${contract.address}"`);

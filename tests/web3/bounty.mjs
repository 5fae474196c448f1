// The example contract on a running network, through the unmodified massa-web3: someone offers coins for the proof of a block of the
// archive, another brings what `massa-cli storage get-block --registry-proof` printed, and is paid.
//
// Environment: JSON_RPC_URL, REGISTRY (its address), PERIOD, THREAD, BLOCK_ID, PROOF (hexadecimal), PAYER_KEY and TAKER_KEY (private
// keys of accounts with coins). The last line of the output is what the taker was paid, in nanoMAS.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const contract = new URL('../../massa-storage-sc/', import.meta.url);
const require = createRequire(contract);
const { Account, Args, JsonRpcProvider, OperationStatus, SmartContract, parseMas } = require('@massalabs/massa-web3');
const { default: base58check } = require('bs58check');
const wasm = readFileSync(new URL('build/history-bounty.wasm', contract));

/** First byte of what `checkBlock` answers. */
const [BLOCK, OTHER_BLOCK] = [1, 2];
const env = process.env;
const proof = new Uint8Array(Buffer.from(env.PROOF, 'hex'));
const blockId = new Uint8Array(base58check.decode(env.BLOCK_ID.slice(1)));
assert.equal(blockId.length, 33);

const accounts = await Promise.all([env.PAYER_KEY, env.TAKER_KEY].map((key) => Account.fromPrivateKey(key)));
const [payer, taker] = accounts.map((account) => JsonRpcProvider.fromRPCUrl(env.JSON_RPC_URL, account));
const slot = (id) => new Args().addU64(BigInt(env.PERIOD)).addU8(BigInt(env.THREAD)).addUint8Array(id);

async function call(contract, fn, args, options) {
  const operation = await contract.call(fn, args, options);
  const status = await operation.waitFinalExecution();
  const events = await contract.provider.getEvents({ operationId: operation.id, isFinal: true });
  const told = events.map((event) => event.data);
  assert.equal(OperationStatus[status], 'Success', `${fn}: ${told}`);
  return told;
}

// The registry knows the block, and that another one is not it.
const registry = new SmartContract(payer, env.REGISTRY);
const ask = async (id) => {
  const { value, info } = await registry.read('checkBlock', slot(id).addUint8Array(proof));
  assert.equal(info.error, undefined);
  const args = new Args(value);
  return { found: Number(args.nextU8()), round: args.nextU64(), blockId: args.nextUint8Array() };
};
const answer = await ask(blockId);
assert.equal(answer.found, BLOCK);
assert.deepEqual(Buffer.from(answer.blockId), Buffer.from(blockId));
const other = Uint8Array.from(blockId, (byte, at) => (at === 32 ? byte ^ 1 : byte));
assert.equal((await ask(other)).found, OTHER_BLOCK);
console.log(`anchored in round ${answer.round}`);

const bounty = await SmartContract.deploy(payer, wasm, new Args().addString(env.REGISTRY), { coins: parseMas('1'), waitFinalExecution: true });
const coins = parseMas('5');
for (const id of [blockId, other]) await call(bounty, 'offer', slot(id), { coins });
const theirs = new SmartContract(taker, bounty.address);
await assert.rejects(theirs.call('take', slot(other).addUint8Array(proof)), /the registry does not confirm this/);
const [paid] = await call(theirs, 'take', slot(blockId).addUint8Array(proof));
const [, , , to, amount] = paid.slice('BOUNTY_PAID:'.length).split(',');
assert.deepEqual([to, BigInt(amount)], [accounts[1].address.toString(), coins]);
await call(bounty, 'withdraw', slot(other));
console.log(amount);

// The registry contract on a running network, through the unmodified massa-web3.
//
// Environment: JSON_RPC_URLS (public APIs of nodes, separated by commas), OPERATOR_KEY and OTHER_KEY (private keys of
// accounts with coins). Each step is one test; a step that fails ends the run, since the next ones build on it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const contract = new URL('../../massa-storage-sc/', import.meta.url);
const { Account, Args, JsonRpcProvider, OperationStatus, SmartContract, bytesToStr, parseMas } = createRequire(contract)(
  '@massalabs/massa-web3',
);
const wasm = readFileSync(new URL('build/storage-registry.wasm', contract));

/** Every wait has a deadline; the client's own is 60 s. */
const STEP_TIMEOUT_MS = 120_000;
const MAS = 1_000_000_000n;
const STAKE_PER_GB = MAS;
const MIN_STAKE = 10n * MAS;
/** The constructor's u64, in their order: see StorageConfig of the contract. Rounds are as long as they can be, so that none ends meanwhile. */
const CONFIG = [1_000_000n, 1n, 16_384n, 600_000n, 10n, MIN_STAKE, STAKE_PER_GB, 3n, 65_536n, 256n, 0n, 64n];
/** Offsets in a node's record: README of the contract, "State". */
const WEIGHT_NEXT_AT = 40;

const urls = process.env.JSON_RPC_URLS.split(',');
const operator = await Account.fromPrivateKey(process.env.OPERATOR_KEY);
const other = await Account.fromPrivateKey(process.env.OTHER_KEY);
const provider = JsonRpcProvider.fromRPCUrl(urls[0], operator);
const otherProvider = JsonRpcProvider.fromRPCUrl(urls[0], other);
const operatorAddress = operator.address.toString();

let failed = false;
async function step(name, run) {
  await test(name, { timeout: STEP_TIMEOUT_MS, skip: failed && 'an earlier step failed' }, async () => {
    const begin = Date.now();
    try {
      await run();
    } catch (error) {
      failed = true;
      throw error;
    }
    console.log(`${name}: ${Date.now() - begin} ms`);
  });
}

/** Waits until the operation is final; gives its events. */
async function finalEvents(operation, expected = OperationStatus.Success) {
  const status = await operation.waitFinalExecution();
  const events = await provider.getEvents({ operationId: operation.id, isFinal: true });
  const told = JSON.stringify(events.map((event) => event.data));
  assert.equal(OperationStatus[status], OperationStatus[expected], `${operation.id}: ${told}`);
  return events;
}

/** Waits until the deployment is final. */
async function finalDeployment() {
  const deadline = Date.now() + STEP_TIMEOUT_MS;
  const filter = { smartContractAddress: registry.address, isFinal: true };
  while ((await provider.getEvents(filter)).length === 0) {
    assert.ok(Date.now() < deadline, 'the deployment is not final');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function dataOf(events) {
  return events.map((event) => event.data);
}

/** The first fields of getNodeInfo. */
async function nodeInfo() {
  const { value, info } = await registry.read('getNodeInfo', new Args().addString(operatorAddress));
  assert.equal(info.error, undefined);
  if (value.length === 0) return undefined;
  const args = new Args(value);
  const node = { address: args.nextString(), allocatedGb: args.nextU64() };
  for (let skipped = 0; skipped < 5; skipped++) args.nextU64();
  Object.assign(node, { active: args.nextBool(), stake: args.nextU64() });
  return Object.assign(node, { matured: args.nextU64(), weight: args.nextU64(), weightSoon: args.nextU64() });
}

const balance = async (address, final = true) => (await provider.balanceOf([address], final))[0].balance;

/** The registry, once it is deployed. */
let registry;

await step('the node tells its state', async () => {
  const status = await provider.getNodeStatus();
  for (const part of ['config', 'connectedNodes', 'consensusStats', 'networkStats', 'executionStats', 'poolStats']) {
    const values = Object.entries(status[part]);
    for (const [name, value] of values) assert.notEqual(value, undefined, `${part}.${name}`);
  }
  const { chainId, minimalFee } = await provider.networkInfos();
  assert.deepEqual([chainId, minimalFee], [77n, parseMas('0.01')]);
});

await step('deploy', async () => {
  const args = CONFIG.reduce((args, value) => args.addU64(value), new Args().addString(operatorAddress));
  const coins = parseMas('5');
  const before = await balance(operatorAddress);
  // As a dapp does it: deploy waits until a candidate slot has executed it.
  registry = await SmartContract.deploy(provider, wasm, args, { coins });
  await finalDeployment();
  assert.match(registry.address, /^AS/);
  const code = await provider.client.getAddressesBytecode({ address: registry.address, is_final: true });
  assert.ok(Buffer.from(code).equals(wasm), 'the bytecode on chain is the file');
  const [held, paid] = [await balance(registry.address), before - (await balance(operatorAddress))];
  assert.ok(held > 0n && held < coins, `storage is paid from the coins: ${held} of ${coins} are left`);
  assert.ok(paid > coins, `the operator paid ${paid}`);
  const events = await provider.getEvents({ smartContractAddress: registry.address, isFinal: true });
  assert.deepEqual(dataOf(events), [`STORAGE_REGISTRY_CREATED:${operatorAddress}`]);
  assert.equal(events[0].context.call_stack[0], operatorAddress);
});

await step('read', async () => {
  const total = await registry.read('getTotalNodes');
  assert.deepEqual([new Args(total.value).nextU64(), total.info.error], [0n, undefined]);
  const config = new Args((await registry.read('getConfig')).value);
  assert.deepEqual(CONFIG.map(() => config.nextU64()), CONFIG);
  assert.equal(await nodeInfo(), undefined);
  const stranger = JsonRpcProvider.fromRPCUrl(urls[0]);
  const unnamed = await new SmartContract(stranger, registry.address).read('getTotalNodes');
  assert.equal(new Args(unnamed.value).nextU64(), 0n);
});

await step('register', async () => {
  const before = await balance(operatorAddress);
  // More than stake and storage need: the rest comes back.
  const operation = await registry.call('registerStorageNode', new Args().addU64(20n), { coins: parseMas('100') });
  const events = await finalEvents(operation);
  assert.deepEqual(dataOf(events), [`STORAGE_NODE_REGISTERED:${operatorAddress},20`]);
  const { context } = events[0];
  assert.deepEqual(context.call_stack, [operatorAddress, registry.address]);
  assert.deepEqual([context.origin_operation_id, context.is_final, context.is_error], [operation.id, true, false]);
  const spent = before - (await balance(operatorAddress));
  assert.ok(spent > 20n * MAS && spent < 21n * MAS, `${spent} were spent on stake, storage and fee`);
  const node = await nodeInfo();
  assert.deepEqual([node.address, node.weightSoon, node.active, node.stake], [operatorAddress, 20n, true, 20n * MAS]);
});

await step('update', async () => {
  const args = new Args().addU64(30n).addU64(10n * MAS);
  const operation = await registry.call('updateStorageAllocation', args, { coins: parseMas('11') });
  assert.deepEqual(dataOf(await finalEvents(operation)), [`STORAGE_NODE_UPDATED:${operatorAddress},20,30`]);
  assert.equal((await nodeInfo()).stake, 30n * MAS);
});

await step('fund, twice at once', async () => {
  const before = await balance(registry.address);
  const coins = parseMas('2');
  // There is no nonce: the same call in the same period is the same operation, so the second one allows other gas.
  const maxGas = await provider.getGasEstimation({ func: 'fund', target: registry.address, coins });
  const operations = [];
  for (const more of [0n, 1n]) operations.push(await registry.call('fund', undefined, { coins, maxGas: maxGas + more }));
  assert.notEqual(operations[0].id, operations[1].id);
  for (const operation of operations) {
    assert.deepEqual(dataOf(await finalEvents(operation)), [`FUNDED:${operatorAddress},${coins}`]);
  }
  assert.equal((await balance(registry.address)) - before, 2n * coins);
});

await step('events by their filters', async () => {
  const all = await provider.getEvents({ smartContractAddress: registry.address, isFinal: true });
  const names = dataOf(all).map((data) => data.split(':')[0]);
  assert.deepEqual(names, ['STORAGE_REGISTRY_CREATED', 'STORAGE_NODE_REGISTERED', 'STORAGE_NODE_UPDATED', 'FUNDED', 'FUNDED']);
  const since = all[3].context.slot;
  const later = await provider.getEvents({ smartContractAddress: registry.address, isFinal: true, start: since });
  assert.equal(later.length, 2);
  const earlier = await provider.getEvents({ smartContractAddress: registry.address, isFinal: true, end: since });
  assert.equal(earlier.length, 3);
  assert.deepEqual(await provider.getEvents({ callerAddress: other.address.toString() }), []);
  assert.deepEqual(await provider.getEvents({ smartContractAddress: registry.address, isError: true }), []);
});

await step('keys and entries of the datastore, alike on every node', async () => {
  const nodeKey = `node_${operatorAddress}`;
  const expected = ['admin', 'config', 'index_0', nodeKey, 'state', 'total_nodes'];
  for (const url of urls) {
    const client = JsonRpcProvider.fromRPCUrl(url);
    await until(`${url} has executed what the first node has`, async () => {
      const [entry] = await client.readStorage(registry.address, [nodeKey], true);
      return entry !== null && new DataView(entry.buffer).getBigUint64(WEIGHT_NEXT_AT, true) === 30n;
    });
    const keys = await client.getStorageKeys(registry.address);
    assert.deepEqual(keys.map(bytesToStr), expected);
    const byPrefix = await client.getStorageKeys(registry.address, new TextEncoder().encode('node_'));
    assert.deepEqual(byPrefix.map(bytesToStr), [nodeKey]);
    const [total, missing] = await client.readStorage(registry.address, ['total_nodes', 'nothing'], true);
    assert.deepEqual([new Args(total).nextU64(), missing], [1n, null]);
    const [{ final_datastore_keys: told }] = await client.client.getMultipleAddressInfo([registry.address]);
    assert.deepEqual(told.map((key) => Buffer.from(key)), keys.map((key) => Buffer.from(key)));
  }
});

await step('a call that fails', async () => {
  const again = new Args().addU64(20n);
  const coins = parseMas('100');
  // Without a gas limit the client tries it first, and says why not.
  await assert.rejects(registry.call('registerStorageNode', again, { coins }), /already registered/);
  const before = [await balance(operatorAddress), await balance(registry.address)];
  const operation = await registry.call('registerStorageNode', again, { coins, maxGas: 50_000_000n });
  const events = await finalEvents(operation, OperationStatus.Error);
  assert.equal(events.length, 1);
  assert.equal(events[0].context.is_error, true);
  assert.match(JSON.parse(events[0].data).massa_execution_error, /already registered/);
  const after = [await balance(operatorAddress), await balance(registry.address)];
  assert.deepEqual([before[0] - after[0], before[1] - after[1]], [parseMas('0.01'), 0n], 'the fee and nothing else');
  const { info } = await registry.read('noSuchFunction');
  assert.match(info.error, /noSuchFunction/);
});

await step('another account', async () => {
  const theirs = new SmartContract(otherProvider, registry.address);
  const transfer = await provider.transfer(other.address, parseMas('3'));
  await finalEvents(transfer);
  await assert.rejects(theirs.call('unregisterStorageNode'), /./);
  await assert.rejects(theirs.call('setPaused', new Args().addBool(true), { coins: parseMas('1') }), /only the admin may do this/);
  const operation = await theirs.call('registerStorageNode', new Args().addU64(1n), { coins: parseMas('11') });
  assert.deepEqual(dataOf(await finalEvents(operation)), [`STORAGE_NODE_REGISTERED:${other.address},1`]);
  assert.equal(new Args((await registry.read('getTotalNodes')).value).nextU64(), 2n);
});

await step('unregister', async () => {
  const operation = await registry.call('unregisterStorageNode', undefined, { coins: parseMas('1') });
  const [left] = dataOf(await finalEvents(operation));
  assert.match(left, new RegExp(`^STORAGE_NODE_LEAVING:${operatorAddress},[0-9]+$`));
  const node = await nodeInfo();
  assert.deepEqual([node.active, node.stake], [false, 30n * MAS]);
  await assert.rejects(
    registry.call('unregisterStorageNode', undefined, { coins: parseMas('1') }),
    /stake is locked until round/,
  );
});

/** Asks until it is so, 60 s at most. */
async function until(what, isSo) {
  const end = Date.now() + 60_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

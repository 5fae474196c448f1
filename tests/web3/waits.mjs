// What massa-web3's own waits come to with their default arguments, on a node that makes no block.
//
// Environment: JSON_RPC_URL (public API of the node), OPERATOR_KEY (private key of an account with coins). An error of a poll
// is one that nobody handles: it ends this program, as it would end a dapp.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../massa-storage-sc/', import.meta.url));
const { Account, JsonRpcProvider, Operation, OperationStatus, parseMas } = require('@massalabs/massa-web3');
const { default: bs58check } = require('bs58check');

/** As many as a page of an explorer shows. */
const UNKNOWN = 100;

const account = await Account.fromPrivateKey(process.env.OPERATOR_KEY);
const provider = JsonRpcProvider.fromRPCUrl(process.env.JSON_RPC_URL, account);

const unknownId = () => `O${bs58check.encode(Buffer.concat([Buffer.from([0]), randomBytes(32)]))}`;
const unknown = Promise.all(
  Array.from({ length: UNKNOWN }, () => new Operation(provider, unknownId()).waitFinalExecution()),
);

/** Waits for a new transfer; gives the period in which the wait ended, and the last one of the operation's validity. */
async function transfer(coins, wait) {
  const operation = await provider.transfer(account.address, parseMas(coins));
  const status = await wait(operation);
  const { lastSlot } = await provider.getNodeStatus();
  const { operation: told } = await provider.client.getOperation(operation.id);
  return { status, period: lastSlot.period, expires: told.content.expire_period, id: operation.id };
}

const waits = [
  ['1', (operation) => operation.waitSpeculativeExecution()],
  ['2', (operation) => operation.waitFinalExecution()],
];
for (const [coins, wait] of waits) {
  const { status, period, expires, id } = await transfer(coins, wait);
  assert.ok(status >= OperationStatus.SpeculativeSuccess, `${id}: ${OperationStatus[status]}`);
  // Operations leave the pool at the latest when they expire: that must not be what ends the wait.
  assert.ok(period < expires, `${id}: waited until period ${period}, it expires in ${expires}`);
}

for (const status of await unknown) assert.equal(status, OperationStatus.NotFound);
console.log(`${UNKNOWN} unknown operations, ${waits.length} transfers`);

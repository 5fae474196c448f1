// Our deployer, with the datastore that massa-web3 writes and the events that it reads.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Args, ArrayTypes } from '@massalabs/massa-web3';
import { populateDatastore } from '../node_modules/@massalabs/massa-web3/dist/cmd/smartContracts/deployerUtils.js';
import { compiled } from './compiled.mjs';
import { Chain, user } from './host.mjs';
import * as m from './model.mjs';
import { ADMIN, MAS, WASM } from './world.mjs';

const DEPLOYER = readFileSync(new URL('../build/deployer.wasm', import.meta.url));
const BYTE = 100_000n;
const ann = user('ann').address;
const argsOf = (config = m.DEFAULT_CONFIG) => m.cat(m.sized(ADMIN.address), m.encodeConfig(config));
const start = () => {
  const chain = new Chain(WASM);
  chain.balances.set(ann, 1_000n * MAS);
  return chain;
};
/** As the unmodified client writes it. */
const datastore = (contracts) => new Map([...populateDatastore(contracts)].map(([key, value]) => [Buffer.from(key).toString('hex'), Buffer.from(value)]));
const registry = { data: WASM, args: argsOf(), coins: MAS };

test('the committed deployer is what its source gives', () => {
  assert.ok(compiled('assembly/contracts/deployer.ts', '--runtime', 'stub').equals(DEPLOYER));
});

test('it makes the registry, calls its constructor with parameter and coins, and names the address as the client reads it', () => {
  const chain = start();
  const before = chain.balance(ann);
  const done = chain.run(DEPLOYER, datastore([registry]), { from: ann });
  assert.equal(done.error, undefined);
  const address = /^Contract deployed at address: (AS\w+)$/.exec(done.events[1])[1];
  assert.deepEqual(done.events.slice(0, 1), [`STORAGE_REGISTRY_CREATED:${ADMIN.address}`]);
  const named = new Args(Buffer.from(done.events.at(-1), 'base64')).nextArray(ArrayTypes.STRING);
  assert.deepEqual(named, [address]);
  assert.equal(before - chain.balance(ann), BigInt(WASM.length) * BYTE + MAS / 1_000n + MAS);
  assert.ok(chain.contracts.get(address).data.has('config'));
  assert.deepEqual(chain.call('getConfig', undefined, { to: address, readOnly: true }).result, m.encodeConfig(m.DEFAULT_CONFIG));
});

test('the constructor cannot be called again: not in a later operation, not by who deployed', () => {
  const chain = start();
  const done = chain.run(DEPLOYER, datastore([registry]), { from: ann });
  const to = /(AS\w+)$/.exec(done.events[1])[1];
  assert.equal(chain.call('constructor', argsOf(), { to, from: ann, coins: MAS }).error, 'the constructor runs at deployment only');
});

test('several contracts in one operation; one without a constructor gets neither parameter nor coins', () => {
  const chain = start();
  const plain = { data: DEPLOYER, args: Buffer.from('ignored'), coins: 5n * MAS };
  const done = chain.run(DEPLOYER, datastore([registry, plain, registry]), { from: ann });
  const named = new Args(Buffer.from(done.events.at(-1), 'base64')).nextArray(ArrayTypes.STRING);
  assert.equal(new Set(named).size, 3);
  assert.deepEqual(done.events.filter((e) => e.startsWith('Contract deployed')), named.map((a) => `Contract deployed at address: ${a}`));
  assert.equal(chain.balance(named[1]), 0n);
  assert.ok(chain.balance(named[2]) > 0n);
});

test('what fails makes nothing, and says why', () => {
  const refuses = (message, change, contracts = [registry]) => {
    const chain = start();
    const data = datastore(contracts);
    change(data);
    const done = chain.run(DEPLOYER, data, { from: ann });
    assert.equal(done.error, message);
    assert.deepEqual([chain.contracts.size, chain.balance(ann), chain.storagePaid], [1, 1_000n * MAS, 0n]);
  };
  const key = (n, part) => m.cat(m.u64(n), ...(part === undefined ? [] : [m.u32(1), m.u8(part)])).toString('hex');
  refuses('datastore of the operation: no number of contracts', (data) => data.delete('00'));
  refuses('datastore of the operation: 8 bytes expected for number of contracts', (data) => data.set('00', m.u32(1)));
  refuses('the operation names no contract', (data) => data.set('00', m.u64(0)));
  refuses('datastore of the operation: no bytecode', (data) => data.set('00', m.u64(2)));
  refuses('datastore of the operation: no parameter', (data) => data.delete(key(1, 0)));
  refuses('datastore of the operation: no coins', (data) => data.delete(key(1, 1)));
  refuses('datastore of the operation: 8 bytes expected for coins', (data) => data.set(key(1, 1), m.u8(1)));
  refuses('argument admin: input ends too early', () => {}, [{ ...registry, args: Buffer.alloc(0) }]);
  refuses(`balance of ${ann} is too low`, () => {}, [{ ...registry, coins: 1_000n * MAS }]);
});

test('it is small', () => assert.ok(DEPLOYER.length < 4_000));

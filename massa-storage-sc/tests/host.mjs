// A small Massa for tests: a ledger, and the host functions that the contract imports, as upstream executes them. True BLAKE3,
// true signatures, sorted keys, storage costs, event limits, a fresh instance for each call, everything undone on failure.
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { blake3 as nobleBlake3 } from '@noble/hashes/blake3';
import base58check from 'bs58check';

export const blake3 = (bytes) => Buffer.from(nobleBlake3(bytes));

const STORAGE_BYTE = 100_000n;
const STORAGE_ENTRY = 4n;
const NEW_ACCOUNT = 1_000_000n;
const MAX_EVENTS = 25;
const MAX_EVENT_BYTES = 1024;
const MAX_KEY_BYTES = 255;
const MEMORY_PAGES = 64;

// Prices of upstream's table, in gas.
const PRICE = {
  caller_has_write_access: 775, get_call_stack: 1560, set_data: 940, get_data: 1040, has_data: 845, delete_data: 980,
  generate_event: 860, get_balance: 745, get_call_coins: 725, get_current_period: 785, get_time: 750, transfer_coins: 1045,
  hash: 1055, signature_verify: 1200, chain_id: 785, address_from_public_key: 1570,
};
const LAUNCH = 15_700;
export const OPERATOR = 23;

/** A user: key pair and address, from a name. */
export function user(name) {
  const seed = createHash('sha256').update(name).digest();
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const raw = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  const key = Buffer.concat([Buffer.from([0]), raw]);
  const text = base58check.encode(key);
  return {
    name,
    address: addressOf(key),
    publicKey: 'P' + text,
    nodeId: 'N' + text,
    sign: (message) => base58check.encode(Buffer.concat([Buffer.from([0]), sign(null, blake3(Buffer.from(message)), privateKey)])),
  };
}

function addressOf(publicKeyBytes) {
  return 'AU' + base58check.encode(Buffer.concat([Buffer.from([0]), blake3(publicKeyBytes)]));
}

function keyBytes(text) {
  if (!text.startsWith('P')) throw new Error('malformed public key');
  return Buffer.from(base58check.decode(text.slice(1)));
}

function verifySignature(data, signature, publicKey) {
  try {
    const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), keyBytes(publicKey).subarray(1)]);
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const bytes = Buffer.from(base58check.decode(signature));
    return bytes.length === 65 && verify(null, blake3(Buffer.from(data)), key, bytes.subarray(1)) ? 1 : 0;
  } catch {
    return 0;
  }
}

export class Chain {
  constructor(wasm, { chainId = 77n } = {}) {
    this.module = new WebAssembly.Module(wasm);
    this.chainId = chainId;
    this.balances = new Map();
    this.data = new Map(); // latin1 key → Buffer, of the one contract
    this.contract = 'AS' + base58check.encode(Buffer.concat([Buffer.from([0]), blake3(Buffer.from('registry'))]));
    this.period = 0;
    this.millisPerPeriod = 16_000n;
    this.burned = 0n;
    this.storagePaid = 0n;
  }

  balance(address) {
    return this.balances.get(address) ?? 0n;
  }

  get time() {
    return BigInt(this.period) * this.millisPerPeriod + 1_000_000n;
  }

  /** Runs an entry point. Never throws: `error` says why nothing happened. */
  call(fn, args = Buffer.alloc(0), { from, coins = 0n, deploying = false, readOnly = false } = {}) {
    const run = new Run(this, from ?? 'AU' + 'x'.repeat(50), coins, deploying);
    try {
      run.move(run.from, this.contract, coins, true);
      const result = run.execute(fn, args);
      if (readOnly) run.undo();
      return { ok: true, result, events: run.events, gas: run.gas, operators: run.operators, transfers: run.transfers };
    } catch (error) {
      run.undo();
      return { ok: false, error: error.message, events: [], gas: run.gas };
    }
  }
}

class Run {
  constructor(chain, from, coins, deploying) {
    Object.assign(this, { chain, from, coins, deploying, events: [], transfers: [], journal: [], gas: LAUNCH, operators: 0n });
  }

  undo() {
    for (const restore of this.journal.reverse()) restore();
    this.journal = [];
  }

  setBalance(address, value) {
    const { balances } = this.chain;
    const before = balances.get(address);
    this.journal.push(() => (before === undefined ? balances.delete(address) : balances.set(address, before)));
    balances.set(address, value);
  }

  move(from, to, amount, free = false) {
    if (amount < 0n) throw new Error('negative amount');
    if (amount === 0n) return;
    const left = this.chain.balance(from) - amount;
    if (left < 0n) throw new Error(`balance of ${from} is too low`);
    this.setBalance(from, left);
    let received = amount;
    if (!free && !this.chain.balances.has(to)) {
      if (amount < NEW_ACCOUNT) throw new Error('too little to create an account');
      received -= NEW_ACCOUNT;
      this.lock(NEW_ACCOUNT);
    }
    this.setBalance(to, this.chain.balance(to) + received);
  }

  /** Counts what the ledger keeps for storage and accounts. */
  lock(amount) {
    const { chain } = this;
    const before = chain.storagePaid;
    this.journal.push(() => (chain.storagePaid = before));
    chain.storagePaid += amount;
  }

  chargeStorage(bytes) {
    const { chain } = this;
    this.lock(bytes * STORAGE_BYTE);
    const left = chain.balance(chain.contract) - bytes * STORAGE_BYTE;
    if (left < 0n) throw new Error('the contract cannot pay for storage');
    this.setBalance(chain.contract, left);
  }

  set(key, value) {
    const { data } = this.chain;
    if (key.length < 1 || key.length > MAX_KEY_BYTES) throw new Error('bad key length');
    const name = key.toString('latin1');
    const before = data.get(name);
    this.journal.push(() => (before === undefined ? data.delete(name) : data.set(name, before)));
    const entry = before === undefined ? BigInt(key.length) + STORAGE_ENTRY : -BigInt(before.length);
    data.set(name, value);
    this.chargeStorage(entry + BigInt(value.length));
  }

  get(key) {
    const value = this.chain.data.get(key.toString('latin1'));
    if (value === undefined) throw new Error('no such entry: ' + key);
    return value;
  }

  remove(key) {
    const { data } = this.chain;
    const before = this.get(key);
    const name = key.toString('latin1');
    this.journal.push(() => data.set(name, before));
    data.delete(name);
    this.chargeStorage(-BigInt(key.length + before.length) - STORAGE_ENTRY);
  }

  emit(text) {
    if (Buffer.byteLength(text) > MAX_EVENT_BYTES) throw new Error('event is too long');
    if (this.events.length === MAX_EVENTS) throw new Error('too many events');
    this.events.push(text);
  }

  execute(fn, args) {
    let exports;
    let started = false;
    const memory = () => Buffer.from(exports.memory.buffer);
    const bytes = (pointer) => {
      const view = memory();
      return Buffer.from(view.subarray(pointer, pointer + view.readUInt32LE(pointer - 4)));
    };
    const text = (pointer) => bytes(pointer).toString('utf16le');
    const give = (content) => {
      const pointer = exports.__new(content.length, 1);
      content.copy(memory(), pointer);
      return pointer;
    };
    const giveText = (content) => {
      const pointer = exports.__new(2 * content.length, 2);
      Buffer.from(content, 'utf16le').copy(memory(), pointer);
      return exports.__pin(pointer);
    };
    const { chain } = this;
    const abi = {
      caller_has_write_access: () => (this.deploying ? 1 : 0),
      get_call_stack: () => giveText(JSON.stringify([this.from, chain.contract])),
      set_data: (key, value) => this.set(bytes(key), bytes(value)),
      get_data: (key) => give(this.get(bytes(key))),
      has_data: (key) => (chain.data.has(bytes(key).toString('latin1')) ? 1 : 0),
      delete_data: (key) => this.remove(bytes(key)),
      generate_event: (event) => this.emit(text(event)),
      get_balance: () => chain.balance(chain.contract),
      get_call_coins: () => this.coins,
      get_current_period: () => BigInt(chain.period),
      get_time: () => chain.time,
      transfer_coins: (to, amount) => {
        this.move(chain.contract, text(to), amount);
        this.transfers.push([text(to), amount]);
      },
      hash: (content) => give(blake3(bytes(content))),
      signature_verify: (data, signature, key) => verifySignature(text(data), text(signature), text(key)),
      chain_id: () => chain.chainId,
      address_from_public_key: (key) => giveText(addressOf(keyBytes(text(key)))),
    };
    const massa = {};
    for (const [name, f] of Object.entries(abi)) {
      massa['assembly_script_' + name] = (...parameters) => {
        if (!started) throw new Error('host calls are not available during instantiation');
        this.gas += PRICE[name];
        return f(...parameters);
      };
    }
    const env = {
      abort: (message) => {
        throw new Error(message === 0 ? 'assert without a message' : text(message));
      },
    };
    const instance = new WebAssembly.Instance(chain.module, { env, massa });
    exports = instance.exports;
    started = true;
    try {
      const entry = exports[fn];
      if (entry === undefined) throw new Error('no such function: ' + fn);
      let argument = 0;
      if (entry.length === 1) argument = give(Buffer.from(args));
      const result = entry(argument);
      if (exports.memory.buffer.byteLength > MEMORY_PAGES * 65536) throw new Error('memory limit');
      return result === undefined ? Buffer.alloc(0) : bytes(result);
    } finally {
      if (exports.operators) {
        this.operators = exports.operators.value;
        this.gas += Number(this.operators) * OPERATOR;
      }
    }
  }
}

// A small Massa for tests: a ledger, and the host functions that the contracts import, as upstream executes them. True BLAKE3,
// true signatures, sorted keys, storage costs, event limits, a fresh instance for each call, everything undone on failure.
// A contract is a module, or for attackers a JavaScript function that is given the host's `call`.
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { blake3 as nobleBlake3 } from '@noble/hashes/blake3';
import base58check from 'bs58check';

/** Hashes that were computed before: nodes that hold the same are asked the same, and hashing is most of what a test does. */
const HASHES = new Map();
const HASHES_MAX = 50_000;

export function blake3(bytes) {
  const content = Buffer.from(bytes).toString('latin1');
  let hash = HASHES.get(content);
  if (!hash) {
    if (HASHES.size === HASHES_MAX) HASHES.clear();
    hash = Buffer.from(nobleBlake3(bytes));
    HASHES.set(content, hash);
  }
  return Buffer.from(hash);
}

const STORAGE_BYTE = 100_000n;
const STORAGE_ENTRY = 4n;
const NEW_ACCOUNT = 1_000_000n;
const MAX_EVENTS = 25;
const MAX_EVENT_BYTES = 1024;
const MAX_KEY_BYTES = 255;
const MEMORY_PAGES = 64;
const MAX_DEPTH = 25;

// Prices of upstream's table, in gas.
const PRICE = {
  caller_has_write_access: 775, get_call_stack: 1560, set_data: 940, get_data: 1040, has_data: 845, delete_data: 980,
  generate_event: 860, get_balance: 745, get_call_coins: 725, get_current_period: 785, get_time: 750, transfer_coins: 1045,
  hash: 1055, signature_verify: 1200, chain_id: 785, address_from_public_key: 1570,
  has_op_key: 1455, get_op_data: 50_000, create_sc: 745_000_000, function_exists: 2875, call: 15_000,
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

export const contractAddress = (seed) => 'AS' + base58check.encode(Buffer.concat([Buffer.from([0]), blake3(Buffer.from(seed))]));

/** One level of the call stack. `owned`: what it may write to. */
class Element {
  constructor(address, coins) {
    Object.assign(this, { address, coins, owned: new Set([address]) });
  }
}

export class Chain {
  constructor(wasm, { chainId = 77n } = {}) {
    this.chainId = chainId;
    this.balances = new Map();
    this.contracts = new Map(); // address → { module or script, data: latin1 key → Buffer }
    this.contract = contractAddress('registry');
    this.contracts.set(this.contract, { module: new WebAssembly.Module(wasm), data: new Map() });
    this.period = 0;
    this.millisPerPeriod = 16_000n;
    this.storagePaid = 0n;
  }

  /** Of the contract under test. */
  get module() { return this.contracts.get(this.contract).module; }
  get data() { return this.contracts.get(this.contract).data; }

  /** A contract in JavaScript: `script({ fn, args, call, coins })`. */
  script(name, script) {
    const address = contractAddress(name);
    this.contracts.set(address, { script, data: new Map() });
    return address;
  }

  balance(address) {
    return this.balances.get(address) ?? 0n;
  }

  get time() {
    return BigInt(this.period) * this.millisPerPeriod + 1_000_000n;
  }

  /** Runs an entry point. Never throws: `error` says why nothing happened. */
  call(fn, args = Buffer.alloc(0), { from, coins = 0n, deploying = false, readOnly = false, to = this.contract, stack } = {}) {
    const sender = new Element(from ?? 'AU' + 'x'.repeat(50), 0n);
    if (deploying) sender.owned.add(to);
    const run = new Run(this);
    return run.whole(readOnly, () => {
      run.move(sender.address, to, coins, true);
      run.stack = (stack ?? [sender.address, to]).map((a) => (a === sender.address ? sender : new Element(a, coins)));
      return run.execute(to, fn, args);
    });
  }

  /** Runs bytecode with a datastore of the operation: hex key → Buffer. The fee is not counted. */
  run(bytecode, datastore, { from }) {
    const run = new Run(this);
    run.datastore = datastore;
    return run.whole(false, () => {
      run.stack = [new Element(from, 0n)];
      return run.instantiate(new WebAssembly.Module(bytecode), 'main', Buffer.alloc(0));
    });
  }
}

const exported = (module, name) => WebAssembly.Module.exports(module).some((e) => e.name === name && e.kind === 'function');

class Run {
  constructor(chain) {
    Object.assign(this, { chain, stack: [], events: [], transfers: [], journal: [], gas: 0, operators: 0n });
  }

  whole(readOnly, work) {
    try {
      const result = work();
      if (readOnly) this.undo();
      return { ok: true, result, events: this.events, gas: this.gas, operators: this.operators, transfers: this.transfers };
    } catch (error) {
      this.undo();
      return { ok: false, error: error.message, events: [], gas: this.gas };
    }
  }

  /** The level that runs now. */
  get top() { return this.stack.at(-1); }
  get data() { return this.chain.contracts.get(this.top.address).data; }

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

  /** Paid by the level that runs. */
  charge(amount) {
    const { chain, top } = this;
    this.lock(amount);
    const left = chain.balance(top.address) - amount;
    if (left < 0n) throw new Error('the contract cannot pay for storage');
    this.setBalance(top.address, left);
  }

  chargeStorage(bytes) {
    this.charge(bytes * STORAGE_BYTE);
  }

  set(key, value) {
    const { data } = this;
    if (key.length < 1 || key.length > MAX_KEY_BYTES) throw new Error('bad key length');
    const name = key.toString('latin1');
    const before = data.get(name);
    this.journal.push(() => (before === undefined ? data.delete(name) : data.set(name, before)));
    const entry = before === undefined ? BigInt(key.length) + STORAGE_ENTRY : -BigInt(before.length);
    data.set(name, value);
    this.chargeStorage(entry + BigInt(value.length));
  }

  get(key) {
    const value = this.data.get(key.toString('latin1'));
    if (value === undefined) throw new Error('no such entry: ' + key);
    return value;
  }

  remove(key) {
    const { data } = this;
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

  /** A call of one contract by another: coins move first, then a level of the stack is added. */
  call(address, fn, args, coins) {
    if (!this.chain.contracts.has(address)) throw new Error('not a contract: ' + address);
    if (this.stack.length > MAX_DEPTH) throw new Error('recursion depth');
    if (fn === '') throw new Error('no function named');
    this.move(this.top.address, address, coins, true);
    this.stack.push(new Element(address, coins));
    const result = this.execute(address, fn, args);
    this.stack.pop();
    return result;
  }

  /** Who was allowed to write to the address that runs: the level before it, or itself if it is alone. */
  callerOwnsTop() {
    return (this.stack.at(-2) ?? this.top).owned.has(this.top.address);
  }

  create(bytecode) {
    const address = contractAddress(`${this.top.address} ${this.chain.contracts.size}`);
    this.charge(NEW_ACCOUNT + BigInt(bytecode.length) * STORAGE_BYTE);
    this.journal.push(() => { this.chain.contracts.delete(address); this.chain.balances.delete(address); });
    this.chain.contracts.set(address, { module: new WebAssembly.Module(bytecode), data: new Map() });
    this.chain.balances.set(address, 0n);
    this.top.owned.add(address);
    return address;
  }

  operationData(key) {
    if (this.stack.length !== 1) throw new Error('no datastore in stack');
    return this.datastore.get(key.toString('hex'));
  }

  execute(address, fn, args) {
    const { module, script } = this.chain.contracts.get(address);
    if (module) return this.instantiate(module, fn, args);
    const { coins } = this.top;
    return script({ fn, args, coins, call: (to, f, a, c = 0n) => this.call(to, f, a ?? Buffer.alloc(0), c) }) ?? Buffer.alloc(0);
  }

  instantiate(module, fn, args) {
    this.gas += LAUNCH;
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
      caller_has_write_access: () => (this.callerOwnsTop() ? 1 : 0),
      get_call_stack: () => giveText(JSON.stringify(this.stack.map((element) => element.address))),
      set_data: (key, value) => this.set(bytes(key), bytes(value)),
      get_data: (key) => give(this.get(bytes(key))),
      has_data: (key) => (this.data.has(bytes(key).toString('latin1')) ? 1 : 0),
      delete_data: (key) => this.remove(bytes(key)),
      generate_event: (event) => this.emit(text(event)),
      get_balance: () => chain.balance(this.top.address),
      get_call_coins: () => this.top.coins,
      get_current_period: () => BigInt(chain.period),
      get_time: () => chain.time,
      transfer_coins: (to, amount) => {
        this.move(this.top.address, text(to), amount);
        this.transfers.push([text(to), amount]);
      },
      hash: (content) => give(blake3(bytes(content))),
      signature_verify: (data, signature, key) => verifySignature(text(data), text(signature), text(key)),
      chain_id: () => chain.chainId,
      address_from_public_key: (key) => giveText(addressOf(keyBytes(text(key)))),
      has_op_key: (key) => give(Buffer.from([this.operationData(bytes(key)) ? 1 : 0])),
      get_op_data: (key) => give(this.operationData(bytes(key))),
      create_sc: (bytecode) => giveText(this.create(bytes(bytecode))),
      function_exists: (address, name) => (exported(chain.contracts.get(text(address)).module, text(name)) ? 1 : 0),
      call: (address, name, parameter, coins) => give(this.call(text(address), text(name), bytes(parameter), coins)),
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
    const instance = new WebAssembly.Instance(module, { env, massa });
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
        this.operators += exports.operators.value;
        this.gas += Number(exports.operators.value) * OPERATOR;
      }
    }
  }
}

/**
 * What runs in an operation that makes contracts (ExecuteSC). It reads the operation's datastore, laid out as
 * massa-web3 writes it, so that one operation may be sent with either deployer. Integers little-endian, contracts counted from 1:
 *
 *   00                      number of contracts u64
 *   n u64                   bytecode
 *   n u64 | 1 u32 | 00      parameter of the constructor
 *   n u64 | 1 u32 | 01      coins for the constructor u64
 *
 * A contract without a constructor gets neither parameter nor coins. The last event is the base64 of the addresses, as
 * `Args` writes a text array. The host is called without the SDK, whose parsers would make this three times as large.
 */

@external('massa', 'assembly_script_has_op_key')
declare function hasOpKey(key: StaticArray<u8>): StaticArray<u8>;
@external('massa', 'assembly_script_get_op_data')
declare function getOpData(key: StaticArray<u8>): StaticArray<u8>;
@external('massa', 'assembly_script_create_sc')
declare function createSC(bytecode: StaticArray<u8>): string;
@external('massa', 'assembly_script_function_exists')
declare function functionExists(address: string, name: string): bool;
@external('massa', 'assembly_script_call')
declare function call(address: string, name: string, parameter: StaticArray<u8>, coins: u64): StaticArray<u8>;
@external('massa', 'assembly_script_generate_event')
declare function generateEvent(text: string): void;

const CONSTRUCTOR = 'constructor';
const PARAMETER: u8 = 0;
const COINS: u8 = 1;

export function main(_: StaticArray<u8>): void {
  const count = numberIn([0], 'number of contracts');
  assert(count > 0, 'the operation names no contract');
  let addresses: string[] = [];
  for (let n: u64 = 1; n <= count; n++) addresses.push(deploy(n));
  generateEvent(base64(textArray(addresses)));
}

function deploy(n: u64): string {
  const address = createSC(entry(keyOf(n), 'bytecode'));
  if (functionExists(address, CONSTRUCTOR)) {
    call(address, CONSTRUCTOR, entry(keyOf(n, PARAMETER), 'parameter'), numberIn(keyOf(n, COINS), 'coins'));
  }
  generateEvent('Contract deployed at address: ' + address);
  return address;
}

/** Key of a contract, or of what belongs to it. */
function keyOf(n: u64, part: u8 = u8.MAX_VALUE): StaticArray<u8> {
  const key = new StaticArray<u8>(part == u8.MAX_VALUE ? 8 : 13);
  store<u64>(changetype<usize>(key), n);
  if (part != u8.MAX_VALUE) {
    store<u32>(changetype<usize>(key), 1, 8);
    store<u8>(changetype<usize>(key), part, 12);
  }
  return key;
}

function entry(key: StaticArray<u8>, what: string): StaticArray<u8> {
  const known = hasOpKey(key);
  assert(known.length > 0 && known[0] == 1, 'datastore of the operation: no ' + what);
  return getOpData(key);
}

function numberIn(key: StaticArray<u8>, what: string): u64 {
  const value = entry(key, what);
  assert(value.length == 8, 'datastore of the operation: 8 bytes expected for ' + what);
  return load<u64>(changetype<usize>(value));
}

/** u32 size of what follows; each text with a u32 length. Addresses are ASCII. */
function textArray(texts: string[]): StaticArray<u8> {
  let size = 4;
  for (let i = 0; i < texts.length; i++) size += 4 + texts[i].length;
  const bytes = new StaticArray<u8>(size);
  let at = changetype<usize>(bytes);
  store<u32>(at, size - 4);
  at += 4;
  for (let i = 0; i < texts.length; i++) {
    const text = texts[i];
    store<u32>(at, text.length);
    at += 4;
    for (let c = 0; c < text.length; c++) store<u8>(at++, <u8>text.charCodeAt(c));
  }
  return bytes;
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** RFC 4648, with padding. */
function base64(bytes: StaticArray<u8>): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const second: u32 = left > 1 ? bytes[i + 1] : 0;
    const third: u32 = left > 2 ? bytes[i + 2] : 0;
    const group = (<u32>bytes[i] << 16) | (second << 8) | third;
    text += DIGITS.charAt(group >> 18) + DIGITS.charAt((group >> 12) & 63);
    text += left > 1 ? DIGITS.charAt((group >> 6) & 63) : '=';
    text += left > 2 ? DIGITS.charAt(group & 63) : '=';
  }
  return text;
}

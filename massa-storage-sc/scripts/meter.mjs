// Adds a counter of executed operators to a wasm module, as upstream's metering counts them: the operators of each basic block,
// settled at loop, end, else, br, br_if, br_table, call, call_indirect and return. The counter is the exported global `operators`.

const SETTLES = new Set([0x03, 0x0b, 0x05, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x0f]);
const CODE = 10;
const GLOBAL = 6;
const IMPORT = 2;
const EXPORT = 7;
const I64 = 0x7e;

class Cursor {
  constructor(bytes, at = 0) { Object.assign(this, { bytes, at }); }
  byte() { return this.bytes[this.at++]; }
  leb() {
    let result = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      result += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return result;
    }
  }
  take(count) { this.at += count; return this.bytes.subarray(this.at - count, this.at); }
}

function leb(value) {
  const bytes = [];
  do {
    const low = value & 0x7f;
    value = Math.floor(value / 128);
    bytes.push(value > 0 ? low | 0x80 : low);
  } while (value > 0);
  return bytes;
}

function signedLeb(value) {
  const bytes = [];
  for (;;) {
    const low = value & 0x7f;
    value >>= 7;
    if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

function sections(wasm) {
  const cursor = new Cursor(wasm, 8);
  const found = [];
  while (cursor.at < wasm.length) {
    const id = cursor.byte();
    found.push({ id, body: cursor.take(cursor.leb()) });
  }
  return found;
}

/** Moves past the immediates of an operator. */
function skipImmediates(cursor, op) {
  if (op === 0x02 || op === 0x03 || op === 0x04) return cursor.leb();
  if (op === 0x0c || op === 0x0d || op === 0x10 || (op >= 0x20 && op <= 0x26) || op === 0x3f || op === 0x40) return cursor.leb();
  if (op === 0x0e) { for (let n = cursor.leb() + 1; n > 0; n--) cursor.leb(); return undefined; }
  if (op === 0x11) { cursor.leb(); return cursor.leb(); }
  if (op >= 0x28 && op <= 0x3e) { cursor.leb(); return cursor.leb(); }
  if (op === 0x41 || op === 0x42) return cursor.leb();
  if (op === 0x43) return cursor.take(4);
  if (op === 0x44) return cursor.take(8);
  if (op === 0xfc) {
    const sub = cursor.leb();
    if (sub === 10) cursor.take(2);
    else if (sub === 11) cursor.take(1);
    else if (sub > 7) throw new Error('operator 0xfc ' + sub);
    return undefined;
  }
  const plain = op <= 0x01 || op === 0x05 || op === 0x0b || op === 0x0f || op === 0x1a || op === 0x1b || (op >= 0x45 && op <= 0xc4);
  if (!plain) throw new Error('operator 0x' + op.toString(16));
  return undefined;
}

function meterBody(body, counter) {
  const cursor = new Cursor(body);
  for (let groups = cursor.leb(); groups > 0; groups--) { cursor.leb(); cursor.byte(); }
  const parts = [body.subarray(0, cursor.at)];
  let pending = 0;
  while (cursor.at < body.length) {
    const start = cursor.at;
    const op = cursor.byte();
    skipImmediates(cursor, op);
    pending++;
    if (SETTLES.has(op)) {
      const global = leb(counter);
      parts.push(Buffer.from([0x23, ...global, 0x42, ...signedLeb(pending), 0x7c, 0x24, ...global]));
      pending = 0;
    }
    parts.push(body.subarray(start, cursor.at));
  }
  return Buffer.concat(parts);
}

function meterCode(body, counter) {
  const cursor = new Cursor(body);
  const count = cursor.leb();
  const parts = [Buffer.from(leb(count))];
  for (let i = 0; i < count; i++) {
    const metered = meterBody(cursor.take(cursor.leb()), counter);
    parts.push(Buffer.from(leb(metered.length)), metered);
  }
  return Buffer.concat(parts);
}

function append(body, item) {
  const cursor = new Cursor(body);
  const count = cursor.leb();
  return Buffer.concat([Buffer.from(leb(count + 1)), body.subarray(cursor.at), Buffer.from(item)]);
}

function importedGlobals(found) {
  const section = found.find((s) => s.id === IMPORT);
  const cursor = new Cursor(section.body);
  for (let n = cursor.leb(); n > 0; n--) {
    cursor.take(cursor.leb());
    cursor.take(cursor.leb());
    if (cursor.byte() !== 0) throw new Error('only functions may be imported');
    cursor.leb();
  }
  return 0;
}

export function meter(wasm) {
  const found = sections(wasm);
  const globals = found.find((s) => s.id === GLOBAL);
  const counter = importedGlobals(found) + new Cursor(globals.body).leb();
  const parts = [wasm.subarray(0, 8)];
  for (const { id, body } of found) {
    let next = body;
    if (id === GLOBAL) next = append(body, [I64, 1, 0x42, 0, 0x0b]);
    if (id === EXPORT) next = append(body, [9, ...Buffer.from('operators'), 3, ...leb(counter)]);
    if (id === CODE) next = meterCode(body, counter);
    parts.push(Buffer.from([id, ...leb(next.length)]), next);
  }
  return Buffer.concat(parts);
}

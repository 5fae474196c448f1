/**
 * Reading and writing bytes. Integers are little-endian. Used by everything; knows nothing of the contract.
 *
 * The SDK's `Args` lets a length near 2^32 move its cursor backwards, so input is read with `Reader`, which refuses that.
 */

/** Reads input from outside. Every failure names the field. */
export class Reader {
  private at: u32 = 0;

  constructor(private bytes: StaticArray<u8>) {}

  get left(): u32 {
    return <u32>this.bytes.length - this.at;
  }

  private take(count: u32, field: string): usize {
    assert(count <= this.left, 'argument ' + field + ': input ends too early');
    const from = changetype<usize>(this.bytes) + this.at;
    this.at += count;
    return from;
  }

  u8(field: string): u8 {
    return load<u8>(this.take(1, field));
  }

  u16(field: string): u16 {
    return load<u16>(this.take(2, field));
  }

  u32(field: string): u32 {
    return load<u32>(this.take(4, field));
  }

  u64(field: string): u64 {
    return load<u64>(this.take(8, field));
  }

  bool(field: string): bool {
    const value = this.u8(field);
    assert(value < 2, 'argument ' + field + ': not a boolean');
    return value == 1;
  }

  /** `count` bytes. */
  fixed(count: u32, field: string): StaticArray<u8> {
    const from = this.take(count, field);
    const result = new StaticArray<u8>(count);
    memory.copy(changetype<usize>(result), from, count);
    return result;
  }

  /** u32 length, bytes: as `Args` writes byte arrays. */
  sized(max: u32, field: string): StaticArray<u8> {
    const length = this.u32(field);
    assert(length <= max, 'argument ' + field + ': longer than ' + max.toString() + ' bytes');
    return this.fixed(length, field);
  }

  /** u32 length, UTF-8: as `Args` writes texts. Visible ASCII without commas, so that it fits keys and events. */
  text(max: u32, field: string): string {
    const bytes = this.sized(max, field);
    for (let i = 0; i < bytes.length; i++) {
      const c = unchecked(bytes[i]);
      assert(c > 0x20 && c < 0x7f && c != 0x2c, 'argument ' + field + ': only printable ASCII without commas');
    }
    return utf8Text(bytes);
  }

  /** The same with spaces and commas. ASCII only: a character is a byte, in records too. */
  line(max: u32, field: string): string {
    const bytes = this.sized(max, field);
    for (let i = 0; i < bytes.length; i++) {
      const c = unchecked(bytes[i]);
      assert(c >= 0x20 && c < 0x7f, 'argument ' + field + ': only printable ASCII');
    }
    return utf8Text(bytes);
  }

  /** 1 to `max` bytes of UTF-8 in any script, without control characters and commas, so that it fits keys and events. */
  freeText(max: u32, field: string): string {
    const bytes = this.sized(max, field);
    assert(bytes.length > 0, 'argument ' + field + ': empty');
    for (let i = 0; i < bytes.length; i++) {
      const c = unchecked(bytes[i]);
      assert(c >= 0x20 && c != 0x7f && c != 0x2c, 'argument ' + field + ': no control characters and commas');
      // What would be half of a surrogate pair.
      const half = c == 0xed && i + 1 < bytes.length && bytes[i + 1] >= 0xa0;
      assert(!half, 'argument ' + field + ': not UTF-8');
    }
    const text = utf8Text(bytes);
    assert(equal(utf8(text), bytes), 'argument ' + field + ': not UTF-8');
    return text;
  }

  /** Nothing may follow: one meaning has one form. */
  end(what: string): void {
    assert(this.left == 0, what + ': ' + this.left.toString() + ' bytes too many');
  }
}

/** Collects bytes in a buffer that is sized once. */
export class Writer {
  private at: usize;
  readonly bytes: StaticArray<u8>;

  constructor(size: u32) {
    this.bytes = new StaticArray<u8>(size);
    this.at = changetype<usize>(this.bytes);
  }

  u8(value: u8): Writer {
    store<u8>(this.at, value);
    this.at += 1;
    return this;
  }

  u16(value: u16): Writer {
    store<u16>(this.at, value);
    this.at += 2;
    return this;
  }

  u32(value: u32): Writer {
    store<u32>(this.at, value);
    this.at += 4;
    return this;
  }

  u64(value: u64): Writer {
    store<u64>(this.at, value);
    this.at += 8;
    return this;
  }

  raw(value: StaticArray<u8>): Writer {
    memory.copy(this.at, changetype<usize>(value), value.length);
    this.at += value.length;
    return this;
  }

  sized(value: StaticArray<u8>): Writer {
    return this.u32(value.length).raw(value);
  }
}

export function utf8(text: string): StaticArray<u8> {
  const size = String.UTF8.byteLength(text);
  const result = new StaticArray<u8>(size);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, changetype<usize>(result));
  return result;
}

export function utf8Text(bytes: StaticArray<u8>): string {
  return String.UTF8.decodeUnsafe(changetype<usize>(bytes), bytes.length);
}

export function equal(a: StaticArray<u8>, b: StaticArray<u8>): bool {
  return a.length == b.length && memory.compare(changetype<usize>(a), changetype<usize>(b), a.length) == 0;
}

const HEX = '0123456789abcdef';

export function hex(bytes: StaticArray<u8>): string {
  const result = new StaticArray<u8>(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const byte = unchecked(bytes[i]);
    unchecked((result[2 * i] = <u8>HEX.charCodeAt(byte >> 4)));
    unchecked((result[2 * i + 1] = <u8>HEX.charCodeAt(byte & 15)));
  }
  return utf8Text(result);
}

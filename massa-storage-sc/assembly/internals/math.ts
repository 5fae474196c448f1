/** Unsigned arithmetic that never wraps. Money and sizes go through here. */

export function add(a: u64, b: u64): u64 {
  const sum = a + b;
  assert(sum >= a, 'addition overflows');
  return sum;
}

export function sub(a: u64, b: u64): u64 {
  assert(b <= a, 'subtraction goes below zero');
  return a - b;
}

export function mul(a: u64, b: u64): u64 {
  if (a == 0) return 0;
  const product = a * b;
  assert(product / a == b, 'multiplication overflows');
  return product;
}

const NANO_DIGITS = 9;
const NANO: u64 = 1_000_000_000;

/** nanoMAS as a text in MAS, without zeros at its end. */
export function mas(amount: u64): string {
  const part = amount % NANO;
  const whole = (amount / NANO).toString();
  if (part == 0) return whole;
  const digits = part.toString().padStart(NANO_DIGITS, '0');
  let end = NANO_DIGITS;
  while (digits.charCodeAt(end - 1) == 0x30) end--;
  return whole + '.' + digits.substring(0, end);
}

/** Upper 64 bits of a · b. */
export function mulHigh(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const low = a0 * b0;
  const mid = a1 * b0 + (low >> 32);
  const other = a0 * b1 + (mid & 0xffffffff);
  return a1 * b1 + (mid >> 32) + (other >> 32);
}

/** ⌊a · b / c⌋ in 128-bit steps; 2⁶⁴ − 1 if the result is larger. c must not be 0. */
export function mulDiv(a: u64, b: u64, c: u64): u64 {
  assert(c != 0, 'division by zero');
  let high = mulHigh(a, b);
  let low = a * b;
  if (high == 0) return low / c;
  if (high >= c) return u64.MAX_VALUE;
  let quotient: u64 = 0;
  for (let i = 0; i < 64; i++) {
    const carry = high >> 63;
    high = (high << 1) | (low >> 63);
    low <<= 1;
    quotient <<= 1;
    if (carry != 0 || high >= c) {
      high -= c;
      quotient |= 1;
    }
  }
  return quotient;
}

/** Whether a · b ≥ c · d, in 128 bits. */
export function productAtLeast(a: u64, b: u64, c: u64, d: u64): bool {
  const left = mulHigh(a, b);
  const right = mulHigh(c, d);
  return left > right || (left == right && a * b >= c * d);
}

/** Whether `part` is more than two thirds of `whole`. */
export function moreThanTwoThirds(part: u64, whole: u64): bool {
  return !productAtLeast(2, whole, 3, part);
}

/** Whether `part` is more than half of `whole`. */
export function moreThanHalf(part: u64, whole: u64): bool {
  return !productAtLeast(1, whole, 2, part);
}

export function atLeastTwoThirds(part: u64, whole: u64): bool {
  return productAtLeast(3, part, 2, whole);
}

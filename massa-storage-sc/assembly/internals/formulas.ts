/** The formulas of draws, challenge ids, placement and pay: pure. Formats: README, "Formats". */
import { Writer, hex, utf8 } from './bytes';
import { blake3 } from './hashes';
import { mul, mulDiv, mulHigh } from './math';

const DRAW_DOMAIN = 'massa distributed storage: draw';
const CHALLENGE_DOMAIN = 'massa distributed storage: challenge';
const PLACEMENT_DOMAIN = 'massa distributed storage: placement of a chunk';
/** Draws of a small claim. */
export const MIN_DRAWS: u64 = 4;
export const MAX_DRAWS: u64 = 16;
/** 256 GB in leaves of 1 KiB, as a shift: one more draw for each. */
const DRAW_STEP_BITS: u64 = 28;
/** A round takes at most this part of the pool: half of it in 178 rounds, which is notice of a rate that is too high. */
const POOL_SHARE: u64 = 256;
/** Leaves of 1 KiB in a GB. */
export const LEAVES_PER_GB: u64 = 1 << 20;

/** K: draws of a claim of `leaves`. */
export function drawCount(leaves: u64): u64 {
  return min(MAX_DRAWS, MIN_DRAWS + (leaves >> DRAW_STEP_BITS));
}

/** What binds a hash to one round of one registry on one chain: chain id u64, length u8, registry, round u64. */
export class RoundContext {
  constructor(
    public chainId: u64,
    public registry: string,
    public round: u64,
  ) {}

  size(): u32 {
    return 17 + this.registry.length;
  }

  write(writer: Writer): Writer {
    return writer.u64(this.chainId).u8(<u8>this.registry.length).raw(utf8(this.registry)).u64(this.round);
  }
}

/** The claimed leaf of draw `d`: ⌊x · T / 2⁶⁴⌋. */
export function drawnLeaf(
  context: RoundContext,
  placementKey: StaticArray<u8>,
  beacon: StaticArray<u8>,
  d: u8,
  leaves: u64,
): u64 {
  const writer = new Writer(DRAW_DOMAIN.length + context.size() + 65).raw(utf8(DRAW_DOMAIN));
  const hash = blake3(context.write(writer).raw(placementKey).raw(beacon).u8(d).bytes);
  return mulHigh(load<u64>(changetype<usize>(hash)), leaves);
}

/** Challenge id of draw `d`, in hex: never the same for another chain, registry, round, node, draw or beacon. */
export function challengeId(context: RoundContext, node: string, beacon: StaticArray<u8>, d: u8): string {
  const writer = new Writer(CHALLENGE_DOMAIN.length + context.size() + 1 + node.length + 33);
  context.write(writer.raw(utf8(CHALLENGE_DOMAIN))).u8(<u8>node.length).raw(utf8(node)).u8(d).raw(beacon);
  return hex(blake3(writer.bytes));
}

/** `H(address | suffix)`: suffix is a beacon, or the registry's address for who came before the first beacon. */
export function placementKey(address: string, suffix: StaticArray<u8>): StaticArray<u8> {
  return blake3(new Writer(address.length + suffix.length).raw(utf8(address)).raw(suffix).bytes);
}

/** −log2((h + 1) / 2⁶⁴) in units of 2⁻³²: as `replication.rs`. */
export function negativeLog2(h: u64): u64 {
  if (h == u64.MAX_VALUE) return 0;
  const zeros = clz(h + 1);
  let x = (h + 1) << zeros;
  let fraction: u64 = 0;
  for (let i = 0; i < 32; i++) {
    const high = mulHigh(x, x);
    const carry = high >> 63;
    fraction = (fraction << 1) | carry;
    x = carry == 1 ? high : (high << 1) | ((x * x) >> 63);
  }
  return ((zeros + 1) << 32) - fraction;
}

/** Placement score; lower is better. `weight` must not be 0. */
export function placementScore(chunkId: StaticArray<u8>, key: StaticArray<u8>, weight: u64): u64 {
  const input = new Writer(128).raw(utf8(PLACEMENT_DOMAIN)).bytes;
  memory.copy(changetype<usize>(input) + 64, changetype<usize>(chunkId), 32);
  memory.copy(changetype<usize>(input) + 96, changetype<usize>(key), 32);
  const h = load<u64>(changetype<usize>(blake3(input)));
  return (negativeLog2(h) << 24) / weight;
}

/** ⌊T · P · rate · passes / (K · 2²⁰)⌋ */
export function credit(leaves: u64, periods: u64, rate: u64, passes: u64, draws: u64): u64 {
  return mulDiv(mul(mul(leaves, periods), passes), rate, draws * LEAVES_PER_GB);
}

/** Rate of a round: the configured one, or what a part of the pool pays for all that is claimed. */
export function roundRate(configured: u64, pool: u64, leaves: u64, periods: u64): u64 {
  if (leaves == 0) return 0;
  return min(configured, mulDiv(pool, LEAVES_PER_GB / POOL_SHARE, mul(leaves, periods)));
}

/** ⌊ΣT · P · rate / 2²⁰⌋ */
export function roundReserve(leaves: u64, periods: u64, rate: u64): u64 {
  return mulDiv(mul(leaves, periods), rate, LEAVES_PER_GB);
}

/** What a claim risks by its misses: the stake for the GB that it claimed, at most all. */
export function slashBase(stake: u64, stakePerGb: u64, leaves: u64): u64 {
  return min(stake, mul(stakePerGb, (leaves + LEAVES_PER_GB - 1) / LEAVES_PER_GB));
}

/** stake · percent / 100 · missed / K, at most the stake. */
export function slashAmount(stake: u64, percent: u64, missed: u64, draws: u64): u64 {
  return min(stake, mulDiv(stake, percent * missed, 100 * draws));
}

/** What must be staked for `gb`. */
export function requiredStake(minStake: u64, stakePerGb: u64, gb: u64): u64 {
  return max(minStake, mul(stakePerGb, gb));
}


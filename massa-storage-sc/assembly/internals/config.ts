/** The contract's configuration: the one in force and the one that follows. */
import { Storage } from '@massalabs/massa-as-sdk';
import { Reader, Writer, utf8 } from './bytes';
import { CONFIG_KEY } from './keys';
import { mul } from './math';

/** Rounds between a change and the first round that it counts for. */
const NOTICE_ROUNDS: u64 = 2;
/** The same for a change of what must be staked. */
const STAKE_NOTICE_ROUNDS: u64 = 8;
const FIELDS = 12;
/** The first ones: all that the plan has. */
const PLAN_FIELDS = 6;
const NAMES: string[] = [
  'rewardPerGbPerPeriod',
  'minAllocatedGb',
  'maxAllocatedGb',
  'challengeResponseTimeout',
  'slashPercentage',
  'minStake',
  'stakePerGb',
  'replicationFactor',
  'chunkSizeBytes',
  'challengeFrequencyPeriods',
  'firstSegment',
  'roundSegments',
];
/** 1000 MAS for a GB and period. With 2⁴⁴ leaves and the longest round the product stays below 2¹²⁸. */
const MAX_RATE: u64 = 1_000_000_000_000;
/** 16 PB: 2⁴⁴ leaves. */
const MAX_GB: u64 = 1 << 24;
const MAX_TIMEOUT_MS: u64 = 30 * 86_400_000;
/** A thousand million MAS, more than exist. */
const MAX_STAKE: u64 = 1_000_000_000_000_000_000;
/** Bounds the gas of a refutation. */
const MAX_REPLICATION: u64 = 32;
const PAGE_BYTES: u64 = 65_536;
const MAX_CHUNK_BYTES: u64 = 64 << 20;
const MAX_SEGMENT_PERIODS: u64 = 256;
/** So a round has at most 16 384 periods. */
const MAX_ROUND_SEGMENTS: u64 = 64;
/** Opening takes three periods, the window ends at half. */
const MIN_ROUND_PERIODS: u64 = 8;

// What a new registry has where its constructor is given the plan's fields alone. A tool that deploys has the same: src/deploy.ts.
const STAKE_PER_GB: u64 = 1_000_000_000;
const REPLICATION: u64 = 3;
const CHUNK_BYTES: u64 = 1 << 20;
const SEGMENT_PERIODS: u64 = 100;
const ROUND_SEGMENTS: u64 = 4;

/** The plan's six fields, in the plan's order, then the network parameters. Each a u64. */
export class StorageConfig {
  values: StaticArray<u64> = new StaticArray<u64>(FIELDS);

  /** nanoMAS for a GB and period. */
  get rewardPerGbPerPeriod(): u64 {
    return this.values[0];
  }
  get minAllocatedGb(): u64 {
    return this.values[1];
  }
  get maxAllocatedGb(): u64 {
    return this.values[2];
  }
  /** Milliseconds. */
  get challengeResponseTimeout(): u64 {
    return this.values[3];
  }
  get slashPercentage(): u64 {
    return this.values[4];
  }
  /** nanoMAS. */
  get minStake(): u64 {
    return this.values[5];
  }
  /** nanoMAS. */
  get stakePerGb(): u64 {
    return this.values[6];
  }
  get replicationFactor(): u64 {
    return this.values[7];
  }
  get chunkSizeBytes(): u64 {
    return this.values[8];
  }
  /** Periods of a segment. Never changes. */
  get segmentPeriods(): u64 {
    return this.values[9];
  }
  /** First segment that is anchored: the first of a round. Never changes. */
  get firstSegment(): u64 {
    return this.values[10];
  }
  /** Segments of a round. Never changes. */
  get roundSegments(): u64 {
    return this.values[11];
  }
  /** P: periods of a round. */
  get roundPeriods(): u64 {
    return this.roundSegments * this.segmentPeriods;
  }

  static read(reader: Reader): StorageConfig {
    const config = new StorageConfig();
    for (let i = 0; i < FIELDS; i++) config.values[i] = reader.u64(NAMES[i]);
    return config;
  }

  /** An argument: the plan's six fields, which leave the rest as in `rest`, or all twelve. */
  static given(reader: Reader, rest: StorageConfig): StorageConfig {
    const config = new StorageConfig();
    for (let i = 0; i < PLAN_FIELDS; i++) config.values[i] = reader.u64(NAMES[i]);
    const whole = reader.left > 0;
    for (let i = PLAN_FIELDS; i < FIELDS; i++) config.values[i] = whole ? reader.u64(NAMES[i]) : rest.values[i];
    return config;
  }

  /** The fields that the plan does not have, of a registry that is deployed in `period`: its first segment is the first of the open round. */
  static standard(period: u64): StorageConfig {
    const config = new StorageConfig();
    config.values[6] = STAKE_PER_GB;
    config.values[7] = REPLICATION;
    config.values[8] = CHUNK_BYTES;
    config.values[9] = SEGMENT_PERIODS;
    config.values[10] = (period / (ROUND_SEGMENTS * SEGMENT_PERIODS)) * ROUND_SEGMENTS;
    config.values[11] = ROUND_SEGMENTS;
    return config;
  }

  write(writer: Writer): void {
    for (let i = 0; i < FIELDS; i++) writer.u64(this.values[i]);
  }

  toBytes(): StaticArray<u8> {
    const writer = new Writer(8 * FIELDS);
    this.write(writer);
    return writer.bytes;
  }

  check(): void {
    assert(this.rewardPerGbPerPeriod <= MAX_RATE, 'rewardPerGbPerPeriod: at most ' + MAX_RATE.toString());
    assert(this.minAllocatedGb >= 1, 'minAllocatedGb: at least 1');
    assert(this.maxAllocatedGb >= this.minAllocatedGb, 'maxAllocatedGb: below minAllocatedGb');
    assert(this.maxAllocatedGb <= MAX_GB, 'maxAllocatedGb: at most ' + MAX_GB.toString());
    const timeout = this.challengeResponseTimeout;
    assert(timeout >= 1 && timeout <= MAX_TIMEOUT_MS, 'challengeResponseTimeout: 1 to ' + MAX_TIMEOUT_MS.toString());
    assert(this.slashPercentage >= 1 && this.slashPercentage <= 100, 'slashPercentage: 1 to 100');
    assert(this.minStake >= 1 && this.minStake <= MAX_STAKE, 'minStake: 1 to ' + MAX_STAKE.toString());
    assert(mul(this.stakePerGb, this.maxAllocatedGb) <= MAX_STAKE, 'stakePerGb: too large for maxAllocatedGb');
    const factor = this.replicationFactor;
    assert(factor >= 1 && factor <= MAX_REPLICATION, 'replicationFactor: 1 to ' + MAX_REPLICATION.toString());
    const chunk = this.chunkSizeBytes;
    const isChunk = popcnt(chunk) == 1 && chunk >= PAGE_BYTES && chunk <= MAX_CHUNK_BYTES;
    assert(isChunk, 'chunkSizeBytes: a power of two, 65536 to 67108864');
    const periods = this.segmentPeriods;
    assert(periods >= 1 && periods <= MAX_SEGMENT_PERIODS, 'challengeFrequencyPeriods: 1 to 256');
    this.checkRounds();
  }

  /** No value is less than half of what is in force, or more than twice: whoever does not agree has time to leave. */
  checkSteps(inForce: StorageConfig): void {
    for (let i = 0; i < FIELDS; i++) {
      const before = inForce.values[i];
      const least = before / 2;
      const most = max(2 * before, 1);
      const inStep = this.values[i] >= least && this.values[i] <= most;
      assert(inStep, NAMES[i] + ': in one step ' + least.toString() + ' to ' + most.toString());
    }
  }

  private checkRounds(): void {
    const segments = this.roundSegments;
    assert(segments >= 1 && segments <= MAX_ROUND_SEGMENTS, 'roundSegments: 1 to 64');
    assert(this.roundPeriods >= MIN_ROUND_PERIODS, 'roundSegments: a round has at least 8 periods');
    assert(this.firstSegment < 1 << 24, 'firstSegment: below 16777216');
    assert(this.firstSegment % segments == 0, 'firstSegment: a multiple of roundSegments');
  }
}

/** One changed field. */
export class ConfigChange {
  constructor(
    public field: string,
    public before: u64,
    public after: u64,
  ) {}
}

/** What is stored under `config`: the values now, the values that follow, and the round from which those count (u64). */
export class ConfigRecord {
  static BYTES: u32 = 16 * FIELDS + 8;

  constructor(
    public now: StorageConfig,
    public next: StorageConfig,
    public nextRound: u64,
  ) {}

  static load(): ConfigRecord {
    const reader = new Reader(Storage.get<StaticArray<u8>>(utf8(CONFIG_KEY)));
    return new ConfigRecord(StorageConfig.read(reader), StorageConfig.read(reader), reader.u64('nextRound'));
  }

  save(): void {
    const writer = new Writer(ConfigRecord.BYTES);
    this.now.write(writer);
    this.next.write(writer);
    Storage.set<StaticArray<u8>>(utf8(CONFIG_KEY), writer.u64(this.nextRound).bytes);
  }

  at(round: u64): StorageConfig {
    return round >= this.nextRound ? this.next : this.now;
  }

  /**
   * Sets what counts from the second round after `round` on, or from the eighth if it changes what must be staked; returns what
   * differs from what would have counted. A change that is pending for the next round stays; a later one is replaced.
   */
  change(config: StorageConfig, round: u64): ConfigChange[] {
    assert(this.nextRound != round + 1, 'a change of configuration is pending');
    const inForce = this.at(round);
    const changes: ConfigChange[] = [];
    for (let i = 0; i < FIELDS; i++) {
      const before = this.next.values[i];
      if (before != config.values[i]) changes.push(new ConfigChange(NAMES[i], before, config.values[i]));
    }
    assert(config.segmentPeriods == this.next.segmentPeriods, 'challengeFrequencyPeriods: cannot change');
    assert(config.firstSegment == this.next.firstSegment, 'firstSegment: cannot change');
    assert(config.roundSegments == this.next.roundSegments, 'roundSegments: cannot change');
    config.checkSteps(inForce);
    const stakes = config.minStake != inForce.minStake || config.stakePerGb != inForce.stakePerGb;
    this.now = inForce;
    this.next = config;
    this.nextRound = round + (stakes ? STAKE_NOTICE_ROUNDS : NOTICE_ROUNDS);
    return changes;
  }
}

/**
 * Fixed-layout records: fields are read and written in place, forty times cheaper than serialising. Offsets are drawn in
 * README, "State".
 */
import { Storage } from '@massalabs/massa-as-sdk';
import { Writer, utf8Text } from './bytes';
import { STATE_KEY, beaconKey, nodeKey, periodKey, segmentKey } from './keys';
import { utf8 } from './bytes';

export const NEVER: u64 = u64.MAX_VALUE;

/** Bytes with typed access. Offsets are constants of this file, inside the record by construction. */
export class Fields {
  constructor(public bytes: StaticArray<u8>) {}

  @inline u8At(at: u32): u8 {
    return load<u8>(changetype<usize>(this.bytes) + at);
  }

  @inline set8(at: u32, value: u8): void {
    store<u8>(changetype<usize>(this.bytes) + at, value);
  }

  @inline u64At(at: u32): u64 {
    return load<u64>(changetype<usize>(this.bytes) + at);
  }

  @inline set64(at: u32, value: u64): void {
    store<u64>(changetype<usize>(this.bytes) + at, value);
  }

  hashAt(at: u32): StaticArray<u8> {
    const hash = new StaticArray<u8>(32);
    memory.copy(changetype<usize>(hash), changetype<usize>(this.bytes) + at, 32);
    return hash;
  }

  setHash(at: u32, hash: StaticArray<u8>): void {
    memory.copy(changetype<usize>(this.bytes) + at, changetype<usize>(hash), 32);
  }
}

/** Money and counters of the whole contract. */
export class State extends Fields {
  static SIZE: u32 = 96;

  static fresh(firstSegment: u64): State {
    const state = new State(new StaticArray<u8>(State.SIZE));
    state.nextSegment = firstSegment;
    state.lastAccepted = NEVER;
    state.lastFrozen = NEVER;
    return state;
  }

  static load(): State {
    return new State(Storage.get<StaticArray<u8>>(utf8(STATE_KEY)));
  }

  save(): void {
    Storage.set<StaticArray<u8>>(utf8(STATE_KEY), this.bytes);
  }

  /** Sum of all nodes' stakes. */
  get stakes(): u64 { return this.u64At(0); }
  set stakes(v: u64) { this.set64(0, v); }
  /** Owed to nodes for closed rounds, matured or not. */
  get credited(): u64 { return this.u64At(8); }
  set credited(v: u64) { this.set64(8, v); }
  /** Set aside for frozen rounds that are not closed. */
  get reserves(): u64 { return this.u64At(16); }
  set reserves(v: u64) { this.set64(16, v); }
  /** Free pool. */
  get pool(): u64 { return this.u64At(24); }
  set pool(v: u64) { this.set64(24, v); }
  /** Slashed, to be sent to the burn address. */
  get toBurn(): u64 { return this.u64At(32); }
  set toBurn(v: u64) { this.set64(32, v); }
  get burned(): u64 { return this.u64At(40); }
  set burned(v: u64) { this.set64(40, v); }
  /** Stakes of active nodes. */
  get activeStake(): u64 { return this.u64At(48); }
  set activeStake(v: u64) { this.set64(48, v); }
  /** The segment whose root is accepted next. */
  get nextSegment(): u64 { return this.u64At(56); }
  set nextSegment(v: u64) { this.set64(56, v); }
  /** The last round with an accepted beacon; NEVER. */
  get lastAccepted(): u64 { return this.u64At(64); }
  set lastAccepted(v: u64) { this.set64(64, v); }
  get paused(): bool { return this.u8At(72) != 0; }
  set paused(v: bool) { this.set8(72, v ? 1 : 0); }
  /** Round in which the pause began. */
  get pausedRound(): u64 { return this.u64At(80); }
  set pausedRound(v: u64) { this.set64(80, v); }
  /** The latest round whose rate is fixed; NEVER. */
  get lastFrozen(): u64 { return this.u64At(88); }
  set lastFrozen(v: u64) { this.set64(88, v); }

  /** All that the contract owes or keeps: its balance, exactly, after every operation. */
  get owed(): u64 {
    return this.stakes + this.credited + this.reserves + this.pool + this.toBurn;
  }
}

export const CLAIMED: u8 = 1;
export const ANSWERED: u8 = 2;
export const SETTLED: u8 = 3;
export const SLOTS: u64 = 3;
const SLOT_BYTES: u32 = 128;
const FIXED_BYTES: u32 = 208 + 3 * SLOT_BYTES;

/** A claim for one round, its answer and its result. Lives inside a node record. */
export class Slot {
  constructor(
    private node: NodeRecord,
    private at: u32,
  ) {}

  get round(): u64 { return this.node.u64At(this.at); }
  set round(v: u64) { this.node.set64(this.at, v); }
  /** T: leaves claimed. */
  get leaves(): u64 { return this.node.u64At(this.at + 8); }
  set leaves(v: u64) { this.node.set64(this.at + 8, v); }
  get stake(): u64 { return this.node.u64At(this.at + 16); }
  set stake(v: u64) { this.node.set64(this.at + 16, v); }
  /** GB declared for the round. */
  get weight(): u64 { return this.node.u64At(this.at + 24); }
  set weight(v: u64) { this.node.set64(this.at + 24, v); }
  get root(): StaticArray<u8> { return this.node.hashAt(this.at + 32); }
  set root(v: StaticArray<u8>) { this.node.setHash(this.at + 32, v); }
  get beacon(): StaticArray<u8> { return this.node.hashAt(this.at + 64); }
  set beacon(v: StaticArray<u8>) { this.node.setHash(this.at + 64, v); }
  /** Not yet matured. */
  get credit(): u64 { return this.node.u64At(this.at + 96); }
  set credit(v: u64) { this.node.set64(this.at + 96, v); }
  get state(): u8 { return this.node.u8At(this.at + 104); }
  set state(v: u8) { this.node.set8(this.at + 104, v); }
  get draws(): u8 { return this.node.u8At(this.at + 105); }
  set draws(v: u8) { this.node.set8(this.at + 105, v); }
  get passes(): u8 { return this.node.u8At(this.at + 106); }
  set passes(v: u8) { this.node.set8(this.at + 106, v); }
  get reason(): u8 { return this.node.u8At(this.at + 107); }
  set reason(v: u8) { this.node.set8(this.at + 107, v); }
  get refuted(): bool { return this.node.u8At(this.at + 108) != 0; }
  set refuted(v: bool) { this.node.set8(this.at + 108, v ? 1 : 0); }

  drawReason(d: u32): u8 { return this.node.u8At(this.at + 112 + d); }
  setDrawReason(d: u32, v: u8): void { this.node.set8(this.at + 112 + d, v); }

  open(round: u64): void {
    memory.fill(changetype<usize>(this.node.bytes) + this.at, 0, SLOT_BYTES);
    this.round = round;
    this.state = CLAIMED;
  }

  copy(): StaticArray<u8> {
    const result = new StaticArray<u8>(SLOT_BYTES);
    memory.copy(changetype<usize>(result), changetype<usize>(this.node.bytes) + this.at, SLOT_BYTES);
    return result;
  }
}

/** A storage node. */
export class NodeRecord extends Fields {
  address: string = '';

  static exists(address: string): bool {
    return Storage.has<StaticArray<u8>>(nodeKey(address));
  }

  static load(address: string): NodeRecord {
    const key = nodeKey(address);
    assert(Storage.has<StaticArray<u8>>(key), 'not a storage node: ' + address);
    const node = new NodeRecord(Storage.get<StaticArray<u8>>(key));
    node.address = address;
    return node;
  }

  static fresh(address: string, nodeId: string, addresses: string): NodeRecord {
    const size = FIXED_BYTES + 4 + nodeId.length + addresses.length;
    const node = new NodeRecord(new StaticArray<u8>(size));
    const tail = new Writer(4 + nodeId.length + addresses.length);
    tail.u16(<u16>nodeId.length).raw(utf8(nodeId)).u16(<u16>addresses.length).raw(utf8(addresses));
    memory.copy(changetype<usize>(node.bytes) + FIXED_BYTES, changetype<usize>(tail.bytes), tail.bytes.length);
    node.set8(0, 1);
    node.address = address;
    node.leaveRound = NEVER;
    node.votesRound = NEVER;
    node.filledFrom = NEVER;
    node.filledTo = NEVER;
    for (let i: u64 = 0; i < SLOTS; i++) {
      node.slot(i).open(NEVER);
      node.slot(i).state = SETTLED;
    }
    return node;
  }

  save(): void {
    Storage.set<StaticArray<u8>>(nodeKey(this.address), this.bytes);
  }

  slot(round: u64): Slot {
    return new Slot(this, 208 + <u32>(round % SLOTS) * SLOT_BYTES);
  }

  /** Counts in the active stake: it registered or submitted in the last eight rounds. */
  get active(): bool { return this.u8At(1) != 0; }
  set active(v: bool) { this.set8(1, v ? 1 : 0); }
  get leaving(): bool { return this.leaveRound != NEVER; }
  get hasKey(): bool { return this.u8At(3) != 0; }
  /** The round in which somebody said that it is gone; 0 if nobody did since it was seen. */
  get absentSince(): u64 { return load<u32>(changetype<usize>(this.bytes) + 4); }
  set absentSince(v: u64) { store<u32>(changetype<usize>(this.bytes) + 4, <u32>v); }
  get index(): u64 { return this.u64At(8); }
  set index(v: u64) { this.set64(8, v); }
  get registeredPeriod(): u64 { return this.u64At(16); }
  set registeredPeriod(v: u64) { this.set64(16, v); }
  get stake(): u64 { return this.u64At(24); }
  set stake(v: u64) { this.set64(24, v); }
  get weightNow(): u64 { return this.u64At(32); }
  set weightNow(v: u64) { this.set64(32, v); }
  get weightNext(): u64 { return this.u64At(40); }
  set weightNext(v: u64) { this.set64(40, v); }
  /** From this round on `weightNext` counts. */
  get weightRound(): u64 { return this.u64At(48); }
  set weightRound(v: u64) { this.set64(48, v); }
  /** From this round on the weight is 0; NEVER. */
  get leaveRound(): u64 { return this.u64At(56); }
  set leaveRound(v: u64) { this.set64(56, v); }
  get lastCounted(): u64 { return this.u64At(64); }
  set lastCounted(v: u64) { this.set64(64, v); }
  get lapseFrom(): u64 { return this.u64At(72); }
  set lapseFrom(v: u64) { this.set64(72, v); }
  get lapseUntil(): u64 { return this.u64At(80); }
  set lapseUntil(v: u64) { this.set64(80, v); }
  get filledFrom(): u64 { return this.u64At(88); }
  set filledFrom(v: u64) { this.set64(88, v); }
  get filledTo(): u64 { return this.u64At(96); }
  set filledTo(v: u64) { this.set64(96, v); }
  get lastSeen(): u64 { return this.u64At(104); }
  set lastSeen(v: u64) { this.set64(104, v); }
  get noClaimBefore(): u64 { return this.u64At(112); }
  set noClaimBefore(v: u64) { this.set64(112, v); }
  get totalDraws(): u64 { return this.u64At(120); }
  set totalDraws(v: u64) { this.set64(120, v); }
  get passedDraws(): u64 { return this.u64At(128); }
  set passedDraws(v: u64) { this.set64(128, v); }
  get lastChallengedPeriod(): u64 { return this.u64At(136); }
  set lastChallengedPeriod(v: u64) { this.set64(136, v); }
  get matured(): u64 { return this.u64At(144); }
  set matured(v: u64) { this.set64(144, v); }
  get retentionPeriods(): u64 { return this.u64At(152); }
  set retentionPeriods(v: u64) { this.set64(152, v); }
  get votesRound(): u64 { return this.u64At(160); }
  set votesRound(v: u64) { this.set64(160, v); }
  /** In `votesRound` this node voted for segments below this one only. */
  get votedBelow(): u64 { return this.u64At(168); }
  set votedBelow(v: u64) { this.set64(168, v); }
  get key(): StaticArray<u8> { return this.hashAt(176); }

  setKey(key: StaticArray<u8>): void {
    this.set8(3, 1);
    this.setHash(176, key);
  }

  get nodeId(): string {
    return this.tailText(0);
  }

  get addresses(): string {
    return this.tailText(2 + this.nodeId.length);
  }

  private tailText(offset: u32): string {
    const at = changetype<usize>(this.bytes) + FIXED_BYTES + offset;
    return String.UTF8.decodeUnsafe(at + 2, load<u16>(at));
  }

  /** GB announced for a round, whether or not the node lapsed. */
  declaredAt(round: u64): u64 {
    return round >= this.weightRound ? this.weightNext : this.weightNow;
  }

  /** Rounds without a counted one after which a node weighs nothing. */
  lapsedAt(round: u64): bool {
    return (round >= this.lapseFrom && round < this.lapseUntil) || round > this.lastCounted + LAPSE_ROUNDS;
  }

  weightAt(round: u64): u64 {
    if (!this.hasKey || round >= this.leaveRound || this.lapsedAt(round)) return 0;
    return this.declaredAt(round);
  }

  filledAt(round: u64): bool {
    return round >= this.filledFrom && round < this.filledTo;
  }
}

export const LAPSE_ROUNDS: u64 = 8;
/** Rounds that a lowered weight or factor must have been in force, before another change makes the contract forget the higher. */
export const HOLD_ROUNDS: u64 = 4;

/** One round. Changed by each operation; never looped over. */
export class RoundRecord extends Fields {
  static SIZE: u32 = 144;
  firstPeriod: u64 = 0;
  round: u64 = 0;

  static load(round: u64, periods: u64): RoundRecord {
    const key = periodKey(round * periods);
    const known = Storage.has<StaticArray<u8>>(key);
    const bytes = known ? Storage.get<StaticArray<u8>>(key) : new StaticArray<u8>(RoundRecord.SIZE);
    const record = new RoundRecord(bytes);
    record.firstPeriod = round * periods;
    record.round = round;
    return record;
  }

  save(): void {
    Storage.set<StaticArray<u8>>(periodKey(this.firstPeriod), this.bytes);
  }

  get claims(): u64 { return this.u64At(0); }
  set claims(v: u64) { this.set64(0, v); }
  get claimStake(): u64 { return this.u64At(8); }
  set claimStake(v: u64) { this.set64(8, v); }
  get leaves(): u64 { return this.u64At(16); }
  set leaves(v: u64) { this.set64(16, v); }
  get claimWeight(): u64 { return this.u64At(24); }
  set claimWeight(v: u64) { this.set64(24, v); }
  get drawsExpected(): u64 { return this.u64At(32); }
  set drawsExpected(v: u64) { this.set64(32, v); }
  get drawsPassed(): u64 { return this.u64At(40); }
  set drawsPassed(v: u64) { this.set64(40, v); }
  get answers(): u64 { return this.u64At(48); }
  set answers(v: u64) { this.set64(48, v); }
  get rate(): u64 { return this.u64At(56); }
  set rate(v: u64) { this.set64(56, v); }
  get reserve(): u64 { return this.u64At(64); }
  set reserve(v: u64) { this.set64(64, v); }
  get slashPercentage(): u64 { return this.u64At(72); }
  set slashPercentage(v: u64) { this.set64(72, v); }
  get creditSum(): u64 { return this.u64At(80); }
  set creditSum(v: u64) { this.set64(80, v); }
  get nodeCount(): u64 { return this.u64At(88); }
  set nodeCount(v: u64) { this.set64(88, v); }
  /** The round before this one that had an accepted beacon; NEVER. */
  get previousAccepted(): u64 { return this.u64At(96); }
  set previousAccepted(v: u64) { this.set64(96, v); }
  get frozen(): bool { return this.u8At(104) != 0; }
  set frozen(v: bool) { this.set8(104, v ? 1 : 0); }
  get accepted(): bool { return this.u8At(105) != 0; }
  set accepted(v: bool) { this.set8(105, v ? 1 : 0); }
  get closed(): bool { return this.u8At(106) != 0; }
  set closed(v: bool) { this.set8(106, v ? 1 : 0); }
  /** A pause touched its window: nobody is slashed for it. */
  get paused(): bool { return this.u8At(107) != 0; }
  set paused(v: bool) { this.set8(107, v ? 1 : 0); }
  get beacon(): StaticArray<u8> { return this.hashAt(112); }
  set beacon(v: StaticArray<u8>) { this.setHash(112, v); }
}

/** What was answered under one b: stake, credit sum, node count. */
export class BeaconRecord extends Fields {
  private key: StaticArray<u8>;

  constructor(round: u64, beacon: StaticArray<u8>) {
    super(new StaticArray<u8>(24));
    this.key = beaconKey(round, beacon);
    if (Storage.has<StaticArray<u8>>(this.key)) this.bytes = Storage.get<StaticArray<u8>>(this.key);
  }

  save(): void {
    Storage.set<StaticArray<u8>>(this.key, this.bytes);
  }

  remove(): void {
    Storage.del<StaticArray<u8>>(this.key);
  }

  get stake(): u64 { return this.u64At(0); }
  set stake(v: u64) { this.set64(0, v); }
  get credit(): u64 { return this.u64At(8); }
  set credit(v: u64) { this.set64(8, v); }
  get nodes(): u64 { return this.u64At(16); }
  set nodes(v: u64) { this.set64(16, v); }
}

/** The accepted root of a segment; empty if there is none. */
export function segmentRoot(segment: u64): StaticArray<u8> {
  const key = segmentKey(segment);
  if (!Storage.has<StaticArray<u8>>(key)) return new StaticArray<u8>(0);
  return new Fields(Storage.get<StaticArray<u8>>(key)).hashAt(0);
}

export function textOf(key: StaticArray<u8>): string {
  return Storage.has<StaticArray<u8>>(key) ? utf8Text(Storage.get<StaticArray<u8>>(key)) : '';
}

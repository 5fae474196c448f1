/**
 * Fixed-layout records: fields are read and written in place, forty times cheaper than serialising. Offsets are drawn in
 * README, "State".
 */
import { Storage } from '@massalabs/massa-as-sdk';
import { Writer, utf8Text } from './bytes';
import { STATE_KEY, beaconKey, nodeKey, periodKey, rootVoteKey } from './keys';
import { utf8 } from './bytes';
import { StorageConfig } from './config';
import { add } from './math';

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

/** Rounds an entry can lie in: seven before the present one, that one, and two after it. */
export const RING_BUCKETS: u32 = 10;
const RING_AT: u32 = 120;

/** Money and counters of the whole contract. */
export class State extends Fields {
  static SIZE: u32 = RING_AT + RING_BUCKETS * 16;

  static fresh(firstSegment: u64): State {
    const state = new State(new StaticArray<u8>(State.SIZE));
    state.nextSegment = firstSegment;
    state.lastAccepted = NEVER;
    state.openRound = NEVER;
    state.nextOpenRound = NEVER;
    state.flagsFrom = NEVER;
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
  /** Nodes with a placement key. */
  get keyed(): u64 { return this.u64At(48); }
  set keyed(v: u64) { this.set64(48, v); }
  /** The segment whose root is accepted next. */
  get nextSegment(): u64 { return this.u64At(56); }
  set nextSegment(v: u64) { this.set64(56, v); }
  /** The last round with an accepted beacon; NEVER. */
  get lastAccepted(): u64 { return this.u64At(64); }
  set lastAccepted(v: u64) { this.set64(64, v); }
  /** Some node was counted with all draws passed: from then on only such rounds season. See `electorate.ts`. */
  get proven(): bool { return this.u8At(72) != 0; }
  set proven(v: bool) { this.set8(72, v ? 1 : 0); }
  /** The period in which the last pause began. */
  get pauseFrom(): u64 { return this.u64At(80); }
  set pauseFrom(v: u64) { this.set64(80, v); }
  /** The older round with claims that is not closed; NEVER. Never more than two are open: see `closeOver`. */
  get openRound(): u64 { return this.u64At(88); }
  set openRound(v: u64) { this.set64(88, v); }
  /** The round with claims after `openRound` that is not closed; NEVER. */
  get nextOpenRound(): u64 { return this.u64At(96); }
  set nextOpenRound(v: u64) { this.set64(96, v); }
  /** From this round on a node is filled only if its flag says so; before, and while this is NEVER, everybody is. */
  get flagsFrom(): u64 { return this.u64At(104); }
  set flagsFrom(v: u64) { this.set64(104, v); }

  /** The first period after it; 0 if there was none. */
  get pauseUntil(): u64 { return this.u64At(112); }
  set pauseUntil(v: u64) { this.set64(112, v); }

  pausedIn(period: u64): bool {
    return period >= this.pauseFrom && period < this.pauseUntil;
  }

  /** Whether the last pause touched the periods from `first` to `last`. */
  pauseTouches(first: u64, last: u64): bool {
    return this.pauseFrom <= last && this.pauseUntil > first;
  }

  /** Buckets of the electorate: a round and the stake whose entry counts from it on. */
  bucketRound(i: u64): u64 { return this.u64At(RING_AT + 16 * <u32>i); }
  bucketStake(i: u64): u64 { return this.u64At(RING_AT + 16 * <u32>i + 8); }

  setBucket(i: u64, round: u64, stake: u64): void {
    this.set64(RING_AT + 16 * <u32>i, round);
    this.set64(RING_AT + 16 * <u32>i + 8, stake);
  }

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
const SLOTS_AT: u32 = 208;
const ENTRY_STAKE_AT: u32 = SLOTS_AT + 3 * SLOT_BYTES;
const FIXED_BYTES: u32 = ENTRY_STAKE_AT + 8;

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
  /** GB declared for the round: what its chunks are placed by. */
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

  /** Weighed and held its share in the round, as placement knew when it was claimed. */
  get filled(): bool { return this.node.u8At(this.at + 109) != 0; }
  set filled(v: bool) { this.node.set8(this.at + 109, v ? 1 : 0); }

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
    node.entryRound = NEVER;
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
    return new Slot(this, SLOTS_AT + <u32>(round % SLOTS) * SLOT_BYTES);
  }

  get leaving(): bool { return this.leaveRound != NEVER; }
  get hasKey(): bool { return this.u8At(3) != 0; }
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
  /** The first round in which its entry in the electorate counts; NEVER. */
  get entryRound(): u64 { return this.u64At(104); }
  set entryRound(v: u64) { this.set64(104, v); }
  /** The stake of that entry. */
  get entryStake(): u64 { return this.u64At(ENTRY_STAKE_AT); }
  set entryStake(v: u64) { this.set64(ENTRY_STAKE_AT, v); }
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

  /** Its own flag, which counts from `State.flagsFrom` on. */
  flagAt(round: u64): bool {
    return round >= this.filledFrom && round < this.filledTo;
  }

  /** Holds its share in a round. While nobody has passed anything, everybody does. */
  filledAt(state: State, round: u64): bool {
    return round < state.flagsFrom || this.flagAt(round);
  }

  /** Whether its retention covers a segment until a round ends: it is among the last ones, counted from the last of that round. */
  covers(segment: u64, round: u64, config: StorageConfig): bool {
    if (this.retentionPeriods == 0) return true;
    const kept = this.retentionPeriods / config.segmentPeriods;
    return segment + kept >= (round + 1) * config.roundSegments;
  }
}

export const LAPSE_ROUNDS: u64 = 8;

/** One round. Changed by each operation; never looped over. */
export class RoundRecord extends Fields {
  static SIZE: u32 = 184;
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

  get key(): StaticArray<u8> {
    return periodKey(this.firstPeriod);
  }

  save(): void {
    Storage.set<StaticArray<u8>>(this.key, this.bytes);
  }

  get claims(): u64 { return this.u64At(0); }
  set claims(v: u64) { this.set64(0, v); }
  get claimStake(): u64 { return this.u64At(8); }
  set claimStake(v: u64) { this.set64(8, v); }
  get leaves(): u64 { return this.u64At(16); }
  set leaves(v: u64) { this.set64(16, v); }
  /** The seasoned stake, when it was answered last. */
  get electorate(): u64 { return this.u64At(24); }
  set electorate(v: u64) { this.set64(24, v); }
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
  /** R: how many hold a chunk in this round. */
  get factor(): u64 { return this.u8At(108); }
  set factor(v: u64) { this.set8(108, <u8>v); }
  /** A full chunk has 2 to this bytes. */
  get chunkBits(): u64 { return this.u8At(109); }
  set chunkBits(v: u64) { this.set8(109, <u8>v); }
  get beacon(): StaticArray<u8> { return this.hashAt(112); }
  set beacon(v: StaticArray<u8>) { this.setHash(112, v); }
  get stakePerGb(): u64 { return this.u64At(144); }
  set stakePerGb(v: u64) { this.set64(144, v); }
  /** Seasoned stake that answered under the accepted beacon. Set at closing, as the next three. */
  get beaconStake(): u64 { return this.u64At(152); }
  set beaconStake(v: u64) { this.set64(152, v); }
  /** Leaves of the claims that passed all draws. */
  get provenLeaves(): u64 { return this.u64At(160); }
  set provenLeaves(v: u64) { this.set64(160, v); }
  /** GB declared by who made them. */
  get provenWeight(): u64 { return this.u64At(168); }
  set provenWeight(v: u64) { this.set64(168, v); }
  /** Of these, the GB of who keeps all of history: what the archive as a whole has room in. */
  get lastingWeight(): u64 { return this.u64At(176); }
  set lastingWeight(v: u64) { this.set64(176, v); }
}

/** A row that one of many pays for: whoever that was is named at its end, and has its deposit back if the row is right. */
class PaidRecord extends Fields {
  constructor(
    public key: StaticArray<u8>,
    private fixedBytes: u32,
    payer: string,
  ) {
    super(new StaticArray<u8>(0));
    this.bytes = Storage.has<StaticArray<u8>>(key) ? Storage.get<StaticArray<u8>>(key) : fresh(fixedBytes, payer);
  }

  save(): void {
    Storage.set<StaticArray<u8>>(this.key, this.bytes);
  }

  get payer(): string {
    const size = <u32>this.bytes.length - this.fixedBytes;
    return String.UTF8.decodeUnsafe(changetype<usize>(this.bytes) + this.fixedBytes, size);
  }
}

function fresh(fixedBytes: u32, payer: string): StaticArray<u8> {
  const bytes = new StaticArray<u8>(fixedBytes + payer.length);
  memory.copy(changetype<usize>(bytes) + fixedBytes, changetype<usize>(utf8(payer)), payer.length);
  return bytes;
}

/** Votes for a root of a segment. They start anew each round; the row stays. */
export class RootVotes extends PaidRecord {
  constructor(segment: u64, root: StaticArray<u8>, payer: string) {
    super(rootVoteKey(segment, root), 16, payer);
  }

  get round(): u64 { return this.u64At(0); }
  /** Seasoned. */
  get stake(): u64 { return this.u64At(8); }

  add(round: u64, weight: u64): void {
    const before = this.round == round ? this.stake : 0;
    this.set64(0, round);
    this.set64(8, add(before, weight));
  }
}

/** What was answered under one b. */
export class BeaconRecord extends PaidRecord {
  constructor(round: u64, beacon: StaticArray<u8>, payer: string) {
    super(beaconKey(round, beacon), 56, payer);
  }

  /** Seasoned. */
  get stake(): u64 { return this.u64At(0); }
  set stake(v: u64) { this.set64(0, v); }
  get credit(): u64 { return this.u64At(8); }
  set credit(v: u64) { this.set64(8, v); }
  get nodes(): u64 { return this.u64At(16); }
  set nodes(v: u64) { this.set64(16, v); }
  /** Stake of the claims that were answered, seasoned or not. */
  get claimStake(): u64 { return this.u64At(24); }
  set claimStake(v: u64) { this.set64(24, v); }
  /** Leaves of the claims that passed all draws. */
  get provenLeaves(): u64 { return this.u64At(32); }
  set provenLeaves(v: u64) { this.set64(32, v); }
  get provenWeight(): u64 { return this.u64At(40); }
  set provenWeight(v: u64) { this.set64(40, v); }
  get lastingWeight(): u64 { return this.u64At(48); }
  set lastingWeight(v: u64) { this.set64(48, v); }
}

export function textOf(key: StaticArray<u8>): string {
  return Storage.has<StaticArray<u8>>(key) ? utf8Text(Storage.get<StaticArray<u8>>(key)) : '';
}

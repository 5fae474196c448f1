/** Deployment, configuration, challengers, pause, funding. */
import { Context, Storage, balance, createEvent, generateEvent } from '@massalabs/massa-as-sdk';
import { Reader, utf8, utf8Text } from './bytes';
import { ConfigRecord, StorageConfig } from './config';
import { ADMIN_KEY, CONFIG_KEY, STATE_KEY, TOTAL_NODES_KEY, challengerKey } from './keys';
import { add, mas, sub } from './math';
import { setTotalNodes } from './nodes';
import { Operation, storageCost } from './operation';
import { State } from './records';
import { closeOver } from './rounds';

const MAX_ADDRESS: u32 = 64;
/** The round of a pause is its first. */
const PAUSE_ROUNDS: u64 = 4;
/** Rounds between the end of a pause and the next one. */
const PAUSE_GAP_ROUNDS: u64 = 8;

/** admin, then the plan's six fields of `StorageConfig` or all twelve. Coins sent pay for storage and fill the pool. */
export function construct(input: StaticArray<u8>): void {
  assert(Context.isDeployingContract(), 'the constructor runs at deployment only');
  const reader = new Reader(input);
  const admin = reader.text(MAX_ADDRESS, 'admin');
  const config = StorageConfig.given(reader, StorageConfig.standard(Context.currentPeriod()));
  reader.end('constructor');
  config.check();
  const rows = utf8(ADMIN_KEY + CONFIG_KEY + TOTAL_NODES_KEY + STATE_KEY + admin).length;
  const storage = storageCost(4, rows + 8 + ConfigRecord.BYTES + State.SIZE);
  const sent = balance();
  assert(sent >= storage, 'coins: ' + mas(storage - sent) + ' MAS more are needed for storage: ' + mas(storage));
  Storage.set<StaticArray<u8>>(utf8(ADMIN_KEY), utf8(admin));
  new ConfigRecord(config, config, 0).save();
  setTotalNodes(0);
  const state = State.fresh(config.firstSegment);
  state.save();
  // What storage left of the coins sent. Same size, so this costs nothing.
  state.pool = balance();
  state.save();
  generateEvent(createEvent('STORAGE_REGISTRY_CREATED', [admin]));
}

/** An operation of the admin. */
class AdminOperation extends Operation {
  constructor() {
    super(true);
    const admin = utf8Text(Storage.get<StaticArray<u8>>(utf8(ADMIN_KEY)));
    assert(this.caller == admin, 'only the admin may do this');
  }
}

/** The plan's six fields of `StorageConfig`, the rest stays as it would count; or all twelve. See `ConfigRecord.change`. */
export function updateConfig(input: StaticArray<u8>): void {
  const op = new AdminOperation();
  const reader = new Reader(input);
  const config = StorageConfig.given(reader, op.config.next);
  reader.end('updateConfig');
  config.check();
  const changes = op.config.change(config, op.round);
  assert(changes.length > 0, 'nothing changes');
  op.config.save();
  for (let i = 0; i < changes.length; i++) {
    const change = changes[i];
    op.event('CONFIG_UPDATED', [change.field, change.before.toString(), change.after.toString()]);
  }
  op.finish();
}

export function addChallenger(input: StaticArray<u8>): void {
  const op = new AdminOperation();
  const address = challengerArgument(input);
  const key = challengerKey(address);
  assert(!Storage.has<StaticArray<u8>>(key), 'is a challenger already');
  Storage.set<StaticArray<u8>>(key, [1]);
  op.event('CHALLENGER_ADDED', [address]);
  op.finish();
}

export function removeChallenger(input: StaticArray<u8>): void {
  const op = new AdminOperation();
  const address = challengerArgument(input);
  const key = challengerKey(address);
  assert(Storage.has<StaticArray<u8>>(key), 'is not a challenger');
  Storage.del<StaticArray<u8>>(key);
  op.event('CHALLENGER_REMOVED', [address]);
  op.finish();
}

function challengerArgument(input: StaticArray<u8>): string {
  const reader = new Reader(input);
  const address = reader.text(MAX_ADDRESS, 'address');
  reader.end('challenger');
  assert(address.length > 0, 'argument address: empty');
  return address;
}

/**
 * paused: bool. Nothing but the admin's functions and `fund` works while paused. Rounds whose window a pause touches slash nobody. It
 * ends by itself when the fourth round after it opens, and the next one begins no earlier than eight rounds later: stakes are
 * never held for ever, and refutations always find time.
 */
export function setPaused(input: StaticArray<u8>): void {
  const op = new AdminOperation();
  const reader = new Reader(input);
  const paused = reader.bool('paused');
  reader.end('setPaused');
  const state = op.state;
  assert(paused != state.pausedIn(op.period), paused ? 'is paused already' : 'is not paused');
  if (paused) {
    const from = state.pauseUntil == 0 ? 0 : state.pauseUntil / op.periods + PAUSE_GAP_ROUNDS;
    assert(op.round >= from, 'the next pause begins in round ' + from.toString());
    // What the pause before touched is closed with it, before it is forgotten.
    closeOver(op);
    state.pauseFrom = op.period;
    state.pauseUntil = (op.round + PAUSE_ROUNDS) * op.periods;
  } else {
    state.pauseUntil = op.period;
  }
  op.event('PAUSED', [paused.toString()]);
  op.finish();
}

/** Adds the coins sent, and what was transferred to the contract outside of a call, to the pool. */
export function fund(): void {
  const op = new Operation(true);
  const state = op.state;
  const stray = sub(sub(op.balanceBefore, op.coins), state.owed);
  const amount = add(op.coins, stray);
  assert(amount > 0, 'no coins sent');
  op.keep(op.coins);
  state.pool = add(state.pool, amount);
  op.event('FUNDED', [op.caller, amount.toString()]);
  op.finish();
}

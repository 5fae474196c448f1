/**
 * One state-changing operation: who calls, when, with what coins. `begin` checks, `finish` moves money last.
 *
 * The ledger charges storage to the contract as it writes. `finish` makes the caller pay for it out of the coins sent, and
 * returns the rest (or what shrinking storage freed), so that stakes and credit never pay for storage. Rows that all share, of
 * rounds and accepted segments, are paid by the pool.
 */
import {
  Address,
  Constant,
  Context,
  Storage,
  balance,
  generateEvent,
  transferCoins,
} from '@massalabs/massa-as-sdk';
import { ConfigRecord } from './config';
import { State } from './records';
import { add, mas, sub } from './math';

/** The ledger's limit for one operation. */
export const MAX_EVENTS = 25;
/** 1 MAS. Slashes are sent to the burn address once this much is there: a transfer can fail for tiny amounts. */
const BURN_BATCH: u64 = 1_000_000_000;

/** Of the ledger, for each row and byte, in nanoMAS. Only for saying what is missing before the ledger refuses to write. */
const ROW_COST: u64 = 400_000;
const BYTE_COST: u64 = 100_000;

/** nanoMAS that the ledger takes for new rows with so many bytes of keys and values. */
export function storageCost(rows: u64, bytes: u64): u64 {
  return rows * ROW_COST + bytes * BYTE_COST;
}

export class Operation {
  readonly caller: string;
  readonly registry: string;
  readonly coins: u64;
  readonly period: u64;
  readonly config: ConfigRecord;
  readonly state: State;
  /** Balance when the call began, coins included. */
  readonly balanceBefore: u64;
  /** Coins of the caller that are kept: staked, or added to the pool. */
  private kept: u64 = 0;
  /** Deposits that go back to who paid them. */
  private released: u64 = 0;
  /** Storage that the pool paid. */
  private fromPool: u64 = 0;
  private outTo: string[] = [];
  private outAmount: u64[] = [];
  private events: string[] = [];

  constructor(evenPaused: bool = false) {
    const stack = Context.addressStack();
    assert(stack.length >= 2, 'call the registry from an address');
    this.config = ConfigRecord.load();
    this.state = State.load();
    this.caller = stack[stack.length - 2].toString();
    this.registry = stack[stack.length - 1].toString();
    this.balanceBefore = balance();
    this.coins = Context.transferredCoins();
    this.period = Context.currentPeriod();
    assert(this.caller != this.registry, 'the registry cannot call itself');
    assert(evenPaused || !this.state.pausedIn(this.period), 'the registry is paused');
  }

  /** P: periods of a round. */
  get periods(): u64 {
    return this.config.next.roundPeriods;
  }

  /** Periods of a segment. */
  get segmentPeriods(): u64 {
    return this.config.next.segmentPeriods;
  }

  get round(): u64 {
    return this.period / this.periods;
  }

  /** Keeps coins of the caller. Whatever it is for is booked in the state. */
  keep(amount: u64): void {
    this.kept = add(this.kept, amount);
  }

  /** Before new rows of the caller are written: the ledger refuses what the whole balance cannot pay for, and names no amount. */
  checkRows(rows: u64, bytes: u64): void {
    const storage = storageCost(rows, bytes);
    if (storage > this.balanceBefore) this.checkCoins(storage);
  }

  private checkCoins(storage: u64): void {
    const needed = add(this.kept, storage);
    assert(
      this.coins >= needed,
      'coins: ' + mas(needed - this.coins) + ' MAS more are needed: ' + mas(this.kept) + ' for stake and ' + mas(storage) + ' for storage',
    );
  }

  /** Writes a new row that all share. The pool pays its deposit, if it can. */
  setShared(key: StaticArray<u8>, value: StaticArray<u8>): void {
    const before = balance();
    Storage.set<StaticArray<u8>>(key, value);
    const deposit = sub(before, balance());
    if (deposit > this.state.pool) return;
    this.state.pool -= deposit;
    this.fromPool = add(this.fromPool, deposit);
  }

  /** Deletes a row and returns its deposit to who paid it. */
  release(key: StaticArray<u8>, payer: string): void {
    const before = balance();
    Storage.del<StaticArray<u8>>(key);
    const deposit = sub(balance(), before);
    this.released = add(this.released, deposit);
    this.pay(payer, deposit);
  }

  /** Pays at the end. */
  pay(to: string, amount: u64): void {
    if (amount == 0) return;
    this.outTo.push(to);
    this.outAmount.push(amount);
  }

  get eventCount(): i32 {
    return this.events.length;
  }

  /** Emitted at the end. */
  event(name: string, fields: string[]): void {
    this.events.push(name + ':' + fields.join(','));
  }

  /** State, then transfers, then events. */
  finish(): void {
    const state = this.state;
    const burn = state.toBurn >= BURN_BATCH ? state.toBurn : 0;
    if (burn > 0) {
      state.toBurn = 0;
      state.burned = add(state.burned, burn);
      this.pay(Constant.BURN_ADDRESS, burn);
    }
    state.save();
    // The ledger took storage from the balance, or gave back what shrank. What is left of the coins goes back.
    const before = add(this.balanceBefore, this.released);
    const after = add(balance(), this.fromPool);
    this.checkCoins(before > after ? before - after : 0);
    this.pay(this.caller, sub(add(this.coins, after), add(before, this.kept)));
    for (let i = 0; i < this.outTo.length; i++) {
      transferCoins(new Address(this.outTo[i]), this.outAmount[i]);
    }
    for (let i = 0; i < this.events.length; i++) generateEvent(this.events[i]);
  }
}

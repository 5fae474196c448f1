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
import { add, sub } from './math';

/** The ledger's limit for one operation. */
export const MAX_EVENTS = 25;
/** 1 MAS. Slashes are sent to the burn address once this much is there: a transfer can fail for tiny amounts. */
const BURN_BATCH: u64 = 1_000_000_000;

export class Operation {
  readonly caller: string;
  readonly registry: string;
  readonly coins: u64;
  readonly period: u64;
  readonly config: ConfigRecord;
  readonly state: State;
  /** Balance when the call began, coins included. */
  readonly balanceBefore: u64;
  /** Coins kept, beyond storage. */
  private kept: u64 = 0;
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
    this.keep(deposit);
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
    const now = balance();
    const due = add(add(this.coins, now), this.fromPool);
    // now = before − storage paid (+ storage freed). What is left of the coins after storage and what is kept goes back.
    const spent = add(this.balanceBefore, this.kept);
    assert(due >= spent, 'coins sent do not cover stake and storage: ' + (spent - min(due, spent)).toString() + ' missing');
    this.pay(this.caller, due - spent);
    for (let i = 0; i < this.outTo.length; i++) {
      transferCoins(new Address(this.outTo[i]), this.outAmount[i]);
    }
    for (let i = 0; i < this.events.length; i++) generateEvent(this.events[i]);
  }
}

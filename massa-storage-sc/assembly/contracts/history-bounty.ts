/**
 * An example: bounties for history. Someone offers coins for the proof that a slot had a block, or that it was missed; whoever brings
 * it is paid. The registry is asked what the slot had, so this contract trusts no more than the registry's electorate.
 *
 * A proof is public once it is sent: who includes it first is paid. Arguments as in `Args` of massa-web3.
 */
import { Address, Context, Storage, balance, createEvent, generateEvent, transferCoins } from '@massalabs/massa-as-sdk';
import { IStorageRegistry } from '../interfaces/IStorageRegistry';
import { BLOCK_ID_BYTES, MAX_BLOCK_PROOF_BYTES } from '../internals/block-proof';
import { Reader, Writer, hex, utf8, utf8Text } from '../internals/bytes';
import { mas } from '../internals/math';
import { BLOCK, MISS } from '../internals/slot-answer';

const REGISTRY_KEY = 'registry';
const OFFER_PREFIX = 'offer_';
const MAX_ADDRESS: u32 = 64;

/** What is asked: whether a slot had this block; without an id, whether it was missed. */
class Question {
  constructor(
    public period: u64,
    public thread: u8,
    public blockId: StaticArray<u8>,
  ) {}

  static read(reader: Reader): Question {
    const question = new Question(reader.u64('period'), reader.u8('thread'), reader.sized(BLOCK_ID_BYTES, 'blockId'));
    const length = <u32>question.blockId.length;
    assert(length == 0 || length == BLOCK_ID_BYTES, 'argument blockId: 33 bytes, or none');
    return question;
  }

  /** `offer_` period u64 | thread u8 | block id */
  get key(): StaticArray<u8> {
    const writer = new Writer(6 + 9 + this.blockId.length).raw(utf8(OFFER_PREFIX));
    return writer.u64(this.period).u8(this.thread).raw(this.blockId).bytes;
  }

  get fields(): string[] {
    return [this.period.toString(), this.thread.toString(), hex(this.blockId)];
  }
}

/** @param input - registry: string */
export function constructor(input: StaticArray<u8>): void {
  assert(Context.isDeployingContract(), 'the constructor runs at deployment only');
  const reader = new Reader(input);
  const registry = reader.text(MAX_ADDRESS, 'registry');
  reader.end('constructor');
  Storage.set<StaticArray<u8>>(utf8(REGISTRY_KEY), utf8(registry));
}

/**
 * Coins: the reward and what its row costs.
 * @param input - period: u64, thread: u8, blockId: bytes (33; none: the slot was missed)
 */
export function offer(input: StaticArray<u8>): void {
  const reader = new Reader(input);
  const question = Question.read(reader);
  reader.end('offer');
  assert(!Storage.has<StaticArray<u8>>(question.key), 'this is offered already');
  const from = utf8(Context.caller().toString());
  const row = new Writer(8 + from.length).u64(0).raw(from).bytes;
  const before = balance();
  Storage.set<StaticArray<u8>>(question.key, row);
  const storage = before - balance();
  const coins = Context.transferredCoins();
  assert(coins > storage, 'coins: more than ' + mas(storage) + ' MAS for storage are needed');
  store<u64>(changetype<usize>(row), coins - storage);
  Storage.set<StaticArray<u8>>(question.key, row);
  generateEvent(createEvent('BOUNTY_OFFERED', question.fields.concat([(coins - storage).toString()])));
}

/**
 * Pays the caller for the proof.
 * @param input - period: u64, thread: u8, blockId: bytes, as offered; proof: bytes, as the registry's `checkBlock` takes it
 */
export function take(input: StaticArray<u8>): void {
  const reader = new Reader(input);
  const question = Question.read(reader);
  const proof = reader.sized(MAX_BLOCK_PROOF_BYTES, 'proof');
  reader.end('take');
  checkOffered(question);
  const registry = utf8Text(Storage.get<StaticArray<u8>>(utf8(REGISTRY_KEY)));
  const asked = new IStorageRegistry(new Address(registry));
  const answer = asked.checkBlock(question.period, question.thread, question.blockId, proof);
  assert(answer[0] == (question.blockId.length > 0 ? BLOCK : MISS), 'the registry does not confirm this');
  pay(question, 'BOUNTY_PAID');
}

/** Gives an offer back to who made it. @param input - period: u64, thread: u8, blockId: bytes */
export function withdraw(input: StaticArray<u8>): void {
  const reader = new Reader(input);
  const question = Question.read(reader);
  reader.end('withdraw');
  checkOffered(question);
  const row = Storage.get<StaticArray<u8>>(question.key);
  const from = utf8Text(StaticArray.slice<u8>(row, 8));
  assert(Context.caller().toString() == from, 'only who offered it takes it back');
  pay(question, 'BOUNTY_WITHDRAWN');
}

function checkOffered(question: Question): void {
  assert(Storage.has<StaticArray<u8>>(question.key), 'this is not offered');
}

/** To the caller: the reward, and what its row cost. */
function pay(question: Question, event: string): void {
  const caller = Context.caller();
  const reward = load<u64>(changetype<usize>(Storage.get<StaticArray<u8>>(question.key)));
  const before = balance();
  Storage.del<StaticArray<u8>>(question.key);
  const amount = reward + balance() - before;
  transferCoins(caller, amount);
  generateEvent(createEvent(event, question.fields.concat([caller.toString(), amount.toString()])));
}

/** @param input - period: u64, thread: u8, blockId: bytes @returns the reward u64 and who offered it; or nothing */
export function getOffer(input: StaticArray<u8>): StaticArray<u8> {
  const key = Question.read(new Reader(input)).key;
  return Storage.has<StaticArray<u8>>(key) ? Storage.get<StaticArray<u8>>(key) : new StaticArray<u8>(0);
}

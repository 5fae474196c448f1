import { Reader, Writer, utf8 } from '../internals/bytes';

/** Bytes of an id, in UTF-8. */
export const MAX_CHALLENGE_ID: u32 = 128;

/** A manual challenge: the plan's fields, in the plan's order. Also how it is stored. */
export class Challenge {
  id: string = '';
  nodeAddress: string = '';
  /** 64 hex digits. */
  chunkId: string = '';
  nonce: u64 = 0;
  issuedPeriod: u64 = 0;
  /** Milliseconds since 1970. */
  deadline: u64 = 0;
  resolved: bool = false;
  passed: bool = false;

  serialize(): StaticArray<u8> {
    const id = utf8(this.id);
    const node = utf8(this.nodeAddress);
    const chunk = utf8(this.chunkId);
    const writer = new Writer(12 + id.length + node.length + chunk.length + 26);
    writer.sized(id).sized(node).sized(chunk).u64(this.nonce).u64(this.issuedPeriod).u64(this.deadline);
    return writer.u8(this.resolved ? 1 : 0).u8(this.passed ? 1 : 0).bytes;
  }

  static parse(bytes: StaticArray<u8>): Challenge {
    const reader = new Reader(bytes);
    const challenge = new Challenge();
    challenge.id = reader.freeText(MAX_CHALLENGE_ID, 'id');
    challenge.nodeAddress = reader.text(64, 'nodeAddress');
    challenge.chunkId = reader.text(64, 'chunkId');
    challenge.nonce = reader.u64('nonce');
    challenge.issuedPeriod = reader.u64('issuedPeriod');
    challenge.deadline = reader.u64('deadline');
    challenge.resolved = reader.bool('resolved');
    challenge.passed = reader.bool('passed');
    return challenge;
  }
}

/** Signatures are over the hex text of a hash, because the host verifies texts. */
import { Address, isSignatureValid, publicKeyToAddress } from '@massalabs/massa-as-sdk';
import { Reader, Writer, hex, utf8 } from './bytes';
import { blake3 } from './hashes';

const SUBMISSION_DOMAIN = 'massa distributed storage: submission';
const MANUAL_DOMAIN = 'massa distributed storage: manual proof';
const NODE_ID_DOMAIN = 'massa distributed storage: node id';
const MAX_KEY_TEXT: u32 = 64;
const MAX_SIGNATURE_TEXT: u32 = 128;

function context(domain: string, chainId: u64, registry: string, content: StaticArray<u8>): string {
  const writer = new Writer(domain.length + 9 + registry.length + content.length);
  writer.raw(utf8(domain)).u64(chainId).u8(<u8>registry.length).raw(utf8(registry)).raw(content);
  return hex(blake3(writer.bytes));
}

/** Whether `signature` (public key text, signature text, each with a u32 length) is the node's over a submission. */
export function checkSubmission(
  node: string,
  chainId: u64,
  registry: string,
  content: StaticArray<u8>,
  signature: StaticArray<u8>,
): void {
  checkSigned(node, context(SUBMISSION_DOMAIN, chainId, registry, content), signature);
}

/** The same over the answer to a manual challenge: the id binds it to that one. */
export function checkManualProof(
  node: string,
  chainId: u64,
  registry: string,
  id: string,
  proof: StaticArray<u8>,
  signature: StaticArray<u8>,
): void {
  const text = utf8(id);
  const content = new Writer(4 + text.length + proof.length).sized(text).raw(proof).bytes;
  checkSigned(node, context(MANUAL_DOMAIN, chainId, registry, content), signature);
}

function checkSigned(node: string, message: string, signature: StaticArray<u8>): void {
  const reader = new Reader(signature);
  const publicKey = reader.text(MAX_KEY_TEXT, 'public key');
  const text = reader.text(MAX_SIGNATURE_TEXT, 'signature');
  reader.end('signature');
  assert(isSignatureValid(publicKey, message, text), 'signature of the node is not valid');
  const signer: Address = publicKeyToAddress(publicKey);
  assert(signer.toString() == node, 'signature is not of this node');
}

/** Whether the key behind a P2P identity agrees to be named by `address`. Its text differs from the key's by one letter. */
export function checkNodeId(nodeId: string, address: string, chainId: u64, registry: string, signature: string): void {
  assert(nodeId.startsWith('N'), 'argument nodeId: a node id begins with N');
  const message = context(NODE_ID_DOMAIN, chainId, registry, utf8(address));
  assert(isSignatureValid('P' + nodeId.substring(1), message, signature), 'signature of the node id is not valid');
}

/**
 * The header of a segment (archive format 2): the first leaf under its root. The one place where its bytes are read.
 *
 * ```text
 * 01 | format u8 (2) | chain id u64 | segment u64 | first period u64 | periods u32 | threads u8 | chunk_size u32 |
 * body length u64 | bytes of all segments before u64 | previous segment root (32)
 * ```
 *
 * A leaf under an accepted root was voted for by nodes that derived it; what is read from one that is not under a root means nothing.
 */
import { Reader } from './bytes';
import { HASH_BYTES, leafHash } from './hashes';

const HEADER_LEAF: u8 = 1;
const FORMAT: u8 = 2;
/** Bytes of the leaf's content. */
export const HEADER_LEAF_BYTES: u32 = 1 + 1 + 8 + 8 + 8 + 4 + 1 + 4 + 8 + 8 + 32;

export class SegmentHeader {
  constructor(
    public chainId: u64,
    public segment: u64,
    public firstPeriod: u64,
    public periods: u32,
    public threads: u8,
    public chunkSize: u32,
    public bodyLength: u64,
    public bytesBefore: u64,
    /** Zeros for the first segment of an archive. */
    public previous: StaticArray<u8>,
    /** Of the leaf: where its path to the segment root begins. */
    public hash: StaticArray<u8>,
  ) {}
}

/** Reads the content of a header's leaf, and traps on anything else: nothing but a header has this kind and this length. */
export function readHeader(leaf: StaticArray<u8>): SegmentHeader {
  assert(<u32>leaf.length == HEADER_LEAF_BYTES, 'segment header: ' + HEADER_LEAF_BYTES.toString() + ' bytes');
  const reader = new Reader(leaf);
  assert(reader.u8('kind') == HEADER_LEAF, 'segment header: not the leaf of a header');
  const format = reader.u8('format');
  assert(format == FORMAT, 'segment header: unknown archive format ' + format.toString());
  return new SegmentHeader(
    reader.u64('chain id'),
    reader.u64('segment'),
    reader.u64('first period'),
    reader.u32('periods'),
    reader.u8('threads'),
    reader.u32('chunk size'),
    reader.u64('body length'),
    reader.u64('bytes before'),
    reader.fixed(HASH_BYTES, 'previous root'),
    leafHash(leaf),
  );
}

// Writes ../tests/data/block-proof-vectors.json: proofs for `checkBlock` of slots of upstream's blocks, of a lost period and of missed
// ones, made with tests/segment.mjs. tests/check-block.test.mjs holds the contract to them, segment_proofs.rs of the exports crate the node.
import { writeFileSync } from 'node:fs';
import { archive, chainId } from '../tests/segment-archive.mjs';

const CHUNK_SIZE = 65_536;
const SEGMENT_PERIODS = 4;
const THREADS = [0, 1, 7, 16, 30, 31];
const hexOf = (b) => b.toString('hex');

const segments = archive(CHUNK_SIZE, SEGMENT_PERIODS).map((segment) => ({
  segment: segment.segment,
  first_period: segment.periods[0].number,
  periods: segment.periods.length,
  bytes_before: String(segment.bytesBefore),
  root: hexOf(segment.root),
  proofs: segment.periods.flatMap((period) => THREADS.map((thread) => ({
    period: period.number,
    thread,
    block_id: period.ids[thread] ? hexOf(period.ids[thread]) : null,
    proof: hexOf(segment.blockProof(period.number, thread)),
  }))),
}));
export const vectors = {
  about: 'Proofs for checkBlock over upstream-blocks-4-periods.mblk, made by massa-storage-sc/scripts/make-block-proof-vectors.mjs. '
    + 'Period 5 is lost with the ids of period 4, periods 6 and 7 missed every slot.',
  chain_id: String(chainId), chunk_size: CHUNK_SIZE, segment_periods: SEGMENT_PERIODS, segments,
};
export const text = JSON.stringify(vectors, null, 1) + '\n';
if (process.argv[1] === new URL(import.meta.url).pathname) {
  writeFileSync(new URL('../../tests/data/block-proof-vectors.json', import.meta.url), text);
}

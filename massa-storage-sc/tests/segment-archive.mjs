// The archive that the committed vectors speak of: upstream's periods 1 to 4, then a lost one with the ids of period 4, then two in
// which every slot was missed; segments of a few periods, the archive beginning inside the first.
import { readFileSync } from 'node:fs';
import { ArchiveSegment, Period, readBlocks } from './segment.mjs';

const FIRST = 1;
const LAST = 7;
const blocks = readBlocks(readFileSync(new URL('../../tests/data/upstream-blocks-4-periods.mblk', import.meta.url)));
const none = new Map();
const periods = new Map();
for (let number = FIRST; number <= LAST; number++) {
  periods.set(number, number === 5
    ? Period.lost(5, periods.get(4).ids)
    : Period.whole(number, blocks.periods.get(number) ?? none, blocks.threads));
}
export const chainId = blocks.chainId;

/** The segments, chained. */
export function archive(chunkSize, segmentPeriods) {
  const segments = [];
  for (let segment = Math.floor(FIRST / segmentPeriods); segment * segmentPeriods <= LAST; segment++) {
    const own = [...periods.values()].filter((p) => Math.floor(p.number / segmentPeriods) === segment);
    const before = segments.at(-1);
    segments.push(new ArchiveSegment({
      chainId, threads: blocks.threads, segment, periods: own, chunkSize,
      bytesBefore: before ? before.bytesBefore + before.body.length : 0, previous: before?.root,
    }));
  }
  return segments;
}

import { Writer } from '../internals/bytes';
import { LEAVES_PER_GB } from '../internals/formulas';
import { RoundRecord } from '../internals/records';

/** The plan's view of a round, in the plan's order; what the design adds follows. */
export class PeriodStats {
  constructor(private record: RoundRecord) {}

  serialize(): StaticArray<u8> {
    const record = this.record;
    const writer = new Writer(8 * 14 + 4 + 32 + 8 * 6);
    writer.u64(record.firstPeriod).u64(record.leaves / LEAVES_PER_GB).u64(record.creditSum).u64(record.claims);
    writer.u64(record.drawsExpected).u64(record.drawsPassed);
    writer.u64(record.claimStake).u64(record.leaves).u64(record.electorate).u64(record.answers);
    writer.u64(record.rate).u64(record.reserve).u64(record.slashPercentage).u64(record.nodeCount);
    writer.u8(record.frozen ? 1 : 0).u8(record.accepted ? 1 : 0).u8(record.closed ? 1 : 0).u8(record.paused ? 1 : 0);
    writer.raw(record.beacon).u64(record.previousAccepted).u64(record.factor);
    return writer.u64(record.beaconStake).u64(record.provenLeaves).u64(record.provenWeight).u64(record.lastingWeight).bytes;
  }
}

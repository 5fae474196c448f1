import { Writer, utf8 } from '../internals/bytes';
import { NodeRecord } from '../internals/records';

/** The plan's view of a node, in the plan's order, as `Args` of massa-web3 reads it; what the design adds follows. */
export class StorageNode {
  constructor(
    private node: NodeRecord,
    private round: u64,
    /** Credit of rounds that are over, matured or not, in nanoMAS. */
    private pendingRewards: u64,
  ) {}

  serialize(): StaticArray<u8> {
    const node = this.node;
    const address = utf8(node.address);
    const id = utf8(node.nodeId);
    const addresses = utf8(node.addresses);
    const writer = new Writer(4 + address.length + 49 + 74 + 32 + 8 + id.length + addresses.length);
    writer.sized(address).u64(node.declaredAt(this.round)).u64(node.registeredPeriod);
    writer.u64(node.totalDraws).u64(node.passedDraws).u64(this.pendingRewards).u64(node.lastChallengedPeriod);
    writer.u8(node.active && !node.leaving ? 1 : 0);
    writer.u64(node.stake).u64(node.matured).u64(node.weightAt(this.round)).u64(node.weightAt(this.round + 2));
    writer.u64(node.leaveRound).u64(node.lastCounted).u64(node.noClaimBefore).u64(node.retentionPeriods);
    writer.u64(node.votesRound).u8(node.filledAt(this.round) ? 1 : 0).u8(node.hasKey ? 1 : 0).raw(node.key);
    return writer.sized(id).sized(addresses).bytes;
  }
}

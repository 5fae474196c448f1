import { Writer, utf8 } from '../internals/bytes';
import { voteWeight } from '../internals/electorate';
import { NodeRecord, State } from '../internals/records';

/**
 * The plan's view of a node, in the plan's order, as `Args` of massa-web3 reads it; what the design adds follows. `allocatedGb` is what
 * was declared last; what counts until then, and from which round the last one does, are the two last fields.
 */
export class StorageNode {
  constructor(
    private node: NodeRecord,
    private state: State,
    private round: u64,
    /** Credit of rounds that are over, matured or not, in nanoMAS. */
    private pendingRewards: u64,
    /** What `claimRewards` would pay now. */
    private claimable: u64,
  ) {}

  serialize(): StaticArray<u8> {
    const node = this.node;
    const address = utf8(node.address);
    const id = utf8(node.nodeId);
    const addresses = utf8(node.addresses);
    const writer = new Writer(4 + address.length + 49 + 82 + 32 + 8 + id.length + addresses.length + 16);
    writer.sized(address).u64(node.weightNext).u64(node.registeredPeriod);
    writer.u64(node.totalDraws).u64(node.passedDraws).u64(this.pendingRewards).u64(node.lastChallengedPeriod);
    writer.u8(node.leaving ? 0 : 1);
    writer.u64(node.stake).u64(this.claimable).u64(node.weightAt(this.round)).u64(node.weightAt(this.round + 2));
    writer.u64(node.leaveRound).u64(node.lastCounted).u64(node.noClaimBefore).u64(node.retentionPeriods);
    writer.u64(node.votesRound).u64(voteWeight(node, this.round)).u8(node.filledAt(this.state, this.round) ? 1 : 0).u8(node.hasKey ? 1 : 0).raw(node.key);
    writer.sized(id).sized(addresses);
    return writer.u64(node.declaredAt(this.round)).u64(node.weightRound).bytes;
  }
}

/**
 * The registry as another contract calls it. Arguments as in `contracts/storage-registry.ts`; texts and bytes with a u32 length,
 * integers little-endian.
 */
import { Address, call } from '@massalabs/massa-as-sdk';
import { Args } from '@massalabs/as-types';

export class IStorageRegistry {
  constructor(private registry: Address) {}

  registerStorageNode(allocatedGb: u64, coins: u64): void {
    call(this.registry, 'registerStorageNode', new Args().add(allocatedGb), coins);
  }

  updateStorageAllocation(newAllocatedGb: u64, addedStake: u64, coins: u64): void {
    call(this.registry, 'updateStorageAllocation', new Args().add(newAllocatedGb).add(addedStake), coins);
  }

  unregisterStorageNode(): void {
    call(this.registry, 'unregisterStorageNode', new Args(), 0);
  }

  submitProof(challengeId: string, proof: StaticArray<u8>, signature: StaticArray<u8>, coins: u64): void {
    call(this.registry, 'submitProof', new Args().add(challengeId).add(proof).add(signature), coins);
  }

  resolveExpiredChallenges(challengeIds: string[], coins: u64): StaticArray<u8> {
    return call(this.registry, 'resolveExpiredChallenges', new Args().add(challengeIds), coins);
  }

  distributeRewards(period: u64): void {
    call(this.registry, 'distributeRewards', new Args().add(period), 0);
  }

  claimRewards(): void {
    call(this.registry, 'claimRewards', new Args(), 0);
  }

  fund(coins: u64): void {
    call(this.registry, 'fund', new Args(), coins);
  }

  /** `StorageNode`, or nothing. */
  getNodeInfo(address: string): StaticArray<u8> {
    return call(this.registry, 'getNodeInfo', new Args().add(address), 0);
  }

  /** What a slot had, as `checkBlock` answers: one byte, the round of acceptance u64, the id of its block. */
  checkBlock(period: u64, thread: u8, blockId: StaticArray<u8>, proof: StaticArray<u8>): StaticArray<u8> {
    return call(this.registry, 'checkBlock', new Args().add(period).add(thread).add(blockId).add(proof), 0);
  }

  /** `PeriodStats`, or nothing. */
  getPeriodStats(period: u64): StaticArray<u8> {
    return call(this.registry, 'getPeriodStats', new Args().add(period), 0);
  }

  /** `StorageConfig` */
  getConfig(): StaticArray<u8> {
    return call(this.registry, 'getConfig', new Args(), 0);
  }

  getTotalNodes(): StaticArray<u8> {
    return call(this.registry, 'getTotalNodes', new Args(), 0);
  }

  calculatePendingRewards(address: string): StaticArray<u8> {
    return call(this.registry, 'calculatePendingRewards', new Args().add(address), 0);
  }
}

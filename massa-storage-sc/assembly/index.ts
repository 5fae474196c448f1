export * from './contracts/storage-registry';

import createMockedABI from '@massalabs/massa-as-sdk/vm-mock';
import { blake3 } from '@noble/hashes/blake3';

// The SDK's mock lacks BLAKE3 and knows no event limits: both are put right here. What needs a whole ledger (storage costs, undoing,
// signatures) is tested against the compiled contract in tests/.
const MAX_EVENTS = 25;
const MAX_EVENT_BYTES = 1024;

export default {
  entries: ['assembly/__tests__/*.spec.ts'],
  include: [],
  disclude: [/node_modules/],
  async instantiate(memory, createImports, instantiate, binary) {
    let exports;
    let events = 0;
    const cure = (own) => ({
      ...own,
      massa: {
        ...own.massa,
        assembly_script_hash(pointer) {
          const content = new Uint8Array(exports.__getArrayBuffer(pointer));
          return exports.__newArrayBuffer(Uint8Array.from(blake3(content)).buffer);
        },
        assembly_script_generate_event(pointer) {
          events += 1;
          if (events > MAX_EVENTS) throw new Error('too many events');
          if (Buffer.byteLength(exports.__getString(pointer)) > MAX_EVENT_BYTES) throw new Error('event is too long');
        },
      },
    });
    const instance = createMockedABI(memory, (own) => createImports(cure(own)), instantiate, binary);
    exports = (await instance).exports;
    return instance;
  },
  outputBinary: false,
};

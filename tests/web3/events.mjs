// All events of a node whose answers are too small for them, through the unmodified massa-web3: the newest first, then further
// back, as long as answers say that they are cut.
//
// Environment: JSON_RPC_URL (public API of the node). Prints the periods of the events, one list for each answer.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../massa-storage-sc/', import.meta.url));
const { JsonRpcProvider } = require('@massalabs/massa-web3');

// massa-web3 shows no headers: whoever wants to know looks at the answers on their way.
let isCut = false;
const { fetch } = globalThis;
globalThis.fetch = async (...request) => {
  const response = await fetch(...request);
  isCut = response.headers.get('massa-answer-cut') === 'oldest';
  return response;
};

const provider = JsonRpcProvider.fromRPCUrl(process.env.JSON_RPC_URL);
let end;
do {
  const events = await provider.getEvents({ end });
  console.log(JSON.stringify(events.map((event) => event.context.slot.period)));
  end = events[0].context.slot;
} while (isCut);

// Every guard and every event of the contract is met by a test: found in the sources, looked for in the tests.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const root = new URL('..', import.meta.url);
const read = (folder, end) => readdirSync(new URL(folder, root), { recursive: true }).filter((f) => f.endsWith(end)).map((f) => [folder + f, readFileSync(new URL(folder + f, root), 'utf8')]);
const code = (text) => text.replace(/\/\*[^]*?\*\/|\/\/.*/g, '');
const contract = read('assembly/', '.ts').filter(([f]) => !/__tests__|testing|interfaces/.test(f)).map(([, text]) => code(text)).join('\n');
const tests = read('tests/', '.test.mjs').filter(([f]) => !f.endsWith('complete.test.mjs')).map(([, text]) => text).join('\n');

/** The arguments of each call of `name`, as source. No text of the contract has a quote or a bracket in it that would matter. */
function calls(name) {
  const list = [];
  for (const { index } of contract.matchAll(new RegExp(`(?<![\\w])${name}\\(`, 'g'))) {
    const parts = [''];
    let [depth, quoted] = [0, false];
    for (let at = index + name.length + 1; depth >= 0; at++) {
      const c = contract[at];
      if (c === "'") quoted = !quoted;
      if (!quoted) depth += '([{'.includes(c) ? 1 : ')]}'.includes(c) ? -1 : 0;
      if (c === ',' && depth === 0 && !quoted) parts.push('');
      else if (depth >= 0) parts[parts.length - 1] += c;
    }
    list.push(parts.map((p) => p.trim()).filter((p) => p.length > 0));
  }
  return list;
}
/** The texts that an expression gives: lists of their known parts, null for what is computed. */
function texts(expression) {
  const choice = /^\w+ \? ('[^']*') : ('[^']*')$/.exec(expression);
  if (choice) return [choice[1], choice[2]].flatMap(texts);
  return [[...expression.matchAll(/'([^']*)'|([^'+\s][^'+]*)/g)].map(([, literal]) => literal ?? null)];
}
const show = (parts) => parts.map((p) => p ?? '…').join('');
const escape = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const isSaid = (parts) => new RegExp("['\"`^]" + parts.map((p) => (p === null ? '[^\\n]+' : escape(p))).join('') + (parts.at(-1) === null ? '' : "['\"`$]")).test(tests);

/** Guards that nothing can reach, and why they stand there. */
const UNREACHABLE = {
  'an old claim is not settled': 'settle() comes first, and credit of round r matures before round r+3 can be claimed',
  'a claim waits for its result': 'settle() comes first, and ten rounds after leaving every claim is over and mature',
};

test('every guard has a message, and every message a test that expects it', () => {
  const asserts = calls('assert');
  assert.ok(asserts.length > 80, String(asserts.length));
  const missing = new Set();
  for (const args of asserts) {
    assert.equal(args.length, 2, `an assert without a message: ${args[0]}`);
    for (const parts of texts(args[1])) if (!(show(parts) in UNREACHABLE) && !isSaid(parts)) missing.add(show(parts));
  }
  assert.deepEqual([...missing], []);
});

test('every reason for which a part of a submission is skipped has a test that expects it', () => {
  const refusals = [...contract.matchAll(/function \w+Refusal\([^]*?\n}/g)].flatMap(([body]) => [...body.matchAll(/return ('.*);/g)].map(([, text]) => text));
  const missing = refusals.filter((text) => text !== "''").flatMap(texts).filter((parts) => !isSaid(parts)).map(show);
  assert.ok(refusals.length > 15, String(refusals.length));
  assert.deepEqual(missing, []);
});

test('guards that are called unreachable stand in the sources, and no test meets them', () => {
  const messages = calls('assert').flatMap(([, message]) => texts(message)).map(show);
  for (const text of Object.keys(UNREACHABLE)) {
    assert.ok(messages.includes(text), text);
    assert.ok(!isSaid([text]), text);
  }
});

/** name → number of fields */
const emitted = new Map([...calls('event'), ...calls('createEvent')].filter(([, fields]) => fields?.startsWith('['))
  .map(([name, fields]) => [name.slice(1, -1), fields.split(/,(?![^(]*\))/).length]));
test('every event has a test that expects it with all its fields', () => {
  assert.ok(emitted.size >= 17, String(emitted.size));
  for (const [name, fields] of emitted) {
    const rest = [...tests.matchAll(new RegExp(`${name}:(.+)`, 'g'))].map(([, line]) => line);
    const lines = rest.map((line) => line.replace(/\$\{[^}]*\}/g, 'X').split(/['"`]|\/[,)]/)[0]);
    const few = name === 'ROUND_SUBMITTED' ? 5 : fields; // and a field for each draw
    assert.ok(lines.some((line) => line.length > 0 && line.split(',').length === few), `${name} with ${few} fields`);
  }
});

test('the events of the plan are there, with as many fields', () => {
  const plan = { STORAGE_NODE_REGISTERED: 2, STORAGE_NODE_UPDATED: 3, STORAGE_NODE_UNREGISTERED: 2, CHALLENGE_ISSUED: 3, CHALLENGE_PASSED: 2, CHALLENGE_FAILED: 3,
    CHALLENGE_EXPIRED: 2, REWARDS_DISTRIBUTED: 3, REWARDS_CLAIMED: 2, CONFIG_UPDATED: 3 };
  for (const [name, fields] of Object.entries(plan)) assert.equal(emitted.get(name), fields, name);
});

test('every flaw of the earlier attempt has a test', () => {
  for (let flaw = 1; flaw <= 15; flaw++) assert.match(tests, new RegExp(`^test\\('${flaw}: `, 'm'));
});

test('every entry point is called by a test', () => {
  const names = [...read('assembly/contracts/', 'registry.ts')[0][1].matchAll(/^export function (\w+)/gm)].map(([, name]) => name);
  assert.ok(names.length >= 28, String(names.length));
  for (const name of names) assert.match(tests, new RegExp(`['"]${name}['"]`), name);
});

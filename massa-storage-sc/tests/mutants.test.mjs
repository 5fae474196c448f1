// What `npm run mutants` would break is still there: each text exactly once. Running it takes minutes, and is not part of the tests.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MUTATIONS } from '../scripts/mutations.mjs';

const all = Object.entries(MUTATIONS).flatMap(([file, list]) => list.map((mutation) => [file, ...mutation]));

test('each mutation finds its text exactly once, and changes it', () => {
  assert.ok(all.length >= 60, String(all.length));
  const lost = all.filter(([file, , find, becomes]) => {
    const source = readFileSync(new URL(`../assembly/internals/${file}`, import.meta.url), 'utf8');
    return source.split(find).length !== 2 || find === becomes;
  });
  assert.deepEqual(lost.map(([file, what]) => `${file}: ${what}`), []);
});

test('each mutation is there once, and names tests that exist', () => {
  const names = all.map(([file, what]) => `${file}: ${what}`);
  assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), []);
  const missing = all.flatMap(([, , , , tests]) => tests.split(' ')).filter((name) => !existsSync(new URL(`${name}.test.mjs`, import.meta.url)));
  assert.deepEqual(missing, []);
});

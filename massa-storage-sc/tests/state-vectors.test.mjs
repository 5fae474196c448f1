// The committed vectors of states and refutations, which the Rust code is held to, are what their scripts give with the compiled contract.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { text as refutations } from '../scripts/make-refutation-vectors.mjs';
import { text as states } from '../scripts/make-state-vectors.mjs';

for (const [name, text] of [['state', states], ['refutation', refutations]]) {
  test(`the committed ${name} vectors are what their script gives`, () => {
    assert.equal(readFileSync(new URL(`../../tests/data/contract-${name}-vectors.json`, import.meta.url), 'utf8'), text);
  });
}

// The committed state vectors, which the Rust code is held to, are what their script gives with the compiled contract.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { text } from '../scripts/make-state-vectors.mjs';

test('the committed state vectors are what their script gives', () => {
  assert.equal(readFileSync(new URL('../../tests/data/contract-state-vectors.json', import.meta.url), 'utf8'), text);
});

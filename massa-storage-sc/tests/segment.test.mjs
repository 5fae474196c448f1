// The JavaScript model of the archive's bytes against the committed vectors of an independent implementation.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { hash } from './model.mjs';
import { archive } from './segment-archive.mjs';

const vectors = JSON.parse(readFileSync(new URL('../../tests/data/segment-vectors.json', import.meta.url)));

for (const set of vectors.sets) {
  const segments = archive(set.chunk_size, vectors.segment_periods);
  test(`chunks of ${set.chunk_size} bytes: periods, chunks and roots of ${set.segments.length} segments`, () => {
    assert.equal(segments.length, set.segments.length);
    for (const [at, expected] of set.segments.entries()) {
      const segment = segments[at];
      const periods = segment.periods.map((p) => ({ period: p.number, length: p.bytes.length, bytes_blake3: hash(p.bytes).toString('hex'), root: p.root(vectors.chain_id).toString('hex') }));
      assert.deepEqual(periods, expected.periods.map(({ period, length, bytes_blake3, root }) => ({ period, length, bytes_blake3, root })));
      const chunks = segment.chunks.map((c) => ({ index: c.index, length: c.bytes.length, id: c.id.toString('hex') }));
      assert.deepEqual(chunks, expected.chunks);
      assert.equal(segment.body.length, expected.body_length);
      assert.equal(hash(segment.body).toString('hex'), expected.body_blake3);
      assert.equal(segment.bytesBefore, expected.bytes_before);
      assert.equal(segment.contents[0].subarray(-32).toString('hex'), expected.previous_root);
      assert.equal(segment.leaves.length, expected.leaves);
      assert.equal(segment.root.toString('hex'), expected.root);
    }
  });
}

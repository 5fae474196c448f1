// Compiles sources of the contract, with the settings that ship.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = new URL('..', import.meta.url).pathname;

/** The module of an entry file, with more options of the compiler. */
export function compiled(entry, ...options) {
  const folder = mkdtempSync(join(tmpdir(), 'storage-sc-'));
  try {
    const out = join(folder, 'out.wasm');
    execFileSync(join(root, 'node_modules/.bin/asc'), [entry, '-o', out, ...options], { cwd: root, stdio: 'pipe' });
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The pure parts. PURE_WASM names their module where that is compiled already: scripts/mutants.mjs. */
export const pureParts = () => (process.env.PURE_WASM ? readFileSync(process.env.PURE_WASM) : compiled('assembly/testing/pure.ts'));

// Whether the tests bite: breaks the contract in each way of mutations.mjs, one at a time, and looks for the test that notices.
//
//   npm run mutants                      all; writes the table of README.md
//   npm run mutants -- rounds.ts slash   those whose file or words have one of these; writes nothing
//   npm run mutants -- --named …         with the tests that they name only: quicker, and says which names are wrong
//
// Works on a copy in a temporary folder, compiled without optimisation. The test that the table names is tried alone first. Ends with what survived, and fails if that is not meant to.
import asc from 'assemblyscript/asc';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MUTATIONS } from './mutations.mjs';

/** Tried after those that a mutation names: the quickest first. The files that compare bytes with what is committed say nothing of behaviour. */
const OTHERS = ['guards', 'flaws', 'pool', 'plan-client', 'check-block', 'segments', 'rounds', 'attacks', 'electorate', 'money', 'arithmetic', 'vectors', 'answer'];
/** Those that need the pure parts. */
const OF_PURE = ['arithmetic', 'vectors', 'answer'];
const PURE_OUT = 'build/pure.wasm';
/** Of the walks of random operations. */
const STEPS = '3000';
/** A broken loop never ends. */
const FILE_MS_MAX = 240_000;
/** Of optimised code: gas, and what is committed. */
const OF_OPTIMISED = /\bgas\b|what .* gives?$|what the sources give/;

const root = new URL('..', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
const copy = join(folder, 'contract');
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function makeCopy() {
  mkdirSync(copy);
  for (const part of ['assembly', 'build', 'tests', 'scripts', 'package.json']) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  symlinkSync(join(root, '../tests'), join(folder, 'tests'));
  const config = JSON.parse(readFileSync(join(root, 'asconfig.json'), 'utf8'));
  Object.assign(config.targets.release, { optimizeLevel: 0, shrinkLevel: 0, converge: false });
  writeFileSync(join(copy, 'asconfig.json'), JSON.stringify(config));
}

class NoContract extends Error {}

async function compile(entry, out) {
  const { error, stderr } = await asc.main([entry, '-o', out, '--baseDir', copy]);
  if (error) throw new NoContract(`does not compile: ${stderr}`);
}

/** The first test of a file that fails, or whether `only` does; null if none. */
function firstFailure(name, only) {
  const filter = only ? [`--test-name-pattern=^${only.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`] : [];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--test-reporter=tap', ...filter, `tests/${name}.test.mjs`], { cwd: copy, env: { ...process.env, STEPS, PURE_WASM: join(copy, PURE_OUT) }, stdio: ['ignore', 'pipe', 'ignore'] });
    let [failed, rest] = [null, ''];
    const fail = (test) => { failed ??= test; child.kill('SIGKILL'); };
    const timer = setTimeout(() => fail('does not end'), FILE_MS_MAX);
    child.stdout.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const [, test] = /^not ok \d+ - (.*)/.exec(line) ?? [];
        if (test && !OF_OPTIMISED.test(test)) fail(test);
      }
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      // A test that fails for its gas makes the code 1 and nothing else.
      resolve(failed ?? (signal || code > 1 ? 'does not load' : null));
    });
  });
}

/** Which test notices, as file and name, of those in the files, `known` first; null if none does. */
async function killer(names, known) {
  await compile('assembly/contracts/storage-registry.ts', 'build/storage-registry.wasm');
  let pure = false;
  for (const [name, only] of [...(known ? [known] : []), ...[...names].map((name) => [name])]) {
    if (OF_PURE.includes(name) && !pure) {
      await compile('assembly/testing/pure.ts', PURE_OUT);
      pure = true;
    }
    const test = await firstFailure(name, only);
    if (test !== null) return { name, test };
  }
  return null;
}

/** What the table of README.md says: row without its last field → file and name of a test. */
function knownKillers() {
  const rows = readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^(\| [\w-]+\.ts \| .* \|) ([\w-]+): (.*) \|$/gm);
  return new Map([...rows].map(([, row, name, test]) => [row, [name, test.replace(/\\\|/g, '|')]]));
}
const rowOf = ({ file, what }) => `| ${file} | ${what} |`;

async function run({ file, what, find, becomes, first }) {
  const path = join(copy, 'assembly/internals', file);
  const source = readFileSync(path, 'utf8');
  if (source.split(find).length !== 2) throw new Error(`${file}: not there exactly once: ${find}`);
  // A function, so that no character of it is special.
  writeFileSync(path, source.replace(find, () => becomes));
  try {
    return await killer(new Set(named ? first : [...first, ...OTHERS]), known.get(rowOf({ file, what })));
  } finally {
    writeFileSync(path, source);
  }
}

const all = Object.entries(MUTATIONS).flatMap(([file, list]) =>
  list.map(([what, find, becomes, first, reason]) => ({ file, what, find, becomes, first: first.split(' '), reason })));
const named = process.argv.includes('--named');
const words = process.argv.slice(2).filter((word) => word !== '--named');
const chosen = words.length === 0 ? all : all.filter(({ file, what }) => words.some((word) => file === word || what.includes(word)));

const known = knownKillers();
makeCopy();
const already = await killer(new Set(named ? chosen.flatMap(({ first }) => first) : OTHERS));
if (already) throw new Error(`without any mutation, ${already.name} fails: ${already.test}`);

const begin = Date.now();
const [rows, survivors] = [[], []];
for (const [i, mutation] of chosen.entries()) {
  const by = await run(mutation).catch((error) => {
    if (!(error instanceof NoContract)) throw error;
    survivors.push(`${mutation.file}: ${mutation.what} ${error.message}`);
    return { name: 'nothing', test: 'does not compile' };
  });
  const result = by ? `${by.name}: ${by.test}` : `survives${mutation.reason ? `: ${mutation.reason}` : ''}`;
  console.log(`${i + 1}/${chosen.length} ${Math.round((Date.now() - begin) / 1000)} s  ${mutation.file}: ${mutation.what} → ${result}`);
  rows.push(`${rowOf(mutation)} ${by ? `${by.name}: ${by.test.replace(/\|/g, '\\|')}` : `nothing changes: ${mutation.reason}`} |`);
  if (!by && !mutation.reason) survivors.push(`${mutation.file}: ${mutation.what}`);
  if (by && mutation.reason) survivors.push(`${mutation.file}: ${mutation.what} was said to change nothing, and is noticed`);
}
console.log(`\n${['| file of `assembly/internals/` | broken | noticed by |', '|---|---|---|', ...rows].join('\n')}\n`);
console.log(survivors.length === 0 ? `${chosen.length} mutations, all noticed or without effect` : `survivors:\n${survivors.join('\n')}`);
if (words.length === 0 && !named && survivors.length === 0) writeTable();
process.exitCode = survivors.length === 0 ? 0 : 1;

function writeTable() {
  const path = join(root, 'README.md');
  const text = readFileSync(path, 'utf8');
  const table = ['<!-- mutants: begin -->', '| file of `assembly/internals/` | broken | noticed by |', '|---|---|---|', ...rows, '<!-- mutants: end -->'].join('\n');
  if (!/<!-- mutants: begin -->[^]*<!-- mutants: end -->/.test(text)) throw new Error('README.md has no place for the table');
  writeFileSync(path, text.replace(/<!-- mutants: begin -->[^]*<!-- mutants: end -->/, () => table));
}

// Random operations that can be repeated: dice with a seed, and how many steps of which seed a run has.
import { parseArgs } from 'node:util';

export class Dice {
  constructor(seed) { this.state = seed; }
  below(n) { this.state = (this.state * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n); return Number(this.state >> 33n) % n; }
  chance(percent) { return this.below(100) < percent; }
  pick(list) { return list[this.below(list.length)]; }
}

/**
 * From the command line (`--steps`, `--seed`), else the environment (STEPS, SEED), else what is committed. `committed`: it is that run, of
 * which the test knows what it meets.
 */
export function runOf(committed) {
  const { values } = parseArgs({ options: { steps: { type: 'string' }, seed: { type: 'string' } }, strict: false });
  const [steps, seed] = [values.steps ?? process.env.STEPS, values.seed ?? process.env.SEED];
  const run = { steps: Number(steps ?? committed.steps), seed: BigInt(seed ?? committed.seed) };
  if (!Number.isSafeInteger(run.steps) || run.steps < 1) throw new Error(`steps: a number from 1 on, not ${steps}`);
  return { ...run, committed: steps === undefined && seed === undefined };
}

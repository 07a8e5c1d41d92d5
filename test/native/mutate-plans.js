// Run as a process of its own: node mutate-plans.js ADDON PLANS SEED ROUNDS. Every recorded plan must run; then plans with one
// to three things changed must be refused or run, but never end the process. Prints how many were refused and how many ran.
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { deserialize } from "node:v8";

const [addonPath, plansPath, seed, rounds] = process.argv.slice(2);
const { Memory, Program } = createRequire(import.meta.url)(addonPath);
const plans = deserialize(readFileSync(plansPath));

/** Numerical Recipes' linear congruence; enough to choose what is changed. */
let state = Number(seed);
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const choose = (list) => list[Math.floor(random() * list.length)];

const strange = [
  0,
  1,
  2,
  3,
  7,
  64,
  -1,
  -2,
  -3,
  -1000,
  0.5,
  1e4,
  2 ** 24,
  2 ** 31,
  2 ** 32,
  2 ** 40,
  2 ** 49,
  -(2 ** 40),
];
const stranger = [1e15, -1e300, Number.NaN, Number.POSITIVE_INFINITY];

const another = (value) =>
  random() < 0.4 ? choose([value + 1, value - 1, value * 2, -value, value + 4]) : choose([...strange, ...stranger]);

const kernels = [...new Set(plans.flatMap(({ steps }) => steps.map(({ kernel }) => kernel)))];

/** Changes that a plan may suffer; each says what it did. */
const mutations = {
  number(plan) {
    const step = choose(plan.steps);
    const field = choose(["places", "ints", "ints", "ints", "floats"]);
    if (step[field].length === 0) return "nothing";
    const at = Math.floor(random() * step[field].length);
    const was = step[field][at];
    step[field][at] = another(was);
    return `${step.kernel}.${field}[${at}]: ${was} → ${step[field][at]}`;
  },
  length(plan) {
    const step = choose(plan.steps);
    const field = choose(["places", "ints", "floats"]);
    step[field] = random() < 0.5 ? step[field].slice(0, -1) : Float64Array.from([...step[field], choose(strange)]);
    return `${step.kernel}.${field} has ${step[field].length} numbers`;
  },
  kernel(plan) {
    const step = choose(plan.steps);
    step.kernel = choose(kernels);
    return `kernel ${step.kernel}`;
  },
  swap(plan) {
    const step = choose(plan.steps);
    const [a, b] = [0, 1].map(() => Math.floor(random() * step.ints.length));
    [step.ints[a], step.ints[b]] = [step.ints[b], step.ints[a]];
    return `${step.kernel}.ints ${a} and ${b} swapped`;
  },
  counts(plan) {
    if (plan.counts.length === 0) return "nothing";
    if (random() < 0.3) plan.counts = plan.counts.slice(1);
    else plan.counts[0] = another(plan.counts[0]);
    return `counts ${plan.counts}`;
  },
  memory(plan) {
    const i = Math.floor(random() * plan.memories.length);
    const bytes = Math.floor(plan.memories[i].length * random());
    plan.memories[i] =
      random() < 0.5 ? plan.memories[i].slice(0, bytes) : plan.memories[i].fill(choose([127, 255, 128]));
    return `memory ${i}: ${plan.memories[i].length} bytes from ${plan.memories[i][0]}`;
  },
  result(plan) {
    if (plan.results.length === 0) return "nothing";
    const result = choose(plan.results);
    result[1] = another(result[1]);
    return `result at ${result[1]}`;
  },
  threads(plan) {
    plan.threads = choose([-1, 0, 1, 2, 3, 5, 1.5, 2000, Number.NaN]);
    return `${plan.threads} threads`;
  },
};

async function run({ threads, memories, steps, firstCommit, counts, results }) {
  const held = memories.map((contents) => {
    const memory = new Memory(contents.length);
    memory.write(0, contents);
    return memory;
  });
  const program = new Program(threads, held, steps, firstCommit);
  return program.run(
    counts,
    results.flatMap(([memory, offset, bytes]) => [held[memory], offset, new Uint8Array(bytes)]),
  );
}

const log = openSync(`${plansPath}.last`, "w");
let refused = 0;
let ran = 0;
for (const plan of plans) {
  if (!(await run(plan))) throw new Error(`${plan.title} did not run`);
  for (let round = 0; round < Number(rounds); round++) {
    const changed = structuredClone(plan);
    const done = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
      mutations[choose(["number", "number", "number", "number", ...Object.keys(mutations)])](changed),
    );
    writeSync(log, `${plan.title}: ${done.join("; ")}`.padEnd(400).slice(0, 400), 0);
    try {
      await run(changed);
      ran++;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      refused++;
    }
  }
}
closeSync(log);
console.log(JSON.stringify({ plans: plans.length, refused, ran }));

// Kernels that are chosen among several: by rule, as was measured, as a run chose before; all of them compute the same.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { buildGiven } from "../../../test/support/given-inputs.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import type { KernelChoices, Precision, Tuning } from "../engine.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { describeKernels, machineOf } from "./choose-kernels.ts";
import { describePlan } from "./describe-plan.ts";
import { kernelCachePath, type RememberedKernel, readKernelCache, rememberKernels } from "./kernel-cache.ts";
import type { KernelQuestion } from "./lowering.ts";
import { fastest, leastTimes } from "./measure-kernels.ts";
import { createNativeEngine } from "./native-engine.ts";

const native = createNativeEngine();
const folder = mkdtempSync(join(tmpdir(), "frostbit-choices-"));
afterAll(() => rmSync(folder, { recursive: true }));

let made = 0;
/** Each test has a cache of its own, of which this process knows nothing. */
beforeEach(() => vi.stubEnv("XDG_CACHE_HOME", join(folder, String(made++))));
afterEach(() => vi.unstubAllEnvs());

const threads = 2;
const [images, inputs, outputs, height, width] = [16, 16, 32, 11, 9];

interface Built {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** A convolution and its gradients, of whole numbers so small that every order and precision of sums gives them exactly. */
function built(isQuantized: boolean): Built {
  const { build, given, feed, integers } = buildGiven(3);
  const codes = (value: string, zero: number, low: number, high: number): string => {
    const [one, zeroPoint, ...bounds] = [1, zero, low, high].map((each) => build.constant(scalar("float32", each)));
    return build.node("FakeQuantize", [value, one, zero === 0 ? "" : zeroPoint, ...bounds]);
  };
  const attributes = { kernel_shape: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1 };
  const plain = integers("x", [images, inputs, height, width], -3, 4);
  const x = isQuantized ? codes(plain, 5, 0, 15) : plain;
  const w = integers("w", [outputs, inputs, 3, 3], -1, 2);
  const y = build.node("Conv", [x, w, integers("bias", [outputs], -3, 4)], attributes);
  const dy = integers("dy", [images, outputs, height, width], -1, 2);
  const dx = build.node("ConvGradientInput", [dy, w], { ...attributes, spatial: [height, width] });
  const indices = feed("rows", tensorOf("int64", [5], [17, 3, 31, 0, 8]), ["rows"]);
  const dw = build.node("ConvGradientWeight", [dy, x], attributes);
  const few = build.node("ConvGradientWeight", [dy, x, indices], attributes);
  return { graph: build.graph([y, dx, dw, few]), inputs: given };
}

const choices = (
  tuning: Tuning,
  chosen: Iterable<readonly [string, string]> = [],
): KernelChoices & { notes: string[] } => {
  const notes: string[] = [];
  return { tuning, chosen: new Map(chosen), onNote: (note) => notes.push(note), notes };
};

async function run({ graph, inputs: given }: Built, precision: Precision, kernels: KernelChoices) {
  const executable = await native.compile(graph, { threads, precision, kernels });
  const results = await executable.bind(await native.variables(new Map())).run(given);
  await executable.dispose();
  return graph.outputs.map((name) =>
    Array.from(numbersOf(results.get(name) ?? scalar("float32", Number.NaN)), (v) => v + 0),
  );
}

const remembered = (): ReadonlyMap<string, RememberedKernel> =>
  readKernelCache(kernelCachePath()).machines.get(machineOf(threads)) ?? new Map();

const kernelsOf = (answers: ReadonlyMap<string, RememberedKernel>): [string, string][] =>
  [...answers].map(([key, { kernel }]) => [key, kernel]);

/** Another candidate than the one chosen, for every question. */
const others = (answers: ReadonlyMap<string, RememberedKernel>): [string, string][] =>
  [...answers].map(([key, { kernel, ms }]) => [key, Object.keys(ms).find((name) => name !== kernel) ?? kernel]);

async function plannedKernels({ graph }: Built, kernels: KernelChoices): Promise<readonly string[]> {
  const { steps } = await describePlan(graph, { threads, kernels });
  return steps
    .map(({ kernel }) => kernel.replace("Rows", ""))
    .filter((kernel) => /onvolution|weightGradient/.test(kernel));
}

describe.skipIf(!isNativeBuilt)(`kernels that compute the same${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  for (const precision of isNativeBuilt ? native.precisions : [])
    for (const isQuantized of [false, true])
      test(`all candidates give the reference's numbers: ${precision}${isQuantized ? ", of codes" : ""}`, async ({
        skip,
      }) => {
        const each = built(isQuantized);
        const expected = await runGraph(createReferenceEngine(), each.graph, each.inputs);
        const exact = each.graph.outputs.map((name) =>
          Array.from(numbersOf(expected.get(name) ?? scalar("float32", 0)), (value) => value + 0),
        );
        const kernels = choices("fast");
        expect(await run(each, precision, kernels)).toEqual(exact);
        const answers = [...remembered()];
        if (answers.length === 0) skip("this processor has one kernel for each");
        const most = Math.max(...answers.map(([, { ms }]) => Object.keys(ms).length));
        for (let i = 0; i < most; i++) {
          const all = answers.map(([key, { ms }]) => [key, Object.keys(ms)[i] ?? Object.keys(ms)[0]] as const);
          expect(await run(each, precision, choices("off", all)), all.join("; ")).toEqual(exact);
        }
      });

  test("what was measured is remembered, told and taken again", async ({ skip }) => {
    const each = built(false);
    const first = choices("fast");
    const planned = await plannedKernels(each, first);
    if (remembered().size === 0) skip("this processor has one kernel for each");
    expect([...first.chosen]).toEqual(kernelsOf(remembered()));
    expect(await describeKernels()).toEqual({
      path: kernelCachePath(),
      here: first.chosen.size,
      elsewhere: 0,
      faulty: [],
      problem: null,
    });
    const second = choices("fast");
    expect(await plannedKernels(each, second)).toEqual(planned);
    expect(second.chosen).toEqual(first.chosen);
    expect(await run(each, "float32", choices("fast"))).toEqual(await run(each, "float32", second));
    const { steps } = await describePlan(each.graph, { threads, kernels: second });
    const times = steps.flatMap(({ candidates }) => candidates);
    expect(times.length).toBeGreaterThan(3);
    for (const { ms } of times) expect(ms).toBeGreaterThan(0);
  });

  /** The questions of a graph, in a cache of their own. */
  async function measured(each: Built): Promise<ReadonlyMap<string, RememberedKernel>> {
    await describePlan(each.graph, { threads, kernels: choices("fast") });
    const answers = remembered();
    vi.stubEnv("XDG_CACHE_HOME", join(folder, String(made++)));
    mkdirSync(dirname(kernelCachePath()), { recursive: true });
    return answers;
  }

  test("what the file says is taken, and by rule nothing of it", async ({ skip }) => {
    const each = built(true);
    const answers = await measured(each);
    if (answers.size === 0) skip("this processor has one kernel for each");
    const forced = others(answers);
    const entry = (kernel: string): RememberedKernel => ({ kernel, tuning: "thorough", ms: { [kernel]: 1 } });
    await rememberKernels(
      kernelCachePath(),
      machineOf(threads),
      new Map(forced.map(([key, kernel]) => [key, entry(kernel)])),
    );
    for (const tuning of ["fast", "thorough"] as const) {
      const kernels = choices(tuning);
      const planned = await plannedKernels(each, kernels);
      for (const [, kernel] of forced) expect(planned).toContain(kernel);
      expect([...kernels.chosen].sort()).toEqual(forced.sort());
    }
    const byRule = choices("off");
    const planned = await plannedKernels(each, byRule);
    expect(planned).toEqual(await plannedKernels(each, choices("off")));
    expect(planned).toEqual(await plannedKernels(each, choices("off", byRule.chosen)));
    expect(new Set(byRule.chosen.keys())).toEqual(new Set(answers.keys()));
  });

  test("what a run chose before counts more than the file", async ({ skip }) => {
    const each = built(false);
    const answers = await measured(each);
    if (answers.size === 0) skip("this processor has one kernel for each");
    const before = others(answers);
    await rememberKernels(kernelCachePath(), machineOf(threads), answers);
    const kernels = choices("fast", before);
    const planned = await plannedKernels(each, kernels);
    for (const [, kernel] of before) expect(planned).toContain(kernel);
    expect([...kernels.chosen]).toEqual(before);
    const unknown = choices(
      "fast",
      before.map(([key]) => [key, "a kernel that is gone"]),
    );
    await plannedKernels(each, unknown);
    expect([...unknown.chosen].sort()).toEqual(kernelsOf(answers).sort());
  });

  test("where nothing can be remembered, rules choose, which is said once", async () => {
    const file = join(folder, `file-${made}`);
    writeFileSync(file, "");
    vi.stubEnv("XDG_CACHE_HOME", file);
    const each = built(false);
    const kernels = choices("fast");
    const planned = await plannedKernels(each, kernels);
    expect(planned).toEqual(await plannedKernels(each, choices("off")));
    if (kernels.chosen.size > 0)
      expect(kernels.notes.join()).toMatch(
        /^Kernels were not measured, since nothing can be remembered in ".*": fixed/,
      );
    const again = choices("fast");
    await plannedKernels(each, again);
    expect(again.notes).toEqual([]);
    expect((await describeKernels()).problem).toContain("cannot be written");
  });

  test("a file that cannot be read is said, and written anew", async ({ skip }) => {
    const path = kernelCachePath();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "{");
    expect((await describeKernels()).problem).toMatch(/JSON/);
    const kernels = choices("fast");
    await plannedKernels(built(false), kernels);
    if (kernels.chosen.size === 0) skip("this processor has one kernel for each");
    expect(kernels.notes.join()).toMatch(
      /^The remembered kernels of ".*" cannot be read and are measured again: .*JSON/,
    );
    expect(kernelsOf(remembered())).toEqual([...kernels.chosen]);
  });
});

test("another kernel than the rule's is taken only where it is clearly faster", () => {
  const candidates = ["a", "b", "c"].map((kernel) => ({ kernel, steps: () => [] }));
  const question: KernelQuestion = { key: "", preferred: "b", candidates, images: 1, multiplyAdds: 1, counts: [] };
  expect(fastest(question, { a: 1, b: 1.04, c: 2 })).toBe("b");
  expect(fastest(question, { a: 1, b: 1.06, c: 0.9 })).toBe("c");
  expect(fastest(question, { a: 3, b: 1, c: 2 })).toBe("b");
});

test("a measurement ends when nothing gets faster any more, and gives the least times", async () => {
  const given = [10, 9, 8.9, 4, 4.1, 5, 4.05, 1];
  let turns = 0;
  const turn = async () => ({ a: given[turns++], b: 7 });
  expect(await leastTimes(turn, { calmRounds: 3, ms: 60_000 })).toEqual({ a: 4, b: 7 });
  expect(turns).toBe(7);
  turns = 0;
  expect(await leastTimes(turn, { calmRounds: 3, ms: 0 })).toEqual({ a: 10, b: 7 });
});

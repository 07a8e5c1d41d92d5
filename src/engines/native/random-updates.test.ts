// Random graphs that read and replace variables, run by run, over small whole numbers: where an update is written, and when, must
// not be noticed.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { plainNumbers, randomRuns } from "../../../test/support/random-runs.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Engine } from "../engine.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

const shape = [6, 16];
const names = ["p", "q", "r", "s"];
const elements = 96;

interface Choice {
  readonly op: string;
  readonly a: number;
  readonly b: number;
  readonly isOutput: boolean;
}

type Build = ReturnType<typeof buildOn>;

/** The results that a node gives, of the variables' shape. */
const makers: Readonly<Record<string, (build: Build, a: string, b: string, rows: string) => readonly string[]>> = {
  ...Object.fromEntries(
    ["Add", "Sub", "Max"].map((op) => [op, (build: Build, a: string, b: string) => [build.node(op, [a, b])]]),
  ),
  Neg: (build, a) => [build.node("Neg", [a])],
  turn: (build, a) => {
    const turned = build.node("Transpose", [a], { perm: [1, 0] });
    return [build.node("Reshape", [turned, build.ints(shape)])];
  },
  flatten: (build, a, b) => {
    const flat = [a, b].map((each) => build.node("Reshape", [each, build.ints([elements])]));
    return [build.node("Reshape", [build.node("Sub", flat), build.ints(shape)])];
  },
  join: (build, a, b) => {
    const both = build.node("Concat", [a, b], { axis: 0 });
    return [build.node("Slice", [both, build.ints([3]), build.ints([9]), build.ints([0])])];
  },
  scatter: (build, a, b) => {
    const places = Array.from({ length: elements }, (_, i) => (i * 5 + 2) % shape[1]);
    return [build.node("ScatterElements", [a, build.constant(tensorOf("int64", shape, places)), b], { axis: 1 })];
  },
  sgd: (build, a, b) => [
    ...build.nodes("SgdUpdate", [a, b, a, build.scalar(1)], [true, true], { momentum: 1, weightDecay: 0 }),
  ],
  sgdOfRows: (build, a, b, rows) => {
    const few = build.node("Gather", [b, rows], { axis: 0 });
    const attributes = { momentum: 0, weightDecay: 1, axis: 0 };
    return [...build.nodes("SgdUpdate", [a, few, b, build.scalar(1), rows], [true, true], attributes)];
  },
};

const choices = fc.array(
  fc.record({
    op: fc.constantFrom(...Object.keys(makers)),
    a: fc.nat(1000),
    b: fc.nat(1000),
    isOutput: fc.boolean(),
  }),
  { minLength: 1, maxLength: 10 },
);

/** By variable, which value replaces it; more than there are leaves it as it is. */
const updates = fc.array(fc.nat(20), { minLength: names.length, maxLength: names.length });

function graphOf(made: readonly Choice[], replaced: readonly number[]): Graph {
  const build = buildOn();
  const values = names.map((name) => build.variable(name, { dtype: "float32", shape }));
  values.push(build.input("x", { dtype: "float32", shape }));
  const rows = build.input("rows", { dtype: "int64", shape: ["rows"] });
  const outputs: string[] = [];
  const clipped = (value: string): string =>
    build.node("Clip", [value, ...[-64, 64].map((bound) => build.constant(scalar("float32", bound)))]);
  for (const { op, a, b, isOutput } of made) {
    const results = makers[op](build, values[a % values.length], values[b % values.length], rows);
    // Three operators at most double what there is.
    values.push(...(values.length % 3 === 0 ? results.map(clipped) : results));
    if (isOutput) outputs.push(values[values.length - 1]);
  }
  replaced.forEach((value, i) => {
    if (value >= values.length) return;
    const isPlain = value <= names.length;
    build.update(names[i], isPlain || i % 2 ? values[value] : clipped(values[value]));
  });
  return build.graph([...new Set(outputs)]);
}

async function runsOf(engine: Engine, graph: Graph, threads: number): Promise<unknown> {
  const random = createRandom(2);
  const tensor = (): Tensor => random.integerTensor("float32", shape, -4, 5);
  const variables = await engine.variables(new Map(names.map((name) => [name, tensor()])));
  const executable = await engine.compile(graph, { threads });
  const program = executable.bind(variables);
  const seen = [];
  for (const rows of [[2, 0], [], [5, 1, 3]]) {
    const inputs = new Map([
      ["x", tensor()],
      ["rows", tensorOf("int64", [rows.length], rows)],
    ]);
    const results = await program.run(new Map([...inputs].filter(([name]) => graph.inputs.includes(name))));
    seen.push(new Map([...results].map(([name, value]) => [name, plainNumbers(value)])));
    for (const name of graph.variables) seen.push(plainNumbers(await variables.read(name)));
  }
  await executable.dispose();
  variables.dispose();
  return seen;
}

const runs = randomRuns(150);

describe.skipIf(!isNativeBuilt)(`random updates${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test(
    "leave what the reference leaves",
    async () => {
      const [engine, reference] = [createNativeEngine(), createReferenceEngine()];
      const property = fc.asyncProperty(choices, updates, fc.constantFrom(1, 3), async (made, replaced, threads) => {
        const graph = graphOf(made, replaced);
        expect(await runsOf(engine, graph, threads)).toEqual(await runsOf(reference, graph, 1));
      });
      await fc.assert(property, runs);
    },
    1000 * runs.numRuns,
  );
});

// Training steps of whole models on the native engine: which models it runs, and that runs repeat to the byte.
import { describe, expect, test } from "vitest";
import type { Program, Variables } from "../../src/engines/engine.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { numbersOf, sizeOf, type Tensor } from "../../src/ir/tensor.ts";
import { quantized } from "../models/quantized.ts";
import { batchFor, type TinyModel, tinyModels } from "../models/tiny-models.ts";
import { train, trainOn } from "../models/train.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { tinyClassifier } from "../support/tiny-classifier.ts";
import { rowStep } from "./row-step.ts";

const native = createNativeEngine();
async function readAll(variables: Variables): Promise<ReadonlyMap<string, Tensor>> {
  const values = new Map<string, Tensor>();
  for (const name of variables.names()) values.set(name, await variables.read(name));
  return values;
}

async function repeat(program: Program, inputs: ReadonlyMap<string, Tensor>, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await program.run(inputs);
}

const runs = async (model: TinyModel): Promise<boolean> => {
  const { step } = await rowStep(model);
  return step.graph.nodes.every((node) => native.supports(node, step.graph));
};

const residual: TinyModel = { ...tinyModels[0], name: "residual", build: tinyClassifier };
const models = [residual, ...tinyModels];
const supported: string[] = [];
for (const model of models) if (await runs(model)) supported.push(model.name);

test("steps of all models run on the native engine", () => {
  expect(supported).toEqual(models.map(({ name }) => name));
});

describe.skipIf(!isNativeBuilt).each(tinyModels.filter(({ name }) => supported.includes(name)))(
  `$name on the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`,
  (model) => {
    test("the first loss is the reference engine's, and losses fall", async () => {
      const graph = await quantized(model, "float32", { weights: 8, activations: 8 });
      const options = { dtype: "float32", steps: 6 } as const;
      const { losses } = await train(model, graph, { engine: native, ...options });
      const slow = await train(model, graph, { engine: createReferenceEngine(), ...options, steps: 1 });
      expect(Math.abs(losses[0] / slow.losses[0] - 1)).toBeLessThan(1e-3);
      expect(losses[5], losses.join(", ")).toBeLessThan(0.95 * losses[0]);
    });

    test("the same run on 2 threads gives the same bytes, interrupted or not", async () => {
      const { step, inputs } = await rowStep(model);
      const executable = await native.compile(step.graph, { threads: 2 });
      const whole = await native.variables(step.initial);
      await repeat(executable.bind(whole), inputs, 4);
      const before = await native.variables(step.initial);
      await repeat(executable.bind(before), inputs, 2);
      const after = await native.variables(await readAll(before));
      await repeat((await native.compile(step.graph, { threads: 2 })).bind(after), inputs, 2);
      expect(await readAll(after)).toEqual(await readAll(whole));
    });

    test("rows that are not chosen keep their bytes", async () => {
      const { step, inputs, axes } = await rowStep(model);
      const variables = await native.variables(step.initial);
      await repeat((await native.compile(step.graph, { threads: 2 })).bind(variables), inputs, 2);
      for (const [weight, input] of step.rowInputs) {
        const [start, trained] = [step.initial.get(weight), await variables.read(weight)];
        if (!start || start.shape.length < 4) continue;
        const rows = new Set(Array.from(inputs.get(input)?.data ?? [], Number));
        const axis = axes.get(weight) ?? 0;
        const inner = sizeOf(start.shape.slice(axis + 1));
        const [before, after] = [numbersOf(start), numbersOf(trained)];
        const rowOf = (i: number): number => Math.floor(i / inner) % start.shape[axis];
        const isKept = (row: number): boolean => before.every((value, i) => rowOf(i) !== row || value === after[i]);
        const all = Array.from({ length: start.shape[axis] }, (_, row) => row);
        expect(all.filter(isKept)).toEqual(all.filter((row) => !rows.has(row)));
      }
    });
  },
);

const hasMixed = isNativeBuilt && native.precisions.includes("mixed");
const whyNot = hasMixed ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;

describe.skipIf(!hasMixed).each(tinyModels.filter(({ name }) => name.startsWith("vision transformer")))(
  `$name in mixed precision${whyNot}`,
  (model) => {
    test("the first loss is the reference engine's within 2 %, and losses fall", async () => {
      const graph = await quantized(model, "float32", { weights: 8, activations: 8 });
      const batch = batchFor(model, "float32", 64);
      const options = { dtype: "float32", steps: 6 } as const;
      const { losses } = await trainOn(batch, graph, { engine: native, precision: "mixed", ...options });
      const slow = await trainOn(batch, graph, { engine: createReferenceEngine(), ...options, steps: 1 });
      expect(Math.abs(losses[0] / slow.losses[0] - 1)).toBeLessThan(0.02);
      expect(losses[5], losses.join(", ")).toBeLessThan(0.97 * losses[0]);
    });
  },
);

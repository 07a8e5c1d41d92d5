// Block-AP and E2E-QP of a decoder of 16 numbers a token, as methods of a run.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { resolvePreprocess } from "../../data/preprocess.ts";
import { memoryStorage, type Storage } from "../../data/storage.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { roundedToHalf } from "../../ir/half.ts";
import { numbersOf } from "../../ir/tensor.ts";
import { bytesSource } from "../../ir/tensor-source.ts";
import { readLanguageModel } from "../../language-models/read.ts";
import { textDataset } from "../../language-models/text-data.ts";
import { withInputTypes } from "../../passes/with-input-types.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { quantizersOf } from "../../quantizers/quantizer.ts";
import { constantOf, gridOf, nearestIntegers, quotientsOf } from "../../rounding/grid.ts";
import type { Context } from "../../run/context.ts";
import { e2eQpMethod } from "../e2e-qp/method.ts";
import type { Fields, MethodModel, MethodResult } from "../method.ts";
import { ptqMethod } from "../ptq/method.ts";
import { efficientQatMethod } from "./method.ts";

const length = 6;
const context: Context = { engine: createReferenceEngine(), seed: 3 };
const random = createRandom(8);
const sequences = Array.from({ length: 24 }, () => Array.from({ length }, () => random.integer(0, 23)));
const data = { train: textDataset("text", sequences), preprocess: resolvePreprocess("none") };
const noSolver = () => Promise.reject(new Error("no solver"));
const rest = {
  data,
  scales: "any",
  isRounded: false,
  fileBytes: () => 0,
  timeFiles: async () => [],
  loadSolver: noSolver,
} as const;

async function rounded(): Promise<MethodModel> {
  const folder = join(import.meta.dirname, "../../../test/oracles/decoders/llama");
  const { graph: open } = readLanguageModel(
    {
      holds: (file) => existsSync(join(folder, file)),
      open: (file) => bytesSource(new Uint8Array(readFileSync(join(folder, file)))),
    },
    { name: "llama" },
  );
  const graph = withInputTypes(open, new Map([["input_ids", { dtype: "int64", shape: ["batch", length] }]]));
  const quantize = quantizeOptions.parse({ weights: 2, groupSize: 16, activations: "float" });
  const model = { graph, original: graph, float: graph, quantize, outputs: undefined };
  return (await ptqMethod.run({ ...rest, model, options: {} }, context)).model;
}

interface Trial {
  readonly storage?: Storage;
  readonly resume?: boolean;
  readonly options?: Fields;
}

async function blocks({ storage, resume = false, options = {} }: Trial, at = context): Promise<MethodResult> {
  const given = { trainingSamples: 16, validationSamples: 4, epochs: 4, batch: 4, ...options };
  return efficientQatMethod.run(
    {
      ...rest,
      model: await rounded(),
      options: efficientQatMethod.options.parse(given),
      ...(storage && { checkpoints: { storage, fingerprint: "this run", resume } }),
    },
    at,
  );
}

const bytesOf = ({ model }: MethodResult) =>
  [...model.graph.constants].map(([name, { data: values }]) => [name, values]);

const gridsOf = ({ graph }: MethodModel) =>
  quantizersOf(graph).map((quantizer) => {
    const grid = gridOf(graph, quantizer);
    const integers = nearestIntegers(quotientsOf(constantOf(graph, quantizer.value), grid), grid);
    return { integers: Array.from(integers), scales: Array.from(numbersOf(constantOf(graph, quantizer.scale))) };
  });

describe("Block-AP", () => {
  test("brings each of a decoder's layers nearer to the float one; scales are numbers of float16", async () => {
    const { model, findings } = await blocks({});
    const units = findings?.units ?? [];
    expect(units.map(({ unit }) => unit)).toEqual(["model.layers.0", "model.layers.1"]);
    for (const { before, after } of units) expect(after).toBeLessThan(0.96 * before);
    for (const { scales } of gridsOf(model))
      for (const scale of scales) expect(roundedToHalf("float16", scale)).toBe(scale);
    const norms = (of: MethodModel) => numbersOf(constantOf(of.graph, "model.layers.1.input_layernorm.weight"));
    expect(norms(model)).not.toEqual(norms(await rounded()));
  });

  test.each([0, 1])("stopped after %i blocks and resumed, gives the same bytes", async (count) => {
    const whole = await blocks({ options: { rates: "searched", epochs: 1 } });
    const storage = memoryStorage();
    const controller = new AbortController();
    const onProgress = ({ phase, note }: { readonly phase: string; readonly note?: string }): void => {
      const isDone = note?.includes("→") && phase.endsWith(`layers.${count - 1}`);
      if (isDone || (count === 0 && phase.startsWith("train "))) controller.abort();
    };
    const stopped = { ...context, signal: controller.signal, onProgress };
    const options = { rates: "searched", epochs: 1 } as const;
    await expect(blocks({ storage, options }, stopped)).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await blocks({ storage, resume: true, options });
    expect(bytesOf(resumed)).toEqual(bytesOf(whole));
    expect(resumed.findings).toEqual(whole.findings);
    expect(whole.findings?.units?.[0].rates).toBeDefined();
  });
});

test("E2E-QP moves scales alone, and lowers the loss of the text that it trains on", async () => {
  const model = await rounded();
  const options = e2eQpMethod.options.parse({ batch: 4, epochs: 4, lr: 5e-3 });
  const result = await e2eQpMethod.run({ ...rest, model, options }, context);
  const losses = result.training?.losses ?? [];
  expect(losses).toHaveLength(24);
  const mean = (of: readonly number[]): number => of.reduce((sum, loss) => sum + loss, 0) / of.length;
  expect(mean(losses.slice(-6))).toBeLessThan(mean(losses.slice(0, 6)));
  const [before, after] = [gridsOf(model), gridsOf(result.model)];
  expect(after.map(({ integers }) => integers)).toEqual(before.map(({ integers }) => integers));
  expect(after.map(({ scales }) => scales)).not.toEqual(before.map(({ scales }) => scales));
});

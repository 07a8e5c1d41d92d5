import { expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { memoryDataset } from "../../data/memory-dataset.ts";
import { resolvePreprocess } from "../../data/preprocess.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { buildOn } from "../../ops/infer.ts";
import { type QuantizeOptions, quantizeOptions } from "../../quantizers/quantize-options.ts";
import { ptqMethod } from "./method.ts";

/** Of a convolution of 4 to 6 channels and a depthwise one behind it. */
async function notesOf(options: Partial<QuantizeOptions>): Promise<readonly string[]> {
  const random = createRandom(1);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 4, 5, 5] });
  const first = build.node("Conv", [x, build.constant(random.tensor("float32", [6, 4, 1, 1]), "first.weight")]);
  const depthwise = build.constant(random.tensor("float32", [6, 1, 3, 3]), "depthwise.weight");
  const graph = build.graph([build.node("Conv", [first, depthwise], { group: 6 })]);
  const notes: string[] = [];
  const train = memoryDataset("noise", new Map([["x", random.tensor("float32", [8, 4, 5, 5])]]));
  const quantize = quantizeOptions.parse(options);
  await ptqMethod.run(
    {
      model: { graph, original: graph, float: graph, quantize, outputs: undefined },
      data: { train, preprocess: resolvePreprocess("none") },
      options: {},
      scales: "any",
      fileBytes: () => 0,
    },
    { engine: createReferenceEngine(), seed: 0, onNote: (note) => notes.push(note) },
  );
  return notes;
}

test("depthwise layers of fewer than 8 bits are named with their share of the weights", async () => {
  const [note, ...others] = await notesOf({ weights: 4 });
  expect(note).toContain('1 depthwise layer has weights of 4 bits: "depthwise".');
  // 54 of 78 weights.
  expect(note).toContain("they hold 69 % of the weights: --layers 'depthwise=8'");
  expect(others).toEqual([]);
  expect(await notesOf({ weights: 8 })).toEqual([]);
  expect(await notesOf({ weights: 4, layers: { depthwise: 8 } })).toEqual([]);
});

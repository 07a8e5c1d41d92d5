import { expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { memoryDataset } from "../../data/memory-dataset.ts";
import { resolvePreprocess } from "../../data/preprocess.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { buildOn } from "../../ops/infer.ts";
import { type QuantizeOptions, quantizeOptions } from "../../quantizers/quantize-options.ts";
import { ptqMethod } from "./method.ts";

/** Notes of quantizing what `add` makes of an input of 4 channels and 5 by 5 pixels. */
async function notesOn(
  add: (build: ReturnType<typeof buildOn>, x: string) => string,
  options: Partial<QuantizeOptions> = { weights: 4 },
): Promise<readonly string[]> {
  const build = buildOn();
  const graph = build.graph([add(build, build.input("x", { dtype: "float32", shape: ["N", 4, 5, 5] }))]);
  const notes: string[] = [];
  const images = createRandom(1).tensor("float32", [8, 4, 5, 5]);
  const train = memoryDataset("noise", new Map([["x", images]]));
  const quantize = quantizeOptions.parse({ placement: "inputs", ...options });
  await ptqMethod.run(
    {
      model: { graph, original: graph, float: graph, quantize, outputs: undefined },
      data: { train, preprocess: resolvePreprocess("none") },
      options: {},
      scales: "any",
      isRounded: false,
      fileBytes: () => 0,
      timeFiles: () => Promise.resolve([]),
      loadSolver: () => Promise.reject(new Error("no solver")),
    },
    { engine: createReferenceEngine(), seed: 0, onNote: (note) => notes.push(note) },
  );
  return notes;
}

/** Of a convolution of 4 to 6 channels and a depthwise one behind it. */
const notesOf = (options: Partial<QuantizeOptions>): Promise<readonly string[]> =>
  notesOn((build, x) => {
    const random = createRandom(1);
    const first = build.node("Conv", [x, build.constant(random.tensor("float32", [6, 4, 1, 1]), "first.weight")]);
    const depthwise = build.constant(random.tensor("float32", [6, 1, 3, 3]), "depthwise.weight");
    return build.node("Conv", [first, depthwise], { group: 6 });
  }, options);

test("depthwise layers of fewer than 8 bits are named with their share of the weights", async () => {
  const [note, ...others] = await notesOf({ weights: 4 });
  expect(note).toContain('1 depthwise layer has weights of 4 bits: "depthwise".');
  // 54 of 78 weights.
  expect(note).toContain("they hold 69 % of the weights: --layers 'depthwise=8'");
  expect(others).toEqual([]);
  expect(await notesOf({ weights: 8 })).toEqual([]);
  expect(await notesOf({ weights: 4, layers: { depthwise: 8 } })).toEqual([]);
});

test.each([
  [["a/depthwise", "b/depthwise"], "a/project", "'*/depthwise=8'"],
  [["a/depthwise", "b/other"], "a/project", "'a/depthwise=8,b/other=8'"],
  [["a/depthwise", "b/depthwise"], "c/depthwise", "'a/depthwise=8,b/depthwise=8'"],
])("the depthwise layers %j beside %s are kept by %s", async (depthwise, dense, choice) => {
  const random = createRandom(2);
  const [note] = await notesOn((build, x) => {
    const weight = (shape: readonly number[], name: string) => build.constant(random.tensor("float32", shape), name);
    const inner = depthwise.reduce(
      (y, name) => build.node("Conv", [y, weight([4, 1, 3, 3], `${name}.w`)], { group: 4, pads: [1, 1, 1, 1] }, name),
      x,
    );
    return build.node("Conv", [inner, weight([4, 4, 1, 1], "dense.w")], {}, dense);
  });
  expect(note).toContain(`--layers ${choice} keeps 8 bits`);
});

test("a table that is looked up too is said to be in the file twice", async () => {
  const random = createRandom(3);
  const notes = await notesOn((build, x) => {
    const table = build.constant(random.tensor("float32", [5, 250]), "table");
    const logits = build.node("MatMul", [x, table], {}, "head");
    const rows = build.node("Gather", [table, build.ints([1])], { axis: 0 }, "lookup");
    return build.node("Add", [logits, rows]);
  });
  expect(notes).toEqual([
    expect.stringMatching(
      /^Weight "table" \(0\.00500 MB\) is quantized for head, and read in float by Gather \(node "lookup"\): .*--layers 'head=float' keeps it once\.$/,
    ),
  ]);
});

// Boxes of some hundred pixels and scores of 0 to 1 that are joined: noted where a layer reads them with one quantizer, apart where
// none does.
import { describe, expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Builder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar, sizeOf, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import type { QuantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { origin } from "../support/export-quantized.ts";
import { createRandom } from "../support/random.ts";

const width = 4;

function weight(build: Builder, shape: readonly number[], factor: number, seed: number): string {
  const random = createRandom(seed);
  const values = Array.from({ length: sizeOf(shape) }, () => factor * random.normal());
  return build.constant(tensorOf("float32", shape, values));
}

interface Parts {
  readonly build: Builder;
  readonly boxes: string;
  readonly scores: string;
}

const alternating = Array.from({ length: width }, (_, i) => i % 2);

/** By operator, what joins both to [N, width] or [N, 2 · width]. */
const joins: Readonly<Record<string, (parts: Parts) => string>> = {
  Concat: ({ build, boxes, scores }) => build.node("Concat", [boxes, scores], { axis: 1 }, "joined"),
  Where: ({ build, boxes, scores }) =>
    build.node("Where", [build.constant(tensorOf("bool", [width], alternating)), boxes, scores], {}, "joined"),
  Max: ({ build, boxes, scores }) => build.node("Max", [boxes, scores], {}, "joined"),
  Min: ({ build, boxes, scores }) => build.node("Min", [boxes, scores], {}, "joined"),
  ScatterElements: ({ build, boxes, scores }) => {
    const places = build.constant(
      tensorOf(
        "int64",
        [16, 2],
        Array.from({ length: 32 }, (_, i) => 2 * (i % 2)),
      ),
    );
    const some = build.node("Slice", [scores, build.ints([0]), build.ints([2]), build.ints([1])], {}, "scores.some");
    return build.node("ScatterElements", [boxes, places, some], { axis: 1 }, "joined");
  },
  ScatterND: ({ build, boxes, scores }) => {
    const rows = build.constant(tensorOf("int64", [3, 1], [0, 5, 9]));
    const some = build.node("Slice", [scores, build.ints([0]), build.ints([3]), build.ints([0])], {}, "scores.some");
    return build.node("ScatterND", [boxes, rows, some], {}, "joined");
  },
  Pad: ({ build, scores }) =>
    build.node("Pad", [scores, build.ints([0, 0, 0, width]), build.constant(scalar("float32", 640))], {}, "joined"),
};

/** `factor`: of the boxes, beside scores of 0 to 1. */
function joined(
  join: (parts: Parts) => string,
  factor: number,
  behind: (value: string, build: Builder) => string,
): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [16, 8] });
  const boxes = build.node("MatMul", [x, weight(build, [8, width], factor, 1)], {}, "boxes");
  const logits = build.node("MatMul", [x, weight(build, [8, width], 1, 2)], {}, "logits");
  const scores = build.node("Sigmoid", [logits], {}, "scores");
  const value = behind(join({ build, boxes, scores }), build);
  const columns = Number(build.type(value).shape[1]);
  const head = weight(build, [columns, 3], 1, 3);
  return build.graph([build.node("MatMul", [value, head], {}, "head")]);
}

async function quantized(graph: Graph, quantize: Partial<QuantizeOptions>) {
  const data = (seed: number) =>
    memoryDataset("noise", new Map([["x", createRandom(seed).tensor("float32", [64, 8])]]));
  const notes: string[] = [];
  const { fidelity } = await quantizeModel(
    {
      model: { graph, origin },
      source: { train: data(1), test: data(2), heldOut: false },
      preprocess: resolvePreprocess("none"),
      options: runOptions.parse({ quantize }),
      openDeployed: (file) => openDeployed(file, { threads: 1 }),
    },
    { engine: createReferenceEngine(), seed: 0, onNote: (note) => notes.push(note) },
  );
  return { sqnrDb: fidelity?.get("deployed")?.map((output) => output.sqnrDb), notes };
}

const asItIs = (value: string): string => value;

describe.each(["inputs", "runtime"] as const)("placement %s", (placement) => {
  test.each(Object.keys(joins))(
    "%s of unlike ranges before a layer is noted with the part that is lost",
    async (op) => {
      const { notes } = await quantized(joined(joins[op], 200, asItIs), { placement });
      expect(notes).toContainEqual(
        expect.stringMatching(new RegExp(`^${op} \\(node "joined"\\) joins "scores.*head=float`)),
      );
    },
  );

  test.each(Object.keys(joins).filter((op) => op !== "Pad"))("%s of like ranges is not", async (op) => {
    const { notes } = await quantized(joined(joins[op], 1, asItIs), { placement });
    expect(notes).toEqual([]);
  });

  test.each([
    ["reshaped", (value: string, build: Builder) => build.node("Reshape", [value, build.ints([16, -1])])],
    ["clipped", (value: string, build: Builder) => build.node("Relu", [value])],
    ["scaled", (value: string, build: Builder) => build.node("Div", [value, build.scalar(640)])],
    ["joined again", (value: string, build: Builder) => build.node("Concat", [value, value], { axis: 1 })],
  ])("of what is %s behind it too", async (_, behind) => {
    const { notes } = await quantized(joined(joins.Concat, 200, behind), { placement });
    expect(notes).toContainEqual(expect.stringContaining('joins "scores"'));
  });

  test("a layer that reads the scores alone, cut out of what was joined, has all of them", async () => {
    const cut = (value: string, build: Builder): string =>
      build.node("Slice", [value, build.ints([width]), build.ints([2 * width]), build.ints([1])]);
    const { notes, sqnrDb } = await quantized(joined(joins.Concat, 200, cut), { placement });
    expect(notes).toEqual([]);
    expect(sqnrDb?.[0]).toBeGreaterThan(30);
  });
});

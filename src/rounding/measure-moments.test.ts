import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { inMemoryCommunicators } from "../../test/support/in-memory-ranks.ts";
import { passOf } from "../../test/support/layer-pass.ts";
import { multiply } from "../../test/support/moments.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Attribute, Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { fromMatrices, matrixFormOf, matrixSize } from "./matrix-form.ts";
import { measureMoments, type SplitMoments } from "./measure-moments.ts";
import { errorOfRows } from "./moments.ts";

const engine = createReferenceEngine();
const context = { engine, seed: 0 };
const random = createRandom(5);
const everywhere = 10_000;

interface Case {
  readonly op: string;
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** A graph of the layer alone, with this weight. */
function layerGraph({ op, x, weight, attributes }: Case, value: Tensor): Graph {
  const build = buildOn();
  const input = build.input("x", { dtype: "float64", shape: ["N", ...x] });
  expect(value.shape).toEqual(weight);
  return build.graph([build.node(op, [input, build.constant(value, "weight")], attributes)]);
}

async function outputOf(graph: Graph, x: Tensor): Promise<Tensor> {
  const [output] = (await runGraph(engine, graph, new Map([["x", x]]))).values();
  return output;
}

/** Targets are what the layer gives with other weights for other inputs, as behind quantized layers. */
async function measure(layerCase: Case, sizes: readonly number[], positions = everywhere) {
  const target = layerGraph(layerCase, random.tensor("float64", layerCase.weight));
  const [layer] = linearLayers(target);
  const form = matrixFormOf(target, layer);
  expect(form).toBeDefined();
  if (!form) throw new Error("no form");
  const xs = sizes.map((size) => random.tensor("float64", [size, ...layerCase.x]));
  const ts = await Promise.all(
    xs.map((x) =>
      outputOf(
        target,
        tensorOf(
          "float64",
          x.shape,
          Array.from(numbersOf(x), (value) => value + 0.1 * random.normal()),
        ),
      ),
    ),
  );
  const pass = passOf(xs, ts);
  const found = await measureMoments({ node: layer.node, form, dtype: "float64", positions, pass }, context);
  return { form, xs, ts, found };
}

/** By output: the mean over samples and positions of the squared difference. */
async function errorsOf(graph: Graph, xs: readonly Tensor[], ts: readonly Tensor[], rows: number): Promise<number[]> {
  const sums = new Array<number>(rows).fill(0);
  let count = 0;
  for (const [i, x] of xs.entries()) {
    const y = await outputOf(graph, x);
    const isConvolution = graph.nodes[0].op === "Conv";
    const inner = isConvolution ? y.shape.slice(2).reduce((a, b) => a * b, 1) : 1;
    numbersOf(y).forEach((value, at) => {
      sums[Math.floor(at / inner) % rows] += (value - numbersOf(ts[i])[at]) ** 2;
    });
    count += y.data.length / rows;
  }
  return sums.map((sum) => sum / count);
}

const cases: Readonly<Record<string, Case>> = {
  "a convolution": { op: "Conv", x: [3, 5, 4], weight: [4, 3, 3, 3], attributes: { pads: [1, 1, 1, 1] } },
  "a strided convolution with uneven pads": {
    op: "Conv",
    x: [2, 7, 6],
    weight: [3, 2, 3, 2],
    attributes: { strides: [2, 3], pads: [0, 1, 2, 0] },
  },
  "a dilated convolution over one axis": { op: "Conv", x: [2, 9], weight: [3, 2, 3], attributes: { dilations: [2] } },
  "a grouped convolution": { op: "Conv", x: [4, 4, 4], weight: [6, 2, 2, 2], attributes: { group: 2 } },
  "a depthwise convolution": {
    op: "Conv",
    x: [3, 5, 5],
    weight: [3, 1, 3, 3],
    attributes: { group: 3, auto_pad: "SAME_UPPER", strides: [2, 2] },
  },
  "a Gemm with transposed weight": { op: "Gemm", x: [5], weight: [3, 5], attributes: { transB: 1, alpha: 0.5 } },
  "a Gemm": { op: "Gemm", x: [5], weight: [5, 3] },
  "a MatMul over sequences": { op: "MatMul", x: [4, 5], weight: [5, 3] },
};

describe("second moments", () => {
  test.each(Object.entries(cases))("give the squared error of any weight of %s", async (_, layerCase) => {
    const { form, xs, ts, found } = await measure(layerCase, [4, 4, 3]);
    const weight = random.tensor("float64", [matrixSize(form)]);
    const tensor = fromMatrices(
      form,
      Float64Array.from(numbersOf(weight)),
      tensorOf("float64", layerCase.weight, new Float64Array(matrixSize(form))),
    );
    const expected = await errorsOf(layerGraph(layerCase, tensor), xs, ts, form.groups * form.rows);
    expectClose(await errorOfRows(found.fitted, Float64Array.from(numbersOf(weight)), multiply), expected, {
      widen: { factor: 100, because: "the error is what is left of three sums" },
    });
  });

  test.each(["a convolution", "a MatMul over sequences"])(
    "of sampled positions come near those of all of %s",
    async (name) => {
      const layerCase = cases[name];
      const sizes = new Array<number>(60).fill(16);
      const { found, xs, ts, form } = await measure(layerCase, sizes, 2);
      expect(found.fitted.count).toBe(2 * 16 * 53);
      const zero = new Float64Array(matrixSize(form));
      const all = await errorsOf(layerGraph(layerCase, tensorOf("float64", layerCase.weight, zero)), xs, ts, form.rows);
      (await errorOfRows(found.fitted, zero, multiply)).forEach((error, row) => {
        expect(error / all[row]).toBeGreaterThan(0.85);
        expect(error / all[row]).toBeLessThan(1.15);
      });
    },
  );

  test.each([2, 4, 8, 16])("of %i processes are those of one, bit for bit, each over its batches", async (size) => {
    const given = { ...cases["a convolution"] };
    const target = layerGraph(given, random.tensor("float64", given.weight));
    const [layer] = linearLayers(target);
    const form = matrixFormOf(target, layer);
    if (!form) throw new Error("no form");
    const draw = (shape: readonly number[]): Tensor => random.tensor("float32", [3, ...shape]);
    const xs = Array.from({ length: 19 }, () => draw(given.x));
    const ts = xs.map(() => draw([given.weight[0], ...given.x.slice(1)]));
    const pass = passOf(xs, ts);
    const job = { node: layer.node, form, dtype: "float32", positions: 7 } as const;
    const one = await measureMoments({ ...job, pass }, context);
    expect(one.heldOut.count).toBe(2 * 3 * 7);
    let runs = 0;
    const counted: typeof pass = {
      ...pass,
      batches: async function* (part) {
        for await (const batch of pass.batches(part)) {
          runs++;
          yield batch;
        }
      },
    };
    const ranks = await inMemoryCommunicators(size);
    const all = await Promise.all(
      ranks.map((communicator) => measureMoments({ ...job, pass: counted }, { ...context, communicator })),
    );
    for (const each of all) expect(each).toEqual(one);
    expect(runs).toBe(xs.length);
  });

  test("an eighth of the batches, the last, is held out", async () => {
    const { found } = await measure(cases["a Gemm"], [2, 2, 2, 2, 2, 2, 2, 2, 2]);
    const counts = ({ fitted, heldOut }: SplitMoments) => [fitted.count, heldOut.count];
    expect(counts(found)).toEqual([16, 2]);
    const { found: few } = await measure(cases["a Gemm"], [2, 2]);
    expect(few.heldOut).toBe(few.fitted);
  });
});

import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Builder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../ir/tensor.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { forms } from "./table.ts";
import { type FormContext, preparedModel, type WrittenForm, writeForm } from "./write-form.ts";

type Values = ReadonlyMap<string, Tensor>;

const random = createRandom(12);

async function outputsOf(bytes: Uint8Array, inputs: Values): Promise<Values> {
  const file = await openDeployed(bytes, { threads: 1 });
  try {
    return await file.run(inputs);
  } finally {
    await file.dispose();
  }
}

interface Made {
  readonly graph: Graph;
  readonly half: WrittenForm;
  readonly y: readonly number[];
  readonly expected: readonly number[];
}

/** The model in float16, and what it gives for other inputs than those that it was looked at with. */
async function made(graph: Graph, seen: Values, given: Values = seen): Promise<Made> {
  const model = preparedModel({ graph, origin: { ...tinyOrigin, opset: 18 } });
  const float = writeOnnx(model, { opset: opsetFor(model.graph, 17) });
  const context: FormContext = {
    open: openDeployed,
    batches: [seen],
    expected: [await outputsOf(float, seen)],
    blockSize: 32,
  };
  const half = await writeForm(model, forms.fp16, context);
  const [y, expected] = [await outputsOf(half.bytes, given), await outputsOf(float, given)].map((values) =>
    Array.from(values.get("y")!.data as Float32Array, Number),
  );
  return { graph, half, y, expected };
}

const relative = ({ y, expected }: Made): number =>
  Math.max(...y.map((value, i) => Math.abs(value - expected[i]))) / Math.max(...expected.map(Math.abs));

const inputs = (x: Tensor): Values => new Map([["x", x]]);

function graphOf(shape: readonly (number | string)[], layer: (build: Builder, x: string) => string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape });
  return build.graph([build.node("Identity", [layer(build, x)], {}, "y")]);
}

const number = (build: Builder, value: number): string => build.constant(scalar("float32", value));

describe("a model in float16", () => {
  test("constants have half their size, and inputs and outputs stay float32", async () => {
    const graph = graphOf(["n", 64], (build, x) =>
      build.node("Relu", [build.node("MatMul", [x, build.constant(random.tensor("float32", [64, 256]))])]),
    );
    const result = await made(graph, inputs(random.tensor("float32", [3, 64])));
    expect(result.half.bytes.length).toBeLessThan(2 * 64 * 256 + 1000);
    expect(result.half.keptFloat).toBe(0);
    expect(relative(result)).toBeLessThan(2e-3);
  });

  test("nodes whose values are beyond float16 keep float32", async () => {
    const graph = graphOf([2, 8], (build, x) => {
      const large = build.node("Mul", [x, number(build, 4000)]);
      const square = build.node("Mul", [large, large]);
      const root = build.node("Sqrt", [build.node("ReduceMean", [square, build.ints([1])])]);
      return build.node("Div", [large, root]);
    });
    const result = await made(graph, inputs(random.tensor("float32", [2, 8])));
    expect(result.half.keptFloat).toBeGreaterThan(0);
    expect(relative(result)).toBeLessThan(2e-3);
  });

  test("a small number that keeps a division from 0 is kept", async () => {
    const graph = graphOf([2, 8], (build, x) => {
      const square = build.node("ReduceMean", [build.node("Mul", [x, x]), build.ints([1])]);
      return build.node("Div", [x, build.node("Sqrt", [build.node("Add", [square, number(build, 1e-12)])])]);
    });
    const result = await made(
      graph,
      inputs(random.tensor("float32", [2, 8])),
      inputs(tensorOf("float32", [2, 8], new Array(16).fill(0))),
    );
    expect(result.y).toEqual(new Array(16).fill(0));
  });

  test("masks that stand for infinity give no NaN where all is masked", async () => {
    for (const lowest of [-3.4028234663852886e38, Number.NEGATIVE_INFINITY, -1e9]) {
      const build = buildOn();
      const x = build.input("x", { dtype: "float32", shape: [2, 4] });
      const mask = build.input("mask", { dtype: "int64", shape: [2, 4] });
      const lost = build.node("Sub", [number(build, 1), build.node("Cast", [mask], { to: "float32" })]);
      const masked =
        lowest === Number.NEGATIVE_INFINITY
          ? build.node("Where", [build.node("Cast", [mask], { to: "bool" }), x, number(build, lowest)])
          : build.node("Add", [x, build.node("Mul", [lost, number(build, lowest)])]);
      const graph = build.graph([build.node("Softmax", [masked], { axis: -1 }, "y")]);
      const given = (rows: readonly number[]): Values =>
        new Map([
          ["x", random.tensor("float32", [2, 4])],
          ["mask", tensorOf("int64", [2, 4], rows)],
        ]);
      const someMasked = await made(graph, given(new Array(8).fill(1)), given([1, 1, 0, 0, 1, 0, 1, 1]));
      expect(relative(someMasked)).toBeLessThan(2e-3);
      if (lowest === Number.NEGATIVE_INFINITY) continue;
      const { y } = await made(graph, given(new Array(8).fill(1)), given([1, 1, 1, 1, 0, 0, 0, 0]));
      expect(y.every(Number.isFinite)).toBe(true);
    }
  });

  test("positions beyond 2048 turn by the same angles", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 4] });
    const at = build.input("at", { dtype: "int64", shape: [1, 1] });
    const angle = build.node("Mul", [
      build.node("Cast", [at], { to: "float32" }),
      build.constant(tensorOf("float32", [4], [1, 0.3, 0.1, 0.03])),
    ]);
    const graph = build.graph([build.node("Mul", [x, build.node("Cos", [angle])], {}, "y")]);
    const given = (position: number): Values =>
      new Map([
        ["x", tensorOf("float32", [1, 4], [1, 1, 1, 1])],
        ["at", tensorOf("int64", [1, 1], [position])],
      ]);
    expect(relative(await made(graph, given(3), given(4095)))).toBeLessThan(2e-3);
  });

  // ONNX Runtime 1.30 ends the process where these are float16.
  test.each([[[1, 0, 2]], [[1, 2, 0]], [[1, 2, 0, 3]], [[1, 2, 3, 0]]])(
    "a product behind a transposition by %j opens, and its weight has half its size",
    async (perm) => {
      const shape = [3, 4, 5, 6].slice(0, perm.length);
      const weight = random.tensor("float32", [shape[perm[perm.length - 1]], 500]);
      const graph = graphOf(shape, (build, x) =>
        build.node("MatMul", [build.node("Transpose", [x], { perm }), build.constant(weight, "w")]),
      );
      const result = await made(graph, inputs(random.tensor("float32", shape)));
      expect(relative(result)).toBeLessThan(2 ** -9);
      expect(result.half.bytes.length).toBeLessThan(2 * 500 * weight.shape[0] + 1000);
      expect(result.half.keptFloat).toBe(1);
    },
  );

  test("sizes that are computed in floats are exact", async () => {
    const graph = graphOf([1, 2, "height", 5], (build, x) => {
      const size = build.node("Cast", [build.node("Shape", [x], { start: 2 })], { to: "float32" });
      const scaled = build.node("Cast", [build.node("Floor", [build.node("Mul", [size, number(build, 2.3)])])], {
        to: "int64",
      });
      const whole = build.node("Concat", [build.node("Shape", [x], { start: 0, end: 2 }), scaled], { axis: 0 });
      return build.node("Resize", [x, undefined, undefined, whole], { mode: "nearest" });
    });
    const x = (height: number): Values => inputs(random.tensor("float32", [1, 2, height, 5]));
    const result = await made(graph, x(3), x(1003));
    expect(result.y.length).toBe(2 * Math.floor(Math.fround(1003 * 2.3)) * 11);
    expect(relative(result)).toBeLessThan(2e-3);
  });

  test.each<readonly [name: string, graph: Graph]>([
    [
      "Resize's scales",
      graphOf([1, 2, 4, 4], (build, x) =>
        build.node("Resize", [x, undefined, build.constant(tensorOf("float32", [4], [1, 1, 2, 2]))], {
          mode: "linear",
        }),
      ),
    ],
    [
      "Range",
      graphOf([4, 4], (build, x) =>
        build.node("Add", [x, build.node("Range", [number(build, 0), number(build, 4), number(build, 1)])]),
      ),
    ],
    [
      "Clip, Pad and Pow",
      graphOf([2, 4], (build, x) => {
        const clipped = build.node("Clip", [x, number(build, -1), number(build, 1)]);
        return build.node("Pow", [
          build.node("Pad", [clipped, build.ints([0, 1, 0, 1]), number(build, 0.5)]),
          number(build, 2),
        ]);
      }),
    ],
    [
      "ConstantOfShape",
      graphOf(["n", 4], (build, x) =>
        build.node("Add", [
          x,
          build.node("ConstantOfShape", [build.node("Shape", [x])], { value: tensorOf("float32", [1], [0.5]) }),
        ]),
      ),
    ],
    [
      "LayerNormalization",
      graphOf([2, 8], (build, x) =>
        build.node("LayerNormalization", [x, build.constant(random.tensor("float32", [8]))], { axis: -1 }),
      ),
    ],
    [
      "TopK and comparisons",
      graphOf([2, 8], (build, x) => {
        const [values] = build.nodes("TopK", [x, build.ints([3])], [true, false]);
        return build.node("Where", [build.node("Greater", [values, number(build, 0)]), values, number(build, -1)]);
      }),
    ],
    ["an output that other nodes read", graphOf([2, 8], (build, x) => build.node("Tanh", [x]))],
  ])("types fit at every edge: %s", async (_, graph) => {
    const shape = graph.values.get("x")!.shape.map((size) => (typeof size === "number" ? size : 3));
    expect(relative(await made(graph, inputs(random.tensor("float32", shape))))).toBeLessThan(4e-3);
  });

  test("what cancels out is brought back to float32, found by running it", async () => {
    const graph = graphOf([4, 32], (build, x) => {
      const far = build.node("Add", [x, number(build, 1000)]);
      const near = build.node("Sub", [far, build.node("ReduceMean", [far, build.ints([1])])]);
      return build.node("Mul", [near, number(build, 3)]);
    });
    const result = await made(graph, inputs(random.tensor("float32", [4, 32])));
    expect(relative(result)).toBeLessThan(1e-2);
    expect(result.half.keptFloat).toBeGreaterThan(0);
  });
});

// Chains of operators, where values stay in ONNX Runtime's blocked layout from one node to the next.
import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { detectBlock } from "../../src/engines/onnxruntime/detect-blocks.ts";
import { encodeGraph } from "../../src/engines/onnxruntime/encode-graph.ts";
import { lower } from "../../src/engines/onnxruntime/lower.ts";
import { loadOrt } from "../../src/engines/onnxruntime/ort-module.ts";
import { createSession } from "../../src/engines/onnxruntime/session.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { DType } from "../../src/ir/dtype.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { castTensor, type Tensor } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { expectClose } from "../support/close.ts";
import { createRandom } from "../support/random.ts";

const batch = 16;

/** Every parameter's shape. */
const parameters: Readonly<Record<string, readonly number[]>> = {
  x: [batch, 3, 8, 8],
  w1: [16, 3, 3, 3],
  w2: [16, 16, 3, 3],
  w3: [32, 16, 3, 3],
  w4: [32, 16, 1, 1],
  gamma1: [16],
  beta1: [16],
  gamma2: [32],
  beta2: [32],
  scale: [],
  zeroPoint: [],
  target: [batch, 32],
};

/** A residual block with batch normalization and a quantizer, then a strided convolution with a strided shortcut. */
function network(dtype: DType, bits: number): Graph {
  const build = buildOn();
  for (const [name, shape] of Object.entries(parameters)) build.input(name, { dtype, shape });
  const conv = (x: string, w: string, strides: readonly number[], pad: number): string =>
    build.node("Conv", [x, w], { strides, pads: [pad, pad, pad, pad] });
  const norm = (x: string, i: number): string =>
    build.nodes("BatchNormalizationTraining", [x, `gamma${i}`, `beta${i}`], [true, true, true], { epsilon: 1e-5 })[0];
  const quantize = (x: string): string =>
    build.node("FakeQuantize", [x, "scale", "zeroPoint", build.scalar(0, x), build.scalar(2 ** bits - 1, x)]);
  const first = build.node("Relu", [norm(conv("x", "w1", [1, 1], 1), 1)]);
  const second = build.node("Relu", [build.node("Add", [first, conv(quantize(first), "w2", [1, 1], 1)])]);
  const third = build.node("Add", [norm(conv(quantize(second), "w3", [2, 2], 1), 2), conv(second, "w4", [2, 2], 0)]);
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [build.node("Relu", [third])])]);
  const product = build.node("Mul", [pooled, "target"]);
  return build.graph([build.node("ReduceSum", [product], { keepdims: 0 })]);
}

function step(dtype: DType, bits: number): Graph {
  const graph = network(dtype, bits);
  const wanted = new Map(Object.keys(parameters).map((name) => [name, "all"] as const));
  const { graph: whole, gradients } = gradient(graph, graph.outputs[0], wanted);
  return { ...whole, outputs: [graph.outputs[0], ...[...wanted.keys()].map((name) => gradients.get(name) as string)] };
}

function draws(dtype: DType): Map<string, Tensor> {
  const random = createRandom(5);
  return new Map(
    Object.entries(parameters).map(([name, shape]) => {
      const value =
        name === "scale"
          ? random.uniformTensor("float32", shape, 0.3, 0.31)
          : name === "zeroPoint"
            ? random.uniformTensor("float32", shape, 1.6, 1.7)
            : random.tensor("float32", shape);
      return [name, castTensor(value, dtype)];
    }),
  );
}

async function expected(bits: number): Promise<readonly Tensor[]> {
  const engine = createReferenceEngine();
  const graph = step("float64", bits);
  const executable = await engine.compile(graph);
  const results = await executable.bind(await engine.variables(new Map())).run(draws("float64"));
  return graph.outputs.map((name) => castTensor(results.get(name) as Tensor, "float32"));
}

async function actual(bits: number, block: number): Promise<readonly Tensor[]> {
  const graph = step("float32", bits);
  const lowered = lower(graph, { block });
  const session = await createSession(encodeGraph(lowered.graph), { threads: 2 });
  const results = await session.run(draws("float32"));
  await session.dispose();
  return graph.outputs.map((name) => results.get(lowered.outputs.get(name) ?? "") as Tensor);
}

describe("a step's loss and gradients agree with the reference engine in float64", () => {
  test.each([
    ["4 bits, without blocks", 4, "none"],
    ["4 bits, in blocks", 4, "own"],
    ["8 bits, without blocks", 8, "none"],
    ["8 bits, in blocks", 8, "own"],
  ] as const)("%s", async (_name, bits, blocks) => {
    const block = blocks === "none" ? 0 : await detectBlock(await loadOrt());
    const wanted = await expected(bits);
    const given = await actual(bits, block);
    const names = ["loss", ...Object.keys(parameters)];
    given.forEach((value, i) => {
      const widen = { factor: 20, because: "float32 errors add up over four layers" };
      expectClose(value, wanted[i], { what: names[i], widen });
    });
  });

  test("the same inputs give the same bytes", async () => {
    const block = await detectBlock(await loadOrt());
    const [a, b] = [await actual(4, block), await actual(4, block)];
    a.forEach((value, i) => {
      expect(Buffer.from(value.data.buffer).equals(Buffer.from(b[i].data.buffer))).toBe(true);
    });
  });
});

test.runIf(process.arch === "x64")("onnxruntime-node has blocked convolutions on x64", async () => {
  expect(await detectBlock(await loadOrt())).toBeGreaterThan(0);
});

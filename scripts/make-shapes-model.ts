// Writes the untrained network of examples/shapes: a small residual network with batch normalization.
import { writeFileSync } from "node:fs";
import type { Graph } from "../src/ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../src/ir/tensor.ts";
import { writeOnnx } from "../src/onnx/write.ts";
import { buildOn } from "../src/ops/infer.ts";

const imageSize = 32;
const classes = 10;
/** Channels of the residual blocks; where they grow, the image halves. */
const widths = [8, 12, 12, 16, 16, 24, 24];

/** Normally distributed numbers (Box and Muller's, from mulberry32's uniform ones). */
function createNormal(seed: number): () => number {
  let state = seed;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

function shapesNetwork(seed: number): Graph {
  const normal = createNormal(seed);
  const build = buildOn();
  const filled = (shape: readonly number[], value: () => number): Tensor =>
    tensorOf("float32", shape, Array.from({ length: sizeOf(shape) }, value));
  const relu = (name: string, x: string): string => build.node("Relu", [x], {}, name);

  /** Convolution with He's initialization, then normalization. */
  const conv = (
    name: string,
    x: string,
    [from, to]: readonly [number, number],
    size: number,
    stride: number,
  ): string => {
    const deviation = Math.sqrt(2 / (from * size * size));
    const weight = build.constant(
      filled([to, from, size, size], () => deviation * normal()),
      `${name}.weight`,
    );
    const pad = (size - 1) / 2;
    const attributes = { kernel_shape: [size, size], strides: [stride, stride], pads: [pad, pad, pad, pad] };
    const statistics = { weight: 1, bias: 0, running_mean: 0, running_var: 1 };
    return build.node(
      "BatchNormalization",
      [
        build.node("Conv", [x, weight], attributes, name),
        ...Object.entries(statistics).map(([part, value]) =>
          build.constant(
            filled([to], () => value),
            `${name}.norm.${part}`,
          ),
        ),
      ],
      { epsilon: 1e-5, momentum: 0.9 },
      `${name}.norm`,
    );
  };
  const block = (name: string, x: string, from: number, to: number): string => {
    const stride = from === to ? 1 : 2;
    const first = relu(`${name}.relu1`, conv(`${name}.conv1`, x, [from, to], 3, stride));
    const second = conv(`${name}.conv2`, first, [to, to], 3, 1);
    const skip = from === to ? x : conv(`${name}.skip`, x, [from, to], 1, stride);
    return relu(`${name}.relu2`, build.node("Add", [second, skip], {}, `${name}.add`));
  };

  const image = build.input("image", { dtype: "float32", shape: ["N", 3, imageSize, imageSize] });
  let x = relu("stem.relu", conv("stem", image, [3, widths[0]], 3, 1));
  widths.forEach((width, i) => {
    x = block(`block${i + 1}`, x, widths[Math.max(0, i - 1)], width);
  });
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [x], {}, "pool")], { axis: 1 }, "flatten");
  const last = widths[widths.length - 1];
  const weight = build.constant(
    filled([classes, last], () => normal() / Math.sqrt(last)),
    "linear.weight",
  );
  const bias = build.constant(
    filled([classes], () => 0),
    "linear.bias",
  );
  return build.graph([build.node("Gemm", [pooled, weight, bias], { transB: 1 }, "scores")], "shapes");
}

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: make-shapes-model.js FILE");
const origin = {
  opset: 17,
  irVersion: 8,
  producerName: "frostbit",
  producerVersion: "",
  domain: "",
  modelVersion: 1n,
  docString: "Ten shapes, examples/shapes",
  metadata: new Map<string, string>(),
};
writeFileSync(path, writeOnnx({ graph: shapesNetwork(1), origin }, { opset: origin.opset }));

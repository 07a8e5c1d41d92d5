// A tiny residual classifier built through the builder: convolutions with normalization, a skip, pooling and a Gemm.
import type { DType } from "../../src/ir/dtype.ts";
import type { Graph, OnnxModel } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { weightQparams } from "../../src/quantizers/observe-weights.ts";
import { asymmetricQparams, type Qparams } from "../../src/quantizers/qparams.ts";
import { type QuantizeOptions, quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites, type Site } from "../../src/quantizers/sites.ts";
import { createRandom } from "./random.ts";

const tinyClasses = 4;
export const tinySize = 8;

/** `channels` are the convolutions'. */
export function tinyClassifier(dtype: DType = "float64", seed = 1, channels = 6): Graph {
  const random = createRandom(seed);
  const build = buildOn();
  const normal = (shape: readonly number[], deviation: number, mean = 0): Tensor =>
    tensorOf(
      dtype,
      shape,
      Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => mean + deviation * random.normal()),
    );
  const conv = (name: string, x: string, from: number): string =>
    build.node(
      "Conv",
      [x, build.constant(normal([channels, from, 3, 3], 0.3), `${name}.weight`)],
      { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [1, 1] },
      name,
    );
  const norm = (name: string, x: string): string =>
    build.node(
      "BatchNormalization",
      [
        x,
        build.constant(normal([channels], 0.3, 1), `${name}.weight`),
        build.constant(normal([channels], 0.3), `${name}.bias`),
        build.constant(normal([channels], 0.1), `${name}.running_mean`),
        build.constant(
          tensorOf(
            dtype,
            [channels],
            Array.from({ length: channels }, () => 0.5 + random.uniform()),
          ),
          `${name}.running_var`,
        ),
      ],
      { epsilon: 1e-5 },
      name,
    );
  const x = build.input("input", { dtype, shape: ["N", 3, tinySize, tinySize] });
  const first = build.node("Relu", [norm("bn1", conv("conv1", x, 3))], {}, "relu1");
  const second = norm("bn2", conv("conv2", first, channels));
  const joined = build.node("Relu", [build.node("Add", [second, first], {}, "skip")], {}, "relu2");
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [joined], {}, "pool")], { axis: 1 }, "flatten");
  const logits = build.node(
    "Gemm",
    [
      pooled,
      build.constant(normal([tinyClasses, channels], 0.5), "linear.weight"),
      build.constant(normal([tinyClasses], 0.1), "linear.bias"),
    ],
    { transB: 1 },
    "logits",
  );
  return build.graph([logits], "tiny");
}

export const tinyOrigin: OnnxModel["origin"] = {
  opset: 13,
  irVersion: 7,
  producerName: "frostbit-test",
  producerVersion: "1",
  domain: "",
  modelVersion: 1n,
  docString: "",
  metadata: new Map([["kept", "yes"]]),
};

/** Quantizers at the sites that `options` choose, all activations ranging from −3 to 3; `change` may change their qparams. */
export function quantizeTiny(
  graph: Graph,
  options: Partial<QuantizeOptions> = {},
  change: (qparams: Qparams, site: Site) => Qparams = (qparams) => qparams,
): Graph {
  const sites = findSites(graph, quantizeOptions.parse({ placement: "inputs", ...options }));
  const qparams = new Map<string, Qparams>();
  for (const site of sites.weights) {
    const weight = graph.constants.get(site.value);
    if (weight) qparams.set(site.name, weightQparams(weight, site, "min-max"));
  }
  for (const site of sites.activations)
    qparams.set(
      site.name,
      asymmetricQparams({ min: -3, max: 3 }, site.bits, graph.values.get(site.value)?.dtype ?? "float32", site.value),
    );
  for (const site of [...sites.weights, ...sites.activations]) {
    const found = qparams.get(site.name);
    if (found) qparams.set(site.name, change(found, site));
  }
  return insertQuantizers(graph, sites, qparams);
}

export function tinyBatch(dtype: DType, size: number, seed = 7): { images: Tensor; labels: Tensor } {
  const random = createRandom(seed);
  const labels = Array.from({ length: size }, () => Math.floor(random.uniform() * tinyClasses));
  const images = labels.flatMap((label) =>
    Array.from({ length: 3 * tinySize * tinySize }, (_, i) => random.normal() + (i % tinyClasses === label ? 1 : 0)),
  );
  return { images: tensorOf(dtype, [size, 3, tinySize, tinySize], images), labels: tensorOf("int64", [size], labels) };
}

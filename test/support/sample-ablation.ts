// A made-up ablation of three axes.
import type { Ablation, AblationCell, AblationSetting } from "../../src/report/ablation.ts";

const cell = (name: string, seed: number, value: number): AblationCell => ({
  seed,
  folder: `units/${name}-${seed}`,
  status: "done",
  value,
  sizeBytes: 166_400,
  latencyMs: 1.7,
  seconds: 31,
  usable: true,
  error: null,
});

const setting = (changes: AblationSetting["changes"], mean: number): AblationSetting => {
  const [[path, value] = ["base", ""]] = Object.entries(changes);
  const name = path === "base" ? "base" : `${path}=${String(value)}`;
  return {
    name,
    changes,
    isBase: name === "base",
    cells: [0, 1].map((seed) => cell(name, seed, mean + seed / 5 - 0.1)),
    result: { mean, deviation: 0.14, seeds: 2 },
    difference: name === "base" ? null : { mean: mean - 90.9, deviation: 0.05, seeds: 2 },
  };
};

export const sampleAblation = (): Ablation => ({
  format: "frostbit-ablation-1",
  title: "resnet20.onnx: ablation of <recipe>.yaml",
  createdAt: "2026-01-02T03:04:05Z",
  model: "resnet20.onnx",
  data: "cifar10 train",
  engine: "native",
  versions: { frostbit: "0.1.0" },
  design: "one-at-a-time",
  axes: [
    { path: "qdrop.drop", values: [0, 0.25] },
    { path: "qdrop.unit", values: ["layer", "network"] },
    { path: "quantize.weights", values: [3] },
  ],
  seeds: [0, 1],
  measure: { name: "top-1", unit: "%", better: "more", float: 91.73, samples: 10_000 },
  settings: [
    setting({}, 90.9),
    setting({ "qdrop.drop": 0 }, 90.4),
    setting({ "qdrop.drop": 0.25 }, 90.8),
    setting({ "qdrop.unit": "layer" }, 90.2),
    setting({ "qdrop.unit": "network" }, 89.9),
    setting({ "quantize.weights": 3 }, 87.1),
  ],
});

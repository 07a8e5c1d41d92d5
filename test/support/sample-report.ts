// A made-up report, as large as one of ResNet-20.
import type { HistogramReport, LayerReport, Report } from "../../src/report/report.ts";

type Bounds = Readonly<Record<"low" | "high", number>>;

const sampleHistogram = (min: number, max: number, widest: Bounds, narrowest: Bounds): HistogramReport => ({
  min,
  max,
  counts: Array.from({ length: 48 }, (_, bin) => Math.round(5000 * Math.exp(-(((bin - 20) / 8) ** 2)))),
  range: { widest, narrowest, clipped: 0.0123 },
});

/** What labels that are classes measured, of ten samples. */
export const sampleClasses: NonNullable<Report["metrics"][string]> = {
  labels: "classes",
  samples: 10,
  classes: 10,
  top1: 1,
  loss: 1,
  meanIou: null,
  rmse: null,
  mae: null,
  differentLabels: 10,
};

const sampleLayer = (i: number): LayerReport => {
  const channels = 16 * 2 ** Math.floor(i / 7);
  const trained = i % 3;
  return {
    name: `/layer${Math.floor(i / 7) + 1}/layer${Math.floor(i / 7) + 1}.${i % 7}/conv${(i % 2) + 1}/Conv`,
    node: `Conv_${i}`,
    op: "Conv",
    weightShape: [channels, channels, 3, 3],
    weightBits: 4,
    activationBits: 8,
    sqnrDb: 28 - i / 2,
    sensitivityDb: 40 - 8 * Math.abs(Math.sin(i)),
    maxSteps: i % 2,
    weightHistogram: sampleHistogram(-0.4, 0.5, { low: -0.5, high: 0.5 }, { low: -0.1, high: 0.1 }),
    inputHistogram: sampleHistogram(0, 3 + i, { low: 0, high: 2.5 + i }, { low: 0, high: 2.5 + i }),
    awayFromNearest: { count: 10 * i, all: channels * channels * 9 },
    importance: Array.from({ length: channels }, (_, channel) => 0.02 + 0.01 * Math.abs(Math.sin(channel * (i + 1)))),
    channelsTrained: Array.from({ length: channels }, (_, channel) => (channel < trained ? 0.75 : 0)),
    blocks: { trained, all: channels },
    weights: { trained: trained * channels * 9, all: channels * channels * 9 },
  };
};

const sampleUnits = (): Report["units"] =>
  Array.from({ length: 10 }, (_, i) => ({
    name: `layer${i}`,
    phase: 1,
    before: 0.01 * (i + 2),
    after: i === 3 ? 0.06 : 0.006 * (i + 2),
    kept: i === 3 ? "before" : "trained",
    undecided: 0.01,
  }));

const bits = [2, 3, 4, 5, 6, 8];

/** Layer i of four loses 2^(−2 b) (i + 1) at b bits. */
const sampleWidths = (): Report["widths"] => ({
  budget: { unit: "bits", most: 4 },
  layers: [8, 5, 3, 2, 8].map((width, i) => ({
    names: [i === 4 ? "/fc/Gemm" : `/layer${i}/conv/Conv`],
    weights: 1000 * (i + 1),
    bits: width,
    isGiven: i === 4,
  })),
  sensitivities: [
    {
      by: "divergence",
      losses: [0, 1, 2, 3].map((i) => Object.fromEntries(bits.map((b) => [b, 2 ** (-2 * b) * (i + 1)]))),
    },
  ],
  plans: [
    { by: "divergence", bits: [8, 5, 3, 2], amount: 3.9, divergence: 0.05 },
    { by: "uniform", bits: [4, 4, 4, 4], amount: 4, divergence: 0.06 },
  ],
  front: Array.from({ length: 30 }, (_, i) => ({ amount: 2 + i / 5, loss: 0.5 * 4 ** (-i / 5) })),
  uniform: bits.map((b) => ({ bits: b, amount: b, loss: 10 * 2 ** (-2 * b) })),
});

const sampleLadder = (): Report["ladder"] => ({
  validation: { name: "cifar10 train (held out)", samples: 5_000 },
  isReached: true,
  rungs: [
    { bits: 8, mean: 0.02, isChosen: false, outcome: "tried" as const },
    { bits: 4, mean: 0.31, isChosen: true, outcome: "tried" as const },
    { bits: 3, mean: 1.24, isChosen: false, outcome: "tried" as const },
    { bits: 2, mean: 0, isChosen: false, outcome: "left out" as const },
  ].map(({ bits, mean, isChosen, outcome }) => ({
    name: `weights of ${bits} bits, adaround`,
    flags: `--method ptq,adaround --weights ${bits}`,
    outcome,
    isChosen,
    predictedSeconds: 20,
    drop: outcome === "tried" ? { what: "accuracy", mean, error: 0.1 } : null,
    sizeBytes: outcome === "tried" ? 38_000 * bits : null,
    latency: null,
    seconds: outcome === "tried" ? 17 : null,
    why: outcome === "tried" ? null : "the time given would not suffice",
  })),
});

export const sampleReport = (): Report => ({
  format: "frostbit-report-2",
  title: "resnet20.onnx, W4A8",
  createdAt: "2026-01-02T03:04:05Z",
  input: { path: "resnet20.onnx", sha256: "a".repeat(64), sizeBytes: 1_092_000, externalData: [] },
  output: { path: "out/model.onnx", sha256: "b".repeat(64), sizeBytes: 183_000 },
  files: [{ name: "model.onnx", sha256: "b".repeat(64), sizeBytes: 183_000 }],
  engine: "onnxruntime",
  precision: "float32",
  options: { weights: 4, layers: {} },
  methods: [
    { method: "ptq", options: {} },
    { method: "efqat", options: { mode: "cwpn", updateRatio: 0.05, augment: ["crop", "flip"] } },
  ],
  stages: ["float", "ptq", "trained", "quantized", "deployed"],
  seed: 0,
  versions: { frostbit: "0.1.0", node: "20.0.0", "onnxruntime-node": "1.30.0" },
  machine: { platform: "linux x64", processor: "A processor", threads: 2 },
  distributed: null,
  data: { name: "cifar10 train", trainSamples: 50_000, testSamples: 10_000, heldOut: false, digest: null },
  top1: { float: 91.73, ptq: 90.07, trained: 91.01, quantized: 91.0, deployed: 90.98 },
  metrics: {},
  fidelity: null,
  outputs: [],
  losses: [],
  sizeBytes: { float: 1_092_000, quantized: 183_000 },
  bitsPerWeight: null,
  latencyMs: { float: { batch1: 0.91, batch256: 151 }, deployed: { batch1: 0.72, batch256: 94 } },
  training: {
    steps: 391,
    samples: 50_000,
    lossCurve: Array.from({ length: 391 }, (_, i) => ({
      step: i + 1,
      samples: (i + 1) * 128,
      loss: 0.3 + 0.5 * Math.exp(-i / 80) + 0.05 * Math.sin(i * 1.7),
      learningRate: 1e-3,
    })),
    trial: [],
    blocks: { trained: 34, all: 688 },
    weights: { trained: 2_600, all: 268_336 },
  },
  units: sampleUnits(),
  widths: sampleWidths(),
  ladder: sampleLadder(),
  sensitivitySamples: 64,
  layers: Array.from({ length: 20 }, (_, i) => sampleLayer(i)),
  verification: {
    samples: 256,
    layerSamples: 64,
    foldingSqnrDb: 52.1,
    sqnrDb: 41.2,
    argmaxAgreement: 0.996,
    outputs: [{ name: "logits", sqnrDb: 41.2, leastChannelDb: 38.5, agreement: 0.996 }],
    maxSteps: 1,
    thresholds: { foldingSqnrDb: 15, sqnrDb: 25, argmaxAgreement: 0.98, maxSteps: 1 },
  },
  seconds: { total: 312, calibration: 4.5, training: 270, evaluation: 37.5 },
  peakMemoryMb: 1210,
  notes: [],
});

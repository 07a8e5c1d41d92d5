// What a run leaves in report.json; the page is made of nothing else.
import { z } from "zod";
import { stages } from "../evaluate/stages.ts";

const seconds = z.number().min(0);
const count = z.int().min(0);
/** Per cent of the whole test split. */
const percent = z.number().min(0).max(100).nullable();
/** Decibels; `null` where nothing differs, an infinite ratio; −1000 where the reference is 0 throughout or an element is NaN. */
const decibels = z.number().nullable();

const file = z.object({
  path: z.string(),
  sha256: z.string().describe("Of the file's bytes, in hexadecimal digits."),
  sizeBytes: count,
});

const latency = z.object({
  batch1: z.number().min(0).describe("Milliseconds for one sample, median."),
  batch256: z
    .number()
    .min(0)
    .nullable()
    .describe("Milliseconds for a batch of 256, median; null: so many samples take too long to be run at once."),
});

const share = z.object({ trained: count.describe("That trained at least once."), all: count });

const accuracy = percent.describe(
  "Per cent of the test samples; null: the run has no such stage, it was not measured, or there are no labels. The glossary tells the stages apart.",
);

const bounds = z.object({ low: z.number(), high: z.number() });

const histogramSchema = z.object({
  min: z.number().describe("The least of the values."),
  max: z.number().describe("The largest."),
  counts: z.array(count).describe("In bins of the same width from min to max."),
  range: z
    .object({
      widest: bounds.describe("Of the channel whose range is the widest."),
      narrowest: bounds,
      clipped: z.number().min(0).max(1).describe("Share of the values outside their channel's range."),
    })
    .nullable()
    .describe("What the quantizer can represent; null: float."),
});

const layer = z.object({
  name: z.string().describe("What `--layers` calls it."),
  node: z.string().default("").describe("The name of its node in the model."),
  op: z.string().describe("ONNX's operator type."),
  weightShape: z.array(count),
  weightBits: z.number().nullable().describe("null: float"),
  activationBits: z.number().nullable().describe("null: float"),
  sqnrDb: decibels.describe(
    "dB; null: equal, or not quantized; -1000: the float model's is 0, or an element is NaN. The layer's output in the quantized model against the float model.",
  ),
  sensitivityDb: decibels.describe(
    "dB; null: equal. The model's first output, or its logits, where this layer alone is quantized, against where none is.",
  ),
  maxSteps: z
    .number()
    .nullable()
    .describe(
      "Largest difference to the folded graph given the same input, in steps of the quantizer; null: not compared.",
    ),
  weightHistogram: histogramSchema.nullable().describe("As trained."),
  inputHistogram: histogramSchema.nullable().describe("What enters the layer, before it is quantized."),
  importance: z.array(z.number()).describe("Mean magnitude of each output channel's weights."),
  channelsTrained: z.array(z.number().min(0).max(1)).describe("Share of the steps in which each channel trained."),
  awayFromNearest: z
    .object({ count, all: count })
    .nullable()
    .default(null)
    .describe("Weights that have another integer than rounding to nearest gives; null: no method rounded them."),
  blocks: share.describe("What competes as one: channels, or layers where lwpn alone trained."),
  weights: share.describe("Single weights."),
});

const output = z.object({
  name: z.string(),
  sqnrDb: decibels.describe("dB; null: equal."),
  leastChannelDb: decibels.describe("dB; null: equal, or no floats. Of the channel with the least."),
  agreement: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .describe("Share of the samples with the same class, or of whole numbers that are equal; null: neither kind."),
});

const figure = z.number().nullable();

const metrics = z.object({
  labels: z
    .enum(["classes", "binary", "values", "metric"])
    .describe(
      "What the labels are: class indices, 0 or 1 for a single score, what the output should be, or what a metric of one's own reads.",
    ),
  samples: count,
  classes: count.nullable().describe("How many the model tells apart."),
  top1: percent.describe("Accuracy in per cent: of the samples, or of all positions where each has its label."),
  loss: figure.describe("Cross-entropy, the mean of −ln p(label)."),
  meanIou: percent.describe(
    "Where each position has its label: intersection over union in per cent, the mean over the classes that occur.",
  ),
  rmse: figure.describe("Root of the mean squared error, in the labels' unit."),
  mae: figure.describe("Mean absolute error, in the labels' unit."),
  differentLabels: count.nullable().describe("How many different class indices there are."),
  metric: z
    .object({ name: z.string(), value: figure, higherIsBetter: z.boolean() })
    .exactOptional()
    .describe("A metric of one's own, which then is all that is measured."),
});

const lossPoint = z.object({
  step: count,
  samples: count.describe("Seen until after this step, in all methods together."),
  loss: z.number().describe("Of this step."),
  learningRate: z.number().describe("Of weights, biases and norms, in this step."),
});

const unit = z.object({
  name: z.string(),
  phase: count.describe("From 1: BRECQ trains units twice."),
  before: z.number().nullable().describe("Noise to signal of its outputs on samples held out, before it trained."),
  after: z.number().nullable().describe("And after."),
  kept: z.enum(["trained", "before"]).describe("before: training made it worse, so that it stayed as it was."),
  undecided: z.number().min(0).max(1).describe("Share of its weights that were neither up nor down in the end."),
});

const amount = z.number().describe("In the budget's unit.");

const widths = z.object({
  budget: z.object({
    unit: z.enum(["bits", "bytes", "ms", "bops"]).describe("bits: of a weight, in the mean. bops: bit operations."),
    most: z.number(),
  }),
  layers: z
    .array(
      z.object({
        names: z.array(z.string()).describe("Several where they share a weight."),
        weights: count,
        bits: count,
        isGiven: z.boolean().describe("Whether `layers` or `firstLast` said them."),
      }),
    )
    .describe("Those that are chosen first."),
  sensitivities: z
    .array(
      z.object({
        by: z.string(),
        losses: z.array(z.record(z.string(), z.number())).describe("Of each layer that is chosen, by its bits."),
      }),
    )
    .describe("What each layer's weight loses at each width."),
  plans: z
    .array(z.object({ by: z.string(), bits: z.array(count), amount, divergence: z.number() }))
    .describe("Those that were tried with all layers at their bits; the first was chosen."),
  front: z
    .array(z.object({ amount, loss: z.number() }))
    .describe("By the first sensitivity, the least loss that is predicted within an amount."),
  uniform: z
    .array(z.object({ bits: count, amount, loss: z.number() }))
    .describe("The same bits for all layers that are chosen, and the loss that is predicted of it."),
});

const ladder = z.object({
  validation: z
    .object({ name: z.string(), samples: count })
    .describe("What choices were made on, held out of the training data; the test data decided nothing."),
  isReached: z.boolean().describe("Whether the chosen file keeps what the goal says, on these samples."),
  rungs: z
    .array(
      z.object({
        name: z.string(),
        flags: z.string().describe("What `quantize` is told for this rung alone."),
        outcome: z.enum(["tried", "left out", "failed"]),
        isChosen: z.boolean(),
        predictedSeconds: seconds.describe("Before it was tried, from the float model's speed."),
        drop: z
          .object({
            what: z.enum(["accuracy", "mean IoU", "RMSE", "noise", "metric"]),
            mean: z.number(),
            error: z.number().min(0).describe("Standard error of the mean."),
          })
          .nullable()
          .describe(
            "Lost against the float model: points, the unit of a metric of one's own, per cent of the RMSE, or noise in per cent of the outputs' energy; null: not tried, or not a number.",
          ),
        sizeBytes: count.nullable(),
        latency: z
          .number()
          .min(0)
          .nullable()
          .default(null)
          .describe(
            "Of the float model's time in ONNX Runtime, one sample or many, whichever is more; null: nothing depended on it.",
          ),
        seconds: seconds.nullable(),
        why: z.string().nullable().describe("Why it was left out or failed."),
      }),
    )
    .describe("In the order in which they came."),
});

const schema = z.object({
  format: z.literal("frostbit-report-2"),
  title: z.string(),
  createdAt: z.iso.datetime().describe("UTC, ISO 8601."),
  input: file
    .extend({
      externalData: z.array(file).describe("Files beside it that hold its tensors, by their path from there."),
    })
    .describe("The model as given."),
  output: file.describe("The model written."),
  files: z
    .array(z.object({ name: z.string(), sha256: file.shape.sha256, sizeBytes: count }))
    .describe("What else was written beside this report, except for the page: `frostbit verify-run` compares them."),
  engine: z.string().describe("What calibrated, trained and evaluated."),
  precision: z.string().describe("How training steps were computed."),
  options: z.record(z.string(), z.unknown()).describe("Of quantization and of the run as a whole, defaults filled in."),
  methods: z
    .array(
      z.object({
        method: z.string(),
        options: z.record(z.string(), z.unknown()).describe("Of this method, defaults filled in."),
      }),
    )
    .describe("In the order in which they ran."),
  stages: z.array(z.enum(stages)).describe("Those that the run has."),
  seed: z.int(),
  versions: z
    .record(z.string(), z.string())
    .describe("Of Frostbit, Node, ONNX Runtime, and oneDNN where the native engine ran."),
  machine: z.object({ platform: z.string(), processor: z.string(), threads: count }).describe("Where it ran."),
  distributed: z
    .object({
      processes: count.describe("That computed the run together."),
      sums: count.describe("Steps in which they summed what their parts of the batch gave."),
      summedBytes: count.describe("Of those sums: gradients of what trained, statistics, and the loss."),
      sentBytes: count.describe("By the first process, for those sums."),
      messages: count.describe("By the first process, for those sums."),
    })
    .nullable()
    .default(null)
    .describe("What several processes shared; null: there was one."),
  data: z.object({
    name: z.string(),
    trainSamples: count.describe("Used, after `limit`."),
    testSamples: count.describe("Used, after `limit`."),
    heldOut: z.boolean().describe("Whether the test samples were taken from the training data."),
    digest: z
      .object({ train: z.string(), test: z.string() })
      .nullable()
      .describe("Of every sample that the run may read; null: nothing trained, so that not all of them were read."),
  }),
  top1: z.object({ float: accuracy, ptq: accuracy, trained: accuracy, quantized: accuracy, deployed: accuracy }),
  metrics: z
    .record(z.string(), metrics)
    .default({})
    .describe(
      "By stage, as in top1: what the output is worth against the labels; null: no such figure for such labels.",
    ),
  fidelity: z
    .record(z.string(), z.array(output))
    .nullable()
    .describe(
      "By stage, as in top1: each output against the float model's, over the test samples; null where top1 was measured.",
    ),
  outputs: z
    .array(output)
    .describe("Each output of the exported file against the float model's, but class scores that labels judge."),
  losses: z
    .array(z.string())
    .describe("What quantization cost so much of that the file is not of use, in sentences; empty: it is of use."),
  sizeBytes: z.object({ float: count, quantized: count }).describe("Of the files."),
  bitsPerWeight: z
    .number()
    .nullable()
    .describe(
      "Of weights in groups, what the file holds of each, its part of scales and zero points included; null where there are none.",
    ),
  latencyMs: z.object({ float: latency, deployed: latency }).describe("In ONNX Runtime, one after the other."),
  training: z.object({
    steps: count.describe("Of all methods together."),
    samples: count.describe("Seen in all steps, each as often as it was seen."),
    lossCurve: z.array(lossPoint).describe("Every step."),
    trial: z
      .array(z.object({ learningRate: z.number(), loss: z.number().nullable() }))
      .default([])
      .describe("Learning rates that were tried first, with their losses on samples held out; null: it diverged."),
    blocks: share.describe("Over all layers."),
    weights: share.describe("Over all layers."),
  }),
  layers: z.array(layer).describe("Conv, ConvTranspose, Gemm and MatMul with a constant weight, in the model's order."),
  units: z.array(unit).default([]).describe("That were reconstructed, in the order in which they trained."),
  widths: widths.nullable().default(null).describe("What mixed precision chose from; null: it was not asked for."),
  ladder: ladder.nullable().default(null).describe("What was tried for a goal; null: the methods were named."),
  sensitivitySamples: count.describe("Test samples that sensitivities and histograms of inputs were measured on."),
  verification: z
    .object({
      samples: count,
      layerSamples: count.describe("How many of them went through each layer."),
      foldingSqnrDb: decibels.describe("dB; null: equal. The folded graph's outputs against the trained graph's."),
      sqnrDb: decibels.describe("dB; null: equal. The exported file's outputs against the folded graph's: the worst."),
      argmaxAgreement: z.number().min(0).max(1).nullable().describe("Of the class scores; null: the model has none."),
      outputs: z.array(output).describe("Each output of the exported file."),
      maxSteps: z.number().min(0).describe("The largest of all layers'."),
      thresholds: z
        .object({
          foldingSqnrDb: z.number(),
          sqnrDb: z.number(),
          argmaxAgreement: z.number(),
          maxSteps: z.number(),
        })
        .describe("What must be reached, or the run fails."),
    })
    .nullable()
    .describe("null: nothing was quantized."),
  seconds: z.object({ total: seconds, calibration: seconds, training: seconds, evaluation: seconds }),
  peakMemoryMb: z.number().min(0),
  notes: z.array(z.string()).describe("What a reader must know, in sentences."),
});

/** What a run leaves in `report.json`; `docs/report.md` explains each field. */
export type Report = z.infer<typeof schema>;

/** The zod schema of `report.json`; `docs/report.md` explains each field. `reportSchema.parse(JSON.parse(text))` reads one. */
export const reportSchema: z.ZodType<Report> = schema;

export type MetricsReport = z.infer<typeof metrics>;
export type OutputReport = z.infer<typeof output>;
export type HistogramReport = z.infer<typeof histogramSchema>;
export type UnitReport = Report["units"][number];
export type LadderReport = NonNullable<Report["ladder"]>;
export type WidthsReport = NonNullable<Report["widths"]>;
export type LayerReport = Report["layers"][number];

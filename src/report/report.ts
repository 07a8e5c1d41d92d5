// What a run leaves in report.json; the page is made of nothing else.
import { z } from "zod";

const seconds = z.number().min(0);
const count = z.int().min(0);
/** Per cent of the whole test split, `null` where it was not measured or there are no labels. */
const percent = z.number().min(0).max(100).nullable();
/** Decibels; `null` where nothing differs, an infinite ratio. */
const decibels = z.number().nullable();

const file = z.object({ path: z.string(), sha256: z.string(), sizeBytes: count });

const latency = z.object({
  batch1: z.number().min(0).describe("Milliseconds for one sample, median."),
  batch256: z.number().min(0).describe("Milliseconds for a batch of 256, median."),
});

const share = z.object({ trained: count.describe("That trained at least once."), all: count });

const bounds = z.object({ low: z.number(), high: z.number() });

export const histogramSchema = z.object({
  min: z.number(),
  max: z.number(),
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
  name: z.string(),
  op: z.string(),
  weightShape: z.array(count),
  weightBits: z.number().nullable().describe("null: float"),
  activationBits: z.number().nullable().describe("null: float"),
  sqnrDb: decibels.describe("The layer's output in the quantized model against the float model."),
  sensitivityDb: decibels.describe(
    "The model's first output, or its logits, where this layer alone is quantized, against where none is.",
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
  blocks: share,
  weights: share,
});

const output = z.object({
  name: z.string(),
  sqnrDb: decibels,
  agreement: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .describe("Share of the samples with the same class, or of whole numbers that are equal; null: neither kind."),
});

const lossPoint = z.object({
  step: count,
  samples: count,
  loss: z.number(),
  learningRate: z.number(),
});

export const reportSchema = z.object({
  format: z.literal("frostbit-report-1"),
  title: z.string(),
  createdAt: z.iso.datetime(),
  input: file,
  output: file,
  method: z.string(),
  engine: z.string(),
  precision: z.string().describe("How training steps were computed."),
  options: z.record(z.string(), z.unknown()).describe("All options, defaults filled in."),
  seed: z.int(),
  versions: z.record(z.string(), z.string()),
  machine: z.object({ platform: z.string(), processor: z.string(), threads: count }),
  data: z.object({
    name: z.string(),
    trainSamples: count,
    testSamples: count,
    heldOut: z.boolean().describe("Whether the test samples were taken from the training data."),
  }),
  top1: z.object({ float: percent, ptq: percent, trained: percent, quantized: percent, deployed: percent }),
  fidelity: z
    .record(z.string(), z.array(output))
    .nullable()
    .describe(
      "By stage, as in top1: each output against the float model's, over the test samples; null where top1 was measured.",
    ),
  sizeBytes: z.object({ float: count, quantized: count }),
  latencyMs: z.object({ float: latency, deployed: latency }),
  training: z.object({
    steps: count,
    samples: count,
    lossCurve: z.array(lossPoint),
    blocks: share,
    weights: share,
  }),
  layers: z.array(layer),
  sensitivitySamples: count.describe("Test samples that sensitivities and histograms of inputs were measured on."),
  verification: z
    .object({
      samples: count,
      foldingSqnrDb: decibels.describe("The folded graph's outputs against the trained graph's."),
      sqnrDb: decibels.describe("The exported file's outputs against the folded graph's: the worst."),
      argmaxAgreement: z.number().min(0).max(1).nullable().describe("Of the class scores; null: the model has none."),
      outputs: z.array(output),
      maxSteps: z.number().min(0),
      thresholds: z.object({
        foldingSqnrDb: z.number(),
        sqnrDb: z.number(),
        argmaxAgreement: z.number(),
        maxSteps: z.number(),
      }),
    })
    .nullable()
    .describe("null: nothing was quantized."),
  seconds: z.object({ total: seconds, calibration: seconds, training: seconds, evaluation: seconds }),
  peakMemoryMb: z.number().min(0),
  notes: z.array(z.string()).describe("What a reader must know, in sentences."),
});

export type Report = z.infer<typeof reportSchema>;
export type OutputReport = z.infer<typeof output>;
export type HistogramReport = z.infer<typeof histogramSchema>;
export type LayerReport = Report["layers"][number];

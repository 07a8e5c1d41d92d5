// What a sweep leaves in sweep.json; its page is made of nothing else.
import { z } from "zod";
import { cellSchema, plannedFields, spreadSchema } from "./ablation.ts";

const count = z.int().min(0);
const figure = z.number().nullable();

const unit = z.object({
  ...cellSchema.shape,
  index: count.describe("What `frostbit unit --index` computes."),
  id: z.string().describe("Digest of model, data, options, seed and versions."),
});

const setting = z.object({
  model: z.string(),
  name: z.string(),
  changes: z
    .record(z.string(), z.unknown())
    .describe("By path of an option, what differs from the recipe; null: not given."),
  units: z.array(unit).describe("One for each seed."),
  result: spreadSchema.nullable().describe("Of the measure over the units that are done; null: of none."),
  sizeBytes: figure.describe("Mean of the written models."),
  latencyMs: figure.describe("Mean of the written models, for one sample in ONNX Runtime."),
  fronts: z
    .array(z.enum(["size", "latency", "all"]))
    .describe("Pareto fronts that it is on: of the measure and the size, the measure and the latency, all three."),
});

export const sweepSchema = z.object({
  format: z.literal("frostbit-sweep-1"),
  title: z.string(),
  createdAt: z.string(),
  data: z.string(),
  ...plannedFields,
  models: z.array(z.object({ path: z.string(), float: figure.describe("The measure of the float model.") })),
  settings: z.array(setting).describe("By model, in the order of the recipe."),
});

/** What a sweep leaves in `sweep.json`. */
export type Sweep = z.infer<typeof sweepSchema>;
export type SweepSetting = Sweep["settings"][number];
export type SweepUnit = SweepSetting["units"][number];

// What an ablation leaves in ablation.json; its page is made of nothing else.
import { z } from "zod";

const count = z.int().min(0);
const figure = z.number().nullable();

export const spreadSchema = z.object({
  mean: z.number(),
  deviation: figure.describe("Of the sample; null: of one seed."),
  seeds: count.describe("How many of them."),
});

export const cellSchema = z.object({
  seed: count,
  folder: z
    .string()
    .describe("With the cell's report, model and recipe, as `quantize` writes them; from the ablation's folder."),
  status: z.enum(["done", "failed", "not run"]),
  value: figure.describe("The measure; null: none, or an infinite ratio."),
  sizeBytes: figure.describe("Of the written model."),
  latencyMs: figure.describe("Of the written model for one sample, in ONNX Runtime."),
  seconds: figure.describe("The run took."),
  usable: z.boolean().nullable().describe("false: it lost so much that it is not of use."),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
});

const setting = z.object({
  name: z.string(),
  changes: z
    .record(z.string(), z.unknown())
    .describe("By path of an option, what differs from the recipe; null: not given."),
  isBase: z.boolean().describe("The recipe itself."),
  cells: z.array(cellSchema).describe("One for each seed."),
  result: spreadSchema.nullable().describe("Of the measure over the cells that are done; null: of none."),
  difference: spreadSchema
    .nullable()
    .describe("To the base, of the seeds that are done in both; null: none, or the base itself."),
});

/** What was planned, and what its runs are compared by. */
export const plannedFields = {
  versions: z.record(z.string(), z.string()),
  design: z.enum(["one-at-a-time", "grid"]),
  axes: z.array(z.object({ path: z.string(), values: z.array(z.unknown()) })),
  seeds: z.array(count),
  measure: z
    .object({
      name: z.string().describe('As "top-1".'),
      unit: z.enum(["%", "dB", ""]),
      better: z.enum(["more", "less"]),
      float: figure.describe("Of the float model; null: it is what the others are compared with."),
      samples: count.describe("Test samples."),
    })
    .nullable()
    .describe("What the settings are compared by, of the written model in ONNX Runtime; null: no cell is done."),
};

const schema = z.object({
  format: z.literal("frostbit-ablation-1"),
  title: z.string(),
  createdAt: z.string(),
  model: z.string(),
  data: z.string(),
  engine: z.string(),
  ...plannedFields,
  settings: z.array(setting).describe("The base first."),
});

/** What an ablation leaves in `ablation.json`. */
export type Ablation = z.infer<typeof schema>;

/** The zod schema of `ablation.json`. */
export const ablationSchema: z.ZodType<Ablation> = schema;

export type AblationSetting = Ablation["settings"][number];
export type AblationCell = AblationSetting["cells"][number];
export type Spread = z.infer<typeof spreadSchema>;

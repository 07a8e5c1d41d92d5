// Options of commands that read data, and what they open.
import { z } from "zod";
import { type Dataset, limit } from "../data/dataset.ts";
import { type Preprocess, type PreprocessPreset, preprocessPresets, resolvePreprocess } from "../data/preprocess.ts";
import { openTestData } from "../node/open-data.ts";

export const preprocessOptions = z.object({
  preprocess: z
    .enum(Object.keys(preprocessPresets) as [PreprocessPreset, ...PreprocessPreset[]])
    .default("none")
    .describe("What the model was trained on: (x · scale - mean) / std."),
  scale: z.number().optional().describe("Multiplies stored values, instead of the preset's: 1/255."),
  mean: z.array(z.number()).optional().describe("One value, or one per channel, instead of the preset's."),
  std: z.array(z.number()).optional().describe("One value, or one per channel, instead of the preset's."),
  layout: z
    .enum(["nchw", "nhwc"])
    .optional()
    .describe("The layout that the model wants, instead of the preset's nchw."),
});

export const testDataOptions = z.object({
  data: z
    .string()
    .describe('"cifar10:DIR", "npy:INPUTS,LABELS" or "module:./file.js"; the test split where there is one.'),
  ...preprocessOptions.shape,
  limit: z.int().positive().optional().describe("Use the first so many samples."),
});

export function preprocessFrom(options: z.infer<typeof preprocessOptions>): Preprocess {
  const { preprocess, scale, mean, std, layout } = options;
  return resolvePreprocess(preprocess, {
    ...(scale !== undefined && { scale }),
    ...(mean && { mean }),
    ...(std && { std }),
    ...(layout && { layout }),
  });
}

export async function openDataset(options: z.infer<typeof testDataOptions>): Promise<Dataset> {
  const dataset = await openTestData(options.data);
  return options.limit === undefined ? dataset : limit(dataset, options.limit);
}

// Options of commands that read data, and what they open.
import { z } from "zod";
import { type Dataset, limit, type Source } from "../data/dataset.ts";
import type { ImageOptions, Size } from "../data/image-size.ts";
import { choosePictures } from "../data/pictures.ts";
import {
  isNeutral,
  type Preprocess,
  type PreprocessPreset,
  preprocessPresets,
  resolvePreprocess,
} from "../data/preprocess.ts";
import type { Dim, Graph, ValueType } from "../ir/graph.ts";
import { dataKinds, openData, openTestData } from "../node/open-data.ts";
import { metricKinds } from "../node/open-metric.ts";
import type { SentenceOptions } from "../node/open-sentences.ts";
import { flagOf } from "../options/flag-of.ts";
import type { Values } from "./command.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";

const size = z.string().regex(/^[1-9]\d*(x[1-9]\d*)?$/, "expected pixels: 224, or HEIGHTxWIDTH as in 240x320");

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
  channels: z
    .enum(["rgb", "bgr"])
    .optional()
    .describe("The order of the colours that the model wants, which --mean and --std are in, instead of rgb."),
  preprocessInputs: z
    .array(z.string())
    .optional()
    .describe(
      "Names of the inputs that are pictures; else those of bytes, or the only one of floats, with three axes.",
    ),
});

export const imageOptions = z.object({
  resize: size
    .optional()
    .describe(
      "Of images:DIR: the shorter side in pixels, or HEIGHTxWIDTH to stretch to; else what --crop just fits in.",
    ),
  crop: size
    .optional()
    .describe("Of images:DIR: cut from the middle, 224 or HEIGHTxWIDTH; else the size that the model takes."),
});

export const metricOption = z.object({
  metric: z
    .string()
    .optional()
    .describe(`What the outputs are worth, instead of what the labels choose: ${metricKinds}.`),
});

const sentenceOptions = z.object({
  tokenizer: z.string().optional().describe("Of text:FILE.tsv: folder with the model's tokenizer.json."),
});

/** Of commands that train and test. */
export const sourceOptions = z.object({
  data: z.string().describe(`Training data, with its test split: ${dataKinds}.`),
  testData: z
    .string()
    .optional()
    .describe("Test data, named the same way, where --data has no test split; else a seeded tenth is held out."),
  ...sentenceOptions.shape,
});

export const testDataOptions = z.object({
  data: z.string().describe(`${dataKinds}; the test split where there is one.`),
  ...preprocessOptions.shape,
  ...imageOptions.shape,
  ...sentenceOptions.shape,
  limit: z.int().positive().optional().describe("Use only the first N samples."),
});

export function preprocessFrom(options: z.infer<typeof preprocessOptions>): Preprocess {
  const { preprocess, scale, mean, std, layout, channels } = options;
  return resolvePreprocess(preprocess, {
    ...(scale !== undefined && { scale }),
    ...(mean && { mean }),
    ...(std && { std }),
    ...(layout && { layout }),
    ...(channels && { channels }),
  });
}

function parseSize(text: string): Size {
  const [height, width = height] = text.split("x").map(Number);
  return [height, width];
}

const channelCounts: readonly Dim[] = [1, 3, 4];

interface ModelImages {
  readonly crop?: Size;
  readonly channels?: 1 | 3;
}

/** What the model's first input of rank 4 wants: channels first, unless only its last axis can be one of channels. */
function imagesOf(inputs: ReadonlyMap<string, ValueType>): ModelImages {
  const shape = [...inputs.values()].find((input) => input.shape.length === 4)?.shape;
  if (!shape) return {};
  const isLast = channelCounts.includes(shape[3]) && !channelCounts.includes(shape[1]);
  const [channels, height, width] = isLast ? [shape[3], shape[1], shape[2]] : shape.slice(1);
  const isKnown = (value: Dim): value is number => typeof value === "number" && value > 0;
  return {
    channels: channels === 1 ? 1 : 3,
    ...(isKnown(height) && isKnown(width) && { crop: [height, width] }),
  };
}

/** What becomes of pictures; where it is not said, what the model takes. */
function imagesFrom(
  { resize, crop }: z.infer<typeof imageOptions>,
  inputs: ReadonlyMap<string, ValueType>,
): ImageOptions {
  const model = imagesOf(inputs);
  return {
    ...(resize !== undefined && { resize: resize.includes("x") ? parseSize(resize) : Number(resize) }),
    ...model,
    ...(resize?.includes("x") && { crop: parseSize(resize) }),
    ...(crop !== undefined && { crop: parseSize(crop) }),
  };
}

export const isPictures = (data: string | undefined): boolean => data?.startsWith("images:") === true;

/** Where what is read is not pictures: which options are without effect. */
export function noteIdleImages(
  values: Values,
  note: (text: string) => void,
  ...data: readonly (string | undefined)[]
): void {
  const given = Object.keys(imageOptions.shape).filter((name) => values[name] !== undefined);
  if (given.length === 0 || data.some(isPictures)) return;
  note(`${given.map(flagOf).join(", ")}: no effect with --data ${data[0]}, only with images:DIR.`);
}

/** What a graph's inputs are. */
export const inputTypes = ({ inputs, values }: Graph): ReadonlyMap<string, ValueType> =>
  new Map([...values].filter(([name]) => inputs.includes(name)));

const describeInputs = (inputs: Dataset["inputs"], isPicture: boolean): string =>
  [...inputs]
    .filter(([, { layout }]) => (layout !== undefined) === isPicture)
    .map(([name, { dtype, shape }]) => `"${name}" (${dtype} [${shape.join(", ")}])`)
    .join(", ");

/** The data with its pictures as the options name them. Where others could be meant, what is preprocessed is noted. */
function withNamedPictures(
  dataset: Dataset,
  options: z.infer<typeof preprocessOptions>,
  note: (text: string) => void = () => undefined,
): Dataset {
  const { preprocessInputs } = options;
  const chosen = preprocessInputs ? choosePictures(dataset, preprocessInputs) : dataset;
  const pictures = describeInputs(chosen.inputs, true);
  const isPlain = chosen.inputs.size === 1 && [...chosen.inputs.values()].every(({ dtype }) => dtype === "uint8");
  if (pictures === "" || isPlain || isNeutral(preprocessFrom(options))) return chosen;
  const others = describeInputs(chosen.inputs, false);
  note(`Preprocessed: ${pictures}.${others === "" ? "" : ` As they are: ${others}.`}`);
  return chosen;
}

/** As the model takes them: its inputs, and how many tokens where it fixes them. */
function sentencesFrom(
  { tokenizer }: z.infer<typeof sentenceOptions>,
  inputs: ReadonlyMap<string, ValueType>,
): SentenceOptions {
  const length = [...inputs.values()].find(({ shape }) => shape.length === 2)?.shape[1];
  return {
    ...(tokenizer !== undefined && { tokenizer }),
    ...(inputs.size > 0 && { inputs: [...inputs.keys()] }),
    ...(typeof length === "number" && length > 0 && { length }),
  };
}

/** `inputs`: the model's. */
export async function openDataset(
  options: z.infer<typeof testDataOptions>,
  inputs: ReadonlyMap<string, ValueType>,
  note: (text: string) => void,
): Promise<Dataset> {
  const opened = await openTestData(options.data, {
    images: imagesFrom(options, inputs),
    sentences: sentencesFrom(options, inputs),
  });
  const dataset = withNamedPictures(opened, options, note);
  return options.limit === undefined ? dataset : limit(dataset, options.limit);
}

/** Opens data to train and to test with, its pictures as the options name them; the seed decides what is held out. */
export function sourceOpener(
  values: Values,
  graph: Graph,
  note: (text: string) => void,
): (seed: number) => Promise<Source> {
  const { data, testData, tokenizer } = parseSchemaOptions(sourceOptions, values);
  noteIdleImages(values, note, data, testData);
  const pictures = parseSchemaOptions(preprocessOptions, values);
  const images = imagesFrom(parseSchemaOptions(imageOptions, values), inputTypes(graph));
  const sentences = sentencesFrom({ tokenizer }, inputTypes(graph));
  return async (seed) => {
    const opened = await openData(data, { seed, images, sentences, ...(testData === undefined ? {} : { testData }) });
    return {
      ...opened,
      train: withNamedPictures(opened.train, pictures, note),
      test: withNamedPictures(opened.test, pictures),
    };
  };
}

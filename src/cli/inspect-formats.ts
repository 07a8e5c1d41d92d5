// What a language model's layers can be written in, and how large the ONNX file will be.

import { selectEngine } from "../engines/select.ts";
import { type HeldForms, heldForms } from "../export/checkpoints/table.ts";
import type { Inspection } from "../inspect/inspect-model.ts";
import { readJson } from "../language-models/checkpoint.ts";
import { type DecoderConfig, parseConfig } from "../language-models/config.ts";
import { isEncoder } from "../language-models/encoder-config.ts";
import { configFile } from "../language-models/read.ts";
import { type BlockApCost, blockApCost } from "../methods/efficient-qat/estimate-cost.ts";
import { efficientQatOptions, heldOutOf } from "../methods/efficient-qat/options.ts";
import { productGraph, productSpeed } from "../methods/efficient-qat/product-speed.ts";
import { modelFileOf, modelFolder } from "../node/read-model.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatSeconds } from "./progress.ts";
import { formatTable } from "./table.ts";

/** What Block-AP takes on this machine. */
interface TrainingCost extends BlockApCost {
  readonly windows: number;
  readonly length: number;
  readonly engine: string;
}

export interface LanguageModelFormats {
  readonly held: readonly HeldForms[];
  /** Of the ONNX file by the bits of its layers, in groups of 64. */
  readonly sizes: readonly { readonly bits: number; readonly sizeBytes: number }[];
  /** By the length of windows. */
  readonly training: readonly TrainingCost[];
}

/** The default of `quantize --text`. */
const [usualBits, groupSize] = [4, 64];

/** `undefined` for what is no language model. */
export async function languageModelFormats(
  path: string,
  inspection: Inspection,
): Promise<LanguageModelFormats | undefined> {
  if (modelFileOf(path).format !== "huggingFace") return undefined;
  const folder = modelFolder(path);
  const config = readJson(folder, configFile);
  if (isEncoder(config)) return undefined;
  const layers = inspection.layers.map(({ name, weightShape: [inputs, outputs] }) => ({ name, inputs, outputs }));
  const inLayers = inspection.layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sizeAt = (bits: number): number =>
    layers.reduce((sum, { inputs, outputs }) => {
      const groups = Math.ceil(inputs / groupSize) * outputs;
      // Integers, a scale in float16 and a zero point.
      return sum + (inputs * outputs * bits) / 8 + groups * (2 + bits / 8);
    }, inspection.sizeBytes - inLayers);
  const model = { folder, config: parseConfig(config) };
  return {
    held: heldForms(model, layers),
    sizes: [2, 4, 8].map((bits) => ({ bits, sizeBytes: Math.round(sizeAt(bits)) })),
    training: await trainingCosts(model.config, inspection, Math.round(sizeAt(usualBits))),
  };
}

/** What `quantize` trains with by default, and shorter windows. */
const lengths = [512, 2048];

async function trainingCosts(
  config: DecoderConfig,
  { layers }: Inspection,
  fileBytes: number,
): Promise<readonly TrainingCost[]> {
  const { hidden, intermediate } = config;
  const engine = selectEngine("auto", [productGraph(hidden, intermediate)]);
  const speed = await productSpeed(engine, hidden, intermediate);
  const options = efficientQatOptions.parse({});
  const weights = layers.reduce((sum, { parameters }) => sum + parameters, 0);
  const { trainingSamples: windows, epochs, batch, cacheMemory } = options;
  const isMixed = engine.precisions.includes("mixed");
  const fixed = { config, weights, windows, heldOut: heldOutOf(options), epochs, batch, fileBytes, isMixed };
  return lengths
    .filter((length) => length <= config.contextLength)
    .map((length) => {
      const work = { ...fixed, length, cacheBytes: cacheMemory * 2 ** 20 };
      return { ...blockApCost(work, speed), windows, length, engine: engine.name };
    });
}

const describeCost = (cost: TrainingCost): string => {
  const { windows, length, engine, seconds, memoryBytes, diskBytes, streamBytes, checkpointBytes } = cost;
  return `--method efficient-qat with ${windows} windows of ${length} tokens: about ${formatSeconds(seconds)} here (${engine} engine), ${formatBytes(memoryBytes)} of memory at most (activations between blocks take ${formatBytes(streamBytes)}, beyond --cache-memory on disk), ${formatBytes(diskBytes)} on disk (${formatBytes(checkpointBytes)} of checkpoints).`;
};

export function formatsTable({ held, sizes, training }: LanguageModelFormats): readonly string[] {
  const rows = held.flatMap(({ format, refusal, forms }) =>
    refusal === undefined ? rowsOf(format, forms) : [[format, "–", "–", refusal]],
  );
  return [
    `As ONNX in groups of ${groupSize}: ${sizes.map(({ bits, sizeBytes }) => `${formatBytes(sizeBytes)} at ${bits} bits`).join(", ")}; any group size fits.`,
    ...formatTable(["--format", "bits", "zero points", "group sizes that fit all layers"], rows),
    "",
    ...training.map(describeCost),
  ];
}

/** Widths of the same group sizes in one row. */
function rowsOf(format: string, forms: HeldForms["forms"]): readonly (readonly string[])[] {
  const rows = new Map<string, readonly string[]>();
  for (const { bits, isSymmetric, groupSizes } of forms) {
    const points = isSymmetric ? "no" : "yes";
    const sizes = groupSizes.length === 0 ? "none" : groupSizes.join(", ");
    const key = `${points} ${sizes}`;
    const [, before] = rows.get(key) ?? [];
    rows.set(key, [format, before === undefined ? `${bits}` : `${before}, ${bits}`, points, sizes]);
  }
  return [...rows.values()];
}

// What checkpoints of integers in safetensors have in common: all floats in float16, and the files beside the weights.
import { writeSafetensors } from "../../data/safetensors.ts";
import { narrowTensor } from "../../ir/half.ts";
import { numbersOf, type Tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { readJson } from "../../language-models/checkpoint.ts";
import { traitsOf } from "../../language-models/families.ts";
import { configFile } from "../../language-models/read.ts";
import { textFiles } from "../../language-models/tokenizer.ts";
import type { ExportedFile } from "../format.ts";
import type { DecoderWeights, IntegerLayer } from "./decoder-weights.ts";

interface CheckpointOfIntegers {
  /** The folder that its files lie in. */
  readonly folder: string;
  /** The tensors of a layer, by the ends of their names. */
  readonly tensorsOf: (layer: IntegerLayer) => Readonly<Record<string, Tensor>>;
  /** What config.json says of it. */
  readonly quantization: object;
  readonly others: readonly ExportedFile[];
}

export const jsonFile = (name: string, content: object): ExportedFile => ({
  name,
  bytes: new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`),
});

export function safetensorsCheckpoint(
  weights: DecoderWeights,
  { folder, tensorsOf, quantization, others }: CheckpointOfIntegers,
): readonly ExportedFile[] {
  const tensors = new Map<string, Tensor>();
  for (const name of weights.floatNames) tensors.set(name, asInCheckpoint(weights, name));
  for (const [name, layer] of weights.layers)
    for (const [end, value] of Object.entries(tensorsOf(layer))) tensors.set(`${name}.${end}`, value);
  const raw = readJson(weights.folder, configFile) as object;
  const config = {
    ...raw,
    dtype: "float16",
    // Rows of queries and keys are in the order of halves.
    ...("rope_interleaved" in raw && { rope_interleaved: false }),
    quantization_config: quantization,
  };
  const companions = textFiles.filter((name) => name !== configFile && weights.folder.holds(name));
  return [
    { name: "model.safetensors", bytes: writeSafetensors(tensors, new Map([["format", "pt"]])) },
    jsonFile(configFile, config),
    ...others,
    ...companions.map((name) => {
      const file = weights.folder.open(name);
      return { name, bytes: file.read(0, file.sizeBytes) };
    }),
  ].map(({ name, bytes }) => ({ name: `${folder}/${name}`, bytes }));
}

/** Projections lie the other way round in the graph, and Gemma's norms have 1 added. */
function asInCheckpoint({ floats, config, projections }: DecoderWeights, name: string): Tensor {
  const value = floats(name);
  const isProjection = projections.some((projection) => name === `${projection}.weight`);
  const isNorm = traitsOf(config.family).isGemma && /norm\.weight$/.test(name);
  const turned = isProjection ? transposedMatrix(value) : value;
  const plain = isNorm ? { ...turned, data: numbersOf(turned).map((factor) => factor - 1) } : turned;
  return narrowTensor(plain, "float16");
}

// The formats of checkpoints that language models are written in besides ONNX.
import { FrostbitError } from "../../ir/errors.ts";
import type { CheckpointFormatName } from "../../quantizers/checkpoint-format-names.ts";
import type { ExportedFile } from "../format.ts";
import { compressedTensors } from "./compressed-tensors.ts";
import type { DecoderModel, DecoderWeights, LayerForm } from "./decoder-weights.ts";
import { checkFit } from "./fitting.ts";
import type { CheckpointFormat } from "./format.ts";
import { gguf } from "./gguf.ts";
import { gptq } from "./gptq.ts";

const checkpointFormats: Readonly<Record<CheckpointFormatName, CheckpointFormat>> = {
  gguf,
  gptq,
  "compressed-tensors": compressedTensors,
};

/** Throws BAD_OPTION where a format does not hold the model or one of its layers. `projections`: names of all, of integers or not. */
export function checkCheckpoint(
  name: CheckpointFormatName,
  model: DecoderModel,
  layers: readonly LayerForm[],
  projections: readonly string[],
): void {
  const { obstacleOf, needsAllLayersAlike, checkModel } = checkpointFormats[name];
  checkModel?.(model);
  checkFit(name, layers, (layer) => (layer.isUniform ? obstacleOf(layer) : "values that are not evenly spaced"));
  if (!needsAllLayersAlike) return;
  const widths = [...new Set(layers.map(({ bits }) => bits))];
  const known = new Set(layers.map((layer) => layer.name));
  const left = projections.find((projection) => !known.has(projection));
  if (widths.length === 1 && left === undefined) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `The format ${name} holds layers of one width, and ${
      left === undefined ? `these have ${widths.join(" and ")} bits` : `"${left}" stays in float`
    }. Leave the format or the exceptions by layer out.`,
  );
}

/** Throws as `checkCheckpoint` does: a method may have chosen other widths. */
export function writeCheckpoint(name: CheckpointFormatName, weights: DecoderWeights): readonly ExportedFile[] {
  checkCheckpoint(name, weights, [...weights.layers.values()], weights.projections);
  return checkpointFormats[name].write(weights);
}

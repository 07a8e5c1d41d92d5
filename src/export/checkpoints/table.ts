// The formats of checkpoints that language models are written in besides ONNX.
import { FrostbitError } from "../../ir/errors.ts";
import { type CheckpointFormatName, checkpointFormatNames } from "../../quantizers/checkpoint-format-names.ts";
import type { ExportedFile } from "../format.ts";
import { compressedTensors } from "./compressed-tensors.ts";
import type { DecoderModel, DecoderWeights, LayerForm } from "./decoder-weights.ts";
import { checkFit, groupSizesFor } from "./fitting.ts";
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

/** Which group sizes a format takes for all layers of a width. */
interface HeldForm {
  readonly bits: number;
  readonly isSymmetric: boolean;
  /** None where it does not hold them at all. */
  readonly groupSizes: readonly LayerForm["groupSize"][];
}

/** What a format holds of a model. */
export interface HeldForms {
  readonly format: CheckpointFormatName;
  /** Why it does not hold the model, whatever the layers are. */
  readonly refusal?: string;
  readonly forms: readonly HeldForm[];
}

const shownBits = [2, 3, 4, 8] as const;

/** Of layers that all have the same width. */
export const heldForms = (
  model: DecoderModel,
  layers: readonly Pick<LayerForm, "name" | "inputs" | "outputs">[],
): readonly HeldForms[] =>
  checkpointFormatNames.map((format) => {
    const { checkModel, obstacleOf } = checkpointFormats[format];
    const refusal = refusalOf(() => checkModel?.(model));
    if (refusal !== undefined) return { format, refusal, forms: [] };
    const forms = [false, true].flatMap((isSymmetric) =>
      shownBits.map((bits) => {
        const alike = layers.map((layer) => ({ ...layer, bits, isSymmetric, isUniform: true }));
        return { bits, isSymmetric, groupSizes: groupSizesFor(alike, obstacleOf) };
      }),
    );
    return { format, forms };
  });

function refusalOf(check: () => void): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof FrostbitError) return error.message;
    throw error;
  }
}

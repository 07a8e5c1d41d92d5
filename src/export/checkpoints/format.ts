// What a format of checkpoints is that a language model may be written in besides ONNX.
import type { ExportedFile } from "../format.ts";
import type { DecoderModel, DecoderWeights, LayerForm } from "./decoder-weights.ts";

export interface CheckpointFormat {
  /** Why it does not hold a layer, a part of a sentence; `undefined` where it does. */
  readonly obstacleOf: (layer: LayerForm) => string | undefined;
  /** Whether all projections must be integers of one width. */
  readonly needsAllLayersAlike: boolean;
  /** Throws BAD_OPTION for a model that it does not hold, whatever the layers are. */
  readonly checkModel?: (model: DecoderModel) => void;
  readonly write: (weights: DecoderWeights) => readonly ExportedFile[];
}

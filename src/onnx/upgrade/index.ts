// All changes of operators between the oldest opset that we read and the newest, in the order in which they apply.
import { axesToInput } from "./axes.ts";
import { inferenceOnly, spatial } from "./batch-normalization.ts";
import { boundsToInputs } from "./clip.ts";
import { toIdentity } from "./dropout.ts";
import { padsToInputs } from "./pad.ts";
import { asymmetric, emptyInputs } from "./resize.ts";
import { toScatterElements } from "./scatter.ts";
import { rangesToInputs } from "./slice.ts";
import { flattened } from "./softmax.ts";
import { countOutputs, sizesToInput } from "./split.ts";
import { countToInput } from "./top-k.ts";
import type { Upgrade } from "./upgrade.ts";
import { toResize } from "./upsample.ts";

/** Operators that are not here mean in every opset from 7 to 24 what they mean in 24; their new attributes' defaults are the old meaning. */
export const upgrades: Readonly<Record<string, readonly Upgrade[]>> = {
  BatchNormalization: [spatial, inferenceOnly],
  Clip: [boundsToInputs],
  Dropout: [toIdentity],
  LogSoftmax: [flattened],
  Pad: [padsToInputs],
  ReduceL1: [axesToInput(18)],
  ReduceL2: [axesToInput(18)],
  ReduceLogSumExp: [axesToInput(18)],
  ReduceMax: [axesToInput(18)],
  ReduceMean: [axesToInput(18)],
  ReduceMin: [axesToInput(18)],
  ReduceProd: [axesToInput(18)],
  ReduceSum: [axesToInput(13)],
  ReduceSumSquare: [axesToInput(18)],
  Resize: [asymmetric, emptyInputs],
  Scatter: [toScatterElements],
  Slice: [rangesToInputs],
  Softmax: [flattened],
  Split: [sizesToInput, countOutputs],
  Squeeze: [axesToInput(13)],
  TopK: [countToInput],
  Unsqueeze: [axesToInput(13)],
  Upsample: [toResize],
};

/** Operators that are gone from the newest opset and that upgrading replaces. */
export const upgradedOps: ReadonlySet<string> = new Set(["Dropout", "Scatter", "Upsample"]);

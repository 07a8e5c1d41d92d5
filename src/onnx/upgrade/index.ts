// All changes of operators between the oldest opset that we read and the newest, in the order in which they apply.
import { attention } from "./attention.ts";
import { axesToInput } from "./axes.ts";
import { inferenceOnly, spatial } from "./batch-normalization.ts";
import { boundsToInputs } from "./clip.ts";
import { contribUpgrades } from "./contrib.ts";
import { toIdentity } from "./dropout.ts";
import { toLetters, toMatMul } from "./einsum.ts";
import {
  castLike,
  globalLpPool,
  hardmax,
  localResponseNormalization,
  logOfSum,
  lpNormalization,
  lpPool,
  meanVarianceNormalization,
  perGroup,
  swish,
} from "./functions.ts";
import { padsToInputs } from "./pad.ts";
import {
  convInteger,
  dynamicQuantizeLinear,
  matMulInteger,
  qLinearConv,
  qLinearMatMul,
} from "./quantized-operators.ts";
import { asymmetric, emptyInputs } from "./resize.ts";
import { rotaryEmbedding } from "./rotary-embedding.ts";
import { toScatterElements } from "./scatter.ts";
import { rangesToInputs } from "./slice.ts";
import { flattened } from "./softmax.ts";
import { countOutputs, sizesToInput } from "./split.ts";
import { countToInput } from "./top-k.ts";
import type { Upgrade } from "./upgrade.ts";
import { toResize } from "./upsample.ts";

/** Operators that are not here mean in every opset from 7 to 25 what they mean in 25; their new attributes' defaults are the old meaning. */
export const upgrades: Readonly<Record<string, readonly Upgrade[]>> = {
  ...contribUpgrades,
  Attention: [attention],
  BatchNormalization: [spatial, inferenceOnly],
  CastLike: [castLike],
  Clip: [boundsToInputs],
  ConvInteger: [convInteger],
  Dropout: [toIdentity],
  DynamicQuantizeLinear: [dynamicQuantizeLinear],
  Einsum: [toLetters, toMatMul],
  GlobalLpPool: [globalLpPool],
  GroupNormalization: [perGroup],
  Hardmax: [flattened, hardmax],
  LRN: [localResponseNormalization],
  LogSoftmax: [flattened],
  LpNormalization: [lpNormalization],
  LpPool: [lpPool],
  MatMulInteger: [matMulInteger],
  MeanVarianceNormalization: [meanVarianceNormalization],
  Pad: [padsToInputs],
  QLinearConv: [qLinearConv],
  QLinearMatMul: [qLinearMatMul],
  ReduceL1: [axesToInput(18)],
  ReduceL2: [axesToInput(18)],
  ReduceLogSum: [axesToInput(18), logOfSum],
  ReduceLogSumExp: [axesToInput(18)],
  ReduceMax: [axesToInput(18)],
  ReduceMean: [axesToInput(18)],
  ReduceMin: [axesToInput(18)],
  ReduceProd: [axesToInput(18)],
  ReduceSum: [axesToInput(13)],
  ReduceSumSquare: [axesToInput(18)],
  Resize: [asymmetric, emptyInputs],
  RotaryEmbedding: [rotaryEmbedding],
  Scatter: [toScatterElements],
  Slice: [rangesToInputs],
  Softmax: [flattened],
  Split: [sizesToInput, countOutputs],
  Squeeze: [axesToInput(13)],
  Swish: [swish],
  TopK: [countToInput],
  Unsqueeze: [axesToInput(13)],
  Upsample: [toResize],
};

/** Operators that are gone from the newest opset, or that are functions of others, and that upgrading replaces. */
export const upgradedOps: ReadonlySet<string> = new Set([
  ...Object.keys(contribUpgrades),
  ...["Attention", "CastLike", "Dropout", "GlobalLpPool", "Hardmax", "LRN", "LpNormalization", "LpPool"],
  ...["MeanVarianceNormalization", "QLinearConv", "QLinearMatMul", "ReduceLogSum", "RotaryEmbedding", "Scatter"],
  ...["ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "Swish", "Upsample"],
]);

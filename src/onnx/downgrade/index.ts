// The older forms of operators, newest change first: the order in which they apply.
import { axesToAttribute } from "./axes.ts";
import { boundsToAttributes } from "./clip.ts";
import { equalIntegers, floatsOnly, sameShapes } from "./compare.ts";
import type { Downgrade } from "./downgrade.ts";
import { zeroBias } from "./gemm.ts";
import { positiveAxes } from "./negative-axes.ts";
import { padsToAttributes, wholePads } from "./pad.ts";
import { perTensor, typesByOpset } from "./quantize.ts";
import { allAxes, emptyTensors, toUpsample } from "./resize.ts";
import { toScatter } from "./scatter.ts";
import { rangesToAttributes } from "./slice.ts";
import { lastAxis } from "./softmax.ts";
import { explicitSizes, sizesToAttribute } from "./split.ts";
import { countToAttribute } from "./top-k.ts";

export const downgrades: Readonly<Record<string, readonly Downgrade[]>> = {
  ArgMax: [positiveAxes],
  ArgMin: [positiveAxes],
  Clip: [boundsToAttributes],
  Concat: [positiveAxes],
  DequantizeLinear: [typesByOpset, perTensor],
  Equal: [equalIntegers],
  Flatten: [positiveAxes],
  Gather: [positiveAxes],
  Gemm: [zeroBias],
  Greater: [floatsOnly(9)],
  Less: [floatsOnly(9)],
  LogSoftmax: [lastAxis],
  Max: [floatsOnly(12), sameShapes],
  Mean: [sameShapes],
  Min: [floatsOnly(12), sameShapes],
  Pad: [wholePads, padsToAttributes],
  QuantizeLinear: [typesByOpset, perTensor],
  ReduceL1: [axesToAttribute(18), positiveAxes],
  ReduceL2: [axesToAttribute(18), positiveAxes],
  ReduceLogSumExp: [axesToAttribute(18), positiveAxes],
  ReduceMax: [axesToAttribute(18), positiveAxes],
  ReduceMean: [axesToAttribute(18), positiveAxes],
  ReduceMin: [axesToAttribute(18), positiveAxes],
  ReduceProd: [axesToAttribute(18), positiveAxes],
  ReduceSum: [axesToAttribute(13), positiveAxes],
  ReduceSumSquare: [axesToAttribute(18), positiveAxes],
  Resize: [allAxes, emptyTensors, toUpsample],
  ScatterElements: [positiveAxes, toScatter],
  Slice: [rangesToAttributes],
  Softmax: [lastAxis],
  Split: [explicitSizes, sizesToAttribute, positiveAxes],
  Squeeze: [axesToAttribute(13), positiveAxes],
  Sum: [sameShapes],
  TopK: [positiveAxes, countToAttribute],
  Unsqueeze: [axesToAttribute(13), positiveAxes],
};

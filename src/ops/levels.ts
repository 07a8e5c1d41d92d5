// Quantization to levels that are not evenly spaced, and weights stored as indices of such levels.
import type { Dim } from "../ir/graph.ts";
import { mismatch, printShape } from "./attributes.ts";
import type { InferContext, OwnOpDefinition } from "./definition.ts";
import { granularityOf } from "./granularity.ts";
import { floats, vector, wholeNumbers } from "./inputs.ts";
import { operand } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";

/** Throws unless there is a scale for each index along the node's axis. */
function checkScale(context: InferContext, shape: readonly Dim[]): void {
  const { node } = context;
  const granularity = granularityOf(node, shape.length);
  const scale = operand(context, 1).shape;
  const expected = granularity === "tensor" ? [] : [shape[granularity.axis]];
  if (String(scale) === String(expected)) return;
  throw mismatch(
    node,
    `input "${node.inputs[1]}" is ${printShape(scale)}; expected ${printShape(expected)} for ${printShape(shape)}.`,
  );
}

/** y = level · scale, of the level that is nearest to x / scale; of two that are equally near, the lower one. Levels rise. */
export const LevelQuantize: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, vector(floats)],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    checkScale(context, shape);
    return [{ dtype, shape }];
  },
  gradient: "none",
  cost: costPerElement,
};

/** y = levels[index] · scale */
export const LevelDequantize: OwnOpDefinition = {
  introduced: "own",
  inputs: [wholeNumbers, floats, vector(floats)],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { shape } = operand(context, 0);
    checkScale(context, shape);
    return [{ dtype: operand(context, 2).dtype, shape }];
  },
  gradient: "none",
  cost: costPerElement,
};

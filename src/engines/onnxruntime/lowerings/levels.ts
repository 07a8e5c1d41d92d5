// Levels that are not evenly spaced.

import { granularityOf } from "../../../ops/granularity.ts";
import { computeConstants } from "../../../passes/fold-constants.ts";
import type { LoweringContext, LoweringRule } from "../lowering.ts";

/** The scale beside the axis that it is along. */
function scaleBesideAxis({ node, emit, input, type }: LoweringContext): string {
  const { length: rank } = type(0).shape;
  const granularity = granularityOf(node, rank);
  if (granularity === "tensor") return input(1);
  return emit.reshape(
    input(1),
    Array.from({ length: rank }, (_, i) => (i === granularity.axis ? -1 : 1)),
  );
}

const LevelQuantize: LoweringRule = (context) => {
  const { node, emit, constant, set } = context;
  const constants = [0, 1, 2].map(constant);
  const isKnown = constants.every((value) => value !== undefined);
  const known = isKnown ? computeConstants("LevelQuantize", constants, node)[0] : undefined;
  set(0, known ? emit.constant(known) : nearestLevels(context));
};

/** A level's index is how many of the middles between levels are below. */
function nearestLevels(context: LoweringContext): string {
  const { emit, input } = context;
  const scale = scaleBesideAxis(context);
  const quotient = emit.node("Div", [input(0), scale]);
  const sum = emit.node("Add", [
    emit.node("Slice", [input(2), emit.ints([1]), emit.ints([2 ** 31 - 1])]),
    emit.node("Slice", [input(2), emit.ints([0]), emit.ints([-1])]),
  ]);
  const middles = emit.node("Mul", [sum, emit.scalar(0.5, context.type(2).dtype)]);
  const isAbove = emit.node("Greater", [emit.node("Unsqueeze", [quotient, emit.ints([-1])]), middles]);
  const index = emit.node("ReduceSum", [emit.node("Cast", [isAbove], { to: "int64" }), emit.ints([-1])], {
    keepdims: 0,
  });
  return emit.node("Mul", [emit.node("Gather", [input(2), index], { axis: 0 }), scale]);
}

const LevelDequantize: LoweringRule = (context) => {
  const { emit, input, set } = context;
  const index = emit.node("Cast", [input(0)], { to: "int32" });
  const level = emit.node("Gather", [input(2), index], { axis: 0 });
  set(0, emit.node("Mul", [level, scaleBesideAxis(context)]));
};

export const levelLowerings = { LevelQuantize, LevelDequantize };

// Optimizer steps: each gives the new weight and the new state; with rows, only these rows change.
import type { Node, ValueType } from "../ir/graph.ts";
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import type { CostRule, InferContext, OwnOpDefinition } from "./definition.ts";
import { isStatic } from "./dims.ts";
import { floats, optional, rowsOf } from "./inputs.ts";
import { operand } from "./operands.ts";

const axisAttribute = (node: Node): number => numberAttribute(node, "axis", 0);

const sameShape = (a: ValueType, b: ValueType): boolean => String(a.shape) === String(b.shape);

/** Throws unless the state has the weight's shape and the gradient too, where it is whole. */
function checkShapes(context: InferContext, states: readonly number[], rows: number): ValueType {
  const { node, inputs } = context;
  const w = operand(context, 0);
  const whole = inputs[rows] === undefined ? [1, ...states] : states;
  for (const i of whole) {
    const type = operand(context, i);
    if (sameShape(type, w) || !isStatic(type.shape)) continue;
    throw mismatch(
      node,
      `input "${node.inputs[i]}" is ${printShape(type.shape)}; expected the weight's ${printShape(w.shape)}.`,
    );
  }
  return { dtype: w.dtype, shape: w.shape };
}

const costOfGradient =
  (perElement: number): CostRule =>
  ([, g = []]) => ({ multiplyAdds: perElement * g.reduce((a, b) => a * b, 1) });

/** PyTorch's SGD with momentum: v' = momentum · v + g + weightDecay · w, w' = w − learningRate · v' */
export const SgdUpdate: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, floats, floats, optional(rowsOf(0, axisAttribute))],
  outputs: 2,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const w = checkShapes(context, [2], 4);
    return [w, w];
  },
  gradient: "none",
  cost: costOfGradient(3),
};

/** PyTorch's Adam, with weight decay as L2, or as in AdamW where `decoupled` is 1; with rows, `step` counts per row. */
export const AdamUpdate: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, floats, floats, floats, floats, optional(rowsOf(0, axisAttribute))],
  outputs: 4,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const w = checkShapes(context, [2, 3], 6);
    const { dtype, shape } = operand(context, 4);
    return [w, w, w, { dtype, shape }];
  },
  gradient: "none",
  cost: costOfGradient(8),
};

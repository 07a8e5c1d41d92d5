// Operators that ONNX has, and the gradients of Relu and Clip: they run in whatever layout their inputs have.
import { type BlockLayout, canBlock, type LoweringContext, type LoweringRule } from "../lowering.ts";

/** Operators whose every output element depends on the input elements at the same place alone. */
const elementwise: ReadonlySet<string> = new Set([
  ..."Abs Add Ceil Celu Clip ClipGradient Cos Div Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Max Mean Min".split(
    " ",
  ),
  ..."Mish Mul Neg Pow Reciprocal Relu ReluGradient Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh".split(
    " ",
  ),
  "ThresholdedRelu",
]);

/** The layout in which an elementwise node runs: blocked if one of its inputs is and the others can be. */
function layoutOf({ node, block, type, hasLayout, has, outputType }: LoweringContext): BlockLayout {
  if (!elementwise.has(node.op) || !canBlock(outputType(0), block)) return "plain";
  const { shape } = outputType(0);
  const whole = node.inputs.map((_, i) => i).filter((i) => has(i) && type(i).shape.some((size) => size !== 1));
  const areAlike = whole.every((i) => String(type(i).shape) === String(shape) && type(i).dtype === "float32");
  return areAlike && whole.some((i) => hasLayout(i, "blocked")) ? "blocked" : "plain";
}

const isWhole = ({ type }: LoweringContext, input: number): boolean => type(input).shape.some((size) => size !== 1);

/** An ONNX operator as it is. */
export const passThrough: LoweringRule = (context) => {
  const { node, emit, has, input, set } = context;
  const layout = layoutOf(context);
  const inputs = node.inputs.map((_, i) => {
    if (!has(i)) return undefined;
    return input(i, isWhole(context, i) ? layout : "plain");
  });
  const values = emit.nodes(node.op, inputs, node.outputs.length, node.attributes);
  values.forEach((value, i) => {
    set(i, value, i === 0 ? layout : "plain");
  });
};

/** dy · [y > 0] */
const ReluGradient: LoweringRule = (context) => {
  const { emit, input, set, type } = context;
  const { dtype } = type(0);
  const layout = layoutOf(context);
  const isPositive = emit.node("Greater", [input(1, layout), emit.scalar(0, dtype)]);
  set(0, emit.node("Mul", [input(0, layout), emit.node("Cast", [isPositive], { to: dtype })]), layout);
};

/** dy, but 0 where x is outside */
const ClipGradient: LoweringRule = (context) => {
  const { emit, has, input, set, type } = context;
  const { dtype } = type(0);
  const layout = layoutOf(context);
  const zero = emit.scalar(0, dtype);
  const dx = (["Less", "Greater"] as const).reduce(
    (rest, comparison, i) => {
      if (!has(i + 2)) return rest;
      return emit.node("Where", [emit.node(comparison, [input(1, layout), input(i + 2)]), zero, rest]);
    },
    input(0, layout),
  );
  set(0, dx, layout);
};

export const elementwiseLowerings = { ReluGradient, ClipGradient } satisfies Record<string, LoweringRule>;

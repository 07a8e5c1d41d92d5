// Pools and their gradients.
import { sizeOf } from "../ir/tensor.ts";
import { arithmetic, shapeOf } from "./arithmetic.ts";
import { mismatch, numberAttribute, numbersAttribute, printShape, unsupported } from "./attributes.ts";
import { staticShape } from "./convolution-shape.ts";
import type { CostRule, InferContext, OpDefinition, OwnOpDefinition, SampleRule } from "./definition.ts";
import { floats, numbers } from "./inputs.ts";
import { operand } from "./operands.ts";
import { poolAttributes, poolWindow } from "./pool-shape.ts";
import { leadingOrChannelSamples } from "./samples.ts";
import { windowOutput } from "./window.ts";

function pooledShape(context: InferContext) {
  const { node } = context;
  const { dtype, shape } = operand(context, 0);
  const window = poolWindow(node, shape);
  return { dtype, shape: [...shape.slice(0, 2), ...windowOutput(node, window, shape.slice(2))] };
}

/** One addition or comparison for every tap of every window. */
const costPerTap: CostRule = (_inputs, [y = []], node) => ({
  multiplyAdds: sizeOf(y) * sizeOf(numbersAttribute(node, "kernel_shape", [])),
});

const costOfInput: CostRule = ([x = []]) => ({ multiplyAdds: sizeOf(x) });

/** Indices count elements over the whole batch. */
const maxPoolSamples: SampleRule = (context) =>
  context.node.outputs[1] ? "coupled" : leadingOrChannelSamples(context);

/** dx: dy at the first maximum of each window */
export const MaxPool: OpDefinition = {
  introduced: 1,
  inputs: [numbers],
  outputs: 2,
  sampleAxis: maxPoolSamples,
  movesValues: false,
  infer: (context) => {
    if (numberAttribute(context.node, "storage_order", 0) !== 0)
      throw unsupported(context.node, "storage_order is 1; only row-major indices (0) are supported.");
    const y = pooledShape(context);
    return [y, { dtype: "int64", shape: y.shape }];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const [x] = node.inputs;
    return [build.node("MaxPoolGradient", [dy, x], poolAttributes(node, type(x).shape))];
  },
  cost: costPerTap,
};

/** dx: dy over the number of elements, at each element of a window */
export const AveragePool: OpDefinition = {
  introduced: 1,
  inputs: [floats],
  outputs: 1,
  sampleAxis: leadingOrChannelSamples,
  movesValues: false,
  infer: (context) => [pooledShape(context)],
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const { shape } = type(node.inputs[0]);
    const spatial = staticShape(node, "input's spatial sizes", shape.slice(2));
    const count_include_pad = numberAttribute(node, "count_include_pad", 0);
    return [build.node("AveragePoolGradient", [dy], { ...poolAttributes(node, shape), count_include_pad, spatial })];
  },
  cost: costPerTap,
};

function globallyPooled(context: InferContext) {
  const { dtype, shape } = operand(context, 0);
  if (shape.length < 3) throw mismatch(context.node, `its input is ${printShape(shape)}; expected spatial axes.`);
  return [{ dtype, shape: shape.map((dim, axis) => (axis < 2 ? dim : 1)) }];
}

/** dx = dy / positions */
export const GlobalAveragePool: OpDefinition = {
  introduced: 1,
  inputs: [floats],
  outputs: 1,
  sampleAxis: leadingOrChannelSamples,
  movesValues: false,
  infer: globallyPooled,
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const [x] = node.inputs;
    const positions = sizeOf(staticShape(node, "input's spatial sizes", type(x).shape.slice(2)));
    const { div, of } = arithmetic(build, dy);
    return [build.node("Expand", [div(dy, of(positions)), shapeOf(build, x)])];
  },
  cost: costOfInput,
};

/** dx: dy at the first maximum of each channel */
export const GlobalMaxPool: OpDefinition = {
  introduced: 1,
  inputs: [numbers],
  outputs: 1,
  sampleAxis: leadingOrChannelSamples,
  movesValues: false,
  infer: globallyPooled,
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const [x] = node.inputs;
    const kernel_shape = staticShape(node, "input's spatial sizes", type(x).shape.slice(2));
    return [build.node("MaxPoolGradient", [dy, x], { kernel_shape })];
  },
  cost: costOfInput,
};

/** dx of MaxPool from dy and x. */
export const MaxPoolGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 1);
    return [{ dtype, shape }];
  },
  gradient: "none",
  cost: ([dy = []], _outputs, node) => costPerTap([], [dy], node),
};

/** dx of AveragePool from dy; attribute `spatial` holds x's spatial sizes. */
export const AveragePoolGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    return [{ dtype, shape: [...shape.slice(0, 2), ...numbersAttribute(context.node, "spatial", [])] }];
  },
  gradient: "none",
  cost: ([dy = []], _outputs, node) => costPerTap([], [dy], node),
};

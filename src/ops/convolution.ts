// Convolutions, transposed ones, and the gradients of both.
import type { Node, ValueType } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { mismatch, numbersAttribute, printShape } from "./attributes.ts";
import { convolutionWindow, groupOf, staticShape, transposedConvolution } from "./convolution-shape.ts";
import type { GradientContext, OpDefinition, OwnOpDefinition } from "./definition.ts";
import { floats, optional, rowsOf, tied } from "./inputs.ts";
import { operand } from "./operands.ts";
import { allAxesButChannels, gatherRows, rowsAlong, sumOver } from "./rows.ts";
import { leadingSamples } from "./samples.ts";
import { windowAttributes, windowOutput } from "./window.ts";

function biasGradient({ build, wants, type }: GradientContext, dy: string): string | undefined {
  return wants(2) === "none" ? undefined : sumOver(build, dy, allAxesButChannels(type(dy).shape.length));
}

function checkBias(node: Node, bias: ValueType | undefined, channels: number): void {
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== channels))
    throw mismatch(node, `its bias is ${printShape(bias.shape)}; expected [${channels}].`);
}

/** dx = dy ∗ᵀ w; dw = dy ⋆ x, of the wanted output channels alone; dbias = Σ dy */
export const Conv: OpDefinition = {
  introduced: 1,
  inputs: [tied(floats), tied(floats), optional(tied(floats))],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const x = operand(context, 0);
    const w = staticShape(node, "weight", operand(context, 1).shape);
    checkBias(node, context.inputs[2], w[0]);
    const window = convolutionWindow(node, x.shape, w);
    return [{ dtype: x.dtype, shape: [x.shape[0], w[0], ...windowOutput(node, window, x.shape.slice(2))] }];
  },
  gradient: (context) => {
    const { node, build, dys, wants, type } = context;
    const [dy] = dys;
    if (dy === undefined) return [];
    const [x, w] = node.inputs;
    const xShape = type(x).shape;
    const window = convolutionWindow(node, xShape, staticShape(node, "weight", type(w).shape));
    const attributes = { ...windowAttributes(window), group: groupOf(node) };
    const dx = (): string => {
      const spatial = staticShape(node, "input's spatial sizes", xShape.slice(2));
      return build.node("ConvGradientInput", [dy, w], { ...attributes, spatial });
    };
    const dw = (): string => build.node("ConvGradientWeight", [dy, x, rowsAlong(wants(1), 0)], attributes);
    return [wants(0) === "none" ? undefined : dx(), wants(1) === "none" ? undefined : dw(), biasGradient(context, dy)];
  },
  cost: ([, w = []], [y]) => ({ multiplyAdds: sizeOf(y) * sizeOf(w.slice(1)) }),
  computesRows: (input, axis) => input === 1 && axis === 0,
};

/** dx = dy ⋆ w; dw = x ⋆ dy, of the wanted output channels alone; dbias = Σ dy */
export const ConvTranspose: OpDefinition = {
  introduced: 1,
  inputs: [tied(floats), tied(floats), optional(tied(floats))],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const x = operand(context, 0);
    const w = staticShape(node, "weight", operand(context, 1).shape);
    const channels = w[1] * groupOf(node);
    checkBias(node, context.inputs[2], channels);
    return [{ dtype: x.dtype, shape: [x.shape[0], channels, ...transposedConvolution(node, x.shape, w).spatial] }];
  },
  gradient: (context) => {
    const { node, build, dys, wants, type } = context;
    const [dy] = dys;
    if (dy === undefined) return [];
    const [x, w] = node.inputs;
    const { window } = transposedConvolution(node, type(x).shape, staticShape(node, "weight", type(w).shape));
    const attributes = { ...windowAttributes(window), group: groupOf(node) };
    const rows = groupOf(node) === 1 ? rowsAlong(wants(1), 1) : undefined;
    const dw = (): string => build.node("ConvGradientWeight", [x, gatherRows(build, dy, rows, 1)], attributes);
    return [
      wants(0) === "none" ? undefined : build.node("Conv", [dy, w], attributes),
      wants(1) === "none" ? undefined : dw(),
      biasGradient(context, dy),
    ];
  },
  cost: ([x = [], w = []]) => ({ multiplyAdds: sizeOf(x) * sizeOf(w.slice(1)) }),
  computesRows: (input, axis, node) => input === 1 && axis === 1 && groupOf(node) === 1,
};

/** dx of Conv from dy and w; attribute `spatial` holds x's spatial sizes. */
export const ConvGradientInput: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const dy = operand(context, 0);
    const w = staticShape(node, "weight", operand(context, 1).shape);
    const spatial = numbersAttribute(node, "spatial", []);
    const shape = [dy.shape[0], w[1] * groupOf(node), ...spatial];
    const window = convolutionWindow(node, shape, w);
    const expected = [dy.shape[0], w[0], ...windowOutput(node, window, spatial)];
    if (String(expected) !== String(dy.shape))
      throw mismatch(node, `dy is ${printShape(dy.shape)}; expected ${printShape(expected)}.`);
    return [{ dtype: dy.dtype, shape }];
  },
  gradient: "none",
  cost: ([dy = [], w = []]) => ({ multiplyAdds: sizeOf(dy) * sizeOf(w.slice(1)) }),
};

/** dw of Conv from dy and x, of all output channels or of those in `rows`. */
export const ConvGradientWeight: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, optional(rowsOf(0, () => 1))],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const dy = operand(context, 0);
    const x = operand(context, 1);
    const kernel = numbersAttribute(node, "kernel_shape", []);
    const group = groupOf(node);
    const channels = typeof x.shape[1] === "number" ? x.shape[1] / group : x.shape[1];
    if (typeof channels === "string" && group !== 1)
      throw mismatch(node, `x is ${printShape(x.shape)}; its channels must be known to form ${group} groups.`);
    const rows = context.inputs[2];
    return [{ dtype: dy.dtype, shape: [rows ? rows.shape[0] : dy.shape[1], channels, ...kernel] }];
  },
  gradient: "none",
  cost: ([dy = []], [dw]) => ({ multiplyAdds: sizeOf(dw) * (sizeOf(dy) / (dy[1] || 1)) }),
};

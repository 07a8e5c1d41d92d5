// Resize: nearest, linear and cubic, in every coordinate mode.

import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode } from "../ir/graph.ts";
import { sizeOf, toNumbers } from "../ir/tensor.ts";
import { mismatch, printShape } from "./attributes.ts";
import { transposedProduct } from "./axis-product.ts";
import type { InferContext, OpDefinition } from "./definition.ts";
import { isStatic } from "./dims.ts";
import { floats, numbers, optional, sizes, tied } from "./inputs.ts";
import { checkResize, growsEmpty, interpolate, resizedAxes, resizePlan } from "./interpolation.ts";
import { operand, unknownDim } from "./operands.ts";
import { samplesWhere } from "./samples.ts";

function scaledDim(context: InferContext, dim: Dim, axis: number, scale: number | undefined): Dim {
  if (typeof dim === "number" && scale !== undefined) return Math.floor(dim * scale + 1e-9);
  return scale === 1 ? dim : unknownDim(context.node, axis);
}

const tapsPerAxis: Readonly<Record<string, number>> = { linear: 2, cubic: 4 };

/** One number for each axis; ONNX Runtime writes past its stack's end where there are more. */
function checkLengths({ node, inputs }: InferContext, axes: number): void {
  const roi = node.attributes["coordinate_transformation_mode"] === "tf_crop_and_resize";
  for (const [i, name, expected] of [
    ...(roi ? [[1, "roi", 2 * axes] as const] : []),
    [2, "scales", axes],
    [3, "sizes", axes],
  ] as const) {
    const [length, ...rest] = inputs[i]?.shape ?? [0];
    const fits = rest.length === 0 && (length === 0 || length === expected || typeof length === "string");
    if (!fits)
      throw mismatch(
        node,
        `its ${name} (input "${node.inputs[i]}") are ${printShape(inputs[i]?.shape ?? [])}; expected [${expected}] for ${axes} axes.`,
      );
  }
}

/** dx = dy times the interpolation matrix, axis by axis */
export const Resize: OpDefinition = {
  // Upsample until opset 9.
  introduced: 7,
  inputs: [tied(numbers), optional(floats), optional(floats), optional(sizes)],
  outputs: 1,
  // A crop may begin anywhere; scales and sizes say what happens to the batch, and the shape rule follows them.
  sampleAxis: samplesWhere((_axis, node) => node.attributes["coordinate_transformation_mode"] !== "tf_crop_and_resize"),
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    checkResize(node);
    const { dtype, shape } = operand(context, 0);
    const axes = resizedAxes(node, shape.length);
    checkLengths(context, axes.length);
    const scales = context.constant(2) && toNumbers(context.constant(2)!);
    const sizes = context.elements(3);
    const resized = [...shape];
    axes.forEach((axis, i) => {
      const usesScales = context.inputs[2] && context.inputs[2].shape[0] !== 0;
      resized[axis] = usesScales
        ? scaledDim(context, shape[axis], axis, scales?.[i])
        : (sizes?.[i] ?? unknownDim(node, axis));
    });
    const grown = axes.find((axis) => shape[axis] === 0 && resized[axis] !== 0);
    if (grown !== undefined) throw growsEmpty(node, grown, resized[grown]);
    return [{ dtype, shape: resized }];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const { shape } = type(node.inputs[0]);
    const output = type(node.outputs[0]).shape;
    const contents = (i: number): readonly number[] | undefined => {
      const name = node.inputs[i];
      const constant = name ? build.constantOf(name) : undefined;
      if (constant) return toNumbers(constant);
      const elements = name ? type(name).elements : undefined;
      return elements && isStatic(elements) ? elements : undefined;
    };
    const isRow = (axis: number): boolean => shape[axis] === output[axis];
    if (shape.some((dim, axis) => typeof dim === "string" && !isRow(axis)))
      throw new FrostbitError(
        "NO_GRADIENT",
        `${describeNode(node)}: its gradient needs fixed sizes. Give the model's inputs fixed sizes.`,
      );
    // A symbolic size is one that does not change; any number stands for it.
    const sizes = shape.map((dim) => (typeof dim === "string" ? 1 : dim));
    const plan = resizePlan(node, sizes, { roi: contents(1), scales: contents(2), sizes: contents(3) });
    return [
      plan.reduce((dx, axis) => transposedProduct(build, dx, { ...axis, matrix: interpolate(node, axis).matrix }), dy),
    ];
  },
  cost: (inputs, [output], node) => ({
    multiplyAdds:
      sizeOf(output ?? []) *
      (tapsPerAxis[String(node.attributes["mode"])] ?? 1) ** Math.max(0, (inputs[0]?.length ?? 2) - 2),
  }),
};

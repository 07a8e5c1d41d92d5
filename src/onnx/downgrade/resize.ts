// Resize before 18 has no axes; before 13 nothing may be left out; before 11 it is asymmetric; before 10 it is Upsample.

import type { Node } from "../../ir/graph.ts";
import { tensorOf } from "../../ir/tensor.ts";
import { numbersAttribute, stringAttribute } from "../../ops/attributes.ts";
import { type Downgrade, type DowngradeContext, NeedsOpset, withAttributes } from "./downgrade.ts";

export const allAxes: Downgrade = {
  before: 18,
  downgrade: (context) => {
    const { node, type } = context;
    const axes = numbersAttribute(node, "axes");
    if (!axes) return [node];
    if (node.inputs[1]) throw new NeedsOpset(18, "it has a region and axes");
    const { shape } = type(node.inputs[0]);
    const scales = new Array<number>(shape.length).fill(1);
    scalesOf(
      context,
      18,
      axes.map((axis) => shape[axis < 0 ? axis + shape.length : axis]),
    ).forEach((scale, i) => {
      scales[axes[i] < 0 ? axes[i] + shape.length : axes[i]] = scale;
    });
    return [withScales(context, withAttributes(node, { axes: undefined }), scales)];
  },
};

export const emptyTensors: Downgrade = {
  before: 13,
  downgrade: ({ node, opset, type, constant }) => {
    if (opset < 11) return [node];
    const [x, roi, scales, sizes] = node.inputs;
    const { dtype } = type(x);
    const none = (hint: string, like: "float32" | "float64") => constant(hint, tensorOf(like, [0], []));
    const region = roi || none("roi", dtype === "float64" ? "float64" : "float32");
    return [{ ...node, inputs: [x, region, scales || none("scales", "float32"), ...(sizes ? [sizes] : [])] }];
  },
};

export const toUpsample: Downgrade = {
  before: 11,
  downgrade: (context) => {
    const { node, opset, type } = context;
    const mode = stringAttribute(node, "mode", "nearest");
    const scales = scalesOf(context, 11, type(node.inputs[0]).shape);
    checkOldForm(node, mode, scales);
    const old: Node = { ...node, inputs: [node.inputs[0]], attributes: { mode } };
    if (opset >= 10) return [{ ...old, inputs: withScales(context, old, scales).inputs.filter((name) => name !== "") }];
    if (scales.some((scale) => scale < 1)) throw new NeedsOpset(10, `its scales are [${scales.join(", ")}]`);
    if (opset < 9) return [withAttributes({ ...old, op: "Upsample" }, { scales })];
    const inputs = withScales(context, old, scales).inputs.filter((name) => name !== "");
    return [{ ...old, op: "Upsample", inputs }];
  },
};

/** Opset 10 knows asymmetric coordinates alone: growing takes the pixel before, shrinking the one after. */
function checkOldForm(node: Node, mode: string, scales: readonly number[]): void {
  const coordinates = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  if (mode === "cubic") throw new NeedsOpset(11, 'its mode "cubic" is newer');
  if (coordinates !== "asymmetric")
    throw new NeedsOpset(11, `its coordinate_transformation_mode "${coordinates}" is newer`);
  if (mode !== "nearest") return;
  const rounding = stringAttribute(node, "nearest_mode", "round_prefer_floor");
  const grows = scales.every((scale) => scale >= 1);
  const shrinks = scales.every((scale) => scale <= 1);
  if ((rounding === "floor" && grows) || (rounding === "ceil" && shrinks)) return;
  throw new NeedsOpset(11, `its nearest_mode "${rounding}" is newer`);
}

function withScales({ constant }: DowngradeContext, node: Node, scales: readonly number[]): Node {
  const input = constant("scales", tensorOf("float32", [scales.length], scales));
  return { ...node, inputs: [node.inputs[0], "", input] };
}

/** The scales as they are, or what the constant sizes make of the input's. */
function scalesOf(
  { node, numbersOf }: DowngradeContext,
  opset: number,
  from: readonly (number | string)[],
): readonly number[] {
  const scales = numbersOf(2, opset);
  if (scales) return scales;
  const sizes = numbersOf(3, opset) ?? [];
  return sizes.map((size, i) => {
    const before = from[i];
    const scale = typeof before === "number" ? Math.fround(size / before) : Number.NaN;
    if (typeof before === "number" && Math.floor(before * scale) === size) return scale;
    throw new NeedsOpset(opset, `"${node.inputs[3]}" gives sizes that no scales express`);
  });
}

// ONNX Runtime's MatMulNBits, read as a product with a matrix of integers whose scales are of groups of inputs.

import { unpack } from "../../ir/packing.ts";
import { sizeOf, type Tensor, tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import { replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

interface Form {
  readonly inputs: number;
  readonly rows: number;
  readonly groups: number;
  readonly groupSize: number;
  readonly bits: (typeof widths)[number];
}

const widths = [2, 4, 8] as const;

/** y = x · W + bias; B holds W's rows [N, groups, bytes], each from its first input's lowest bits on. */
export const matMulNBits: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, constant } = context;
    const form = formOf(context);
    const made = replacement(context);
    const [x, codes, scales, zeroPoints = "", order = "", bias = ""] = node.inputs;
    if (order !== "") throw cannotUpgrade(node, context.opset, "it reorders inputs (g_idx), which is not handled.");
    const length = form.groups * form.groupSize;
    const given = known(context, codes, ["uint8"], (form.rows * length * form.bits) / 8);
    const weight = constant("integers", columnsOf(integersOf(given, length, form), length, form.inputs, form.rows));
    const steps = known(context, scales, ["float32", "float16", "bfloat16"], form.rows * form.groups);
    const scale = constant("scales", transposedMatrix({ ...steps, shape: [form.rows, form.groups] }));
    const points = constant("zero_points", zeroPointsOf(context, zeroPoints, form));
    const attributes = { axis: 0, block_size: form.groupSize };
    const product = made.call("MatMul", [x, made.call("DequantizeLinear", [weight, scale, points], attributes)]);
    return made.finish(bias === "" ? product : made.call("Add", [product, bias]));
  },
};

function formOf({ node, opset }: UpgradeContext): Form {
  const [inputs, rows, groupSize] = ["K", "N", "block_size"].map((name) => numberAttribute(node, name, 0));
  const given = numberAttribute(node, "bits", 4);
  const bits = widths.find((width) => width === given);
  if (inputs < 1 || rows < 1 || groupSize < 1)
    throw cannotUpgrade(node, opset, `K is ${inputs}, N ${rows}, block_size ${groupSize}; expected positive numbers.`);
  if (bits === undefined) throw cannotUpgrade(node, opset, `bits is ${given}; 2, 4 and 8 are handled.`);
  if (numberAttribute(node, "weight_prepacked", 0) !== 0)
    throw cannotUpgrade(
      node,
      opset,
      "its weight is packed for one processor (weight_prepacked), which is not handled.",
    );
  return { inputs, rows, groups: Math.ceil(inputs / groupSize), groupSize, bits };
}

/** A constant of so many elements. */
function known(
  { node, opset, constantOf }: UpgradeContext,
  name: string,
  dtypes: readonly Tensor["dtype"][],
  count: number,
): Tensor {
  const value = constantOf(name);
  if (!value) throw cannotUpgrade(node, opset, `"${name}" is not a constant, which is not handled.`);
  const elements = sizeOf(value.shape);
  if (!dtypes.includes(value.dtype) || elements !== count)
    throw cannotUpgrade(
      node,
      opset,
      `"${name}" has ${elements} elements of type ${value.dtype}; ${count} of type ${dtypes.join(" or ")} are handled.`,
    );
  return value;
}

/** Rows of `length` integers, each row in whole bytes. */
function integersOf({ data }: Tensor, length: number, { rows, bits }: Form): Uint8Array {
  const stride = data.length / rows;
  const result = new Uint8Array(rows * length);
  for (let row = 0; row < rows; row++) {
    const bytes = (data as Uint8Array).subarray(row * stride, (row + 1) * stride);
    result.set(unpack(`uint${bits}`, bytes, length), row * length);
  }
  return result;
}

/** Rows of `length` integers → [count, rows], without what pads the rows. */
function columnsOf(integers: Uint8Array, length: number, count: number, rows: number): Tensor {
  const { data } = transposedMatrix(tensor("uint8", [rows, length], integers));
  return tensor("uint8", [count, rows], data.subarray(0, count * rows) as Uint8Array);
}

/** Where none are given, the middle of what the bits hold stands for 0. */
function zeroPointsOf(context: UpgradeContext, name: string, form: Form): Tensor {
  const { rows, groups, bits } = form;
  if (name === "") return tensor("uint8", [groups, rows], new Uint8Array(groups * rows).fill(2 ** (bits - 1)));
  const given = known(context, name, ["uint8"], rows * Math.ceil((groups * bits) / 8));
  return columnsOf(integersOf(given, groups, form), groups, groups, rows);
}

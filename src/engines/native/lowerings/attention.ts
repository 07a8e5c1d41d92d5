// Attention and its gradient by blocks of queries and keys.
import { numberAttribute, numbersAttribute } from "../../../ops/attributes.ts";
import { attentionGradientOp, attentionOp } from "../attention/join-attention.ts";
import { seenKeys } from "../attention/seen-keys.ts";
import { constantValue, type LoweringContext, type NativeOp } from "../lowering.ts";
import { fixed, list, stridesOf } from "../plan.ts";
import { matrixView } from "../transposes.ts";
import { type Operand, operandOf } from "./product.ts";

/** Which input the mask is, behind q, k and v. */
const maskInput = 3;

/** Matrices with strides along a batch that they may be broadcast to; rows `step` apart. */
interface Matrices extends Operand {
  readonly batchStrides: readonly number[];
}

function matricesOf(lowering: LoweringContext, i: number, batch: readonly number[]): Matrices {
  const operand = operandOf(lowering, i);
  const shape = fixed(operand.shape);
  const lead = batch.length + 2 - shape.length;
  const batchStrides = batch.map((_, axis) =>
    axis < lead || shape[axis - lead] === 1 ? 0 : operand.strides[axis - lead],
  );
  const step = operand.step || shape[shape.length - 1];
  const { numerics, narrowed, widened } = lowering;
  return { ...operand, value: (numerics.bfloat16 ? narrowed : widened)(operand.value), step, batchStrides };
}

/** Which input of the gradient dy is; its rows lie side by side. */
const dyInput = 6;

function dyOf(lowering: LoweringContext, shape: readonly number[]): Matrices {
  const { graph, node, uses, numerics, narrowed, input } = lowering;
  const view = matrixView(node.inputs[dyInput], graph, uses);
  if (view && !view.isTransposed) return matricesOf(lowering, dyInput, shape.slice(0, -2));
  const plain = input(dyInput, "plain");
  const value = numerics.bfloat16 ? narrowed(plain) : plain;
  const strides = stridesOf(shape, "plain").slice(0, -2);
  return { value, shape, isTransposed: false, step: shape[shape.length - 1], strides, batchStrides: strides };
}

const intsOf = ({ isTransposed, step, batchStrides }: Matrices): readonly number[] => [
  Number(isTransposed),
  step,
  ...list(batchStrides),
];

/** A mask with its strides along the heads' batch, and from query to query; or, where it is known and says no more, the keys that each query sees. */
function maskOf({ node, input }: LoweringContext, heads: readonly number[], queries: number) {
  const none = { values: [undefined, undefined], strides: heads.map(() => 0), row: 0 };
  if (node.inputs[maskInput] === "") return none;
  const value = input(maskInput, "plain");
  const shape = fixed(value.shape);
  const padded = [...Array.from({ length: heads.length + 2 - shape.length }, () => 1), ...shape];
  const { location } = value.slot;
  const isOne = padded.slice(0, -2).every((size) => size === 1) && padded.at(-2) === queries;
  // A constant that a Reshape only sees otherwise has rows of its own.
  const isAsStored = location.kind === "constant" && location.value.shape.at(-1) === shape.at(-1);
  const spans = isOne && isAsStored ? seenKeys(location.value) : undefined;
  if (spans) return { ...none, values: [undefined, constantValue(spans)] };
  const all = stridesOf(padded, "plain").map((stride, axis) => (padded[axis] === 1 ? 0 : stride));
  return { values: [value, undefined], strides: all.slice(0, -2), row: all[all.length - 2] };
}

/** What both steps take: q, k, v, and the mask, with the integers before and behind those of dy. */
function attentionOf(lowering: LoweringContext) {
  const { graph, node, numerics } = lowering;
  const y = node.op === attentionOp ? node.outputs[0] : node.inputs[4];
  const shape = fixed(graph.values.get(y)?.shape ?? []);
  const batch = shape.slice(0, -2);
  const [q, k, v] = [0, 1, 2].map((i) => matricesOf(lowering, i, batch));
  const [size, keys] = fixed(k.shape).slice(-2);
  const [rows, width] = shape.slice(-2);
  const given = numbersAttribute(node, "heads", []);
  const [heads, queries] = [given.slice(0, -1), given[given.length - 1]];
  const mask = maskOf(lowering, heads, queries);
  return {
    suffix: numerics.bfloat16 ? ":bfloat16" : "",
    values: [q.value, k.value, v.value],
    mask: mask.values,
    before: [queries, rows, keys, size, width, ...list(batch), ...[q, k, v].flatMap(intsOf)],
    shape,
    behind: [...list(heads), ...list(mask.strides), mask.row],
    floats: [numberAttribute(node, "scale", 1)],
  };
}

const attention: NativeOp = {
  lower: (lowering) => {
    const { suffix, values, mask, before, behind, floats } = attentionOf(lowering);
    lowering.emit(`attention${suffix}`, {
      inputs: [...values, ...mask],
      outputs: [lowering.output(0), lowering.output(1)],
      ints: [...before, ...behind],
      floats,
    });
  },
};

const attentionGradient: NativeOp = {
  lower: (lowering) => {
    const { suffix, values, mask, before, shape, behind, floats } = attentionOf(lowering);
    const { input, output } = lowering;
    const dy = dyOf(lowering, shape);
    lowering.emit(`attentionGradient${suffix}`, {
      inputs: [...values, dy.value, ...mask, input(4, "plain"), input(5, "plain")],
      outputs: [output(0), output(1), output(2)],
      ints: [...before, ...intsOf(dy), ...behind],
      floats,
    });
  },
};

export const attentionOps: Readonly<Record<string, NativeOp>> = {
  [attentionOp]: attention,
  [attentionGradientOp]: attentionGradient,
};

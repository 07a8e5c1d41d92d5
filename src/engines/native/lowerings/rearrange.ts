// Operators that repeat, fold, mirror or fill elements.
import { tensorOf, zeros } from "../../../ir/tensor.ts";
import { numberAttribute, stringAttribute, tensorAttribute } from "../../../ops/attributes.ts";
import { knownResults } from "../../../passes/known-results.ts";
import { constantValue, isKnown, type LoweringContext, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed, stridesOf, type Value } from "../plan.ts";
import { around } from "./quantization.ts";
import { copy, fill, wholeView } from "./shape.ts";

/** The elements at these places of one axis, in a new value; the last of a chain is the node's output. */
function gather(
  lowering: LoweringContext,
  x: Value,
  axis: number,
  places: readonly number[],
  y: Value | undefined,
): Value {
  const shape = fixed(x.shape);
  const result = y ?? lowering.scratch(x.dtype, shape.with(axis, places.length));
  const indices = constantValue(tensorOf("int64", [places.length], places));
  lowering.emit(`gather${bytesOf(x.dtype)}`, {
    inputs: [x, indices],
    outputs: [result],
    ints: [...around(shape, axis, "plain"), places.length, places.length],
  });
  return result;
}

/** Takes places along several axes, one after the other. */
export function gatherAlongAxes(
  lowering: LoweringContext,
  x: Value,
  axes: readonly (readonly [axis: number, places: readonly number[]])[],
): void {
  if (axes.length === 0) lowering.define(0, x);
  axes.reduce((value, [axis, places], i) => {
    const y = i === axes.length - 1 ? lowering.output(0) : undefined;
    return gather(lowering, value, axis, places, y);
  }, x);
}

/** 0, 1, … */
export const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

const Tile: NativeOp = {
  anyType: true,
  accepts: (node, graph) => isKnown(graph, node.inputs[1]),
  lower: (lowering) => {
    const x = lowering.input(0, "plain");
    const shape = fixed(x.shape);
    const axes = (lowering.constantOf(1) ?? []).flatMap((repeats, axis) =>
      repeats === 1 ? [] : [[axis, range(shape[axis] * repeats).map((i) => i % shape[axis])] as const],
    );
    gatherAlongAxes(lowering, x, axes);
  },
};

/** Copies x, seen in `blocks`, with its axes in the order `perm`. */
function permuteBlocks(lowering: LoweringContext, blocks: readonly number[], perm: readonly number[]): void {
  const x = lowering.input(0, "plain");
  const y = lowering.output(0);
  if (!y) return;
  const strides = stridesOf(blocks, "plain");
  const shape = perm.map((axis) => blocks[axis]);
  const from = { value: x, strides: perm.map((axis) => strides[axis]), offset: 0 };
  copy(lowering, shape, from, wholeView({ ...y, shape }));
}

const DepthToSpace: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const [n, c, h, w] = fixed(lowering.input(0).shape);
    const b = numberAttribute(lowering.node, "blocksize", 1);
    const channels = c / (b * b);
    if (stringAttribute(lowering.node, "mode", "DCR") === "DCR")
      permuteBlocks(lowering, [n, b, b, channels, h, w], [0, 3, 4, 1, 5, 2]);
    else permuteBlocks(lowering, [n, channels, b, b, h, w], [0, 1, 4, 2, 5, 3]);
  },
};

const SpaceToDepth: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const [n, c, h, w] = fixed(lowering.input(0).shape);
    const b = numberAttribute(lowering.node, "blocksize", 1);
    permuteBlocks(lowering, [n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4]);
  },
};

const ConstantOfShape: NativeOp = {
  anyType: true,
  accepts: (node, graph) => isKnown(graph, node.inputs[0]),
  lower: (lowering) => {
    const y = lowering.output(0);
    const value = tensorAttribute(lowering.node, "value") ?? zeros("float32", [1]);
    if (y) fill(lowering, y, constantValue(value));
  },
};

/** Once sizes are numbers, its contents are known. */
const Range: NativeOp = {
  anyType: true,
  accepts: (node, graph) => node.inputs.every((input) => isKnown(graph, input)),
  lower: ({ graph, node, define }) => {
    const [result] = knownResults(graph, node);
    if (result) define(0, constantValue(result));
  },
};

export const rearrangeOps: Readonly<Record<string, NativeOp>> = {
  Tile,
  DepthToSpace,
  SpaceToDepth,
  ConstantOfShape,
  Range,
};

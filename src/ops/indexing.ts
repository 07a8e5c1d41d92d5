// Operators that read and write at positions given by a tensor of indices.

import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node, type ValueType } from "../ir/graph.ts";
import { toNumbers } from "../ir/tensor.ts";
import { shapeOf, zerosLike } from "./arithmetic.ts";
import { choiceAttribute, mismatch, numberAttribute, printShape, stringAttribute, unsupported } from "./attributes.ts";
import type { GradientRule, InferContext, OpDefinition, SampleRule } from "./definition.ts";
import { anything, integers, numbers, oneElement, rowsOf, single, tied, vector } from "./inputs.ts";
import { operand, resolveAxis, unknownDim, withElements } from "./operands.ts";
import { costPerElement, noCost } from "./pointwise.ts";
import { axisOfFirst, samplesBesideAxis } from "./samples.ts";

const axisAttribute = (node: Node): number => numberAttribute(node, "axis", 0);

const axisOf = (node: Node, rank: number, fallback = 0): number =>
  resolveAxis(node, numberAttribute(node, "axis", fallback), rank);

function gatheredElements(context: InferContext): readonly Dim[] | undefined {
  const elements = context.elements(0);
  const indices = context.elements(1);
  if (!elements || !indices || operand(context, 0).shape.length !== 1) return undefined;
  const gathered = indices.map((index) => (typeof index === "number" ? elements.at(index) : undefined));
  return gathered.every((element) => element !== undefined) ? gathered : undefined;
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

/** The shape [...front, ...middle, ...back] of a value as a 1-D value, from the parts' own shapes. */
function joinedShape(build: Builder, value: string, parts: readonly (readonly number[])[]): string {
  const shape = shapeOf(build, value);
  return build.node("Gather", [shape, build.ints(parts.flat())], { axis: 0 });
}

/** Indices that are known before the graph runs lie within the axes that they count along; `sizeAt`: of the one at a place. */
function checkIndices(context: InferContext, sizeAt: (place: number) => Dim | undefined): void {
  (context.elements(1) ?? []).forEach((index, place) => {
    const size = sizeAt(place);
    if (typeof index !== "number" || typeof size !== "number" || (index >= -size && index < size)) return;
    throw mismatch(context.node, `index ${index} is outside an axis of ${size} elements.`);
  });
}

/** Samples of the indices read one table; those of the data are chosen from along the gathered axis. */
const gatheredSamples: SampleRule = ({ node, axes: [data, indices], inputs }) => {
  const [rank, indexRank] = inputs.map((type) => type?.shape.length ?? 0);
  const gathered = axisOf(node, rank);
  if (data >= 0 === indices >= 0 || data === gathered) return "coupled";
  if (indices >= 0) return gathered + indices;
  return data < gathered ? data : data + indexRank - 1;
};

/** dx = dy, with the indexed axes in front, added onto zeros at the indices */
export const Gather: OpDefinition = {
  introduced: 1,
  inputs: [anything, rowsOf(0, axisAttribute)],
  outputs: 1,
  sampleAxis: gatheredSamples,
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const indices = operand(context, 1).shape;
    if (shape.length === 0) throw mismatch(context.node, "cannot gather from a scalar.");
    const axis = axisOf(context.node, shape.length);
    checkIndices(context, () => shape[axis]);
    return [
      withElements(dtype, [...shape.slice(0, axis), ...indices, ...shape.slice(axis + 1)], gatheredElements(context)),
    ];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const [x, indices] = node.inputs;
    const rank = type(x).shape.length;
    const indexRank = type(indices).shape.length;
    const axis = axisOf(node, rank);
    const index = build.node("Unsqueeze", [indices, build.ints([-1])]);
    if (axis === 0) return [addAt(build, shapeOf(build, x), index, dy)];
    const inFront = [
      ...range(axis, axis + indexRank),
      ...range(0, axis),
      ...range(axis + indexRank, rank - 1 + indexRank),
    ];
    const moved = build.node("Transpose", [dy], { perm: inFront });
    const order = [axis, ...range(0, axis), ...range(axis + 1, rank)];
    const added = addAt(build, joinedShape(build, x, [order]), index, moved);
    return [build.node("Transpose", [added], { perm: order.map((_, i) => order.indexOf(i)) })];
  },
  cost: noCost,
};

const zerosOf = (build: Builder, shape: string, like: string): string =>
  build.node("Expand", [build.scalar(0, like), shape]);

const addAt = (build: Builder, shape: string, indices: string, updates: string): string =>
  build.node("ScatterND", [zerosOf(build, shape, updates), indices, updates], { reduction: "add" });

const contradicts = (a: Dim | undefined, b: Dim | undefined): boolean =>
  typeof a === "number" && typeof b === "number" && a !== b;

const isLarger = (a: Dim | undefined, b: Dim | undefined): boolean =>
  typeof a === "number" && typeof b === "number" && a > b;

/** Beside its axis, an index stands for its own place in the data, which must have it. */
function checkWithin(node: Node, data: readonly Dim[], indices: readonly Dim[]): void {
  const axis = axisOf(node, data.length);
  if (indices.some((size, i) => i !== axis && isLarger(size, data[i])))
    throw mismatch(node, `indices ${printShape(indices)} reach outside data ${printShape(data)} beside axis ${axis}.`);
}

/** Beside its axis, an index reads at its own place: there data and indices have the same samples, or none. */
const gatheredElementSamples: SampleRule = ({ node, axes: [data, indices], inputs }) => {
  const gathered = axisOf(node, inputs[0]?.shape.length ?? 0);
  if (indices === gathered && data < 0) return indices;
  return indices >= 0 && indices === data && data !== gathered ? data : "coupled";
};

/** dx = dy added onto zeros at the indices */
export const GatherElements: OpDefinition = {
  introduced: 11,
  inputs: [anything, integers],
  outputs: 1,
  sampleAxis: gatheredElementSamples,
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const indices = operand(context, 1).shape;
    if (indices.length !== shape.length)
      throw mismatch(context.node, `indices ${printShape(indices)} and data ${printShape(shape)} differ in rank.`);
    checkWithin(context.node, shape, indices);
    checkIndices(context, () => shape[axisOf(context.node, shape.length)]);
    return [{ dtype, shape: indices }];
  },
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const [x, indices] = node.inputs;
    const axis = numberAttribute(node, "axis", 0);
    return [build.node("ScatterElements", [zerosLike(build, x), indices, dy], { axis, reduction: "add" })];
  },
  cost: noCost,
};

function indexDepth(node: Node, indices: readonly Dim[]): number {
  const depth = indices.at(-1);
  if (typeof depth === "number") return depth;
  throw mismatch(node, `the last size of its indices ${printShape(indices)} must be a number.`);
}

/** Batch axes are read at their own places, the axes after them by the indices, the rest whole. */
const gatheredPointSamples: SampleRule = ({ node, axes: [data, indices], inputs }) => {
  const batch = numberAttribute(node, "batch_dims", 0);
  const index = inputs[1]?.shape ?? [];
  const depth = indexDepth(node, index);
  if (data >= 0 && indices >= 0) return data === indices && data < batch ? data : "coupled";
  if (indices >= 0) return indices >= batch && indices < index.length - 1 ? indices : "coupled";
  return data >= batch + depth ? data - batch - depth + index.length - 1 : "coupled";
};

/** dx = dy added onto zeros at the indices */
export const GatherND: OpDefinition = {
  introduced: 11,
  inputs: [anything, integers],
  outputs: 1,
  sampleAxis: gatheredPointSamples,
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const indices = operand(context, 1).shape;
    const batch = numberAttribute(context.node, "batch_dims", 0);
    const depth = indexDepth(context.node, indices);
    if (batch + depth > shape.length)
      throw mismatch(
        context.node,
        `indices ${printShape(indices)} point ${depth} axes deep into ${printShape(shape)} after ${batch} batch axes.`,
      );
    const inFront = indices.slice(0, batch);
    if (batch < 0 || batch >= indices.length || inFront.some((size, axis) => contradicts(size, shape[axis])))
      throw mismatch(
        context.node,
        `indices ${printShape(indices)} and data ${printShape(shape)} do not share ${batch} batch axes.`,
      );
    checkIndices(context, (place) => shape[batch + (place % depth)]);
    return [{ dtype, shape: [...indices.slice(0, -1), ...shape.slice(batch + depth)] }];
  },
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const batch = numberAttribute(node, "batch_dims", 0);
    if (batch !== 0)
      throw new FrostbitError("NO_GRADIENT", `${describeNode(node)}: batch_dims ${batch} has no gradient; 0 has.`);
    const [x, indices] = node.inputs;
    return [addAt(build, shapeOf(build, x), indices, dy)];
  },
  cost: noCost,
};

const reductions = ["none", "add", "mul", "max", "min"] as const;

function inferScatter(context: InferContext): readonly ValueType[] {
  const { dtype, shape } = operand(context, 0);
  choiceAttribute(context.node, "reduction", reductions);
  return [{ dtype, shape }];
}

/**
 * reduction none: ddata = dy with zeros at the indices; add: ddata = dy; both: dupdates = dy read at the indices.
 * `gather` is the operator that reads what this one writes.
 */
const scatterGradient =
  (gather: "GatherElements" | "GatherND"): GradientRule =>
  ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const reduction = stringAttribute(node, "reduction", "none");
    if (reduction !== "none" && reduction !== "add")
      throw new FrostbitError(
        "NO_GRADIENT",
        `${describeNode(node)}: reduction "${reduction}" has no gradient; "none" and "add" have.`,
      );
    const [, indices, updates] = node.inputs;
    const place: Record<string, number> = gather === "GatherND" ? {} : { axis: numberAttribute(node, "axis", 0) };
    const erased = (): string =>
      build.node(node.op, [dy, indices, zerosLike(build, updates)], { ...place, reduction: "none" });
    return [
      reduction === "add" || wants(0) === "none" ? dy : erased(),
      undefined,
      wants(2) === "none" ? undefined : build.node(gather, [dy, indices], place),
    ];
  };

export const ScatterElements: OpDefinition = {
  // Scatter until opset 10.
  introduced: 9,
  inputs: [tied(anything), integers, tied(anything)],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const [{ shape }, indices, updates] = [0, 1, 2].map((i) => operand(context, i));
    if (indices.shape.length !== shape.length || updates.shape.length !== shape.length)
      throw mismatch(
        context.node,
        `data ${printShape(shape)}, indices ${printShape(indices.shape)} and updates ${printShape(updates.shape)} differ in rank.`,
      );
    checkWithin(context.node, shape, indices.shape);
    if (indices.shape.some((size, i) => contradicts(size, updates.shape[i])))
      throw mismatch(
        context.node,
        `updates ${printShape(updates.shape)} and indices ${printShape(indices.shape)} differ in shape.`,
      );
    checkIndices(context, () => shape[axisOf(context.node, shape.length)]);
    return inferScatter(context);
  },
  gradient: scatterGradient("GatherElements"),
  cost: noCost,
};

export const ScatterND: OpDefinition = {
  introduced: 11,
  inputs: [tied(anything), integers, tied(anything)],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const [{ shape }, indices, updates] = [0, 1, 2].map((i) => operand(context, i).shape).map((shape) => ({ shape }));
    const depth = indexDepth(context.node, indices.shape);
    const expected = [...indices.shape.slice(0, -1), ...shape.slice(depth)];
    if (expected.length !== updates.shape.length || expected.some((dim, i) => contradicts(dim, updates.shape[i])))
      throw mismatch(context.node, `updates are ${printShape(updates.shape)}; expected ${printShape(expected)}.`);
    checkIndices(context, (place) => shape[place % depth]);
    return inferScatter(context);
  },
  gradient: scatterGradient("GatherND"),
  cost: noCost,
};

/** Classes take a place among the axes. */
const oneHotSamples: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  const classes = axisOf(context.node, (context.inputs[0]?.shape.length ?? 0) + 1, -1);
  return axis < 0 ? "coupled" : axis + Number(axis >= classes);
};

export const OneHot: OpDefinition = {
  introduced: 9,
  inputs: [numbers, single(numbers), vector(anything)],
  outputs: 1,
  sampleAxis: oneHotSamples,
  movesValues: false,
  infer: (context) => {
    const indices = operand(context, 0).shape;
    const [values] = operand(context, 2).shape;
    if (values !== 2 && typeof values === "number")
      throw mismatch(context.node, `it has ${values} values; expected 2, the one of other classes and its own.`);
    const constant = context.constant(1);
    const depth = constant ? Math.trunc(toNumbers(constant)[0]) : context.elements(1)?.[0];
    if (typeof depth === "number" && depth < 1)
      throw mismatch(context.node, `its depth is ${depth}; expected 1 class or more.`);
    const axis = axisOf(context.node, indices.length + 1, -1);
    const shape = indices.toSpliced(axis, 0, depth ?? unknownDim(context.node, axis));
    return [{ dtype: operand(context, 2).dtype, shape }];
  },
  gradient: "none",
  cost: costPerElement,
};

const extremeSamples: SampleRule = (context) => {
  const axis = samplesBesideAxis(0)(context);
  const reduced = axisOf(context.node, context.inputs[0]?.shape.length ?? 0);
  const keeps = numberAttribute(context.node, "keepdims", 1) === 1;
  return typeof axis === "number" && axis > reduced && !keeps ? axis - 1 : axis;
};

const argExtreme: OpDefinition = {
  introduced: 1,
  inputs: [numbers],
  outputs: 1,
  sampleAxis: extremeSamples,
  movesValues: false,
  infer: (context) => {
    const { shape } = operand(context, 0);
    const axis = axisOf(context.node, shape.length);
    if (shape[axis] === 0)
      throw mismatch(context.node, `axis ${axis} of ${printShape(shape)} is empty; none of its elements is the first.`);
    const keeps = numberAttribute(context.node, "keepdims", 1) === 1;
    return [{ dtype: "int64", shape: keeps ? shape.with(axis, 1) : shape.toSpliced(axis, 1) }];
  },
  gradient: "none",
  cost: ([input]) => ({ multiplyAdds: (input ?? []).reduce((product, size) => product * size, 1) }),
};
/** Ties go to the first, with select_last_index to the last. */
export const ArgMax: OpDefinition = argExtreme;
export const ArgMin: OpDefinition = argExtreme;

/** Values and indices; ties go to the lower index. dx is the values' dy, where they were. */
export const TopK: OpDefinition = {
  introduced: 1,
  inputs: [numbers, oneElement(integers)],
  outputs: 2,
  sampleAxis: samplesBesideAxis(-1),
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const axis = axisOf(context.node, shape.length, -1);
    const k = context.elements(1)?.[0] ?? unknownDim(context.node, axis);
    const dim = shape[axis];
    if (typeof k === "number" && typeof dim === "number" && k > dim)
      throw mismatch(context.node, `k is ${k}, and axis ${axis} of ${printShape(shape)} has ${dim} elements.`);
    const sizes = shape.with(axis, k);
    return [
      { dtype, shape: sizes },
      { dtype: "int64", shape: sizes },
    ];
  },
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const axis = numberAttribute(node, "axis", -1);
    return [build.node("ScatterElements", [zerosLike(build, node.inputs[0]), node.outputs[1], dy], { axis })];
  },
  cost: ([input]) => ({ multiplyAdds: (input ?? []).reduce((product, size) => product * size, 1) }),
};

export const NonZero: OpDefinition = {
  introduced: 9,
  inputs: [anything],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const rank = operand(context, 0).shape.length;
    // ONNX says [0, N], ONNX Runtime gives [1, N].
    if (rank === 0)
      throw unsupported(
        context.node,
        "its input has no axis. ONNX wants no coordinates of it, ONNX Runtime gives one; Reshape it to [1].",
      );
    return [{ dtype: "int64", shape: [rank, unknownDim(context.node, 1)] }];
  },
  gradient: "none",
  cost: noCost,
};

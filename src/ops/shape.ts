// Operators that move, copy, cut and make values without computing on them.

import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node, type ValueType } from "../ir/graph.ts";
import { sizeOf, toNumbers } from "../ir/tensor.ts";
import { shapeOf, zerosLike } from "./arithmetic.ts";
import {
  choiceAttribute,
  mismatch,
  numberAttribute,
  numbersAttribute,
  printShape,
  stringAttribute,
  tensorAttribute,
  unsupported,
} from "./attributes.ts";
import { broadcastShapes } from "./broadcast.ts";
import { constantValue } from "./constant-value.ts";
import type {
  GradientContext,
  GradientRule,
  InferContext,
  OpDefinition,
  OwnOpDefinition,
  SampleRule,
} from "./definition.ts";
import { isStatic, productOf, quotientOf, sumOf } from "./dims.ts";
import {
  anything,
  floats,
  integers,
  numbers,
  optional,
  repeated,
  single,
  sizes,
  tied,
  vector,
  vectorOrScalar,
} from "./inputs.ts";
import { knownNumbers, operand, resolveAxis, unknownDim, unknownShape, withElements } from "./operands.ts";
import { checkRepeats, padModes, repeatedPadGradient } from "./padding.ts";
import { noCost } from "./pointwise.ts";
import { padAmounts, rangeCount, reshapedShape, splitSizes } from "./reshaping.ts";
import {
  agreed,
  alignedSamples,
  axisOfFirst,
  leadingSamples,
  samplesBesideAxis,
  samplesInOrder,
  samplesWhere,
} from "./samples.ts";
import { resolveSlices, type SliceBounds, slicedShape } from "./slicing.ts";

const int64Vector = (elements: readonly Dim[]): ValueType => withElements("int64", [elements.length], elements);

/** dx = dy in x's shape */
const reshapeBack: GradientRule = ({ node, build, dys: [dy] }) =>
  dy === undefined ? [] : [build.node("Reshape", [dy, shapeOf(build, node.inputs[0])])];

export const Shape: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: "sizes",
  movesValues: false,
  infer: (context) => {
    const { shape } = operand(context, 0);
    const start = numberAttribute(context.node, "start", 0);
    return [int64Vector(shape.slice(start, numberAttribute(context.node, "end", shape.length)))];
  },
  gradient: "none",
  cost: noCost,
};

export const Size: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: "sizes",
  movesValues: false,
  infer: (context) => [withElements("int64", [], [productOf(operand(context, 0).shape)])],
  gradient: "none",
  cost: noCost,
};

export const Reshape: OpDefinition = {
  introduced: 1,
  inputs: [anything, sizes],
  outputs: 1,
  sampleAxis: samplesInOrder,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const [rank] = operand(context, 1).shape;
    const target = rank === 0 ? [] : context.elements(1);
    if (target) return [withElements(dtype, reshapedShape(context.node, shape, target), context.elements(0))];
    if (typeof rank !== "number")
      throw unsupported(context.node, `its target "${context.node.inputs[1]}" has an unknown number of sizes.`);
    return [{ dtype, shape: unknownShape(context.node, rank) }];
  },
  gradient: reshapeBack,
  cost: noCost,
};

export const Flatten: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: samplesInOrder,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const axis = numberAttribute(context.node, "axis", 1);
    const split = axis === shape.length ? axis : resolveAxis(context.node, axis, shape.length);
    return [{ dtype, shape: [productOf(shape.slice(0, split)), productOf(shape.slice(split))] }];
  },
  gradient: reshapeBack,
  cost: noCost,
};

export const Squeeze: OpDefinition = {
  introduced: 1,
  inputs: [anything, optional(vector(integers))],
  outputs: 1,
  sampleAxis: (context) => (context.inputs[1] ? samplesInOrder(context) : "coupled"),
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const given = knownNumbers(context, 1, "axes")?.map((axis) => resolveAxis(context.node, axis, shape.length));
    if (given?.length === 0)
      throw unsupported(context.node, "its axes are an empty list, which runtimes read as none and as all of size 1.");
    const axes = new Set(given ?? shape.flatMap((dim, axis) => (dim === 1 ? [axis] : [])));
    const wrong = [...axes].find((axis) => typeof shape[axis] === "number" && shape[axis] !== 1);
    if (wrong !== undefined)
      throw mismatch(context.node, `axis ${wrong} of ${printShape(shape)} is not 1, so it cannot be squeezed.`);
    const kept = shape.filter((_, axis) => !axes.has(axis));
    return [withElements(dtype, kept, context.elements(0))];
  },
  gradient: reshapeBack,
  cost: noCost,
};

export const Unsqueeze: OpDefinition = {
  introduced: 1,
  inputs: [anything, vectorOrScalar(integers)],
  outputs: 1,
  sampleAxis: samplesInOrder,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const given = knownNumbers(context, 1, "axes") ?? [];
    const rank = shape.length + given.length;
    const axes = new Set(given.map((axis) => resolveAxis(context.node, axis, rank)));
    if (axes.size < given.length) throw mismatch(context.node, `axes ${printShape(given)} name one axis twice.`);
    const rest = [...shape];
    const expanded = Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? 1 : (rest.shift() as Dim)));
    return [withElements(dtype, expanded, context.elements(0))];
  },
  gradient: reshapeBack,
  cost: noCost,
};

const permutation = (node: Node, rank: number): readonly number[] =>
  numbersAttribute(node, "perm") ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);

const transposedSamples: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  return axis < 0 ? "coupled" : permutation(context.node, context.inputs[0]?.shape.length ?? 0).indexOf(axis);
};

/** dx = dy, transposed by the inverse permutation */
export const Transpose: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: transposedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const perm = permutation(context.node, shape.length);
    if (perm.toSorted((a, b) => a - b).some((axis, i) => axis !== i) || perm.length !== shape.length)
      throw mismatch(context.node, `perm ${printShape(perm)} does not permute the axes of ${printShape(shape)}.`);
    return [
      withElements(
        dtype,
        perm.map((axis) => shape[axis]),
        shape.length < 2 ? context.elements(0) : undefined,
      ),
    ];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const perm = permutation(node, type(node.inputs[0]).shape.length);
    return [build.node("Transpose", [dy], { perm: perm.map((_, axis) => perm.indexOf(axis)) })];
  },
  cost: noCost,
};

/** dx = dy, summed by the walk */
export const Expand: OpDefinition = {
  introduced: 8,
  inputs: [anything, sizes],
  outputs: 1,
  sampleAxis: alignedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const [rank] = operand(context, 1).shape;
    if (typeof rank !== "number")
      throw unsupported(context.node, `its target "${context.node.inputs[1]}" has an unknown number of sizes.`);
    const target = context.elements(1) ?? unknownShape(context.node, rank);
    const expanded = broadcastShapes(context.node, [shape, target]);
    const elements = context.elements(0);
    const isRepeated = elements?.length === 1 && expanded.length <= 1 && isStatic(expanded);
    const same = String(expanded) === String(shape) ? elements : undefined;
    return [withElements(dtype, expanded, isRepeated ? Array(sizeOf(expanded)).fill(elements[0]) : same)];
  },
  gradient: ({ dys: [dy] }) => [dy],
  cost: noCost,
};

/** A batch that is repeated comes twice; what has no batch may become one of equal samples. */
const tiledSamples: SampleRule = ({ axes: [axis], elements }) => {
  if (axis < 0) return "anywhere";
  return elements(1)?.[axis] === 1 ? axis : "coupled";
};

/** dx = dy seen as [repeat, size, …], summed over the repeats */
export const Tile: OpDefinition = {
  introduced: 1,
  inputs: [anything, sizes],
  outputs: 1,
  sampleAxis: tiledSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const repeats = context.elements(1);
    if (repeats && repeats.length !== shape.length)
      throw mismatch(context.node, `${repeats.length} repeats for ${printShape(shape)}; expected one per axis.`);
    const tiled = shape.map((dim, axis) =>
      repeats ? productOf([dim, repeats[axis]]) : unknownDim(context.node, axis),
    );
    return [{ dtype, shape: tiled }];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const { shape } = type(node.inputs[0]);
    const tiled = type(dy).shape;
    const folded = shape.flatMap((dim, axis) => [quotientOf([tiled[axis]], [dim]) ?? -1, dim]).map(Number);
    const repeats = build.node("Reshape", [dy, build.ints(folded)]);
    const axes = build.ints(shape.map((_, axis) => 2 * axis));
    return [build.node("ReduceSum", [repeats, axes], { keepdims: 0 })];
  },
  cost: noCost,
};

function concatShape(context: InferContext, axis: number): readonly Dim[] {
  const shapes = context.inputs.map((_, i) => operand(context, i).shape);
  const [first] = shapes;
  const disagrees = (shape: readonly Dim[]): boolean =>
    shape.length !== first.length ||
    shape.some((dim, i) => i !== axis && typeof dim === "number" && typeof first[i] === "number" && dim !== first[i]);
  if (shapes.some(disagrees))
    throw mismatch(context.node, `cannot concatenate ${shapes.map(printShape).join(", ")} along axis ${axis}.`);
  return first.map((dim, i) => {
    if (i === axis) return sumOf(shapes.map((shape) => shape[axis]));
    return shapes.map((shape) => shape[i]).find((other) => typeof other === "number") ?? dim;
  });
}

const concatenatedSamples: SampleRule = (context) => {
  const axis = agreed(context.axes);
  const rank = context.inputs[0]?.shape.length ?? 0;
  const joined = resolveAxis(context.node, numberAttribute(context.node, "axis", 0), rank);
  return typeof axis === "number" && axis >= 0 && axis !== joined ? axis : "coupled";
};

/** dx_i = the part of dy that x_i became */
export const Concat: OpDefinition = {
  introduced: 1,
  inputs: [repeated(tied(anything))],
  outputs: 1,
  sampleAxis: concatenatedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const axis = resolveAxis(context.node, numberAttribute(context.node, "axis", 0), shape.length);
    const contents = context.inputs.map((_, i) => context.elements(i));
    const isKnown = shape.length === 1 && contents.every((list) => list !== undefined);
    return [withElements(dtype, concatShape(context, axis), isKnown ? (contents.flat() as Dim[]) : undefined)];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const rank = type(node.inputs[0]).shape.length;
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), rank);
    const sizes = node.inputs.map((input) => staticDim(type(input).shape[axis], node));
    return build.nodes(
      "Split",
      [dy, build.ints(sizes)],
      node.inputs.map(() => true),
      { axis },
    );
  },
  cost: noCost,
};

function staticDim(dim: Dim, node: Node): number {
  if (typeof dim === "number") return dim;
  throw new FrostbitError(
    "NO_GRADIENT",
    `${describeNode(node)}: its gradient needs the size "${dim}" as a number. Give the model's inputs fixed sizes.`,
  );
}

/** dx = the dys, concatenated; zeros where no gradient arrives */
export const Split: OpDefinition = {
  introduced: 1,
  inputs: [anything, optional(sizes)],
  outputs: "any",
  sampleAxis: samplesBesideAxis(0),
  movesValues: true,
  infer: (context) => {
    const { node } = context;
    const { dtype, shape } = operand(context, 0);
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), shape.length);
    const sizes = splitSizes(context, axis);
    const elements = shape.length === 1 && isStatic(sizes) ? context.elements(0) : undefined;
    if (
      sizes.length !== node.outputs.length ||
      (isStatic(sizes) && typeof shape[axis] === "number" && sumOf(sizes) !== shape[axis])
    )
      throw mismatch(
        node,
        `cannot split ${printShape(shape)} along axis ${axis} into ${node.outputs.length} parts of sizes ${printShape(sizes)}.`,
      );
    let end = 0;
    return sizes.map((size) => {
      const start = end;
      end += elements ? Number(size) : 0;
      return withElements(dtype, shape.with(axis, size), elements?.slice(start, end));
    });
  },
  gradient: ({ node, build, dys, type }) => {
    const axis = resolveAxis(node, numberAttribute(node, "axis", 0), type(node.inputs[0]).shape.length);
    const parts = dys.map((dy, i) => {
      if (dy !== undefined) return dy;
      if (node.outputs[i] !== "") return zerosLike(build, node.outputs[i]);
      throw unsupported(node, `its output ${i} is left out, so its gradient cannot be built.`);
    });
    return [build.node("Concat", parts, { axis })];
  },
  cost: noCost,
};

/** Samples stay apart along an axis that is not padded. */
const paddedSamples: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  const amounts = axis < 0 ? undefined : padAmounts(context)?.[axis];
  return amounts?.every((amount) => amount === 0) ? axis : "coupled";
};

/** Mode constant: dx = dy padded by the negative amounts, dvalue = Σdy − Σdx; else dx sums what repeats each element */
export const Pad: OpDefinition = {
  introduced: 1,
  inputs: [tied(anything), vector(integers), optional(single(tied(anything))), optional(vector(integers))],
  outputs: 1,
  sampleAxis: paddedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const mode = choiceAttribute(context.node, "mode", padModes);
    const amounts = padAmounts(context);
    amounts?.forEach((amount, axis) => {
      checkRepeats(context.node, mode, shape[axis], amount);
    });
    const padded = shape.map((dim, axis) =>
      amounts ? sumOf([dim, ...amounts[axis]]) : unknownDim(context.node, axis),
    );
    const negative = padded.find((dim) => typeof dim === "number" && dim < 0);
    if (negative !== undefined)
      throw mismatch(context.node, `padding ${printShape(shape)} gives the negative size ${negative}.`);
    return [{ dtype, shape: padded }];
  },
  gradient: (context) => {
    const { node, build, wants } = context;
    const [dy] = context.dys;
    if (dy === undefined) return [];
    if (stringAttribute(node, "mode", "constant") !== "constant") return [repeatedPadGradient(context, dy)];
    const [, pads, value, axes] = node.inputs;
    const dx = build.node("Pad", [dy, build.node("Neg", [pads]), undefined, axes]);
    if (!value || wants(2) === "none") return [dx];
    const total = (part: string): string => build.node("ReduceSum", [part], { keepdims: 0 });
    return [dx, undefined, build.node("Sub", [total(dy), total(dx)])];
  },
  cost: noCost,
};

export const ConstantOfShape: OpDefinition = {
  introduced: 9,
  inputs: [sizes],
  outputs: 1,
  sampleAxis: () => "anywhere",
  movesValues: false,
  infer: (context) => {
    const { node } = context;
    const value = tensorAttribute(node, "value");
    const [rank] = operand(context, 0).shape;
    if (typeof rank !== "number")
      throw unsupported(node, `its shape "${node.inputs[0]}" has an unknown number of sizes.`);
    const shape = context.elements(0) ?? unknownShape(node, rank);
    if (shape.some((size) => typeof size === "number" && size < 0))
      throw mismatch(node, `its shape ${printShape(shape)} has a negative size.`);
    const isSmall = shape.length <= 1 && isStatic(shape) && sizeOf(shape) <= 1024;
    const elements = value && isSmall ? Array<Dim>(sizeOf(shape)).fill(toNumbers(value)[0]) : undefined;
    return [withElements(value?.dtype ?? "float32", shape, elements)];
  },
  gradient: "none",
  cost: noCost,
};

export const Constant: OpDefinition = {
  introduced: 1,
  inputs: [],
  outputs: 1,
  sampleAxis: () => "anywhere",
  movesValues: false,
  infer: ({ node }) => {
    const value = constantValue(node);
    return [withElements(value.dtype, value.shape, value.data.length <= 1024 ? toNumbers(value) : undefined)];
  },
  gradient: "none",
  cost: noCost,
};

export const Range: OpDefinition = {
  introduced: 11,
  inputs: [single(tied(numbers)), single(tied(numbers)), single(tied(numbers))],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype } = operand(context, 0);
    const [start, limit, delta] = [0, 1, 2].map((i) => {
      const constant = context.constant(i);
      return constant ? toNumbers(constant)[0] : context.elements(i)?.[0];
    });
    if (typeof start === "number" && typeof limit === "number" && typeof delta === "number") {
      const count = rangeCount(context.node, start, limit, delta);
      const elements = count <= 1024 ? Array.from({ length: count }, (_, i) => start + i * delta) : undefined;
      return [withElements(dtype, [count], elements)];
    }
    const counts = start === 0 && delta === 1 && limit !== undefined;
    return [{ dtype, shape: [counts ? limit : unknownDim(context.node, 0)] }];
  },
  gradient: "none",
  cost: noCost,
};

/** Beyond the end of every axis. */
const toTheEnd = 2 ** 31 - 1;

function sliceBounds(context: InferContext): SliceBounds | undefined {
  const { shape } = operand(context, 0);
  const starts = context.elements(1);
  const axes = knownNumbers(context, 3, "axes") ?? starts?.map((_, i) => i);
  const steps = knownNumbers(context, 4, "steps") ?? starts?.map(() => 1);
  // An end that is the axis's own symbolic size cuts nothing.
  const isWhole = (end: Dim, i: number): boolean => typeof end === "string" && end === shape.at(axes?.[i] ?? i);
  const ends = context.elements(2)?.map((end, i) => (isWhole(end, i) ? toTheEnd : end));
  if (!starts || !ends || !axes || !steps || !isStatic(starts) || !isStatic(ends)) return undefined;
  return { starts, ends, axes, steps };
}

/** Each axis is cut once. */
function checkAxes(context: InferContext, rank: number): void {
  const axes = knownNumbers(context, 3, "axes") ?? [];
  const cut = new Set(axes.map((axis) => resolveAxis(context.node, axis, rank)));
  if (cut.size < axes.length) throw mismatch(context.node, `axes ${printShape(axes)} name one axis twice.`);
}

/** Bounds that only a run knows leave the sizes along their axes open. */
function openShape(context: InferContext, shape: readonly Dim[]): readonly Dim[] {
  const axes = knownNumbers(context, 3, "axes");
  const isOpen = (axis: number): boolean =>
    axes === undefined || axes.includes(axis) || axes.includes(axis - shape.length);
  return shape.map((dim, axis) => (isOpen(axis) ? unknownDim(context.node, axis) : dim));
}

/** A step of 1 keeps the samples in order, and the shape rule says whether all are taken. */
const slicedSamples: SampleRule = (context) => {
  const axis = axisOfFirst(context);
  const bounds = sliceBounds(context);
  const rank = context.inputs[0]?.shape.length ?? 0;
  const keepsOrder = bounds?.axes.every((cut, i) => (cut < 0 ? cut + rank : cut) !== axis || bounds.steps[i] === 1);
  return axis >= 0 && keepsOrder === true ? axis : "coupled";
};

/** dx = dy at the places that were taken, else 0 */
export const Slice: OpDefinition = {
  introduced: 1,
  inputs: [anything, vector(integers), sizes, optional(vector(integers)), optional(vector(integers))],
  outputs: 1,
  sampleAxis: slicedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    checkAxes(context, shape.length);
    const bounds = sliceBounds(context);
    if (!bounds) return [{ dtype, shape: openShape(context, shape) }];
    const sliced = slicedShape(context.node, bounds, shape);
    const elements = context.elements(0);
    if (!elements || shape.length !== 1 || !isStatic(shape)) return [{ dtype, shape: sliced }];
    const [taken] = resolveSlices(context.node, bounds, shape);
    const kept = taken
      ? Array.from({ length: taken.count }, (_, i) => elements[taken.start + i * taken.step])
      : elements;
    return [withElements(dtype, sliced, kept)];
  },
  gradient: (context) => {
    const {
      node,
      build,
      dys: [dy],
      type,
    } = context;
    if (dy === undefined) return [];
    const shape = type(node.inputs[0]).shape.map((dim) => staticDim(dim, node));
    return [build.node("SliceGradient", [dy], { ...constantBounds(context, shape), shape })];
  },
  cost: noCost,
};

function contentsOf(build: Builder, value: string): readonly number[] | undefined {
  const constant = build.constantOf(value);
  const elements = constant ? toNumbers(constant) : build.type(value).elements;
  return elements && isStatic(elements) ? elements : undefined;
}

/** Slice's bounds, resolved; an end before the first element is counted from the back, as Slice wants it: −size − 1. */
function constantBounds({ node, build }: GradientContext, shape: readonly number[]): Record<string, readonly number[]> {
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((i) =>
    node.inputs[i] ? contentsOf(build, node.inputs[i]) : undefined,
  );
  if (!starts || !ends || (node.inputs[3] && !axes) || (node.inputs[4] && !steps))
    throw new FrostbitError(
      "NO_GRADIENT",
      `${describeNode(node)}: its bounds are computed while the graph runs, so it has no gradient.`,
    );
  const bounds = { starts, ends, axes: axes ?? starts.map((_, i) => i), steps: steps ?? starts.map(() => 1) };
  const slices = resolveSlices(node, bounds, shape);
  return {
    starts: slices.map(({ start }) => start),
    ends: slices.map(({ axis, start, step, count }) => {
      const end = start + step * count;
      return end < 0 ? -shape[axis] - 1 : end;
    }),
    axes: slices.map(({ axis }) => axis),
    steps: slices.map(({ step }) => step),
  };
}

/** Our own: Slice's gradient. Attributes starts, ends, axes and steps are Slice's, shape is the sliced tensor's. Its gradient is the slice. */
export const SliceGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => [{ dtype: operand(context, 0).dtype, shape: numbersAttribute(context.node, "shape", []) }],
  gradient: ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const bounds = ["starts", "ends", "axes", "steps"].map((name) => build.ints(numbersAttribute(node, name, [])));
    return [build.node("Slice", [dy, ...bounds])];
  },
  cost: noCost,
};

function blockSize(node: Node): number {
  const block = numberAttribute(node, "blocksize", 1);
  if (block < 1) throw mismatch(node, `blocksize is ${block}; expected 1 or more.`);
  return block;
}

/** Whether depth is blocks of channels or channels of blocks. */
const depthOrder = (node: Node): "DCR" | "CRD" => choiceAttribute(node, "mode", ["DCR", "CRD"]);

/** mode DCR: dx = SpaceToDepth(dy); mode CRD: the same with the axes in CRD's order */
export const DepthToSpace: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const block = blockSize(context.node);
    depthOrder(context.node);
    const channels = shape.length === 4 ? quotientOf([shape[1]], [block * block]) : undefined;
    if (shape.length !== 4 || channels === undefined)
      throw mismatch(
        context.node,
        `cannot rearrange ${printShape(shape)} with blocksize ${block}; expected [N, C, H, W], C a multiple of ${block * block}.`,
      );
    return [{ dtype, shape: [shape[0], channels, productOf([shape[2], block]), productOf([shape[3], block])] }];
  },
  gradient: ({ node, build, dys: [dy], type }) => {
    if (dy === undefined) return [];
    const block = blockSize(node);
    if (depthOrder(node) === "DCR") return [build.node("SpaceToDepth", [dy], { blocksize: block })];
    const [n, , h, w] = type(node.inputs[0]).shape.map((dim) => staticDim(dim, node));
    const blocks = build.node("Reshape", [dy, build.ints([n, -1, h, block, w, block])]);
    const moved = build.node("Transpose", [blocks], { perm: [0, 1, 3, 5, 2, 4] });
    return [build.node("Reshape", [moved, shapeOf(build, node.inputs[0])])];
  },
  cost: noCost,
};

/** dx = DepthToSpace(dy) */
export const SpaceToDepth: OpDefinition = {
  introduced: 1,
  inputs: [anything],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const block = blockSize(context.node);
    const [height, width] = shape.slice(2).map((dim) => quotientOf([dim], [block]));
    if (shape.length !== 4 || height === undefined || width === undefined)
      throw mismatch(
        context.node,
        `cannot rearrange ${printShape(shape)} with blocksize ${block}; expected [N, C, H, W], H and W multiples of ${block}.`,
      );
    return [{ dtype, shape: [shape[0], productOf([shape[1], block * block]), height, width] }];
  },
  gradient: ({ node, build, dys: [dy] }) =>
    dy === undefined ? [] : [build.node("DepthToSpace", [dy], { blocksize: blockSize(node) })],
  cost: noCost,
};

/** dx = the same triangle of dy */
export const Trilu: OpDefinition = {
  introduced: 14,
  inputs: [anything, optional(single(integers))],
  outputs: 1,
  sampleAxis: samplesWhere((axis, _node, rank) => axis < rank - 2),
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    if (shape.length < 2)
      throw mismatch(context.node, `${printShape(shape)} is not a matrix; expected two axes or more.`);
    return [{ dtype, shape }];
  },
  gradient: ({ node, build, dys: [dy] }) =>
    dy === undefined ? [] : [build.node("Trilu", [dy, node.inputs[1]], node.attributes)],
  cost: noCost,
};

// The shape rules and the shapes of gradient rules that elementwise operators share.
import type { Builder } from "../ir/builder.ts";
import type { DType } from "../ir/dtype.ts";
import type { Dim, Node } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import { broadcastShapes } from "./broadcast.ts";
import type { CostRule, GradientRule, InferContext, InferRule, OpDefinition } from "./definition.ts";
import { type InputSchema, repeated, tied } from "./inputs.ts";
import { operand, unknownElement, withElements } from "./operands.ts";
import { alignedSamples } from "./samples.ts";

/** One multiply-add for each element of the first output. */
export const costPerElement: CostRule = (_inputs, [output]) => ({ multiplyAdds: sizeOf(output ?? []) });
export const noCost: CostRule = () => ({ multiplyAdds: 0 });

/** What an operator does to known contents; `undefined` where the result is not known. */
export type Fold = (elements: readonly Dim[], node: Node) => Dim | undefined;

/** Contents of the output, elementwise, where all inputs' contents are known. */
function foldElements(context: InferContext, fold: Fold): readonly Dim[] | undefined {
  const contents = context.inputs.map((_, i) => context.elements(i));
  if (!contents.every((list) => list !== undefined)) return undefined;
  if (context.inputs.some((type) => (type?.shape.length ?? 0) > 1)) return undefined;
  const length = contents.reduce((most, list) => Math.max(most, list.length), 0);
  if (!contents.every((list) => list.length === length || list.length === 1)) return undefined;
  return Array.from({ length }, (_, i) => {
    const elements = contents.map((list) => (list.length === 1 ? list[0] : list[i]));
    return fold(elements, context.node) ?? unknownElement(context.node, i);
  });
}

/** Inputs broadcast with each other; the dtype is the first one's or `dtype`. */
export const inferBroadcast =
  (fold?: Fold, dtype?: DType): InferRule =>
  (context) => {
    const types = context.inputs.map((_, i) => operand(context, i));
    const shape = broadcastShapes(
      context.node,
      types.map((type) => type.shape),
    );
    return [withElements(dtype ?? types[0].dtype, shape, fold && foldElements(context, fold))];
  };

/** The first input's type, perhaps with another dtype. */
export const inferLikeFirst =
  (fold?: (element: Dim) => Dim | undefined, dtype?: DType): InferRule =>
  (context) => {
    const { dtype: from, shape } = operand(context, 0);
    const elements = fold && context.elements(0);
    const folded = elements?.map((element, i) => fold?.(element) ?? unknownElement(context.node, i));
    return [withElements(dtype ?? from, shape, folded)];
  };

export interface UnaryGradient extends Arithmetic {
  readonly dy: string;
  readonly x: string;
  readonly y: string;
  readonly node: Node;
  readonly build: Builder;
}

/** dx from dy, x and y. */
export const unaryRule =
  (dx: (gradient: UnaryGradient) => string): GradientRule =>
  ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    return [dx({ ...arithmetic(build, dy), dy, x: node.inputs[0], y: node.outputs[0], node, build })];
  };

/** What operators have in common that compute each element of their output from one of each input, broadcast. */
export const elementwise = {
  outputs: 1,
  sampleAxis: alignedSamples,
  movesValues: false,
  cost: costPerElement,
} as const satisfies Partial<OpDefinition>;

/** What each elementwise operator says for itself: what its inputs take, and the opset that brought it. */
export interface ElementwiseFacts {
  readonly takes: InputSchema;
  readonly introduced: number;
}

/** A function of one tensor. */
export const unary = (
  { takes, introduced }: ElementwiseFacts,
  dx: (gradient: UnaryGradient) => string,
  fold?: (element: Dim) => Dim | undefined,
): OpDefinition => ({
  ...elementwise,
  introduced,
  inputs: [takes],
  infer: inferLikeFirst(fold),
  gradient: unaryRule(dx),
});

/** A staircase or a predicate: its derivative is zero or undefined everywhere. */
export const unaryWithoutGradient = (
  { takes, introduced }: ElementwiseFacts,
  fold?: (element: Dim) => Dim | undefined,
  dtype?: DType,
): OpDefinition => ({
  ...elementwise,
  introduced,
  inputs: [takes],
  infer: inferLikeFirst(fold, dtype),
  gradient: "none",
});

interface BinaryGradient extends Arithmetic {
  readonly dy: string;
  readonly a: string;
  readonly b: string;
  readonly y: string;
  readonly node: Node;
}

export type BinarySides = readonly [da: (gradient: BinaryGradient) => string, db: (gradient: BinaryGradient) => string];

/** Each side's gradient is built only where it is wanted. */
export const binaryRule =
  (sides: BinarySides): GradientRule =>
  ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const [a, b] = node.inputs;
    const gradient: BinaryGradient = { ...arithmetic(build, dy), dy, a, b, y: node.outputs[0], node };
    return sides.map((side, i) => (wants(i) === "none" ? undefined : side(gradient)));
  };

/** A function of two tensors of one type. */
export const binary = (
  { takes, introduced }: ElementwiseFacts,
  fold: Fold | undefined,
  ...sides: BinarySides
): OpDefinition => ({
  ...elementwise,
  introduced,
  inputs: [tied(takes), tied(takes)],
  infer: inferBroadcast(fold),
  gradient: binaryRule(sides),
});

/** Whether an element names a size, which is never negative, and not the unknown contents of a tensor. */
const isSize = (element: Dim): boolean => typeof element === "string" && !/[-[\]]/.test(element);

/** A predicate of two tensors of one type. */
export const comparison = (
  { takes, introduced }: ElementwiseFacts,
  holds: (a: number, b: number) => boolean,
): OpDefinition => ({
  ...elementwise,
  introduced,
  inputs: [tied(takes), tied(takes)],
  infer: inferBroadcast(([a, b]) => {
    if (typeof a === "number" && typeof b === "number") return Number(holds(a, b));
    if (a === b) return Number(holds(0, 0));
    return isSize(a) && typeof b === "number" && b < 0 ? Number(holds(1, b)) : undefined;
  }, "bool"),
  gradient: "none",
});

/** A function of any number of tensors of one type. */
export const variadic = (
  { takes, introduced }: ElementwiseFacts,
  fold: Fold,
  gradient: GradientRule,
): OpDefinition => ({
  ...elementwise,
  introduced,
  inputs: [repeated(tied(takes))],
  infer: inferBroadcast(fold),
  gradient,
  cost: (inputs, outputs, node) => ({
    multiplyAdds: costPerElement(inputs, outputs, node).multiplyAdds * Math.max(1, node.inputs.length - 1),
  }),
});

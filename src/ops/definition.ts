// What the compiler must know about one operator.

import type { Builder } from "../ir/builder.ts";
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { InputSchema } from "./inputs.ts";

export interface InferContext {
  readonly node: Node;
  /** One per input; `undefined` where the node leaves it out. */
  readonly inputs: readonly (ValueType | undefined)[];
  /** The contents of a small integer input where they are known; sizes may be symbolic. */
  readonly elements: (input: number) => readonly Dim[] | undefined;
  /** The contents of an input that is a constant. */
  readonly constant: (input: number) => Tensor | undefined;
}

/** Types of all outputs, in order. Throws SHAPE_MISMATCH (see `ops/attributes.ts`: `mismatch`). */
export type InferRule = (context: InferContext) => readonly ValueType[];

/** Some rows of a parameter: their indices (the name of a 1-D int64 value, its length may be zero) along `axis`. */
export interface Rows {
  readonly rows: string;
  readonly axis: number;
}

/** What is wanted of a gradient: all of it, nothing, or some rows, returned compactly: size `rows` along `axis`. */
export type Wanted = "all" | "none" | Rows;

export interface GradientContext {
  readonly node: Node;
  readonly build: Builder;
  /** Names of the gradients of the outputs; `undefined` where no gradient reaches that output. */
  readonly dys: readonly (string | undefined)[];
  readonly wants: (input: number) => Wanted;
  readonly type: (value: string) => ValueType;
}

/** Names of the gradients of the inputs, in order; `undefined` for what was not wanted. Broadcasting is repaired by the walk. */
export type GradientRule = (context: GradientContext) => readonly (string | undefined)[];

interface Cost {
  /** Multiply-adds (for an elementwise operator: one per output element). */
  readonly multiplyAdds: number;
}

/** Sizes that only a run knows are NaN, which a cost that depends on them becomes too. */
export type CostRule = (
  inputs: readonly (readonly number[] | undefined)[],
  outputs: readonly (readonly number[])[],
  node: Node,
) => Cost;

/** A batch's way through a node: its size is a symbol, which at least one input or its contents have. */
export interface SamplesContext extends InferContext {
  readonly outputs: readonly ValueType[];
  /** The axis of the samples in each input; −1 where it is the same for all samples. */
  readonly axes: readonly number[];
}

/**
 * The axis of the samples in all outputs, each computed from its own sample alone and at its place; "anywhere" where
 * all samples of an output are alike; "coupled" where samples are mixed, change places or are lost.
 */
export type SampleRule = (context: SamplesContext) => number | "anywhere" | "coupled";

interface Facts<Introduced> {
  /** ONNX's opset that brought it, under this name or an older one; "own" for operators that ONNX does not have. */
  readonly introduced: Introduced;
  /** One per input, in order. */
  readonly inputs: readonly InputSchema[];
  /** How many outputs it has at most. */
  readonly outputs: number | "any";
  /** Where samples of a batch go. "coupled" is a decision that they are never computed independently; "sizes": the outputs say sizes of inputs. */
  readonly sampleAxis: SampleRule | "coupled" | "sizes";
  /** Whether outputs hold elements of the first input (of all, where it repeats), moved, repeated or cut, and padding at most. */
  readonly movesValues: boolean;
  readonly infer: InferRule;
  /** "none" is a decision that no gradient exists, never a default. */
  readonly gradient: GradientRule | "none";
  readonly cost: CostRule;
  /**
   * Whether row r (along `axis`) of output 0 depends on row r of this input alone, so that a want for some rows passes on,
   * and the rule, asked for rows, takes a compact `dy`. Absent: the operator mixes rows.
   */
  readonly keepsRows?: (input: number, axis: number, node: Node) => boolean;
  /** Whether the rule, asked for some rows along `axis` of this input and given a whole `dy`, computes those rows alone (as products do). Absent: it computes all, and the walk gathers. */
  readonly computesRows?: (input: number, axis: number, node: Node) => boolean;
}

/** An operator of ONNX. */
export type OpDefinition = Facts<number>;
/** An operator that Frostbit adds to ONNX's: a gradient, an update. It needs a lowering to ONNX operators. */
export type OwnOpDefinition = Facts<"own">;
export type AnyOpDefinition = OpDefinition | OwnOpDefinition;

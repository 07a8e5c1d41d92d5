// The one interface of everything that runs graphs.
import type { Graph, Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

export const precisions = ["float32", "mixed"] as const;
/**
 * How an engine may compute. "float32": products and what is kept in float32 (products of quantized values may be exact
 * integers). "mixed": the products that are not integers in bfloat16 with float32 sums, and what is kept for the backward pass
 * in 16 bits.
 */
export type Precision = (typeof precisions)[number];

export interface CompileOptions {
  /** One of the engine's `precisions`; "float32" where absent. */
  readonly precision?: Precision;
  /** CPU threads; the engine's own choice where absent. */
  readonly threads?: number;
}

export interface RunOptions {
  /** Names of the outputs (any of `graph.outputs`) to give back; all of them where absent. */
  readonly fetch?: readonly string[];
  readonly signal?: AbortSignal;
}

export interface Engine {
  readonly name: string;
  /** How it can compute on this machine; "float32" always. */
  readonly precisions: readonly Precision[];
  supports(node: Node, graph: Graph): boolean;
  /** Lowers once. Throws UNSUPPORTED_OP with all nodes that the engine cannot run. */
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>;
  /** Tensors that stay with the engine between runs. */
  variables(initial: ReadonlyMap<string, Tensor>): Promise<Variables>;
}

export interface Variables {
  readonly names: () => readonly string[];
  /** A copy of the current value. */
  read(name: string): Promise<Tensor>;
  write(name: string, value: Tensor): Promise<void>;
  add(initial: ReadonlyMap<string, Tensor>): Promise<void>;
  dispose(): void;
}

/** A compiled graph, not yet tied to variables: one executable serves all blocks of the same shape. */
export interface Executable {
  /** What a run plans to hold: intermediate values and constants, in bytes; absent where an engine does not know. */
  readonly memoryBytes?: number;
  bind(variables: Variables): Program;
  dispose(): Promise<void>;
}

export interface Program {
  /** Runs once; afterwards every variable in `graph.updates` has its new value. */
  run(inputs: ReadonlyMap<string, Tensor>, options?: RunOptions): Promise<ReadonlyMap<string, Tensor>>;
}

// The one interface of everything that runs graphs.
import type { TypedArray } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

export const precisions = ["float32", "mixed"] as const;
/**
 * How an engine may compute. "float32": products and what is kept in float32 (products of quantized values may be exact
 * integers). "mixed": the products that are not integers in bfloat16 with float32 sums, what is kept for the backward pass in
 * 16 bits, and gradients that are multiplied by weights' integers in 8.
 * @useDeclaredType
 */
export type Precision = (typeof precisions)[number];

export const tunings = ["off", "fast", "thorough"] as const;
/**
 * How an engine chooses among kernels that compute the same. "off": by fixed rules. "fast": those that were measured to be the
 * fastest on this machine, for milliseconds each, and are remembered. "thorough": measured for longer, once.
 * @useDeclaredType
 */
export type Tuning = (typeof tunings)[number];

/** The kernels that a run computes with. */
export interface KernelChoices {
  readonly tuning: Tuning;
  /** By question, such as the shape of a convolution: what is there is taken, and engines add what they choose. */
  readonly chosen: Map<string, string>;
  /** Called with what the user should know of what is remembered. */
  readonly onNote?: (note: string) => void;
}

/** How an engine compiles. */
export interface CompileOptions {
  /** One of the engine's `precisions`; "float32" where absent. */
  readonly precision?: Precision;
  /** CPU threads; the engine's own choice where absent. */
  readonly threads?: number;
  /** What the kernels of other graphs of the same run are; by fixed rules, and not told, where absent. */
  readonly kernels?: KernelChoices;
  /** Whether images among the outputs may be given as the engine holds them: in pieces whose channels lie last (`piecesOf`). */
  readonly keepsChannelsLast?: boolean;
  /** Outputs that are gradients: they are computed as what updates variables is. */
  readonly gradients?: readonly string[];
}

/** What one run of a program gives back, and what stops it. */
export interface ProgramRunOptions {
  /** Names of the outputs (any of `graph.outputs`) to give back; all of them where absent. */
  readonly fetch?: readonly string[];
  /**
   * By output, an array of its type and size that an engine may write it into instead of a new one; nobody reads it meanwhile. It
   * may be an input's.
   */
  readonly spare?: ReadonlyMap<string, TypedArray>;
  /** Checked before the run, which then throws ABORTED. */
  readonly signal?: AbortSignal;
}

/** What runs graphs. All engines pass the same tests against the reference engine, and list what they leave out. */
export interface Engine {
  readonly name: string;
  /** How it can compute on this machine; "float32" always. */
  readonly precisions: readonly Precision[];
  /** Whether it can run the node with the types that it has in `graph`. */
  supports(node: Node, graph: Graph): boolean;
  /** Lowers once, for any number of runs. Throws UNSUPPORTED_OP with all nodes that the engine cannot run. */
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>;
  /** Tensors that stay with the engine between runs. */
  variables(initial: ReadonlyMap<string, Tensor>): Promise<Variables>;
}

/** Named tensors that live in an engine between runs, until `dispose()`. */
export interface Variables {
  /** What they are called. */
  readonly names: () => readonly string[];
  /** A copy of the current value. Throws where there is none of that name. */
  read(name: string): Promise<Tensor>;
  /** Sets one to a copy of `value`, of the same type and shape. */
  write(name: string, value: Tensor): Promise<void>;
  /** Makes more of them. */
  add(initial: ReadonlyMap<string, Tensor>): Promise<void>;
  /** Gives their memory back. */
  dispose(): void;
}

/** A compiled graph, not yet tied to variables: one executable serves all blocks of the same shape. */
export interface Executable {
  /** What a run plans to hold: intermediate values and constants, in bytes; absent where an engine does not know. */
  readonly memoryBytes?: number;
  /** Whether its programs have `runSeries`. */
  readonly runsSeries?: boolean;
  /**
   * Ties it to variables of the same engine, which must have all of `graph.variables`. `names`: by variable of the graph, what it is
   * called there, if not the same.
   */
  bind(variables: Variables, names?: ReadonlyMap<string, string>): Program;
  /** Gives its memory back; programs bound to it can no longer run. */
  dispose(): Promise<void>;
}

/** A compiled graph tied to variables. */
export interface Program {
  /** Runs once; afterwards every variable in `graph.updates` has its new value. */
  run(inputs: ReadonlyMap<string, Tensor>, options?: ProgramRunOptions): Promise<ReadonlyMap<string, Tensor>>;
  /**
   * The same several times, where an engine has that without coming back in between: the inputs, and what is fetched, have one axis more
   * in front, along which the runs follow each other.
   */
  runSeries?(inputs: ReadonlyMap<string, Tensor>, fetch: readonly string[]): Promise<ReadonlyMap<string, Tensor>>;
}

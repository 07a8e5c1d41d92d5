// The one interface of everything that runs graphs.
import type { Graph, Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

export interface CompileOptions {
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
  bind(variables: Variables): Program;
  dispose(): Promise<void>;
}

export interface Program {
  /** Runs once; afterwards every variable in `graph.updates` has its new value. */
  run(inputs: ReadonlyMap<string, Tensor>, options?: RunOptions): Promise<ReadonlyMap<string, Tensor>>;
}

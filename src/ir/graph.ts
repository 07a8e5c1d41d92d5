// The graph that every pass, engine and method works on: plain read-only data.
import type { DType } from "./dtype.ts";
import type { HalfType } from "./half.ts";
import type { Tensor } from "./tensor.ts";

/** A size: a number, or the name of a size that is known only when the graph runs. */
export type Dim = number | string;

/** What is known of a value before the graph runs. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** What a small integer tensor holds, where inference knows it; sizes may be symbolic. */
  readonly elements?: readonly Dim[];
}

/** What a node can be told besides its inputs. */
export type Attribute = number | string | readonly number[] | readonly string[] | Tensor;

/** One operator at work: what it reads, what it makes, by the names of values. */
export interface Node {
  /** Unique in its graph. */
  readonly name: string;
  /** ONNX's operator type, or one of Frostbit's own (`ops/index.ts` has both). */
  readonly op: string;
  /** `""` stands for an input that is left out. */
  readonly inputs: readonly string[];
  /** `""` stands for an unused output. */
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A model, or a whole training step, as plain read-only data. Operators are those of opset 25, and some of our own. */
export interface Graph {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** In topological order. */
  readonly nodes: readonly Node[];
  /** The type of every value: inputs, constants, variables and node outputs. */
  readonly values: ReadonlyMap<string, ValueType>;
  /** ONNX's initializers: parameters and constants. */
  readonly constants: ReadonlyMap<string, Tensor>;
  /** Constants that are part of the computation: Constant nodes of the file, and what follows from them alone. */
  readonly literals?: ReadonlySet<string>;
  /** Named tensors that live in an engine between runs; they have a type but no value here. */
  readonly variables: readonly string[];
  /** After a run, variable `key` takes the value named. */
  readonly updates: ReadonlyMap<string, string>;
}

/** What an ONNX file holds beside its graph, kept so that an export can give it back. */
export interface Origin {
  readonly opset: number;
  readonly irVersion: number;
  readonly producerName: string;
  readonly producerVersion: string;
  readonly domain: string;
  readonly modelVersion: bigint;
  readonly docString: string;
  readonly metadata: ReadonlyMap<string, string>;
  /** Inputs, outputs and constants that the file has in half precision; the graph has them in float32. */
  readonly half?: ReadonlyMap<string, HalfType>;
}

/** What an ONNX file holds: its graph, and what goes back into an export. */
export interface OnnxModel {
  readonly graph: Graph;
  readonly origin: Origin;
}

const producersOf = new WeakMap<readonly Node[], ReadonlyMap<string, Node>>();

/** Which node makes each value. Passes ask for it again and again: it is kept as long as the list of nodes. */
export function producers({ nodes }: Graph): ReadonlyMap<string, Node> {
  const known = producersOf.get(nodes);
  if (known) return known;
  const result = new Map<string, Node>();
  for (const node of nodes) for (const output of node.outputs) if (output !== "") result.set(output, node);
  producersOf.set(nodes, result);
  return result;
}

/** Which nodes read each value, once per input. */
export function consumers(graph: Graph): Map<string, Node[]> {
  const result = new Map<string, Node[]>();
  for (const node of graph.nodes)
    for (const input of node.inputs) {
      if (input === "") continue;
      const list = result.get(input);
      if (list) list.push(node);
      else result.set(input, [node]);
    }
  return result;
}

/** `Conv (node "/layer1/conv1")`, as error messages name nodes. */
export const describeNode = (node: Node): string => `${node.op} (node "${node.name}")`;

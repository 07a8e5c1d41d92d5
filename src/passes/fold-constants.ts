// Computes before the run what does not depend on inputs or variables.

import { packedBytes } from "../ir/dtype.ts";
import type { Graph, Node, ValueType } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { loadedOnUse } from "../ir/tensor-source.ts";
import { kernels } from "../kernels/index.ts";
import { isStatic } from "../ops/dims.ts";
import { isOpType, type OpType, opDefinition } from "../ops/index.ts";
import { outputTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** What one pass may still compute: a small file may describe much. */
interface Budget {
  bytes: number;
  /** Multiply-adds, or elements. */
  work: number;
}

/** Much for what exporters leave to compute, in a moment and in memory of the order of the file's. */
function budgetOf(graph: Graph): Budget {
  let [bytes, elements] = [0, 0];
  for (const { dtype, shape } of graph.constants.values()) {
    const count = sizeOf(shape);
    bytes += packedBytes(dtype, count);
    elements += count;
  }
  return { bytes: Math.max(16 * 1024 * 1024, 2 * bytes), work: 3e7 + 16 * elements };
}

/** The type of a value, as far as it is known. */
type TypeOf = (value: string) => ValueType | undefined;

/** A graph's constants and those that folding adds, without a copy: graphs may have a million. */
interface Constants {
  readonly get: (name: string) => Tensor | undefined;
  readonly has: (name: string) => boolean;
  readonly added: Map<string, Tensor>;
}

function constantsOf(graph: Graph): Constants {
  const added = new Map<string, Tensor>();
  return {
    get: (name) => added.get(name) ?? graph.constants.get(name),
    has: (name) => added.has(name) || graph.constants.has(name),
    added,
  };
}

/** A value whose contents inference knows as numbers. */
export const knownContents = (graph: Graph, value: string): Tensor | undefined => contentsOf(graph.values.get(value));

function contentsOf(type: ValueType | undefined): Tensor | undefined {
  if (!type?.elements || !isStatic(type.shape) || !isStatic(type.elements)) return undefined;
  if (type.elements.length !== sizeOf(type.shape)) return undefined;
  return tensorOf(type.dtype, type.shape, type.elements);
}

/** Takes from the budget what the outputs' memory and the node's work are; what is beyond it is left to the run. */
function afford(typeOf: TypeOf, node: Node, inputs: readonly (Tensor | undefined)[], budget: Budget): boolean {
  let [bytes, elements] = [0, 0];
  const shapes: (readonly number[])[] = [];
  for (const output of node.outputs) {
    const type = output === "" ? undefined : typeOf(output);
    if (output !== "" && (type === undefined || !isStatic(type.shape))) return false;
    const shape = type && isStatic(type.shape) ? type.shape : [];
    shapes.push(shape);
    if (!type) continue;
    bytes += packedBytes(type.dtype, sizeOf(shape));
    elements += sizeOf(shape);
  }
  for (const input of inputs) elements += input ? sizeOf(input.shape) : 0;
  const cost = opDefinition(node.op)?.cost(
    inputs.map((input) => input?.shape),
    shapes,
    node,
  );
  const work = Math.max(elements, cost?.multiplyAdds ?? 0);
  if (!(bytes <= budget.bytes && work <= budget.work)) return false;
  budget.bytes -= bytes;
  budget.work -= work;
  return true;
}

/** They say how a constant is stored, which folding would lose. */
const quantizers: ReadonlySet<string> = new Set([
  ...["QuantizeLinear", "DequantizeLinear", "FakeQuantize"],
  ...["LevelQuantize", "LevelDequantize"],
]);

const isHalf = ({ dtype }: Tensor): boolean => dtype === "float16" || dtype === "bfloat16";

/** What a node computes from constants. A kernel reads their elements many times; elements that it returns unchanged are not copied. */
export function computeConstants(
  op: OpType,
  inputs: readonly (Tensor | undefined)[],
  node: Node,
): readonly (Tensor | undefined)[] {
  const constants = inputs.map((input) => input && loadedOnUse(input));
  return kernels[op](constants, node).map((result) => {
    const place = constants.indexOf(result);
    return place < 0 ? result : inputs[place];
  });
}

/** The results of a node whose inputs are all constants; `undefined` where it must run. */
function evaluate(
  typeOf: TypeOf,
  node: Node,
  constants: Constants,
  budget: Budget,
): readonly (Tensor | undefined)[] | undefined {
  if (!node.inputs.every((input) => input === "" || constants.has(input))) return undefined;
  const inputs = node.inputs.map((input) => constants.get(input));
  const isHalfPrecision =
    inputs.some((input) => input && isHalf(input)) || /^b?float16$/.test(String(node.attributes["to"]));
  if (isHalfPrecision || !isOpType(node.op) || quantizers.has(node.op)) return undefined;
  if (!afford(typeOf, node, inputs, budget)) return undefined;
  return computeConstants(node.op, inputs, node);
}

/** A graph output stays a node's output, as files and engines expect. */
function fold(typeOf: TypeOf, node: Node, constants: Constants, budget: Budget): boolean {
  const outputs = node.outputs.filter((output) => output !== "");
  const known = outputs.map((output) => contentsOf(typeOf(output)));
  const results = known.every((value) => value !== undefined)
    ? known
    : evaluate(typeOf, node, constants, budget)?.filter((_, i) => node.outputs[i] !== "");
  if (!results) return false;
  outputs.forEach((output, i) => {
    const result = results[i];
    if (result) constants.added.set(output, result);
  });
  return true;
}

const isSameType = (a: ValueType | undefined, b: ValueType): boolean =>
  a !== undefined &&
  a.dtype === b.dtype &&
  a.shape.join() === b.shape.join() &&
  a.elements?.join() === b.elements?.join();

/** Types as folding finds them: a node that reads what has become a constant, or has got another type, may have another type too. */
function createTyping(types: ReadonlyMap<string, ValueType>, constants: Constants) {
  /** Copied when the first changes: graphs may have a million. */
  let own: Map<string, ValueType> | undefined;
  const set = (value: string, type: ValueType): void => {
    own ??= new Map(types);
    own.set(value, type);
  };
  const get = (value: string): ValueType | undefined => (own ?? types).get(value);
  const changed = new Set<string>();
  const infer = (node: Node): void => {
    if (changed.size === 0 || !node.inputs.some((input) => changed.has(input))) return;
    const inferred = outputTypes(node, own ?? types, constants);
    node.outputs.forEach((output, i) => {
      if (output === "" || isSameType(get(output), inferred[i])) return;
      set(output, inferred[i]);
      changed.add(output);
    });
  };
  const note = (folded: Node): void => {
    for (const output of folded.outputs) changed.add(output);
  };
  return { get, set, infer, note, values: () => own ?? types };
}

/** The graph must have types; those that follow from what is folded are inferred again. Constant outputs of the graph keep the node that makes them. */
export function foldConstants(graph: Graph): Graph {
  const constants = constantsOf(graph);
  const literals = new Set(graph.literals);
  const named = new Set([...graph.outputs, ...graph.updates.values()]);
  const budget = budgetOf(graph);
  const { get, set, infer, note, values } = createTyping(graph.values, constants);
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    infer(node);
    const isNamed = node.outputs.some((output) => named.has(output));
    if (isNamed || !fold(get, node, constants, budget)) {
      nodes.push(node);
      continue;
    }
    note(node);
    if (node.inputs.every((input) => literals.has(input) || !constants.has(input)))
      for (const output of node.outputs) literals.add(output);
  }
  const { added } = constants;
  for (const [name, { dtype, shape }] of added) set(name, { dtype, shape });
  const all = added.size === 0 ? graph.constants : new Map([...graph.constants, ...added]);
  return removeDeadNodes({ ...graph, nodes, constants: all, literals, values: values() });
}

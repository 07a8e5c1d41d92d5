// Makes a fixed leading batch dimension free, where shape inference shows that every sample is computed independently of the others.
import { inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Graph, type Node, type ValueType } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import type { AnyOpDefinition } from "../ops/definition.ts";
import { productOf } from "../ops/dims.ts";
import { opDefinition } from "../ops/index.ts";
import { inferContext, inferNode } from "../ops/infer.ts";
import type { InputSchema } from "../ops/inputs.ts";
import { isUnknownElement } from "../ops/operands.ts";

export interface FreedBatch {
  readonly graph: Graph;
  readonly freed: boolean;
  /** Why the batch was not freed; absent where it was. */
  readonly reason?: string;
}

/** Takes a typed graph. Constants of Reshape and Resize that hold the batch size are replaced; everything else stays. */
export function freeBatch(graph: Graph): FreedBatch {
  const batch = fixedBatch(graph);
  if (typeof batch === "string") return { graph, freed: false, reason: batch };
  const walk = createWalk(graph, batch);
  for (const node of graph.nodes) {
    const reason = walk.visit(node);
    if (reason !== undefined) return { graph, freed: false, reason };
  }
  const fixed = graph.outputs.find((output) => !walk.carries(output));
  if (fixed !== undefined) return { graph, freed: false, reason: `output "${fixed}" does not depend on the batch.` };
  return { graph: walk.result(), freed: true };
}

/** The leading size of the first input, or why there is none to free. */
function fixedBatch(graph: Graph): number | string {
  const [first] = graph.inputs;
  if (first === undefined) return "the graph has no inputs.";
  const leading = graph.values.get(first)?.shape[0];
  if (leading === undefined) return `input "${first}" is a scalar.`;
  if (leading === 0)
    return `input "${first}" has the shape [${graph.values.get(first)?.shape.join(", ")}]: it is empty.`;
  return typeof leading === "string" ? `input "${first}" has the free leading size "${leading}" already.` : leading;
}

interface Walk {
  /** Types the node with a free batch; gives the reason if it ties samples together. */
  readonly visit: (node: Node) => string | undefined;
  readonly carries: (value: string) => boolean;
  readonly result: () => Graph;
}

function createWalk(graph: Graph, batch: number): Walk {
  const values = new Map<string, ValueType>();
  const constants = new Map(graph.constants);
  const nodes: Node[] = [];
  const symbol = freeSymbol(graph);
  for (const [name, { dtype, shape }] of graph.constants) values.set(name, { dtype, shape });
  for (const [name, type] of inputTypes(graph)) values.set(name, freeLeading(type, batch, symbol));
  for (const name of graph.variables) {
    const type = graph.values.get(name);
    if (type) values.set(name, type);
  }
  const unique = uniqueNames(graph.values.keys());
  const addConstant = (hint: string, value: Tensor): string => {
    const name = unique(hint);
    constants.set(name, value);
    values.set(name, { dtype: value.dtype, shape: value.shape });
    return name;
  };
  const axisOf = (value: string): number => values.get(value)?.shape.indexOf(symbol) ?? -1;
  const carries = (value: string): boolean => axisOf(value) >= 0;
  const fixed = (value: string): readonly Dim[] => graph.values.get(value)?.shape ?? [];
  const visit = (original: Node): string | undefined => {
    const node = withFreeConstants(original, { batch, constants, fixed, axisOf, addConstant });
    const types = inferOrReason(node, values, constants);
    if (typeof types === "string") return types;
    nodes.push(node);
    node.outputs.forEach((output, i) => {
      if (output !== "") values.set(output, types[i]);
    });
    return couplingReason(node, types, { values, constants, symbol });
  };
  const result = (): Graph => {
    const read = new Set([...graph.outputs, ...nodes.flatMap(({ inputs }) => inputs)]);
    const idle = [...constants.keys()].filter((name) => !read.has(name));
    for (const name of idle) {
      constants.delete(name);
      values.delete(name);
    }
    return { ...graph, nodes, values, constants };
  };
  return { visit, carries, result };
}

const freeLeading = (type: ValueType, batch: number, symbol: string): ValueType =>
  type.shape[0] === batch ? { dtype: type.dtype, shape: [symbol, ...type.shape.slice(1)] } : type;

/** "N", or another name if the graph has a size called so. */
function freeSymbol(graph: Graph): string {
  const sizes = [...graph.values.values()].flatMap(({ shape }) => shape.filter((size) => typeof size === "string"));
  return uniqueNames(sizes)("N");
}

function inferOrReason(
  node: Node,
  values: ReadonlyMap<string, ValueType>,
  constants: ReadonlyMap<string, Tensor>,
): readonly ValueType[] | string {
  try {
    return inferNode(
      node,
      (value) => values.get(value),
      (value) => constants.get(value),
    );
  } catch (error) {
    if (error instanceof FrostbitError) return `with a free batch, ${error.message}`;
    throw error;
  }
}

interface Batch {
  readonly values: ReadonlyMap<string, ValueType>;
  readonly constants: ReadonlyMap<string, Tensor>;
  readonly symbol: string;
}

/** Why the node couples the samples of a batch; `undefined` if it computes each sample from itself alone. */
function couplingReason(
  node: Node,
  outputs: readonly ValueType[],
  { values, constants, symbol }: Batch,
): string | undefined {
  const definition = opDefinition(node.op);
  const inputs = node.inputs.map((input) => values.get(input));
  const axes = inputs.map((type) => type?.shape.indexOf(symbol) ?? -1);
  const knows = inputs.map((type) => type?.elements?.some((element) => depends(element, symbol)) ?? false);
  const carries = axes.some((axis) => axis >= 0);
  if (!definition || definition.sampleAxis === "sizes" || (!carries && !knows.includes(true))) return undefined;
  if (!carries && outputs.every(({ elements }) => elements !== undefined)) return lostSize(node, outputs);
  const { sampleAxis } = definition;
  if (knows.some((isTold, i) => isTold && !schemaOf(definition, i).holdsSizes))
    return `${describeNode(node)} computes with the size of the batch.`;
  const shared = axes.findIndex((axis, i) => axis >= 0 && schemaOf(definition, i).rank.endsWith("of one"));
  if (shared >= 0)
    return `${describeNode(node)} takes one number for the whole batch: its input "${node.inputs[shared]}" has one for each sample.`;
  const context = { ...inferContext(node, inputs, (value) => constants.get(value)), outputs, axes };
  const changed = node.outputs.findIndex((name, i) => name !== "" && !isOne(outputs[i].shape, symbol));
  if (changed >= 0)
    return `${describeNode(node)} does not keep the batch: its output "${node.outputs[changed]}" has the shape [${outputs[changed].shape.join(", ")}].`;
  const axis = sampleAxis === "coupled" ? sampleAxis : sampleAxis(context);
  const agrees =
    axis === "anywhere" || node.outputs.every((name, i) => name === "" || outputs[i].shape[Number(axis)] === symbol);
  return axis === "coupled" || !agrees ? `${describeNode(node)} mixes the samples of a batch.` : undefined;
}

const schemaOf = ({ inputs }: AnyOpDefinition, i: number): InputSchema => inputs[Math.min(i, inputs.length - 1)];

/** Whether a size is the batch's, or computed from it. */
const depends = (dim: Dim, symbol: string): boolean => typeof dim === "string" && dim.split(/[^\w.]+/).includes(symbol);

const isOne = (shape: readonly Dim[], symbol: string): boolean =>
  shape.includes(symbol) && shape.filter((dim) => depends(dim, symbol)).length === 1;

/** Inference names a size that it cannot compute after the output, which hides that the size depends on the batch. */
function lostSize(node: Node, outputs: readonly ValueType[]): string | undefined {
  const isUnknown = ({ elements = [] }: ValueType): boolean =>
    elements.some((element) => isUnknownElement(element, node));
  return outputs.some(isUnknown) ? `${describeNode(node)} computes with the size of the batch.` : undefined;
}

interface FreeBatch {
  readonly batch: number;
  readonly constants: ReadonlyMap<string, Tensor>;
  /** The shape that a value had with the fixed batch. */
  readonly fixed: (value: string) => readonly Dim[];
  /** The axis of the free batch, −1 for values without. */
  readonly axisOf: (value: string) => number;
  readonly addConstant: (hint: string, value: Tensor) => string;
}

function withFreeConstants(node: Node, fixedBatch: FreeBatch): Node {
  const axis = fixedBatch.axisOf(node.inputs[0] ?? "");
  if (node.op === "Reshape" && axis >= 0) return copyBatch(node, axis, fixedBatch);
  if (node.op === "Resize" && axis === 0) return sizesToScales(node, fixedBatch);
  return node;
}

/**
 * Reshape whose target says the batch, which may be wherever as many elements of a sample are before it as in the input: a 0 copies
 * the input's size where it stays on its axis, and a −1 stands for it where it moves.
 */
function copyBatch(node: Node, axis: number, { batch, constants, fixed, addConstant }: FreeBatch): Node {
  const target = constants.get(node.inputs[1] ?? "");
  const [from, to] = [fixed(node.inputs[0]), fixed(node.outputs[0])];
  if (!target || numberAttribute(node, "allowzero", 0) !== 0) return node;
  const before = productOf(from.slice(0, axis));
  const places = to.flatMap((size, i) => (size === batch && productOf(to.slice(0, i)) === before ? [i] : []));
  const place = places.includes(axis) ? axis : places[0];
  if (place === undefined) return node;
  const sizes = place === axis ? toNumbers(target).with(axis, 0) : openAt(toNumbers(target), to, place);
  if (!sizes) return node;
  const shape = addConstant(`${node.name}/shape`, tensorOf("int64", target.shape, sizes));
  return { ...node, inputs: [node.inputs[0], shape] };
}

/** The target with −1 at `place` alone; `undefined` where what was −1 has no known size. */
function openAt(target: readonly number[], to: readonly Dim[], place: number): readonly number[] | undefined {
  const open = target.indexOf(-1);
  const size = open < 0 ? undefined : to[open];
  if (typeof size === "string") return undefined;
  return (size === undefined ? target : target.with(open, size)).with(place, -1);
}

/** Resize to `[batch, …]`, where scales say exactly the same. */
function sizesToScales(node: Node, { constants, fixed, addConstant }: FreeBatch): Node {
  const sizes = constants.get(node.inputs[3] ?? "");
  const before = fixed(node.inputs[0]);
  if (!sizes || sizeOf(sizes.shape) !== before.length) return node;
  const scales = toNumbers(sizes).map((size, axis) => size / Number(before[axis]));
  if (!scales.every((scale) => Math.log2(scale) % 1 === 0)) return node;
  const input = addConstant(`${node.name}/scales`, tensorOf("float32", [scales.length], scales));
  return { ...node, inputs: [node.inputs[0], node.inputs[1], input] };
}

// Makes a fixed leading batch dimension free, where shape inference shows that every sample goes its own way.
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Graph, type Node, type ValueType } from "../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { inferNode } from "../ops/infer.ts";

export interface FreedBatch {
  readonly graph: Graph;
  readonly freed: boolean;
  /** Why the batch was not freed; absent where it was. */
  readonly reason?: string;
}

/** Operators that keep their input's shape although they mix or reorder entries along an axis, and how to find that axis. */
const mixers: Readonly<Record<string, (node: Node, rank: number) => readonly number[]>> = {
  ...Object.fromEntries(["CumSum", "ScatterElements", "ScatterND"].map((op) => [op, allAxes])),
  ...Object.fromEntries(["Hardmax", "LogSoftmax", "LpNormalization", "Softmax"].map((op) => [op, oneAxis])),
  BatchNormalizationTraining: allAxes,
  LayerNormalization: axesFrom,
  MeanVarianceNormalization: allAxes,
  RMSNormalization: axesFrom,
  Trilu: lastTwoAxes,
};

function allAxes(_node: Node, rank: number): readonly number[] {
  return Array.from({ length: rank }, (_, axis) => axis);
}

function lastTwoAxes(_node: Node, rank: number): readonly number[] {
  return [rank - 2, rank - 1];
}

function oneAxis(node: Node, rank: number): readonly number[] {
  const axis = numberAttribute(node, "axis", -1);
  return [axis < 0 ? axis + rank : axis];
}

function axesFrom(node: Node, rank: number): readonly number[] {
  const [first] = oneAxis(node, rank);
  return allAxes(node, rank).slice(first);
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
  for (const name of [...graph.inputs, ...graph.variables]) {
    const type = graph.values.get(name);
    if (type) values.set(name, graph.inputs.includes(name) ? freeLeading(type, batch, symbol) : type);
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
    return tie(node, values, symbol);
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

/** Why the node ties the samples of a batch together; `undefined` if it treats each by itself. */
function tie(node: Node, values: ReadonlyMap<string, ValueType>, symbol: string): string | undefined {
  const carriers = node.inputs.map((input) => values.get(input)).filter((type) => type?.shape.includes(symbol));
  const knows = node.inputs.some((input) => values.get(input)?.elements?.includes(symbol));
  if (carriers.length === 0 && !knows) return undefined;
  for (const carrier of carriers) {
    const rank = carrier?.shape.length ?? 0;
    const axis = carrier?.shape.indexOf(symbol) ?? -1;
    if (mixers[node.op]?.(node, rank).includes(axis)) return `${describeNode(node)} mixes the samples of a batch.`;
  }
  if (node.op === "Shape" || node.op === "Size") return undefined;
  for (const output of node.outputs) {
    const type = values.get(output);
    if (!type) continue;
    const count = type.shape.filter((size) => size === symbol).length;
    const isArithmetic = carriers.length === 0 && type.elements !== undefined;
    if (count !== 1 && !isArithmetic)
      return `${describeNode(node)} does not keep the batch: its output "${output}" has the shape [${type.shape.join(", ")}].`;
  }
  return undefined;
}

interface Surroundings {
  readonly batch: number;
  readonly constants: ReadonlyMap<string, Tensor>;
  /** The shape that a value had with the fixed batch. */
  readonly fixed: (value: string) => readonly Dim[];
  /** The axis of the free batch, −1 for values without. */
  readonly axisOf: (value: string) => number;
  readonly addConstant: (hint: string, value: Tensor) => string;
}

function withFreeConstants(node: Node, surroundings: Surroundings): Node {
  if (surroundings.axisOf(node.inputs[0] ?? "") !== 0) return node;
  if (node.op === "Reshape") return copyLeading(node, surroundings);
  if (node.op === "Resize") return sizesToScales(node, surroundings);
  return node;
}

/** Reshape to `[batch, …]`: the leading 0 copies the input's leading size, whatever it is. */
function copyLeading(node: Node, { batch, constants, fixed, addConstant }: Surroundings): Node {
  const target = constants.get(node.inputs[1] ?? "");
  if (!target || numberAttribute(node, "allowzero", 0) !== 0 || fixed(node.outputs[0])[0] !== batch) return node;
  const [leading, ...rest] = toNumbers(target);
  if (leading !== batch && leading !== -1) return node;
  const shape = addConstant(`${node.name}/shape`, tensorOf("int64", target.shape, [0, ...rest]));
  return { ...node, inputs: [node.inputs[0], shape] };
}

/** Resize to `[batch, …]`, where scales say exactly the same. */
function sizesToScales(node: Node, { constants, fixed, addConstant }: Surroundings): Node {
  const sizes = constants.get(node.inputs[3] ?? "");
  const before = fixed(node.inputs[0]);
  if (!sizes || sizes.data.length !== before.length) return node;
  const scales = toNumbers(sizes).map((size, axis) => size / Number(before[axis]));
  if (!scales.every((scale) => Math.log2(scale) % 1 === 0)) return node;
  const input = addConstant(`${node.name}/scales`, tensorOf("float32", [scales.length], scales));
  return { ...node, inputs: [node.inputs[0], node.inputs[1], input] };
}

// The structure that every graph must have, whatever its operators mean.
import { dtypes } from "./dtype.ts";
import { FrostbitError } from "./errors.ts";
import { type Dim, describeNode, type Graph, type Node } from "./graph.ts";
import { sortNodes } from "./sort-nodes.ts";
import { sizeOf, type Tensor } from "./tensor.ts";
import { isStored } from "./tensor-source.ts";

const maxElements = 2 ** 31;
const maxShown = 5;

/** Where infinity is a bound or a mask, not a broken weight. */
const takeInfinity: ReadonlySet<string> = new Set([
  ...["Add", "Clip", "Concat", "ConstantOfShape", "Equal", "Expand", "Gather", "Greater", "GreaterOrEqual"],
  ...["Less", "LessOrEqual", "Max", "Min", "Pad", "Reshape", "Slice", "Unsqueeze", "Where"],
]);

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

/** Gives the graph with its nodes in topological order; throws BAD_MODEL if it is broken. What stays in its file is not read. */
export function verifyGraph(graph: Graph): Graph {
  const defined = checkNames(graph);
  checkInputsExist(graph, defined);
  checkOutputs(graph, defined);
  checkSizes(graph);
  const readers = readersOfConstants(graph);
  for (const [name, constant] of graph.constants) checkConstant(graph, name, constant, readers.get(name) ?? []);
  const nodes = sortNodes(graph);
  return nodes === graph.nodes ? graph : { ...graph, nodes };
}

/** By constant that any node reads: the nodes. */
export function readersOfConstants({ nodes, constants }: Graph): ReadonlyMap<string, readonly Node[]> {
  const result = new Map<string, Node[]>();
  if (constants.size === 0) return result;
  for (const node of nodes)
    for (const input of node.inputs) {
      if (!constants.has(input)) continue;
      const list = result.get(input);
      if (list) list.push(node);
      else result.set(input, [node]);
    }
  return result;
}

/** All values that inputs, variables, initializers and nodes give. */
type Defined = Pick<ReadonlySet<string>, "has">;

function checkNames(graph: Graph): Defined {
  const givers = new Map<string, string | Node>();
  const describe = (giver: string | Node): string => (typeof giver === "string" ? giver : describeNode(giver));
  const giverOf = (value: string): string | Node | undefined =>
    givers.get(value) ?? (graph.constants.has(value) ? "an initializer" : undefined);
  const give = (value: string, giver: string | Node): void => {
    const other = giverOf(value);
    if (other !== undefined)
      throw bad(`the value "${value}" is given twice: by ${describe(other)} and by ${describe(giver)}.`);
    givers.set(value, giver);
  };
  for (const input of graph.inputs) give(input, "an input of the graph");
  for (const variable of graph.variables) give(variable, "a variable");
  const nodeNames = new Set<string>();
  for (const node of graph.nodes) {
    if (node.name === "" || nodeNames.has(node.name)) throw bad(`two nodes have the name "${node.name}".`);
    nodeNames.add(node.name);
    for (const output of node.outputs) if (output !== "") give(output, node);
  }
  if (givers.has("") || graph.constants.has("")) throw bad("an input of the graph has no name.");
  return { has: (value) => givers.has(value) || graph.constants.has(value) };
}

function checkInputsExist(graph: Graph, defined: Defined): void {
  const missing: string[] = [];
  for (const node of graph.nodes)
    for (const input of node.inputs)
      if (input !== "" && !defined.has(input)) missing.push(`${describeNode(node)} reads "${input}"`);
  if (missing.length === 0) return;
  const rest = missing.length - maxShown;
  const shown = missing.slice(0, maxShown).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  throw bad(`${shown}, which no node, input or initializer gives. An initializer may be missing.`);
}

function checkOutputs(graph: Graph, defined: Defined): void {
  if (graph.outputs.length === 0) throw bad("the graph has no outputs.");
  const seen = new Set<string>();
  for (const output of graph.outputs) {
    if (!defined.has(output))
      throw bad(`the output "${output}" of the graph is given by no node, input or initializer.`);
    if (seen.has(output)) throw bad(`the graph has the output "${output}" twice.`);
    seen.add(output);
  }
  for (const [variable, value] of graph.updates)
    if (!defined.has(value)) throw bad(`variable "${variable}" is to take the value "${value}", which nothing gives.`);
}

function checkSizes(graph: Graph): void {
  for (const name of graph.inputs) {
    const shape = graph.values.get(name)?.shape ?? [];
    const sizes = shape.filter((size) => typeof size === "number");
    if (sizes.some((size) => size < 0 || !Number.isInteger(size)))
      throw bad(`input "${name}" has the shape [${shape.join(", ")}]; sizes cannot be negative.`);
    if (sizeOf(sizes) > maxElements)
      throw bad(`input "${name}" has the shape [${shape.join(", ")}]: more than 2^31 elements.`);
  }
}

function checkConstant(graph: Graph, name: string, constant: Tensor, readers: readonly Node[]): void {
  const { dtype, shape } = constant;
  const printed = (): string => `[${shape.join(", ")}]`;
  if (shape.some((size) => size < 0)) throw bad(`initializer "${name}" has the shape ${printed()}.`);
  if (sizeOf(shape) > maxElements)
    throw bad(`initializer "${name}" has the shape ${printed()}: more than 2^31 elements.`);
  const type = graph.values.get(name);
  if (type && !(type.dtype === dtype && isSameShape(type.shape, shape)))
    throw bad(
      `initializer "${name}" is ${dtype} of shape ${printed()}, but its type says ${type.dtype} [${type.shape.join(", ")}].`,
    );
  if (!isStored(constant)) checkElements(name, constant, readers);
}

const isSameShape = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a === b || (a.length === b.length && a.every((size, axis) => size === b[axis]));

/** Throws BAD_MODEL where elements are missing, or where one is NaN or infinite and `readers` cannot compute with it. */
export function checkElements(name: string, constant: Tensor, readers: readonly Node[]): void {
  const { dtype, shape, data } = constant;
  const count = sizeOf(shape);
  if (count !== data.length || !(data instanceof dtypes[dtype].array))
    throw bad(
      `initializer "${name}" has ${data.length} elements of data; ${dtype} of shape [${shape.join(", ")}] takes ${count}.`,
    );
  const position = findNonFinite(constant, readers.length > 0 && readers.every(({ op }) => takeInfinity.has(op)));
  if (position >= 0)
    throw bad(
      `initializer "${name}" holds ${printElement(constant, position)} at index ${position} of ${count}. The model is damaged, or its training diverged.`,
    );
}

/** The index of the first NaN, or infinity unless that is allowed; −1 if there is none. */
function findNonFinite({ dtype, data }: Tensor, isInfinityAllowed: boolean): number {
  if (dtype === "float32" || dtype === "float64") {
    const numbers = data as Float32Array | Float64Array;
    if (areFinite(numbers)) return -1;
    return numbers.findIndex(isInfinityAllowed ? Number.isNaN : (value: number) => !Number.isFinite(value));
  }
  if (dtype !== "float16" && dtype !== "bfloat16") return -1;
  const exponent = dtype === "float16" ? 0x7c00 : 0x7f80;
  const mantissa = 0x7fff - exponent;
  const bits = data as Uint16Array;
  return bits.findIndex((b) => (b & exponent) === exponent && (!isInfinityAllowed || (b & mantissa) !== 0));
}

/** 0 times a number is 0 unless that is infinite or NaN: a sum is a tenth of the time of calling a function with each. */
function areFinite(numbers: Float32Array | Float64Array): boolean {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += 0 * numbers[i];
  return sum === 0;
}

function printElement({ dtype, data }: Tensor, index: number): string {
  if (dtype === "float32" || dtype === "float64") return String(data[index]);
  const mantissa = dtype === "float16" ? 0x3ff : 0x7f;
  return (Number(data[index]) & mantissa) !== 0 ? "NaN" : "infinity";
}

// Constants that are parameters without being a linear layer's, its bias or a normalization's: ONNX marks none as such.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { type OpType, opDefinition } from "../ops/index.ts";
import { fixedFilter } from "../quantizers/fixed-filters.ts";

/** vector: at most one axis is longer than 1. table: more are. */
export type LearnedForm = "vector" | "table";

/** They give what a constant holds, though not its very values. */
const imitatingOps: ReadonlySet<string> = new Set<OpType>(["Resize", "FakeQuantize"]);

/** Products: which inputs may be parameters. */
const productInputs: ReadonlyMap<string, readonly number[]> = new Map<OpType, readonly number[]>([
  ["Conv", [1, 2]],
  ["ConvTranspose", [1, 2]],
  ["Gemm", [0, 1, 2]],
  ["MatMul", [0, 1]],
  ["LSTM", [1, 2, 3, 7]],
  ["GRU", [1, 2, 3]],
  ["RNN", [1, 2, 3]],
]);

/**
 * By name, in the order of the nodes that read them. A constant counts where it is an initializer of the file or computed from
 * one, not a Constant node; has more than one element, slopes aside; and meets what depends on the input the way a parameter
 * does: as the slope of a PRelu, the table of a Gather, a factor of a product, an operand of Einsum, joined to it (tokens), or
 * added to it or a vector times it where a layer is before it: what comes before all layers is preprocessing. Values from
 * ±10,000 on are masks, and filters that nobody learned stay. It must have a gradient. `known` are the parameters found by other rules.
 */
export function learnedConstants(graph: Graph, known: ReadonlySet<string>): ReadonlyMap<string, LearnedForm> {
  const forms = new Map<string, LearnedForm>();
  if (graph.constants.size === 0 && graph.variables.length === 0) return forms;
  const trains = differentiableValues(graph);
  const sources = new Map([...graph.constants.keys(), ...graph.variables].map((name) => [name, [name]]));
  const learned = new Set<string>();
  const producerOf = producers(graph);
  const isFixed = (node: Node, i: number, name: string): boolean =>
    i === 1 && node.inputs[1] === name && fixedFilter(node, graph.constants.get(name), producerOf) !== undefined;
  for (const node of graph.nodes) {
    const moved = movedSources(node, sources);
    if (moved) for (const output of node.outputs) sources.set(output, moved);
    if (moved) continue;
    let isLearned = node.inputs.some((input) => learned.has(input) || known.has(sources.get(input)?.[0] ?? ""));
    node.inputs.forEach((input, i) => {
      const candidates = (sources.get(input) ?? []).filter((name) => !known.has(name));
      for (const name of candidates) {
        if (!trains.has(input) || isFixed(node, i, name) || !isParameter(graph, node, i, name, learned)) continue;
        if (!forms.has(name)) forms.set(name, formOf(graph, name));
        isLearned = true;
      }
    });
    if (isLearned) for (const output of node.outputs) learned.add(output);
  }
  return forms;
}

/** The constants that a node which computes nothing passes on; `undefined` for other nodes. */
function movedSources(node: Node, sources: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const definition = opDefinition(node.op);
  if (!definition?.movesValues && !imitatingOps.has(node.op)) return undefined;
  const inputs = definition?.inputs[0]?.isRepeated ? node.inputs : node.inputs.slice(0, 1);
  return inputs.every((input) => sources.has(input)) ? inputs.flatMap((input) => sources.get(input) ?? []) : undefined;
}

function formOf(graph: Graph, name: string): LearnedForm {
  const shape = graph.values.get(name)?.shape ?? [];
  return shape.filter((size) => size !== 1).length > 1 ? "table" : "vector";
}

function isParameter(graph: Graph, node: Node, input: number, name: string, learned: ReadonlySet<string>): boolean {
  const type = graph.values.get(name);
  if (!type || !/^float(32|64)$/.test(type.dtype)) return false;
  if (node.op === "PRelu") return input === 1;
  const isOne = sizeOf(type.shape.map(Number)) === 1;
  if (isOne || graph.literals?.has(name) || isMask(graph.constants.get(name))) return false;
  if (node.op === "Gather") return input === 0;
  if (node.op === "Einsum") return true;
  if (node.op === "Concat") return graph.constants.get(name)?.data.some((value) => Number(value) !== 0) ?? true;
  const others = node.inputs.filter((other, i) => i !== input && learned.has(other));
  if (node.op === "Add" || node.op === "Where") return others.length > 0;
  if (node.op === "Mul") return others.length > 0 && formOf(graph, name) === "vector";
  return productInputs.get(node.op)?.includes(input) ?? false;
}

function isMask(value: Tensor | undefined): boolean {
  const data = value ? numbersOf(value) : [];
  for (let i = 0; i < data.length; i++) if (!(Math.abs(data[i]) < 1e4)) return true;
  return false;
}

/** Sizes are known before a step is built. */
const isObstacle = ({ op }: Node): boolean =>
  opDefinition(op)?.gradient === "none" && opDefinition(op)?.sampleAxis !== "sizes";

/** Values that a gradient of a float output reaches, with no operator without a gradient on any way to an output. */
function differentiableValues(graph: Graph): Pick<ReadonlySet<string>, "has"> {
  const isFloat = (value: string): boolean => graph.values.get(value)?.dtype.startsWith("float") === true;
  const outputs = graph.outputs.filter(isFloat);
  const reaching = new Set(outputs);
  const stuck = new Set<string>();
  const trains = new Set(outputs);
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((output) => reaching.has(output))) continue;
    const isStuck = isObstacle(node) || node.outputs.some((output) => stuck.has(output));
    for (const input of node.inputs) {
      reaching.add(input);
      if (isStuck && graph.values.get(input)?.dtype !== "bool") stuck.add(input);
      if (node.outputs.some((output) => trains.has(output)) && isFloat(input)) trains.add(input);
    }
  }
  return { has: (value) => trains.has(value) && !stuck.has(value) };
}

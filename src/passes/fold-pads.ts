// Zeros that a Pad puts around images become pads of the convolution or pool that reads them: integer kernels pad, Pad is none.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute, numbersAttribute, stringAttribute } from "../ops/attributes.ts";
import { isStatic } from "../ops/dims.ts";
import { padAmounts } from "../ops/reshaping.ts";
import { autoPad } from "../ops/window.ts";
import { knownContents } from "./fold-constants.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** All beginnings, then all ends, of the spatial axes. */
type Pads = readonly number[];

/** The graph with such Pads folded; a Pad that others read too stays for them. Sizes that the Pad hid are inferred anew. */
export function foldPads(graph: Graph): Graph {
  const producerOf = producers(graph);
  const sourceOf = (value: string): Node | undefined => {
    const node = producerOf.get(value);
    return node?.op === "Identity" ? sourceOf(node.inputs[0]) : node;
  };
  const fold = (node: Node): Node => {
    const pad = sourceOf(node.inputs[0]);
    const added = pad?.op === "Pad" ? spatialPads(graph, pad) : undefined;
    const attributes = pad && added && attributesWith(graph, producerOf, node, pad, added);
    return attributes ? fold({ ...node, attributes, inputs: [pad.inputs[0], ...node.inputs.slice(1)] }) : node;
  };
  const nodes = graph.nodes.map(fold);
  if (nodes.every((node, i) => node === graph.nodes[i])) return graph;
  return removeDeadNodes(inferTypes({ ...graph, nodes }));
}

/** What a Pad of constants adds around images [N, C, ...]; `undefined` where it cuts, or pads samples or channels. */
function spatialPads(graph: Graph, pad: Node): Pads | undefined {
  const constant = (i: number): Tensor | undefined => {
    const name = pad.inputs[i] ?? "";
    return graph.constants.get(name) ?? knownContents(graph, name);
  };
  const elements = (i: number): readonly number[] | undefined => {
    const value = constant(i);
    return value && toNumbers(value);
  };
  if (stringAttribute(pad, "mode", "constant") !== "constant" || !elements(1)) return undefined;
  if (pad.inputs[3] && !elements(3)) return undefined;
  const inputs = pad.inputs.map((input) => (input === "" ? undefined : graph.values.get(input)));
  const amounts = padAmounts({ node: pad, inputs, elements, constant });
  const flat = amounts?.flat() ?? [];
  if (!amounts || amounts.length < 3 || !isStatic(flat) || flat.some((amount) => Number(amount) < 0)) return undefined;
  if (amounts.slice(0, 2).some(([begin, end]) => begin !== 0 || end !== 0)) return undefined;
  const spatial = amounts.slice(2).map(([begin, end]) => [Number(begin), Number(end)]);
  return [...spatial.map(([begin]) => begin), ...spatial.map(([, end]) => end)];
}

/** The attributes of a convolution or pool that pads by itself; `undefined` where that would give other values. */
function attributesWith(
  graph: Graph,
  producerOf: ReadonlyMap<string, Node>,
  node: Node,
  pad: Node,
  added: Pads,
): Node["attributes"] | undefined {
  const mode = autoPad(node);
  if (!windowedOps.has(node.op) || mode.startsWith("SAME")) return undefined;
  const own = (mode === "VALID" ? undefined : numbersAttribute(node, "pads")) ?? added.map(() => 0);
  if (own.length !== added.length) return undefined;
  const { auto_pad: _, ...attributes } = node.attributes;
  const padded = { ...attributes, pads: own.map((amount, i) => amount + added[i]) };
  const value = paddingValue(graph, pad);
  if (node.op === "Conv") return value === 0 ? padded : undefined;
  if (!isPlainPool(node, padded.pads)) return undefined;
  if (node.op === "AveragePool") {
    const countsPads = numberAttribute(node, "count_include_pad", 0) === 1 || own.every((amount) => amount === 0);
    return value === 0 && countsPads ? { ...padded, count_include_pad: 1 } : undefined;
  }
  // A MaxPool's own pads are below every value.
  const isLeast = value !== undefined && (value <= least || (value === 0 && isNonNegative(graph, producerOf, pad)));
  return isLeast && node.outputs.length === 1 ? padded : undefined;
}

const windowedOps: ReadonlySet<string> = new Set(["Conv", "MaxPool", "AveragePool"]);

/** The lowest number of float32. */
const least = -(2 - 2 ** -23) * 2 ** 127;

/** No window of it lies in pads alone, and pads do not change how many windows there are. */
function isPlainPool(node: Node, pads: Pads): boolean {
  const kernel = numbersAttribute(node, "kernel_shape", []);
  const isDilated = numbersAttribute(node, "dilations", []).some((dilation) => dilation !== 1);
  const isCeiled = numberAttribute(node, "ceil_mode", 0) === 1;
  return !isDilated && !isCeiled && pads.every((amount, i) => amount < kernel[i % kernel.length]);
}

/** What the Pad puts there; `undefined` where it is computed. */
function paddingValue(graph: Graph, { inputs }: Node): number | undefined {
  const value = inputs[2] ? graph.constants.get(inputs[2]) : undefined;
  return inputs[2] ? value && numbersOf(value)[0] : 0;
}

const nonNegativeOps: ReadonlySet<string> = new Set(["Relu", "Sigmoid", "Softmax", "Abs", "HardSigmoid", "Softplus"]);
const keepingOps: ReadonlySet<string> = new Set(["MaxPool", "AveragePool", "Identity"]);

function isNonNegative(graph: Graph, producerOf: ReadonlyMap<string, Node>, { inputs: [value] }: Node): boolean {
  const node = producerOf.get(value);
  if (!node) return false;
  const low = node.op === "Clip" ? graph.constants.get(node.inputs[1] ?? "") : undefined;
  if (nonNegativeOps.has(node.op) || (low && numbersOf(low)[0] >= 0)) return true;
  return keepingOps.has(node.op) && isNonNegative(graph, producerOf, node);
}

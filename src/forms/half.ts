// A float32 graph in float16, with casts at the edges of what keeps float32.
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { narrowTensor, widenTensor } from "../ir/half.ts";
import { numbersOf, scalar, sizeOf, type Tensor } from "../ir/tensor.ts";
import { inputTypesOf } from "../onnx/check-schema.ts";
import { numbersAttribute } from "../ops/attributes.ts";
import { emitInto } from "./emit.ts";

/** What decides which nodes keep float32. */
export interface HalfChoice {
  /** Of the file: which operators take float16. */
  readonly opset: number;
  /** Values that float16 does not hold: all nodes that make or read them keep float32. */
  readonly wide: ReadonlySet<string>;
}

type Width = "float16" | "float32";

const isFloat = ({ values }: Graph, value: string): boolean => values.get(value)?.dtype === "float32";

export interface HalfGraph {
  readonly graph: Graph;
  /** The nodes that compute with floats and keep float32. */
  readonly kept: readonly Node[];
}

/** Inputs and outputs stay float32. */
export function inHalf(graph: Graph, choice: HalfChoice): HalfGraph {
  const isHalf = halfNodes(graph, choice);
  const emit = emitInto(graph);
  const widths = widthsOf(graph, {
    constant: (name, value) => emit.constant(`${name}:float16`, narrowTensor(value, "float16")),
    cast: (value, width) => emit.call("Cast", [value], { dtype: width, hint: `${value}:${width}` }, { to: width }),
  });
  for (const node of graph.nodes) {
    const width = isHalf.has(node.name) ? "float16" : "float32";
    const inputs = inputsOf(graph, node, choice, (value, widest) =>
      widths.nameOf(value, width === "float16" ? widest : "float32"),
    );
    const isMade = (value: string): boolean => width === "float16" && isFloat(graph, value);
    const outputs = node.outputs.map((value) =>
      isMade(value) && graph.outputs.includes(value) ? emit.value(`${value}:float16`, "float16") : value,
    );
    emit.push({ ...node, inputs, outputs, attributes: width === "float16" ? halfAttributes(node) : node.attributes });
    for (const [i, value] of node.outputs.entries()) {
      widths.made(value, width, outputs[i]);
      if (outputs[i] !== value)
        widths.made(value, "float32", emit.call("Cast", [outputs[i]], { output: value }, { to: "float32" }));
    }
  }
  return { graph: emit.graph(), kept: keptOf(graph, isHalf) };
}

/**
 * A graph of float32 that rounds as the graph in float16 does: ONNX Runtime's kernels for processors compute that one in float32
 * from node to node, and others do not.
 */
export function roundedAsHalf(graph: Graph, choice: HalfChoice): Graph {
  const isHalf = halfNodes(graph, choice);
  const emit = emitInto(graph);
  const round = (
    value: string,
    made: { readonly output: string } | { readonly hint: string; readonly dtype: "float32" },
  ): string =>
    emit.call(
      "Cast",
      [emit.call("Cast", [value], { dtype: "float16", hint: `${value}:float16` }, { to: "float16" })],
      made,
      { to: "float32" },
    );
  const widths = widthsOf(graph, {
    constant: (name, value) => emit.constant(`${name}:rounded`, widenTensor(narrowTensor(value, "float16"))),
    cast: (value, width) =>
      width === "float32" ? value : round(value, { hint: `${value}:rounded`, dtype: "float32" }),
  });
  for (const node of graph.nodes) {
    const width = isHalf.has(node.name) ? "float16" : "float32";
    const inputs = inputsOf(graph, node, choice, (value, widest) =>
      widths.nameOf(value, width === "float16" ? widest : "float32"),
    );
    const isRounded = (value: string): boolean => width === "float16" && isFloat(graph, value);
    const outputs = node.outputs.map((value) => (isRounded(value) ? emit.value(`${value}:exact`, "float32") : value));
    emit.push({ ...node, inputs, outputs });
    for (const [i, value] of node.outputs.entries()) {
      if (outputs[i] !== value) round(outputs[i], { output: value });
      widths.made(value, width, value);
    }
  }
  return emit.graph();
}

interface WidthChange {
  readonly constant: (name: string, value: Tensor) => string;
  readonly cast: (value: string, to: Width) => string;
}

/** Under which name each value is in each width. */
function widthsOf({ constants }: Graph, { constant, cast }: WidthChange) {
  const names = new Map<string, string>();
  const key = (value: string, width: Width): string => `${width}\n${value}`;
  const made = (value: string, width: Width, name: string): void => void names.set(key(value, width), name);
  const nameOf = (value: string, width: Width): string => {
    const known = names.get(key(value, width));
    if (known !== undefined) return known;
    const value32 = constants.get(value);
    const other = names.get(key(value, width === "float16" ? "float32" : "float16")) ?? value;
    const name = value32 ? (width === "float32" ? value : constant(value, value32)) : changed(value, width, other);
    made(value, width, name);
    return name;
  };
  /** Inputs are float32. */
  const changed = (value: string, width: Width, other: string): string =>
    width === "float32" && !names.has(key(value, "float16")) ? value : cast(other, width);
  return { made, nameOf };
}

/** Of a node that computes in float16, which inputs it takes in it; others stay float32. */
function inputsOf(
  graph: Graph,
  node: Node,
  { opset }: HalfChoice,
  nameOf: (value: string, widest: Width) => string,
): readonly string[] {
  const types = inputTypesOf(node, opset);
  return node.inputs.map((value, i) =>
    value === "" || !isFloat(graph, value) ? value : nameOf(value, takesHalf(types?.[i]) ? "float16" : "float32"),
  );
}

const keptOf = (graph: Graph, isHalf: ReadonlySet<string>): readonly Node[] =>
  graph.nodes.filter(
    ({ name, inputs, outputs }) => !isHalf.has(name) && [...inputs, ...outputs].some((value) => isFloat(graph, value)),
  );

const takesHalf = (types: readonly string[] = []): boolean => types.includes("float16");

/** Nodes that make floats of nothing say in which type. */
function halfAttributes({ op, attributes }: Node): Node["attributes"] {
  if (op === "Cast" && attributes["to"] === "float32") return { ...attributes, to: "float16" };
  if (op !== "ConstantOfShape") return attributes;
  const value = (attributes["value"] as Tensor | undefined) ?? { ...scalar("float32", 0), shape: [1] };
  return value.dtype === "float32" ? { ...attributes, value: narrowTensor(value, "float16") } : attributes;
}

/** The names of the nodes that compute in float16. */
function halfNodes(graph: Graph, { opset, wide }: HalfChoice): ReadonlySet<string> {
  const exact = new Set([...fromWholeNumbers(graph), ...toWholeNumbers(graph)]);
  const readers = consumers(graph);
  const canBeHalf = (node: Node): boolean => {
    const read = node.inputs.flatMap((value, i) => (value !== "" && isFloat(graph, value) ? [i] : []));
    const made = node.outputs.filter((value) => value !== "" && isFloat(graph, value));
    if (read.length + made.length === 0 || made.some((value) => exact.has(value))) return false;
    if ([...read.map((i) => node.inputs[i]), ...made].some((value) => wide.has(value))) return false;
    if (read.length === 0) return node.op === "Cast" || node.op === "ConstantOfShape";
    if (readsExactly(graph, node) || endsRuntime(node, readers)) return false;
    // The statistics that a normalization gives besides are float32 whatever it reads.
    if (node.op === "LayerNormalization" && made.length > 1) return false;
    return takesHalf(inputTypesOf(node, opset)?.[read[0]]);
  };
  return new Set(graph.nodes.filter(canBeHalf).map(({ name }) => name));
}

const isWhole = ({ values }: Graph, value: string): boolean => /^u?int(32|64)$/.test(values.get(value)?.dtype ?? "");

/** Casts of floats to whole numbers, which count or index something. */
const readsExactly = (graph: Graph, { op, inputs, outputs }: Node): boolean =>
  op === "Cast" && isFloat(graph, inputs[0]) && isWhole(graph, outputs[0]);

/**
 * Whether ONNX Runtime (1.30 to 1.32) ends with a segmentation fault where this is float16: it takes a transposition that moves the
 * first axis beside the last ones into the matrix product behind it, past the cast to the float32 that it multiplies in.
 */
function endsRuntime(node: Node, readers: ReadonlyMap<string, readonly Node[]>): boolean {
  const order = node.op === "Transpose" ? numbersAttribute(node, "perm", []) : [];
  const movesFirst = order.length > 2 && order.indexOf(0) >= order.length - 2;
  return movesFirst && (readers.get(node.outputs[0]) ?? []).some(({ op }) => op === "MatMul");
}

/** Constants of more elements are weights. */
const mostElements = 4096;

/** What is computed of counts and positions alone, which float16 has up to 2048: angles of positions, masks. */
function fromWholeNumbers(graph: Graph): ReadonlySet<string> {
  const found = new Set<string>();
  const isSmall = (value: string): boolean => {
    const constant = graph.constants.get(value);
    return constant !== undefined && sizeOf(constant.shape) <= mostElements;
  };
  for (const node of graph.nodes) {
    const floats = node.inputs.filter((value) => value !== "" && isFloat(graph, value));
    const starts = node.op === "Cast" && isWhole(graph, node.inputs[0]);
    const goesOn =
      floats.some((value) => found.has(value)) && floats.every((value) => found.has(value) || isSmall(value));
    if (starts || goesOn) for (const value of node.outputs) if (isFloat(graph, value)) found.add(value);
  }
  return found;
}

/** Floats of at most one axis that become whole numbers: sizes that a model computes. */
function toWholeNumbers(graph: Graph): ReadonlySet<string> {
  const found = new Set<string>();
  const isShort = (value: string): boolean => (graph.values.get(value)?.shape.length ?? 2) <= 1;
  for (const node of graph.nodes.toReversed())
    if (readsExactly(graph, node) || node.outputs.some((value) => found.has(value)))
      for (const value of node.inputs) if (value !== "" && isFloat(graph, value) && isShort(value)) found.add(value);
  return found;
}

/** float16's largest number, and the least that it has all digits of. */
const [largestHalf, leastHalf] = [65504, 2 ** -14];
/** Values are held at half of what float16 has: other data may give larger ones. */
export const largestHeld = largestHalf / 2;
/** Finite numbers from here on stand for infinity, as masks have them. */
const endless = 1e30;

/**
 * The graph with constants that stand for infinity at the end of what float16 has, where no value that was seen comes near it: sums
 * of two masks stay finite, so that a softmax of nothing but masked scores is no division by zero.
 */
export function withFiniteMasks(graph: Graph, largest: ReadonlyMap<string, number>): Graph {
  const seen = [...largest.values()].filter((value) => value < endless);
  if (seen.some((value) => value > largestHeld / 2)) return graph;
  const isEndless = (value: number): boolean => Math.abs(value) >= endless && Number.isFinite(value);
  const clamp = (value: number): number => (isEndless(value) ? Math.sign(value) * largestHeld : value);
  const clamped = (constant: Tensor): Tensor =>
    constant.dtype === "float32" && sizeOf(constant.shape) <= mostElements && numbersOf(constant).some(isEndless)
      ? { ...constant, data: Float32Array.from(numbersOf(constant), clamp) }
      : constant;
  return { ...graph, constants: new Map([...graph.constants].map(([name, value]) => [name, clamped(value)])) };
}

/** Constants that float16 makes 0 or infinity of, or whose digits it loses. */
export function wideConstants(graph: Graph): ReadonlySet<string> {
  const isWide = (constant: Tensor): boolean => {
    if (constant.dtype !== "float32") return false;
    let largest = 0;
    for (const value of numbersOf(constant)) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
    return largest > largestHalf || (largest > 0 && largest < leastHalf);
  };
  return new Set([...graph.constants].flatMap(([name, value]) => (isWide(value) ? [name] : [])));
}

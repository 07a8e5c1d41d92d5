// Of the positions of a text a classifier reads one: a Gather of one entry goes before what is computed for each entry alone.
import type { Graph, Node, ValueType } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { opDefinition } from "../ops/index.ts";
import { inferContext } from "../ops/infer.ts";
import { resolveAxis } from "../ops/operands.ts";
import { outputTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** What these outputs take to compute, and nothing else. */
export const onlyOutputs = (graph: Graph, outputs: readonly string[]): Graph =>
  gatherEarly(removeDeadNodes({ ...graph, outputs }));

/** One entry of a value along an axis. */
interface Entry {
  readonly axis: number;
  readonly index: number;
}

/** The same outputs; entries that no output depends on are not computed. */
export function gatherEarly(graph: Graph): Graph {
  const entries = findEntries(graph);
  if (entries.size === 0) return graph;
  const draft: Draft = {
    graph,
    entries,
    values: new Map(graph.values),
    constants: new Map(graph.constants),
    gathered: new Map(),
    unique: uniqueNamesIn(graph),
  };
  const nodes = graph.nodes.flatMap((node) => rewritten(node, draft));
  return removeDeadNodes({ ...graph, nodes, values: draft.values, constants: draft.constants });
}

/** By value of which one entry is all that is read, and which can be computed from one entry of other values: that entry. */
function findEntries(graph: Graph): ReadonlyMap<string, Entry> {
  const read = new Map<string, Entry | "all">();
  const note = (value: string, entry: Entry | "all"): void => {
    const known = read.get(value) ?? entry;
    read.set(value, isSame(known, entry) ? known : "all");
  };
  for (const value of [...graph.outputs, ...graph.updates.values()]) note(value, "all");
  const found = new Map<string, Entry>();
  for (const node of graph.nodes.toReversed()) {
    const entry = read.get(node.outputs[0]);
    const axes = entry === undefined || entry === "all" ? undefined : axesOfEntries(node, entry.axis, graph);
    if (axes) found.set(node.outputs[0], entry as Entry);
    const root = entryRead(node, graph);
    for (const [i, input] of node.inputs.entries()) {
      const axis = axes?.[i] ?? -1;
      if (axis >= 0) note(input, { ...(entry as Entry), axis });
      else note(input, root && i === 0 ? root : "all");
    }
  }
  return found;
}

const isSame = (a: Entry | "all", b: Entry | "all"): boolean =>
  a === b || (a !== "all" && b !== "all" && a.axis === b.axis && a.index === b.index);

/** What a Gather of one entry reads. */
function entryRead(node: Node, { constants, values }: Graph): Entry | undefined {
  const indices = node.op === "Gather" ? constants.get(node.inputs[1]) : undefined;
  if (!indices || sizeOf(indices.shape) !== 1) return undefined;
  const rank = values.get(node.inputs[0])?.shape.length ?? 0;
  return { axis: resolveAxis(node, numberAttribute(node, "axis", 0), rank), index: toNumbers(indices)[0] };
}

/** By input, the axis along which an entry of the output reads that entry alone; −1 where it reads everything. */
function axesOfEntries(node: Node, axis: number, graph: Graph): readonly number[] | undefined {
  const definition = opDefinition(node.op);
  if (!definition || typeof definition.sampleAxis === "string" || node.outputs.length !== 1) return undefined;
  if (node.inputs.some((input, i) => input !== "" && definition.inputs[i]?.holdsSizes === true)) return undefined;
  const output = typeOf(graph.values, node.outputs[0]);
  const inputs = node.inputs.map((input) => graph.values.get(input));
  const axes = inputs.map((type) => {
    const aligned = axis - output.shape.length + (type?.shape.length ?? 0);
    return aligned >= 0 && type?.shape[aligned] === output.shape[axis] ? aligned : -1;
  });
  if (axes.every((aligned) => aligned < 0)) return undefined;
  const context = {
    ...inferContext(node, inputs, (value) => graph.constants.get(value)),
    outputs: [output],
    axes,
  };
  return definition.sampleAxis(context) === axis && isOfOne(node, axis, axes, graph) ? axes : undefined;
}

/** Whether the output has one entry where the inputs have one. */
function isOfOne(node: Node, axis: number, axes: readonly number[], { values, constants }: Graph): boolean {
  const ofOne = new Map(values);
  for (const [i, input] of node.inputs.entries())
    if (axes[i] >= 0) ofOne.set(input, withOneEntry(typeOf(values, input), axes[i]));
  const [{ shape }] = outputTypes(node, ofOne, constants);
  return String(shape) === String(typeOf(values, node.outputs[0]).shape.with(axis, 1));
}

const withOneEntry = ({ dtype, shape }: ValueType, axis: number): ValueType => ({ dtype, shape: shape.with(axis, 1) });

function typeOf(values: ReadonlyMap<string, ValueType>, value: string): ValueType {
  const found = values.get(value);
  if (!found) throw new Error(`internal: value "${value}" has no type`);
  return found;
}

interface Draft {
  readonly graph: Graph;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly values: Map<string, ValueType>;
  readonly constants: Map<string, Tensor>;
  /** By value and entry, what holds that entry. */
  readonly gathered: Map<string, string>;
  readonly unique: (hint: string) => string;
}

function rewritten(node: Node, draft: Draft): readonly Node[] {
  const { graph, entries, values } = draft;
  const [output] = node.outputs;
  const entry = entries.get(output);
  if (!entry) return entryRead(node, graph) && entries.has(node.inputs[0]) ? [readingFirst(node, draft)] : [node];
  const axes = axesOfEntries(node, entry.axis, graph) ?? [];
  const gathers: Node[] = [];
  const inputs = node.inputs.map((input, i) =>
    axes[i] < 0 || entries.has(input) ? input : gather(input, { ...entry, axis: axes[i] }, draft, gathers),
  );
  values.set(output, withOneEntry(typeOf(values, output), entry.axis));
  return [...gathers, { ...node, inputs }];
}

/** The Gather, of what has one entry now. */
function readingFirst(node: Node, draft: Draft): Node {
  const [data, indices] = node.inputs;
  const { dtype, shape } = typeOf(draft.values, indices);
  const first = addConstant(draft, `${node.name}_first`, tensorOf(dtype, shape as readonly number[], [0]));
  return { ...node, inputs: [data, first] };
}

/** One entry of a value that is computed in full. */
function gather(value: string, { axis, index }: Entry, draft: Draft, made: Node[]): string {
  const key = JSON.stringify([value, axis, index]);
  const known = draft.gathered.get(key);
  if (known !== undefined) return known;
  const name = draft.unique(`${value}_entry`);
  const indices = addConstant(draft, `${name}_index`, tensorOf("int64", [1], [index]));
  made.push({ name, op: "Gather", inputs: [value, indices], outputs: [name], attributes: { axis } });
  draft.values.set(name, withOneEntry(typeOf(draft.values, value), axis));
  draft.gathered.set(key, name);
  return name;
}

function addConstant({ constants, values, unique }: Draft, hint: string, value: Tensor): string {
  const name = unique(hint);
  constants.set(name, value);
  values.set(name, { dtype: value.dtype, shape: value.shape });
  return name;
}

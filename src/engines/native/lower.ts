// Lowers a graph of known sizes to a plan.
import { FrostbitError } from "../../ir/errors.ts";
import { describeNode, type Graph, type Node } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { isStatic } from "../../ops/dims.ts";
import { isOpType } from "../../ops/index.ts";
import { knownResults } from "../../passes/known-results.ts";
import type { CompileOptions } from "../engine.ts";
import { openCounts } from "../planning/fix-sizes.ts";
import { updateNodes } from "../planning/update-nodes.ts";
import { joinAttention } from "./attention/join-attention.ts";
import { fuse } from "./fuse.ts";
import { imageInputs, isImage } from "./image-inputs.ts";
import {
  acceptsTypes,
  constantValue,
  createLoweringContext,
  type Draft,
  type NativeOp,
  type Numerics,
  type Open,
  usesOf,
} from "./lowering.ts";
import { nativeOps } from "./lowerings/index.ts";
import { bytesOf, fixed, type MemoryLayout, type Plan, type Slot, type Step, type Value } from "./plan.ts";
import { joinWindows } from "./windows.ts";

/** Operators that folding leaves alone even where all inputs are constants. */
const neverFolded: ReadonlySet<string> = new Set(["FakeQuantize", "QuantizeLinear", "DequantizeLinear"]);

/** What inference or folding computes before a plan is made. */
function isKnownBefore(node: Node, graph: Graph): boolean {
  const isContent = node.outputs.every((output) => output === "" || graph.values.get(output)?.elements !== undefined);
  const isConstant = node.inputs.every((input) => input === "" || graph.constants.has(input));
  return isOpType(node.op) && (isContent || (isConstant && !neverFolded.has(node.op)));
}

/** The counts of rows that may stay open in this engine's plans. */
export const openRowCounts = (graph: Graph): ReadonlyMap<string, number> =>
  openCounts(graph, (node, open) => {
    const op = nativeOps.get(node.op);
    return op?.takesRows === true && (op.accepts?.(node, graph, open) ?? true);
  });

const known = new WeakMap<Graph, Open>();

function openOf(graph: Graph): Open {
  const open = known.get(graph) ?? new Set(openRowCounts(graph).keys());
  known.set(graph, open);
  return open;
}

/** What runs a node; `undefined` where nothing does. */
function opOf(node: Node, graph: Graph): NativeOp | undefined {
  const op = nativeOps.get(node.op);
  const runs = op !== undefined && acceptsTypes(op, node, graph) && (op.accepts?.(node, graph, openOf(graph)) ?? true);
  return runs ? op : undefined;
}

export const supports = (node: Node, graph: Graph): boolean =>
  opOf(node, graph) !== undefined || isKnownBefore(node, graph);

export function assertSupported(graph: Graph): void {
  const refused = graph.nodes.filter((node) => !supports(node, graph));
  if (refused.length === 0) return;
  throw new FrostbitError(
    "UNSUPPORTED_OP",
    `The native engine cannot run ${refused.map(describeNode).join(", ")}: it computes in float32, with sizes that are known before a run. Use engine: "onnxruntime".`,
  );
}

/** `keepsChannelsLast`: outputs stay in the layout that they are computed in. `gradients`: outputs that are gradients. */
export function lower(
  given: Graph,
  counts: ReadonlyMap<string, number>,
  numerics: Numerics,
  { keepsChannelsLast = false, gradients = [] }: Partial<Pick<CompileOptions, "keepsChannelsLast" | "gradients">> = {},
): Plan {
  const graph = joinAttention(given);
  const late = updateNodes(graph, gradients);
  const draft: Draft = {
    values: new Map(),
    steps: [],
    counts,
    copies: new Map(),
    narrowed: new Map(),
    widened: new Map(),
    weights: new Map(),
    uses: usesOf(graph),
    numerics,
    late,
  };
  const images = imageInputs(graph);
  const inputs = new Map(
    graph.inputs.map((name) => {
      const value = startValue(graph, name, { kind: "arena" }, counts);
      return [name, images.has(name) ? ({ ...value, layout: "channelsLast" } as const) : value] as const;
    }),
  );
  for (const [name, value] of inputs) draft.values.set(name, value);
  for (const name of graph.variables)
    draft.values.set(name, startValue(graph, name, { kind: "variable", name }, counts));
  // Late nodes come last, so that a run can stop before the first variable is written.
  for (const node of inOrder(graph, late)) {
    const op = opOf(node, graph);
    if (op) op.lower(createLoweringContext(draft, graph, node));
    else defineKnown(draft, graph, node);
  }
  const layoutOf = (name: string): MemoryLayout =>
    (keepsChannelsLast && isImage(graph, name) && draft.values.get(name)?.layout) || "plain";
  const outputs = new Map(graph.outputs.map((name) => [name, result(draft, graph, name, layoutOf(name))]));
  const updates = [...graph.updates].map(([variable, name]) => [variable, result(draft, graph, name)] as const);
  const kept = new Set([...outputs.values(), ...updates.map(([, value]) => value)].map(({ slot }) => slot));
  const fused = fuse(withoutDead(draft.steps, kept), kept, numerics.bfloat16);
  const isLate = ({ node, fused: own }: Step): boolean => own?.isLate ?? (node !== undefined && late.has(node));
  draft.steps.splice(0, draft.steps.length, ...joinWindows(fused, kept, isLate));
  writeUpdates(draft, graph, updates, outputs);
  const writesVariable = ({ outputs: written }: Step): boolean =>
    written.some((slot) => slot?.location.kind === "variable");
  const first = draft.steps.findIndex(writesVariable);
  return { steps: draft.steps, inputs, outputs, counts, firstCommit: first < 0 ? draft.steps.length : first };
}

/** Of what gradients alone need, first what is known without the batch and small: groups that read it for each row can then join others. */
function inOrder(graph: Graph, late: ReadonlySet<Node>): readonly Node[] {
  const known = new Set([...graph.constants.keys(), ...graph.variables, ""]);
  const isSmall = (output: string): boolean => {
    const { shape } = graph.values.get(output) ?? { shape: [] };
    return isStatic(shape) && sizeOf(fixed(shape)) <= maxHoisted;
  };
  const hoisted = new Set<Node>();
  for (const node of graph.nodes) {
    if (!late.has(node) || !node.inputs.every((input) => known.has(input)) || !node.outputs.every(isSmall)) continue;
    hoisted.add(node);
    for (const output of node.outputs) known.add(output);
  }
  const groups = [
    (node: Node) => !late.has(node),
    (node: Node) => hoisted.has(node),
    (node: Node) => late.has(node) && !hoisted.has(node),
  ];
  return groups.flatMap((isIn) => graph.nodes.filter(isIn));
}

/** Elements: the channels of a layer, not its weights. */
const maxHoisted = 1024;

/** The steps without those of which nothing is read, because it is empty or because products read the codes instead. */
function withoutDead(steps: readonly Step[], kept: ReadonlySet<Slot>): readonly Step[] {
  const read = new Set<Slot | undefined>(kept);
  const live = steps.toReversed().filter(({ inputs, outputs }) => {
    const isLive = outputs.some(
      (slot) => slot && slot.bytes > 0 && (slot.location.kind === "variable" || read.has(slot)),
    );
    if (isLive) for (const slot of inputs) read.add(slot);
    return isLive;
  });
  return live.toReversed();
}

/** The results of a node that is not run: what it gives is known. */
function defineKnown(draft: Draft, graph: Graph, node: Node): void {
  knownResults(graph, node).forEach((result, i) => {
    if (result && node.outputs[i] !== "") draft.values.set(node.outputs[i], constantValue(result));
  });
}

function startValue(
  graph: Graph,
  name: string,
  location: Slot["location"],
  counts: ReadonlyMap<string, number>,
): Value {
  const type = graph.values.get(name);
  if (!type) throw new Error(`internal: "${name}" has no type`);
  const length = type.shape.reduce<number>(
    (product, size) => product * (typeof size === "number" ? size : (counts.get(size) ?? 0)),
    1,
  );
  return {
    slot: { bytes: length * bytesOf(type.dtype), location },
    dtype: type.dtype,
    shape: type.shape,
    layout: "plain",
  };
}

/** An output or an update as callers want it. */
function result(draft: Draft, graph: Graph, name: string, layout: MemoryLayout = "plain"): Value {
  const reader: Node = { name: `result ${name}`, op: "Identity", inputs: [name], outputs: [], attributes: {} };
  return createLoweringContext(draft, graph, reader).input(0, layout);
}

function copyStep(from: Slot, to: Slot): Step {
  return {
    kernel: "copy1",
    inputs: [from],
    outputs: [to],
    ints: [1, from.bytes, 1, 1, 1, 1, 0, 0],
    floats: [],
    inPlace: [],
  };
}

/** Updates are computed where the variable lies, or copied there at the end. */
function writeUpdates(
  draft: Draft,
  graph: Graph,
  updates: readonly (readonly [string, Value])[],
  outputs: Map<string, Value>,
): void {
  /** What is read after the last step must not be overwritten before. */
  for (const [name, value] of outputs)
    if (value.slot.location.kind === "variable") outputs.set(name, kept(draft, value));
  const saved = updates.map(([variable, value]) =>
    value.slot.location.kind === "variable" ? ([variable, kept(draft, value)] as const) : ([variable, value] as const),
  );
  const taken = new Set<Slot>();
  for (const [variable, { slot }] of saved) {
    const target = draft.values.get(variable)?.slot;
    if (!target) throw new Error(`internal: there is no variable "${variable}"`);
    const isFree = slot.location.kind === "arena" && !taken.has(slot) && !isInput(draft, graph, slot);
    taken.add(slot);
    if (isFree && slot.bytes === target.bytes && mayWriteEarly(draft.steps, slot, target))
      slot.location = target.location;
    else draft.steps.push(copyStep(slot, target));
  }
}

const isInput = (draft: Draft, graph: Graph, slot: Slot): boolean =>
  graph.inputs.some((name) => draft.values.get(name)?.slot === slot);

/** Whether nothing reads the variable once `slot`, its next value, is being written. */
function mayWriteEarly(steps: readonly Step[], slot: Slot, variable: Slot): boolean {
  const first = steps.findIndex(({ outputs }) => outputs.includes(slot));
  const isSafe = ({ inputs, outputs, inPlace }: Step): boolean =>
    inputs.every((input, i) => input !== variable || inPlace.some(([to, from]) => from === i && outputs[to] === slot));
  return first >= 0 && isSafe(steps[first]) && steps.slice(first + 1).every(({ inputs }) => !inputs.includes(variable));
}

/** A copy, made at the end, of a value that an update may overwrite. */
function kept(draft: Draft, value: Value): Value {
  const copy: Value = { ...value, slot: { bytes: value.slot.bytes, location: { kind: "arena" } } };
  if (isStatic(value.shape) && fixed(value.shape).includes(0)) return copy;
  draft.steps.push(copyStep(value.slot, copy.slot));
  return copy;
}

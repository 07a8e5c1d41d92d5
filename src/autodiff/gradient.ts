// Reverse-mode differentiation as a function from graph to graph. The walk visits only nodes that depend on a wanted value.

import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Graph, type Node } from "../ir/graph.ts";
import type { Rows, Wanted } from "../ops/definition.ts";
import { opDefinition } from "../ops/index.ts";
import { buildOn } from "../ops/infer.ts";
import { sumToShape } from "./sum-to-shape.ts";

/** The values whose gradients are wanted: all of a gradient, or some of its rows, returned compactly. */
export type WantedValues = ReadonlyMap<string, "all" | Rows>;

export interface Differentiated {
  readonly graph: Graph;
  /** For each wanted value, the name of its gradient; values that the loss does not depend on are absent. */
  readonly gradients: ReadonlyMap<string, string>;
}

/** Adds the gradients of `loss` (a scalar) with respect to `wanted` to a graph of static shapes. */
export function gradient(graph: Graph, loss: string, wanted: WantedValues): Differentiated {
  const build = buildOn(graph);
  const gradients = appendGradients(build, graph.nodes, loss, wanted);
  return { graph: build.graph(graph.outputs), gradients };
}

/**
 * The same, adding to a builder that already holds `nodes`. Throws NO_GRADIENT naming every operator in the way. `gradientsOf`
 * receives, for each value that a gradient rule adds, the node that the rule is of.
 */
export function appendGradients(
  build: Builder,
  nodes: readonly Node[],
  loss: string,
  wanted: WantedValues,
  gradientsOf: Map<string, Node> = new Map(),
): ReadonlyMap<string, string> {
  const carried = wantedDownstream(nodes, wanted, (output) => build.type(output).dtype !== "bool");
  const before = nodesBefore(nodes, loss);
  const path = before.filter((node) => node.outputs.some((output) => carried.has(output)));
  assertGradientsExist(path, carried, wanted.size);
  const collected = new Map<string, string[]>([[loss, [build.scalar(1, loss)]]]);
  for (const node of [...path].reverse())
    differentiateNode(attributed(build, node, gradientsOf), node, carried, collected);
  const gradients = new Map<string, string>();
  for (const value of wanted.keys()) {
    const total = sumOf(build, collected.get(value));
    if (total !== undefined) gradients.set(value, total);
  }
  assertNoneLost(before, new Map([...wanted].filter(([value]) => !gradients.has(value))));
  return gradients;
}

/**
 * Which values are downstream of a wanted one, and whether only some of their rows are. A mask is constant almost everywhere:
 * booleans carry no gradient.
 */
function wantedDownstream(
  nodes: readonly Node[],
  wanted: WantedValues,
  carries: (output: string) => boolean,
): WantedValues {
  const carried = new Map(wanted);
  for (const node of nodes) {
    const want = wantedOfOutputs(node, carried);
    if (want === undefined) continue;
    for (const output of node.outputs)
      if (output !== "" && !carried.has(output) && carries(output)) carried.set(output, want);
  }
  return carried;
}

function wantedOfOutputs(node: Node, wanted: WantedValues): "all" | Rows | undefined {
  const definition = opDefinition(node.op);
  let result: "all" | Rows | undefined;
  for (const [i, input] of node.inputs.entries()) {
    const want = wanted.get(input);
    if (want === undefined) continue;
    const keeps = want !== "all" && definition?.keepsRows?.(i, want.axis, node) === true;
    if (!keeps || (result !== undefined && !sameRows(result, want))) return "all";
    result = want;
  }
  return result;
}

const sameRows = (a: Wanted, b: Wanted): boolean =>
  typeof a === "object" && typeof b === "object" && a.rows === b.rows && a.axis === b.axis;

/** The nodes that `loss` depends on, in order. */
function nodesBefore(nodes: readonly Node[], loss: string): readonly Node[] {
  const reached = new Set([loss]);
  const result: Node[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((output) => reached.has(output))) continue;
    result.push(node);
    for (const input of node.inputs) reached.add(input);
  }
  return result.reverse();
}

function assertGradientsExist(path: readonly Node[], wanted: WantedValues, count: number): void {
  const missing = path.filter(
    (node) => node.inputs.some((input) => wanted.has(input)) && opDefinition(node.op)?.gradient === "none",
  );
  if (missing.length === 0) return;
  const they = missing.length === 1 ? "it is" : "they are";
  throw new FrostbitError(
    "NO_GRADIENT",
    `${missing.map(describeNode).join(", ")}: no gradient exists, and ${they} between the loss and ${count} trained values. End the trained graph before ${missing.length === 1 ? "it" : "them"}.`,
  );
}

/** Values that the loss depends on through masks alone have no gradient; the walk has found none. */
function assertNoneLost(before: readonly Node[], lost: WantedValues): void {
  const carried = wantedDownstream(before, lost, () => true);
  assertGradientsExist(before, carried, lost.size);
}

/** A builder whose values are known to be of a node's gradient. */
function attributed(build: Builder, node: Node, gradientsOf: Map<string, Node>): Builder {
  const nodes: Builder["nodes"] = (...given) => {
    const outputs = build.nodes(...given);
    for (const output of outputs) gradientsOf.set(output, node);
    return outputs;
  };
  return {
    ...build,
    nodes,
    node: (op, inputs, attributes, name) => nodes(op, inputs, [true], attributes, name)[0],
  };
}

function differentiateNode(build: Builder, node: Node, wanted: WantedValues, collected: Map<string, string[]>): void {
  const rule = opDefinition(node.op)?.gradient;
  const dys = node.outputs.map((output) => sumOf(build, collected.get(output)));
  if (dys.every((dy) => dy === undefined) || rule === undefined || rule === "none") return;
  const requested = node.inputs.map((input, i) => requestOf(node, i, wanted.get(input), wanted.get(node.outputs[0])));
  const dxs = rule({ node, build, dys, wants: (i) => requested[i] ?? "none", type: build.type });
  for (const [i, input] of node.inputs.entries()) {
    const want = wanted.get(input);
    const dx = dxs[i];
    if (want === undefined || dx === undefined) continue;
    const fitted = fitGradient(build, dx, input, want, requested[i]);
    const list = collected.get(input);
    if (list) list.push(fitted);
    else collected.set(input, [fitted]);
  }
}

/** Rows are asked of a rule if `dy` holds just these rows already, or if the rule computes rows of a whole `dy`. */
function requestOf(node: Node, input: number, want: Wanted | undefined, wantedOfOutput: Wanted | undefined): Wanted {
  if (want === undefined || typeof want === "string") return want ?? "none";
  const isCompact = wantedOfOutput !== undefined && sameRows(want, wantedOfOutput);
  return isCompact || opDefinition(node.op)?.computesRows?.(input, want.axis, node) === true ? want : "all";
}

function fitGradient(build: Builder, dx: string, input: string, want: Wanted, requested: Wanted): string {
  if (typeof requested === "object") return dx;
  const whole = sumToShape(build, dx, build.type(input).shape);
  return typeof want === "object"
    ? build.node("Gather", [whole, want.rows], { axis: rowAxisIn(build.type(input).shape, want) })
    : whole;
}

/** A 1-D parameter (a scale, say) has its rows along its only axis, whatever axis the weight's rows are along. */
export const rowAxisIn = (shape: readonly unknown[], rows: Rows): number => Math.min(rows.axis, shape.length - 1);

function sumOf(build: Builder, parts: readonly string[] | undefined): string | undefined {
  return parts?.reduce((total, part) => build.node("Add", [total, part]));
}

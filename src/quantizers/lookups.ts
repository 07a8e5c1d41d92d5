// Gathers that look up rows of a layer's weight, as embeddings do whose table is also the last layer's weight.
import { assert } from "../ir/errors.ts";
import type { consumers, Graph, Node } from "../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import type { NewNames } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import type { LinearLayer } from "./linear-layers.ts";
import type { QuantizeOptions } from "./quantize-options.ts";
import type { StoredWeight } from "./store-weight.ts";

/** Whether the weights of a run can be looked up quantized: with one scale for each row of whole integers. */
export const hasLookups = ({ weightGrid, groupSize, activations }: QuantizeOptions): boolean =>
  weightGrid === "uniform" && groupSize === "whole" && activations !== "float";

/** The Gathers that read a weight of two axes along the one of its rows. */
export const lookupsOf = (
  graph: Graph,
  readers: ReturnType<typeof consumers>,
  { weight, rowAxis }: LinearLayer,
): readonly Node[] =>
  graph.values.get(weight)?.shape.length !== 2
    ? []
    : (readers.get(weight) ?? []).filter(
        (node) =>
          node.op === "Gather" &&
          node.inputs[0] === weight &&
          resolveAxis(node, numberAttribute(node, "axis", 0), 2) === rowAxis,
      );

/** What a Gather of the weight gives, from its integers and scales: runtimes would make floats of the whole table at each run. */
export function lookupNodes(
  { name, inputs: [, indices], outputs: [output], attributes }: Node,
  { integers, scale, zeroPoint, granularity }: Pick<StoredWeight, "integers" | "scale" | "zeroPoint" | "granularity">,
  { constants, names }: { readonly constants: ReadonlyMap<string, Tensor>; readonly names: NewNames },
): readonly Node[] {
  assert(typeof granularity === "object" && "axis" in granularity, `rows of "${integers}" have no scales of their own`);
  const { axis } = granularity;
  const dtype = constants.get(scale)?.dtype ?? "float32";
  const nodes: Node[] = [];
  const add = (op: string, inputs: readonly string[], given: Node["attributes"] = {}, made?: string): string => {
    const value = made ?? names.unique(`${name}:${op}`);
    nodes.push({ name: made === undefined ? value : name, op, inputs, outputs: [value], attributes: given });
    return value;
  };
  /** Of each row, beside the row's elements. */
  const ofRows = (values: string): string => {
    const gathered = add("Gather", [values, indices], { axis: 0 });
    return axis === 1
      ? gathered
      : add("Unsqueeze", [gathered, names.constant("axes:-1", tensorOf("int64", [1], [-1]))]);
  };
  const floats = (value: string): string => add("Cast", [value], { to: dtype });
  const rows = floats(add("Gather", [integers, indices], attributes));
  const centered = zeroPoint === "" ? rows : add("Sub", [rows, floats(ofRows(zeroPoint))]);
  add("Mul", [centered, ofRows(scale)], {}, output);
  return nodes;
}

/** A Gather of integers that nodes like those of `lookupNodes` give scales. */
export interface StoredLookup {
  readonly integers: string;
  readonly scale: string;
  /** "" where there are none. */
  readonly zeroPoint: string;
  readonly axis: number;
  readonly indices: string;
}

/** What the nodes of `lookupNodes` that end in this one look up. */
export function lookupBehind(
  graph: Graph,
  producerOf: ReadonlyMap<string, Node>,
  { op, inputs }: Node,
): StoredLookup | undefined {
  const behind = (value: string, wanted: string): Node | undefined => {
    const node = producerOf.get(value);
    return node?.op === wanted ? node : undefined;
  };
  const axisOf = (gather: Node): number => resolveAxis(gather, numberAttribute(gather, "axis", 0), 2);
  if (op !== "Mul") return undefined;
  const difference = behind(inputs[0], "Sub");
  const gather = behind(behind(difference?.inputs[0] ?? inputs[0], "Cast")?.inputs[0] ?? "", "Gather");
  if (!gather || graph.values.get(gather.inputs[0])?.shape.length !== 2) return undefined;
  const [integers, indices] = gather.inputs;
  const axis = axisOf(gather);
  /** The constant whose elements of the same rows stand beside the rows. */
  const ofRows = (value: string): string | undefined => {
    const column = axis === 0 ? behind(value, "Unsqueeze") : undefined;
    const axes = toNumbers(graph.constants.get(column?.inputs[1] ?? "") ?? noAxes);
    const found = behind(column?.inputs[0] ?? value, "Gather");
    const last = graph.values.get(indices)?.shape.length;
    const isBeside = axis === 1 || (axes.length === 1 && (axes[0] === -1 || axes[0] === last));
    const isAlike = found?.inputs[1] === indices && graph.constants.get(found.inputs[0])?.shape.length === 1;
    return isBeside && isAlike ? found.inputs[0] : undefined;
  };
  const scale = ofRows(inputs[1]);
  const zeroPoint = difference ? ofRows(behind(difference.inputs[1], "Cast")?.inputs[0] ?? "") : "";
  return scale === undefined || zeroPoint === undefined ? undefined : { integers, scale, zeroPoint, axis, indices };
}

const noAxes = tensorOf("int64", [0], []);

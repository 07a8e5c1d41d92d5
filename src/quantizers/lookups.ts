// Gathers that look up rows of a layer's weight, as embeddings do whose table is also the last layer's weight.
import { assert } from "../ir/errors.ts";
import type { consumers, Graph, Node } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
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
  { integers, scale, zeroPoint, granularity }: StoredWeight,
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

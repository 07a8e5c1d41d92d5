// Types of a node's outputs, from the operator's shape rule.

import { type Builder, createBuilder, type InferNode } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { type Dim, describeNode, type Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { toNumbers } from "../ir/tensor.ts";
import { checkElementTypes } from "./element-types.ts";
import { opDefinition } from "./index.ts";

const maxElements = 1024;

function elementsOf(constant: Tensor | undefined): readonly Dim[] | undefined {
  if (!constant || constant.data.length > maxElements || !/^(u?int(32|64)|bool)$/.test(constant.dtype))
    return undefined;
  return toNumbers(constant);
}

const pairs =
  "Add Sub Mul Div Pow Mod PRelu Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor BitwiseAnd BitwiseOr BitwiseXor BitShift";

/** How many inputs a node must have, where the shape rule does not ask for each. */
const requiredInputs: ReadonlyMap<string, number> = new Map([
  ...pairs.split(" ").map((op) => [op, 2] as const),
  ...["CumSum", "Unsqueeze", "Tile", "Pad", "TopK"].map((op) => [op, 2] as const),
  ...["Where", "Slice", "OneHot", "Range", "GroupNormalization", "InstanceNormalization"].map((op) => [op, 3] as const),
  ["BatchNormalization", 5],
]);

function checkRequired(node: Node): void {
  const required = requiredInputs.get(node.op) ?? 0;
  for (let i = 0; i < required; i++)
    if (!node.inputs[i])
      throw new FrostbitError("BAD_MODEL", `${describeNode(node)}: input ${i} is missing; it is required.`);
}

export const inferNode: InferNode = (node, type, constant) => {
  const definition = opDefinition(node.op);
  if (!definition) throw new FrostbitError("UNSUPPORTED_OP", `${describeNode(node)}: no such operator is known.`);
  checkRequired(node);
  const inputs = node.inputs.map((input) => (input === "" ? undefined : type(input)));
  checkElementTypes(node, inputs);
  return definition.infer({
    node,
    inputs,
    elements: (i) => {
      const name = node.inputs[i];
      if (name === undefined || name === "") return undefined;
      return type(name)?.elements ?? elementsOf(constant(name));
    },
    constant: (i) => (node.inputs[i] ? constant(node.inputs[i]) : undefined),
  });
};

/**
 * A builder that knows all operators, and goes on from `start` where it is given.
 *
 * @example
 * const build = buildOn();
 * const x = build.input("x", { dtype: "float32", shape: ["batch", 4] });
 * const graph = build.graph([build.node("Relu", [x])]);
 */
export const buildOn = (start?: Graph): Builder => createBuilder(inferNode, start);

// Types of a node's outputs, from the operator's shape rule.

import { type Builder, createBuilder, type InferNode } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Graph, type Node, type ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { sizeOf, toNumbers } from "../ir/tensor.ts";
import type { AnyOpDefinition, InferContext } from "./definition.ts";
import { opDefinition } from "./index.ts";
import { checkInputs } from "./inputs.ts";
import { withShortSymbols } from "./operands.ts";

const maxElements = 1024;

function elementsOf(constant: Tensor | undefined): readonly Dim[] | undefined {
  if (!constant || sizeOf(constant.shape) > maxElements || !/^(u?int(32|64)|bool)$/.test(constant.dtype))
    return undefined;
  return toNumbers(constant);
}

function checkOutputs(node: Node, { outputs }: AnyOpDefinition): void {
  if (outputs === "any" || node.outputs.length <= outputs || !node.outputs.slice(outputs).some(Boolean)) return;
  throw new FrostbitError(
    "BAD_MODEL",
    `${describeNode(node)}: it has ${node.outputs.length} outputs; expected ${outputs}${outputs > 1 ? " at most" : ""}.`,
  );
}

export const inferNode: InferNode = (node, type, constant) => {
  const definition = opDefinition(node.op);
  if (!definition) throw new FrostbitError("UNSUPPORTED_OP", `${describeNode(node)}: no such operator is known.`);
  const inputs = node.inputs.map((input) => (input === "" ? undefined : type(input)));
  checkInputs(node, definition.inputs, inputs);
  checkOutputs(node, definition);
  return definition
    .infer(inferContext(node, inputs, constant))
    .map((outputType, i) => withShortSymbols(node, outputType, i));
};

/** What is known of a node before it runs. */
export const inferContext = (
  node: Node,
  inputs: readonly (ValueType | undefined)[],
  constant: Parameters<InferNode>[2],
): InferContext => ({
  node,
  inputs,
  elements: (i) => inputs[i]?.elements ?? (node.inputs[i] ? elementsOf(constant(node.inputs[i])) : undefined),
  constant: (i) => (node.inputs[i] ? constant(node.inputs[i]) : undefined),
});

/**
 * A builder that knows all operators, and goes on from `start` where it is given.
 *
 * @example
 * const build = buildOn();
 * const x = build.input("x", { dtype: "float32", shape: ["batch", 4] });
 * const graph = build.graph([build.node("Relu", [x])]);
 */
export const buildOn = (start?: Graph): Builder => createBuilder(inferNode, start);

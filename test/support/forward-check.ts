// Checks one operator's inference and reference kernel against ONNX Runtime.

import type { Node } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { type CloseOptions, expectClose } from "./close.ts";
import { type Inputs, type KernelTable, runGraph } from "./gradient-check.ts";
import { type OnnxRuntimeOptions, runOnnxRuntime } from "./onnx-runtime.ts";

export interface ForwardCheckOptions extends OnnxRuntimeOptions, CloseOptions {
  readonly kernels: KernelTable;
  /** How many outputs the node has, by default 1. */
  readonly outputs?: number;
}

/** Runs one node with the reference kernel; inference must agree with what the kernel gives. */
export function runKernel(
  op: string,
  inputs: Inputs,
  attributes: Node["attributes"],
  kernels: KernelTable,
  outputs = 1,
): readonly Tensor[] {
  const build = buildOn();
  const names = inputs.map((input, i) => input && build.constant(input, `input${i}`));
  const wanted = Array.from({ length: outputs }, () => true);
  const results = build.nodes(op, names, wanted, attributes);
  const values = runGraph(build.graph([...results]), new Map(), kernels);
  return results.map((name) => values.get(name) as Tensor);
}

/** Fails unless every output agrees with ONNX Runtime's in shape, dtype and value. */
export async function checkForward(
  op: string,
  inputs: Inputs,
  attributes: Node["attributes"],
  options: ForwardCheckOptions,
): Promise<void> {
  const count = options.outputs ?? 1;
  const actual = runKernel(op, inputs, attributes, options.kernels, count);
  const outputs = Array.from({ length: count }, (_, i) => `output${i}`);
  const expected = await runOnnxRuntime({ op, outputs, attributes }, inputs, options);
  actual.forEach((output, i) => {
    expectClose(output, expected[i] as Tensor, { ...options, what: options.what ?? `${op} output ${i}` });
  });
}

// Runs examples of operators against ONNX Runtime in float32.

import { castTensor, type Tensor } from "../../src/ir/tensor.ts";
import { kernels } from "../../src/kernels/index.ts";
import type { Example } from "../operators/examples/example.ts";
import { checkForward, type ForwardCheckOptions } from "./forward-check.ts";

const toFloat32 = (input: Tensor | undefined): Tensor | undefined =>
  input?.dtype === "float64" ? castTensor(input, "float32") : input;

export const checkExample = (
  { op, inputs, attributes = {}, outputs = 1 }: Example,
  options: Partial<ForwardCheckOptions> = {},
): Promise<void> => checkForward(op, inputs.map(toFloat32), attributes, { kernels, outputs, ...options });

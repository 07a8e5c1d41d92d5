// Gemm before 11 cannot leave its bias out.
import { scalar } from "../../ir/tensor.ts";
import type { Downgrade } from "./downgrade.ts";

export const zeroBias: Downgrade = {
  before: 11,
  downgrade: ({ node, type, constant }) => {
    if (node.inputs[2]) return [node];
    const bias = constant("bias", scalar(type(node.inputs[0]).dtype, 0));
    return [{ ...node, inputs: [node.inputs[0], node.inputs[1], bias] }];
  },
};

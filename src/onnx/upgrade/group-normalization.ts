// Before 21 scale and bias were per group, since then they are per channel.

import type { Node } from "../../ir/graph.ts";
import type { Upgrade, UpgradeContext } from "./upgrade.ts";
import { cannotUpgrade } from "./upgrade.ts";

export const perChannel: Upgrade = {
  before: 21,
  upgrade: (context) => {
    const scale = repeatPerGroup(context, context.node.inputs[1]);
    const bias = repeatPerGroup(context, context.node.inputs[2]);
    const inputs = [context.node.inputs[0], scale[2].outputs[0], bias[2].outputs[0]];
    return [...scale, ...bias, { ...context.node, inputs }];
  },
};

/** [groups] → [groups, 1] → [groups, channels per group] → [channels] */
function repeatPerGroup({ node, opset, type, ints, beside }: UpgradeContext, value: string): readonly Node[] {
  const channels = type(node.inputs[0]).shape[1];
  const groups = type(value).shape[0];
  if (typeof channels !== "number" || typeof groups !== "number")
    throw cannotUpgrade(node, opset, "the number of channels is not known.");
  const column = beside("Reshape", [value, ints("column", [groups, 1])]);
  const repeated = beside("Expand", [column.outputs[0], ints("repeated", [groups, channels / groups])]);
  return [column, repeated, beside("Reshape", [repeated.outputs[0], ints("channels", [channels])])];
}

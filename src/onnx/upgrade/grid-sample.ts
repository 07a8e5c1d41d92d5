// Before 20 the modes were called bilinear and bicubic.
import { stringAttribute } from "../../ops/attributes.ts";
import type { Upgrade } from "./upgrade.ts";

export const renameModes: Upgrade = {
  before: 20,
  upgrade: ({ node }) => {
    const mode = stringAttribute(node, "mode", "bilinear").replace(/^bi(?=linear|cubic)/, "");
    return [{ ...node, attributes: { ...node.attributes, mode } }];
  },
};

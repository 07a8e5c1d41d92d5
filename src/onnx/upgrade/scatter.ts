// Scatter became ScatterElements at 11.
import type { Upgrade } from "./upgrade.ts";

export const toScatterElements: Upgrade = {
  before: 11,
  upgrade: ({ node }) => [{ ...node, op: "ScatterElements" }],
};

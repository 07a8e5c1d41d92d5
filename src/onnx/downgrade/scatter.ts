// ScatterElements was called Scatter before 11.
import type { Downgrade } from "./downgrade.ts";

export const toScatter: Downgrade = { before: 11, downgrade: ({ node }) => [{ ...node, op: "Scatter" }] };

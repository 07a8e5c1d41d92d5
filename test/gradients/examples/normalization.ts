// Examples of the normalizations that have no test of their own.
import { draw, type Example } from "./example.ts";

const { normal } = draw(17);

export const normalizationExamples: readonly Example[] = [
  { op: "RMSNormalization", inputs: [normal(2, 3, 8), normal(8)], attributes: { epsilon: 1e-3 } },
  { op: "RMSNormalization", name: "two axes", inputs: [normal(2, 3, 4), normal(3, 4)], attributes: { axis: 1 } },
  {
    op: "GroupNormalization",
    inputs: [normal(2, 6, 3, 2), normal(6), normal(6)],
    attributes: { num_groups: 2, epsilon: 1e-3 },
  },
  {
    op: "GroupNormalization",
    name: "one group",
    inputs: [normal(2, 4, 5), normal(4), normal(4)],
    attributes: { num_groups: 1 },
  },
];

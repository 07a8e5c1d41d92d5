// Examples of normalizations.
import { draw, type Forms } from "./example.ts";

const { normal, positive } = draw(17);

export const normalizationExamples = {
  BatchNormalization: [
    { inputs: [normal(2, 3, 4, 2), normal(3), normal(3), normal(3), positive(3)], attributes: { epsilon: 1e-3 } },
    { name: "of a matrix", inputs: [normal(4, 3), normal(3), normal(3), normal(3), positive(3)] },
  ],
  BatchNormalizationTraining: [
    { inputs: [normal(3, 2, 4), normal(2), normal(2)], attributes: { epsilon: 1e-3 }, outputs: 3 },
  ],
  BatchNormalizationTrainingGradient: [
    {
      inputs: [normal(3, 2, 4), normal(3, 2, 4), positive(2), normal(2), positive(2)],
      attributes: { epsilon: 1e-3 },
      outputs: 3,
    },
  ],
  LayerNormalization: [
    { inputs: [normal(2, 5, 8), normal(8), normal(8)], outputs: 3 },
    { name: "two axes, no bias", inputs: [normal(2, 5, 4), normal(5, 4)], attributes: { axis: 1, epsilon: 1e-3 } },
    { name: "parameters of one of two axes", inputs: [normal(3, 5, 4), normal(4)], attributes: { axis: 1 } },
  ],
  InstanceNormalization: [{ inputs: [normal(2, 3, 5, 4), normal(3), normal(3)], attributes: { epsilon: 1e-2 } }],
  RMSNormalization: [
    { inputs: [normal(2, 3, 8), normal(8)], attributes: { epsilon: 1e-3 } },
    { name: "two axes", inputs: [normal(2, 3, 4), normal(3, 4)], attributes: { axis: 1 } },
  ],
  GroupNormalization: [
    { inputs: [normal(2, 6, 3, 2), normal(6), normal(6)], attributes: { num_groups: 2, epsilon: 1e-3 } },
    { name: "one group", inputs: [normal(2, 4, 5), normal(4), normal(4)], attributes: { num_groups: 1 } },
  ],
} satisfies Record<string, Forms>;

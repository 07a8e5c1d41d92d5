// All examples.
import { elementwiseExamples } from "./elementwise.ts";
import type { Example } from "./example.ts";
import { indexingExamples } from "./indexing.ts";
import { normalizationExamples } from "./normalization.ts";
import { poolingExamples } from "./pooling.ts";
import { reductionExamples } from "./reduction.ts";
import { resizeExamples } from "./resize.ts";
import { shapeExamples } from "./shape.ts";

export const examples: readonly Example[] = [
  ...elementwiseExamples,
  ...indexingExamples,
  ...normalizationExamples,
  ...poolingExamples,
  ...reductionExamples,
  ...resizeExamples,
  ...shapeExamples,
];

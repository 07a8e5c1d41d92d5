// Every operator's examples; the compiler lists the operators that have none.
import { type OpType, opTypes } from "../../../src/ops/index.ts";
import { bitwiseExamples } from "./bitwise.ts";
import { convolutionExamples } from "./convolution.ts";
import { elementwiseExamples } from "./elementwise.ts";
import type { Example, Forms } from "./example.ts";
import { indexingExamples } from "./indexing.ts";
import { levelExamples } from "./levels.ts";
import { lossExamples } from "./loss.ts";
import { normalizationExamples } from "./normalization.ts";
import { poolingExamples } from "./pooling.ts";
import { productExamples } from "./product.ts";
import { quantizationExamples } from "./quantization.ts";
import { randomExamples } from "./random.ts";
import { recurrentExamples } from "./recurrent.ts";
import { reductionExamples } from "./reduction.ts";
import { resizeExamples } from "./resize.ts";
import { shapeExamples } from "./shape.ts";
import { trigonometricExamples } from "./trigonometric.ts";
import { updateExamples } from "./update.ts";

export const formsOf: { readonly [Op in OpType]: Forms } = {
  ...bitwiseExamples,
  ...convolutionExamples,
  ...elementwiseExamples,
  ...indexingExamples,
  ...levelExamples,
  ...lossExamples,
  ...normalizationExamples,
  ...poolingExamples,
  ...productExamples,
  ...quantizationExamples,
  ...randomExamples,
  ...recurrentExamples,
  ...reductionExamples,
  ...resizeExamples,
  ...shapeExamples,
  ...trigonometricExamples,
  ...updateExamples,
};

export const examples: readonly Example[] = opTypes.flatMap((op) => formsOf[op].map((form) => ({ op, ...form })));

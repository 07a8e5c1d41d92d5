// Every reference kernel; the compiler lists the operators that have none.
import type { OpType } from "../ops/index.ts";
import { bitwiseKernels } from "./bitwise.ts";
import { convolutionKernels } from "./convolution.ts";
import { elementwiseKernels } from "./elementwise.ts";
import { indexingKernels } from "./indexing.ts";
import type { Kernel } from "./kernel.ts";
import { levelKernels } from "./levels.ts";
import { lossKernels } from "./loss.ts";
import { normalizationKernels } from "./normalization.ts";
import { poolingKernels } from "./pooling.ts";
import { productKernels } from "./product.ts";
import { quantizationKernels } from "./quantization.ts";
import { randomKernels } from "./random.ts";
import { recurrentKernels } from "./recurrent.ts";
import { reductionKernels } from "./reduction.ts";
import { resizeKernels } from "./resize.ts";
import { shapeKernels } from "./shape.ts";
import { trigonometricKernels } from "./trigonometric.ts";
import { updateKernels } from "./update.ts";

export const kernels: { readonly [Op in OpType]: Kernel } = {
  ...bitwiseKernels,
  ...convolutionKernels,
  ...elementwiseKernels,
  ...indexingKernels,
  ...levelKernels,
  ...lossKernels,
  ...normalizationKernels,
  ...poolingKernels,
  ...productKernels,
  ...quantizationKernels,
  ...randomKernels,
  ...recurrentKernels,
  ...reductionKernels,
  ...resizeKernels,
  ...shapeKernels,
  ...trigonometricKernels,
  ...updateKernels,
};

// Every operator that the native engine runs.
import type { NativeOp } from "../lowering.ts";
import { convolutionOps } from "./convolution.ts";
import { elementwiseOps } from "./elementwise.ts";
import { indexingOps } from "./indexing.ts";
import { normalizationOps } from "./normalization.ts";
import { poolingOps } from "./pooling.ts";
import { productOps } from "./product.ts";
import { quantizationOps } from "./quantization.ts";
import { reductionOps } from "./reduction.ts";
import { shapeOps } from "./shape.ts";
import { updateOps } from "./update.ts";

export const nativeOps: ReadonlyMap<string, NativeOp> = new Map(
  [
    convolutionOps,
    elementwiseOps,
    indexingOps,
    normalizationOps,
    poolingOps,
    productOps,
    quantizationOps,
    reductionOps,
    shapeOps,
    updateOps,
  ].flatMap((family) => Object.entries(family)),
);

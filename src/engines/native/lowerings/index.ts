// Every operator that the native engine runs.
import type { NativeOp } from "../lowering.ts";
import { attentionOps } from "./attention.ts";
import { castOps } from "./cast.ts";
import { convolutionOps } from "./convolution.ts";
import { einsumOps } from "./einsum.ts";
import { elementwiseOps } from "./elementwise.ts";
import { indexingOps } from "./indexing.ts";
import { normalizationOps } from "./normalization.ts";
import { orderingOps } from "./ordering.ts";
import { padOps } from "./pad.ts";
import { poolingOps } from "./pooling.ts";
import { productOps } from "./product.ts";
import { quantizationOps } from "./quantization.ts";
import { randomOps } from "./random.ts";
import { rearrangeOps } from "./rearrange.ts";
import { reductionOps } from "./reduction.ts";
import { resizeOps } from "./resize.ts";
import { rowNormalizationOps } from "./row-normalization.ts";
import { scatterOps } from "./scatter.ts";
import { shapeOps } from "./shape.ts";
import { storedOps } from "./stored.ts";
import { transposedConvolutionOps } from "./transposed-convolution.ts";
import { updateOps } from "./update.ts";

export const nativeOps: ReadonlyMap<string, NativeOp> = new Map(
  [
    attentionOps,
    convolutionOps,
    elementwiseOps,
    indexingOps,
    normalizationOps,
    poolingOps,
    productOps,
    quantizationOps,
    randomOps,
    reductionOps,
    shapeOps,
    updateOps,
    castOps,
    einsumOps,
    orderingOps,
    padOps,
    rearrangeOps,
    resizeOps,
    rowNormalizationOps,
    scatterOps,
    storedOps,
    transposedConvolutionOps,
  ].flatMap((family) => Object.entries(family)),
);

// Every operator of ours that ONNX lacks, or that has a faster form than ONNX Runtime's own, to its lowering.
import type { OwnOpType } from "../../../ops/index.ts";
import type { LoweringRule } from "../lowering.ts";
import { convolutionLowerings } from "./convolution.ts";
import { elementwiseLowerings, passThrough } from "./elementwise.ts";
import { indexingLowerings } from "./indexing.ts";
import { levelLowerings } from "./levels.ts";
import { normalizationLowerings } from "./normalization.ts";
import { poolingLowerings } from "./pooling.ts";
import { quantizationLowerings } from "./quantization.ts";
import { randomLowerings } from "./random.ts";
import { updateLowerings } from "./update.ts";

const ownLowerings = {
  ...convolutionLowerings,
  ...elementwiseLowerings,
  ...indexingLowerings,
  ...levelLowerings,
  ...normalizationLowerings,
  ...poolingLowerings,
  ...quantizationLowerings,
  ...randomLowerings,
  ...updateLowerings,
} satisfies Record<OwnOpType | "Conv", LoweringRule>;

const lowerings: Readonly<Record<string, LoweringRule>> = ownLowerings;

/** The lowering of an operator; ONNX's own pass through. */
export const loweringOf = (op: string): LoweringRule => (Object.hasOwn(lowerings, op) ? lowerings[op] : passThrough);
